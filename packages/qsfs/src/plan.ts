// What `up` is going to serve, and where: decided from its words and the configuration before anything is changed.
import { type Configuration, defaultConfiguration, readConfiguration } from './configuration.ts';
import type { Context } from './context.ts';
import { QsfsError } from './errors.ts';
import type { Layout } from './layout.ts';

/** What `up` was asked to do. */
export interface ServeOptions {
  readonly layout: Layout;
  readonly mount: string | undefined;
  readonly config: string | undefined;
  readonly cacheBytes: number | undefined;
  readonly json: boolean;
  /** Never take the lease: the mount can only be read. */
  readonly readOnly: boolean;
  /** Nobody reads what is printed. */
  readonly background: boolean;
}

/** What is going to be served. */
export interface Plan {
  readonly configuration: Configuration;
  readonly mountPoint: string;
  /** The configuration is not on disk yet. */
  readonly fresh: boolean;
}

/** Finds or makes the configuration; changes nothing. @throws QsfsError */
export function makePlan(context: Context, options: ServeOptions): Plan {
  const { disk, random } = context;
  const { layout, mount, cacheBytes } = options;
  const path = options.config ?? layout.config;
  const fresh = options.config === undefined && !disk.stat(layout.config);
  if (fresh && disk.stat(layout.frontend) && disk.list(layout.frontend).length > 0) {
    throw new QsfsError(
      'QSFS_E_CONFIG',
      `${layout.frontend} is there, but its configuration ${layout.config} is missing`,
      'Put the configuration back: it holds the key.',
    );
  }
  if (fresh && options.readOnly) {
    throw new QsfsError(
      'QSFS_E_NO_VOLUME',
      `there is no volume in ${layout.root} to look at`,
      `Type "qsfs restore --read-only --from CONFIG --dir ${layout.root}" first.`,
    );
  }
  const configuration = fresh
    ? defaultConfiguration(layout.config, random, { mount, cacheBytes })
    : readConfiguration(disk, path);
  const mountPoint = mount ?? configuration.settings.mount;
  if (mountPoint === undefined) {
    throw new QsfsError(
      'QSFS_E_USAGE',
      'it is not said where to mount',
      'Add --mount M, or qsfs.mount to the configuration.',
    );
  }
  const inside = `${mountPoint}/`;
  for (const folder of [layout.frontend, configuration.settings.localBackends ?? layout.backends]) {
    if (!`${folder}/`.startsWith(inside) && !inside.startsWith(`${folder}/`)) continue;
    throw new QsfsError('QSFS_E_MOUNT', `the mount ${mountPoint} and ${folder} contain each other`);
  }
  return { configuration, mountPoint, fresh };
}

// What `up` prints when it has mounted in the foreground.
import { type Configuration, describePolicy } from './configuration.ts';
import type { Context } from './context.ts';
import type { Frontend } from './frontend.ts';
import type { Layout } from './layout.ts';
import { formatSize } from './quantities.ts';
import { shellWord } from './shell-word.ts';

/** How it is told. */
export interface AnnounceOptions {
  readonly layout: Layout;
  readonly json: boolean;
  /** Nobody reads what is printed. */
  readonly background: boolean;
}

/** What it tells of. */
export interface Announced {
  readonly configuration: Configuration;
  readonly frontend: Pick<Frontend, 'mountPoint' | 'readOnly'>;
  readonly cacheBytes: number;
  readonly started: readonly string[];
}

/** Says where it is mounted, what it survives, and what to type next. */
export function announce(
  context: Pick<Context, 'print' | 'processes' | 'workingDirectory'>,
  options: AnnounceOptions,
  { configuration, frontend, cacheBytes, started }: Announced,
): void {
  if (options.background) return;
  const { layout } = options;
  if (options.json) {
    context.print(
      JSON.stringify({
        mountPoint: frontend.mountPoint,
        pid: context.processes.pid,
        directory: layout.root,
        started,
        readOnly: frontend.readOnly,
      }),
    );
    return;
  }
  const {
    minimalShards: k,
    expectedShards: n,
    groups,
    redundantGroups,
    redundantNodes,
  } = configuration.zstor;
  const names = groups.map(
    (group) => `${group.name} (${group.backends.map((backend) => backend.name).join(' ')})`,
  );
  const where = layout.root === `${context.workingDirectory}/.qsfs` ? '' : ` --dir ${shellWord(layout.root)}`;
  // All that may fail at once: whole groups, and more in every other one.
  const lost = groups
    .flatMap(({ backends }, index) =>
      index < redundantGroups ? backends : backends.slice(0, redundantNodes),
    )
    .map(({ name }) => name);
  const mountPoint = shellWord(frontend.mountPoint);
  const status = [`bin/qsfs status${where}`, 'what is where, and what may still fail'];
  const todo = [
    [`cp -a /usr/share/perl5 ${mountPoint}/`, 'write something'],
    [`bin/qsfs sync${where}`, 'bring it to all backends'],
    [`bin/qsfs evict --all${where}`, 'drop the local copies'],
    ...(configuration.settings.localBackends === undefined
      ? []
      : [
          [`for b in ${lost.join(' ')}; do bin/qsfs backend stop $b${where}; done`],
          [`diff -r /usr/share/perl5 ${mountPoint}/perl5 && echo "nothing is lost"`],
          [`for b in ${lost.join(' ')}; do bin/qsfs backend start $b${where}; done`],
        ]),
    status,
  ];
  for (const line of [
    `QSFS is mounted at ${frontend.mountPoint}${frontend.readOnly ? ', to be read only' : ''}`,
    `  backends  ${names.join(', ')}`,
    `  survives  ${describePolicy(configuration.zstor)}: any ${k} of ${n} shards give everything back`,
    `  cache     ${formatSize(cacheBytes)} in ${layout.frontend}; the key is in ${configuration.path}`,
    '',
    'In another terminal:',
    ...suggestions(frontend.readOnly ? [status] : todo),
    '',
    'Ctrl-C unmounts and stops.',
  ]) {
    context.print(line);
  }
}

/** Commands one below the other, each with what it does as a comment: a line can be pasted whole. */
function suggestions(commands: readonly (readonly string[])[]): string[] {
  const explained = commands.filter(([, does]) => does !== undefined);
  const width = Math.max(...explained.map(([command]) => command!.length));
  return commands.map(([command, does]) =>
    does === undefined ? `  ${command}` : `  ${command!.padEnd(width)}  # ${does}`,
  );
}

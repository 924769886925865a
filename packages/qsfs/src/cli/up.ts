// `qsfs up`: start and mount, in the foreground until Ctrl-C, or in the background with --detach.
import { resolve } from 'node:path';
import { detach, INTERNAL_OPTION } from './detach.ts';
import {
  CACHE_SIZE_OPTION,
  cacheBytesOf,
  DIRECTORY_OPTION,
  JSON_OPTION,
  layoutFor,
  READ_ONLY_OPTION,
  type Verb,
} from './verb.ts';

export const up: Verb = {
  grammar: {
    verb: 'up',
    positionals: [],
    options: [
      DIRECTORY_OPTION,
      {
        name: 'mount',
        value: 'M',
        help: 'where to mount; made when missing (default: what the configuration says)',
      },
      { name: 'config', value: 'C', help: 'configuration to use (default DIR/qsfs.toml; made when missing)' },
      CACHE_SIZE_OPTION,
      { name: 'detach', help: 'return when mounted; goes on in the background' },
      READ_ONLY_OPTION,
      JSON_OPTION,
      INTERNAL_OPTION,
    ],
  },
  summary: 'start and mount',
  details: [
    'Without a configuration it makes one in DIR/qsfs.toml, with a fresh key and eight local backends in four groups below',
    'DIR/backends, any whole group and one backend in every other group of which may be lost.',
    'Local backends that do not run are started; they go on when qsfs is killed.',
    'When the backends can be read but not be written, it mounts all the same: nothing can be changed until enough of them are back, which',
    'is noticed by itself. With --read-only it is never tried: the volume stays with the frontend that has it.',
    'Ctrl-C (or SIGTERM) unmounts, writes everything to DIR/frontend and stops the local backends; what is not on the backends',
    'yet is offloaded after the next "qsfs up". "qsfs down" offloads it first.',
  ],
  examples: [
    'qsfs up --mount ./mnt',
    'qsfs up --dir /srv/qsfs --mount /mnt/qsfs --cache-size 20GiB --detach',
  ],
  async run(context, words) {
    const absolute = (path: string | undefined) =>
      path === undefined ? undefined : resolve(context.workingDirectory, path);
    const options = {
      layout: layoutFor(context, words),
      mount: absolute(words.value('mount')),
      config: absolute(words.value('config')),
      cacheBytes: cacheBytesOf(words),
      readOnly: words.has(READ_ONLY_OPTION.name),
      json: words.has('json'),
    };
    if (words.has('detach')) return await detach(context, options);
    // Whoever only starts another process, or is another command, has no need of all that.
    const { serve } = await import('../serve.ts');
    return await serve(context, { ...options, background: words.has(INTERNAL_OPTION.name) });
  },
};

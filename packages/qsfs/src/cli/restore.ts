// `qsfs restore`: everything back from the backends, given only the configuration.
import { resolve } from 'node:path';
import { layoutOf } from '../layout.ts';
import { count, formatSize } from '../quantities.ts';
import { describeReadOnly } from '../read-only.ts';
import { shellWord } from '../shell-word.ts';
import { detach } from './detach.ts';
import { CACHE_SIZE_OPTION, cacheBytesOf, JSON_OPTION, READ_ONLY_OPTION, report, type Verb } from './verb.ts';

export const restoreVerb: Verb = {
  grammar: {
    verb: 'restore',
    positionals: [],
    options: [
      { name: 'from', value: 'CONFIG', required: true, help: 'the configuration with its key' },
      {
        name: 'dir',
        value: 'NEW',
        required: true,
        help: 'the new state folder; its frontend must not exist or be empty',
      },
      { name: 'mount', value: 'M', help: 'mount it then, in the background' },
      CACHE_SIZE_OPTION,
      { name: 'take-over', help: 'do not wait for a sign of life of the last frontend' },
      READ_ONLY_OPTION,
      JSON_OPTION,
    ],
  },
  summary: 'on a new frontend: everything back from the backends',
  details: [
    'Finds the newest sync point on the backends and makes a frontend of it; data comes back when it is read. Local backends that',
    'are down are started where they are. The frontend that had the volume before is refused from then on; when it is still alive,',
    'restore is refused instead. When it ran on another machine and ended without a word, that is waited for up to 2.5 minutes.',
    'When the backends can be read but not be written, all is restored and mounted all the same; it takes the volume over, and can be written,',
    'when enough of them are back. With --read-only it never does: that looks at a volume that another frontend has, and goes on having.',
  ],
  examples: [
    'qsfs restore --from .qsfs/qsfs.toml --dir ./again --mount ./mnt2',
    'qsfs restore --from ~/qsfs.toml --dir /srv/qsfs && qsfs up --dir /srv/qsfs --mount /mnt/qsfs',
  ],
  async run(context, words) {
    const absolute = (path: string) => resolve(context.workingDirectory, path);
    const from = words.value('from')!;
    const directory = words.value('dir')!;
    const mount = words.value('mount');
    const readOnly = words.has(READ_ONLY_OPTION.name);
    const flag = readOnly ? ` --${READ_ONLY_OPTION.name}` : '';
    const tell = (line: string) => {
      if (!words.has('json')) context.warn(line);
    };
    // Other commands have no need of all that.
    const { restore } = await import('../restore/restore.ts');
    const done = await restore(context, {
      from: absolute(from),
      directory: absolute(directory),
      mount: mount === undefined ? undefined : absolute(mount),
      cacheBytes: cacheBytesOf(words),
      takeOver: words.has('take-over'),
      readOnly,
      progress: tell,
      log: (level, message) => {
        if (level !== 'info') tell(message);
      },
    });
    report(context, words, done, () => [
      `restored the state of ${new Date(done.stateOfMs).toISOString()} (sync point ${done.generation}): ${count(done.dataFiles, 'data file')}, ${formatSize(done.dataBytes)}, in ${done.directory}`,
      ...(done.readOnly && mount === undefined ? [describeReadOnly(done.readOnly)] : []),
      ...(mount === undefined
        ? [`mount it with "qsfs up --dir ${shellWord(directory)} --mount M${flag}"`]
        : []),
    ]);
    if (mount === undefined) return 0;
    const layout = layoutOf(absolute(directory));
    const code = await detach(context, {
      layout,
      mount: absolute(mount),
      config: undefined,
      cacheBytes: undefined,
      readOnly,
      json: words.has('json'),
      quiet: words.has('json'),
    });
    if (code !== 0)
      context.warn(
        `the volume is restored in ${layout.root} and not mounted; when that is put right, type "qsfs up --dir ${shellWord(layout.root)} --mount ${shellWord(mount)}${flag}"`,
      );
    return code;
  },
};

// `qsfs evict --all`: drop local copies.
import type { EvictAnswer } from '../control-service.ts';
import { formatSize } from '../quantities.ts';
import { ask, DIRECTORY_OPTION, JSON_OPTION, layoutFor, report, type Verb } from './verb.ts';

export const evict: Verb = {
  grammar: {
    verb: 'evict',
    positionals: [],
    options: [
      {
        name: 'all',
        required: true,
        help: 'every stripe that is safe on the backends (the cache limit evicts by itself)',
      },
      { name: 'metadata', help: 'the records of directories and inodes too' },
      DIRECTORY_OPTION,
      JSON_OPTION,
    ],
  },
  summary: 'drop every local stripe that is safe on the backends',
  details: [
    'File contents are then read back from the backends when somebody reads them; the kernel forgets its copies too. What is',
    'not yet on all backends stays ("qsfs sync" first). The records of directories and inodes stay, so that ls and df never wait;',
    '--metadata drops them as well.',
  ],
  examples: ['qsfs evict --all'],
  async run(context, words) {
    const parameters = { metadata: words.has('metadata') };
    const answer = (await ask(context, layoutFor(context, words), 'evict', parameters)) as EvictAnswer;
    report(context, words, answer, () => {
      const kept = [
        answer.pendingBytes > 0 ? `${formatSize(answer.pendingBytes)} not on all backends yet` : '',
        answer.metadataBytes > 0 ? `${formatSize(answer.metadataBytes)} of directory and inode records` : '',
      ].filter((part) => part !== '');
      const rest = kept.length > 0 ? ` (${kept.join(', ')})` : '';
      return [
        `dropped ${formatSize(answer.droppedBytes)}; ${formatSize(answer.localBytes)} stay here${rest}`,
      ];
    });
    return 0;
  },
};

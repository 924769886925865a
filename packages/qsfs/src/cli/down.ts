// `qsfs down`: sync, unmount, stop.
import type { DownAnswer } from '../control-service.ts';
import { QsfsError } from '../errors.ts';
import { syncProgress } from './sync.ts';
import { ask, DIRECTORY_OPTION, JSON_OPTION, layoutFor, report, type Verb } from './verb.ts';

const POLL_MS = 50;
const END_TIMEOUT_MS = 30_000;

export const down: Verb = {
  grammar: { verb: 'down', positionals: [], options: [DIRECTORY_OPTION, JSON_OPTION] },
  summary: 'sync, unmount, stop (the local backends too)',
  details: [
    'Brings everything to the backends, unmounts and ends the process and the local backends. When the backends do not take',
    'everything it stops all the same, says so, and ends with exit code 14: what is missing there stays in DIR/frontend and is',
    'offloaded after the next "qsfs up". (Ctrl-C and SIGTERM do the same without the sync.)',
  ],
  examples: ['qsfs down'],
  async run(context, words) {
    const layout = layoutFor(context, words);
    const progress = syncProgress(context, words.has('json'));
    const answer = (await ask(context, layout, 'down', {}, progress)) as DownAnswer;
    // The answer comes before the last steps: the folder is free when its lock is.
    const end = context.clock.monotonicMs() + END_TIMEOUT_MS;
    while (!folderFree() && context.clock.monotonicMs() < end) await context.clock.sleep(POLL_MS);
    if (!answer.complete) {
      throw new QsfsError(
        'QSFS_E_INCOMPLETE',
        `stopped, but not everything is on all backends: ${answer.reason}`,
        answer.fenced
          ? 'The volume goes on there; what was written here since the last sync is in no other place than DIR/frontend.'
          : 'Nothing is lost as long as DIR/frontend is there: the next "qsfs up" offloads the rest.',
      );
    }
    report(context, words, answer, () => ['everything is on the backends; unmounted and stopped']);
    return 0;

    function folderFree(): boolean {
      const { disk } = context;
      if (!disk.stat(layout.lock)) return true;
      const file = disk.open(layout.lock, 'write');
      try {
        return file.tryLock();
      } finally {
        file.close();
      }
    }
  },
};

// `qsfs down`: sync, unmount, stop.
import type { Context } from '../context.ts';
import type { DownAnswer } from '../control-service.ts';
import { clearAfterCrash, clearMounts, hasFrontend, isServed, isWorkedOn, safetyOf } from '../crash.ts';
import { QsfsError } from '../errors.ts';
import type { Layout } from '../layout.ts';
import { shellWord } from '../shell-word.ts';
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
    'When qsfs was killed before, its mount answers errors ("Transport endpoint is not connected") so that nobody takes the folder',
    'below it for the volume: down then clears that mount and stops the local backends, and ends with exit code 14 too.',
  ],
  examples: ['qsfs down'],
  async run(context, words) {
    const layout = layoutFor(context, words);
    const progress = syncProgress(context, words.has('json'));
    let answer: DownAnswer;
    try {
      answer = (await ask(context, layout, 'down', {}, progress)) as DownAnswer;
    } catch (error) {
      const isGone = error instanceof QsfsError && error.code === 'QSFS_E_NOT_RUNNING';
      if (!isGone || isServed(context, layout)) throw error;
      throw await afterCrash(context, layout);
    }
    // The answer comes before the last steps, the end of the backends among them: the folder is free when its locks are.
    const end = context.clock.monotonicMs() + END_TIMEOUT_MS;
    while (isWorkedOn(context, layout)) {
      if (context.clock.monotonicMs() >= end) throw notEnded(layout, answer);
      await context.clock.sleep(POLL_MS);
    }
    // It may have been killed before and started again with another mount point.
    clearMounts(context, layout);
    if (!answer.complete) {
      throw new QsfsError(
        'QSFS_E_INCOMPLETE',
        `stopped, but not everything is on all backends: ${answer.reason}`,
        hintAfter(answer),
      );
    }
    report(context, words, answer, () => ['everything is on the backends; unmounted and stopped']);
    return 0;
  },
};

function notEnded(layout: Layout, { complete, reason }: DownAnswer): QsfsError {
  return new QsfsError(
    'QSFS_E_INCOMPLETE',
    `it is unmounted${complete ? ', and everything is on the backends' : ` (${reason})`}, but its process or its local backends have not ended after ${END_TIMEOUT_MS / 1000} s`,
    `Look at ${layout.log}, and at what still works on ${layout.root}.`,
  );
}

/** What becomes of what is not on all backends. */
function hintAfter({ fenced, damagedFiles }: DownAnswer): string {
  if (fenced) {
    return 'The volume goes on there; what was written here since the last sync is in no other place than DIR/frontend: "qsfs up --read-only" shows it.';
  }
  if (damagedFiles > 0) {
    return 'Bring back backends that were taken away, with what they held, before the next "qsfs up"; what is only in DIR/frontend is offloaded then.';
  }
  return 'Nothing is lost as long as DIR/frontend is there: the next "qsfs up" offloads the rest.';
}

/** Nobody runs: clears what a killed process left. @returns what to say of it */
async function afterCrash(context: Context, layout: Layout): Promise<QsfsError> {
  const { mounts, stopped, left } = await clearAfterCrash(context, layout);
  if (mounts.length === 0 && stopped.length === 0) {
    const rest = left === '' ? '' : `; ${left}`;
    return new QsfsError(
      'QSFS_E_NOT_RUNNING',
      `no qsfs is running on ${layout.root}${rest}`,
      left === ''
        ? 'There is nothing to stop.'
        : 'Stop what uses them with "qsfs down --dir" and its folder; or, if nobody needs them, each with "qsfs backend stop NAME".',
    );
  }
  const did = [
    ...(mounts.length > 0 ? [`its dead mount at ${mounts.join(', ')} is cleared`] : []),
    ...(stopped.length > 0 ? [`the local backends are stopped`] : []),
    ...(left === '' ? [] : [left]),
  ];
  return new QsfsError(
    'QSFS_E_INCOMPLETE',
    `it was not running any more, it had been killed or had crashed; ${did.join('; ')}`,
    hasFrontend(context, layout)
      ? `${safetyOf(context, layout)} Type "qsfs up --dir ${shellWord(layout.root)} --mount M" to go on from there, then "qsfs down" to have it all on the backends.`
      : safetyOf(context, layout),
  );
}

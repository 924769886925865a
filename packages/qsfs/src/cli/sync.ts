// `qsfs sync`: everything written so far is on the backends when it returns.
import type { Context } from '../context.ts';
import type { SyncAnswer } from '../control-service.ts';
import { formatDuration, formatSize } from '../quantities.ts';
import { ask, DIRECTORY_OPTION, JSON_OPTION, layoutFor, report, type Verb } from './verb.ts';

/** Shows what is left while a sync runs: on a terminal only. */
export function syncProgress(context: Context, quiet: boolean): (line: unknown) => void {
  const startMs = context.clock.monotonicMs();
  let firstBytes: number | undefined;
  let lastMs = startMs;
  return (line) => {
    const { pendingBytes } = line as { pendingBytes?: number };
    if (quiet || !context.terminal || pendingBytes === undefined) return;
    const nowMs = context.clock.monotonicMs();
    firstBytes ??= pendingBytes;
    if (nowMs - lastMs < 1900) return;
    lastMs = nowMs;
    const rate = ((firstBytes - pendingBytes) * 1000) / (nowMs - startMs);
    const left =
      rate > 0 ? `, ${formatSize(rate)}/s, about ${formatDuration((pendingBytes / rate) * 1000)}` : '';
    context.warn(`  ${formatSize(pendingBytes)} left${left}`);
  };
}

export const sync: Verb = {
  grammar: {
    verb: 'sync',
    positionals: [],
    options: [DIRECTORY_OPTION, JSON_OPTION, { name: 'quiet', help: 'no progress' }],
  },
  summary: 'close, offload and verify everything written so far',
  details: [
    'Returns when everything written before is on all backends and each of them has confirmed its part. Programs go on writing',
    'meanwhile. Backends that were away and came back are asked whether they still have what they were given. Exit code 6:',
    'everything is stored and readable, but some backends are away, or lack their part (it is repaired when they return); 5: the',
    'backends take nothing now, and what is pending stays here.',
  ],
  examples: ['qsfs sync', 'qsfs sync && qsfs evict --all'],
  async run(context, words) {
    const quiet = words.has('quiet') || words.has('json');
    const layout = layoutFor(context, words);
    const answer = (await ask(context, layout, 'sync', {}, syncProgress(context, quiet))) as SyncAnswer;
    report(context, words, answer, () => [
      `everything is on all backends (sync point ${answer.generation}, ${formatDuration(answer.durationMs)})`,
    ]);
    return 0;
  },
};

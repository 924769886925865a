// A log in which what is said again and again is said once, and then at most once a minute, with how often.
import type { Clock } from '@qsfs/io';
import type { Log, LogLevel } from './log-file.ts';

const PAUSE_MS = 60_000;
/** Different lines that are remembered; of more the oldest ones may be said again at once. */
const LINES_MAX = 256;

interface Said {
  readonly level: LogLevel;
  readonly message: string;
  atMs: number;
  /** How often it came since, and was not said. */
  more: number;
}

/** @returns a log that passes lines on to `log` */
export function withoutRepetitions(clock: Pick<Clock, 'monotonicMs'>, log: Log): Log {
  /** The one that was said last is the last. */
  const lines = new Map<string, Said>();
  const say = (key: string, line: Said, nowMs: number) => {
    log(
      line.level,
      line.more > 1 ? `${line.message} (${line.more} times since it was said last)` : line.message,
    );
    line.atMs = nowMs;
    line.more = 0;
    lines.delete(key);
    lines.set(key, line);
  };
  return (level, message) => {
    const nowMs = clock.monotonicMs();
    const key = `${level} ${message}`;
    const line = lines.get(key) ?? { level, message, atMs: Number.NEGATIVE_INFINITY, more: 0 };
    line.more += 1;
    // What was held back is said when its time has come, whatever is the occasion.
    for (const [other, { atMs }] of [...lines].slice(0, 8)) {
      if (nowMs - atMs < PAUSE_MS) break;
      const known = lines.get(other) as Said;
      if (other !== key && known.more > 0) say(other, known, nowMs);
      else if (other !== key) lines.delete(other);
    }
    if (nowMs - line.atMs >= PAUSE_MS) say(key, line, nowMs);
    for (const oldest of lines.keys()) {
      if (lines.size <= LINES_MAX) break;
      lines.delete(oldest);
    }
  };
}

// Sizes, times and rates as people write and read them.
import { QsfsError } from './errors.ts';

const UNITS: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
  pib: 2 ** 50,
  k: 2 ** 10,
  m: 2 ** 20,
  g: 2 ** 30,
  t: 2 ** 40,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
};

const DURATIONS: Readonly<Record<string, number>> = { ms: 1, s: 1e3, m: 60e3, min: 60e3, h: 3600e3 };

/**
 * Bytes of a size like `64MiB`, `2GiB`, `1.5g`, `1000`.
 * @param text what the user wrote
 * @param where names the option or key, for the message
 * @throws QsfsError QSFS_E_USAGE
 */
export function parseSize(text: string, where: string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(text);
  const unit = UNITS[(match?.[2] ?? '?').toLowerCase()];
  const bytes = match && unit ? Math.floor(Number(match[1]) * unit) : Number.NaN;
  if (!Number.isSafeInteger(bytes)) {
    throw new QsfsError(
      'QSFS_E_USAGE',
      `${where} "${text}" is no size`,
      'Write a size like 64MiB, 2GiB or 500MB.',
    );
  }
  return bytes;
}

/**
 * Milliseconds of a time like `30s`, `5min`, `250ms`.
 * @throws QsfsError QSFS_E_USAGE
 */
export function parseDuration(text: string, where: string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|min|h)\s*$/.exec(text);
  if (!match) {
    throw new QsfsError(
      'QSFS_E_USAGE',
      `${where} "${text}" is no time`,
      'Write a time like 30s, 5min or 1h.',
    );
  }
  return Math.round(Number(match[1]) * (DURATIONS[match[2] ?? ''] ?? Number.NaN));
}

/** `1.5 GiB`: three significant digits at most, binary units. */
export function formatSize(bytes: number): string {
  const names = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < names.length - 1) {
    value /= 1024;
    unit += 1;
  }
  if (unit === 0) return bytes === 1 ? '1 byte' : `${bytes} bytes`;
  return `${value >= 100 ? Math.round(value) : Number(value.toFixed(value >= 10 ? 1 : 2))} ${names[unit]}`;
}

/** A size that `parseSize` reads back exactly: `64MiB`, `2GiB`, `1000`. */
export function formatExactSize(bytes: number): string {
  for (const [name, unit] of [
    ['TiB', 2 ** 40],
    ['GiB', 2 ** 30],
    ['MiB', 2 ** 20],
    ['KiB', 2 ** 10],
  ] as const) {
    if (bytes >= unit && bytes % unit === 0) return `${bytes / unit}${name}`;
  }
  return `${bytes}`;
}

/** `850 ms`, `12.3 s`, `5 min 3 s`. */
export function formatDuration(milliseconds: number): string {
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  const seconds = milliseconds / 1000;
  if (seconds < 60) return `${Number(seconds.toFixed(1))} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(seconds - minutes * 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** `1 backend`, `3 backends`. */
export function count(number: number, noun: string, plural = `${noun}s`): string {
  return `${number} ${number === 1 ? noun : plural}`;
}

// Reads one TOML table key by key. Every complaint names the key by its full path and the fix; keys that nobody asked
// for are refused with the nearest known name.
import { ZstorError } from '../errors.ts';

type Table = Readonly<Record<string, unknown>>;

/** Letters in which a slip differs from the word that was meant. */
const SLIP_MAX = 2;

/** The error every wrong configuration ends in. @param key full path of the key, as `meta.config.backends[2].address` */
export function configError(key: string, problem: string): ZstorError {
  return new ZstorError('QSFS_E_CONFIG', `configuration: ${key}: ${problem}`);
}

/** One table of the file. `finish` must be called after the last key was read. */
export class TableReader {
  readonly path: string;
  readonly #table: Table;
  readonly #known = new Set<string>();

  /** @param path full path of the table; empty for the top level */
  constructor(table: unknown, path: string) {
    if (!isTable(table)) throw configError(path, 'must be a table');
    this.#table = table;
    this.path = path;
  }

  /** Full path of a key of this table. */
  keyPath(key: string): string {
    return this.path === '' ? key : `${this.path}.${key}`;
  }

  error(key: string, problem: string): ZstorError {
    return configError(this.keyPath(key), problem);
  }

  /** The error for a key that has to be there; one that nobody has read and that is nearly the same is taken for a slip. */
  missing(key: string, fix: string): ZstorError {
    const slip = Object.keys(this.#table).find(
      (found) => !this.#known.has(found) && editDistance(found.toLowerCase(), key.toLowerCase()) <= SLIP_MAX,
    );
    if (slip !== undefined) return this.error(slip, `unknown key; did you mean "${key}"?`);
    return this.error(key, `is missing; ${fix}`);
  }

  /** The raw value; undefined when absent. */
  raw(key: string): unknown {
    this.#known.add(key);
    return Object.hasOwn(this.#table, key) ? this.#table[key] : undefined;
  }

  /** An integer within bounds; undefined when absent. */
  integer(key: string, lowest: number, highest: number): number | undefined {
    const value = this.raw(key);
    if (value === undefined) return undefined;
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < lowest || value > highest) {
      throw this.error(key, `must be a whole number from ${lowest} to ${highest}, not ${show(value)}`);
    }
    return value;
  }

  requiredInteger(key: string, lowest: number, highest: number, meaning: string): number {
    const value = this.integer(key, lowest, highest);
    if (value === undefined) throw this.missing(key, `set it to ${meaning}`);
    return value;
  }

  /** A number of bytes: an integer, or text such as `4MiB`. */
  size(key: string): number | undefined {
    const value = this.raw(key);
    if (value === undefined) return undefined;
    const bytes = typeof value === 'string' ? parseSize(value) : value;
    if (typeof bytes !== 'number' || !Number.isSafeInteger(bytes) || bytes < 0) {
      throw this.error(key, `must be a size such as "4MiB" or a number of bytes, not ${show(value)}`);
    }
    return bytes;
  }

  text(key: string): string | undefined {
    const value = this.raw(key);
    if (value === undefined) return undefined;
    if (typeof value !== 'string') throw this.error(key, `must be text in quotes, not ${show(value)}`);
    return value;
  }

  requiredText(key: string, meaning: string): string {
    const value = this.text(key);
    if (value === undefined) throw this.missing(key, `set it to ${meaning}`);
    return value;
  }

  /** One of some words. */
  choice<Word extends string>(key: string, words: readonly Word[]): Word | undefined {
    const value = this.text(key);
    if (value === undefined) return undefined;
    const word = words.find((candidate) => candidate === value);
    if (word === undefined) {
      throw this.error(key, `must be ${words.map((w) => `"${w}"`).join(' or ')}, not ${show(value)}`);
    }
    return word;
  }

  /** All of the table as it is, for whoever understands it. */
  content(): Record<string, unknown> {
    return { ...this.#table };
  }

  table(key: string): TableReader | undefined {
    const value = this.raw(key);
    return value === undefined ? undefined : new TableReader(value, this.keyPath(key));
  }

  /** An array of tables; empty when absent. */
  tables(key: string): TableReader[] {
    const value = this.raw(key) ?? [];
    if (!Array.isArray(value)) throw this.error(key, `must be an array of tables ([[${this.keyPath(key)}]])`);
    return value.map((table, index) => new TableReader(table, `${this.keyPath(key)}[${index}]`));
  }

  /** Refuses what was not read. */
  finish(): void {
    for (const key of Object.keys(this.#table)) {
      if (this.#known.has(key)) continue;
      const near = nearest(key, [...this.#known]);
      throw this.error(
        key,
        `unknown key; ${near ? `did you mean "${near}"?` : `remove it (known here: ${[...this.#known].join(', ')})`}`,
      );
    }
  }
}

function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

function show(value: unknown): string {
  // JSON has no word for the numbers inf and nan.
  const text = typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? String(value));
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

const SIZE_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  B: 1,
  K: 2 ** 10,
  KB: 1e3,
  KIB: 2 ** 10,
  M: 2 ** 20,
  MB: 1e6,
  MIB: 2 ** 20,
  G: 2 ** 30,
  GB: 1e9,
  GIB: 2 ** 30,
  T: 2 ** 40,
  TB: 1e12,
  TIB: 2 ** 40,
};

/** Bytes meant by `64MiB`, `2G`, `1000`; undefined when it is not a size. */
export function parseSize(text: string): number | undefined {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(text);
  const unit = SIZE_UNITS[(match?.[2] ?? '?').toUpperCase()];
  if (!match || unit === undefined) return undefined;
  const bytes = Number(match[1]) * unit;
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** The known word nearest to a wrong one, if it is near enough to be meant. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.ceil(word.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Levenshtein distance. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substituted = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substituted, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}

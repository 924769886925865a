// Settings of a namespace: what the descriptor stores, what holds for this run only, and what a program laid over both.
import { type Disk, readWhole, replaceWhole } from '@qsfs/io';
import {
  DEFAULT_DESCRIPTOR,
  DESCRIPTOR_NAME,
  type Descriptor,
  decodeDescriptor,
  encodeDescriptor,
  NAME_MAX_BYTES,
} from './format/descriptor-format.ts';
import { type NamespaceSettings, StoreError } from './types.ts';

/** The name every store has. */
export const DEFAULT_NAMESPACE = 'default';

/** Why a name is refused; undefined: it is fine. Names are directory names, at most 128 bytes of UTF-8. */
export function nameProblem(name: string): string | undefined {
  const bytes = Buffer.from(name, 'utf8');
  if (bytes.length === 0) return 'it is empty';
  if (bytes.length > NAME_MAX_BYTES) return `it is longer than ${NAME_MAX_BYTES} bytes`;
  if (bytes.includes(0) || bytes.includes(0x2f)) return 'it contains a NUL or a slash';
  if (/[\n\r]/.test(name)) return 'it contains a line break';
  if (name === '.' || name === '..') return 'it names a directory';
  if (name.includes('\ufffd') || bytes.toString('utf8') !== name) return 'it is not valid UTF-8';
  return undefined;
}

/** The settings of one namespace. */
export class Settings {
  readonly #disk: Disk;
  readonly #name: string;
  readonly #path: string;
  #stored: Descriptor = DEFAULT_DESCRIPTOR;
  #locked = false;
  #frozen = false;
  #over: Partial<NamespaceSettings> = {};
  /** What holds now. */
  current: NamespaceSettings = { ...DEFAULT_DESCRIPTOR, locked: false, frozen: false };

  constructor(disk: Disk, name: string, indexDirectory: string) {
    this.#disk = disk;
    this.#name = name;
    this.#path = `${indexDirectory}/${DESCRIPTOR_NAME}`;
  }

  /**
   * Reads the descriptor; a missing or short one is replaced by the defaults.
   * @returns a line for the operator when that happened
   * @throws RangeError on another version; IoError
   */
  load(): string | undefined {
    const bytes = readWhole(this.#disk, this.#path);
    const stored = bytes && decodeDescriptor(bytes);
    this.#stored = stored ?? DEFAULT_DESCRIPTOR;
    this.#merge();
    if (stored) return undefined;
    this.save();
    return bytes
      ? `${this.#path}: too short, replaced by the defaults (public, no password, no limit)`
      : `${this.#path}: missing, written with the defaults (public, no password, no limit)`;
  }

  /** Replaces the descriptor atomically. */
  save(): void {
    replaceWhole(this.#disk, this.#path, encodeDescriptor(Buffer.from(this.#name, 'utf8'), this.#stored));
  }

  /** Changes settings and writes the descriptor. Nothing is changed when that fails. */
  configure(change: Partial<NamespaceSettings>): void {
    const before = this.#stored;
    this.#stored = {
      password: 'password' in change ? nonEmpty(change.password) : before.password,
      public: change.public ?? before.public,
      worm: change.worm ?? before.worm,
      maxSizeBytes: change.maxSizeBytes ?? before.maxSizeBytes,
    };
    try {
      this.save();
    } catch (error) {
      this.#stored = before;
      throw error;
    }
    this.#locked = change.locked ?? this.#locked;
    this.#frozen = change.frozen ?? this.#frozen;
    this.#merge();
  }

  /** Lays settings over the others for this run. */
  override(change: Partial<NamespaceSettings>): void {
    this.#over = { ...this.#over, ...change };
    this.#merge();
  }

  #merge(): void {
    this.current = { ...this.#stored, locked: this.#locked, frozen: this.#frozen, ...this.#over };
  }
}

function nonEmpty(password: Uint8Array | undefined): Uint8Array | undefined {
  return password && password.length > 0 ? Uint8Array.from(password) : undefined;
}

/** @throws StoreError('name-not-allowed') */
export function requireName(name: string): void {
  const problem = nameProblem(name);
  if (problem) throw new StoreError('name-not-allowed', `namespace name refused: ${problem}`);
}

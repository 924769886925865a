// Stores in a local directory: a disk, a mounted share, a test. One file per value, replaced atomically by rename.
//
//   PATH/identity                 16 hex digits, made with the store
//   PATH/shards/ab/abcdef012345   a shard: key 0xabcdef012345, fanned out by the first two digits
//   PATH/records/ab/NAME          a record: `/` in the key becomes `_`; fanned out by the last two characters of the key
//
// A value's file is `QZF1`, CRC-32 of the content (u32, little-endian), then the content (docs/formats/records.md, "Backends").
// Calls are synchronous underneath, so nothing can hang; they still answer as promises, like every store.
import { dirname, join } from 'node:path';
import { crc32 } from 'node:zlib';
import { type Disk, errorCode, type Random, readWhole, replaceWhole } from '@qsfs/io';
import {
  BackendError,
  type CallOptions,
  type GetOptions,
  type RecordStore,
  type ShardLocation,
  type ShardStore,
  type SpaceReport,
} from './backend.ts';

const MAGIC = Buffer.from('QZF1');
const HEADER_BYTES = 8;
/** Keys are random; a free one is found at the first try but for one case in millions. */
const KEY_TRIES = 10;
/** Files looked at for a space report; a directory with more of them does not say how full it is. */
const MOST_COUNTED = 20_000;

/** The files below one directory. */
class Directory {
  readonly name: string;
  readonly path: string;
  readonly #disk: Disk;
  readonly #made = new Set<string>();
  #closed = false;
  #temporary = 0;
  readonly #unique: string;

  constructor(disk: Disk, random: Random, name: string, path: string) {
    this.#disk = disk;
    this.name = name;
    this.path = path;
    this.#unique = Buffer.from(random.bytes(6)).toString('hex');
  }

  /** Runs something on the disk; errors come out as BackendError. */
  run<T>(options: CallOptions, call: (disk: Disk) => T): Promise<T> {
    if (this.#closed) return Promise.reject(new BackendError(this.name, 'unreachable', 'closed'));
    if (options.signal?.aborted) return Promise.reject(new BackendError(this.name, 'aborted', 'given up'));
    try {
      if (this.#disk.stat(this.path)?.kind !== 'directory') {
        throw new BackendError(
          this.name,
          'unreachable',
          `there is no directory ${this.path}; create or mount it`,
        );
      }
      return Promise.resolve(call(this.#disk));
    } catch (error) {
      return Promise.reject(this.#translate(error));
    }
  }

  #translate(error: unknown): unknown {
    if (error instanceof BackendError) return error;
    const code = errorCode(error);
    if (code === undefined) return error;
    const message = (error as Error).message;
    if (code === 'ENOSPC' || code === 'EDQUOT') return new BackendError(this.name, 'full', message, error);
    if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
      return new BackendError(this.name, 'refused', message, error);
    }
    return new BackendError(this.name, 'unreachable', message, error);
  }

  /** Writes a value as a whole or not at all. */
  write(disk: Disk, path: string, content: Uint8Array): void {
    const folder = dirname(path);
    const isKnown = this.#made.has(folder);
    if (!isKnown) disk.makeDirectory(folder);
    try {
      this.#writeInto(disk, path, content);
    } catch (error) {
      if (!isKnown || errorCode(error) !== 'ENOENT') throw error;
      // Removed behind our back: a wiped backend takes values like an empty one.
      disk.makeDirectory(folder);
      this.#writeInto(disk, path, content);
    }
    this.#made.add(folder);
  }

  #writeInto(disk: Disk, path: string, content: Uint8Array): void {
    const header = Buffer.alloc(HEADER_BYTES);
    MAGIC.copy(header);
    header.writeUInt32LE(crc32(content), 4);
    const temporary = `${path}.${this.#unique}.${this.#temporary++}.new`;
    try {
      const file = disk.open(temporary, 'create-new');
      try {
        file.writeVector([header, content], 0);
      } finally {
        file.close();
      }
      disk.rename(temporary, path);
    } catch (error) {
      if (disk.stat(temporary)) disk.remove(temporary);
      throw error;
    }
  }

  /** The content of a value's file, straight into `into` where that is large enough. */
  read(disk: Disk, path: string, into?: Uint8Array): Uint8Array | undefined {
    const status = disk.stat(path);
    if (status?.kind !== 'file' || status.sizeBytes < HEADER_BYTES) return undefined;
    const length = status.sizeBytes - HEADER_BYTES;
    const target = into && into.length >= length ? into.subarray(0, length) : new Uint8Array(length);
    const file = disk.open(path, 'read');
    try {
      return target.subarray(0, file.read(target, HEADER_BYTES));
    } finally {
      file.close();
    }
  }

  /** Compares a value's file with its checksum. */
  check(disk: Disk, path: string): 'good' | 'bad' | 'missing' {
    const whole = readWhole(disk, path);
    if (!whole) return 'missing';
    const view = Buffer.from(whole.buffer, whole.byteOffset, whole.byteLength);
    if (whole.length < HEADER_BYTES || !MAGIC.equals(view.subarray(0, 4))) return 'bad';
    return view.readUInt32LE(4) === crc32(view.subarray(HEADER_BYTES)) ? 'good' : 'bad';
  }

  remove(disk: Disk, path: string): void {
    if (disk.stat(path)) disk.remove(path);
  }

  /** Files below a fanned-out folder, folder by folder. */
  *pages(disk: Disk, folder: string): Generator<readonly [part: string, files: readonly string[]]> {
    if (!disk.stat(folder)) return;
    for (const part of disk.list(folder)) {
      yield [part, disk.list(join(folder, part)).filter((file) => !file.endsWith('.new'))];
    }
  }

  space(disk: Disk, folder: string): SpaceReport {
    const freeBytes = disk.space(this.path).availableBytes;
    let usedBytes = 0;
    let entries = 0;
    for (const [part, files] of this.pages(disk, folder)) {
      for (const file of files) {
        if (entries === MOST_COUNTED) return { usedBytes: undefined, freeBytes, entries: undefined };
        entries++;
        usedBytes += disk.stat(join(folder, part, file))?.sizeBytes ?? 0;
      }
    }
    return { usedBytes, freeBytes, entries };
  }

  close(): void {
    this.#closed = true;
  }
}

/** Shards in a directory. Keys are random 48-bit numbers. */
export class DirectoryShardStore implements ShardStore {
  readonly name: string;
  readonly #directory: Directory;
  readonly #random: Random;

  constructor(disk: Disk, random: Random, name: string, path: string) {
    this.name = name;
    this.#random = random;
    this.#directory = new Directory(disk, random, name, path);
  }

  /** Keys are drawn by lot. */
  get nextKey(): undefined {
    return undefined;
  }

  identify(options: CallOptions = {}): Promise<string> {
    return this.#directory.run(options, (disk) => this.#identity(disk));
  }

  put(content: Uint8Array, options: CallOptions = {}): Promise<ShardLocation> {
    return this.#directory.run(options, (disk) => {
      const incarnation = this.#identity(disk) || this.#createIdentity(disk);
      for (let attempt = 0; attempt < KEY_TRIES; attempt++) {
        const key = Buffer.from(this.#random.bytes(6)).readUIntBE(0, 6);
        const path = this.#path(key);
        if (disk.stat(path)) continue;
        this.#directory.write(disk, path, content);
        return { incarnation, key };
      }
      throw new BackendError(this.name, 'full', `no free key in ${KEY_TRIES} tries`);
    });
  }

  get(location: ShardLocation, options: GetOptions = {}): Promise<Uint8Array | undefined> {
    return this.#at(location, options, (disk, path) => this.#directory.read(disk, path, options.into));
  }

  length(location: ShardLocation, options: CallOptions = {}): Promise<number | undefined> {
    return this.#at(location, options, (disk, path) => {
      const status = disk.stat(path);
      return status?.kind === 'file' ? status.sizeBytes - HEADER_BYTES : undefined;
    });
  }

  async check(location: ShardLocation, options: CallOptions = {}): Promise<'good' | 'bad' | 'missing'> {
    return (
      (await this.#at(location, options, (disk, path) => this.#directory.check(disk, path))) ?? 'missing'
    );
  }

  async delete(location: ShardLocation, options: CallOptions = {}): Promise<void> {
    await this.#at(location, options, (disk, path) => this.#directory.remove(disk, path));
  }

  #at<T>(
    location: ShardLocation,
    options: CallOptions,
    call: (disk: Disk, path: string) => T,
  ): Promise<T | undefined> {
    return this.#directory.run(options, (disk) =>
      location.incarnation === this.#identity(disk) ? call(disk, this.#path(location.key)) : undefined,
    );
  }

  /** Read every time: the directory may be wiped or replaced while we run. */
  #identity(disk: Disk): string {
    const content = readWhole(disk, join(this.#directory.path, 'identity'));
    const text = content ? Buffer.from(content).toString('latin1') : '';
    return /^[0-9a-f]{16}$/.test(text) ? text : '';
  }

  #createIdentity(disk: Disk): string {
    const path = join(this.#directory.path, 'identity');
    const identity = Buffer.from(this.#random.bytes(8)).toString('hex');
    // A damaged identity file is replaced: what it named cannot be told apart any more.
    replaceWhole(disk, path, Buffer.from(identity));
    return identity;
  }

  space(options: CallOptions = {}): Promise<SpaceReport> {
    return this.#directory.run(options, (disk) =>
      this.#directory.space(disk, join(this.#directory.path, 'shards')),
    );
  }

  ping(options: CallOptions = {}): Promise<void> {
    return this.#directory.run(options, () => {});
  }

  /** Nothing is ever under way. */
  readonly arrivedBytes = 0;
  readonly gotBytes = 0;

  reset(): void {}

  close(): Promise<void> {
    this.#directory.close();
    return Promise.resolve();
  }

  #path(key: number): string {
    const digits = key.toString(16).padStart(12, '0');
    return join(this.#directory.path, 'shards', digits.slice(0, 2), digits);
  }
}

/** Records in a directory. */
export class DirectoryRecordStore implements RecordStore {
  readonly name: string;
  readonly #directory: Directory;

  constructor(disk: Disk, random: Random, name: string, path: string) {
    this.name = name;
    this.#directory = new Directory(disk, random, name, path);
  }

  probe(options: CallOptions = {}): Promise<void> {
    return this.#directory.run(options, () => {});
  }

  get(key: string, options: CallOptions = {}): Promise<Uint8Array | undefined> {
    return this.#directory.run(options, (disk) => {
      const path = this.#path(key);
      // A file that was cut off is no missing record.
      return this.#directory.read(disk, path) ?? (disk.stat(path) ? new Uint8Array(0) : undefined);
    });
  }

  set(key: string, content: Uint8Array, options: CallOptions = {}): Promise<void> {
    return this.#directory.run(options, (disk) => this.#directory.write(disk, this.#path(key), content));
  }

  delete(key: string, options: CallOptions = {}): Promise<void> {
    return this.#directory.run(options, (disk) => this.#directory.remove(disk, this.#path(key)));
  }

  async *keys(prefix: string, options: CallOptions = {}): AsyncIterable<readonly string[]> {
    const folder = join(this.#directory.path, 'records');
    const pages = await this.#directory.run(options, (disk) => [...this.#directory.pages(disk, folder)]);
    for (const [, files] of pages) {
      const keys = files.map((file) => file.replaceAll('_', '/'));
      yield keys.filter((key) => key.startsWith(prefix));
    }
  }

  space(options: CallOptions = {}): Promise<SpaceReport> {
    return this.#directory.run(options, (disk) =>
      this.#directory.space(disk, join(this.#directory.path, 'records')),
    );
  }

  ping(options: CallOptions = {}): Promise<void> {
    return this.#directory.run(options, () => {});
  }

  /** Nothing is ever under way. */
  readonly arrivedBytes = 0;

  reset(): void {}

  close(): Promise<void> {
    this.#directory.close();
    return Promise.resolve();
  }

  #path(key: string): string {
    if (!/^[a-z0-9/-]{2,255}$/.test(key)) throw new RangeError(`"${key}" is no key of a record store`);
    return join(
      this.#directory.path,
      'records',
      key.slice(-2).replaceAll('/', '_'),
      key.replaceAll('/', '_'),
    );
  }
}

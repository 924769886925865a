// `zdb mirror` on simulated disks: a source that is written to, compacts and is killed at every request of the mirror, which is killed
// itself, as is its target; in the end every id, value and time is the same. Times and values are few, so that many changes look like none.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { syncAtOnce } from '@qsfs/io';
import { SimulatedDisk, SimulatedRandom } from '@qsfs/io/simulated';
import { type RawEntry, RespError } from '@qsfs/resp';
import { type Engine, type Namespace, type NamespaceMode, NotLocal, StoreError } from '../src/index.ts';
import { SourceLog } from '../src/tools/mirror/mirror-log.ts';
import { SeqMirror, type SeqMirrorParts } from '../src/tools/mirror/mirror-seq.ts';
import { freshState, type MirrorState } from '../src/tools/mirror/mirror-state.ts';
import { UserMirror, type UserMirrorParts } from '../src/tools/mirror/mirror-user.ts';
import { idKey, openSimulated } from './scratch.ts';

const RUNS = Number(process.env['ZDB_MIRROR_RUNS'] ?? 30);
const SEED = Number(process.env['ZDB_MIRROR_SEED'] ?? 1);
const ROUNDS = 12;
const KEYS = 12;
/** Entries of the log that the source answers together. */
const RUN_ENTRIES = 5;
/** The last one has a block that can be given back. */
const VALUES = ['', 'a', 'b', 'c'.repeat(9000)];

/** Stands for the key of a record that gets the next id. */
const NEW = new Uint8Array(0);
const text = (value: string): Uint8Array => new Uint8Array(Buffer.from(value));

/** The mirror was killed. */
class Killed extends Error {}

/** A server: one namespace of an engine that can be killed. */
class Server {
  disk = new SimulatedDisk();
  readonly mode: NamespaceMode;
  engine!: Engine;

  constructor(mode: NamespaceMode) {
    this.mode = mode;
    this.open();
  }

  get namespace(): Namespace {
    return this.engine.namespace('ns')!;
  }

  open(): void {
    this.engine = openSimulated(this.disk);
    if (!this.engine.namespace('ns')) this.engine.createNamespace('ns', this.mode);
  }

  /** What was committed stays. */
  kill(disk: SimulatedDisk = this.disk.kill()): void {
    this.disk = disk;
    this.open();
  }

  compact(ratio: number, crashAfter?: number): void {
    if (crashAfter !== undefined) this.disk.crashAfter(crashAfter);
    try {
      this.namespace.compact(ratio, 1 << 30);
    } catch (error) {
      if (crashAfter === undefined) throw error;
    }
    if (crashAfter !== undefined) this.kill();
  }

  /** Gives back what dead records take. */
  hollow(): void {
    const { namespace } = this;
    if (this.mode === 'seq') syncAtOnce(namespace.hollowSteps(namespace.dataFiles().map(({ file }) => file)));
  }

  /** Key, value and time of everything. */
  content(): Map<string, string> {
    const found = new Map<string, string>();
    const { namespace } = this;
    for (let batch = namespace.scan('forward'); batch; batch = namespace.scan('forward', batch.cursor)) {
      for (const { key, timestamp } of batch.entries) {
        const value = Buffer.from(namespace.get(key)!).toString();
        found.set(Buffer.from(key).toString('hex'), `${value}@${timestamp}`);
      }
    }
    return new Map([...found].sort());
  }
}

type Client = SeqMirrorParts['source'] &
  SeqMirrorParts['target'] &
  UserMirrorParts['source'] &
  ConstructorParameters<typeof SourceLog>[0];

/** Requests in the order of the calls; answers come later. @param before called in front of each @param hasRuns of entries of the log */
function clientOf(
  server: Server,
  before: (isInsertion?: boolean) => void,
  freeBytes = 2 ** 40,
  hasRuns = true,
): Client {
  const ask = <T>(call: (namespace: Namespace) => T, isInsertion = false): Promise<T> => {
    try {
      before(isInsertion);
      const answer = call(server.namespace);
      server.engine.commit();
      return Promise.resolve(answer);
    } catch (error) {
      const isRefused = error instanceof StoreError || error instanceof NotLocal;
      return Promise.reject(isRefused ? new RespError('Internal Error') : error);
    }
  };
  const bytes = (value: string | Uint8Array | readonly Uint8Array[]): Uint8Array =>
    new Uint8Array(Buffer.from(value as Uint8Array));
  return {
    get: (key) => ask((namespace) => namespace.get(bytes(key))),
    keyTime: (key) => ask((namespace) => namespace.info(bytes(key))?.timestamp),
    cursorOf: (key) => ask((namespace) => namespace.cursorOf(bytes(key))),
    length: (key) => ask((namespace) => namespace.info(bytes(key))?.lengthBytes),
    exists: (key) => ask((namespace) => namespace.info(bytes(key)) !== undefined),
    check: (key) => ask((namespace) => namespace.check(bytes(key))),
    insert: (value, time) => ask((namespace) => namespace.set(NEW, bytes(value), time)!, true),
    set: (key, value, time) =>
      ask((namespace) => namespace.set(bytes(key), bytes(value), time) !== undefined),
    delete: (key, time) => ask((namespace) => namespace.remove(bytes(key), time)),
    scan: (cursor) => ask((namespace) => namespace.scan('forward', cursor, { entries: 5 })),
    history: (key, cursor) =>
      ask((namespace) => {
        const { older, timestamp, payload } = namespace.history(bytes(key), cursor);
        return { cursor: older, timestamp, value: payload };
      }),
    info: () => ask(() => new Map([['server_revision', 'qsfs']])),
    namespaceInfo: () =>
      ask((namespace) => {
        const id = Buffer.alloc(8);
        id.writeBigUInt64LE(BigInt(namespace.nextId));
        return new Map([
          ['next_internal_id', `0x${id.readBigUInt64BE().toString(16)}`],
          ['data_current_id', `${namespace.activeFile}`],
          ['data_current_offset', `${namespace.activeOffset}`],
          ['data_disk_freespace_bytes', `${freeBytes}`],
        ]);
      }),
    rawEntry: (file, offset) => ask((namespace) => entryAt(namespace, file, offset)),
    rawEntries: (file, offset) =>
      ask((namespace) => {
        if (!hasRuns) throw new RespError('Unknown DATA subcommand');
        const first = entryAt(namespace, file, offset);
        return first && [first, ...entriesBehind(namespace, file, first.nextOffset)];
      }),
  };
}

/** As DATA RAW answers it. */
function entryAt(
  namespace: Namespace,
  file: number,
  offset: number,
): (RawEntry & { readonly nextOffset: number }) | undefined {
  try {
    const { flags, payload, ...entry } = namespace.rawEntry(file, offset);
    return { ...entry, deletion: (flags & 1) === 1, truncated: (flags & 2) === 2, value: payload };
  } catch (error) {
    if (error instanceof StoreError && error.reason === 'end-of-file') return undefined;
    const isDamaged = error instanceof StoreError && error.reason === 'unreadable';
    throw new RespError(isDamaged ? 'Unexpected Internal Error' : 'Invalid Request');
  }
}

/** A few entries, as many as can be had. */
function* entriesBehind(namespace: Namespace, file: number, offset: number): Generator<RawEntry> {
  try {
    for (let at = offset, read = 1; read < RUN_ENTRIES; read++) {
      const entry = entryAt(namespace, file, at);
      if (entry === undefined) return;
      yield entry;
      at = entry.nextOffset;
    }
  } catch (error) {
    if (!(error instanceof RespError)) throw error;
  }
}

class Harness {
  readonly random: SimulatedRandom;
  readonly mode: NamespaceMode;
  readonly source: Server;
  readonly target: Server;
  /** As in the state file. */
  state = freshState('source', 'target', 'ns');
  isNew = true;
  /** Of 24 changes that insert or update those that insert; requests to a change, at least. */
  readonly #insertions: number;
  readonly #calm: number;
  readonly #hasRuns: boolean;
  #isBusy = false;
  /** What happens once, and in front of which request. */
  once: (() => void) | undefined;
  onceAt = 0;
  /** The target refuses one insertion after so many. */
  refuseIn = 0;
  freeBytes = 2 ** 40;
  #requests = 0;
  #killAfter = Number.POSITIVE_INFINITY;

  constructor(mode: NamespaceMode, seed: number) {
    this.mode = mode;
    this.random = new SimulatedRandom(seed);
    this.#insertions = [12, 3, 20][this.random.below(3)]!;
    this.#calm = [2, 5, 20][this.random.below(3)]!;
    this.#hasRuns = seed % 4 > 0;
    this.source = new Server(mode);
    this.target = new Server(mode);
  }

  /** Changes the source in some way. */
  change(): void {
    const { random, source } = this;
    const { namespace } = source;
    const what = random.below(40);
    const time = 1000 + random.below(3);
    if (what < this.#insertions) namespace.set(this.#newKey(), this.#value(), time);
    else if (what < 24) this.#onSome((key) => void namespace.set(key, this.#value(), time));
    else if (what < 33) this.#onSome((key) => void namespace.remove(key, time));
    else if (what < 35) namespace.rotate();
    else if (what < 36) source.hollow();
    else if (what < 38) source.compact(0.95);
    else if (what < 39) source.compact(0.95, random.below(12));
    else source.kill();
    source.engine.commit();
  }

  /** A run of the mirror. @param killAfter so many requests */
  async run(isBusy: boolean, killAfter = Number.POSITIVE_INFINITY): Promise<void> {
    this.#isBusy = isBusy;
    this.#requests = 0;
    this.#killAfter = killAfter;
    const state: MirrorState = { ...this.state, marks: [...this.state.marks] };
    const source = clientOf(this.source, () => this.#before(), undefined, this.#hasRuns);
    const target = clientOf(
      this.target,
      (isInsertion) => {
        this.#before();
        if (isInsertion && --this.refuseIn === 0) throw new RespError('No space left on this disk');
      },
      this.freeBytes,
    );
    const parts = {
      ...{ source, target, state, log: new SourceLog(source, 'ns'), stopping: { now: false } },
      save: () => {
        if (this.#requests > this.#killAfter) throw new Killed();
        this.state = { ...state, marks: [...state.marks] };
        this.isNew = false;
      },
      damaged: (id: number | Uint8Array) => assert.fail(`record ${id} is not damaged`),
    };
    const mirror = this.mode === 'seq' ? new SeqMirror(parts, this.isNew) : new UserMirror(parts);
    try {
      await mirror.pass();
    } catch (error) {
      if (!(error instanceof Killed)) throw error;
      assert.ok(killAfter < Number.POSITIVE_INFINITY);
      // What was under way is refused, too.
    } finally {
      this.#isBusy = false;
    }
  }

  #before(): void {
    if (++this.#requests > this.#killAfter) throw new Killed();
    if (this.once && this.#requests === this.onceAt) {
      this.once();
      this.source.engine.commit();
      this.once = undefined;
    }
    // Fewer and fewer, so that a pass comes to an end.
    if (this.#isBusy && this.random.below(this.#calm + this.#requests / 20) === 0)
      do this.change();
      while (this.random.below(3) === 0);
  }

  #newKey(): Uint8Array {
    return this.mode === 'seq' ? new Uint8Array(0) : Buffer.from(`k${this.random.below(KEYS)}`);
  }

  #value(): Uint8Array {
    return Buffer.from(VALUES[this.random.below(VALUES.length)]!);
  }

  #onSome(call: (key: Uint8Array) => void): void {
    const keys = [...this.source.content().keys()].slice(-KEYS);
    if (keys.length > 0) call(new Uint8Array(Buffer.from(keys[this.random.below(keys.length)]!, 'hex')));
  }
}

async function tryOut(mode: NamespaceMode, seed: number): Promise<void> {
  const harness = new Harness(mode, seed);
  const { random, source, target } = harness;
  for (let i = random.below(60); i > 0; i--) harness.change();
  let earlier: SimulatedDisk | undefined;
  for (let round = 0; round < ROUNDS; round++) {
    for (let i = random.below(30); i > 0; i--) harness.change();
    const isKilled = random.below(3) > 0;
    await harness.run(true, isKilled ? random.below(120) : undefined);
    if (random.below(3) === 0) target.kill();
    if (random.below(6) === 0) earlier = target.disk.kill();
    // A machine that loses power may lose what was written last.
    if (earlier && random.below(12) === 0) target.kill(earlier.kill());
    if (random.below(3) > 0) continue;
    await harness.run(random.below(2) === 0);
    await harness.run(false);
    assert.deepEqual(target.content(), source.content());
    if (mode === 'seq') assert.equal(target.namespace.nextId, source.namespace.nextId);
  }
}

for (const mode of ['seq', 'user'] as const) {
  test(`the target becomes what the source is, whoever is killed, whatever changes meanwhile: ${mode}`, async () => {
    for (let seed = SEED; seed < SEED + RUNS; seed++) {
      try {
        await tryOut(mode, seed);
      } catch (error) {
        throw new Error(`ZDB_MIRROR_SEED=${seed} ZDB_MIRROR_RUNS=1: ${(error as Error).message}`, {
          cause: error,
        });
      }
    }
  });
}

test('an insertion that the target refuses gives no record to another id: what cannot be put right is an error', async () => {
  for (const freeBytes of [0, 2 ** 40]) {
    for (let refuseIn = 1; refuseIn <= 9; refuseIn++) {
      const harness = Object.assign(new Harness('seq', 1), { refuseIn, freeBytes });
      const { source, target } = harness;
      for (let i = 0; i < 9; i++) source.namespace.set(NEW, text(`${i}`), 1000 + i);
      source.engine.commit();
      await assert.rejects(harness.run(false), /No space left/);
      const wanted = source.content();
      for (const [key, found] of target.content()) assert.equal(found, wanted.get(key));
      const isWhole = freeBytes === 0 || refuseIn === 9;
      if (isWhole) await harness.run(false);
      else await assert.rejects(harness.run(false), /gives out other ids/);
      if (isWhole) assert.deepEqual(target.content(), wanted);
    }
  }
});

/** Single changes of a source that has the ids 0, 1 and 3; 2 was taken by an update of 0, which was 'a' at the time 1000 first. */
const CHANGES: Record<string, (source: Namespace) => void> = {
  'an update of a record that was copied before': (source) => void source.set(idKey(1), text('y'), 1003),
  'a value that comes back': (source) => void source.set(idKey(0), text('a'), 1003),
  'an update of a new record': (source) => void source.set(idKey(3), text('z'), 1003),
  'an update to the same time': (source) => void source.set(idKey(3), text('z'), 1000),
  'a removal of a record that was copied before': (source) => void source.remove(idKey(1), 1003),
  'a removal of a changed record': (source) => void source.remove(idKey(0), 1003),
  'a removal of a new record': (source) => void source.remove(idKey(3), 1003),
  'an insertion': (source) => void source.set(NEW, text('d'), 1003),
  'a compaction': (source) => {
    source.rotate();
    source.compact(1, 1 << 30);
  },
};

for (const [name, change] of Object.entries(CHANGES)) {
  test(`${name} at any moment of a pass leaves no record without a number`, async () => {
    for (const isFirst of [true, false]) {
      for (let at = 1, isMet = true; isMet; at++) {
        const harness = new Harness('seq', 1);
        const { source, target } = harness;
        const { namespace } = source;
        for (const value of ['a', 'b']) namespace.set(NEW, text(value), 1000);
        if (!isFirst) await harness.run(false);
        namespace.set(idKey(0), text('x'), 1001);
        namespace.set(NEW, text('c'), 1002);
        source.engine.commit();
        Object.assign(harness, { once: () => change(namespace), onceAt: at });
        await harness.run(false);
        isMet = harness.once === undefined;
        await harness.run(false);
        assert.deepEqual(target.content(), source.content(), `in front of request ${at}`);
        assert.equal(target.namespace.nextId, namespace.nextId);
      }
    }
  });
}

test('what a user namespace got just before it went on to another data file is not missed', async () => {
  for (let at = 1, isMet = true; isMet; at++) {
    const harness = new Harness('user', 1);
    const { source, target } = harness;
    const { namespace } = source;
    namespace.set(text('k'), text('a'), 1000);
    source.engine.commit();
    const once = (): void => {
      namespace.set(text('late'), text('b'), 1001);
      namespace.rotate();
      namespace.set(text('later'), text('c'), 1002);
    };
    Object.assign(harness, { once, onceAt: at });
    await harness.run(false);
    isMet = harness.once === undefined;
    await harness.run(false);
    assert.deepEqual(target.content(), source.content(), `in front of request ${at}`);
  }
});

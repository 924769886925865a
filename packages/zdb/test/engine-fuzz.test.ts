// Damaged files: a corpus of cases that went wrong once or might, and random ones. Whatever the files hold, opening ends, with a clear
// refusal at worst; no value is returned that its key never had; what is intact is served; the store takes writes and keeps them.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { SimulatedRandom } from '@qsfs/io/simulated';
import { type Engine, type Namespace, type NamespaceMode, StoreError } from '../src/index.ts';
import {
  anyDamage,
  type Damage,
  damaged,
  diskWith,
  filesOf,
  type KeyStory,
  makeSmallStore,
  openSmall,
  parseCase,
  printCase,
  type SmallStore,
} from './support/damage.ts';

const INPUTS = Number(process.env['ZDB_FUZZ_INPUTS'] ?? 200);
/** Another seed, to search or to repeat: ZDB_FUZZ_SEED=… */
const SEED = Number(process.env['ZDB_FUZZ_SEED'] ?? 1);
/** Repairs may keep copies of what they cut, and fill in what is missing; more is a sign that a number was believed. */
const GROWTH_MAX_BYTES = 1 << 20;

const corpus = readFileSync(new URL('fixtures/damage/corpus.txt', import.meta.url), 'utf8')
  .trim()
  .split('\n');

const stores = { user: makeSmallStore('user'), seq: makeSmallStore('seq') };

/** The value of a key, `undefined` when there is none, or the refusal. */
function lookUp(namespace: Namespace, key: Uint8Array): string | undefined | StoreError {
  try {
    const value = namespace.get(key);
    return value === undefined ? undefined : Buffer.from(value).toString('latin1');
  } catch (error) {
    if ((error as Error).name === 'NotLocal' || error instanceof StoreError) return error as StoreError;
    throw error;
  }
}

/** Walks and history end, and tell nothing that was not there. */
function look(
  namespace: Namespace,
  store: SmallStore,
  intact: (story: KeyStory) => boolean,
  misled: (value: string) => boolean,
): void {
  for (const direction of ['forward', 'backward'] as const) {
    let cursor: Uint8Array | undefined;
    for (let batches = 0; ; batches++) {
      assert.ok(batches < 1000, `a walk ${direction} does not end`);
      const batch = namespace.scan(direction, cursor, { entries: 7, timeMs: 1e9 });
      if (batch === undefined) break;
      cursor = batch.cursor;
    }
  }
  for (const story of store.stories.values()) {
    let cursor: Uint8Array | undefined;
    for (let steps = 0; steps < 50; steps++) {
      try {
        const version = namespace.history(story.key, cursor);
        const value = Buffer.from(version.payload).toString('latin1');
        if ((value !== '' || intact(story)) && !misled(value))
          assert.ok(story.values.has(value), 'history told a value that the key never had');
        cursor = version.older;
        if (cursor === undefined) break;
      } catch (error) {
        if ((error as Error).name === 'AssertionError') throw error;
        assert.ok(
          (error as Error).name === 'NotLocal' || error instanceof StoreError,
          String((error as Error).stack),
        );
        break;
      }
    }
  }
  for (let file = -1; file < 5; file++) {
    for (const offset of [0, 27, 28, 29, 100, 2 ** 31, 2 ** 32]) {
      try {
        namespace.rawEntry(file, offset);
      } catch (error) {
        assert.ok(
          (error as Error).name === 'NotLocal' || error instanceof StoreError,
          String((error as Error).stack),
        );
      }
    }
  }
}

function allValues(namespace: Namespace, store: SmallStore): Map<string, string | undefined> {
  return new Map(
    [...store.stories].map(([key, story]) => {
      const value = lookUp(namespace, story.key);
      return [key, value instanceof Error ? `(${value.name})` : value];
    }),
  );
}

function refusalOf(call: () => Engine): Engine | undefined {
  try {
    return call();
  } catch (error) {
    assert.ok(error instanceof StoreError, `opening throws ${(error as Error).stack}`);
    assert.equal(error.reason, 'bad-files');
    return undefined;
  }
}

/** @returns whether the store opened */
function attempt(mode: NamespaceMode, damages: readonly Damage[]): boolean {
  const store = stores[mode];
  const { files, touches } = damaged(store, damages);
  const disk = diskWith(files);
  const sizeBefore = [...files.values()].reduce((sum, bytes) => sum + bytes.length, 0);
  const engine = refusalOf(() => openSmall(disk, undefined));
  if (engine === undefined) return false;
  const namespace = engine.namespace('default')!;
  const intact = (story: KeyStory) => !story.ranges.some(touches);
  /** Nor does one cover ids: a damaged record may look like an update of another id. */
  const misled = (value: string) =>
    [...store.stories.values()].some((story) => !intact(story) && story.values.has(value));
  const both = damages.length > 1;
  // The data files tell everything when the index files are lost, cut or exchanged.
  const indexLost = damages.every(
    (damage) =>
      /\/i\d$/.test(damage.file) &&
      (damage.kind === 'cut' ||
        damage.kind === 'remove' ||
        (damage.kind === 'swap' && /\/i\d$/.test(damage.with))),
  );
  for (const story of store.stories.values()) {
    const value = lookUp(namespace, story.key);
    const name = Buffer.from(story.key).toString(mode === 'seq' ? 'hex' : 'latin1');
    // No checksum covers headers: a damaged one may look like that of an empty record.
    if (typeof value === 'string' && !(value === '' && !intact(story)) && !misled(value))
      assert.ok(story.values.has(value), `${name} has a value that it never had`);
    // A damaged key in the index may have become this one; its record tells that it is not, so reading it is an error.
    if (value instanceof StoreError && story.value === undefined && !indexLost) continue;
    if (indexLost || (!both && intact(story) && !(typeof value === 'string' && misled(value))))
      assert.equal(
        value,
        story.value,
        `${name} is intact${value instanceof Error ? `: ${value.message}` : ''}`,
      );
  }
  // What one opening shows the next one shows too, also when nothing was written in between.
  const shown = allValues(namespace, store);
  const next = openSmall(diskWith(filesOf(disk)), undefined);
  assert.deepEqual(allValues(next.namespace('default')!, store), shown, 'opening again changes nothing');
  next.close();
  look(namespace, store, intact, misled);
  // A damaged descriptor may say so, but otherwise it takes writes, and a second opening finds everything as it is.
  namespace.configure({ maxSizeBytes: 0 });
  const added = namespace.set(
    namespace.mode === 'seq' ? new Uint8Array(0) : Buffer.from('added'),
    Buffer.from('new'),
  )!;
  engine.commit();
  const before = allValues(namespace, store);
  engine.close();
  const sizeAfter = [...filesOf(disk).values()].reduce((sum, bytes) => sum + bytes.length, 0);
  assert.ok(sizeAfter < sizeBefore * 3 + GROWTH_MAX_BYTES, `${sizeBefore} bytes became ${sizeAfter}`);
  const again = openSmall(disk, undefined);
  const reopened = again.namespace('default')!;
  assert.equal(lookUp(reopened, added), 'new');
  assert.deepEqual(allValues(reopened, store), before);
  again.close();
  return true;
}

describe('damaged files', () => {
  it('of the corpus open or are refused', () => {
    for (const line of corpus) {
      const { mode, damages } = parseCase(line);
      assert.deepEqual(parseCase(printCase(mode, damages)), { mode, damages });
      try {
        attempt(mode, damages);
      } catch (error) {
        throw new Error(`${line}: ${(error as Error).message}`, { cause: error });
      }
    }
  });

  for (const mode of ['user', 'seq'] as const) {
    it(`of any kind open or are refused: ${mode} (seed ${SEED})`, () => {
      const random = new SimulatedRandom(SEED);
      let opened = 0;
      const failures: string[] = [];
      for (let input = 0; input < INPUTS; input++) {
        const damages = Array.from({ length: random.below(3) === 0 ? 1 + random.below(4) : 1 }, () =>
          anyDamage(random, stores[mode]),
        );
        try {
          if (attempt(mode, damages)) opened++;
        } catch (error) {
          failures.push(`input ${input}: ${(error as Error).message}\n${printCase(mode, damages)}`);
        }
      }
      assert.deepEqual(failures.slice(0, 20), [], `${failures.length} failures`);
      assert.ok(opened > INPUTS * 0.8, `only ${opened} of ${INPUTS} opened`);
    });
  }
});

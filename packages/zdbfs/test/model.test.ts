// Random operations on a volume and on a model, with remounts and crashes in between. Limits are tiny, so that
// checkpoints, evictions and splits happen all the time. Seeds of failures are printed by fast-check.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { RECORD_MAX_BYTES } from '../src/file-calls.ts';
import type { Volume } from '../src/volume.ts';
import { MemoryStore } from './memory-store.ts';
import { assertEqual, changes, Model, runStep, type Step } from './model.ts';
import { assertConsistent, dump, open } from './volume-fixture.ts';

const LIMITS = { cacheBytes: 20_000, dirtyBytes: 30_000, journalBytes: 20_000 };

const events: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom('sync', 'checkpoint', 'idle', 'close', 'kill'),
}) as fc.Arbitrary<Step>;

const crashes: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom('sync', 'checkpoint', 'idle', 'crash'),
}) as fc.Arbitrary<Step>;

describe('a volume behaves as the model', () => {
  it('over random operations, remounts and kills', () => {
    const step = fc.oneof({ weight: 9, arbitrary: changes }, { weight: 1, arbitrary: events });
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 120, size: 'max' }), (steps) => {
        let store = new MemoryStore();
        let volume = open(store, LIMITS);
        const model = new Model();
        for (const next of steps) {
          if (next.kind === 'sync') volume.syncAll();
          else if (next.kind === 'checkpoint') volume.checkpoint();
          else if (next.kind === 'idle') volume.idle();
          else if (next.kind === 'close' || next.kind === 'kill') {
            if (next.kind === 'close') volume.close();
            store = store.afterKill();
            volume = open(store, LIMITS);
            model.dropHolds();
            volume.idle();
          } else runStep(volume, model, next);
        }
        assertEqual(volume, model);
        assertConsistent(volume);
        volume.close();
        volume = open(store.afterKill(), LIMITS);
        model.dropHolds();
        assertEqual(volume, model);
        assertConsistent(volume);
      }),
      { numRuns: 300 },
    );
  });

  it('after a crash that loses unsynced changes: as it was at one moment not before the last sync', () => {
    const step = fc.oneof({ weight: 7, arbitrary: changes }, { weight: 1, arbitrary: crashes });
    fc.assert(
      fc.property(
        fc.array(step, { minLength: 1, maxLength: 60, size: 'max' }),
        fc.infiniteStream(fc.nat()),
        (steps, chances) => {
          let store = new MemoryStore();
          let volume = open(store, LIMITS);
          let model = new Model();
          /** The volume after each step since the last sync. */
          let moments = [JSON.stringify(dump(volume))];
          const synced = () => {
            moments = moments.slice(-1);
          };
          for (const next of [...steps, { kind: 'crash' } as Step]) {
            if (next.kind === 'crash') {
              store = store.afterCrash((count) => (chances.next().value ?? 0) % (count + 1));
              volume = open(store, LIMITS);
              const found = JSON.stringify(dump(volume));
              assert.ok(moments.includes(found), 'the volume is as it never was, or lost what was synced');
              volume.idle();
              assertConsistent(volume);
              ({ model, moments } = restart(volume));
            } else if (next.kind === 'sync') {
              volume.syncAll();
              synced();
            } else if (next.kind === 'checkpoint') {
              volume.checkpoint();
              synced();
            } else if (next.kind === 'idle') {
              volume.idle();
            } else {
              for (const part of partsOf(next)) {
                runStep(volume, model, part);
                moments.push(JSON.stringify(dump(volume)));
              }
            }
          }
        },
      ),
      { numRuns: 200 },
    );
  });
});

/** A long copy is made in parts, each of them whole or not: a crash may come between them. */
function partsOf(step: Step): Step[] {
  if (step.kind !== 'copy') return [step];
  const parts: Step[] = [];
  for (let done = 0; done < step.length; done += RECORD_MAX_BYTES) {
    const length = Math.min(RECORD_MAX_BYTES, step.length - done);
    parts.push({ ...step, offset: step.offset + done, length, at: step.at + done });
  }
  return parts;
}

/** Goes on with an empty volume after a crash: the model does not know what was kept. */
function restart(volume: Volume): { model: Model; moments: string[] } {
  const remove = (directory: number) => {
    const entries: { name: string; inode: number; mode: number }[] = [];
    volume.listDirectory(
      directory,
      0,
      (name, inode, mode) => {
        if (name !== '.' && name !== '..') entries.push({ name, inode, mode });
        return true;
      },
      false,
    );
    for (const { name, inode, mode } of entries) {
      if ((mode & 0o170000) === 0o040000) {
        remove(inode);
        volume.removeDirectory(directory, name);
      } else volume.unlink(directory, name);
    }
  };
  remove(1);
  for (const name of volume.listExtendedAttributes(1)) volume.removeExtendedAttribute(1, name);
  volume.idle();
  volume.syncAll();
  return { model: new Model(), moments: [JSON.stringify(dump(volume))] };
}

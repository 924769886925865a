// A volume whose syncs another thread waits for: what may be done meanwhile, and how it ends.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { IoError } from '@qsfs/io';
import { Settling } from '../src/settling.ts';
import { MemoryStore } from './memory-store.ts';
import { SteppingSettler } from './stepping-settler.ts';
import { create, list, open, ROOT, read, write } from './volume-fixture.ts';

function covered(isCovered: boolean) {
  return (error: unknown) => error instanceof Settling && error.covered === isCovered;
}

describe('while something is brought to stable storage', () => {
  it('programs read, changes wait, and every fsync that comes is done with it', () => {
    const store = new MemoryStore();
    const settler = new SteppingSettler();
    const volume = open(store, { settler });
    const file = create(volume, ROOT, 'file');
    write(volume, file, 0, Buffer.alloc(5000, 1));
    assert.throws(() => volume.sync(file, false), covered(true));
    for (let steps = 0; settler.busy; steps++) {
      assert.ok(steps < 10);
      assert.equal(read(volume, file).length, 5000);
      assert.equal(volume.lookup(ROOT, 'file')?.inode, file);
      assert.equal(list(volume, ROOT).size, 1);
      volume.status();
      volume.idle();
      volume.forget(file, 1);
      assert.throws(() => create(volume, ROOT, 'other'), covered(false));
      assert.throws(() => write(volume, file, 0, 'x'), covered(false));
      assert.throws(() => volume.sync(file, false), covered(true));
      settler.step();
    }
    assert.equal(settler.failure, undefined);
    // Nothing is left to sync, and it is there after a power loss.
    volume.sync(file, false);
    const after = open(store.afterCrash(() => 0));
    assert.deepEqual(read(after, after.lookup(ROOT, 'file')?.inode ?? 0), Buffer.alloc(5000, 1));
    create(volume, ROOT, 'other');
  });

  it('a failure reaches who asked for it, and nothing is changed any more', () => {
    const settler = new SteppingSettler();
    const store = new MemoryStore();
    const volume = open(store, { settler });
    const file = create(volume, ROOT, 'file');
    write(volume, file, 0, Buffer.alloc(5000, 1));
    const { beforeChange } = store;
    assert.throws(() => volume.sync(file, false), covered(true));
    store.beforeChange = () => {
      throw new IoError('EIO', 'sync');
    };
    while (settler.busy) settler.step();
    store.beforeChange = beforeChange;
    assert.equal((settler.failure as { code: string }).code, 'EIO');
    assert.throws(() => volume.sync(file, false), { code: 'EIO' });
    assert.throws(() => create(volume, ROOT, 'other'), { code: 'EIO' });
    assert.equal(read(volume, file).length, 5000);
  });

  it('a data file is closed before the write that would close it, once', () => {
    const store = new MemoryStore();
    store.fileBytes = 20_000;
    const settler = new SteppingSettler();
    const volume = open(store, { settler });
    const file = create(volume, ROOT, 'file');
    let waits = 0;
    for (let at = 0; at < 20; at++) {
      settler.call(volume, () => {
        try {
          write(volume, file, at * 5000, Buffer.alloc(5000, at));
        } catch (error) {
          waits += 1;
          throw error;
        }
      });
    }
    assert.ok(waits >= 5 && waits <= 7, `${waits}`);
    assert.equal(read(volume, file).length, 100_000);
  });

  it('a checkpoint that is due is made before the next change, which waits; one that fails does not hold it up for ever', () => {
    const store = new MemoryStore();
    const settler = new SteppingSettler();
    const volume = open(store, { settler, journalBytes: 20_000 });
    const { checkpoints } = volume.statistics();
    for (let at = 0; at < 200; at++)
      settler.call(volume, () => void create(volume, ROOT, `${at}`.padStart(100, 'n')));
    assert.ok(volume.statistics().checkpoints > checkpoints);
    store.failWhen = (change) => change % 2 === 0;
    let refused = 0;
    for (let at = 200; at < 400; at++) {
      try {
        settler.call(volume, () => void create(volume, ROOT, `${at}`.padStart(100, 'n')));
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'ENOSPC');
        refused += 1;
      }
    }
    assert.ok(refused > 0);
    store.failWhen = () => false;
    settler.call(volume, () => void create(volume, ROOT, 'last'));
    assert.ok(volume.lookup(ROOT, 'last'));
  });
});

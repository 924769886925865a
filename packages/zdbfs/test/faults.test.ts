// One scripted workload, and everything that can go wrong at every point of it: the process dies, the disk is full, the
// data is not on this machine.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SimulatedRandom } from '@qsfs/io/simulated';
import { NotLocal } from '@qsfs/zdb';
import { Killed, MemoryStore } from './memory-store.ts';
import { assertConsistent, create, list, open, ROOT, read, write } from './volume-fixture.ts';
import { CUT, DURABLE, essence, LIMITS, workload } from './workload.ts';

describe('a process that dies', () => {
  it('at any change of the store leaves the volume as it was before or after the call it was in', () => {
    const moments: string[] = [];
    const calm = new MemoryStore();
    const volume = open(calm, LIMITS);
    const before = calm.changes;
    moments.push(essence(volume));
    for (const step of workload()) {
      step(volume);
      moments.push(essence(volume));
    }
    for (let change = before; change < calm.changes; change += 4) {
      const store = new MemoryStore();
      store.killAt = change;
      let done = 0;
      try {
        const dying = open(store, LIMITS);
        for (const step of workload()) {
          step(dying);
          done++;
        }
      } catch (error) {
        // A checkpoint that nobody asked for dies quietly; the next change then says that the volume is in doubt.
        const doubt = (error as { code?: string }).code === 'EIO' && store.changes > change;
        assert.ok(error instanceof Killed || doubt, String(error));
      }
      const after = open(store.afterKill(), LIMITS);
      const found = essence(after);
      // A large file is cut down in several steps, each of which leaves a shorter file.
      const cut = workload()[done]?.name === CUT;
      assert.ok(cut || found === moments[done] || found === moments[done + 1], `killed at change ${change}`);
      after.idle();
      assertConsistent(after);
    }
  });

  it('with its machine, at any change of the store, loses nothing that was synced', () => {
    const steps = workload();
    const moments: string[] = [];
    const calm = new MemoryStore();
    const volume = open(calm, LIMITS);
    const before = calm.changes;
    moments.push(essence(volume));
    for (const step of steps) {
      step(volume);
      moments.push(essence(volume));
    }
    const random = new SimulatedRandom(1);
    for (let change = before; change < calm.changes; change++) {
      const store = new MemoryStore();
      store.killAt = change;
      let done = 0;
      let durable = 0;
      try {
        const dying = open(store, LIMITS);
        for (const step of steps) {
          step(dying);
          done++;
          if (DURABLE.has(step.name)) durable = done;
        }
      } catch {
        // What it throws is looked at above.
      }
      const losses = [() => 0, (count: number) => random.below(count + 1)];
      for (const keep of losses) {
        const after = open(store.afterCrash(keep), LIMITS);
        const at = moments.indexOf(essence(after), durable);
        const cut = steps[done]?.name === CUT;
        assert.ok((at >= 0 && at <= done + 1) || cut, `power lost at change ${change}`);
        after.idle();
        assertConsistent(after);
      }
    }
  });

  it('while the volume is made leaves a store in which it can be made', () => {
    for (let change = 0; ; change++) {
      const store = new MemoryStore();
      store.killAt = change;
      let made = true;
      try {
        open(store);
      } catch {
        made = false;
      }
      for (const left of [store.afterKill(), store.afterCrash(() => 0), store.afterCrash((count) => count)]) {
        const volume = open(left);
        create(volume, ROOT, 'works');
        assertConsistent(volume);
      }
      if (made) break;
    }
  });
});

describe('a full disk', () => {
  it('at any change of the store gives ENOSPC, changes nothing, and goes on when there is room', () => {
    const calm = new MemoryStore();
    const expected = open(calm, LIMITS);
    const before = calm.changes;
    for (const step of workload()) step(expected);
    for (let change = before; change < calm.changes; change += 5) {
      for (const span of [1, 2, 7]) {
        const store = new MemoryStore();
        const volume = open(store, LIMITS);
        store.failWhen = (number) => number >= change && number < change + span;
        for (const step of workload()) {
          for (let attempt = 0; ; attempt++) {
            const was = attempt === 0 ? undefined : essence(volume);
            try {
              step(volume);
              break;
            } catch (error) {
              assert.equal((error as { code?: string }).code, 'ENOSPC', `change ${change}: ${error}`);
              if (was !== undefined) assert.equal(essence(volume), was);
              assert.ok(attempt < 20);
            }
          }
        }
        assert.equal(essence(volume), essence(expected), `change ${change}`);
        assertConsistent(volume);
        assert.equal(essence(open(store.afterKill(), LIMITS)), essence(expected));
      }
    }
  });

  it('keeps its last room for deletions', () => {
    const store = new MemoryStore();
    const volume = open(store);
    const file = create(volume, ROOT, 'file');
    write(volume, file, 0, Buffer.alloc(100_000));
    store.availableBytes = 32 * 1024 * 1024;
    assert.throws(() => write(volume, file, 0, Buffer.alloc(2_000_000)), { code: 'ENOSPC' });
    assert.throws(() => write(volume, file, 0, Buffer.alloc(200_000)), { code: 'ENOSPC' });
    assert.equal(volume.status().blocksAvailable, 0);
    volume.unlink(ROOT, 'file');
    volume.checkpoint();
    store.availableBytes = 2 ** 40;
    write(volume, create(volume, ROOT, 'again'), 0, Buffer.alloc(2_000_000));
    assertConsistent(volume);
  });

  it('is reached at the size given to the volume, and overwriting still works there', () => {
    const volume = open(new MemoryStore(), { sizeBytes: 1_000_000 });
    const file = create(volume, ROOT, 'file');
    write(volume, file, 0, Buffer.alloc(900_000));
    assert.throws(() => write(volume, file, 900_000, Buffer.alloc(200_000)), { code: 'ENOSPC' });
    assert.equal(volume.getAttributes(file).sizeBytes, 900_000);
    write(volume, file, 100_000, Buffer.alloc(800_000, 1));
    const status = volume.status();
    assert.equal(status.blocks, Math.ceil(1_000_000 / 4096));
    assert.equal(status.blocksFree, Math.floor(100_000 / 4096));
    volume.setAttributes(file, { sizeBytes: 0 });
    write(volume, file, 0, Buffer.alloc(1_000_000));
  });
});

describe('data that is not on this machine', () => {
  it('at any read makes the call end before it changed anything, and succeed when it is repeated', () => {
    const calm = new MemoryStore();
    const expected = open(calm, LIMITS);
    for (const step of workload()) step(expected);
    const result = essence(expected);
    // What was brought stays until the call is done; then everything is absent again.
    for (const seed of [0, 1, 2, 3, 5, 7]) {
      const store = new MemoryStore();
      const volume = open(store, LIMITS);
      const brought = new Set<string>();
      store.absentWhen = (space, id, number) => {
        const key = `${space} ${id}`;
        if (brought.has(key) || (number + seed) % (seed + 1) !== 0) return false;
        brought.add(key);
        return true;
      };
      let parked = 0;
      for (const step of workload()) {
        brought.clear();
        for (let attempt = 0; ; attempt++) {
          try {
            step(volume);
            break;
          } catch (error) {
            assert.ok(error instanceof NotLocal, String(error));
            assert.ok(attempt < 1000);
            parked++;
          }
        }
      }
      store.absentWhen = () => false;
      assert.ok(seed > 0 || parked > 100, `only ${parked} reads were parked`);
      assert.equal(essence(volume), result);
      assertConsistent(volume);
    }
  });

  it('is reported by a listing only when nothing could be listed', () => {
    const store = new MemoryStore();
    let volume = open(store);
    for (let at = 0; at < 300; at++) create(volume, ROOT, `file-${at}`);
    volume.close();
    const again = store.afterKill();
    volume = open(again);
    let brought = -1;
    again.absentWhen = (_space, id) => {
      if (id === brought) return false;
      brought = id;
      return true;
    };
    const names = new Set<string>();
    let cookie = 0;
    for (let idle = false; !idle; ) {
      idle = true;
      try {
        volume.listDirectory(
          ROOT,
          cookie,
          (name, _inode, _mode, next) => {
            names.add(name);
            cookie = next;
            idle = false;
            return true;
          },
          true,
        );
      } catch (error) {
        assert.ok(error instanceof NotLocal);
        idle = false;
      }
    }
    assert.equal(names.size, 302);
    assert.equal(list(volume, ROOT).size, 300);
  });
});

describe('a damaged record', () => {
  it('is an error of the one object it belongs to', () => {
    const store = new MemoryStore();
    let volume = open(store);
    const file = create(volume, ROOT, 'damaged');
    write(volume, file, 0, Buffer.alloc(5000, 1));
    const other = create(volume, ROOT, 'other');
    write(volume, other, 0, 'fine');
    volume.close();
    for (const bytes of [new Uint8Array(0), Buffer.alloc(200, 0xff), Buffer.from([2, 2, 0, 0, 9, 9, 9, 9])]) {
      const left = store.afterKill();
      left.meta.damage(file, bytes);
      const messages: string[] = [];
      volume = open(left, { log: (_level, message) => void messages.push(message) });
      assert.throws(() => volume.lookup(ROOT, 'damaged'), { code: 'EIO' });
      assert.ok(messages.some((message) => message.includes(`record ${file}`)));
      assert.equal(read(volume, other).toString(), 'fine');
      assert.equal(list(volume, ROOT).size, 2);
      assert.ok(volume.verify().problemCount > 0);
    }
  });

  it('of the superblock is helped by its copy; both stop the mount and change nothing', () => {
    const store = new MemoryStore();
    open(store).close();
    const left = store.afterKill();
    const { changes } = left;
    left.meta.damage(0, Buffer.from('garbage that is no superblock'));
    assertConsistent(open(left.afterKill()));
    left.meta.damage(2, Buffer.from('garbage that is no superblock'));
    assert.throws(() => open(left), { name: 'VolumeError' });
    left.meta.damage(0, Buffer.from('ZDBFSM\u0001\0aaaaaaaaaaaaaaaa'));
    assert.throws(() => open(left), /version 1/);
    assert.equal(left.changes, changes);
  });
});

// A disk that really fills up, under the real engine.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SimulatedClock, SimulatedDisk, SimulatedRandom } from '@qsfs/io/simulated';
import { NotLocal } from '@qsfs/zdb';
import { openLocalVolume } from '../src/local-volume.ts';
import type { Volume } from '../src/volume.ts';
import { MemoryStore } from './memory-store.ts';
import { assertConsistent, create, dump, mkdir, open, ROOT, read, write } from './volume-fixture.ts';

const MIB = 1024 * 1024;

function openLocal(disk: SimulatedDisk, clock: SimulatedClock): Volume {
  return openLocalVolume({
    disk,
    clock,
    random: new SimulatedRandom(8),
    directory: '/volume',
    segmentBytes: MIB,
    journalBytes: 200_000,
  });
}

/** Writes files until there is no room. Returns their names and what is in them. */
function fill(volume: Volume, prefix: string, size: number): Map<string, number> {
  const written = new Map<string, number>();
  for (let at = 0; ; at++) {
    assert.ok(at < 10_000);
    const name = `${prefix}${at}`;
    try {
      const file = create(volume, ROOT, name);
      volume.forget(file, 1);
      write(volume, file, 0, Buffer.alloc(size, at));
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'ENOSPC', String(error));
      return written;
    }
    written.set(name, at);
  }
}

function check(volume: Volume, written: ReadonlyMap<string, number>, size: number): void {
  for (const [name, value] of written) {
    const found = volume.lookup(ROOT, name);
    assert.ok(found, name);
    assert.ok(read(volume, found.inode).equals(Buffer.alloc(size, value)), name);
    volume.forget(found.inode, 1);
  }
}

describe('a disk that fills up', () => {
  it('gives ENOSPC, keeps what was written, lets go on after a remount, deletions and more room', () => {
    const clock = new SimulatedClock();
    let disk = new SimulatedDisk({ capacityBytes: 24 * MIB, clock });
    let volume = openLocal(disk, clock);
    const large = fill(volume, 'large', 300_000);
    const small = fill(volume, 'small', 3000);
    assert.ok(large.size > 50 && small.size > 2);
    check(volume, large, 300_000);
    check(volume, small, 3000);
    assertConsistent(volume);
    // Killed and opened again on the full disk.
    disk = disk.kill();
    volume = openLocal(disk, clock);
    check(volume, large, 300_000);
    check(volume, small, 3000);
    // Every file can be removed, and then the room is there again.
    for (const name of [...large.keys()].slice(5)) {
      volume.unlink(ROOT, name);
      large.delete(name);
    }
    volume.checkpoint();
    for (let step = 0; step < 60; step++) {
      clock.advance(2000);
      volume.idle();
    }
    const again = fill(volume, 'again', 300_000);
    assert.ok(again.size > 40, `only ${again.size} files fit after the deletions`);
    check(volume, large, 300_000);
    check(volume, small, 3000);
    check(volume, again, 300_000);
    disk.capacityBytes = 100 * MIB;
    const more = fill(volume, 'more', 300_000);
    assert.ok(more.size > 200);
    assertConsistent(volume);
    volume.close();
  });

  it('has room again as soon as files are removed, whatever the size of data files would be elsewhere', () => {
    const clock = new SimulatedClock();
    const disk = new SimulatedDisk({ capacityBytes: 32 * MIB, clock });
    const volume = openLocalVolume({ disk, clock, random: new SimulatedRandom(8), directory: '/volume' });
    const kept = fill(volume, 'large', 1_000_000);
    for (const name of [...kept.keys()].filter((_, at) => at % 10 !== 0)) {
      volume.unlink(ROOT, name);
      kept.delete(name);
    }
    // Nothing that a quiet moment would have done was done.
    const again = fill(volume, 'again', 1_000_000);
    assert.ok(again.size >= 15, `only ${again.size} files fit after the deletions`);
    check(volume, kept, 1_000_000);
    check(volume, again, 1_000_000);
    assertConsistent(volume);
    // What is written over is given back too.
    for (const name of ['again1', 'again2', 'again3', 'again4']) volume.unlink(ROOT, name);
    const file = volume.lookup(ROOT, 'again0')!.inode;
    for (let round = 0; round < 50; round++) write(volume, file, 0, Buffer.alloc(1_000_000, round));
    assert.ok(read(volume, file).equals(Buffer.alloc(1_000_000, 49)));
    volume.forget(file, 1);
    volume.close();
  });

  it('without any room at all still mounts, reads and removes', () => {
    const clock = new SimulatedClock();
    let disk = new SimulatedDisk({ capacityBytes: 40 * MIB, clock });
    let volume = openLocal(disk, clock);
    const written = new Map<string, number>();
    const folder = mkdir(volume, ROOT, 'folder');
    for (let at = 0; at < 40; at++) {
      const file = create(volume, ROOT, `file${at}`);
      write(volume, file, 0, Buffer.alloc(20_000, at));
      written.set(`file${at}`, at);
    }
    const { availableBytes } = disk.space('/volume');
    disk.capacityBytes -= availableBytes;
    // The engine has set some room aside; when that is used up there is nothing.
    const tiny = fill(volume, 'tiny', 100);
    assert.throws(() => create(volume, folder, 'x'), { code: 'ENOSPC' });
    check(volume, written, 20_000);
    disk = disk.kill();
    volume = openLocal(disk, clock);
    check(volume, written, 20_000);
    check(volume, tiny, 100);
    assertConsistent(volume);
    disk.capacityBytes += 8 * MIB;
    create(volume, folder, 'x');
    for (const name of written.keys()) volume.unlink(ROOT, name);
    volume.close();
    assertConsistent(openLocal(disk, clock));
  });
});

describe('mounting', () => {
  it('waits for data that is not on this machine and then goes on', () => {
    const store = new MemoryStore();
    const made = open(store);
    const folder = mkdir(made, ROOT, 'folder');
    for (let at = 0; at < 200; at++) write(made, create(made, folder, `f${at}`), 0, Buffer.alloc(2000, at));
    made.checkpoint();
    for (let at = 0; at < 50; at++) made.unlink(folder, `f${at}`);
    for (let at = 50; at < 90; at++) made.rename(folder, `f${at}`, ROOT, `g${at}`, 0);
    const left = store.afterKill();
    const expected = JSON.stringify(dump(made));
    const brought = new Set<string>();
    left.absentWhen = (space, id) => {
      if (brought.has(`${space} ${id}`)) return false;
      brought.add(`${space} ${id}`);
      return true;
    };
    for (let attempts = 0; ; attempts++) {
      assert.ok(attempts < 5000);
      const before = left.changes;
      try {
        const volume = open(left);
        left.absentWhen = () => false;
        assert.equal(JSON.stringify(dump(volume)), expected);
        volume.idle();
        assertConsistent(volume);
        break;
      } catch (error) {
        assert.ok(error instanceof NotLocal, String(error));
        assert.equal(left.changes, before);
      }
    }
  });
});

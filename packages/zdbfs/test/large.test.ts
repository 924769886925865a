// Sizes beyond what fits one record: a directory of a hundred thousand names, a file of a terabyte.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { realClock, realDisk, realRandom } from '@qsfs/io';
import { SimulatedRandom } from '@qsfs/io/simulated';
import { openLocalVolume } from '../src/local-volume.ts';
import type { Volume } from '../src/volume.ts';
import { assertConsistent, create, list, mkdir, ROOT, read, write } from './volume-fixture.ts';

/** On the machine's own disk, where this takes seconds and not minutes. */
function open(directory: string, cacheBytes: number): Volume {
  return openLocalVolume({ disk: realDisk, clock: realClock, random: realRandom, directory, cacheBytes });
}

function scratch(test: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'zdbfs-large-'));
  test.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

describe('a directory of a hundred thousand names', () => {
  it('is filled, listed, looked up and emptied with a small cache, over a remount', (test) => {
    const count = 100_000;
    const disk = scratch(test);
    let volume = open(disk, 2_000_000);
    const folder = mkdir(volume, ROOT, 'folder');
    for (let at = 0; at < count; at++) volume.forget(create(volume, folder, `name-${at}`), 1);
    volume.close();
    volume = open(disk, 2_000_000);
    assert.equal(list(volume, folder, 5000).size, count);
    for (let at = 0; at < count; at += 997) {
      const found = volume.lookup(folder, `name-${at}`);
      assert.ok(found);
      volume.forget(found.inode, 1);
    }
    assert.equal(volume.lookup(folder, 'name-x'), undefined);
    const { cachedBytes, dirtyBytes } = volume.statistics();
    assert.ok(cachedBytes - dirtyBytes < 3_000_000, `${cachedBytes} bytes cached`);
    for (let at = 0; at < count; at++) volume.unlink(folder, `name-${at}`);
    assert.equal(volume.lookup(folder, 'name-1'), undefined);
    volume.removeDirectory(ROOT, 'folder');
    volume.forget(folder, 1);
    volume.checkpoint();
    assertConsistent(volume);
    assert.equal(volume.statistics().inodes, 1);
    volume.close();
  });
});

describe('a file of a terabyte with data here and there', () => {
  it('is written at random, read, cut and removed', (test) => {
    const disk = scratch(test);
    let volume = open(disk, 1_000_000);
    const file = create(volume, ROOT, 'sparse');
    const random = new SimulatedRandom(11);
    const written = new Map<number, number>();
    for (let at = 0; at < 6000; at++) {
      const block = random.below(2 ** 28);
      written.set(block, at & 0xff);
      write(volume, file, block * 4096, Buffer.alloc(4096, at));
    }
    volume.close();
    volume = open(disk, 1_000_000);
    assert.equal(volume.getAttributes(file).blocks, written.size * 8);
    let checked = 0;
    for (const [block, value] of written) {
      if (checked++ % 7 === 0)
        assert.ok(read(volume, file, block * 4096, 4096).equals(Buffer.alloc(4096, value)));
    }
    const half = 2 ** 39;
    volume.setAttributes(file, { sizeBytes: half });
    const left = [...written.keys()].filter((block) => block * 4096 < half);
    assert.equal(volume.getAttributes(file).blocks, left.length * 8);
    assertConsistent(volume);
    volume.allocate(file, 3, 0, 2 ** 38);
    assert.equal(
      volume.getAttributes(file).blocks,
      left.filter((block) => block * 4096 >= 2 ** 38).length * 8,
    );
    volume.unlink(ROOT, 'sparse');
    volume.forget(file, 1);
    volume.checkpoint();
    assert.equal(volume.statistics().usedBytes, 0);
    assertConsistent(volume);
    volume.close();
  });
});

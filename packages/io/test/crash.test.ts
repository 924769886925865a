import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { type Disk, readWhole, replaceWhole } from '../src/disk.ts';
import { errorCode } from '../src/errors.ts';
import {
  type CrashPolicy,
  crashPolicies,
  keepFirst,
  keepUnsynced,
  loseSubset,
  loseSuffix,
  loseUnsynced,
  SECTOR_BYTES,
  SimulatedCrash,
  SimulatedDisk,
  SimulatedRandom,
  tearWrites,
} from '../src/simulated/index.ts';

const bytes = (length: number, value: number) => new Uint8Array(length).fill(value);
const text = (content: string) => new TextEncoder().encode(content);

/** A disk with a stable file of `length` bytes of 1. */
function diskWith(path: string, length: number): SimulatedDisk {
  const disk = new SimulatedDisk();
  replaceWhole(disk, path, bytes(length, 1));
  return disk;
}

function content(disk: Disk, path: string): Uint8Array {
  const found = readWhole(disk, path);
  assert.ok(found, `${path} is missing`);
  return found;
}

/** Everything on a disk, for comparing two of them. */
function picture(disk: SimulatedDisk, path = '/'): unknown {
  return disk.list(path).map((name) => {
    const below = `${path}${name}`;
    const kind = disk.stat(below)?.kind;
    return [name, kind === 'file' ? [...content(disk, below)] : picture(disk, `${below}/`)];
  });
}

describe('a power loss', () => {
  it('takes back what was not synced, and only that', () => {
    const disk = diskWith('/a', 1000);
    const file = disk.open('/a', 'write');
    file.write(bytes(500, 2), 0);
    file.datasync();
    file.write(bytes(2000, 3), 700);
    const after = content(disk.crash(loseUnsynced), '/a');
    assert.deepEqual(after, new Uint8Array([...bytes(500, 2), ...bytes(500, 1)]));
    assert.deepEqual(content(disk.crash(keepUnsynced), '/a').length, 2700);
    assert.equal(content(disk, '/a').length, 2700, 'the disk itself goes on');
  });

  it('loses a new file whose directory was not synced, although its content was', () => {
    const disk = new SimulatedDisk();
    const file = disk.open('/a', 'create-new');
    file.write(text('x'), 0);
    file.datasync();
    assert.equal(disk.crash(loseUnsynced).stat('/a'), undefined);
    disk.syncDirectory('/');
    assert.deepEqual(content(disk.crash(loseUnsynced), '/a'), text('x'));
  });

  it('leaves an empty file when only the directory was synced', () => {
    const disk = new SimulatedDisk();
    disk.open('/a', 'create-new').write(text('x'), 0);
    disk.syncDirectory('/');
    assert.deepEqual(content(disk.crash(loseUnsynced), '/a'), bytes(0, 0));
  });

  it('brings a removed file back with its stable content unless the removal was synced', () => {
    const disk = diskWith('/a', 100);
    disk.remove('/a');
    assert.deepEqual(content(disk.crash(loseUnsynced), '/a'), bytes(100, 1));
    assert.equal(disk.crash(keepUnsynced).stat('/a'), undefined);
    disk.syncDirectory('/');
    assert.equal(disk.crash(loseUnsynced).stat('/a'), undefined);
  });

  it('undoes a rename whole or not at all, also between directories', () => {
    const disk = new SimulatedDisk();
    disk.makeDirectory('/from');
    disk.makeDirectory('/to');
    disk.syncDirectory('/');
    replaceWhole(disk, '/from/a', text('new'));
    replaceWhole(disk, '/to/a', text('old'));
    disk.rename('/from/a', '/to/a');
    const lost = disk.crash(loseUnsynced);
    assert.deepEqual(content(lost, '/from/a'), text('new'));
    assert.deepEqual(content(lost, '/to/a'), text('old'));
    disk.syncDirectory('/to');
    const kept = disk.crash(loseUnsynced);
    assert.equal(kept.stat('/from/a'), undefined);
    assert.deepEqual(content(kept, '/to/a'), text('new'));
  });

  it('never undoes an earlier rename of a directory and keeps a later one', () => {
    const disk = new SimulatedDisk();
    disk.makeDirectory('/x/a');
    disk.open('/x/a/f', 'create').close();
    for (const path of ['/', '/x', '/x/a']) disk.syncDirectory(path);
    disk.rename('/x/a', '/a');
    disk.rename('/x', '/a/x');
    const last: CrashPolicy = {
      name: 'only the last',
      survivors: (changes) => changes.map((_, index) => index === changes.length - 1),
    };
    assert.deepEqual(picture(disk.crash(last)), [
      [
        'a',
        [
          ['f', []],
          ['x', []],
        ],
      ],
    ]);
  });

  it('tears writes at sectors, and never shows a sector that was neither before nor after', () => {
    const disk = diskWith('/a', 8192);
    const file = disk.open('/a', 'write');
    file.write(bytes(8192, 2), 0);
    let torn = 0;
    for (let seed = 0; seed < 50; seed++) {
      const after = content(disk.crash(tearWrites(new SimulatedRandom(seed))), '/a');
      assert.equal(after.length, 8192);
      const values = new Set<number>();
      for (let at = 0; at < 8192; at += SECTOR_BYTES) {
        const sector = new Set(after.subarray(at, at + SECTOR_BYTES));
        assert.equal(sector.size, 1, 'a sector is whole');
        for (const value of sector) values.add(value);
      }
      assert.ok([...values].every((value) => value === 1 || value === 2));
      if (values.size === 2) torn++;
    }
    assert.ok(torn > 5, `${torn} of 50 torn`);
  });

  it('keeps an earlier write of a sector when a later one of it survives', () => {
    const disk = diskWith('/a', 512);
    const file = disk.open('/a', 'write');
    file.write(bytes(100, 2), 0);
    file.write(bytes(100, 3), 100);
    file.write(bytes(10, 4), 5000);
    const second: CrashPolicy = { name: 'second', survivors: () => [false, true, false] };
    const after = content(disk.crash(second), '/a');
    assert.deepEqual([after[0], after[100], after[200], after.length], [2, 3, 1, 512]);
  });

  it('keeps a cut when a later write behind it survives, so that old bytes do not return', () => {
    const disk = diskWith('/a', 5000);
    const file = disk.open('/a', 'write');
    file.truncate(0);
    file.write(bytes(10, 2), 600);
    const write: CrashPolicy = { name: 'only the write', survivors: () => [false, true] };
    const after = content(disk.crash(write), '/a');
    assert.deepEqual(after, new Uint8Array([...bytes(600, 0), ...bytes(10, 2)]));
  });

  it('can leave a file that has grown by zeros', () => {
    const disk = diskWith('/a', 10);
    disk.open('/a', 'write').write(bytes(20, 2), 10);
    const grown: CrashPolicy = { name: 'grown', survivors: () => ['size-only'] };
    assert.deepEqual(content(disk.crash(grown), '/a'), new Uint8Array([...bytes(10, 1), ...bytes(20, 0)]));
  });

  it('loses holes that were punched and cuts that were made without a sync', () => {
    const disk = diskWith('/a', 20_000);
    const file = disk.open('/a', 'write');
    file.punchHole(0, 8192);
    file.truncate(15_000);
    assert.deepEqual(content(disk.crash(loseUnsynced), '/a'), bytes(20_000, 1));
    file.datasync();
    const after = disk.crash(loseUnsynced);
    assert.equal(content(after, '/a')[0], 0);
    assert.equal(after.stat('/a')?.sizeBytes, 15_000);
    assert.equal(after.stat('/a')?.allocatedBytes, 2 * 4096);
  });

  it('keeps a prefix in order under lose-suffix', () => {
    const disk = new SimulatedDisk();
    for (let i = 0; i < 20; i++) disk.open(`/f${i}`, 'create').close();
    const counts = new Set<number>();
    for (let seed = 0; seed < 40; seed++) {
      const after = disk.crash(loseSuffix(new SimulatedRandom(seed)));
      const names = Array.from({ length: after.list('/').length }, (_, i) => `f${i}`);
      assert.deepEqual(after.list('/'), names.sort());
      counts.add(names.length);
    }
    assert.ok(counts.size > 8, 'the point of the crash varies');
    assert.equal(disk.crash(keepFirst(7)).list('/').length, 7);
  });

  it('keeps any subset under lose-subset', () => {
    const disk = new SimulatedDisk();
    for (let i = 0; i < 20; i++) disk.open(`/f${i}`, 'create').close();
    const sets = new Set<string>();
    for (let seed = 0; seed < 20; seed++) {
      sets.add(`${disk.crash(loseSubset(new SimulatedRandom(seed))).list('/')}`);
    }
    assert.equal(sets.size, 20);
  });

  it('frees the space of what is gone', () => {
    const disk = new SimulatedDisk({ capacityBytes: 2 ** 20 });
    disk.open('/a', 'create').write(bytes(100_000, 1), 0);
    disk.makeDirectory('/d/e');
    disk.open('/d/e/f', 'create').write(bytes(100_000, 1), 0);
    assert.ok(disk.space('/').availableBytes < 2 ** 20 - 200_000);
    assert.equal(disk.crash(loseUnsynced).space('/').availableBytes, 2 ** 20);
    assert.deepEqual(disk.crash(keepUnsynced).space('/'), disk.space('/'));
  });
});

describe('a failed sync', () => {
  it('gives up what it was to write: the next sync succeeds without it', () => {
    const disk = diskWith('/a', 1000);
    const file = disk.open('/a', 'write');
    file.write(bytes(10, 2), 0);
    disk.fail({ code: 'EIO', kinds: ['datasync'] });
    assert.throws(() => file.datasync(), { code: 'EIO' });
    file.write(bytes(10, 3), 800);
    file.datasync();
    assert.equal(content(disk, '/a')[0], 2, 'the cache still has it');
    const after = content(disk.crash(keepUnsynced), '/a');
    assert.deepEqual([after[0], after[800]], [1, 3]);
    file.write(bytes(10, 2), 0);
    file.datasync();
    assert.equal(content(disk.crash(loseUnsynced), '/a')[0], 2, 'writing it again makes it stable');
  });
});

describe('crashAfter', () => {
  it('lets so many changes pass, then everything throws, and what was done in part may survive', () => {
    const disk = diskWith('/a', 2048);
    const file = disk.open('/a', 'write');
    disk.crashAfter(1, 1024);
    file.write(bytes(1, 2), 0);
    assert.throws(() => file.write(bytes(2048, 3), 0), SimulatedCrash);
    assert.throws(() => disk.stat('/a'), SimulatedCrash);
    assert.throws(() => file.datasync(), SimulatedCrash);
    file.close();
    const killed = content(disk.kill(), '/a');
    assert.deepEqual([killed[1023], killed[1024]], [3, 1]);
    assert.deepEqual(content(disk.crash(loseUnsynced), '/a'), bytes(2048, 1));
  });

  it('does not do a sync at which it strikes', () => {
    const disk = diskWith('/a', 1);
    const file = disk.open('/a', 'write');
    file.write(bytes(1, 2), 0);
    disk.crashAfter(0);
    assert.throws(() => file.datasync(), SimulatedCrash);
    assert.deepEqual(content(disk.crash(loseUnsynced), '/a'), bytes(1, 1));
  });

  it('reaches every step of replacing a file, which comes out old or new at each of them', () => {
    const before = bytes(3000, 1);
    const after = bytes(7000, 2);
    const whole = diskWith('/a', 3000);
    replaceWhole(whole, '/a', after);
    const steps = whole.changes;
    let olds = 0;
    let news = 0;
    for (let point = 0; point < steps; point++) {
      const disk = diskWith('/a', 3000).kill();
      disk.crashAfter(point);
      try {
        replaceWhole(disk, '/a', after);
      } catch (error) {
        assert.ok(error instanceof SimulatedCrash);
      }
      const images = [1, 2, 3, 4, 5].flatMap((seed) =>
        crashPolicies(seed).map((policy) => disk.crash(policy)),
      );
      for (const image of [...images, disk.kill()]) {
        const found = content(image, '/a');
        if (found[0] === 1) assert.deepEqual(found, before, `point ${point}`);
        else assert.deepEqual(found, after, `point ${point}`);
        if (found[0] === 1) olds++;
        else news++;
        replaceWhole(image, '/a', text('again'));
        assert.deepEqual(content(image.crash(loseUnsynced), '/a'), text('again'));
      }
    }
    assert.ok(olds > 50 && news > 20, `${olds} old, ${news} new`);
  });

  it('catches a replacement that forgets the sync of its content', () => {
    const disk = diskWith('/a', 3000);
    const file = disk.open('/a.new', 'create-new');
    file.write(bytes(3000, 2), 0);
    disk.rename('/a.new', '/a');
    disk.syncDirectory('/');
    assert.equal(content(disk.crash(loseUnsynced), '/a').length, 0);
  });
});

describe('a killed process', () => {
  it('keeps every write, frees every lock, and what was not synced can still be lost', () => {
    const disk = diskWith('/a', 10);
    const file = disk.open('/a', 'write');
    assert.ok(file.tryLock());
    file.write(bytes(10, 2), 0);
    const next = disk.kill();
    assert.deepEqual(content(next, '/a'), bytes(10, 2));
    assert.ok(next.open('/a', 'write').tryLock());
    assert.equal(next.openFiles, 1);
    assert.deepEqual(content(next.crash(loseUnsynced), '/a'), bytes(10, 1));
    file.write(bytes(10, 3), 0);
    assert.deepEqual(content(next, '/a'), bytes(10, 2), 'the old disk does not reach the new one');
  });
});

describe('faults', () => {
  it('strike the chosen operation, so often as asked, after so many successes', () => {
    const disk = new SimulatedDisk();
    const file = disk.open('/a', 'create');
    const other = disk.open('/b', 'create');
    const undo = disk.fail({
      code: 'EIO',
      kinds: ['write'],
      matches: ({ path }) => path === '/a',
      skip: 1,
      times: 2,
      partialBytes: 3,
    });
    file.write(bytes(4, 1), 0);
    other.write(bytes(4, 1), 0);
    assert.throws(() => file.write(bytes(8, 2), 0), { code: 'EIO' });
    assert.deepEqual([...content(disk, '/a')], [2, 2, 2, 1]);
    assert.throws(() => file.writeVector([bytes(2, 3), bytes(2, 4)], 0), { code: 'EIO' });
    assert.deepEqual([...content(disk, '/a')], [3, 3, 4, 1]);
    file.write(bytes(4, 5), 0);
    undo();
    disk.fail({ code: 'EMFILE', kinds: ['open', 'create'], times: Number.POSITIVE_INFINITY });
    assert.throws(() => disk.open('/a', 'read'), { code: 'EMFILE' });
    assert.throws(() => disk.open('/c', 'create'), { code: 'EMFILE' });
    assert.equal(disk.stat('/c'), undefined);
  });

  it('come from observers too, which see every operation before it happens', () => {
    const disk = new SimulatedDisk();
    const seen: string[] = [];
    const undo = disk.observe(({ kind, path }) => void seen.push(`${kind} ${path}`));
    disk.makeDirectory('/d');
    disk.open('/d/a', 'create').write(bytes(1, 1), 0);
    undo();
    disk.list('/d');
    assert.deepEqual(seen, ['make-directory /d', 'create /d/a', 'write /d/a']);
    assert.equal(disk.changes, 3);
    assert.equal(disk.operations, 4);
    assert.deepEqual(disk.log.at(-1), { kind: 'list', path: '/d' });
  });

  it('a full disk takes a prefix, overwrites in place, and goes on when there is room', () => {
    const disk = new SimulatedDisk({ capacityBytes: 3 * 4096 });
    const file = disk.open('/a', 'create');
    assert.throws(() => file.write(bytes(20_000, 1), 0), { code: 'ENOSPC' });
    assert.equal(file.size(), 3 * 4096);
    file.write(bytes(3 * 4096, 2), 0);
    assert.throws(() => file.reserve(0, 4 * 4096), { code: 'ENOSPC' });
    assert.equal(disk.space('/').availableBytes, 0);
    disk.capacityBytes = 1e6;
    file.write(bytes(20_000, 3), 0);
    assert.equal(file.size(), 20_000);
    disk.remove('/a');
    assert.ok(disk.space('/').availableBytes < 1e6, 'an open file keeps its space');
    file.close();
    assert.equal(disk.space('/').availableBytes, 1e6);
  });

  it('reserved space can be written on a disk that has become full', () => {
    const disk = new SimulatedDisk({ capacityBytes: 4 * 4096 });
    const file = disk.open('/a', 'create');
    file.reserve(0, 2 * 4096);
    assert.equal(file.size(), 0);
    disk.open('/b', 'create').write(bytes(2 * 4096, 1), 0);
    file.write(bytes(2 * 4096, 2), 0);
    assert.throws(() => file.write(bytes(1, 2), 2 * 4096), { code: 'ENOSPC' });
  });
});

describe('replay', () => {
  /** Runs made-up calls; failing ones count as well. */
  function play(disk: SimulatedDisk, seed: number, calls: number): string[] {
    const random = new SimulatedRandom(seed);
    const outcomes: string[] = [];
    const path = () => `/${random.pick(['a', 'b', 'd/a', 'd/b', 'd', 'e/f'])}`;
    for (let i = 0; i < calls; i++) {
      try {
        const file = random.below(2) ? undefined : disk.open(path(), 'create');
        const position = random.below(10_000);
        const length = random.below(6000);
        switch (random.below(8)) {
          case 0:
            disk.makeDirectory(path());
            break;
          case 1:
            disk.remove(path());
            break;
          case 2:
            disk.rename(path(), path());
            break;
          case 3:
            disk.syncDirectory(random.pick(['/', '/d', '/e']));
            break;
          case 4:
            file?.truncate(position);
            break;
          case 5:
            file?.datasync();
            break;
          case 6:
            file?.punchHole(position, length);
            break;
          default:
            file?.write(random.bytes(length), position);
        }
        file?.close();
        outcomes.push('done');
      } catch (error) {
        outcomes.push(errorCode(error) ?? 'crash');
      }
    }
    return outcomes;
  }

  it('the same seed and calls give the same outcomes and the same disk after the crash', () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer(), (calls, crash) => {
        const images = [0, 1].map(() => {
          const disk = new SimulatedDisk({ capacityBytes: 40_000 });
          const outcomes = play(disk, calls, 40);
          return [outcomes, disk.log, ...crashPolicies(crash).map((policy) => picture(disk.crash(policy)))];
        });
        assert.deepEqual(images[0], images[1]);
      }),
      { numRuns: 100 },
    );
  });

  it('losing nothing equals being killed, and a second crash changes nothing', () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const disk = new SimulatedDisk();
        play(disk, seed, 60);
        assert.deepEqual(picture(disk.crash(keepUnsynced)), picture(disk.kill()));
        assert.deepEqual(picture(disk.kill().crash(loseUnsynced)), picture(disk.crash(loseUnsynced)));
        for (const policy of crashPolicies(seed)) {
          const image = disk.crash(policy);
          assert.deepEqual(image.unsynced(), []);
          assert.deepEqual(picture(image.crash(loseUnsynced)), picture(image));
          assert.deepEqual(image.space('/'), image.kill().space('/'));
        }
      }),
      { numRuns: 200 },
    );
  });

  it('what was wholly synced survives every crash', () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const disk = new SimulatedDisk();
        play(disk, seed, 40);
        const syncTree = (path: string): void => {
          disk.syncDirectory(path);
          for (const name of disk.list(path)) {
            const below = `${path}${name}`;
            if (disk.stat(below)?.kind === 'directory') syncTree(`${below}/`);
            else {
              const file = disk.open(below, 'write');
              file.datasync();
              file.close();
            }
          }
        };
        syncTree('/');
        const stable = picture(disk);
        for (const policy of crashPolicies(seed)) assert.deepEqual(picture(disk.crash(policy)), stable);
      }),
      { numRuns: 200 },
    );
  });
});

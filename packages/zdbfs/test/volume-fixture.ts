// Opens volumes for tests, with a clock that counts and a seeded generator.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import type { Caller } from '@qsfs/fuse';
import type { Store } from '../src/store.ts';
import { openVolume, type Volume, type VolumeOptions } from '../src/volume.ts';

export const ROOT = 1;
export const ROOT_CALLER: Caller = { userId: 0, groupId: 0, processId: 1 };

/** Every reading is a millisecond later than the one before. */
export function countingClock(startMs = 1_700_000_000_000) {
  let now = startMs;
  return {
    now: () => {
      const ms = now++;
      return { seconds: Math.floor(ms / 1000), nanoseconds: (ms % 1000) * 1_000_000 };
    },
    monotonicMs: () => now++,
    advance: (ms: number) => {
      now += ms;
    },
  };
}

const random = {
  bytes: (length: number) => new Uint8Array(length).fill(7),
  below: () => 0,
};

export function open(store: Store, options: Partial<VolumeOptions> = {}): Volume {
  return openVolume(store, { clock: countingClock(), random, ...options });
}

export function create(volume: Volume, parent: number, name: string, mode = 0o100644): number {
  return volume.makeNode(parent, name, mode, 0, ROOT_CALLER).inode;
}

export function mkdir(volume: Volume, parent: number, name: string): number {
  return volume.makeDirectory(parent, name, 0o755, ROOT_CALLER).inode;
}

export function write(volume: Volume, inode: number, offset: number, data: Uint8Array | string): void {
  volume.write(inode, offset, typeof data === 'string' ? Buffer.from(data) : data, ROOT_CALLER, false);
}

export function read(volume: Volume, inode: number, offset = 0, length?: number): Buffer {
  const target = Buffer.alloc(length ?? volume.getAttributes(inode).sizeBytes).fill(0xee);
  return target.subarray(0, volume.read(inode, offset, target));
}

/** All names with their inodes, without `.` and `..`, listed in replies of `perCall` entries. */
export function list(volume: Volume, directory: number, perCall = 1000): Map<string, number> {
  const found = new Map<string, number>();
  let cookie = 0;
  for (;;) {
    let taken = 0;
    volume.listDirectory(
      directory,
      cookie,
      (name, inode, _mode, next) => {
        if (taken === perCall) return false;
        taken++;
        cookie = next;
        if (name !== '.' && name !== '..') {
          assert.ok(!found.has(name), `${name} is listed twice`);
          found.set(name, inode);
        }
        return true;
      },
      false,
    );
    if (taken === 0) return found;
  }
}

export function assertConsistent(volume: Volume): void {
  const report = volume.verify();
  assert.deepEqual(report.problems, []);
}

function digest(bytes: Uint8Array): string {
  return createHash('sha1').update(bytes).digest('hex');
}

/** Where a file has data, and a digest of it. */
function contents(volume: Volume, inode: number, sizeBytes: number): unknown[] {
  const found: unknown[] = [];
  for (let at = 0; at < sizeBytes; ) {
    let from: number;
    try {
      from = volume.seek(inode, at, 3);
    } catch {
      break;
    }
    const to = volume.seek(inode, from, 4);
    found.push(from, digest(read(volume, inode, from, to - from)));
    at = to;
  }
  return found;
}

/** The whole tree as plain data: what two volumes are compared by. */
export function dump(volume: Volume): unknown {
  const tree = new Map<string, unknown>();
  const visit = (path: string, inode: number) => {
    const { generation: _g, ...attributes } = volume.getAttributes(inode);
    const entry: Record<string, unknown> = { ...attributes };
    const type = attributes.mode & 0o170000;
    if (type === 0o100000) entry['content'] = contents(volume, inode, attributes.sizeBytes);
    if (type === 0o120000) entry['target'] = Buffer.from(volume.readLink(inode)).toString('latin1');
    entry['attributes'] = volume
      .listExtendedAttributes(inode)
      .map((name) => [name, Buffer.from(volume.getExtendedAttribute(inode, name) ?? []).toString('base64')])
      .sort();
    tree.set(path, entry);
    if (type !== 0o040000) return;
    for (const [name, child] of [...list(volume, inode)].sort()) visit(`${path}/${name}`, child);
  };
  visit('', ROOT);
  return Object.fromEntries(tree);
}

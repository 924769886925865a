import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Filesystem } from '@qsfs/fuse';
import { LeaseStale, refuseChanges } from '../src/filesystem/fence.ts';

const READS = [
  'lookup',
  'forget',
  'getAttributes',
  'readLink',
  'read',
  'sync',
  'syncAll',
  'listDirectory',
  'status',
  'getExtendedAttribute',
  'listExtendedAttributes',
  'seek',
  'idle',
];

/** A filesystem that remembers which of its calls were made. */
function recorded(): { filesystem: Filesystem; calls: string[]; names: string[] } {
  const calls: string[] = [];
  const names = [
    ...READS,
    'setAttributes',
    'makeSymlink',
    'makeNode',
    'makeDirectory',
    'makeTemporary',
    'unlink',
    'removeDirectory',
    'rename',
    'link',
    'write',
    'setExtendedAttribute',
    'removeExtendedAttribute',
    'allocate',
    'copyRange',
  ];
  const filesystem = Object.fromEntries(names.map((name) => [name, () => void calls.push(name)]));
  return { filesystem: filesystem as unknown as Filesystem, calls, names };
}

test('a fenced frontend lets programs read and refuses every change with EROFS', () => {
  const { filesystem, calls, names } = recorded();
  let fenced = false;
  let known = true;
  let changed = 0;
  refuseChanges(
    filesystem,
    () => fenced,
    () => known,
    () => {
      changed += 1;
    },
  );
  const call = (name: string) => (filesystem as unknown as Record<string, () => void>)[name]?.();
  for (const name of names) call(name);
  assert.deepEqual(calls, names, 'before, everything is done');
  assert.equal(changed, names.length - READS.length, 'and what is a change is noticed');
  known = false;
  calls.length = 0;
  for (const name of names) {
    if (READS.includes(name)) call(name);
    else assert.throws(() => call(name), LeaseStale, name);
  }
  assert.deepEqual(calls, READS, 'until it is known, changes wait');
  fenced = true;
  calls.length = 0;
  for (const name of names) {
    if (READS.includes(name)) call(name);
    else assert.throws(() => call(name), { code: 'EROFS' }, name);
  }
  assert.deepEqual(calls, READS);
  assert.equal(changed, names.length - READS.length);
});

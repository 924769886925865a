import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ZstorStatus } from '@qsfs/zstor';
import { describeRewriting } from '../src/read-only.ts';
import { backendReports } from '../src/status.ts';

test('of an emptied backend it is only said to be written again by a frontend that can write', () => {
  const backend = {
    name: 'a1',
    role: 'data',
    group: 'a',
    address: '127.0.0.1:1/data',
    state: 'up',
    reason: '',
  };
  const status = { backends: [backend] } as unknown as ZstorStatus;
  const reasonFor = (rewriting: string) =>
    backendReports(status, new Map(), new Set(['a1']), rewriting, []).map(
      ({ state, reason }) => `${state}: ${reason}`,
    );
  assert.deepEqual(reasonFor(describeRewriting(null)), [
    'emptied: lost what it held; it is written again from the other backends',
  ]);
  for (const cause of ['no-lease', 'asked', 'replaced'] as const)
    assert.doesNotMatch(
      reasonFor(describeRewriting({ cause, reason: '' }))[0] ?? '',
      /is written again from/,
    );
});

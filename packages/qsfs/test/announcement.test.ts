import assert from 'node:assert/strict';
import { test } from 'node:test';
import { realProcesses } from '@qsfs/io';
import { SimulatedRandom } from '@qsfs/io/simulated';
import { announce } from '../src/announcement.ts';
import { defaultConfiguration } from '../src/configuration.ts';
import { layoutOf } from '../src/layout.ts';
import { READ_ONLY_REASON, type ReadOnly } from '../src/read-only.ts';

/** The lines `up` prints for a state folder and a mount point. */
function announced(root: string, mountPoint: string, readOnly: ReadOnly | null = null): string[] {
  const layout = layoutOf(root);
  const lines: string[] = [];
  const context = {
    print: (line: string) => void lines.push(line),
    processes: realProcesses,
    workingDirectory: '/home/me',
  };
  const configuration = defaultConfiguration(layout.config, new SimulatedRandom(1), {
    mount: undefined,
    cacheBytes: undefined,
  });
  announce(
    context,
    { layout, json: false, background: false },
    { configuration, frontend: { mountPoint, readOnly }, cacheBytes: 2 ** 31, started: [] },
  );
  return lines;
}

test('what to type next can be pasted by whole lines, however long the paths are', () => {
  for (const [root, mountPoint] of [
    ['/home/me/.qsfs', '/m'],
    ['/srv/a folder with a long name/state', '/srv/a folder with a long name/mounted here'],
  ] as const) {
    const lines = announced(root, mountPoint);
    const first = lines.indexOf('In another terminal:') + 1;
    const commands = lines.slice(first, lines.indexOf('', first));
    assert.equal(commands.length, 7);
    const explained = commands.filter((line) => /write something|bring it|drop the|what is where/.test(line));
    assert.equal(explained.length, 4);
    const columns = new Set(explained.map((line) => line.indexOf('  # ')));
    assert.equal(columns.size, 1, lines.join('\n'));
    assert.ok(!columns.has(-1), lines.join('\n'));
  }
});

test('a mount that can only be read suggests nothing that writes', () => {
  const lines = announced('/home/me/.qsfs', '/m', { cause: 'asked', reason: READ_ONLY_REASON });
  assert.deepEqual(
    lines.filter((line) => line.startsWith('  ') && line.includes('bin/qsfs')),
    ['  bin/qsfs status  # what is where, and what may still fail'],
  );
});

// Work in steps (packages/io/src/sync-steps.ts) does nothing until somebody carries it out: a call whose result is dropped would
// promise stable storage and not bring it.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = join(dirname(dirname(fileURLToPath(import.meta.url))), 'packages');

/** A call of something that gives steps. */
const CALL = /(?:^|[^\w#])(?:[\w.#]+\.)?#?\w*Steps\(/;
/** Its definition, or somebody who takes the steps. */
const TAKEN =
  /yield\* |syncAtOnce\(|return |\.run\(|\.join\(|\.settle\(|#durably\(|\* ?#?\w*Steps\(|: SyncSteps/;

function dropped(text: string): string[] {
  const lines = text.split('\n');
  // A long call is broken behind the opening parenthesis of whoever takes it, or a definition before its type.
  const around = (at: number) => lines.slice(Math.max(0, at - 1), at + 1).join(' ');
  return lines.filter(
    (line, at) => CALL.test(line) && !/^\s*(\/\/|\/?\*+ )/.test(line) && !TAKEN.test(around(at)),
  );
}

test('every call that gives steps hands them to somebody', () => {
  assert.deepEqual(dropped('  store.meta.syncSteps();\n  yield* a.syncSteps();'), [
    '  store.meta.syncSteps();',
  ]);
  for (const name of readdirSync(root)) {
    const paths = readdirSync(join(root, name, 'src'), { recursive: true, encoding: 'utf8' });
    for (const path of paths.filter((candidate) => candidate.endsWith('.ts'))) {
      const text = readFileSync(join(root, name, 'src', path), 'utf8');
      if (text.includes('SyncSteps') || text.includes('syncAtOnce'))
        assert.deepEqual(dropped(text), [], `${name}/src/${path}`);
    }
  }
});

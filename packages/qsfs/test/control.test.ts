import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { realNetwork } from '@qsfs/io';
import { callControl, serveControl } from '../src/control.ts';
import { QsfsError } from '../src/errors.ts';

function socket(context: TestContext): { path: string } {
  const folder = mkdtempSync(join(tmpdir(), 'qsfs-control-'));
  context.after(() => rmSync(folder, { recursive: true }));
  return { path: join(folder, 'control.sock') };
}

test('a request is answered with progress and a result, and its answer is noticed', async (context) => {
  const address = socket(context);
  const { path } = address;
  let tell: (verb: string) => void = () => {};
  const answered = new Promise<string>((resolve) => {
    tell = resolve;
  });
  const listener = await serveControl(
    realNetwork,
    { path },
    ({ verb, parameters }, progress) => {
      progress({ done: 1 });
      return Promise.resolve({ verb, parameters });
    },
    ({ verb }) => tell(verb),
  );
  const seen: unknown[] = [];
  const result = await callControl(realNetwork, { path }, { verb: 'x', parameters: { a: 1 } }, (line) =>
    seen.push(line),
  );
  assert.deepEqual(result, { verb: 'x', parameters: { a: 1 } });
  assert.deepEqual(seen, [{ done: 1 }]);
  assert.equal(await answered, 'x');
  await listener.close();
});

test('an error keeps its code, message and hint; anything else is an internal error without a stack', async (context) => {
  const path = socket(context).path;
  const listener = await serveControl(realNetwork, { path }, ({ verb }) => {
    throw verb === 'known'
      ? new QsfsError('QSFS_E_DEGRADED', 'some lack shards', 'wait')
      : new TypeError('oops\nat x');
  });
  await assert.rejects(
    callControl(realNetwork, { path }, { verb: 'known', parameters: {} }),
    (error: unknown) => error instanceof QsfsError && error.exitCode === 6 && error.hint === 'wait',
  );
  await assert.rejects(
    callControl(realNetwork, { path }, { verb: 'other', parameters: {} }),
    (error: unknown) => error instanceof QsfsError && error.exitCode === 1 && error.message === 'oops',
  );
  await listener.close();
});

test('rubbish is answered with an error, and the next client is served', async (context) => {
  const path = socket(context).path;
  const listener = await serveControl(realNetwork, { path }, () => Promise.resolve('fine'));
  const connection = await realNetwork.connect({ path }, 1000);
  const answer = await new Promise<string>((resolve) => {
    let text = '';
    connection.start({
      data: (chunk) => {
        text += Buffer.from(chunk).toString();
      },
      drained() {},
      closed: () => resolve(text),
    });
    connection.write([Buffer.from('{"verb": 3}\n')]);
  });
  assert.match(answer, /does not understand/);
  assert.equal(await callControl(realNetwork, { path }, { verb: 'x', parameters: {} }), 'fine');
  await listener.close();
});

test('nobody listens: said with the exit code of it', async (context) => {
  const path = socket(context).path;
  await assert.rejects(
    callControl(realNetwork, { path }, { verb: 'status', parameters: {} }),
    (error: unknown) => error instanceof QsfsError && error.exitCode === 3,
  );
});

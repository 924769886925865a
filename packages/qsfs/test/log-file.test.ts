import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readWhole } from '@qsfs/io';
import { SimulatedClock, SimulatedDisk } from '@qsfs/io/simulated';
import { LogFile } from '../src/log-file.ts';

const PATH = '/frontend/log';

function start() {
  const disk = new SimulatedDisk();
  disk.makeDirectory('/frontend');
  const clock = new SimulatedClock();
  const text = (path = PATH) => Buffer.from(readWhole(disk, path) ?? new Uint8Array(0)).toString('utf8');
  return { disk, clock, text, open: () => new LogFile(disk, clock, PATH) };
}

test('one line an event, and after a restart it goes on behind them', () => {
  const { open, text } = start();
  const first = open();
  first.write('info', 'one');
  first.close();
  open().write('error', 'two');
  assert.match(text(), /^\S+ info one\n\S+ error two\n$/);
});

test('a large one is put aside', () => {
  const { open, text } = start();
  const log = open();
  for (let line = 0; line < 5; line += 1) log.write('info', 'x'.repeat(2 ** 20));
  assert.ok(text().length < 4 * 2 ** 20);
  assert.ok(text(`${PATH}.1`).length > 2 ** 20);
});

test('a full disk loses lines and nothing else; with room it goes on', () => {
  for (const isThere of [true, false]) {
    const { disk, open, text } = start();
    if (isThere) open().write('info', 'before');
    const stop = disk.fail({ code: 'ENOSPC', kinds: ['open', 'write'], times: 1000 });
    const log = open();
    log.write('info', 'lost');
    stop();
    log.write('info', 'after');
    assert.match(text(), isThere ? /^\S+ info before\n\S+ info after\n$/ : /^\S+ info after\n$/);
  }
});

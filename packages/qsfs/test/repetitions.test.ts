import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedClock } from '@qsfs/io/simulated';
import { withoutRepetitions } from '../src/repetitions.ts';

test('a line that comes over and over is said once, and then once a minute with how often', async () => {
  const clock = new SimulatedClock();
  const said: string[] = [];
  const log = withoutRepetitions(clock, (level, message) => void said.push(`${level} ${message}`));
  for (let at = 0; at < 500; at += 1) {
    log('warning', 'd3 is damaged');
    if (at === 100) log('warning', 'd4 is damaged');
    if (at === 101) log('error', 'd3 is damaged');
    await clock.run(250);
  }
  assert.deepEqual(said, [
    'warning d3 is damaged',
    'warning d4 is damaged',
    'error d3 is damaged',
    'warning d3 is damaged (240 times since it was said last)',
    'warning d3 is damaged (240 times since it was said last)',
  ]);
});

test('what was held back is said later, even when it does not come again', async () => {
  const clock = new SimulatedClock();
  const said: string[] = [];
  const log = withoutRepetitions(clock, (_, message) => void said.push(message));
  for (let at = 0; at < 3; at += 1) log('info', 'one');
  await clock.run(61_000);
  log('info', 'two');
  assert.deepEqual(said, ['one', 'one (2 times since it was said last)', 'two']);
  await clock.run(61_000);
  log('info', 'two');
  assert.deepEqual(said.slice(3), ['two'], 'a line that comes now and then is said each time');
});

test('different lines are all said, however many', () => {
  const clock = new SimulatedClock();
  let said = 0;
  const log = withoutRepetitions(clock, () => void (said += 1));
  for (let at = 0; at < 3000; at += 1) log('info', `line ${at}`);
  assert.equal(said, 3000);
});

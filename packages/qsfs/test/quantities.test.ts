import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { QsfsError } from '../src/errors.ts';
import { formatDuration, formatExactSize, formatSize, parseDuration, parseSize } from '../src/quantities.ts';

test('sizes are read as people write them', () => {
  assert.equal(parseSize('64MiB', ''), 67108864);
  assert.equal(parseSize('2GiB', ''), 2147483648);
  assert.equal(parseSize('1.5g', ''), 1610612736);
  assert.equal(parseSize('500 MB', ''), 500000000);
  assert.equal(parseSize('1000', ''), 1000);
});

test('what is no size is refused, with the name of the option', () => {
  for (const text of ['', 'lots', '-1', '1 parsec', '5MiBs', '1e3', '99999999TiB']) {
    assert.throws(
      () => parseSize(text, '--cache-size'),
      (error: unknown) =>
        error instanceof QsfsError && error.exitCode === 2 && /--cache-size/.test(error.message),
    );
  }
});

test('an exact size reads back as the same number', () => {
  fc.assert(
    fc.property(fc.nat({ max: 2 ** 45 }), (bytes) => {
      assert.equal(parseSize(formatExactSize(bytes), ''), bytes);
    }),
  );
});

test('times are read and shown', () => {
  assert.equal(parseDuration('30s', ''), 30000);
  assert.equal(parseDuration('5min', ''), 300000);
  assert.equal(parseDuration('250ms', ''), 250);
  assert.throws(() => parseDuration('soon', 'sync_interval'), /sync_interval/);
  assert.equal(formatDuration(850), '850 ms');
  assert.equal(formatDuration(12345), '12.3 s');
  assert.equal(formatDuration(303000), '5 min 3 s');
  assert.equal(formatSize(1), '1 byte');
  assert.equal(formatSize(1536), '1.5 KiB');
  assert.equal(formatSize(300 * 2 ** 20), '300 MiB');
});

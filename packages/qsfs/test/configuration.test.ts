import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedDisk, SimulatedRandom } from '@qsfs/io/simulated';
import {
  type Configuration,
  defaultConfiguration,
  describePolicy,
  localBackendsOf,
  parseConfiguration,
  readConfiguration,
  writeConfiguration,
} from '../src/configuration.ts';
import { QsfsError } from '../src/errors.ts';

const PATH = '/state/qsfs.toml';

function made(): Configuration {
  return defaultConfiguration(PATH, new SimulatedRandom(1), { mount: '/mnt/here', cacheBytes: undefined });
}

function text(disk: SimulatedDisk): string {
  const file = disk.open(PATH, 'read');
  const content = new Uint8Array(file.size());
  file.read(content, 0);
  file.close();
  return Buffer.from(content).toString('utf8');
}

function written(): string {
  const disk = new SimulatedDisk();
  disk.makeDirectory('/state');
  writeConfiguration(disk, made());
  return text(disk);
}

test('without a configuration: eight backends in four groups, a group and one in each other may be lost', () => {
  const { zstor, settings } = made();
  assert.deepEqual(
    zstor.groups.map((group) => group.backends.map((backend) => backend.name)),
    [
      ['a1', 'a2'],
      ['b1', 'b2'],
      ['c1', 'c2'],
      ['d1', 'd2'],
    ],
  );
  assert.equal(zstor.minimalShards, 3);
  assert.equal(zstor.expectedShards, 8);
  assert.equal(zstor.metadata.backends.length, 8);
  assert.equal(zstor.metadata.minimalStores, 3);
  assert.equal(settings.localBackends, '/state/backends');
  assert.match(describePolicy(zstor), /1 whole group together with 1 backend in every other group/);
  assert.equal(localBackendsOf(made()).length, 8);
  assert.deepEqual(localBackendsOf(made())[0], { name: 'a1', group: 'a', directory: '/state/backends/a1' });
});

test('every configuration has a key of its own', () => {
  const keys = [1, 2].map((seed) =>
    Buffer.from(
      defaultConfiguration(PATH, new SimulatedRandom(seed), { mount: undefined, cacheBytes: 2 ** 30 }).zstor
        .masterKey,
    ).toString('hex'),
  );
  assert.notEqual(keys[0], keys[1]);
  assert.match(keys[0] ?? '', /^[0-9a-f]{64}$/);
});

test('what is written is read back as the same configuration', () => {
  const disk = new SimulatedDisk();
  disk.makeDirectory('/state');
  writeConfiguration(disk, made());
  const again = readConfiguration(disk, PATH);
  assert.deepEqual(again.settings, made().settings);
  assert.deepEqual(again.zstor.groups, made().zstor.groups);
  assert.deepEqual(again.zstor.masterKey, made().zstor.masterKey);
  assert.deepEqual(again.zstor.metadata, made().zstor.metadata);
});

test('a folder with its configuration can be moved', () => {
  const moved = parseConfiguration(written(), '/elsewhere/qsfs.toml');
  assert.equal(localBackendsOf(moved)[0]?.directory, '/elsewhere/backends/a1');
});

test('written into another folder, the local backends stay where they are', () => {
  const disk = new SimulatedDisk();
  disk.makeDirectory('/new');
  writeConfiguration(disk, { ...made(), path: '/new/qsfs.toml' });
  const there = readConfiguration(disk, '/new/qsfs.toml');
  assert.deepEqual(localBackendsOf(there), localBackendsOf(made()));
});

test('each mistake is one message with the key and the fix', () => {
  const good = written();
  const replace = (from: string | RegExp, to: string) => {
    const bad = good.replace(from, to);
    assert.notEqual(bad, good, `${from}`);
    return bad;
  };
  const cases: [string, RegExp][] = [
    [replace('cache_size', 'cache_sise'), /qsfs\.cache_sise/],
    [replace(/cache_size = ".*"/, 'cache_size = "big"'), /qsfs\.cache_size/],
    [replace(/cache_size = ".*"/, 'cache_size = "1MiB"'), /qsfs\.cache_size.*64MiB/],
    [replace(/segment_size = ".*"/, 'segment_size = "9TiB"'), /qsfs\.segment_size/],
    [replace(/sync_interval = ".*"/, 'sync_interval = "often"'), /qsfs\.sync_interval/],
    [replace('[qsfs]', '[qsfs]\nverify = "hope"'), /qsfs\.verify.*"read" or "ask"/],
    [replace('minimal_shards = 3', 'minimal_shards = 9'), /minimal_shards.*expected_shards/],
    [replace('expected_shards = 8', 'expected_shards = 12'), /expected_shards.*8 backends/],
    [replace(/key = "[0-9a-f]{4}/, 'key = "'), /encryption\.key/],
    [replace('redundant_groups', 'redundant_grups'), /redundant_grups|redundant_groups/],
    [`${good}\nwhat is this`, /line \d+/],
  ];
  for (const [bad, message] of cases) {
    assert.throws(
      () => parseConfiguration(bad, PATH),
      (error: unknown) => {
        assert.ok(error instanceof QsfsError, String(error));
        assert.equal(error.code, 'QSFS_E_CONFIG');
        assert.match(error.message, message);
        assert.ok(!error.message.includes('\n'));
        return true;
      },
    );
  }
});

test('a missing file is said to be missing', () => {
  assert.throws(
    () => readConfiguration(new SimulatedDisk(), '/nowhere.toml'),
    /there is no configuration \/nowhere.toml/,
  );
});

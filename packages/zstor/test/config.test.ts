import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatConfig } from '../src/config/format.ts';
import { defaultMinimalStores, lowestWriteQuorum, parseConfig } from '../src/config/parse.ts';
import { isZstorError } from '../src/errors.ts';
import { stripesAtATime } from '../src/object/window.ts';
import { stripeSizeFor } from '../src/object/writer.ts';

const KEY = '00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff';

/** The example of the reference's documentation, with four data backends and four metadata stores. */
function reference(): string {
  const backend = (table: string, index: number, namespace: string) =>
    `[[${table}]]\naddress = "[2001:db8::1]:990${index}"\nnamespace = "${namespace}"\npassword = "secret"\n`;
  return `
minimal_shards = 2
expected_shards = 4
redundant_groups = 0
redundant_nodes = 0
root = "/"
socket = "/tmp/zstor.sock"
pid_file = "/run/zstor.pid"
prometheus_port = 9200
zdbfs_mountpoint = "/mnt/qsfs"
zdb_data_dir_path = "/opt/zdb/data/zdbfs-data/"
max_zdb_data_dir_size = 2560
[encryption]
algorithm = "AES"
key = "${KEY}"
[compression]
algorithm = "snappy"
[meta]
type = "zdb"
[meta.config]
prefix = "zstor-meta"
[meta.config.encryption]
algorithm = "AES"
key = "${KEY}"
${[0, 1, 2, 3].map((i) => backend('meta.config.backends', i, `meta${i}`)).join('')}
[[groups]]
${[0, 1, 2, 3].map((i) => backend('groups.backends', i, `data${i}`)).join('')}
`;
}

test('a configuration of the reference is accepted with its meaning', () => {
  const config = parseConfig(reference(), '/etc');
  assert.equal(config.minimalShards, 2);
  assert.equal(config.expectedShards, 4);
  assert.equal(config.writeQuorum, 3);
  assert.equal(config.stripeSizeBytes, 4 * 1024 * 1024);
  assert.equal(config.metadata.minimalStores, 2);
  assert.equal(config.metadata.writeQuorum, 3);
  assert.equal(config.zdbDataLimitBytes, 2560 * 1024 * 1024);
  assert.equal(Buffer.from(config.masterKey).toString('hex'), KEY);
  const [group] = config.groups;
  assert.deepEqual(group?.backends[1], {
    type: 'zdb',
    name: '[2001:db8::1]:9901/data1',
    address: { host: '2001:db8::1', port: 9901 },
    namespace: 'data1',
    password: 'secret',
  });
});

test('a written configuration reads back the same, also from another folder', () => {
  const local = `
minimal_shards = 1
expected_shards = 3
redundant_groups = 1
redundant_nodes = 0
stripe_size = "1MiB"
write_quorum = 3
[encryption]
algorithm = "AES"
key = "${KEY}"
[meta.config]
backends = [{ path = "meta/0" }, { path = "meta/1" }, { address = "unix:sockets/m", name = "third" }]
[qsfs]
cache_size = "64MiB"
[[groups]]
name = "left"
backends = [{ name = "a", path = "data/a" }, { name = "b", type = "dir", path = "/somewhere/b" }]
[[groups]]
backends = [{ address = "unix:sockets/c", namespace = "data" }]
`;
  const config = parseConfig(local, '/base');
  assert.equal(config.stripeSizeBytes, 1024 * 1024);
  assert.deepEqual(config.qsfs, { cache_size: '64MiB' });
  assert.equal(config.groups[0]?.backends[0]?.path, '/base/data/a');
  assert.equal(config.groups[1]?.name, 'group2');
  assert.deepEqual(config.groups[1]?.backends[0]?.address, { path: '/base/sockets/c' });
  assert.deepEqual(parseConfig(formatConfig(config, '/base'), '/base'), config);
  const moved = parseConfig(formatConfig(config, '/base'), '/moved');
  assert.equal(moved.groups[0]?.backends[0]?.path, '/moved/data/a');
  assert.equal(moved.groups[0]?.backends[1]?.path, '/somewhere/b');
  assert.deepEqual(
    parseConfig(formatConfig(parseConfig(reference(), '/etc'), '/etc'), '/etc'),
    parseConfig(reference(), '/etc'),
  );
});

test('large objects have larger stripes, as far as shards and memory allow, unless a size is said', () => {
  const MIB = 1024 * 1024;
  const stripes = (k: number, n: number, sizesMiB: number[], said = '') => {
    const backends = Array.from({ length: n }, (_, i) => `{ path = "data/${i}" }`).join(', ');
    const text = reference()
      .replace('minimal_shards = 2', `minimal_shards = ${k}`)
      .replace('expected_shards = 4', `expected_shards = ${n}${said}`)
      .replace(/\[\[groups\]\][\s\S]*/, `[[groups]]\nbackends = [${backends}]\n`);
    const config = parseConfig(text, '/etc');
    assert.deepEqual(parseConfig(formatConfig(config, '/etc'), '/etc'), config);
    return sizesMiB.map((size) => stripeSizeFor(size * MIB, config) / MIB);
  };
  const sizes = [0, 1, 255, 256, 511, 512, 1024, 1024 * 1024];
  assert.deepEqual(stripes(4, 8, sizes), [4, 4, 4, 8, 8, 8, 8, 8]);
  assert.deepEqual(stripes(16, 20, sizes), [4, 4, 4, 8, 8, 16, 16, 16]);
  // Shards would be larger than 2 MiB; a stripe with its shards would take more than 48 MiB.
  assert.deepEqual(stripes(3, 8, sizes), [4, 4, 4, 4, 4, 4, 4, 4]);
  assert.deepEqual(stripes(16, 40, sizes), [4, 4, 4, 8, 8, 8, 8, 8]);
  assert.deepEqual(stripes(16, 20, sizes, '\nstripe_size = "2MiB"'), [2, 2, 2, 2, 2, 2, 2, 2]);
});

test('fewer large stripes are read at a time, at least one', () => {
  const MIB = 1024 * 1024;
  assert.deepEqual(
    [0.0625, 4, 8, 16].map((size) => [6, 3, 1].map((most) => stripesAtATime(most, size * MIB))),
    [
      [6, 3, 1],
      [6, 3, 1],
      [6, 3, 1],
      [3, 1, 1],
    ],
  );
});

/** Each change of the reference configuration, and what the one message must say. */
const wrong: readonly [string, (text: string) => string, RegExp][] = [
  [
    'not TOML',
    (t) => t.replace('minimal_shards = 2', 'minimal_shards = = 2'),
    /line 2, column \d+ \(minimal_shards\): /,
  ],
  [
    'a key that is there twice',
    (t) => t.replace('minimal_shards = 2', 'minimal_shards = 2\nminimal_shards = 2'),
    /line 3, column 1 \(minimal_shards\): trying to redefine/,
  ],
  ['a table that is there twice', (t) => `${t}\n[encryption]\n`, /line \d+, column \d+ \(encryption\): /],
  ['bytes that are not UTF-8', (t) => `root = "\ufffd"\n${t}`, /line 1, column 9 \(root\): not UTF-8/],
  [
    'an unknown key',
    (t) => t.replace('redundant_nodes', 'redundant_node'),
    /redundant_node: unknown key; did you mean "redundant_nodes"\?/,
  ],
  [
    'an additional unknown key',
    (t) => `minimal_shrads = 3\n${t}`,
    /minimal_shrads: unknown key; did you mean "minimal_shards"\?/,
  ],
  [
    'an unknown key in a backend',
    (t) => t.replace('password', 'pasword'),
    /meta\.config\.backends\[0\]\.pasword: unknown key; did you mean "password"\?/,
  ],
  ['a strange key', (t) => `explorer = 1\n${t}`, /explorer: unknown key; remove it/],
  [
    'k larger than n',
    (t) => t.replace('minimal_shards = 2', 'minimal_shards = 5'),
    /minimal_shards: is 5, more than expected_shards \(4\)/,
  ],
  [
    'k of zero',
    (t) => t.replace('minimal_shards = 2', 'minimal_shards = 0'),
    /minimal_shards: must be a whole number from 1/,
  ],
  [
    'k as text',
    (t) => t.replace('minimal_shards = 2', 'minimal_shards = "2"'),
    /minimal_shards: must be a whole number/,
  ],
  [
    'k that is no number',
    (t) => t.replace('minimal_shards = 2', 'minimal_shards = nan'),
    /minimal_shards: must be a whole number from 1 to 256, not NaN/,
  ],
  [
    'fewer backends than shards',
    (t) => t.replace('expected_shards = 4', 'expected_shards = 6'),
    /expected_shards: is 6, but the groups have only 4 backends; add 2/,
  ],
  [
    'a short key',
    (t) => t.replace(KEY, 'abc'),
    /encryption\.key: must be exactly 64 hex digits, this one has 3; make one with: openssl/,
  ],
  [
    'a key that is not hex',
    (t) => t.replace(KEY, 'g'.repeat(64)),
    /encryption\.key: .*contains other characters/,
  ],
  [
    'no encryption',
    (t) => t.replace(/\[encryption\]\n.*\n.*\n/, ''),
    /encryption: is missing; add \[encryption\]/,
  ],
  [
    'a wrong algorithm',
    (t) => t.replace('"AES"', '"aes"'),
    /encryption\.algorithm: must be "AES", not "aes"/,
  ],
  [
    'a wrong compression',
    (t) => t.replace('"snappy"', '"lz4"'),
    /compression\.algorithm: must be "snappy" or "zstd", not "lz4"/,
  ],
  ['no metadata', (t) => t.replace(/\[meta\][\s\S]*?\[\[groups\]\]/, '[[groups]]'), /meta: is missing/],
  ['the old metadata type', (t) => t.replace('type = "zdb"', 'type = "etcd"'), /meta\.type: must be "zdb"/],
  [
    'a bad address',
    (t) => t.replace('[2001:db8::1]:9900', '2001:db8::1:9900'),
    /meta\.config\.backends\[0\]\.address: .* is no address/,
  ],
  ['port 0', (t) => t.replace(']:9900', ']:0'), /meta\.config\.backends\[0\]\.address: .* has port 0/],
  [
    'an IPv6 address that is none',
    (t) => t.replace('[2001:db8::1]:9900', '[2001:db8::zz]:9900'),
    /meta\.config\.backends\[0\]\.address: .* is no address/,
  ],
  [
    'a blank in an address',
    (t) => t.replace('[2001:db8::1]:9900', '10.0.0.1 :9900'),
    /meta\.config\.backends\[0\]\.address: .* is no address/,
  ],
  [
    'an address too long to be the name',
    (t) => t.replace('[2001:db8::1]:9900', `unix:/${'s'.repeat(200)}`),
    /meta\.config\.backends\[0\]\.name: is missing; give it one of 1 to 200/,
  ],
  [
    'a missing address',
    (t) => t.replace('address = "[2001:db8::1]:9900"\n', ''),
    /meta\.config\.backends\[0\]\.address: is missing/,
  ],
  [
    'one backend twice',
    (t) => t.replaceAll('data1', 'data0').replaceAll('9901', '9900'),
    /is the same place as/,
  ],
  [
    'a store that is also a data backend',
    (t) => t.replaceAll('data1', 'meta1'),
    /meta\.config\.backends\[1\]: is the same place as groups\[0\]\.backends\[1\]/,
  ],
  [
    'an impossible policy',
    (t) => t.replace('redundant_groups = 0', 'redundant_groups = 1'),
    /redundant_groups: no placement of 4 shards survives .*; add \d backends? to|lower redundant_groups to 0/,
  ],
  [
    'too many nodes',
    (t) => t.replace('redundant_nodes = 0', 'redundant_nodes = 3'),
    /redundant_nodes: no placement.*lower redundant_nodes to 2/,
  ],
  ['a write quorum of k', (t) => `write_quorum = 2\n${t}`, /write_quorum: must be from 3/],
  [
    'a stripe that is no size',
    (t) => `stripe_size = "4 Mbit"\n${t}`,
    /stripe_size: must be a size such as "4MiB"/,
  ],
  [
    'a stripe that is too large',
    (t) => `stripe_size = "64MiB"\n${t}`,
    /stripe_size: must be a power of two from 64KiB to 8MiB/,
  ],
  ['a group without backends', (t) => `${t}[[groups]]\n`, /groups\[1\]\.backends: is empty/],
  [
    'a metadata quorum that is too small',
    (t) => t.replace('prefix =', 'write_quorum = 2\nprefix ='),
    /meta\.config\.write_quorum: must be from 3 to 4/,
  ],
  [
    'more metadata parts than stores',
    (t) => t.replace('prefix =', 'minimal_stores = 5\nprefix ='),
    /meta\.config\.minimal_stores: is 5, but there are only 4/,
  ],
  [
    'a path for a zdb',
    (t) => t.replace('namespace = "data1"', 'type = "zdb"\npath = "x"'),
    /groups\[0\]\.backends\[1\]\.path: is for type = "dir"/,
  ],
];

for (const [name, change, message] of wrong) {
  test(`a configuration with ${name} is refused in one message that says what to do`, () => {
    const text = change(reference());
    assert.notEqual(text, reference(), 'the change must change something');
    assert.throws(
      () => parseConfig(text, '/etc'),
      (error) => {
        assert.ok(isZstorError(error, 'QSFS_E_CONFIG'), String(error));
        assert.match(error.message, message);
        assert.ok(!error.message.includes(KEY), 'the key is never shown');
        assert.ok(!error.message.includes('\n'), 'one line');
        return true;
      },
    );
  });
}

test('metadata quorums keep two writes together and let k stores know of every acknowledged write', () => {
  for (let stores = 1; stores <= 64; stores++) {
    const minimal = defaultMinimalStores(stores);
    const quorum = lowestWriteQuorum(stores, minimal);
    assert.ok(2 * quorum > stores);
    assert.ok(quorum + minimal > stores, 'k answers meet every quorum');
    assert.ok(quorum > minimal || stores === minimal);
  }
  assert.deepEqual([defaultMinimalStores(4), lowestWriteQuorum(4, 2)], [2, 3]);
  assert.deepEqual([defaultMinimalStores(8), lowestWriteQuorum(8, 3)], [3, 6]);
});

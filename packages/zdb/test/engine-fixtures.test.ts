// Directories recorded from the reference: each opens and gives what its manifest says, or better where damage is recorded.
import assert from 'node:assert/strict';
import { cpSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Namespace, type NamespaceMode, NotLocal, StoreError } from '../src/index.ts';
import { openScratch, scratchDirectory } from './scratch.ts';

const FIXTURES = join(import.meta.dirname, 'fixtures');

interface Value {
  hex?: string;
  seed?: number;
  length?: number;
}
interface LiveKey {
  key: string;
  value: Value;
  timestamp: number;
}
interface Manifest {
  server_flags: string[];
  damage?: { file: string; removed?: boolean };
  expected?: Record<string, { dbsize: number; scan: [string, number, number][] }>;
  namespaces: Record<
    string,
    {
      mode: NamespaceMode;
      settings: Record<string, string>;
      live: LiveKey[];
      history_newest_first: Record<string, { value: Value; timestamp: number }[]>;
      deleted: { key: string; timestamp: number }[];
    }
  >;
  files: Record<string, { size: number; sha256: string }>;
}

function payloadOf(value: Value): Buffer {
  if (value.hex !== undefined) return Buffer.from(value.hex, 'hex');
  let x = value.seed ?? 0;
  return Buffer.from(
    Array.from({ length: value.length ?? 0 }, () => {
      x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
      return x >>> 24;
    }),
  );
}

function manifestOf(name: string): Manifest {
  return JSON.parse(readFileSync(join(FIXTURES, name, 'manifest.json'), 'utf8')) as Manifest;
}

function modeOf(manifest: Manifest): NamespaceMode | undefined {
  const at = manifest.server_flags.indexOf('--mode');
  return at < 0 ? undefined : (manifest.server_flags[at + 1] as NamespaceMode);
}

function walk(namespace: Namespace, direction: 'forward' | 'backward', entries?: number): string[] {
  const seen: string[] = [];
  for (let cursor: Uint8Array | undefined; ; ) {
    const batch = namespace.scan(direction, cursor, entries === undefined ? {} : { entries });
    if (!batch) return seen;
    for (const { key, lengthBytes, timestamp } of batch.entries)
      seen.push(`${Buffer.from(key).toString('hex')} ${lengthBytes} ${timestamp}`);
    cursor = batch.cursor;
  }
}

const cases = readdirSync(FIXTURES).filter((name) => existsSync(join(FIXTURES, name, 'manifest.json')));

for (const name of cases) {
  const manifest = manifestOf(name);
  if (name === 'wrong-mode') continue;
  test(`fixture ${name}: opens, serves what is intact, takes a write and opens again`, (context) => {
    const directory = scratchDirectory(context);
    cpSync(join(FIXTURES, name), directory, { recursive: true });
    const mode = modeOf(manifest);
    const log: string[] = [];
    const options = {
      events: { log: (_: string, line: string) => log.push(line) },
      ...(mode ? { mode } : {}),
    };
    const probe = Buffer.from('probe');
    for (const round of ['first', 'second'] as const) {
      const engine = openScratch(directory, options);
      for (const [namespaceName, facts] of Object.entries(manifest.namespaces)) {
        const namespace = engine.namespace(namespaceName);
        assert.ok(namespace, namespaceName);
        assert.equal(namespace.mode, facts.mode);
        const expected = manifest.expected?.[namespaceName];
        if (expected && round === 'first') {
          assert.equal(namespace.entries, expected.dbsize);
          const lines = expected.scan.map((entry) => entry.join(' '));
          for (const step of [1, 2, undefined]) {
            assert.deepEqual(walk(namespace, 'forward', step), lines);
            assert.deepEqual(walk(namespace, 'backward', step), [...lines].reverse());
          }
        }
        for (const { key, value, timestamp } of facts.live) {
          const info = namespace.info(Buffer.from(key, 'hex'));
          const lost = name.startsWith('torn-') && name.includes('-data-') && key === facts.live.at(-1)?.key;
          if (lost) {
            assert.equal(info, undefined, `${key} has no whole record`);
            continue;
          }
          assert.ok(info, key);
          assert.equal(info.timestamp, timestamp);
          const read = (): Uint8Array | undefined => namespace.get(Buffer.from(key, 'hex'));
          if (name === 'missing-datafile' && info.dataFile === 0) assert.throws(read, NotLocal);
          else if (name.startsWith('corrupt-') && key === facts.live[0]?.key)
            assert.throws(read, (error) => error instanceof StoreError && error.reason === 'corrupt');
          else assert.deepEqual(Buffer.from(read() ?? []), payloadOf(value));
        }
        for (const { key } of facts.deleted) {
          if (facts.live.some((each) => each.key === key)) continue;
          assert.equal(namespace.info(Buffer.from(key, 'hex')), undefined, key);
        }
        for (const [key, versions] of Object.entries(facts.history_newest_first)) {
          let cursor: Uint8Array | undefined;
          for (const [number, version] of versions.entries()) {
            const entry = namespace.history(Buffer.from(key, 'hex'), cursor);
            assert.deepEqual(
              Buffer.from(entry.payload),
              payloadOf(version.value),
              `${key} version ${number}`,
            );
            assert.equal(entry.timestamp, version.timestamp);
            cursor = entry.older;
            assert.equal(cursor === undefined, number === versions.length - 1);
          }
        }
        if (facts.settings['worm'] === '1' || facts.settings['maxsize']) continue;
        const key = facts.mode === 'user' ? Buffer.from('probe key') : new Uint8Array(0);
        if (round === 'first') {
          const before = namespace.nextId;
          const given = namespace.set(key, probe);
          assert.ok(given);
          if (facts.mode === 'seq') assert.equal(Buffer.from(given).readUIntLE(0, 6), before);
          engine.commit();
          assert.deepEqual(Buffer.from(namespace.get(given) ?? []), probe);
        } else if (facts.mode === 'user') assert.deepEqual(Buffer.from(namespace.get(key) ?? []), probe);
        else assert.deepEqual(Buffer.from(namespace.readId(namespace.nextId - 1) ?? []), probe);
      }
      if (manifest.damage && round === 'first' && !name.startsWith('corrupt') && name !== 'missing-datafile')
        assert.ok(log.length > 0, 'a repair is told');
      engine.close();
    }
  });
}

test('fixture wrong-mode: an engine of the other mode refuses it', (context) => {
  const directory = scratchDirectory(context);
  cpSync(join(FIXTURES, 'wrong-mode'), directory, { recursive: true });
  assert.throws(
    () => openScratch(directory, { mode: 'user' }),
    (error) => error instanceof StoreError && error.reason === 'bad-files' && /seq mode/.test(error.message),
  );
});

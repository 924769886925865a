// A directory written by the engine equals, byte for byte, what the reference wrote for the same commands and times. The commands are
// read from the reference's data files. One field differs on purpose: the data file id of user-mode inserts (docs/formats/zdb.md).
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Namespace, NamespaceMode } from '../src/index.ts';
import { openScratch, scratchDirectory } from './scratch.ts';

const FIXTURES = join(import.meta.dirname, 'fixtures');
const CASES = [
  'fresh-user',
  'fresh-seq',
  'user-small-clean',
  'user-small-kill',
  'seq-small-clean',
  'seq-small-kill',
  'user-rotate-clean',
  'seq-rotate-clean',
  'user-empty-active',
  'seq-empty-active',
  'user-history',
  'mixed-default-seq',
  'namespaces',
];

/** The entries of a data file, as commands. */
function* commandsOf(
  data: Buffer,
): Generator<{ key: Buffer; payload: Buffer | undefined; timestamp: number }> {
  for (let at = 28; at < data.length; ) {
    const keyBytes = data[at]!;
    const payloadBytes = data.readUInt32LE(at + 1);
    const body = at + 18 + keyBytes;
    yield {
      key: data.subarray(at + 18, body),
      payload: (data[at + 13]! & 1) === 0 ? data.subarray(body, body + payloadBytes) : undefined,
      timestamp: data.readUInt32LE(at + 14),
    };
    at = body + payloadBytes;
  }
}

function replay(namespace: Namespace, directory: string, commit: () => void): void {
  for (let file = 0; existsSync(join(directory, `d${file}`)); file++) {
    if (file > namespace.activeFile) namespace.rotate();
    for (const { key, payload, timestamp } of commandsOf(readFileSync(join(directory, `d${file}`)))) {
      if (payload === undefined) assert.ok(namespace.remove(key, timestamp));
      else if (namespace.mode === 'user' || namespace.info(key))
        assert.ok(namespace.set(key, payload, timestamp));
      else assert.deepEqual(Buffer.from(namespace.set(new Uint8Array(0), payload, timestamp) ?? []), key);
      assert.equal(namespace.activeFile, file);
    }
    commit();
  }
}

/** The index file with the data file id of inserts set to 0, as the reference has it. */
function withoutInsertFile(index: Buffer): Buffer {
  const copy = Buffer.from(index);
  if (copy[28] === 1) return copy;
  for (let at = 29; at < copy.length; at += 34 + copy[at]!)
    if (copy.readUInt32LE(at + 26) === 0 && copy.readUInt32LE(at + 30) === 0) copy.writeUInt32LE(0, at + 14);
  return copy;
}

for (const name of CASES) {
  test(`same bytes as the reference: ${name}`, (context) => {
    const source = join(FIXTURES, name);
    const manifest = JSON.parse(readFileSync(join(source, 'manifest.json'), 'utf8')) as {
      server_flags: string[];
      namespaces: Record<string, { mode: NamespaceMode; settings: Record<string, string> }>;
      descriptors_hex?: Record<string, string>;
    };
    const directory = scratchDirectory(context);
    const flags = manifest.server_flags;
    const flag = (word: string): string | undefined =>
      flags.includes(word) ? flags[flags.indexOf(word) + 1] : undefined;
    const engine = openScratch(directory, {
      dataSizeBytes: Number(flag('--datasize') ?? 268_435_456),
      ...(flag('--mode') ? { mode: flag('--mode') as NamespaceMode } : {}),
    });
    for (const [namespaceName, facts] of Object.entries(manifest.namespaces)) {
      const namespace = engine.namespace(namespaceName) ?? engine.createNamespace(namespaceName);
      if (facts.settings['mode'] || namespace.mode !== facts.mode) namespace.configure({ mode: facts.mode });
      replay(namespace, join(source, 'data', namespaceName), () => engine.commit());
      const { password, worm, maxsize } = facts.settings;
      namespace.configure({
        ...(password ? { password: password === '*' ? undefined : Buffer.from(password) } : {}),
        ...(facts.settings['public'] ? { public: facts.settings['public'] === '1' } : {}),
        ...(worm ? { worm: worm === '1' } : {}),
        ...(maxsize ? { maxSizeBytes: Number(maxsize) } : {}),
      });
    }
    for (const kind of ['data', 'index'] as const) {
      for (const namespaceName of Object.keys(manifest.namespaces)) {
        const theirs = join(source, kind, namespaceName);
        const ours = join(directory, kind, namespaceName);
        assert.deepEqual(readdirSync(ours), readdirSync(theirs));
        for (const file of readdirSync(theirs)) {
          const expected = readFileSync(join(theirs, file));
          const found = readFileSync(join(ours, file));
          if (file === 'zdb-namespace') {
            // The reference leaves old password bytes behind the descriptor (D16); ours ends where it ends.
            const length = 15 + expected[4]! + expected[5]!;
            assert.deepEqual(found, expected.subarray(0, length), `${namespaceName}/${file}`);
          } else if (kind === 'index')
            assert.deepEqual(withoutInsertFile(found), expected, `${namespaceName}/${file}`);
          else assert.deepEqual(found, expected, `${namespaceName}/${file}`);
        }
      }
    }
  });
}

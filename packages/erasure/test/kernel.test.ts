// The checked-in kernel belongs to its source: recorded hashes, the text form, and a rebuild.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { KERNEL_BASE64 } from '../src/kernel/binary.ts';

const kernel = fileURLToPath(new URL('../src/kernel/', import.meta.url));
const builder = fileURLToPath(new URL('../scripts/build-kernel.mjs', import.meta.url));
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const recorded = JSON.parse(readFileSync(join(kernel, 'hashes.json'), 'utf8')) as Record<string, string>;

test('source and binary have the recorded hashes', () => {
  assert.equal(sha256(readFileSync(join(kernel, 'assembly', 'kernel.ts'))), recorded['source']);
  assert.equal(sha256(readFileSync(join(kernel, 'kernel.wasm'))), recorded['wasm']);
});

test('the text that runs is the binary', () => {
  assert.equal(Buffer.from(KERNEL_BASE64, 'base64').compare(readFileSync(join(kernel, 'kernel.wasm'))), 0);
});

function compilerVersion(): string | undefined {
  try {
    const path = createRequire(import.meta.url).resolve('assemblyscript/package.json');
    const { version } = JSON.parse(readFileSync(path, 'utf8')) as { version: string };
    return `assemblyscript ${version}`;
  } catch {
    return undefined;
  }
}

const compiler = compilerVersion();
test('the recorded compiler builds the same binary from the source', {
  skip: compiler === recorded['compiler'] ? false : `${recorded['compiler']} is not installed`,
}, () => {
  const folder = mkdtempSync(join(tmpdir(), 'qsfs-kernel-'));
  try {
    const built = spawnSync(process.execPath, [builder, folder], { encoding: 'utf8' });
    assert.equal(built.status, 0, built.stderr);
    for (const name of ['kernel.wasm', 'hashes.json']) {
      assert.equal(readFileSync(join(folder, name)).compare(readFileSync(join(kernel, name))), 0, name);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

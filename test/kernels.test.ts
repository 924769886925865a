// The checked-in WebAssembly kernels belong to their sources: recorded hashes, the text form, and a rebuild.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { KERNEL_BASE64 as ERASURE } from '../packages/erasure/src/kernel/binary.ts';
import { KERNEL_BASE64 as CHECKSUM } from '../packages/zdb/src/engine/checksum-kernel/binary.ts';

const builder = fileURLToPath(new URL('../scripts/build-kernel.mjs', import.meta.url));
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const KERNELS = [
  { folder: '../packages/erasure/src/kernel/', text: ERASURE },
  { folder: '../packages/zdb/src/engine/checksum-kernel/', text: CHECKSUM },
];

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
for (const { folder, text } of KERNELS) {
  const kernel = fileURLToPath(new URL(folder, import.meta.url));
  const recorded = JSON.parse(readFileSync(join(kernel, 'hashes.json'), 'utf8')) as Record<string, string>;

  test(`${folder}: source, options and binary have the recorded hashes`, () => {
    assert.equal(sha256(readFileSync(join(kernel, 'assembly', 'kernel.ts'))), recorded['source']);
    assert.equal(sha256(readFileSync(join(kernel, 'assembly', 'asconfig.json'))), recorded['options']);
    assert.equal(sha256(readFileSync(join(kernel, 'kernel.wasm'))), recorded['wasm']);
  });

  test(`${folder}: the text that runs is the binary`, () => {
    assert.equal(Buffer.from(text, 'base64').compare(readFileSync(join(kernel, 'kernel.wasm'))), 0);
  });

  test(`${folder}: the recorded compiler builds the same binary from the source`, {
    skip: compiler === recorded['compiler'] ? false : `${recorded['compiler']} is not installed`,
  }, () => {
    const target = mkdtempSync(join(tmpdir(), 'qsfs-kernel-'));
    try {
      const built = spawnSync(process.execPath, [builder, kernel, target], { encoding: 'utf8' });
      assert.equal(built.status, 0, built.stderr);
      for (const name of ['kernel.wasm', 'hashes.json']) {
        assert.equal(readFileSync(join(target, name)).compare(readFileSync(join(kernel, name))), 0, name);
      }
    } finally {
      rmSync(target, { recursive: true });
    }
  });
}

// Builds src/kernel/kernel.wasm from src/kernel/assembly/kernel.ts, and from it src/kernel/binary.ts (the same bytes as
// text, so that nothing has to read a file at run time) and src/kernel/hashes.json (what belongs together).
// With an argument it writes into that directory instead, for the test that compares.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const kernel = join(root, 'src', 'kernel');
const target = process.argv[2] ?? kernel;
const compilerPackage = createRequire(import.meta.url).resolve('assemblyscript/package.json');
const compiler = JSON.parse(readFileSync(compilerPackage, 'utf8'));
// One imported memory, always shared: the main thread and the workers see the same shards. 65536 pages are 4 GiB, the
// most a 32-bit memory can have, so any memory matches.
const options = [
  '-O3',
  '--noAssert',
  '--runtime',
  'stub',
  '--enable',
  'simd',
  '--enable',
  'relaxed-simd',
].concat([
  '--enable',
  'threads',
  '--importMemory',
  '--sharedMemory',
  '--initialMemory',
  '1',
  '--maximumMemory',
  '65536',
]);

mkdirSync(target, { recursive: true });
const wasm = join(target, 'kernel.wasm');
const built = spawnSync(
  process.execPath,
  [join(dirname(compilerPackage), compiler.bin.asc), 'kernel.ts', '--outFile', wasm, ...options],
  { cwd: join(kernel, 'assembly'), stdio: ['ignore', 'inherit', 'inherit'] },
);
if (built.status !== 0) process.exit(built.status ?? 1);

const sha256 = (path) => createHash('sha256').update(readFileSync(path)).digest('hex');
const hashes = {
  source: sha256(join(kernel, 'assembly', 'kernel.ts')),
  wasm: sha256(wasm),
  compiler: `assemblyscript ${compiler.version}`,
};
writeFileSync(join(target, 'hashes.json'), `${JSON.stringify(hashes, null, 2)}\n`);

const text = readFileSync(wasm).toString('base64');
const lines = text.match(/.{1,100}/g).map((line) => `  '${line}',`);
writeFileSync(
  join(target, 'binary.ts'),
  [
    '// Made by scripts/build-kernel.mjs from assembly/kernel.ts; a test verifies that it is kernel.wasm.',
    '',
    '/** The kernel as a WebAssembly module, base64. */',
    'export const KERNEL_BASE64: string = [',
    ...lines,
    "].join('');",
    '',
  ].join('\n'),
);
process.stdout.write(`kernel.wasm: ${readFileSync(wasm).length} bytes, sha256 ${hashes.wasm}\n`);

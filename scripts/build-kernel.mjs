// Builds the WebAssembly kernels: FOLDER/kernel.wasm from FOLDER/assembly/kernel.ts, and from it FOLDER/binary.ts (the same bytes as
// text, so that nothing has to read a file at run time) and FOLDER/hashes.json (what belongs together).
//
//   node scripts/build-kernel.mjs                 builds all of them
//   node scripts/build-kernel.mjs FOLDER TARGET   builds one into another folder, for the test that compares
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const compilerPackage = createRequire(import.meta.url).resolve('assemblyscript/package.json');
const compiler = JSON.parse(readFileSync(compilerPackage, 'utf8'));
const sha256 = (path) => createHash('sha256').update(readFileSync(path)).digest('hex');

function build(folder, target) {
  mkdirSync(target, { recursive: true });
  const wasm = join(target, 'kernel.wasm');
  const program = [join(dirname(compilerPackage), compiler.bin.asc), 'kernel.ts', '--outFile', wasm];
  const built = spawnSync(process.execPath, program, {
    cwd: join(folder, 'assembly'), // asconfig.json there has the options
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  if (built.status !== 0) process.exit(built.status ?? 1);

  const hashes = {
    source: sha256(join(folder, 'assembly', 'kernel.ts')),
    options: sha256(join(folder, 'assembly', 'asconfig.json')),
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
  process.stdout.write(`${wasm}: ${readFileSync(wasm).length} bytes, sha256 ${hashes.wasm}\n`);
}

const [folder, target] = process.argv.slice(2);
if (folder !== undefined) build(folder, target ?? folder);
else {
  for (const kernel of ['packages/erasure/src/kernel', 'packages/zdb/src/engine/checksum-kernel']) {
    build(join(root, kernel), join(root, kernel));
  }
}

// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the made-up sources are strings and hold templates
// Enforces docs/ARCHITECTURE.md: who imports whom, and that only packages/io touches the machine. Each rule is also
// tried on made-up sources, so that one that catches nothing any more is noticed.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import * as crypto from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  ARROWS,
  checkNames,
  checkSources,
  checkTexts,
  SOURCE_LINES_MAX,
  type SourceFile,
  type Violation,
} from './architecture-rules.ts';
import { RANDOM_NAMES } from './effects.ts';
import { importsOf, tokenize } from './source-scanner.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** A rule does not hold for a file, on purpose. An exception that is not needed any more fails the test. */
interface Exception {
  readonly rule: string;
  readonly path: string;
  readonly reason: string;
}

const EXCEPTIONS: readonly Exception[] = [];

/** All files of the checkout that git knows or would take; without git, all that are there. */
function trackedPaths(): string[] {
  try {
    const options = { cwd: root, encoding: 'utf8', maxBuffer: 2 ** 26, stdio: 'pipe' } as const;
    const listing = execFileSync(
      'git',
      ['ls-files', '-z', '--cached', '--others', '--exclude-standard'],
      options,
    );
    const paths = listing
      .split('\0')
      .filter((path) => path !== '' && statSync(join(root, path), { throwIfNoEntry: false }));
    if (paths.length > 0) return [...new Set(paths)].sort();
  } catch {
    // An unpacked archive: no git, or no repository.
  }
  return filesBelow('');
}

function filesBelow(folder: string): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    if (['node_modules', '.git', '.qsfs', 'mnt'].includes(entry.name)) return [];
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
    return entry.isDirectory() ? filesBelow(path) : entry.isFile() ? [path] : [];
  });
}

/** The file's text, or undefined when it is binary. */
function readText(path: string): SourceFile | undefined {
  const bytes = readFileSync(join(root, path));
  return bytes.subarray(0, 8192).includes(0) ? undefined : { path, text: bytes.toString('utf8') };
}

function describeViolations(violations: readonly Violation[]): string {
  return violations.map(({ rule, path, line, message }) => `${path}:${line} (${rule}) ${message}`).join('\n');
}

describe('the checkout', () => {
  const paths = trackedPaths();
  const texts = paths.flatMap((path) => (statSync(join(root, path)).isFile() ? (readText(path) ?? []) : []));
  const manifests = texts.filter(({ path }) => /^packages\/[^/]+\/package\.json$/.test(path));
  const violations = [...checkSources(texts, manifests), ...checkNames(paths), ...checkTexts(texts)];
  const isExcepted = (violation: Violation) =>
    EXCEPTIONS.some(({ rule, path }) => rule === violation.rule && path === violation.path);

  it('has sources to look at', () => {
    assert.ok(texts.filter(({ path }) => /^packages\/io\/src\/.*\.ts$/.test(path)).length > 10);
  });

  for (const rule of [
    'arrow',
    'dependency',
    'circle',
    'type-circle',
    'effect',
    'length',
    'name',
    'readme',
    'text',
  ]) {
    it(`keeps the rule "${rule}"`, () => {
      const broken = violations.filter((violation) => violation.rule === rule && !isExcepted(violation));
      assert.equal(describeViolations(broken), '');
    });
  }

  it('has a package for every place in the picture, and an arrow only downwards', () => {
    const order = ['io', 'resp', 'erasure', 'zdb', 'zstor', 'fuse', 'zdbfs', 'qsfs'];
    assert.deepEqual(Object.keys(ARROWS).sort(), [...order].sort());
    for (const [from, targets] of Object.entries(ARROWS)) {
      for (const to of targets) assert.ok(order.indexOf(to) < order.indexOf(from), `${from} -> ${to}`);
    }
  });

  it('has no exception without need', () => {
    for (const { rule, path, reason } of EXCEPTIONS) {
      assert.ok(reason.length > 20, `${path} (${rule}): say why`);
      const needed = violations.some((violation) => violation.rule === rule && violation.path === path);
      assert.ok(needed, `${path} (${rule}) keeps the rule now: take the exception away`);
    }
  });
});

/** The rules that a made-up file breaks. */
function broken(path: string, text: string, others: readonly SourceFile[] = []): string[] {
  return checkSources([{ path, text }, ...others]).map(({ rule }) => rule);
}

describe('the rules about arrows', () => {
  it('catch an import upwards, sideways and of the package itself', () => {
    assert.deepEqual(broken('packages/io/src/a.ts', "import { x } from '@qsfs/resp';"), ['arrow']);
    assert.deepEqual(broken('packages/zstor/src/a.ts', "import type { x } from '@qsfs/zdbfs';"), ['arrow']);
    assert.deepEqual(broken('packages/zdbfs/src/a.ts', "export * from '@qsfs/zstor';"), ['arrow']);
    assert.deepEqual(broken('packages/fuse/src/a.ts', "const x = await import('@qsfs/zdb');"), ['arrow']);
    assert.deepEqual(broken('packages/fuse/src/a.ts', "import '@qsfs/fuse';"), ['arrow']);
    assert.deepEqual(broken('packages/erasure/src/a.ts', "import '@qsfs/io';"), ['arrow']);
    assert.deepEqual(broken('packages/newcomer/src/a.ts', ''), ['arrow']);
  });

  it('let through what is allowed', () => {
    for (const [from, targets] of Object.entries(ARROWS)) {
      for (const to of targets) {
        const path = from === 'zdb' ? 'packages/zdb/src/server/a.ts' : `packages/${from}/src/a.ts`;
        assert.deepEqual(broken(path, `import { x } from '@qsfs/${to}';`), [], `${from} -> ${to}`);
      }
    }
  });

  it('keep the engine of zdb apart from its server', () => {
    assert.deepEqual(broken('packages/zdb/src/engine/a.ts', "import '@qsfs/resp';"), ['arrow']);
    assert.deepEqual(broken('packages/zdb/src/index.ts', "import '@qsfs/resp';"), ['arrow']);
    assert.deepEqual(broken('packages/zdb/src/main.ts', "import '@qsfs/resp';"), []);
    assert.deepEqual(broken('packages/zdb/src/engine/a.ts', "import '../server/b.ts';"), ['arrow', 'arrow']);
    assert.deepEqual(broken('packages/zdb/src/engine/a.ts', "import '../index.ts';"), ['arrow']);
    assert.deepEqual(broken('packages/zdb/src/index.ts', "import './server/b.ts';"), ['arrow']);
    assert.deepEqual(broken('packages/zdb/src/server/a.ts', "import '../engine/b.ts';"), []);
    assert.deepEqual(broken('packages/zdbfs/src/a.ts', "import '@qsfs/zdb/server';"), ['arrow']);
    assert.deepEqual(broken('packages/qsfs/src/a.ts', "import '@qsfs/zdb/server';"), []);
  });

  it('catch simulated effects, imports that leave the package, hide their target or lack their ending', () => {
    assert.deepEqual(broken('packages/zdb/src/server/a.ts', "import '@qsfs/io/simulated';"), ['arrow']);
    assert.deepEqual(broken('packages/zdbfs/src/a.ts', "import '../../fuse/src/index.ts';"), ['arrow']);
    assert.deepEqual(broken('packages/zdbfs/src/a.ts', "import '/etc/passwd.ts';"), ['arrow']);
    assert.deepEqual(broken('packages/io/src/a.ts', 'await import(name);'), ['arrow']);
    assert.deepEqual(broken('packages/io/src/a.ts', "await import('./a' + name);"), ['arrow']);
    assert.deepEqual(broken('packages/io/src/a.ts', 'await import(`./b.ts`);'), ['arrow']);
    assert.deepEqual(broken('packages/io/src/a.ts', "import './b';"), ['arrow']);
  });

  it('catch what package.json does not name', () => {
    const manifest = { path: 'packages/io/package.json', text: '{"dependencies":{"koffi":"1","@a/b":"1"}}' };
    const check = (text: string) =>
      checkSources([{ path: 'packages/io/src/a.ts', text }], [manifest]).map(({ rule }) => rule);
    assert.deepEqual(check("import koffi from 'koffi'; import '@a/b/c'; import 'node:fs';"), []);
    assert.deepEqual(check("import 'left-pad';"), ['dependency']);
    assert.deepEqual(check("import '@a/c';"), ['dependency']);
  });

  it('catch circles, of any length, and tell those of types alone from the others', () => {
    const [a, c, d] = ['a', 'c', 'd'].map((name) => `packages/io/src/${name}.ts`) as [string, string, string];
    const b = { path: 'packages/io/src/x/b.ts', text: "import { A } from '../a.ts';" };
    const typed = { path: 'packages/io/src/x/b.ts', text: "import type { A } from '../a.ts';" };
    const through = { path: c, text: "export { b } from './x/b.ts';" };
    assert.deepEqual(broken(a, "import { b } from './x/b.ts';", [b]), ['circle']);
    assert.deepEqual(broken(a, "import { b } from './x/b.ts';", [typed]), ['type-circle']);
    assert.deepEqual(broken(a, "import './c.ts';", [b, through]), ['circle']);
    assert.deepEqual(broken(a, "await import('./c.ts');", [b, through]), ['circle']);
    assert.deepEqual(broken(a, "export type * from './c.ts';", [b, through]), ['type-circle']);
    assert.deepEqual(
      broken(a, "import { type C } from './c.ts';", [b, through]),
      ['circle'],
      'it is still loaded',
    );
    assert.deepEqual(broken(a, "import './a.ts';"), ['circle']);
    assert.deepEqual(broken(d, "import './c.ts'; import './x/b.ts';", [through]), []);
    const more = { path: d, text: "import type { A } from './a.ts';" };
    const rules = broken(a, "import './c.ts'; import './d.ts';", [b, through, more]);
    assert.deepEqual(
      rules,
      ['circle', 'type-circle'],
      'a circle of types that is larger than that of values',
    );
  });
});

describe('the rule about effects', () => {
  const path = 'packages/zdb/src/engine/a.ts';

  it('catches every module that touches the machine, under both names', () => {
    for (const name of [
      ...[
        'fs',
        'fs/promises',
        'net',
        'child_process',
        'worker_threads',
        'timers',
        'timers/promises',
        'dgram',
        'os',
      ],
      ...[
        'perf_hooks',
        'http',
        'https',
        'http2',
        'tls',
        'dns',
        'cluster',
        'process',
        'module',
        'vm',
        'v8',
        'stream',
      ],
    ]) {
      assert.deepEqual(broken(path, `import x from 'node:${name}';`), ['effect'], name);
      assert.deepEqual(broken(path, `import type { x } from '${name}';`), ['effect'], name);
    }
    assert.deepEqual(broken(path, "import x from 'node:test';"), ['effect']);
    assert.deepEqual(broken(path, "import koffi from 'koffi';"), ['effect']);
    assert.deepEqual(broken(path, "const fs = await import('node:fs');"), ['effect']);
    assert.deepEqual(broken(path, "import {\n  a,\n  b as c,\n} from 'node:fs';"), ['effect']);
    for (const name of ['crypto', 'zlib', 'path', 'buffer', 'util', 'events', 'url', 'assert/strict']) {
      assert.deepEqual(broken(path, `import x from 'node:${name}';`), [], name);
    }
    assert.deepEqual(
      broken('packages/io/src/real/a.ts', "import 'node:fs'; setTimeout(f, 1); Date.now();"),
      [],
    );
  });

  it('catches every name that reaches the machine', () => {
    for (const use of [
      ...[
        'const t = Date.now();',
        'new Date()',
        'const d = Date(5);',
        'const D = Date;',
        'performance.now()',
      ],
      ...[
        'setTimeout(f, 1);',
        'x = setInterval',
        'f(setImmediate)',
        '{ clearTimeout(t) }',
        'a ? setTimeout(f) : b',
      ],
      ...['process.pid', 'process?.exit(1)', 'const { env } = process;', 'console.log(1)', 'throw console'],
      ...['globalThis.Date', "globalThis['fetch']", 'global.process', 'fetch(url)', 'await fetch(url);'],
      ...['Math.random()', 'const { random } = Math;', "Math['random']()", 'const m = Math;'],
      ...[
        'crypto.getRandomValues(b)',
        'crypto.subtle',
        'AbortSignal.timeout(5)',
        "require('fs')",
        "eval('1')",
      ],
      ...["import { randomBytes } from 'node:crypto';", "import * as c from 'node:crypto'; c.randomUUID();"],
      ...['nodeCrypto.randomInt(5)', 'c.randomFillSync(b)', 'new WebSocket(url)', 'new Function("x")'],
      ...['`${Date.now()}`', '`a${`b${process.pid}`}`', '[...process.argv]', 'x = a / b; Date.now(); c / d'],
      ...['case process: break;', 'f(a, console)', 'if (process) { }', 'f({ Date })'],
      ...['const x: { a: typeof process };', 'return Date', 'if (a) fetch(b);', 'switch (fetch(a)) { }'],
      ...["label: { console.log('x') }", 'a\n/ Date.now() /\nb'],
    ]) {
      const rules = broken(path, use);
      assert.ok(rules.length > 0 && rules.every((rule) => rule === 'effect'), use);
    }
  });

  it('catches what reaches the machine by a detour', () => {
    for (const use of [
      ...[
        "c['randomBytes'](8)",
        'c[`randomBytes`](8)',
        "c?.['randomUUID']()",
        'const { "randomInt": r } = c;',
      ],
      ...["import * as c from 'node:crypto'; c[name](8);", "import c from 'node:crypto'; f(c);"],
      ...["import * as c from 'crypto'; const { hash } = c;", "const c = await import('node:crypto');"],
      ...['Intl.DateTimeFormat().format()', 'new Intl.DateTimeFormat()', "Intl['DateTimeFormat']()"],
      ...['date.toLocaleString()', 'date.toLocaleTimeString()', 'date.getTimezoneOffset()'],
      ...['Atomics.wait(a, 0, 1, 50)', 'Atomics.waitAsync(a, f(b, c), [d, e], 50)', 'Atomics.wait(...all)'],
      ...['const { wait } = Atomics;', "Atomics['wait'](a, 0, 1, 50)", 'const wait = Atomics.wait;'],
      ...['performance.now()', 'performance.timeOrigin', "performance['now']()", 'new PerformanceMark("a")'],
      ...["import { setTimeout as later } from 'node:timers';", "import { performance } from 'perf_hooks';"],
      ...["await import('node:fs')", "import.defer('node:fs')", "import.source('node:fs')"],
      ...["process.getBuiltinModule('node:fs')", "p.getBuiltinModule('fs')", "p['getBuiltinModule']('fs')"],
      ...["globalThis['Date']", 'globalThis[`Date`]', "const { ['Date']: D } = globalThis;"],
      ...["AbortSignal['timeout'](5)", 'const { timeout } = AbortSignal;', "f.constructor('return 1')()"],
    ]) {
      const rules = broken(path, use);
      assert.ok(rules.length > 0 && rules.every((rule) => rule === 'effect'), use);
    }
    for (const innocent of [
      ...[
        'Atomics.wait(a, 0, 1)',
        'Atomics.wait(a, f(b, c), { d, e })',
        'Atomics.wait(\n  a,\n  0,\n  1,\n)',
      ],
      ...[
        'Atomics.notify(a, 0, 1)',
        'Atomics.store(a, 0, 1)',
        "x['Date']",
        'x[`random`]',
        'f(["randomBytes"])',
      ],
      ...[
        "const names = ['randomBytes', 'Date'];",
        'x = { constructor() {} }',
        'class A { constructor(a: B) {} }',
      ],
      ...[
        "import * as c from 'node:crypto'; c.createHash('md5');",
        'f(s: AbortSignal, t?: AbortSignal): void',
      ],
      ...['if (Object.getPrototypeOf(a).constructor === B) c();'],
    ]) {
      assert.deepEqual(broken(path, innocent), [], innocent);
    }
  });

  it('knows every name of node:crypto that makes something of random numbers', () => {
    const makes = /rand|generate|encapsulate$|ECDH|DiffieHellman(?:Group)?$/i;
    const names = Object.keys(crypto).filter((name) => makes.test(name) && name !== 'diffieHellman');
    assert.ok(names.includes('randomBytes'));
    for (const name of names) {
      assert.ok(RANDOM_NAMES.has(name), name);
      assert.deepEqual(broken(path, `f(c.${name});`), ['effect'], name);
    }
  });

  it('is not fooled by comments, strings, templates, regular expressions, properties and methods', () => {
    for (const innocent of [
      ...['// Date.now()', '/* process.exit() */', '/** @see console.log\n * setTimeout */', "'Date.now()'"],
      ...[
        '"import \'node:fs\'"',
        '`process.pid`',
        '`${a}Date.now()${b}`',
        '/Date\\/process/.test(x)',
        '/[/]Date/u',
      ],
      ...[
        'this.process.start()',
        'clock.Date',
        'options?.console',
        'a.fetch(1)',
        'this.#fetch(1)',
        '#process = 1;',
      ],
      ...[
        'class A { fetch(a: B): C { return 1; } }',
        'interface A { fetch(a: B): C; process: D; console?: E; }',
      ],
      ...[
        'class A { async fetch(a) { } static process(): void {} }',
        'const a = { fetch: 1, process() { return 2; } };',
      ],
      ...['Math.max(1, 2)', 'Math.floor(x / y) / z', 'x.random()', 'AbortSignal.any([])', 'import.meta.url'],
      ...["'it\\'s Date.now()'", 'a = b /* x */ / c; // Date', "import { createHash } from 'node:crypto';"],
      ...['const processes = 1; const updateDate = 2; type DateText = string;', 'x = y++ / 2; d = "Date"'],
      ...[
        "const s = '\\\\'; // Date",
        '`\\`Date`',
        '`${{ a: { b: `}` } }}`',
        'return /Date/;',
        'f(/"/, /`/, /\'/)',
      ],
    ]) {
      assert.deepEqual(broken(path, innocent), [], innocent);
    }
  });

  it('knows names that a file declares, and where', () => {
    for (const own of [
      'function f(fetch: F): R { return fetch(1); }',
      'function f(a: A, process?: P): { b: B } { return process.x; }',
      'function f(fetch: (a: A) => B): (c: C) => D { return fetch; }',
      'const f = (console: C): void => console.log(1);',
      'const f = (console) => { console.log(1); };',
      'const f = async (...fetch: F[]) => fetch(1);',
      'f(a, (fetch) => fetch(1), b)',
      'class A { method(fetch: F): void { fetch(); } }',
      'interface A { method(fetch: F, process: P): void; other(console: C): D }',
      'type F = (fetch: A) => B;',
      'const fetch = make(); fetch(1);',
      'if (a) { const process = b; process.c(); }',
      "import { fetch } from './b.ts'; fetch(1);",
      "import type { a as Function } from './b.ts'; let x: Function;",
      "import * as crypto from 'node:crypto'; crypto.createHash('sha256');",
      "import crypto from 'node:crypto'; crypto.createHash('sha256');",
      'const d = new Date(ms).toISOString(); x instanceof Date; Date.UTC(2026, 1);',
    ]) {
      assert.deepEqual(broken(path, own), [], own);
    }
    for (const ambient of [
      'function f(fetch: F): R { return 1; } fetch(1);',
      'if (a) { const process = b; } process.exit();',
      'const f = (console: C): void => 1; console.log(1);',
      'f((fetch) => 1, fetch(2))',
      'f(a, fetch)',
      'a ? f(console) : b; console.log(1)',
      'class A { method(fetch: F): void { } other() { fetch(1); } }',
      "import { crypto as other } from './b.ts'; crypto.subtle;",
      'const { process } = a; process.exit()',
      "const f = a as Function; new Function('x');",
      'new Date(); Date.now(); Date.parse(x)',
    ]) {
      assert.ok(broken(path, ambient).includes('effect'), ambient);
    }
  });

  it('leaves process and console to the first file of a program, and nothing else', () => {
    const main = 'packages/zdb/src/main.ts';
    assert.deepEqual(broken(main, 'process.exit(1); console.log(process.argv);'), []);
    assert.deepEqual(broken(main, "import { enableCompileCache } from 'node:module';"), []);
    assert.deepEqual(broken(main, 'Date.now();'), ['effect']);
    assert.deepEqual(broken(main, "import 'node:fs';"), ['effect']);
    assert.deepEqual(broken('packages/zdb/src/server/main.ts', 'process.exit(1);'), ['effect']);
    for (const use of [
      ...["process.getBuiltinModule('node:fs');", "process['getBuiltinModule']('node:fs');"],
      ...["import { createRequire } from 'node:module';", "import m from 'node:module'; m.createRequire(u);"],
      ...['process.hrtime.bigint();', 'process.uptime();', "process.binding('fs');", 'process.dlopen(m, f);'],
    ]) {
      assert.ok(broken(main, use).includes('effect'), use);
    }
  });
});

describe('the rules about files', () => {
  it('catch vague names, missing READMEs and long files', () => {
    const rules = (paths: string[]) => checkNames(paths).map(({ rule }) => rule);
    assert.deepEqual(rules(['packages/io/README.md', 'packages/io/src/disk.ts']), []);
    for (const name of ['utils.ts', 'util.ts', 'helpers.ts', 'Helper.test.ts', 'common/a.ts', 'misc.mjs']) {
      assert.deepEqual(rules(['packages/io/README.md', `packages/io/src/${name}`]), ['name'], name);
    }
    assert.deepEqual(rules(['packages/io/src/commonplace.ts']), ['readme']);
    assert.deepEqual(broken('packages/io/src/a.ts', '\n'.repeat(SOURCE_LINES_MAX)), []);
    assert.deepEqual(broken('packages/io/src/a.ts', '\n'.repeat(SOURCE_LINES_MAX + 1)), ['length']);
  });

  it('catch what speaks of one machine', () => {
    const rules = (text: string) => checkTexts([{ path: 'a', text }]).map(({ line }) => line);
    const folder = ['', 'work', 'x'].join('/');
    const server = ['https:', '', 'registry' + '.npmjs.org', 'x'].join('/');
    assert.deepEqual(rules(`first\nsee ${folder}`), [2]);
    assert.deepEqual(rules(`"${folder}"`), [1]);
    assert.deepEqual(rules(server), [1]);
    assert.deepEqual(rules(`  "resol${'ved'}": "https://x/y.tgz"`), [1]);
    assert.deepEqual(rules('a/work/b, ./work/x, network/work, the work/load, https://example.org/x'), []);
  });
});

describe('the scanner', () => {
  it('sees every form of import', () => {
    const source = `#!/usr/bin/env node
      import 'a';
      import b from 'b';
      import * as c from "c";
      import { type d, e as f } from 'd';
      import type { g } from 'e';
      import h, { i } from 'f' with { type: 'json' };
      export * from 'g';
      export * as j from 'h';
      export { k, type l } from 'i';
      export type { m } from 'j';
      const n = await import('k');
      type O = import('l').P;
      export const from = 'not';
      export { from };
      const s = "import 'not'"; // import 'not'
      x.import('not'); import.meta.resolve('not');
      import { from } from '\\x6d';
    `;
    const specifiers = importsOf(tokenize(source)).map(({ specifier }) => specifier);
    assert.deepEqual(specifiers, [...'abcdefghijklm']);
    assert.equal(importsOf(tokenize("\n\nimport 'x';"))[0]?.line, 3);
  });

  it('reads every source of the checkout to its end', () => {
    for (const path of trackedPaths().filter(
      (name) => /\.(?:ts|mjs)$/.test(name) && !name.includes('fixtures'),
    )) {
      const text = readText(path)?.text ?? '';
      assert.ok(tokenize(text).length > 0 || text.trim() === '', path);
    }
  });

  it('refuses what never ends', () => {
    for (const source of ["'abc", '"abc\n"', '`abc', '`${a', '/* abc', 'x = /abc', '`${`}`']) {
      assert.throws(() => tokenize(source), /never ends/, source);
    }
  });
});

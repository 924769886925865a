// The rules of the architecture (docs/ARCHITECTURE.md) as functions from sources to violations. Pure: the test feeds
// them the checkout, and made-up sources to see that each rule catches what it is for.
import { isBuiltin } from 'node:module';
import { posix } from 'node:path';
import { effectsOf } from './effects.ts';
import { importsOf, type Token, tokenize } from './source-scanner.ts';

/** A file: its path from the root of the checkout, with slashes, and its text. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

/** A rule is broken. */
export interface Violation {
  readonly rule: string;
  readonly path: string;
  readonly line: number;
  readonly message: string;
}

/** Which packages a package may import; the whole picture is in docs/ARCHITECTURE.md. */
export const ARROWS: Readonly<Record<string, readonly string[]>> = {
  io: [],
  resp: ['io'],
  erasure: [],
  zdb: ['io', 'resp'],
  zstor: ['erasure', 'io', 'resp'],
  fuse: ['io'],
  zdbfs: ['fuse', 'io', 'resp', 'zdb'],
  qsfs: ['erasure', 'fuse', 'io', 'resp', 'zdb', 'zdbfs', 'zstor'],
};

interface ParsedFile extends SourceFile {
  readonly package: string;
  readonly tokens: readonly Token[];
}

const SOURCE_PATH = /^packages\/([^/]+)\/src\/.*\.ts$/;

/** All rules about the sources of packages. Files elsewhere are not looked at. */
export function checkSources(
  files: readonly SourceFile[],
  manifests: readonly SourceFile[] = [],
): Violation[] {
  const sources: ParsedFile[] = [];
  for (const file of files) {
    const name = SOURCE_PATH.exec(file.path)?.[1];
    if (name !== undefined) sources.push({ ...file, package: name, tokens: tokenize(file.text) });
  }
  return [
    ...sources.flatMap((file) => checkArrows(file)),
    ...sources.flatMap((file) => checkDependencies(file, manifests)),
    ...sources.filter((file) => file.package !== 'io').flatMap((file) => checkEffects(file)),
    ...sources.flatMap((file) => checkLength(file)),
    ...checkCircles(sources),
  ];
}

// ---- imports ------------------------------------------------------------------------------------------------------

function checkArrows(file: ParsedFile): Violation[] {
  const violations: Violation[] = [];
  const allowed = ARROWS[file.package];
  const refuse = (line: number, message: string) =>
    void violations.push({ rule: 'arrow', path: file.path, line, message });
  if (!allowed)
    refuse(1, `the package ${file.package} has no place in the architecture; give it one in ARROWS`);
  for (const { specifier, line } of importsOf(file.tokens)) {
    if (specifier === undefined) {
      refuse(line, 'an import whose module is computed cannot be checked; write it as a string');
      continue;
    }
    if (/^\.{0,2}\//.test(specifier)) {
      checkRelative(file, specifier, (message) => refuse(line, message));
      continue;
    }
    const [, target, inner] = /^@qsfs\/([^/]+)(\/.*)?$/.exec(specifier) ?? [];
    if (target === undefined) continue;
    if (target === file.package) refuse(line, `${specifier} is this package itself; import the file`);
    else if (!allowed?.includes(target)) refuse(line, `${file.package} must not import ${target}`);
    if (inner === '/simulated') refuse(line, 'the simulated effects are for tests');
    if (target === 'zdb' && inner !== undefined && file.package !== 'qsfs') {
      refuse(line, 'only the engine of zdb is for other packages');
    }
    if (file.package === 'zdb' && target === 'resp' && !isZdbServer(file.path)) {
      refuse(line, 'in zdb only the server and the tools speak RESP');
    }
  }
  return violations;
}

function isZdbServer(path: string): boolean {
  return /^packages\/zdb\/src\/(server\/|tools\/|main\.ts$)/.test(path);
}

function checkRelative(file: ParsedFile, specifier: string, refuse: (message: string) => void): void {
  const root = `packages/${file.package}/src/`;
  const target = posix.join(posix.dirname(file.path), specifier);
  if (specifier.startsWith('/') || !target.startsWith(root)) {
    refuse(`${specifier} leaves the package; import @qsfs/… instead`);
  }
  if (!specifier.endsWith('.ts') && !/\.(?:json|wasm|mjs)$/.test(specifier)) {
    refuse(`${specifier} needs its ending, .ts`);
  }
  if (file.package !== 'zdb') return;
  if (target.startsWith(`${root}server/`) && !isZdbServer(file.path)) {
    refuse('nothing below the server of zdb may import it');
  }
  if (file.path.startsWith(`${root}engine/`) && !target.startsWith(`${root}engine/`)) {
    refuse('the engine of zdb stands on its own');
  }
}

/** What a package imports is in its package.json, and koffi in no other than io. */
function checkDependencies(file: ParsedFile, manifests: readonly SourceFile[]): Violation[] {
  const manifest = manifests.find(({ path }) => path === `packages/${file.package}/package.json`);
  if (!manifest) return [];
  const { dependencies = {} } = JSON.parse(manifest.text) as { dependencies?: Record<string, string> };
  const violations: Violation[] = [];
  for (const { specifier, line } of importsOf(file.tokens)) {
    if (specifier === undefined || /^[./]/.test(specifier) || isBuiltin(specifier)) continue;
    const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
    if (name in dependencies) continue;
    const message = `${name} is not among the dependencies of packages/${file.package}/package.json`;
    violations.push({ rule: 'dependency', path: file.path, line, message });
  }
  return violations;
}

/**
 * No file of a package reaches itself by imports. Files that reach each other are one violation, at the first of them by
 * name: `circle` when they do when the program runs, `type-circle` when only by types.
 */
function checkCircles(files: readonly ParsedFile[]): Violation[] {
  const found = (typesToo: boolean) => {
    const edges = new Map(files.map((file) => [file.path, relativeImports(file, typesToo)]));
    return circles(edges).map((members) => members.sort());
  };
  const report = (rule: string, members: readonly string[]): Violation => {
    const names = members.map((path) => posix.relative('packages', path)).join(', ');
    return { rule, path: members[0]!, line: 1, message: `these import each other: ${names}` };
  };
  const running = found(false);
  const broken = new Set(running.flat());
  return [
    ...running.map((members) => report('circle', members)),
    ...found(true)
      .filter((members) => !members.every((path) => broken.has(path)))
      .map((members) => report('type-circle', members)),
  ];
}

function relativeImports(file: ParsedFile, typesToo: boolean): string[] {
  return importsOf(file.tokens).flatMap(({ specifier, typeOnly }) =>
    specifier?.startsWith('.') && (typesToo || !typeOnly)
      ? [posix.join(posix.dirname(file.path), specifier)]
      : [],
  );
}

/** The strongly connected parts of a graph that have a circle in them (Tarjan, 1972). */
function circles(edges: ReadonlyMap<string, readonly string[]>): string[][] {
  const order = new Map<string, number>();
  const lowest = new Map<string, number>();
  const stack: string[] = [];
  const found: string[][] = [];
  const visit = (path: string): void => {
    order.set(path, order.size);
    lowest.set(path, order.get(path)!);
    stack.push(path);
    for (const target of edges.get(path) ?? []) {
      if (!edges.has(target)) continue;
      if (!order.has(target)) visit(target);
      if (stack.includes(target)) lowest.set(path, Math.min(lowest.get(path)!, lowest.get(target)!));
    }
    if (lowest.get(path) !== order.get(path)) return;
    const members = stack.splice(stack.indexOf(path));
    if (members.length > 1 || edges.get(path)!.includes(path)) found.push(members);
  };
  for (const path of edges.keys()) if (!order.has(path)) visit(path);
  return found;
}

/** Nothing outside io touches the machine. */
function checkEffects({ path, tokens }: ParsedFile): Violation[] {
  const isProgram = /^packages\/[^/]+\/src\/main\.ts$/.test(path);
  return effectsOf(tokens, isProgram).map((effect) => ({ rule: 'effect', path, ...effect }));
}

// ---- files --------------------------------------------------------------------------------------------------------

/** Past this a file has more than one idea. */
export const SOURCE_LINES_MAX = 700;

function checkLength(file: ParsedFile): Violation[] {
  const lines = file.text.split('\n').length - 1;
  if (lines <= SOURCE_LINES_MAX) return [];
  const message = `${lines} lines, more than ${SOURCE_LINES_MAX}: it has two ideas`;
  return [{ rule: 'length', path: file.path, line: lines, message }];
}

/** Names of files and folders say what is inside; every package has a README. */
export function checkNames(paths: readonly string[]): Violation[] {
  const violations: Violation[] = [];
  for (const path of paths) {
    const vague = path.split('/').find((part) => /^(?:utils?|helpers?|common|misc)(?:\..*)?$/i.test(part));
    if (vague)
      violations.push({
        rule: 'name',
        path,
        line: 1,
        message: `"${vague}" says nothing about what is inside`,
      });
  }
  const packages = new Set(paths.flatMap((path) => /^packages\/([^/]+)\//.exec(path)?.[1] ?? []));
  for (const name of packages) {
    const path = `packages/${name}/README.md`;
    if (!paths.includes(path)) violations.push({ rule: 'readme', path, line: 1, message: 'is missing' });
  }
  return violations;
}

/** Built from parts, so that this file may be checked as well. */
const FOREIGN_TEXTS: readonly (readonly [RegExp, string])[] = [
  [new RegExp(['(?<![\\w.$}-])', 'work', ''].join('/')), 'an absolute path of one machine'],
  [new RegExp(['(?<![\\w.$}-])', '(?:root|Users)', '[\\w.]'].join('/')), 'an absolute path of one machine'],
  [
    new RegExp(['https?:/', '[^/\\s"\']*(?:regist' + 'ry|artifact' + 'ory|verdaccio|nexus)'].join('/')),
    'a package server',
  ],
  [new RegExp('"resol' + 'ved":\\s*"http'), 'a package server; npm is told to leave it out by .npmrc'],
];

/** Nothing in the repository speaks of the machine on which it was written. */
export function checkTexts(files: readonly SourceFile[]): Violation[] {
  const violations: Violation[] = [];
  for (const { path, text } of files) {
    if (!FOREIGN_TEXTS.some(([pattern]) => pattern.test(text))) continue;
    for (const [index, line] of text.split('\n').entries()) {
      const found = FOREIGN_TEXTS.find(([pattern]) => pattern.test(line));
      if (found) violations.push({ rule: 'text', path, line: index + 1, message: found[1] });
    }
  }
  return violations;
}

// What of a source touches the machine: the effects that belong to packages/io. Works on tokens, without types: what can
// be checked only with them (an object that holds `Math`, a module under a name of its own) has to be written in a way that
// can be seen. Used by the architecture test.
import { isBuiltin } from 'node:module';
import { NameScopes } from './name-scopes.ts';
import { importsOf, isMember, type Token } from './source-scanner.ts';

/** One use of the machine. */
export interface Effect {
  readonly line: number;
  readonly message: string;
}

/** Modules of Node that compute and do not touch the machine. `crypto` has names that do: see RANDOM_NAMES. */
const PURE_BUILTINS: ReadonlySet<string> = new Set([
  'assert',
  'assert/strict',
  'buffer',
  'crypto',
  'events',
  'path',
  'path/posix',
  'string_decoder',
  'url',
  'util',
  'zlib',
]);

/** Names that reach the machine without an import. Date may be used to convert what is given: see `isConversion`. */
const AMBIENT_NAMES: ReadonlySet<string> = new Set([
  ...['Date', 'performance', 'Temporal'],
  ...['setTimeout', 'setInterval', 'setImmediate', 'clearTimeout', 'clearInterval', 'clearImmediate'],
  ...['process', 'console', 'globalThis', 'global', 'navigator', 'localStorage', 'sessionStorage'],
  ...['fetch', 'WebSocket', 'EventSource', 'BroadcastChannel', 'MessageChannel'],
  ...['crypto', 'require', 'eval', 'Function', 'Intl'],
  ...['PerformanceMark', 'PerformanceMeasure', 'PerformanceObserver', 'PerformanceEntry'],
]);

/** What a program's first file may use beside, to hand it in. */
const PROGRAM_NAMES: ReadonlySet<string> = new Set(['process', 'console']);

/** And of `process` only this: the rest holds clocks, modules and native code. */
const PROGRAM_PROCESS: ReadonlySet<string> = new Set([
  ...['argv', 'cwd', 'env', 'exit', 'exitCode', 'on', 'stderr', 'stdin', 'stdout'],
]);

/** And what it may import beside: the cache of compiled code has to be on before anything else is loaded. */
const PROGRAM_BUILTINS: ReadonlySet<string> = new Set(['module']);

/** Randomness of node:crypto and Web Crypto, under whatever name the module is imported. */
export const RANDOM_NAMES: ReadonlySet<string> = new Set([
  ...['randomBytes', 'pseudoRandomBytes', 'randomInt', 'randomUUID', 'randomUUIDv7'],
  ...['randomFill', 'randomFillSync', 'getRandomValues', 'webcrypto'],
  ...['generateKey', 'generateKeySync', 'generateKeyPair', 'generateKeyPairSync'],
  ...['generatePrime', 'generatePrimeSync', 'encapsulate', 'ECDH', 'createECDH'],
  ...['DiffieHellman', 'DiffieHellmanGroup', 'createDiffieHellman', 'createDiffieHellmanGroup'],
  'getDiffieHellman',
]);

/** Members that reach the machine whatever they are members of: module loading, and the machine's language and time zone. */
const AMBIENT_MEMBERS: ReadonlySet<string> = new Set([
  ...['getBuiltinModule', 'createRequire'],
  ...['toLocaleString', 'toLocaleDateString', 'toLocaleTimeString', 'getTimezoneOffset'],
  ...['getFullYear', 'getMonth', 'getDate', 'getDay', 'getHours', 'getMinutes', 'getSeconds'],
]);

/** Objects of which some members are allowed and others not: only `Name.member`, never the object itself, can be checked. */
const MIXED_OBJECTS: ReadonlySet<string> = new Set(['Math', 'Atomics']);

/** Modules of which the same is true when one name stands for the whole of them. */
const MIXED_MODULES: ReadonlySet<string> = new Set(['crypto', 'module']);

/** Behind these words, and before a bracket, no object stands whose member the brackets could name. */
const NOT_OPERANDS: ReadonlySet<string> = new Set(
  'return typeof in of new delete void throw case do else await yield default extends'.split(' '),
);

/** A method or property may be called so: what comes before such a name. */
const MEMBER_MODIFIERS: ReadonlySet<string> = new Set(
  '{ } ; , async get set static readonly public private protected override abstract * declare'.split(' '),
);

/**
 * Everything in a source that touches the machine.
 * @param isProgram the source is the first file of a program, which may use `process` and `console` to hand them in
 */
export function effectsOf(tokens: readonly Token[], isProgram: boolean): Effect[] {
  return [
    ...effectsOfImports(tokens, isProgram),
    ...effectsOfNames(tokens, isProgram),
    ...effectsOfMembers(tokens),
  ];
}

// ---- modules ------------------------------------------------------------------------------------------------------

function effectsOfImports(tokens: readonly Token[], isProgram: boolean): Effect[] {
  const effects: Effect[] = [];
  for (const { specifier, line } of importsOf(tokens)) {
    if (specifier === undefined) continue;
    const name = withoutScheme(specifier);
    if (/^koffi(?:\/|$)/.test(name)) effects.push({ line, message: 'koffi is for packages/io' });
    if (isBuiltin(specifier) && !PURE_BUILTINS.has(name) && !(isProgram && PROGRAM_BUILTINS.has(name)))
      effects.push({ line, message: `${specifier} touches the machine; take the effect from @qsfs/io` });
  }
  const whole = new Set<string>();
  tokens.forEach(({ kind, text, line }, index) => {
    if (kind !== 'word' || text !== 'import' || isMember(tokens, index)) return;
    const next = tokens[index + 1]?.text;
    if (next === '.' && tokens[index + 2]?.text !== 'meta')
      effects.push({ line, message: 'an import of another form than import(…) and import … from' });
    const module = tokens[index + 2];
    if (next === '(' && module?.kind === 'string' && MIXED_MODULES.has(withoutScheme(module.text)))
      effects.push({ line, message: `${module.text}: import the names that are needed, at the top` });
    for (const name of wholeModuleNames(tokens, index)) whole.add(name);
  });
  tokens.forEach(({ kind, text, line }, index) => {
    if (kind !== 'word' || !whole.has(text) || isMember(tokens, index)) return;
    const [before, after] = [tokens[index - 1]?.text, tokens[index + 1]?.text];
    // Where it gets its name.
    if (after === 'from' || after === ',' || before === 'as') return;
    if (after !== '.')
      effects.push({ line, message: `${text} other than ${text}.name could hide what touches the machine` });
  });
  return effects;
}

function withoutScheme(specifier: string): string {
  return specifier.replace(/^node:/, '');
}

/** The names under which the import statement at the token has the whole of a mixed module. */
function wholeModuleNames(tokens: readonly Token[], index: number): string[] {
  const names: string[] = [];
  let inList = false;
  for (let at = index + 1; at < tokens.length; at++) {
    const { kind, text } = tokens[at]!;
    const next = tokens[at + 1];
    if (text === 'from' && next?.kind === 'string')
      return MIXED_MODULES.has(withoutScheme(next.text)) ? names : [];
    if (kind === 'sign' && !'{},*'.includes(text)) return [];
    if (text === '{') inList = true;
    if (text === '}') inList = false;
    if (kind !== 'word' || text === 'as' || text === 'type') continue;
    const isDefault = inList && tokens[at - 1]?.text === 'as' && tokens[at - 2]?.text === 'default';
    if (!inList || isDefault) names.push(text);
  }
  return [];
}

// ---- names --------------------------------------------------------------------------------------------------------

function effectsOfNames(tokens: readonly Token[], isProgram: boolean): Effect[] {
  const effects: Effect[] = [];
  const scopes = new NameScopes(tokens, AMBIENT_NAMES);
  tokens.forEach(({ kind, text, line }, index) => {
    if (kind !== 'word' || isMember(tokens, index)) return;
    const refuse = (message: string): void => void effects.push({ line, message });
    const after = tokens[index + 1]?.text;
    if (MIXED_OBJECTS.has(text) && after !== '.')
      refuse(`${text} other than ${text}.name could hide what touches the machine`);
    if (text === 'AbortSignal' && isTakenWhole(tokens, index))
      refuse('AbortSignal as a value could hide AbortSignal.timeout');
    if (!AMBIENT_NAMES.has(text)) return;
    if (isProgram && PROGRAM_NAMES.has(text)) {
      if (text === 'process' && !(after === '.' && PROGRAM_PROCESS.has(tokens[index + 2]?.text ?? '')))
        refuse('this of process is not for a program; take it from @qsfs/io');
      return;
    }
    if (scopes.declares(index) || isDeclaredMember(tokens, index)) return;
    if (text === 'Date' && isConversion(tokens, index)) return;
    refuse(`${text} is the machine's own; take the effect from @qsfs/io, or choose another name`);
  });
  return effects;
}

/** Whether a class whose name is used as a type, too, is used as a value other than by `Name.member`. */
function isTakenWhole(tokens: readonly Token[], index: number): boolean {
  const [before, after, then] = [-1, 1, 2].map((offset) => tokens[index + offset]?.text ?? '') as [
    string,
    string,
    string,
  ];
  if (after === '[') return then !== ']';
  return ['=', '('].includes(before) && [';', ')', ','].includes(after);
}

/** `new Date(ms)`, `x instanceof Date` and `Date.UTC` compute from what they are given. */
function isConversion(tokens: readonly Token[], index: number): boolean {
  const texts = [-1, 1, 2].map((offset) => tokens[index + offset]?.text);
  const [before, after, then] = texts;
  if (before === 'instanceof') return true;
  if (after === '.' && then === 'UTC') return true;
  return before === 'new' && after === '(' && then !== ')';
}

/** `name: …`, `name?: …`, `name(…) {` and `name(…): T` in a class, an interface or an object are not uses of the name. */
function isDeclaredMember(tokens: readonly Token[], index: number): boolean {
  const before = tokens[index - 1];
  const after = tokens[index + 1];
  const declares = before === undefined || MEMBER_MODIFIERS.has(before.text) || before.text === '|';
  if (after?.text === ':' || (after?.text === '?' && tokens[index + 2]?.text === ':')) {
    // `a ? name : b` is a use; so is `case name:`. A parameter of that name would make its uses look like the machine's.
    return declares && !isInsideParameters(tokens, index);
  }
  if (after?.text !== '(' || !declares) return false;
  let depth = 0;
  for (let at = index + 1; at < tokens.length; at++) {
    const token = tokens[at]!;
    if (token.kind !== 'sign') continue;
    if (token.text === '(') depth++;
    if (token.text === ')' && --depth === 0) {
      const behind = tokens[at + 1]?.text;
      return behind === '{' || behind === ':';
    }
  }
  return false;
}

/** Whether the nearest bracket still open before the token is a round one. */
function isInsideParameters(tokens: readonly Token[], index: number): boolean {
  let depth = 0;
  for (let at = index - 1; at >= 0; at--) {
    const { kind, text } = tokens[at]!;
    if (kind !== 'sign') continue;
    if (')}]'.includes(text)) depth++;
    if ('({['.includes(text) && depth-- === 0) return text === '(';
  }
  return false;
}

// ---- members ------------------------------------------------------------------------------------------------------

function effectsOfMembers(tokens: readonly Token[]): Effect[] {
  const effects: Effect[] = [];
  tokens.forEach((token, index) => {
    const isWord = token.kind === 'word';
    if (!isWord && !namesMember(tokens, index)) return;
    const { text, line } = token;
    const refuse = (message: string): void => void effects.push({ line, message });
    if (RANDOM_NAMES.has(text)) refuse(`${text} is randomness; take Random from @qsfs/io`);
    if (AMBIENT_MEMBERS.has(text)) refuse(`${text} asks the machine; take the effect from @qsfs/io`);
    if (!isWord || !isMember(tokens, index)) return;
    const [owner, after] = [tokens[index - 2]?.text, tokens[index + 1]?.text];
    if (text === 'random' && owner === 'Math') refuse('Math.random; take Random from @qsfs/io');
    if (text === 'timeout' && owner === 'AbortSignal')
      refuse('AbortSignal.timeout; take Clock from @qsfs/io');
    if (text === 'constructor' && after === '(') refuse('a constructor that is called could be Function');
    if (owner === 'Atomics' && /^wait(?:Async)?$/.test(text) && !waitsForever(tokens, index + 1))
      refuse(`Atomics.${text} with a time-out is a clock; take it from @qsfs/io`);
  });
  return effects;
}

/** Whether a string is the name of a member: `x['name']`, `{ ['name']: … }` and `{ 'name': … }`. */
function namesMember(tokens: readonly Token[], index: number): boolean {
  const { kind } = tokens[index]!;
  if (kind !== 'string' && kind !== 'template') return false;
  const signs = [-1, 1, 2].map((offset) => {
    const token = tokens[index + offset];
    return token?.kind === 'sign' ? token.text : '';
  }) as [string, string, string];
  const [before, after, then] = signs;
  if (before !== '[') return (before === '{' || before === ',') && after === ':';
  if (after !== ']') return false;
  if (then === ':') return true;
  const owner = tokens[index - 2];
  if (owner?.kind === 'word') return !NOT_OPERANDS.has(owner.text);
  return owner?.kind === 'sign' && [')', ']', '.'].includes(owner.text);
}

/** Whether a call of `Atomics.wait`, its bracket at the index, has at most the array, the place and the value. */
function waitsForever(tokens: readonly Token[], opening: number): boolean {
  if (tokens[opening]?.text !== '(') return false;
  let depth = 0;
  let commas = 0;
  for (let at = opening; at < tokens.length; at++) {
    const { kind, text } = tokens[at]!;
    if (kind !== 'sign') continue;
    if ('([{'.includes(text)) depth++;
    if (')]}'.includes(text) && --depth === 0) return commas <= (tokens[at - 1]?.text === ',' ? 3 : 2);
    if (depth !== 1) continue;
    if (text === ',') commas++;
    // A spread may bring any number of them.
    if (text === '.' && tokens[at + 1]?.text === '.') return false;
  }
  return false;
}

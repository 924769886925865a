// Reads TypeScript far enough to see what a file imports and which names it uses, and not to be fooled by comments,
// strings, templates and regular expressions. Used by the architecture test.

/** A piece of source that means something: no comments, no white space. */
export interface Token {
  readonly kind: 'word' | 'string' | 'template' | 'number' | 'regex' | 'sign';
  /** Of a string, and of a template without `${`, the content with escapes resolved; of other templates nothing. */
  readonly text: string;
  readonly line: number;
}

/** One module that a file names. */
export interface Import {
  /** undefined: computed when the program runs. */
  readonly specifier: string | undefined;
  readonly line: number;
  /** `import type` and `export type`: nothing of it is left when the program runs. */
  readonly typeOnly: boolean;
}

const WORD_START = /[\p{ID_Start}$_#@]/u;
const WORD = /[\p{ID_Start}$_#@][\p{ID_Continue}$\u200c\u200d]*/uy;
const NUMBER = /(?:0[xXbBoO][\da-fA-F_]+n?|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?n?)/y;
/** Behind these words an expression begins, so that a slash opens a regular expression. */
const BEFORE_EXPRESSION: ReadonlySet<string> = new Set(
  'return typeof instanceof in of new delete void throw case do else await yield default extends'.split(' '),
);

/** Splits a source into tokens. @throws Error on something that never ends */
export function tokenize(source: string): Token[] {
  return new Scanner(source).scan();
}

class Scanner {
  readonly #source: string;
  readonly #tokens: Token[] = [];
  /** For every open `${` the number of braces open inside it. */
  readonly #templates: number[] = [];
  #at = 0;
  #line = 1;

  constructor(source: string) {
    this.#source = source;
  }

  scan(): Token[] {
    const source = this.#source;
    if (source.startsWith('#!')) this.#skipLine();
    while (this.#at < source.length) {
      const character = source[this.#at]!;
      const two = source.slice(this.#at, this.#at + 2);
      if (/\s/.test(character)) this.#step();
      else if (two === '//') this.#skipLine();
      else if (two === '/*') this.#skipComment();
      else if (character === "'" || character === '"') this.#string(character);
      else if (character === '`') this.#template();
      else if (character === '}' && this.#templates.at(-1) === 0) this.#resumeTemplate();
      else if (/\d/.test(character) || (character === '.' && /\d/.test(two[1] ?? '')))
        this.#match(NUMBER, 'number');
      else if (WORD_START.test(character)) this.#match(WORD, 'word');
      else if (character === '/' && this.#expressionBegins()) this.#regex();
      else this.#sign(character);
    }
    if (this.#templates.length > 0) throw new Error('a template never ends');
    return this.#tokens;
  }

  #step(count = 1): void {
    for (let i = 0; i < count; i++) if (this.#source[this.#at++] === '\n') this.#line++;
  }

  #push(kind: Token['kind'], text: string, line: number): void {
    this.#tokens.push({ kind, text, line });
  }

  #match(pattern: RegExp, kind: 'word' | 'number'): void {
    pattern.lastIndex = this.#at;
    const text = pattern.exec(this.#source)?.[0] ?? this.#source[this.#at]!;
    this.#push(kind, text, this.#line);
    this.#step(text.length);
  }

  #sign(character: string): void {
    if (this.#templates.length > 0) {
      const last = this.#templates.length - 1;
      if (character === '{') this.#templates[last]!++;
      if (character === '}') this.#templates[last]!--;
    }
    this.#push('sign', character, this.#line);
    this.#step();
  }

  #skipLine(): void {
    const end = this.#source.indexOf('\n', this.#at);
    this.#step((end < 0 ? this.#source.length : end) - this.#at);
  }

  #skipComment(): void {
    const end = this.#source.indexOf('*/', this.#at + 2);
    if (end < 0) throw new Error(`line ${this.#line}: a comment never ends`);
    this.#step(end + 2 - this.#at);
  }

  #string(quote: string): void {
    const line = this.#line;
    let text = '';
    this.#step();
    for (;;) {
      const character = this.#source[this.#at];
      if (character === undefined || character === '\n') throw new Error(`line ${line}: a string never ends`);
      if (character === quote) break;
      if (character === '\\') {
        const [length, meaning] = this.#escape();
        text += meaning;
        this.#step(length);
      } else {
        text += character;
        this.#step();
      }
    }
    this.#step();
    this.#push('string', text, line);
  }

  /** Length and meaning of the escape here: \x2f and \u002f could hide a name. */
  #escape(): [number, string] {
    const rest = this.#source.slice(this.#at, this.#at + 12);
    const code = /^\\(?:x([\da-fA-F]{2})|u([\da-fA-F]{4})|u\{([\da-fA-F]{1,6})\})/.exec(rest);
    if (!code) return [2, rest[1] === '\n' ? '' : (rest[1] ?? '')];
    return [code[0].length, String.fromCodePoint(Number.parseInt((code[1] ?? code[2] ?? code[3])!, 16))];
  }

  #template(): void {
    const line = this.#line;
    this.#step();
    const { text, opens } = this.#templateText(line);
    if (opens) this.#templates.push(0);
    this.#push('template', opens ? '' : text, line);
  }

  #resumeTemplate(): void {
    this.#templates.pop();
    const line = this.#line;
    this.#step();
    if (this.#templateText(line).opens) this.#templates.push(0);
    this.#push('template', '', line);
  }

  /** Reads the text of a template; `opens` when it stopped behind `${`. */
  #templateText(line: number): { text: string; opens: boolean } {
    let text = '';
    for (;;) {
      const character = this.#source[this.#at];
      if (character === undefined) throw new Error(`line ${line}: a template never ends`);
      if (character === '\\') {
        const [length, meaning] = this.#escape();
        text += meaning;
        this.#step(length);
      } else if (character === '`') {
        this.#step();
        return { text, opens: false };
      } else if (character === '$' && this.#source[this.#at + 1] === '{') {
        this.#step(2);
        return { text, opens: true };
      } else {
        text += character;
        this.#step();
      }
    }
  }

  #regex(): void {
    const line = this.#line;
    const start = this.#at;
    let inClass = false;
    this.#step();
    for (;;) {
      const character = this.#source[this.#at];
      if (character === undefined || character === '\n') {
        throw new Error(`line ${line}: a regular expression never ends`);
      }
      if (character === '\\') this.#step();
      else if (character === '[') inClass = true;
      else if (character === ']') inClass = false;
      else if (character === '/' && !inClass) break;
      this.#step();
    }
    this.#step();
    while (/[a-z]/.test(this.#source[this.#at] ?? '')) this.#step();
    this.#push('regex', this.#source.slice(start, this.#at), line);
  }

  /** Whether an operand, not an operator, comes next. */
  #expressionBegins(): boolean {
    const last = this.#tokens.at(-1);
    if (!last) return true;
    if (last.kind === 'word') return BEFORE_EXPRESSION.has(last.text);
    if (last.kind !== 'sign' || ')]}'.includes(last.text)) return false;
    // Behind x++ and x-- comes an operator.
    return !('+-'.includes(last.text) && this.#tokens.at(-2)?.text === last.text);
  }
}

/** Every module that the tokens name, statically or dynamically, types included. */
export function importsOf(tokens: readonly Token[]): Import[] {
  const imports: Import[] = [];
  tokens.forEach((token, index) => {
    if (token.kind !== 'word' || isMember(tokens, index)) return;
    if (token.text === 'import') imports.push(...importAt(tokens, index));
    if (token.text === 'export') imports.push(...reexportAt(tokens, index));
  });
  return imports;
}

/** `x.name` or `x?.name`: a property, not a name of its own. A spread is not one. */
export function isMember(tokens: readonly Token[], index: number): boolean {
  if (tokens[index - 1]?.text !== '.' || tokens[index - 1]?.kind !== 'sign') return false;
  return !(tokens[index - 2]?.text === '.' && tokens[index - 3]?.text === '.');
}

function importAt(tokens: readonly Token[], index: number): Import[] {
  const { line } = tokens[index]!;
  const next = tokens[index + 1];
  if (!next || next.text === '.' || (next.text === ':' && next.kind === 'sign')) return [];
  if (next.kind === 'string') return [{ specifier: next.text, line, typeOnly: false }];
  if (next.kind === 'sign' && next.text === '(') {
    const argument = tokens[index + 2];
    const end = tokens[index + 3]?.text;
    const plain = argument?.kind === 'string' && (end === ')' || end === ',');
    return [{ specifier: plain ? argument.text : undefined, line, typeOnly: false }];
  }
  // `import type from 'x'` imports something that is called so.
  const typeOnly = next.text === 'type' && tokens[index + 2]?.text !== 'from';
  return fromAfter(tokens, index + 1, line, typeOnly);
}

function reexportAt(tokens: readonly Token[], index: number): Import[] {
  const { line } = tokens[index]!;
  let at = index + 1;
  const typeOnly = tokens[at]?.text === 'type';
  if (typeOnly) at++;
  if (tokens[at]?.text === '*') return fromAfter(tokens, at, line, typeOnly);
  if (tokens[at]?.text !== '{') return [];
  while (at < tokens.length && tokens[at]!.text !== '}') at++;
  const [from, specifier] = [tokens[at + 1], tokens[at + 2]];
  return from?.text === 'from' && specifier?.kind === 'string'
    ? [{ specifier: specifier.text, line, typeOnly }]
    : [];
}

/** The module behind the next `from`. */
function fromAfter(tokens: readonly Token[], start: number, line: number, typeOnly: boolean): Import[] {
  for (let at = start; at + 1 < tokens.length; at++) {
    const next = tokens[at + 1]!;
    if (tokens[at]!.text === 'from' && next.kind === 'string')
      return [{ specifier: next.text, line, typeOnly }];
    if (tokens[at]!.text === ';' && tokens[at]!.kind === 'sign') break;
  }
  return [];
}

// Where a file has given a name a meaning of its own, so that it does not mean the machine's. Works on tokens: knows
// imports, `const`, `let`, `function`, `class` and type declarations, and parameters; patterns that take apart are not
// looked into. Used by the architecture test.
import type { Token } from './source-scanner.ts';

/** Tokens from `start` up to, not including, `end`. */
interface Range {
  readonly start: number;
  readonly end: number;
}

const DECLARING: ReadonlySet<string> = new Set([
  'const',
  'let',
  'var',
  'function',
  'class',
  'interface',
  'type',
  'import',
]);
/** A round bracket behind these holds a condition, not parameters. */
const CONDITIONS: ReadonlySet<string> = new Set([
  'if',
  'while',
  'for',
  'switch',
  'with',
  'return',
  'await',
  'new',
]);
const CLOSING: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}' };

/** Knows for every use of a name in a file whether the file itself declares it there. */
export class NameScopes {
  readonly #tokens: readonly Token[];
  /** For every bracket the index of its partner. */
  readonly #partner = new Map<number, number>();
  readonly #scopes = new Map<string, Range[]>();

  /** @param names the names of interest; the others are not looked at */
  constructor(tokens: readonly Token[], names: ReadonlySet<string>) {
    this.#tokens = tokens;
    this.#matchBrackets();
    tokens.forEach((token, index) => {
      if (token.kind !== 'word' || !names.has(token.text)) return;
      const range = this.#declaration(index);
      if (range) this.#scopes.set(token.text, [...(this.#scopes.get(token.text) ?? []), range]);
    });
  }

  /** Whether the name at this token is the file's own. */
  declares(index: number): boolean {
    const ranges = this.#scopes.get(this.#tokens[index]!.text) ?? [];
    return ranges.some(({ start, end }) => start <= index && index < end);
  }

  #sign(index: number): string | undefined {
    const token = this.#tokens[index];
    return token?.kind === 'sign' ? token.text : undefined;
  }

  #matchBrackets(): void {
    const open: number[] = [];
    this.#tokens.forEach((_, index) => {
      const sign = this.#sign(index);
      if (sign === undefined) return;
      if (sign in CLOSING) open.push(index);
      else if (')]}'.includes(sign)) {
        const partner = open.pop();
        if (partner === undefined) return;
        this.#partner.set(partner, index);
        this.#partner.set(index, partner);
      }
    });
  }

  /** The nearest bracket still open before the token. */
  #enclosing(index: number): number | undefined {
    for (let at = index - 1; at >= 0; at--) {
      const sign = this.#sign(at);
      if (sign === undefined) continue;
      if (sign in CLOSING) return at;
      if (')]}'.includes(sign)) at = this.#partner.get(at) ?? at;
    }
    return undefined;
  }

  /** Where the declaration at this token holds, if it is one. */
  #declaration(index: number): Range | undefined {
    const before = this.#tokens[index - 1];
    const opening = this.#enclosing(index);
    const file = { start: 0, end: this.#tokens.length };
    if (opening !== undefined && this.#sign(opening) === '{' && this.#isImportList(opening)) {
      return this.#tokens[index + 1]?.text === 'as' ? undefined : file;
    }
    if (before?.text === 'as' && this.#sign(index - 2) === '*') return file;
    if (before?.kind === 'word' && DECLARING.has(before.text)) return this.#block(index);
    return this.#arrow(index, index) ?? this.#parameter(index, opening);
  }

  #isImportList(opening: number): boolean {
    const before = this.#tokens[opening - 1]?.text;
    return before === 'import' || (before === 'type' && this.#tokens[opening - 2]?.text === 'import');
  }

  #block(index: number): Range {
    for (let opening = this.#enclosing(index); opening !== undefined; opening = this.#enclosing(opening)) {
      if (this.#sign(opening) === '{') return { start: opening, end: this.#end(opening) };
    }
    return { start: 0, end: this.#tokens.length };
  }

  #end(opening: number): number {
    return this.#partner.get(opening) ?? this.#tokens.length;
  }

  #parameter(index: number, opening: number | undefined): Range | undefined {
    if (opening === undefined || this.#sign(opening) !== '(') return undefined;
    const before = this.#sign(index - 1);
    if (before !== '(' && before !== ',' && before !== '.') return undefined;
    if (CONDITIONS.has(this.#tokens[opening - 1]?.text ?? '')) return undefined;
    const closing = this.#end(opening);
    const arrow = this.#arrow(opening, closing);
    if (arrow) return arrow;
    const typed =
      this.#sign(index + 1) === ':' || (this.#sign(index + 1) === '?' && this.#sign(index + 2) === ':');
    if (!typed) return undefined;
    const behind = this.#sign(closing + 1);
    if (behind === '{') return { start: opening, end: this.#end(closing + 1) };
    // A return type, then a body, an arrow, or, in an interface, nothing more.
    return behind === ':'
      ? { start: opening, end: this.#bodyBehindType(closing + 2) }
      : { start: opening, end: closing };
  }

  /** A function whose parameters stand from `start` to `last` and are followed by an arrow. */
  #arrow(start: number, last: number): Range | undefined {
    if (this.#sign(last + 1) !== '=' || this.#sign(last + 2) !== '>') return undefined;
    return { start, end: this.#expressionEnd(last + 3) };
  }

  /** The end of a body or an expression that begins here. */
  #expressionEnd(begin: number): number {
    if (this.#sign(begin) === '{') return this.#end(begin);
    for (let at = begin; at < this.#tokens.length; at++) {
      const sign = this.#sign(at);
      if (sign === undefined) continue;
      if (sign in CLOSING) at = this.#end(at);
      else if (',;)]}'.includes(sign)) return at;
    }
    return this.#tokens.length;
  }

  #bodyBehindType(begin: number): number {
    for (let at = begin; at < this.#tokens.length; at++) {
      const sign = this.#sign(at);
      if (sign === '=' && this.#sign(at + 1) === '>') {
        const end = this.#expressionEnd(at + 2);
        // A function type as return type: the body is still to come.
        if (this.#sign(end) !== '{') return end;
        at = end - 1;
      } else if (sign === '{') {
        const end = this.#end(at);
        const more = this.#sign(end + 1);
        if (more !== '{' && more !== '|' && more !== '&' && more !== '[' && more !== '=') return end;
        at = end;
      } else if (sign === '(' || sign === '[') {
        at = this.#end(at);
      } else if (sign !== undefined && ',;)]}'.includes(sign)) {
        return at;
      }
    }
    return this.#tokens.length;
  }
}

// What the tools share: their command lines, and how they end. A tool reads `--name value`, `--name=value` and words; nothing else.
import type { Machine } from '../server/machine.ts';

/** One option of a tool; without `argument` it is a switch. */
export interface ToolOption {
  readonly name: string;
  readonly argument?: string;
  readonly help: string;
}

/** One tool. */
export interface Tool {
  readonly name: string;
  readonly summary: string;
  /** What stands behind the name in the usage line. */
  readonly words: string;
  readonly options: readonly ToolOption[];
  /** More for the help: exit codes, an example. */
  readonly notes: readonly string[];
  run(request: ToolRequest, machine: Machine): Promise<number> | number;
}

/** A read command line. */
export interface ToolRequest {
  readonly words: readonly string[];
  has(name: string): boolean;
  /** The value of an option. */
  value(name: string): string | undefined;
  /** The value of an option that must be given. @throws ToolError */
  required(name: string): string;
}

/** Exit codes of tools. */
export const TOOL_EXIT = { ok: 0, refused: 1, damaged: 3 } as const;

/** The tool cannot do what was asked; the message says why and what to type. */
export class ToolError extends Error {
  override readonly name = 'ToolError';
}

/** Reads a tool's command line. @throws ToolError */
export function parseToolLine(tool: Tool, line: readonly string[]): ToolRequest {
  const values = new Map<string, string>();
  const words: string[] = [];
  for (let i = 0; i < line.length; i++) {
    const word = line[i]!;
    if (!word.startsWith('--')) {
      words.push(word);
      continue;
    }
    const cut = word.indexOf('=');
    const name = cut < 0 ? word.slice(2) : word.slice(2, cut);
    const option = tool.options.find((one) => one.name === name);
    if (option === undefined) throw new ToolError(`no option --${name}; see zdb ${tool.name} --help`);
    if (option.argument === undefined) {
      if (cut >= 0) throw new ToolError(`--${name} takes no value`);
      values.set(name, '');
    } else {
      const value = cut < 0 ? line[++i] : word.slice(cut + 1);
      if (value === undefined) throw new ToolError(`--${name} needs a value: --${name} ${option.argument}`);
      values.set(name, value);
    }
  }
  return {
    words,
    has: (name) => values.has(name),
    value: (name) => values.get(name),
    required: (name) => {
      const value = values.get(name);
      if (value === undefined) throw new ToolError(`--${name} is missing; see zdb ${tool.name} --help`);
      return value;
    },
  };
}

/** The help of a tool. */
export function toolUsage(tool: Tool): string {
  const lines = tool.options.map(({ name, argument, help }) => {
    const left = argument === undefined ? `--${name}` : `--${name} ${argument}`;
    return `  ${left.padEnd(24)}${help}`;
  });
  return [
    `zdb ${tool.name}: ${tool.summary}`,
    '',
    `Usage: zdb ${tool.name} ${tool.words}`,
    '',
    'Options:',
    ...lines,
    '',
    ...tool.notes,
    '',
  ].join('\n');
}

/** `yes` or `no`. @throws ToolError */
export function yesOrNo(name: string, value: string): boolean {
  if (value === 'yes') return true;
  if (value === 'no') return false;
  throw new ToolError(`--${name} is yes or no, not '${value}'`);
}

/** A whole number. @throws ToolError */
export function wholeNumber(name: string, value: string): number {
  const number = Number(value);
  if (!/^\d+$/.test(value) || !Number.isSafeInteger(number)) {
    throw new ToolError(`--${name} is a whole number, not '${value}'`);
  }
  return number;
}

/** Bytes for people: printable text as it is, everything else in hexadecimal. */
export function printable(bytes: Uint8Array): string {
  const text = Buffer.from(bytes).toString('latin1');
  return /^[\x21-\x7e]+$/.test(text) && !text.startsWith('0x')
    ? text
    : `0x${Buffer.from(bytes).toString('hex')}`;
}

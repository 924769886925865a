// The command table: names in the order that decides what a prefix means (specification section 2.3), and finding the entry a
// request asks for. Any prefix of a name selects the first entry it fits, without regard to case; a word with NUL in it is a whole name up
// to there. `S` is the session that commands work for: the table does not know it.
import type { RequestDecoder } from '@qsfs/resp';

/** One command. */
export interface Command<S> {
  /** As WAIT reports it. */
  readonly name: string;
  /** Only for admins; refused before anything else is looked at. */
  readonly admin: boolean;
  /** The reply for WAIT clients, ready to send. */
  readonly notice: Uint8Array;
  /**
   * Checks, executes and answers. Throws NotLocal, before anything was changed, when data has to be brought first and
   * `session.mayBring` says it can be.
   */
  run(session: S): void;
}

/** How a command is written down in a table. `own`: not a command of the reference, so it counts only when written out. */
export type CommandDefinition<S> = readonly [
  name: string,
  run: (session: S) => void,
  admin?: 'admin' | undefined,
  own?: 'own',
];

/** Finds commands by what clients send. */
export class CommandTable<S> {
  readonly #byPrefix = new Map<string, Command<S>>();
  readonly #byName = new Map<string, Command<S>>();
  readonly #longest: number;
  readonly #get: Command<S>;
  readonly #set: Command<S>;

  /** @param definitions in the order in which prefixes are matched; must hold GET and SET */
  constructor(definitions: readonly CommandDefinition<S>[]) {
    for (const [name, run, admin, own] of definitions) {
      const command: Command<S> = {
        name,
        run,
        admin: admin === 'admin',
        notice: Buffer.from(`+${name}\r\n`, 'latin1'),
      };
      this.#byName.set(name, command);
      for (let length = own ? name.length : 0; length <= name.length; length++) {
        const prefix = name.slice(0, length);
        if (!this.#byPrefix.has(prefix)) this.#byPrefix.set(prefix, command);
      }
    }
    this.#longest = Math.max(...definitions.map(([name]) => name.length));
    this.#get = this.#byPrefix.get('GET')!;
    this.#set = this.#byPrefix.get('SET')!;
  }

  /** The command of a request; undefined when there is none of that name. */
  find(request: RequestDecoder): Command<S> | undefined {
    // The two commands everything depends on, without making a string.
    if (request.lengthOf(0) === 3) {
      const first = request.byteOf(0, 0) & 0xdf;
      if ((request.byteOf(0, 1) & 0xdf) === 69 && (request.byteOf(0, 2) & 0xdf) === 84) {
        if (first === 71) return this.#get;
        if (first === 83) return this.#set;
      }
    }
    return this.named(request.argument(0));
  }

  /** The command a word names. */
  named(word: Uint8Array): Command<S> | undefined {
    const end = word.subarray(0, this.#longest + 1).indexOf(0);
    const length = end < 0 ? word.length : end;
    if (length > this.#longest) return undefined;
    const text = Buffer.from(word.subarray(0, length)).toString('latin1').toUpperCase();
    return (end < 0 ? this.#byPrefix : this.#byName).get(text);
  }
}

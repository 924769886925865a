// The commands of a zdb as typed functions over one connection. STOP and RELOAD, and WAIT, MASTER and MIRROR, which change what the
// connection is answered, go through `client.command`, the last three on a connection of their own.
import type { Clock, Network } from '@qsfs/io';
import { type CommandOptions, RespClient, type RespClientOptions } from './client.ts';
import { ProtocolError, RespError } from './errors.ts';
import type { Reply } from './reply-decoder.ts';

/** Bytes of a key: text is sent as UTF-8. */
export type Key = string | Uint8Array;
/** A value, whole or in parts that are stored one behind the other; never copied. */
export type Value = string | Uint8Array | readonly Uint8Array[];

/** One listed entry of SCAN and RSCAN. */
export interface ScanEntry {
  readonly key: Uint8Array;
  readonly lengthBytes: number;
  readonly timestamp: number;
}

/** One answer of SCAN and RSCAN; hand `cursor` back to go on. */
export interface ScanPage {
  readonly cursor: Uint8Array;
  readonly entries: readonly ScanEntry[];
}

/** One version of a key; hand `cursor` back for the version before. */
export interface HistoryPage {
  readonly cursor: Uint8Array | undefined;
  readonly timestamp: number;
  readonly value: Uint8Array;
}

/** One entry of a data file as DATA RAW gives it. */
export interface RawEntry {
  readonly key: Uint8Array;
  readonly previous: number;
  readonly crc: number;
  readonly deletion: boolean;
  /** The record is dead, and its value was given up: what is there is not what was stored. */
  readonly truncated: boolean;
  readonly timestamp: number;
  /** Undefined for a deletion. */
  readonly value: Uint8Array | undefined;
}

/** One run of a hook, as HOOKS lists it. Times are seconds since 1970. */
export interface HookRun {
  readonly name: string;
  readonly parameters: readonly string[];
  readonly pid: number;
  readonly started: number;
  /** Undefined while it runs. */
  readonly ended: number | undefined;
  /** 0 while it runs, and when a signal ended it. */
  readonly exitStatus: number;
}

/** What COMPACT did. */
export interface Compacted {
  readonly removedFiles: number;
  readonly movedEntries: number;
  readonly freedBytes: number;
}

/** Properties NSSET knows, with their values. */
export interface NamespaceProperties {
  readonly mode?: 'user' | 'seq';
  readonly maxsize?: number;
  /** undefined leaves it, null clears it */
  readonly password?: string | null;
  readonly public?: boolean;
  readonly worm?: boolean;
  readonly lock?: boolean;
  readonly freeze?: boolean;
}

const EMPTY = new Uint8Array(0);

/** A zdb over one connection. */
export class ZdbClient {
  readonly client: RespClient;

  constructor(client: RespClient) {
    this.client = client;
  }

  /** Connects and logs in. @throws ConnectionError, RespError */
  static async connect(network: Network, clock: Clock, options: RespClientOptions): Promise<ZdbClient> {
    return new ZdbClient(await RespClient.connect(network, clock, options));
  }

  /** Closes at once. */
  close(): void {
    this.client.close();
  }

  async ping(options?: CommandOptions): Promise<void> {
    simple(await this.client.command(['PING'], options));
  }

  /**
   * Stores a record of a user namespace, or replaces one of a sequential namespace.
   * @param timestamp seconds since 1970; only admins may give one
   * @returns false when the stored value was identical already
   */
  async set(key: Key, value: Value, timestamp?: number, options?: CommandOptions): Promise<boolean> {
    const parameters = timestamp === undefined ? ['SET', key, value] : ['SET', key, value, timestamp];
    return (await this.client.command(parameters, options)) !== null;
  }

  /** Appends a record to a sequential namespace. @returns its key, 8 bytes */
  async insert(value: Value, timestamp?: number, options?: CommandOptions): Promise<Uint8Array> {
    const parameters = timestamp === undefined ? ['SET', EMPTY, value] : ['SET', EMPTY, value, timestamp];
    return bytes(await this.client.command(parameters, options));
  }

  /** The value, or undefined when there is no such key. `options.into` avoids an allocation. */
  async get(key: Key, options?: CommandOptions): Promise<Uint8Array | undefined> {
    return optional(await this.client.command(['GET', key], options), bytes);
  }

  /** One element per key: the value, undefined when missing, RespError when it cannot be read. */
  async getMany(
    keys: readonly Key[],
    options?: CommandOptions,
  ): Promise<(Uint8Array | RespError | undefined)[]> {
    const replies = array(await this.client.command(['MGET', ...keys], options));
    return replies.map((reply) => (reply instanceof RespError ? reply : optional(reply, bytes)));
  }

  /** @returns false when there was no such key */
  async delete(key: Key, timestamp?: number, options?: CommandOptions): Promise<boolean> {
    const parameters = timestamp === undefined ? ['DEL', key] : ['DEL', key, timestamp];
    return await found(this.client.command(parameters, options));
  }

  async exists(key: Key, options?: CommandOptions): Promise<boolean> {
    return integer(await this.client.command(['EXISTS', key], options)) === 1;
  }

  /** Whether the stored bytes are what was stored; undefined when there is no such key. */
  async check(key: Key, options?: CommandOptions): Promise<'intact' | 'corrupt' | 'unreadable' | undefined> {
    const reply = optional(await this.client.command(['CHECK', key], options), integer);
    if (reply === undefined) return undefined;
    return reply === 1 ? 'intact' : reply === 0 ? 'corrupt' : 'unreadable';
  }

  /** Length of the value in bytes. */
  async length(key: Key, options?: CommandOptions): Promise<number | undefined> {
    return optional(await this.client.command(['LENGTH', key], options), integer);
  }

  /** Time of the last change, seconds since 1970. */
  async keyTime(key: Key, options?: CommandOptions): Promise<number | undefined> {
    return optional(await this.client.command(['KEYTIME', key], options), integer);
  }

  /** Oldest to newest, from the beginning or behind a cursor; undefined at the end. */
  async scan(cursor?: Uint8Array, options?: CommandOptions): Promise<ScanPage | undefined> {
    return await this.#page('SCAN', cursor, options);
  }

  /** Newest to oldest. */
  async scanBackwards(cursor?: Uint8Array, options?: CommandOptions): Promise<ScanPage | undefined> {
    return await this.#page('RSCAN', cursor, options);
  }

  /** The cursor of a key's current entry; undefined when there is no such key. */
  async cursorOf(key: Key, options?: CommandOptions): Promise<Uint8Array | undefined> {
    const reply = await unless('Key not found', this.client.command(['KEYCUR', key], options));
    return optional(reply, bytes);
  }

  /** The newest version of a key, or the one a cursor names; undefined when there is none. */
  async history(key: Key, cursor?: Uint8Array, options?: CommandOptions): Promise<HistoryPage | undefined> {
    const parameters = cursor === undefined ? ['HISTORY', key] : ['HISTORY', key, cursor];
    const reply = await unless('Key not found', this.client.command(parameters, options));
    if (reply === null) return undefined;
    const [next, timestamp, value] = array(reply);
    return {
      cursor: optional(next ?? null, bytes),
      timestamp: Number(text(timestamp ?? null)),
      value: bytes(value ?? null),
    };
  }

  /** The entry at an offset of a data file of the current namespace; undefined at the end of the file. (admin) */
  async rawEntry(file: number, offset: number, options?: CommandOptions): Promise<RawEntry | undefined> {
    const reply = await unless('EOF', this.client.command(['DATA', 'RAW', file, offset], options));
    return optional(reply, rawEntryIn);
  }

  /**
   * That entry and some of those behind it, at least one; undefined at the end of the file. Not known to 0-db: it refuses
   * with `Unknown DATA subcommand`. (admin)
   */
  async rawEntries(file: number, offset: number, options?: CommandOptions): Promise<RawEntry[] | undefined> {
    const reply = await unless('EOF', this.client.command(['DATA', 'ENTRIES', file, offset], options));
    return optional(reply, (entries) => array(entries).map(rawEntryIn));
  }

  /** Ids of the index files of the current namespace that were changed in place since it was loaded or `resetDirty`. (admin) */
  async dirtyIndexFiles(options?: CommandOptions): Promise<number[]> {
    return array(await this.client.command(['INDEX', 'DIRTY'], options)).map(integer);
  }

  /** (admin) */
  async resetDirty(options?: CommandOptions): Promise<void> {
    simple(await this.client.command(['INDEX', 'DIRTY', 'RESET'], options));
  }

  /** Hooks that run, and those that ended in the last five minutes. (admin) */
  async hooks(options?: CommandOptions): Promise<HookRun[]> {
    return array(await this.client.command(['HOOKS'], options)).map((run) => {
      const [name, parameters, pid, started, ended, exitStatus] = array(run);
      return {
        name: text(name ?? null),
        parameters: array(parameters ?? null).map(text),
        pid: integer(pid ?? null),
        started: integer(started ?? null),
        ended: integer(ended ?? null) || undefined,
        exitStatus: integer(exitStatus ?? null),
      };
    });
  }

  /**
   * Gives the space of mostly dead data files of the current namespace back. Not a command of 0-db. The answer comes when it is
   * done: the connection's `commandTimeoutMs` has to be longer than that. (admin)
   * @param percent files of which at most so much is alive; 50 when not given
   */
  async compact(percent?: number, options?: CommandOptions): Promise<Compacted> {
    const parameters = percent === undefined ? ['COMPACT'] : ['COMPACT', percent];
    const [removedFiles, movedEntries, freedBytes] = array(await this.client.command(parameters, options));
    return {
      removedFiles: integer(removedFiles ?? null),
      movedEntries: integer(movedEntries ?? null),
      freedBytes: integer(freedBytes ?? null),
    };
  }

  /** The server's clock, milliseconds since 1970, to the microsecond. */
  async time(options?: CommandOptions): Promise<number> {
    const [seconds, microseconds] = array(await this.client.command(['TIME'], options)).map(text);
    return Number(seconds) * 1000 + Number(microseconds) / 1000;
  }

  /** Live keys of the current namespace. */
  async size(options?: CommandOptions): Promise<number> {
    return integer(await this.client.command(['DBSIZE'], options));
  }

  /** The INFO lines as name and value. */
  async info(options?: CommandOptions): Promise<Map<string, string>> {
    return lines(text(await this.client.command(['INFO'], options)));
  }

  /** @param password of the namespace; without it a protected public one is read-only */
  async select(name: string, password?: string, options?: CommandOptions): Promise<void> {
    const parameters = password === undefined ? ['SELECT', name] : ['SELECT', name, password];
    simple(await this.client.command(parameters, options));
  }

  async namespaces(options?: CommandOptions): Promise<string[]> {
    return array(await this.client.command(['NSLIST'], options)).map(text);
  }

  /** The NSINFO lines as name and value; undefined when there is no such namespace. */
  async namespaceInfo(name: string, options?: CommandOptions): Promise<Map<string, string> | undefined> {
    const reply = await unless('Namespace not found', this.client.command(['NSINFO', name], options));
    return reply === null ? undefined : lines(text(reply));
  }

  /** (admin) @returns false when it existed already */
  async createNamespace(name: string, options?: CommandOptions): Promise<boolean> {
    const refused = 'This namespace is not available';
    return (await unless(refused, this.client.command(['NSNEW', name], options))) !== null;
  }

  /** (admin) Sets one property after the other. */
  async configureNamespace(name: string, properties: NamespaceProperties): Promise<void> {
    for (const [property, value] of Object.entries(properties) as [string, unknown][]) {
      if (value === undefined) continue;
      const argument =
        value === null ? '*' : typeof value === 'boolean' ? (value ? '1' : '0') : String(value);
      simple(await this.client.command(['NSSET', name, property, argument]));
    }
  }

  /** (admin) Removes a namespace and its files. @returns false when there was none */
  async removeNamespace(name: string, options?: CommandOptions): Promise<boolean> {
    const refused = "This namespace doesn't exists";
    return (await unless(refused, this.client.command(['NSDEL', name], options))) !== null;
  }

  /** (admin) Closes the active files of the current namespace and starts the next. */
  async rotate(options?: CommandOptions): Promise<void> {
    simple(await this.client.command(['NSJUMP'], options));
  }

  /** Removes all records of the current namespace, which must be private and have a password. */
  async flush(options?: CommandOptions): Promise<void> {
    simple(await this.client.command(['FLUSH'], options));
  }

  async #page(
    command: string,
    cursor: Uint8Array | undefined,
    options?: CommandOptions,
  ): Promise<ScanPage | undefined> {
    const parameters = cursor === undefined ? [command] : [command, cursor];
    const reply = await unless('No more data', this.client.command(parameters, options));
    if (reply === null) return undefined;
    const [next, listed] = array(reply);
    return {
      cursor: bytes(next ?? null),
      entries: array(listed ?? null).map((element) => {
        const [key, length, timestamp] = array(element);
        return {
          key: bytes(key ?? null),
          lengthBytes: integer(length ?? null),
          timestamp: integer(timestamp ?? null) >>> 0, // printed as a signed number
        };
      }),
    };
  }
}

/** Turns the one refusal that is an answer into null. */
async function unless(refusal: string, reply: Promise<Reply>): Promise<Reply> {
  try {
    return await reply;
  } catch (error) {
    if (error instanceof RespError && error.message === refusal) return null;
    throw error;
  }
}

async function found(reply: Promise<Reply>): Promise<boolean> {
  return (await unless('Key not found', reply)) !== null;
}

function optional<T>(reply: Reply, convert: (reply: Reply) => T): T | undefined {
  return reply === null ? undefined : convert(reply);
}

function rawEntryIn(reply: Reply): RawEntry {
  const [key, previous, crc, flags, timestamp, value] = array(reply);
  return {
    key: bytes(key ?? null),
    previous: integer(previous ?? null),
    crc: Number(text(crc ?? null)),
    deletion: (integer(flags ?? null) & 1) === 1,
    truncated: (integer(flags ?? null) & 2) === 2,
    timestamp: integer(timestamp ?? null),
    value: optional(value ?? null, bytes),
  };
}

function bytes(reply: Reply): Uint8Array {
  if (reply instanceof Uint8Array) return reply;
  throw unexpected('a bulk', reply);
}

function integer(reply: Reply): number {
  if (typeof reply === 'number') return reply;
  throw unexpected('an integer', reply);
}

function simple(reply: Reply): string {
  if (typeof reply === 'string') return reply;
  throw unexpected('a simple string', reply);
}

function text(reply: Reply): string {
  return Buffer.from(bytes(reply)).toString('utf8');
}

function array(reply: Reply): Reply[] {
  if (Array.isArray(reply)) return reply;
  throw unexpected('an array', reply);
}

function lines(content: string): Map<string, string> {
  const result = new Map<string, string>();
  for (const line of content.split('\n')) {
    const cut = line.indexOf(': ');
    if (cut > 0) result.set(line.slice(0, cut), line.slice(cut + 2).trimEnd());
  }
  return result;
}

function unexpected(wanted: string, reply: Reply): ProtocolError {
  const got = reply === null ? 'nil' : Array.isArray(reply) ? 'an array' : typeof reply;
  return new ProtocolError(`the server answered ${got} where ${wanted} was expected`);
}

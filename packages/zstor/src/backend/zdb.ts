// Stores on a zdb (ours or the reference's): shards in a sequential namespace, records in one of user mode.
import type { Clock, Network, Random } from '@qsfs/io';
import { RespError, type ZdbClient } from '@qsfs/resp';
import {
  BackendError,
  type CallOptions,
  type GetOptions,
  type RecordStore,
  type ShardLocation,
  type ShardStore,
  type SpaceReport,
} from './backend.ts';
import { inspect, type Lane, spaceOf, ZdbConnections, type ZdbLocation } from './zdb-connections.ts';

/** `qsfs shard store`, then 8 random bytes, then 8 zero bytes, under key 0 (docs/formats/records.md, "Backends"). */
const IDENTITY_MAGIC = Buffer.from('qsfs shard store');
const IDENTITY_BYTES = 32;

/** Why the connections to a namespace that was emptied are ended. */
const EMPTIED = 'it was emptied';

/**
 * Shards in a sequential namespace. A key is the 64-bit number the zdb gives out.
 *
 * A namespace can be emptied under our connections (FLUSH): it then gives out small keys again. So keys that do not grow, and an
 * incarnation that `identify` finds changed, end all connections, and with them what is believed about what is behind them.
 */
export class ZdbShardStore implements ShardStore {
  readonly name: string;
  readonly #connections: ZdbConnections;
  readonly #random: Random;
  /** The incarnation is asked for once per connection. */
  readonly #identities = new WeakMap<ZdbClient, Promise<string>>();
  /** The incarnation found last. */
  #known = '';
  /** What was told of the key that is given out next: whatever is asked from now on may not be answered with a smaller one. */
  #nextKey = 0;
  /** The same by the connection that writes alone, whose answers come in the order of its commands. */
  #writtenKey = 0;
  /** The key that is given out next, by the last look and what was written since; undefined when the server does not tell. */
  nextKey: number | undefined;

  constructor(network: Network, clock: Clock, random: Random, location: ZdbLocation) {
    this.name = location.name;
    this.#random = random;
    this.#connections = new ZdbConnections(network, clock, location);
  }

  async identify({ signal }: CallOptions = {}): Promise<string> {
    // Shards that are written meanwhile may be answered sooner than this.
    const least = this.#nextKey;
    const info = await inspect(this.#connections, 'sequential', signal);
    const nextKey = nextKeyOf(info);
    const isEmptied = nextKey < Math.min(least, this.#nextKey);
    const found = await this.#connections.run('control', (client) => this.#readIdentity(client), signal);
    if ((this.#known !== '' && found !== this.#known) || isEmptied) {
      this.#nextKey = 0;
      this.#writtenKey = 0;
      this.#connections.reset(EMPTIED);
    }
    this.#known = found;
    this.nextKey = Number.isNaN(nextKey) ? undefined : nextKey;
    if (nextKey > this.#nextKey) this.#nextKey = nextKey;
    return found;
  }

  put(content: Uint8Array, { signal }: CallOptions = {}): Promise<ShardLocation> {
    return this.#connections.run(
      'write',
      async (client) => {
        const incarnation = await this.#identityFor(client, true);
        const least = this.#nextKey;
        const key = decodeKey(this.name, await client.insert(content, undefined, signal ? { signal } : {}));
        if (key < Math.max(Math.min(least, this.#nextKey), this.#writtenKey))
          await this.#refuseEmptied(client, incarnation, key);
        this.#writtenKey = key + 1;
        this.#nextKey = Math.max(this.#nextKey, key + 1);
        if (this.nextKey !== undefined) this.nextKey = Math.max(this.nextKey, key + 1);
        this.#known = incarnation;
        return { incarnation, key };
      },
      signal,
    );
  }

  /** A value went to a namespace that was emptied since we looked what it is: what we would say of its place is not true. */
  async #refuseEmptied(client: ZdbClient, incarnation: string, key: number): Promise<never> {
    // Key 0 names the store: nobody else can give it a new name now.
    if (key === 0 && incarnation !== '') await client.set(encodeKey(key), this.#newIdentity());
    else await client.delete(encodeKey(key));
    this.#connections.reset(EMPTIED);
    throw new BackendError(this.name, 'unreachable', EMPTIED);
  }

  async get(location: ShardLocation, { signal, into }: GetOptions = {}): Promise<Uint8Array | undefined> {
    const options = { ...(signal ? { signal } : {}), ...(into ? { into } : {}) };
    try {
      return await this.#at(location, 'read', signal, (client, key) => client.get(key, options));
    } catch (error) {
      if (isUnreadable(error)) return undefined;
      throw error;
    }
  }

  length(location: ShardLocation, { signal }: CallOptions = {}): Promise<number | undefined> {
    const options = signal ? { signal } : {};
    return this.#at(location, 'write', signal, (client, key) => client.length(key, options));
  }

  async check(location: ShardLocation, { signal }: CallOptions = {}): Promise<'good' | 'bad' | 'missing'> {
    const options = signal ? { signal } : {};
    const answer = await this.#at(location, 'write', signal, (client, key) => client.check(key, options));
    if (answer === undefined) return 'missing';
    return answer === 'intact' ? 'good' : 'bad';
  }

  async delete(location: ShardLocation, { signal }: CallOptions = {}): Promise<void> {
    const options = signal ? { signal } : {};
    await this.#at(location, 'write', signal, (client, key) => client.delete(key, undefined, options));
  }

  /** Runs a command on a value, unless the value was lost with an earlier incarnation. */
  #at<T>(
    location: ShardLocation,
    lane: Lane,
    signal: AbortSignal | undefined,
    call: (client: ZdbClient, key: Uint8Array) => Promise<T>,
  ): Promise<T | undefined> {
    return this.#connections.run(
      lane,
      async (client) => {
        // Also for '': a store without an incarnation that was wiped has one when it is used again, and gives out the same keys.
        if (location.incarnation !== (await this.#identityFor(client, false))) return undefined;
        return call(client, encodeKey(location.key));
      },
      signal,
    );
  }

  #identityFor(client: ZdbClient, create: boolean): Promise<string> {
    let identity = this.#identities.get(client);
    if (!identity) {
      // A server that lost its newest entries with a loss of power gives out their keys again.
      if (create) {
        this.#nextKey = 0;
        this.#writtenKey = 0;
      }
      identity = create ? this.#createIdentity(client) : this.#readIdentity(client);
      this.#identities.set(client, identity);
      const forget = () => void this.#identities.delete(client);
      // "None yet" may change at any time; only what was created or found stays.
      identity.then((found) => found === '' && !create && forget(), forget);
    }
    return identity;
  }

  async #readIdentity(client: ZdbClient): Promise<string> {
    const key = encodeKey(0);
    if ((await client.length(key)) !== IDENTITY_BYTES) return '';
    const content = await client.get(key);
    if (!content || !IDENTITY_MAGIC.equals(content.subarray(0, 16))) return '';
    return Buffer.from(content.subarray(16, 24)).toString('hex');
  }

  async #createIdentity(client: ZdbClient): Promise<string> {
    // First whether anything was ever there, then what: the other way round another frontend's identity could come in between
    // and be taken for something else.
    const info = await client.namespaceInfo(this.#connections.location.namespace ?? 'default');
    const known = await this.#readIdentity(client);
    // Only a namespace that never held anything gets an identity: elsewhere key 0 is somebody else's.
    if (known !== '' || !info || nextKeyOf(info) !== 0) return known;
    await client.insert(this.#newIdentity());
    // Another frontend may have been quicker: whoever got key 0 has named the store.
    return this.#readIdentity(client);
  }

  #newIdentity(): Uint8Array {
    return Buffer.concat([IDENTITY_MAGIC, this.#random.bytes(8), new Uint8Array(8)]);
  }

  space({ signal }: CallOptions = {}): Promise<SpaceReport> {
    return spaceOf(this.#connections, 'sequential', signal);
  }

  ping({ signal }: CallOptions = {}): Promise<void> {
    return this.#connections.run('control', (client) => client.ping(signal ? { signal } : {}), signal);
  }

  get arrivedBytes(): number {
    return this.#connections.arrivedBytes();
  }

  get gotBytes(): number {
    return this.#connections.arrivedBytes('read');
  }

  reset(reason: string): void {
    this.#connections.reset(reason);
  }

  close(): Promise<void> {
    this.#connections.close();
    return Promise.resolve();
  }
}

/** A GET the zdb answered with an error line about the value itself: it has the key, and cannot give the value any more. */
function isUnreadable(error: unknown): boolean {
  const cause = (error as { cause?: unknown }).cause;
  return cause instanceof RespError && /Internal Error|checksum|corrupt/i.test(cause.message);
}

/** The key that is given out next: in NSINFO a byte-swapped number of up to 16 digits (spec/zdb.md 3.7). NaN when it is not told. */
function nextKeyOf(info: ReadonlyMap<string, string>): number {
  const digits = /^0x([0-9a-f]{1,16})$/.exec(info.get('next_internal_id') ?? '')?.[1];
  if (digits === undefined) return Number.NaN;
  return Number(Buffer.from(digits.padStart(16, '0'), 'hex').readBigUInt64LE());
}

function encodeKey(key: number): Uint8Array {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(key));
  return bytes;
}

/** A current zdb answers 8 bytes, an old one 4, little-endian (spec/zstor.md 4.5). */
function decodeKey(backend: string, bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const key =
    bytes.length === 8
      ? Number(view.getBigUint64(0, true))
      : bytes.length === 4
        ? view.getUint32(0, true)
        : -1;
  if (!Number.isSafeInteger(key) || key < 0) {
    throw new BackendError(backend, 'foreign', `answered a key of ${bytes.length} bytes that is no number`);
  }
  return key;
}

/** Records in a namespace of user mode. */
export class ZdbRecordStore implements RecordStore {
  readonly name: string;
  readonly #connections: ZdbConnections;

  constructor(network: Network, clock: Clock, location: ZdbLocation) {
    this.name = location.name;
    this.#connections = new ZdbConnections(network, clock, location);
  }

  async probe({ signal }: CallOptions = {}): Promise<void> {
    await inspect(this.#connections, 'userkey', signal);
  }

  async get(key: string, { signal }: CallOptions = {}): Promise<Uint8Array | undefined> {
    try {
      return await this.#connections.run(
        'read',
        (client) => client.get(key, signal ? { signal } : {}),
        signal,
      );
    } catch (error) {
      if (isUnreadable(error)) return new Uint8Array(0);
      throw error;
    }
  }

  async set(key: string, content: Uint8Array, { signal }: CallOptions = {}): Promise<void> {
    await this.#connections.run(
      'write',
      (client) => client.set(key, content, undefined, signal ? { signal } : {}),
      signal,
    );
  }

  async delete(key: string, { signal }: CallOptions = {}): Promise<void> {
    await this.#connections.run(
      'write',
      (client) => client.delete(key, undefined, signal ? { signal } : {}),
      signal,
    );
  }

  async *keys(prefix: string, { signal }: CallOptions = {}): AsyncIterable<readonly string[]> {
    let cursor: Uint8Array | undefined;
    for (;;) {
      const at = cursor;
      const page = await this.#connections.run(
        'read',
        (client) => client.scan(at, signal ? { signal } : {}),
        signal,
      );
      if (!page) return;
      cursor = page.cursor;
      const keys = page.entries.map(({ key }) => Buffer.from(key).toString('latin1'));
      yield keys.filter((key) => key.startsWith(prefix));
    }
  }

  space({ signal }: CallOptions = {}): Promise<SpaceReport> {
    return spaceOf(this.#connections, 'userkey', signal);
  }

  ping({ signal }: CallOptions = {}): Promise<void> {
    return this.#connections.run('control', (client) => client.ping(signal ? { signal } : {}), signal);
  }

  get arrivedBytes(): number {
    return this.#connections.arrivedBytes();
  }

  reset(reason: string): void {
    this.#connections.reset(reason);
  }

  close(): Promise<void> {
    this.#connections.close();
    return Promise.resolve();
  }
}

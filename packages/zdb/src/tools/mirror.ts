// `zdb mirror`: copies a namespace to another server entry by entry, deletions and times included, and goes on from where it stopped.
//
// It reads the source's data files by position (DATA RAW) and repeats each entry on the target (SET and DEL with timestamp), so it needs admin
// rights on both. The position reached is kept in a state file, written after the target has answered; what is repeated after a
// crash changes nothing.
//
// A source that compacts removes data files. What was alive in them stands again in a later one, but deletions in them are missed;
// so when the end is reached the target's keys are compared with the source's (`compare` in the state file), and what the source does not
// have goes. Sequential ids cannot be chosen: those that the source does not tell of, or tells of later, are taken by empty
// records (mirror-target.ts).
import { type Address, parseAddress, readWhole, replaceWhole } from '@qsfs/io';
import { ConnectionError, type RawEntry, RespError, ZdbClient } from '@qsfs/resp';
import type { Machine } from '../server/machine.ts';
import { dropForeign, MirrorTarget, OTHER_IDS } from './mirror-target.ts';
import { TOOL_EXIT, type Tool, ToolError, type ToolRequest } from './tool.ts';

/** The tool. */
export const MIRROR: Tool = {
  name: 'mirror',
  summary: 'copy a namespace to another server, incrementally',
  words: '--source ADDRESS --target ADDRESS [options]',
  options: [
    { name: 'source', argument: 'ADDRESS', help: 'host:port or unix:path' },
    { name: 'target', argument: 'ADDRESS', help: 'host:port or unix:path' },
    {
      name: 'namespace',
      argument: 'NAME',
      help: 'the namespace on both (default "default"); made on the target if missing',
    },
    { name: 'source-admin', argument: 'PASSWORD', help: 'admin password of the source' },
    { name: 'target-admin', argument: 'PASSWORD', help: 'admin password of the target' },
    { name: 'password', argument: 'PASSWORD', help: 'password of the namespace on both' },
    {
      name: 'state',
      argument: 'FILE',
      help: 'where the position is kept (default ./zdb-mirror-NAMESPACE.json)',
    },
    { name: 'follow', help: 'go on for ever: copy what comes as it comes' },
  ],
  notes: [
    'Run it again and it goes on from where it stopped, also after kill -9. Keys that were deleted on the source go on the target.',
    'A sequential namespace must be new on the target, so that the ids come out the same; nobody else may write to it.',
    '',
    'Example: zdb mirror --source 10.0.0.1:9900 --target 10.0.0.2:9900 --namespace photos --follow',
  ],
  run: mirror,
};

const LOOK_AGAIN_MS = 1000;
const SAVE_EVERY_ENTRIES = 1000;
const RETRY_MS = 2000;
/** Writes under way on the target, at most. */
const IN_FLIGHT = 64;

/** Where to go on. */
interface Position {
  readonly source: string;
  readonly target: string;
  readonly namespace: string;
  file: number;
  offset: number;
  /** The target may have keys that the source has not. */
  compare: boolean;
}

const DATA_HEADER_BYTES = 28;
const DATA_ENTRY_BYTES = 18;

async function mirror(request: ToolRequest, machine: Machine): Promise<number> {
  const namespace = request.value('namespace') ?? 'default';
  const path = request.value('state') ?? `./zdb-mirror-${namespace.replaceAll('/', '_')}.json`;
  const stopping = { now: false };
  const undo = [
    machine.processes.onSignal('SIGINT', () => void (stopping.now = true)),
    machine.processes.onSignal('SIGTERM', () => void (stopping.now = true)),
  ];
  try {
    for (;;) {
      // Each time from what the target has answered: what was under way may not have arrived.
      const position = load(machine, path, request, namespace);
      try {
        const copied = await copy(request, machine, position, path, stopping);
        machine.output(
          `${namespace}: ${copied} entries copied, now at ${position.offset} of d${position.file}\n`,
        );
        return TOOL_EXIT.ok;
      } catch (error) {
        if (!(error instanceof ConnectionError) || !request.has('follow') || stopping.now) throw error;
        machine.errors(`${error.message}; trying again\n`);
        await machine.clock.sleep(RETRY_MS);
      }
    }
  } finally {
    for (const call of undo) call();
  }
}

/** Copies until the end of the source, or for ever. */
async function copy(
  request: ToolRequest,
  machine: Machine,
  position: Position,
  path: string,
  stopping: { now: boolean },
): Promise<number> {
  const source = await connect(request, machine, 'source');
  let target: ZdbClient | undefined;
  try {
    target = await connect(request, machine, 'target');
    await prepare(source, target, position.namespace, request.value('password'));
    const copier = new MirrorTarget(source, target, await nextIdOf(target, position.namespace), () => {
      position.compare = true;
      save(machine, path, position);
    });
    if (machine.disk.stat(path) === undefined && copier.sequential && !copier.empty)
      throw new ToolError(OTHER_IDS);
    // The state says from here on that what the target has comes from this source.
    save(machine, path, position);
    const repeats = await lastEntries(source, position);
    let copied = 0;
    const underWay: Promise<void>[] = [];
    while (!stopping.now) {
      const entry = await nextEntry(source, position);
      if (entry === undefined) {
        if (await nextFile(source, position, copier.sequential)) continue;
        await Promise.all(underWay.splice(0));
        if (position.compare) {
          const dropped = await dropForeign(source, target);
          if (dropped > 0) machine.output(`${dropped} keys that the source does not have removed\n`);
          position.compare = false;
        }
        save(machine, path, position);
        if (!request.has('follow')) break;
        await machine.clock.sleep(LOOK_AGAIN_MS);
        continue;
      }
      const last = repeats.get(hex(entry.key));
      const superseded = last !== undefined && place(position) < last;
      const repeated = copier.repeat(entry, superseded);
      repeated.catch(() => {}); // met at the next wait
      underWay.push(repeated);
      // Ids are given out in order, so they are asked for one by one.
      if (copier.sequential || underWay.length >= IN_FLIGHT) await underWay.shift();
      position.offset += entryBytes(entry);
      if (++copied % SAVE_EVERY_ENTRIES === 0) {
        await Promise.all(underWay.splice(0));
        save(machine, path, position);
      }
    }
    await Promise.all(underWay);
    save(machine, path, position);
    return copied;
  } finally {
    source.close();
    target?.close();
  }
}

async function connect(
  request: ToolRequest,
  machine: Machine,
  side: 'source' | 'target',
): Promise<ZdbClient> {
  let address: Address;
  try {
    address = parseAddress(request.required(side));
  } catch (error) {
    if (error instanceof RangeError) throw new ToolError(`--${side}: ${error.message}`);
    throw error;
  }
  const adminPassword = request.value(`${side}-admin`);
  try {
    return await ZdbClient.connect(machine.network, machine.clock, {
      address,
      login: adminPassword === undefined ? {} : { adminPassword, secure: true },
    });
  } catch (error) {
    if (error instanceof RespError)
      throw new ToolError(`the ${side} refuses --${side}-admin: ${error.message}`);
    throw error;
  }
}

/** Makes the namespace on the target when it is missing, with the source's mode and limits, and enters it on both. */
async function prepare(
  source: ZdbClient,
  target: ZdbClient,
  name: string,
  password: string | undefined,
): Promise<void> {
  const info = await source.namespaceInfo(name);
  if (info === undefined) throw new ToolError(`the source has no namespace ${name}`);
  const mode = info.get('mode') === 'sequential' ? 'seq' : 'user';
  const known = await target.namespaceInfo(name);
  if (known === undefined) {
    await target.createNamespace(name);
    if (mode === 'seq') await target.configureNamespace(name, { mode });
    if (password !== undefined) {
      await target.configureNamespace(name, { password, public: info.get('public') === 'yes' });
    }
  } else if (known.get('mode') !== info.get('mode')) {
    throw new ToolError(
      `namespace ${name} is ${known.get('mode')} on the target and ${info.get('mode')} on the source`,
    );
  }
  await source.select(name, password);
  await target.select(name, password);
}

/**
 * What stands behind the position may have been repeated already, before a crash. Repeating an older version of a key over a newer one
 * would show it again, and take an id that the source did not give; so only the last entry of each key counts there.
 * @returns for the keys of the next SAVE_EVERY_ENTRIES entries the place of their last one
 */
async function lastEntries(source: ZdbClient, position: Position): Promise<Map<string, number>> {
  const ahead = { ...position };
  const last = new Map<string, number>();
  for (let read = 0; read < SAVE_EVERY_ENTRIES; ) {
    const entry = await nextEntry(source, ahead);
    if (entry === undefined) {
      if (!(await nextFile(source, ahead, false)) || ahead.file <= position.file) break;
      continue;
    }
    last.set(hex(entry.key), place(ahead));
    read++;
    ahead.offset += entryBytes(entry);
  }
  return last;
}

/** Grows along the log. */
function place({ file, offset }: Position): number {
  return file * 2 ** 32 + offset;
}

function hex(key: Uint8Array): string {
  return Buffer.from(key).toString('hex');
}

function entryBytes(entry: RawEntry): number {
  return DATA_ENTRY_BYTES + entry.key.length + (entry.value?.length ?? 0);
}

/** The id the target gives out next; undefined in user mode. */
async function nextIdOf(target: ZdbClient, name: string): Promise<number | undefined> {
  const info = await target.namespaceInfo(name);
  if (info?.get('mode') !== 'sequential') return undefined;
  const digits = (info.get('next_internal_id') ?? '').slice(2).padStart(16, '0');
  return Number(Buffer.from(digits, 'hex').readBigUInt64LE());
}

/** Moves to the next data file when the source has gone on to it, to the first when it has started anew. */
async function nextFile(source: ZdbClient, position: Position, sequential: boolean): Promise<boolean> {
  const info = await source.namespaceInfo(position.namespace);
  const active = Number(info?.get('data_current_id') ?? position.file);
  if (active > position.file) {
    position.file++;
    position.offset = DATA_HEADER_BYTES;
    return true;
  }
  const end = Number(info?.get('data_current_offset') ?? position.offset);
  if (active === position.file && end >= position.offset) return false;
  if (sequential) {
    throw new ToolError(
      `the source has started anew: it is at ${end} of d${active}, and ${position.offset} of d${position.file} was copied already; remove the namespace on the target and the state file, then mirror from the beginning`,
    );
  }
  position.file = 0;
  position.offset = DATA_HEADER_BYTES;
  position.compare = true;
  return true;
}

/** The next entry; undefined at the end of the file, and where the source has compacted the file away. */
async function nextEntry(source: ZdbClient, position: Position): Promise<RawEntry | undefined> {
  try {
    return await source.rawEntry(position.file, position.offset);
  } catch (error) {
    if (!(error instanceof RespError)) throw error;
    if (!(await isOurs(source))) {
      throw new ToolError(
        `the source is a 0-db of another make, which cannot show empty values and deletions (${error.message} at ${position.offset} of d${position.file}): stop it, serve its directories with this program, and mirror from there`,
      );
    }
    if (error.message !== 'Invalid Request') throw error;
    // At its beginning nothing was copied that could have been deleted in the file that is gone.
    if (position.file > 0 || position.offset > DATA_HEADER_BYTES) position.compare = true;
    return undefined;
  }
}

/** Whether a server is one of ours. */
async function isOurs(source: ZdbClient): Promise<boolean> {
  const reply = await source.client.command(['INFO']);
  return reply instanceof Uint8Array && /^server_revision: qsfs/m.test(Buffer.from(reply).toString('latin1'));
}

function load(machine: Machine, path: string, request: ToolRequest, namespace: string): Position {
  const fresh: Position = {
    source: request.required('source'),
    target: request.required('target'),
    namespace,
    file: 0,
    offset: DATA_HEADER_BYTES,
    compare: false,
  };
  const bytes = readWhole(machine.disk, path);
  if (bytes === undefined) return fresh;
  const stored = parseState(path, Buffer.from(bytes).toString('utf8'));
  if (stored.source !== fresh.source || stored.target !== fresh.target || stored.namespace !== namespace) {
    throw new ToolError(
      `${path} is the state of another mirror: give --state FILE, or remove it to start anew`,
    );
  }
  return { ...fresh, file: stored.file, offset: stored.offset, compare: stored.compare === true };
}

function parseState(path: string, text: string): Position {
  let state: Partial<Position> | null;
  try {
    state = JSON.parse(text) as Partial<Position> | null;
  } catch {
    state = null;
  }
  const { file, offset } = state ?? {};
  if (
    !Number.isSafeInteger(file) ||
    !Number.isSafeInteger(offset) ||
    file! < 0 ||
    offset! < DATA_HEADER_BYTES
  )
    throw new ToolError(`${path} is no state of a mirror: give --state FILE, or remove it to start anew`);
  return state as Position;
}

function save(machine: Machine, path: string, position: Position): void {
  replaceWhole(machine.disk, path, Buffer.from(`${JSON.stringify(position)}\n`), 0o644);
}

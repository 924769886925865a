// `zdb mirror`: copies a namespace to another server entry by entry, deletions and times included, and goes on from where it stopped.
//
// It reads the source's data files by position (DATA RAW) and repeats each entry on the target (SET and DEL with timestamp), so it needs admin
// rights on both. The position reached is kept in a state file, written after the target has answered; what is repeated after a
// crash changes nothing. Sequential namespaces must start empty on the target, so that ids come out the same.
import { type Address, parseAddress, readWhole, replaceWhole } from '@qsfs/io';
import { ConnectionError, RespError, ZdbClient } from '@qsfs/resp';
import type { Machine } from '../server/machine.ts';
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
  notes: ['Example: zdb mirror --source 10.0.0.1:9900 --target 10.0.0.2:9900 --namespace photos --follow'],
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
}

const DATA_HEADER_BYTES = 28;
const DATA_ENTRY_BYTES = 18;

async function mirror(request: ToolRequest, machine: Machine): Promise<number> {
  const namespace = request.value('namespace') ?? 'default';
  const path = request.value('state') ?? `./zdb-mirror-${namespace.replaceAll('/', '_')}.json`;
  const position = load(machine, path, request, namespace);
  const stopping = { now: false };
  const undo = [
    machine.processes.onSignal('SIGINT', () => void (stopping.now = true)),
    machine.processes.onSignal('SIGTERM', () => void (stopping.now = true)),
  ];
  try {
    for (;;) {
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
    const sequential = (await source.namespaceInfo(position.namespace))?.get('mode') === 'sequential';
    let copied = 0;
    const underWay: Promise<void>[] = [];
    while (!stopping.now) {
      const entry = await nextEntry(source, position);
      if (entry === undefined) {
        if (await nextFile(source, position)) continue;
        await Promise.all(underWay.splice(0));
        save(machine, path, position);
        if (!request.has('follow')) break;
        await machine.clock.sleep(LOOK_AGAIN_MS);
        continue;
      }
      const repeated = repeat(target, entry, sequential);
      repeated.catch(() => {}); // met at the next wait
      underWay.push(repeated);
      // Ids are given out in order, so they are asked for one by one.
      if (sequential || underWay.length >= IN_FLIGHT) await underWay.shift();
      position.offset += DATA_ENTRY_BYTES + entry.key.length + (entry.value?.length ?? 0);
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

/** Moves to the next data file when the source has gone on to it. */
async function nextFile(source: ZdbClient, position: Position): Promise<boolean> {
  const info = await source.namespaceInfo(position.namespace);
  const active = Number(info?.get('data_current_id') ?? position.file);
  if (active <= position.file) return false;
  position.file++;
  position.offset = DATA_HEADER_BYTES;
  return true;
}

/** The next entry; undefined at the end of the file, and where the source has compacted the file away. */
async function nextEntry(source: ZdbClient, position: Position): Promise<Entry | undefined> {
  try {
    return await source.rawEntry(position.file, position.offset);
  } catch (error) {
    // What was alive in a file that is gone stands again in a later one.
    if (error instanceof RespError && error.message === 'Invalid Request') return undefined;
    throw error;
  }
}

type Entry = NonNullable<Awaited<ReturnType<ZdbClient['rawEntry']>>>;

async function repeat(target: ZdbClient, entry: Entry, sequential: boolean): Promise<void> {
  if (entry.deletion || entry.value === undefined) {
    await target.delete(entry.key, entry.timestamp);
    return;
  }
  if (!sequential || (await target.exists(entry.key))) {
    await target.set(entry.key, entry.value, entry.timestamp);
    return;
  }
  const key = await target.insert(entry.value, entry.timestamp);
  if (Buffer.compare(key, entry.key) !== 0) {
    await target.delete(key);
    throw new ToolError(
      'the target gives out other ids than the source: mirror a sequential namespace into an empty one, from the beginning',
    );
  }
}

function load(machine: Machine, path: string, request: ToolRequest, namespace: string): Position {
  const fresh: Position = {
    source: request.required('source'),
    target: request.required('target'),
    namespace,
    file: 0,
    offset: DATA_HEADER_BYTES,
  };
  const bytes = readWhole(machine.disk, path);
  if (bytes === undefined) return fresh;
  const stored = JSON.parse(Buffer.from(bytes).toString('utf8')) as Position;
  if (stored.source !== fresh.source || stored.target !== fresh.target || stored.namespace !== namespace) {
    throw new ToolError(
      `${path} is the state of another mirror: give --state FILE, or remove it to start anew`,
    );
  }
  return { ...fresh, file: stored.file, offset: stored.offset };
}

function save(machine: Machine, path: string, position: Position): void {
  replaceWhole(machine.disk, path, Buffer.from(`${JSON.stringify(position)}\n`), 0o644);
}

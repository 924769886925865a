// `zdb index-rebuild` and `zdb compact`: work on the files of a stopped server through the engine.
//
// The index is derived from the data files: index files are moved aside, and opening the namespace makes them anew. Going back to a
// moment replays the data files up to it into new directories, because an index that knows less than its data is repaired at opening.

import { DataScanner } from '../engine/format/data-scanner.ts';
import { encodeIndexHeader } from '../engine/format/index-format.ts';
import {
  DATA_SIZE_MAX_BYTES,
  type Engine,
  type Namespace,
  type NamespaceMode,
  openEngine,
} from '../index.ts';
import type { Machine } from '../server/machine.ts';
import { numberedFiles, openIndexFile } from './index-file.ts';
import { lockRoots } from './locks.ts';
import { TOOL_EXIT, type Tool, ToolError, type ToolRequest, wholeNumber } from './tool.ts';

const DEFAULT_DATA_BYTES = 268_435_456;
/** Replayed bytes between two commits. */
const COMMIT_BYTES = 16 * 1024 * 1024;

/** Rebuilds an index. */
export const INDEX_REBUILD: Tool = {
  name: 'index-rebuild',
  summary: 'make the index files of a namespace anew from its data files',
  words: '--data DIR --index DIR --namespace NAME [--mode user|seq] [--time SECONDS --into DIR]',
  options: [
    { name: 'data', argument: 'DIR', help: 'root of the data files' },
    { name: 'index', argument: 'DIR', help: 'root of the index files' },
    { name: 'namespace', argument: 'NAME', help: 'the namespace' },
    { name: 'mode', argument: 'MODE', help: 'user or seq; default: what the old index says' },
    { name: 'time', argument: 'SECONDS', help: 'the state at this time (seconds since 1970), needs --into' },
    { name: 'into', argument: 'DIR', help: 'new directory that gets data/ and index/ with that state' },
  ],
  notes: ['The old index files are kept beside the new ones, as i0.old-SECONDS and so on.'],
  run: rebuild,
};

/** Gives dead space back. */
export const COMPACT: Tool = {
  name: 'compact',
  summary: 'give the space of mostly dead data files back while no server runs',
  words: '--data DIR --index DIR [--namespace NAME] [--share PERCENT]',
  options: [
    { name: 'data', argument: 'DIR', help: 'root of the data files' },
    { name: 'index', argument: 'DIR', help: 'root of the index files' },
    { name: 'namespace', argument: 'NAME', help: 'only this one' },
    { name: 'share', argument: 'PERCENT', help: 'files of which at most so much is alive (default 50)' },
    { name: 'json', help: 'report as JSON' },
  ],
  notes: ['A running server does the same with the command COMPACT.'],
  run: compact,
};

function rebuild(request: ToolRequest, machine: Machine): number {
  const dataRoot = request.required('data');
  const indexRoot = request.required('index');
  const name = request.required('namespace');
  const { disk } = machine;
  const files = numberedFiles(disk, `${dataRoot}/${name}`, 'd');
  if (files.length === 0) throw new ToolError(`there are no data files in ${dataRoot}/${name}`);
  const mode = modeOf(request, machine, `${indexRoot}/${name}`);
  if (mode === 'seq') refuseOtherKeys(machine, `${dataRoot}/${name}/d${files[0]}`);
  const time = request.value('time');
  if (time !== undefined) {
    const into = request.required('into');
    return replayUntil(machine, `${dataRoot}/${name}`, name, mode, wholeNumber('time', time), into);
  }
  const unlock = lockRoots(disk, [dataRoot]);
  const directory = `${indexRoot}/${name}`;
  disk.makeDirectory(directory, 0o700);
  const unlockIndex = lockRoots(disk, [indexRoot]);
  const suffix = `old-${machine.clock.nowSeconds()}`;
  for (const file of numberedFiles(disk, directory, 'i')) {
    disk.rename(`${directory}/i${file}`, `${directory}/i${file}.${suffix}`);
  }
  // The first header tells the mode; everything else comes from the data.
  const first = disk.open(`${directory}/i${files[0]}`, 'create-new');
  first.write(encodeIndexHeader(files[0]!, mode), 0);
  first.close();
  unlockIndex();
  unlock();
  machine.output(
    `${name}: all of the index is made anew from the data files, which is what the repairs below are\n`,
  );
  const engine = open(machine, dataRoot, indexRoot);
  try {
    const namespace = find(engine, name);
    namespace.sync();
    machine.output(`${name}: ${namespace.entries} live keys in ${files.length} data files\n`);
  } finally {
    engine.close();
  }
  return TOOL_EXIT.ok;
}

function modeOf(request: ToolRequest, machine: Machine, directory: string): NamespaceMode {
  const given = request.value('mode');
  if (given === 'user' || given === 'seq') return given;
  if (given !== undefined) throw new ToolError(`--mode is user or seq, not '${given}'`);
  for (const file of numberedFiles(machine.disk, directory, 'i')) {
    const index = openIndexFile(machine.disk, `${directory}/i${file}`);
    index.close();
    if (index.header.kind === 'good' && index.header.mode !== undefined) return index.header.mode;
  }
  throw new ToolError('no index file tells the mode: give --mode user or --mode seq');
}

/** Keys of a sequential namespace have 8 bytes: as one, a namespace with others would look torn from the first of them on. */
function refuseOtherKeys(machine: Machine, path: string): void {
  const file = machine.disk.open(path, 'read');
  try {
    const scanner = new DataScanner(() => file, 'user', file.size());
    if (scanner.next() && scanner.keyBytes !== 8)
      throw new ToolError(
        `${path} has keys of ${scanner.keyBytes} bytes: it is not of a sequential namespace`,
      );
  } finally {
    file.close();
  }
}

/** Replays data files up to a moment into new directories. */
function replayUntil(
  machine: Machine,
  dataDirectory: string,
  name: string,
  mode: NamespaceMode,
  untilSeconds: number,
  into: string,
): number {
  const { disk } = machine;
  if (disk.stat(into) !== undefined && disk.list(into).length > 0)
    throw new ToolError(`${into} is not empty`);
  const engine = open(machine, `${into}/data`, `${into}/index`);
  try {
    const namespace = name === 'default' ? find(engine, name) : engine.createNamespace(name, mode);
    if (namespace.mode !== mode) namespace.configure({ mode });
    for (const file of numberedFiles(disk, dataDirectory, 'd')) {
      const handle = disk.open(`${dataDirectory}/d${file}`, 'read');
      try {
        const scanner = new DataScanner(() => handle, mode, handle.size());
        let pending = 0;
        while (scanner.next() && scanner.timestamp <= untilSeconds) {
          const payload = new Uint8Array(scanner.payloadBytes);
          handle.read(payload, scanner.nextOffset - payload.length);
          replay(namespace, scanner.key(), scanner.deleted ? undefined : payload, scanner.timestamp);
          pending += payload.length;
          if (pending < COMMIT_BYTES) continue;
          engine.commit();
          pending = 0;
        }
        engine.commit();
      } finally {
        handle.close();
      }
    }
    namespace.sync();
    machine.output(`${name}: ${namespace.entries} live keys as of ${untilSeconds}, in ${into}\n`);
  } finally {
    engine.close();
  }
  return TOOL_EXIT.ok;
}

/** Repeats one entry of a data file. Sequential ids must come out the same: slots nobody uses any more are filled up. */
function replay(
  namespace: Namespace,
  key: Uint8Array,
  payload: Uint8Array | undefined,
  timestamp: number,
): void {
  if (payload === undefined) {
    namespace.remove(key, timestamp);
    return;
  }
  if (namespace.mode === 'user') {
    namespace.set(key, payload, timestamp, false);
    return;
  }
  const id = Number(Buffer.from(key).readBigUInt64LE());
  if (id < namespace.nextId) {
    if (namespace.info(key) !== undefined) namespace.set(key, payload, timestamp, false);
    return;
  }
  while (namespace.nextId < id) {
    const unused = namespace.nextId;
    namespace.insertId(new Uint8Array(0));
    namespace.removeId(unused);
  }
  namespace.set(new Uint8Array(0), payload, timestamp);
}

function compact(request: ToolRequest, machine: Machine): number {
  const share = wholeNumber('share', request.value('share') ?? '50');
  if (share > 100) throw new ToolError('--share is a percentage, 0 to 100');
  const roots = [request.required('data'), request.required('index')] as const;
  // Opening makes what is missing: a mistyped path would get an empty store.
  for (const root of roots)
    if (machine.disk.stat(root)?.kind !== 'directory') throw new ToolError(`${root} is no directory`);
  const engine = open(machine, ...roots);
  const reports: object[] = [];
  try {
    const only = request.value('namespace');
    const chosen = only === undefined ? engine.namespaces() : [find(engine, only)];
    for (const namespace of chosen) {
      const { removedFiles, movedEntries, movedBytes, freedBytes } = namespace.compact(
        share / 100,
        Number.POSITIVE_INFINITY,
      );
      reports.push({ namespace: namespace.name, removedFiles, movedEntries, movedBytes, freedBytes });
      if (request.has('json')) continue;
      machine.output(
        `${namespace.name}: ${removedFiles.length} files removed, ${movedEntries} entries moved, ${freedBytes} bytes freed\n`,
      );
    }
  } finally {
    engine.close();
  }
  if (request.has('json')) machine.output(`${JSON.stringify(reports)}\n`);
  return TOOL_EXIT.ok;
}

function open(machine: Machine, dataDirectory: string, indexDirectory: string): Engine {
  const { disk, clock, random } = machine;
  return openEngine({
    disk,
    clock,
    random,
    dataDirectory,
    indexDirectory,
    dataSizeBytes: Math.min(DEFAULT_DATA_BYTES, DATA_SIZE_MAX_BYTES),
    sync: 'none',
    events: { log: (level, message) => machine.errors(`${level}: ${message}\n`) },
  });
}

function find(engine: Engine, name: string): Namespace {
  const namespace = engine.namespace(name);
  if (namespace === undefined) throw new ToolError(`there is no namespace ${name}`);
  return namespace;
}

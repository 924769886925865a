// A small store, what is in it and where, and damage to its files: for the fuzz of files on disk.
import { readWhole } from '@qsfs/io';
import { SimulatedClock, SimulatedDisk, SimulatedRandom } from '@qsfs/io/simulated';
import { type Engine, type Namespace, type NamespaceMode, openEngine } from '../../src/index.ts';

const ROOTS = { data: '/data', index: '/index' };

/** Damage to one file, as it is kept in the corpus. Offsets and lengths are taken modulo what the file allows. */
export type Damage =
  | { readonly kind: 'flip'; readonly file: string; readonly at: number; readonly mask: number }
  | { readonly kind: 'fill'; readonly file: string; readonly at: number; readonly bytes: number[] }
  | { readonly kind: 'cut'; readonly file: string; readonly at: number }
  | { readonly kind: 'append'; readonly file: string; readonly bytes: number[] }
  | { readonly kind: 'remove'; readonly file: string }
  | { readonly kind: 'swap'; readonly file: string; readonly with: string };

/** Bytes of a file. */
interface Range {
  readonly file: string;
  readonly start: number;
  readonly end: number;
}

/** What a key went through. */
export interface KeyStory {
  readonly key: Uint8Array;
  /** Every value it ever had. */
  readonly values: Set<string>;
  /** Undefined: deleted. */
  value: string | undefined;
  /** Where its entries are, in data and index files. */
  readonly ranges: Range[];
}

/** The files of a store that was closed, and the stories of its keys by their hexadecimal form. */
export interface SmallStore {
  readonly mode: NamespaceMode;
  readonly files: ReadonlyMap<string, Uint8Array>;
  readonly stories: ReadonlyMap<string, KeyStory>;
}

/** Opens the engine on a simulated disk. */
export function openSmall(
  disk: SimulatedDisk,
  mode: NamespaceMode | undefined,
  log: (line: string) => void = () => {},
): Engine {
  return openEngine({
    disk,
    clock: new SimulatedClock(),
    random: new SimulatedRandom(1),
    dataDirectory: ROOTS.data,
    indexDirectory: ROOTS.index,
    dataSizeBytes: 524_288,
    sync: 'none',
    ...(mode === undefined ? {} : { mode }),
    events: { log: (level, message) => log(`${level} ${message}`) },
  });
}

/** All files below the roots. */
export function filesOf(disk: SimulatedDisk): Map<string, Uint8Array> {
  const found = new Map<string, Uint8Array>();
  for (const root of Object.values(ROOTS))
    for (const directory of disk.list(root))
      if (disk.stat(`${root}/${directory}`)?.kind === 'directory')
        for (const name of disk.list(`${root}/${directory}`)) {
          const path = `${root}/${directory}/${name}`;
          found.set(path, new Uint8Array(readWhole(disk, path)!));
        }
  return found;
}

/** A disk that holds these files. */
export function diskWith(files: ReadonlyMap<string, Uint8Array>): SimulatedDisk {
  const disk = new SimulatedDisk();
  for (const [path, bytes] of files) {
    disk.makeDirectory(path.slice(0, path.lastIndexOf('/')));
    const file = disk.open(path, 'create');
    file.write(bytes, 0);
    file.close();
  }
  return disk;
}

/** Fills three pairs of files: inserts, updates within and across files, deletions, empty and larger values. */
export function makeSmallStore(mode: NamespaceMode): SmallStore {
  const disk = new SimulatedDisk();
  const random = new SimulatedRandom(3);
  const engine = openSmall(disk, mode);
  const namespace = engine.namespace('default')!;
  const stories = new Map<string, KeyStory>();
  const note = (story: KeyStory, step: () => void): void => {
    const file = namespace.activeFile;
    const before = [namespace.activeOffset, indexSize(engine, disk, namespace)];
    step();
    engine.commit();
    const after = [namespace.activeOffset, indexSize(engine, disk, namespace)];
    story.ranges.push(
      { file: namespace.dataPath(file), start: before[0]!, end: after[0]! },
      { file: namespace.indexPath(file), start: before[1]!, end: after[1]! },
    );
  };
  const write = (known: KeyStory | undefined, key: Uint8Array, value: Uint8Array): void => {
    const story = known ?? {
      key: new Uint8Array(0),
      values: new Set<string>(),
      value: undefined,
      ranges: [],
    };
    let stored: Uint8Array | undefined;
    note(story, () => {
      stored = namespace.set(key, value);
    });
    if (stored === undefined) return;
    const text = Buffer.from(value).toString('latin1');
    story.values.add(text);
    const next = { ...story, key: stored, value: text };
    stories.set(Buffer.from(stored).toString('hex'), next);
  };
  for (let file = 0; file < 3; file++) {
    if (file > 0) namespace.rotate();
    for (let step = 0; step < 24; step++) {
      const live = [...stories.values()].filter((story) => story.value !== undefined);
      const chosen = live.length > 0 && step % 3 > 0 ? live[random.below(live.length)] : undefined;
      const size = step % 8 === 7 ? 0 : step % 8 === 6 ? 300 : 1 + random.below(40);
      const value = Buffer.concat([Buffer.from(`${file}.${step}:`), random.bytes(size)]).subarray(
        size === 0 ? 99 : 0,
      );
      if (chosen !== undefined && step % 6 === 5) {
        note(chosen, () => namespace.remove(chosen.key));
        chosen.value = undefined;
      } else if (chosen !== undefined) write(chosen, chosen.key, value);
      else write(undefined, mode === 'seq' ? new Uint8Array(0) : Buffer.from(`key ${file}.${step}`), value);
    }
  }
  engine.close();
  return { mode, files: filesOf(disk), stories };
}

function indexSize(engine: Engine, disk: SimulatedDisk, namespace: Namespace): number {
  engine.commit();
  return disk.stat(namespace.indexPath(namespace.activeFile))!.sizeBytes;
}

/** The files with the damage done to them, and which bytes are not what they were. */
export function damaged(
  store: SmallStore,
  damages: readonly Damage[],
): { files: Map<string, Uint8Array>; touches(range: Range): boolean } {
  const files = new Map([...store.files].map(([path, bytes]) => [path, Buffer.from(bytes) as Uint8Array]));
  for (const damage of damages) {
    const bytes = files.get(damage.file);
    if (bytes === undefined) continue;
    switch (damage.kind) {
      case 'flip':
        if (bytes.length > 0) bytes[damage.at % bytes.length]! ^= damage.mask;
        break;
      case 'fill':
        if (bytes.length > 0) {
          const at = damage.at % bytes.length;
          bytes.set(damage.bytes.slice(0, bytes.length - at), at);
        }
        break;
      case 'cut':
        files.set(damage.file, bytes.subarray(0, damage.at % (bytes.length + 1)));
        break;
      case 'append':
        files.set(damage.file, Buffer.concat([bytes, Buffer.from(damage.bytes)]));
        break;
      case 'remove':
        files.delete(damage.file);
        break;
      default: {
        const other = files.get(damage.with);
        if (other === undefined) break;
        files.set(damage.file, other);
        files.set(damage.with, bytes);
      }
    }
  }
  return {
    files,
    touches({ file, start, end }) {
      const now = files.get(file)?.subarray(start, end);
      return now === undefined || Buffer.compare(now, store.files.get(file)!.subarray(start, end)) !== 0;
    },
  };
}

/** One line of the corpus: the mode, then damages joined by ` + `; bytes in hexadecimal, or as one byte and how often. */
export function parseCase(line: string): { mode: NamespaceMode; damages: Damage[] } {
  const [mode, ...rest] = line.split(' ');
  const damages = rest
    .join(' ')
    .split(' + ')
    .map((text): Damage => {
      const [kind, name, first = '', second = ''] = text.split(' ');
      const file = pathOf(name!);
      const at = Number(first);
      if (kind === 'flip') return { kind, file, at, mask: Number(second) };
      if (kind === 'fill') return { kind, file, at, bytes: parseBytes(second) };
      if (kind === 'cut') return { kind, file, at };
      if (kind === 'append') return { kind, file, bytes: parseBytes(first) };
      if (kind === 'remove') return { kind, file };
      if (kind === 'swap') return { kind, file, with: pathOf(first) };
      throw new Error(`no damage: ${text}`);
    });
  return { mode: mode as NamespaceMode, damages };
}

/** The line that `parseCase` reads. */
export function printCase(mode: NamespaceMode, damages: readonly Damage[]): string {
  const texts = damages.map((damage) => {
    const start = `${damage.kind} ${nameOf(damage.file)}`;
    if (damage.kind === 'flip') return `${start} ${damage.at} ${damage.mask}`;
    if (damage.kind === 'fill') return `${start} ${damage.at} ${Buffer.from(damage.bytes).toString('hex')}`;
    if (damage.kind === 'cut') return `${start} ${damage.at}`;
    if (damage.kind === 'append') return `${start} ${Buffer.from(damage.bytes).toString('hex')}`;
    return damage.kind === 'swap' ? `${start} ${nameOf(damage.with)}` : start;
  });
  return `${mode} ${texts.join(' + ')}`;
}

function parseBytes(text: string): number[] {
  const [, byte, count] = /^([0-9a-f]{2})\*(\d+)$/.exec(text) ?? [];
  if (byte !== undefined) return new Array<number>(Number(count)).fill(Number.parseInt(byte, 16));
  return [...Buffer.from(text, 'hex')];
}

function pathOf(name: string): string {
  if (name === 'descriptor') return `${ROOTS.index}/default/zdb-namespace`;
  return `${name.startsWith('d') ? ROOTS.data : ROOTS.index}/default/${name}`;
}

function nameOf(path: string): string {
  const name = path.slice(path.lastIndexOf('/') + 1);
  return name === 'zdb-namespace' ? 'descriptor' : name;
}

const EXTREMES = [0, 1, 28, 29, 0x7fffffff, 0x80000000, 0xffffffff, 0x00800000, 0x00800001, 0x0000ffff];

/** Random damage. */
export function anyDamage(random: SimulatedRandom, store: SmallStore): Damage {
  const paths = [...store.files.keys()].filter((path) => !path.endsWith('.lockfile'));
  const file = paths[random.below(paths.length)]!;
  const size = store.files.get(file)!.length;
  const at = random.below(size);
  switch (random.below(10)) {
    case 0:
    case 1:
    case 2:
      return { kind: 'flip', file, at, mask: 1 << random.below(8) };
    case 3:
      return { kind: 'fill', file, at, bytes: [...new Uint8Array(1 + random.below(64))] };
    case 4:
      return { kind: 'fill', file, at, bytes: [...random.bytes(1 + random.below(64))] };
    case 5: {
      const ranges = [...store.stories.values()]
        .flatMap((story) => story.ranges)
        .filter((range) => range.end > range.start);
      const range = ranges[random.below(ranges.length)]!;
      const number = Buffer.alloc(4);
      number.writeUInt32LE(EXTREMES[random.below(EXTREMES.length)]!);
      // The fields of an entry are numbers at its start.
      return { kind: 'fill', file: range.file, at: range.start + random.below(34), bytes: [...number] };
    }
    case 6:
      return { kind: 'cut', file, at };
    case 7:
      return { kind: 'append', file, bytes: [...random.bytes(1 + random.below(100))] };
    case 8:
      return { kind: 'remove', file };
    default:
      return { kind: 'swap', file, with: paths[random.below(paths.length)]! };
  }
}

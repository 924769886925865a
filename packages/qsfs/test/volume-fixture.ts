// Data files on a simulated disk with their tables, and an object store in memory: what offload, cache and read-back share.
import { SimulatedClock, SimulatedDisk } from '@qsfs/io/simulated';
import { layoutOf } from '../src/layout.ts';
import { type Volume, VolumeFiles } from '../src/local/volume-files.ts';
import { GAUGES, GAUGES_BYTES, OFFLOADED, type SharedDisk, type ToFilesystem } from '../src/messages.ts';
import { MemoryZstor } from './memory-zstor.ts';

export const STRIPE = 4096;
export const SEGMENT = 8 * STRIPE;

/** Everything a test needs; `sent` collects what would go to the filesystem thread. */
export interface Fixture {
  readonly disk: SimulatedDisk;
  readonly clock: SimulatedClock;
  readonly zstor: MemoryZstor;
  readonly volume: Volume;
  readonly sent: ToFilesystem[];
  readonly send: (message: ToFilesystem) => void;
  readonly logged: string[];
  readonly log: (level: string, message: string) => void;
  readonly gauges: Float64Array;
  readonly dataDirectory: string;
  /** The backends are elsewhere. */
  readonly shared: SharedDisk;
  readonly pendingBytes: () => number;
  /** Makes closed data files of so many stripes each in zdbfs-data. */
  addFiles(count: number, stripes?: number): void;
}

/** The content of a stripe; different for every stripe. */
export function contentOf(file: number, stripe: number): Uint8Array {
  return new Uint8Array(STRIPE).fill((file * 31 + stripe * 7 + 1) & 0xff);
}

export function fixture(): Fixture {
  const disk = new SimulatedDisk();
  const clock = new SimulatedClock();
  const layout = layoutOf('/state');
  for (const name of OFFLOADED) {
    disk.makeDirectory(`${layout.data}/${name}`);
    disk.makeDirectory(`${layout.index}/${name}`);
  }
  const open = (name: (typeof OFFLOADED)[number]) => VolumeFiles.open(disk, layout, name, STRIPE, SEGMENT);
  const volume: Volume = { 'zdbfs-meta': open('zdbfs-meta'), 'zdbfs-data': open('zdbfs-data') };
  const sent: ToFilesystem[] = [];
  const logged: string[] = [];
  return {
    disk,
    clock,
    zstor: new MemoryZstor(disk, STRIPE),
    volume,
    sent,
    send: (message) => void sent.push(message),
    logged,
    log: (level, message) => void logged.push(`${level}: ${message}`),
    gauges: freshGauges(),
    dataDirectory: layout.data,
    shared: { shardFactor: 0, fileBytes: SEGMENT },
    pendingBytes: () => 0,
    addFiles(count, stripes = 8) {
      const files = volume['zdbfs-data'];
      for (let added = 0; added < count; added += 1) {
        const file = files.activeFile;
        const handle = disk.open(files.dataPath(file), 'create');
        for (let stripe = 0; stripe < stripes; stripe += 1)
          handle.write(contentOf(file, stripe), stripe * STRIPE);
        handle.datasync();
        handle.close();
        files.activeFile += 1;
        files.closed(file, stripes * STRIPE);
      }
    },
  };
}

/** As at a start, with nothing known of the backends' room. */
function freshGauges(): Float64Array {
  const gauges = new Float64Array(GAUGES_BYTES / 8);
  gauges[GAUGES.capacityBytes] = -1;
  gauges[GAUGES.storableBytes] = -1;
  return gauges;
}

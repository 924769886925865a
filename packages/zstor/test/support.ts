// A zstor over directories in a temporary folder, whose backends can be made to misbehave.
import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { realClock, realDisk, realNetwork, realRandom } from '@qsfs/io';
import { type Faults, FaultyRecordStore, FaultyShardStore, noFaults } from '../src/backend/faults.ts';
import { openRecordStore, openShardStore } from '../src/backend/open.ts';
import { parseConfig } from '../src/config/parse.ts';
import type { ZstorConfig } from '../src/config/types.ts';
import type { Capabilities } from '../src/types.ts';
import { ObjectStore } from '../src/zstor.ts';

export const KEY = '000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f';

/** What the machine gives, with as few codec threads as possible. */
export const capabilities: Capabilities = {
  disk: realDisk,
  network: realNetwork,
  clock: realClock,
  random: realRandom,
  codecThreads: 0,
};

/** A temporary folder that goes with the test. */
export function temporaryFolder(context: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'zstor-test-'));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** How many of everything. */
export interface Shape {
  readonly k?: number;
  readonly n?: number;
  /** Backends in each group. */
  readonly groups?: readonly number[];
  readonly redundantGroups?: number;
  readonly redundantNodes?: number;
  readonly stores?: number;
  readonly stripeBytes?: number;
  readonly extra?: string;
}

/** Writes the text of a configuration over directories `data/<group><number>` and `meta/<number>`. */
export function configText(shape: Shape = {}): string {
  const { k = 3, n = 8, groups = [2, 2, 2, 2], stores = 4, stripeBytes = 65536 } = shape;
  const lines = [
    `minimal_shards = ${k}`,
    `expected_shards = ${n}`,
    `redundant_groups = ${shape.redundantGroups ?? 0}`,
    `redundant_nodes = ${shape.redundantNodes ?? 0}`,
    `stripe_size = ${stripeBytes}`,
    shape.extra ?? '',
    `[encryption]\nalgorithm = "AES"\nkey = "${KEY}"`,
    '[meta.config]\nprefix = "test"',
    ...Array.from(
      { length: stores },
      (_, i) => `[[meta.config.backends]]\nname = "m${i}"\npath = "meta/${i}"`,
    ),
  ];
  for (const [group, backends] of groups.entries()) {
    const name = String.fromCharCode(97 + group);
    lines.push(`[[groups]]\nname = "${name}"`);
    for (let i = 0; i < backends; i++)
      lines.push(`[[groups.backends]]\nname = "${name}${i}"\npath = "data/${name}${i}"`);
  }
  return lines.join('\n');
}

/** A store with its backends' faults by name. */
export interface Rig {
  readonly folder: string;
  readonly config: ZstorConfig;
  readonly zstor: ObjectStore;
  readonly faults: ReadonlyMap<string, Faults>;
  readonly damagedNames: string[];
  fault(name: string): Faults;
  /** Opens the same backends once more, as another process would. */
  reopen(more?: Partial<Capabilities>): Promise<ObjectStore>;
}

/** Opens a store over directories below a folder (made when missing). */
export async function openRig(
  context: TestContext,
  shape: Shape = {},
  more: Partial<Capabilities> = {},
): Promise<Rig> {
  const folder = temporaryFolder(context);
  const config = parseConfig(configText(shape), folder);
  for (const { path } of [
    ...config.metadata.backends,
    ...config.groups.flatMap(({ backends }) => backends),
  ]) {
    mkdirSync(path!, { recursive: true });
  }
  const faults = new Map<string, Faults>();
  const fault = (name: string): Faults => {
    const found = faults.get(name) ?? noFaults();
    faults.set(name, found);
    return found;
  };
  const damagedNames: string[] = [];
  const open = async (extra: Partial<Capabilities>): Promise<ObjectStore> => {
    const store = new ObjectStore(
      config,
      { ...capabilities, ...more, ...extra },
      {
        openShardStore: (backend, parts) =>
          new FaultyShardStore(openShardStore(backend, parts), fault(backend.name)),
        openRecordStore: (backend, parts) =>
          new FaultyRecordStore(openRecordStore(backend, parts), fault(backend.name)),
      },
    );
    context.after(() => store.close());
    await store.start();
    return store;
  };
  return {
    folder,
    config,
    zstor: await open({}),
    faults,
    damagedNames,
    fault,
    reopen: (extra = {}) => open(extra),
  };
}

/** A file with random contents. */
export function randomFile(
  folder: string,
  name: string,
  lengthBytes: number,
): { path: string; content: Buffer } {
  const content = randomBytes(lengthBytes);
  const path = join(folder, name);
  writeFileSync(path, content);
  return { path, content };
}

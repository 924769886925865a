// Where the data ends, and how far damage in it is passed over: what recovery goes by it finds again at the next opening.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedDisk } from '@qsfs/io/simulated';
import type { Namespace } from '../src/index.ts';
import { diskWith, filesOf, openSmall } from './support/damage.ts';

const DATA = '/data/default/d0';
const INDEX = '/index/default/i0';
const KEYS = ['a', 'b', 'c', 'd', 'e', 'f'];
/** Of each record: key and payload have 1 and 10 bytes. */
const RECORD_BYTES = 18 + 1 + 10;
const ENTRY_BYTES = 34 + 1;

/** The store with a record of each key, and a deletion of the first one behind them. */
function storeFiles(): Map<string, Uint8Array> {
  const disk = new SimulatedDisk();
  const engine = openSmall(disk, 'user');
  const namespace = engine.namespace('default')!;
  for (const key of KEYS) namespace.set(Buffer.from(key), Buffer.alloc(10, key));
  engine.commit();
  namespace.remove(Buffer.from('a'));
  engine.close();
  return filesOf(disk);
}

function shown(namespace: Namespace): string {
  return KEYS.map((key) => {
    try {
      return namespace.get(Buffer.from(key)) ? key : '-';
    } catch {
      return '!';
    }
  }).join('');
}

/** Numbers of the records whose header, whose payloads and whose index entry (its time) are damaged; and what every opening shows: `!` is an error. */
const CASES: { what: string; header: number; payloads: number[]; entry: number; expected: string }[] = [
  { what: 'an intact record leads past it', header: 3, payloads: [], entry: 4, expected: '-bc!ef' },
  { what: 'the first intact record leads past it', header: 3, payloads: [4], entry: 4, expected: '-bc!!f' },
  { what: 'no intact record is left behind it', header: 3, payloads: [4, 5], entry: 4, expected: 'abc---' },
];

for (const { what, header, payloads, entry, expected } of CASES) {
  test(`opening again shows the same behind damage whose index entries are cut off: ${what}`, () => {
    const files = storeFiles();
    files.get(DATA)![28 + header * RECORD_BYTES] = 0;
    for (const record of payloads) files.get(DATA)![28 + record * RECORD_BYTES + 18 + 1] ^= 0xff;
    files.get(INDEX)![29 + entry * ENTRY_BYTES + 18] ^= 0xff;
    let disk = diskWith(files);
    for (const time of ['first', 'second', 'third']) {
      const log: string[] = [];
      const engine = openSmall(disk, undefined, (line) => log.push(line));
      assert.equal(shown(engine.namespace('default')!), expected, `${time}: ${log.join('\n')}`);
      disk = diskWith(filesOf(disk));
      engine.close();
    }
  });
}

// Which stripes of the closed data files are on this machine, durably (docs/formats/frontend.md, "Presence").
// Kept by the main thread; the filesystem thread has its own copy of the bits (StripeMap) and asks for what is absent.
//
// Order that makes a crash harmless at any instruction:
//   dropping   absent durably (`recordAbsent`), then the hole is punched;
//   bringing   bytes written, then readable in this run (`notePresent`), then synced, then present durably (`recordPresent`).
// So a stripe that this table calls present was never punched, and one it calls absent is at worst brought once more.
import type { Disk } from '@qsfs/io';
import { SlotTable, slotBytesFor } from './slot-table.ts';
import { StripeMap } from './stripe-map.ts';

const FLAG_TRACKED = 1;

/** What was present of a file at some moment; to be recorded when the file has been synced after that moment. */
export interface PresenceMark {
  readonly file: number;
  readonly absentBits: Uint8Array;
  readonly drops: number;
}

/** Presence of one namespace. */
export class Presence {
  /** The absent stripes. */
  readonly absent: StripeMap;
  readonly #table: SlotTable;
  /** Files with stripes brought since they were last recorded. */
  readonly #unrecorded = new Set<number>();
  /** Counts `recordAbsent` calls: a mark older than one of them proves nothing. */
  #drops = 0;

  private constructor(table: SlotTable, absent: StripeMap) {
    this.#table = table;
    this.absent = absent;
  }

  /**
   * Opens the table at `path`, or makes one in which everything is local. A damaged slot counts as wholly absent: it
   * only ever existed for a file that is safe on the backends.
   * @param fileBytesMax largest possible data file
   */
  static open(disk: Disk, path: string, stripeBytes: number, fileBytesMax: number): Presence {
    const absent = new StripeMap(stripeBytes, fileBytesMax);
    const slotBytes = slotBytesFor(1 + absent.encodedBytes);
    const table = SlotTable.open(disk, path, 'presence', slotBytes, stripeBytes);
    const presence = new Presence(table, absent);
    for (let file = 0; file < table.length; file += 1) {
      const state = table.state(file);
      if (state === 'empty') continue;
      if (state === 'damaged') {
        table.clear(file);
        presence.recordAbsent(file, 0, absent.stripes);
        continue;
      }
      absent.add(file, 0, absent.stripes);
      const present = table.payload(file).subarray(1);
      for (let stripe = 0; stripe < absent.stripes; stripe += 1) {
        if (((present[stripe >>> 3] as number) >>> (stripe & 7)) & 1) absent.delete(file, stripe);
      }
    }
    return presence;
  }

  /** Files of which something is absent. */
  *trackedFiles(): Iterable<number> {
    for (let file = 0; file < this.#table.length; file += 1) {
      if (!this.absent.isEmpty(file)) yield file;
    }
  }

  /** Marks stripes absent in memory; nothing may be punched before `flush` returned. */
  recordAbsent(file: number, first: number, count: number): void {
    this.#drops += 1;
    this.absent.add(file, first, count);
    this.#write(file);
  }

  /** The bytes of these stripes are written but not synced: readable from now on, absent after a crash. */
  notePresent(file: number, first: number, count: number): void {
    this.absent.delete(file, first, count);
    this.#unrecorded.add(file);
  }

  /** Files whose brought stripes are not yet recorded: take the mark of each, sync it, and call `recordPresent`. */
  unrecorded(): readonly number[] {
    return [...this.#unrecorded];
  }

  /** A file is gone. */
  forget(file: number): void {
    this.#drops += 1;
    this.#unrecorded.delete(file);
  }

  /** What is present of a file now; taken before the file is synced. */
  mark(file: number): PresenceMark {
    return { file, absentBits: this.absent.encode(file), drops: this.#drops };
  }

  /** Records what the mark found present, its file having been synced since. A mark overtaken by a drop is ignored. */
  recordPresent(mark: PresenceMark): void {
    if (mark.drops !== this.#drops) return;
    const now = this.absent.encode(mark.file);
    // What was brought after the mark stays recorded as absent.
    const absentBits = now.map((byte, place) => byte | (mark.absentBits[place] as number));
    if (absentBits.every((byte, place) => byte === now[place])) this.#unrecorded.delete(mark.file);
    this.#writeAbsent(mark.file, absentBits);
  }

  /** Returns when everything recorded is on stable storage. */
  flush(): void {
    this.#table.flush();
  }

  close(): void {
    this.#table.close();
  }

  /** Keeps what was brought since the last record absent on disk: its bytes may not be synced yet. */
  #write(file: number): void {
    const bits = this.absent.encode(file);
    if (this.#unrecorded.has(file) && this.#table.state(file) === 'valid') {
      const recorded = this.#table.payload(file).subarray(1);
      for (let place = 0; place < bits.length; place += 1) {
        bits[place] = (bits[place] as number) | (~(recorded[place] as number) & 0xff);
      }
    }
    this.#writeAbsent(file, bits);
  }

  #writeAbsent(file: number, absentBits: Uint8Array): void {
    const lastBits = this.absent.stripes & 7;
    const payload = new Uint8Array(this.#table.slotBytes - 4);
    let anyAbsent = false;
    for (let place = 0; place < absentBits.length; place += 1) {
      const mask = place === absentBits.length - 1 && lastBits !== 0 ? (1 << lastBits) - 1 : 0xff;
      const absentByte = (absentBits[place] as number) & mask;
      if (absentByte !== 0) anyAbsent = true;
      payload[1 + place] = ~absentByte & mask;
    }
    if (!anyAbsent) {
      this.#table.clear(file);
      return;
    }
    payload[0] = FLAG_TRACKED;
    this.#table.write(file, payload);
  }
}

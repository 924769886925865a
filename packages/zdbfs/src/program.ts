// The life of the program `zdbfs`: volume, mount, signals, exit codes. The filesystem itself runs in a thread
// (filesystem-thread.ts), because its loop blocks; this one waits for signals and for the end.
import { basename, dirname, join } from 'node:path';
import {
  checkMounting,
  MountError,
  type MountedDevice,
  type Mounting,
  mount,
  type WakeHandle,
  wake,
} from '@qsfs/fuse';
import { type Clock, type Disk, errorCode, type Processes, type Random, startThread } from '@qsfs/io';
import { StoreError } from '@qsfs/zdb';
import { type CommandLine, parseCommandLine, UsageError, usage } from './command-line.ts';
import { openLocalVolume } from './local-volume.ts';
import type { FromThread, ThreadInput, ToThread } from './messages.ts';
import { VolumeError } from './recovery.ts';

/** What the program is given of the machine. */
export interface Machine extends Mounting {
  readonly disk: Disk;
  readonly processes: Processes;
  readonly clock: Clock;
  readonly random: Random;
  /** Write text to the standard output and error. */
  readonly output: (text: string) => void;
  readonly errors: (text: string) => void;
}

/** Exit codes. */
export const EXIT = { ok: 0, refused: 1, usage: 2, internal: 70 } as const;

const VERSION = 'zdbfs 0.1.0, volume format 2';

/** Runs the program; resolves with the exit code. */
export async function runProgram(words: readonly string[], machine: Machine): Promise<number> {
  let line: CommandLine;
  try {
    line = parseCommandLine(words);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    machine.errors(`zdbfs: ${error.message}\n`);
    return EXIT.usage;
  }
  switch (line.action) {
    case 'help':
      machine.output(usage());
      return words.length === 0 ? EXIT.usage : EXIT.ok;
    case 'version':
      machine.output(`${VERSION}\n`);
      return EXIT.ok;
    case 'verify':
      return verify(line, machine);
    case 'mount':
      return new Program(line, machine).run();
  }
}

function verify(line: CommandLine, machine: Machine): number {
  const { disk, clock, random } = machine;
  const { directory } = line;
  if (!disk.stat(`${directory}/index/zdbfs-meta`)) {
    machine.errors(`zdbfs: there is no volume in ${directory}\n`);
    return EXIT.refused;
  }
  try {
    const log = (level: string, message: string) => machine.errors(`zdbfs: ${level}: ${message}\n`);
    const volume = openLocalVolume({ disk, clock, random, directory, log });
    const report = volume.verify();
    volume.close();
    if (line.json) machine.output(`${JSON.stringify(report)}\n`);
    else {
      for (const problem of report.problems) machine.output(`${problem}\n`);
      machine.output(
        `${report.inodes} inodes, ${report.directories} directories, ${report.names} names, ${report.extents} extents, ${report.usedBytes} bytes: ${
          report.problemCount === 0 ? 'in order' : `${report.problemCount} problems`
        }\n`,
      );
    }
    return report.problemCount === 0 ? EXIT.ok : EXIT.refused;
  } catch (error) {
    const expected =
      error instanceof VolumeError || error instanceof StoreError || errorCode(error) !== undefined;
    if (!expected) throw error;
    machine.errors(`zdbfs: ${(error as Error).message}\n`);
    return EXIT.refused;
  }
}

/** One mount. */
class Program {
  readonly #line: CommandLine;
  readonly #machine: Machine;
  #mounted: MountedDevice | undefined;
  #wake: WakeHandle | undefined;
  #stops = 0;
  /** The session ended in order and the volume is closed. */
  #ended = false;
  /** Why nothing was mounted, as exit code: returned when the volume is closed again. */
  #refused: number | undefined;

  constructor(line: CommandLine, machine: Machine) {
    this.#line = line;
    this.#machine = machine;
  }

  async run(): Promise<number> {
    const { sizeBytes, cacheBytes, segmentBytes, writeback } = this.#line;
    const { processes } = this.#machine;
    let directory: string;
    try {
      checkMounting(this.#machine, this.#line.mountPoint, this.#line.createMountPoint);
      directory = this.#makeDirectory();
    } catch (error) {
      return this.#refuse(error);
    }
    const input: ThreadInput = {
      directory,
      sizeBytes,
      cacheBytes,
      segmentBytes,
      writeback,
      userId: processes.userId,
      groupId: processes.groupId,
    };
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    const thread = startThread(new URL(`./filesystem-thread.${extension}`, import.meta.url), input);
    const send = (message: ToThread) => thread.port.send(message);
    const undo = (['SIGINT', 'SIGTERM', 'SIGHUP'] as const).map((name) =>
      processes.onSignal(name, () => this.#stop(send)),
    );
    try {
      return await new Promise<number>((resolve, reject) => {
        thread.port.onMessage((message) => {
          const code = this.#take(message as FromThread, send);
          if (code !== undefined) resolve(code);
        });
        const ended = (error: Error) => {
          // Its last words may come behind the news of its end.
          for (let message = thread.port.receive(); message !== undefined; message = thread.port.receive()) {
            const code = this.#take(message as FromThread, send);
            if (code !== undefined) resolve(code);
          }
          reject(error);
        };
        thread.ended.then((code) => ended(new Error(`the filesystem thread ended with code ${code}`)), ended);
      });
    } finally {
      for (const call of undo) call();
      // Dead when its thread died: it then stays and answers errors, because the folder below it is not the volume.
      this.#mounted?.close();
      if (this.#ended) this.#mounted?.detach();
      thread.port.close();
    }
  }

  /** Makes the folder of the volume. @returns its absolute path @throws VolumeError */
  #makeDirectory(): string {
    const { disk } = this.#machine;
    const { directory, mountPoint } = this.#line;
    try {
      // The program would wait for itself as soon as the mount hides its files.
      if (`${placeOf(disk, directory)}/`.startsWith(`${placeOf(disk, mountPoint)}/`))
        throw new VolumeError(`the volume ${directory} must not lie in its own mount ${mountPoint}`);
      disk.makeDirectory(directory, 0o700);
      return disk.resolve(directory);
    } catch (error) {
      if (errorCode(error) === undefined) throw error;
      throw new VolumeError(`${directory} cannot be used for the volume: ${(error as Error).message}`);
    }
  }

  /** The exit code, when the message was the last one. */
  #take(message: FromThread, send: (message: ToThread) => void): number | undefined {
    switch (message.kind) {
      case 'log':
        if (message.level !== 'info' || !this.#line.quiet)
          this.#machine.errors(`zdbfs: ${message.level}: ${message.message}\n`);
        return undefined;
      case 'refused':
        this.#machine.errors(`zdbfs: ${message.message}\n`);
        return EXIT.refused;
      case 'opened':
        if (this.#stops === 0) this.#mount(send);
        return undefined;
      case 'serving':
        this.#wake = message.wake;
        if (!this.#line.quiet)
          this.#machine.output(`${this.#mounted?.mountPoint} is mounted; Ctrl-C unmounts it\n`);
        return undefined;
      case 'closed':
        if (message.failure === undefined) {
          this.#ended = true;
          if (!this.#line.quiet && this.#wake) this.#machine.output('everything is stored\n');
          return this.#refused ?? EXIT.ok;
        }
        this.#machine.errors(`zdbfs: not everything could be put in order at the end: ${message.failure}\n`);
        this.#machine.errors('zdbfs: the journal has it; the next mount goes on from there\n');
        return EXIT.refused;
    }
  }

  #mount(send: (message: ToThread) => void): void {
    const line = this.#line;
    try {
      this.#mounted = mount(this.#machine, {
        mountPoint: line.mountPoint,
        source: line.source,
        subtype: 'zdbfs',
        createMountPoint: line.createMountPoint,
        readOnly: line.readOnly,
        ...(line.allowOther === undefined ? {} : { allowOther: line.allowOther }),
        allowSetId: line.allowSetId,
        allowDevices: line.allowDevices,
        noExecute: line.noExecute,
      });
    } catch (error) {
      this.#refused = this.#refuse(error);
      send({ kind: 'stop' });
      return;
    }
    if (this.#mounted.replacedDead && !line.quiet)
      this.#machine.errors('zdbfs: an earlier run was killed: its dead mount is replaced\n');
    send({ kind: 'serve', descriptor: this.#mounted.descriptor, mountPoint: this.#mounted.mountPoint });
  }

  /** Says why it is not mounted. @returns the exit code */
  #refuse(error: unknown): number {
    if (!(error instanceof MountError || error instanceof VolumeError)) throw error;
    this.#machine.errors(`zdbfs: ${error.message}\n`);
    return EXIT.refused;
  }

  /** The first signal unmounts; a second one ends the session whoever still uses the mount. */
  #stop(send: (message: ToThread) => void): void {
    this.#stops++;
    if (!this.#mounted || this.#stops > 1) {
      send({ kind: 'stop' });
      if (this.#wake) wake(this.#wake, this.#machine);
      return;
    }
    this.#mounted.unmount().then(
      (how) => {
        if (how === 'detached')
          this.#machine.errors(
            'zdbfs: files are still in use; waiting until they are closed (Ctrl-C again to end now)\n',
          );
      },
      (error: unknown) => {
        this.#stops = 0;
        this.#machine.errors(`zdbfs: ${error instanceof Error ? error.message : String(error)}\n`);
      },
    );
  }
}

/** The absolute path of something that need not exist, or is a dead mount, which answers nothing. */
function placeOf(disk: Disk, path: string): string {
  const answers = (candidate: string) => {
    try {
      return disk.stat(candidate) !== undefined;
    } catch {
      return false;
    }
  };
  const rest: string[] = [];
  let known = path;
  while (!answers(known) && dirname(known) !== known) {
    rest.unshift(basename(known));
    known = dirname(known);
  }
  return join(disk.resolve(known), ...rest);
}

// What the program `zdb` is given of the machine, by main.ts.
import type { Clock, Disk, Libc, Network, Processes, Random } from '@qsfs/io';

/** What the program is given of the machine. */
export interface Machine {
  readonly disk: Disk;
  readonly network: Network;
  readonly clock: Clock;
  readonly random: Random;
  readonly processes: Processes;
  readonly libc: () => Libc | undefined;
  readonly resolveHost: (host: string) => Promise<string>;
  /** Path of the module that runs this program. */
  readonly programPath: string;
  /** Write text to the standard output and error. */
  readonly output: (text: string) => void;
  readonly errors: (text: string) => void;
  /** Calls when something failed that nobody expected. */
  readonly onFatal: (call: (error: unknown) => void) => void;
}

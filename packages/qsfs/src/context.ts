// The machine as the commands see it, handed in by main.ts (and by tests).
import type { Clock, Disk, Network, Processes, Random } from '@qsfs/io';

/** The capabilities of this run of the program. */
export interface Context {
  readonly disk: Disk;
  readonly network: Network;
  readonly clock: Clock;
  readonly random: Random;
  readonly processes: Processes;
  /** Absolute; relative paths of the command line are relative to it. */
  readonly workingDirectory: string;
  /** Module of this program, to start it again in the background. */
  readonly program: string;
  /** One line to standard output. */
  readonly print: (line: string) => void;
  /** One line to standard error. */
  readonly warn: (line: string) => void;
  /** Standard error is a terminal: progress is shown there. */
  readonly terminal: boolean;
}

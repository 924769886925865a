// Counters of input and output, per namespace and summed over the engine.
import type { Clock } from '@qsfs/io';
import type { IoStatistics } from './types.ts';

/** Counters at zero. */
export function zeroStatistics(): IoStatistics {
  return {
    indexReadBytes: 0,
    indexWrittenBytes: 0,
    dataReadBytes: 0,
    dataWrittenBytes: 0,
    indexReadFailures: 0,
    indexWriteFailures: 0,
    dataReadFailures: 0,
    dataWriteFailures: 0,
    lastIndexFailure: 0,
    lastDataFailure: 0,
  };
}

/** Counts into a namespace's own statistics and into the engine's. */
export class Counters {
  readonly own = zeroStatistics();
  readonly #sum: IoStatistics;

  constructor(sum: IoStatistics) {
    this.#sum = sum;
  }

  indexRead(bytes: number): void {
    this.own.indexReadBytes += bytes;
    this.#sum.indexReadBytes += bytes;
  }

  indexWritten(bytes: number): void {
    this.own.indexWrittenBytes += bytes;
    this.#sum.indexWrittenBytes += bytes;
  }

  dataRead(bytes: number): void {
    this.own.dataReadBytes += bytes;
    this.#sum.dataReadBytes += bytes;
  }

  dataWritten(bytes: number): void {
    this.own.dataWrittenBytes += bytes;
    this.#sum.dataWrittenBytes += bytes;
  }

  indexFailed(action: 'read' | 'write', clock: Clock): void {
    for (const statistics of [this.own, this.#sum]) {
      if (action === 'read') statistics.indexReadFailures++;
      else statistics.indexWriteFailures++;
      statistics.lastIndexFailure = Math.floor(clock.nowMs() / 1000);
    }
  }

  dataFailed(action: 'read' | 'write', clock: Clock): void {
    for (const statistics of [this.own, this.#sum]) {
      if (action === 'read') statistics.dataReadFailures++;
      else statistics.dataWriteFailures++;
      statistics.lastDataFailure = Math.floor(clock.nowMs() / 1000);
    }
  }
}

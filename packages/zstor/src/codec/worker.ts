// A codec thread: does the jobs its pool sends, in order, on the memory they share. Started by src/codec/executor.ts.
import type { SharedMemory } from '@qsfs/erasure';
import { realDisk, threadInput } from '@qsfs/io';
import { type Job, type JobResult, packError, type SentError } from './job.ts';
import { StripeCoder } from './stripe-coder.ts';

/** What a thread is started with. */
export interface WorkerInput {
  readonly memory: SharedMemory;
  readonly workspaceOffset: number;
}

/** What it answers, one per job, in order. */
export type WorkerAnswer = { readonly result: JobResult } | { readonly error: SentError };

const { input, port } = threadInput();
const { memory, workspaceOffset } = input as WorkerInput;
const coder = new StripeCoder(memory, workspaceOffset, realDisk);

port.onMessage((message) => port.send(answer(message as Job)));

function answer(job: Job): WorkerAnswer {
  try {
    return { result: coder.run(job) };
  } catch (error) {
    return { error: packError(error) };
  }
}

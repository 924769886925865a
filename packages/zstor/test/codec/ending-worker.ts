// A codec thread that ends in the middle of certain jobs, for the tests of the pool: stripe 13 throws outside of any call,
// stripe 14 ends the thread with an exit code. Everything else is done as it should be.
import { realDisk, threadInput } from '@qsfs/io';
import type { Job } from '../../src/codec/job.ts';
import { StripeCoder } from '../../src/codec/stripe-coder.ts';
import type { WorkerInput } from '../../src/codec/worker.ts';

const { input, port } = threadInput();
const { memory, workspaceOffset } = input as WorkerInput;
const coder = new StripeCoder(memory, workspaceOffset, realDisk);

port.onMessage((message) => {
  const job = message as Job;
  if (job.stripe === 13) throw new Error('thrown on purpose');
  if (job.stripe === 14) process.exit(3);
  port.send({ result: coder.run(job) });
});

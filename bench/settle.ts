import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** Waits until the disk has written what earlier steps left to it, so that each step pays for its own writes only. */
export async function settle(): Promise<void> {
  await promisify(execFile)('sync');
}

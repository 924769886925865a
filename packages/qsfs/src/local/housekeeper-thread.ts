// The thread for what may take long on the local disk and must hold up neither the filesystem nor the network: syncing
// files, hashing them, telling the kernel to drop cached pages. Started by Housekeeper; answers every request once.
import { createHash } from 'node:crypto';
import { Notifier } from '@qsfs/fuse';
import { datasyncFile, loadLibc, openRealDevice, realDisk, threadInput } from '@qsfs/io';
import type { FromHousekeeper, Hashed, ToHousekeeper } from './housekeeper.ts';

const CHUNK_BYTES = 2 ** 20;
const HASH_BYTES = 16;

const { port } = threadInput();

port.onMessage((message) => {
  const request = message as ToHousekeeper;
  let answer: FromHousekeeper;
  try {
    answer = { id: request.id, result: perform(request) };
  } catch (error) {
    const { message: text } = error as Error;
    answer = { id: request.id, error: text };
  }
  port.send(answer);
});

function perform(request: ToHousekeeper): Hashed | number {
  switch (request.kind) {
    case 'datasync':
      datasyncFile(realDisk, request.path);
      return 0;
    case 'hash':
      return hash(request.path);
    case 'invalidate':
      return invalidate(request.descriptor, request.inodes);
  }
}

function hash(path: string): Hashed {
  const { modifiedMs = 0 } = realDisk.stat(path) ?? {};
  const file = realDisk.open(path, 'read');
  try {
    const digest = createHash('sha256');
    const chunk = new Uint8Array(CHUNK_BYTES);
    let position = 0;
    for (;;) {
      const got = file.read(chunk, position);
      digest.update(chunk.subarray(0, got));
      position += got;
      if (got < chunk.length) break;
    }
    return { hash: new Uint8Array(digest.digest().subarray(0, HASH_BYTES)), sizeBytes: position, modifiedMs };
  } finally {
    file.close();
  }
}

function invalidate(descriptor: number, inodes: Float64Array): number {
  const notifier = new Notifier(openRealDevice(descriptor, loadLibc()));
  let known = 0;
  for (const inode of inodes) if (notifier.inode(inode, 0, 0)) known += 1;
  return known;
}

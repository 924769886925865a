// The Redis protocol: what servers need to decode requests, and a client. See README.md.
export * from './client.ts';
export * from './errors.ts';
export { LargeBuffers } from './large-buffers.ts';
export * from './reply-decoder.ts';
export * from './reply-writer.ts';
export * from './request-decoder.ts';
export * from './request-encoder.ts';
export * from './zdb-client.ts';

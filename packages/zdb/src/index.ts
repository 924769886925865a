// The zdb engine: an append-only key-value store on local files, compatible with 0-db on disk (docs/formats/zdb.md).
export { DATA_SIZE_MAX_BYTES, DATA_SIZE_MIN_BYTES, openEngine } from './engine/engine.ts';
export * from './engine/types.ts';

// The zdb engine: an append-only key-value store on local files, compatible with 0-db on disk (docs/formats/zdb.md).
export * from './engine/types.ts';

// A POSIX filesystem over three sequential zdb namespaces (docs/formats/zdbfs.md).
export { EngineStore, INDEX_TAIL_BYTES, NAMESPACES } from './engine-store.ts';
export { ROOT_INODE, type RootOwner, VolumeError } from './recovery.ts';
export { type Settler, Settling } from './settling.ts';
export type { RecordSpace, Store, StoreSpace } from './store.ts';
export { spareBytes } from './transactions.ts';
export type { VerifyReport } from './verify.ts';
export { openVolume, Volume, type VolumeOptions, type VolumeStatistics } from './volume.ts';
export type { Log } from './volume-state.ts';

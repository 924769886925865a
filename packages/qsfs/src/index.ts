// The Quantum Safe Filesystem as a library: what the program `qsfs` is made of. See README.md.
export { runCommand } from './cli/run.ts';
export { type Configuration, readConfiguration, type Settings } from './configuration.ts';
export type { Context } from './context.ts';
export { ERROR_KINDS, QsfsError, type QsfsErrorCode } from './errors.ts';
export { Frontend } from './frontend.ts';
export type { FrontendOptions } from './frontend-parts.ts';
export { type RestoreOptions, type RestoreReport, restore } from './restore/restore.ts';
export type { StatusReport } from './status.ts';

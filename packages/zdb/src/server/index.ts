// The zdb server and its program. See README.md.

export type { Machine } from './machine.ts';
export { type CommandLine, parseCommandLine, parseDataSize, UsageError, usage } from './options.ts';
export { EXIT, runProgram } from './program.ts';
export { Server, type ServerParts } from './server.ts';
export type { ServerOptions } from './server-options.ts';
export type { ServerSocket, SocketEvents, SocketLoop } from './sockets.ts';

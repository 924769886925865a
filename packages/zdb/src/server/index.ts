// The zdb server and its program. See README.md.
export { type CommandLine, parseCommandLine, parseDataSize, UsageError, usage } from './options.ts';
export { EXIT, type Machine, runProgram } from './program.ts';
export { Server, type ServerOptions, type ServerParts } from './server.ts';
export type { ServerSocket, SocketEvents, SocketLoop } from './sockets.ts';

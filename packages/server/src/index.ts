// The server as a library: what the command line, the quickstart and tests start.
export { configFrom, type Flags, type ServerConfig } from './config.ts'
export { StartFailure } from './kernel/errors.ts'
export { startServer, type RunningServer, type ServerParts } from './start.ts'

// The command line as a function, for whoever wants to embed or test it.
export { runCli } from './cli.ts'
export type { Streams } from './output.ts'
export { exitCodes } from './exit-codes.ts'

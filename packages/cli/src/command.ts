// What a command is.
import type { OnceJobClient } from '@oncejob/client'
import type { Args, OptionSpecs } from './args.ts'
import type { Output, Streams } from './output.ts'

export interface CommandContext {
  readonly args: Args
  readonly out: Output
  readonly env: Streams['env']
  /** Made when it is first used: some commands need no server. */
  readonly client: OnceJobClient
}

export interface Command {
  /** The words that call it, e.g. `run show`. */
  readonly name: string
  /** What follows these words, e.g. `ID`. */
  readonly usage: string
  readonly says: string
  /** Fewest and most words after the name. */
  readonly words: readonly [number, number]
  readonly options: OptionSpecs
  /** Does it; returns the exit code. */
  run(context: CommandContext): Promise<number>
}

/** Options of every command that talks to a server. */
export const connectionOptions = {
  url: { value: 'URL', says: 'server, default ONCEJOB_URL or http://127.0.0.1:7700' },
  token: { value: 'TOKEN', says: 'default ONCEJOB_TOKEN or the token file of the local server' },
  app: { value: 'NAME', says: 'app to work in, needed with an admin token; default ONCEJOB_APP' },
  data: { value: 'FOLDER', says: 'data folder of the local server, default ONCEJOB_DATA or ./data' },
  json: { says: "print the API's own objects as JSON" },
} as const satisfies OptionSpecs

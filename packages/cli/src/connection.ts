// Which server, with which token, for which app: from options, the environment, or the local server's token file.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createClient, type OnceJobClient } from '@oncejob/client'
import type { Args } from './args.ts'
import { UsageError } from './exit-codes.ts'
import type { Streams } from './output.ts'

const urlDefault = 'http://127.0.0.1:7700'
const dataDefault = './data'

const setIn = (env: Streams['env'], name: string): string | undefined => (env[name] === '' ? undefined : env[name])

/** The folder of the local server's data. */
export const dataFolder = (args: Args, env: Streams['env']): string =>
  args.text('data') ?? setIn(env, 'ONCEJOB_DATA') ?? dataDefault

const readTokenFile = (path: string): string | undefined => {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    // No local server has ever run with this folder, or its token is not ours to read.
    return undefined
  }
}

/** Makes the client of a command. Throws UsageError when there is no token to be found. */
export const connect = (args: Args, env: Streams['env']): OnceJobClient => {
  const url = args.text('url') ?? setIn(env, 'ONCEJOB_URL') ?? urlDefault
  const app = args.text('app') ?? setIn(env, 'ONCEJOB_APP')
  const tokenFile = join(dataFolder(args, env), 'admin-token')
  const token = args.text('token') ?? setIn(env, 'ONCEJOB_TOKEN') ?? readTokenFile(tokenFile)
  if (token === undefined) throw new UsageError(`no token: set ONCEJOB_TOKEN or --token (there is no ${tokenFile})`)
  try {
    return createClient({ url, token, ...(app === undefined ? {} : { app }) })
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error))
  }
}

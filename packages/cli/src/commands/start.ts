// `oncejob start`: a server in this process, until Ctrl-C or SIGTERM.
import type { Command } from '../command.ts'
import { exitCodes } from '../exit-codes.ts'

const untilSignal = (): Promise<void> =>
  new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve())
  })

export const start: Command = {
  name: 'start',
  usage: '',
  says: 'start a server, with an embedded database unless one is named',
  words: [0, 0],
  options: {
    port: { value: 'PORT', says: 'default ONCEJOB_PORT or 7700; 0: any free one' },
    host: { value: 'HOST', says: 'address to listen on, default ONCEJOB_HOST or 127.0.0.1' },
    data: { value: 'FOLDER', says: 'embedded database and token file, default ONCEJOB_DATA or ./data' },
    'database-url': { value: 'URL', says: 'PostgreSQL instead, default DATABASE_URL' },
    'powerjob-auth': {
      value: 'on|off',
      says: 'check the tokens of PowerJob clients, default ONCEJOB_POWERJOB_AUTH or on',
    },
    'powerjob-zone': {
      value: 'ZONE',
      says: "of PowerJob clients' CRON, default ONCEJOB_POWERJOB_ZONE or this machine's",
    },
    'powerjob-port': {
      value: 'PORT|off',
      says: 'for Java workers, default ONCEJOB_POWERJOB_PORT or 10010; the same as --port: only there',
    },
    'powerjob-host': { value: 'HOST', says: 'address of that port, default ONCEJOB_POWERJOB_HOST or --host' },
    'powerjob-address': {
      value: 'HOST[:PORT]',
      says: 'where Java workers reach it, default ONCEJOB_POWERJOB_ADDRESS or found out',
    },
    'log-level': { value: 'LEVEL', says: 'trace, debug, info, warn, error or silent; default info' },
  },
  async run({ args, out, env }) {
    // Only here: no other command should wait for the server's code to load.
    const { configFrom, startServer } = await import('@oncejob/server')
    const stopAsked = untilSignal()
    const server = await startServer(
      configFrom(env, {
        port: args.text('port'),
        host: args.text('host'),
        data: args.text('data'),
        databaseUrl: args.text('database-url'),
        logLevel: args.text('log-level'),
        powerjobAuth: args.text('powerjob-auth'),
        powerjobZone: args.text('powerjob-zone'),
        powerjobPort: args.text('powerjob-port'),
        powerjobHost: args.text('powerjob-host'),
        powerjobAddress: args.text('powerjob-address'),
      }),
    )
    out.note(`oncejob listens on ${server.url}`)
    if (server.workerAddress !== undefined) out.note(`Java workers are taken at ${server.workerAddress}`)
    if (server.adminToken !== undefined) out.note(`admin token, shown only this once: ${server.adminToken}`)
    const broken = await Promise.race([stopAsked.then(() => false), server.broken.then(() => true)])
    await server.stop()
    if (broken)
      out.note('the embedded database broke down and the server stopped; its log says why, a new start recovers')
    return broken ? exitCodes.failed.code : exitCodes.ok.code
  },
}

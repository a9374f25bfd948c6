// A server in a process of its own, as users run it: prints its address and tells its memory when asked.
import { configFrom, startServer } from '@oncejob/server'

const server = await startServer(configFrom({ ONCEJOB_LOG_LEVEL: 'warn', ...process.env }, { port: '0' }))
process.send?.({ kind: 'ready', url: server.url, database: server.database })
process.on('message', (message) => {
  if (message === 'memory')
    process.send?.({ kind: 'memory', residentMb: Math.round(process.memoryUsage.rss() / 1_048_576) })
})
process.on('SIGTERM', () => void server.stop().then(() => process.exit(0)))
process.on('disconnect', () => process.exit(1))

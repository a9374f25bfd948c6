// A server as a process of its own: settings from the environment, READY and its address on stdout, ends by SIGTERM or SIGINT.
import { configFrom, startServer, StartFailure } from '@oncejob/server'

// Whoever started this holds the other end: a server must not outlive its test.
process.stdin.on('end', () => process.exit(9)).resume()

try {
  const server = await startServer(configFrom(process.env))
  const stop = (): void => void server.stop().then(() => process.exit(0))
  process.once('SIGTERM', stop).once('SIGINT', stop)
  process.stdout.write(`READY ${server.url}\n`)
} catch (error) {
  process.stderr.write(`${error instanceof StartFailure ? error.message : String(error)}\n`)
  process.exit(1)
}

// Reads what nobody wants to read, for politeness to the sender.
import type { IncomingMessage } from 'node:http'

// more than that is not read for politeness; the time is bounded by the server's request timeout
const mostDrainedBytes = 256 * 1024 * 1024

/** Reads the rest of a body that is refused: a connection that is closed with unread data is reset, and the answer lost. */
export const drained = (raw: IncomingMessage): Promise<void> =>
  new Promise((resolve) => {
    if (raw.readableEnded || raw.destroyed) return resolve()
    let bytes = 0
    const done = (): void => resolve()
    raw.on('data', (part: Buffer) => {
      bytes += part.length
      if (bytes > mostDrainedBytes) done()
    })
    for (const event of ['end', 'close', 'error'] as const) raw.once(event, done)
    raw.resume()
  })

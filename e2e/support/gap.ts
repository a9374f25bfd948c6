// A gap in the wire: an HTTP proxy in front of one server that drops answers, cuts connections and delays, as each call asks.
import { createServer, request, Agent, type IncomingMessage, type ServerResponse } from 'node:http'
import { once } from 'node:events'
import { pause } from './until.ts'

/**
 * What is done to one sending of a call. `lose-answer`: the server answers, the caller hears nothing. `cut-behind`: the
 * connection breaks as soon as the call was passed on. `cut-before`: it breaks, and the server never hears of the call.
 * `delay-call`, `delay-answer`: what it says, by a number of ms.
 */
export type Trouble = 'lose-answer' | 'cut-behind' | 'cut-before' | 'delay-call' | 'delay-answer'
export const troubles: readonly Trouble[] = ['lose-answer', 'cut-behind', 'cut-before', 'delay-call', 'delay-answer']

/** Header by which a call asks for its trouble, e.g. `delay-call 20`; it is not passed on. */
export const troubleHeader = 'x-e2e-trouble'

export interface Gap {
  readonly url: string
  /** How often each trouble was made. */
  readonly made: Readonly<Record<Trouble, number>>
  /** Calls that came. */
  came(): number
  /** Calls that the server has answered. */
  answered(): number
  close(): Promise<void>
}

const isTrouble = (text: string | undefined): text is Trouble => troubles.some((trouble) => trouble === text)

const bytesOf = async (stream: IncomingMessage): Promise<Buffer> => {
  const parts: Buffer[] = []
  for await (const part of stream) parts.push(part as Buffer)
  return Buffer.concat(parts)
}

const asAsked = ({ headers }: IncomingMessage): string | undefined => headers[troubleHeader]?.toString()

/**
 * Opens the way to the server at `target`, which may be down: then the connection of the caller breaks.
 * @param choose the trouble of a call, for callers that do not ask for it themselves
 */
export const openGap = async (target: string, choose = asAsked): Promise<Gap> => {
  const to = new URL(target)
  const agent = new Agent({ keepAlive: true, maxSockets: 4000 })
  const made = Object.fromEntries(troubles.map((trouble) => [trouble, 0])) as Record<Trouble, number>
  let came = 0
  let answered = 0
  const pass = async (asked: IncomingMessage, answer: ServerResponse): Promise<void> => {
    came += 1
    const [name, ms] = (choose(asked) ?? '').split(' ')
    const trouble = isTrouble(name) ? name : undefined
    const body = await bytesOf(asked)
    if (trouble !== undefined) made[trouble] += 1
    if (trouble === 'cut-before') return void answer.destroy()
    if (trouble === 'delay-call') await pause(Number(ms))
    const { [troubleHeader]: _, ...headers } = asked.headers
    const { method = 'GET', url: path = '/' } = asked
    const outgoing = request({ host: to.hostname, port: to.port, agent, method, path, headers })
    // told to whoever waits for it below; later it is of no interest
    outgoing.on('error', () => undefined)
    outgoing.end(body)
    if (trouble === 'cut-behind') {
      // the answer is still read, so that the connection to the server can be used again
      await once(outgoing, 'finish')
      answer.destroy()
    }
    const [heard] = (await once(outgoing, 'response')) as [IncomingMessage]
    answered += 1
    const bytes = await bytesOf(heard)
    if (trouble === 'lose-answer') return void answer.destroy()
    if (trouble === 'delay-answer') await pause(Number(ms))
    if (!answer.destroyed) answer.writeHead(heard.statusCode ?? 502, heard.headers).end(bytes)
  }
  const server = createServer((asked, answer) => {
    // Whatever breaks behind the gap breaks before it.
    pass(asked, answer).catch(() => answer.destroy())
  })
  server.requestTimeout = 0
  server.listen(0, '127.0.0.1', 4096)
  await once(server, 'listening')
  const address = server.address()
  if (typeof address !== 'object' || address === null) throw new Error('the gap has no address')
  return {
    url: `http://127.0.0.1:${address.port}`,
    made,
    came: () => came,
    answered: () => answered,
    close: async () => {
      agent.destroy()
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

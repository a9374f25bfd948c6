// Whether something answers at an address: a worker's ping-pong (contract 1.2), and another server.
import { connect } from 'node:net'
import type { Clock, Millis } from '../../kernel/clock.ts'
import type { HostPort } from './networks.ts'

const pongMs: Millis = 2_000
const serverMs: Millis = 1_000
// a pong has 4 characters and at most a line end
const mostBytes = 16

type Talk =
  | { readonly kind: 'answered'; readonly text: string }
  | { readonly kind: 'refused' }
  | { readonly kind: 'silent' }

/** Sends a text and reads until `enough` is content, the other side closes, or the time is over. Never rejects. */
const talk = (
  clock: Clock,
  { host, port }: HostPort,
  said: string,
  { withinMs, enough }: { readonly withinMs: Millis; readonly enough: (text: string) => boolean },
): Promise<Talk> =>
  new Promise((resolve) => {
    const socket = connect({ host, port })
    let text = ''
    const end = (how: Talk): void => {
      callOff()
      socket.destroy()
      // what was answered before the other side hung up counts
      resolve(text === '' ? how : { kind: 'answered', text })
    }
    const callOff = clock.after(withinMs, () => end({ kind: 'silent' }))
    socket.setEncoding('latin1')
    socket.once('connect', () => void socket.write(said))
    socket.on('data', (part) => {
      text += String(part)
      if (enough(text) || text.length > mostBytes) end({ kind: 'silent' })
    })
    socket.once('end', () => end({ kind: 'silent' }))
    socket.once('error', (error) => {
      const refused = 'code' in error && error.code === 'ECONNREFUSED'
      end({ kind: refused ? 'refused' : 'silent' })
    })
  })

/** Asks a starting worker whether it hears this server. */
export const saysPong = async (clock: Clock, target: HostPort): Promise<boolean> => {
  const heard = await talk(clock, target, 'ping', { withinMs: pongMs, enough: (text) => text.includes('\n') })
  return heard.kind === 'answered' && heard.text.trim().toLowerCase() === 'pong'
}

/** The address at which a server tells another one that it takes messages of workers. */
export const alivePath = '/server/alive'

/** Asks another server whether it takes messages of workers. `refused`: nothing listens there. */
export const askServer = async (clock: Clock, target: HostPort): Promise<'alive' | 'refused' | 'silent'> => {
  const said = `GET ${alivePath} HTTP/1.1\r\nhost: ${target.host}:${target.port}\r\nconnection: close\r\n\r\n`
  const heard = await talk(clock, target, said, { withinMs: serverMs, enough: (text) => text.length >= 12 })
  if (heard.kind !== 'answered') return heard.kind
  return heard.text.startsWith('HTTP/1.1 200') ? 'alive' : 'refused'
}

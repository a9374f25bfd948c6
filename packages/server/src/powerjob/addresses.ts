// Which requests are for this wire, the header that each of its answers carries, and the way on which a call came.
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { PathFacts } from './resends-api.ts'

export const prefix = '/openApi'

/**
 * Clients look for exactly this spelling, in a map that knows no other case. Where they do not find it they send the
 * call again (contract 2.3), so it goes to node itself: Fastify writes names in lower case.
 */
export const passedHeader = 'X-POWERJOB-AUTH-PASSED'

/** Says that nothing must be sent again. `false`: rejected for its token, before any effect. */
export const markPassed = (raw: ServerResponse, passed: boolean): void => {
  raw.setHeader(passedHeader, String(passed))
}

/** What comes after /openApi in an address, without the query; undefined when the address is not below it. */
export const pathBelow = (url: string): string | undefined => {
  // every request of the server passes here
  if (url[0] === '/' && url[1] !== 'o' && url[1] !== '%') return undefined
  // a proxy may send the whole address
  const [path = ''] = url.replace(/^https?:\/\/[^/?]*/i, '').split('?', 1)
  if (path.startsWith(prefix))
    return path.length === prefix.length || path[prefix.length] === '/' ? path.slice(prefix.length) : undefined
  if (!path.includes('%')) return undefined
  try {
    const decoded = decodeURI(path)
    return decoded.includes('%') ? undefined : pathBelow(decoded)
  } catch {
    // an address that can not be read: the router refuses it
    return undefined
  }
}

const first = (value: string | string[] | undefined): string => (Array.isArray(value) ? value.join(',') : (value ?? ''))

// what proxies add of themselves
const forwarding = [
  'via',
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'x-real-ip',
] as const

/** The network path of a request; see resends-api.ts. */
export const pathFactsOf = ({ socket, httpVersion, headers }: IncomingMessage, appId: number): PathFacts => ({
  appId,
  peer: socket.remoteAddress ?? '',
  localPort: socket.localPort ?? 0,
  httpVersion,
  host: headers.host ?? '',
  via: forwarding
    .map((name) => first(headers[name]))
    .filter((text) => text !== '')
    .join(' | '),
})

/** A guess by what only some versions of the client send; for the log. */
export const clientOf = ({ headers }: IncomingMessage, path: string): '5.x' | '4.x' | 'other' => {
  if (headers['x-powerjob-app-id'] !== undefined || path === '/authApp') return '5.x'
  return path === '/assert' || first(headers['user-agent']).startsWith('okhttp/') ? '4.x' : 'other'
}

/** The client has hung up: whatever is not begun need not be done. */
export const isGone = (raw: IncomingMessage): boolean => raw.socket.destroyed || raw.aborted

// Which addresses a Java worker may have: those it is seen at, and those of the networks that its app names.
import { BlockList, isIP } from 'node:net'

/** Host and port of a worker, as the wire writes them: `10.0.0.7:27777`. */
export interface HostPort {
  readonly host: string
  readonly port: number
}

const mostEntries = 100
const hostName = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$/i

/** Reads `host:port`; undefined when it is none that this wire can carry (it has no IPv6). */
export const readAddress = (text: string): HostPort | undefined => {
  const [, host = '', digits = ''] = /^([^:/\s]{1,253}):(\d{1,5})$/.exec(text) ?? []
  const port = Number(digits)
  if (port < 1 || port > 65_535) return undefined
  // four numbers that are no address must not be taken for a name
  return isIP(host) === 4 || (hostName.test(host) && !/^[\d.]+$/.test(host)) ? { host, port } : undefined
}

/** An address as sockets tell it, in its short form: what came as IPv4 within IPv6 is IPv4. */
export const plainPeer = (address: string): string =>
  address.startsWith('::ffff:') && isIP(address.slice(7)) === 4 ? address.slice(7) : address

/** The address is one of the machine itself. A name like `127.example` is none. */
export const isLoopback = (address: string): boolean =>
  address === '::1' || (address.startsWith('127.') && isIP(address) === 4)

type Entry =
  | { readonly kind: 'net'; readonly family: 4 | 6; readonly address: string; readonly bits: number }
  | { readonly kind: 'name'; readonly name: string }

const entryOf = (text: string): Entry | undefined => {
  const [address = '', digits, ...more] = text.split('/')
  const family = isIP(address)
  if (family === 0)
    return digits === undefined && hostName.test(text) && !/^[\d.]+$/.test(text)
      ? { kind: 'name', name: text.toLowerCase() }
      : undefined
  const most = family === 4 ? 32 : 128
  const bits = digits === undefined ? most : /^\d{1,3}$/.test(digits) ? Number(digits) : Number.NaN
  return more.length === 0 && bits >= 0 && bits <= most
    ? { kind: 'net', family: family === 4 ? 4 : 6, address, bits }
    : undefined
}

/** What is wrong with a list of networks; undefined: nothing. */
export const flawOfNetworks = (networks: readonly string[]): string | undefined => {
  if (networks.length > mostEntries) return `there are more than ${mostEntries} of them`
  const wrong = networks.find((text) => entryOf(text) === undefined)
  return wrong === undefined
    ? undefined
    : `${JSON.stringify(wrong.slice(0, 100))} is none; write 10.1.0.0/16, 10.1.2.3, or the name of a host`
}

/** Whether a host is in one of some networks. */
export type Admits = (host: string) => boolean

/** Builds the test for a list of networks; entries that are none admit nothing. */
export const admitting = (networks: readonly string[]): Admits => {
  const list = new BlockList()
  const names = new Set<string>()
  for (const text of networks) {
    const entry = entryOf(text)
    if (entry?.kind === 'name') names.add(entry.name)
    if (entry?.kind === 'net') list.addSubnet(entry.address, entry.bits, entry.family === 4 ? 'ipv4' : 'ipv6')
  }
  return (whole) => {
    // the scope of a link-local address is no part of it
    const [host = ''] = whole.split('%', 1)
    const family = isIP(host)
    return family === 0 ? names.has(host.toLowerCase()) : list.check(host, family === 4 ? 'ipv4' : 'ipv6')
  }
}

/** What is known of where a message comes from. */
export interface Origin {
  /** Address of the other end of the connection. */
  readonly peer: string
  /** Whether an address is one of this machine. */
  readonly isMine: (host: string) => boolean
}

/**
 * Whether a message from there may speak of the worker at this host. As long as its app names no networks: where it comes
 * from; a worker on this machine that comes over loopback may have any address of the machine. Once networks are named, only
 * they count, for the worker and for where the message comes from: a gateway that translates addresses must be named too.
 * @param named undefined: none
 */
export const mayBeAt = (host: string, { peer, isMine }: Origin, named: Admits | undefined): boolean => {
  const from = plainPeer(peer)
  // from elsewhere, a loopback address is another machine's own
  if (isLoopback(host) && !isLoopback(from) && !isMine(from)) return false
  if (named !== undefined) return named(host) && (named(from) || isLoopback(from))
  return host === from || (isLoopback(from) && (isLoopback(host) || isMine(host)))
}

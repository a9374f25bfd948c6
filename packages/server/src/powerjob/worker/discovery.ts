// How Java workers find a server (contract 1): the app behind a name, and the address that they send their messages to.
import { isIP } from 'node:net'
import { briefly, type Brief } from '../../kernel/briefly.ts'
import type { Clock, Millis } from '../../kernel/clock.ts'
import type { Log } from '../../kernel/log.ts'
import { below, type Random } from '../../kernel/random.ts'
import type { Queries } from '../../storage/db.ts'
import { listTransports, type Transport } from '../../storage/servers.ts'
import { findWireApp, findWireAppById, listWorkerNetworks } from '../../storage/wire-apps.ts'
import { askServer, saysPong } from './connectivity.ts'
import { admitting, mayBeAt, plainPeer, readAddress, type Admits, type Origin } from './networks.ts'
import { rateLimit, seldom } from './rates.ts'
import { resultOf, resultRefusal } from './wire.ts'

export interface DiscoveryNeeds {
  readonly db: Queries
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** Where workers send their messages to this server; undefined: it takes none (any more). */
  readonly own: () => string | undefined
}

/** Each answers JSON text for HTTP 200. `query`: the parameters of the call. */
export interface Discovery {
  /** `peer`: who asks, for the log. */
  assert(query: URLSearchParams, version: 1 | 2, peer: string): Promise<string>
  acquire(query: URLSearchParams, peer: string): Promise<string>
  checkConnectivity(query: URLSearchParams, origin: Origin): Promise<string>
}

// a server that missed this many ms of beats and does not answer is gone, before its row says so
const missingMs: Millis = 4_000
// what was answered so lately is not in the count of sessions yet
const underWayMs: Millis = 25_000
const mostProbes = 32

/** How many workers were sent to an address lately. */
const sentTo = (clock: Clock) => {
  const sent = new Map<string, Millis[]>()
  return {
    count: (address: string): number => {
      const recent = (sent.get(address) ?? []).filter((atMs) => atMs > clock.monotonic() - underWayMs)
      if (recent.length === 0) sent.delete(address)
      else sent.set(address, recent)
      return recent.length
    },
    note: (address: string): void => {
      const times = sent.get(address)
      if (times === undefined) sent.set(address, [clock.monotonic()])
      else times.push(clock.monotonic())
    },
  }
}

const whole = (text: string | null): number | undefined => {
  const value = text !== null && /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  return Number.isSafeInteger(value) ? value : undefined
}

const spreading = (needs: DiscoveryNeeds) => {
  const { db, clock, random, own } = needs
  const listed = briefly(clock, (_all: string) => listTransports(db))
  const asked = briefly(clock, async (address: string) => {
    const target = readAddress(address)
    return target === undefined ? 'refused' : askServer(clock, target)
  })
  const sent = sentTo(clock)
  const lives = async ({ address, silentMs }: Transport): Promise<boolean> => {
    if (address === own()) return true
    const answer = await asked.get(address)
    return answer === 'alive' || (answer === 'silent' && silentMs < missingMs)
  }
  const known = async (): Promise<Transport[]> => {
    const mine = own()
    const others = (await listed.get('all')).filter(({ address }) => address !== mine)
    const counted = (await listed.get('all')).find(({ address }) => address === mine)
    return mine === undefined ? others : [counted ?? { address: mine, silentMs: 0, sessions: 0 }, ...others]
  }
  /** The server for a worker: the one it has while that lives, else the one with the fewest. */
  return async (current: string | null): Promise<string | undefined> => {
    const mine = own()
    if (current !== null && current === mine) return mine
    let left = await known()
    const now = left.find(({ address }) => address === current)
    if (now !== undefined && (await lives(now))) return now.address
    left = left.filter((one) => one !== now)
    while (left.length > 0) {
      const load = ({ address, sessions }: Transport): number => sessions + sent.count(address)
      const least = Math.min(...left.map(load))
      const free = left.filter((one) => load(one) === least)
      const chosen = free[below(random, free.length)]
      if (chosen === undefined) return undefined
      if (await lives(chosen)) {
        sent.note(chosen.address)
        return chosen.address
      }
      left = left.filter((one) => one !== chosen)
    }
    return undefined
  }
}

/** Which hosts any app names as places of its workers. */
const namedNetworks = (needs: DiscoveryNeeds): Brief<string, Admits> =>
  briefly(needs.clock, async () => admitting(await listWorkerNetworks(needs.db)))

const connectivity = (needs: DiscoveryNeeds): Discovery['checkConnectivity'] => {
  const { clock, log } = needs
  const named = namedNetworks(needs)
  // a worker asks once for each of its network interfaces, when it starts; many may be seen at one address
  const within = rateLimit(clock, { burst: 200, perSecond: 20 })
  let probes = 0
  return async (query, origin) => {
    const host = query.get('targetIp') ?? ''
    const target = isIP(host) === 4 ? readAddress(`${host}:${query.get('targetPort') ?? ''}`) : undefined
    if (target === undefined) return resultRefusal('targetIp must be an IPv4 address and targetPort a port')
    // anywhere else, and whoever reaches this server could look around in its networks
    if (!mayBeAt(target.host, origin, undefined) && !mayBeAt(target.host, origin, await named.get('all'))) {
      log.debug({ peer: origin.peer, target: host }, 'connectivity of a foreign address not checked')
      return resultOf(false)
    }
    if (!within(origin.peer) || probes >= mostProbes)
      return resultRefusal('too many checks at once; ask again in a second')
    probes += 1
    try {
      return resultOf(await saysPong(clock, target))
    } finally {
      probes -= 1
    }
  }
}

export const createDiscovery = (needs: DiscoveryNeeds): Discovery => {
  const { db, log, own } = needs
  const spread = spreading(needs)
  const tell = seldom(needs.clock, log)
  // who asks may name any server as the one it had
  const mayTellMoved = rateLimit(needs.clock, { burst: 1_000, perSecond: 10 })
  return {
    assert: async (query, version, peer) => {
      const name = query.get('appName') ?? ''
      const app = name === '' || name.includes('\0') ? undefined : await findWireApp(db, name)
      if (app === undefined) {
        tell('worker of an unknown app refused', plainPeer(peer), { app: name.slice(0, 100) })
        return resultRefusal(`app(${name}) is not registered! Please register the app in oms-console first.`)
      }
      return resultOf(version === 1 ? app.id : { appId: app.id })
    },
    acquire: async (query, peer) => {
      const protocol = query.get('protocol') ?? 'AKKA'
      if (protocol.toUpperCase() !== 'HTTP') {
        // the worker says only that it found no server, so it must be said here
        const says = `this server speaks HTTP and not ${protocol.slice(0, 20)}: set the protocol of the worker to HTTP (powerjob.worker.protocol=http)`
        tell('worker with another protocol refused', plainPeer(peer), { app: whole(query.get('appId')), says })
        return resultRefusal(says)
      }
      const current = query.get('currentServer')
      // it needs no database: a worker that is well where it is stays there through an outage
      if (current !== null && current === own()) return resultOf(current)
      const appId = whole(query.get('appId'))
      if (appId === undefined || (await findWireAppById(db, appId)) === undefined)
        return resultRefusal(`there is no app with the id ${String(query.get('appId')).slice(0, 20)}`)
      const address = await spread(current)
      if (address === undefined) return resultRefusal('no server takes messages of workers at the moment')
      if (current !== null && current !== address && mayTellMoved('all'))
        log.info({ app: appId, from: current.slice(0, 100), to: address }, 'worker sent to another server')
      return resultOf(address)
    },
    checkConnectivity: connectivity(needs),
  }
}

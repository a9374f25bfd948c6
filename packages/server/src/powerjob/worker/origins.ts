// Who may say what: a message of a worker is heeded when it comes from where that worker can be.
import { networkInterfaces } from 'node:os'
import { briefly } from '../../kernel/briefly.ts'
import type { Clock, Millis } from '../../kernel/clock.ts'
import type { Db } from '../../storage/db.ts'
import { findWireAppById, listWorkerNetworks } from '../../storage/wire-apps.ts'
import type { JavaWorkers } from './api.ts'
import { ForeignMessage } from './messages.ts'
import { admitting, mayBeAt, plainPeer, readAddress, type Admits, type Origin } from './networks.ts'

const mineMs: Millis = 5_000

/** Addresses of this machine; they may change while it runs. */
export const myAddresses = (clock: Clock): Origin['isMine'] => {
  let known = new Set<string>()
  let untilMs = -1
  return (host) => {
    if (clock.monotonic() >= untilMs) {
      known = new Set(Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address)))
      untilMs = clock.monotonic() + mineMs
    }
    return known.has(host)
  }
}

/** The address by which other machines most likely reach this one. */
export const outwardAddress = (): string => {
  const all = Object.values(networkInterfaces()).flatMap((some) => some ?? [])
  return all.find(({ family, internal }) => family === 'IPv4' && !internal)?.address ?? '127.0.0.1'
}

export interface Origins {
  /** @throws ForeignMessage unless a worker of the app may be at that address, seen from where the message comes */
  demandPlace(appId: number, address: string, origin: Origin): Promise<void>
  /** The same for a message that names no app: the networks of all apps count. What it is about is to be judged by `isPlace`. */
  demandPlaceAnywhere(address: string, origin: Origin): Promise<void>
  /** Whether a worker of the app may be at that address, seen from there. */
  isPlace(appId: number, address: string, origin: Origin): Promise<boolean>
  /** Whether the message comes from where a live worker of the app is. */
  isFromWorker(appId: number, origin: Origin): Promise<boolean>
}

interface KnownApp {
  readonly name: string
  /** Undefined: it names no networks. */
  readonly named: Admits | undefined
}

const hostOf = (address: string): string => {
  const place = readAddress(address)
  if (place === undefined)
    throw new ForeignMessage(`${JSON.stringify(address.slice(0, 100))} is no address of a worker: it must be host:port`)
  return place.host
}

export const createOrigins = (needs: {
  readonly db: Db
  readonly clock: Clock
  readonly workers: JavaWorkers
}): Origins => {
  const { db, clock, workers } = needs
  const apps = briefly(clock, async (appId: number): Promise<KnownApp> => {
    const app = await findWireAppById(db, appId)
    if (app === undefined) throw new ForeignMessage(`there is no app with the id ${appId}`)
    return { name: app.name, named: app.workerNetworks.length === 0 ? undefined : admitting(app.workerNetworks) }
  })
  const anywhere = briefly(clock, async (_all: 'all') => admitting(await listWorkerNetworks(db)))
  const foreign = (address: string, { peer }: Origin, app: string): ForeignMessage =>
    new ForeignMessage(
      `a worker at ${address} is spoken of from ${plainPeer(peer)}; if that is right, allow both addresses: oncejob apps set ${app} --worker-networks …`,
    )
  return {
    demandPlace: async (appId, address, origin) => {
      const { name, named } = await apps.get(appId)
      if (!mayBeAt(hostOf(address), origin, named)) throw foreign(address, origin, name)
    },
    demandPlaceAnywhere: async (address, origin) => {
      const host = hostOf(address)
      if (!mayBeAt(host, origin, undefined) && !mayBeAt(host, origin, await anywhere.get('all')))
        throw foreign(address, origin, 'APP')
    },
    isPlace: async (appId, address, origin) => {
      try {
        const { named } = await apps.get(appId)
        return mayBeAt(hostOf(address), origin, named)
      } catch (error) {
        // answered here: the app is gone
        if (error instanceof ForeignMessage) return false
        throw error
      }
    },
    isFromWorker: async (appId, origin) => {
      const { named } = await apps.get(appId)
      return (await workers.list(appId)).some(({ address }) => {
        const place = readAddress(address)
        return place !== undefined && mayBeAt(place.host, origin, named)
      })
    },
  }
}

// Containers of Java workers (contract 3.6, 3.9, 3.10): jars kept in the database, told to workers, fetched by them.
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import type { ContainerWorker } from '@oncejob/protocol'
import { dateOf, within, type Clock, type Millis } from '../../kernel/clock.ts'
import { Refusal } from '../../kernel/errors.ts'
import type { Log } from '../../kernel/log.ts'
import type { Random } from '../../kernel/random.ts'
import { duty, type Service } from '../../kernel/service.ts'
import {
  addPart,
  beginJar,
  dropJar,
  findContainerAnywhere,
  findJar,
  javaAddresses,
  readPart,
  sweepLooseJars,
  type ArrivedJar,
  type ContainerRow,
} from '../../storage/containers.ts'
import type { Db, Queries } from '../../storage/db.ts'
import { signingKey } from '../../storage/wire-apps.ts'
import type { AskReply, JavaWorker, JavaWorkers } from './api.ts'
import { createWelcome } from './newcomers.ts'
import type { Origin } from './networks.ts'
import type { Origins } from './origins.ts'
import { wholeOf, type Members } from './wire.ts'

export interface ContainersNeeds {
  readonly db: Db
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  readonly workers: JavaWorkers
  readonly origins: Pick<Origins, 'isFromWorker'>
  /** host:port at which workers reach this server; undefined: it takes none. */
  readonly own: () => string | undefined
  /** Longest jar in bytes. */
  readonly limitBytes: number
}

/** What answers a worker that fetches a jar. */
export interface JarDownload {
  /** Sends the jar that the parameters name, or says no. Resolves when the answer is written or its receiver gone. */
  send(query: URLSearchParams, response: ServerResponse): Promise<void>
}

/** Workers that are to be told something, once what it is about is committed. */
export interface Telling {
  readonly addresses: readonly string[]
  /** Begins to tell them, in batches; nobody waits for it. */
  send(): void
}

export interface Containers extends JarDownload {
  /** Stores a jar as it arrives. @throws Refusal BODY_TOO_LARGE, REQUEST_INVALID; nothing of it is kept then */
  receive(stream: AsyncIterable<Uint8Array>): Promise<ArrivedJar>
  /** The answer to POST /server/queryContainer. @throws UnreadableMessage */
  query(message: Members, origin: Origin): Promise<AskReply>
  /**
   * Prepares to tell the live Java workers of an app to load a container.
   * @param queries the transaction of the call
   * @throws Refusal when this server takes no Java workers
   */
  deploy(queries: Queries, appId: number, container: ContainerRow): Promise<Telling>
  /** Begins to tell a worker that was just seen what is deployed and it does not have; nobody waits for it. */
  welcome(worker: JavaWorker): void
  /** Prepares to tell them to drop it. */
  destroy(queries: Queries, appId: number, containerId: number): Promise<Telling>
  /** Each live Java worker of an app, with what it says of a container. */
  holders(appId: number, container: Pick<ContainerRow, 'id' | 'version'>): Promise<ContainerWorker[]>
  readonly service: Service
}

const partBytes = 1024 * 1024
// a worker fetches at once; a busy one of a later batch, within minutes
const linkSeconds = 900
const batchWorkers = 50
// how long a stopping server waits for workers that are just being told
const settleMs: Millis = 1_000
const pauseOf = (size: number): Millis => (size / 1024 / 1024 / 10 + 1) * 1_000

/** Cuts a stream into parts of the same size. */
async function* parted(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer, void> {
  let held: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of stream) {
    for (let from = 0; from < chunk.length;) {
      const piece = chunk.subarray(from, from + partBytes - bytes)
      held.push(piece)
      bytes += piece.length
      from += piece.length
      if (bytes < partBytes) continue
      yield Buffer.concat(held)
      held = []
      bytes = 0
    }
  }
  if (bytes > 0) yield Buffer.concat(held)
}

const isJar = (start: Buffer): boolean => start.subarray(0, 4).equals(Buffer.from('PK\u0003\u0004', 'latin1'))

const receiving = ({ db, log, limitBytes }: ContainersNeeds): Containers['receive'] => {
  return async (stream) => {
    const id = await beginJar(db)
    // the wire names a version by this hash; what tells jars apart for us is the other
    const [md5, sha256] = [createHash('md5'), createHash('sha256')]
    let size = 0
    let number = 0
    try {
      for await (const part of parted(stream)) {
        if (number === 0 && !isJar(part))
          throw new Refusal('REQUEST_INVALID', 'The body is no jar: send the bytes of the file.')
        size += part.length
        if (size > limitBytes)
          throw new Refusal(
            'BODY_TOO_LARGE',
            `A jar may have at most ${limitBytes} bytes; see ONCEJOB_POWERJOB_MAX_JAR_BYTES.`,
            { limitBytes },
          )
        md5.update(part)
        sha256.update(part)
        await addPart(db, id, number, part)
        number += 1
      }
      if (size === 0) throw new Refusal('REQUEST_INVALID', 'The body is empty: send the bytes of the jar.')
    } catch (error) {
      // what was begun is undone before the failure goes on; a sweeper does it where even that fails
      await dropJar(db, id).catch((failure: unknown) =>
        log.warn({ err: failure }, 'jar of a broken upload not removed'),
      )
      throw error
    }
    return { id, version: md5.digest('hex'), sha256: sha256.digest('hex'), size }
  }
}

/** Links that workers fetch jars by; each is good for one version and some minutes. */
const linking = ({ db, clock, random, own }: ContainersNeeds) => {
  let key: Promise<Uint8Array> | undefined
  const keyOf = async (): Promise<Uint8Array> => {
    // the key of the tokens signs other things only through a key derived from it
    key ??= signingKey(db, random.bytes(32)).then((stored) =>
      createHmac('sha256', stored).update('powerjob container links').digest(),
    )
    try {
      return await key
    } catch (error) {
      // the next call asks again
      key = undefined
      throw error
    }
  }
  const sign = async (id: number, version: string, untilS: number): Promise<string> =>
    createHmac('sha256', await keyOf())
      .update(`${id} ${version} ${untilS}`)
      .digest('base64url')
  return {
    urlOf: async (id: number, version: string): Promise<string | undefined> => {
      const address = own()
      if (address === undefined) return undefined
      const untilS = Math.floor(clock.now() / 1000) + linkSeconds
      const token = `${untilS}.${await sign(id, version, untilS)}`
      return `http://${address}/container/downloadJar?version=${version}&container=${id}&token=${token}`
    },
    isGood: async (id: number, version: string, token: string): Promise<boolean> => {
      const [, untilS = '0', signature = ''] = /^(\d{1,12})\.([\w-]{43})$/.exec(token) ?? []
      if (Number(untilS) * 1000 < clock.now()) return false
      const expected = Buffer.from(await sign(id, version, Number(untilS)))
      return signature.length === expected.length && timingSafeEqual(Buffer.from(signature), expected)
    },
  }
}

type Links = ReturnType<typeof linking>

const drain = (response: ServerResponse): Promise<void> =>
  new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done)
      response.off('close', done)
      resolve()
    }
    response.once('drain', done)
    response.once('close', done)
  })

const sendText = (response: ServerResponse, status: number, says: string): void => {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', 'content-length': Buffer.byteLength(says) })
  response.end(says)
}

const sending = ({ db, log }: ContainersNeeds, links: Links): JarDownload['send'] => {
  const stream = async (
    jar: { readonly id: number; readonly size: number },
    version: string,
    response: ServerResponse,
  ): Promise<void> => {
    response.writeHead(200, {
      'content-type': 'application/octet-stream',
      'content-disposition': `attachment;filename=oncejob-container-${version}.jar`,
      'content-length': jar.size,
    })
    let sent = 0
    for (let number = 0; ; number += 1) {
      const part = await readPart(db, jar.id, number)
      if (part === undefined || response.destroyed) break
      sent += part.length
      if (!response.write(part)) await drain(response)
    }
    // the container was deleted meanwhile: its worker would wait 300 s for the rest
    if (sent < jar.size) response.destroy()
    else response.end()
  }
  return async (query, response) => {
    const version = query.get('version') ?? ''
    const id = Number(/^\d{1,15}$/.exec(query.get('container') ?? '')?.[0] ?? 0)
    try {
      if (!/^[0-9a-f]{32}$/.test(version) || id === 0) return sendText(response, 404, 'there is no such jar')
      if (!(await links.isGood(id, version, query.get('token') ?? '')))
        return sendText(response, 403, 'the link is not good, or not any more: deploy the container again')
      const jar = await findJar(db, id, version)
      if (jar === undefined) return sendText(response, 404, 'there is no such jar (any more)')
      await stream(jar, version, response)
    } catch (error) {
      // translated: the worker sees a failed or broken download, throws the file away and asks again
      log.warn({ container: id, err: error }, 'jar could not be sent')
      if (response.headersSent) response.destroy()
      else sendText(response, 503, 'the jar can not be read at the moment')
    }
  }
}

const stateOf = (worker: JavaWorker, { id, version }: Pick<ContainerRow, 'id' | 'version'>): ContainerWorker => {
  const loaded = worker.containers.find(({ containerId }) => containerId === id)
  const atMs = loaded?.deployedTime ?? null
  return {
    address: worker.address,
    state: loaded === undefined ? 'absent' : loaded.version === version ? 'loaded' : 'outdated',
    version: loaded?.version ?? null,
    loadedAt: atMs === null ? null : dateOf(Math.max(0, Math.min(atMs, 253_402_300_799_999))).toISOString(),
  }
}

const unavailable = (): Refusal =>
  new Refusal(
    'CONTAINER_NOT_FOUND',
    'This server takes no Java workers (ONCEJOB_POWERJOB_PORT=off): ask one that does.',
  )

/** Messages to many workers, so many at a time that their downloads do not choke the server. */
const telling = ({ clock, log, workers }: ContainersNeeds, ending: AbortSignal) => {
  // the latest message about a container is the one that counts
  const latest = new Map<number, object>()
  return async (
    container: { readonly id: number; readonly size: number },
    addresses: readonly string[],
    path: string,
    body: unknown,
  ): Promise<void> => {
    const mine = {}
    latest.set(container.id, mine)
    for (let from = 0; from < addresses.length; from += batchWorkers) {
      if (from > 0) await clock.sleep(pauseOf(container.size), ending)
      if (ending.aborted || latest.get(container.id) !== mine) return
      const batch = addresses.slice(from, from + batchWorkers)
      const outcomes = await Promise.all(batch.map((address) => workers.tell(address, path, body)))
      const refused = batch.filter((_address, i) => outcomes[i] === 'refused')
      log.info(
        { container: container.id, path, told: batch.length - refused.length, refused },
        'workers told of a container',
      )
    }
    if (latest.get(container.id) === mine) latest.delete(container.id)
  }
}

export const createContainers = (needs: ContainersNeeds): Containers => {
  const { db, clock, log, workers, origins } = needs
  const links = linking(needs)
  const ending = new AbortController()
  const tell = telling(needs, ending.signal)
  const underWay = new Set<Promise<void>>()
  const beside = (work: Promise<void>): void => {
    const kept = work
      .catch((error: unknown) => log.error({ err: error }, 'workers could not be told of a container'))
      .finally(() => underWay.delete(kept))
    underWay.add(kept)
  }
  const requestFor = async ({ id, name, version }: ContainerRow): Promise<object> => {
    const downloadURL = await links.urlOf(id, version)
    if (downloadURL === undefined) throw unavailable()
    return { containerId: id, containerName: name, version, downloadURL }
  }
  const welcome = createWelcome({ ...needs, requestFor, ending: ending.signal })
  const sweeper = duty({
    name: 'container-uploads',
    clock,
    log,
    everyMs: 600_000,
    runOnce: async () => void (await sweepLooseJars(db)),
  })
  return {
    receive: receiving(needs),
    send: sending(needs, links),
    query: async (message, origin) => {
      const id = wholeOf(message, 'containerId') ?? 0
      const container = await findContainerAnywhere(db, id)
      // another app's container is as good as none: ids can be guessed
      if (container === undefined || !(await origins.isFromWorker(container.appId, origin)))
        return { success: false, message: `can't find container by id: ${id}` }
      return { success: true, data: await requestFor(container) }
    },
    deploy: async (queries, appId, container) => {
      if (needs.own() === undefined) throw unavailable()
      const addresses = await javaAddresses(queries, appId)
      // the key of the link is read later: here only the transaction may be asked
      const telling = async (): Promise<void> =>
        tell(container, addresses, '/worker/deployContainer', await requestFor(container))
      return { addresses, send: () => beside(telling()) }
    },
    welcome: (worker) => {
      // a server that takes no workers has no link to give
      if (needs.own() !== undefined) beside(welcome(worker))
    },
    destroy: async (queries, appId, containerId) => {
      const addresses = await javaAddresses(queries, appId)
      const container = { id: containerId, size: 0 }
      return { addresses, send: () => beside(tell(container, addresses, '/worker/destroyContainer', { containerId })) }
    },
    holders: async (appId, container) => (await workers.list(appId)).map((worker) => stateOf(worker, container)),
    service: {
      name: 'containers',
      start: () => sweeper.start(),
      stop: async () => {
        ending.abort()
        await sweeper.stop()
        // who loads one may take minutes, and needs nobody who waits for the answer
        await within(clock, settleMs, Promise.all(underWay))
      },
    },
  }
}

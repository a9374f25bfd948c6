// A gap between servers and PostgreSQL: cuts a session around its COMMIT, so that the server can not know whether it took effect.
import { createConnection, createServer, type Socket } from 'node:net'
import { once } from 'node:events'
import type { SeededRandom } from '@oncejob/testkit'
import { below } from './chance.ts'

/** `heard`: PostgreSQL has answered the COMMIT; `sent`: it was just handed over; `unsent`: it never got there. */
export type CutWhen = 'heard' | 'sent' | 'unsent'
export const cutWhens: readonly CutWhen[] = ['heard', 'sent', 'unsent']

export interface DatabaseGap {
  /** The address of the database server through the gap. */
  readonly url: string
  readonly cuts: Readonly<Record<CutWhen, number>>
  /** COMMITs and submitting statements that came by. */
  commits(): number
  /** Cuts this share of the commits from now on, 0 to 1. */
  cutFrom(share: number, random: SeededRandom): void
  /** Ends every connection and leads new ones to another server. */
  lead(serverUrl: string): void
  close(): Promise<void>
}

/** Where frontend messages of a session begin and end; the first one, of the start-up, has no letter. */
class Frames {
  #rest: Buffer = Buffer.alloc(0)
  #started = false

  /** Takes bytes as they come; returns the messages that are whole. */
  add(bytes: Buffer): Buffer[] {
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes])
    const whole: Buffer[] = []
    for (;;) {
      const at = this.#started ? 1 : 0
      if (this.#rest.length < at + 4) return whole
      const length = at + this.#rest.readUInt32BE(at)
      if (this.#rest.length < length) return whole
      whole.push(this.#rest.subarray(0, length))
      this.#rest = this.#rest.subarray(length)
      this.#started = true
    }
  }
}

const letter = (message: Buffer): string => String.fromCharCode(message[0] ?? 0)
const isCommit = (message: Buffer): boolean =>
  letter(message) === 'Q' && /^commit\b/i.test(message.subarray(5).toString('latin1'))
/** The statement that makes runs together with their keys is a transaction of its own: its COMMIT is the Sync behind it. */
const isSubmit = (message: Buffer): boolean =>
  letter(message) === 'B' && message.subarray(5).toString('latin1').includes('\0submit\0')
const isSync = (message: Buffer): boolean => letter(message) === 'S'

interface Sides {
  readonly server: Socket
  readonly database: Socket
}

/** Opens the gap; it lets everything pass until it is told to cut. */
export const openDatabaseGap = async (serverUrl: string): Promise<DatabaseGap> => {
  let target = new URL(serverUrl)
  let share = 0
  let chance: SeededRandom | undefined
  let commits = 0
  const cuts: Record<CutWhen, number> = { heard: 0, sent: 0, unsent: 0 }
  const open = new Set<Sides>()

  const whenToCut = (): CutWhen | undefined => {
    commits += 1
    if (chance === undefined || chance.next() >= share) return undefined
    return cutWhens[below(chance, cutWhens.length)]
  }
  const cut = ({ server, database }: Sides, when: CutWhen): void => {
    cuts[when] += 1
    server.destroy()
    // what was handed over still gets there
    database.end()
  }
  const join = (sides: Sides): void => {
    const { server, database } = sides
    const frames = new Frames()
    let submitting = false
    let waiting = false
    server.on('data', (bytes: Buffer) => {
      for (const message of frames.add(bytes)) {
        if (server.destroyed) return
        submitting ||= isSubmit(message)
        const ends = isCommit(message) || (submitting && isSync(message))
        if (ends) submitting = false
        const when = ends ? whenToCut() : undefined
        if (when === 'unsent') return cut(sides, when)
        database.write(message)
        if (when === 'sent') return cut(sides, when)
        if (when === 'heard') waiting = true
      }
    })
    database.on('data', (bytes: Buffer) => {
      if (waiting) cut(sides, 'heard')
      else if (!server.destroyed) server.write(bytes)
      waiting = false
    })
    for (const [one, other] of [
      [server, database],
      [database, server],
    ] as const) {
      one.on('error', () => other.destroy())
      one.on('close', () => {
        open.delete(sides)
        // an answer that is on its way is let through
        other.end()
      })
    }
  }
  const listener = createServer((server) => {
    const database = createConnection({ host: target.hostname, port: Number(target.port || 5432) })
    server.setNoDelay()
    database.setNoDelay()
    const sides = { server, database }
    open.add(sides)
    join(sides)
  })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const address = listener.address()
  if (typeof address !== 'object' || address === null) throw new Error('the gap has no address')
  const url = new URL(serverUrl)
  url.hostname = '127.0.0.1'
  url.port = String(address.port)
  const endAll = (): void => {
    for (const { server, database } of open) {
      server.destroy()
      database.destroy()
    }
  }
  return {
    url: url.href,
    cuts,
    commits: () => commits,
    cutFrom: (wanted, random) => {
      share = wanted
      chance = random
    },
    lead: (other) => {
      target = new URL(other)
      endAll()
    },
    close: async () => {
      endAll()
      listener.close()
      await once(listener, 'close')
    },
  }
}

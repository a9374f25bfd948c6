// The user's side of the tests of effects: a shop database without a constraint of its own, a foreign API that counts what it
// was asked, and workers that are started again whenever they die.
import { createServer } from 'node:http'
import { once } from 'node:events'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { effectsMigrationSql, type OnceOptions } from '@oncejob/worker'
import { seededRandom } from '@oncejob/testkit'
import pg from 'pg'
import { startNode, type Child } from './children.ts'
import type { Fleet } from './fleet.ts'
import { readLedgers, type Entry } from './ledger.ts'
import { postgresPlace } from './places.ts'

type OnUnknown = NonNullable<OnceOptions<unknown>['onUnknown']>

export interface OnceParams {
  readonly onUnknown: OnUnknown
}

export interface ChargeParams {
  readonly api: 'aware' | 'blind'
  readonly onUnknown: Exclude<OnUnknown, 'resolve'>
}

export interface EffectsSettings {
  readonly urls: readonly string[]
  readonly token: string
  readonly name: string
  readonly ledger: string
  readonly concurrency: number
  readonly shopUrl: string
  readonly apiUrl: string
  /** Go through a gate with fault points. */
  readonly gate: boolean
  /** What is left to chance comes from here. */
  readonly seed: string
  /** Share of the attempts that die. */
  readonly deaths: number
  /** At most so long a step takes. */
  readonly workMs: number
}

export interface Payment {
  readonly id: number
  readonly run_id: number
  readonly name: string
  readonly lease: number
}

export interface Shop {
  readonly url: string
  /** All rows, in the order in which they were written. */
  payments(): Promise<Payment[]>
  /** What the fence of each run says. */
  fences(): Promise<Map<number, number>>
  remove(): Promise<void>
}

/** A database of the user's, beside the one of OnceJob. Its table takes any row any number of times. */
export const openShop = async (): Promise<Shop> => {
  const place = await postgresPlace()
  const pool = new pg.Pool({ connectionString: place.url, max: 2 })
  pool.on('error', () => undefined)
  await pool.query(effectsMigrationSql())
  await pool.query('create table payment (id bigserial, run_id bigint, name text, lease bigint)')
  return {
    url: place.url,
    payments: async () => {
      const { rows } = await pool.query<Payment>(
        'select id::int, run_id::int, name, lease::int from payment order by id',
      )
      return rows
    },
    fences: async () => {
      const { rows } = await pool.query<{ run_id: number; lease: number }>(
        'select run_id::int, lease::int from oncejob_fence',
      )
      return new Map(rows.map((row) => [row.run_id, row.lease]))
    },
    remove: async () => {
      await pool.end()
      await place.remove()
    },
  }
}

export interface Charge {
  readonly api: string
  readonly runId: number
  readonly key: string
}

export interface ForeignApi {
  readonly url: string
  /** What really happened, in order. */
  readonly charges: Charge[]
  /** Requests, also those that a key made to nothing. */
  requests(): number
  close(): void
}

/**
 * `/aware` knows idempotency keys: a repeat gets the first answer. `/blind` does whatever it is asked to.
 * @param drops share of the answers that get lost on their way
 */
export const openForeignApi = async (seed: string, drops: number): Promise<ForeignApi> => {
  const random = seededRandom(`api ${seed}`)
  const charges: Charge[] = []
  const answers = new Map<string, string>()
  let requests = 0
  const server = createServer((asked, answer) => {
    const parts: Buffer[] = []
    asked.on('data', (part: Buffer) => parts.push(part))
    asked.on('end', () => {
      requests += 1
      const key = String(asked.headers['idempotency-key'])
      const api = (asked.url ?? '').slice(1)
      const { runId } = JSON.parse(Buffer.concat(parts).toString()) as { runId: number }
      let said = api === 'aware' ? answers.get(key) : undefined
      if (said === undefined) {
        charges.push({ api, runId, key })
        said = JSON.stringify({ charge: charges.length })
        answers.set(key, said)
      }
      if (random.next() < drops) answer.destroy()
      else answer.writeHead(201, { 'content-type': 'application/json' }).end(said)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  return {
    url: `http://127.0.0.1:${port}`,
    charges,
    requests: () => requests,
    close: () => {
      server.close()
      server.closeAllConnections()
    },
  }
}

const program = fileURLToPath(new URL('effects-worker.ts', import.meta.url))

/** Starts one; it is killed with all children of the test. */
export const startEffectsWorker = (
  fleet: Fleet,
  settings: Pick<EffectsSettings, 'name' | 'shopUrl'> & Partial<EffectsSettings>,
  env: Readonly<Record<string, string>> = {},
): Child =>
  startNode(program, [], {
    tied: true,
    env: {
      ...env,
      E2E_EFFECTS: JSON.stringify({
        urls: fleet.urls,
        token: fleet.appToken,
        ledger: ledgerOf(fleet, settings.name),
        concurrency: 4,
        apiUrl: '',
        gate: false,
        seed: '',
        deaths: 0,
        workMs: 0,
        ...settings,
      } satisfies EffectsSettings),
    },
  })

const ledgerOf = (fleet: Fleet, name: string): string => join(fleet.folder, `${name}.ledger`)

/** Every line that these workers wrote. */
export const effectsLedger = (fleet: Fleet, names: readonly string[]): Entry[] =>
  readLedgers(names.map((name) => ledgerOf(fleet, name)))

/**
 * What a person does about runs that ask: looks into the world, says what is there, and has the run go on.
 * @param look the outcome of the effect of this run; undefined when it did not happen
 */
export const decide = async (
  { client }: Fleet,
  runIds: Iterable<number>,
  name: string,
  look: (runId: number) => unknown,
): Promise<void> => {
  for (const runId of runIds) {
    const outcome = look(runId)
    await client.runs.resolveEffect(runId, name, outcome === undefined ? { done: false } : { done: true, outcome })
    await client.runs.resolve(runId, { as: 'retry' })
  }
}

export interface KeptUp {
  /** The processes of now. */
  children(): Child[]
  /** How often one was started again. */
  restarts(): number
  /** Starts none again. */
  stop(): void
}

/** Starts workers, and starts each again whenever it has died. */
export const keepUp = (names: readonly string[], startOne: (name: string) => Child): KeptUp => {
  const children = new Map<string, Child>()
  let restarts = 0
  let stopped = false
  const run = (name: string): void => {
    const child = startOne(name)
    children.set(name, child)
    const again = (): void => {
      if (stopped) return
      restarts += 1
      run(name)
    }
    child.ended.then(again, again)
  }
  for (const name of names) run(name)
  return {
    children: () => [...children.values()],
    restarts: () => restarts,
    stop: () => {
      stopped = true
    },
  }
}

// Every server is down and many clients go on calling: afterwards each call has had its effect once, and nobody stormed the servers.
import { createClient, OnceJobError, OutcomeUnknown, ServerUnreachable, type OnceJobClient } from '@oncejob/client'
import { makeRequestKey } from '@oncejob/protocol'
import { sql } from '@oncejob/server/testing'
import { seedFromEnv, seededRandom } from '@oncejob/testkit'
import { afterEach, expect, it } from 'vitest'
import { below } from './support/chance.ts'
import { openFleet, type Fleet } from './support/fleet.ts'
import { openGap, type Gap } from './support/gap.ts'
import { placeKind, rowsOf } from './support/places.ts'
import { expectCleanAudit } from './support/proof.ts'
import { printTable, size } from './support/sizes.ts'
import { pause, until } from './support/until.ts'

let fleet: Fleet | undefined
const gaps: Gap[] = []
const clients: OnceJobClient[] = []
afterEach(async () => {
  for (const client of clients.splice(0)) client.close()
  for (const gap of gaps.splice(0)) await gap.close()
  await fleet?.close()
})

const isEmbedded = placeKind() === 'embedded'
const clientCount = isEmbedded ? size(40, 200) : size(100, 500)
const downMs = size(6_000, 30_000)

interface Caller {
  /** Keys of the calls that were answered. */
  readonly done: string[]
  /** How often it has made a call again after the client had given up. */
  again: number
}

it(
  'clients ride out an outage of every server: effects = calls, and few retries once the servers are back (T-25)',
  { timeout: size(300_000, 600_000) },
  async () => {
    const seed = seedFromEnv()
    process.stdout.write(`retry storm with ONCEJOB_SEED=${seed}\n`)
    const opened = (fleet = await openFleet({ servers: isEmbedded ? 1 : 3, env: { ONCEJOB_POOL_MAX: '5' } }))
    await opened.client.jobs.create({ name: 'job', processor: 'work' })
    for (const url of opened.urls) gaps.push(await openGap(url))
    const sum = (count: (gap: Gap) => number): number => gaps.reduce((all, gap) => all + count(gap), 0)
    const came = (): number => sum((gap) => gap.came())
    const answered = (): number => sum((gap) => gap.answered())

    const over = new AbortController()
    const callAgain = async (caller: Caller, client: OnceJobClient, key: string): Promise<void> => {
      for (;;) {
        try {
          await client.runs.create({ job: 'job', delayMs: 3_600_000 }, { requestKey: key })
          return
        } catch (error) {
          const passes =
            error instanceof OutcomeUnknown ||
            error instanceof ServerUnreachable ||
            (error instanceof OnceJobError && error.retry === 'same-key')
          if (!passes) throw error
          caller.again += 1
          await pause(500)
        }
      }
    }
    const callUntilOver = async (index: number): Promise<Caller> => {
      const random = seededRandom(`${seed} ${index}`)
      // each asks another server first
      const urls = gaps.map((_, i) => gaps[(index + i) % gaps.length]!.url)
      const client = createClient({ urls, token: opened.appToken, retry: { rounds: 30 } })
      clients.push(client)
      const caller: Caller = { done: [], again: 0 }
      while (!over.signal.aborted) {
        const key = makeRequestKey()
        await callAgain(caller, client, key)
        caller.done.push(key)
        await pause(200 + below(random, 800))
      }
      return caller
    }
    const running = Array.from({ length: clientCount }, (_, index) => callUntilOver(index))
    // a failure is heard of below
    const callers = Promise.all(running)
    callers.catch(() => undefined)
    await until('there is load', () => answered() > clientCount * 2)

    await Promise.all(opened.servers.map((server) => server.child().kill()))
    // what the servers had said already is still being read
    await pause(500)
    const [cameBefore, answeredBefore] = [came(), answered()]
    await pause(downMs)
    const triesWhileDown = came() - cameBefore
    expect(answered()).toBe(answeredBefore)
    await Promise.all(opened.servers.map((server) => server.start()))
    const startedMs = performance.now()
    const [cameAfter, answeredAfter] = [came(), answered()]
    // everybody has had time for several calls
    await until('everybody calls again', () => answered() > answeredAfter + clientCount * 4)
    over.abort()
    const all = await callers
    const recoveredMs = Math.round(performance.now() - startedMs)
    const keys = all.flatMap((caller) => caller.done)
    const retries = Math.max(0, came() - cameAfter - (answered() - answeredAfter))

    const rows = await rowsAfter(opened)
    const madeBy = new Map(rows.map((row) => [row.request_key, row.runs]))
    expect(rows.filter((row) => row.runs !== 1)).toEqual([])
    expect(keys.filter((key) => !madeBy.has(key))).toEqual([])
    expect(rows).toHaveLength(keys.length)
    // pauses grow to seconds: while nobody answers, a client asks each server a few times and no more
    expect(triesWhileDown).toBeGreaterThan(clientCount)
    expect(triesWhileDown).toBeLessThan(clientCount * gaps.length * (8 + downMs / 1_000))
    // what finds no server, or one that is just coming, is made again; what is answered is not
    expect(retries).toBeLessThanOrEqual(0.1 * (came() - cameAfter))
    printTable(`retry storm on ${opened.place.kind}, seed ${seed}`, {
      clients: clientCount,
      'ms without any server': downMs,
      calls: keys.length,
      'runs made': rows.length,
      'tries while all were down': triesWhileDown,
      'tries when they were back': came() - cameAfter,
      '  of these without an answer': retries,
      'calls made again after the client gave up': all.reduce((count, caller) => count + caller.again, 0),
      'ms until everybody had called again': recoveredMs,
    })
  },
)

const rowsAfter = async (of: Fleet): Promise<{ request_key: string; runs: number }[]> => {
  await expectCleanAudit(of)
  if (isEmbedded) await Promise.all(of.servers.map((server) => server.child().endBy('SIGTERM')))
  return rowsOf(of.place, sql`select request_key, count(*)::int as runs from oncejob.run group by 1`)
}

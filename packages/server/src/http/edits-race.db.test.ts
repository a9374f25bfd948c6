// Edits as compare-and-set: many writers change one job through two servers, and no edit is lost or swallowed.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openTestDatabase, testDatabaseKind, type TestDatabase } from '@oncejob/testkit'
import { makeRequestKey } from '@oncejob/protocol'
import { configFrom } from '../config.ts'
import { systemClock } from '../kernel/clock.ts'
import { silentLog } from '../kernel/log.ts'
import { systemRandom } from '../kernel/random.ts'
import { sql } from '../storage/sql.ts'
import { wire, type Wired } from '../wire.ts'
import { ensureAdminToken } from './admin-token.ts'

const isFull = process.env['ONCEJOB_FULL'] === '1'
// the embedded database does one thing after the other
const onServer = testDatabaseKind() === 'postgres'
const [writers, editsEach] = onServer ? (isFull ? [50, 200] : [6, 10]) : isFull ? [10, 30] : [4, 6]

let database: TestDatabase
let token: string
const servers: { url: string; wired: Wired }[] = []

beforeAll(async () => {
  database = await openTestDatabase()
  token = (await ensureAdminToken(database.db, systemRandom)) ?? ''
  for (const name of ['one', 'two']) {
    const outside = {
      db: database.db,
      clock: systemClock,
      random: systemRandom,
      log: silentLog,
      name,
      version: '0.0.0',
    }
    const wired = wire(outside, configFrom({}))
    servers.push({ url: await wired.http.listen('127.0.0.1', 0), wired })
  }
  await call(0, 'POST', '/api/v1/apps', { name: 'shop' }, {})
})
afterAll(async () => {
  for (const { wired } of servers) await wired.http.stop(0)
  await database.close()
})

const call = async (
  server: number,
  method: string,
  path: string,
  body: unknown,
  headers: Readonly<Record<string, string>>,
) => {
  const answer = await fetch(`${servers[server % 2]!.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await answer.text()
  return {
    status: answer.status,
    etag: answer.headers.get('etag') ?? '',
    replayed: answer.headers.get('idempotent-replayed') === 'true',
    json: (text === '' ? {} : JSON.parse(text)) as Record<string, unknown>,
  }
}

const jobPath = '/api/v1/jobs/edited?app=shop'

test(
  `${writers} writers, ${editsEach} edits each, read again at every 412: one version per edit, and each is in the trail (T-21)`,
  { timeout: isFull ? 1_800_000 : 300_000 },
  async () => {
    const made = await call(0, 'POST', '/api/v1/jobs?app=shop', { name: 'edited', processor: 'work', tag: 'start' }, {})
    expect(made.status).toBe(201)
    const seen: string[] = []
    let conflicts = 0
    const write = async (writer: number): Promise<void> => {
      for (let edit = 0; edit < editsEach; edit += 1) {
        const marker = `${writer}:${edit}`
        for (;;) {
          const read = await call(writer, 'GET', jobPath, undefined, {})
          // every edit builds on what it has read: whoever overwrote another would lose a letter of its history
          const before = Number(read.json['priority'])
          const headers = { 'if-match': read.etag, 'idempotency-key': makeRequestKey() }
          const patch = { tag: marker, priority: (before + 1) % 1000 }
          const answer = await call(writer + edit, 'PATCH', jobPath, patch, headers)
          if (answer.status === 412) {
            expect(answer.json['code']).toBe('VERSION_CONFLICT')
            conflicts += 1
            // as writers that know of each other do: fifty that come again at once would let each other win only rarely
            await systemClock.sleep(Math.random() * writers * 4)
            continue
          }
          expect(answer.status, JSON.stringify(answer.json)).toBe(200)
          expect(answer.json).toMatchObject({ tag: marker, priority: (before + 1) % 1000 })
          seen.push(`${marker} v${String(answer.json['version'])}`)
          // the answer may have been lost: the same call again is told the same, although its version is old by now
          if (edit % 5 === 0) {
            const again = await call(writer, 'PATCH', jobPath, patch, headers)
            expect([again.status, again.replayed, again.json]).toEqual([200, true, answer.json])
          }
          break
        }
      }
    }
    await Promise.all(Array.from({ length: writers }, (_, writer) => write(writer)))

    const total = writers * editsEach
    expect(seen).toHaveLength(total)
    const final = await call(0, 'GET', jobPath, undefined, {})
    expect(final.json['version']).toBe(1 + total)
    expect(final.etag).toBe(`"job-${String(made.json['id'])}-v${1 + total}"`)
    expect(final.json['priority']).toBe(total % 1000)
    // each version was given to one writer, who set the marker that stands in it
    const versions = seen.map((one) => Number(one.split(' v')[1])).toSorted((a, b) => a - b)
    expect(versions).toEqual(Array.from({ length: total }, (_, index) => index + 2))
    const last = seen.find((one) => one.endsWith(` v${1 + total}`))
    expect(last).toBe(`${String(final.json['tag'])} v${1 + total}`)
    const [trail] = await database.db.query<{ n: number; whole: number }>(sql`
      select count(*)::int as n, (count(*) filter (where detail -> 'changed' @> '["/tag"]'))::int as whole from oncejob.audit
       where action = 'job.update' and target = ${`job/${String(made.json['id'])}`}`)
    expect(trail).toEqual({ n: total, whole: total })
    // without these it would not be a race
    expect(conflicts).toBeGreaterThan(0)
  },
)

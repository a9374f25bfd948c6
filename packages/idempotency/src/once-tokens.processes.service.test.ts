// One-time tokens over four server processes: each right and each wrong use gets the status of the table, and what is behind
// a token happens once (T-13).
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, it } from 'vitest'
import { openTestPostgres, openTestRedis, postgresReachable, redisReachable, skipNote } from './testing/services.ts'
import type { TokenServerSettings } from './testing/token-server.ts'

const count = process.env['ONCEJOB_FULL'] === '1' ? 500 : 60
const servers = 4
const [postgres, redis] = [await postgresReachable(), await redisReachable()]
const program = fileURLToPath(new URL('testing/token-server.ts', import.meta.url))

const cleanups: (() => unknown)[] = []
afterEach(async () => {
  for (const clean of cleanups.splice(0).toReversed()) await clean()
})

interface Server {
  readonly url: string
  readonly pid: number
  /** Moves its clock. */
  advance(ms: number): Promise<void>
}

const startServer = async (settings: TokenServerSettings): Promise<Server> => {
  const child: ChildProcess = spawn(process.execPath, [program], {
    env: { ...process.env, NODE_OPTIONS: '', TOKEN_SERVER: JSON.stringify(settings) },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  cleanups.push(async () => {
    const gone = once(child, 'close')
    child.kill('SIGKILL')
    await gone
  })
  const lines = createInterface({ input: child.stdout! })
  const says = async (word: string): Promise<string> => {
    const [line] = (await Promise.race([once(lines, 'line'), once(child, 'exit').then(() => ['it ended'])])) as string[]
    if (line?.startsWith(`${word} `) !== true) throw new Error(`a token server said ${line}, and not ${word}`)
    return line.slice(word.length + 1)
  }
  return {
    url: await says('READY'),
    pid: child.pid ?? -1,
    advance: async (ms) => {
      const done = says('AT')
      child.stdin!.write(`${ms}\n`)
      await done
    },
  }
}

const mine = 'account-1'

/** Status, and of a refusal the last part of its type. */
const post = async (url: string, headers: Record<string, string>, body: object) => {
  const answer = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  })
  const json = (await answer.json()) as { type?: string; token?: string; by?: number; item?: string }
  const slug = json.type?.split('/').at(-1)
  return {
    ...json,
    said: slug === undefined ? String(answer.status) : `${answer.status} ${slug}`,
    replayed: answer.headers.get('idempotent-replayed') === 'true',
  }
}

const flip = (token: string): string => token.slice(0, 30) + (token[30] === 'A' ? 'B' : 'A') + token.slice(31)

/** @returns how many effects there were, each once */
const everyUse = async (of: readonly Server[], effects: string): Promise<number> => {
  const at = (index: number): string => of[index % of.length]!.url
  const issue = async (index: number): Promise<string> => {
    const issued = await post(`${at(index)}/once-tokens`, { secret: mine }, { operation: 'createOrder' })
    expect(issued.said).toBe('201')
    return issued.token ?? ''
  }
  const create = (index: number, token: string, item: string, secret = mine) =>
    post(`${at(index)}/token/create`, { token, secret }, { item })

  const workers = new Set<number | undefined>()
  const useOne = async (index: number): Promise<string> => {
    const token = await issue(index)
    const item = `item-${index}`
    const wrong = [
      await create(index + 1, token, item, 'somebody else'),
      await post(`${at(index + 2)}/token/cancel`, { token, secret: mine }, { item }),
      await create(index + 3, flip(token), item),
      await post(`${at(index)}/token/create`, { secret: mine }, { item }),
    ].map(({ said }) => said)
    // all four at once: one does it, the others find it at work or done
    const right = await Promise.all([0, 1, 2, 3].map((server) => create(index + server, token, item)))
    const done = right.filter(({ said, replayed }) => said === '201' && !replayed)
    expect(done).toHaveLength(1)
    workers.add(done[0]!.by)
    for (const one of right) {
      expect(['201', '409 once-token-in-progress']).toContain(one.said)
      if (one.said === '201') expect([one.item, one.by]).toEqual([item, done[0]!.by])
    }
    const late = [await create(index + 1, token, item), await create(index + 2, token, 'another item')]
    expect(late[0]!.replayed).toBe(true)
    return [...wrong, ...late.map(({ said }) => said)].join(' · ')
  }
  const told = new Set<string>()
  for (let from = 0; from < count; from += 20) {
    const some = Array.from({ length: Math.min(20, count - from) }, (_, index) => useOne(from + index))
    for (const one of await Promise.all(some)) told.add(one)
  }
  expect([...told]).toEqual([
    '403 once-token-mismatch · 403 once-token-mismatch · 400 once-token-invalid · 428 once-token-required · 201 · 422 once-token-reused',
  ])
  expect(workers.size).toBe(servers)

  const unused = await Promise.all(Array.from({ length: count }, (_, index) => issue(index)))
  await Promise.all(of.map((server) => server.advance(301_000)))
  const late = await Promise.all(unused.map((token, index) => create(index, token, 'too late')))
  expect(new Set(late.map(({ said }) => said))).toEqual(new Set(['410 once-token-expired']))

  const happened = readFileSync(effects, 'utf8').split('\n').slice(0, -1)
  expect(happened.toSorted()).toEqual(Array.from({ length: count }, (_, index) => `item-${index}`).toSorted())
  return happened.length
}

const open = async (settings: Omit<TokenServerSettings, 'secret' | 'effects'>): Promise<number> => {
  const folder = mkdtempSync(join(tmpdir(), 'oncejob-tokens-'))
  cleanups.push(() => rmSync(folder, { recursive: true }))
  const effects = join(folder, 'effects')
  const all = { ...settings, secret: 'a secret of the test, long enough', effects }
  return everyUse(await Promise.all(Array.from({ length: servers }, () => startServer(all))), effects)
}

describe(`${servers} server processes, ${count} tokens used rightly and wrongly`, () => {
  it.skipIf(!postgres)(`on PostgreSQL${skipNote('PostgreSQL', postgres)}`, { timeout: 600_000 }, async () => {
    const database = await openTestPostgres()
    cleanups.push(() => database.close())
    expect(await open({ store: 'postgres', url: database.url, prefix: '' })).toBe(count)
  })

  it.skipIf(!redis)(`on Redis${skipNote('Redis', redis)}`, { timeout: 600_000 }, async () => {
    const store = openTestRedis()
    cleanups.push(() => store.close())
    expect(await open({ store: 'redis', url: store.url, prefix: store.prefix })).toBe(count)
  })
})

// Promises of the doctor's judgement: what is well, what is not, and that it says what to do.
import { describe, expect, it } from 'vitest'
import type { Backlog } from '../storage/doctor.ts'
import {
  judgeBacklog,
  judgeClock,
  judgeHorizon,
  judgeJava,
  judgeOpenApi,
  judgePartitions,
  judgeServers,
  judgeSettings,
  judgeTables,
  judgeUnknown,
  judgeWorkers,
} from './doctor.ts'

const settings = (changed: Record<string, string> = {}) =>
  Object.entries({
    fsync: 'on',
    synchronous_commit: 'on',
    full_page_writes: 'on',
    autovacuum: 'on',
    max_connections: '100',
    ...changed,
  }).map(([name, value]) => ({ name, value }))
const statuses = (lines: readonly { status: string }[]): string[] => lines.map(({ status }) => status)
const backlog: Backlog = {
  ready: 0,
  later: 0,
  blocked: 0,
  running: 0,
  unknown: 0,
  lagMs: 0,
  live: 1,
  draining: 0,
  late: 0,
}
const server = (name: string, version: string) => ({ id: 1, name, version, startedAt: new Date(), seenAt: new Date() })

describe('the doctor', () => {
  it('calls settings bad that lose acknowledged calls', () => {
    expect(statuses(judgeSettings('postgres', settings()))).toEqual(['ok'])
    expect(judgeSettings('postgres', settings({ fsync: 'off' }))[0]).toMatchObject({
      status: 'bad',
      says: expect.stringContaining('fsync = on'),
    })
    expect(judgeSettings('postgres', settings({ synchronous_commit: 'off' }))[0]?.status).toBe('bad')
    expect(statuses(judgeSettings('postgres', settings({ full_page_writes: 'off', autovacuum: 'off' })))).toEqual([
      'ok',
      'bad',
      'bad',
    ])
    expect(statuses(judgeSettings('postgres', settings({ max_connections: '10' })))).toEqual(['ok', 'warn'])
  })

  it('says of the embedded database whether it is durable, and nothing about what it does not have', () => {
    expect(judgeSettings('embedded', settings({ autovacuum: 'off', max_connections: '1' }))).toEqual([
      { status: 'ok', says: expect.stringContaining('durable') },
    ])
    expect(judgeSettings('embedded', settings({ fsync: 'off' }))[0]).toMatchObject({
      status: 'warn',
      says: expect.stringContaining('in memory'),
    })
  })

  it('warns of clocks that surely differ, not of a slow answer', () => {
    expect(judgeClock(100, 5).status).toBe('ok')
    expect(judgeClock(-900, 800).status).toBe('ok')
    expect(judgeClock(-900, 5)).toMatchObject({ status: 'warn', says: expect.stringContaining('900 ms behind') })
    expect(judgeClock(9_000, 5).status).toBe('bad')
  })

  it('names who holds old row versions and what to do about it', () => {
    expect(judgeHorizon([]).status).toBe('ok')
    expect(judgeHorizon([{ kind: 'connection', name: 'pid 3', transactions: 10, seconds: 2 }]).status).toBe('ok')
    const line = judgeHorizon([
      { kind: 'connection', name: 'pid 3', transactions: 10, seconds: 2 },
      { kind: 'connection', name: 'pid 4 of psql (idle in transaction)', transactions: 9, seconds: 400 },
    ])
    expect(line).toMatchObject({
      status: 'warn',
      says: expect.stringContaining('pid 4 of psql (idle in transaction), 400 s'),
    })
    expect(line.says).toContain('end that transaction')
    const slot = judgeHorizon([
      { kind: 'replication slot', name: 'old (inactive)', transactions: 20_000_000, seconds: null },
    ])
    expect(slot).toMatchObject({ status: 'bad', says: expect.stringContaining('drop that replication slot') })
  })

  it('names tables full of dead rows', () => {
    expect(judgeTables([{ name: 'attempt', live: 60_000, dead: 60_000 }])[0]?.status).toBe('ok')
    expect(judgeTables([{ name: 'attempt', live: 5, dead: 60_000 }])).toEqual([
      { status: 'warn', says: expect.stringContaining('VACUUM oncejob.attempt') },
    ])
  })

  it('warns before run ids have no partition', () => {
    expect([5_000_000, 500_000, 5_000].map((ahead) => judgePartitions(ahead).status)).toEqual(['ok', 'warn', 'bad'])
  })

  it('tells about servers, workers and waiting runs', () => {
    expect(judgeServers([server('a', '1'), server('b', '1')])).toEqual({ status: 'ok', says: '2 alive: a (1), b (1)' })
    expect(judgeServers([server('a', '1'), server('b', '2')]).status).toBe('warn')
    expect(judgeServers([]).status).toBe('warn')
    expect(judgeWorkers(backlog).status).toBe('ok')
    expect(judgeWorkers({ ...backlog, late: 1 }).status).toBe('warn')
    expect(judgeWorkers({ ...backlog, live: 0, ready: 1 }).status).toBe('warn')
    expect(judgeBacklog({ ...backlog, ready: 5, lagMs: 59_000 }).status).toBe('ok')
    expect(judgeBacklog({ ...backlog, ready: 5, lagMs: 120_000 })).toMatchObject({
      status: 'warn',
      says: expect.stringContaining('120 s'),
    })
  })

  it('counts the runs that wait for a decision, and names the command', () => {
    expect(judgeUnknown(backlog)).toEqual([])
    expect(judgeUnknown({ ...backlog, unknown: 3 })).toEqual([
      { status: 'warn', says: expect.stringMatching(/^3 runs .*oncejob run resolve/) },
    ])
  })

  it('names each switch of the PowerJob wire that is off, and how to set it', () => {
    expect(statuses(judgeOpenApi(true, []))).toEqual(['ok'])
    const loose = [{ name: 'shop', tokenless: true, collapse: 'off' as const }]
    expect(judgeOpenApi(true, loose)).toMatchObject([
      { status: 'warn', says: expect.stringContaining('oncejob apps set shop --tokenless off') },
      { status: 'warn', says: expect.stringContaining('oncejob apps set shop --collapse evidence') },
    ])
    expect(judgeOpenApi(false, loose).map(({ says }) => says)).toEqual([
      expect.stringContaining('ONCEJOB_POWERJOB_AUTH=on'),
      expect.stringContaining('--collapse'),
    ])
  })

  it('says where Java workers are taken, and warns of apps that take them from anywhere', () => {
    const here = { address: '127.0.0.1:10010', silentMs: 0, sessions: 1 }
    const there = { address: '10.0.0.5:10010', silentMs: 0, sessions: 2 }
    expect(judgeJava([], [])).toEqual([{ status: 'ok', says: 'no server takes Java workers' }])
    expect(judgeJava([there, here], [])).toEqual([
      {
        status: 'ok',
        says: 'Java workers are taken at 10.0.0.5:10010 (2 workers), 127.0.0.1:10010 (1 worker, for workers on its machine only)',
      },
    ])
    expect(statuses(judgeJava([here], ['shop']))).toEqual(['ok', 'warn'])
  })
})

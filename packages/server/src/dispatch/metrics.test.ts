// Promises of the metrics: names and units by Prometheus conventions, gauges that never show an old value.
import { Registry } from 'prom-client'
import { describe, expect, it } from 'vitest'
import { silentLog } from '../kernel/log.ts'
import type { Queries } from '../storage/db.ts'
import { collectBacklog, createMetrics } from './metrics.ts'

const backlog = { ready: 3, later: 2, blocked: 1, running: 4, unknown: 6, lagMs: 1500, live: 2, draining: 1, late: 0 }

const answering = (answer: () => unknown): { db: Queries; asked: () => number } => {
  let asked = 0
  return {
    asked: () => asked,
    db: {
      query: async <R>() => {
        asked += 1
        return [answer()] as R[]
      },
    },
  }
}

describe('metrics', () => {
  it('count what the core tells, with times in seconds', async () => {
    const registry = new Registry()
    const metrics = createMetrics(registry)
    metrics.submitted(5, 20)
    metrics.claimed(0, 2)
    metrics.completed(2, 7)
    metrics.logged(9)
    metrics.runsEnded('succeeded', 2)
    metrics.runsEnded('failed')
    metrics.runsUnknown('lost', 4)
    metrics.runsUnknown('effect')
    metrics.attemptsEnded('timed-out')
    metrics.leasesLost(3)
    metrics.duplicatesRefused('report_lost')
    metrics.fires('fired')
    metrics.fireLateness(250)
    metrics.fireLateness(-5)
    const text = await registry.metrics()
    for (const line of [
      'oncejob_runs_submitted_total 5',
      'oncejob_runs_ended_total{state="succeeded"} 2',
      'oncejob_runs_ended_total{state="failed"} 1',
      'oncejob_runs_unknown_total{reason="lost"} 4',
      'oncejob_runs_unknown_total{reason="effect"} 1',
      'oncejob_attempts_total{outcome="timed-out"} 1',
      'oncejob_leases_lost_total 3',
      'oncejob_duplicates_refused_total{kind="report_lost"} 1',
      'oncejob_fires_total{outcome="fired"} 1',
      'oncejob_fire_lateness_seconds_sum 0.25',
      'oncejob_fire_lateness_seconds_count 2',
      'oncejob_submit_seconds_sum 0.02',
      'oncejob_claim_seconds_count 1',
      'oncejob_complete_seconds_count 1',
      'oncejob_batch_size_sum{kind="submit"} 5',
      'oncejob_batch_size_sum{kind="log"} 9',
    ])
      expect(text.split('\n')).toContain(line)
    // an empty claim has a time and no size
    expect(text).not.toContain('kind="claim"')
    expect(text).toContain('process_cpu_seconds_total')
  })

  it('have names of their own with a unit or _total last', async () => {
    const registry = new Registry()
    createMetrics(registry)
    collectBacklog(registry, { db: answering(() => backlog).db, log: silentLog })
    const own = (await registry.getMetricsAsJSON()).filter(({ name }) => name.startsWith('oncejob_'))
    expect(own.length).toBe(15)
    for (const { name, type } of own)
      if (String(type) === 'counter') expect(name).toMatch(/_total$/)
      else expect(name).toMatch(/_(seconds|size|runs|sessions)$/)
  })

  it('read the backlog once per scrape', async () => {
    const registry = new Registry()
    const { db, asked } = answering(() => backlog)
    collectBacklog(registry, { db, log: silentLog })
    const text = await registry.metrics()
    expect(asked()).toBe(1)
    for (const line of [
      'oncejob_runs{state="ready"} 3',
      'oncejob_runs{state="running"} 4',
      'oncejob_runs{state="unknown"} 6',
      'oncejob_queue_lag_seconds 1.5',
      'oncejob_sessions{state="draining"} 1',
    ])
      expect(text.split('\n')).toContain(line)
  })

  it('show no old backlog while the database is away, and the new one after', async () => {
    const registry = new Registry()
    let away = false
    const { db } = answering(() => {
      if (away) throw new Error('away')
      return backlog
    })
    collectBacklog(registry, { db, log: silentLog })
    await registry.metrics()
    away = true
    expect(await registry.metrics()).not.toMatch(/^oncejob_/m)
    away = false
    expect(await registry.metrics()).toContain('oncejob_queue_lag_seconds 1.5')
  })
})

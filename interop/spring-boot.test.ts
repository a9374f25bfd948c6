// Applications with PowerJob's Spring Boot starter: what they change to come here is two lines, those that the page shows.
import type { RunDetail } from '@oncejob/protocol'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { until } from '../e2e/support/until.ts'
import { openJavaFleet, type JavaApp, type JavaFleet } from './support/java-fleet.ts'
import {
  bootToday,
  documentedSettings,
  isBuilt,
  springApps,
  startSpringApp,
  type Settings,
  type SpringApp,
} from './support/spring-app.ts'

const { before, after } = documentedSettings()
const appName = after['powerjob.worker.app-name'] ?? ''
const serverAddress = 'powerjob.worker.server-address'
const bean = 'oncejob.interop.boot.CountStock'

let java: JavaFleet
let app: JavaApp
beforeAll(async () => {
  java = await openJavaFleet()
  app = await java.openApp(appName)
})
afterAll(async () => {
  if (process.env['INTEROP_WORDS'] === '1') process.stdout.write(java.words())
  await java.close()
})

/** Settings of the page, with the servers of this test. */
const here = (settings: Settings): Settings => ({
  ...settings,
  [serverAddress]: java.fleet.urls.map((url) => new URL(url).host).join(','),
})

it('the page changes the addresses of the servers and the protocol, and nothing else', () => {
  expect(Object.keys(after)).toEqual(Object.keys(before))
  const changed = Object.keys(after).filter((name) => after[name] !== before[name])
  expect(changed.toSorted()).toEqual(['powerjob.worker.protocol', serverAddress])
  expect([before['powerjob.worker.protocol'], after['powerjob.worker.protocol']]).toEqual(['akka', 'http'])
})

const apps = springApps.filter((name) => name !== bootToday || isBuilt(name))
if (!isBuilt(bootToday)) process.stdout.write('SKIPPED Spring Boot 3: it needs a JDK 17\n')

describe.concurrent.for(apps)('%s', (name) => {
  let address: string
  let spring: SpringApp
  beforeAll(async () => {
    spring = await startSpringApp(name, java.fleet.folder, here(after))
    await spring.child().says(/^READY$/m)
    await app.heard(spring)
    const { items } = await app.client.workers.list().page()
    address = items.find((worker) => worker.address?.endsWith(`:${spring.port}`))?.address ?? ''
  })

  let jobs = 0
  const run = async (processorInfo: string, params?: string, more: object = {}): Promise<RunDetail> => {
    jobs += 1
    const jobId = await app.saveJob(`${name} ${jobs}`, {
      processorInfo,
      jobParams: 'the shop',
      designatedWorkers: address,
      ...more,
    })
    return app.ended(await app.runJob(jobId, params))
  }

  it('is a worker like any other', async ({ expect }) => {
    const { items } = await app.client.workers.list().page()
    const version = /^boot-(\d+\.\d+\.\d+)/.exec(name)?.[1]
    expect(items.find((worker) => worker.address === address)).toMatchObject({ state: 'live', version })
  })

  it('a bean is executed under the name of its class and under its own, with parameters and log', async ({
    expect,
  }) => {
    const done = await run(bean, 'pears')
    expect(done).toMatchObject({ state: 'succeeded', result: 'the shop: 5 of pears', worker: address, attempts: 1 })
    expect(await run('countStock', 'figs')).toMatchObject({ state: 'succeeded', result: 'the shop: 4 of figs' })
    const lines = await until('its log is there', async () => {
      const page = await app.client.runs.logs(done.id)
      return page.lines.length === 2 ? page.lines : undefined
    })
    expect(lines.map(({ level, text }) => [level, text])).toEqual([
      ['info', 'counting pears for the shop'],
      ['warn', 'few of pears'],
    ])
  })

  it('a method is executed under bean and handler, or class and handler', async ({ expect }) => {
    expect(await run('reports#daily', 'pears')).toMatchObject({ state: 'succeeded', result: 'daily: 5' })
    expect(await run('reports#daily', 'figs')).toMatchObject({ state: 'succeeded', result: 'daily: 4' })
    const weekly = 'oncejob.interop.boot.Reports#weekly'
    expect(await run(weekly, 'pears')).toMatchObject({ state: 'succeeded', result: 'weekly: 5' })
    const failed = await run(weekly)
    expect(failed.state).toBe('failed')
    expect(failed.error?.message).toContain('a report needs its article')
  })

  it('a bean or a method that is not there fails the run and says so', async ({ expect }) => {
    for (const nothing of ['oncejob.interop.boot.Nobody', 'reports#never']) {
      const failed = await run(nothing)
      expect(failed).toMatchObject({ state: 'failed', attempts: 1 })
      expect(failed.error?.message).toContain('fetch Processor failed')
    }
  })

  it('one that comes with the old protocol does not start, and the log of the server says what to set', async ({
    expect,
  }) => {
    const wrong = (await startSpringApp(name, java.fleet.folder, here(before))).child()
    await wrong.says(/Application run failed[^]*can't find any available server, this worker has been quarantined/)
    expect(wrong.stdout()).not.toContain('READY')
    // the worker keeps the reason to itself, and AKKA its process alive
    await wrong.kill()
    const logs = java.fleet.servers.map((server) => server.child().stdout() + server.child().stderr()).join('\n')
    expect(logs).toMatch(/worker with another protocol refused/)
    expect(logs).toContain('powerjob.worker.protocol=http')
  })

  it('the same handler under two names is refused by the worker', async ({ expect }) => {
    expect(await run('reports#monthly', 'pears')).toMatchObject({ state: 'succeeded', result: 'monthly: 5' })
    expect(await run('oncejob.interop.boot.Reports#monthly', 'pears')).toMatchObject({ state: 'failed' })
    expect(await run('reports#monthly', 'figs')).toMatchObject({ state: 'succeeded', result: 'monthly: 4' })
  })
})

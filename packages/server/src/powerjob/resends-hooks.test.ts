// What recognises re-sent calls is told of everything, and what it finds reaches the client.
import { afterEach, describe, expect, it } from 'vitest'
import type { Endpoint } from './call.ts'
import type { LegacyCall, PathFacts, Resends } from './resends-api.ts'
import { connectRaw } from './testing/raw-http.ts'
import { md5, passed, passwordOf, startNoting, type WireRig, type WireRigOptions } from './testing/wire-rig.ts'

const running: WireRig[] = []
const start = async (options: WireRigOptions = {}) => {
  const rig = await startNoting(options)
  running.push(rig)
  return rig
}
afterEach(async () => {
  await Promise.all(running.splice(0).map((rig) => rig.http.stop(0)))
})

describe('what recognises re-sent calls', () => {
  const recording = () => {
    const seen: (
      | { issued: string; presented: string | null; route: PathFacts }
      | { rejected: string; route: PathFacts }
      | { ran: LegacyCall }
      | { delivered: number }
      | { undelivered: number }
    )[] = []
    const resends: Resends = {
      onIssued: async (route, issued, presented) => void seen.push({ issued, presented, route }),
      onRejected: async (route, rejected) => void seen.push({ rejected, route }),
      run: async (call, execute) => {
        seen.push({ ran: call })
        return { answer: await execute({ id: 42, key: null }), collapsed: null }
      },
      delivered: (delivered) => void seen.push({ delivered }),
      undelivered: (undelivered) => void seen.push({ undelivered }),
    }
    return { seen, resends }
  }

  it('hears of every token, rejection, call and delivery, with the path of each', async () => {
    const { seen, resends } = recording()
    const { call, form, json, credentials } = await start({ resends })
    const shop = await credentials()
    const body = { appName: 'shop', encryptedPassword: md5(passwordOf), encryptType: 'md5' }
    await call(json('/authApp', body, { ...shop, Via: '1.1 proxy', 'X-Forwarded-For': '10.0.0.1' }))
    const same = form('/runJob', { appId: '7', jobId: '1' }, shop)
    await call(same)
    await call(same)
    await call(form('/runJob', { appId: '7', jobId: '2' }, shop))
    await call(form('/runJob', { appId: '7', jobId: '1' }, { ...shop, 'X-POWERJOB-ACCESS-TOKEN': 'a.b.c' }))
    await call(form('/fetchInstanceStatus', { appId: '7' }, { ...shop, 'Idempotency-Key': 'ignored-for-reads' }))
    await call(form('/runJob', { appId: '7', jobId: '1' }, { ...shop, 'Idempotency-Key': 'order-4711' }))
    await expect.poll(() => seen.filter((one) => 'delivered' in one)).toHaveLength(5)
    expect(seen.filter((one) => 'undelivered' in one)).toEqual([])
    const [first, second] = seen.flatMap((one) => ('issued' in one ? [one] : []))
    expect(first).toMatchObject({
      presented: null,
      route: { appId: 7, httpVersion: '1.1', host: 'localhost', via: '' },
    })
    expect(first?.route.peer).toContain('127.0.0.1')
    expect(first?.route.localPort).toBeGreaterThan(0)
    expect(second).toMatchObject({ presented: first?.issued, route: { via: '1.1 proxy | 10.0.0.1' } })
    expect(second?.issued).not.toBe(first?.issued)
    const ran = seen.flatMap((one) => ('ran' in one ? [one.ran] : []))
    const [rejected] = seen.flatMap((one) => ('rejected' in one ? [one] : []))
    expect(ran.map(({ path, mutates, keyed, jti }) => ({ path, mutates, keyed, jti }))).toEqual([
      { path: '/runJob', mutates: true, keyed: false, jti: first?.issued },
      { path: '/runJob', mutates: true, keyed: false, jti: first?.issued },
      { path: '/runJob', mutates: true, keyed: false, jti: first?.issued },
      { path: '/fetchInstanceStatus', mutates: false, keyed: false, jti: first?.issued },
      { path: '/runJob', mutates: true, keyed: true, jti: first?.issued },
    ])
    expect(ran[1]?.fingerprint).toBe(ran[0]?.fingerprint)
    expect(ran[2]?.fingerprint).not.toBe(ran[0]?.fingerprint)
    expect(rejected).toMatchObject({ rejected: ran[0]?.fingerprint, route: ran[0]?.route })
    expect(ran[0]).toMatchObject({ collapse: 'evidence', appId: 7 })
  })

  it('gives no token a name that is not ours, and the check that is off gives each its own', async () => {
    const { seen, resends } = recording()
    const { call, form, credentials } = await start({ resends, settings: { auth: false } })
    const shop = await credentials()
    await call(form('/runJob', { appId: '7' }, shop))
    await call(form('/runJob', { appId: '7' }, { ...shop, 'X-POWERJOB-ACCESS-TOKEN': 'a.b.c' }))
    await call(form('/runJob', { appId: '7' }))
    const [issued] = seen.flatMap((one) => ('issued' in one ? [one.issued] : []))
    expect(seen.flatMap((one) => ('ran' in one ? [one.ran.jti] : []))).toEqual([issued, null, null])
  })

  it('whose bookkeeping of tokens fails costs no login and no rejection', async () => {
    const { resends } = recording()
    const fail = (): Promise<never> => Promise.reject(new Error('no table'))
    const { login, call, form, logged } = await start({ resends: { ...resends, onIssued: fail, onRejected: fail } })
    expect(await login()).toMatchObject({ success: true })
    expect(passed(await call(form('/runJob', { appId: '7' })))).toBe('false')
    expect(logged.filter(({ level }) => level === 'warn')).toHaveLength(2)
  })

  it('tells a collapsed call to the client, and counts it', async () => {
    const { resends } = recording()
    const collapsed = { into: 41, kind: 'first-use' } as const
    const answer = { outcome: 'done', body: '{"success":true,"data":15,"message":null}' } as const
    const rig = await start({ resends: { ...resends, run: async () => ({ answer, collapsed }) } })
    const got = await rig.call(rig.form('/runJob', { appId: '7' }, await rig.credentials()))
    expect(got.body).toBe(answer.body)
    expect(got.lines).toContain('X-Resend-Collapsed: 41')
    expect(rig.executed).toEqual([])
    expect(await rig.registry.metrics()).toContain('legacy_resend_total{app="shop",kind="first-use"} 1')
    expect(rig.logged.find(({ facts }) => facts['outcome'] === 'collapsed')?.facts).toMatchObject({
      repeat: 'first-use',
    })
  })

  it('hears when an answer could not be delivered', async () => {
    const { seen, resends } = recording()
    let letGo = (): void => undefined
    const held = new Promise<void>((resolve) => (letGo = resolve))
    let begun = (): void => undefined
    const isBegun = new Promise<void>((resolve) => (begun = resolve))
    const slow: Endpoint = {
      path: '/slow',
      accepts: 'form',
      mutates: true,
      keyed: 'statement',
      app: 'appId',
      handle: async () => {
        begun()
        await held
        return 1
      },
    }
    const rig = await start({ endpoints: [slow], resends })
    const connection = await connectRaw(rig.url)
    connection.send(rig.form('/slow', { appId: '7' }, await rig.credentials()))
    await isBegun
    connection.socket.destroy()
    await expect.poll(() => seen.filter((one) => 'undelivered' in one)).toEqual([{ undelivered: 42 }])
    letGo()
  })
})

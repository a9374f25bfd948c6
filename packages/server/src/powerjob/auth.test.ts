// Who may call: /authApp and /assert, the order of the checks of a token, and the app that a call is for.
import { afterEach, describe, expect, it } from 'vitest'
import { fakeClock } from '@oncejob/testkit'
import { md5, passed, passwordOf, startNoting, testApp, type WireRig, type WireRigOptions } from './testing/wire-rig.ts'

const running: WireRig[] = []
const start = async (options: WireRigOptions = {}) => {
  const rig = await startNoting(options)
  running.push(rig)
  return rig
}
afterEach(async () => {
  await Promise.all(running.splice(0).map((rig) => rig.http.stop(0)))
})

const rejectionOf = (message: string, code: string): string => JSON.stringify({ success: false, message, code })

describe('/authApp and /assert', () => {
  it('answer as PowerJob does, with a code where it has one', async () => {
    const apps = [await testApp(7, 'shop'), await testApp(9, 'bare', { passwordHash: null, passwordVersion: 0 })]
    const { call, json, form } = await start({ apps })
    const said = async (bytes: Buffer): Promise<unknown> => JSON.parse((await call(bytes)).body)
    const ask = (body: object) => said(json('/authApp', body))
    const no = (message: string, code: string | null) => ({ success: false, data: null, message, code })
    const encryptedPassword = md5(passwordOf)
    const good = await call(json('/authApp', { appName: 'shop', encryptedPassword, encryptType: 'MD5', extra: {} }))
    expect(good.body).toMatch(
      /^\{"success":true,"data":\{"appId":7,"token":"[^"]+","extra":null\},"message":null,"code":null\}$/,
    )
    expect(await ask({ appName: 'shop', encryptedPassword: passwordOf })).toMatchObject({ success: true })
    expect(await ask({ appName: 'shop', encryptedPassword: passwordOf, encryptType: 'none' })).toMatchObject({
      success: true,
    })
    expect(await ask({ appName: 'nobody', encryptedPassword, encryptType: 'md5' })).toEqual(
      no('INVALID_APP:nobody', '-402'),
    )
    expect(await ask({ appName: 'nobody', encryptedPassword, encryptType: 'rot13' })).toEqual(
      no('INVALID_APP:nobody', '-402'),
    )
    expect(await ask({ appName: 'shop', encryptedPassword: md5('no'), encryptType: 'md5' })).toEqual(
      no('INCORRECT_PASSWORD', '-400'),
    )
    expect(await ask({ appName: 'shop', encryptedPassword: passwordOf, encryptType: 'md5' })).toEqual(
      no('INCORRECT_PASSWORD', '-400'),
    )
    expect(await ask({ appName: 'shop', encryptedPassword, encryptType: 'rot13' })).toEqual(
      no('INVALID_REQUEST:unknown_encryptType:rot13', '-300'),
    )
    expect(await ask({ appName: 'shop', encryptType: 'md5' })).toMatchObject({ success: false, code: '-500' })
    expect(await ask({ appName: 'bare', encryptedPassword: md5(''), encryptType: 'md5' })).toEqual(
      no('INCORRECT_PASSWORD', '-400'),
    )
    expect(await ask({})).toEqual(no('INVALID_APP:', '-402'))
    const assert = (fields: Record<string, string>) => said(form('/assert', fields))
    expect(await assert({ appName: 'shop', password: passwordOf })).toEqual({ success: true, data: 7, message: null })
    expect(await assert({ appName: 'bare' })).toEqual({ success: true, data: 9, message: null })
    expect(await assert({ appName: 'shop', password: 'x' })).toEqual(
      no('PowerJobException: INCORRECT_PASSWORD', '-400'),
    )
    expect(await assert({ appName: 'no', password: 'x' })).toEqual(no('PowerJobException: INVALID_APP:no', '-402'))
    expect(await assert({ appName: 'shop' })).toMatchObject({
      message: expect.stringContaining('NullPointerException: '),
    })
    expect(await assert({ appName: 'bare', password: 'x' })).toMatchObject({ code: '-400' })
  })

  it('never issue the same token twice', async () => {
    const { login } = await start()
    const tokens = await Promise.all(Array.from({ length: 20 }, async () => (await login()).data.token))
    expect(new Set(tokens).size).toBe(20)
  })
})

describe('a call', () => {
  it('is rejected for its token in the order of PowerJob, before anything is executed', async () => {
    const clock = fakeClock()
    const apps = [await testApp(7, 'shop'), await testApp(8, 'bank')]
    const { call, form, credentials, executed } = await start({ apps, clock, settings: { tokenSeconds: 100 } })
    const shop = await credentials()
    const said = async (headers: Record<string, string>): Promise<string> => {
      const answer = await call(form('/runJob', { appId: '7' }, headers))
      expect(passed(answer)).toBe('false')
      return answer.body
    }
    const token = shop['X-POWERJOB-ACCESS-TOKEN'] ?? ''
    for (const id of ['', 'null', 'undefined'])
      expect(await said({ 'X-POWERJOB-APP-ID': id, 'X-POWERJOB-ACCESS-TOKEN': token })).toBe(
        rejectionOf('INVALID_REQUEST:lack_of_appId_in_header', '-300'),
      )
    for (const none of ['', 'null', 'undefined'])
      expect(await said({ ...shop, 'X-POWERJOB-ACCESS-TOKEN': none })).toBe(
        rejectionOf('OPEN_API_AUTH_FAILED:token_is_empty', '-1002'),
      )
    expect(await said({ ...shop, 'X-POWERJOB-ACCESS-TOKEN': `${token}x` })).toMatch(/INVALID_TOKEN:.*"-401"/)
    expect(await said({ ...shop, 'X-POWERJOB-APP-ID': '8' })).toBe(
      rejectionOf('INVALID_REQUEST:Inconsistent_appId_from_token_and_header', '-300'),
    )
    apps[0] = await testApp(7, 'shop', { passwordVersion: 2 })
    await clock.advance(1_001)
    expect(await said(shop)).toBe(rejectionOf('INCORRECT_PASSWORD', '-400'))
    apps.shift()
    await clock.advance(1_001)
    expect(await said(shop)).toBe(rejectionOf('INVALID_APP:can_not_find_app', '-402'))
    await clock.advance(100_000)
    expect(await said(shop)).toMatch(/"TOKEN_EXPIRED:.*"-403"/)
    expect(executed).toEqual([])
  })

  it('is for the app of its token, wherever it names another', async () => {
    const { call, form, json, credentials, executed } = await start()
    const shop = await credentials('shop')
    const denied = [
      form('/runJob', { appId: '8' }, shop),
      json('/saveJob', { appId: 8 }, shop),
      json('/saveJob', { appId: '8' }, shop),
      json('/queryJob', { appIdEq: 8 }, shop),
      json('/addWorkflowNode', [{ appId: 8 }], shop),
      json('/addWorkflowNode', [{}, { appId: 8 }], shop),
      form('/fetchInstanceStatus', { instanceId: '1', appId: '8' }, shop),
    ]
    for (const bytes of denied) {
      const answer = await call(bytes)
      // sending it again with a new token would change nothing
      expect(passed(answer)).toBe('true')
      expect(JSON.parse(answer.body)).toMatchObject({
        success: false,
        message: expect.stringContaining('PowerJobException: Permission Denied!'),
        code: '-300',
      })
    }
    const mixed = await call(json('/addWorkflowNode', [{ appId: 7 }, { appId: 8 }], shop))
    expect(JSON.parse(mixed.body)).toMatchObject({ success: false, message: expect.stringContaining('same app') })
    expect((await call(form('/runJob', {}, shop))).body).toContain('NullPointerException')
    expect((await call(json('/queryJob', {}, shop))).body).toContain("PowerJobException: appIdEq can't be empty")
    expect(executed).toEqual([])
    const taken = [
      form('/runJob', { appId: '7' }, shop),
      json('/saveJob', { appId: '7' }, shop),
      json('/saveJob', { appId: null }, shop),
      json('/queryJob', { appIdEq: 7 }, shop),
      json('/addWorkflowNode', [{ appId: 7 }, {}], shop),
      form('/fetchInstanceStatus', { instanceId: '5' }, shop),
    ]
    for (const bytes of taken) expect(JSON.parse((await call(bytes)).body)).toMatchObject({ success: true })
    expect(executed.map(({ appId, actor }) => `${appId} ${actor}`)).toEqual(taken.map(() => '7 powerjob/shop'))
  })

  it('without a token is taken where the app or the server allows it, for the app that it names and that exists', async () => {
    const apps = [await testApp(7, 'old', { tokenless: true }), await testApp(8, 'strict')]
    const { call, form, json, executed } = await start({ apps })
    const fine = [
      form('/runJob', { appId: '7' }),
      json('/saveJob', { appId: 7 }),
      json('/addWorkflowNode', [{ appId: 7 }]),
      form('/fetchInstanceStatus', { instanceId: '1' }),
    ]
    for (const bytes of fine) expect(JSON.parse((await call(bytes)).body)).toMatchObject({ success: true })
    expect(executed.map(({ appId }) => appId)).toEqual([7, 7, 7, 7])
    for (const bytes of [
      form('/runJob', { appId: '8' }),
      form('/runJob', { appId: '99' }),
      form('/runJob', { appId: '99999999999999999999' }),
      form('/runJob', {}),
      json('/saveJob', '{'),
      form('/fetchInstanceStatus', { instanceId: '2' }),
      form('/runJob', { appId: '8' }, { 'X-POWERJOB-APP-ID': '8' }),
    ]) {
      const answer = await call(bytes)
      expect(passed(answer)).toBe('false')
      expect(JSON.parse(answer.body)).toMatchObject({ success: false, message: expect.not.stringContaining('app_not') })
    }
    expect(executed).toHaveLength(4)
    // a token that is sent counts also where none is needed
    const broken = await call(
      form('/runJob', { appId: '7' }, { 'X-POWERJOB-APP-ID': '7', 'X-POWERJOB-ACCESS-TOKEN': 'a.b.c' }),
    )
    expect(passed(broken)).toBe('false')

    const off = await start({ apps, settings: { auth: false } })
    expect(JSON.parse((await off.call(off.form('/runJob', { appId: '8' }))).body)).toMatchObject({ success: true })
    const unknown = await off.call(off.form('/runJob', { appId: '99' }))
    expect(passed(unknown)).toBe('true')
    expect(JSON.parse(unknown.body)).toMatchObject({ success: false, code: '-402' })
    expect(await off.login('strict', 'wrong')).toMatchObject({ success: false, code: '-400' })
    expect(off.executed.map(({ appId }) => appId)).toEqual([8])
  })
})

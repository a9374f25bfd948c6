// Whatever is sent: never anything else than an answer in the form of the wire, and nothing executed that is not told.
import { afterEach, describe, expect, it } from 'vitest'
import { seededRandom, seedFromEnv } from '@oncejob/testkit'
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

describe('whatever is sent', () => {
  it('is answered with the header and JSON, and executed only when it says success', async () => {
    const random = seededRandom(seedFromEnv())
    const { call, form, json, credentials, executed, login } = await start()
    const headers = await credentials()
    const below = (limit: number): number => Math.floor(random.next() * limit)
    const pick = <T>(from: readonly T[]): T => from[below(from.length)]!
    const junk = (): Buffer => Buffer.from(random.bytes(below(200)))
    const base = [
      () => json('/authApp', { appName: 'shop', encryptedPassword: md5(passwordOf), encryptType: 'md5' }, headers),
      () => form('/assert', { appName: 'shop', password: passwordOf }),
      () => form('/runJob', { appId: '7', jobId: '1', instanceParams: 'ä\u0001{}' }, headers),
      () => json('/saveJob', { appId: 7, jobName: 'x', dag: { nodes: [1, '2', null] } }, headers),
      () => json('/addWorkflowNode', [{ appId: 7 }], headers),
      () => json('/queryJob', { appIdEq: 7 }, headers),
    ]
    const bodyAt = (bytes: Buffer): number => bytes.indexOf('\r\n\r\n') + 4
    const withBody = (bytes: Buffer, change: (body: Buffer) => Buffer): Buffer => {
      const at = bodyAt(bytes)
      const body = change(bytes.subarray(at))
      const head = bytes
        .subarray(0, at)
        .toString('latin1')
        .replace(/Content-Length: \d+/, `Content-Length: ${body.length}`)
      return Buffer.concat([Buffer.from(head, 'latin1'), body])
    }
    const splice = (body: Buffer, at: number, cut: number, put: Buffer): Buffer =>
      Buffer.concat([body.subarray(0, at), put, body.subarray(at + cut)])
    const mutations: ((bytes: Buffer) => Buffer)[] = [
      (bytes) => withBody(bytes, (body) => splice(body, below(body.length + 1), below(4), junk().subarray(0, 4))),
      (bytes) => withBody(bytes, (body) => body.subarray(0, below(body.length + 1))),
      (bytes) =>
        withBody(bytes, (body) =>
          splice(
            body,
            below(body.length + 1),
            0,
            Buffer.from(
              pick([
                '"',
                '{',
                '}',
                '[',
                '\\',
                '%',
                '&',
                '=',
                '\0',
                '\\u0000',
                '\ud800',
                '9'.repeat(30),
                '1e999',
                '"__proto__":1,',
              ]),
            ),
          ),
        ),
      (bytes) => withBody(bytes, junk),
      (bytes) => withBody(bytes, () => Buffer.alloc(0)),
      (bytes) =>
        Buffer.from(
          bytes
            .toString('latin1')
            .replace(
              /Content-Type: [^\r]*/,
              `Content-Type: ${pick(['', 'text/xml', 'application/json', 'application/x-www-form-urlencoded; charset=utf-8', 'multipart/form-data; boundary=x', ';;', 'application/json; charset=utf-16'])}`,
            ),
          'latin1',
        ),
      (bytes) =>
        Buffer.from(
          bytes
            .toString('latin1')
            .replace(
              /X-POWERJOB-ACCESS-TOKEN: [^\r]*/,
              () => `X-POWERJOB-ACCESS-TOKEN: ${junk().toString('base64url')}`,
            ),
          'latin1',
        ),
      (bytes) =>
        Buffer.from(
          bytes
            .toString('latin1')
            .replace(
              /X-POWERJOB-APP-ID: [^\r]*/,
              `X-POWERJOB-APP-ID: ${pick(['8', '-1', '1e9', '99999999999999999999', 'x'])}`,
            ),
          'latin1',
        ),
      (bytes) =>
        Buffer.from(
          bytes
            .toString('latin1')
            .replace(
              / HTTP\/1.1/,
              () =>
                `${pick(['?appId=8', '?appId=7', '?%ff=1', '?a&a=1', `?${encodeURIComponent(junk().toString('latin1'))}`])} HTTP/1.1`,
            ),
          'latin1',
        ),
    ]
    const about = `seed ${random.seed}`
    let succeeded = 0
    for (let i = 0; i < 600; i += 1) {
      let bytes = pick(base)()
      for (let n = 1 + below(2); n > 0; n -= 1) bytes = pick(mutations)(bytes)
      const before = executed.length
      const answer = await call(bytes)
      const label = `${about}, ${i}: ${JSON.stringify(bytes.toString('latin1').slice(-300))}`
      expect(answer.status, label).toBe(200)
      expect(passed(answer), label).toMatch(/^(true|false)$/)
      const said = JSON.parse(answer.body) as { success: boolean; message: string | null }
      expect(typeof said.success, label).toBe('boolean')
      expect(said.message ?? '', label).not.toContain('something broke inside')
      const isCall = !/ \/openApi\/(authApp|assert)/.test(bytes.toString('latin1'))
      expect(executed.length - before, label).toBe(said.success && isCall ? 1 : 0)
      if (passed(answer) === 'false') expect(said.success, label).toBe(false)
      if (said.success) succeeded += 1
    }
    // neither all nor nothing: the mutations must not be too weak or too strong to say anything
    expect(succeeded, about).toBeGreaterThan(20)
    expect(succeeded, about).toBeLessThan(580)
    expect(await login()).toMatchObject({ success: true })
  })
})

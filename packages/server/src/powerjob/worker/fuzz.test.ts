// Whatever comes in on the ports of Java workers: an answer, bounded memory, and honest workers that notice nothing of it.
import { afterEach, describe, expect, it } from 'vitest'
import { seededRandom, seedFromEnv } from '@oncejob/testkit'
import { connectRaw, once, rawRequest } from '../testing/raw-http.ts'
import { startTransport, type TransportRig } from '../testing/transport-rig.ts'
import { messagePaths } from './messages.ts'

let rig: TransportRig | undefined
afterEach(async () => {
  await rig?.stop()
  rig = undefined
})

const known = Object.values(messagePaths)
const json = { 'content-type': 'application/json' }
const honest = '{"workerAddress":"127.0.0.1:27777","honest":true}'

/** An honest worker on a connection of its own; resolves with how many of its messages were answered. */
const beHonest = async (url: string, until: () => boolean): Promise<number> => {
  const connection = await connectRaw(url)
  let answered = 0
  while (!until()) {
    connection.send(rawRequest(messagePaths.status, honest, json))
    const answer = await connection.answer()
    expect([answer?.status, answer?.body]).toEqual([200, '{"success":true}'])
    answered += 1
  }
  connection.socket.destroy()
  return answered
}

describe('whatever comes in', () => {
  it('is answered or cut off, and never stops the honest', async () => {
    const random = seededRandom(seedFromEnv())
    const about = `seed ${random.seed}`
    rig = await startTransport()
    const one = rig
    const below = (limit: number): number => Math.floor(random.next() * limit)
    const pick = <T>(from: readonly T[]): T => from[below(from.length)]!
    const junk = (most = 300): Buffer => Buffer.from(random.bytes(below(most)))
    const value = (): unknown =>
      pick<unknown>([
        null,
        true,
        -1,
        2 ** 53,
        1e308,
        'x',
        '\u0000',
        '\uD800',
        {},
        [],
        [[]],
        [null, 1],
        '99999999999999999999',
        '127.0.0.1:27777',
      ])
    const member = (): string =>
      pick([
        'workerAddress',
        'appId',
        'instanceId',
        'instanceLogContents',
        'systemMetrics',
        'containerInfos',
        '__proto__',
        'constructor',
      ])
    const message = (): string =>
      JSON.stringify(Object.fromEntries(Array.from({ length: below(6) }, () => [member(), value()])))
    const mangled = (): Buffer => {
      const bytes = Buffer.from(message())
      for (let n = below(4); n > 0 && bytes.length > 0; n -= 1) bytes[below(bytes.length)] = below(256)
      return bytes.subarray(0, below(bytes.length + 1))
    }
    const kinds: readonly (() => Buffer)[] = [
      () => rawRequest(pick(known), message(), json),
      () => rawRequest(pick(known), mangled(), json),
      () => rawRequest(pick(known), junk(), json),
      () => rawRequest(pick(known), `{'a':'${'['.repeat(below(100))}`, json),
      () =>
        rawRequest(
          `${pick(known)}${pick(['', '?a=1', '/', '%00', '/../x'])}`,
          message(),
          json,
          pick(['GET', 'POST', 'PUT', 'DELETE']),
        ),
      () =>
        rawRequest(pick(known), message(), {
          ...json,
          'content-length': pick(['-1', 'x', '0', '99999999', '1e3', '18446744073709551616']),
        }),
      () => rawRequest(pick(known), message(), { ...json, 'transfer-encoding': 'chunked' }),
      () => rawRequest(pick(known), message(), { 'x-long': 'y'.repeat(below(40_000)) }),
      () =>
        rawRequest(
          `/server/${pick(['assert', 'acquire', 'checkConnectivity', 'assertV2', 'alive'])}?${pick(['appName', 'appId', 'targetIp'])}=${encodeURIComponent(junk(20).toString('latin1'))}&%ff=%&protocol=HTTP`,
          '',
          {},
          'GET',
        ),
      () =>
        rawRequest(`/container/downloadJar?version=${encodeURIComponent(junk(40).toString('latin1'))}`, '', {}, 'GET'),
      () => junk(2_000),
    ]
    let over = false
    const honestOnes = [one.url, one.webUrl].map((url) => beHonest(url, () => over))
    let answered = 0
    try {
      for (let i = 0; i < 500; i += 1) {
        const bytes = pick(kinds)()
        const label = `${about}, ${i}: ${JSON.stringify(bytes.toString('latin1').slice(0, 300))}`
        const connection = await connectRaw(pick([one.url, one.webUrl]))
        connection.send(bytes)
        // what is not complete is never answered: its sender hangs up
        connection.socket.end()
        const answer = await connection.answer()
        connection.socket.destroy()
        if (answer === undefined) continue
        answered += 1
        expect(answer.status, label).toBeGreaterThanOrEqual(200)
        expect(answer.body, label).not.toMatch(/\n\s+at /)
      }
    } finally {
      over = true
    }
    const served = await Promise.all(honestOnes)
    expect(answered, about).toBeGreaterThan(250)
    for (const count of served) expect(count, about).toBeGreaterThan(10)
    expect(
      one.logged.filter(({ level }) => level === 'error'),
      about,
    ).toEqual([])
    expect(
      one.received.filter(({ message: read }) => 'polluted' in read),
      about,
    ).toEqual([])
    // troubles of one peer fill no log
    expect(one.logged.length, about).toBeLessThan(20)
  })

  it('in great amounts takes bounded memory: long messages beyond the room are refused, short ones pass', async () => {
    const gate = Promise.withResolvers<string | null>()
    rig = await startTransport({ [messagePaths.logs]: () => gate.promise })
    const one = rig
    const long = Buffer.alloc(10 * 1024 * 1024, ' ')
    long.write('{}')
    const statuses: (number | undefined)[] = []
    const flood = Array.from({ length: 12 }, async () => {
      const answer = await once(one.url, rawRequest(messagePaths.logs, long, json))
      statuses.push(answer?.status)
    })
    // one address gets room for four of them: the others are told at once
    await expect.poll(() => statuses.filter((status) => status === 503).length, { timeout: 20_000 }).toBe(8)
    const short = await once(one.url, rawRequest(messagePaths.status, honest, json))
    expect(short?.status).toBe(200)
    gate.resolve(null)
    await Promise.all(flood)
    expect(statuses.filter((status) => status === 200)).toHaveLength(4)
    // and the room is free again
    expect((await once(one.url, rawRequest(messagePaths.logs, long, json)))?.status).toBe(200)
  })
})

// Promises of the ports for Java workers: the wire's answers, kept connections, bounds, and an end that cuts nobody off.
import { afterEach, describe, expect, it } from 'vitest'
import { Outage } from '../../kernel/errors.ts'
import { connectRaw, once, rawRequest, type RawAnswer } from '../testing/raw-http.ts'
import { startTransport, type TransportRig } from '../testing/transport-rig.ts'
import { ForeignMessage, messageLimitBytes, messagePaths } from './messages.ts'

let rig: TransportRig | undefined
afterEach(async () => {
  await rig?.stop()
  rig = undefined
})
const start = async (handlers: Parameters<typeof startTransport>[0] = {}): Promise<TransportRig> => {
  rig = await startTransport(handlers)
  return rig
}

const json = { 'content-type': 'application/json' }
const ask = async (
  url: string,
  path: string,
  body: string | Buffer = '{}',
  headers: Record<string, string> = json,
): Promise<RawAnswer> => {
  const answer = await once(url, rawRequest(path, body, headers))
  if (answer === undefined) throw new Error('hung up without an answer')
  return answer
}
const header = (answer: RawAnswer, name: string): string | undefined =>
  answer.lines.find((line) => line.toLowerCase().startsWith(`${name}: `))?.slice(name.length + 2)
const ports = (one: TransportRig): string[] => [one.url, one.webUrl]

describe('a message of a worker', () => {
  it('is answered on both ports alike: nothing for a tell, JSON for an ask', async () => {
    const one = await start()
    for (const url of ports(one)) {
      const told = await ask(url, messagePaths.heartbeat, '{"workerAddress":"127.0.0.1:27777"}')
      expect([told.status, told.body, header(told, 'content-length')]).toEqual([200, '', '0'])
      const asked = await ask(url, messagePaths.status, '{}')
      expect([asked.status, asked.body]).toEqual([200, '{"success":true}'])
      expect(header(asked, 'content-type')).toMatch(/^application\/json/)
    }
    expect(one.received.map(({ path, peer }) => [path, peer])).toEqual([
      [messagePaths.heartbeat, '127.0.0.1'],
      [messagePaths.status, '127.0.0.1'],
      [messagePaths.heartbeat, '127.0.0.1'],
      [messagePaths.status, '127.0.0.1'],
    ])
  })
  it('is read whatever its content type says', async () => {
    const one = await start()
    for (const url of ports(one))
      for (const type of [undefined, 'text/plain', 'application/x-www-form-urlencoded'])
        expect(
          (await ask(url, messagePaths.heartbeat, '{}', type === undefined ? {} : { 'content-type': type })).status,
        ).toBe(200)
  })
  it('may be as long as a log batch gets, and no longer than the limit', async () => {
    const one = await start()
    const long = Buffer.alloc(messageLimitBytes, 'x')
    long.write('{"a":"')
    long.write('"}', messageLimitBytes - 2)
    for (const url of ports(one)) {
      expect((await ask(url, messagePaths.logs, long)).status).toBe(200)
      expect((await ask(url, messagePaths.logs, Buffer.alloc(messageLimitBytes + 1, 'x'))).status).toBe(413)
    }
    expect(one.received).toHaveLength(2)
    expect(one.logged.find(({ message }) => message === 'worker message refused')?.facts).toMatchObject({
      peer: '127.0.0.1',
    })
  })
  it('must say how long it is', async () => {
    const one = await start()
    for (const url of ports(one)) {
      const connection = await connectRaw(url)
      connection.send(
        `POST ${messagePaths.logs} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n`,
      )
      expect((await connection.answer())?.status).toBe(413)
      connection.socket.destroy()
    }
    expect(one.received).toEqual([])
  })
  it('that can not be read, is foreign, or meets an outage is not acknowledged, and the log says why', async () => {
    const one = await start({
      [messagePaths.heartbeat]: async () => Promise.reject(new ForeignMessage('not from there')),
      [messagePaths.logs]: async () => Promise.reject(new Outage('no database')),
      [messagePaths.cluster]: async () => Promise.reject(new Error('a bug')),
    })
    for (const url of ports(one)) {
      const broken = await ask(url, messagePaths.status, '{"a":')
      expect([broken.status, broken.body]).toEqual([500, 'Internal Server Error'])
      expect(await ask(url, messagePaths.heartbeat)).toMatchObject({ status: 403, body: 'not from there' })
      expect((await ask(url, messagePaths.logs)).status).toBe(500)
      expect(await ask(url, messagePaths.cluster)).toMatchObject({ status: 500, body: 'Internal Server Error' })
      expect((await ask(url, '/server/nothing')).status).toBe(404)
    }
    const said = one.logged.map(({ level, message }) => `${level} ${message}`)
    expect(said.filter((text) => text.includes('not understood'))).toHaveLength(1)
    expect(said.filter((text) => text.includes('not heeded'))).toHaveLength(1)
    expect(said.filter((text) => text.includes('met an outage'))).toHaveLength(1)
    expect(said.filter((text) => text === 'error worker message failed')).toHaveLength(2)
    expect(await one.registry.metrics()).toContain(
      'powerjob_worker_messages_total{path="/server/queryJobCluster",outcome="failed"} 2',
    )
  })
})

describe('a page in a browser', () => {
  it('of this machine can not speak as a worker of it', async () => {
    const one = await start()
    for (const url of ports(one)) {
      // what a page may send to anywhere without being asked
      const simple = { 'content-type': 'text/plain', origin: 'https://evil.example' }
      expect((await ask(url, messagePaths.heartbeat, '{"workerAddress":"127.0.0.1:8080"}', simple)).status).toBe(403)
    }
    expect(one.received).toEqual([])
  })
})

describe('the port for workers', () => {
  it('keeps connections for 300 s: a worker leaves first', async () => {
    const one = await start()
    // the web port keeps them somewhat longer, for clients
    for (const [url, seconds] of [
      [one.url, 300],
      [one.webUrl, 320],
    ] as const) {
      const connection = await connectRaw(url)
      for (let i = 0; i < 3; i += 1) {
        connection.send(rawRequest(messagePaths.heartbeat, '{}', json))
        const answer = await connection.answer()
        expect(answer?.status).toBe(200)
        expect(answer?.lines.map((line) => line.toLowerCase())).toContain(`keep-alive: timeout=${seconds}`)
      }
      connection.socket.destroy()
    }
  })
  it('serves jars and says that it lives', async () => {
    const one = await start()
    for (const url of ports(one)) {
      expect(await (await fetch(`${url}/container/downloadJar?version=5f`)).text()).toBe('jar 5f')
      expect((await fetch(`${url}/server/alive`)).status).toBe(200)
    }
    expect((await fetch(`${one.url}/else`)).status).toBe(404)
  })
  it('is not disturbed by what is no HTTP', async () => {
    const one = await start()
    expect((await once(one.url, 'hello\r\n\r\n'))?.status).toBe(400)
    expect((await ask(one.url, messagePaths.status)).status).toBe(200)
  })
  it('answers what has begun before it closes, and is then closed', async () => {
    const gate = Promise.withResolvers<void>()
    const one = await start({ [messagePaths.status]: async () => gate.promise.then(() => '{"success":true}') })
    const idle = await connectRaw(one.url)
    const begun = ask(one.url, messagePaths.status)
    await expect
      .poll(async () => one.registry.getSingleMetric('powerjob_worker_messages_total') !== undefined)
      .toBe(true)
    // its request has been read once a second connection was answered
    await ask(one.url, messagePaths.heartbeat)
    const stopped = one.stopPort(30_000)
    // those on which nothing is under way are closed meanwhile
    await idle.closed
    gate.resolve()
    expect(await begun).toMatchObject({ status: 200, body: '{"success":true}' })
    await stopped
    await expect(ask(one.url, messagePaths.heartbeat)).rejects.toThrow('ECONNREFUSED')
    await one.stopPort(0)
  })
})

describe('discovery on the web port', () => {
  it('answers JSON with status 200', async () => {
    const one = await start()
    const answer = await fetch(`${one.webUrl}/server/assert?appName=bench`)
    expect([answer.status, await answer.text()]).toEqual([200, '{"success":true,"data":"bench","message":null}'])
    expect(answer.headers.get('content-type')).toMatch(/^application\/json/)
    const acquired = await fetch(`${one.webUrl}/server/acquire?protocol=HTTP&unknown=1&appId=1`)
    expect(await acquired.json()).toMatchObject({ data: 'protocol,unknown,appId' })
  })
  it('sends workers to other servers while it stops, and never lets one that starts believe that it must end', async () => {
    const one = await start()
    const connections = await Promise.all(Array.from({ length: 4 }, () => connectRaw(one.webUrl)))
    const stopped = one.stopWeb(10_000)
    const asked = ['assert?appName=bench', 'assertV2?appName=bench', 'checkConnectivity?targetIp=127.0.0.1', 'acquire']
    const answers = await Promise.all(
      asked.map(async (path, i) => {
        connections[i]?.send(rawRequest(`/server/${path}`, '', {}, 'GET'))
        return connections[i]?.answer()
      }),
    )
    expect(answers.map((answer) => answer?.status)).toEqual([503, 503, 503, 200])
    expect(JSON.parse(answers[3]?.body ?? '')).toMatchObject({ success: false, data: null })
    for (const { socket } of connections) socket.destroy()
    await stopped
  })
})

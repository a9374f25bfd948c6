// The transport against servers that see every byte: what counts as sent, and that nothing is sent twice.
import { spawn } from 'node:child_process'
import { createServer as createHttpServer } from 'node:http'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { createClient, OutcomeUnknown, ServerUnreachable } from './index.ts'
import { originOf, TransportFailure, type Transport, type WireRequest, type WireStream } from './transport.ts'
import { createUndiciTransport } from './undici-transport.ts'

const open: { close(): unknown }[] = []
afterEach(async () => {
  for (const thing of open.splice(0).toReversed()) await thing.close()
})

const listen = async (server: Server): Promise<string> => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

type OnRequest = (socket: Socket, line: string) => void

/** A server that only reads: `onRequest` gets the socket and the first line of every request, body included, that has come. */
const raw = async (onRequest: OnRequest) => {
  const lines: string[] = []
  const sockets = new Set<Socket>()
  let connections = 0
  const server = createServer((socket) => {
    connections += 1
    sockets.add(socket)
    let text = ''
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
    socket.on('data', (bytes) => {
      text += bytes.toString('latin1')
      for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
        const whole = end + 4 + Number(/content-length: (\d+)/i.exec(text.slice(0, end))?.[1] ?? 0)
        if (text.length < whole) return
        const line = text.slice(0, text.indexOf(' HTTP/1.1'))
        text = text.slice(whole)
        lines.push(line)
        onRequest(socket, line)
      }
    })
  })
  const host = await listen(server)
  open.push({
    close: () =>
      new Promise((resolve) => {
        server.close(resolve)
        for (const socket of sockets) socket.destroy()
      }),
  })
  return { url: `http://${host}`, host, lines, sockets, connections: () => connections }
}

const transportOf = (): Transport => {
  const transport = createUndiciTransport()
  open.push(transport)
  return transport
}

const get = (more: Partial<WireRequest> = {}): WireRequest => ({
  method: 'GET',
  path: '/x',
  headers: {},
  timeoutMs: 60_000,
  ...more,
})
const post = (more: Partial<WireRequest> = {}): WireRequest => get({ method: 'POST', body: '{"job":"sum"}', ...more })

const failureOf = async (call: Promise<unknown>): Promise<TransportFailure> => {
  const error = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(TransportFailure)
  return error as TransportFailure
}

const nobody = async (): Promise<string> => {
  const server = createServer()
  const host = await listen(server)
  await new Promise((resolve) => server.close(resolve))
  return host
}

const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}'
const kill: OnRequest = (socket) => void socket.destroy()

describe('a request whose connection dies after the server has read it', () => {
  it.each([
    ['POST', post()],
    ['GET', get()],
    ['DELETE', get({ method: 'DELETE' })],
    ['PUT', post({ method: 'PUT' })],
    ['long-polling GET', get({ slow: true })],
  ])('is seen once and counts as sent: %s', async (_, request) => {
    const server = await raw(kill)
    expect((await failureOf(transportOf().send(originOf(server.url), request))).sent).toBe(true)
    expect(server.lines).toEqual([`${request.method} /x`])
  })

  it.each([
    ['POST', post],
    ['GET', get],
  ])('is seen once on a connection that was used before, too: %s', async (_, make) => {
    const server = await raw((socket, line) => void (line.endsWith('/x') ? socket.write(ok) : socket.destroy()))
    const transport = transportOf()
    await transport.send(originOf(server.url), get())
    expect((await failureOf(transport.send(originOf(server.url), make({ path: '/kill' })))).sent).toBe(true)
    expect(server.lines.filter((line) => line.endsWith('/kill'))).toHaveLength(1)
  })

  // After the head of an answer a client may write its next call behind it, and repeat it when the rest never comes.
  const dieInTheAnswer: OnRequest = (socket) => {
    socket.write(ok.slice(0, -1))
    setTimeout(() => socket.destroy(), 20)
  }
  it.each([
    ['at once', kill],
    ['in the middle of the answer', dieInTheAnswer],
  ])('is seen once though hundreds wait in line for the connections that die %s', async (_, die) => {
    const server = await raw(die)
    const transport = transportOf()
    const paths = Array.from({ length: 400 }, (_unused, i) => `/${i}`)
    const failures = await Promise.all(
      paths.map((path, i) => failureOf(transport.send(originOf(server.url), (i % 4 === 0 ? post : get)({ path })))),
    )
    expect(failures.every(({ sent }) => sent)).toBe(true)
    expect(server.lines.map((line) => line.replace(/^\w+ /, '')).toSorted()).toEqual(paths.toSorted())
  })

  it('is seen once per try of the policy, and by nothing else', async () => {
    const server = await raw(kill)
    const client = createClient({ url: server.url, token: 't', retry: { rounds: 3, baseMs: 1, maxMs: 2 } })
    open.push(client)
    await expect(client.runs.create({ job: 'sum' })).rejects.toBeInstanceOf(OutcomeUnknown)
    expect(server.lines).toEqual(Array(3).fill('POST /api/v1/runs'))
    await expect(client.me()).rejects.toBeInstanceOf(ServerUnreachable)
    expect(server.lines.slice(3)).toEqual(Array(3).fill('GET /api/v1/me'))
  })
})

describe('a request counts as not sent', () => {
  const both: [string, (transport: Transport, url: string, timeoutMs?: number) => Promise<unknown>][] = [
    ['call', (transport, url, timeoutMs = 60_000) => transport.send(originOf(url), post({ timeoutMs }))],
    ['stream', (transport, url, timeoutMs = 60_000) => transport.stream(originOf(url), get({ timeoutMs }))],
  ]

  it.each(both)('when the connection is refused: %s', async (_, start) => {
    const failure = await failureOf(start(transportOf(), `http://${await nobody()}`))
    expect(failure.sent).toBe(false)
    expect(failure.message).toContain('ECONNREFUSED')
  })

  it.each(both)('when there is no such host: %s', async (_, start) => {
    expect((await failureOf(start(transportOf(), 'http://nobody.invalid'))).sent).toBe(false)
  })

  it.each(both)('when the TLS handshake fails: %s', async (_, start) => {
    // What is not TLS gets an answer that is not TLS either, or none at all.
    for (const answer of ['HTTP/1.1 400 Bad Request\r\n\r\n', '']) {
      const plain = createServer((socket) => socket.on('error', () => {}).once('data', () => socket.end(answer)))
      const host = await listen(plain)
      open.push({ close: () => new Promise((resolve) => plain.close(resolve)) })
      expect((await failureOf(start(transportOf(), `https://${host}`))).sent).toBe(false)
    }
  })

  it('when the connection is not made in time', async () => {
    // The port accepts, but nobody answers the handshake.
    const server = await raw(kill)
    const failure = await failureOf(transportOf().send(originOf(`https://${server.host}`), post({ timeoutMs: 200 })))
    expect(failure.sent).toBe(false)
    expect(server.lines).toEqual([])
  })

  it('when the client was closed before, or while it connects', async () => {
    const server = await raw(kill)
    const transport = createUndiciTransport()
    const connecting = failureOf(transport.send(originOf(`https://${server.host}`), post()))
    transport.close()
    expect((await connecting).sent).toBe(false)
    expect((await failureOf(transport.send(originOf(server.url), post()))).sent).toBe(false)
    expect(server.lines).toEqual([])
  })
})

describe('a request counts as sent', () => {
  it('when no answer comes in time, or its end does not', async () => {
    const server = await raw((socket, line) => void (line.endsWith('/half') && socket.write(ok.slice(0, -1))))
    const transport = transportOf()
    for (const path of ['/silent', '/half']) {
      const { sent } = await failureOf(transport.send(originOf(server.url), post({ path, timeoutMs: 1000 })))
      expect(sent).toBe(true)
    }
    expect(server.lines).toEqual(['POST /silent', 'POST /half'])
  })

  it('when the client is closed while it waits for the answer', async () => {
    const transport = createUndiciTransport()
    const server = await raw(() => transport.close())
    expect((await failureOf(transport.send(originOf(server.url), post()))).sent).toBe(true)
  })

  it.each([
    ['HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello'],
    ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n'],
    ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n'],
    ['HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n'],
    ['HTTP/1.1 200 OK\r\nContent-'],
    ['SSH-2.0-OpenSSH\r\n\r\n'],
    [''],
  ])('when the answer is none: %j', async (answer) => {
    const server = await raw((socket) => void socket.end(answer))
    expect((await failureOf(transportOf().send(originOf(server.url), post()))).sent).toBe(true)
    expect(server.lines).toEqual(['POST /x'])
  })
})

describe('an answer', () => {
  it.each([
    [
      'in chunks',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: 1\r\n\r\n3\r\n"Z\xc3\r\n5\r\n\xbcrich\r\n1\r\n"\r\n0\r\n\r\n',
    ],
    ['until the end of the connection', 'HTTP/1.1 200 OK\r\nX: 1\r\n\r\n"Z\xc3\xbcrich"'],
    [
      'after early hints',
      'HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\nHTTP/1.1 200 OK\r\nX: 1\r\nContent-Length: 9\r\n\r\n"Z\xc3\xbcrich"',
    ],
  ])('is read whole when it comes %s', async (_, answer) => {
    const server = await raw((socket) => void socket.end(answer, 'latin1'))
    const { status, text, header } = await transportOf().send(originOf(server.url), get())
    expect([status, text, header('x'), header('X'), header('y')]).toEqual([200, '"Zürich"', '1', '1', undefined])
  })

  it('without a body is empty', async () => {
    const server = await raw((socket) => void socket.write('HTTP/1.1 204 No Content\r\n\r\n'))
    expect(await transportOf().send(originOf(server.url), get())).toMatchObject({ status: 204, text: '' })
  })
})

describe('a call that is given up', () => {
  it('while it is in line is never written, and costs no connection', async () => {
    const waiting: Socket[] = []
    const server = await raw((socket) => void waiting.push(socket))
    const transport = transportOf()
    const origin = originOf(server.url)
    const first = Array.from({ length: 128 }, () => transport.send(origin, post({ path: '/first' })))
    await expect.poll(() => waiting.length, { timeout: 30_000 }).toBe(128)
    const giveUp = new AbortController()
    const reason = new Error('enough')
    const gone = transport.send(origin, post({ path: '/gone', signal: giveUp.signal }))
    const last = transport.send(origin, post({ path: '/last' }))
    giveUp.abort(reason)
    await expect(gone).rejects.toBe(reason)
    waiting.shift()?.write(ok)
    await expect.poll(() => server.lines.at(-1), { timeout: 30_000 }).toBe('POST /last')
    for (const socket of waiting) socket.write(ok)
    await Promise.all([...first, last])
    expect(server.lines).not.toContain('POST /gone')
    expect(server.connections()).toBe(128)
  })

  it('after it was written ends its connection', async () => {
    const giveUp = new AbortController()
    const reason = new Error('enough')
    const server = await raw(() => giveUp.abort(reason))
    await expect(transportOf().send(originOf(server.url), post({ signal: giveUp.signal }))).rejects.toBe(reason)
    await expect.poll(() => server.sockets.size, { timeout: 30_000 }).toBe(0)
    expect(server.lines).toEqual(['POST /x'])
  })
})

describe('a kept connection', () => {
  it('is left before the server ends it: not used when there would be no time', async () => {
    const soon = ok.replace('\r\n\r\n', '\r\nKeep-Alive: timeout=2\r\n\r\n')
    const server = await raw((socket) => void socket.write(soon))
    const transport = transportOf()
    for (let i = 0; i < 3; i += 1) await transport.send(originOf(server.url), get())
    expect(server.connections()).toBe(3)
  })

  it('keeps no process alive', { timeout: 120_000 }, async () => {
    // The server would keep it for longer than this test may take.
    const server = createHttpServer({ keepAliveTimeout: 600_000 }, (_, response) => response.end('{"scope":"admin"}'))
    const host = await listen(server)
    open.push({
      close: () =>
        new Promise((resolve) => {
          server.close(resolve)
          server.closeAllConnections()
        }),
    })
    const index = JSON.stringify(new URL('index.ts', import.meta.url).href)
    const script = `import { createClient } from ${index}
      const client = createClient({ url: 'http://${host}', token: 't' })
      console.log((await client.me()).scope)`
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    open.push({ close: () => child.kill() })
    let said = ''
    child.stdout.on('data', (bytes: Buffer) => (said += bytes.toString()))
    const code = await new Promise((resolve) => child.once('close', resolve))
    expect([code, said]).toEqual([0, 'admin\n'])
  })
})

describe('a stream', () => {
  const head = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n'
  const textOf = async (stream: WireStream): Promise<string> => {
    let text = ''
    for await (const chunk of stream.chunks) text += chunk
    return text
  }

  it('gives its text as it comes, characters whole', async () => {
    let go = (): void => {}
    const server = await raw((socket) => {
      socket.write(`${head}3\r\n"Z\xc3\r\n`, 'latin1')
      go = () => void socket.write('5\r\n\xbcrich\r\n1\r\n"\r\n0\r\n\r\n', 'latin1')
    })
    await using stream = await transportOf().stream(originOf(server.url), get())
    expect([stream.status, stream.header('Content-Type')]).toEqual([200, 'text/event-stream'])
    const chunks = stream.chunks[Symbol.asyncIterator]()
    expect((await chunks.next()).value).toBe('"Z')
    go()
    expect(await textOf({ ...stream, chunks: { [Symbol.asyncIterator]: () => chunks } })).toBe('ürich"')
  })

  it('of many megabytes waits for its reader, and is whole', async () => {
    const line = `${'x'.repeat(65_535)}\n`
    const server = await raw((socket) => {
      socket.write(head)
      for (let i = 0; i < 100; i += 1) socket.write(`${line.length.toString(16)}\r\n${line}\r\n`)
      socket.write('0\r\n\r\n')
    })
    const stream = await transportOf().stream(originOf(server.url), get())
    let bytes = 0
    for await (const chunk of stream.chunks) {
      bytes += chunk.length
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(bytes).toBe(6_553_600)
  })

  it.each([
    ['breaks', (socket: Socket) => void socket.destroy()],
    ['is cut', (socket: Socket) => void socket.end()],
    ['falls silent', () => {}],
  ])('that %s ends with a failure, not as if it were whole', async (_, then) => {
    const server = await raw((socket) => {
      socket.write(`${head}5\r\nhello\r\n`)
      setImmediate(then, socket)
    })
    const failure = await failureOf(
      transportOf()
        .stream(originOf(server.url), get({ timeoutMs: 1000 }))
        .then(textOf),
    )
    expect(failure.sent).toBe(true)
    expect(server.lines).toEqual(['GET /x'])
  })

  it('whose server dies before the head is asked for once', async () => {
    const server = await raw(kill)
    expect((await failureOf(transportOf().stream(originOf(server.url), get()))).sent).toBe(true)
    expect(server.lines).toEqual(['GET /x'])
  })

  it.each([
    ['is no longer wanted', async (stream: WireStream) => stream[Symbol.asyncDispose]()],
    [
      'is left in the middle',
      async (stream: WireStream) => {
        for await (const chunk of stream.chunks) if (chunk !== '') break
      },
    ],
  ])('that %s ends its connection', async (_, leave) => {
    const server = await raw((socket) => void socket.write(`${head}5\r\nhello\r\n`))
    await leave(await transportOf().stream(originOf(server.url), get()))
    await expect.poll(() => server.sockets.size, { timeout: 30_000 }).toBe(0)
  })

  it('that is given up rejects with the reason, whatever that is', async () => {
    const giveUp = new AbortController()
    const server = await raw((socket) => void socket.write(`${head}5\r\nhello\r\n`))
    const stream = await transportOf().stream(originOf(server.url), get({ signal: giveUp.signal }))
    const rest = textOf(stream)
    giveUp.abort('no error at all')
    await expect(rest).rejects.toBe('no error at all')
  })

  it('has its own connection, however many there are', async () => {
    const server = await raw((socket, line) => void socket.write(line.startsWith('GET') ? `${head}5\r\nhello\r\n` : ok))
    const transport = transportOf()
    await Promise.all(Array.from({ length: 150 }, () => transport.stream(originOf(server.url), get())))
    expect(await transport.send(originOf(server.url), post())).toMatchObject({ status: 200 })
    expect(server.sockets.size).toBe(151)
  })
})

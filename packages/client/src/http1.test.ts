// HTTP/1.1 answers, cut wherever a network may cut them.
import { describe, expect, it } from 'vitest'
import { AnswerReader, type ReadAnswer } from './http1.ts'

const read = (pieces: readonly Buffer[], atEnd = false): ReadAnswer | undefined => {
  const reader = new AnswerReader()
  for (const piece of pieces) {
    const answer = reader.push(piece)
    if (answer !== undefined) return answer
  }
  return atEnd ? reader.end() : undefined
}

const answers = {
  'with a length':
    'HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nX-Request-Id: r-1\r\nContent-Length: 18\r\n\r\n{"name":"Zürich"}',
  'in chunks':
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Request-Id:r-1  \r\n\r\n9\r\n{"name":"\r\n7;x=1\r\nZürich\r\n2\r\n"}\r\n0\r\nTrailer: 1\r\n\r\n',
  'after a 100 Continue':
    'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nx-request-id: r-1\r\ncontent-length: 18\r\n\r\n{"name":"Zürich"}',
}

describe('an answer', () => {
  it.each(Object.entries(answers))('%s is read the same, wherever it is cut', (_, text) => {
    const bytes = Buffer.from(text)
    for (let cut = 0; cut <= bytes.length; cut += 1) {
      const answer = read([bytes.subarray(0, cut), bytes.subarray(cut)].filter((piece) => piece.length > 0))
      expect(answer?.text).toBe('{"name":"Zürich"}')
      expect(answer?.header('X-Request-ID')).toBe('r-1')
      expect(answer?.reusable).toBe(true)
    }
    expect(read(Array.from(bytes, (byte) => Buffer.of(byte)))?.text).toBe('{"name":"Zürich"}')
  })

  it('is not there before its last byte', () => {
    for (const text of Object.values(answers)) expect(read([Buffer.from(text).subarray(0, -1)])).toBeUndefined()
  })

  it('without a length goes on until the connection ends, and ends it', () => {
    const bytes = Buffer.from('HTTP/1.1 200 OK\r\n\r\nhello')
    expect(read([bytes])).toBeUndefined()
    expect(read([bytes], true)).toMatchObject({ text: 'hello', reusable: false })
  })

  it('that is cut off by the end of the connection is no answer', () => {
    expect(read([Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello')], true)).toBeUndefined()
    expect(
      read([Buffer.from('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n')], true),
    ).toBeUndefined()
  })

  it('of status 204 has no body, whatever its head says', () => {
    expect(read([Buffer.from('HTTP/1.1 204 No Content\r\n\r\n')])).toMatchObject({
      status: 204,
      text: '',
      reusable: true,
    })
  })

  it.each([
    ['HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'],
    ['HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n'],
    ['HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK'],
  ])('keeps no connection that is to end or has bytes too many: %j', (text) => {
    expect(read([Buffer.from(text)])?.reusable).toBe(false)
  })

  it('says for how long the server keeps the connection', () => {
    const head = 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n'
    expect(read([Buffer.from(`${head}Keep-Alive: timeout=72\r\n\r\n`)])?.keepAliveMs).toBe(72_000)
    expect(read([Buffer.from(`${head}\r\n`)])?.keepAliveMs).toBeUndefined()
  })

  it.each([
    ['SSH-2.0-OpenSSH\r\n\r\n'],
    ['HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n'],
    ['HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n'],
    ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n'],
    [`HTTP/1.1 200 OK\r\nX: ${'x'.repeat(70_000)}`],
  ])('that is none is an error: %.40j', (text) => {
    expect(() => read([Buffer.from(text)])).toThrow(/answer/)
  })
})

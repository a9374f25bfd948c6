// Reads one HTTP/1.1 answer from the bytes of a connection, however they are cut into pieces. No I/O.
import type { WireAnswer } from './transport.ts'

const headMaxBytes = 65_536
const nothing = Buffer.alloc(0)

/** What the reader has once an answer is whole. */
export interface ReadAnswer extends WireAnswer {
  /** False when the connection ends with this answer. */
  readonly reusable: boolean
  /** For how long the server keeps the idle connection, if it says so. */
  readonly keepAliveMs: number | undefined
}

interface Head {
  readonly status: number
  readonly text: string
}

const headerOf = (head: string, name: string): string | undefined =>
  new RegExp(`^${name}:[ \\t]*(.*?)[ \\t]*$`, 'im').exec(head)?.[1]

const parseHead = (text: string): Head => {
  const match = /^HTTP\/1\.[01] (\d{3})(?: |\r|$)/.exec(text)
  if (match?.[1] === undefined) throw new Error('the answer is not HTTP/1.1')
  return { status: Number(match[1]), text }
}

const hasNoBody = (status: number): boolean => status === 204 || status === 304

/**
 * Collects one answer. Feed it with `push` until it returns one; `end` is for the end of the connection.
 * Both throw when the bytes are not an answer.
 */
export class AnswerReader {
  #rest: Buffer = nothing
  #head: Head | undefined
  // Pieces of the body, joined once: a large body must not be copied with every piece.
  #parts: Buffer[] = []
  #partsBytes = 0
  #lengthBytes: number | 'chunked' | 'until-end' = 0

  push(bytes: Buffer): ReadAnswer | undefined {
    if (this.#head === undefined) {
      this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes])
      if (!this.#readHead()) return undefined
      bytes = this.#rest
      this.#rest = nothing
    }
    return this.#readBody(bytes)
  }

  /** The connection ended: the answer, when its body was to go on until then. */
  end(): ReadAnswer | undefined {
    if (this.#head !== undefined && this.#lengthBytes === 'until-end') return this.#answer(this.#head, false)
    return undefined
  }

  #readHead(): boolean {
    for (;;) {
      const end = this.#rest.indexOf('\r\n\r\n')
      if (end < 0 || end > headMaxBytes) {
        if (this.#rest.length > headMaxBytes) throw new Error('the head of the answer is too long')
        return false
      }
      const head = parseHead(this.#rest.toString('latin1', 0, end))
      this.#rest = this.#rest.subarray(end + 4)
      // 100 Continue and the like: the answer itself comes after.
      if (head.status < 200) continue
      this.#head = head
      this.#lengthBytes = this.#lengthOf(head)
      return true
    }
  }

  #lengthOf(head: Head): number | 'chunked' | 'until-end' {
    if (hasNoBody(head.status)) return 0
    const coding = headerOf(head.text, 'transfer-encoding')
    if (coding !== undefined) {
      if (coding.toLowerCase() !== 'chunked') throw new Error(`the answer has an unknown coding: ${coding}`)
      return 'chunked'
    }
    const length = headerOf(head.text, 'content-length')
    if (length === undefined) return 'until-end'
    if (!/^\d{1,15}$/.test(length)) throw new Error(`the answer has an impossible length: ${length}`)
    return Number(length)
  }

  #readBody(bytes: Buffer): ReadAnswer | undefined {
    const head = this.#head
    if (head === undefined) return undefined
    if (this.#lengthBytes === 'chunked') return this.#readChunks(head, bytes)
    this.#keep(bytes)
    if (this.#lengthBytes === 'until-end' || this.#partsBytes < this.#lengthBytes) return undefined
    // Bytes beyond the answer belong to nobody: this connection cannot be trusted with another call.
    return this.#answer(head, this.#partsBytes === this.#lengthBytes, this.#lengthBytes)
  }

  #readChunks(head: Head, bytes: Buffer): ReadAnswer | undefined {
    let rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes])
    for (;;) {
      const lineEnd = rest.indexOf('\r\n')
      if (lineEnd < 0) break
      const size = /^([0-9a-f]{1,12})[ \t]*(?:;.*)?$/i.exec(rest.toString('latin1', 0, lineEnd))?.[1]
      if (size === undefined) throw new Error('the answer has a malformed chunk')
      const sizeBytes = Number.parseInt(size, 16)
      if (sizeBytes === 0) {
        const trailerEnd = rest.indexOf('\r\n\r\n', lineEnd)
        if (trailerEnd < 0) break
        return this.#answer(head, rest.length === trailerEnd + 4)
      }
      const start = lineEnd + 2
      if (rest.length < start + sizeBytes + 2) break
      this.#keep(rest.subarray(start, start + sizeBytes))
      rest = rest.subarray(start + sizeBytes + 2)
    }
    this.#rest = rest
    return undefined
  }

  #keep(bytes: Buffer): void {
    this.#parts.push(bytes)
    this.#partsBytes += bytes.length
  }

  #answer(head: Head, endsClean: boolean, lengthBytes = this.#partsBytes): ReadAnswer {
    const [first] = this.#parts
    const body = this.#parts.length === 1 && first !== undefined ? first : Buffer.concat(this.#parts)
    const closes = !head.text.startsWith('HTTP/1.1') || /^connection:.*\bclose\b/im.test(head.text)
    const keepAliveS = /^keep-alive:.*\btimeout=(\d{1,9})/im.exec(head.text)?.[1]
    return {
      status: head.status,
      text: body.toString('utf8', 0, lengthBytes),
      header: (name) => headerOf(head.text, name),
      reusable: endsClean && !closes,
      keepAliveMs: keepAliveS === undefined ? undefined : Number(keepAliveS) * 1000,
    }
  }
}

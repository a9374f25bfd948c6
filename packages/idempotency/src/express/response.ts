// Holds an Express response back until its answer is recorded: not a byte goes out before.
import type { Response } from 'express'

export interface Held {
  /**
   * Called once, with the whole body, or with undefined when it is a stream. The response goes on when it resolves.
   */
  readonly onAnswer: (
    status: number,
    headers: Readonly<Record<string, unknown>>,
    body: Uint8Array | undefined,
  ) => Promise<void>
}

type Step = () => void

const bytesOf = (chunk: unknown, encoding: unknown): Uint8Array => {
  if (chunk instanceof Uint8Array) return chunk
  if (typeof chunk !== 'string') return new Uint8Array()
  return Buffer.from(chunk, typeof encoding === 'string' && Buffer.isEncoding(encoding) ? encoding : 'utf8')
}

const setHeadPairs = (res: Response, pairs: readonly unknown[]): void => {
  for (let at = 0; at + 1 < pairs.length; at += 2) res.setHeader(String(pairs[at]), headerValue(pairs[at + 1]))
}

const headerValue = (value: unknown): string | string[] => (Array.isArray(value) ? value.map(String) : String(value))

const applyHead = (res: Response, [status, ...rest]: readonly unknown[]): void => {
  res.statusCode = Number(status)
  const [first, second] = rest
  if (typeof first === 'string') res.statusMessage = first
  const headers: unknown = typeof first === 'string' ? second : first
  if (Array.isArray(headers)) setHeadPairs(res, headers)
  else if (typeof headers === 'object' && headers !== null) setHeadPairs(res, Object.entries(headers).flat())
}

/** Takes over `write`, `end`, `writeHead` and `flushHeaders` of a response until its answer is recorded. */
export const holdResponse = (res: Response, { onAnswer }: Held): void => {
  const original = {
    write: res.write.bind(res),
    end: res.end.bind(res),
    writeHead: res.writeHead.bind(res),
    flushHeaders: res.flushHeaders.bind(res),
  }
  const queue: Step[] = []
  let state: 'open' | 'recording' | 'released' = 'open'

  const release = (): void => {
    state = 'released'
    for (const step of queue) step()
    if (!res.writableEnded) res.emit('drain')
  }
  const record = (body: Uint8Array | undefined): void => {
    state = 'recording'
    onAnswer(res.statusCode, res.getHeaders(), body).then(release, release)
  }
  const later = (step: Step): void => void queue.push(step)

  res.writeHead = (...args: unknown[]): Response => {
    if (state === 'released') Reflect.apply(original.writeHead, res, args)
    else applyHead(res, args)
    return res
  }
  res.flushHeaders = (): void => {
    if (state === 'released') return original.flushHeaders()
    later(original.flushHeaders)
    if (state === 'open') record(undefined)
  }
  // Whoever writes in pieces streams: that is not kept.
  res.write = (...args: unknown[]): boolean => {
    if (state === 'released') return Reflect.apply(original.write, res, args) === true
    later(() => void Reflect.apply(original.write, res, args))
    if (state === 'open') record(undefined)
    return false
  }
  res.end = (...args: unknown[]): Response => {
    if (state === 'released') Reflect.apply(original.end, res, args)
    else {
      later(() => void Reflect.apply(original.end, res, args))
      if (state === 'open') record(bytesOf(args[0], args[1]))
    }
    return res
  }
}

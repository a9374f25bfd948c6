// Follows the log of a run over server-sent events, across broken connections, each line once.
import type { LogLine } from '@oncejob/protocol'
import type { AppScope } from './app-scope.ts'
import { errorOf } from './answers.ts'
import type { Call, Caller } from './call.ts'
import { pauseFor } from './pause.ts'
import { readEvents, type ServerSentEvent } from './sse.ts'
import type { WireStream } from './transport.ts'

export interface FollowOptions {
  /** Begin after the line with this `seq`; default: at the start. */
  after?: number
  signal?: AbortSignal
}

// The server sends a heartbeat more often than this; a connection that is silent for longer is dead.
const silenceMaxMs = 60_000
const pauseFirstMs = 100
const pauseMaxMs = 5000

const textOf = async (stream: WireStream): Promise<string> => {
  let text = ''
  for await (const chunk of stream.chunks) text += chunk
  return text
}

async function* eventsOnce(caller: Caller, call: Call): AsyncGenerator<ServerSentEvent, void> {
  await using stream = await caller.openStream(call, silenceMaxMs)
  if (stream.status !== 200) {
    const text = await textOf(stream)
    throw errorOf({ status: stream.status, header: (name) => stream.header(name), text })
  }
  yield* readEvents(stream.chunks)
}

const readLine = (data: string): LogLine => JSON.parse(data)

const readEnd = (data: string): string | undefined => {
  const end: { state?: string } = JSON.parse(data)
  return end.state
}

/**
 * Yields the lines of a run's log until the run has ended; returns its final state.
 * Rejects with OnceJobError when the server refuses, with the signal's reason when given up. Outages are waited out.
 */
export async function* followLogs(
  caller: Caller,
  scope: AppScope,
  id: number,
  options: FollowOptions = {},
): AsyncGenerator<LogLine, string | undefined> {
  const { signal } = options
  const callOptions = signal === undefined ? {} : { signal }
  let last = options.after
  let pauseMs = pauseFirstMs
  for (;;) {
    const call: Call = {
      kind: 'read',
      method: 'GET',
      path: `/api/v1/runs/${id}/logs/stream`,
      query: scope.query({ after: last }),
      options: callOptions,
      ...(last === undefined ? {} : { lastEventId: String(last) }),
    }
    try {
      for await (const { event, data } of eventsOnce(caller, call)) {
        pauseMs = pauseFirstMs
        if (event === 'end') return readEnd(data)
        if (event !== 'line') continue
        const line = readLine(data)
        // After a reconnect the server may begin earlier than asked: a line is given once.
        if (last !== undefined && line.seq <= last) continue
        last = line.seq
        yield line
      }
    } catch (error) {
      caller.streamFailed(error)
    }
    await pauseFor(Math.random() * pauseMs, signal)
    pauseMs = Math.min(pauseMs * 2, pauseMaxMs)
  }
}

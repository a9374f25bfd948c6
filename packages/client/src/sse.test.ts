// Server-sent events, cut wherever a network may cut them.
import { describe, expect, it } from 'vitest'
import { readEvents, type ServerSentEvent } from './sse.ts'

async function* piecesOf(...pieces: string[]): AsyncGenerator<string> {
  yield* pieces
}

const all = async (chunks: AsyncIterable<string>): Promise<ServerSentEvent[]> => {
  const events: ServerSentEvent[] = []
  for await (const event of readEvents(chunks)) events.push(event)
  return events
}

const line = { event: 'line', id: '7', data: '{"seq":7}' }
const end = { event: 'end', id: undefined, data: 'a\nb' }

describe('a stream of events', () => {
  it.each([['\n'], ['\r\n'], ['\r']])('with line breaks %j is read the same, wherever it is cut', async (br) => {
    const text = [
      ': heartbeat',
      '',
      'event: line',
      'id: 7',
      'data: {"seq":7}',
      '',
      'event:end',
      'data:a',
      'data: b',
      '',
      '',
    ].join(br)
    for (let cut = 0; cut <= text.length; cut += 1) {
      // A lone carriage return at the very end could be half of a break; one more byte settles it.
      const events = await all(piecesOf(text.slice(0, cut), text.slice(cut), ':'))
      expect(events).toEqual([line, end])
    }
  })

  it('drops an event that the end of the stream cuts off', async () => {
    expect(await all(piecesOf('event: line\ndata: {"seq"'))).toEqual([])
  })
})

// Reads server-sent events from text, however it is cut into pieces.

export interface ServerSentEvent {
  readonly event: string
  readonly id: string | undefined
  readonly data: string
}

const readBlock = (block: string): ServerSentEvent | undefined => {
  let event = 'message'
  let id: string | undefined
  const data: string[] = []
  for (const line of block.split('\n')) {
    const colon = line.indexOf(':')
    // A line that begins with a colon is a comment: the heartbeat.
    if (colon === 0 || line === '') continue
    const field = colon < 0 ? line : line.slice(0, colon)
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '')
    if (field === 'event') event = value
    else if (field === 'id') id = value
    else if (field === 'data') data.push(value)
  }
  return data.length === 0 ? undefined : { event, id, data: data.join('\n') }
}

/** The events in a stream of text; one that is cut off by the end of the stream is dropped, as the standard says. */
export async function* readEvents(chunks: AsyncIterable<string>): AsyncGenerator<ServerSentEvent> {
  let rest = ''
  for await (const chunk of chunks) {
    rest += chunk
    // A carriage return at the very end may be half of a line break.
    const ready = rest.endsWith('\r') ? rest.slice(0, -1) : rest
    const text = ready.replace(/\r\n?/g, '\n')
    const blocks = text.split('\n\n')
    rest = (blocks.pop() ?? '') + rest.slice(ready.length)
    for (const block of blocks) {
      const event = readBlock(block)
      if (event !== undefined) yield event
    }
  }
}

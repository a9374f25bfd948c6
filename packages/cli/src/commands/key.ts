// `oncejob key KEY`: what became of a call whose answer was lost.
import { readRequestKey, type RequestKeyState } from '@oncejob/protocol'
import { connectionOptions, type Command } from '../command.ts'
import { exitCodes, UsageError } from '../exit-codes.ts'
import { sayTime } from '../format.ts'
import type { Output } from '../output.ts'

const show = (call: RequestKeyState, out: Output): void =>
  out.facts([
    ['key', call.key],
    ['call', call.route],
    ['took effect', sayTime(call.createdAt, out.nowMs), 'green'],
    ['answer', String(call.status)],
    ['made', call.location ?? '–'],
    ['request', call.requestId],
    ['remembered until', sayTime(call.expiresAt, out.nowMs)],
  ])

export const showKey: Command = {
  name: 'key',
  usage: 'KEY',
  says: 'show what became of the call with this request key; exit code 5: no effect so far',
  words: [1, 1],
  options: connectionOptions,
  async run({ args, out, client }) {
    const key = args.word(0)
    if (readRequestKey(key) !== key) {
      throw new UsageError(`a request key is 8 to 255 visible ASCII characters without comma or quote, not "${key}"`)
    }
    const call = await client.requestKey(key)
    if (call === undefined) {
      out.note(`no call with the key ${key} has taken effect, or it is no longer remembered; one under way still may`)
      return exitCodes.notFound.code
    }
    out.answer(call, () => show(call, out))
    return exitCodes.ok.code
  },
}

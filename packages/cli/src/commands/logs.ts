// `oncejob logs ID`: the log of a run, as far as it goes or as it comes.
import type { LogLine } from '@oncejob/protocol'
import { connectionOptions, type Command, type CommandContext } from '../command.ts'
import { exitCodes } from '../exit-codes.ts'
import type { Output, Style } from '../output.ts'

const levelStyles = new Map<string, Style>([
  ['debug', 'dim'],
  ['warn', 'yellow'],
  ['error', 'red'],
])

const write = (line: LogLine, out: Output): void => {
  // One line of JSON per line of the log: a stream has no end to close an array with.
  if (out.json) out.raw(`${JSON.stringify(line)}\n`)
  else
    out.line(
      `${line.at} ${line.level.padEnd(5)} ${line.worker === undefined ? '' : `[${line.worker}] `}${line.text}`,
      levelStyles.get(line.level),
    )
}

const printPages = async (id: number, { out, client }: CommandContext): Promise<void> => {
  let after: number | undefined
  for (;;) {
    const page = await client.runs.logs(id, { limit: 500, ...(after === undefined ? {} : { after }) })
    for (const line of page.lines) write(line, out)
    if (page.lines.length === 0) {
      if (page.truncated) out.note('the log was too long and is cut')
      return
    }
    after = page.next
  }
}

export const logs: Command = {
  name: 'logs',
  usage: 'ID',
  says: 'print the log of a run',
  words: [1, 1],
  options: {
    follow: { short: 'f', says: 'go on until the run has ended' },
    ...connectionOptions,
    json: { says: 'print one JSON object per line' },
  },
  async run(context) {
    const { args, out, client } = context
    const id = args.id(0)
    if (!args.flag('follow')) await printPages(id, context)
    else for await (const line of client.runs.followLogs(id)) write(line, out)
    return exitCodes.ok.code
  },
}

// `oncejob audit`, `doctor`, `me`, `version`.
import { connectionOptions, type Command } from '../command.ts'
import { exitCodes } from '../exit-codes.ts'
import { version } from '../version.ts'

export const audit: Command = {
  name: 'audit',
  usage: '',
  says: 'check every promise on the live database; exit code 20 when one is broken',
  words: [0, 0],
  options: connectionOptions,
  async run({ out, client }) {
    const report = await client.audit()
    out.answer(report, () => {
      out.table(
        report.findings,
        [
          { title: 'PROMISE', cell: (finding) => finding.invariant },
          {
            title: 'BROKEN',
            cell: ({ violations }) => String(violations),
            right: true,
            style: ({ violations }) => (violations === 0 ? 'green' : 'red'),
          },
          { title: 'CHECK', cell: (finding) => finding.check },
          { title: 'EXAMPLES', cell: ({ examples }) => examples.join(' ') || '–' },
        ],
        'no checks',
      )
      out.line(report.clean ? 'clean' : 'NOT clean', report.clean ? 'green' : 'red')
    })
    return report.clean ? exitCodes.ok.code : exitCodes.notClean.code
  },
}

const statusStyles = { ok: 'green', warn: 'yellow', bad: 'red' } as const

export const doctor: Command = {
  name: 'doctor',
  usage: '',
  says: 'look at the server and its database; exit code 21 when something is bad',
  words: [0, 0],
  options: connectionOptions,
  async run({ out, client }) {
    const report = await client.doctor()
    out.answer(report, () =>
      out.table(
        report.lines,
        [
          { title: 'STATUS', cell: (line) => line.status, style: (line) => statusStyles[line.status] },
          { title: 'TOPIC', cell: (line) => line.topic },
          { title: 'SAYS', cell: (line) => line.says },
        ],
        'nothing to say',
      ),
    )
    return report.lines.some(({ status }) => status === 'bad') ? exitCodes.bad.code : exitCodes.ok.code
  },
}

export const me: Command = {
  name: 'me',
  usage: '',
  says: 'show whose token is used',
  words: [0, 0],
  options: connectionOptions,
  async run({ out, client }) {
    const answer = await client.me()
    out.answer(answer, () =>
      out.facts([
        ['token', answer.name],
        ['scope', answer.scope],
        ['app', answer.app ?? 'any: name one with --app'],
        ['namespace', answer.namespace ?? '–'],
      ]),
    )
    return exitCodes.ok.code
  },
}

export const showVersion: Command = {
  name: 'version',
  usage: '',
  says: 'show the version of this command',
  words: [0, 0],
  options: { json: { says: 'as JSON' } },
  async run({ out }) {
    out.answer({ version: version() }, () => out.line(version()))
    return exitCodes.ok.code
  },
}

// Help, made from the commands themselves.
import type { OptionSpecs } from './args.ts'
import { connectionOptions, type Command } from './command.ts'
import { exitCodes } from './exit-codes.ts'

const table = (rows: readonly (readonly [string, string])[]): string => {
  const width = Math.max(...rows.map(([left]) => left.length)) + 2
  return rows.map(([left, right]) => `  ${left.padEnd(width)}${right}\n`).join('')
}

const callOf = ({ name, usage }: Command): string => (usage === '' ? name : `${name} ${usage}`)

const optionRows = (options: OptionSpecs): [string, string][] =>
  Object.entries(options).map(([name, { short, value, says }]) => [
    `${short === undefined ? '' : `-${short}, `}--${name}${value === undefined ? '' : ` ${value}`}`,
    says,
  ])

/** What `oncejob help` shows. */
export const generalHelp = (commands: readonly Command[]): string =>
  'oncejob: a job scheduler in which a call takes effect once, a fire makes one run, a run is finished once\n\n' +
  `Commands (oncejob help COMMAND tells more)\n${table(commands.map((command) => [callOf(command), command.says]))}\n` +
  `Options of every command that talks to a server\n${table(optionRows(connectionOptions))}\n` +
  `Exit codes\n${table(Object.values(exitCodes).map(({ code, says }) => [String(code), says]))}`

const chosen = (options: OptionSpecs, fromConnection: boolean): OptionSpecs =>
  Object.fromEntries(Object.entries(options).filter(([name]) => name in connectionOptions === fromConnection))

/** What `oncejob help COMMAND` shows: the command, and those whose names begin with its own. */
export const commandHelp = (command: Command, commands: readonly Command[]): string => {
  const parts = [`oncejob ${callOf(command)}\n  ${command.says}\n`]
  const add = (title: string, rows: readonly (readonly [string, string])[]): void => {
    if (rows.length > 0) parts.push(`${title}\n${table(rows)}`)
  }
  add('Options', optionRows(chosen(command.options, false)))
  add('Server', optionRows(chosen(command.options, true)))
  const family = commands.filter(({ name }) => name.startsWith(`${command.name} `))
  add(
    'See also',
    family.map((one) => [callOf(one), one.says]),
  )
  return parts.join('\n')
}

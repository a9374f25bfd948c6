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

/** What `oncejob help COMMAND` shows: the command, or all that begin with the word. */
export const commandHelp = (
  command: Command | undefined,
  words: readonly string[],
  commands: readonly Command[],
): string => {
  const family = commands.filter(({ name }) => name !== command?.name && name.startsWith(`${words[0]} `))
  if (command === undefined) return family.length === 0 ? generalHelp(commands) : table(family.map((one) => [callOf(one), one.says]))
  const own = Object.fromEntries(Object.entries(command.options).filter(([name]) => !(name in connectionOptions)))
  const parts = [`oncejob ${callOf(command)}\n  ${command.says}\n`]
  if (Object.keys(own).length > 0) parts.push(`Options\n${table(optionRows(own))}`)
  const connection = Object.fromEntries(Object.entries(command.options).filter(([name]) => name in connectionOptions))
  if (Object.keys(connection).length > 0) parts.push(`Server\n${table(optionRows(connection))}`)
  if (family.length > 0 && command.name === words[0]) parts.push(`See also\n${table(family.map((one) => [callOf(one), one.says]))}`)
  return parts.join('\n')
}

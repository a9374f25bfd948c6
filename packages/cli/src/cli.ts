// From the words that were typed to the command that does it, and from its end to an exit code.
import { OnceJobError, OutcomeUnknown, SecretLost, type OnceJobClient } from '@oncejob/client'
import { nearest, readArgs, type Args, type OptionSpecs } from './args.ts'
import type { Command } from './command.ts'
import { commands } from './commands/index.ts'
import { connect } from './connection.ts'
import { codeOfError, exitCodes, UsageError } from './exit-codes.ts'
import { generalHelp, commandHelp } from './help.ts'
import { Output, type Streams } from './output.ts'
import { version } from './version.ts'

const helpOption = { help: { short: 'h', says: 'show help' } } as const satisfies OptionSpecs
const versionOption = { version: { short: 'V', says: 'show the version' } } as const satisfies OptionSpecs

const allOptions: OptionSpecs = Object.assign({}, ...commands.map(({ options }) => options), helpOption, versionOption)

/** The command with the most words that begin the line. */
const findCommand = (words: readonly string[]): Command | undefined =>
  commands
    .filter(({ name }) => name.split(' ').every((part, i) => words[i] === part))
    .toSorted((a, b) => b.name.length - a.name.length)[0]

const unknownWord = (words: readonly string[]): UsageError => {
  const meant = nearest(words.join(' '), names()) ?? nearest(words[0] ?? '', names())
  return new UsageError(
    `there is no command "${words.join(' ')}"${meant === undefined ? '' : `; did you mean "${meant}"?`}`,
  )
}
const names = (): string[] => commands.map(({ name }) => name)

const checkUse = (command: Command, args: Args): void => {
  for (const name of args.names) {
    if (!(name in command.options)) throw new UsageError(`"${command.name}" has no option --${name}`, command.name)
  }
  const [min, max] = command.words
  const count = args.words.length
  if (count < min) throw new UsageError(`"${command.name}" needs ${command.usage}`, command.name)
  if (count <= max) return
  const word = args.words[max] ?? ''
  const meant = nearest(`${command.name} ${word}`, names())
  const hint = meant === undefined || meant === command.name ? '' : `; did you mean "${meant}"?`
  throw new UsageError(`"${word}" is one word too many for "${command.name}"${hint}`, command.name)
}

const execute = async (argv: readonly string[], streams: Streams): Promise<number> => {
  const args = readArgs(argv, allOptions)
  const out = new Output(streams, args.flag('json'))
  if (args.flag('version')) {
    out.line(version())
    return exitCodes.ok.code
  }
  const asksHelp = args.words[0] === 'help'
  const words = asksHelp ? args.words.slice(1) : args.words
  const wantsHelp = asksHelp || args.flag('help')
  if (words.length === 0) {
    if (wantsHelp) out.raw(generalHelp(commands))
    else streams.stderr(generalHelp(commands))
    return wantsHelp ? exitCodes.ok.code : exitCodes.usage.code
  }
  const command = findCommand(words)
  if (wantsHelp) {
    if (command === undefined) throw unknownWord(words)
    out.raw(commandHelp(command, commands))
    return exitCodes.ok.code
  }
  if (command === undefined) throw unknownWord(words)
  const rest = args.without(command.name.split(' ').length)
  checkUse(command, rest)
  return runCommand(command, rest, out, streams)
}

const runCommand = async (command: Command, args: Args, out: Output, streams: Streams): Promise<number> => {
  let client: OnceJobClient | undefined
  try {
    return await command.run({
      args,
      out,
      env: streams.env,
      get client() {
        return (client ??= connect(args, streams.env))
      },
    })
  } catch (error) {
    if (error instanceof UsageError && error.about === undefined) throw new UsageError(error.message, command.name)
    if (!(error instanceof OutcomeUnknown)) throw error
    out.endProgress()
    streams.stderr(`oncejob: ${error.message}\nhint: ${lookUpOf(error, args)} shows what became of it\n`)
    return codeOfError(error)
  } finally {
    out.endProgress()
    client?.close()
  }
}

/** As a word of a shell. */
const quoted = (word: string): string => (/^[\w./:@+-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)

/** The command that looks: where this one was told to work, but without its token, which would be on the screen. */
const lookUpOf = ({ requestKey }: OutcomeUnknown, args: Args): string => {
  const where = (['url', 'app', 'data'] as const).flatMap((name) => {
    const value = args.text(name)
    return value === undefined ? [] : [`--${name} ${quoted(value)}`]
  })
  return ['oncejob key', quoted(requestKey), ...where].join(' ')
}

/** What went wrong in one line, and what to do about it when that is known. */
const sayError = (error: unknown): string => {
  if (error instanceof UsageError) {
    return `${error.message}\nhint: oncejob help${error.about === undefined ? '' : ` ${error.about}`}`
  }
  if (error instanceof SecretLost) {
    return `${error.message}\nhint: oncejob tokens revoke ${error.id} --app ${quoted(error.app)}`
  }
  if (error instanceof OnceJobError) return sayRefusal(error)
  return error instanceof Error ? error.message : String(error)
}

const sayRefusal = (error: OnceJobError): string => {
  const request = error.requestId === undefined ? '' : ` (request ${error.requestId})`
  const issues: unknown = error.problem['issues']
  const details = Array.isArray(issues) ? issues.map((issue) => `\n  ${sayIssue(issue)}`).join('') : ''
  const hint = error.code === 'APP_REQUIRED' ? '\nhint: --app NAME or ONCEJOB_APP; oncejob apps lists them' : ''
  return `${error.message}${request}${details}${hint}`
}

const sayIssue = (issue: unknown): string =>
  typeof issue === 'object' && issue !== null && 'path' in issue && 'says' in issue
    ? `${String(issue.path)}: ${String(issue.says)}`
    : JSON.stringify(issue)

/**
 * Runs one command line, without the name of the program.
 * @returns the exit code; every error is written to stderr
 */
export const runCli = async (argv: readonly string[], streams: Streams): Promise<number> => {
  try {
    return await execute(argv, streams)
  } catch (error) {
    streams.stderr(`oncejob: ${sayError(error)}\n`)
    return codeOfError(error)
  }
}

// Words and options of the command line, checked against what the command knows.
import { parseArgs } from 'node:util'
import { UsageError } from './exit-codes.ts'

/** One option: how it is written, what it takes (nothing: a switch), what it does. */
export interface OptionSpec {
  readonly short?: string
  /** Name of its value in the help; a switch has none. */
  readonly value?: string
  readonly says: string
}
export type OptionSpecs = Readonly<Record<string, OptionSpec>>

/** What was typed, after the words that name the command. */
export class Args {
  readonly words: readonly string[]
  readonly #values: ReadonlyMap<string, string | true>

  constructor(words: readonly string[], values: ReadonlyMap<string, string | true>) {
    this.words = words
    this.#values = values
  }

  /** The same without the first words. */
  without(count: number): Args {
    return new Args(this.words.slice(count), this.#values)
  }

  /** The word at this place; the command's `words` says that it is there. */
  word(index: number): string {
    const word = this.words[index]
    if (word === undefined) throw new UsageError('a word is missing')
    return word
  }

  text(name: string): string | undefined {
    const value = this.#values.get(name)
    return typeof value === 'string' ? value : undefined
  }

  flag(name: string): boolean {
    return this.#values.get(name) === true
  }

  /** One of the given words. */
  choice<T extends string>(name: string, choices: readonly T[]): T | undefined {
    const text = this.text(name)
    if (text === undefined) return undefined
    const found = choices.find((choice) => choice === text)
    if (found === undefined) throw new UsageError(`--${name} is one of ${choices.join(', ')}, not "${text}"`)
    return found
  }

  integer(name: string, min: number, max: number): number | undefined {
    const text = this.text(name)
    return text === undefined ? undefined : readInteger(`--${name}`, text, min, max)
  }

  /** Milliseconds: a plain number, or one with ms, s, m, h or d. */
  durationMs(name: string): number | undefined {
    const text = this.text(name)
    if (text === undefined) return undefined
    const match = /^(\d{1,12}(?:\.\d{1,3})?)(ms|s|m|h|d)?$/.exec(text)
    const unitMs = unitsMs.get(match?.[2] ?? 'ms')
    if (match === null || unitMs === undefined) {
      throw new UsageError(`--${name} is milliseconds or a number with s, m, h or d, not "${text}"`)
    }
    return Math.round(Number(match[1]) * unitMs)
  }

  id(index: number): number {
    return readInteger('an id', this.word(index), 1, Number.MAX_SAFE_INTEGER)
  }

  get names(): Iterable<string> {
    return this.#values.keys()
  }
}

const unitsMs = new Map([
  ['ms', 1],
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
])

const readInteger = (what: string, text: string, min: number, max: number): number => {
  const value = /^-?\d+$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= min && value <= max))
    throw new UsageError(`${what} is a whole number from ${min} to ${max}, not "${text}"`)
  return value
}

/** A job as typed: digits are an id, everything else a name. */
export const readJob = (text: string): number | string =>
  /^[1-9]\d*$/.test(text) && Number.isSafeInteger(Number(text)) ? Number(text) : text

/**
 * Takes the command line apart. Every option of every command is known by name here; whether the command
 * takes it is checked when the command is known.
 */
export const readArgs = (argv: readonly string[], specs: OptionSpecs): Args => {
  const options = Object.fromEntries(
    Object.entries(specs).map(([name, { short, value }]) => [
      name,
      {
        type: value === undefined ? ('boolean' as const) : ('string' as const),
        ...(short === undefined ? {} : { short }),
      },
    ]),
  )
  try {
    const { values, positionals } = parseArgs({ args: [...argv], options, allowPositionals: true, strict: true })
    const given = new Map<string, string | true>()
    for (const [name, value] of Object.entries(values)) {
      if (typeof value === 'string' || value === true) given.set(name, value)
    }
    return new Args(positionals, given)
  } catch (error) {
    // Node adds advice in further sentences; the first one says what is wrong.
    const says = error instanceof Error ? error.message.split(/[.\n] ?/)[0] : String(error)
    throw new UsageError(says ?? 'the options can not be read')
  }
}

/** The known word that was probably meant; undefined when none is near. */
export const nearest = (word: string, known: readonly string[]): string | undefined => {
  const [best] = known
    .map((candidate) => ({ candidate, distance: distanceOf(word, candidate) }))
    .filter(({ candidate, distance }) => distance <= Math.max(1, Math.min(2, Math.floor(candidate.length / 2))))
    .toSorted((a, b) => a.distance - b.distance)
  return best?.candidate
}

/** How many letters must be added, removed or changed. */
const distanceOf = (a: string, b: string): number => {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i]
    for (let j = 1; j <= b.length; j += 1) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? 0
}

// Offsets of IANA zones from Intl, cached, and the way from instants to local time and back.
import { dayMs, daysFromCivil, hourMs, secondMs } from './civil.ts'

/**
 * A stretch of time with one offset: local = instant + offsetMs for fromMs <= instant < toMs.
 * Stretches also end at the borders of cached blocks, where the offset need not change.
 */
export interface Stretch {
  readonly fromMs: number
  readonly toMs: number
  readonly offsetMs: number
  /** Local times below this have been shown before `fromMs` already: the clock was set back. */
  readonly seenUntilLocalMs: number
}

export interface Zone {
  readonly name: string
  /** The stretch that holds the instant. */
  stretchAt(atMs: number): Stretch
  /** local minus UTC at the instant, in ms; east is positive. */
  offsetAt(atMs: number): number
}

/** Two changes inside one block that cancel each other would be missed; since 1970 no zone has had that. */
const blockMs = 6 * dayMs
/** Longer than any jump of local time (Apia skipped 24 h). */
const lookBackMs = 26 * hourMs
/** Of a zone; 8,000 span 1970–2099. */
const mostBlocks = 20_000

const formatterOf = (name: string): Intl.DateTimeFormat =>
  new Intl.DateTimeFormat('en-US', {
    timeZone: name,
    calendar: 'gregory',
    numberingSystem: 'latn',
    hourCycle: 'h23',
    era: 'short',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  })

// "11/25/2026 A, 10:26:33"; format() is several times faster than formatToParts()
const readOffset = (formatter: Intl.DateTimeFormat, atMs: number): number => {
  const wholeMs = Math.floor(atMs / secondMs) * secondMs
  const text = formatter.format(wholeMs)
  const [month = 0, day = 0, year = 0, hour = 0, minute = 0, second = 0] = (text.match(/\d+/g) ?? []).map(Number)
  const days = daysFromCivil(/B/.test(text) ? 1 - year : year, month, day)
  return days * dayMs + (hour * 60 + minute) * 60_000 + second * secondMs - wholeMs
}

class IntlZone implements Zone {
  readonly name: string
  readonly #formatter: Intl.DateTimeFormat
  readonly #blocks = new Map<number, readonly Stretch[]>()
  readonly #edges = new Map<number, number>()
  #last: Stretch | undefined

  constructor(name: string, formatter: Intl.DateTimeFormat) {
    this.name = name
    this.#formatter = formatter
  }

  offsetAt(atMs: number): number {
    return this.stretchAt(atMs).offsetMs
  }

  stretchAt(atMs: number): Stretch {
    const last = this.#last
    if (last !== undefined && atMs >= last.fromMs && atMs < last.toMs) return last
    const found = this.#block(Math.floor(atMs / blockMs)).find((stretch) => atMs < stretch.toMs)
    if (found === undefined) throw new RangeError(`no stretch of ${this.name} holds ${atMs}`)
    this.#last = found
    return found
  }

  #block(index: number): readonly Stretch[] {
    const known = this.#blocks.get(index)
    if (known !== undefined) return known
    if (this.#blocks.size >= mostBlocks) {
      this.#blocks.clear()
      this.#edges.clear()
    }
    const block = this.#build(index)
    this.#blocks.set(index, block)
    return block
  }

  #build(index: number): Stretch[] {
    const startMs = index * blockMs
    const endMs = startMs + blockMs
    const pieces = this.#pieces(startMs, endMs)
    const before = this.#pieces(startMs - blockMs, startMs)
    return pieces.map((piece, i) => {
      const earlier = [...before, ...pieces.slice(0, i)].filter((other) => other.toMs > piece.fromMs - lookBackMs)
      const seenUntilLocalMs = Math.max(
        piece.fromMs + piece.offsetMs,
        ...earlier.map((other) => other.toMs + other.offsetMs),
      )
      return { ...piece, seenUntilLocalMs }
    })
  }

  #pieces(startMs: number, endMs: number): Omit<Stretch, 'seenUntilLocalMs'>[] {
    const first = this.#edge(startMs)
    const last = this.#edge(endMs)
    if (first === last) return [{ fromMs: startMs, toMs: endMs, offsetMs: first }]
    const middleMs = this.#change(startMs, endMs, first)
    if (middleMs === endMs) return [{ fromMs: startMs, toMs: endMs, offsetMs: first }]
    // normally one change; a second one in the same block is found by looking at the rest again
    const head = { fromMs: startMs, toMs: middleMs, offsetMs: first }
    return [head, ...this.#pieces(middleMs, endMs)]
  }

  /** The first instant after `startMs` whose offset differs from `first`; changes come at whole seconds. */
  #change(startMs: number, endMs: number, first: number): number {
    let low = startMs / secondMs
    let high = endMs / secondMs
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2)
      if (readOffset(this.#formatter, middle * secondMs) === first) low = middle
      else high = middle
    }
    return high * secondMs
  }

  #edge(atMs: number): number {
    const known = this.#edges.get(atMs)
    if (known !== undefined) return known
    const offset = readOffset(this.#formatter, atMs)
    this.#edges.set(atMs, offset)
    return offset
  }
}

const zones = new Map<string, Zone>()
/** Spellings that have been asked for: names are matched without regard to case, and some are links. */
const spellings = new Map<string, Zone>()
const mostSpellings = 2_000

/**
 * The zone of an IANA name, or undefined when there is none. Fixed offsets such as "+05:30"
 * are not names: the programs around us read their sign in two ways.
 */
export const zoneOf = (name: string): Zone | undefined => {
  const known = spellings.get(name)
  if (known !== undefined) return known
  if (!/^[A-Za-z]/.test(name)) return undefined
  let formatter: Intl.DateTimeFormat
  try {
    formatter = formatterOf(name)
  } catch (error) {
    // translates: Intl has no other way to ask whether a zone exists
    if (error instanceof RangeError) return undefined
    throw error
  }
  const canonical = formatter.resolvedOptions().timeZone
  const zone = zones.get(canonical) ?? new IntlZone(canonical, formatter)
  zones.set(canonical, zone)
  if (spellings.size >= mostSpellings) spellings.clear()
  spellings.set(name, zone)
  return zone
}

/** What a local time (as ms since the epoch if it were UTC) is in a zone. */
export type LocalMeaning =
  | { kind: 'one'; atMs: number }
  | { kind: 'gap'; nextMs: number } // it never was: the first instant after the gap
  | { kind: 'two'; firstMs: number; laterMs: number }

/** Finds the instants at which the zone's clocks show the local time. */
export const instantsOf = (zone: Zone, localMs: number): LocalMeaning => {
  const hits: number[] = []
  let gapEndMs: number | undefined
  for (let at = localMs - lookBackMs; at <= localMs + lookBackMs;) {
    const stretch = zone.stretchAt(at)
    const hit = localMs - stretch.offsetMs
    if (hit >= stretch.fromMs && hit < stretch.toMs) hits.push(hit)
    if (stretch.fromMs + stretch.offsetMs > localMs) gapEndMs ??= stretch.fromMs
    at = stretch.toMs
  }
  const [first, second] = hits
  if (first === undefined) return { kind: 'gap', nextMs: gapEndMs ?? localMs }
  return second === undefined ? { kind: 'one', atMs: first } : { kind: 'two', firstMs: first, laterMs: second }
}

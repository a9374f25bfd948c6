// What workers did, as they saw it: one line per event in a file of their own, which no kill can take back.
import { appendFileSync, existsSync, readFileSync } from 'node:fs'

interface Facts {
  /** ms since the epoch, by the clock of the machine, which the database shares in these tests. */
  readonly at: number
  readonly pid: number
  readonly worker: string
}

interface Attempt {
  readonly runId: number
  readonly lease: number
}

export type Entry = Facts &
  (
    | (Attempt & { readonly kind: 'start'; readonly attempt: number })
    | (Attempt & { readonly kind: 'end' })
    | (Attempt & { readonly kind: 'effect' })
    | (Attempt & { readonly kind: 'died'; readonly moment: number })
    | (Attempt & { readonly kind: 'abort'; readonly code: string; readonly how: string | null })
    | (Attempt & { readonly kind: 'finished'; readonly outcome: string | null; readonly answer: string | null })
    | { readonly kind: 'event'; readonly type: string }
  )

type WithoutFacts<T> = T extends unknown ? Omit<T, keyof Facts> : never
export type NewEntry = WithoutFacts<Entry>

/** Appends with one write per line. */
export const ledgerWriter = (path: string, worker: string): ((entry: NewEntry) => void) => {
  const { pid } = process
  return (entry) => appendFileSync(path, `${JSON.stringify({ at: Date.now(), pid, worker, ...entry })}\n`)
}

/** Every line of the ledgers. A line is one write: a torn one would be a bug of this test bed, and throws. */
export const readLedgers = (paths: readonly string[]): Entry[] =>
  paths
    .filter((path) => existsSync(path))
    .flatMap((path) => readFileSync(path, 'utf8').split('\n').slice(0, -1))
    .map((line) => JSON.parse(line) as Entry)

export const ofKind = <K extends Entry['kind']>(entries: readonly Entry[], kind: K): Extract<Entry, { kind: K }>[] =>
  entries.filter((entry): entry is Extract<Entry, { kind: K }> => entry.kind === kind)

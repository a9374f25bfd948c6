// What run keys promise, said a second time and as plainly as possible: the model that the real thing is compared with (T-15).
import type { OnClosed, OnOpen } from '@oncejob/protocol'

type Ended = 'succeeded' | 'failed' | 'canceled' | 'stopped'

/** One run: `place` is where an open one is; `behind`: the run whose end it waits for. */
export interface ModelRun {
  readonly name: string
  readonly key: string
  readonly params: number
  state: 'open' | Ended
  place: 'waiting' | 'running' | null
  behind: ModelRun | null
  stopping: boolean
  /** Its key was freed by force while it was stopping. */
  disowned: boolean
  /** Hours since its end. */
  ageHours: number
}

interface ModelKey {
  /** Its runs in the order in which the key came to stand for them. */
  readonly runs: ModelRun[]
  /** Hours that it lives after the end of its run; null: for ever. */
  ttlHours: number | null
}

export interface ModelAsk {
  readonly key: string
  readonly params: number
  readonly onOpen: OnOpen
  readonly onClosed: OnClosed
  readonly ignore: boolean
  readonly ttlHours: number | null
}

/** What the model says that a call must be answered. */
export type ModelAnswer =
  | { readonly made: ModelRun; readonly replaces: ModelRun | null; readonly after: ModelRun | null }
  | { readonly existing: ModelRun }
  | { readonly refused: 'RUN_KEY_CONFLICT' | 'RUN_KEY_INPUT_MISMATCH'; readonly by: ModelRun }

const isOpen = (run: ModelRun): boolean => run.state === 'open'

export class RunKeyModel {
  readonly runs: ModelRun[] = []
  readonly #keys = new Map<string, ModelKey>()

  /** The open run that the key stands for, and the open one before it. */
  #open(key: string): { holder: ModelRun | undefined; before: ModelRun | undefined } {
    const open = this.runs.filter((run) => run.key === key && isOpen(run))
    const order = this.#keys.get(key)?.runs ?? []
    const sorted = open.toSorted((a, b) => order.indexOf(a) - order.indexOf(b))
    const holder = sorted.findLast((run) => !run.disowned)
    return { holder, before: sorted.findLast((run) => run !== holder) }
  }

  /** The ended run that the key stands for. */
  #closed(key: string): ModelRun | undefined {
    const entry = this.#keys.get(key)
    const run = entry?.runs.at(-1)
    if (entry === undefined || run === undefined || isOpen(run)) return undefined
    return entry.ttlHours === null || run.ageHours < entry.ttlHours ? run : undefined
  }

  /** What the key stands for; undefined: nothing. */
  standsFor(key: string): ModelRun | undefined {
    const { holder, before } = this.#open(key)
    return holder ?? (before === undefined ? this.#closed(key) : undefined)
  }

  submit(ask: ModelAsk): ModelAnswer {
    const { holder, before } = this.#open(ask.key)
    const existing = this.standsFor(ask.key)
    if (existing === undefined) return this.#make(ask, before ?? null, null, before ?? null)
    if (!ask.ignore && existing.params !== ask.params) return { refused: 'RUN_KEY_INPUT_MISMATCH', by: existing }
    if (holder === undefined) {
      if (ask.onClosed === 'reject') return { refused: 'RUN_KEY_CONFLICT', by: existing }
      const wanted = ask.onClosed === 'allow' || (ask.onClosed === 'allowIfFailed' && existing.state !== 'succeeded')
      return wanted ? this.#make(ask, null, null, null) : { existing }
    }
    if (ask.onOpen === 'return') return { existing: holder }
    if (ask.onOpen === 'reject') return { refused: 'RUN_KEY_CONFLICT', by: holder }
    if (ask.onOpen === 'replace') {
      const stopping = [before, holder]
        .filter((run) => run !== undefined)
        .filter((run) => this.stop(run) === 'stopping')
      return this.#make(ask, stopping[0] ?? null, holder, null)
    }
    if (before !== undefined) this.stop(holder)
    return this.#make(ask, before ?? holder, null, before ?? holder)
  }

  #make(ask: ModelAsk, behind: ModelRun | null, replaces: ModelRun | null, after: ModelRun | null): ModelAnswer {
    const made: ModelRun = {
      name: `#${this.runs.length}`,
      key: ask.key,
      params: ask.params,
      state: 'open',
      place: 'waiting',
      behind,
      stopping: false,
      disowned: false,
      ageHours: 0,
    }
    this.runs.push(made)
    this.#point(made, ask.ttlHours)
    return { made, replaces, after }
  }

  #point(run: ModelRun, ttlHours: number | null): void {
    const entry = this.#keys.get(run.key) ?? { runs: [], ttlHours }
    entry.ttlHours = ttlHours
    const place = entry.runs.indexOf(run)
    if (place !== -1) entry.runs.splice(place, 1)
    entry.runs.push(run)
    this.#keys.set(run.key, entry)
  }

  end(run: ModelRun, state: Ended): void {
    Object.assign(run, { state, place: null, behind: null, ageHours: 0 })
    for (const other of this.runs) if (other.behind === run) other.behind = null
  }

  /** Cancels a waiting run, asks a running one to stop. */
  stop(run: ModelRun): 'ended' | 'stopping' {
    if (run.place === 'waiting') {
      this.end(run, 'canceled')
      return 'ended'
    }
    run.stopping = true
    return 'stopping'
  }

  /** Every run that waits for no other one starts. */
  start(): ModelRun[] {
    const starting = this.runs.filter((run) => run.place === 'waiting' && run.behind === null)
    for (const run of starting) run.place = 'running'
    return starting
  }

  /** A worker's report about a running run. */
  report(run: ModelRun, outcome: 'succeeded' | 'failed'): void {
    this.end(run, outcome === 'failed' && run.stopping ? 'stopped' : outcome)
  }

  /** Its worker was lost. */
  lose(run: ModelRun): void {
    if (run.stopping) this.end(run, 'stopped')
    else run.place = 'waiting'
  }

  retry(run: ModelRun): 'waiting' | 'RUN_NOT_ENDED' | 'RUN_KEY_CONFLICT' {
    if (isOpen(run)) return 'RUN_NOT_ENDED'
    const { holder, before } = this.#open(run.key)
    if (holder !== undefined || before !== undefined) return 'RUN_KEY_CONFLICT'
    Object.assign(run, { state: 'open', place: 'waiting', stopping: false, disowned: false })
    // a key that is not remembered lives until the end of the run
    this.#point(run, this.#keys.get(run.key)?.ttlHours ?? (this.#keys.has(run.key) ? null : 0))
    return 'waiting'
  }

  reset(key: string, force: boolean): 'free' | 'RUN_KEY_NOT_FOUND' | 'RUN_KEY_CONFLICT' {
    if (this.standsFor(key) === undefined) return 'RUN_KEY_NOT_FOUND'
    const open = this.runs.filter((run) => run.key === key && isOpen(run))
    if (open.length > 0 && !force) return 'RUN_KEY_CONFLICT'
    for (const run of open) run.disowned = this.stop(run) === 'stopping'
    this.#keys.delete(key)
    return 'free'
  }

  /** An hour goes by. */
  hour(): void {
    for (const run of this.runs) if (!isOpen(run)) run.ageHours += 1
  }

  /** Keys whose time is over are forgotten. */
  sweep(): void {
    for (const key of this.#keys.keys()) {
      const { holder, before } = this.#open(key)
      if (holder === undefined && before === undefined && this.#closed(key) === undefined) this.#keys.delete(key)
    }
  }
}

// The attempts that others must know of: rows, written together with those of the same moment, and the decision about a first use.
import { batcher } from '../../kernel/batch.ts'
import type { Clock, Millis } from '../../kernel/clock.ts'
import type { Log } from '../../kernel/log.ts'
import type { Random } from '../../kernel/random.ts'
import type { Db, Queries } from '../../storage/db.ts'
import {
  candidatesOf,
  decideAttempt,
  explainFirst,
  keepPath,
  lockPath,
  markAnswered,
  markFailed,
  markUndelivered,
  openAttempts,
  pairAttempt,
  payDebt,
  repeatAttempt,
  serverLockSpace,
  spendFirst,
  takeAttemptIds,
  weighPath,
  type NewAttempt,
} from '../../storage/resends.ts'
import { judge, lifetimes, type Decision } from './first-use.ts'

interface Needs {
  readonly db: Db
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
}

/** What a row says of a call. */
export interface AttemptFacts {
  readonly id: number
  readonly appId: number
  /** Null: nobody throws answers away on its path. */
  readonly pathKey: string | null
  readonly fingerprint: string
  readonly jti: string | null
  readonly match: string
}

const batchMax = 500
const idsPerBlock = 1_000
/** For so long nothing is collapsed by first use after evidence was lost that would have prevented it. */
const doubtMs: Millis = 10_000

/** Numbers of attempts, unique over all servers and restarts. */
const createIds = (db: Db) => {
  const block = { next: 0, end: 0 }
  let taking: Promise<void> | undefined
  const take = async (): Promise<void> => {
    block.next = await takeAttemptIds(db)
    block.end = block.next + idsPerBlock
  }
  return async (): Promise<number> => {
    while (block.next >= block.end) {
      taking ??= take().finally(() => (taking = undefined))
      await taking
    }
    return block.next++
  }
}

/** The lock by which others see that this server lives. */
const createSign = ({ db, random }: Needs) => {
  // 31 bits, and not 0
  const id = (Buffer.from(random.bytes(4)).readUInt32BE() % 0x7fff_fffe) + 1
  let held = false
  let release: (() => Promise<void>) | undefined
  return {
    /** 0 while others could not see it: then its attempts are never taken for those of a dead server. */
    server: (): number => (held ? id : 0),
    start: async (): Promise<void> => {
      release ??= await db.hold({ space: serverLockSpace, id }, (now) => (held = now))
    },
    stop: async (): Promise<void> => {
      await release?.()
      release = undefined
    },
  }
}

/** Evidence that could not be written: it is written as soon as possible, and until a while later nothing is collapsed. */
const createDebts = ({ db, clock, log }: Needs) => {
  const unwritten: ((queries: Queries) => Promise<unknown>)[] = []
  let doubtUntilMs = -Infinity
  const flush = async (): Promise<void> => {
    for (let write = unwritten[0]; write !== undefined; write = unwritten[0]) {
      await write(db)
      unwritten.shift()
      doubtUntilMs = clock.monotonic() + doubtMs
    }
  }
  return {
    flush,
    /** Writes evidence, now or later. Never rejects. */
    write: async (now: () => Promise<unknown>, later: (queries: Queries) => Promise<unknown>): Promise<void> => {
      try {
        await now()
      } catch (error) {
        // kept: a call that did nothing must be executed when it comes again
        log.warn({ err: error }, 'evidence of a call not written')
        doubtUntilMs = clock.monotonic() + doubtMs
        if (unwritten.length < 10_000) unwritten.push(later)
      }
    },
    inDoubt: (): boolean => unwritten.length > 0 || clock.monotonic() < doubtUntilMs,
  }
}

type RowOf = (facts: AttemptFacts, over: Partial<NewAttempt>) => NewAttempt

/** A first use is judged alone on its path. */
export interface FirstUse {
  readonly facts: AttemptFacts & { readonly pathKey: string; readonly jti: string }
  readonly issuedAtMs: number
  readonly mayCollapse: boolean
}

/** `suspected`: it would have been collapsed, if it might. */
export type FirstDecision = Decision & { readonly suspected: boolean }

/** Notes a first use: evidence, unless a rejection explains it. */
const noteFirst = async (tx: Queries, row: NewAttempt, pathKey: string): Promise<void> => {
  await lockPath(tx, pathKey)
  const explained = await explainFirst(tx, pathKey, lifetimes)
  await openAttempts(tx, [{ ...row, firstUse: !explained }])
}

const decideIn = async (tx: Queries, rowOf: RowOf, first: FirstUse): Promise<FirstDecision> => {
  const { facts, issuedAtMs, mayCollapse } = first
  const { id, pathKey, fingerprint, jti } = facts
  await noteFirst(tx, rowOf(facts, {}), pathKey)
  await keepPath(tx, pathKey)
  const { budget, debt } = await weighPath(tx, pathKey, fingerprint, lifetimes)
  const candidates = await candidatesOf(tx, pathKey, fingerprint, lifetimes)
  const decision = judge({ budget, debt, candidates }, { fingerprint, jti, issuedAtMs })
  if (decision.kind === 'execute') {
    if (!decision.forced) return { ...decision, suspected: false }
    await payDebt(tx, pathKey, fingerprint, lifetimes)
    await decideAttempt(tx, id, { outcome: 'started', under: id, forced: true })
    return { ...decision, suspected: false }
  }
  if (!mayCollapse) return { kind: 'execute', forced: false, suspected: true }
  await pairAttempt(tx, decision.into)
  await spendFirst(tx, pathKey, lifetimes)
  await decideAttempt(tx, id, { outcome: 'collapsed', under: decision.into, forced: false })
  return { ...decision, suspected: false }
}

const createBatches = (db: Db) => {
  const together = (write: (queries: Queries, ids: readonly number[]) => Promise<void>) =>
    batcher<number, undefined>({
      maxSize: batchMax,
      run: async (ids) => {
        await write(db, ids)
        return ids.map(() => undefined)
      },
    })
  return {
    open: batcher<NewAttempt, number[]>({
      maxSize: batchMax,
      run: async (attempts) => {
        const earlier = await openAttempts(db, attempts)
        return attempts.map((_, ord) => earlier.filter((one) => one.ord === ord).map((one) => one.id))
      },
    }),
    answered: together(markAnswered),
    undelivered: together(markUndelivered),
  }
}

/** Creates the book of one server. */
export const createLedger = (needs: Needs) => {
  const { db } = needs
  const sign = createSign(needs)
  const nextId = createIds(db)
  const debts = createDebts(needs)
  const batches = createBatches(db)
  const rowOf: RowOf = (facts, over) => ({
    ...facts,
    server: sign.server(),
    under: facts.id,
    outcome: 'started',
    firstUse: false,
    forced: false,
    owes: false,
    ...over,
  })
  return {
    start: sign.start,
    stop: sign.stop,
    /** Writes what could not be written before. */
    flush: debts.flush,
    nextId,
    /** Notes an attempt; returns like ones of other servers that may not have been answered. */
    open: (facts: AttemptFacts): Promise<number[]> => batches.open(rowOf(facts, {})),
    /** Decides about the first use of a token by a call with effects, on a path on which answers are thrown away. */
    decide: (first: FirstUse): Promise<FirstDecision> =>
      db.transaction((tx) => decideIn(tx, rowOf, { ...first, mayCollapse: first.mayCollapse && !debts.inDoubt() })),
    /** Notes the first use of a token by a reading call. */
    readFirst: (facts: AttemptFacts & { readonly pathKey: string }): Promise<void> =>
      db.transaction((tx) => noteFirst(tx, rowOf(facts, { outcome: 'read' }), facts.pathKey)),
    /** Notes a call that was rejected for its token. */
    rejected: async (facts: Omit<AttemptFacts, 'id'> & { readonly pathKey: string }): Promise<void> => {
      const row = async (): Promise<NewAttempt> =>
        rowOf({ ...facts, id: await nextId() }, { outcome: 'rejected', owes: true })
      await debts.write(
        async () => batches.open(await row()),
        async (queries) => openAttempts(queries, [await row()]),
      )
    },
    /** Makes attempt `id` the repeat of one of this server; returns under whose key. Undefined: it was repeated elsewhere. */
    repeat: (earlier: number, id: number): Promise<number | undefined> => repeatAttempt(db, earlier, id),
    /** Notes that an attempt came to nothing. */
    failed: async (id: number, how: 'refused' | 'broken', owes: boolean): Promise<void> => {
      const write = (queries: Queries): Promise<unknown> => markFailed(queries, { id, how, owes })
      await debts.write(() => write(db), write)
    },
    answered: batches.answered,
    undelivered: batches.undelivered,
  }
}

export type Ledger = ReturnType<typeof createLedger>

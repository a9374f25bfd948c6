// A pool for ctx.transaction that passes fault points around the statements of the worker.
import type { PgClient, PgPool } from '@oncejob/worker'
import type { FaultPoint, Faults } from './fault-points.ts'

interface Around {
  readonly before?: FaultPoint
  /** The statement is with the kernel, and its answer is not awaited. */
  readonly sent?: FaultPoint
  readonly after?: FaultPoint
}

const statements: readonly (readonly [start: RegExp, Around])[] = [
  [/^INSERT INTO oncejob_fence/, { sent: 'transaction:fence-sent', after: 'transaction:before-begin' }],
  [/^BEGIN/, { after: 'transaction:begun' }],
  [/^SELECT 1 FROM oncejob_fence/, { after: 'transaction:fence-held' }],
  [/^INSERT INTO oncejob_effect/, { after: 'transaction:effect-noted' }],
  [/^UPDATE oncejob_effect/, { before: 'transaction:written', after: 'transaction:before-commit' }],
  [/^COMMIT/, { sent: 'transaction:commit-sent', after: 'transaction:committed' }],
]

const aroundOf = (text: string): Around => statements.find(([start]) => start.test(text))?.[1] ?? {}

interface Borrowed {
  release(error?: Error | boolean): void
}

/**
 * @param pool whose `query` hands a statement to the kernel before it returns, as that of `pg` does for an idle client
 */
export const faultPool = (pool: { connect(): Promise<PgClient & Borrowed> }, faults: Faults): PgPool => ({
  connect: async () => {
    await faults.visit('transaction:before')
    const client = await pool.connect()
    const ignore = (): void => undefined
    client.on?.('error', ignore)
    return {
      query: async (text: string, values?: unknown[]) => {
        const { before, sent, after } = aroundOf(text)
        if (before !== undefined) await faults.visit(before)
        const answer = client.query(text, values)
        if (sent !== undefined) await faults.visit(sent)
        const result = await answer
        if (after !== undefined) await faults.visit(after)
        return result
      },
      release: (error?: Error | boolean) => {
        client.removeListener?.('error', ignore)
        client.release(error)
      },
    }
  },
})

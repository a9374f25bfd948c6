// A worker whose processors change the world: rows in a database of the user's, calls to a foreign API. It dies where it is
// told to: at a named point, or by chance in the gap between an effect and its record.
import { createHash } from 'node:crypto'
import { createWorker, defineProcessors, LeaseLost, silentLog, type RunContext } from '@oncejob/worker'
import { createFaults, dieNow, faultPool, faultSettings, openFaultGate } from '@oncejob/testkit/faults'
import pg from 'pg'
import { ledgerWriter } from './ledger.ts'
import { pause } from './until.ts'
import type { ChargeParams, EffectsSettings, OnceParams } from './effects.ts'

// Whoever started this holds the other end: a worker must not outlive its test.
process.stdin.on('end', () => process.exit(9)).resume()

const settings = JSON.parse(process.env['E2E_EFFECTS'] ?? '{}') as EffectsSettings
const write = ledgerWriter(settings.ledger, settings.name)
const faults = createFaults(faultSettings(process.env))
const pool = new pg.Pool({ connectionString: settings.shopUrl, max: settings.concurrency })
pool.on('error', () => undefined)
const hurtPool = faultPool(pool, faults)

/** A number in [0, 1) that is the same for this attempt whoever has it, and for each question another. */
const chanceOf = (ctx: RunContext, question: string): number =>
  createHash('sha256').update(`${settings.seed} ${ctx.runId} ${ctx.attempt} ${question}`).digest().readUInt32BE() /
  2 ** 32

/** The n-th of the moments at which this attempt may die; it dies at one of them at most. */
const mayDie = (ctx: RunContext, moment: number, moments: number): void => {
  if (chanceOf(ctx, 'dies') >= settings.deaths) return
  if (Math.floor(chanceOf(ctx, 'where') * moments) !== moment) return
  write({ kind: 'died', runId: ctx.runId, lease: ctx.lease, moment })
  dieNow()
}

const noted = (ctx: RunContext): void =>
  write({ kind: 'start', runId: ctx.runId, lease: ctx.lease, attempt: ctx.attempt })

/** The effect of `once`: one autocommitted row without any constraint. */
const pay = async (ctx: RunContext, name: string): Promise<{ by: number }> => {
  await pool.query('insert into payment (run_id, name, lease) values ($1, $2, $3)', [ctx.runId, name, ctx.lease])
  return { by: ctx.lease }
}

/** Asks the user's table what became of it. */
const look = async (ctx: RunContext, name: string): Promise<'not-done' | { outcome: { by: number } }> => {
  const { rows } = await pool.query<{ lease: string }>(
    'select lease from payment where run_id = $1 and name = $2 order by id',
    [ctx.runId, name],
  )
  return rows[0] === undefined ? 'not-done' : { outcome: { by: Number(rows[0].lease) } }
}

const once = async (ctx: RunContext): Promise<unknown> => {
  const { onUnknown } = ctx.params as OnceParams
  const fn = async () => {
    await faults.visit('once:before-effect')
    const paid = await pay(ctx, 'pay')
    await faults.visit('once:after-effect')
    return paid
  }
  const outcome = await ctx.once('pay', fn, { onUnknown, resolve: () => look(ctx, 'pay') })
  await faults.visit('once:after')
  return outcome
}

const transaction = async (ctx: RunContext): Promise<unknown> => {
  const output = await ctx.transaction(hurtPool, 'pay', async (tx) => {
    await tx.query('insert into payment (run_id, name, lease) values ($1, $2, $3)', [ctx.runId, 'pay', ctx.lease])
    return { by: ctx.lease }
  })
  await faults.visit('transaction:after')
  return output
}

/** Three transactions, one after the other; dies in the gap behind one of their commits. */
const steps = async (ctx: RunContext): Promise<unknown> => {
  noted(ctx)
  const outputs: unknown[] = []
  try {
    for (const step of [0, 1, 2]) {
      const output = await ctx.transaction(pool, `step-${step}`, async (tx) => {
        await tx.query('insert into payment (run_id, name, lease) values ($1, $2, $3)', [
          ctx.runId,
          `step-${step}`,
          ctx.lease,
        ])
        await pause(chanceOf(ctx, `time ${step}`) * settings.workMs)
        return { by: ctx.lease }
      })
      mayDie(ctx, step, 3)
      outputs.push(output)
    }
  } catch (error) {
    if (error instanceof LeaseLost)
      write({ kind: 'abort', runId: ctx.runId, lease: ctx.lease, code: error.code, how: error.how })
    throw error
  }
  return outputs
}

/** One call to the foreign API; dies before it, behind it, or behind its record. */
const charge = async (ctx: RunContext): Promise<unknown> => {
  noted(ctx)
  const { api, onUnknown } = ctx.params as ChargeParams
  const fn = async (): Promise<unknown> => {
    mayDie(ctx, 0, 3)
    const answer = await fetch(`${settings.apiUrl}/${api}`, {
      method: 'POST',
      headers: { 'idempotency-key': `${ctx.idempotencyKey}/charge` },
      body: JSON.stringify({ runId: ctx.runId, lease: ctx.lease }),
    })
    if (!answer.ok) throw new Error(`the API said ${answer.status}`)
    const said: unknown = await answer.json()
    mayDie(ctx, 1, 3)
    return said
  }
  const outcome = await ctx.once('charge', fn, { onUnknown })
  mayDie(ctx, 2, 3)
  return outcome
}

const urls = await Promise.all(
  settings.urls.map(async (url) => (settings.gate ? (await openFaultGate(url, faults)).url : url)),
)
const worker = createWorker({
  urls,
  token: settings.token,
  name: settings.name,
  concurrency: settings.concurrency,
  log: silentLog,
  processors: defineProcessors({ once, transaction, steps, charge }),
  onEvent: (event) => {
    if (event.type !== 'run-finished') return
    const { runId, lease, outcome, answer } = event
    write({ kind: 'finished', runId, lease, outcome, answer })
    void faults.visit('report:heard')
  },
})
await worker.start()
process.stdout.write('READY\n')

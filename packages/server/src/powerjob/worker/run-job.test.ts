// The message that hands over a run equals the one that was recorded from PowerJob 5.1.1, member for member.
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import type { StoredJob } from '../../storage/jobs.ts'
import { writtenJob } from '../job-codec.ts'
import { completeJob, readJob } from '../job-request.ts'
import { factsOf, runJobBody } from './run-job.ts'

interface Line {
  readonly path: string
  readonly body: unknown
  readonly requestBody: string
  readonly responseBody: string
}
const lines = (file: string): Line[] =>
  readFileSync(new URL(`../testing/${file}`, import.meta.url), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Line)

/** The jobs of the recording, as they were saved there, by their ids there. */
const saved = new Map<number, Record<string, unknown>>()
for (const { path, requestBody, responseBody } of lines('golden-openapi-5.1.1.jsonl')) {
  const answer = JSON.parse(responseBody) as { success: boolean; data: unknown }
  if (path !== '/openApi/saveJob' || !answer.success) continue
  const asked = JSON.parse(requestBody) as Record<string, unknown>
  // an update keeps what it leaves out (contract 6.2)
  saved.set(Number(answer.data), { ...saved.get(Number(answer.data)), ...asked })
}
// copyJob: job 9 of the recording is a copy of job 8
saved.set(9, saved.get(8)!)

const storedOf = (id: number): StoredJob => {
  const asked = completeJob(readJob(saved.get(id)!), true)
  const { definition, powerjob } = writtenJob(asked, undefined, 'UTC')
  return { id, definition, powerjob, routeId: 1, version: 1 } as StoredJob
}

const handed = lines('golden-worker-5.1.1.jsonl')
  .filter(({ path }) => path === '/worker/runJob')
  .map(({ body }) => body as Record<string, unknown>)
const plain = handed.filter(({ timeExpressionType }) => timeExpressionType !== 'WORKFLOW')

describe('a hand-over', () => {
  it.each(plain.map((body, i) => [i, body] as const))('%i is as recorded', (_i, recorded) => {
    const jobId = Number(recorded['jobId'])
    const timeoutMs = Number(recorded['instanceTimeoutMS'])
    const ours = runJobBody(
      factsOf(storedOf(jobId)),
      {
        run_id: Number(recorded['instanceId']),
        job_id: jobId,
        job_params: JSON.stringify(saved.get(jobId)!['jobParams'] ?? null),
        params: recorded['instanceParams'] === undefined ? null : JSON.stringify(recorded['instanceParams']),
        timeout_ms: timeoutMs === 0 ? null : timeoutMs,
      },
      recorded['allWorkerAddress'] as string[],
    )
    const text = JSON.stringify(ours)
    expect(JSON.parse(text)).toEqual(recorded)
    // in the same order, too
    expect(text).toBe(JSON.stringify(recorded))
  })
  it('there are enough of them, and of each execute type', () => {
    expect(plain.length).toBeGreaterThan(10)
    expect(new Set(plain.map(({ executeType }) => executeType))).toEqual(
      new Set(['STANDALONE', 'BROADCAST', 'MAP', 'MAP_REDUCE']),
    )
  })
  it('of a later attempt has what is left of the time, never none', () => {
    const body = (left: number | null) =>
      runJobBody(factsOf(storedOf(14)), { run_id: 1, job_id: 14, job_params: null, params: null, timeout_ms: left }, [])
    expect(body(30_001)).toMatchObject({ instanceTimeoutMS: 30_000 })
    expect(body(1_000)).toMatchObject({ instanceTimeoutMS: 1_000 })
    expect(body(0)).toMatchObject({ instanceTimeoutMS: 1 })
  })
})

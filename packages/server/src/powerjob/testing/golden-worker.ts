// The worker of the recording, on the native protocol: what it does with a run is said by the job's parameters.
import type { Assignment, PollAnswer, Report, ReportAnswer, SessionOpened } from '@oncejob/protocol'

export interface GoldenWorker {
  /** How late second reports of finished runs were answered. */
  readonly seconds: readonly string[]
  stop(): Promise<void>
}

/** Parameters: `fail` fails, `hang` runs until it is stopped, `twice` reports a second result; everything else succeeds. */
export const startGoldenWorker = async (url: string, token: string): Promise<GoldenWorker> => {
  const ending = new AbortController()
  const seconds: string[] = []
  const post = async <T>(path: string, body: unknown): Promise<T> => {
    const answer = await fetch(`${url}/api/v1/worker${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: ending.signal,
    })
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`)
    return (await answer.json()) as T
  }
  const { sessionId } = await post<SessionOpened>('/sessions', {
    name: 'golden',
    address: '127.0.0.1:27777',
    processors: ['com.acme.P'],
    slots: 10,
  })
  const held = new Map<number, number>()
  const report = async (one: Report): Promise<string> => {
    const { answers } = await post<ReportAnswer>('/reports', { reports: [one] })
    held.delete(one.runId)
    return answers[0]?.answer ?? 'none'
  }
  const work = async ({ runId, lease, jobParams }: Assignment): Promise<void> => {
    if (jobParams === 'hang') return
    if (jobParams === 'fail') {
      await report({ runId, lease, outcome: 'failed', error: { code: 'FAILED', message: 'boom' } })
      return
    }
    await report({ runId, lease, outcome: 'succeeded', result: 'done' })
    if (jobParams === 'twice') {
      seconds.push(await report({ runId, lease, outcome: 'succeeded', result: 'done again' }))
    }
  }
  const poll = async (): Promise<void> => {
    const leases = [...held].map(([runId, lease]) => ({ runId, lease }))
    const { runs, stops } = await post<PollAnswer>(`/sessions/${sessionId}/poll`, {
      free: 10 - held.size,
      held: leases,
      waitMs: 200,
    })
    for (const { runId, lease } of stops) {
      await report({ runId, lease, outcome: 'stopped', error: { code: 'STOPPED', message: 'stopped' } })
    }
    for (const run of runs) {
      held.set(run.runId, run.lease)
      await work(run)
    }
  }
  const polling = (async () => {
    while (!ending.signal.aborted) await poll()
  })().catch((error: unknown) => {
    if (!ending.signal.aborted) throw error
  })
  return {
    seconds,
    stop: async () => {
      ending.abort()
      await polling
    },
  }
}

// What request keys cost: the same single calls for runs without a key, with the SDK's keys, and with random ones, in turns.
import { Agent, request } from 'node:http'
import { randomUUID } from 'node:crypto'
import { makeRequestKey } from '@oncejob/client'
import { drained } from './throughput.ts'
import { postgresAnswers, startSystem, type Kind, type System } from './support/processes.ts'
import { describeMachine } from './support/machine.ts'

const smoke = process.argv.includes('--smoke')
const runs = smoke ? 200 : 5_000
const rounds = smoke ? 1 : 7

type Arm = 'no key' | 'key of the SDK' | 'random key'
const keyOf: Record<Arm, () => string | undefined> = {
  'no key': () => undefined,
  'key of the SDK': makeRequestKey,
  'random key': randomUUID,
}

/** The bare call, so that every arm does the same work on this side. */
const callOnce = (system: System, agent: Agent, body: string, key: string | undefined): Promise<void> =>
  new Promise((resolve, reject) => {
    const headers = {
      authorization: `Bearer ${system.token}`,
      'content-type': 'application/json',
      'content-length': String(body.length),
      ...(key === undefined ? {} : { 'idempotency-key': key }),
    }
    const call = request(`${system.url}/api/v1/runs?app=bench`, { agent, method: 'POST', headers }, (answer) => {
      answer.resume().on('end', () => {
        if (answer.statusCode === 201) resolve()
        else reject(new Error(`the server answered ${answer.statusCode}`))
      })
    })
    call.on('error', reject).end(body)
  })

const perSecond = async (system: System, jobId: number, arm: Arm, inFlight: number): Promise<number> => {
  const agent = new Agent({ keepAlive: true, maxSockets: inFlight })
  const body = JSON.stringify({ job: jobId })
  let next = 0
  const startedMs = performance.now()
  const caller = async (): Promise<void> => {
    while (next < runs) {
      next += 1
      await callOnce(system, agent, body, keyOf[arm]())
    }
  }
  await Promise.all(Array.from({ length: inFlight }, caller))
  await drained(system)
  agent.destroy()
  return (runs * 1000) / (performance.now() - startedMs)
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0
const arms: readonly Arm[] = ['no key', 'key of the SDK', 'random key']

const kinds: Kind[] = (await postgresAnswers()) ? ['postgres', 'embedded'] : ['embedded']
console.log(
  '| database | in flight | no key | key of the SDK | share | random key | share |\n| --- | --- | --- | --- | --- | --- | --- |',
)
for (const kind of kinds) {
  const system = await startSystem(kind)
  try {
    const job = (await system.client.jobs.create({ name: 'empty', processor: 'empty' })).id
    for (const inFlight of [16, 64]) {
      const figures: Record<Arm, number[]> = { 'no key': [], 'key of the SDK': [], 'random key': [] }
      await perSecond(system, job, 'no key', inFlight) // warm
      for (let round = 0; round < rounds; round += 1)
        for (const [turn] of arms.entries()) {
          // every arm is first, second and last in turns
          const arm = arms[(turn + round) % arms.length] ?? 'no key'
          figures[arm].push(await perSecond(system, job, arm, inFlight))
        }
      const [none = 0, sdk = 0, random = 0] = arms.map((arm) => median(figures[arm]))
      const share = (value: number): string => `${((100 * value) / none).toFixed(1)} %`
      console.log(
        `| ${kind} | ${inFlight} | ${Math.round(none)}/s | ${Math.round(sdk)}/s | ${share(sdk)} | ${Math.round(random)}/s | ${share(random)} |`,
      )
    }
  } finally {
    await system.end()
  }
}
console.log(
  `\nmedians of ${rounds} rounds of ${runs} runs; ${describeMachine()}${smoke ? ', SMOKE: the figures mean nothing' : ''}`,
)

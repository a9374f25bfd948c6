// Calls with request keys, each sent several times, at once and later, until every sending has its answer; and what they were told.
import assert from 'node:assert/strict'
import { Agent, request } from 'node:http'
import { makeRequestKey } from '@oncejob/protocol'
import { seededRandom, type SeededRandom } from '@oncejob/testkit'
import { below } from './chance.ts'
import { troubleHeader, troubles } from './gap.ts'
import { patienceMs, pause, until } from './until.ts'

export interface Asked {
  /** As the OpenAPI document names it, e.g. `POST /api/v1/jobs/{job}/copy`. */
  readonly route: string
  readonly path: string
  readonly json?: unknown
  /** The call is a jar with this in it. */
  readonly jar?: string
  readonly ifMatch?: string
  /** With the admin token; else with that of the app. */
  readonly admin?: boolean
  /** The status that it must get, or the code of the refusal that it must get. */
  readonly wants: number | string
  /** Member of the answer that is shown once: a repeat says null instead. */
  readonly secret?: string
}

export interface Answer {
  readonly status: number
  readonly text: string
  readonly headers: NodeJS.Dict<string | string[]>
}

/** A call and all that was heard of it. */
export interface KeyedCall {
  readonly asked: Asked
  readonly key: string
  /** Final answers, one for each time that the call was meant to be sent. */
  readonly answers: Answer[]
  /** How often it really was sent: after a broken connection, a 5xx or "still under way" it is sent again. */
  sendings: number
  /** Sendings that are meant and have no final answer yet. */
  left: number
}

/** How many runs the call makes. */
const runsMade = ({ route, json, wants }: Asked): number => {
  // 200: its run key had the run already
  if (wants !== 201) return 0
  if (route === 'POST /api/v1/runs/batch') return (json as { runs: unknown[] }).runs.length
  return /runs$|:run$/.test(route) ? 1 : 0
}

/** What was made of a call in the end; all that is kept of it. */
export interface Told {
  readonly key: string
  readonly route: string
  readonly status: number
  /** Runs that it has made. */
  readonly runs: number
  readonly answers: number
  readonly replays: number
  readonly sendings: number
  readonly refused: boolean
}

const isReplay = ({ headers }: Answer): boolean => headers['idempotent-replayed'] === 'true'

const toldOf = ({ asked, key, answers, sendings }: KeyedCall): Told => {
  const status = answers[0]?.status ?? 0
  return {
    key,
    route: asked.route,
    status,
    runs: runsMade(asked),
    answers: answers.length,
    replays: answers.filter(isReplay).length,
    sendings,
    refused: status >= 400,
  }
}

interface Sent {
  readonly method: string
  readonly url: URL
  readonly token: string
  readonly asked: Pick<Asked, 'json' | 'jar' | 'ifMatch'>
  readonly key?: string
  readonly trouble?: string | undefined
}

export const callAgent = (): Agent => new Agent({ keepAlive: true, maxSockets: 4000 })

const bytesOf = ({ json, jar }: Pick<Asked, 'json' | 'jar'>): Buffer | undefined => {
  if (jar !== undefined) return Buffer.from(`PK\u0003\u0004${jar}`, 'latin1')
  return json === undefined ? undefined : Buffer.from(JSON.stringify(json))
}

/** Sends it once; rejects when the connection breaks. */
export const sendOnce = (agent: Agent, { method, url, token, asked, key, trouble }: Sent): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const bytes = bytesOf(asked)
    const outgoing = request(url, {
      method,
      agent,
      headers: {
        authorization: `Bearer ${token}`,
        ...(key === undefined ? {} : { 'idempotency-key': key }),
        ...(bytes === undefined ? {} : { 'content-length': String(bytes.length) }),
        ...(asked.json === undefined ? {} : { 'content-type': 'application/json' }),
        ...(asked.jar === undefined ? {} : { 'content-type': 'application/java-archive' }),
        ...(asked.ifMatch === undefined ? {} : { 'if-match': asked.ifMatch }),
        ...(trouble === undefined ? {} : { [troubleHeader]: trouble }),
      },
    })
    outgoing.setTimeout(patienceMs, () => outgoing.destroy(new Error('no answer came')))
    outgoing.on('error', reject)
    outgoing.on('response', (incoming) => {
      const parts: Buffer[] = []
      incoming.on('data', (part: Buffer) => parts.push(part))
      incoming.on('error', reject)
      incoming.on('end', () =>
        resolve({
          status: incoming.statusCode ?? 0,
          text: Buffer.concat(parts).toString(),
          headers: incoming.headers,
        }),
      )
    })
    outgoing.end(bytes)
  })

export const codeOf = (answer: Answer): string | undefined => {
  if (answer.status < 400 || answer.text === '') return undefined
  return (JSON.parse(answer.text) as { code?: string }).code
}

/** Not the last word: the call is to be sent again with its key. */
export const isPassing = (answer: Answer): boolean =>
  answer.status >= 500 || codeOf(answer) === 'IDEMPOTENCY_IN_PROGRESS'

const retryLimitMs = 120_000

/** What two answers to one call must have in common, byte for byte. */
const sayAnswer = ({ status, text, headers }: Answer, secret: string | undefined): string => {
  let body = text
  if (status >= 400) {
    // A refusal had no effect and is decided anew; it names its own request.
    const { instance: _, ...rest } = JSON.parse(text) as Record<string, unknown>
    body = JSON.stringify(rest)
  } else if (secret !== undefined) {
    const { secretShownOnce: _, ...rest } = JSON.parse(text) as Record<string, unknown>
    body = JSON.stringify({ ...rest, [secret]: null })
  }
  return [status, headers['location'], headers['etag'], headers['content-type'], body].join(' ')
}

/** Every answer is what was wanted, all are equal, and at most one is not a repeat. */
export const checkAnswers = (call: KeyedCall): void => {
  const { asked, answers, key } = call
  const about = `${asked.route} ${asked.path} with key ${key}`
  const said = answers.map((answer) => sayAnswer(answer, asked.secret))
  for (const [i, answer] of answers.entries()) {
    const got = typeof asked.wants === 'number' ? answer.status : codeOf(answer)
    assert.equal(got, asked.wants, `${about} was answered ${said[i]}`)
    assert.equal(said[i], said[0], `${about} got different answers`)
  }
  const originals = answers.filter(
    ({ status, headers }) => status < 400 && headers['idempotent-replayed'] === undefined,
  )
  assert.ok(originals.length <= 1, `${about} was executed ${originals.length} times, by what its answers say`)
  if (asked.secret === undefined) return
  const shown = answers.filter(({ text }) => (JSON.parse(text) as Record<string, unknown>)[asked.secret ?? ''] !== null)
  assert.ok(shown.length <= 1, `${about} showed its secret ${shown.length} times`)
}

/** The members of answers that the stories go on with. */
export interface Body {
  readonly id?: number
  readonly ids?: readonly number[]
  readonly job?: { readonly id: number }
  readonly run?: { readonly id: number }
  readonly jobs?: readonly { readonly id: number }[]
  readonly state?: string
  readonly sessionId?: number
  /** What a worker is given by a poll. */
  readonly runs?: readonly { readonly runId: number; readonly lease: number }[]
}

export interface Way {
  /** Where calls can be sent to; each sending takes any of them. */
  readonly urls: readonly string[]
  readonly adminToken: string
  readonly appToken: string
  /** Share of the sendings that meet trouble in a gap; 0 without gaps. */
  readonly troubled: number
}

/** Sends calls; remembers all of them. */
export class Callers {
  /** Calls of which every sending has been answered, with equal answers. */
  readonly told: Told[] = []
  #made = 0
  readonly #way: Way
  readonly #agent = callAgent()
  readonly #late: { readonly call: KeyedCall; readonly random: SeededRandom; readonly dueMs: number }[] = []

  constructor(way: Way) {
    this.#way = way
  }

  /** Calls that were begun. */
  get made(): number {
    return this.#made
  }

  /**
   * Makes one call: some of its 1 to 5 sendings at once, the others later, when the world has gone on.
   * @returns the body of its answer; empty when there is none
   */
  async make(asked: Asked, random: SeededRandom): Promise<Body> {
    this.#made += 1
    const copies = 1 + below(random, 5)
    const call: KeyedCall = { asked, key: makeRequestKey(), answers: [], sendings: 0, left: copies }
    // A refusal leaves its key free: later it might be decided otherwise.
    const now = typeof asked.wants === 'string' ? copies : 1 + below(random, copies)
    for (let i = now; i < copies; i += 1) {
      const dueMs = performance.now() + 50 + below(random, 3000)
      this.#late.push({ call, random: seededRandom(`${random.seed} ${call.asked.path} ${i}`), dueMs })
    }
    await Promise.all(
      Array.from({ length: now }, (_, i) => this.#send(call, seededRandom(`${random.seed} ${asked.path} now ${i}`))),
    )
    const text = call.answers[0]?.text ?? ''
    this.#check(call)
    return text === '' ? {} : (JSON.parse(text) as Body)
  }

  /** Sends what is due of the later sendings; with `all` the rest too. */
  async sendLate(all: boolean): Promise<void> {
    const nowMs = performance.now()
    const due = this.#late.filter(({ dueMs }) => all || dueMs <= nowMs)
    for (const one of due) this.#late.splice(this.#late.indexOf(one), 1)
    while (due.length > 0) {
      await Promise.all(
        due.splice(0, 16).map(async ({ call, random }) => {
          await this.#send(call, random)
          this.#check(call)
        }),
      )
    }
  }

  /**
   * Sends what has no request key until it is answered with a 2xx, or with one of the other statuses.
   * @returns the body of the answer; empty when there is none or it is one of the others
   */
  async ask(
    asked: Pick<Asked, 'route' | 'path' | 'json'>,
    random: SeededRandom,
    others: readonly number[] = [],
  ): Promise<Body> {
    const { urls, appToken: token } = this.#way
    const [method = ''] = asked.route.split(' ')
    return until(`${asked.route} ${asked.path}`, async () => {
      const url = new URL(asked.path, urls[below(random, urls.length)])
      const { status, text } = await sendOnce(this.#agent, { method, url, token, asked })
      if (others.includes(status)) return {}
      if (status >= 300) throw new Error(`${status} ${text}`)
      return text === '' ? {} : (JSON.parse(text) as Body)
    })
  }

  close(): void {
    this.#agent.destroy()
  }

  /** What is through is boiled down: a soak makes a million calls. */
  #check(call: KeyedCall): void {
    checkAnswers(call)
    if (call.left === 0) this.told.push(toldOf(call))
  }

  #trouble(call: KeyedCall, random: SeededRandom): string | undefined {
    if (random.next() >= this.#way.troubled) return undefined
    const trouble = troubles[below(random, troubles.length)]
    // A call that is cut off may be decided after its repeat, and a refusal might then be none any more.
    if (trouble === 'cut-behind' && typeof call.asked.wants === 'string') return undefined
    return `${trouble} ${below(random, 150)}`
  }

  /** One sending of the call, made again until it has an answer that is the last word. */
  async #send(call: KeyedCall, random: SeededRandom): Promise<void> {
    const { urls, adminToken, appToken } = this.#way
    const startedMs = performance.now()
    const token = call.asked.admin === true ? adminToken : appToken
    let last = 'nothing'
    for (let tries = 0; performance.now() - startedMs < retryLimitMs; tries += 1) {
      if (tries > 0) await pause(20 + below(random, Math.min(500, 40 * tries)))
      call.sendings += 1
      const origin = urls[below(random, urls.length)] ?? ''
      const [method = ''] = call.asked.route.split(' ')
      const trouble = this.#trouble(call, random)
      try {
        const url = new URL(call.asked.path, origin)
        const answer = await sendOnce(this.#agent, { method, url, token, asked: call.asked, key: call.key, trouble })
        if (!isPassing(answer)) {
          call.answers.push(answer)
          call.left -= 1
          return
        }
        last = `${answer.status} ${answer.text}`
      } catch (error) {
        // The connection broke: sent again, with the same key.
        last = String(error)
      }
    }
    throw new Error(`${call.asked.route} with key ${call.key} got no answer, last ${last}`)
  }
}

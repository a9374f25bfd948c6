// Recorded ids and ours, kind by kind: one stands for the other, both ways, in requests and in answers.

export type IdKind = 'app' | 'job' | 'instance' | 'workflow' | 'node'

/** JSON in which whole numbers beyond 2^53 are the text of their digits. */
export const exactJson = (text: string): unknown =>
  JSON.parse(text, (_key, value: unknown, context?: { readonly source?: string }) =>
    typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value) ? context?.source : value,
  )

export class Ids {
  readonly #oursOf = new Map<string, string>()
  readonly #recordedOf = new Map<string, string>()

  /** Notes that two ids mean the same; keeps to what was noted first. */
  learn(kind: IdKind, recorded: unknown, ours: unknown): void {
    const [one, other] = [`${kind} ${String(recorded)}`, `${kind} ${String(ours)}`]
    if (this.#oursOf.has(one) || this.#recordedOf.has(other)) return
    this.#oursOf.set(one, String(ours))
    this.#recordedOf.set(other, String(recorded))
  }

  ours(kind: IdKind, recorded: string): string | undefined {
    return this.#oursOf.get(`${kind} ${recorded}`)
  }

  /** Our id as it was recorded; what was never recorded is told apart. */
  recorded(kind: IdKind, ours: unknown): string {
    return this.#recordedOf.get(`${kind} ${String(ours)}`) ?? `our ${kind} ${String(ours)}`
  }
}

/** What the member `name` of this path identifies; undefined when it is no id. */
export const kindOf = (path: string, name: string): IdKind | undefined => {
  const lower = name.toLowerCase()
  if (lower.startsWith('appid')) return 'app'
  if (lower.startsWith('jobid')) return 'job'
  if (lower.startsWith('instanceid')) return 'instance'
  if (lower.startsWith('workflowid')) return 'workflow'
  if (['nodeid', 'from', 'to'].includes(lower)) return 'node'
  if (!['id', 'idgt', 'idlt', 'ideq'].includes(lower)) return undefined
  if (path.endsWith('Job')) return 'job'
  if (path.endsWith('Workflow')) return 'workflow'
  return path.endsWith('WorkflowNode') ? 'node' : undefined
}

/** What the `data` of an answer identifies when it is a number. */
export const dataKindOf = (path: string): IdKind | undefined => {
  if (['/saveJob', '/copyJob'].includes(path)) return 'job'
  if (['/saveWorkflow', '/copyWorkflow'].includes(path)) return 'workflow'
  return path === '/runJob' ? 'instance' : undefined
}

const withOurIds = (text: string, member: RegExp, ids: Ids, path: string): string =>
  text.replaceAll(member, (whole: string, before: string, name: string, between: string, id: string) => {
    const kind = kindOf(path, name)
    const ours = kind && ids.ours(kind, id)
    return ours === undefined ? whole : `${before}${name}${between}${ours}`
  })

/** A recorded body with our ids, and with the times of its day moved by `laterMs`; else byte for byte as it was recorded. */
export const ourBody = (path: string, body: string, ids: Ids, laterMs: number): string => {
  const isForm = !body.startsWith('{') && !body.startsWith('[')
  const member = isForm ? /(^|&)(\w+)(=)(\d+)(?=&|$)/g : /(")(\w+)(":)(\d+)(?=[,}\]])/g
  return withOurIds(body, member, ids, path).replaceAll(/\b179\d{10}\b/g, (ms) => String(Number(ms) + laterMs))
}

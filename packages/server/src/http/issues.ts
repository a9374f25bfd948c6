// Turns what a schema check found into sentences for the person who wrote the request.

/** One thing that is wrong: `path` is a JSON pointer into the body, or `?name` for the query string. */
export interface Issue {
  readonly path: string
  readonly says: string
}

/** What the compiled schema reports; see typebox. */
export interface Finding {
  readonly keyword: string
  readonly schemaPath: string
  readonly instancePath: string
  readonly params: object
  readonly message: string
}

const mostIssues = 50

const param = (finding: Finding, name: string): unknown => Reflect.get(finding.params, name)
const list = (finding: Finding, name: string): string[] => {
  const value = param(finding, name)
  return Array.isArray(value) ? value.map(String) : []
}
const shown = (value: unknown): string => JSON.stringify(value) ?? 'undefined'

const typeNames: Readonly<Record<string, string>> = {
  string: 'a text',
  integer: 'a whole number',
  number: 'a number',
  boolean: 'true or false',
  object: 'an object',
  array: 'a list',
  null: 'null',
}
const typeName = (finding: Finding): string => {
  const type = String(param(finding, 'type'))
  return typeNames[type] ?? type
}

/** Keywords whose sentence is about one value, at the path of the finding. */
const sentences: Readonly<Record<string, (finding: Finding) => string>> = {
  type: (f) => `must be ${typeName(f)}`,
  const: (f) => `must be ${shown(param(f, 'allowedValue'))}`,
  enum: (f) => `must be one of ${list(f, 'allowedValues').map(shown).join(', ')}`,
  minimum: (f) => `must be at least ${shown(param(f, 'limit'))}`,
  maximum: (f) => `must be at most ${shown(param(f, 'limit'))}`,
  minLength: (f) =>
    param(f, 'limit') === 1 ? 'must not be empty' : `must have at least ${shown(param(f, 'limit'))} characters`,
  maxLength: (f) => `must have at most ${shown(param(f, 'limit'))} characters`,
  minItems: (f) => `must have at least ${shown(param(f, 'limit'))} items`,
  maxItems: (f) => `must have at most ${shown(param(f, 'limit'))} items`,
  maxProperties: (f) => `must have at most ${shown(param(f, 'limit'))} fields`,
  pattern: (f) => (param(f, 'pattern') === '\\S' ? 'must not be blank' : `must match ${String(param(f, 'pattern'))}`),
  boolean: () => 'is not a field here',
}

const escapePointer = (name: string): string => name.replaceAll('~', '~0').replaceAll('/', '~1')

const explain = (finding: Finding): Issue[] => {
  const path = finding.instancePath
  if (finding.keyword === 'required') {
    return list(finding, 'requiredProperties').map((name) => ({
      path: `${path}/${escapePointer(name)}`,
      says: 'is missing',
    }))
  }
  // the field itself is reported as well, by the keyword `boolean`
  if (finding.keyword === 'additionalProperties') return []
  return [{ path, says: sentences[finding.keyword]?.(finding) ?? finding.message }]
}

type Branches = ReadonlyMap<string, Finding[]>

const branchesOf = (prefix: string, findings: readonly Finding[]): Branches => {
  const branches = new Map<string, Finding[]>()
  for (const finding of findings) {
    const number = /^\d+/.exec(finding.schemaPath.slice(prefix.length))?.[0] ?? ''
    branches.set(number, [...(branches.get(number) ?? []), finding])
  }
  return branches
}

/** Findings about a tag such as `kind` or `outcome`, which tells the branches of a union apart. */
const tagsOf = (findings: readonly Finding[]): Finding[] => {
  const places = new Set(findings.flatMap(({ keyword, instancePath }) => (keyword === 'const' ? [instancePath] : [])))
  return findings.filter(
    ({ keyword, instancePath }) => keyword === 'const' || (keyword === 'enum' && places.has(instancePath)),
  )
}

/** What to say about a value that fits no branch of a union. */
const explainUnion = (union: Finding, branches: Branches): Issue[] => {
  const at = union.instancePath
  const wrongType = (branch: readonly Finding[]): boolean =>
    branch.some((finding) => finding.keyword === 'type' && finding.instancePath === at)
  const all = [...branches.values()]
  const tags = tagsOf(all.flat())
  const meant = all.filter((branch) => !wrongType(branch) && !branch.some((finding) => tags.includes(finding)))
  const [only] = meant
  if (only !== undefined) {
    // several fit when there is no tag: the one that is nearest
    return issuesOf(meant.reduce((best, branch) => (branch.length < best.length ? branch : best), only))
  }
  if (tags[0] !== undefined) {
    const values = tags.flatMap((tag) =>
      tag.keyword === 'const' ? [param(tag, 'allowedValue')] : list(tag, 'allowedValues'),
    )
    return [{ path: tags[0].instancePath, says: `must be one of ${[...new Set(values)].map(shown).join(', ')}` }]
  }
  const types = all.flat().filter(({ keyword, instancePath }) => keyword === 'type' && instancePath === at)
  return [{ path: at, says: `must be ${[...new Set(types.map(typeName))].join(' or ')}` }]
}

const outermostUnions = (findings: readonly Finding[]): Finding[] => {
  const unions = findings.filter(({ keyword }) => keyword === 'anyOf')
  const inside = (inner: Finding, outer: Finding): boolean =>
    inner !== outer &&
    inner.instancePath.startsWith(outer.instancePath) &&
    inner.schemaPath.startsWith(`${outer.schemaPath}/anyOf/`)
  return unions.filter((inner) => !unions.some((outer) => inside(inner, outer)))
}

const within = (finding: Finding, union: Finding): boolean =>
  finding !== union &&
  finding.schemaPath.startsWith(`${union.schemaPath}/anyOf/`) &&
  (finding.instancePath === union.instancePath || finding.instancePath.startsWith(`${union.instancePath}/`))

/** Everything that is wrong, in the order of the request, without repetitions; at most 50. */
export const issuesOf = (findings: readonly Finding[]): Issue[] => {
  const unions = outermostUnions(findings)
  const issues = findings.flatMap((finding) => {
    if (unions.some((union) => within(finding, union))) return []
    if (!unions.includes(finding)) return explain(finding)
    const parts = findings.filter((part) => within(part, finding))
    return explainUnion(finding, branchesOf(`${finding.schemaPath}/anyOf/`, parts))
  })
  return [...new Map(issues.map((issue) => [`${issue.path} ${issue.says}`, issue])).values()].slice(0, mostIssues)
}

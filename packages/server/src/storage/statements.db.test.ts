// Every statement of storage/ is described on the migrated schema, and its columns are compared with the declared row.
import { readdirSync, readFileSync } from 'node:fs'
import { describeStatement, openTestDatabase, type TestDatabase } from '@oncejob/testkit'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { checks } from './audit-checks.ts'
import type { Queries } from './db.ts'
import { selectJobs } from './jobs.ts'
import type { Sql } from './sql.ts'

/** Files that run scripts instead of statements, or none. */
const without = new Set(['db.ts', 'sql.ts', 'migrate.ts', 'joined.ts'])

/**
 * Stands for any argument and any row: has every property, can be called, is a list of one. A description needs
 * no real values, so a new statement function is tested without being listed here.
 */
const anything: unknown = new Proxy(() => undefined, {
  apply: () => anything,
  get: (_target, key) => {
    const special: Record<PropertyKey, unknown> = {
      [Symbol.toPrimitive]: () => 1,
      [Symbol.iterator]: function* () {
        yield anything
      },
      map: (fn: (item: unknown, index: number) => unknown) => [fn(anything, 0)],
      flatMap: (fn: (item: unknown, index: number) => unknown) => [fn(anything, 0)].flat(),
      filter: () => [anything],
      toISOString: () => '2026-01-01T00:00:00.000Z',
      getTime: () => 0,
      length: 1,
    }
    // with a method `then` it would be taken for a promise
    if (key === 'then') return undefined
    return Object.hasOwn(special, key) ? special[key] : anything
  },
})

// it is taken apart with a rest pattern, and anything has no members of its own
const job = {
  id: 1,
  routeId: 1,
  definition: { retry: anything, workers: anything, alarm: anything, log: anything, schedule: anything },
}

const month = { name: 'fire_202001', from: '2020-01-01 00:00:00+00', to: '2020-02-01 00:00:00+00' }
const page = { kind: undefined, outcome: undefined, before: undefined, limit: 2 }
const behind = { ...page, before: ['2026-01-01T00:00:00.000Z', 1, 1, 1, 1] }

/** Arguments after the first, for functions that look closer at them; several lists for several forms of the statement. */
const samples: Readonly<Record<string, readonly (readonly unknown[])[]>> = {
  listFiresOfJob: [
    [1, page],
    [1, behind],
    [1, { ...page, kind: 'fire', outcome: 'fired' }],
    [1, { ...behind, kind: 'sub-run' }],
  ],
  listFiresOfApp: [
    [1, page],
    [1, behind],
    [1, { ...page, kind: 'fire', outcome: 'fired' }],
    [1, { ...behind, kind: 'sub-run' }],
  ],
  runCheck: checks.map((check) => [check, { graceMs: 1, patienceMs: 1 }]),
  queryJobs: [[selectJobs]],
  insertJob: [[1, job]],
  updateJob: [[job, 1]],
  createRunPartition: [[{ from: 5_000_001, to: 6_000_001 }]],
  dropRunPartition: [[{ from: 1, to: 1_000_001 }, anything]],
  createFireMonth: [[month]],
  countBlocks: [[month]],
  findKeptFire: [[month, { from: 0, to: 9 }, [{ from: 1, to: 1_000_001 }]]],
  dropFireMonth: [[month, anything]],
}

interface Statement {
  readonly file: string
  readonly name: string
  readonly call: (queries: Queries) => Promise<unknown>
  /** The text of the function, to its end. */
  readonly source: string
  /** The text of the file, for the rows it declares. */
  readonly fileSource: string
}

const exported = /^export const (\w+) = (?:async )?(?:<[^>]*>)?\(\s*\w+: (?:Queries|Db)\b/gm

const functionsOf = async (file: string): Promise<Statement[]> => {
  const fileSource = readFileSync(new URL(file, import.meta.url), 'utf8')
  const module = (await import(new URL(file, import.meta.url).href)) as Record<string, unknown>
  return [...fileSource.matchAll(exported)].flatMap((match) => {
    const name = match[1]!
    const rest = fileSource.slice(match.index)
    const end = rest.slice(1).search(/^(?:export |const |interface |type |\/\*\*|\/\/ )/m)
    const fn = module[name] as (...args: unknown[]) => unknown
    return (samples[name] ?? [Array.from({ length: 8 }, () => anything)]).map((args) => ({
      file,
      name,
      fileSource,
      source: end === -1 ? rest : rest.slice(0, end + 1),
      call: async (queries: Queries) => fn(queries, ...args),
    }))
  })
}

/** The texts that a function sends, when its statements find something and when they find nothing. */
const textsOf = async ({ call }: Statement): Promise<string[]> => {
  const texts = new Set<string>()
  for (const rows of [[anything], []]) {
    let left = 20
    const queries: Queries = {
      query: async <R>(statement: Sql) => {
        if (left-- === 0) throw new Error('enough')
        texts.add(statement.toQuery().text)
        return rows as R[]
      },
    }
    // what it makes of rows that mean nothing is not asked here
    await call(queries).catch(() => undefined)
  }
  return [...texts]
}

/** The members of a declared row with their types; undefined for what is declared elsewhere or by computed types. */
const membersOf = (type: string, fileSource: string): Map<string, string> | undefined => {
  const text = type.trim().replace(/^\((.*)\)$/s, '$1')
  const both = /^(.+?)\s&\s(.+)$/s.exec(text)
  if (both !== null) {
    const [left, right] = [membersOf(both[1]!, fileSource), membersOf(both[2]!, fileSource)]
    return left === undefined || right === undefined ? undefined : new Map([...left, ...right])
  }
  if (/^\w+$/.test(text)) {
    const declared = new RegExp(`interface ${text} (?:extends (\\w+) )?\\{\\n(.*?)\\n\\}`, 's').exec(fileSource)
    if (declared === null) return undefined
    const own = membersOf(`{ ${declared[2]!} }`, fileSource)
    const inherited = declared[1] === undefined ? new Map<string, string>() : membersOf(declared[1], fileSource)
    return own === undefined || inherited === undefined ? undefined : new Map([...inherited, ...own])
  }
  if (!/^\{.*\}$/s.test(text)) return undefined
  const body = text
    .slice(1, -1)
    .replaceAll(/\/\*\*.*?\*\//gs, '')
    .replaceAll(/^\s*\/\/.*$/gm, '')
  if (/[{}]/.test(body)) return undefined
  return new Map(
    [...body.matchAll(/(?:readonly )?(\w+)\??: ([^;\n]+)/g)].map((member) => [member[1]!, member[2]!.trim()] as const),
  )
}

/** Which types of columns may come as these types; others (unions of texts, json) are not judged. */
const fitting: Readonly<Record<string, readonly number[]>> = {
  number: [20, 21, 23, 700, 701],
  boolean: [16],
  Date: [1184],
  string: [18, 19, 25, 1042, 1043],
  'string[]': [1009, 1015],
  'number[]': [1005, 1007, 1016],
}

let database: TestDatabase
beforeAll(async () => {
  database = await openTestDatabase()
})
afterAll(() => database.close())

const files = readdirSync(new URL('.', import.meta.url)).filter(
  (file) => file.endsWith('.ts') && !file.endsWith('.test.ts') && !without.has(file),
)
const functions = (await Promise.all(files.map(functionsOf))).flat()

describe('statements', () => {
  it.each(functions.map((one) => [`${one.file} ${one.name}`, one] as const))(
    '%s fits the schema',
    async (_title, one) => {
      const texts = await textsOf(one)
      expect(texts.length, `${one.name} sent no statement: give it arguments in samples`).toBeGreaterThan(0)
      for (const text of texts) {
        const { columns } = await describeStatement(database, text)
        const names = columns.map(({ name }) => name)
        expect(new Set(names).size, `two columns of one name in ${text}`).toBe(names.length)
      }
    },
  )

  it('return what their functions declare', async () => {
    const wrong: string[] = []
    let compared = 0
    for (const one of functions) {
      const declared = [...one.source.matchAll(/\.query<((?:[^<>]|<[^<>]*>)+)>\(/g)]
      const texts = await textsOf(one)
      // one statement with one declared row; helpers that several functions share are not looked into
      if (declared.length !== 1 || texts.length !== 1) continue
      const members = membersOf(declared[0]![1]!, one.fileSource)
      if (members === undefined) continue
      compared += 1
      const { columns } = await describeStatement(database, texts[0]!)
      for (const { name, typeOid } of columns) {
        const type = members.get(name)?.replace(/ \| null$/, '')
        if (type === undefined) wrong.push(`${one.name}: column ${name} is not declared`)
        else if (Object.hasOwn(fitting, type) && !fitting[type]!.includes(typeOid))
          wrong.push(`${one.name}: column ${name} of type ${typeOid} is declared ${type}`)
      }
      for (const name of members.keys()) {
        if (!columns.some((column) => column.name === name)) wrong.push(`${one.name}: no column ${name}`)
      }
    }
    expect(wrong).toEqual([])
    // the reading of declarations must not go blind
    expect(compared).toBeGreaterThan(functions.length / 4)
  })

  it('are found', () => {
    expect(functions.length).toBeGreaterThan(60)
  })
})

// No change is guarded by a time: two changes can carry the same one, only versions and leases tell them apart (S-16).
import { globSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'

const folder = import.meta.dirname
const files = globSync('**/*.ts', { cwd: folder }).filter((name) => !name.endsWith('.test.ts'))

/** The texts of SQL in a file, with what is put into them left out. */
const statementsOf = (text: string): string[] =>
  [...text.matchAll(/sql`((?:[^`\\]|\\.)*)`/g)].map(([, sql = '']) => sql)

/** The condition of a statement that changes rows. */
const guardsIn = (text: string): string[] =>
  statementsOf(text)
    .filter((sql) => /\b(update|delete from)\s+oncejob\./.test(sql))
    .flatMap((sql) => sql.split(/\bwhere\b/).slice(1))
    .map((condition) => condition.split(/\breturning\b/, 1)[0] ?? '')

describe('a change of a row', () => {
  it('is guarded by a version, a state or a lease, never by the time of the last change', () => {
    const offending = files.filter((name) =>
      guardsIn(readFileSync(`${folder}/${name}`, 'utf8')).some((guard) => guard.includes('updated_at')),
    )
    expect(offending).toEqual([])
  })

  it('would be found here', () => {
    const bad = 'query(sql`update oncejob.job set name = 1 where id = 2 and updated_at = 3 returning id`)'
    expect(guardsIn(bad)).toEqual([' id = 2 and updated_at = 3 '])
    expect(files.flatMap((name) => guardsIn(readFileSync(`${folder}/${name}`, 'utf8'))).length).toBeGreaterThan(30)
  })
})

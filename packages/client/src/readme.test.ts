// The README names what is there: every method of its table, every row of the policy, every error.
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import * as exported from './index.ts'

const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
const client = exported.createClient({ url: 'http://127.0.0.1:1', token: 'none' })

const methodsOf = (part: object): string[] =>
  Object.entries(part)
    .filter(([, member]) => typeof member === 'function')
    .map(([name]) => name)

const row = (start: string): string => readme.split('\n').find((line) => line.startsWith(start)) ?? ''

describe('the README', () => {
  it.each([
    ['| `client` |', client],
    ['| `client.runs` |', client.runs],
    ['| `client.jobs` |', client.jobs],
  ])('names every method in the row %s, and no other', (start, part) => {
    const named =
      row(start)
        .slice(start.length)
        .match(/(?<=`)\w+(?=`)/g) ?? []
    expect(named.toSorted()).toEqual(methodsOf(part).toSorted())
  })

  it('calls only methods that exist', () => {
    const calls = Array.from(readme.matchAll(/client\.(runs|jobs|schedules)\.(\w+)\(/g))
    expect(calls.length).toBeGreaterThan(5)
    for (const [, part, method] of calls) {
      expect(client[part as 'runs' | 'jobs' | 'schedules']).toHaveProperty(method ?? '')
    }
  })

  it('explains every error class', () => {
    const classes = Object.keys(exported).filter((name) => /^[A-Z]/.test(name))
    expect(classes.length).toBe(6)
    for (const name of classes) expect(readme).toContain(`\`${name}\``)
  })
})

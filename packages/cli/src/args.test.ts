// What is typed.
import { describe, expect, it } from 'vitest'
import { nearest, readArgs, readJob } from './args.ts'
import { UsageError } from './exit-codes.ts'

const specs = {
  delay: { value: 'TIME', says: '' },
  limit: { value: 'N', says: '' },
  wait: { short: 'w', says: '' },
  state: { value: 'S', says: '' },
}
const read = (...argv: string[]) => readArgs(argv, specs)

describe('the command line', () => {
  it('takes options before, between and after the words', () => {
    const args = read('--delay', '5s', 'run', '-w', 'sum', '--limit=3')
    expect(args.words).toEqual(['run', 'sum'])
    expect(args.flag('wait')).toBe(true)
    expect(args.durationMs('delay')).toBe(5000)
    expect(args.integer('limit', 1, 500)).toBe(3)
    expect(args.without(1).words).toEqual(['sum'])
  })

  it.each([
    ['500', 500],
    ['500ms', 500],
    ['1.5s', 1500],
    ['2m', 120_000],
    ['1h', 3_600_000],
    ['1d', 86_400_000],
  ])('reads %s as %i ms', (text, ms) => {
    expect(read('--delay', text).durationMs('delay')).toBe(ms)
  })

  it.each(['5 s', '-5', 'soon', '1w', ''])('refuses %j as a time', (text) => {
    expect(() => read(`--delay=${text}`).durationMs('delay')).toThrow(UsageError)
  })

  it.each(['0', '501', '1.5', '0x10', ''])('refuses %j as a limit', (text) => {
    expect(() => read(`--limit=${text}`).integer('limit', 1, 500)).toThrow(UsageError)
  })

  it.each([[['--what']], [['--delay']], [['--wait=yes']], [['-x']]])('refuses %j in one line', (argv) => {
    expect(() => read(...argv)).toThrow(UsageError)
    expect(() => read(...argv)).toThrow(/^[^\n]+$/)
  })

  it('takes only the words that a choice knows', () => {
    expect(read('--state', 'on').choice('state', ['on', 'off'])).toBe('on')
    expect(() => read('--state', 'maybe').choice('state', ['on', 'off'])).toThrow('on, off')
  })

  it('takes digits for the id of a job and everything else for its name', () => {
    expect(readJob('42')).toBe(42)
    expect(readJob('042')).toBe('042')
    expect(readJob('99999999999999999999')).toBe('99999999999999999999')
    expect(readJob('sum')).toBe('sum')
  })

  it('finds the word that was meant, and only when it is near', () => {
    const known = ['jobs', 'runs', 'run show', 'workers']
    expect(nearest('job', known)).toBe('jobs')
    expect(nearest('workres', known)).toBe('workers')
    expect(nearest('banana', known)).toBeUndefined()
  })
})

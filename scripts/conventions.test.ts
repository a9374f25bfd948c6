// Conventions that no linter knows: they fail here instead of having to be remembered.
import { globSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'

const sources = [
  'packages/*/src/**/*.ts',
  'packages/*/scripts/**/*.ts',
  'scripts/**/*.ts',
  'e2e/**/*.ts',
  'bench/**/*.ts',
  'examples/*/**/*.ts',
]
  .flatMap((pattern) => globSync(pattern, { exclude: (path) => path.includes('node_modules') }))
  .map((path) => ({ path, lines: readFileSync(path, 'utf8').split('\n') }))

const linesMatching = (pattern: RegExp): string[] =>
  sources.flatMap(({ path, lines }) =>
    lines.flatMap((line, index) => (pattern.test(line) ? [`${path}:${index + 1}: ${line.trim()}`] : [])),
  )

describe('every source file', () => {
  it('is looked at by these tests', () => {
    expect(sources.length).toBeGreaterThan(20)
  })

  it('says on its first line what it is for', () => {
    const silent = sources.filter(({ lines: [first, second] }) => {
      const opening = first?.startsWith('#!') === true ? second : first
      return opening?.startsWith('// ') !== true && opening?.startsWith('/** ') !== true
    })
    expect(silent.map(({ path }) => path)).toEqual([])
  })

  it('gives the reason where it switches a rule off', () => {
    expect(linesMatching(/(oxlint|eslint)-(disable|enable)(?!.* -- \S)/)).toEqual([])
    expect(linesMatching(/@ts-(ignore|nocheck|expect-error)\s*$/)).toEqual([])
  })

  it('is finished', () => {
    expect(linesMatching(/\/\/.*\b(TO[D]O|FIX[M]E|XX[X])\b/)).toEqual([])
  })
})

describe('every migration', () => {
  const migrations = globSync('packages/server/sql/0*.sql').toSorted()

  it('says on its first line why it exists', () => {
    expect(migrations.filter((path) => !readFileSync(path, 'utf8').startsWith('-- '))).toEqual([])
  })

  it('has the number after the one before it', () => {
    const numbers = migrations.map((path) => Number(/(\d+)_[^/]*$/.exec(path)?.[1]))
    expect(numbers).toEqual(numbers.map((_, index) => index + 1))
  })
})

// Promises of job definitions: defaults, patches, contradictions, differences.
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Value } from 'typebox/value'
import { JobInput, Refusal } from '@oncejob/protocol'
import { canonicalJson, changesBetween } from './job-changes.ts'
import { checkDefinition, definitionOf, inputOf, patchedDefinition } from './job-definition.ts'

const input = (change: Partial<JobInput> = {}): JobInput => ({ name: 'j', processor: 'p', ...change })
const refusal = (change: Partial<JobInput>): string => {
  try {
    checkDefinition(definitionOf(input(change)))
  } catch (error) {
    if (error instanceof Refusal) return `${error.code} ${error.message}`
    throw error
  }
  return 'none'
}

describe('defaults', () => {
  it('a definition is a valid input that gives the same definition again', () => {
    const definition = definitionOf(input({ alarm: { threshold: 1, windowMs: 2, silenceMs: 3 }, params: { a: 1 } }))
    expect(Value.Check(JobInput, inputOf(definition))).toBe(true)
    expect(definitionOf(inputOf(definition))).toEqual(definition)
  })

  it('a long retry delay alone raises its maximum', () => {
    expect(definitionOf(input({ retry: { delayMs: 7_200_000 } })).retry.maxDelayMs).toBe(7_200_000)
    expect(refusal({ retry: { delayMs: 7_200_000 } })).toBe('none')
  })

  it('params that are JSON null are no params', () => {
    expect(definitionOf(input({ params: null })).params).toBeNull()
    expect(definitionOf(input({ params: 0 })).params).toBe(0)
    expect(definitionOf(input({ params: false })).params).toBe(false)
  })
})

describe('patches', () => {
  it('objects are replaced whole, other fields stay', () => {
    const current = definitionOf(input({ priority: 4, workers: { labels: { a: '1' }, maxWorkers: 2 } }))
    const patched = patchedDefinition(current, { workers: { maxWorkers: 3 } })
    expect(patched.workers).toEqual({ ...definitionOf(input()).workers, maxWorkers: 3 })
    expect(patched.priority).toBe(4)
  })

  it('null takes a field away', () => {
    const current = definitionOf(
      input({ tag: 't', queueTimeoutMs: 5, alarm: { threshold: 1, windowMs: 2, silenceMs: 3 } }),
    )
    expect(patchedDefinition(current, { tag: null, queueTimeoutMs: null, alarm: null })).toMatchObject({
      tag: null,
      queueTimeoutMs: null,
      alarm: null,
    })
  })
})

describe('contradictions', () => {
  it.each<[Partial<JobInput>, RegExp]>([
    [{ mode: 'map' }, /^JOB_INVALID mode "map" is not executed by this version/],
    [{ mode: 'broadcast' }, /^JOB_INVALID mode "broadcast"/],
    [{ mode: 'map-reduce' }, /^JOB_INVALID mode "map-reduce"/],
    [{ retry: { delayMs: 10, maxDelayMs: 9 } }, /^JOB_INVALID retry.maxDelayMs is 9/],
    [{ retry: { retryOn: ['A'], noRetryOn: ['B', 'A'] } }, /^JOB_INVALID the error code "A"/],
    [{ attemptTimeoutMs: 0 }, /^JOB_INVALID attemptTimeoutMs is 0/],
    [{ runTimeoutMs: 0 }, /^JOB_INVALID runTimeoutMs is 0/],
    [{ queueTimeoutMs: Number.MAX_SAFE_INTEGER }, /^JOB_INVALID queueTimeoutMs is .*100 years/],
    [{ description: 'a\0' }, /^JOB_INVALID description contains/],
    [{ workers: { labels: { 'a\0': 'b' } } }, /^JOB_INVALID workers contains/],
    [{ notify: ['\ud800'] }, /^JOB_INVALID notify contains/],
  ])('%j is refused', (change, expected) => {
    expect(refusal(change)).toMatch(expected)
  })

  it('what does not contradict itself passes', () => {
    expect(refusal({})).toBe('none')
    expect(refusal({ queueTimeoutMs: 0, attemptTimeoutMs: 1, params: 'a\0\ud800', description: '😀' })).toBe('none')
  })
})

describe('differences', () => {
  const changed = (yours: Partial<JobInput>, current: Partial<JobInput>) =>
    changesBetween(definitionOf(input(yours)), definitionOf(input(current)))

  it('says where, what is wanted and what is there', () => {
    expect(changed({ priority: 1, retry: { max: 3 } }, {})).toEqual([
      { path: '/priority', yours: 1, current: 0 },
      { path: '/retry/max', yours: 3, current: 0 },
    ])
  })

  it('a trigger, params and an alarm differ as a whole', () => {
    expect(
      changed({ schedule: { trigger: { kind: 'fixed-rate', everyMs: 50 } }, params: { a: 1 } }, { params: { a: 2 } }),
    ).toEqual([
      { path: '/params', yours: { a: 1 }, current: { a: 2 } },
      { path: '/schedule/trigger', yours: { kind: 'fixed-rate', everyMs: 50 }, current: { kind: 'none' } },
    ])
  })

  it('pointers escape what a label may contain', () => {
    expect(changed({ workers: { labels: { 'a/b~c': 'x' } } }, {})).toEqual([
      { path: '/workers/labels/a~1b~0c', yours: 'x', current: null },
    ])
  })

  it('the order of keys is no difference, the order of lists is', () => {
    expect(changed({ params: { a: 1, b: [1, 2] } }, { params: { b: [1, 2], a: 1 } })).toEqual([])
    expect(changed({ params: [1, 2] }, { params: [2, 1] })).toHaveLength(1)
  })

  it('the canonical text does not depend on the order of keys, and says everything', () => {
    const turned = (value: unknown): unknown => {
      if (typeof value !== 'object' || value === null) return value
      if (Array.isArray(value)) return value.map(turned)
      return Object.fromEntries(
        Object.entries(value)
          .toReversed()
          .map(([key, member]) => [key, turned(member)]),
      )
    }
    fc.assert(
      fc.property(fc.json(), (text) => {
        const value: unknown = JSON.parse(text)
        const canonical = canonicalJson(value)
        return canonicalJson(turned(value)) === canonical && canonicalJson(JSON.parse(canonical)) === canonical
      }),
    )
    expect(canonicalJson({ a: 1 })).not.toBe(canonicalJson({ a: '1' }))
  })
})

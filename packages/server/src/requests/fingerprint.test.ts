// Fingerprints of calls: spelling does not matter, meaning does; and the age of keys at its bounds.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ulid } from '@oncejob/protocol'
import { differences, fingerprintOf, type AskedFor } from './fingerprint.ts'
import { checkAge, timeOfKey } from './keys.ts'

const cases = process.env['ONCEJOB_FULL'] === '1' ? 100_000 : 10_000
const given = process.env['ONCEJOB_SEED']
/** A failure prints the seed; ONCEJOB_SEED takes it again. */
const seeded = (numRuns: number) => ({ numRuns, ...(given === undefined ? {} : { seed: Number(given) }) })

const asked = (more: Partial<AskedFor> = {}): AskedFor => ({
  method: 'POST',
  path: '/api/v1/runs',
  query: {},
  ifMatch: undefined,
  body: { job: 'a', params: [1] },
  ...more,
})

const reordered = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(reordered)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .toReversed()
      .map(([name, each]) => [name, reordered(each)]),
  )
}

/** Another spelling of the same JSON text: escapes for letters, exponents for whole numbers, space between. */
const respelled = (value: unknown): string => {
  if (Array.isArray(value)) return `[ ${value.map(respelled).join(' ,\n')} ]`
  if (typeof value === 'string') {
    const units = Array.from({ length: value.length }, (_, at) => value.charCodeAt(at))
    return `"${units.map((unit) => `\\u${unit.toString(16).padStart(4, '0')}`).join('')}"`
  }
  if (typeof value === 'number')
    return Number.isInteger(value) && Math.abs(value) < 1e15 ? `${value}.0e0` : String(value)
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const members = Object.entries(value).map(([name, each]) => `${respelled(name)} : ${respelled(each)}`)
  return `{ ${members.join(',\t')} }`
}

const body = fc.jsonValue({ maxDepth: 2 })
const timeoutMs = 600_000

describe('the fingerprint of a call', () => {
  test(`minds neither the order of members nor spelling (${cases} bodies)`, { timeout: timeoutMs }, () => {
    fc.assert(
      fc.property(body, (value) => {
        const plain: unknown = JSON.parse(JSON.stringify(value))
        const print = fingerprintOf(asked({ body: plain }))
        expect(fingerprintOf(asked({ body: reordered(plain) }))).toBe(print)
        expect(fingerprintOf(asked({ body: JSON.parse(respelled(plain)) }))).toBe(print)
      }),
      seeded(cases),
    )
  })
  test(`is another for another body, and only the body is named (${cases} pairs)`, { timeout: timeoutMs }, () => {
    fc.assert(
      fc.property(body, body, (one, other) => {
        const [left, right] = [one, other].map((value) => fingerprintOf(asked({ body: value }))) as [string, string]
        const same = JSON.stringify(sorted(one)) === JSON.stringify(sorted(other))
        expect(differences(left, right)).toEqual(same ? [] : ['body'])
      }),
      seeded(cases),
    )
  })
  test('changes with any single value of a body', () => {
    fc.assert(
      fc.property(fc.array(fc.integer(), { minLength: 1, maxLength: 20 }), fc.nat(), (numbers, at) => {
        const place = at % numbers.length
        const changed = numbers.map((number, index) => (index === place ? number + 1 : number))
        const of = (list: number[]) => fingerprintOf(asked({ body: { deep: { list } } }))
        expect(of(changed)).not.toBe(of(numbers))
      }),
      seeded(1_000),
    )
  })
  test.each([
    ['method', { method: 'PUT' }],
    ['path', { path: '/api/v1/runs/batch' }],
    ['query', { query: { app: 'b' } }],
    ['if-match', { ifMatch: '"job-1-v2"' }],
    ['body', { body: undefined }],
  ] as const)('names %s when that differs, and nothing else', (part, more) => {
    expect(differences(fingerprintOf(asked()), fingerprintOf(asked(more)))).toEqual([part])
  })
  test('tells no body, null, an empty text, object and list apart', () => {
    const bodies = [undefined, null, '', {}, [], 0, false]
    expect(new Set(bodies.map((each) => fingerprintOf(asked({ body: each })))).size).toBe(bodies.length)
  })
  test('has a line for each part, whatever stands in them, and no secret of the body', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (path, secret) => {
        const print = fingerprintOf(
          asked({ path: `${path}\n`, ifMatch: `\n${path}`, query: { q: path }, body: { secret: `-${secret}-secret` } }),
        )
        expect(print.split('\n')).toHaveLength(6)
        expect(print).not.toContain(`${secret}-secret`)
      }),
      seeded(1_000),
    )
  })
})

const sorted = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return Object.is(value, -0) ? 0 : value
  const members = Object.entries(value).map(([name, each]) => [name, sorted(each)] as const)
  return { members: members.toSorted(([left], [right]) => (left < right ? -1 : 1)) }
}

describe('the age of a key', () => {
  const nowMs = 1_790_000_000_000
  const windowMs = 72 * 3_600_000
  const skewMs = 5 * 60_000
  const chance = fc.uint8Array({ minLength: 16, maxLength: 16 })
  const codeOf = (key: string): unknown => {
    try {
      checkAge(key, nowMs, windowMs)
      return 'fits'
    } catch (error) {
      return (error as { code: string }).code
    }
  }

  test.each([
    [-windowMs + skewMs, 'fits'],
    [-windowMs + skewMs - 1, 'IDEMPOTENCY_KEY_EXPIRED'],
    [skewMs, 'fits'],
    [skewMs + 1, 'IDEMPOTENCY_KEY_INVALID'],
  ])('made %d ms from now: %s (T-08)', (offsetMs, expected) => {
    expect(codeOf(`ik_${ulid(nowMs + offsetMs, new Uint8Array(16))}`)).toBe(expected)
  })
  test('is what was put in, and sorts, for every time that fits in a ULID', () => {
    const time = fc.integer({ min: 0, max: 2 ** 48 - 1 })
    fc.assert(
      fc.property(time, time, chance, chance, (one, other, left, right) => {
        const [a, b] = [`ik_${ulid(one, left)}`, `ik_${ulid(other, right)}`]
        expect(timeOfKey(a)).toBe(one)
        if (one !== other) expect(a < b).toBe(one < other)
        const early = one < nowMs - windowMs + skewMs
        const late = one > nowMs + skewMs
        expect(codeOf(a)).toBe(early ? 'IDEMPOTENCY_KEY_EXPIRED' : late ? 'IDEMPOTENCY_KEY_INVALID' : 'fits')
      }),
      seeded(cases),
    )
  })
  test.each([
    'order-4711',
    'ik_',
    `ik_8${'0'.repeat(25)}`,
    `ik_${'0'.repeat(25)}`,
    `ik_${'U'.repeat(26)}`,
    'IK_01JD8Z3M9Q4T6V2Y7C5B1N0KXA',
  ])('of %s is not known: it can not be judged', (key) => {
    expect(timeOfKey(key)).toBeUndefined()
    expect(codeOf(key)).toBe('fits')
  })
})

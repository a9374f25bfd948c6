// Fingerprints: spelling does not matter, meaning does.
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { BodyTooDeep, canonicalJson } from './canonical-json.ts'
import type { GuardedRequest } from './fingerprint.ts'
import { differingParts, fingerprintOf } from './fingerprint.ts'
import { seeded } from './testing/seed.ts'

const request = (more: Partial<GuardedRequest> = {}): GuardedRequest => ({
  method: 'POST',
  route: '/orders/:id',
  path: '/orders/7',
  query: 'b=2&a=1',
  headers: { 'content-type': 'application/json; charset=utf-8' },
  body: { item: 'tea', count: 2 },
  requestId: undefined,
  ...more,
})

const shuffled = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(shuffled)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .toReversed()
      .map(([name, each]) => [name, shuffled(each)]),
  )
}

it('is the same whatever the order of members (100,000 bodies)', () => {
  const bodies = fc.jsonValue({ maxDepth: 2 })
  fc.assert(
    fc.property(bodies, (body) => {
      expect(fingerprintOf(request({ body: shuffled(body) }))).toBe(fingerprintOf(request({ body })))
    }),
    seeded(100_000),
  )
}, 300_000)

it('is another for another value, and the text is JSON of the same value', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 2 }), fc.jsonValue({ maxDepth: 2 }), (one, other) => {
      expect(JSON.parse(canonicalJson(one))).toEqual(JSON.parse(JSON.stringify(one)))
      const same = JSON.stringify(shuffled(one)) === JSON.stringify(shuffled(other))
      if (canonicalJson(one) === canonicalJson(other))
        expect(JSON.parse(canonicalJson(one))).toEqual(JSON.parse(canonicalJson(other)))
      else expect(same).toBe(false)
    }),
    seeded(5_000),
  )
})

it.each([
  ['{"a":1.0,"b":"\\u0041"}', '{"b":"A","a":1}'],
  ['{"n":1e2}', '{"n":100}'],
  ['{"n":-0}', '{"n":0}'],
  ['{"s":"\\/"}', '{"s":"/"}'],
])('%s and %s are one value', (left, right) => {
  expect(canonicalJson(JSON.parse(left))).toBe(canonicalJson(JSON.parse(right)))
})

it('sorts members by UTF-16 units, as RFC 8785 shows', () => {
  const value = { '\u20ac': 1, '\r': 2, '\ufb33': 3, '1': 4, '\ud83d\ude00': 5, '\u0080': 6, '\u00f6': 7 }
  const sorted = ['1', '\r', '\u0080', '\u00f6', '\u20ac', '\ud83d\ude00', '\ufb33']
  expect(Object.keys(JSON.parse(canonicalJson(value)))).toEqual(sorted)
})

it('a body nested too deeply is refused, not a stack overflow', () => {
  expect(() => canonicalJson(JSON.parse('['.repeat(100_000) + ']'.repeat(100_000)))).toThrow(BodyTooDeep)
})

it.each([
  ['method', { method: 'PUT' }],
  ['route', { route: '/orders/:other' }],
  ['path', { path: '/orders/8' }],
  ['query', { query: 'a=1&b=3' }],
  ['ifMatch', { headers: { 'content-type': 'application/json', 'if-match': '"order-7-v3"' } }],
  ['mediaType', { headers: { 'content-type': 'text/plain' } }],
  ['body', { body: { item: 'tea', count: 3 } }],
] as const)('names %s when that differs, and nothing else', (part, more) => {
  expect(differingParts(fingerprintOf(request()), fingerprintOf(request(more)))).toEqual([part])
})

it.each([
  { query: 'a=1&b=2' },
  { method: 'post' },
  { headers: { 'content-type': 'Application/JSON' } },
  { requestId: 'other' },
])('does not mind %j', (more) => {
  expect(fingerprintOf(request(more))).toBe(fingerprintOf(request()))
})

it('leaves out members that may differ between repeats', () => {
  const at = (sentAt: number) => fingerprintOf(request({ body: { item: 'tea', sentAt } }), ['sentAt'])
  expect(at(1)).toBe(at(2))
})

it('tells bodies of bytes, text and none apart', () => {
  const bodies = [undefined, null, '', 'x', Buffer.from('x'), Buffer.from('y'), {}, []]
  expect(new Set(bodies.map((body) => fingerprintOf(request({ body })))).size).toBe(bodies.length)
})

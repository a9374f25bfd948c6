// The Idempotency-Key header: what is a key, and which keys are too old to trust.
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { createRequestKeys } from './request-keys.ts'
import { createMemoryStore } from './store/memory.ts'
import { seeded } from './testing/seed.ts'
import { makeUlid } from './ulid.ts'

const nowMs = 1_790_000_000_000
const hourMs = 3_600_000
const keys = createRequestKeys({ store: createMemoryStore(), now: () => nowMs })
const text = (header: string): string | undefined => {
  const checked = keys.check(header, 'account')
  return checked.kind === 'fits' ? checked.key.text : undefined
}
const slug = (header: string): string => {
  const checked = keys.check(header, 'account')
  return checked.kind === 'fits' ? 'fits' : checked.problem.slug
}

it('quoted and bare are the same key, for every key', () => {
  const visible = Array.from({ length: 94 }, (_, at) => String.fromCodePoint(0x21 + at)).filter(
    (char) => !',"\\'.includes(char),
  )
  const key = fc.array(fc.constantFrom(...visible), { minLength: 8, maxLength: 255 }).map((chars) => chars.join(''))
  fc.assert(
    fc.property(key, (each) => {
      expect(text(each)).toBe(each)
      expect(text(`"${each}"`)).toBe(each)
      expect(keys.check(`"${each}"`, 'a')).toEqual(keys.check(each, 'a'))
    }),
    seeded(2_000),
  )
})

it.each(['short', 'x'.repeat(256), 'two,keys-in-one', 'with a space', 'ünïcödé-key', '"unfinished', ''])(
  '%j is no key',
  (header) => {
    expect(slug(header)).toMatch(header === '"unfinished' ? /fits|invalid/ : /invalid/)
  },
)

it('keys of two accounts never meet, and nothing readable is stored', () => {
  const [one, other] = [keys.check('ik_the-key', 'account-1'), keys.check('ik_the-key', 'account-2')]
  expect(one.kind === 'fits' && one.key.key).not.toEqual(other.kind === 'fits' && other.key.key)
  expect(JSON.stringify(one.kind === 'fits' && one.key.key)).not.toMatch(/ik_the-key|account-1/)
})

it.each([
  [-72 * hourMs + 300_000, 'fits'],
  [-72 * hourMs + 299_999, 'idempotency-key-expired'],
  [300_000, 'fits'],
  [300_001, 'idempotency-key-invalid'],
])('a key that carries a time %d ms from now: %s (T-08)', (offsetMs, expected) => {
  expect(slug(`ik_${makeUlid(nowMs + offsetMs)}`)).toBe(expected)
})

it('a key without a time has no age', () => {
  expect(slug('ik_01JD8Z3M9Q4T6V2Y7C5B1N0KXU')).toBe('fits')
  expect(slug(makeUlid(0))).toBe('fits')
})

it.each([hourMs - 1, 720 * hourMs + 1])('keeping answers for %d ms is out of bounds', (retentionMs) => {
  expect(() => createRequestKeys({ store: createMemoryStore(), retentionMs })).toThrow(RangeError)
})

it('tells what became of a call', async () => {
  const store = createMemoryStore()
  const some = createRequestKeys({ store })
  expect(await some.look('unknown-key', 'a')).toBeUndefined()
  expect(await some.look('bad', 'a')).toBeUndefined()
  const checked = some.check('known-key', 'a')
  if (checked.kind !== 'fits') throw new Error('the key does not fit')
  const { key, bind, ttlMs } = checked.key
  await store.claim({
    key,
    bind,
    owner: 'o',
    fingerprint: 'f',
    leaseMs: 1,
    takeOver: false,
    createTtlMs: ttlMs,
    to: 'claimed',
    requestId: 'r',
  })
  await store.complete({ key, owner: 'o', status: 201, answer: undefined, ttlMs })
  expect(await some.look('"known-key"', 'a')).toMatchObject({ state: 'done', status: 201, requestId: 'r' })
})

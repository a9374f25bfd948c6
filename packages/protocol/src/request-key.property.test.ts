// The Idempotency-Key header, for every text: quoted and bare are one key, and what is read can be sent again.
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { readRequestKey } from './request-key.ts'

const given = process.env['ONCEJOB_SEED']
/** A failure prints the seed; ONCEJOB_SEED takes it again. */
const seeded = (numRuns: number) => ({ numRuns, ...(given === undefined ? {} : { seed: Number(given) }) })

const allowed = Array.from({ length: 0x7f - 0x21 }, (_, at) => String.fromCodePoint(0x21 + at)).filter(
  (char) => char !== ',' && char !== '"',
)
const key = fc.array(fc.constantFrom(...allowed), { minLength: 8, maxLength: 255 }).map((chars) => chars.join(''))

test('quoted and bare name the same key, and reading it again changes nothing', () => {
  fc.assert(
    fc.property(key, (each) => {
      expect(readRequestKey(each)).toBe(each)
      expect(readRequestKey(`"${each}"`)).toBe(each)
      expect(readRequestKey(readRequestKey(`"${each}"`) ?? '')).toBe(each)
    }),
    seeded(5_000),
  )
})

test('one letter that does not belong there makes it none', () => {
  const other = fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }).filter((char) => !allowed.includes(char))
  fc.assert(
    fc.property(key, other, fc.nat(), (each, char, at) => {
      // not at the ends, where two quotes are the quoted form
      const place = 1 + (at % (each.length - 1))
      expect(readRequestKey(each.slice(0, place) + char + each.slice(place))).toBeUndefined()
    }),
    seeded(5_000),
  )
})

test('whatever a header says: a key of 8 to 255 visible letters, or none', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 300 }), (header) => {
      const read = readRequestKey(header)
      if (read === undefined) return
      expect(read.length).toBeGreaterThanOrEqual(8)
      expect(read.length).toBeLessThanOrEqual(255)
      expect([header, header.slice(1, -1)]).toContain(read)
      expect(Array.from(read).every((char) => allowed.includes(char))).toBe(true)
    }),
    seeded(5_000),
  )
})

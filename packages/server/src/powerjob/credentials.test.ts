// Passwords and tokens: what they are bound to, what of them is kept, and what guessing costs.
import { describe, expect, it } from 'vitest'
import { fakeClock } from '@oncejob/testkit'
import { systemRandom } from '../kernel/random.ts'
import { createPasswords, fingerprintPassword, hashPassword, matches, md5Of } from './passwords.ts'
import { readToken, signToken } from './tokens.ts'

describe('passwords', () => {
  it('are checked in clear text and as MD5 in any case, and nothing of them is stored', async () => {
    const stored = await hashPassword('päss word', systemRandom)
    expect(stored).toMatch(/^scrypt\$16384\$8\$1\$[\w-]{22}\$[\w-]{43}$/)
    expect(stored).not.toContain(md5Of('päss word'))
    expect(await matches(md5Of('päss word'), stored)).toBe(true)
    expect(await matches(md5Of('päss word').toUpperCase(), stored)).toBe(true)
    for (const wrong of [md5Of('pass word'), md5Of(md5Of('päss word')), '', 'päss word', stored])
      expect(await matches(wrong, stored), wrong).toBe(false)
    expect(await hashPassword('päss word', systemRandom)).not.toBe(stored)
    expect(md5Of('pw')).toBe('8fe4c11451281c094a6578e6ddbf5eed')
  })

  it('in the fingerprint of a call are equal only for the same password and key', async () => {
    const one = await fingerprintPassword('a', 'key-0001')
    expect(await fingerprintPassword('a', 'key-0001')).toBe(one)
    expect(await fingerprintPassword('b', 'key-0001')).not.toBe(one)
    expect(await fingerprintPassword('a', 'key-0002')).not.toBe(one)
  })

  it('can be guessed ten times, then once a second; the right one passes meanwhile once it was seen, and others are not held up', async () => {
    const clock = fakeClock()
    const verdictOf = createPasswords(clock, systemRandom)
    const stored = await hashPassword('right', systemRandom)
    const guess = (password: string, peer = 'attacker', appId = 1) =>
      verdictOf({ appId, version: 1, stored, md5: md5Of(password), peer })
    expect(await guess('right')).toBe('right')
    const guesses = await Promise.all(Array.from({ length: 30 }, (_, i) => guess(`wrong ${i}`)))
    expect(guesses.filter((verdict) => verdict === 'wrong')).toHaveLength(10)
    expect(guesses.filter((verdict) => verdict === 'too-many')).toHaveLength(20)
    expect(await guess('right')).toBe('right')
    expect(await guess('right', 'another machine')).toBe('right')
    expect(await guess('wrong', 'another machine')).toBe('wrong')
    expect(await guess('wrong', 'attacker', 2)).toBe('wrong')
    await clock.advance(1_001)
    expect(await guess('wrong a')).toBe('wrong')
    expect(await guess('wrong b')).toBe('too-many')
    await clock.advance(20_000)
    expect(await guess('wrong c')).toBe('wrong')
    // a client that was never seen is held up for a second at most after the guessing ends
    const unseen = await hashPassword('new', systemRandom)
    expect(await verdictOf({ appId: 1, version: 2, stored: unseen, md5: md5Of('new'), peer: 'attacker' })).toBe('right')
  })

  it('that many clients send at once are hashed once, and all of them pass', async () => {
    const verdictOf = createPasswords(fakeClock(), systemRandom)
    const stored = await hashPassword('right', systemRandom)
    const claimed = { appId: 1, version: 1, stored, md5: md5Of('right'), peer: 'p' }
    expect(new Set(await Promise.all(Array.from({ length: 200 }, () => verdictOf(claimed))))).toEqual(
      new Set(['right']),
    )
  })
})

describe('tokens', () => {
  const key = systemRandom.bytes(32)
  const claims = { appId: 7, version: 3, jti: 'one', exp: 2_000 }

  it('say what was signed until they expire, and nothing after any change of them', () => {
    const token = signToken(claims, key)
    expect(token).toMatch(/^[\x21-\x7e]+$/)
    expect(readToken(token, key, 1_999_999)).toEqual({ kind: 'good', claims })
    expect(readToken(token, key, 2_000_000)).toEqual({ kind: 'expired', claims })
    expect(readToken(token, systemRandom.bytes(32), 0)).toMatchObject({ kind: 'broken' })
    for (let i = 0; i < token.length; i += 1) {
      const changed = token.slice(0, i) + (token[i] === 'A' ? 'B' : 'A') + token.slice(i + 1)
      const read = readToken(changed, key, 0)
      // the last letter of base64url has bits that say nothing
      if (read.kind !== 'broken') expect({ i, read }).toEqual({ i: token.length - 1, read: { kind: 'good', claims } })
    }
  })

  it('of another algorithm, form or length are broken', () => {
    const none = [
      { typ: 'JWT', alg: 'none' },
      { appId: 7, version: 3, jti: 'one', exp: 9e9 },
    ]
      .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
      .join('.')
    for (const token of [`${none}.`, none, '', '..', 'a.b.c', signToken(claims, key) + '.x', 'x'.repeat(5_000)])
      expect(readToken(token, key, 0).kind, token.slice(0, 30)).toBe('broken')
  })
})

// What one-time tokens promise, on every store; among it the defects of the demo that everybody copies, each as a test.
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { ConsumeOutcome, IssuedToken, OnceTokens } from './once-tokens.ts'
import { createOnceTokens } from './once-tokens.ts'
import { seeded } from './testing/seed.ts'
import type { OpenStores } from './testing/stores.ts'
import { isUlid, ulidTimeMs } from './ulid.ts'

const secret = 'a secret of the test, long enough'
const roomy = { perMinute: 1_000_000, outstanding: 1_000_000 }
const mine = { account: 'account-0815', operation: 'createOrder' }

const counted = (outcomes: readonly ConsumeOutcome[]): Record<string, number> => {
  const counts: Record<string, number> = {}
  for (const outcome of outcomes) counts[outcome] = (counts[outcome] ?? 0) + 1
  return counts
}

export const onceTokensContract = (
  open: () => Promise<OpenStores>,
  { rounds, propertyRuns }: { readonly rounds: number; readonly propertyRuns: number },
): void => {
  let opened: OpenStores
  let servers: readonly OnceTokens[]
  let tokens: OnceTokens
  beforeAll(async () => {
    opened = await open()
    servers = opened.stores.map((store) => createOnceTokens({ store, secret, limits: roomy }))
    tokens = servers[0]!
  })
  afterAll(async () => {
    await opened.close()
  })
  const use = (issued: IssuedToken, more: Partial<typeof mine> = {}) => ({ token: issued.token, ...mine, ...more })

  it('a token is a ULID and a signature, good for five minutes', async () => {
    const before = Date.now()
    const issued = await tokens.issue(mine)
    const ulid = issued.token.slice(0, 26)
    expect(issued.token).toMatch(/^[0-9A-HJKMNP-TV-Z]{26}\.[A-Za-z0-9_-]{22}$/)
    expect(isUlid(ulid)).toBe(true)
    expect(ulidTimeMs(ulid)).toBeGreaterThanOrEqual(before)
    expect(issued).toMatchObject({ operation: 'createOrder', ttlSeconds: 300 })
    expect(new Date(issued.expiresAt).toISOString()).toBe(issued.expiresAt)
  })

  it('two issued tokens are two, and both work once (S-05)', async () => {
    const [one, two] = [await tokens.issue(mine), await tokens.issue(mine)]
    expect(one.token).not.toBe(two.token)
    expect([await tokens.consume(use(one)), await tokens.consume(use(two))]).toEqual(['accepted', 'accepted'])
    expect([await tokens.consume(use(one)), await tokens.consume(use(two))]).toEqual(['used', 'used'])
  })

  it(`of three that come at once to three servers one is accepted, ${rounds} rounds (S-04, S-19)`, async () => {
    for (let at = 0; at < rounds; at += 50) {
      const batch = Array.from({ length: Math.min(50, rounds - at) }, async () => {
        const issued = await tokens.issue(mine)
        return counted(await Promise.all(servers.map((server) => server.consume(use(issued)))))
      })
      for (const counts of await Promise.all(batch)) expect(counts).toEqual({ accepted: 1, used: 2 })
    }
  })

  it('500 tokens × (valid, other account, other operation, expired, forged) give exactly that (T-13)', async () => {
    const issued = await Promise.all(Array.from({ length: 500 }, () => tokens.issue(mine)))
    const flip = (token: string): string => token.slice(0, 30) + (token[30] === 'A' ? 'B' : 'A') + token.slice(31)
    const fresh = issued.slice(0, 400)
    const results = await Promise.all(
      fresh.map(async (each, at) => {
        const server = servers[at % servers.length]!
        return [
          await server.consume(use(each, { account: 'somebody else' })),
          await server.consume(use(each, { operation: 'cancelOrder' })),
          await server.consume(use({ ...each, token: flip(each.token) })),
          await server.consume(use(each)),
          await server.consume(use(each)),
        ].join(' ')
      }),
    )
    expect(new Set(results)).toEqual(new Set(['mismatch mismatch invalid accepted used']))
    opened.advance(301_000)
    const late = await Promise.all(issued.map((each, at) => servers[at % 3]!.consume(use(each))))
    expect(counted(late)).toEqual({ expired: 500 })
  })

  it.each([
    '',
    'x',
    '01JD8Z3M9Q4T6V2Y7C5B1N0KXA',
    '01JD8Z3M9Q4T6V2Y7C5B1N0KXA.',
    `${'0'.repeat(26)}.${'A'.repeat(22)}`,
    'ü'.repeat(49),
  ])('what is no token is invalid: %j', async (token) => {
    expect(await tokens.consume({ token, ...mine })).toBe('invalid')
  })

  it('a token signed by the secret before the last is still good; one of another secret is not', async () => {
    const old = createOnceTokens({ store: opened.stores[0], secret: 'the secret of last year', limits: roomy })
    const both = createOnceTokens({
      store: opened.stores[1],
      secret: [secret, 'the secret of last year'],
      limits: roomy,
    })
    const issued = await old.issue(mine)
    expect(await tokens.consume(use(issued))).toBe('invalid')
    expect(await both.consume(use(issued))).toBe('accepted')
  })

  it('an account over its limit is told when to come again', async () => {
    const few = createOnceTokens({ store: opened.stores[0], secret, limits: { perMinute: 2 } })
    const whose = { account: 'greedy', operation: 'createOrder' }
    await few.issue(whose)
    await few.issue({ ...whose, operation: 'another' })
    await expect(few.issue(whose)).rejects.toMatchObject({
      statusCode: 429,
      problem: { slug: 'once-token-limit', members: { limit: 'perMinute' } },
    })
  })

  describe('the published demo got this wrong:', () => {
    it('1: the token is part of the key, so that two tokens are two records', async () => {
      const [one, two] = [await tokens.issue(mine), await tokens.issue(mine)]
      expect(await tokens.consume(use(one))).toBe('accepted')
      expect(await tokens.consume(use(two))).toBe('accepted')
    })

    it('2: a valid token is accepted, also when account and operation differ', async () => {
      expect(await tokens.consume(use(await tokens.issue(mine)))).toBe('accepted')
      const equal = { account: 'same', operation: 'same' }
      const issued = await tokens.issue(equal)
      expect(await tokens.consume({ token: issued.token, ...equal })).toBe('accepted')
    })

    it('4: neither account nor operation nor token can be read in the store', async () => {
      const issued = await tokens.issue(mine)
      const contents = await opened.contents()
      expect(contents.length).toBeGreaterThan(10)
      expect(contents).not.toContain(mine.account)
      expect(contents).not.toContain(mine.operation)
      expect(contents).not.toContain(issued.token)
    })
  })

  it('any interleaving of issue, use, misuse and time accepts each token at most once', async () => {
    const command = fc.oneof(
      fc.constant({ do: 'issue' } as const),
      fc.record({
        do: fc.constant('use' as const),
        which: fc.nat(9),
        by: fc.nat(2),
        times: fc.integer({ min: 1, max: 3 }),
      }),
      fc.record({ do: fc.constant('misuse' as const), which: fc.nat(9) }),
      fc.record({ do: fc.constant('advance' as const), byMs: fc.constantFrom(1_000, 299_000, 300_001) }),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(command, { maxLength: 25 }), async (commands) => {
        const issued: { token: IssuedToken; acceptances: number; endsMs: number }[] = []
        let atMs = 0
        for (const each of commands) {
          if (each.do === 'issue') {
            issued.push({ token: await tokens.issue(mine), acceptances: 0, endsMs: atMs + 300_000 })
          } else if (each.do === 'advance') {
            opened.advance(each.byMs)
            atMs += each.byMs
          } else {
            const one = issued[each.which % Math.max(1, issued.length)]
            if (one === undefined) continue
            if (each.do === 'misuse') {
              expect(await tokens.consume(use(one.token, { account: 'thief' }))).toBe('mismatch')
              continue
            }
            const uses = Array.from({ length: each.times }, (_, at) =>
              servers[(each.by + at) % 3]!.consume(use(one.token)),
            )
            const counts = counted(await Promise.all(uses))
            one.acceptances += counts['accepted'] ?? 0
            if (atMs >= one.endsMs) expect(counts).toEqual({ expired: each.times })
            else expect(one.acceptances).toBe(1)
          }
        }
        for (const { acceptances } of issued) expect(acceptances).toBeLessThanOrEqual(1)
      }),
      seeded(propertyRuns),
    )
  })
}

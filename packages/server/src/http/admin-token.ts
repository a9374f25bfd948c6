// Makes tokens, and sees to it that there is an admin token.
import { createHash } from 'node:crypto'
import { StartFailure } from '../kernel/errors.ts'
import type { Random } from '../kernel/random.ts'
import type { Db } from '../storage/db.ts'
import { appendAudit } from '../storage/audit-log.ts'
import { countAdminTokens, insertAdminToken, lockAdminTokens, revokeOtherAdminTokens } from '../storage/tokens.ts'

/** A new token: `oj_` and 256 bits of chance. */
export const makeToken = (random: Random): string => `oj_${Buffer.from(random.bytes(32)).toString('base64url')}`

/** What is stored of a token. It has 256 bits of chance, so a fast hash is enough. */
export const hashToken = (token: string): Buffer => createHash('sha256').update(token).digest()

const shortestGiven = 16

/**
 * Makes sure that an admin token works; safe when several servers start at once.
 * @param given the token that the operator chose (at least 16 characters): from now on it is the only admin token
 * @returns the token when one was made: show it, nobody can read it again
 * @throws StartFailure when `given` is too short
 */
export const ensureAdminToken = async (db: Db, random: Random, given?: string): Promise<string | undefined> => {
  if (given !== undefined && (given.length < shortestGiven || /[^\x21-\x7e]/.test(given))) {
    throw new StartFailure(`ONCEJOB_ADMIN_TOKEN must have at least ${shortestGiven} visible ASCII characters`)
  }
  return db.transaction(async (tx) => {
    await lockAdminTokens(tx)
    if (given !== undefined) {
      const hash = hashToken(given)
      const revoked = await revokeOtherAdminTokens(tx, hash)
      await insertAdminToken(tx, 'admin', hash)
      if (revoked > 0)
        await appendAudit(tx, {
          actor: 'server',
          appId: null,
          action: 'token.revoke',
          target: 'token/admin',
          detail: { revoked },
        })
      return undefined
    }
    if ((await countAdminTokens(tx)) > 0) return undefined
    const token = makeToken(random)
    await insertAdminToken(tx, 'admin', hashToken(token))
    await appendAudit(tx, { actor: 'server', appId: null, action: 'token.create', target: 'token/admin', detail: null })
    return token
  })
}

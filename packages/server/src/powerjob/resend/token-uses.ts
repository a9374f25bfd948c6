// Which tokens were used before and on which paths answers are thrown away, remembered so that most calls ask nobody.
import { listDoubledPaths, touchToken, type TouchedToken } from '../../storage/resends.ts'
import type { Db } from '../../storage/db.ts'

const tokensMax = 20_000
const pathsMax = 10_000

/** A call with a token that was used before. */
const used: TouchedToken = { first: false, issuedAtMs: 0, doubled: false }

export const createTokenUses = (db: Db) => {
  // in the order in which they came
  const called = new Set<string>()
  let doubled = new Set<string>()
  // seen since the last look began
  let fresh: string[] = []
  const noteDoubled = (pathKey: string): void => {
    if (doubled.has(pathKey)) return
    doubled.add(pathKey)
    fresh.push(pathKey)
  }

  const remember = (jti: string): void => {
    called.add(jti)
    if (called.size <= tokensMax) return
    for (const oldest of called) {
      called.delete(oldest)
      break
    }
  }
  return {
    /** Uses a token on a call. One that this server has not seen on a call is looked up, once; so is its path. */
    use: async (jti: string | null, pathKey: string): Promise<TouchedToken> => {
      if (jti === null || called.has(jti)) return { ...used, doubled: doubled.has(pathKey) }
      const touched = await touchToken(db, jti, pathKey)
      remember(jti)
      if (touched.doubled) noteDoubled(pathKey)
      return { ...touched, doubled: touched.doubled || doubled.has(pathKey) }
    },
    isDoubled: (pathKey: string): boolean => doubled.has(pathKey),
    noteDoubled,
    /** Learns what other servers have seen. */
    refresh: async (): Promise<void> => {
      fresh = []
      const listed = await listDoubledPaths(db, pathsMax)
      doubled = new Set([...listed, ...fresh])
    },
  }
}

export type TokenUses = ReturnType<typeof createTokenUses>

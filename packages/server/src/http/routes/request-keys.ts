// What became of a call: asks for its request key, so that a caller without an answer can look before it sends again.
import { Refusal, RequestKeyState, readRequestKey } from '@oncejob/protocol'
import type { Queries } from '../../storage/db.ts'
import { findKeys } from '../../storage/request-keys.ts'
import { pathOf, type RoutePlugin } from '../types.ts'

const locationOf = (headers: string): string | null => {
  const kept: unknown = JSON.parse(headers)
  return typeof kept === 'object' && kept !== null && 'location' in kept && typeof kept.location === 'string'
    ? kept.location
    : null
}

export const requestKeyRoutes =
  (db: Queries): RoutePlugin =>
  (app) => {
    app.get(
      '/api/v1/idempotency-keys/:key',
      {
        config: { access: 'any', problems: ['IDEMPOTENCY_KEY_NOT_FOUND'] },
        schema: {
          summary: 'What became of the call with this request key',
          description:
            'Not found means: no call with this key has taken effect. One that is under way may still do so.',
          tags: ['Operations'],
          params: pathOf('key'),
          response: { 200: RequestKeyState },
        },
      },
      async (request) => {
        const key = readRequestKey(request.params.key)
        const [known] = key === undefined ? [] : await findKeys(db, [{ appId: request.appId ?? 0, key }])
        if (known === undefined) {
          throw new Refusal(
            'IDEMPOTENCY_KEY_NOT_FOUND',
            'No call with this key has taken effect within the window. Send it again with the same key.',
          )
        }
        const { status, route, request_id: requestId } = known
        return {
          key: known.key,
          state: 'completed' as const,
          status,
          route,
          requestId,
          location: locationOf(known.headers),
          createdAt: known.created_at.toISOString(),
          expiresAt: known.expires_at.toISOString(),
        }
      },
    )
  }

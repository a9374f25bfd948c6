// Who did what.
import { AuditEntry, pageOf, pageQuery } from '@oncejob/protocol'
import { listAudit } from '../../storage/audit-log.ts'
import type { Queries } from '../../storage/db.ts'
import { readCursor, writeCursor } from '../cursor.ts'
import { queryOf, type RoutePlugin } from '../types.ts'

export const auditLogRoutes =
  (db: Queries): RoutePlugin =>
  (app) => {
    app.get(
      '/api/v1/audit-log',
      {
        config: { access: 'any', problems: ['APP_NOT_FOUND', 'CURSOR_INVALID'] },
        schema: {
          summary: 'Who did what, newest first; an admin sees all apps, or one with ?app=',
          tags: ['Tenancy'],
          querystring: queryOf(pageQuery),
          response: { 200: pageOf(AuditEntry) },
        },
      },
      async (request) => {
        const { limit = 50, cursor } = request.query
        const { appId } = request
        const list = `audit-log:${appId ?? 'all'}`
        const [beforeId = null] = readCursor(list, cursor, ['number']) ?? []
        const found = await listAudit(db, { appId, beforeId, limit: limit + 1 })
        const items = found.slice(0, limit)
        const last = items.at(-1)
        return { items, next: found.length > limit && last !== undefined ? writeCursor(list, [last.id]) : null }
      },
    )
  }

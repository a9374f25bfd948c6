// Who the caller is.
import { Me } from '@oncejob/protocol'
import { principalOf, type RoutePlugin } from '../types.ts'

export const meRoutes = (): RoutePlugin => (app) => {
  app.get(
    '/api/v1/me',
    {
      config: { access: 'any' },
      schema: { summary: 'The token of this request', tags: ['Tenancy'], response: { 200: Me } },
    },
    (request) => {
      const { scope, app: appName, namespace, name } = principalOf(request)
      return { scope, app: appName, namespace, name }
    },
  )
}

// No route is open by mistake, and a wrong address is told apart from a wrong method.
import type { RouteOptions } from 'fastify'
import { Refusal } from '@oncejob/protocol'
import { invariant } from '../kernel/errors.ts'
import { queryOf, type Access } from './types.ts'

interface KnownRoute {
  readonly methods: readonly string[]
  readonly pattern: RegExp
}

// a colon that is meant is written twice
const partOf = (part: string): string =>
  part.startsWith(':') ? '[^/]+' : part.replaceAll('::', ':').replaceAll('.', '[.]')
const patternOf = (url: string): RegExp => new RegExp(`^${url.split('/').map(partOf).join('/')}$`)

/** Watches every route that is added. */
export const routeGuard = () => {
  const routes: KnownRoute[] = []
  return {
    /**
     * Notes the route and makes it refuse unknown query parameters.
     * @returns who may call it
     * @throws Error when it does not say
     */
    check: (route: RouteOptions): Access => {
      const methods = [route.method].flat()
      const access = route.config?.access
      invariant(
        access !== undefined,
        `the route ${methods.join(', ')} ${route.url} says in config.access who may call it`,
      )
      routes.push({ methods, pattern: patternOf(route.url) })
      route.schema = { ...route.schema, querystring: route.schema?.querystring ?? queryOf({}) }
      return access
    },
    /** What to answer when no route fits; `allow`: the methods that the path takes. */
    missing: (method: string, url: string): { readonly refusal: Refusal; readonly allow: string | undefined } => {
      const path = url.split('?', 1)[0] ?? url
      const fitting = routes.flatMap((route) => (route.pattern.test(path) ? route.methods : []))
      if (fitting.length === 0) {
        return {
          refusal: new Refusal('ROUTE_NOT_FOUND', `Nothing is at ${path}; /docs shows what there is.`),
          allow: undefined,
        }
      }
      const allow = [...new Set(fitting)].toSorted().join(', ')
      return { refusal: new Refusal('METHOD_NOT_ALLOWED', `${path} does not take ${method}, only ${allow}.`), allow }
    },
  }
}

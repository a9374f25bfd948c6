// Which app a call means: an admin token names it in the query, an app token is bound to one already.
import { queryText, type QueryValue } from './call.ts'

type Query = Readonly<Record<string, QueryValue>>

export interface AppScope {
  readonly app: string | undefined
  /** The path with the app in its query. */
  path(path: string): string
  /** The query with the app in it. */
  query(query: Query): Query
}

export const createAppScope = (app: string | undefined): AppScope => {
  const suffix = queryText({ app })
  return {
    app,
    path: (path) => path + suffix,
    query: (query) => (app === undefined ? query : { ...query, app }),
  }
}

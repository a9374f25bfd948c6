// Namespaces, apps and their tokens: an admin's routes.
import type {
  App,
  AppInput,
  AppPatch,
  Namespace,
  NamespaceInput,
  Token,
  TokenInput,
  TokenWithSecret,
} from '@oncejob/protocol'
import type { CallOptions, Caller, MutationOptions, Paged } from './call.ts'
import { SecretLost } from './errors.ts'

export interface NamespacesApi {
  list(options?: CallOptions): Paged<Namespace>
  create(input: NamespaceInput, options?: MutationOptions): Promise<Namespace>
  delete(name: string, options?: MutationOptions): Promise<void>
}

export interface AppsApi {
  list(options?: CallOptions): Paged<App>
  create(input: AppInput, options?: MutationOptions): Promise<App>
  get(app: string, options?: CallOptions): Promise<App>
  patch(app: string, change: AppPatch, options?: MutationOptions): Promise<App>
  /** Refused with NOT_EMPTY while the app has jobs. */
  delete(app: string, options?: MutationOptions): Promise<void>
}

export interface TokensApi {
  list(app: string, options?: CallOptions): Paged<Token>
  /** The answer is the only one that ever shows the secret. Rejects with SecretLost when it was lost on its way. */
  create(app: string, input: TokenInput, options?: MutationOptions): Promise<TokenWithSecret>
  /** Revokes the token at once. */
  delete(app: string, id: number, options?: MutationOptions): Promise<void>
}

const namespaces = '/api/v1/namespaces'
const apps = '/api/v1/apps'
const appAt = (app: string): string => `${apps}/${encodeURIComponent(app)}`

export const createNamespaces = (caller: Caller): NamespacesApi => ({
  list: (options) => caller.list(namespaces, {}, options),
  create: (input, options) => caller.json({ kind: 'mutation', method: 'POST', path: namespaces, body: input, options }),
  delete: (name, options) =>
    caller.done({ kind: 'mutation', method: 'DELETE', path: `${namespaces}/${encodeURIComponent(name)}`, options }),
})

export const createApps = (caller: Caller): AppsApi => ({
  list: (options) => caller.list(apps, {}, options),
  create: (input, options) => caller.json({ kind: 'mutation', method: 'POST', path: apps, body: input, options }),
  get: (app, options) => caller.json({ kind: 'read', method: 'GET', path: appAt(app), options }),
  patch: (app, change, options) =>
    caller.json({ kind: 'mutation', method: 'PATCH', path: appAt(app), body: change, options }),
  delete: (app, options) => caller.done({ kind: 'mutation', method: 'DELETE', path: appAt(app), options }),
})

export const createTokens = (caller: Caller): TokensApi => ({
  list: (app, options) => caller.list(`${appAt(app)}/tokens`, {}, options),
  create: async (app, input, options) => {
    const path = `${appAt(app)}/tokens`
    // The server keeps no secret: a repeat is answered without it.
    const made = await caller.json<Omit<TokenWithSecret, 'token'> & { token: string | null }>({
      kind: 'mutation',
      method: 'POST',
      path,
      body: input,
      options,
    })
    const { token } = made
    if (token === null) throw new SecretLost(app, made.id)
    return { ...made, token }
  },
  delete: (app, id, options) =>
    caller.done({ kind: 'mutation', method: 'DELETE', path: `${appAt(app)}/tokens/${id}`, options }),
})

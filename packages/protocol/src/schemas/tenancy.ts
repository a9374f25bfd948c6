// Namespaces, apps and their tokens.
import { Type, type Static } from 'typebox'
import { Id, Name, Time, TimeInput, nullable } from './common.ts'

const slug = (description: string) =>
  Type.String({
    pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$',
    description: `${description}: letters, digits, dot, dash, underscore; at most 100`,
  })

export const NamespaceInput = Type.Object(
  { name: slug('Unique name'), title: Type.Optional(Type.String({ maxLength: 255 })) },
  { additionalProperties: false },
)
export type NamespaceInput = Static<typeof NamespaceInput>
export const Namespace = Type.Object({ id: Id, name: Type.String(), title: nullable(Type.String()), createdAt: Time })
export type Namespace = Static<typeof Namespace>

const keySwitch = Type.Optional(
  Type.Boolean({ description: 'Take no change of this app without an Idempotency-Key; default false' }),
)

const wireSwitches = {
  tokenless: Type.Boolean({
    description: 'Take calls of PowerJob clients without a token: for clients 4.x, which have none; default false',
  }),
  copyEnabled: Type.Boolean({
    description: 'copyJob and copyWorkflow leave the copy enabled, as PowerJob does; default false',
  }),
  collapse: Type.Enum(['evidence', 'off'], {
    description:
      'evidence: a call that a PowerJob client sends again is recognised and answered as the first one; off: every call is executed; default evidence',
  }),
  tagSubstring: Type.Boolean({
    description: 'tagIn of a dispatch strategy SPECIFY is met by a part of a tag, as PowerJob does; default false',
  }),
  workerNetworks: Type.Array(Type.String({ minLength: 1, maxLength: 253 }), {
    maxItems: 100,
    description:
      'Where alone Java workers may be, and come from: networks like 10.1.0.0/16, addresses, names of hosts; default none: each is taken at the address that it is seen at',
  }),
}
/** How an app behaves for PowerJob's clients. */
export const WireSwitches = Type.Object(wireSwitches)
export type WireSwitches = Static<typeof WireSwitches>
const WireSwitchesInput = Type.Partial(WireSwitches, { additionalProperties: false })

const passwordInput = Type.String({
  minLength: 1,
  maxLength: 255,
  description: "What PowerJob's clients authenticate with; only a slow hash is kept, and no answer has it",
})

export const AppInput = Type.Object(
  {
    name: slug('Unique name'),
    namespace: Type.Optional(Type.String({ description: 'Name of the namespace; default: "default"' })),
    title: Type.Optional(Type.String({ maxLength: 255 })),
    requireRequestKeys: keySwitch,
    password: Type.Optional(passwordInput),
    powerjob: Type.Optional(WireSwitchesInput),
  },
  { additionalProperties: false },
)
export type AppInput = Static<typeof AppInput>
export const AppPatch = Type.Object(
  {
    title: Type.Optional(nullable(Type.String({ maxLength: 255 }))),
    namespace: Type.Optional(Type.String()),
    requireRequestKeys: keySwitch,
    password: Type.Optional(nullable(passwordInput)),
    powerjob: Type.Optional(WireSwitchesInput),
  },
  { additionalProperties: false },
)
export type AppPatch = Static<typeof AppPatch>
export const App = Type.Object({
  id: Id,
  name: Type.String(),
  namespace: Type.String(),
  title: nullable(Type.String()),
  requireRequestKeys: Type.Boolean(),
  hasPassword: Type.Boolean({ description: "PowerJob's clients can authenticate" }),
  powerjob: WireSwitches,
  createdAt: Time,
})
export type App = Static<typeof App>

export const tokenScopes = ['admin', 'app', 'read'] as const
export const TokenInput = Type.Object(
  {
    name: Name,
    scope: Type.Optional(
      Type.Enum(['app', 'read'], { default: 'app', description: 'app: everything in the app; read: only look' }),
    ),
    expiresAt: Type.Optional(nullable(TimeInput)),
  },
  { additionalProperties: false },
)
export type TokenInput = Static<typeof TokenInput>
export const Token = Type.Object({
  id: Id,
  name: Type.String(),
  app: nullable(Type.String()),
  scope: Type.Enum(['admin', 'app', 'read']),
  createdAt: Time,
  expiresAt: nullable(Time),
})
export type Token = Static<typeof Token>
/** The answer that makes a token; the only time its secret is shown. */
export const TokenWithSecret = Type.Object({ ...Token.properties, token: Type.String() })
export type TokenWithSecret = Static<typeof TokenWithSecret>
export const Me = Type.Object({
  scope: Type.String(),
  app: nullable(Type.String()),
  namespace: nullable(Type.String()),
  name: Type.String(),
})
export type Me = Static<typeof Me>

export const AuditEntry = Type.Object({
  id: Id,
  at: Time,
  actor: Type.String({ description: 'Who: the name of the token, or "server"' }),
  app: nullable(Type.String()),
  action: Type.String({ description: 'What, e.g. job.update' }),
  target: Type.String({ description: 'On what, e.g. job/42' }),
  detail: Type.Unknown(),
})
export type AuditEntry = Static<typeof AuditEntry>

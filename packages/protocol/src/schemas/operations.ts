// For the people who run OnceJob: health, the audit of the invariants, the doctor.
import { Type, type Static } from 'typebox'

export const Health = Type.Object({
  status: Type.Enum(['ok', 'unavailable']),
  version: Type.String(),
  detail: Type.Optional(Type.String()),
})
export type Health = Static<typeof Health>

export const AuditFinding = Type.Object({
  invariant: Type.String({ description: 'I1 to I10' }),
  check: Type.String({ description: 'What was looked for' }),
  violations: Type.Integer(),
  examples: Type.Array(Type.String()),
})
export type AuditFinding = Static<typeof AuditFinding>
export const AuditReport = Type.Object({ clean: Type.Boolean(), findings: Type.Array(AuditFinding) })
export type AuditReport = Static<typeof AuditReport>

export const DoctorLine = Type.Object({
  topic: Type.String(),
  status: Type.Enum(['ok', 'warn', 'bad']),
  says: Type.String(),
})
export type DoctorLine = Static<typeof DoctorLine>
export const DoctorReport = Type.Object({ lines: Type.Array(DoctorLine) })
export type DoctorReport = Static<typeof DoctorReport>

/** What became of a call with a request key. */
export const RequestKeyState = Type.Object({
  key: Type.String(),
  state: Type.Literal('completed'),
  status: Type.Integer({ description: 'Status of the answer' }),
  route: Type.String(),
  requestId: Type.String({ description: 'Id of the request that took effect' }),
  location: Type.Union([Type.String(), Type.Null()], { description: 'What it made' }),
  createdAt: Type.String(),
  expiresAt: Type.String({ description: 'Until then a repeat gets the same answer' }),
})
export type RequestKeyState = Static<typeof RequestKeyState>

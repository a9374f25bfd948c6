// The audit: asks the database whether the invariants hold, one check after another, while everything works on.
import type { AuditReport } from '@oncejob/protocol'
import { checks, runCheck, type AuditOptions } from '../storage/audit-checks.ts'
import type { Queries } from '../storage/db.ts'

/** Every check with what it found; `clean` when that is nothing. Reads whole tables: for people and tests, not for a loop. */
export const audit = async (db: Queries, options: AuditOptions): Promise<AuditReport> => {
  const findings: AuditReport['findings'] = []
  // one at a time: the audit must not take the connections that the work needs
  for (const check of checks) {
    findings.push({ invariant: check.invariant, check: check.says, ...(await runCheck(db, check, options)) })
  }
  return { clean: findings.every(({ violations }) => violations === 0), findings }
}

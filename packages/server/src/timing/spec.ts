// What a user may say about when a job runs; the API's schema mirrors these types.

/** Whether a day matches when one of the day fields does (Unix cron), or only when both do (PowerJob's cron-utils). */
export type CronDays = 'either' | 'both'

export type TriggerSpec =
  | { kind: 'none' } // by call only
  // days: how the two day fields go together when both are restricted; default either
  | { kind: 'cron'; expression: string; days?: CronDays | undefined }
  | { kind: 'fixed-rate'; everyMs: number } // >= 50 ms, no upper limit
  | { kind: 'fixed-delay'; delayMs: number } // >= 50 ms; next = end of the previous run + delay
  // "HH:mm:ss", 1 = Monday … 7 = Sunday, empty = every day; everyMs >= 1000; to >= from
  | { kind: 'daily'; everyMs: number; from: string; to: string; daysOfWeek: number[] }
  | { kind: 'once'; at: string } // ISO 8601 instant (with offset or Z), or local date-time read in the zone

/** What becomes of a local time that does not exist (gap) or exists twice (overlap). */
export type DstPolicy = { gap: 'next' | 'skip'; overlap: 'first' | 'both' }

export interface TimingSpec {
  trigger: TriggerSpec
  /** IANA name, such as Europe/Berlin. */
  zone: string
  /** First and last instant at which a fire may be, both inclusive, in ms since the epoch. */
  startAtMs?: number | undefined
  endAtMs?: number | undefined
  dst: DstPolicy
}

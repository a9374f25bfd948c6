// Times, durations, triggers and values in words.
import type { Trigger } from '@oncejob/protocol'

const steps = [
  { unit: 'd', ms: 86_400_000 },
  { unit: 'h', ms: 3_600_000 },
  { unit: 'min', ms: 60_000 },
  { unit: 's', ms: 1000 },
] as const

/** A length of time in its largest unit, e.g. `12 s`; below a second in ms. */
export const sayDuration = (ms: number): string => {
  const step = steps.find((candidate) => ms >= candidate.ms)
  if (step === undefined) return `${Math.round(ms)} ms`
  const count = ms / step.ms
  return `${count < 10 && !Number.isInteger(count) ? (Math.floor(count * 10) / 10).toFixed(1) : Math.floor(count)} ${step.unit}`
}

/** A moment as date and distance, e.g. `2026-11-25 09:30:00Z, 3 s ago`; `–` for none. */
export const sayTime = (time: string | null, nowMs: number): string => {
  if (time === null) return '–'
  const atMs = Date.parse(time)
  if (Number.isNaN(atMs)) return time
  const date = `${new Date(atMs).toISOString().slice(0, 19).replace('T', ' ')}Z`
  const distanceMs = atMs - nowMs
  if (Math.abs(distanceMs) < 1000) return `${date}, now`
  return distanceMs < 0 ? `${date}, ${sayDuration(-distanceMs)} ago` : `${date}, in ${sayDuration(distanceMs)}`
}

/** What makes a job run, in a few words. */
export const sayTrigger = (trigger: Trigger): string => {
  switch (trigger.kind) {
    case 'none':
      return 'by call'
    case 'cron':
      return `cron ${trigger.expression}`
    case 'fixed-rate':
      return `every ${sayDuration(trigger.everyMs)}`
    case 'fixed-delay':
      return `${sayDuration(trigger.delayMs)} after each end`
    case 'daily':
      return `${trigger.from}–${trigger.to} every ${sayDuration(trigger.everyMs)}`
    case 'once':
      return `once at ${trigger.at}`
  }
}

/** Any JSON value on one line: a string as it is, everything else as JSON. */
export const sayValue = (value: unknown): string =>
  value === null || value === undefined ? '–' : typeof value === 'string' ? value : JSON.stringify(value)

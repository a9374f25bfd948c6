// Settings of a server: from flags and the environment, checked once, with one readable line for what is wrong.
import { StartFailure } from './kernel/errors.ts'

export interface ServerConfig {
  readonly host: string
  /** 0: any free port. */
  readonly port: number
  /** postgres://… for PostgreSQL; undefined: the embedded database in `dataDir`. */
  readonly databaseUrl: string | undefined
  readonly dataDir: string
  readonly leaseMs: number
  readonly graceMs: number
  /** How long a worker may take to end an attempt after its deadline or a stop, before the lease is taken. */
  readonly stopPatienceMs: number
  readonly adminToken: string | undefined
  readonly logLevel: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent'
  readonly retentionDays: number
  readonly poolMax: number
  readonly maxResultBytes: number
  /** How long request keys are remembered, in hours. */
  readonly requestKeyHours: number
  /** How long a stopping server lets requests finish. */
  readonly stopGraceMs: number
}

/** What the command line may set; the rest comes from the environment. */
export interface Flags {
  readonly host?: string | undefined
  readonly port?: string | undefined
  readonly data?: string | undefined
  readonly databaseUrl?: string | undefined
  readonly logLevel?: string | undefined
}

type Env = Readonly<Record<string, string | undefined>>

const levels = ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const

const whole = (name: string, text: string | undefined, fallback: number, min: number, max: number): number => {
  if (text === undefined || text === '') return fallback
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
  if (!(value >= min && value <= max))
    throw new StartFailure(`${name} is "${text}"; it must be a whole number from ${min} to ${max}`)
  return value
}

const oneOf = <T extends string>(name: string, text: string | undefined, fallback: T, values: readonly T[]): T => {
  if (text === undefined || text === '') return fallback
  const value = values.find((one) => one === text)
  if (value === undefined) throw new StartFailure(`${name} is "${text}"; it must be one of ${values.join(', ')}`)
  return value
}

const postgresUrl = (name: string, text: string | undefined): string | undefined => {
  if (text === undefined || text === '') return undefined
  if (!/^postgres(ql)?:\/\//.test(text))
    throw new StartFailure(`${name} must start with postgres:// ; leave it out for the embedded database`)
  return text
}

/** A flag's value with its name, or the environment's. */
const pick = (flag: string, given: string | undefined, variable: string, env: Env): [string, string | undefined] =>
  given === undefined ? [variable, env[variable]] : [flag, given]

/**
 * Reads the settings.
 * @throws StartFailure that names the setting and what it may be
 */
export const configFrom = (env: Env, flags: Flags = {}): ServerConfig => {
  const [portName, port] = pick('--port', flags.port, 'ONCEJOB_PORT', env)
  const [urlName, url] = pick('--database-url', flags.databaseUrl, 'DATABASE_URL', env)
  const [levelName, level] = pick('--log-level', flags.logLevel, 'ONCEJOB_LOG_LEVEL', env)
  const adminToken = env['ONCEJOB_ADMIN_TOKEN']
  return {
    host: flags.host ?? env['ONCEJOB_HOST'] ?? '127.0.0.1',
    port: whole(portName, port, 7700, 0, 65_535),
    databaseUrl: postgresUrl(urlName, url),
    dataDir: flags.data ?? env['ONCEJOB_DATA'] ?? './data',
    leaseMs: whole('ONCEJOB_LEASE_MS', env['ONCEJOB_LEASE_MS'], 10_000, 500, 3_600_000),
    graceMs: whole('ONCEJOB_GRACE_MS', env['ONCEJOB_GRACE_MS'], 5_000, 0, 3_600_000),
    stopPatienceMs: whole('ONCEJOB_STOP_PATIENCE_MS', env['ONCEJOB_STOP_PATIENCE_MS'], 10_000, 0, 3_600_000),
    adminToken: adminToken === '' ? undefined : adminToken,
    logLevel: oneOf(levelName, level, 'info', levels),
    retentionDays: whole('ONCEJOB_RETENTION_DAYS', env['ONCEJOB_RETENTION_DAYS'], 30, 1, 36_500),
    poolMax: whole('ONCEJOB_POOL_MAX', env['ONCEJOB_POOL_MAX'], 10, 2, 200),
    maxResultBytes: whole('ONCEJOB_MAX_RESULT_BYTES', env['ONCEJOB_MAX_RESULT_BYTES'], 65_536, 1024, 8_388_608),
    requestKeyHours: whole('ONCEJOB_REQUEST_KEY_HOURS', env['ONCEJOB_REQUEST_KEY_HOURS'], 72, 1, 720),
    stopGraceMs: whole('ONCEJOB_STOP_GRACE_MS', env['ONCEJOB_STOP_GRACE_MS'], 5_000, 0, 600_000),
  }
}

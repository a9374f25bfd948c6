// Settings of a server: from flags and the environment, checked once, with one readable line for what is wrong.
import { StartFailure } from './kernel/errors.ts'
import { zoneOf } from './timing/zone.ts'

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
  /** The wire of PowerJob's clients. */
  readonly powerjob: {
    /** Tokens are checked. */
    readonly auth: boolean
    /** IANA zone in which its CRON and daily windows are meant. */
    readonly zone: string
    /** How long a token is good for. */
    readonly tokenSeconds: number
    /** Port for the messages of Java workers; the web port takes them, too. Null: none are taken. 0: any free one. */
    readonly workerPort: number | null
    /** Somebody chose the port: it is that one or none. */
    readonly workerPortChosen: boolean
    readonly workerHost: string
    /** Where Java workers are told to send, as host or host:port; undefined: found out. */
    readonly workerAddress: string | undefined
    /** Longest jar of a container. */
    readonly maxJarBytes: number
    /** A Java worker that is not heard for so long is lost, and so is a run that it tells nothing of. */
    readonly workerSilenceMs: number
  }
}

/** What the command line may set; the rest comes from the environment. */
export interface Flags {
  readonly host?: string | undefined
  readonly port?: string | undefined
  readonly data?: string | undefined
  readonly databaseUrl?: string | undefined
  readonly logLevel?: string | undefined
  readonly powerjobAuth?: string | undefined
  readonly powerjobZone?: string | undefined
  readonly powerjobPort?: string | undefined
  readonly powerjobHost?: string | undefined
  readonly powerjobAddress?: string | undefined
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

const zone = (name: string, text: string | undefined): string => {
  if (text === undefined || text === '') return new Intl.DateTimeFormat().resolvedOptions().timeZone
  if (zoneOf(text) === undefined)
    throw new StartFailure(`${name} is "${text}"; it must be an IANA zone such as Europe/Berlin or UTC`)
  return text
}

/** A host, or host and port, as Java workers can read it: they take it apart at the colon. */
const announced = (name: string, text: string | undefined): string | undefined => {
  if (text === undefined || text === '') return undefined
  const [, port = '1'] = /^[A-Za-z0-9._-]+(?::(\d{1,5}))?$/.exec(text) ?? [text, '0']
  if (!(Number(port) >= 1 && Number(port) <= 65_535))
    throw new StartFailure(`${name} is "${text}"; it must be a host, or host:port, without http:// and not IPv6`)
  return text
}

const portOrOff = (name: string, text: string | undefined): number | null =>
  text === 'off' ? null : whole(name, text, 10_010, 0, 65_535)

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
  const [authName, auth] = pick('--powerjob-auth', flags.powerjobAuth, 'ONCEJOB_POWERJOB_AUTH', env)
  const [zoneName, zoneText] = pick('--powerjob-zone', flags.powerjobZone, 'ONCEJOB_POWERJOB_ZONE', env)
  const [workerPortName, workerPort] = pick('--powerjob-port', flags.powerjobPort, 'ONCEJOB_POWERJOB_PORT', env)
  const [addressName, address] = pick('--powerjob-address', flags.powerjobAddress, 'ONCEJOB_POWERJOB_ADDRESS', env)
  const adminToken = env['ONCEJOB_ADMIN_TOKEN']
  const host = flags.host ?? env['ONCEJOB_HOST'] ?? '127.0.0.1'
  return {
    host,
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
    powerjob: {
      auth: oneOf(authName, auth, 'on', ['on', 'off']) === 'on',
      zone: zone(zoneName, zoneText),
      workerPort: portOrOff(workerPortName, workerPort),
      workerPortChosen: (workerPort ?? '') !== '',
      workerHost: flags.powerjobHost ?? env['ONCEJOB_POWERJOB_HOST'] ?? host,
      workerAddress: announced(addressName, address),
      maxJarBytes: whole(
        'ONCEJOB_POWERJOB_MAX_JAR_BYTES',
        env['ONCEJOB_POWERJOB_MAX_JAR_BYTES'],
        67_108_864,
        1_048_576,
        1_073_741_824,
      ),
      workerSilenceMs: whole(
        'ONCEJOB_POWERJOB_WORKER_SILENCE_MS',
        env['ONCEJOB_POWERJOB_WORKER_SILENCE_MS'],
        60_000,
        20_000,
        3_600_000,
      ),
      tokenSeconds: whole(
        'ONCEJOB_POWERJOB_TOKEN_SECONDS',
        env['ONCEJOB_POWERJOB_TOKEN_SECONDS'],
        604_800,
        1,
        31_536_000,
      ),
    },
  }
}

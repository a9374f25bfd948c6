// The doctor: looks at the database and the cluster, and says for each thing whether it is well and what to do.
import type { DoctorLine, DoctorReport } from '@oncejob/protocol'
import type { Clock } from '../kernel/clock.ts'
import { DatabaseError } from '../kernel/errors.ts'
import type { Db } from '../storage/db.ts'
import {
  readBacklog,
  readDatabaseFacts,
  readHorizonHolders,
  readSettings,
  readTableHealth,
  type Backlog,
  type HorizonHolder,
  type Setting,
  type TableHealth,
} from '../storage/doctor.ts'
import { migrationsFolder, readMigrations, schemaVersion } from '../storage/migrate.ts'
import { listRunPartitions, nextRunId } from '../storage/partitions.ts'
import { listBoundlessApps, listLooseApps } from '../storage/wire-apps.ts'
import { listServers, listTransports, type LivingServer, type Transport } from '../storage/servers.ts'

type Line = Omit<DoctorLine, 'topic'>

const ok = (says: string): Line => ({ status: 'ok', says })
const warn = (says: string): Line => ({ status: 'warn', says })
const bad = (says: string): Line => ({ status: 'bad', says })

const oldestVersion = 150_000
const settingNames = ['fsync', 'synchronous_commit', 'full_page_writes', 'autovacuum', 'max_connections']
const hotTables = ['run_ready', 'run_later', 'run_blocked', 'run_slot', 'attempt', 'worker_session', 'schedule', 'job']

export const judgeSettings = (kind: Db['kind'], settings: readonly Setting[]): Line[] => {
  const valueOf = (name: string): string | undefined => settings.find((setting) => setting.name === name)?.value
  const lines: Line[] = []
  if (valueOf('fsync') === 'off')
    lines.push(
      kind === 'embedded'
        ? warn(
            'the embedded database is in memory: everything is gone when the server stops; set ONCEJOB_DATA to a folder',
          )
        : bad('fsync is off: a power cut can destroy the database; set fsync = on'),
    )
  else if (valueOf('synchronous_commit') === 'off')
    lines.push(bad('synchronous_commit is off: acknowledged calls can be lost; set it to on'))
  else lines.push(ok('durable: a call is answered after its commit is synced to the disk'))
  if (kind === 'embedded') return lines
  if (valueOf('full_page_writes') === 'off')
    lines.push(
      bad('full_page_writes is off: a crash can tear pages; set it to on unless the file system never tears them'),
    )
  if (valueOf('autovacuum') === 'off')
    lines.push(bad('autovacuum is off: the hot tables grow and claims get slow; set autovacuum = on'))
  const connections = Number(valueOf('max_connections') ?? 100)
  if (connections < 30)
    lines.push(warn(`max_connections is ${connections}: little for several servers; raise it to 100`))
  return lines
}

export const judgeClock = (differenceMs: number, uncertainMs: number): Line => {
  const says = `this server's clock is ${Math.round(Math.abs(differenceMs))} ms ${differenceMs < 0 ? 'behind' : 'ahead of'} the database's, measured to ${Math.ceil(uncertainMs)} ms`
  const surelyMs = Math.abs(differenceMs) - uncertainMs
  if (surelyMs > 5_000)
    return bad(`${says}: leases and due times follow the database, log times do not fit; run NTP on both`)
  return surelyMs > 500 ? warn(`${says}: run NTP on both`) : ok(says)
}

export const judgeHorizon = (holders: readonly HorizonHolder[]): Line => {
  const told = ({ kind, name, seconds, transactions }: HorizonHolder): string =>
    `${kind} ${name}${seconds === null ? '' : `, ${Math.round(seconds)} s`}, ${transactions} transactions back`
  const worst = holders.find(({ seconds, transactions }) => (seconds ?? 0) > 300 || transactions > 1_000_000)
  if (worst === undefined) return ok('nothing holds old row versions')
  const says = `old row versions are held by ${told(worst)}`
  const remedy = worst.kind === 'connection' ? 'end that transaction' : `finish or drop that ${worst.kind}`
  const long = (worst.seconds ?? 0) > 3_600 || worst.transactions > 10_000_000
  return (long ? bad : warn)(`${says}: dead rows can not be cleaned up; ${remedy}`)
}

export const judgeTables = (tables: readonly TableHealth[]): Line[] => {
  const bloated = tables.filter(({ live, dead }) => dead > 50_000 && dead > 5 * live)
  if (bloated.length === 0) return [ok('the hot tables are clean')]
  return bloated.map(({ name, live, dead }) =>
    warn(
      `${name} has ${dead} dead rows beside ${live} live ones: look for what holds them, then run VACUUM oncejob.${name}`,
    ),
  )
}

export const judgePartitions = (ahead: number): Line => {
  const says = `run ids are prepared for ${ahead} more runs`
  if (ahead < 100_000) return bad(`${says}: the server can not make partitions in time; see its log for "duty failed"`)
  return ahead < 1_000_000 ? warn(`${says}: more should be there; see the log for "duty failed"`) : ok(says)
}

export const judgeServers = (servers: readonly LivingServer[]): Line => {
  const names = servers.map(({ name, version }) => `${name} (${version})`).join(', ')
  if (servers.length === 0) return warn('no server has said in the last 10 s that it lives: is the database slow?')
  const versions = new Set(servers.map(({ version }) => version))
  return versions.size > 1
    ? warn(`${servers.length} servers of different versions: ${names}; finish the update`)
    : ok(`${servers.length} alive: ${names}`)
}

export const judgeWorkers = (backlog: Backlog): Line => {
  const says = `${backlog.live} live, ${backlog.draining} draining, ${backlog.late} late`
  if (backlog.live === 0 && backlog.ready > 0)
    return warn(`${says}: runs wait and no worker takes any; start one (see "oncejob run show" for why a run waits)`)
  return backlog.late > 0
    ? warn(`${says}: the late ones have not polled for a lease; their runs are taken back soon`)
    : ok(says)
}

export const judgeBacklog = (backlog: Backlog): Line => {
  const says = `${backlog.running} running, ${backlog.ready} ready, ${backlog.blocked} wait for a slot, ${backlog.later} for their time`
  const lagS = Math.round(backlog.lagMs / 1000)
  return lagS > 60 ? warn(`${says}; the oldest ready run waits for ${lagS} s: add workers or slots`) : ok(says)
}

export const judgeUnknown = ({ unknown }: Backlog): Line[] =>
  unknown === 0
    ? []
    : [
        warn(
          `${unknown} ${unknown === 1 ? 'run' : 'runs'} of unknown outcome: see "oncejob runs --state unknown" and decide with "oncejob run resolve"`,
        ),
      ]

const measureClock = async (needs: DoctorNeeds): Promise<Line[]> => {
  const before = needs.clock.monotonic()
  const sentMs = needs.clock.now()
  const facts = await readDatabaseFacts(needs.db)
  const tookMs = needs.clock.monotonic() - before
  return facts === undefined ? [] : [judgeClock(sentMs + tookMs / 2 - facts.nowMs, tookMs / 2 + 1)]
}

const describeDatabase = async (db: Db): Promise<Line[]> => {
  const facts = await readDatabaseFacts(db)
  if (facts === undefined) return []
  const says = db.kind === 'embedded' ? `embedded PostgreSQL ${facts.version}` : `PostgreSQL ${facts.version}`
  return [facts.versionNumber < oldestVersion ? bad(`${says} is too old: 15 or later is needed`) : ok(says)]
}

const compareSchema = async (db: Db): Promise<Line[]> => {
  const [known, present] = [readMigrations(migrationsFolder).length, await schemaVersion(db)]
  if (known === present) return [ok(`schema version ${present}`)]
  return [
    present > known
      ? warn(
          `the schema has version ${present}, this server knows ${known}: a newer server was started; update this one`,
        )
      : bad(`the schema has version ${present}, this server needs ${known}: restart it, it migrates at the start`),
  ]
}

type LooseApp = Awaited<ReturnType<typeof listLooseApps>>[number]

/** What was switched off of the protection of the wire of PowerJob's clients. */
export const judgeOpenApi = (auth: boolean, apps: readonly LooseApp[]): Line[] => {
  const lines: Line[] = []
  if (!auth)
    lines.push(
      warn('PowerJob clients need no token: whoever reaches /openApi can do everything; set ONCEJOB_POWERJOB_AUTH=on'),
    )
  for (const { name, tokenless, collapse } of apps) {
    if (tokenless && auth)
      lines.push(
        warn(`app ${name} takes calls of PowerJob clients without a token: oncejob apps set ${name} --tokenless off`),
      )
    if (collapse === 'off')
      lines.push(
        warn(
          `app ${name} executes calls that PowerJob clients send again: oncejob apps set ${name} --collapse evidence`,
        ),
      )
  }
  return lines.length > 0 ? lines : [ok('PowerJob clients need a token, and calls that they send again are recognised')]
}

/** Where Java workers are taken, and from where. */
export const judgeJava = (transports: readonly Transport[], boundless: readonly string[]): Line[] => {
  const told = transports.map(({ address, sessions }) => {
    const near = /^(127\.|localhost:)/.test(address) ? ', for workers on its machine only' : ''
    return `${address} (${sessions} ${sessions === 1 ? 'worker' : 'workers'}${near})`
  })
  const line =
    told.length === 0 ? ok('no server takes Java workers') : ok(`Java workers are taken at ${told.join(', ')}`)
  const loose = boundless.map((name) =>
    warn(
      `messages about Java workers of app ${name} are taken from anywhere: oncejob apps set ${name} --worker-networks LIST`,
    ),
  )
  return [line, ...loose]
}

export interface DoctorNeeds {
  readonly db: Db
  readonly clock: Clock
  /** Tokens of PowerJob clients are checked; default true. */
  readonly openApiAuth?: boolean
}

/** Looks at everything once, in a few cheap statements. @throws Outage when the database can not be reached */
export const examine = async (needs: DoctorNeeds): Promise<DoctorReport> => {
  const { db } = needs
  const lines: DoctorLine[] = []
  const look = async (topic: string, judge: () => Promise<Line[]>): Promise<void> => {
    try {
      for (const line of await judge()) lines.push({ topic, ...line })
    } catch (error) {
      // translated: rights or views may be missing, and the other lines still help
      if (!(error instanceof DatabaseError)) throw error
      lines.push({ topic, ...warn(`can not be told: ${error.message}`) })
    }
  }
  await look('database', () => describeDatabase(db))
  await look('schema', () => compareSchema(db))
  await look('settings', async () => judgeSettings(db.kind, await readSettings(db, settingNames)))
  await look('clock', () => measureClock(needs))
  await look('horizon', async () => [judgeHorizon(await readHorizonHolders(db, 5))])
  await look('tables', async () => judgeTables(await readTableHealth(db, hotTables)))
  await look('partitions', async () => {
    const end = (await listRunPartitions(db)).at(-1)?.to ?? 0
    return [judgePartitions(Math.max(0, end - (await nextRunId(db))))]
  })
  await look('powerjob', async () => judgeOpenApi(needs.openApiAuth ?? true, await listLooseApps(db)))
  await look('java', async () => judgeJava(await listTransports(db), await listBoundlessApps(db)))
  await look('servers', async () => [judgeServers(await listServers(db))])
  const backlog = await readBacklog(db)
  await look('workers', async () => [judgeWorkers(backlog)])
  await look('backlog', async () => [judgeBacklog(backlog), ...judgeUnknown(backlog)])
  return { lines }
}

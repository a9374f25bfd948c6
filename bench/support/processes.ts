// Starts and ends the processes of one measured system: server, worker, database.
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { createClient, type OnceJobClient } from '@oncejob/client'

export type Kind = 'embedded' | 'postgres'

const adminToken = 'bench-admin-token-0123456789'
export const appName = 'bench'

interface Child {
  readonly process: ChildProcess
  /** Ends it with SIGTERM, and with SIGKILL when it does not end. */
  end(): Promise<void>
}

const start = async (
  file: string,
  env: Record<string, string>,
): Promise<{ child: Child; ready: Record<string, unknown> }> => {
  const child = fork(new URL(file, import.meta.url), {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const exited = once(child, 'exit')
  const ready: unknown = await Promise.race([
    once(child, 'message').then(([message]) => message as unknown),
    exited.then(([code]) => {
      throw new Error(`${file} ended with ${code} before it was ready`)
    }),
  ])
  const end = async (): Promise<void> => {
    if (child.exitCode !== null) return
    child.kill('SIGTERM')
    const late = setTimeout(() => child.kill('SIGKILL'), 20_000)
    await exited
    clearTimeout(late)
  }
  return { child: { process: child, end }, ready: typeof ready === 'object' ? { ...ready } : {} }
}

const onPostgres = async <T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> => {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}

export const postgresUrl = (): string =>
  process.env['ONCEJOB_TEST_DATABASE_URL'] ?? 'postgres://postgres@127.0.0.1:5432/postgres'

/** True when a PostgreSQL server answers where the benches look for one. */
export const postgresAnswers = (): Promise<boolean> =>
  onPostgres(postgresUrl(), (client) => client.query('select 1')).then(
    () => true,
    () => false,
  )

const freshDatabase = async (kind: Kind): Promise<{ env: Record<string, string>; remove: () => Promise<void> }> => {
  if (kind === 'embedded') {
    const dir = mkdtempSync(join(tmpdir(), 'oncejob-bench-'))
    return {
      env: { ONCEJOB_DATA: dir, DATABASE_URL: '' },
      remove: async () => rmSync(dir, { recursive: true, force: true }),
    }
  }
  const name = `oncejob_bench_${process.pid}`
  await onPostgres(postgresUrl(), async (client) => {
    await client.query(`drop database if exists ${name} with (force)`)
    await client.query(`create database ${name}`)
  })
  const url = new URL(postgresUrl())
  url.pathname = `/${name}`
  return {
    env: { DATABASE_URL: url.href },
    remove: () =>
      onPostgres(
        postgresUrl(),
        async (client) => void (await client.query(`drop database if exists ${name} with (force)`)),
      ),
  }
}

/** Copies one stored job, with its schedule, `count` times: as many rows as an installation has that is in use for years. */
const copyJob = (url: string, jobId: number, count: number): Promise<void> =>
  onPostgres(url, async (client) => {
    const columnsOf = async (table: string, without: string[]): Promise<string> => {
      const { rows } = await client.query<{ name: string }>(
        `select column_name as name from information_schema.columns
          where table_schema = 'oncejob' and table_name = $1 and is_generated = 'NEVER' and not column_name = any($2)`,
        [table, without],
      )
      return rows.map((row) => row.name).join(', ')
    }
    const job = await columnsOf('job', ['id', 'name'])
    const schedule = await columnsOf('schedule', ['id', 'job_id'])
    await client.query(`
      with copies as (
        insert into oncejob.job (name, ${job}) select name || '-' || i, ${job} from oncejob.job, generate_series(1, ${count}) i where id = ${jobId}
        returning id
      )
      insert into oncejob.schedule (job_id, ${schedule})
      select copies.id, ${schedule
        .split(', ')
        .map((name) => `s.${name}`)
        .join(', ')} from copies, oncejob.schedule s where s.job_id = ${jobId}`)
    await client.query('analyze oncejob.job, oncejob.schedule')
  })

export interface System {
  readonly kind: Kind
  readonly client: OnceJobClient
  readonly url: string
  readonly token: string
  /** Stores `count` copies of a job and its schedule, beside the server; PostgreSQL only. */
  copyJob: ((jobId: number, count: number) => Promise<void>) | undefined
  /** Resident memory of the server, in MB. */
  memoryMb(): Promise<number>
  end(): Promise<void>
}

/** A server whose route does nothing; `end` it afterwards. */
export const startFloor = async (): Promise<{ client: OnceJobClient; end: () => Promise<void> }> => {
  const { child, ready } = await start('./floor.ts', {})
  const client = createClient({ url: String(ready['url']), token: 'none' })
  return {
    client,
    end: async () => {
      client.close()
      await child.end()
    },
  }
}

/** One server, one native worker with `slots` slots (0: none), one app; everything in processes of its own. */
export const startSystem = async (kind: Kind, slots = 512): Promise<System> => {
  const database = await freshDatabase(kind)
  const databaseUrl = kind === 'postgres' ? database.env['DATABASE_URL'] : undefined
  const server = await start('./server.ts', { ...database.env, ONCEJOB_ADMIN_TOKEN: adminToken })
  const url = String(server.ready['url'])
  const client = createClient({ url, token: adminToken, app: appName })
  await client.apps.create({ name: appName })
  const worker =
    slots === 0
      ? undefined
      : await start('./worker.ts', {
          BENCH_URL: url,
          BENCH_TOKEN: adminToken,
          BENCH_APP: appName,
          BENCH_SLOTS: String(slots),
        })
  return {
    kind,
    client,
    url,
    token: adminToken,
    copyJob: databaseUrl === undefined ? undefined : (jobId, count) => copyJob(databaseUrl, jobId, count),
    memoryMb: async () => {
      const answer = once(server.child.process, 'message')
      server.child.process.send('memory')
      const [message] = (await answer) as [{ residentMb: number }]
      return message.residentMb
    },
    end: async () => {
      await worker?.child.end()
      await server.child.end()
      await database.remove()
    },
  }
}

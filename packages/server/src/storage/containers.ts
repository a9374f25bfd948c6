// Tables container, container_jar, container_part: the jars that Java workers load, in parts so that no server holds one whole.
import type { Queries } from './db.ts'
import { sql, type Sql } from './sql.ts'

/** A container as people see it, without what workers say of it. */
export interface ContainerRow {
  readonly id: number
  readonly name: string
  /** MD5 of its jar in lower-case hex. */
  readonly version: string
  readonly sha256: string
  /** Bytes of the jar. */
  readonly size: number
  readonly createdAt: Date
  readonly updatedAt: Date
  readonly deployedAt: Date | null
}

const columns: Sql = sql`
  c.id, c.name, c.version, j.sha256, j.size, c.created_at as "createdAt", c.updated_at as "updatedAt", c.deployed_at as "deployedAt"`
const withJar: Sql = sql`
  from oncejob.container c join oncejob.container_jar j on j.container_id = c.id and j.version = c.version`

/** Containers of an app in the order of their ids, after the id `after`. */
export const listContainers = (db: Queries, appId: number, after: number, limit: number): Promise<ContainerRow[]> =>
  db.query<ContainerRow>(sql`
    select ${columns} ${withJar} where c.app_id = ${appId} and c.id > ${after} order by c.id limit ${limit}`)

/** One container of an app. */
export const findContainer = async (db: Queries, appId: number, id: number): Promise<ContainerRow | undefined> => {
  const [row] = await db.query<ContainerRow>(sql`
    select ${columns} ${withJar} where c.app_id = ${appId} and c.id = ${id}`)
  return row
}

/** One container of whatever app: a worker names nothing but the id. */
export const findContainerAnywhere = async (
  db: Queries,
  id: number,
): Promise<(ContainerRow & { appId: number }) | undefined> => {
  const [row] = await db.query<ContainerRow & { appId: number }>(sql`
    select c.app_id as "appId", ${columns} ${withJar} where c.id = ${id}`)
  return row
}

/** Begins to store a jar; returns its id. It belongs to no container until it is adopted. */
export const beginJar = async (db: Queries): Promise<number> => {
  const [row] = await db.query<{ id: number }>(sql`insert into oncejob.container_jar default values returning id`)
  if (row === undefined) throw new Error('invariant broken: an insert returns its row')
  return row.id
}

/** Stores the next part of a jar. */
export const addPart = async (db: Queries, jarId: number, number: number, bytes: Uint8Array): Promise<void> => {
  await db.query(sql`
    insert into oncejob.container_part (jar_id, number, bytes) values (${jarId}, ${number}, ${bytes}::bytea)`)
}

/** Throws a jar away that no container has. */
export const dropJar = async (db: Queries, jarId: number): Promise<void> => {
  await db.query(sql`delete from oncejob.container_jar where id = ${jarId} and container_id is null`)
}

/** What is known of a jar that has arrived. */
export interface ArrivedJar {
  readonly id: number
  /** MD5 in lower-case hex. */
  readonly version: string
  readonly sha256: string
  readonly size: number
}

/**
 * Makes an arrived jar the one of the container of that name, which is made when there is none.
 * `changed`: false when the container had the very jar already.
 */
export const adoptJar = async (
  tx: Queries,
  appId: number,
  name: string,
  jar: ArrivedJar,
): Promise<{ readonly id: number; readonly made: boolean; readonly changed: boolean }> => {
  const [made] = await tx.query<{ id: number }>(sql`
    insert into oncejob.container (app_id, name, version) values (${appId}, ${name}, ${jar.version})
    on conflict (app_id, name) do nothing returning id`)
  // locked, so that two uploads of one container come one after the other
  const [before] = await tx.query<{ id: number; version: string }>(sql`
    select id, version from oncejob.container where app_id = ${appId} and name = ${name} for update`)
  if (before === undefined) throw new Error('invariant broken: the container was there or has been made')
  // who goes back to an earlier jar finds it here
  const adopted = await tx.query<{ id: number }>(sql`
    update oncejob.container_jar set container_id = ${before.id}, version = ${jar.version}, sha256 = ${jar.sha256}, size = ${jar.size}
    where id = ${jar.id} and container_id is null
      and not exists (select from oncejob.container_jar where container_id = ${before.id} and version = ${jar.version})
    returning id`)
  if (adopted.length === 0) {
    const [there] = await tx.query<{ id: number }>(sql`
      select id from oncejob.container_jar where container_id = ${before.id} and version = ${jar.version}`)
    if (there === undefined) throw new Error('the jar that was uploaded is gone: it took too long; upload it again')
    await tx.query(sql`delete from oncejob.container_jar where id = ${jar.id} and container_id is null`)
  }
  const changed = made !== undefined || before.version !== jar.version
  if (changed && made === undefined) {
    await tx.query(sql`
      update oncejob.container set version = ${jar.version}, updated_at = now() where id = ${before.id}`)
    // the one before stays: workers may be loading it
    await tx.query(sql`
      delete from oncejob.container_jar
      where container_id = ${before.id} and version <> ${jar.version} and version <> ${before.version}`)
  }
  return { id: before.id, made: made !== undefined, changed }
}

/** Deletes a container with its jars; false when the app has no such container. */
export const deleteContainer = async (tx: Queries, appId: number, id: number): Promise<boolean> => {
  const rows = await tx.query<{ id: number }>(sql`
    delete from oncejob.container where app_id = ${appId} and id = ${id} returning id`)
  return rows.length > 0
}

/** Notes that workers were told to load it. */
export const noteDeployed = async (db: Queries, id: number): Promise<void> => {
  await db.query(sql`update oncejob.container set deployed_at = now() where id = ${id}`)
}

/** The stored jar of a container; undefined when there is none of that version. */
export const findJar = async (
  db: Queries,
  containerId: number,
  version: string,
): Promise<{ id: number; size: number } | undefined> => {
  const [row] = await db.query<{ id: number; size: number }>(sql`
    select id, size from oncejob.container_jar where container_id = ${containerId} and version = ${version}`)
  return row
}

/** One part of a jar; undefined after the last. */
export const readPart = async (db: Queries, jarId: number, number: number): Promise<Uint8Array | undefined> => {
  const [row] = await db.query<{ bytes: Uint8Array }>(sql`
    select bytes from oncejob.container_part where jar_id = ${jarId} and number = ${number}`)
  return row?.bytes
}

/** Forgets uploads that came to nothing an hour ago; returns how many. */
export const sweepLooseJars = async (db: Queries): Promise<number> => {
  const rows = await db.query<{ id: number }>(sql`
    delete from oncejob.container_jar where container_id is null and created_at < now() - interval '1 hour' returning id`)
  return rows.length
}

/** Containers of an app that its workers were told to load. */
export const deployedContainers = (db: Queries, appId: number): Promise<ContainerRow[]> =>
  db.query<ContainerRow>(sql`
    select ${columns} ${withJar} where c.app_id = ${appId} and c.deployed_at is not null order by c.id`)

/** Addresses of the Java workers of an app whose sessions have not ended. */
export const javaAddresses = async (db: Queries, appId: number): Promise<string[]> => {
  const rows = await db.query<{ address: string }>(sql`
    select address from oncejob.worker_session
    where app_id = ${appId} and protocol = 'powerjob' and ended_at is null order by id`)
  return rows.map(({ address }) => address)
}

/** Jobs that are not deleted and load their processor from a container, at most `limit`, by name. */
export const jobsOfContainer = async (db: Queries, appId: number, id: number, limit: number): Promise<string[]> => {
  const rows = await db.query<{ name: string }>(sql`
    select name from oncejob.job
    where app_id = ${appId} and deleted_at is null and processor_type = 'external' and processor like ${`${id}#%`}
    order by name limit ${limit}`)
  return rows.map(({ name }) => name)
}

/** The container that a job names; `name` and `version` are null when its app has none of that id. Undefined: it names none. */
export const containerOfJob = async (
  db: Queries,
  jobId: number,
): Promise<{ container: string; name: string | null; version: string | null } | undefined> => {
  const [row] = await db.query<{ container: string; name: string | null; version: string | null }>(sql`
    select split_part(j.processor, '#', 1) as container, c.name, c.version
    from oncejob.job j
    left join oncejob.container c on c.app_id = j.app_id and c.id::text = split_part(j.processor, '#', 1)
    where j.id = ${jobId} and j.processor_type = 'external'`)
  return row
}

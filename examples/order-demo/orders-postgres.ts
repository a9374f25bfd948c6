// Orders in PostgreSQL. Every change is one guarded statement: the WHERE decides, under the row's lock.
import type { PgQueryable } from '@oncejob/idempotency'
import type { Order, OrderBook, OrderInput } from './orders.ts'
import { endOf, isOrderState, sourcesOf } from './orders.ts'

// No unique constraint but the id: the demo shows that each order is made once without one.
const schema = `
SELECT pg_advisory_xact_lock(5319884412);
CREATE TABLE IF NOT EXISTS demo_order (
  id      bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  item    text    NOT NULL,
  count   integer NOT NULL CHECK (count > 0),
  state   text    NOT NULL DEFAULT 'created' CHECK (state IN ('created', 'paid', 'shipped', 'completed', 'cancelled')),
  version integer NOT NULL DEFAULT 1
)`

/** Makes the table where it is missing. */
export const migrateOrders = async (database: PgQueryable): Promise<void> => {
  await database.query(schema)
}

const orderOf = (row: unknown): Order | undefined => {
  if (typeof row !== 'object' || row === null) return undefined
  const columns: Readonly<Record<string, unknown>> = { ...row }
  const state = String(columns['state'])
  if (!isOrderState(state)) throw new Error(`an order is in the unknown state ${state}`)
  // bigint columns come as text
  const { id, item, count, version } = columns
  return { id: Number(id), item: String(item), count: Number(count), state, version: Number(version) }
}

/** Writes an order through any client, such as one inside a transaction. */
export const insertOrder = async (database: PgQueryable, { item, count }: OrderInput): Promise<Order> => {
  const { rows } = await database.query('INSERT INTO demo_order (item, count) VALUES ($1, $2) RETURNING *', [
    item,
    count,
  ])
  const order = orderOf(rows[0])
  if (order === undefined) throw new Error('the insert returned no order')
  return order
}

export const createPostgresOrders = (database: PgQueryable): OrderBook => {
  const first = async (text: string, values: unknown[]): Promise<Order | undefined> =>
    orderOf((await database.query(text, values)).rows[0])
  const find: OrderBook['find'] = (id) => first('SELECT * FROM demo_order WHERE id = $1', [id])

  return {
    create: (input) => insertOrder(database, input),
    find,
    move: async (id, move) => {
      const moved = await first(
        'UPDATE demo_order SET state = $2, version = version + 1 WHERE id = $1 AND state = ANY($3) RETURNING *',
        [id, endOf(move), sourcesOf(move)],
      )
      if (moved !== undefined) return { kind: 'moved', order: moved }
      const order = await find(id)
      if (order === undefined) return { kind: 'absent' }
      return { kind: order.state === endOf(move) ? 'already-there' : 'illegal', order }
    },
    edit: async (id, version, { item, count }) => {
      const edited = await first(
        `UPDATE demo_order SET item = coalesce($3, item), count = coalesce($4, count), version = version + 1
          WHERE id = $1 AND version = $2 RETURNING *`,
        [id, version, item ?? null, count ?? null],
      )
      if (edited !== undefined) return { kind: 'edited', order: edited }
      const order = await find(id)
      return order === undefined ? { kind: 'absent' } : { kind: 'stale', order }
    },
    count: async () => {
      const { rows } = await database.query('SELECT count(*)::integer AS count FROM demo_order')
      const [row] = rows
      return typeof row === 'object' && row !== null && 'count' in row ? Number(row.count) : 0
    },
  }
}

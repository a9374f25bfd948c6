// Orders in memory: gone when the process ends.
import type { Order, OrderBook } from './orders.ts'
import { endOf, targetOf } from './orders.ts'

export const createMemoryOrders = (): OrderBook => {
  const orders = new Map<number, Order>()
  const keep = (order: Order): Order => {
    orders.set(order.id, order)
    return order
  }
  return {
    create: async (input) => keep({ ...input, id: orders.size + 1, state: 'created', version: 1 }),
    find: async (id) => orders.get(id),
    move: async (id, move) => {
      const order = orders.get(id)
      if (order === undefined) return { kind: 'absent' }
      const state = targetOf(order.state, move)
      if (state !== undefined) return { kind: 'moved', order: keep({ ...order, state, version: order.version + 1 }) }
      return { kind: order.state === endOf(move) ? 'already-there' : 'illegal', order }
    },
    edit: async (id, version, change) => {
      const order = orders.get(id)
      if (order === undefined) return { kind: 'absent' }
      if (order.version !== version) return { kind: 'stale', order }
      return { kind: 'edited', order: keep({ ...order, ...change, version: version + 1 }) }
    },
    count: async () => orders.size,
  }
}

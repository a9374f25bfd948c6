// What an order is, which moves it knows, and what a place that keeps orders must be able to do.

/** The state machine as data: from each state, where each move leads. */
export const moves = {
  created: { pay: 'paid', cancel: 'cancelled' },
  paid: { ship: 'shipped', cancel: 'cancelled' },
  shipped: { complete: 'completed' },
  completed: {},
  cancelled: {},
} as const satisfies Record<string, Record<string, string>>

export type OrderState = keyof typeof moves
export const orderMoves = ['pay', 'ship', 'complete', 'cancel'] as const
export type OrderMove = (typeof orderMoves)[number]

export const isOrderMove = (text: string): text is OrderMove => orderMoves.some((move) => move === text)
export const isOrderState = (text: string): text is OrderState => text in moves

/** Where a move leads from a state; undefined: it is not legal there. */
export const targetOf = (state: OrderState, move: OrderMove): OrderState | undefined => {
  const targets: Partial<Record<OrderMove, OrderState>> = moves[state]
  return targets[move]
}

const states = Object.keys(moves).filter(isOrderState)

/** States in which a move is legal. */
export const sourcesOf = (move: OrderMove): OrderState[] =>
  states.filter((state) => targetOf(state, move) !== undefined)

/** The state that a move leads to; each has one. */
export const endOf = (move: OrderMove): OrderState => {
  const [end] = sourcesOf(move).map((state) => targetOf(state, move))
  if (end === undefined) throw new Error(`${move} leads nowhere`)
  return end
}

/** Moves that are legal in a state. */
export const movesFrom = (state: OrderState): OrderMove[] =>
  orderMoves.filter((move) => targetOf(state, move) !== undefined)

export interface OrderInput {
  readonly item: string
  readonly count: number
}

export interface Order extends OrderInput {
  readonly id: number
  readonly state: OrderState
  /** Grows with every change. */
  readonly version: number
}

export type MoveOutcome =
  | { readonly kind: 'moved' | 'already-there' | 'illegal'; readonly order: Order }
  | { readonly kind: 'absent' }

export type EditOutcome = { readonly kind: 'edited' | 'stale'; readonly order: Order } | { readonly kind: 'absent' }

export interface OrderBook {
  create(input: OrderInput): Promise<Order>
  find(id: number): Promise<Order | undefined>
  /** Compare-and-set: changes the state only where the move is legal. */
  move(id: number, move: OrderMove): Promise<MoveOutcome>
  /** Compare-and-set: changes the order only when it still has this version. */
  edit(id: number, version: number, change: Partial<OrderInput>): Promise<EditOutcome>
  count(): Promise<number>
}

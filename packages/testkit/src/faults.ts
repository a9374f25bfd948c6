// Fault points for programs that should start fast: without the databases of the rest of the kit.
export * from './fault-gate.ts'
export * from './fault-points.ts'
export * from './fault-pool.ts'

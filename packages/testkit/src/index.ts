// The test kit: fake clock, seeded chance, databases for tests, descriptions of statements, fault points.
export * from './clock.ts'
export * from './databases.ts'
export * from './describe.ts'
export * from './faults.ts'
export * from './header-proxy.ts'
export * from './legacy-client.ts'
export * from './legacy-http.ts'
export * from './random.ts'

// The test kit: fake clock, seeded chance, databases for tests, descriptions of statements.
export * from './clock.ts'
export * from './databases.ts'
export * from './describe.ts'
export * from './random.ts'

// Which tests run where: one project per environment, so that a test names no database and runs on each of them.
import { defineConfig } from 'vitest/config'

type TestDatabase = 'memory' | 'disk' | 'postgres'

// The machine that judges has two cores and neighbours: limits are for what hangs, not for what is slow.
const patienceMs = 60_000
const e2ePatienceMs = 300_000

const shared = {
  environment: 'node',
  pool: 'forks',
  hookTimeout: patienceMs,
  teardownTimeout: patienceMs,
  // A second try is given in CI only, and scripts/reporter.ts lists whoever needed it.
  retry: process.env['CI'] === 'true' ? 1 : 0,
} as const

const databaseTests = 'packages/*/src/**/*.db.test.ts'
const serviceTests = '**/*.service.test.ts'

const onDatabase = (database: TestDatabase) => ({
  test: {
    ...shared,
    name: database,
    include: [databaseTests],
    env: { ONCEJOB_TEST_DB: database },
    testTimeout: patienceMs,
    maxWorkers: 2,
  },
})

// An e2e test starts servers and workers of its own; one file at a time, so that they do not starve each other.
const e2eOn = (name: string, database: TestDatabase, exclude: string, groupOrder: number) => ({
  test: {
    ...shared,
    name,
    include: ['e2e/**/*.test.ts'],
    exclude: [exclude],
    env: { ONCEJOB_TEST_DB: database },
    testTimeout: e2ePatienceMs,
    hookTimeout: e2ePatienceMs,
    fileParallelism: false,
    maxWorkers: 1,
    sequence: { groupOrder },
  },
})

// Real PowerJob clients from Maven Central; interop/main.ts links them first.
const interopOn = (database: TestDatabase, groupOrder: number) => ({
  test: {
    ...shared,
    name: `interop-${database === 'postgres' ? 'postgres' : 'embedded'}`,
    include: ['interop/**/*.test.ts'],
    env: { ONCEJOB_TEST_DB: database },
    testTimeout: e2ePatienceMs,
    hookTimeout: e2ePatienceMs,
    fileParallelism: false,
    maxWorkers: 1,
    // tests of Java workers wait for the workers' own ticks, so they wait together
    maxConcurrency: 60,
    sequence: { groupOrder },
  },
})

const reportTo = process.env['ONCEJOB_TEST_REPORT']

export default defineConfig({
  test: {
    reporters: reportTo === undefined ? ['default'] : ['default', './scripts/reporter.ts'],
    projects: [
      {
        test: {
          ...shared,
          name: 'unit',
          include: ['packages/*/src/**/*.test.ts', 'scripts/**/*.test.ts', 'examples/*/**/*.test.ts'],
          exclude: [databaseTests, serviceTests, '**/node_modules/**'],
          testTimeout: patienceMs,
          maxWorkers: 2,
        },
      },
      {
        // what needs PostgreSQL or Redis by its nature; whatever cannot be reached is skipped and says so
        test: {
          ...shared,
          name: 'services',
          include: ['packages/*/src/**/*.service.test.ts', 'examples/*/**/*.service.test.ts'],
          exclude: ['**/node_modules/**'],
          testTimeout: e2ePatienceMs,
          maxWorkers: 2,
        },
      },
      onDatabase('memory'),
      onDatabase('disk'),
      onDatabase('postgres'),
      e2eOn('e2e-embedded', 'disk', 'e2e/**/*.postgres.test.ts', 1),
      e2eOn('e2e-postgres', 'postgres', 'e2e/**/*.embedded.test.ts', 2),
      interopOn('disk', 3),
      interopOn('postgres', 4),
    ],
  },
})

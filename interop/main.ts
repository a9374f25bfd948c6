// Links real PowerJob clients and workers of every version with our Java programs, then runs the suites against real servers.
// `--on=embedded` or `--on=postgres`: one of them only; further words choose files.
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { findPostgres } from '../scripts/postgres.ts'
import { whyNoJava } from './support/java.ts'

const run = (command: string, args: readonly string[], cwd?: string): Promise<number> =>
  new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      stdio: ['ignore', 'inherit', 'inherit'],
      ...(cwd === undefined ? {} : { cwd }),
    })
    child.on('error', reject)
    child.on('exit', (code) => resolve(code ?? 1))
  })

const main = async (): Promise<number> => {
  const missing = whyNoJava()
  if (missing !== undefined) {
    process.stdout.write(`SKIPPED interop: ${missing}; it needs a JDK (11 or newer) and Maven\n`)
    return 0
  }
  process.stdout.write('linking the clients and workers with Maven\n')
  const built = await run('mvn', ['-q', '-B', 'package'], fileURLToPath(new URL('java', import.meta.url)))
  if (built !== 0) return built
  const postgres = await findPostgres()
  if (postgres === undefined) process.stdout.write('SKIPPED interop on PostgreSQL: none can be reached\n')
  else process.env['ONCEJOB_TEST_DATABASE_URL'] = postgres
  const on = (database: string, files: readonly string[]): Promise<number> =>
    run('vitest', ['run', '--project', `interop-${database}`, ...files])
  const part = process.argv.find((word) => word.startsWith('--on='))?.slice('--on='.length)
  const files = process.argv.slice(2).filter((word) => !word.startsWith('--on='))
  for (const database of ['embedded', ...(postgres === undefined ? [] : ['postgres'])]) {
    if (part !== undefined && part !== database) continue
    const code = await on(database, files)
    if (code !== 0) return code
  }
  return 0
}

process.exitCode = await main()

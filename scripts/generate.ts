// Writes what is derived from the code (schema dump, OpenAPI document, reference pages); --check tells whether it was current.
import { spawnSync } from 'node:child_process'
import { existsSync, globSync, readFileSync } from 'node:fs'

const generators = ['dump-schema.ts', 'write-openapi.ts', 'write-reference.ts'].map(
  (name) => `packages/server/scripts/${name}`,
)
const outputs = ['packages/server/sql/schema.sql', 'docs/reference/**/*']

type Snapshot = ReadonlyMap<string, string>

const snapshot = (): Snapshot =>
  new Map(
    outputs
      .flatMap((pattern) => globSync(pattern, { withFileTypes: true }))
      .filter((entry) => entry.isFile())
      .map((entry) => `${entry.parentPath}/${entry.name}`)
      .toSorted()
      .map((path) => [path, readFileSync(path, 'utf8')]),
  )

const differences = (before: Snapshot, after: Snapshot): string[] =>
  [...new Set([...before.keys(), ...after.keys()])].filter((path) => before.get(path) !== after.get(path))

const before = snapshot()
for (const generator of generators.filter((path) => existsSync(path))) {
  process.stdout.write(`${generator}\n`)
  const { status } = spawnSync(process.execPath, [generator], { stdio: 'inherit' })
  if (status !== 0) throw new Error(`${generator} failed`)
}
const changed = differences(before, snapshot())
for (const path of changed) process.stdout.write(`changed: ${path}\n`)
if (process.argv.includes('--check')) {
  process.stdout.write(
    changed.length === 0 ? 'all generated files are current\n' : 'stale; commit what npm run generate writes\n',
  )
  process.exitCode = changed.length === 0 ? 0 : 1
}

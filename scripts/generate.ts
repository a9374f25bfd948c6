// Runs every generator of what is derived from the code; with --check they write nothing and fail for what is stale.
import { spawnSync } from 'node:child_process'

const folder = 'packages/server/scripts'
const generators = ['dump-schema.ts', 'write-openapi.ts', 'write-reference.ts']

const failed = generators.filter((name) => {
  const { status } = spawnSync(process.execPath, [`${folder}/${name}`, ...process.argv.slice(2)], { stdio: 'inherit' })
  return status !== 0
})
if (failed.length > 0) {
  process.stderr.write(`failed or stale: ${failed.join(', ')}\n`)
  process.exitCode = 1
}

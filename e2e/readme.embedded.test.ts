// The examples of the README are run as they stand there: a worker and a client against a real server.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { startNode } from './support/children.ts'
import { openFleet, type Fleet } from './support/fleet.ts'

const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
// inside the repository, so that the packages are found by their names; the folder is ignored by git
const folder = fileURLToPath(new URL('../.oncejob/readme', import.meta.url))
let fleet: Fleet | undefined

afterAll(() => fleet?.close())

const example = (name: string, url: string): string => {
  const [, code] = new RegExp(`<!-- example: ${name} -->\\n+\`\`\`ts\\n([\\s\\S]*?)\`\`\``).exec(readme) ?? []
  if (code === undefined) throw new Error(`the README has no example ${name}`)
  expect(code).toContain('http://127.0.0.1:7700')
  mkdirSync(folder, { recursive: true })
  const file = join(folder, `${name}.ts`)
  writeFileSync(file, code.replaceAll('http://127.0.0.1:7700', url))
  return file
}

test('the worker and the client of the README work together', async () => {
  fleet = await openFleet()
  const [url = ''] = fleet.urls
  const env = { ONCEJOB_TOKEN: fleet.appToken }
  startNode(example('worker', url), [], { env })
  const client = startNode(example('client', url), [], { env })
  await client.says(/^hello world$/m)
  expect((await client.ended).code).toBe(0)
})

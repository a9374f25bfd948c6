// A data folder survives packing and unpacking.
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { readSeed } from './cluster.ts'
import { packFolder, unpackFolder } from './tar.ts'

const folder = mkdtempSync(join(tmpdir(), 'oncejob-tar-'))
afterAll(() => rmSync(folder, { recursive: true }))

test.each([true, false])('files of any size and empty folders come back (sync: %s)', async (sync) => {
  const from = join(folder, `from-${sync}`)
  mkdirSync(join(from, 'a', 'empty'), { recursive: true })
  const sizes = [0, 1, 511, 512, 513, 100_000]
  for (const size of sizes) writeFileSync(join(from, 'a', `f${size}`), Buffer.alloc(size, `${size}`))
  const tar = packFolder(from)
  const to = join(folder, `to-${sync}`)
  await unpackFolder(tar, to, { sync })
  const names = (folder: string): Set<string> => new Set(readdirSync(folder, { recursive: true, encoding: 'utf8' }))
  expect(names(to)).toEqual(names(from))
  for (const size of sizes) expect(readFileSync(join(to, 'a', `f${size}`))).toEqual(Buffer.alloc(size, `${size}`))
  expect(statSync(join(to, 'a', 'empty')).isDirectory()).toBe(true)
  expect(packFolder(to)).toEqual(tar)
})

test('unpacking over a folder that exists is refused', async () => {
  await expect(unpackFolder(packFolder(folder), folder, { sync: false })).rejects.toThrow('EEXIST')
})

test('a name that does not fit is refused when packing', () => {
  const from = mkdtempSync(join(folder, 'long-'))
  writeFileSync(join(from, 'x'.repeat(101)), '')
  expect(() => packFolder(from)).toThrow('name too long')
})

test('the seed is a whole cluster that was stopped cleanly', async () => {
  const to = join(folder, 'seed')
  await unpackFolder(await readSeed(), to, { sync: false })
  expect(readdirSync(to)).toEqual(expect.arrayContaining(['PG_VERSION', 'base', 'global', 'pg_wal']))
  expect(readdirSync(to)).not.toContain('postmaster.pid')
})

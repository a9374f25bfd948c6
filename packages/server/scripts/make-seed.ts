// Makes the empty cluster that the embedded database starts from: packages/server/assets/cluster-pglite-<release>.tar.br.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { brotliCompressSync, constants } from 'node:zlib'
import { PGlite } from '@electric-sql/pglite'
import { NodeFS } from '@electric-sql/pglite/nodefs'
import { seedUrl } from '../src/storage/engine/cluster.ts'
import { packFolder } from '../src/storage/engine/tar.ts'

const folder = mkdtempSync(join(tmpdir(), 'oncejob-seed-'))
try {
  const initDbStartParams = ['--wal-segsize=4', '--set', 'min_wal_size=8MB']
  const engine = await PGlite.create({ fs: new NodeFS(folder), initDbStartParams })
  // nobody creates databases here, and the two templates are two thirds of the files
  await engine.exec('update pg_database set datistemplate = false')
  for (const name of ['template0', 'template1']) await engine.exec(`drop database ${name}`)
  await engine.exec('vacuum (freeze, analyze)')
  // a clean stop: the first start has nothing to recover
  await engine.close()
  const tar = packFolder(folder)
  const { BROTLI_PARAM_LGWIN, BROTLI_PARAM_QUALITY, BROTLI_PARAM_SIZE_HINT } = constants
  const params = { [BROTLI_PARAM_QUALITY]: 11, [BROTLI_PARAM_LGWIN]: 24, [BROTLI_PARAM_SIZE_HINT]: tar.length }
  const packed = brotliCompressSync(tar, { params })
  writeFileSync(seedUrl, packed)
  process.stdout.write(`${seedUrl.pathname}: ${packed.length} bytes, ${tar.length} unpacked\n`)
} finally {
  rmSync(folder, { recursive: true })
}

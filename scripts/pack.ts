// Packs what was built: one tarball per published package into the folder named by --out (default .pack/tarballs).
import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { publishedManifest, publishedPackages, readManifest } from './packages.ts'

const { values } = parseArgs({ options: { out: { type: 'string', default: '.pack/tarballs' } } })
const out = resolve(values.out)

const stage = (folder: string): string => {
  const manifest = readManifest(folder)
  const target = resolve('.pack', folder)
  rmSync(target, { recursive: true, force: true })
  mkdirSync(target, { recursive: true })
  const files = Array.isArray(manifest['files']) ? manifest['files'].map(String) : []
  for (const entry of [...files, 'README.md']) {
    const from = join('packages', folder, entry)
    if (existsSync(from)) cpSync(from, join(target, entry), { recursive: true })
    else if (entry === 'dist') throw new Error(`${from} is missing: npm run build first`)
  }
  cpSync('LICENSE', join(target, 'LICENSE'))
  writeFileSync(join(target, 'package.json'), `${JSON.stringify(publishedManifest(manifest), null, 2)}\n`)
  return target
}

mkdirSync(out, { recursive: true })
for (const folder of publishedPackages) {
  const packing = spawnSync('npm', ['pack', '--pack-destination', out, '--ignore-scripts', '--silent'], {
    cwd: stage(folder),
    stdio: ['ignore', 'inherit', 'inherit'],
    shell: process.platform === 'win32',
  })
  if (packing.status !== 0) throw new Error(`packages/${folder} cannot be packed`)
}

// Builds packages/X/dist of everything that is published: JavaScript and declarations, by tsc. Not needed for running from source.
import { spawnSync } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { publishedPackages, readManifest } from './packages.ts'

const workFolder = '.pack'

// A package sees its siblings as their users do: through the declarations that were built before it.
const builtSiblings = (folder: string): Record<string, string[]> =>
  Object.fromEntries(
    publishedPackages
      .slice(
        0,
        publishedPackages.findIndex((name) => name === folder),
      )
      .map((name) => [readManifest(name).name, [`../packages/${name}/dist/index.d.ts`]]),
  )

const build = (folder: string): void => {
  const source = `../packages/${folder}/src`
  const config = `${workFolder}/tsconfig.${folder}.json`
  rmSync(`packages/${folder}/dist`, { recursive: true, force: true })
  writeFileSync(
    config,
    JSON.stringify({
      extends: '../tsconfig.build.json',
      compilerOptions: { rootDir: source, outDir: `../packages/${folder}/dist`, paths: builtSiblings(folder) },
      include: [source],
      exclude: [`${source}/**/*.test.ts`, `${source}/**/*.contract.ts`, `${source}/**/testing/**`],
    }),
  )
  const { status } = spawnSync(resolve('node_modules/.bin/tsc'), ['-p', config], {
    stdio: 'inherit',
    shell: process.platform === 'win32',
  })
  if (status !== 0) throw new Error(`packages/${folder} does not build`)
  process.stdout.write(`built packages/${folder}/dist\n`)
}

mkdirSync(workFolder, { recursive: true })
for (const folder of publishedPackages) build(folder)

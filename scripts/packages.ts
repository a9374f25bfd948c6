// What gets published, in the order of building, and how its package.json differs from the one in the repository.
import { readFileSync } from 'node:fs'

/** Folder names under packages/; a package comes after those that it imports. */
export const publishedPackages = ['protocol', 'idempotency', 'client', 'worker', 'server', 'cli'] as const

export type Manifest = Readonly<Record<string, unknown>> & { readonly name: string; readonly version: string }

const isRecord = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null

/** Reads packages/<folder>/package.json. Throws when it is not a manifest. */
export const readManifest = (folder: string): Manifest => {
  const parsed: unknown = JSON.parse(readFileSync(`packages/${folder}/package.json`, 'utf8'))
  if (!isRecord(parsed) || typeof parsed['name'] !== 'string' || typeof parsed['version'] !== 'string') {
    throw new Error(`packages/${folder}/package.json has no name or version`)
  }
  return { ...parsed, name: parsed['name'], version: parsed['version'] }
}

const builtFile = (source: string, extension: string): string =>
  source.replace(/^\.\/src\//, './dist/').replace(/\.ts$/, extension)

const mapValues = <T>(value: unknown, map: (path: string) => T): Record<string, T> =>
  Object.fromEntries(Object.entries(isRecord(value) ? value : {}).map(([key, path]) => [key, map(String(path))]))

// For testkit, which is not published.
const unpublishedEntrance = './testing'

/**
 * The manifest that goes into the tarball. In the repository `exports` and `bin` name the source, which runs as it is;
 * an installed package cannot (Node strips no types under node_modules), so there they name what was built.
 */
export const publishedManifest = (manifest: Manifest): Manifest => {
  const entrances = mapValues(manifest['exports'], (path) =>
    path.endsWith('.ts') ? { types: builtFile(path, '.d.ts'), default: builtFile(path, '.js') } : path,
  )
  delete entrances[unpublishedEntrance]
  const commands = mapValues(manifest['bin'], (path) => builtFile(path, '.js'))
  return {
    ...manifest,
    exports: { ...entrances, './package.json': './package.json' },
    ...(manifest['bin'] === undefined ? {} : { bin: commands }),
  }
}

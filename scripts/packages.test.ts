// The manifests that are published: what an installed package needs to be found.
import { existsSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { publishedManifest, publishedPackages, readManifest } from './packages.ts'

describe('a published manifest', () => {
  it('names built files with their types, and the built command', () => {
    const manifest = publishedManifest({
      name: 'x',
      version: '1.0.0',
      exports: { '.': './src/index.ts', './deep': './src/deep/part.ts', './testing': './src/testing.ts' },
      bin: { x: './src/main.ts' },
    })
    expect(manifest['exports']).toEqual({
      '.': { types: './dist/index.d.ts', default: './dist/index.js' },
      './deep': { types: './dist/deep/part.d.ts', default: './dist/deep/part.js' },
      './package.json': './package.json',
    })
    expect(manifest['bin']).toEqual({ x: './dist/main.js' })
  })

  it('gets no command that the package does not have', () => {
    expect(publishedManifest({ name: 'x', version: '1.0.0', exports: {} })).not.toHaveProperty('bin')
  })

  it.each(publishedPackages)('of %s says what it is, pins our own packages and leaves none out', (folder) => {
    const manifest = readManifest(folder)
    expect(manifest).toMatchObject({ license: 'Apache-2.0', type: 'module', engines: { node: '>=24' } })
    expect(manifest).not.toHaveProperty('private')
    const dependencies = Object.entries(manifest['dependencies'] ?? {})
    for (const [name, version] of dependencies.filter(([name]) => name.startsWith('@oncejob/'))) {
      const sibling = name.slice('@oncejob/'.length)
      expect(publishedPackages).toContain(sibling)
      expect(version).toBe(readManifest(sibling).version)
    }
    expect(existsSync(`packages/${folder}/src`)).toBe(true)
  })
})

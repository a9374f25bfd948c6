// The version of this package, from its own package.json.
import { readFileSync } from 'node:fs'

/** The version, e.g. `0.1.0`. */
export const version = (): string => {
  const manifest: { version?: string } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
  return manifest.version ?? 'unknown'
}

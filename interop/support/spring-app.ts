// Spring Boot applications with PowerJob's starter, configured by the very lines that docs/from-powerjob.md shows.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { start, type Child } from '../../e2e/support/children.ts'
import { stablePort } from '../../e2e/support/fleet.ts'
import { built, modest } from './java-worker.ts'

/** Modules of interop/java: a version of the starter on a version of Spring Boot. */
export const springApps = ['boot-4.3.9', 'boot-5.1.1', 'boot-5.1.1-boot-3'] as const
export type SpringAppName = (typeof springApps)[number]

/** It asks for a JDK 17, and is left out where there is none. */
export const bootToday: SpringAppName = 'boot-5.1.1-boot-3'

const libraries = (name: SpringAppName): string => `${built(name)}/lib`

/** Whether Maven has linked it. */
export const isBuilt = (name: SpringAppName): boolean => existsSync(libraries(name))

/** The lines of a configuration file, by their names. */
export type Settings = Readonly<Record<string, string>>

/** What the page says that a configuration is before and after the move. */
export const documentedSettings = (): { readonly before: Settings; readonly after: Settings } => {
  const page = readFileSync(new URL('../../docs/from-powerjob.md', import.meta.url), 'utf8')
  const block = /^ *```properties\n *# before\n([^#`]+) *# after\n([^#`]+)```/m.exec(page)
  const read = (lines = ''): Settings =>
    Object.fromEntries(
      lines
        .split('\n')
        .filter((line) => line.trim() !== '')
        .map((line) => line.trim().split('=', 2)),
    ) as Settings
  return { before: read(block?.[1]), after: read(block?.[2]) }
}

export interface SpringApp {
  readonly port: number
  child(): Child
}

/** Starts an application in a folder of its own, where it finds its configuration; it need not come up. */
export const startSpringApp = async (name: SpringAppName, folder: string, settings: Settings): Promise<SpringApp> => {
  const port = await stablePort()
  const home = join(folder, `${name}-${port}`)
  mkdirSync(home)
  const lines = Object.entries(settings).map(([key, value]) => `${key}=${value}\n`)
  writeFileSync(join(home, 'application.properties'), lines.join(''))
  const args = [
    ...modest,
    `-Dpowerjob.worker.workspace=${join(home, 'workspace')}`,
    '-cp',
    `${built(name)}/${name}-1.jar:${libraries(name)}/*`,
    'oncejob.interop.boot.App',
    // several applications are on this machine
    `--powerjob.worker.port=${port}`,
  ]
  const child = start('java', args, { tied: true, cwd: home })
  return { port, child: () => child }
}

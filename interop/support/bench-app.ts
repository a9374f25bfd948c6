// A server, an app with a password, a native worker and a real client behind a counting proxy: what every test here needs.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { startNode } from '../../e2e/support/children.ts'
import { appName, openFleet, type Fleet, type FleetOptions } from '../../e2e/support/fleet.ts'
import { startCountingProxy, type CountingProxy } from './counting-proxy.ts'
import { startJava, type ClientVersion, type JavaClient, type Opening } from './java.ts'

export const password = 'a pass wörd'

export interface Scene {
  readonly fleet: Fleet
  readonly java: JavaClient
  readonly proxy: CountingProxy
  readonly app: string
  /** How to reach the server through the proxy. */
  readonly opening: Opening
  /** Ids of the runs in the order in which the worker began them. */
  executions(): number[]
  close(): Promise<void>
}

export interface SceneOptions extends FleetOptions {
  /** Takes calls without a token, as clients 4.x send them. */
  readonly tokenless?: boolean
}

/** Changes the app with the admin token. */
export const patchApp = async (fleet: Fleet, patch: object): Promise<void> => {
  const response = await fetch(`${fleet.servers[0]?.url}/api/v1/apps/${appName}`, {
    method: 'PATCH',
    headers: { authorization: `Bearer ${fleet.adminToken}`, 'content-type': 'application/json' },
    body: JSON.stringify(patch),
  })
  if (!response.ok) throw new Error(`the app could not be changed: ${await response.text()}`)
}

export const openScene = async (version: ClientVersion, options: SceneOptions = {}): Promise<Scene> => {
  const fleet = await openFleet(options)
  await patchApp(fleet, { password, powerjob: { tokenless: options.tokenless ?? version.startsWith('4') } })
  const ledger = join(fleet.folder, 'executions')
  writeFileSync(ledger, '')
  const worker = startNode(fileURLToPath(new URL('worker.ts', import.meta.url)), [], {
    tied: true,
    env: { INTEROP_WORKER: JSON.stringify({ urls: fleet.urls, token: fleet.appToken, ledger }) },
  })
  await worker.says(/^READY$/m)
  const proxy = await startCountingProxy(Number(new URL(fleet.urls[0] ?? '').port))
  const java = await startJava(version)
  return {
    fleet,
    java,
    proxy,
    app: appName,
    opening: { addresses: [proxy.address], app: appName, password },
    executions: () => readFileSync(ledger, 'utf8').split('\n').filter(Boolean).map(Number),
    close: async () => {
      await java.close()
      await proxy.close()
      await fleet.close()
    },
  }
}

// Promises of the start about the port for Java workers: one readable line, and no server that does not start because of a default.
import { createServer, type Server } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { configFrom } from './config.ts'
import { StartFailure } from './kernel/errors.ts'
import { startServer, type RunningServer } from './start.ts'

const taken: Server[] = []
let running: RunningServer | undefined
afterEach(async () => {
  await running?.stop()
  running = undefined
  for (const server of taken.splice(0)) await new Promise((resolve) => server.close(resolve))
})
const takePort = async (): Promise<number> => {
  const server = createServer()
  taken.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}
const said: { facts: Readonly<Record<string, unknown>>; message: string }[] = []
const write = (facts: Readonly<Record<string, unknown>>, message: string) => void said.push({ facts, message })
const log = { debug: write, info: write, warn: write, error: write }
const start = async (env: Record<string, string>, chosen = true): Promise<RunningServer> => {
  said.length = 0
  const config = configFrom({ ONCEJOB_DATA: 'memory', ONCEJOB_PORT: '0', ONCEJOB_STOP_GRACE_MS: '500', ...env })
  running = await startServer({ ...config, powerjob: { ...config.powerjob, workerPortChosen: chosen } }, { log })
  return running
}
const asked = async (path: string): Promise<number> => (await fetch(`${running?.url}${path}`)).status

describe('the port for Java workers', () => {
  it('is opened, told, logged and given back', async () => {
    const { workerAddress } = await start({ ONCEJOB_POWERJOB_PORT: '0' })
    expect(workerAddress).toMatch(/^127\.0\.0\.1:\d+$/)
    expect(said.find(({ message }) => message === 'server started')?.facts).toMatchObject({
      javaWorkers: workerAddress,
    })
    expect((await fetch(`http://${workerAddress}/server/alive`)).status).toBe(200)
    await running?.stop()
    await expect(fetch(`http://${workerAddress}/server/alive`)).rejects.toThrow('fetch failed')
  })
  it('that was chosen and is taken is a failure of one line that says what to set', async () => {
    const port = await takePort()
    const failure: unknown = await start({ ONCEJOB_POWERJOB_PORT: String(port) }).catch((error: unknown) => error)
    expect(failure).toBeInstanceOf(StartFailure)
    expect(String(failure)).toContain(
      `for Java workers: port ${port} on 127.0.0.1 is taken by another process; choose one with --powerjob-port or ONCEJOB_POWERJOB_PORT`,
    )
  })
  it('that nobody chose and is taken leaves Java workers to the web port, and says so', async () => {
    const port = await takePort()
    const { url, workerAddress } = await start({ ONCEJOB_POWERJOB_PORT: String(port) }, false)
    expect(workerAddress).toBe(new URL(url).host)
    expect(said.some(({ message }) => message.includes('they are taken on the web port'))).toBe(true)
    expect(await asked('/server/assert?appName=x')).toBe(200)
  })
  it('is not opened where workers can not be told of it: they read no IPv6', async () => {
    const says = 'they can not read the address ::1: set ONCEJOB_POWERJOB_ADDRESS'
    const chosen = await start({ ONCEJOB_POWERJOB_HOST: '::1', ONCEJOB_POWERJOB_PORT: '0' }).catch(String)
    expect(chosen).toContain(`for Java workers: ${says}`)
    expect((await start({ ONCEJOB_POWERJOB_HOST: '::1' }, false)).workerAddress).toBeUndefined()
    expect(said.find(({ message }) => message === 'java workers are not taken')?.facts['says']).toContain(says)
  })
  it('can be off: then nothing is there for them', async () => {
    const { workerAddress } = await start({ ONCEJOB_POWERJOB_PORT: 'off' })
    expect(workerAddress).toBeUndefined()
    expect(await asked('/server/assert?appName=x')).toBe(404)
  })
})

// The Express handlers keep the promises of the guards, and those that only Express can break.
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import express from 'express'
import { describe, expect, it } from 'vitest'
import { guardsContract } from '../guard/guards.contract.ts'
import { createRequestKeys } from '../request-keys.ts'
import { createMemoryStore } from '../store/memory.ts'
import { startExpress } from '../testing/apps.ts'
import { requestKey } from './index.ts'

describe('on Express', () => {
  guardsContract(startExpress)
})

const serve = async (handler: express.RequestHandler) => {
  const app = express()
  app.post('/x', requestKey({ keys: createRequestKeys({ store: createMemoryStore() }) }), handler)
  const server = app.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const headers = { 'idempotency-key': 'key-of-the-test', secret: 'account-1' }
  return {
    send: () => fetch(`http://127.0.0.1:${port}/x`, { method: 'POST', headers }),
    close: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

it('headers given to writeHead are kept and sent', async () => {
  const { send, close } = await serve((_req, res) => {
    res.writeHead(201, 'Made', { Location: '/x/1', 'Content-Type': 'text/plain' }).end('made')
  })
  for (const replayed of [null, 'true']) {
    const answer = await send()
    expect([answer.status, answer.headers.get('location'), await answer.text()]).toEqual([201, '/x/1', 'made'])
    expect(answer.headers.get('idempotent-replayed')).toBe(replayed)
  }
  await close()
})

it('raw header lists, encodings and callbacks of end work as without us', async () => {
  let ended = false
  const { send, close } = await serve((_req, res) => {
    res.writeHead(200, ['X-A', '1', 'Content-Type', 'text/plain'])
    res.end('c3BsaXQ=', 'base64', () => {
      ended = true
    })
  })
  const answer = await send()
  expect([await answer.text(), answer.headers.get('x-a'), ended]).toEqual(['split', '1', true])
  expect(await (await send()).text()).toBe('split')
  await close()
})

it('a stream of events begins at once and is not held back until its end', async () => {
  let finish = (): void => undefined
  const { send, close } = await serve((_req, res) => {
    res.setHeader('content-type', 'text/event-stream')
    res.flushHeaders()
    res.write('data: 1\n\n')
    finish = () => void res.end('data: 2\n\n')
  })
  const answer = await send()
  const reader = answer.body!.getReader()
  expect(new TextDecoder().decode((await reader.read()).value)).toBe('data: 1\n\n')
  finish()
  expect(new TextDecoder().decode((await reader.read()).value)).toBe('data: 2\n\n')
  expect((await send()).status).toBe(409)
  await close()
})

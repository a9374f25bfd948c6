// Starts the order demo: node examples/order-demo/main.ts, with DATABASE_URL and REDIS_URL if you like.
import { createDemo } from './app.ts'
import { openParts } from './parts.ts'

const say = (text: string): void => void process.stdout.write(`${text}\n`)

const parts = await openParts(process.env)
const app = await createDemo(parts)
const url = await app.listen({ host: '127.0.0.1', port: Number(process.env['PORT'] ?? 8080) })

say(`order demo at ${url} (${parts.describe})

  TOKEN=$(curl -s -H 'secret: account-1' ${url}/order/getToken)
  curl -i -H 'secret: account-1' -H "token: $TOKEN" --json '{"item":"tea","count":2}' ${url}/order/create

Send the second line again: the order is there once. Or open ${url} in a browser. Ctrl-C stops.`)

const stop = async (): Promise<void> => {
  await app.close()
  await parts.close()
}
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void stop())

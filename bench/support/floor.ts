// The floor of the machine: a route that does nothing, in a process of its own, asked by the same client.
import Fastify from 'fastify'

const app = Fastify({ logger: false, keepAliveTimeout: 75_000 })
app.post('/api/v1/runs', async (_request, reply) => {
  void reply.code(201).header('location', '/api/v1/runs/1')
  return { id: 1 }
})
const url = await app.listen({ host: '127.0.0.1', port: 0 })
process.send?.({ kind: 'ready', url })
process.on('SIGTERM', () => process.exit(0))
process.on('disconnect', () => process.exit(1))

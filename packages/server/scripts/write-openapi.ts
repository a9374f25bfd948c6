// Writes docs/reference/openapi.json from the routes of the server; --check tells whether it is current.
import { configFrom } from '../src/config.ts'
import { documentOf } from '../src/http/openapi.ts'
import { systemClock } from '../src/kernel/clock.ts'
import { silentLog } from '../src/kernel/log.ts'
import { systemRandom } from '../src/kernel/random.ts'
import type { Db } from '../src/storage/db.ts'
import { version } from '../src/version.ts'
import { wire } from '../src/wire.ts'
import { generate, referenceFolder } from './generated.ts'

const refuse = (): never => {
  throw new Error('the routes are described without a database')
}
const noDatabase: Db = {
  kind: 'embedded',
  query: refuse,
  transaction: refuse,
  script: refuse,
  notify: refuse,
  listen: refuse,
  hold: refuse,
  close: refuse,
}

const outside = { db: noDatabase, clock: systemClock, random: systemRandom, log: silentLog, name: 'openapi', version }
const { app } = wire(outside, configFrom({})).http
await app.ready()
generate(new URL('openapi.json', referenceFolder), `${JSON.stringify(documentOf(app), null, 2)}\n`)
await app.close()

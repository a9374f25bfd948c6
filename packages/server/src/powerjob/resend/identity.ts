// What calls have in common: the network path they come over, and what a call has that is sent again.
import { hash } from 'node:crypto'
import type { LegacyCall, PathFacts } from '../resends-api.ts'

/** Short and equal for equal facts; on one path all clients see our header, or none does. */
export const pathKeyOf = ({ appId, peer, localPort, httpVersion, host, via }: PathFacts): string =>
  hash('sha256', JSON.stringify([appId, peer, localPort, httpVersion, host, via]), 'base64url')

/** App, peer, token and body in one. */
export const matchOf = ({ appId, route, jti, fingerprint }: LegacyCall): string =>
  hash('sha256', JSON.stringify([appId, route.peer, jti, fingerprint]), 'base64url')

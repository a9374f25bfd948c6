// Spreads fires that are due together, by the same amount on every server.

// MurmurHash3's last step: every input bit reaches every output bit
const mix = (value: number): number => {
  let h = value
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

const highBits = (value: number): number => Math.floor(value / 2 ** 32) | 0

/**
 * How long after its time a fire is due, a whole number of ms in [0, jitterMs]. A function of its
 * arguments alone, so that all servers agree; the ids and times are whole numbers below 2^53.
 */
export const jitterOf = (scheduleId: number, fireAtMs: number, jitterMs: number): number => {
  if (jitterMs <= 0) return 0
  let hash = 0x9e3779b9
  for (const word of [scheduleId | 0, highBits(scheduleId), fireAtMs | 0, highBits(fireAtMs)])
    hash = mix(hash ^ word) + 0x9e3779b9
  const fraction = (mix(hash) * 2 ** 21 + (mix(hash ^ 0x5bd1e995) >>> 11)) / 2 ** 53
  return Math.floor(fraction * (jitterMs + 1))
}

// Where and from what the figures come: a figure without its machine and commit tells nothing.
import { execFileSync } from 'node:child_process'
import { cpus, totalmem } from 'node:os'

const commit = (): string => {
  try {
    return execFileSync('git', ['rev-parse', '--short', 'HEAD'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim()
  } catch {
    return 'unknown'
  }
}

export const describeMachine = (): string =>
  `${cpus().length} cores (${cpus()[0]?.model ?? 'unknown'}), ${Math.round(totalmem() / 1_073_741_824)} GB, Node ${process.version}, commit ${commit()}`

// The oncejob command as a user types it.
import { fileURLToPath } from 'node:url'
import { startNode, type Child, type Ending, type SpawnOptions } from './children.ts'
import { within } from './until.ts'

/** The program that the package `@oncejob/cli` installs, in this repository its source. */
const program = fileURLToPath(new URL('./main.ts', import.meta.resolve('@oncejob/cli')))

/** Starts it. */
export const oncejob = (args: readonly string[], options: SpawnOptions = {}): Child => startNode(program, args, options)

export interface Said extends Ending {
  readonly stdout: string
  readonly stderr: string
}

/** Runs it to its end. */
export const runOncejob = async (args: readonly string[], options: SpawnOptions = {}): Promise<Said> => {
  const child = oncejob(args, options)
  const ending = await within(`end of oncejob ${args.join(' ')}`, child.ended)
  return { ...ending, stdout: child.stdout(), stderr: child.stderr() }
}

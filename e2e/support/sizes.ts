// How much the suites do: a representative cut for every change, the full size by ONCEJOB_FULL=1.
export const isFull = process.env['ONCEJOB_FULL'] === '1'

/** The size to run: `full` with ONCEJOB_FULL=1, else `cut`. */
export const size = <T>(cut: T, full: T): T => (isFull ? full : cut)

/** Printed so that a person who reads the log sees what was counted. */
export const printTable = (title: string, rows: Readonly<Record<string, string | number>>): void => {
  const width = Math.max(...Object.keys(rows).map((name) => name.length))
  const lines = Object.entries(rows).map(([name, value]) => `  ${name.padEnd(width)}  ${String(value).padStart(10)}`)
  process.stdout.write(`\n${title}\n${lines.join('\n')}\n`)
}

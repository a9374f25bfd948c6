// Writes a generated file, or with --check tells whether it is current.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The folder of the generated reference. */
export const referenceFolder = new URL('../../../docs/reference/', import.meta.url)

const currentText = (path: string): string | undefined => {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    // translated: a file that can not be read is not current
    return undefined
  }
}

/** Brings the file to `text`; with --check it is left alone, and a difference makes the process fail. */
export const generate = (file: URL, text: string): void => {
  const path = fileURLToPath(file)
  const shown = relative(process.cwd(), path)
  const isCurrent = currentText(path) === text
  if (process.argv.includes('--check')) {
    if (!isCurrent) process.exitCode = 1
    process.stdout.write(
      isCurrent ? `${shown} is current\n` : `${shown} is stale; run npm run generate and commit the result\n`,
    )
    return
  }
  if (!isCurrent) {
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
  }
  process.stdout.write(`${shown}${isCurrent ? ' was current' : ' was written'}\n`)
}

// The README shows commands that exist, with options that they take, and the exit codes that they have.
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { commands } from './commands/index.ts'
import { exitCodes } from './index.ts'

const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
const lines = readme.split('\n').filter((line) => line.startsWith('oncejob '))

describe('the README', () => {
  it('shows most commands', () => {
    expect(lines.length).toBeGreaterThan(10)
  })

  it.each(lines.map((line) => [line.replace(/ +#.*/, '')]))('shows a line that is understood: %s', (line) => {
    const words = line.split(' ').slice(1)
    const known = commands.map(({ name }) => name)
    const name = known.includes(words.slice(0, 2).join(' ')) ? words.slice(0, 2).join(' ') : words[0]
    const command = commands.find((one) => one.name === name)
    expect(command?.name).toBe(name)
    for (const [, option] of line.matchAll(/ --([\w-]+)/g)) expect(command?.options).toHaveProperty(option ?? '')
  })

  it('names every exit code', () => {
    const codes = Array.from(readme.matchAll(/^\| ([\d, ]+) \|/gm)).flatMap(([, cell = '']) =>
      cell.split(', ').map(Number),
    )
    expect(codes).toEqual(Object.values(exitCodes).map(({ code }) => code))
  })
})

// Checks who imports whom, and that the check has seen the code: a cruise that finds no modules would pass otherwise.
import { Visitor } from '@swc/core/Visitor.js'
import type { Statement, VariableDeclarator } from '@swc/core'
import { cruise } from 'dependency-cruiser'
import extractDepcruiseOptions from 'dependency-cruiser/config-utl/extract-depcruise-options'
import { existsSync, globSync } from 'node:fs'

// Only has to be far from what a blind cruise sees; that nothing is missed is checked file by file below.
const fewestModules = 60

// swc parses `using`, but its visitor, which dependency-cruiser walks with, does not know it yet and throws.
const isUsing = (statement: object): statement is { decls: VariableDeclarator[] } =>
  'type' in statement && statement.type === 'UsingDeclaration' && 'decls' in statement
// oxlint-disable-next-line typescript/unbound-method -- called with its `this` below
const { visitStatement } = Visitor.prototype
Visitor.prototype.visitStatement = function (this: Visitor, statement: Statement): Statement {
  if (!isUsing(statement)) return visitStatement.call(this, statement)
  this.visitVariableDeclarators(statement.decls)
  return statement
}

const present = globSync('packages/*/src/**/*.ts')
const roots = ['packages', 'examples', 'e2e', 'bench'].filter((root) => existsSync(root))
const options = await extractDepcruiseOptions('./.dependency-cruiser.mjs')
const { output } = await cruise(roots, options)
if (typeof output === 'string') throw new Error(`dependency-cruiser answered with text: ${output}`)

const { violations, error: errors } = output.summary
const sentences = new Map((output.summary.ruleSetUsed?.forbidden ?? []).map((rule) => [rule.name, rule.comment]))
for (const { rule, from, to, cycle } of violations) {
  const path = cycle === undefined ? to : cycle.map((step) => step.name).join(' -> ')
  const sentence = sentences.get(rule.name)
  process.stdout.write(
    `${rule.severity} ${rule.name}: ${from} -> ${path}\n${sentence === undefined ? '' : `  ${sentence}\n`}`,
  )
}

const seen = new Set(output.modules.map(({ source }) => source))
const missed = present.filter((file) => !seen.has(file.replaceAll('\\', '/')))
const ours = [...seen].filter((source) => source.endsWith('.ts') && !source.includes('node_modules'))
process.stdout.write(`${ours.length} files of ours seen, ${violations.length} violations\n`)

const blind = ours.length < fewestModules || missed.length > 0
if (blind) {
  const list = missed.slice(0, 10).join(', ')
  process.stderr.write(
    `the check is blind: ${ours.length} files seen, at least ${fewestModules} expected; not seen: ${list}\n`,
  )
}
process.exitCode = blind || errors > 0 ? 1 : 0

// Compiles schemas for Fastify. Bodies are taken as they are; the texts of a query string become what the schema says.
import type { FastifySchemaCompiler } from 'fastify'
import type { TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import { Settings } from 'typebox/system'
import { Value } from 'typebox/value'
import type { Finding } from './issues.ts'

// the default of 8 would cut off what the choice between the branches of a union needs
Settings.Set({ maxErrors: 300 })

/** The findings of a schema check, on their way to the error handler. */
export class SchemaMismatch extends Error {
  override readonly name = 'SchemaMismatch'
  readonly part: string
  readonly findings: readonly Finding[]

  constructor(part: string, findings: readonly Finding[]) {
    super(`the ${part} does not fit its schema`)
    this.part = part
    this.findings = findings
  }
}

/** The result is always wrapped: Fastify would read members named `value` or `error` of a bare one. */
export const compileSchema: FastifySchemaCompiler<TSchema> = ({ schema, httpPart = 'body' }) => {
  const compiled = Compile(schema)
  const isText = httpPart === 'querystring'
  return (given: unknown) => {
    // the query string is made anew for each request, so it may be changed in place
    const value: unknown = isText ? Value.Convert(schema, Value.Default(schema, given)) : given
    return compiled.Check(value) ? { value } : { error: new SchemaMismatch(httpPart, compiled.Errors(value)) }
  }
}

// The types that users write against: this file is checked by the compiler as much as by the runner.
import { expect, expectTypeOf, test } from 'vitest'
import { defineProcessors, processor, type RunContext } from './processor.ts'
import type { WorkerOptions } from './worker.ts'

test('a map of processors takes typed and untyped ones together', () => {
  const processors = defineProcessors({
    plain: async (ctx) => {
      expectTypeOf(ctx.params).toEqualTypeOf<unknown>()
      return ctx.runId
    },
    typed: processor<{ file: string }, { rows: number }>(async (ctx) => {
      expectTypeOf(ctx.params.file).toEqualTypeOf<string>()
      return { rows: ctx.params.file.length }
    }),
    nothing: () => undefined,
  })
  expectTypeOf(processors).toExtend<WorkerOptions['processors']>()
  expectTypeOf(processors.typed).parameter(0).toEqualTypeOf<RunContext<{ file: string }>>()
  expect(Object.keys(processors)).toEqual(['plain', 'typed', 'nothing'])
})

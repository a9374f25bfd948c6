// Writes docs/reference/errors.md and states.md from the tables in protocol; --check tells whether they are current.
import { generate, referenceFolder } from './generated.ts'
import { errorsPage, statesPage } from './reference-pages.ts'

generate(new URL('errors.md', referenceFolder), errorsPage())
generate(new URL('states.md', referenceFolder), statesPage())

// The seed of the property tests: new at every run, printed when one fails, taken from ONCEJOB_SEED to repeat it.
const given = process.env['ONCEJOB_SEED']

/** Settings for fc.assert; a failure prints the seed and the path of the counterexample. */
export const seeded = (numRuns: number) => ({ numRuns, ...(given === undefined ? {} : { seed: Number(given) }) })

// What is refused as a cron expression, and whether the answer helps.
import { expect, test } from 'vitest'
import { Refusal } from '../kernel/errors.ts'
import { parseCron } from './cron-parse.ts'

const refusalOf = (expression: string): Refusal => {
  try {
    parseCron(expression)
  } catch (error) {
    if (error instanceof Refusal) return error
    throw error
  }
  throw new Error(`"${expression}" was accepted`)
}

test.each([
  ['', ['empty', '5, 6 or 7']],
  ['* * * *', ['4 fields', '5', '6', '7']],
  ['* * * * * * * *', ['8 fields']],
  ['*', ['1 field;']],
  ['60 * * * *', ['minute', '60', '0–59']],
  ['* 24 * * *', ['hour', '24', '0–23']],
  ['* * 32 * *', ['day of month', '32', '1–31']],
  ['* * 0 * *', ['day of month', '1–31']],
  ['* * * 13 *', ['month', '13', '1–12', 'JAN']],
  ['* * * * 8', ['day of week', '8', '0–7', 'SUN']],
  ['99 * * * * *', ['second', '0–59']],
  ['0 0 0 * * 0', ['day of week', '1–7', 'SUN', '1 is Sunday']],
  ['0 0 0 * * 0-4', ['day of week', '1 is Sunday']],
  ['0 0 0 * * 8', ['day of week', '1–7']],
  ['0 0 0 1 1 ? 1969', ['year', '1970–2099']],
  ['0 0 0 1 1 ? 2100', ['year', '1970–2099']],
  ['0 0 0 1 1 ? 2030-2020', ['year', 'ends before it begins']],
  ['x * * * *', ['minute', '"x"']],
  ['-5 * * * *', ['minute']],
  ['1.5 * * * *', ['minute', '1.5']],
  ['1e1 * * * *', ['minute', '1e1']],
  ['5- * * * *', ['minute']],
  ['1-2-3 * * * *', ['minute', 'range']],
  ['*/0 * * * *', ['minute', 'step', '1–60']],
  ['*/ * * * *', ['minute', 'step']],
  ['*/90 * * * *', ['minute', 'step', 'fixed rate']],
  ['*/2/3 * * * *', ['minute', 'more than one']],
  ['1,,2 * * * *', ['minute', 'empty part']],
  [',1 * * * *', ['minute', 'empty part']],
  ['? * * * *', ['minute', '"?"']],
  ['* * ?,1 * *', ['day of month', 'alone']],
  ['* * L-0 * *', ['day of month', '1–30']],
  ['* * L-31 * *', ['day of month', '1–30']],
  ['* * 32W * *', ['day of month', '32', '1–31']],
  ['* * 1-5W * *', ['day of month', 'L, L-3, LW and 15W']],
  ['* * 1#2 * *', ['day of month', 'day of week field']],
  ['* * * * L', ['day of week', 'FRIL']],
  ['* * * * 6#6', ['day of week', '1–5']],
  ['* * * * 6#', ['day of week', '1–5']],
  ['* * * * FRE', ['day of week', 'FRE']],
  ['* * * MON *', ['month', 'MON']],
  ['@reboot', ['@reboot', '@daily']],
  ['@every 5m', ['@every 5m', '@hourly']],
  ['1 '.repeat(400), ['800 characters'.slice(4)]],
])('"%s" is refused and the answer says what is wrong', (expression, essentials) => {
  const refusal = refusalOf(expression)
  expect(refusal.code).toBe('SCHEDULE_INVALID')
  for (const essential of essentials) expect(refusal.message).toContain(essential)
})

test.each([
  '0 0 * * *',
  '  0   0 * *\t* ',
  '0 0 0 ? * MON-FRI',
  '0 0 0 L-3 * ? 2030/5',
  '*/60 */24 * * *',
  '@Daily',
  '0 0 * JAN,feb,Mar SUN-SAT',
  '0 0 LW,15W,1 * fril,mon#1',
  '0-59/15,7 22-4/2 25-5 NOV-FEB FRI-MON',
])('"%s" is accepted', (expression) => {
  expect(parseCron(expression).expression).toBe(expression.trim())
})

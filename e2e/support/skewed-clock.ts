// Preloaded into a process of a test (`--import`): its wall clock is wrong by E2E_SKEW_MS. Clocks that only grow stay as they are.
const skewMs = Number(process.env['E2E_SKEW_MS'])
if (!Number.isSafeInteger(skewMs)) throw new TypeError('E2E_SKEW_MS must be a whole number')

const Right = Date
const now = (): number => Right.now() + skewMs

globalThis.Date = new Proxy(Right, {
  construct: (target, args, newTarget) =>
    Reflect.construct(target, args.length === 0 ? [now()] : args, newTarget) as Date,
  apply: () => new Right(now()).toString(),
  get: (target, name) => (name === 'now' ? now : (Reflect.get(target, name) as unknown)),
})

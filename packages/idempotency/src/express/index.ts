// The Express handlers: one per guard, to be put before the handler of a route.
import type { Request, RequestHandler, Response } from 'express'
import type { GuardedRequest } from '../fingerprint.ts'
import { headerOf } from '../fingerprint.ts'
import { keptAnswer } from '../guard/answers.ts'
import type { Decision } from '../guard/guard.ts'
import type { IssueOptions } from '../guard/issuing.ts'
import { issueTo } from '../guard/issuing.ts'
import type { KeyGuardOptions, KeyUse } from '../guard/key-guard.ts'
import { createKeyGuard } from '../guard/key-guard.ts'
import type { ProtectedCall } from '../guard/protected-call.ts'
import type { TimeGuardOptions } from '../guard/time-guard.ts'
import { createTimeGuard } from '../guard/time-guard.ts'
import type { TokenGuardOptions, TokenUse } from '../guard/token-guard.ts'
import { createTokenGuard } from '../guard/token-guard.ts'
import type { Problem } from '../problems.ts'
import { IdempotencyRefusal, problemAnswer } from '../problems.ts'
import type { TransactionAnswer } from '../transaction.ts'
import { holdResponse } from './response.ts'

export interface OnceTokenHandlerOptions extends TokenGuardOptions<Request> {
  /** The operation that the token must have been issued for. */
  readonly operation: string
  /** The handler uses the token up itself, by `withOnceToken(client, onceTokenOf(req), …)`. */
  readonly transactional?: boolean
}

export interface RequestKeyHandlerOptions extends KeyGuardOptions<Request> {
  /** The handler uses the key itself, by `withRequestKey(client, requestKeyOf(req), …)`. */
  readonly transactional?: boolean
}

const tokenUses = new WeakMap<Request, TokenUse>()
const keyUses = new WeakMap<Request, KeyUse>()

/** The checked token of a request behind `onceToken`. */
export const onceTokenOf = (req: Request): TokenUse | undefined => tokenUses.get(req)

/** The checked key of a request behind `requestKey`; undefined when the caller sent none. */
export const requestKeyOf = (req: Request): KeyUse | undefined => keyUses.get(req)

const routeOf = (req: Request, path: string): string => {
  const route: unknown = req.route
  if (typeof route !== 'object' || route === null || !('path' in route)) return path
  return `${req.baseUrl}${String(route.path)}`
}

const guardedRequest = (req: Request): GuardedRequest => {
  const [path = '', query = ''] = req.originalUrl.split(/\?(.*)/s, 2)
  const body: unknown = req.body
  return {
    method: req.method,
    route: routeOf(req, path),
    path,
    query,
    headers: req.headers,
    body,
    requestId: headerOf(req, 'x-request-id'),
  }
}

const sendProblem = (req: Request, res: Response, problem: Problem): void => {
  const { status, headers, body } = problemAnswer(problem, headerOf(req, 'x-request-id'))
  // end, not send: the media type goes out exactly as it is.
  res.status(status).set(headers).end(body)
}

/** Sends what `withOnceToken` or `withRequestKey` answered. */
export const sendAnswer = (res: Response, answer: TransactionAnswer): void => {
  res.status(answer.status).set({ ...answer.headers, ...answer.marks })
  res.end(answer.body)
}

/** Sends a refusal that `withOnceToken` or `withRequestKey` threw. Call it from your error handler; false: it is not ours. */
export const sendRefusal = (error: unknown, req: Request, res: Response): boolean => {
  if (!(error instanceof IdempotencyRefusal)) return false
  sendProblem(req, res, error.problem)
  return true
}

const hold = (res: Response, call: ProtectedCall, keepHeaders: readonly string[]): void =>
  holdResponse(res, {
    onAnswer: (status, headers, body) => call.settle(status, keptAnswer(status, headers, body, keepHeaders)),
  })

/** Carries out a decision; true: the handler's turn. */
const carryOut = async (
  req: Request,
  res: Response,
  decision: Decision,
  keepHeaders: readonly string[],
): Promise<boolean> => {
  switch (decision.kind) {
    case 'pass':
      return true
    case 'refuse':
      sendProblem(req, res, decision.problem)
      return false
    case 'replay':
      sendAnswer(res, { ...decision.answer, marks: decision.headers, replayed: true })
      return false
    case 'run':
      if (req.socket.destroyed) {
        // The caller has gone and nothing was done yet: his next try must not find the claim of this one.
        await decision.call.abandon()
        return false
      }
      res.set(decision.headers)
      hold(res, decision.call, keepHeaders)
      return true
  }
}

/** Guards an operation by a one-time token. Put it after authentication, body parser and validation. */
export const onceToken = (options: OnceTokenHandlerOptions): RequestHandler => {
  const guard = createTokenGuard<Request>(options)
  return async (req, res, next) => {
    const entry = guard.enter(req, guardedRequest(req), options.operation)
    if (entry.kind === 'refuse') return sendProblem(req, res, entry.problem)
    tokenUses.set(req, entry.use)
    if (options.transactional === true) return next()
    const decision = await guard.begin(entry.use)
    if (await carryOut(req, res, decision, options.keepHeaders ?? [])) next()
  }
}

/** Guards any mutating route by the caller's Idempotency-Key. Put it after authentication, body parser and validation. */
export const requestKey = (options: RequestKeyHandlerOptions): RequestHandler => {
  const guard = createKeyGuard<Request>(options)
  return async (req, res, next) => {
    const entry = guard.enter(req, guardedRequest(req))
    if (entry.kind === 'refuse') return sendProblem(req, res, entry.problem)
    if (entry.kind === 'pass') return next()
    keyUses.set(req, entry.use)
    if (options.transactional === true) return next()
    const decision = await guard.begin(entry.use)
    if (await carryOut(req, res, decision, options.keepHeaders ?? [])) next()
  }
}

/** Refuses requests that were made too long ago or too far in the future. */
export const requestTime = (options: TimeGuardOptions = {}): RequestHandler => {
  const problemOf = createTimeGuard(options)
  return (req, res, next) => {
    const problem = problemOf(guardedRequest(req))
    if (problem === undefined) next()
    else sendProblem(req, res, problem)
  }
}

export type IssueHandlerOptions = IssueOptions<Request>

/** A handler that issues tokens: `app.post('/once-tokens', express.json(), issueOnceTokens({ … }))`. */
export const issueOnceTokens =
  (options: IssueHandlerOptions): RequestHandler =>
  async (req, res) => {
    res.set('cache-control', 'no-store')
    const issuing = await issueTo(options, req, { headers: req.headers, body: req.body })
    if (issuing.kind === 'issued') res.status(201).json(issuing.token)
    else sendProblem(req, res, issuing.problem)
  }

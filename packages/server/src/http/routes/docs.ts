// The OpenAPI document and its reference page, which loads nothing from elsewhere.
import Fastify from 'fastify'
import type { Random } from '../../kernel/random.ts'
import { documentOf } from '../openapi.ts'
import type { HttpApp, RoutePlugin } from '../types.ts'

interface Page {
  /** HTML with `noncePlace` where the nonce of the answer goes. */
  readonly html: string
  readonly script: string
}

const noncePlace = 'nonce-of-this-answer'

/**
 * Takes page and script out of the reference package, whose plugin brings routes of its own that would bypass
 * the guard. Its script is 5 MB of text, so it is loaded when the page is asked for first.
 */
const loadPage = async (): Promise<Page> => {
  const { default: reference } = await import('@scalar/fastify-api-reference')
  const source = Fastify()
  await source.register(reference, {
    routePrefix: '/docs',
    configuration: {
      url: '/openapi.json',
      pageTitle: 'OnceJob API',
      nonce: noncePlace,
      withDefaultFonts: false,
      telemetry: false,
      hideClientButton: true,
      agent: { disabled: true },
      mcp: { disabled: true },
    },
  })
  const html = await source.inject('/docs/')
  const script = await source.inject('/docs/js/scalar.js')
  await source.close()
  return { html: html.body, script: script.body }
}

const policyOf = (nonce: string): string =>
  [
    "default-src 'none'",
    `script-src 'self' 'nonce-${nonce}' 'unsafe-eval'`,
    // the page builds its styles while it runs
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:",
    "font-src 'self' data:",
    "connect-src 'self'",
    'worker-src blob:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ')

const hidden = { config: { access: 'any' as const }, schema: { hide: true } }

export const docsRoutes =
  (random: Random): RoutePlugin =>
  (app: HttpApp) => {
    let page: Promise<Page> | undefined
    const pageOnce = (): Promise<Page> => (page ??= loadPage())
    app.get('/openapi.json', hidden, (_request, reply) => reply.type('application/json').send(documentOf(app)))
    app.get('/docs', hidden, (_request, reply) => reply.redirect('/docs/', 301))
    app.get('/docs/', hidden, async (_request, reply) => {
      const { html } = await pageOnce()
      const nonce = Buffer.from(random.bytes(16)).toString('base64')
      return reply
        .type('text/html; charset=utf-8')
        .header('content-security-policy', policyOf(nonce))
        .header('x-content-type-options', 'nosniff')
        .header('referrer-policy', 'no-referrer')
        .send(html.replaceAll(noncePlace, nonce))
    })
    app.get('/docs/js/scalar.js', hidden, async (_request, reply) => {
      const { script } = await pageOnce()
      return reply
        .type('application/javascript; charset=utf-8')
        .header('cache-control', 'private, max-age=3600')
        .send(script)
    })
  }

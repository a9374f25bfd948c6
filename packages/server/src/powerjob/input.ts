// What a client sent: form fields or JSON, judged before any endpoint sees it. What can not be stored as it was sent is refused.
import { isUtf8 } from 'node:buffer'
import { WireError } from './call.ts'

const mostDepth = 100
// of Java's long
const longest = 2n ** 63n

const unreadable = (says: string): WireError =>
  new WireError('HttpMessageNotReadableException', `JSON parse error: ${says}`)

const flawOf = (text: string): string | undefined => {
  if (text.includes('\0')) return 'a text with U+0000, which can not be stored'
  return text.isWellFormed() ? undefined : 'a text with half a surrogate pair, which is no character'
}

type Fields = Map<string, string>

const addFields = (fields: Fields, text: string): void => {
  for (const part of text.split('&')) {
    if (part === '') continue
    const at = part.indexOf('=')
    const [rawName, rawValue] = at < 0 ? [part, ''] : [part.slice(0, at), part.slice(at + 1)]
    let name: string, value: string
    try {
      name = decodeURIComponent(rawName.replaceAll('+', ' '))
      value = decodeURIComponent(rawValue.replaceAll('+', ' '))
    } catch {
      // translated
      throw new WireError(
        'IllegalArgumentException',
        `the form is not percent-encoded UTF-8 at ${JSON.stringify(part.slice(0, 60))}`,
      )
    }
    const flaw = flawOf(name) ?? flawOf(value)
    if (flaw !== undefined) throw new WireError('IllegalArgumentException', `the form has ${flaw}`)
    const known = fields.get(name)
    // which of the two is meant can not be told, and the wrong one might be run
    if (known !== undefined && known !== value)
      throw new WireError(
        'IllegalArgumentException',
        `the field ${JSON.stringify(name)} is given twice with different values`,
      )
    fields.set(name, value)
  }
}

const utf8Of = (bytes: Buffer): string => {
  if (!isUtf8(bytes)) throw unreadable('the body has bytes that are not UTF-8')
  return bytes.toString('utf8')
}

const isForm = (contentType: string): boolean => /^application\/x-www-form-urlencoded\s*(;|$)/i.test(contentType.trim())

/**
 * Form fields and query parameters. A body that is no form has no fields.
 * @throws WireError when they can not be read, or name one field twice with different values
 */
export const readFields = (url: string, contentType: string, body: Buffer | undefined): ReadonlyMap<string, string> => {
  const fields: Fields = new Map()
  const at = url.indexOf('?')
  if (at >= 0) addFields(fields, url.slice(at + 1))
  if (body !== undefined && isForm(contentType)) addFields(fields, utf8Of(body))
  return fields
}

/** Walks through everything once, without recursion. @returns whether there are numbers that JavaScript has rounded */
const inspect = (root: unknown): boolean => {
  let rounded = false
  const left: { readonly value: unknown; readonly depth: number }[] = [{ value: root, depth: 0 }]
  for (let next = left.pop(); next !== undefined; next = left.pop()) {
    const { value, depth } = next
    if (typeof value === 'string') {
      const flaw = flawOf(value)
      if (flaw !== undefined) throw unreadable(flaw)
    } else if (typeof value === 'number') {
      if (!Number.isFinite(value)) throw unreadable('a number out of range')
      rounded ||= Number.isInteger(value) && !Number.isSafeInteger(value)
    } else if (typeof value === 'object' && value !== null) {
      if (depth >= mostDepth) throw unreadable(`it is nested deeper than ${mostDepth}`)
      for (const [key, inner] of Object.entries(value)) {
        const flaw = flawOf(key) ?? (key === '__proto__' ? 'a key __proto__' : undefined)
        if (flaw !== undefined) throw unreadable(flaw)
        left.push({ value: inner, depth: depth + 1 })
      }
    }
  }
  return rounded
}

/** Whole numbers that JavaScript would round become the text of their digits. */
const exactly = (text: string): unknown =>
  JSON.parse(text, (_key, value: unknown, context?: { readonly source?: string }) => {
    if (typeof value !== 'number' || !Number.isInteger(value) || Number.isSafeInteger(value)) return value
    const source = context?.source ?? ''
    if (!/^-?\d+$/.test(source)) return value
    const whole = BigInt(source)
    if (whole >= longest || whole < -longest)
      throw unreadable(`Numeric value (${source.slice(0, 40)}) out of range of long`)
    return source
  })

const isJson = (contentType: string): boolean => {
  const [type = '', ...parameters] = contentType.split(';').map((part) => part.trim().toLowerCase())
  if (!/^application\/([\w.+-]+\+)?json$/.test(type)) return false
  const charset = parameters
    .find((parameter) => parameter.startsWith('charset='))
    ?.slice(8)
    .replaceAll('"', '')
  return charset === undefined || charset === 'utf-8' || charset === 'utf8' || charset === 'us-ascii'
}

const parsed = (text: string): unknown => {
  let value: unknown
  try {
    // a byte order mark is no part of the JSON
    value = JSON.parse(text.startsWith('\uFEFF') ? text.slice(1) : text)
  } catch (error) {
    // translated
    throw unreadable(error instanceof Error ? error.message : String(error))
  }
  return inspect(value) ? exactly(text) : value
}

/**
 * The JSON body of a call.
 * @param shape what its outermost value must be
 * @throws WireError when the content type is another, the body is missing, no JSON, or can not be stored as it is
 */
export const readJson = (
  path: string,
  contentType: string,
  body: Buffer | undefined,
  shape: 'object' | 'array',
): unknown => {
  const missing = (): WireError =>
    new WireError('HttpMessageNotReadableException', `Required request body is missing: POST /openApi${path}`)
  if (body === undefined || body.length === 0) throw missing()
  if (!isJson(contentType))
    throw new WireError('HttpMediaTypeNotSupportedException', `Content type '${contentType}' not supported`)
  const value = parsed(utf8Of(body))
  if (value === null) throw missing()
  if (typeof value !== 'object' || Array.isArray(value) !== (shape === 'array'))
    throw unreadable(`Cannot deserialize the body: ${shape === 'array' ? 'a list' : 'an object'} is expected`)
  return value
}

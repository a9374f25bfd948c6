// Promises of the JSON of the worker wire: what Jackson reads is read, what it can not hold is told, answers are as its workers read them.
import { describe, expect, it } from 'vitest'
import {
  askAnswer,
  askRefusal,
  flagOf,
  numberOf,
  objectOf,
  objectsOf,
  readMessage,
  resultOf,
  textOf,
  UnreadableMessage,
  wholeOf,
  type Members,
} from './wire.ts'

const read = (text: string): Members => readMessage(Buffer.from(text))

describe('a message', () => {
  it('may have members that nobody knows, single quotes, and numbers as texts', () => {
    const message = read(`{'a':'it\\'s "so"', "b": "don't", 'c':"12", "d": 7.9, 'e': "\\u00fc\\n", "f": '\\\\'}`)
    expect(textOf(message, 'a')).toBe(`it's "so"`)
    expect(textOf(message, 'b')).toBe("don't")
    expect(wholeOf(message, 'c')).toBe(12)
    expect(wholeOf(message, 'd')).toBe(7)
    expect(textOf(message, 'e')).toBe('ü\n')
    expect(textOf(message, 'f')).toBe('\\')
  })
  it('keeps long ids exact: they are no id of ours, and never another one', () => {
    const message = read('{"instanceId":1004656552407203904,"min":-9223372036854775808,"text":"1004656552407203904"}')
    expect(textOf(message, 'instanceId')).toBe('1004656552407203904')
    expect(wholeOf(message, 'instanceId')).toBeNull()
    expect(wholeOf(message, 'min')).toBeNull()
    expect(wholeOf(message, 'text')).toBeNull()
    expect(wholeOf(read('{"x":9007199254740991}'), 'x')).toBe(9_007_199_254_740_991)
  })
  it('has absent primitives as nothing, and null as absent', () => {
    const message = read('{"n":null}')
    expect([textOf(message, 'n'), numberOf(message, 'n'), wholeOf(message, 'x'), objectOf(message, 'n')]).toEqual([
      null,
      null,
      null,
      null,
    ])
    expect(flagOf(message, 'n')).toBe(false)
    expect(objectsOf(message, 'n')).toEqual([])
    expect(textOf(message, 'constructor')).toBeNull()
    expect(textOf(message, '__proto__')).toBeNull()
  })
  it('has booleans as booleans, texts and numbers', () => {
    const message = read('{"a":true,"b":"true","c":1,"d":"FALSE","e":0}')
    expect(['a', 'b', 'c', 'd', 'e'].map((name) => flagOf(message, name))).toEqual([true, true, true, false, false])
  })
  it.each([
    ['nothing', ''],
    ['no JSON', '{'],
    ['a list', '[]'],
    ['null', 'null'],
    ['a text', '"x"'],
    ['an open single quote', "{'a"],
    ['an open escape', "{'a\\"],
  ])('that is %s is not read', (_name, text) => {
    expect(() => read(text)).toThrow(UnreadableMessage)
  })
  it('is not read when it is nested without end, or has broken bytes', () => {
    expect(() => read(`{"a":1234567890123456789,"b":${'['.repeat(200_000)}`)).toThrow(UnreadableMessage)
    expect(() => readMessage(Buffer.from([0x7b, 0xff, 0x7d]))).toThrow('not UTF-8')
  })
  it('tells which member is wrong', () => {
    const message = read('{"a":{},"b":"x","c":[],"d":"maybe"}')
    expect(() => textOf(message, 'a')).toThrow('"a" is no text')
    expect(() => wholeOf(message, 'b')).toThrow('"b" is no number')
    expect(() => objectOf(message, 'c')).toThrow('"c" is no object')
    expect(() => objectsOf(message, 'a')).toThrow('"a" is no list')
    expect(() => flagOf(message, 'd')).toThrow('"d" is no boolean')
  })
})

describe('an answer', () => {
  it('to an ask is as workers read it: base64url without padding, never standard base64', () => {
    expect(askAnswer()).toBe('{"success":true}')
    expect(askAnswer(['10.0.0.7:27777'])).toBe('{"success":true,"data":"WyIxMC4wLjAuNzoyNzc3NyJd"}')
    const data: string = JSON.parse(askAnswer({ text: '>>>???ÿÿÿ' })).data
    expect(data).not.toMatch(/[+/=]/)
    expect(JSON.parse(Buffer.from(data, 'base64url').toString())).toEqual({ text: '>>>???ÿÿÿ' })
    expect(askRefusal('no')).toBe('{"success":false,"message":"no"}')
  })
  it('of discovery has exactly three members', () => {
    expect(resultOf('127.0.0.1:10010')).toBe('{"success":true,"data":"127.0.0.1:10010","message":null}')
  })
})

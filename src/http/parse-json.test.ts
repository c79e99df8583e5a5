import { describe, expect, it } from 'vitest'
import { InvalidJson, parseJson } from './parse-json.js'

const parse = (text: string) => parseJson(Buffer.from(text))

describe('parseJson', () => {
  it('an empty body is an empty object', () => {
    expect([parse(''), parse(' \r\n\t')]).toEqual([{}, {}])
  })

  it('a byte order mark is skipped', () => {
    expect(parse('\ufeff{"a":1}')).toEqual({ a: 1 })
  })

  it('what is no UTF-8 is refused', () => {
    expect(() => parseJson(Buffer.from([0x22, 0xff, 0x22]))).toThrow(InvalidJson)
  })

  it('the position of the fault is told, the text is not', () => {
    try {
      parse('{"password":"hunter2",}')
      expect.unreachable()
    } catch (error) {
      expect(error).toMatchObject({ reason: 'The body is not valid JSON: line 1, column 23', position: 22 })
    }
  })

  it('64 levels are read, 65 are not, and 500,000 do not exhaust the stack', () => {
    const nested = (levels: number) => `${'['.repeat(levels)}${']'.repeat(levels)}`
    expect(() => parse(nested(64))).not.toThrow()
    expect(() => parse(nested(65))).toThrow(/nested deeper/)
    expect(() => parse(nested(500_000))).toThrow(InvalidJson)
  })

  it('the line is counted, and a body that was cut is told so', () => {
    expect(() => parse('{\n  "a" 1}')).toThrow('The body is not valid JSON: line 2, column 7')
    expect(() => parse('{"a" 1}')).toThrow('The body is not valid JSON: line 1, column 6')
    expect(() => parse('[1\n\nx]')).toThrow('The body is not valid JSON: line 3, column 1')
    for (const text of ['{"a":', '{"a": [1,\n', '{"a": "b', '[', '{"a": 1']) {
      expect(() => parse(text), text).toThrow('The body is not valid JSON: it ends too early')
    }
  })

  it('__proto__ keys are refused at any depth, however they are spelled', () => {
    for (const text of ['{"__proto__":1}', '{"a":[{"\\u005f\\u005fproto__":2,"b":3}]}']) {
      expect(() => parse(text), text).toThrow('The body has a key named __proto__')
    }
  })
})

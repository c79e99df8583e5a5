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

  describe('a long list of messages is read in pieces, and means what it means as a whole', () => {
    const long = 'x'.repeat(40_000)
    it.each([
      ['messages', [{ id: 1, body: long }, { body: `${long}é😀` }, {}, { body: long }]],
      ['what looks like an end within a text', [{ body: `${long}${long}},{}, {` }, { body: long }]],
      ['and within a message', [{ a: [{ b: long }, { b: long }, { b: long }, {}] }, { body: long }]],
      ['what are no messages', [1, [long, long], 'a', {}, null, { body: long }, {}]],
    ])('%s', (_, messages) => {
      for (const between of [',', ', ', ' ,\n']) {
        const text = `{"messages": [${messages.map(each => JSON.stringify(each)).join(between)}]}\n`
        expect(parse(text)).toEqual({ messages })
      }
    })

    it.each([
      ['a key after them', `{"messages":[{"a":"${long}"},{"b":"${long}"},{}],"other":[{},{}]}`],
      ['them twice: the last counts', `{"messages":[{"a":"${long}"},{"b":"${long}"},{}],"messages":[{"c":1},{}]}`],
      ['nothing but space', `{"messages":[${' '.repeat(100_000)}]}`],
    ])('%s', (_, text) => {
      expect(parse(text)).toEqual(JSON.parse(text))
    })

    it.each([
      ['a comma too many', `{"messages":[{"a":"${long}"},{"a":"${long}"},{"a":"${long}"},]}`],
      ['a bracket too many', `{"messages":[{"a":"${long}"},{"a":"${long}"},{"a":1}],{"a":"${long}"},[{}]}`],
      ['none between', `{"messages":[{"a":"${long}"},{"a":"${long}"}{"a":1},{"a":"${long}"}]}`],
    ])('refused: %s', (_, text) => {
      expect(() => parse(text)).toThrow(InvalidJson)
    })
  })

  it('__proto__ keys are refused at any depth, however they are spelled', () => {
    for (const text of ['{"__proto__":1}', '{"a":[{"\\u005f\\u005fproto__":2,"b":3}]}']) {
      expect(() => parse(text), text).toThrow('The body has a key named __proto__')
    }
  })
})

import { Type as Typebox } from 'typebox'
import { describe, expect, it } from 'vitest'
import { Type } from './type.js'

/** The same schemas by either builder. */
function schemas(type: Pick<typeof Typebox, keyof typeof Type>) {
  const text = type.String({ maxLength: 3, pattern: '^a', description: 'a text' })
  return {
    text,
    bare: type.String(),
    whole: type.Integer({ minimum: 0, maximum: 9 }),
    number: type.Number({ exclusiveMinimum: 0 }),
    flag: type.Boolean({ default: true }),
    nothing: type.Null(),
    anything: type.Unknown({ description: 'whatever' }),
    words: type.Union([type.Literal('a'), type.Literal(1), type.Literal(true), type.Null()], { description: 'one of' }),
    list: type.Array(text, { maxItems: 2 }),
    dictionary: type.Record(type.String({ maxLength: 5 }), type.Integer(), { description: 'by name' }),
    object: type.Object(
      { needed: text, free: type.Optional(type.Union([text, type.Null()])) },
      { additionalProperties: false, title: 'Object' },
    ),
    free: type.Object({ only: type.Optional(type.Integer()) }),
    empty: type.Object({}),
    deep: type.Array(type.Object({ in: type.Object({ a: type.Optional(type.Boolean()), b: type.Number() }) })),
  }
}

describe('Type', () => {
  it('builds what typebox would build, in the same order', () => {
    expect(JSON.stringify(schemas(Type), null, 2)).toBe(JSON.stringify(schemas(Typebox), null, 2))
  })

  it('an optional property is a copy: the schema it is made of stays one that is needed', () => {
    const name = Type.String()
    const both = Type.Object({ a: Type.Optional(name), b: name })
    expect(both).toMatchObject({ required: ['b'] })
  })
})

import fc from 'fast-check'
import type { TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import { describe, expect, it } from 'vitest'
import { compileCheck, type FieldProblem, type JsonSchema } from './check-schema.js'
import { Matching } from './schemas.js'
import { Type } from './type.js'

function problemsOf(schema: TSchema, value: unknown): FieldProblem[] {
  const problems: FieldProblem[] = []
  compileCheck(schema as JsonSchema)(value, { loc: ['body'], problems })
  return problems
}

const name = fc.constantFrom('a', 'b', 'password', '0')
const word = fc.string({ unit: fc.constantFrom('a', 'b', '-'), maxLength: 4 })

const { schema } = fc.letrec<{ schema: TSchema }>(tie => ({
  schema: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.record({ maxLength: fc.nat(3), minLength: fc.nat(2) }).map(each => Type.String(each)),
    fc.constantFrom('^a', 'b$', '^(?!a).*$').map(pattern => Type.String({ pattern })),
    fc.record({ minimum: fc.nat(3), maximum: fc.nat(9) }).map(each => Type.Integer(each)),
    fc.nat(3).map(exclusiveMinimum => Type.Number({ exclusiveMinimum })),
    fc.constantFrom(
      Type.Boolean(),
      Type.Null(),
      Type.Unknown(),
      Type.Literal('a'),
      Type.Literal(1),
      Type.Literal(true),
    ),
    fc.tuple(tie('schema'), fc.nat(2)).map(([items, maxItems]) => Type.Array(items, { maxItems })),
    tie('schema').map(value => Type.Record(Type.String(), value)),
    fc.array(tie('schema'), { minLength: 1, maxLength: 3 }).map(each => Type.Union(each)),
    fc
      .tuple(fc.dictionary(name, fc.tuple(tie('schema'), fc.boolean()), { maxKeys: 3 }), fc.boolean())
      .map(([fields, isOpen]) =>
        Type.Object(
          Object.fromEntries(
            Object.entries(fields).map(([key, [each, isFree]]) => [key, isFree ? Type.Optional(each) : each]),
          ),
          isOpen ? {} : { additionalProperties: false },
        ),
      ),
  ),
}))

const { value } = fc.letrec<{ value: unknown }>(tie => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.oneof(word, fc.integer({ min: -2, max: 10 }), fc.constantFrom(0.5, true, false, null)),
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(name, tie('value'), { maxKeys: 3 }),
  ),
}))

describe('compileCheck', () => {
  it('takes what typebox takes, and nothing else', () => {
    let refused = 0
    fc.assert(
      fc.property(schema, value, (given, each) => {
        const problems = problemsOf(given, each)
        if (problems.length > 0) refused += 1
        expect(problems.length === 0, JSON.stringify({ given, each, problems })).toBe(Compile(given).Check(each))
      }),
      { numRuns: 2000 },
    )
    expect(refused).toBeGreaterThan(200)
    expect(refused).toBeLessThan(1900)
  })

  it('tells nothing of what stands in a list of secrets', () => {
    const given = Type.Object({ signing_secrets: Type.Array(Type.String({ maxLength: 2 }), { maxItems: 1 }) })
    const problems = problemsOf(given, { signing_secrets: ['hunter2', 3] })
    expect(problems).toMatchObject([{ type: 'too_long' }, { type: 'string_too_long' }, { type: 'string_type' }])
    expect(problems).toMatchObject([{}, { input: '***' }, { input: '***' }])
  })

  it('tells all that is wrong, each where it is, and no secret', () => {
    const given = Type.Object(
      {
        name: Type.String({ maxLength: 3 }),
        auth: Type.Object({ password: Type.String({ maxLength: 2 }) }),
        kind: Type.Union([Type.Literal('none'), Type.Literal('basic'), Type.Null()]),
        many: Type.Array(Type.Union([Type.Integer(), Type.Null()])),
      },
      { additionalProperties: false },
    )
    expect(
      problemsOf(given, { auth: { password: 'hunter2' }, kind: 'digest', many: [1, null, 1.5, 'x'], more: 1 }),
    ).toEqual([
      { type: 'missing', loc: ['body', 'name'], msg: 'Field required' },
      {
        type: 'string_too_long',
        loc: ['body', 'auth', 'password'],
        msg: 'String should have at most 2 characters',
        input: '***',
        ctx: { max_length: 2 },
      },
      {
        type: 'literal_error',
        loc: ['body', 'kind'],
        msg: "Input should be 'none' or 'basic'",
        input: 'digest',
        ctx: { expected: "'none' or 'basic'" },
      },
      {
        type: 'int_from_float',
        loc: ['body', 'many', 2],
        msg: 'Input should be a valid integer, got a number with a fractional part',
        input: 1.5,
      },
      {
        type: 'int_parsing',
        loc: ['body', 'many', 3],
        msg: 'Input should be a valid integer, unable to parse string as an integer',
        input: 'x',
      },
      { type: 'extra_forbidden', loc: ['body', 'more'], msg: 'Extra inputs are not permitted' },
    ])
  })

  it('says the words that a pattern has for itself', () => {
    expect(problemsOf(Matching('^a', 'must begin with an a'), 'b')).toEqual([
      {
        type: 'string_pattern_mismatch',
        loc: ['body'],
        msg: 'must begin with an a',
        input: 'b',
        ctx: { pattern: '^a' },
      },
    ])
  })

  it('counts characters, not units', () => {
    const two = Type.String({ minLength: 2, maxLength: 2 })
    expect(problemsOf(two, '😀😀')).toEqual([])
    expect(problemsOf(two, '😀')).toMatchObject([{ type: 'string_too_short' }])
    expect(problemsOf(two, '😀😀😀')).toMatchObject([{ type: 'string_too_long' }])
    expect(problemsOf(two, 'abc')).toMatchObject([{ type: 'string_too_long' }])
  })

  it('stops at the eighth problem, also of a million', () => {
    const wrong = Array.from({ length: 1_000_000 }, () => 'x')
    expect(problemsOf(Type.Array(Type.Integer()), wrong)).toHaveLength(8)
    expect(problemsOf(Type.Array(Type.Union([Type.Integer(), Type.Null()])), wrong)).toHaveLength(8)
    const extra = Object.fromEntries(wrong.slice(0, 1000).map((_, at) => [`k${at}`, 1]))
    expect(problemsOf(Type.Object({}, { additionalProperties: false }), extra)).toHaveLength(8)
  })

  it('a schema with a keyword that nothing checks is refused, and so is a type', () => {
    expect(() => compileCheck({ type: 'string', format: 'email' } as JsonSchema)).toThrow('format')
    expect(() => compileCheck({ anyOf: [{ type: 'array', uniqueItems: true } as JsonSchema] })).toThrow('uniqueItems')
    expect(() => compileCheck({ type: 'bigint' })).toThrow('bigint')
  })
})

/**
 * Builds the schemas of routes: JSON Schema of the few kinds that routes need, typed by typebox. What is built here is what
 * typebox would build; its own builder is loaded by no process, for it is 684 modules: a quarter of a second of CPU at each
 * start (decision 0059).
 */
import type { Type as Typebox } from 'typebox'

/** Of a property that may be left out; JSON and whoever reads the schema by its names do not see it. */
const OPTIONAL = Symbol('optional')

type Schema = Readonly<Record<string | symbol, unknown>>

const builder = {
  String: (options?: Schema) => ({ type: 'string', ...options }),
  Integer: (options?: Schema) => ({ type: 'integer', ...options }),
  Number: (options?: Schema) => ({ type: 'number', ...options }),
  Boolean: (options?: Schema) => ({ type: 'boolean', ...options }),
  Null: (options?: Schema) => ({ type: 'null', ...options }),
  Unknown: (options?: Schema) => ({ ...options }),
  Literal: (value: string | number | boolean, options?: Schema) => ({ type: typeof value, const: value, ...options }),
  Array: (items: Schema, options?: Schema) => ({ type: 'array', items, ...options }),
  Union: (anyOf: readonly Schema[], options?: Schema) => ({ anyOf, ...options }),
  /** Of any names. */
  Record: (_names: Schema, value: Schema, options?: Schema) => ({
    type: 'object',
    patternProperties: { '^.*$': value },
    ...options,
  }),
  Object: (properties: Readonly<Record<string, Schema>>, options?: Schema) => {
    const required = Object.keys(properties).filter(name => properties[name]![OPTIONAL] === undefined)
    return { type: 'object', ...(required.length > 0 ? { required } : {}), properties, ...options }
  },
  Optional: (schema: Schema) => ({ ...schema, [OPTIONAL]: true }),
}

export const Type = builder as unknown as Pick<typeof Typebox, keyof typeof builder>

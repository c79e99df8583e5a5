/** Who is calling, as authentication found out. */
export type Caller = { readonly kind: 'admin' } | { readonly kind: 'tenant'; readonly tenantId: string }

declare module 'fastify' {
  interface FastifyRequest {
    /** Set before the body is read on every route that is not public. */
    caller: Caller
  }
}

/**
 * createClient: the HTTP API as typed methods, each one request (addMessages and lists: as many as it takes). Fields are
 * called as on the wire, so that docs/api.md documents them. Needs nothing but Node's own modules.
 */
import { accountCalls } from './accounts.js'
import { type ClientOptions, createCall } from './call.js'
import { commandCalls } from './commands.js'
import { instanceCalls } from './instance.js'
import { messageCalls } from './messages.js'
import { reportCalls } from './reports.js'
import { tenantCalls } from './tenants.js'
import { volumeCalls } from './volumes.js'

/** @throws TypeError for a URL or token that cannot be one. Nothing is asked before the first call. */
export function createClient(options: ClientOptions) {
  const call = createCall(options)
  return {
    ...messageCalls(call),
    ...commandCalls(call),
    ...reportCalls(call),
    ...accountCalls(call),
    ...volumeCalls(call, options.tenantId),
    ...tenantCalls(call),
    ...instanceCalls(call),
  }
}

export type MailProxyClient = ReturnType<typeof createClient>

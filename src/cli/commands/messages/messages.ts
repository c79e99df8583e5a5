/** `mail-proxy <instance> [tenant] messages …`: what waits, what went out, and what may be done about it. */
import type { Command } from 'commander'
import type { Place } from '../../command.js'
import { addMessageList } from './list.js'
import { addMessageOperations } from './operations.js'
import { addMessageSend } from './send.js'
import { addMessageShow } from './show.js'

/** Over all tenants messages are only looked at: an id alone may be that of several. */
export function addMessages(program: Command, place: Place): void {
  const whose = place.tenant === null ? 'of all tenants' : 'of this tenant'
  const messages = program.command('messages').description(`the messages ${whose}`)
  addMessageList(messages, place)
  addMessageShow(messages, place)
  if (place.tenant === null) return
  addMessageSend(messages, place)
  addMessageOperations(messages, place)
}

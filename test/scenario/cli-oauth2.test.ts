/** An account that logs in with access tokens, made and tested from the command line. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { openCliInstance } from '../support/cli-instance.js'
import { startOAuthServer } from '../support/oauth-server.js'
import { opened } from '../support/scene.js'
import { startSink } from '../support/smtp-sink.js'

it.each(['running', 'stopped'])(
  'accounts add takes its settings from flags, and the login works: %s',
  { timeout: 60_000 },
  async state => {
    const shop = await openCliInstance()
    await shop.line('shop tenants add acme')
    if (state === 'stopped') await shop.stop()
    const oauth = await opened(startOAuthServer(), each => each.close())
    const sink = await opened(startSink({ auth: ['XOAUTH2'], isTokenGood: token => oauth.isGood(token) }), each =>
      each.close(),
    )
    const secret = join(shop.folder, 'client-secret')
    writeFileSync(secret, 'the-client-secret\n')
    const server = ['--host', '127.0.0.1', '--port', String(sink.port), '--tls', 'never', '--user', 'shop@mail.test']
    const login = [
      '--oauth-token-url',
      oauth.tokenUrl,
      '--oauth-client-id',
      'app',
      '--oauth-client-secret-file',
      secret,
    ]
    const add = ['shop', 'acme', 'accounts', 'add', 'main', ...server, ...login]
    const missing = await shop.run(add)
    expect(missing).toMatchObject({ code: 1, out: '' })
    expect(missing.err).toMatch(/^Error: .*refresh_token.*\n$/)

    const added = await shop.run([...add, '--oauth-refresh-token-file', '-', '--test'], 'refresh-from-the-consent\n')
    expect(added).toMatchObject({ code: 0, err: '' })
    expect(added.out).toMatch(/C: AUTH XOAUTH2 \*\*\*\n[\s\S]*login works\n$/)
    const shown = await shop.line('shop acme accounts show main')
    expect(shown.out).toMatch(/^login +OAuth2 by refresh_token, http:\/\/127\.0\.0\.1/m)
    for (const text of oauth.secrets()) expect(`${added.out}${shown.out}`).not.toContain(text)

    oauth.clients.set('app', 'another-secret')
    const changed = await shop.run(
      ['shop', 'acme', 'accounts', 'update', 'main', '--oauth-client-secret-file', '-'],
      'another-secret',
    )
    expect(changed).toEqual({ code: 0, out: 'account main is changed\n', err: '' })
    expect((await shop.line('shop acme accounts test main')).code).toBe(0)
  },
)

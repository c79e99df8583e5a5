/** The commands of the guides, run in their order on an instance as the quick start leaves it before its end. */
import { describe, expect, it } from 'vitest'
import { openDocsShell, stepsOf } from '../support/docs-shell.js'

const PREPARATION = `
  mail-proxy start shop --background
  KEY=$(mail-proxy shop tenants add acme --name 'Acme' | sed -n 's/^API key.*: //p')
  printf '%s' 'the-app-password' > secret.txt
  mail-proxy shop acme accounts add main --provider gmail --user shop@gmail.com --password-file secret.txt`

describe.each(['tenants-and-keys', 'rate-limiting', 'priorities-and-rules'])('docs/%s.md', page => {
  it('has commands that answer as it says', { timeout: 180_000 }, async () => {
    const shell = await openDocsShell()
    expect(await shell.run(PREPARATION)).toContain('account main is saved: smtp.gmail.com:587')
    const steps = await stepsOf(`docs/${page}.md`)
    expect(steps.length).toBeGreaterThan(5)
    for (const step of steps) await shell.follow(step)
  })
})

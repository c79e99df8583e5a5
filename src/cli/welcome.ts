/** What the first start tells: the token, where it is kept, and commands that lead to a first message. */

/** `url` is the address the service listens on. */
export function welcome(token: string, tokenPath: string, url: string): string {
  const base = reachable(url)
  const quoted = `'${tokenPath.replaceAll("'", "'\\''")}'`
  const post = (path: string, body: string) => [
    `  curl -s -X POST ${base}${path} -H "X-API-Token: $TOKEN" \\`,
    `    -H 'Content-Type: application/json' -d '${body}'`,
  ]
  return [
    '',
    `mail-proxy is ready on ${base}`,
    '',
    `  Admin token   ${token}`,
    `  kept in       ${tokenPath}`,
    '',
    'To go on, in another terminal:',
    '',
    `  TOKEN=$(cat ${quoted})`,
    '',
    '  # a tenant; the answer shows its API key once',
    ...post('/tenant', '{"id": "acme", "name": "Acme"}'),
    '',
    '  # its SMTP account',
    ...post(
      '/account',
      '{"id": "main", "tenant_id": "acme", "host": "smtp.example.com", "port": 587, "user": "USER", "password": "PASSWORD"}',
    ),
    '',
    '  # a message',
    ...post(
      '/commands/add-messages',
      '{"messages": [{"id": "first-1", "tenant_id": "acme", "account_id": "main", "from": "me@example.com", "to": "you@example.com", "subject": "Hello", "body": "It works."}]}',
    ),
    '',
    '  # what became of it',
    `  curl -s "${base}/messages?tenant_id=acme" -H "X-API-Token: $TOKEN"`,
    '',
    '',
  ].join('\n')
}

/** An address to listen on everywhere is none to connect to. */
export function reachable(url: string): string {
  return url.replace(/\/+$/, '').replace(/^(https?:\/\/)(0\.0\.0\.0|\[::\]|::)(?=:|$)/, '$1127.0.0.1')
}

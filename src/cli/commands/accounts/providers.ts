/**
 * SMTP providers and what is known of them: address, login, and the limits they publish. The limits are suggestions
 * with their source; what a contract or a console says counts more. Seen in November 2026.
 */

export interface Provider {
  /** As `--provider` takes it. */
  readonly name: string
  readonly label: string
  /** `{region}` stands for what `--region` says. */
  readonly host: string
  readonly port: number
  /** true: nothing is sent without TLS. false: TLS where the server offers it. */
  readonly tls: boolean
  /** The user name that all its customers have. */
  readonly user?: string
  /** Its logins with access tokens, where it has them. */
  readonly oauth?: 'google' | 'microsoft'
  /** Which login is expected where, shown before the questions for it. */
  readonly login: string
  readonly limits: { readonly perMinute?: number; readonly perHour?: number; readonly perDay?: number }
  /** Most recipients of one SMTP transaction, where it is less than the service would send. */
  readonly recipients?: number
  /** What the limits are and who says so, or that none is published. */
  readonly limitsFrom: string
  readonly isPec?: boolean
}

const OTHER: Provider = {
  name: 'other',
  label: 'another server',
  host: '',
  port: 587,
  tls: false,
  login: 'The login that the server expects; without a user name none is tried.',
  limits: {},
  limitsFrom: 'Ask the provider; 0 is no limit.',
}

export const PROVIDERS: readonly Provider[] = [
  {
    name: 'gmail',
    label: 'Gmail',
    host: 'smtp.gmail.com',
    port: 587,
    tls: true,
    oauth: 'google',
    login:
      'The whole address and an app password (needs 2-step verification), or OAuth2; the usual password is refused.',
    // 500 a day for a personal account, counted by recipient; 2,000 for a user of Google Workspace. SMTP clients may
    // name 100 recipients a message.
    limits: { perDay: 500 },
    limitsFrom: '500 recipients a day, 2000 with Google Workspace (support.google.com/a/answer/166852).',
  },
  {
    name: 'google-relay',
    label: 'Google Workspace SMTP relay',
    host: 'smtp-relay.gmail.com',
    port: 587,
    tls: true,
    login: 'Allow this server in the admin console (Gmail, routing); with its address allowed no user is needed.',
    limits: { perDay: 10_000 },
    limitsFrom: '10000 messages a day for each user (support.google.com/a/answer/2956491).',
  },
  {
    name: 'microsoft365',
    label: 'Microsoft 365',
    host: 'smtp.office365.com',
    port: 587,
    tls: true,
    oauth: 'microsoft',
    login:
      'The whole address, SMTP AUTH enabled for the mailbox. Passwords end by default in December 2026: use OAuth2.',
    // Both are counted for a mailbox; they cannot be raised.
    limits: { perMinute: 30, perDay: 10_000 },
    limitsFrom: '30 messages a minute, 10000 recipients a day (Exchange Online limits, learn.microsoft.com).',
  },
  {
    name: 'ses',
    label: 'Amazon SES',
    host: 'email-smtp.{region}.amazonaws.com',
    port: 587,
    tls: true,
    login: 'The SMTP credentials made in the SES console, which are not the access keys of AWS.',
    // The sandbox has 200 a day and 1 a second; outside of it each account has its own quota. The service waits when
    // SES says that it was too fast, so no figure is better than a wrong one.
    limits: {},
    recipients: 50,
    limitsFrom:
      '200 a day and 60 a minute in the sandbox, later what the console shows (docs.aws.amazon.com/ses, quotas).',
  },
  {
    name: 'sendgrid',
    label: 'SendGrid',
    host: 'smtp.sendgrid.net',
    port: 587,
    tls: true,
    user: 'apikey',
    login: 'The user is the word apikey, the password an API key with the right to send mail.',
    limits: {},
    limitsFrom: 'No rate is published for SMTP; the plan limits a month.',
  },
  {
    name: 'mailgun',
    label: 'Mailgun, US region',
    host: 'smtp.mailgun.org',
    port: 587,
    tls: true,
    login: 'SMTP credentials of the sending domain, as in postmaster@mg.example.com.',
    limits: {},
    limitsFrom:
      'No rate is published; new accounts are held back by the hour (help.mailgun.com, account sending limitation).',
  },
  {
    name: 'mailgun-eu',
    label: 'Mailgun, EU region',
    host: 'smtp.eu.mailgun.org',
    port: 587,
    tls: true,
    login: 'SMTP credentials of the sending domain, as in postmaster@mg.example.com.',
    limits: {},
    limitsFrom:
      'No rate is published; new accounts are held back by the hour (help.mailgun.com, account sending limitation).',
  },
  {
    name: 'postmark',
    label: 'Postmark',
    host: 'smtp.postmarkapp.com',
    port: 587,
    tls: true,
    login: 'The server API token twice: as user and as password. Broadcasts go to smtp-broadcasts.postmarkapp.com.',
    limits: {},
    limitsFrom: 'No rate is published; the plan limits a month.',
  },
  {
    name: 'smtp2go',
    label: 'SMTP2GO',
    host: 'mail.smtp2go.com',
    port: 587,
    tls: true,
    login: 'An SMTP user made in the app (Sending, SMTP Users). Port 2525 where 587 is closed.',
    limits: { perHour: 200_000 },
    limitsFrom:
      '200000 an hour; 1000 a day until a new account is reviewed (smtp2go.com/blog/know-your-sending-limits).',
  },
  {
    name: 'aruba-pec',
    label: 'Aruba PEC (certified mail)',
    host: 'smtps.pec.aruba.it',
    port: 465,
    tls: true,
    login: 'The whole PEC address; with two-step verification a password made for mail programs (guide.pec.it).',
    limits: {},
    limitsFrom: 'No rate is published; size times recipients may be 100 MB a message (guide.pec.it).',
    isPec: true,
  },
  {
    name: 'aruba',
    label: 'Aruba mail',
    host: 'smtps.aruba.it',
    port: 465,
    tls: true,
    login: 'The whole address of the mailbox and its password (guide.hosting.aruba.it).',
    limits: {},
    limitsFrom: 'No rate is published.',
  },
  OTHER,
]

/** undefined for a name that none has. */
export function findProvider(name: string): Provider | undefined {
  return PROVIDERS.find(each => each.name === name)
}

export function hostOf({ host }: Provider, region: string | undefined): string {
  return host.replace('{region}', region ?? '')
}

export function needsRegion({ host }: Provider): boolean {
  return host.includes('{region}')
}

/** The instance's own settings. The API token that is set here replaces the admin token. */
import type { Static } from 'typebox'
import { AppError } from '../../lib/errors.js'
import type { KeyState } from '../../sealing/rotate.js'
import { readAdminTokenHash, setAdminToken } from '../admin-token.js'
import type { Routes } from '../app.js'
import { changeInstance, readInstance } from '../instance.js'
import { MASK } from '../mask.js'
import { AnyObject, Flag, Given, Int, Line, Ok } from '../schemas.js'
import { Type } from '../type.js'
import { isoTime, withoutNulls } from '../wire-time.js'

const InstanceUpdate = Type.Object(
  {
    name: Given(Line(255)),
    api_token: Given(Type.String({ minLength: 1, maxLength: 1000, pattern: '^[\\u0021-\\u007e]+$' })),
    bounce_enabled: Given(Flag),
    bounce_imap_host: Given(Line(253)),
    bounce_imap_port: Given(Int(1, 65_535)),
    bounce_imap_user: Given(Line(320)),
    bounce_imap_password: Given(Line(4096)),
    bounce_imap_folder: Given(Line(255)),
    bounce_imap_ssl: Given(Flag),
    bounce_poll_interval: Given(Int(1, 86_400)),
    bounce_return_path: Given(Line(320)),
  },
  { title: 'InstanceUpdate' },
)

const tags = ['instance']

const KeyId = Type.String({ pattern: '^[0-9a-f]{8}$' })
const SealingKeyState = Type.Object(
  {
    ok: Type.Literal(true),
    sealing_key: KeyId,
    newest_key: KeyId,
    known_keys: Type.Array(KeyId),
    rotation: Type.Union([
      Type.Object({
        from_key: KeyId,
        to_key: KeyId,
        started_at: Type.String(),
        finished_at: Type.Union([Type.String(), Type.Null()]),
        resealed: Type.Integer(),
        unreadable: Type.Integer(),
        at: Type.Union([Type.String(), Type.Null()]),
      }),
      Type.Null(),
    ]),
    processes: Type.Array(
      Type.Object({ process: Type.String(), keys: Type.Array(KeyId), seconds_ago: Type.Integer() }),
    ),
  },
  { title: 'SealingKeyState' },
)

function keyRecord({ sealing, newest, known, rotation, place, holders }: KeyState): Static<typeof SealingKeyState> {
  return {
    ok: true,
    sealing_key: sealing,
    newest_key: newest,
    known_keys: [...known],
    rotation: rotation && {
      from_key: rotation.fromId,
      to_key: rotation.toId,
      started_at: isoTime(rotation.startedAt),
      finished_at: rotation.finishedAt === null ? null : isoTime(rotation.finishedAt),
      resealed: rotation.resealed,
      unreadable: rotation.unreadable,
      at: place,
    },
    processes: holders.map(({ holder, keys, ageMs }) => ({
      process: holder,
      keys: [...keys],
      seconds_ago: Math.max(0, Math.round(ageMs / 1000)),
    })),
  }
}

export const instanceRoutes: Routes = (app, { config, db, sealer, clock, wake, startedAt, sealingKey }) => {
  app.get(
    '/instance',
    {
      config: { access: 'admin' },
      schema: { tags, summary: "The instance's settings, secrets masked", response: { 200: AnyObject } },
    },
    async () => {
      const instance = await readInstance(db, startedAt)
      const hasToken = config.server.apiToken !== null || (await readAdminTokenHash(db)) !== null
      return withoutNulls({
        ok: true,
        id: 1,
        name: instance.name,
        api_token: hasToken ? MASK : null,
        bounce_enabled: instance.bounceEnabled,
        bounce_imap_host: instance.bounceImapHost,
        bounce_imap_port: instance.bounceImapPort,
        bounce_imap_user: instance.bounceImapUser,
        bounce_imap_folder: instance.bounceImapFolder,
        bounce_imap_ssl: instance.bounceImapSsl,
        bounce_poll_interval: instance.bouncePollInterval,
        bounce_return_path: instance.bounceReturnPath,
        created_at: isoTime(instance.createdAt),
        updated_at: isoTime(instance.updatedAt),
      })
    },
  )

  app.put(
    '/instance',
    {
      config: { access: 'admin', audit: 'updateInstance' },
      schema: {
        tags,
        summary: 'Change the fields given; null is not given',
        body: InstanceUpdate,
        response: { 200: Ok },
      },
    },
    async request => {
      const { body } = request
      const token = body.api_token === MASK ? null : (body.api_token ?? null)
      if (token !== null && config.server.apiToken !== null) {
        throw new AppError('command_failed', 'api_token is set by GMP_API_TOKEN and cannot be changed here')
      }
      await changeInstance(
        db,
        sealer,
        {
          name: body.name ?? undefined,
          bounceEnabled: body.bounce_enabled ?? undefined,
          bounceImapHost: body.bounce_imap_host ?? undefined,
          bounceImapPort: body.bounce_imap_port ?? undefined,
          bounceImapUser: body.bounce_imap_user ?? undefined,
          bounceImapPassword: body.bounce_imap_password === MASK ? undefined : (body.bounce_imap_password ?? undefined),
          bounceImapFolder: body.bounce_imap_folder ?? undefined,
          bounceImapSsl: body.bounce_imap_ssl ?? undefined,
          bouncePollInterval: body.bounce_poll_interval ?? undefined,
          bounceReturnPath: body.bounce_return_path ?? undefined,
        },
        clock.now(),
      )
      if (token !== null) {
        await setAdminToken(db, token)
        app.forgetTokens()
      }
      await wake.settings()
      return { ok: true as const }
    },
  )

  app.get(
    '/instance/sealing-key',
    {
      config: { access: 'admin' },
      schema: {
        tags,
        summary: 'Which key seals secrets, and how far its change is; keys are named by ids that tell nothing of them',
        response: { 200: SealingKeyState },
      },
    },
    async () => keyRecord(await sealingKey.state()),
  )

  app.post(
    '/instance/sealing-key/rotate',
    {
      config: { access: 'admin', audit: 'rotateKey' },
      schema: {
        tags,
        summary:
          'Begin the change to the newest key, or go on with it for about two seconds; repeat until it is finished',
        response: { 200: SealingKeyState },
      },
    },
    async () => keyRecord(await sealingKey.rotate()),
  )

  app.post(
    '/instance/reload-bounce',
    {
      config: { access: 'admin', audit: 'reloadBounce' },
      schema: {
        tags,
        summary: 'Check the bounce settings',
        response: { 200: Type.Object({ ok: Type.Literal(true), error: Type.Null() }) },
      },
    },
    async () => {
      const { bounceEnabled, bounceImapHost } = await readInstance(db, startedAt)
      if (bounceEnabled && !bounceImapHost)
        throw new AppError('command_failed', 'Bounce enabled but imap_host not configured')
      return { ok: true as const, error: null }
    },
  )
}

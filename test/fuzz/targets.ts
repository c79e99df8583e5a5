/** All that is fuzzed. A parser that reads what others wrote belongs here. */
import type { FuzzTarget } from './target.js'
import { answerTargets } from './targets/answers.js'
import { bodyTargets } from './targets/bodies.js'
import { mailTargets } from './targets/mail.js'
import { placeTargets } from './targets/places.js'
import { settingTargets } from './targets/settings.js'
import { smtpTargets } from './targets/smtp.js'

export const TARGETS: readonly FuzzTarget[] = [
  ...mailTargets,
  ...smtpTargets,
  ...bodyTargets,
  ...answerTargets,
  ...placeTargets,
  ...settingTargets,
]

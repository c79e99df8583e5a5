/** `genro-mail-proxy/client`: what an application imports to submit mail, and to receive what became of it. */
export type { Account, AccountInput, AccountTest, OAuth, OAuthInput, Pause } from './accounts.js'
export type { CallOptions, ClientOptions, RetryOptions } from './call.js'
export { createClient, type MailProxyClient } from './client.js'
export type { BatchOptions, Stats, Status, Suspension } from './commands.js'
export { type ClientCode, MailProxyError } from './error.js'
export type {
  CommandFilter,
  ExportedCommand,
  InstanceInput,
  LoggedCommand,
  Rule,
  RuleInput,
  SealingKey,
} from './instance.js'
export type {
  AttachmentInput,
  Attempt,
  DeletedMessages,
  HistoryEntry,
  HttpAuth,
  MessageFilter,
  MessageInput,
  MessageRecord,
  MessageStatus,
  OperatedMessage,
  Priority,
  RecipientState,
} from './messages.js'
export {
  createReportReceiver,
  type ReceivedRequest,
  type ReceiveReports,
  type ReceiverAnswer,
  type ReceiverOptions,
} from './receive-reports.js'
export type { ReplayOptions, ReportAnswer, ReportEntry, ReportsPage } from './reports.js'
export type { Rejected, Submission, SubmitOptions, Warning } from './submit.js'
export type { KeyOptions, LargeFileConfig, SyncStatus, SyncTest, Tenant, TenantFields, TenantInput } from './tenants.js'
export { type HeadersGiven, type VerifyOptions, verifyReport } from './verify-report.js'
export type { Volume, VolumeInput, VolumeListed, VolumeOptions } from './volumes.js'

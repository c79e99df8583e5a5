/**
 * The first schema. The queue row (messages) is narrow: what claims and settles rewrite. Bodies live in contents,
 * written once. Partial indexes cover only what is still to be sent, so cost does not grow with what was sent.
 * Instants are epoch ms, flags 0/1, JSON text.
 */
export const initial: readonly string[] = [
  `create table tenants (
    id text primary key,
    name text,
    active smallint not null default 1,
    client_base_url text,
    client_sync_path text,
    client_attachment_path text,
    client_auth text,
    -- 1 while client_base_url was last set by an admin: it may then be a private address
    endpoint_trusted smallint not null default 0,
    -- sealed as a whole
    large_file_config text,
    -- 1 while its store was last set by an admin
    large_files_trusted smallint not null default 0,
    rate_hourly bigint,
    rate_daily bigint,
    max_queued_messages bigint,
    attachment_root text,
    signing_secrets text,
    suspended_batches text not null default '[]',
    created_at bigint not null,
    updated_at bigint not null
  )`,
  `create table api_keys (
    hash text primary key,
    tenant_id text not null references tenants(id) on delete cascade,
    created_at bigint not null,
    expires_at bigint
  )`,
  'create index api_keys_tenant on api_keys(tenant_id)',
  `create table sync_state (
    tenant_id text primary key references tenants(id) on delete cascade,
    last_sync_at bigint,
    -- do not disturb until then while nothing is pending
    quiet_until bigint,
    retry_at bigint,
    failures bigint not null default 0,
    batch_limit bigint,
    lease bigint,
    lease_until bigint
  )`,
  `create table accounts (
    key @identity,
    tenant_id text not null references tenants(id) on delete cascade,
    id text not null,
    host text not null,
    port bigint not null,
    username text,
    password text,
    auth_method text not null default 'password',
    -- sealed as a whole
    oauth2 text,
    -- 1 while its token endpoint was last set by an admin: it may then be a private address, and http
    oauth2_trusted smallint not null default 0,
    use_tls smallint,
    tls_verify smallint not null default 1,
    limit_per_minute bigint,
    limit_per_hour bigint,
    limit_per_day bigint,
    limit_behavior text not null default 'defer',
    ttl_seconds bigint not null default 300,
    max_connections bigint not null default 10,
    max_messages_per_connection bigint not null default 100,
    max_recipients_per_transaction bigint not null default 100,
    batch_size bigint,
    is_default smallint not null default 0,
    in_doubt text not null default 'retry',
    on_pause_timeout text not null default 'error',
    host_trusted smallint not null default 0,
    pause_kind text,
    pause_since bigint,
    pause_reason text,
    pause_code text,
    probe_at bigint,
    -- when the account was last seen to fail
    failed_at bigint,
    probes bigint not null default 0,
    is_pec_account smallint not null default 0,
    imap_host text,
    imap_port bigint,
    imap_user text,
    imap_password text,
    imap_ssl smallint,
    created_at bigint not null,
    updated_at bigint not null,
    unique (tenant_id, id)
  )`,
  // An admin may name an account without its tenant.
  'create index accounts_id on accounts(id)',
  'create index accounts_paused on accounts(probe_at) where pause_kind is not null',
  // The access token of an account, so that instances and restarts share it.
  `create table access_tokens (
    account_key bigint primary key references accounts(key) on delete cascade,
    version bigint not null,
    -- sealed as a whole, with the refresh token that a provider gave in place of the one that was set
    token text,
    -- until then one instance asks for a new one, and no other
    asking_until bigint not null default 0
  )`,
  `create table messages (
    seq @identity,
    tenant_id text not null,
    id text not null,
    account_key bigint not null,
    account_id text not null,
    status text not null,
    -- where the row stands for the dispatcher: 0 ended, 1 ready, 2 waiting for due_at, 3 claimed, 4 held in doubt
    stage smallint not null,
    priority smallint not null,
    batch_code text,
    due_at bigint not null,
    expires_at bigint,
    attempts bigint not null default 0,
    -- recipients that some server has accepted; above 0 the id can no longer be replaced
    accepted bigint not null default 0,
    lease bigint,
    -- which claim under that lease: a result of an earlier one must not end it. Once ended, any other number
    claim bigint,
    -- marks the unit that last wrote the content
    submission bigint not null,
    deferred_ts bigint,
    deferred_reason text,
    -- bits: 1 and 2, told deferred for a limit or a paused account (once each); 4, an attempt ended in doubt
    causes bigint not null default 0,
    sent_at bigint,
    error_at bigint,
    error text,
    code text,
    -- JSON [{address,status,code,reply}] once they differ or an attempt told something
    recipients text,
    reported_at bigint,
    created_at bigint not null,
    updated_at bigint not null,
    unique (tenant_id, id)
  )`,
  // due_at stands at its end so that the queue's age is read from the index alone.
  'create index messages_ready on messages(account_key, priority, seq, due_at) where stage = 1',
  'create index messages_waiting on messages(due_at) where stage = 2',
  'create index messages_waiting_account on messages(account_key, due_at) where stage = 2',
  'create index messages_claimed on messages(account_key) where stage = 3',
  // Also what is in flight for an account that was deleted meanwhile counts for its tenant.
  'create index messages_claimed_tenant on messages(tenant_id) where stage = 3',
  'create index messages_doubt on messages(tenant_id, seq) where stage = 4',
  'create index messages_expiring on messages(expires_at) where expires_at is not null and stage > 0',
  'create index messages_tenant on messages(tenant_id, seq)',
  'create index messages_reported on messages(reported_at) where reported_at is not null',
  `create table contents (
    seq @key references messages(seq) on delete cascade,
    -- of the message when it was written: tells whether it is still its content
    submission bigint not null,
    -- JSON {from, to}; before the content, so that who needs the recipients alone does not read megabytes
    envelope text not null,
    -- characters of the content as JavaScript counts them: a long one is read when it is sent, not when it is claimed
    size bigint not null default 0,
    -- traceparent of the request that brought it, while there are traces; before the content, as the envelope is
    trace text,
    content text not null
  )`,
  // Large attachments that came inside their message, apart from it in pieces: nobody has to hold one whole. Written
  // before the message; one that no message took up, or whose message was submitted anew, is removed by the janitor.
  `create table uploads (
    id bigint primary key,
    seq bigint references messages(seq) on delete cascade,
    -- of the message that took it up
    submission bigint,
    size bigint not null,
    created_at bigint not null
  )`,
  'create index uploads_message on uploads(seq)',
  `create table upload_parts (
    upload bigint not null references uploads(id) on delete cascade,
    part bigint not null,
    data @bytes not null,
    primary key (upload, part)
  )`,
  // What happened to a message: its history, its attempts and, while pending = 1, the outbox of reports.
  // It stands on its own (no foreign key): a report is owed even when the same id is submitted anew.
  `create table events (
    id @identity,
    tenant_id text not null,
    seq bigint not null,
    type text not null,
    at bigint not null,
    -- JSON of the report entry
    entry text not null,
    -- JSON of the SMTP attempt that led here, if one did
    attempt text,
    -- traceparent of that attempt, while there are traces
    trace text,
    pending smallint not null,
    reported_at bigint
  )`,
  'create index events_message on events(seq)',
  'create index events_pending on events(tenant_id, id) where pending = 1',
  `create table leases (
    id bigint primary key,
    holder text not null,
    -- what tells a restart of the machine or the database from one of the process alone (doubt journal)
    epoch text not null,
    until bigint not null,
    started_at bigint not null
  )`,
  // The doubt journal of PostgreSQL: claims about to send their final dot. SQLite keeps it in a file.
  `create table doubts (
    lease bigint not null,
    -- numbered by the process that holds the lease
    batch bigint not null,
    -- JSON [{k: seq, cl: claim}]
    claims text not null,
    primary key (lease, batch)
  )`,
  // What PostgreSQL may have lost of the doubt journal (written without waiting for the disk) it lost in a crash, and a
  // crash empties unlogged tables: as long as this row stands, nothing was lost.
  'create @unlogged table journal_epoch (one smallint primary key, epoch text not null)',
  // A row to lock, so that two instances do not count the same free slot.
  'create table limit_scopes (scope text primary key)',
  // A ring of 128 buckets a scope and window; each is a hundredth of the window long.
  `create table limit_buckets (
    scope text not null,
    span bigint not null,
    slot bigint not null,
    bucket bigint not null,
    used bigint not null,
    primary key (scope, span, slot)
  ) @roomy`,
  `create table rules (
    id @identity,
    tenant_id text references tenants(id) on delete cascade,
    account_id text,
    name text,
    enabled smallint not null default 1,
    priority bigint not null,
    days text not null default '[]',
    start_hour bigint,
    end_hour bigint,
    cross_midnight smallint not null default 0,
    interval_minutes bigint not null default 1,
    timezone text,
    created_at bigint not null
  )`,
  `create table command_log (
    id @identity,
    at bigint not null,
    endpoint text not null,
    tenant_id text,
    payload text not null,
    response_status bigint not null
  )`,
  'create index command_log_at on command_log(at)',
  // Which sealing keys each process has; PostgreSQL only. One not seen for a while has ended.
  `create table key_holders (
    id bigint primary key,
    holder text not null,
    -- ids of keys, each with a space before and behind it
    keys text not null,
    seen_at bigint not null
  )`,
  // Always empty: what is put here fails, and undoes a unit whose secrets were sealed with a key that was replaced.
  'create table key_fence (never smallint not null)',
  // Attachment stores. Without a tenant all may use it; without an account all accounts of its tenant.
  `create table volumes (
    key @identity,
    tenant_id text references tenants(id) on delete cascade,
    account_id text,
    name text not null,
    backend text not null,
    -- sealed as a whole
    config text not null,
    -- 0 while it was last set with a tenant's key
    trusted smallint not null,
    -- 1 while it is what config.ini says
    from_config smallint not null,
    created_at bigint not null,
    updated_at bigint not null,
    foreign key (tenant_id, account_id) references accounts(tenant_id, id) on delete cascade
  )`,
  // By name first: own and shared ones of a name are looked up together.
  `create unique index volumes_name on volumes(name, coalesce(tenant_id, ''), coalesce(account_id, ''))`,
  'create index volumes_owner on volumes(tenant_id, account_id)',
  // Where large files were put out of their mails: enough to remove them when their tenant, or its config, is long gone.
  `create table offload_stores (
    -- over tenant, trust and location, without the credentials
    digest text primary key,
    tenant_id text not null,
    -- sealed as a whole: backend, config, trusted
    settings text not null,
    -- no removal is tried before that
    retry_at bigint not null default 0,
    failures bigint not null default 0
  )`,
  `create table offloads (
    -- 128 random bits: the part of a link that nobody can guess
    id text primary key,
    store text not null references offload_stores(digest),
    path text not null,
    filename text not null,
    mime_type text not null,
    md5 text not null,
    size bigint not null,
    created_at bigint not null,
    -- removed after that; of one that is being uploaded the time its upload has
    expires_at bigint not null,
    -- uploading, stored, removing
    state text not null
  )`,
  // Once at a time: what is being removed can be put out anew.
  `create unique index offloads_content on offloads(store, md5, filename) where state <> 'removing'`,
  'create index offloads_expiring on offloads(expires_at)',
]

-- webhooks: tables
--
-- The four tables that grow (events, event_log, deliveries, webhook_attempts)
-- are partitioned by range of a UUID v7, that is by day. Their roots carry no
-- index: each leaf has its own, made with it, so that a dump restores leaf by
-- leaf beside the roots that CREATE EXTENSION made. What arrives on a day that
-- has no leaf yet goes to the default leaf.

create table event_types (
    name        text primary key check (name ~ '^[a-z][a-z0-9_]*(\.[a-z0-9_]+)+$' and length(name) <= 100),
    description text not null,
    example     jsonb not null,
    schema      jsonb,
    is_shipped  boolean not null default false
);
comment on table event_types is 'Catalogue of event types; register_event_type() adds the host''s own';
comment on column event_types.is_shipped is 'Comes with the extension, so is not part of a dump';

create table events (
    id          uuid not null,
    user_id     uuid not null,
    type        text not null,
    created_at  timestamptz not null,
    payload     text not null
) partition by range (id);
comment on table events is 'One row an event, written in the transaction in which it happened';
comment on column events.id is 'UUID v7; sent as webhook-id';
comment on column events.payload is 'The very bytes that are signed and sent';

create table event_log (
    position    bigint not null,
    user_id     uuid not null,
    event_id    uuid not null
) partition by range (event_id);
comment on table event_log is 'Commit order of the events: positions are taken while the transaction commits; read through poll_events()';

create table event_keys (
    user_id     uuid not null,
    key         text not null check (length(key) between 1 and 255),
    event_id    uuid not null,
    created_at  timestamptz not null,
    primary key (user_id, key)
);
create index event_keys_created_at_idx on event_keys (created_at);
comment on table event_keys is 'Idempotency keys given to emit_event()';

create table webhook_endpoints (
    id                    uuid primary key default gen_random_uuid(),
    user_id               uuid not null references accounts on delete cascade,
    url                   text not null,
    events                text[] not null,
    description           text,
    headers               jsonb not null default '{}',
    filter                jsonpath,
    ordering_key          jsonpath,
    signing               text not null default 'hmac' check (signing in ('hmac', 'ed25519')),
    secret                bytea not null,
    previous_secret       bytea,
    previous_secret_until timestamptz,
    public_key            text,
    client_cert           text,
    client_key            bytea,
    ca_cert               text,
    timeout               interval check (timeout > '0' and timeout <= '1 hour'),
    retry_schedule        interval[],
    rate_limit            double precision check (rate_limit > 0),
    max_concurrency       int check (max_concurrency between 1 and 1000),
    is_active             boolean not null default true,
    disabled_at           timestamptz,
    disabled_reason       text,
    installation_id       uuid not null,
    created_at            timestamptz not null default now(),
    updated_at            timestamptz not null default now()
);
create index webhook_endpoints_user_id_idx on webhook_endpoints (user_id);
comment on table webhook_endpoints is 'Subscriptions; secrets are sealed. Read the view webhooks, change by the functions';
comment on column webhook_endpoints.installation_id is 'The installation that may send to it: a restored copy has another one, see enable_sending()';

create table webhook_state (
    webhook_id      uuid primary key references webhook_endpoints on delete cascade,
    failure_count   int not null default 0,
    failing_since   timestamptz,
    last_success_at timestamptz,
    last_failure_at timestamptz,
    last_error      text,
    low_seq         bigint
) with (fillfactor = 50);
comment on table webhook_state is 'What the delivery worker knows of a webhook; written by it in batches';
comment on column webhook_state.failure_count is 'Deliveries given up in a row';
comment on column webhook_state.low_seq is 'No unsettled delivery of this webhook is below; NULL when none is below the shard''s own mark';

create table worker_marks (
    shard      int not null,
    shards     int not null,
    low_seq    bigint not null,
    low_id     uuid not null,
    updated_at timestamptz not null,
    primary key (shards, shard)
) with (fillfactor = 50);
comment on table worker_marks is 'Where a restarted delivery worker begins to look for unsettled deliveries';

create table deliveries (
    seq             bigint not null,
    id              uuid not null,
    webhook_id      uuid not null,
    user_id         uuid not null,
    event_id        uuid not null,
    order_key       bigint,
    created_at      timestamptz not null,
    next_attempt_at timestamptz,
    delivered_at    timestamptz,
    status          "char" not null,
    attempt_count   smallint not null,
    response_status smallint,
    duration_ms     int,
    last_error      text
) partition by range (id);
comment on table deliveries is 'One row an event and webhook, settled in place; read the view webhook_deliveries';
comment on column deliveries.status is 'p pending, d delivered, f failed (given up), c cancelled';
comment on column deliveries.order_key is 'Hash of the ordering key; equal keys of one webhook go strictly in order';

create table webhook_attempts (
    delivery_id      uuid not null,
    attempt          smallint not null,
    webhook_id       uuid not null,
    user_id          uuid not null,
    started_at       timestamptz not null,
    response_status  smallint,
    error            text,
    request_headers  json not null,
    response_headers json,
    response_body    text,
    truncated        boolean not null,
    dns_us           int,
    connect_us       int,
    tls_us           int,
    first_byte_us    int,
    total_us         int not null,
    remote_addr      text
) partition by range (delivery_id);
comment on table webhook_attempts is 'One row an attempt: what was sent, what came back, how long each part took';

-- The leaves of one day, or the default leaves for NULL. Called by the
-- maintenance of the workers and, for the default leaves, at installation.
create function _create_leaves(day date) returns void
language plpgsql set search_path = musicverse, pg_temp as $$
declare
    suffix text := coalesce(to_char(day, 'YYYYMMDD'), 'default');
    bounds text := case when day is null then 'default' else
        format('for values from (%L) to (%L)',
               _uuid7_bound(day::timestamp at time zone 'UTC'),
               _uuid7_bound((day + 1)::timestamp at time zone 'UTC')) end;
begin
    execute format('create table events_%1$s partition of events %2$s', suffix, bounds);
    execute format('alter table events_%1$s add primary key (id)', suffix);

    execute format('create table event_log_%1$s partition of event_log %2$s', suffix, bounds);
    execute format('create index event_log_%1$s_user_id_position_idx on event_log_%1$s (user_id, position)', suffix);

    execute format('create table deliveries_%1$s partition of deliveries %2$s with (fillfactor = 50)', suffix, bounds);
    execute format('alter table deliveries_%1$s add primary key (id)', suffix);
    execute format('create index deliveries_%1$s_seq_idx on deliveries_%1$s (seq)', suffix);
    execute format('create index deliveries_%1$s_webhook_id_seq_idx on deliveries_%1$s (webhook_id, seq)', suffix);
    execute format('create index deliveries_%1$s_event_id_idx on deliveries_%1$s (event_id)', suffix);

    execute format('create table webhook_attempts_%1$s partition of webhook_attempts %2$s', suffix, bounds);
    execute format('alter table webhook_attempts_%1$s add primary key (delivery_id, attempt)', suffix);

    -- Policies are those of the roots; nobody is to go past them.
    execute format('alter table events_%s enable row level security', suffix);
    execute format('alter table event_log_%s enable row level security', suffix);
    execute format('alter table deliveries_%s enable row level security', suffix);
    execute format('alter table webhook_attempts_%s enable row level security', suffix);
end
$$;
comment on function _create_leaves(date) is 'Creates the leaves of one day, or the default leaves';

select _create_leaves(null);

-- api: the dispatcher's door for SQL, versions that are on their way out,
-- answers kept for an Idempotency-Key, cursors of lists

create table api_versions (
    version       text primary key check (version ~ '^v[1-9][0-9]*$'),
    deprecated_at timestamptz not null,
    sunset_at     timestamptz check (sunset_at >= deprecated_at),
    successor     text check (successor ~ '^v[1-9][0-9]*$' and successor <> version)
);
comment on table api_versions is 'Versions of the API that are deprecated; the others have no row';
comment on column api_versions.deprecated_at is 'Told by the header Deprecation';
comment on column api_versions.sunset_at is 'When it will be gone, told by the header Sunset';
comment on column api_versions.successor is 'The version to change to, told by a Link';

create trigger invalidate after insert or update or delete or truncate on api_versions
    for each statement execute function _invalidate_relation();
alter table api_versions enable always trigger invalidate;

create table idempotency_keys (
    user_id    uuid not null references accounts on delete cascade,
    key        text collate "C" not null check (octet_length(key) between 1 and 255),
    request    bytea not null,
    response   bytea not null,
    created_at timestamptz not null default _now(),
    primary key (user_id, key)
);
create index idempotency_keys_created_at_idx on idempotency_keys (created_at);
create trigger a_ensure_account before insert on idempotency_keys
    for each row execute function ensure_account('user_id');
comment on table idempotency_keys is 'Answers to POSTs that bore an Idempotency-Key, to be given again to the same request';
comment on column idempotency_keys.request is 'Digest of the request; another one with the same key is refused';
comment on column idempotency_keys.response is 'Sealed, as it may hold the secret of a key or a webhook';

create function _tend_idempotency_keys(retention interval) returns bigint
language sql volatile set search_path = musicverse, pg_catalog, pg_temp as $$
    with old as (
        delete from idempotency_keys where created_at < _now() - retention
        returning 1
    )
    select count(*) from old
$$;
comment on function _tend_idempotency_keys(interval) is 'Forgets answers that are older; the usage worker calls it';

create function handle_request(method text, path text, query jsonb, headers jsonb, body text, client_ip inet default null,
                               out status int, out headers jsonb, out body text) returns record
language c volatile as 'MODULE_PATHNAME', 'musicverse_handle_request';
comment on function handle_request(text, text, jsonb, jsonb, text, inet) is
    'Answers a request of HTTP as the gateway would; values of query and headers are strings or arrays of strings';

create function _cursor(operation text, payload text) returns text
language c volatile strict as 'MODULE_PATHNAME', 'musicverse_cursor';
comment on function _cursor(text, text) is 'A place in a list, sealed for the operation and the caller';

create function _open_cursor(operation text, cursor text) returns text
language c stable strict as 'MODULE_PATHNAME', 'musicverse_open_cursor';
comment on function _open_cursor(text, text) is 'The payload of a cursor; raises when it is not the caller''s or another list''s';

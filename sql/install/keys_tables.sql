-- keys: API keys, the catalogue of scopes, and what tells the cache of changes

create table scopes (
    name        text primary key check (name ~ '^[a-z][a-z0-9_]*(:[a-z0-9_]+)*$' and length(name) <= 63),
    description text not null,
    is_shipped  boolean not null default false
);
comment on table scopes is 'What a key may be allowed to do; insert a host''s own';
comment on column scopes.is_shipped is 'Comes with the extension, so is not part of a dump';

insert into scopes (name, description, is_shipped) values
    ('generate',            'Generate music, cancel generation jobs', true),
    ('jobs:read',           'Read generation jobs', true),
    ('tracks:read',         'Read tracks', true),
    ('tracks:write',        'Change and delete tracks', true),
    ('webhooks:read',       'Read webhooks, their deliveries and events', true),
    ('webhooks:write',      'Create, change, test, replay and delete webhooks', true),
    ('distributions:read',  'Read distributions and their statistics', true),
    ('distributions:write', 'Create, submit, change and take down distributions', true),
    ('usage:read',          'Read usage and limits', true),
    ('keys:write',          'Create, rotate and revoke API keys', true);

create table api_keys (
    id                uuid primary key default gen_random_uuid(),
    user_id           uuid not null references accounts on delete cascade,
    key_hash          text collate "C" not null unique check (key_hash ~ '^[0-9a-f]{64}$'),
    key_prefix        text not null check (length(key_prefix) = 8),
    name              text not null check (length(name) between 1 and 255),
    scopes            text[] not null default '{}'
                      check (array_position(scopes, null) is null and octet_length(array_to_string(scopes, ' ')) <= 480),
    last_used_at      timestamptz,
    last_used_ip      inet,
    expires_at        timestamptz,
    created_at        timestamptz not null default now(),
    revoked_at        timestamptz,
    revoked_reason    text,
    works_until       timestamptz check (works_until is null or revoked_at is not null),
    allowed_cidrs     cidr[] check (array_position(allowed_cidrs, null) is null and cardinality(allowed_cidrs) between 1 and 16),
    require_signature boolean not null default false,
    rotated_from      uuid references api_keys on delete set null
) with (fillfactor = 80);
create index api_keys_user_id_created_at_idx on api_keys (user_id, created_at);
create index api_keys_rotated_from_idx on api_keys (rotated_from);
comment on table api_keys is 'API keys by the hash of their text; made and changed by the functions';
comment on column api_keys.key_hash is 'SHA-256 of the key''s text, in hex; the text itself is nowhere';
comment on column api_keys.key_prefix is 'The first 8 characters of the key''s text, to tell keys apart';
comment on column api_keys.scopes is 'What it may do; none means everything';
comment on column api_keys.last_used_at is 'When it was last let through, written by the usage worker at most 60 s later';
comment on column api_keys.revoked_at is 'When it was revoked or is to be, after a rotation';
comment on column api_keys.works_until is 'A rotated key works until then; without it a revoked key is refused whatever the clock says';
comment on column api_keys.allowed_cidrs is 'Networks that it may be used from, NULL for any';
comment on column api_keys.require_signature is 'Calls must be signed, see verify_request_signature()';
comment on column api_keys.rotated_from is 'The key whose place it took';

-- Verdicts stand in a cache, which is told of every change that matters here
-- when it is committed. ALWAYS, as a subscriber of a replication or a script
-- with session_replication_role = replica changes keys as well.
create function _keys_changed() returns trigger
language c as 'MODULE_PATHNAME', 'musicverse_keys_changed';
comment on function _keys_changed() is 'Makes the cache forget a key, a user''s limits or all of it when this transaction commits';

create trigger keys_changed after delete or update of id, user_id, key_hash, scopes, expires_at, revoked_at, works_until, allowed_cidrs, require_signature on api_keys
    for each row execute function _keys_changed('key');
create trigger keys_truncated after truncate on api_keys
    for each statement execute function _keys_changed('all');
create trigger limits_changed_insert after insert on accounts
    for each row when (new.tier <> 'free') execute function _keys_changed('user');
create trigger limits_changed_update after update of user_id, tier on accounts
    for each row when (old.tier is distinct from new.tier or old.user_id is distinct from new.user_id)
    execute function _keys_changed('user');
create trigger limits_changed_delete after delete on accounts
    for each row execute function _keys_changed('user');
create trigger limits_truncated after truncate on accounts
    for each statement execute function _keys_changed('all');
create trigger limits_changed after insert or update or delete or truncate on tiers
    for each statement execute function _keys_changed('all');
create trigger roles_changed after insert or update or delete or truncate on exposed_roles
    for each statement execute function _keys_changed('all');

do $$
declare
    item record;
begin
    for item in
        select t.tgrelid::regclass as relation, t.tgname from pg_trigger t
         where t.tgfoid = '_keys_changed'::regproc
    loop
        execute format('alter table %s enable always trigger %I', item.relation, item.tgname);
    end loop;
end
$$;

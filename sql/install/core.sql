-- core: installation, clock, identifiers, secrets

revoke all on schema musicverse from public;

create table installation (
    id         uuid not null,
    identity   text not null,
    created_at timestamptz not null default now(),
    only_one   boolean primary key default true check (only_one)
);
comment on table installation is
    'Which cluster and database may send. Not dumped: a restored copy has its own row, so what it brought along stands still until enable_sending()';

create function _identity() returns text
language c volatile strict as 'MODULE_PATHNAME', 'musicverse_identity';
comment on function _identity() is 'What tells this database from a copy of it';

create function _now() returns timestamptz
language c volatile strict parallel safe as 'MODULE_PATHNAME', 'musicverse_now';
comment on function _now() is 'The clock that schedules ask: the server''s, moved by advance_clock()';

create function advance_clock(by interval) returns timestamptz
language c volatile strict as 'MODULE_PATHNAME', 'musicverse_advance_clock';
comment on function advance_clock(interval) is 'For tests: moves the clock of all schedules; needs musicverse.test_clock = on';

create function _uuid7() returns uuid
language c volatile strict parallel safe as 'MODULE_PATHNAME', 'musicverse_uuid7';
comment on function _uuid7() is 'A new time-ordered UUID';

create function _uuid7_bound(at timestamptz) returns uuid
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_uuid7_bound';
comment on function _uuid7_bound(timestamptz) is 'The smallest UUID v7 of a moment';

create function _uuid7_time(id uuid) returns timestamptz
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_uuid7_time';
comment on function _uuid7_time(uuid) is 'The moment in a UUID v7';

create function _next_number() returns bigint
language c volatile strict as 'MODULE_PATHNAME', 'musicverse_next_number';
comment on function _next_number() is 'A delivery number: greater than all before it, microseconds since 1970 as long as they suffice';

create function _seal(secret text, context text) returns bytea
language c volatile strict as 'MODULE_PATHNAME', 'musicverse_seal';
comment on function _seal(text, text) is 'Seals a secret under the current master key';

create function _unseal(sealed bytea, context text) returns text
language c volatile strict as 'MODULE_PATHNAME', 'musicverse_unseal';
comment on function _unseal(bytea, text) is 'Opens a sealed secret';

create function _reseal(sealed bytea, context text) returns bytea
language c volatile strict as 'MODULE_PATHNAME', 'musicverse_reseal';
comment on function _reseal(bytea, text) is 'The same secret under the current master key';

create function _add_master_key() returns bigint
language c volatile strict as 'MODULE_PATHNAME', 'musicverse_add_master_key';
comment on function _add_master_key() is 'Appends a new master key to the key file and makes it the current one; returns its id';

create function current_user_id() returns uuid
language c stable parallel restricted as 'MODULE_PATHNAME', 'musicverse_current_user_id';
comment on function current_user_id() is
    'The caller: set by the gateway or pre_request(), else the sub of request.jwt.claims, else NULL';

create function _wake() returns void
language c volatile strict as 'MODULE_PATHNAME', 'musicverse_wake';
comment on function _wake() is 'At the commit of this transaction, wakes the launcher and all workers of this database';

create function _invalidate_relation() returns trigger
language c as 'MODULE_PATHNAME', 'musicverse_invalidate_relation';
comment on function _invalidate_relation() is 'Makes all processes forget what they keep of the table when this transaction commits';

-- A number of a few bytes such as 1e131000 is a text of as many digits, and a
-- document full of them one that fits into no memory. So exponents of four
-- digits and more are refused, where they are no part of a string.
create function _foreign_json(body text) returns jsonb
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
    exponent constant text := '[0-9][eE][+-]?[0-9]{4}';
begin
    if body ~ exponent and regexp_replace(body, '"(?:[^"\\]|\\.)*"', '', 'g') ~ exponent then
        return null;
    end if;
    return body::jsonb;
exception when others then
    return null;
end
$$;
comment on function _foreign_json(text) is 'What others sent as JSON; NULL when it is none, or has numbers of absurd size';

insert into installation (id, identity) values (gen_random_uuid(), _identity());
select _wake();

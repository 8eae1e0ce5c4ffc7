-- keys: making, rotating, revoking and verifying API keys
--
-- Locks: create_api_key() updates the account's row, so that keys of one user
-- are counted one after the other; the others lock the key's row.

create function _new_api_key(out key text, out key_hash text) returns record
language c volatile as 'MODULE_PATHNAME', 'musicverse_new_api_key';
comment on function _new_api_key() is 'The text of a new key, and its hash';

create function _hash_of_key(key text) returns text
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_hash_of_key';
comment on function _hash_of_key(text) is 'The hash of a key''s text; NULL for a text that is no key';

create function verify_api_key(key text, scope text default null, client_ip inet default null, cost int default 1,
                               is_signed boolean default false,
                               out allowed boolean, out status int, out reason text, out key_id uuid, out user_id uuid, out tier text,
                               out "limit" int, out remaining int, out retry_after numeric, out policy text,
                               out resets_at timestamptz) returns record
language c volatile as 'MODULE_PATHNAME', 'musicverse_verify_api_key';
comment on function verify_api_key(text, text, inet, int, boolean) is
    'The verdict on a call with a key: status 200, 401, 403 or 429, the reason, whose key it is and what is left of the tightest limit (policy). Takes cost tokens; never raises for a bad key';

create function verify_signed_request(key text, signature text, method text, path text, ts bigint, body text,
                                      scope text default null, client_ip inet default null, cost int default 1,
                                      out allowed boolean, out status int, out reason text, out key_id uuid, out user_id uuid, out tier text,
                                      out "limit" int, out remaining int, out retry_after numeric, out policy text,
                                      out resets_at timestamptz) returns record
language c volatile as 'MODULE_PATHNAME', 'musicverse_verify_signed_request';
comment on function verify_signed_request(text, text, text, text, bigint, text, text, inet, int) is
    'The same for a call whose signature is to be verified, as soon as the key is known to be good. Without signature and ts a call is not signed';

create function _check_key_scopes(scopes text[]) returns text[]
language plpgsql stable security definer set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    unknown text;
    result text[];
begin
    if scopes is null or array_position(scopes, null) is not null then
        raise exception 'scopes must not be or contain null' using errcode = '22004', hint = 'An empty array allows every scope.';
    end if;
    select s into unknown from unnest(scopes) s where not exists (select from scopes k where k.name = s) order by s limit 1;
    if unknown is not null then
        raise exception 'unknown scope "%"', left(unknown, 100)
            using errcode = '22023', hint = 'Known scopes: ' || (select string_agg(k.name, ', ' order by k.name) from scopes k) || '.';
    end if;
    result := array(select distinct s from unnest(scopes) s order by s);
    if octet_length(array_to_string(result, ' ')) > 480 then
        raise exception 'a key can''t have % scopes of % bytes in all', cardinality(result), octet_length(array_to_string(result, ' '))
            using errcode = '54000', hint = 'Their names may have 480 bytes; an empty array allows every scope.';
    end if;
    return result;
end
$$;
comment on function _check_key_scopes(text[]) is 'Refuses unknown scopes by name; sorts out the rest';

create function _insert_api_key(wanted api_keys, out id uuid, out key text, out key_prefix text, out expires_at timestamptz) returns record
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    hash text;
begin
    select n.key, n.key_hash into key, hash from _new_api_key() n;
    id := gen_random_uuid();
    key_prefix := left(key, 8);
    expires_at := wanted.expires_at;
    insert into api_keys (id, user_id, key_hash, key_prefix, name, scopes, expires_at, allowed_cidrs, require_signature, rotated_from)
    values (id, wanted.user_id, hash, key_prefix, wanted.name, wanted.scopes, wanted.expires_at,
            wanted.allowed_cidrs, wanted.require_signature, wanted.rotated_from);
end
$$;
comment on function _insert_api_key(api_keys) is 'A new key with these properties';

create function create_api_key(out id uuid, out key text, out key_prefix text,
                               user_id uuid, name text, scopes text[] default '{}', inout expires_at timestamptz default null,
                               allowed_cidrs cidr[] default null, require_signature boolean default false) returns record
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    tier_name text;
    allowed int;
    wanted api_keys;
begin
    perform _require_user(user_id);
    if name is null or length(name) not between 1 and 255 then
        raise exception 'the name of a key must have 1 to 255 characters, not %', coalesce(length(name)::text, 'null')
            using errcode = '22023', hint = 'Name what the key is for, such as ''production server''.';
    elsif expires_at <= _now() then
        raise exception 'expires_at % is in the past', expires_at
            using errcode = '22023', hint = 'Leave it out for a key that does not expire.';
    elsif cardinality(allowed_cidrs) not between 1 and 16 or array_position(allowed_cidrs, null) is not null then
        raise exception 'allowed_cidrs must have 1 to 16 networks and no null'
            using errcode = '22023', hint = 'Leave it out for a key that may be used from everywhere.';
    end if;

    insert into accounts as a (user_id) values (user_id) on conflict do nothing;
    -- An update, as a lock alone would let transactions with older snapshots count too few
    update accounts a set tier = a.tier from tiers t
     where t.name = a.tier and a.user_id = create_api_key.user_id
    returning t.name, t.max_api_keys into tier_name, allowed;
    if (select count(*) >= allowed from api_keys k
         where k.user_id = create_api_key.user_id and k.revoked_at is null and coalesce(k.expires_at > _now(), true)) then
        raise exception 'user % has % API keys already, as many as tier "%" allows', user_id, allowed, tier_name
            using errcode = '53400', hint = 'Revoke a key, or move the account to a larger tier by set_tier().';
    end if;

    wanted.user_id := user_id;
    wanted.name := name;
    wanted.scopes := _check_key_scopes(scopes);
    wanted.expires_at := expires_at;
    wanted.allowed_cidrs := allowed_cidrs;
    wanted.require_signature := coalesce(require_signature, false);
    select n.id, n.key, n.key_prefix, n.expires_at into id, key, key_prefix, expires_at from _insert_api_key(wanted) n;
end
$$;
comment on function create_api_key(uuid, text, text[], timestamptz, cidr[], boolean) is
    'Makes a key for a user; the only time its text is seen. No scopes: every scope; no allowed_cidrs: from everywhere';

-- The key of the caller, locked, or an error that doesn't tell others' keys from none.
create function _own_api_key(id uuid) returns api_keys
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    result api_keys;
begin
    select * into result from api_keys k
     where k.id = _own_api_key.id and (caller_is_service() or k.user_id = current_user_id())
       for update;
    if not found then
        raise exception 'there is no API key %', coalesce(id::text, 'null') using errcode = '22023';
    end if;
    return result;
end
$$;
comment on function _own_api_key(uuid) is 'Finds and locks a key of the caller''s';

create function rotate_api_key(inout id uuid, out key text, out key_prefix text, out expires_at timestamptz,
                               overlap interval default '0') returns record
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    old api_keys;
    wanted api_keys;
    until timestamptz;
begin
    if overlap is null or overlap < '0' or overlap > '1 year' then
        raise exception 'overlap must be between 0 and 1 year, but is %', coalesce(overlap::text, 'null') using errcode = '22023';
    end if;
    old := _own_api_key(id);
    if old.revoked_at is not null then
        raise exception 'API key % is revoked or was rotated already', old.id
            using errcode = '55000', hint = 'Rotate the key that took its place, or create a new one.';
    elsif old.expires_at <= _now() then
        raise exception 'API key % has expired', old.id using errcode = '55000', hint = 'Create a new key.';
    end if;
    until := _now() + overlap;
    update api_keys k
       set revoked_at = until, works_until = case when overlap > '0' then until end, revoked_reason = 'rotated'
     where k.id = old.id;
    wanted := old;
    wanted.rotated_from := old.id;
    select n.id, n.key, n.key_prefix, n.expires_at into id, key, key_prefix, expires_at from _insert_api_key(wanted) n;
end
$$;
comment on function rotate_api_key(uuid, interval) is
    'Makes a new key with the properties of an old one, which works for the overlap yet; the only time its text is seen';

create function revoke_api_key(id uuid, reason text default null) returns boolean
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    update api_keys k set revoked_at = _now(), works_until = null, revoked_reason = left(reason, 255)
     where k.id = revoke_api_key.id and (caller_is_service() or k.user_id = current_user_id())
       and (k.revoked_at is null or k.works_until is not null);
    return found;
end
$$;
comment on function revoke_api_key(uuid, text) is
    'Refuses a key from the commit on, in every session; false when there is no such key or it is revoked already';

create function report_leaked_key(key text, source text default null) returns boolean
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    leaked api_keys;
begin
    update api_keys k
       set revoked_at = _now(), works_until = null, revoked_reason = 'leaked' || coalesce(': ' || left(source, 240), '')
     where k.key_hash = _hash_of_key(report_leaked_key.key)
       and (k.revoked_at is null or k.works_until is not null)
    returning * into leaked;
    if not found then
        return false;
    end if;
    perform emit_event(leaked.user_id, 'api_key.leaked',
        jsonb_build_object('id', leaked.id, 'user_id', leaked.user_id, 'name', leaked.name, 'key_prefix', leaked.key_prefix,
                           'source', left(source, 240), 'revoked_at', leaked.revoked_at));
    return true;
end
$$;
comment on function report_leaked_key(text, text) is
    'Revokes a key that was found in the wild by its text, and tells its owner by the event api_key.leaked; false for an unknown or revoked key';

insert into event_types (name, description, example, is_shipped) values
    ('api_key.leaked', 'An API key was found where it does not belong, and was revoked',
     '{"id": "0b8f4c52-6f3e-4f0a-9d0e-5a1f2f6f7a11", "user_id": "7c9e6679-7425-40de-944b-e07fc1f90ae7", "name": "production server",
       "key_prefix": "mvai_4Jq", "source": "https://git.example.com/acme/app", "revoked_at": "2026-03-09T10:15:00.123456Z"}', true);

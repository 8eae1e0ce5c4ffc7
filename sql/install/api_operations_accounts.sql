-- api: the operations of API keys, the account and its usage

-- ---- API keys

create function _api_get_api_key(key_id uuid) returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    me uuid := _api_user();
    k _readable_api_keys;
begin
    select * into k from _readable_api_keys x where x.id = key_id and x.user_id = me;
    if not found then
        perform _api_missing('API key', key_id);
    end if;
    return _api_api_key(k);
end
$$;
comment on function _api_get_api_key(uuid) is 'An API key';

create function _api_create_api_key(name text, scopes text[], expires_at timestamptz, allowed_cidrs cidr[], require_signature boolean) returns json
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    made record;
begin
    perform _check_delegation(_caller_key_id(), scopes, expires_at, allowed_cidrs, require_signature);
    select * into made from create_api_key(_api_user(), name, scopes, expires_at, allowed_cidrs, require_signature);
    return _api_with(_api_get_api_key(made.id), 'key', made.key);
end
$$;
comment on function _api_create_api_key(text, text[], timestamptz, cidr[], boolean) is 'Makes an API key; its text is seen this once';

create function _api_list_api_keys(operation text, "limit" int, cursor text, "offset" int) returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp set plan_cache_mode = force_generic_plan as $$
declare
    me uuid := _api_user();
    place text[] := _api_place(operation, '', "limit", cursor, "offset");
    before timestamptz := coalesce(place[1]::timestamptz, 'infinity');
    before_id uuid := coalesce(place[2]::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
    page _readable_api_keys[];
begin
    page := array(select k from _readable_api_keys k where k.user_id = me and (k.created_at, k.id) < (before, before_id)
                    order by k.created_at desc, k.id desc limit "limit" + 1 offset "offset");
    return _api_page((select json_agg(_api_api_key(k)) from unnest(page[:"limit"]) k),
        case when cardinality(page) > "limit" then
            _api_next(operation, '', to_json(page["limit"].created_at) #>> '{}', page["limit"].id::text) end);
end
$$;
comment on function _api_list_api_keys(text, int, text, int) is 'A page of API keys, newest first, also of those that no longer work';

create function _api_rotate_api_key(key_id uuid, overlap_seconds int) returns json
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    k record;
    made record;
begin
    perform _api_get_api_key(key_id);
    perform _api_range('overlap_seconds', overlap_seconds, 0, 31536000);
    select * into k from _readable_api_keys x where x.id = key_id;
    perform _check_delegation(_caller_key_id(), k.scopes, k.expires_at, k.allowed_cidrs, k.require_signature);
    select * into made from rotate_api_key(key_id, make_interval(secs => overlap_seconds));
    return _api_with(_api_get_api_key(made.id), 'key', made.key);
end
$$;
comment on function _api_rotate_api_key(uuid, int) is 'Makes the key that takes the place of another; its text is seen this once';

create function _api_revoke_api_key(key_id uuid) returns void
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    perform _api_get_api_key(key_id);
    perform revoke_api_key(key_id, 'by the API');
end
$$;
comment on function _api_revoke_api_key(uuid) is 'Revokes an API key; one that is revoked already stays so';

-- ---- account and usage

create function _api_get_me() returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    me uuid := _api_user();
begin
    return (select json_build_object(
            'user_id', me, 'tier', t.name, 'created_at', _api_time(a.created_at),
            'limits', json_build_object('burst', t.burst, 'refill_per_second', t.refill_per_second, 'limit_by', t.limit_by,
                                        'max_api_keys', t.max_api_keys, 'max_webhooks', t.max_webhooks, 'max_concurrent_jobs', t.max_concurrent_jobs),
            'quotas', (select json_agg(json_build_object('period', q.period, 'limit', q."limit", 'used', q.used, 'remaining', q.remaining,
                                                         'resets_at', _api_time(q.resets_at))) from quota_status(me) q),
            'key', (select _api_api_key(k) from _readable_api_keys k where k.id = _caller_key_id()))
      from (select) one left join accounts a on a.user_id = me join tiers t on t.name = coalesce(a.tier, 'free'));
end
$$;
comment on function _api_get_me() is 'The caller''s account, tier, limits, quotas and key';

create function _api_get_usage("from" timestamptz, "to" timestamptz, bucket text) returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    until timestamptz := coalesce("to", clock_timestamp());
    since timestamptz := coalesce("from", until - interval '30 days');
begin
    return (select json_build_object('from', _api_time(since), 'to', _api_time(until), 'bucket', bucket, 'data', coalesce(json_agg(json_build_object(
                   'start', _api_time(u.bucket_start), 'calls', u.calls, 'errors', u.errors, 'refused', u.refused, 'bytes_in', u.bytes_in,
                   'bytes_out', u.bytes_out, 'p50_ms', u.p50_ms, 'p95_ms', u.p95_ms, 'p99_ms', u.p99_ms) order by u.bucket_start), '[]'))
              from usage_summary(_api_user(), since, until, bucket) u);
end
$$;
comment on function _api_get_usage(timestamptz, timestamptz, text) is 'The caller''s usage by time';

create function _api_get_usage_top("from" timestamptz, "to" timestamptz, "by" text, "limit" int) returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    until timestamptz := coalesce("to", clock_timestamp());
    since timestamptz := coalesce("from", until - interval '30 days');
begin
    perform _api_choice('by', "by", '{operation,key,status}');
    perform _api_range('limit', "limit", 1, 100);
    return (select json_build_object('from', _api_time(since), 'to', _api_time(until), 'by', "by", 'data', coalesce(json_agg(json_build_object(
                   'name', u.name, 'calls', u.calls, 'errors', u.errors, 'refused', u.refused, 'bytes_in', u.bytes_in, 'bytes_out', u.bytes_out,
                   'p95_ms', u.p95_ms) order by u.calls desc, u.name), '[]'))
              from usage_top(_api_user(), since, until, "by", "limit") u);
end
$$;
comment on function _api_get_usage_top(timestamptz, timestamptz, text, int) is 'What the caller called most';

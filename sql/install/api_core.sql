-- api: what the operations of all versions stand on: who asks, pages of
-- lists, the JSON of a resource
--
-- Operations run as whoever asks, under row-level security, and name the user
-- in their queries all the same, so that these use the indexes of the user's
-- rows. Every list goes by (created_at, id), or another unique order, from
-- where the cursor says; nothing is sorted and nothing skipped but by offset.

-- For lists by style and status
create index tracks_user_id_style_created_at_idx on tracks (user_id, style, created_at desc, id desc) where deleted_at is null;
create index generation_jobs_user_id_status_created_at_idx on generation_jobs (user_id, status, created_at desc, id desc);
create index webhook_endpoints_user_id_created_at_idx on webhook_endpoints (user_id, created_at desc, id desc);
create index api_keys_user_id_created_at_id_idx on api_keys (user_id, created_at desc, id desc);

-- ---- who asks

create function _api_user() returns uuid
language c stable as 'MODULE_PATHNAME', 'musicverse_api_user';
comment on function _api_user() is 'The user who asks; 401 without one';

create function _caller_key_id() returns uuid
language c stable parallel restricted as 'MODULE_PATHNAME', 'musicverse_caller_key_id';
comment on function _caller_key_id() is 'The API key by which the caller came; NULL when it came by other means';

-- Otherwise a key that leaked could mint itself a mightier or longer-lived one.
create function _check_delegation(caller_key uuid, scopes text[], expires_at timestamptz, allowed_cidrs cidr[], require_signature boolean) returns void
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    k record;
    problem text;
begin
    if caller_key is null then
        return;
    end if;
    select a.scopes, least(a.expires_at, a.works_until) as expires_at, a.allowed_cidrs, a.require_signature into k from api_keys a where a.id = caller_key;
    if not found then
        raise exception 'the key that asks is gone' using errcode = '42501', hint = 'Ask with another key.';
    end if;
    problem := case
        when cardinality(k.scopes) > 0 and coalesce(cardinality(scopes), 0) = 0 then 'a key for every scope'
        when cardinality(k.scopes) > 0 and not scopes <@ k.scopes then
            format('a key with scope "%s"', (select left(s, 63) from unnest(scopes) s where s <> all (k.scopes) order by s limit 1))
        when k.expires_at < coalesce(expires_at, 'infinity') then format('a key that outlives it (%s)', _api_time(k.expires_at))
        when k.require_signature and require_signature is not true then 'a key without signed requests'
        when k.allowed_cidrs is not null
            and (allowed_cidrs is null
                 or exists (select from unnest(allowed_cidrs) n where not exists (select from unnest(k.allowed_cidrs) o where n <<= o)))
            then 'a key for other networks' end;
    if problem is not null then
        raise exception 'the key that asks cannot hand out %', problem
            using errcode = '42501', hint = 'A key hands out no more than it may do itself: name its own scopes, networks and end, or ask with another key.';
    end if;
end
$$;
comment on function _check_delegation(uuid, text[], timestamptz, cidr[], boolean) is
    'Refuses to let a key make one that may do more, from elsewhere, for longer, or unsigned; NULL is a caller without a key';

-- ---- arguments

-- A property that a PATCH leaves out is told from one that is null by this
-- default, which no property can have as its value.
create function _absent() returns jsonb
language sql immutable parallel safe return '["\u0001 absent"]'::jsonb;
comment on function _absent() is 'The default of an argument that is not given';

create function _present(properties jsonb) returns jsonb
language sql immutable parallel safe
return (select coalesce(jsonb_object_agg(e.key, e.value), '{}') from jsonb_each(properties) e where e.value <> musicverse._absent());
comment on function _present(jsonb) is 'The properties without those that were not given';

create function _api_range(name text, value numeric, lowest numeric, highest numeric) returns void
language c immutable as 'MODULE_PATHNAME', 'musicverse_api_range';
comment on function _api_range(text, numeric, numeric, numeric) is 'Refuses a number that is NULL or out of range';

create function _api_choice(name text, value text, known text[]) returns void
language c immutable as 'MODULE_PATHNAME', 'musicverse_api_choice';
comment on function _api_choice(text, text, text[]) is 'Refuses a word that is none of the known ones; NULL passes';

-- ---- pages

-- A cursor holds a digest of the filters of its list, and where to go on.
create function _api_next(operation text, filters text, variadic place text[]) returns text
language sql return musicverse._cursor(operation, to_json(md5(filters) || place)::text);
comment on function _api_next(text, text, text[]) is 'The cursor of the page after a place';

create function _api_place(operation text, filters text, "limit" int, cursor text, "offset" int default 0) returns text[]
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    place text[];
begin
    perform _api_range('limit', "limit", 1, 100);
    perform _api_range('offset', "offset", 0, 10000);
    if cursor is null then
        return null;
    elsif "offset" > 0 then
        raise exception 'cursor and offset do not go together'
            using errcode = '22023', detail = '{"field": "/offset"}', hint = 'Go on by next_cursor alone.';
    end if;
    place := array(select json_array_elements_text(_open_cursor(operation, cursor)::json));
    if place[1] is distinct from md5(filters) then
        raise exception 'the cursor belongs to a list with other filters'
            using errcode = '22023', detail = '{"field": "/cursor"}', hint = 'Repeat the filters of the first page, or begin without a cursor.';
    end if;
    return place[2:];
end
$$;
comment on function _api_place(text, text, int, text, int) is 'Judges the arguments of a page; where the cursor says that it begins, NULL for the first';

create function _api_page(data json, next_cursor text) returns json
language sql stable parallel safe return json_build_object('data', coalesce(data, '[]'), 'next_cursor', next_cursor);
comment on function _api_page(json, text) is 'A page of a list';

-- ---- the JSON of a resource

create function _api_with(resource json, name text, value text) returns json
language sql stable parallel safe return (left(resource::text, -1) || ', ' || to_json(name) || ' : ' || to_json(value) || '}')::json;
comment on function _api_with(json, text, text) is 'A resource, not an empty one, with one more property, such as a secret that is seen this once';

create function _api_time(at timestamptz) returns text
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_api_time';
comment on function _api_time(timestamptz) is 'A time as the API writes it: RFC 3339 in UTC';

create function _api_track(t tracks) returns json
language c stable parallel safe as 'MODULE_PATHNAME', 'musicverse_api_track';
comment on function _api_track(tracks) is 'A track as JSON';

create function _api_job(version int, j generation_jobs, t tracks) returns json
language c stable parallel safe as 'MODULE_PATHNAME', 'musicverse_api_job';
comment on function _api_job(int, generation_jobs, tracks) is 'A job as JSON of a version';

create function _api_webhook(w webhooks) returns json
language sql stable parallel safe return json_build_object(
    'id', w.id, 'url', w.url, 'events', w.events, 'description', w.description, 'headers', w.headers, 'filter', w.filter,
    'ordering_key', w.ordering_key, 'signing', w.signing, 'public_key', w.public_key, 'timeout', extract(epoch from w.timeout)::float8,
    'retry_schedule', (select json_agg(extract(epoch from s.step)::float8 order by s.n) from unnest(w.retry_schedule) with ordinality s (step, n)),
    'rate_limit', w.rate_limit, 'max_concurrency', w.max_concurrency, 'is_active', w.is_active,
    'disabled_at', musicverse._api_time(w.disabled_at), 'disabled_reason', w.disabled_reason, 'failure_count', w.failure_count,
    'failing_since', musicverse._api_time(w.failing_since), 'last_success_at', musicverse._api_time(w.last_success_at),
    'last_failure_at', musicverse._api_time(w.last_failure_at), 'last_error', w.last_error,
    'created_at', musicverse._api_time(w.created_at), 'updated_at', musicverse._api_time(w.updated_at));
comment on function _api_webhook(webhooks) is 'A webhook as JSON, without its secrets';

-- The columns that may be read, as the row has one that may not
create view _readable_api_keys with (security_invoker = true) as
select k.id, k.user_id, k.key_prefix, k.name, k.scopes, k.last_used_at, k.last_used_ip, k.expires_at, k.created_at, k.revoked_at,
       k.revoked_reason, k.works_until, k.allowed_cidrs, k.require_signature, k.rotated_from
  from api_keys k;
comment on view _readable_api_keys is 'api_keys without the hashes';

create function _api_api_key(k _readable_api_keys) returns json
language sql stable parallel safe return json_build_object(
    'id', k.id, 'name', k.name, 'key_prefix', k.key_prefix, 'scopes', k.scopes,
    'status', case when k.works_until > musicverse._now() then 'rotated' when k.revoked_at is not null then 'revoked'
                   when k.expires_at <= musicverse._now() then 'expired' else 'active' end,
    'allowed_cidrs', k.allowed_cidrs, 'require_signature', k.require_signature, 'last_used_at', musicverse._api_time(k.last_used_at),
    'last_used_ip', host(k.last_used_ip), 'expires_at', musicverse._api_time(k.expires_at), 'works_until', musicverse._api_time(k.works_until),
    'revoked_at', musicverse._api_time(k.revoked_at), 'revoked_reason', k.revoked_reason, 'rotated_from', k.rotated_from,
    'created_at', musicverse._api_time(k.created_at));
comment on function _api_api_key(_readable_api_keys) is 'An API key as JSON, without anything that opens something';

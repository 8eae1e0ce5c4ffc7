-- api: the operations, once for all versions
--
-- The functions of musicverse_v1 and musicverse_v2 are wrappers of these. What
-- isn't the caller's is not there: PT404, as PostgREST has no 404 for P0002.
--
-- A list fetches one row more than asked for: it tells whether there is a next page.
-- It goes by its index whatever the arguments are, so its plan is made once:
-- the server would make one each time, as it takes an unknown limit for a large one.
--
-- In plpgsql, which keeps its plans, or in C what is asked most; the wrappers
-- are single expressions, which the planner takes in.

create function _api_missing(kind text, id uuid) returns void
language c stable as 'MODULE_PATHNAME', 'musicverse_api_missing';
comment on function _api_missing(text, uuid) is 'Raises that something of the caller''s does not exist';

-- ---- generation

create function _api_list_jobs(version int, "limit" int, cursor text, "offset" int, status text) returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp set plan_cache_mode = force_generic_plan as $$
declare
    me uuid := _api_user();
    filters text := jsonb_build_array(status);
    place text[] := _api_place('list_jobs', filters, "limit", cursor, "offset");
    before timestamptz := coalesce(place[1]::timestamptz, 'infinity');
    before_id uuid := coalesce(place[2]::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
    page generation_jobs[];
begin
    perform _api_choice('status', status, '{queued,started,completed,failed,cancelled}');
    if status is null then
        page := array(select j from generation_jobs j where j.user_id = me and (j.created_at, j.id) < (before, before_id)
                       order by j.created_at desc, j.id desc limit "limit" + 1 offset "offset");
    else
        page := array(select j from generation_jobs j
                       where j.user_id = me and j.status = _api_list_jobs.status and (j.created_at, j.id) < (before, before_id)
                       order by j.created_at desc, j.id desc limit "limit" + 1 offset "offset");
    end if;
    return _api_page((select json_agg(_api_job(version, j, t.track)) from unnest(page[:"limit"]) j
                        left join lateral (select t as track from tracks t where t.id = j.track_id and t.deleted_at is null offset 0) t on true),
        case when cardinality(page) > "limit" then
            _api_next('list_jobs', filters, to_json(page["limit"].created_at) #>> '{}', page["limit"].id::text) end);
end
$$;
comment on function _api_list_jobs(int, int, text, int, text) is 'A page of jobs, newest first';

create function _api_get_job(version int, job_id uuid) returns json
language c stable as 'MODULE_PATHNAME', 'musicverse_api_get_job';
comment on function _api_get_job(int, uuid) is 'A job and its track';

create function _api_generate(version int, prompt text, style text, duration int, params jsonb) returns json
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    me uuid := _api_user();
    made uuid;
begin
    if coalesce(prompt, '') !~ '\S' then
        raise exception 'the prompt must not be empty' using errcode = '22023', detail = '{"field": "/prompt"}', hint = 'Say what to make.';
    elsif duration <= 0 then
        raise exception 'duration must be above zero, but is %', duration using errcode = '22023', detail = '{"field": "/duration"}';
    elsif jsonb_typeof(params) not in ('object', 'null') then
        raise exception 'params must be an object, not %', jsonb_typeof(params) using errcode = '22023', detail = '{"field": "/params"}';
    end if;
    made := generate(me, prompt, style, duration, coalesce(nullif(params, 'null'), '{}'), null::text);
    return _api_get_job(version, made);
end
$$;
comment on function _api_generate(int, text, text, int, jsonb) is 'Queues a job of the caller''s';

create function _api_cancel_job(version int, job_id uuid) returns json
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    state text;
begin
    perform _api_get_job(version, job_id);
    if not cancel_job(job_id) then
        select j.status into state from generation_jobs j where j.id = job_id;
        if state <> 'cancelled' then
            raise exception 'job % is % already', job_id, state using errcode = 'PT409', hint = 'Only a job that is queued or started can be cancelled.';
        end if;
    end if;
    return _api_get_job(version, job_id);
end
$$;
comment on function _api_cancel_job(int, uuid) is 'Cancels a job; one that is cancelled already stays so';

-- ---- tracks

create function _api_list_tracks(operation text, "limit" int, cursor text, "offset" int, style text, created_after timestamptz,
                                 created_before timestamptz, sort text) returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp set plan_cache_mode = force_generic_plan as $$
declare
    me uuid := _api_user();
    filters text := jsonb_build_array(style, extract(epoch from created_after), extract(epoch from created_before), sort);
    place text[] := _api_place(operation, filters, "limit", cursor, "offset");
    is_ascending boolean := sort = 'created_at';
    since timestamptz := coalesce(created_after, '-infinity');
    until timestamptz := coalesce(created_before, 'infinity');
    at timestamptz := coalesce(place[1]::timestamptz, case when is_ascending then '-infinity' else 'infinity' end::timestamptz);
    at_id uuid := coalesce(place[2]::uuid, case when is_ascending then '00000000-0000-0000-0000-000000000000'
                                                else 'ffffffff-ffff-ffff-ffff-ffffffffffff' end::uuid);
    page tracks[];
begin
    if sort is null then
        raise exception 'sort must not be null' using errcode = '22023', detail = '{"field": "/sort"}';
    end if;
    perform _api_choice('sort', sort, '{-created_at,created_at}');
    -- four plans, so that each goes by an index
    if is_ascending and style is null then
        page := array(select t from tracks t
                       where t.user_id = me and t.deleted_at is null and (t.created_at, t.id) > (at, at_id)
                          and t.created_at >= since and t.created_at < until
                       order by t.created_at, t.id limit "limit" + 1 offset "offset");
    elsif is_ascending then
        page := array(select t from tracks t
                       where t.user_id = me and t.style = _api_list_tracks.style and t.deleted_at is null
                          and (t.created_at, t.id) > (at, at_id) and t.created_at >= since and t.created_at < until
                       order by t.created_at, t.id limit "limit" + 1 offset "offset");
    elsif style is null then
        page := array(select t from tracks t
                       where t.user_id = me and t.deleted_at is null and (t.created_at, t.id) < (at, at_id)
                          and t.created_at >= since and t.created_at < until
                       order by t.created_at desc, t.id desc limit "limit" + 1 offset "offset");
    else
        page := array(select t from tracks t
                       where t.user_id = me and t.style = _api_list_tracks.style and t.deleted_at is null
                          and (t.created_at, t.id) < (at, at_id) and t.created_at >= since and t.created_at < until
                       order by t.created_at desc, t.id desc limit "limit" + 1 offset "offset");
    end if;
    return _api_page((select json_agg(_api_track(t)) from unnest(page[:"limit"]) t),
        case when cardinality(page) > "limit" then
            _api_next(operation, filters, to_json(page["limit"].created_at) #>> '{}', page["limit"].id::text) end);
end
$$;
comment on function _api_list_tracks(text, int, text, int, text, timestamptz, timestamptz, text) is 'A page of the tracks that are not deleted';

create function _api_get_track(track_id uuid) returns json
language c stable as 'MODULE_PATHNAME', 'musicverse_api_get_track';
comment on function _api_get_track(uuid) is 'A track that is not deleted';

create function _api_update_track(track_id uuid, changes jsonb) returns json
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    perform _api_get_track(track_id);
    perform update_track(track_id, _present(changes));
    return _api_get_track(track_id);
end
$$;
comment on function _api_update_track(uuid, jsonb) is 'Changes a track';

create function _api_delete_track(track_id uuid) returns void
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    perform _api_user();
    if not delete_track(track_id) then
        perform _api_missing('track', track_id);
    end if;
end
$$;
comment on function _api_delete_track(uuid) is 'Deletes a track';

-- ---- webhooks

create function _api_get_webhook(webhook_id uuid) returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    me uuid := _api_user();
    w webhooks;
begin
    select * into w from webhooks x where x.id = webhook_id and x.user_id = me;
    if not found then
        perform _api_missing('webhook', webhook_id);
    end if;
    return _api_webhook(w);
end
$$;
comment on function _api_get_webhook(uuid) is 'A webhook';

-- Functions of the room find a webhook for a service as well, whosever it is;
-- here even a service's caller has its own only.
create function _api_own_webhook(webhook_id uuid) returns void
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    me uuid := _api_user();
begin
    perform from webhook_endpoints w where w.id = webhook_id and w.user_id = me;
    if not found then
        perform _api_missing('webhook', webhook_id);
    end if;
end
$$;
comment on function _api_own_webhook(uuid) is 'Raises unless the webhook is the caller''s';

create function _api_create_webhook(url text, events text[], description text, headers jsonb) returns json
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    made record;
begin
    select * into made from create_webhook(_api_user(), url, events, description, headers);
    return _api_with(_api_get_webhook(made.id), 'secret', made.secret);
end
$$;
comment on function _api_create_webhook(text, text[], text, jsonb) is 'Makes a webhook; its secret is seen this once';

create function _api_list_webhooks(operation text, "limit" int, cursor text, "offset" int) returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp set plan_cache_mode = force_generic_plan as $$
declare
    me uuid := _api_user();
    place text[] := _api_place(operation, '', "limit", cursor, "offset");
    before timestamptz := coalesce(place[1]::timestamptz, 'infinity');
    before_id uuid := coalesce(place[2]::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
    page webhooks[];
begin
    page := array(select w from webhooks w where w.user_id = me and (w.created_at, w.id) < (before, before_id)
                    order by w.created_at desc, w.id desc limit "limit" + 1 offset "offset");
    return _api_page((select json_agg(_api_webhook(w)) from unnest(page[:"limit"]) w),
        case when cardinality(page) > "limit" then
            _api_next(operation, '', to_json(page["limit"].created_at) #>> '{}', page["limit"].id::text) end);
end
$$;
comment on function _api_list_webhooks(text, int, text, int) is 'A page of webhooks, newest first';

create function _api_update_webhook(webhook_id uuid, changes jsonb) returns json
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    perform _api_own_webhook(webhook_id);
    perform update_webhook(webhook_id, _present(changes));
    return _api_get_webhook(webhook_id);
end
$$;
comment on function _api_update_webhook(uuid, jsonb) is 'Changes a webhook';

create function _api_delete_webhook(webhook_id uuid) returns void
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    perform _api_own_webhook(webhook_id);
    perform delete_webhook(webhook_id);
end
$$;
comment on function _api_delete_webhook(uuid) is 'Deletes a webhook';

create function _api_rotate_webhook_secret(webhook_id uuid, overlap_seconds int) returns json
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    shown text;
begin
    perform _api_own_webhook(webhook_id);
    perform _api_range('overlap_seconds', overlap_seconds, 0, 2592000);
    shown := rotate_webhook_secret(webhook_id, make_interval(secs => overlap_seconds));
    return (select json_build_object('webhook_id', w.id, 'signing', w.signing, 'secret', case w.signing when 'hmac' then shown end,
                                     'public_key', w.public_key, 'previous_secret_until', _api_time(w.previous_secret_until))
              from webhooks w where w.id = webhook_id);
end
$$;
comment on function _api_rotate_webhook_secret(uuid, int) is 'Gives a webhook a new secret, which is seen this once';

create function _api_test_webhook(webhook_id uuid, event_type text) returns json
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    perform _api_own_webhook(webhook_id);
    return json_build_object('delivery_id', test_webhook(webhook_id, event_type));
end
$$;
comment on function _api_test_webhook(uuid, text) is 'Queues an example for a webhook';

create function _api_switch_webhook(webhook_id uuid, on_or_off boolean, reason text) returns json
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    perform _api_own_webhook(webhook_id);
    if on_or_off then
        perform enable_webhook(webhook_id);
    else
        perform disable_webhook(webhook_id, left(reason, 500));
    end if;
    return _api_get_webhook(webhook_id);
end
$$;
comment on function _api_switch_webhook(uuid, boolean, text) is 'Starts or stops a webhook';

create function _api_replay_webhook(webhook_id uuid, since timestamptz, until timestamptz, only_failed boolean, dry_run boolean,
                                    per_second numeric) returns json
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    perform _api_own_webhook(webhook_id);
    return json_build_object('webhook_id', webhook_id, 'dry_run', coalesce(dry_run, false), 'deliveries',
        replay_webhook(webhook_id, since, coalesce(until, _now()), only_failed, coalesce(dry_run, false), per_second));
end
$$;
comment on function _api_replay_webhook(uuid, timestamptz, timestamptz, boolean, boolean, numeric) is 'Sends again what a webhook was sent within a time';

create function _api_webhook_stats(webhook_id uuid, period_seconds int) returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    perform _api_own_webhook(webhook_id);
    perform _api_range('period_seconds', period_seconds, 1, 2592000);
    return (select json_build_object('webhook_id', webhook_id, 'period_seconds', period_seconds, 'deliveries', s.deliveries, 'delivered', s.delivered,
                                     'failed', s.failed, 'pending', s.pending, 'attempts', s.attempts, 'success_rate', s.success_rate,
                                     'p50_ms', s.p50_ms, 'p95_ms', s.p95_ms, 'p99_ms', s.p99_ms)
              from webhook_stats(webhook_id, make_interval(secs => period_seconds)) s);
end
$$;
comment on function _api_webhook_stats(uuid, int) is 'How deliveries to a webhook went';

-- ---- deliveries
--
-- There is no index by user, as it would cost every delivery: what a user's
-- webhooks were sent is merged from the index by webhook and number. With
-- filters a page looks at so many deliveries of a webhook and no more, so it
-- may be shorter than asked for, even empty, while there is a next one.

create function _api_list_deliveries(operation text, "limit" int, cursor text, webhook_id uuid, status text, event_type text) returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    me uuid := _api_user();
    filters text := jsonb_build_array(webhook_id, status, event_type);
    place text[] := _api_place(operation, filters, "limit", cursor);
    before bigint := coalesce(place[1]::bigint, 9223372036854775807);
    window_size int;
    result json;
    next_seq bigint;
begin
    perform _api_choice('status', status, '{pending,held,delivered,failed,cancelled}');
    if webhook_id is not null then
        perform _api_own_webhook(webhook_id);
    end if;
    -- how many of each webhook; the extra one tells of a next page
    window_size := "limit" + 1;
    if status is not null or event_type is not null then
        window_size := greatest(window_size, 2000 / greatest(1, (
            select count(*) from webhook_endpoints w where w.user_id = me and w.id = coalesce(_api_list_deliveries.webhook_id, w.id))));
    end if;
    -- what is below the window of any webhook waits for a later page
    with mine as (
        select w.id from webhook_endpoints w where w.user_id = me and w.id = coalesce(_api_list_deliveries.webhook_id, w.id)
    ), looked_at as materialized (
        select d.* from mine m, lateral (
            -- not by =, lest the planner go by number alone, through everybody's
            select x.seq, x.id, row_number() over (order by x.seq desc) as n
              from (select y.seq, y.id from deliveries y
                     where (y.webhook_id, y.seq) < (m.id, before) and y.webhook_id >= m.id
                     order by y.webhook_id desc, y.seq desc limit window_size) x) d
    ), floor as (
        select coalesce(max(l.seq), 0) as seq from looked_at l where l.n = window_size
    ), chosen as (
        select v.seq, json_build_object(
                   'id', v.id, 'webhook_id', v.webhook_id, 'event_id', v.event_id, 'event_type', v.event_type, 'status', v.status,
                   'attempt_count', v.attempt_count, 'response_status', v.response_status, 'duration_ms', v.duration_ms,
                   'last_error', v.last_error, 'created_at', _api_time(v.created_at), 'next_attempt_at', _api_time(v.next_attempt_at),
                   'delivered_at', _api_time(v.delivered_at)) as item
          from (select l.seq, l.id from looked_at l, floor f where l.seq >= f.seq order by l.seq desc) l
         cross join lateral (select v.* from webhook_deliveries v where v.id = l.id offset 0) v
         where (_api_list_deliveries.status is null or v.status = _api_list_deliveries.status)
           and (_api_list_deliveries.event_type is null or v.event_type = _api_list_deliveries.event_type)
         order by l.seq desc limit "limit" + 1
    ), numbered as (
        select c.*, row_number() over (order by c.seq desc) as n from chosen c
    )
    select json_agg(n.item order by n.seq desc) filter (where n.n <= "limit"),
           case when count(*) > "limit" then min(n.seq) filter (where n.n <= "limit") else (select nullif(f.seq, 0) from floor f) end
      into result, next_seq from numbered n;
    return _api_page(result, case when next_seq is not null then _api_next(operation, filters, next_seq::text) end);
end
$$;
comment on function _api_list_deliveries(text, int, text, uuid, text, text) is 'A page of the deliveries to the caller''s webhooks, newest first';

create function _api_get_delivery(delivery_id uuid) returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    me uuid := _api_user();
    result json;
begin
    select json_build_object(
               'id', v.id, 'webhook_id', v.webhook_id, 'event_id', v.event_id, 'event_type', v.event_type, 'status', v.status,
               'attempt_count', v.attempt_count, 'response_status', v.response_status, 'duration_ms', v.duration_ms,
               'last_error', v.last_error, 'created_at', _api_time(v.created_at), 'next_attempt_at', _api_time(v.next_attempt_at),
               'delivered_at', _api_time(v.delivered_at), 'payload', v.payload,
               'attempts', coalesce((select json_agg(json_build_object(
                       'attempt', a.attempt, 'started_at', _api_time(a.started_at), 'response_status', a.response_status, 'error', a.error,
                       'duration_ms', round(a.total_us / 1000.0, 3), 'remote_address', a.remote_addr, 'request_headers', a.request_headers,
                       'response_headers', a.response_headers, 'response_body', a.response_body, 'truncated', a.truncated) order by a.attempt)
                   from webhook_attempts a where a.delivery_id = v.id), '[]'))
      into result
      from webhook_deliveries v where v.id = _api_get_delivery.delivery_id and v.user_id = me;
    if result is null then
        perform _api_missing('delivery', delivery_id);
    end if;
    return result;
end
$$;
comment on function _api_get_delivery(uuid) is 'A delivery with its body and every attempt';

create function _api_replay_delivery(delivery_id uuid) returns json
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    me uuid := _api_user();
begin
    perform from deliveries d where d.id = _api_replay_delivery.delivery_id and d.user_id = me;
    if not found then
        perform _api_missing('delivery', delivery_id);
    end if;
    return json_build_object('delivery_id', replay_delivery(delivery_id));
end
$$;
comment on function _api_replay_delivery(uuid) is 'Sends a delivery again';

-- ---- events

create function _api_list_event_types(operation text, "limit" int, cursor text, "offset" int) returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp set plan_cache_mode = force_generic_plan as $$
declare
    place text[] := _api_place(operation, '', "limit", cursor, "offset");
    page event_types[];
begin
    page := array(select t from event_types t where t.name > coalesce(place[1], '') order by t.name limit "limit" + 1 offset "offset");
    return _api_page((select json_agg(json_build_object('name', t.name, 'description', t.description, 'example', t.example, 'schema', t.schema))
                        from unnest(page[:"limit"]) t),
        case when cardinality(page) > "limit" then _api_next(operation, '', page["limit"].name) end);
end
$$;
comment on function _api_list_event_types(text, int, text, int) is 'A page of the catalogue of event types, by name';

create function _api_events(after bigint, "limit" int, out data json, out last bigint) returns record
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    me uuid := _api_user();
begin
    perform _api_range('limit', "limit", 1, 100), _api_range('after', after, 0, 9223372036854775807);
    select json_agg(json_build_object('position', e.position, 'event_id', e.event_id, 'type', e.type, 'created_at', _api_time(e.created_at), 'data', e.data)
                    order by e.position), coalesce(max(e.position), after)
      into data, last from poll_events(me, after, "limit") e;
    data := coalesce(data, '[]');
end
$$;
comment on function _api_events(bigint, int) is 'Events behind a position, and the position to go on from';

create function _api_poll_events(after bigint, "limit" int) returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    return (select json_build_object('data', e.data, 'next_after', e.last) from _api_events(after, "limit") e);
end
$$;
comment on function _api_poll_events(bigint, int) is 'Events behind a position';

create function _api_list_events("limit" int, cursor text) returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    place text[] := _api_place('list_events', '', "limit", cursor);
begin
    return (select _api_page(e.data, _api_next('list_events', '', e.last::text)) from _api_events(coalesce(place[1]::bigint, 0), "limit") e);
end
$$;
comment on function _api_list_events(int, text) is 'Events behind a cursor, and always one to go on from';

create function _api_list_scopes() returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    return (select _api_page(json_agg(json_build_object('name', s.name, 'description', s.description) order by s.name), null) from scopes s);
end
$$;
comment on function _api_list_scopes() is 'The catalogue of scopes';

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

-- ---- distributions

create function _api_distribution(d distributions) returns json
language sql stable set search_path = musicverse, pg_catalog, pg_temp as $$
    select json_build_object(
        'id', d.id, 'status', d.status, 'track_ids', d.track_ids, 'platforms', d.platforms, 'release_date', d.release_date,
        'time_zone', d.time_zone, 'revision', d.revision, 'metadata', d.metadata, 'external_ids', d.external_ids,
        'targets', coalesce((select json_agg(json_build_object(
                'platform', t.platform, 'status', t.status, 'reason', t.reason, 'external_id', t.external_id, 'external_url', t.external_url,
                'next_attempt_at', _api_time(t.next_attempt_at), 'live_at', _api_time(t.live_at)) order by t.platform)
            from distribution_targets t where t.distribution_id = d.id), '[]'),
        'submitted_at', _api_time(d.submitted_at), 'created_at', _api_time(d.created_at))
$$;
comment on function _api_distribution(distributions) is 'A release with what became of it on each platform as JSON';

create function _api_get_distribution(distribution_id uuid) returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    me uuid := _api_user();
    d distributions;
begin
    select * into d from distributions x where x.id = distribution_id and x.user_id = me;
    if not found then
        perform _api_missing('distribution', distribution_id);
    end if;
    return _api_distribution(d);
end
$$;
comment on function _api_get_distribution(uuid) is 'A release';

create function _api_create_distribution(track_ids uuid[], platforms text[], release_date date, metadata jsonb, submit boolean) returns json
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    made uuid := create_distribution(_api_user(), track_ids, platforms, release_date, metadata);
begin
    if submit is not false then
        perform submit_distribution(made);
    end if;
    return _api_get_distribution(made);
end
$$;
comment on function _api_create_distribution(uuid[], text[], date, jsonb, boolean) is 'Makes a release, and submits it unless told otherwise';

create function _api_check_distribution(track_ids uuid[], platforms text[], release_date date, metadata jsonb) returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    me uuid := _api_user();
begin
    return (select json_build_object('is_fit', count(*) filter (where c.severity = 'error') = 0, 'problems', coalesce(json_agg(json_build_object(
                   'platform', c.platform, 'field', c.field, 'severity', c.severity, 'message', c.message)), '[]'))
              from check_release(track_ids, platforms, release_date, metadata) c);
end
$$;
comment on function _api_check_distribution(uuid[], text[], date, jsonb) is 'What platforms would refuse in a release';

create function _api_list_distributions("limit" int, cursor text, status text) returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    me uuid := _api_user();
    filters text := coalesce(status, '');
    place text[] := _api_place('list_distributions', filters, "limit", cursor);
    before timestamptz := coalesce(place[1]::timestamptz, 'infinity');
    before_id uuid := coalesce(place[2]::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
    page distributions[];
begin
    perform _api_choice('status', status, '{pending,scheduled,processing,live,failed,taken_down,cancelled}');
    if status is null then
        page := array(select d from distributions d where d.user_id = me and (d.created_at, d.id) < (before, before_id)
                       order by d.created_at desc, d.id desc limit "limit" + 1);
    else
        page := array(select d from distributions d where d.user_id = me and d.status = _api_list_distributions.status
                         and (d.created_at, d.id) < (before, before_id) order by d.created_at desc, d.id desc limit "limit" + 1);
    end if;
    return _api_page((select json_agg(_api_distribution(d)) from unnest(page[:"limit"]) d),
        case when cardinality(page) > "limit" then
            _api_next('list_distributions', filters, to_json(page["limit"].created_at) #>> '{}', page["limit"].id::text) end);
end
$$;
comment on function _api_list_distributions(int, text, text) is 'A page of releases, newest first';

create function _api_get_timeline(distribution_id uuid, "limit" int, cursor text) returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    me uuid := _api_user();
    filters text := coalesce(distribution_id::text, '');
    place text[] := _api_place('get_distribution_timeline', filters, "limit", cursor);
    after bigint := coalesce(place[1]::bigint, 0);
    page distribution_history[];
begin
    perform from distributions d where d.id = distribution_id and d.user_id = me;
    if not found then
        perform _api_missing('distribution', distribution_id);
    end if;
    page := array(select h from distribution_history h where h.distribution_id = _api_get_timeline.distribution_id and h.id > after
                   order by h.id limit "limit" + 1);
    return _api_page((select json_agg(json_build_object('at', _api_time(h.created_at), 'platform', h.platform, 'status', h.status, 'reason', h.reason))
                        from unnest(page[:"limit"]) h),
        case when cardinality(page) > "limit" then _api_next('get_distribution_timeline', filters, page["limit"].id::text) end);
end
$$;
comment on function _api_get_timeline(uuid, int, text) is 'A page of what happened to a release, oldest first';

-- what is asked of one that is there
create function _api_change_distribution(distribution_id uuid, what text, platforms text[], metadata jsonb) returns json
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    perform _api_get_distribution(distribution_id);
    case what
        when 'submit' then perform submit_distribution(distribution_id);
        when 'cancel' then perform cancel_distribution(distribution_id);
        when 'takedown' then perform takedown_distribution(distribution_id, platforms);
        when 'update' then perform update_release(distribution_id, metadata);
    end case;
    return _api_get_distribution(distribution_id);
end
$$;
comment on function _api_change_distribution(uuid, text, text[], jsonb) is 'Submits, cancels, takes down or changes a release';

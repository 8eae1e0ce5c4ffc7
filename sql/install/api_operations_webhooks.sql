-- api: the operations of webhooks, their deliveries, and events

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

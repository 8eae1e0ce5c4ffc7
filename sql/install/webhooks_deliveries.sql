-- webhooks: looking at deliveries, and sending again
--
-- The views show rows under the row-level security of whoever asks. What they
-- take from other tables is a scalar subquery, so it costs nothing unless it
-- is selected, and look-ups by id or webhook go to an index of each leaf.
--
-- Replays queue new deliveries of recorded events under the same webhook-id,
-- and never one that is pending already, so asking twice sends once.
-- A delivery's id is always greater than its event's: both are UUID v7, and
-- the comparison spares the leaves of the days before.
--
-- Locks: replays and tests hold the webhook's row against changes of it.

create function _sending_as() returns uuid
language sql stable security definer set search_path = musicverse, pg_catalog, pg_temp
as $$ select i.id from installation i where i.identity = _identity() $$;
comment on function _sending_as() is 'The installation whose webhooks may be sent to from here; NULL on a copy';

create view webhooks with (security_invoker = true) as
select w.id, w.user_id, w.url, w.events,
       case w.signing when 'hmac' then 'whsec_***' else 'whsk_***' end as secret,
       w.is_active, coalesce(s.failure_count, 0) as failure_count, w.created_at,
       w.description, w.headers, w.filter, w.ordering_key, w.signing, w.public_key, w.previous_secret_until,
       w.client_cert, w.ca_cert, w.timeout, w.retry_schedule, w.rate_limit, w.max_concurrency,
       w.disabled_at, w.disabled_reason, s.failing_since, s.last_success_at, s.last_failure_at, s.last_error, w.updated_at
  from webhook_endpoints w left join webhook_state s on s.webhook_id = w.id;
comment on view webhooks is 'Subscriptions, their settings and their health; secrets are masked';

create view webhook_deliveries with (security_invoker = true) as
select d.id, d.webhook_id,
       (select e.type from events e where e.id = d.event_id) as event_type,
       (select e.payload::jsonb from events e where e.id = d.event_id) as payload,
       d.response_status::int as response_status,
       (select a.response_body from webhook_attempts a where a.delivery_id = d.id
         order by a.attempt desc limit 1) as response_body,
       d.attempt_count::int as attempt_count, d.delivered_at, d.created_at, d.event_id, d.user_id,
       case d.status
           when 'd' then 'delivered' when 'f' then 'failed' when 'c' then 'cancelled'
           else coalesce((select case when w.is_active and w.installation_id = (select _sending_as()) then 'pending' else 'held' end
                            from webhook_endpoints w where w.id = d.webhook_id), 'cancelled')
       end as status,
       d.next_attempt_at, d.last_error, d.duration_ms, d.seq
  from deliveries d;
comment on view webhook_deliveries is 'Deliveries with their events and the last answer; webhook_attempts has every attempt';
comment on column webhook_deliveries.seq is 'Grows in the order of queueing; with webhook_id, the index to list by';
comment on column webhook_deliveries.status is
    'pending, held (pending while its webhook is disabled or may not be sent to from here), delivered, failed (given up), cancelled';

create function _ordering_hash(path jsonpath, body jsonb) returns bigint
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select case item when 'null' then null else coalesce(nullif(hashtextextended(item::text collate "C", 0), 0), 1) end
      from (select jsonb_path_query_first(body, path, '{}', true)) f(item)
     where item is not null
$$;
comment on function _ordering_hash(jsonpath, jsonb) is 'deliveries.order_key of an event, as recording it computes it';

create function _queue_deliveries(w webhook_endpoints, event_ids uuid[], per_second numeric,
                                  out queued bigint, out last_id uuid) returns record
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    lo bigint;
    hi bigint;
    at timestamptz := _now();
begin
    if per_second <= 0 or per_second = 'NaN' then
        raise exception 'per_second must be above zero, not %', per_second using errcode = '22023';
    end if;
    perform _hold_deliveries();
    with made as (
        insert into deliveries (seq, id, webhook_id, user_id, event_id, order_key, created_at, next_attempt_at, status, attempt_count)
        select _next_number(), _uuid7(), w.id, w.user_id, q.event_id,
               case when w.ordering_key is not null then
                   _ordering_hash(w.ordering_key, (select e.payload::jsonb from events e where e.id = q.event_id)) end,
               at, at + make_interval(secs => ((q.n - 1) / per_second)::float8), 'p', 0
          from unnest(event_ids) with ordinality q(event_id, n)
        returning seq, id)
    select min(m.seq), max(m.seq) + 1, count(*), (array_agg(m.id order by m.seq desc))[1]
      into lo, hi, queued, last_id from made m;
    if queued > 0 then
        perform _announce_deliveries(lo, hi, queued);
    end if;
end
$$;
comment on function _queue_deliveries(webhook_endpoints, uuid[], numeric) is
    'Queues recorded events for a webhook, in the order given, spread out when per_second is given';

create function test_webhook(id uuid, event_type text default 'webhook.test') returns uuid
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    w webhook_endpoints := _own_webhook(test_webhook.id);
    data jsonb;
    event uuid := _uuid7();
    at timestamptz := _now();
begin
    select t.example into data from event_types t where t.name = event_type;
    if not found then
        raise exception 'unknown event type "%"', coalesce(event_type, 'null')
            using errcode = '22023', hint = 'The table musicverse.event_types lists the known ones.';
    elsif not w.is_active then
        raise exception 'webhook % is disabled', w.id
            using errcode = '55000', detail = format('Reason: %s.', coalesce(w.disabled_reason, 'none given')),
                  hint = format('Start it by: select musicverse.enable_webhook(%L);', w.id);
    end if;
    if event_type = 'webhook.test' then
        data := data || jsonb_build_object('webhook_id', w.id);
    end if;
    -- For this webhook only: not in the user's log, not sent to the others.
    insert into events (id, user_id, type, created_at, payload)
    values (event, w.user_id, event_type, at,
            format('{"type":%s,"timestamp":%s,"data":%s}', to_json(event_type), replace(to_json(at)::text, '+00:00"', 'Z"'), data));
    return (select q.last_id from _queue_deliveries(w, array[event], null) q);
end
$$;
comment on function test_webhook(uuid, text) is 'Sends the example of an event type to one webhook; returns the delivery''s id';

create function replay_delivery(id uuid) returns uuid
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    d deliveries;
    w webhook_endpoints;
begin
    select * into d from deliveries x
     where x.id = replay_delivery.id and (caller_is_service() or x.user_id = current_user_id());
    if not found then
        raise exception 'delivery % does not exist', coalesce(id::text, 'null') using errcode = 'P0002';
    end if;
    w := _own_webhook(d.webhook_id);
    if exists (select from deliveries p where p.event_id = d.event_id and p.id > d.event_id
                  and p.webhook_id = d.webhook_id and p.status = 'p') then
        raise exception 'the event of delivery % is still pending for its webhook', d.id
            using errcode = '55000', hint = 'It is sent again by itself, or by enable_webhook() where its webhook is disabled.';
    elsif not exists (select from events e where e.id = d.event_id) then
        raise exception 'event % is no longer kept', d.event_id
            using errcode = 'P0002', hint = 'See musicverse.retention.';
    end if;
    return (select q.last_id from _queue_deliveries(w, array[d.event_id], null) q);
end
$$;
comment on function replay_delivery(uuid) is 'Sends a delivery''s event again under the same webhook-id; returns the new delivery''s id';

create function replay_webhook(id uuid, since timestamptz, until timestamptz default _now(), only_failed boolean default true,
                               dry_run boolean default false, per_second numeric default null) returns bigint
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    w webhook_endpoints := _own_webhook(replay_webhook.id);
    -- created_at follows the schedules' clock, ids the server's; a minute for what began before
    earliest uuid := _uuid7_bound(greatest(since - greatest(_now() - clock_timestamp(), '0') - interval '1 minute', '1970-01-02 00:00Z'));
    wanted uuid[];
begin
    if since is null or until is null or only_failed is null then
        raise exception '% must not be null', case when since is null then 'since' when until is null then 'until' else 'only_failed' end
            using errcode = '22023';
    elsif since > until then
        raise exception 'since (%) is later than until (%)', since, until using errcode = '22023';
    end if;
    select array_agg(x.event_id order by x.first_seq) into wanted
      from (select d.event_id, min(d.seq) as first_seq
              from deliveries d
             where d.webhook_id = w.id and d.id >= earliest and d.created_at between since and until
             group by d.event_id
            having not only_failed or bool_or(d.status = 'f')) x
     where not exists (select from deliveries o where o.event_id = x.event_id and o.id > x.event_id and o.webhook_id = w.id
                          and (o.status = 'p' or only_failed and o.status = 'd'))
       and exists (select from events e where e.id = x.event_id);
    if dry_run then
        return coalesce(cardinality(wanted), 0);
    end if;
    return (select q.queued from _queue_deliveries(w, wanted, per_second) q);
end
$$;
comment on function replay_webhook(uuid, timestamptz, timestamptz, boolean, boolean, numeric) is
    'Sends again what a webhook failed to take (or all it was sent) within a range of time; returns how many';

create function replay_since_event(webhook_id uuid, event_id uuid, dry_run boolean default false,
                                   per_second numeric default null) returns bigint
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    w webhook_endpoints := _own_webhook(replay_since_event.webhook_id);
    start bigint;
    wanted uuid[];
begin
    select l.position into start from event_log l
     where l.event_id = replay_since_event.event_id and l.user_id = w.user_id;
    if not found then
        raise exception 'event % is not in the log of this user', coalesce(replay_since_event.event_id::text, 'null')
            using errcode = 'P0002', hint = 'Events are kept for the time in musicverse.retention; poll_events() shows them.';
    end if;
    select array_agg(e.id order by l.position) into wanted
      from event_log l join events e on e.id = l.event_id
     where l.user_id = w.user_id and l.position > start
       and _matches_event(w.events, e.type)
       and (w.filter is null or _filter_matches(w.filter, e.payload::jsonb))
       and not exists (select from deliveries o where o.event_id = e.id and o.id > e.id and o.webhook_id = w.id and o.status = 'p');
    if dry_run then
        return coalesce(cardinality(wanted), 0);
    end if;
    return (select q.queued from _queue_deliveries(w, wanted, per_second) q);
end
$$;
comment on function replay_since_event(uuid, uuid, boolean, numeric) is
    'Sends everything of the user that came after an event and that the webhook wants now, whether it was queued then or not; returns how many';

create function explain_event(event_id uuid, out webhook_id uuid, out url text, out matched boolean, out status text, out reason text)
returns setof record
language plpgsql stable security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    e events;
begin
    select * into e from events x
     where x.id = explain_event.event_id and (caller_is_service() or x.user_id = current_user_id());
    if not found then
        raise exception 'event % does not exist', coalesce(explain_event.event_id::text, 'null')
            using errcode = 'P0002', hint = 'Events are kept for the time in musicverse.retention.';
    end if;
    return query
    with endpoint as (
        select w.*, _matches_event(w.events, e.type) as subscribed,
               w.filter is null or _filter_matches(w.filter, e.payload::jsonb) as passed
          from webhook_endpoints w where w.user_id = e.user_id
    ), delivery as (
        select distinct on (v.webhook_id) v.* from webhook_deliveries v
         where v.event_id = e.id and v.id > e.id
         order by v.webhook_id, v.created_at desc, v.id desc
    )
    select coalesce(w.id, d.webhook_id), w.url, d.id is not null or w.subscribed and w.passed, d.status,
           case
           when w.id is null then 'the webhook was deleted since'
           when d.status = 'delivered' then
               format('answered %s at attempt %s', d.response_status, d.attempt_count)
           when d.status = 'failed' then
               format('given up after %s attempts: %s', d.attempt_count, coalesce(d.last_error, format('answered %s', d.response_status)))
           when d.status = 'held' and not w.is_active then
               format('held until the webhook is enabled: %s', coalesce(w.disabled_reason, 'disabled'))
           when d.status = 'held' then 'held until enable_sending() is called here'
           when d.status = 'pending' and d.attempt_count = 0 then 'not tried yet'
           when d.status = 'pending' then
               format('tried %s times, to be tried again: %s', d.attempt_count, coalesce(d.last_error, format('answered %s', d.response_status)))
           when d.status is not null then d.status
           when not w.subscribed then format('not subscribed to %s', e.type)
           when not w.passed then format('the filter does not hold: %s', w.filter)
           when e.type = 'webhook.test' then 'it was a test of another webhook'
           when w.created_at > e.created_at then 'the webhook was created after the event'
           else 'it would match now, but did not when the event was recorded, or its delivery is no longer kept' end
      from endpoint w full join delivery d on d.webhook_id = w.id
     order by w.created_at, 1;
end
$$;
comment on function explain_event(uuid) is 'Says for each webhook of the event''s user why it did or did not get the event';

create function webhook_stats(webhook_id uuid, period interval default '24 hours',
                              out deliveries bigint, out delivered bigint, out failed bigint, out pending bigint,
                              out attempts bigint, out success_rate numeric,
                              out p50_ms numeric, out p95_ms numeric, out p99_ms numeric) returns record
language plpgsql stable security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    since timestamptz := _now() - period;
    earliest uuid;
    earliest_retried uuid;
begin
    if period is null or period <= '0' then
        raise exception 'period must be above zero, not %', coalesce(period::text, 'null') using errcode = '22023';
    elsif not exists (select from webhook_endpoints w where w.id = webhook_stats.webhook_id
                         and (caller_is_service() or w.user_id = current_user_id())) then
        raise exception 'webhook % does not exist', coalesce(webhook_stats.webhook_id::text, 'null') using errcode = 'P0002';
    end if;
    earliest := _uuid7_bound(greatest(since - greatest(_now() - clock_timestamp(), '0') - interval '1 minute', '1970-01-02 00:00Z'));
    earliest_retried := _uuid7_bound(greatest(_uuid7_time(earliest) - interval '7 days', '1970-01-02 00:00Z'));
    select count(*), count(*) filter (where d.status = 'd'), count(*) filter (where d.status = 'f'),
           count(*) filter (where d.status = 'p')
      into deliveries, delivered, failed, pending
      from musicverse.deliveries d
     where d.webhook_id = webhook_stats.webhook_id and d.id >= earliest and d.created_at >= since;
    success_rate := round(delivered::numeric / nullif(delivered + failed, 0), 4);
    select p.n, round((p.us[1] / 1000)::numeric, 3), round((p.us[2] / 1000)::numeric, 3), round((p.us[3] / 1000)::numeric, 3)
      into attempts, p50_ms, p95_ms, p99_ms
      from (select count(*), percentile_cont(array[0.5, 0.95, 0.99]) within group (order by a.total_us)
              from deliveries d
              -- retries of a delivery go on for days; older ones are not looked at
              join webhook_attempts a on a.delivery_id = d.id and a.delivery_id >= earliest_retried
             where d.webhook_id = webhook_stats.webhook_id and d.id >= earliest_retried
               and a.started_at >= since) p(n, us);
end
$$;
comment on function webhook_stats(uuid, interval) is
    'Success rate (of what is decided), attempts and latency percentiles of a webhook over the last time';

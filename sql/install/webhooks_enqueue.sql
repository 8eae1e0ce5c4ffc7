-- webhooks: recording events and reading what the workers know

create function emit_event(user_id uuid, event_type text, data jsonb, idempotency_key text default null) returns uuid
language c volatile as 'MODULE_PATHNAME', 'musicverse_emit_event';
comment on function emit_event(uuid, text, jsonb, text) is
    'Records an event of the user in this transaction and queues it for the webhooks that want it; the same idempotency key returns the first event';

create function emit_row_event() returns trigger
language c as 'MODULE_PATHNAME', 'musicverse_emit_row_event';
comment on function emit_row_event() is
    'Row trigger (noun, user column [, soft-delete column]): records noun.created, noun.updated, noun.deleted with the row as data';

create function emit_state_event() returns trigger
language c as 'MODULE_PATHNAME', 'musicverse_emit_state_event';
comment on function emit_state_event() is
    'Row trigger (noun, user column, state column, items): records noun.event when the state takes a listed value; items are value, value=event or insert:event';

create function ensure_account() returns trigger
language c as 'MODULE_PATHNAME', 'musicverse_ensure_account';
comment on function ensure_account() is 'Row trigger before insert (user column): makes the account of the user';

create function touch_updated_at() returns trigger
language c as 'MODULE_PATHNAME', 'musicverse_touch_updated_at';
comment on function touch_updated_at() is 'Row trigger before update: sets updated_at when the row changes';

create function _webhooks_changed() returns trigger
language c as 'MODULE_PATHNAME', 'musicverse_webhooks_changed';
comment on function _webhooks_changed() is 'Statement trigger: makes all processes read the webhooks again at the commit';

create trigger webhooks_changed after insert or update or delete or truncate on webhook_endpoints
    for each statement execute function _webhooks_changed();

create function _matches_event(patterns text[], event_type text) returns boolean
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_matches_event';
comment on function _matches_event(text[], text) is 'Does one of the patterns (exact, prefix.*, *) match?';

create function _filter_matches(filter jsonpath, body jsonb) returns boolean
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_filter_matches';
comment on function _filter_matches(jsonpath, jsonb) is 'Does the path yield true, or anything but null and false, on the body?';

create function _check_webhook_url(url text) returns void
language c stable as 'MODULE_PATHNAME', 'musicverse_check_webhook_url';
comment on function _check_webhook_url(text) is 'Refuses a URL that can''t or must not be sent to';

create function _hold_deliveries() returns void
language c volatile as 'MODULE_PATHNAME', 'musicverse_hold_deliveries';
comment on function _hold_deliveries() is 'To be called before this transaction takes delivery numbers by itself';

create function _announce_deliveries(lo bigint, hi bigint, count bigint) returns void
language c volatile strict as 'MODULE_PATHNAME', 'musicverse_announce_deliveries';
comment on function _announce_deliveries(bigint, bigint, bigint) is 'Has the workers read the deliveries lo <= seq < hi at the commit';

create function caller_is_service() returns boolean
language c stable parallel restricted as 'MODULE_PATHNAME', 'musicverse_caller_is_service';
comment on function caller_is_service() is 'May the role that was set for this session act for all users?';

create function _viewer() returns uuid
language c stable parallel restricted as 'MODULE_PATHNAME', 'musicverse_viewer';
comment on function _viewer() is 'For policies: the caller whose rows may be seen, an id of ones for a service role, NULL for nobody';

create function _may_see(viewer uuid, user_id uuid) returns boolean
language c immutable parallel safe as 'MODULE_PATHNAME', 'musicverse_may_see';
comment on function _may_see(uuid, uuid) is 'For policies: may the viewer see a row of the user?';

create function _require_user(user_id uuid) returns void
language c stable as 'MODULE_PATHNAME', 'musicverse_require_user';
comment on function _require_user(uuid) is 'Raises unless the caller may act for the user';

create function poll_events(user_id uuid, after bigint default 0, "limit" int default 100)
returns table ("position" bigint, event_id uuid, type text, created_at timestamptz, data jsonb)
language c volatile as 'MODULE_PATHNAME', 'musicverse_poll_events';
comment on function poll_events(uuid, bigint, int) is
    'Events of the user behind a position, in the order of their commits and without gaps; go on with the last position returned';

create function _worker_status()
returns table (shard int, pid int, state text, in_flight int, backlog bigint, waiting int, oldest_pending timestamptz,
               open_breakers int, delivered bigint, failed bigint, attempts bigint, attempts_failed bigint,
               statements bigint, last_error text, last_error_at timestamptz)
language c volatile strict as 'MODULE_PATHNAME', 'musicverse_worker_status';
comment on function _worker_status() is 'The delivery workers of this database, from shared memory';

create view worker_status with (security_invoker = true) as select * from _worker_status();
comment on view worker_status is
    'Per worker: its state, what is in flight, the backlog of unsettled deliveries, and counters since the server started';

-- The leaves of the coming days, and an end to those past retention. Locks are
-- taken together and hardly waited for: whoever holds one of the tables and
-- waits for another waits much less than deadlock_timeout, so no transaction
-- of others is ever the victim. What can't be had now is had at a next turn.
create function _tend_leaves(keep interval) returns void
language plpgsql set search_path = musicverse, pg_catalog, pg_temp set lock_timeout = '50ms' as $$
declare
    today date := (clock_timestamp() at time zone 'UTC')::date;
    past date := today - extract(days from keep)::int;
    leaf record;
    dropped int := 0;
    locked boolean := false;
begin
    begin
        for d in 0 .. 3 loop
            -- rows of the day that are in the default leaves already stay there
            exit when not exists (select from events);
            if to_regclass(format('events_%s', to_char(today + d, 'YYYYMMDD'))) is null
                and not exists (select from events_default e
                                 where e.id >= _uuid7_bound((today + d)::timestamp at time zone 'UTC')
                                   and e.id < _uuid7_bound((today + d + 1)::timestamp at time zone 'UTC'))
                and not exists (select from deliveries_default e
                                 where e.id >= _uuid7_bound((today + d)::timestamp at time zone 'UTC')
                                   and e.id < _uuid7_bound((today + d + 1)::timestamp at time zone 'UTC'))
            then
                if not locked then
                    lock table events_default, event_log_default, deliveries_default, webhook_attempts_default in access exclusive mode;
                    locked := true;
                end if;
                perform _create_leaves(today + d);
            end if;
        end loop;
    exception when lock_not_available then
        raise log 'musicverse makes the tables of the coming days later: %', sqlerrm;
    end;

    if keep > '0' then
        -- what is pending for a webhook that may be sent to keeps its leaves
        begin
            for leaf in
                select substr(c.relname, 12) as suffix from pg_class c
                 where c.relnamespace = 'musicverse'::regnamespace and c.relname ~ '^deliveries_\d{8}$'
                   and to_date(substr(c.relname, 12), 'YYYYMMDD') < past
                 order by 1
            loop
                exit when dropped = 2;
                if not _leaf_is_pending(leaf.suffix) then
                    if dropped = 0 then
                        lock table only events, only event_log, only deliveries, only webhook_attempts,
                            events_default, event_log_default, deliveries_default, webhook_attempts_default in access exclusive mode;
                    end if;
                    dropped := dropped + 1;
                    execute format('drop table if exists webhook_attempts_%1$s, deliveries_%1$s, event_log_%1$s, events_%1$s', leaf.suffix);
                end if;
            end loop;
        exception when lock_not_available then
            raise log 'musicverse drops the tables of past days later: %', sqlerrm;
        end;
        delete from webhook_attempts_default a where a.delivery_id < _uuid7_bound(past::timestamp at time zone 'UTC');
        delete from deliveries_default d where d.id < _uuid7_bound(past::timestamp at time zone 'UTC')
            and not (d.status = 'p' and exists (select from webhook_endpoints w where w.id = d.webhook_id and w.is_active));
        delete from event_log_default l where l.event_id < _uuid7_bound(past::timestamp at time zone 'UTC');
        delete from events_default e where e.id < _uuid7_bound(past::timestamp at time zone 'UTC')
            and not exists (select from deliveries d join webhook_endpoints w on w.id = d.webhook_id
                             where d.event_id = e.id and d.status = 'p' and w.is_active);
        delete from event_keys k where k.ctid = any (array(
            select ctid from event_keys where created_at < past::timestamp at time zone 'UTC' limit 10000));
    end if;
end
$$;
comment on function _tend_leaves(interval) is 'Makes the leaves of the coming days and drops those older than the interval';

create function _leaf_is_pending(suffix text) returns boolean
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    day timestamp := to_date(suffix, 'YYYYMMDD');
    result boolean;
begin
    -- the second: events of that day that are sent again, from whatever leaf
    execute format('select exists (select from deliveries_%s d join webhook_endpoints w on w.id = d.webhook_id
                     where d.status = ''p'' and w.is_active)
        or exists (select from deliveries d join webhook_endpoints w on w.id = d.webhook_id
                    where d.event_id >= %L and d.event_id < %L and d.status = ''p'' and w.is_active)', suffix,
        _uuid7_bound(day at time zone 'UTC'), _uuid7_bound((day + interval '1 day') at time zone 'UTC')) into result;
    return result;
end
$$;
comment on function _leaf_is_pending(text) is 'Does the leaf hold deliveries, or events of deliveries, that are still to be sent?';

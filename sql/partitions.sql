-- The leaves of the tables that grow: rows go to the leaf of their day, old leaves go, what is still to be sent stays
set client_min_messages = warning;
create extension if not exists musicverse;
set search_path = musicverse, public;
\set SHOW_CONTEXT never
\set u '00000000-0000-4000-8000-0000000000f5'
set timezone = 'Pacific/Auckland';
truncate events, event_log, deliveries, webhook_attempts;
delete from event_keys;
select (create_webhook(:'u', 'https://hooks.example.com/p', '{*}')).id as id \gset w_
select (create_webhook(:'u', 'https://hooks.example.com/q', '{payment.*}')).id as id \gset v_

-- the leaf of a day, by how many days ago it was; days are those of UTC
create function public.regress_leaf(days_ago int) returns text language sql as
    $$ select to_char((clock_timestamp() at time zone 'UTC')::date - days_ago, 'YYYYMMDD') $$;
create function public.regress_days(relation text) returns text language sql as $$
    select string_agg(case when c.relname like '%_default' then 'default'
                      else (((clock_timestamp() at time zone 'UTC')::date) - to_date(right(c.relname, 8), 'YYYYMMDD'))::text end, ' ' order by c.relname desc)
      from pg_inherits i join pg_class c on c.oid = i.inhrelid where i.inhparent = ('musicverse.' || relation)::regclass
$$;
-- an event of a day, with a delivery and an attempt
create function public.regress_put(days_ago int, webhook uuid, status "char", title text) returns void language plpgsql as $$
declare
    at timestamptz := (((clock_timestamp() at time zone 'UTC')::date - days_ago) + time '12:00') at time zone 'UTC';
    event uuid := overlay(musicverse._uuid7_bound(at)::text placing right(gen_random_uuid()::text, 12) from 25);
    delivery uuid := overlay(musicverse._uuid7_bound(at + interval '1 second')::text placing right(gen_random_uuid()::text, 12) from 25);
begin
    insert into musicverse.events values (event, '00000000-0000-4000-8000-0000000000f5', 'payment.succeeded', at, json_build_object('data', json_build_object('title', title)));
    insert into musicverse.event_log values (musicverse._next_number(), '00000000-0000-4000-8000-0000000000f5', event);
    insert into musicverse.deliveries (seq, id, webhook_id, user_id, event_id, created_at, status, attempt_count)
    values (musicverse._next_number(), delivery, webhook, '00000000-0000-4000-8000-0000000000f5', event, at, status, 1);
    insert into musicverse.webhook_attempts (delivery_id, attempt, webhook_id, user_id, started_at, request_headers, truncated, total_us)
    values (delivery, 1, webhook, '00000000-0000-4000-8000-0000000000f5', at, '{}', false, 1);
end
$$;
create view public.regress_kept as
select e.payload::json -> 'data' ->> 'title' as event, d.status, replace(replace(e.tableoid::regclass::text, public.regress_leaf(0), 'today'), public.regress_leaf(1), 'yesterday') as leaf,
       (select count(*) from event_log l where l.event_id = e.id) as log, (select count(*) from webhook_attempts a where a.delivery_id = d.id) as attempts
  from events e left join deliveries d on d.event_id = e.id order by 1, 2;

-- leaves of the coming days are made as soon as there is an event, and once
select public.regress_days('events'), public.regress_days('event_log'), public.regress_days('deliveries'), public.regress_days('webhook_attempts');
select _tend_leaves('30 days');
select public.regress_days('events');
select public.regress_put(40, :'w_id', 'd', 'before there were leaves');
select _tend_leaves('0');
select public.regress_days('events'), public.regress_days('event_log'), public.regress_days('deliveries'), public.regress_days('webhook_attempts');
select _tend_leaves('0');
select public.regress_days('events'), public.regress_days('event_log'), public.regress_days('deliveries'), public.regress_days('webhook_attempts');
-- indexes and row-level security are those of the default leaves
create function public.regress_like(leaf text) returns table (object text) language sql as $$
    select replace(pg_get_indexdef(i.indexrelid), leaf, 'X') from pg_index i join pg_class c on c.oid = i.indrelid
     where c.relnamespace = 'musicverse'::regnamespace and c.relname like '%\_' || leaf and c.relname !~ '^api_usage'
    union all
    select replace(c.relname, leaf, 'X') || c.relrowsecurity || coalesce(c.reloptions::text, '') || case when exists (select from aclexplode(c.relacl) a where a.grantee <> c.relowner) then ' granted' else '' end from pg_class c
     where c.relnamespace = 'musicverse'::regnamespace and c.relname like '%\_' || leaf and c.relname !~ '^api_usage'
$$;
select count(*) > 8 as many from public.regress_like('default');
(select * from public.regress_like('default') except select * from public.regress_like(public.regress_leaf(0)))
union all
(select * from public.regress_like(public.regress_leaf(0)) except select * from public.regress_like('default'));

-- what is recorded now goes to the leaf of today, all of it
truncate events, event_log, deliveries, webhook_attempts;
select emit_event(:'u', 'track.created', '{"title": "now"}') is not null as emitted;
insert into tracks (user_id, title) select :'u', 'many' from generate_series(1, 600);
select t.tableoid::regclass::text = 'events_' || public.regress_leaf(0) as today, count(*) from events t group by 1;
select t.tableoid::regclass::text = 'event_log_' || public.regress_leaf(0) as today, count(*) from event_log t group by 1;
select t.tableoid::regclass::text = 'deliveries_' || public.regress_leaf(0) as today, count(*) from deliveries t group by 1;
-- the edges of a day
select _uuid7_bound('2001-02-03Z') as lo, _uuid7_bound('2001-02-04Z') as hi \gset
select _create_leaves('2001-02-03');
insert into events select id, :'u', 'edge', now(), '{}' from unnest(array[:'lo', overlay(:'lo' placing 'ffff' from 33), :'hi', overlay(:'lo' placing '86' from 12)]::uuid[]) id;
select tableoid::regclass as leaf, count(*) from events where type = 'edge' group by 1 order by 1;
drop table events_20010203, event_log_20010203, deliveries_20010203, webhook_attempts_20010203;
truncate events, event_log, deliveries;

-- without leaves there is the default one, also for what was begun when the day had none; such a day gets no leaf later
create function public.regress_drop(days_ago int) returns void language plpgsql as $$
begin
    execute format('drop table events_%1$s, event_log_%1$s, deliveries_%1$s, webhook_attempts_%1$s', public.regress_leaf(days_ago));
end
$$;
select public.regress_drop(0);
select emit_event(:'u', 'track.created', '{"title": "now"}') is not null as emitted;
select event, status, leaf, log from public.regress_kept;
select _tend_leaves('30 days');
select public.regress_days('events');
truncate events, event_log, deliveries;
select emit_event(:'u', 'track.created', '{"title": "now"}') is not null as emitted;
begin;
delete from deliveries; delete from event_log; delete from events;
select public.regress_put(50, :'w_id', 'd', 'so that there is an event');
select _tend_leaves('0');
select public.regress_days('events');
commit;
truncate events, event_log, deliveries, webhook_attempts;

-- retention: what is settled goes with its day, two days a turn, what is still to be sent stays
select _create_leaves((clock_timestamp() at time zone 'UTC')::date - n) from unnest(array[1, 29, 30, 31, 32, 33, 34, 35, 36]) n;
select public.regress_put(0, :'w_id', 'd', 'today');
select public.regress_put(29, :'w_id', 'd', '29');
select public.regress_put(30, :'w_id', 'd', '30');
select public.regress_put(31, :'w_id', 'd', '31 delivered');
select public.regress_put(32, :'w_id', 'f', '32 given up');
select public.regress_put(33, :'v_id', 'p', '33 held by a disabled webhook');
select public.regress_put(34, gen_random_uuid(), 'p', '34 for a webhook that is gone');
select public.regress_put(35, :'w_id', 'p', '35 pending');
select public.regress_put(35, :'w_id', 'd', '35 delivered beside it');
select public.regress_put(36, :'w_id', 'p', '36 pending');
select disable_webhook(:'v_id');
-- one of 31 days ago is being sent again
insert into deliveries (seq, id, webhook_id, user_id, event_id, created_at, status, attempt_count)
select _next_number(), _uuid7(), :'w_id', :'u', id, now(), 'p', 0 from events where payload like '%31 delivered%';
select _tend_leaves('0');
select public.regress_days('events') like '% 36' as nothing_goes;
select _tend_leaves('30 days');
select public.regress_days('events'), public.regress_days('event_log') = public.regress_days('events') and public.regress_days('deliveries') = public.regress_days('events')
       and public.regress_days('webhook_attempts') = public.regress_days('events') as alike;
select _tend_leaves('30 days');
select public.regress_days('events');
select _tend_leaves('30 days');
select public.regress_days('events');
select event, status, log, attempts from public.regress_kept;
-- until it is sent
update deliveries set status = 'd' where status = 'p';
select _tend_leaves('30 days');
select _tend_leaves('30 days');
select public.regress_days('events');
select event, status, log, attempts from public.regress_kept;

-- the default leaves are kept short the same way
select public.regress_put(41, :'w_id', 'd', '41 delivered');
select public.regress_put(42, :'w_id', 'p', '42 pending');
select public.regress_put(43, :'v_id', 'p', '43 held by a disabled webhook');
select public.regress_put(44, :'w_id', 'd', '44 sent again');
insert into deliveries (seq, id, webhook_id, user_id, event_id, created_at, status, attempt_count)
select _next_number(), _uuid7(), :'w_id', :'u', id, now(), 'p', 0 from events where payload like '%44 sent again%';
select count(*) from events_default;
select _tend_leaves('30 days');
select event, status from public.regress_kept where leaf = 'events_default';
update deliveries set status = 'd' where status = 'p';
select _tend_leaves('30 days');
select (select count(*) from events_default), (select count(*) from event_log_default), (select count(*) from deliveries_default) as deliveries, (select count(*) from webhook_attempts_default) as attempts;

-- idempotency keys live as long as events, also where there are no events any more
truncate events, event_log, deliveries, webhook_attempts;
select emit_event(:'u', 'track.created', '{}', 'new') is not null as emitted;
insert into event_keys values (:'u', 'old', gen_random_uuid(), now() - interval '32 days'), (:'u', 'not so old', gen_random_uuid(), now() - interval '29 days');
select emit_event(:'u', 'track.created', '{}', 'old') = event_id as first_one from event_keys where key = 'old';
select _tend_leaves('0');
select count(*) from event_keys;
select _tend_leaves('30 days');
select key from event_keys order by key;
select emit_event(:'u', 'track.created', '{}', 'old') is not null as anew;
select count(*) from events;
truncate events, event_log, deliveries;
update event_keys set created_at = now() - interval '100 days';
select _tend_leaves('30 days');
select count(*) from event_keys;

-- leave the leaves as they were
do $$
declare
    leaf text;
begin
    for leaf in select c.relname from pg_class c where c.relnamespace = 'musicverse'::regnamespace and c.relispartition and c.relkind = 'r' and c.relname ~ '\d{8}$' loop
        execute format('drop table musicverse.%I', leaf);
    end loop;
end
$$;
drop view public.regress_kept;
drop function public.regress_put(int, uuid, "char", text), public.regress_days(text), public.regress_leaf(int), public.regress_like(text), public.regress_drop(int);
delete from accounts where user_id = :'u';
truncate events, event_log, deliveries;

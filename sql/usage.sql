-- Usage by SQL: what the worker adds, how it is added up, summaries, ranks, percentiles, retention. No worker serves this database.
set client_min_messages = warning;
create extension if not exists musicverse;
set search_path = musicverse, public;
\set SHOW_CONTEXT never
set timezone = 'UTC';
\set u '00000000-0000-4000-8000-0000000000e1'
\set v '00000000-0000-4000-8000-0000000000e2'
\set k '00000000-0000-4000-8000-0000000000ea'

-- a histogram with so many calls of so many milliseconds
create function pg_temp.took(calls int[], ms float[]) returns bigint[] language sql as $$
    select array_agg(coalesce(n, 0) order by i)
      from generate_series(0, 63) i left join
           (select case when m * 1000 < 50 then 0 else least(1 + floor(3 * log(2, (m * 20)::numeric))::int, 63) end as b, sum(c)::bigint as n
              from unnest(calls, ms) as t (c, m) group by 1) s on b = i
$$;
create function pg_temp.row(at timestamptz, usr uuid, key uuid, operation text, class int, calls int, errors int, took bigint[] default null)
returns api_usage language sql as $$
    select row(at, usr, key, operation, class, calls, errors, errors, 0, calls * 10, calls * 100, calls * 1000, took)::api_usage
$$;

begin;
-- minutes, hours, days; the same minute twice; at the turn of a day, a month and a year; without a user, without a key
select _add_usage(array[
    pg_temp.row('2025-12-31 23:58Z', :'u', :'k', 'GET /tracks', 2, 5, 0, pg_temp.took('{5}', '{2}')),
    pg_temp.row('2025-12-31 23:58Z', :'u', :'k', 'GET /tracks', 4, 2, 2),
    pg_temp.row('2026-01-01 00:00Z', :'u', :'k', 'GET /tracks', 2, 7, 0, pg_temp.took('{4,3}', '{2,200}')),
    pg_temp.row('2026-01-01 00:01Z', :'u', null, 'POST /generate', 2, 1, 0),
    pg_temp.row('2026-01-01 00:01Z', null, null, 'GET /tracks', 4, 9, 9),
    pg_temp.row('2026-01-01 00:01Z', :'v', :'k', 'GET /tracks', 2, 11, 0)]);
select _add_usage(array[
    pg_temp.row('2026-01-01 00:00Z', :'u', :'k', 'GET /tracks', 2, 3, 0, pg_temp.took('{3}', '{2}')),
    pg_temp.row('2026-01-01 00:01Z', :'u', null, 'POST /generate', 2, 1, 0),
    pg_temp.row('2026-01-01 00:01Z', null, null, 'GET /tracks', 4, 1, 1)]);
select _add_usage('{}');
select tableoid::regclass as leaf, minute, right(user_id::text, 2) as "user", right(key_id::text, 2) as key, operation, status_class as class, calls, errors, refused, bytes_in, bytes_out, duration_us
  from api_usage order by minute, user_id, operation, class;
select tableoid::regclass as leaf, hour, right(user_id::text, 2) as "user", operation, status_class as class, calls, bytes_out from api_usage_hours order by hour, user_id, operation, class;
select tableoid::regclass as leaf, day, right(user_id::text, 2) as "user", operation, status_class as class, calls, bytes_out from api_usage_days order by day, user_id, operation, class;
select 'no difference' as between_them
 where (select row(sum(calls), sum(errors), sum(duration_us), _sum_histograms(histogram)) from api_usage)
     = (select row(sum(calls), sum(errors), sum(duration_us), _sum_histograms(histogram)) from api_usage_hours)
   and (select row(sum(calls), sum(errors), sum(duration_us), _sum_histograms(histogram)) from api_usage)
     = (select row(sum(calls), sum(errors), sum(duration_us), _sum_histograms(histogram)) from api_usage_days);

-- summaries: every bucket, also the empty ones; the caller's time zone doesn't matter
select bucket_start, calls, errors, refused, bytes_out, p50_ms between 1.6 and 2.5 as p50, p99_ms between 160 and 250 as p99
  from usage_summary(:'u', '2025-12-31 23:57Z', '2026-01-01 00:02Z', 'minute');
select bucket_start, calls, errors from usage_summary(:'u', '2025-12-31 22:30Z', '2026-01-01 01:00Z', 'hour');
set timezone = 'Asia/Tokyo';
select bucket_start at time zone 'UTC' as bucket_start, calls, errors from usage_summary(:'u', '2025-12-30', '2026-01-02');
set timezone = 'UTC';
select bucket_start, calls, errors from usage_summary(:'u', '2025-11-15', '2026-02-01', 'month');
select bucket_start, calls, errors from usage_summary(null, '2025-12-31', '2026-01-02', 'day');
select * from usage_top(:'u', '2025-12-31', '2026-01-02');
select name, calls, errors from usage_top(null, '2025-12-31', '2026-01-02', 'user');
select name, calls, errors from usage_top(:'u', '2025-12-31', '2026-01-02', 'status');
select right(name, 2) as key, calls from usage_top(:'u', '2025-12-31', '2026-01-02', 'key', 1);
select name, calls from usage_top(null, '2025-12-01', '2026-03-01', 'operation', 1);
select name, calls from usage_top(null, '2026-01-01 00:00Z', '2026-01-01 00:01Z');

-- no sum is too large to be added to
select _add_usage(array[row('2026-01-01 00:02Z', :'u', null, 'large', 2, 1, 0, 0, 0, 9223372036854775807, 9223372036854775807, 9223372036854775807, null)::api_usage])
  from generate_series(1, 3);
select calls, bytes_in > 4611686018427387904 as "in", bytes_out > 4611686018427387904 as out, duration_us > 4611686018427387904 as duration
  from api_usage where operation = 'large';
select calls, bytes_in > 4611686018427387904 as "in" from usage_top(:'u', '2026-01-01', '2026-01-02', 'operation', 9) where name = 'large';
-- percentiles are within a bucket of the true ones
with data as (select exp(i / 800.0) as ms from generate_series(1, 8000) i),
     told as (select f, usage_percentile(pg_temp.took((select array_agg(1) from data), (select array_agg(ms) from data)), f) as ms
                from unnest('{0.01,0.5,0.9,0.95,0.99,0.999}'::float[]) f)
select f, ms / (select percentile_disc(f) within group (order by d.ms) from data d) between 0.79 and 1.27 as near from told;
select usage_percentile(pg_temp.took('{1}', '{0.001}'), 1), usage_percentile(pg_temp.took('{1}', '{1e9}'), 1) > 60000 as "an hour is a lot",
       usage_percentile(pg_temp.took('{}', '{}'), 0.5), usage_percentile(null, 0.5);
select _add_histograms(null, null), _add_histograms(null, pg_temp.took('{1}', '{1}')) = pg_temp.took('{1}', '{1}') as one,
       (_add_histograms(array_fill(9223372036854775807, '{64}'), array_fill(1::bigint, '{64}')))[1] as at_most;
rollback;

-- refused
select usage_percentile('{1,2,3}', 0.5);
select usage_percentile(array_fill(null::bigint, '{64}'), 0.5);
select usage_percentile(array_fill(1::bigint, '{64}'), 1.5);
select usage_percentile(array_fill(1::bigint, '{64}'), 'NaN');
select _add_histograms(array_fill(1::bigint, '{8,8}'), null);
select usage_summary(:'u', '2026-01-01', '2026-01-02', 'week');
select usage_summary(:'u', '2026-01-01', '2026-01-02', null);
select usage_summary(:'u', '2026-01-02', '2026-01-01');
select usage_summary(:'u', null, '2026-01-01');
select usage_summary(:'u', '-infinity', '2026-01-01');
select usage_summary(:'u', '2025-01-01', '2026-01-01', 'minute');
select usage_top(:'u', '2026-01-01', '2026-01-02', $$operation'; drop table musicverse.tracks; --$$);
select usage_top(:'u', '2026-01-01', '2026-01-02', 'operation', 0);
select usage_top(:'u', '2026-01-01', '2026-01-02', 'operation', null);
select record_usage(:'u', null, null, 200);
select record_usage(:'u', null, 'x', null);
select record_usage(:'u', null, 'x', 99);
select record_usage(:'u', null, 'x', 600);
select record_usage(:'u', null, 'x', 200, '-1 ms');
select record_usage(:'u', null, 'x', 200, '-178000000 years');
select record_usage(:'u', null, 'x', 200, '178000000 years');
select record_usage(:'u', null, 'x', 200, '1 ms', -1);
select record_usage(:'u', null, 'x', 200, '1 ms', 0, -1);
select flush_usage();
select quota_status(null);

select _now() - clock_timestamp() as ahead \gset
-- quotas: as many as they allow, and none when one of several is used up
insert into tiers (name, burst, refill_per_second, monthly_quota, max_api_keys, max_webhooks, max_concurrent_jobs, daily_quota)
values ('rationed', 1000, 1000, 12, 3, 1, 1, 5);
select set_tier(:'v', 'rationed');
select key as v_key from create_api_key(:'v', 'one') \gset
select key as w_key from create_api_key(:'v', 'two') \gset
select allowed, status, reason, policy, "limit", remaining from verify_api_key(:'v_key', cost => 3);
select allowed, status, reason, policy, "limit", remaining from verify_api_key(:'w_key', cost => 3);
select allowed, status, reason, policy, "limit", remaining, retry_after > 0 and retry_after <= 86400 as tomorrow, resets_at = date_trunc('day', _now()) + '1 day' as at_midnight
  from verify_api_key(:'w_key', cost => 3);
select allowed, status, reason, policy, remaining, retry_after from verify_api_key(:'w_key', cost => 6);
select allowed, policy, remaining from verify_api_key(:'w_key', cost => 2);
select allowed, reason, policy, remaining from verify_api_key(:'w_key');
select period, "limit", used, remaining, resets_at > _now() as later from quota_status(:'v');
begin;
select allowed from verify_api_key(:'v_key', cost => 0);
rollback;
select advance_clock(date_trunc('day', _now()) + '1 day' - _now()) is not null as tomorrow;
select allowed, policy, remaining from verify_api_key(:'w_key', cost => 4);
-- set back, the day that has begun is the one that counts
select advance_clock('-12 hours') is not null as back;
-- (a bucket that is full only in 12 hours has nothing now, and is refilled from now on)
select allowed, reason, policy from verify_api_key(:'w_key', cost => 2);
select advance_clock('1 minute') is not null as refilled;
select allowed, reason, policy from verify_api_key(:'w_key', cost => 2);
select allowed, policy, remaining from verify_api_key(:'w_key', cost => 1);
-- set back by more than a day: what was counted stays counted, in the day of now
select advance_clock('400 days') \g /dev/null
select allowed, policy, remaining from verify_api_key(:'w_key', cost => 2);
select advance_clock('-400 days') \g /dev/null
-- (and the bucket, whose clock steps in tests only, is refilled from now on)
select allowed, policy from verify_api_key(:'w_key');
select period, used, resets_at - _now() <= case period when 'day' then interval '1 day' else '31 days' end as soon from quota_status(:'v');
select advance_clock('1 day') \g /dev/null
select period, used from quota_status(:'v') where period = 'day';
-- the month ends later than any of its days
select advance_clock(date_trunc('month', _now()) + '1 month' - _now()) is not null as next_month;
select allowed, policy, "limit", remaining from verify_api_key(:'w_key', cost => 5);
select period, used from quota_status(:'v');
select advance_clock('1 day') \g /dev/null
select allowed, policy, remaining from verify_api_key(:'w_key', cost => 5);
select advance_clock('1 day') \g /dev/null
select allowed, reason, policy, "limit", remaining, retry_after > 20 * 86400 as "next month" from verify_api_key(:'w_key', cost => 5);
-- the burst refuses first, and the quota isn't touched
update tiers set burst = 3, refill_per_second = 0.001, daily_quota = null, monthly_quota = 1000 where name = 'rationed';
select allowed, policy, remaining from verify_api_key(:'w_key', cost => 3);
select used as before from quota_status(:'v') where period = 'month' \gset
select allowed, reason, policy from verify_api_key(:'w_key');
select used = :before as untouched from quota_status(:'v') where period = 'month';
-- a quota that refuses gives the burst back
update tiers set burst = 3, refill_per_second = 0.0011, monthly_quota = :before where name = 'rationed';
select allowed, reason, policy from verify_api_key(:'w_key', cost => 3);
update tiers set monthly_quota = null where name = 'rationed';
select allowed, policy, remaining from verify_api_key(:'w_key', cost => 3);
delete from accounts where user_id = :'v';
delete from tiers where name = 'rationed';
select advance_clock(:'ahead'::interval - (_now() - clock_timestamp())) is not null as "the clock is as it was";

-- old leaves go, those of now come; nothing in the default leaves is lost
begin;
select _usage_leaf('api_usage', 'day', '2001-02-03 12:00Z'), _usage_leaf('api_usage_hours', 'month', '2001-02-03'), _usage_leaf('api_usage_days', 'year', '2001-02-03');
select _add_usage(array[pg_temp.row('2001-02-03 04:05Z', :'u', :'k', 'old', 2, 1, 0)]);
insert into api_usage_default select (pg_temp.row(date_trunc('day', _now()) + '7 days', :'u', :'k', 'ahead', 2, 1, 0)).*;
select _usage_leaf('api_usage', 'day', _now() + '7 days') as "what is there stays there";
select _tend_usage('7 days', '90 days', '1000 days');
select c.relname as left_over from pg_class c where c.relnamespace = 'musicverse'::regnamespace and c.relname ~ '^api_usage.*_2001';
select _tend_usage('7 days', '90 days', '1000 days');
select c.relname as left_over from pg_class c where c.relnamespace = 'musicverse'::regnamespace and c.relname ~ '^api_usage.*_2001';
select count(*) as ahead from api_usage where operation = 'ahead';
select count(*) from pg_class c where c.relnamespace = 'musicverse'::regnamespace and c.relkind = 'r'
   and c.relname in ('api_usage_' || to_char(_now(), 'YYYYMMDD'), 'api_usage_' || to_char(_now() + '1 day', 'YYYYMMDD'),
                     'api_usage_hours_' || to_char(_now(), 'YYYYMM'), 'api_usage_days_' || to_char(_now(), 'YYYY')) and c.relrowsecurity;
rollback;

-- a user sees its own
create role regress_usage;
select expose_to('regress_usage', null, null) \g /dev/null
create role regress_usage_user;
begin;
select expose_to('regress_usage', 'regress_usage_user') \g /dev/null
insert into api_usage_default select (pg_temp.row(now(), :'u', :'k', 'mine', 2, 1, 0)).*;
insert into api_usage_days_default select (pg_temp.row(date_trunc('day', now() - interval '10 years'), :'v', :'k', 'theirs', 2, 1, 0)).*;
set local role regress_usage_user;
select set_config('request.jwt.claims', json_build_object('sub', :'u')::text, true) \g /dev/null
select operation from api_usage;
select count(*) as of_others from api_usage_days;
select count(*) from usage_summary(:'u', now() - interval '1 day', now());
savepoint s;
select count(*) from usage_summary(:'v', now() - interval '1 day', now());
rollback to s;
select count(*) from usage_top(null, now() - interval '1 day', now());
rollback to s;
select quota_status(:'v');
rollback to s;
select record_usage(:'u', null, 'x', 200);
rollback;
drop owned by regress_usage;
delete from exposed_roles where role_name like 'regress_usage%';
drop role regress_usage, regress_usage_user;

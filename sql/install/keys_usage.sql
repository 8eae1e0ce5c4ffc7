-- keys: usage and quotas
--
-- api_usage has a row a minute, and its hours and days are added up beside it
-- by the same transaction of the usage worker. The three are partitioned by
-- day, month and year. Their roots carry no index: each leaf has its own, so
-- that a dump restores leaf by leaf beside the roots that CREATE EXTENSION
-- made. What finds no leaf of its time is in the default leaf.

create table api_usage (
    minute       timestamptz not null,
    user_id      uuid,
    key_id       uuid,
    operation    text not null,
    status_class smallint not null,
    calls        bigint not null,
    errors       bigint not null,
    refused      bigint not null,
    shadowed     bigint not null,
    bytes_in     bigint not null,
    bytes_out    bigint not null,
    duration_us  bigint not null,
    histogram    bigint[]
) partition by range (minute);
comment on table api_usage is 'Calls by minute, key, operation and class of status; written by the usage worker';
comment on column api_usage.user_id is 'NULL for calls of nobody known';
comment on column api_usage.key_id is 'NULL for calls without a key';
comment on column api_usage.status_class is '2 for 200 to 299, and so on';
comment on column api_usage.errors is 'Calls with a status of 400 or more';
comment on column api_usage.refused is 'Of the errors, those refused by a verdict';
comment on column api_usage.shadowed is 'Calls let through by the shadow mode that would have been refused';
comment on column api_usage.duration_us is 'Of the calls whose duration is known, together';
comment on column api_usage.histogram is 'How many calls took how long, see usage_percentile(); NULL when no duration is known';

create table api_usage_hours (like api_usage) partition by range (minute);
alter table api_usage_hours rename minute to hour;
comment on table api_usage_hours is 'api_usage added up by hour';
create table api_usage_days (like api_usage) partition by range (minute);
alter table api_usage_days rename minute to day;
comment on table api_usage_days is 'api_usage added up by day of UTC';

create table quota_usage (
    user_id    uuid not null references accounts on delete cascade,
    period     text not null check (period in ('day', 'month')),
    starts_on  date not null,
    used       bigint not null check (used >= 0),
    updated_at timestamptz not null default now(),
    primary key (user_id, period)
) with (fillfactor = 70);
comment on table quota_usage is 'What users have used of their quotas in the current day and month of UTC, as the usage worker wrote it last';

create function _add_histograms(a bigint[], b bigint[]) returns bigint[]
language c immutable parallel safe as 'MODULE_PATHNAME', 'musicverse_add_histograms';
comment on function _add_histograms(bigint[], bigint[]) is 'Adds two histograms; NULL is an empty one';

create aggregate _sum_histograms(bigint[]) (sfunc = _add_histograms, stype = bigint[], parallel = safe, combinefunc = _add_histograms);
comment on aggregate _sum_histograms(bigint[]) is 'Adds up histograms';

create function usage_percentile(histogram bigint[], fraction double precision) returns double precision
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_usage_percentile';
comment on function usage_percentile(bigint[], double precision) is
    'The duration in milliseconds that a fraction of the calls in a histogram did not exceed, exact to a fifth';

-- The leaf for a moment: its own, made if that can be, or the default one.
create function _usage_leaf(root name, span text, at timestamptz) returns regclass
language plpgsql set search_path = musicverse, pg_catalog, pg_temp set lock_timeout = '50ms' set timezone = 'UTC' as $$
declare
    since timestamptz := date_trunc(span, at);
    until timestamptz := since + ('1 ' || span)::interval;
    leaf text := format('%s_%s', root, to_char(since, case span when 'day' then 'YYYYMMDD' when 'month' then 'YYYYMM' else 'YYYY' end));
    taken boolean;
begin
    if to_regclass(leaf) is null then
        begin
            execute format('select exists (select from %s_default d where d.%I >= $1 and d.%2$I < $2)', root, _usage_column(root))
               into taken using since, until;
            if not taken then
                execute format('create table %I partition of %I for values from (%L) to (%L)', leaf, root, since, until);
                perform _index_usage_leaf(root, leaf);
            end if;
        exception when lock_not_available then
            raise log 'musicverse makes table % later: %', leaf, sqlerrm;
        end;
    end if;
    return coalesce(to_regclass(leaf), to_regclass(format('%s_default', root)));
end
$$;
comment on function _usage_leaf(name, text, timestamptz) is 'The table for the usage of a moment';

create function _usage_column(root name) returns name
language sql immutable parallel safe set search_path = pg_catalog, pg_temp
as $$ select case root when 'api_usage' then 'minute' when 'api_usage_hours' then 'hour' else 'day' end::name $$;
comment on function _usage_column(name) is 'The column that a table of usage is partitioned by';

create function _index_usage_leaf(root name, leaf name) returns void
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    execute format('alter table %I add unique nulls not distinct (user_id, %I, key_id, operation, status_class)', leaf, _usage_column(root));
    execute format('alter table %I enable row level security', leaf);
    execute format('alter table %I set (fillfactor = 70)', leaf);
end
$$;
comment on function _index_usage_leaf(name, name) is 'What a leaf of usage has of its own';

do $$
declare
    root name;
begin
    foreach root in array '{api_usage,api_usage_hours,api_usage_days}'::name[] loop
        execute format('create table musicverse.%s_default partition of musicverse.%1$s default', root);
        perform musicverse._index_usage_leaf(root, (root || '_default')::name);
    end loop;
end
$$;

-- Called by the usage worker with what it took out of shared memory.
create function _add_usage(rows api_usage[]) returns void
language plpgsql set search_path = musicverse, pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    level record;
    since timestamptz;
    last timestamptz;
    -- two of them can be added: no sum is so large that nothing is written any more
    most constant bigint := 4611686018427387903;
begin
    for level in values ('api_usage', 'day', 'minute'), ('api_usage_hours', 'month', 'hour'), ('api_usage_days', 'year', 'day') loop
        select date_trunc(level.column2, min(r.minute)), max(r.minute) into since, last from unnest(rows) r;
        while since <= last loop
            execute format(
                'insert into %s as t (%2$I, user_id, key_id, operation, status_class, calls, errors, refused, shadowed, bytes_in, bytes_out, duration_us, histogram)
                 select date_trunc(%2$L, r.minute), r.user_id, r.key_id, r.operation, r.status_class, sum(r.calls), sum(r.errors), sum(r.refused),
                        sum(r.shadowed), least(sum(r.bytes_in), $4), least(sum(r.bytes_out), $4), least(sum(r.duration_us), $4), _sum_histograms(r.histogram)
                   from unnest($1) r where r.minute >= $2 and r.minute < $3
                  group by 1, 2, 3, 4, 5 order by 2, 1, 3, 4, 5
                 on conflict (user_id, %2$I, key_id, operation, status_class) do update
                    set calls = t.calls + excluded.calls, errors = t.errors + excluded.errors, refused = t.refused + excluded.refused,
                        shadowed = t.shadowed + excluded.shadowed, bytes_in = least(t.bytes_in, $4) + excluded.bytes_in,
                        bytes_out = least(t.bytes_out, $4) + excluded.bytes_out, duration_us = least(t.duration_us, $4) + excluded.duration_us,
                        histogram = _add_histograms(t.histogram, excluded.histogram)',
                _usage_leaf(level.column1::name, level.column2, since), level.column3)
            using rows, since, since + ('1 ' || level.column2)::interval, most;
            since := since + ('1 ' || level.column2)::interval;
        end loop;
    end loop;
end
$$;
comment on function _add_usage(api_usage[]) is 'Adds counts of minutes to the tables of usage';

-- At most two leaves a call, so that no lock is held for long.
create function _tend_usage(minutes interval, hours interval, days interval) returns void
language plpgsql set search_path = musicverse, pg_catalog, pg_temp set lock_timeout = '50ms' set timezone = 'UTC' as $$
declare
    level record;
    leaf record;
    dropped int := 0;
begin
    for level in
        select * from (values ('api_usage'::name, 'day', minutes, 'YYYYMMDD'), ('api_usage_hours', 'month', hours, 'YYYYMM'),
                              ('api_usage_days', 'year', days, 'YYYY')) v (root, span, keep, pattern)
    loop
        -- not between CREATE EXTENSION and the leaves that a dump brings along
        if exists (select from api_usage) then
            perform _usage_leaf(level.root, level.span, _now()), _usage_leaf(level.root, level.span, _now() + '1 day');
        end if;
        continue when level.keep <= '0';
        begin
            for leaf in
                select c.relname from pg_class c
                 where c.relnamespace = 'musicverse'::regnamespace and c.relname ~ format('^%s_\d{%s}$', level.root, length(level.pattern))
                   and to_timestamp(right(c.relname, length(level.pattern)), level.pattern) + ('1 ' || level.span)::interval < _now() - level.keep
                 order by 1
            loop
                exit when dropped = 2;
                dropped := dropped + 1;
                execute format('drop table %I', leaf.relname);
            end loop;
        exception when lock_not_available then
            raise log 'musicverse drops old usage later: %', sqlerrm;
        end;
        execute format('delete from %s_default where %I < $1', level.root, _usage_column(level.root)) using _now() - level.keep;
    end loop;
end
$$;
comment on function _tend_usage(interval, interval, interval) is 'Makes the leaves of usage that come next and drops those older than the intervals; 0 keeps them';

create function record_usage(user_id uuid, key_id uuid, operation text, status int, duration interval default null,
                             bytes_in bigint default 0, bytes_out bigint default 0) returns void
language c volatile as 'MODULE_PATHNAME', 'musicverse_record_usage';
comment on function record_usage(uuid, uuid, text, int, interval, bigint, bigint) is
    'Counts a call in shared memory, for servers that judge calls by verify_api_key() and answer them themselves';

create function flush_usage() returns void
language c volatile as 'MODULE_PATHNAME', 'musicverse_flush_usage';
comment on function flush_usage() is 'Has the usage worker write what was counted until now, and waits for it';

create function _usage_status(out room bigint, out entries bigint, out dropped bigint, out flushed_rows bigint, out flushed_at timestamptz,
                              out last_error text, out last_error_at timestamptz,
                              out quota_room bigint, out quota_entries bigint, out quota_no_room bigint) returns record
language c volatile as 'MODULE_PATHNAME', 'musicverse_usage_status';
comment on function _usage_status() is 'What usage_status shows';

create view usage_status with (security_invoker = true) as select * from _usage_status();
comment on view usage_status is 'The counters of usage and quotas in shared memory, and what their worker does';

create function _quota_used(user_id uuid, out day bigint, out day_resets_at timestamptz, out month bigint, out month_resets_at timestamptz) returns record
language c volatile strict as 'MODULE_PATHNAME', 'musicverse_quota_used';
comment on function _quota_used(uuid) is 'What a user has used of its quotas';

create function quota_status(user_id uuid) returns table (period text, "limit" bigint, used bigint, remaining bigint, resets_at timestamptz)
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    perform _require_user(user_id);
    return query
        select v.period, v.quota, v.used, case when v.quota is not null then greatest(v.quota - v.used, 0) end, v.resets_at
          from _quota_used(quota_status.user_id) u,
               (select t.* from tiers t
                 where t.name = coalesce((select a.tier from accounts a where a.user_id = quota_status.user_id), 'free')) t,
               lateral (values ('day', t.daily_quota, u.day, u.day_resets_at), ('month', t.monthly_quota, u.month, u.month_resets_at))
                   v (period, quota, used, resets_at);
end
$$;
comment on function quota_status(uuid) is 'What a user may call in the day and the month of UTC, and has called; limit is NULL for any number';

-- Everybody's usage is for service roles.
create function _require_usage(user_id uuid) returns void
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    if user_id is not null then
        perform _require_user(user_id);
    elsif not caller_is_service() then
        raise exception 'permission denied to see the usage of all users' using errcode = '42501', hint = 'Name a user.';
    end if;
end
$$;
comment on function _require_usage(uuid) is 'Refuses to show a user the usage of others';

create function _usage_span("from" timestamptz, "to" timestamptz) returns void
language plpgsql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    if "from" is null or "to" is null or not isfinite("from") or not isfinite("to") or "from" >= "to" then
        raise exception 'there is no time from % to %', coalesce("from"::text, 'null'), coalesce("to"::text, 'null')
            using errcode = '22023', hint = '"from" must be before "to", and both finite.';
    end if;
end
$$;
comment on function _usage_span(timestamptz, timestamptz) is 'Refuses a time that is none';

create function usage_summary(user_id uuid, "from" timestamptz, "to" timestamptz, bucket text default 'day')
returns table (bucket_start timestamptz, calls bigint, errors bigint, refused bigint, shadowed bigint, bytes_in bigint, bytes_out bigint,
               p50_ms double precision, p95_ms double precision, p99_ms double precision)
language plpgsql stable security definer set search_path = musicverse, pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    source name := case bucket when 'minute' then 'api_usage' when 'hour' then 'api_usage_hours'
                               when 'day' then 'api_usage_days' when 'month' then 'api_usage_days' end;
begin
    perform _require_usage(user_id);
    if source is null then
        raise exception 'unknown bucket "%"', coalesce(left(bucket, 100), 'null')
            using errcode = '22023', hint = 'Known are minute, hour, day and month.';
    end if;
    perform _usage_span("from", "to");
    if extract(epoch from "to" - "from") / extract(epoch from ('1 ' || bucket)::interval) > 10000 then
        raise exception 'there are more than 10000 buckets of a % from % to %', bucket, "from", "to"
            using errcode = '22023', hint = 'Ask for less, or for larger buckets.';
    end if;
    return query execute format(
        'with counted as (
            select date_trunc($4, u.%I) as at, sum(u.calls)::bigint as calls, sum(u.errors)::bigint as errors, sum(u.refused)::bigint as refused,
                   sum(u.shadowed)::bigint as shadowed, least(sum(u.bytes_in), 9223372036854775807)::bigint as bytes_in, least(sum(u.bytes_out), 9223372036854775807)::bigint as bytes_out,
                   _sum_histograms(u.histogram) as histogram
              from %I u
             where u.%1$I >= date_trunc($4, $2) and u.%1$I < $3 and ($1 is null or u.user_id = $1)
             group by 1)
         select s.at, coalesce(c.calls, 0), coalesce(c.errors, 0), coalesce(c.refused, 0), coalesce(c.shadowed, 0), coalesce(c.bytes_in, 0),
                coalesce(c.bytes_out, 0), usage_percentile(c.histogram, 0.5), usage_percentile(c.histogram, 0.95), usage_percentile(c.histogram, 0.99)
           from generate_series(date_trunc($4, $2), $3 - interval ''1 us'', (''1 '' || $4)::interval) s (at) left join counted c using (at) order by 1',
        _usage_column(source), source) using user_id, "from", "to", bucket;
end
$$;
comment on function usage_summary(uuid, timestamptz, timestamptz, text) is
    'Calls, errors, bytes and latency of a user by minute, hour, day or month of UTC, also of those without calls; NULL is everybody, for service roles';

create function usage_top(user_id uuid, "from" timestamptz, "to" timestamptz, "by" text default 'operation', n int default 10)
returns table (name text, calls bigint, errors bigint, refused bigint, bytes_in bigint, bytes_out bigint, p95_ms double precision)
language plpgsql stable security definer set search_path = musicverse, pg_catalog, pg_temp set timezone = 'UTC' as $$
declare
    source name := case when "to" - "from" <= '2 hours' then 'api_usage' when "to" - "from" <= '31 days' then 'api_usage_hours' else 'api_usage_days' end;
    what text := case "by" when 'operation' then 'u.operation' when 'key' then 'u.key_id::text' when 'status' then 'u.status_class || ''xx'''
                           when 'user' then 'u.user_id::text' end;
begin
    perform _require_usage(user_id);
    if what is null then
        raise exception 'usage can''t be ranked by "%"', coalesce(left("by", 100), 'null')
            using errcode = '22023', hint = 'Known are operation, key, status and user.';
    elsif n is null or n not between 1 and 1000 then
        raise exception 'n must be between 1 and 1000, but is %', coalesce(n::text, 'null') using errcode = '22023';
    end if;
    perform _usage_span("from", "to");
    return query execute format(
        'select %s, sum(u.calls)::bigint, sum(u.errors)::bigint, sum(u.refused)::bigint, least(sum(u.bytes_in), 9223372036854775807)::bigint, least(sum(u.bytes_out), 9223372036854775807)::bigint,
                usage_percentile(_sum_histograms(u.histogram), 0.95)
           from %I u
          where u.%I >= date_trunc(%L, $2) and u.%3$I < $3 and ($1 is null or u.user_id = $1)
          group by 1 order by 2 desc, 1 limit $4', what, source, _usage_column(source), _usage_column(source)) using user_id, "from", "to", n;
end
$$;
comment on function usage_top(uuid, timestamptz, timestamptz, text, int) is
    'The operations, keys, classes of status or users with the most calls; NULL is everybody, for service roles';

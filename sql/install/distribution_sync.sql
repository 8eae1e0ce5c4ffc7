-- distribution: numbers that partners are asked for, day by day
--
-- A sync is of one release, or of all that a user has in his account at the
-- partner, whatever its connector knows (src/distribution/sync.c). It begins
-- when something is live, and comes again every musicverse.analytics_interval.
--
-- LabelGrid tells the numbers of days, which may change for a while: the last
-- two weeks are asked for again each time. SoundCloud has counters that grow: a
-- snapshot of each day is kept, and what a day had is the difference to the
-- snapshot before. A counter that goes back makes no negative day.
--
-- Locks: a sync, for which the worker never waits.

create table partner_syncs (
    id              uuid primary key default gen_random_uuid(),
    partner         text not null references partners on delete cascade,
    user_id         uuid not null references accounts on delete cascade,
    distribution_id uuid references distributions on delete cascade,
    page            text,
    pages           int not null default 0,
    begun_at        timestamptz,
    failures        int not null default 0,
    last_error      text,
    note            text,
    next_attempt_at timestamptz,
    synced_at       timestamptz,
    created_at      timestamptz not null default now(),
    constraint partner_syncs_once unique nulls not distinct (partner, user_id, distribution_id)
);
create index partner_syncs_due_idx on partner_syncs (partner, next_attempt_at) where next_attempt_at is not null;
create index partner_syncs_user_id_idx on partner_syncs (user_id);
create index partner_syncs_distribution_id_idx on partner_syncs (distribution_id) where distribution_id is not null;
comment on table partner_syncs is 'What partners are asked for numbers of; written by the worker';
comment on column partner_syncs.distribution_id is 'NULL for all that the user has in his account at the partner';
comment on column partner_syncs.page is 'Where it goes on, while it is under way';
comment on column partner_syncs.note is 'What was odd in what was told last, such as counters that went back';
comment on column partner_syncs.next_attempt_at is 'When it is due; NULL when nothing of it can be heard any more';

create table counter_snapshots (
    partner         text not null references partners on delete cascade,
    remote_id       text not null,
    day             date not null,
    distribution_id uuid not null references distributions on delete cascade,
    user_id         uuid not null,
    track_id        uuid,
    plays           bigint not null,
    likes           bigint not null,
    downloads       bigint not null,
    shares          bigint not null,
    note            text,
    taken_at        timestamptz not null default now(),
    primary key (partner, remote_id, day)
);
create index counter_snapshots_distribution_id_idx on counter_snapshots (distribution_id);
create index counter_snapshots_user_id_idx on counter_snapshots (user_id);
comment on table counter_snapshots is 'What the counters of a track at a partner were at the end of a day, or when they were last asked for';
comment on column counter_snapshots.remote_id is 'What the partner calls the track';
comment on column counter_snapshots.note is 'Which counters went back';

create function _connector_syncs(connector text) returns text
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_connector_syncs';
comment on function _connector_syncs(text) is 'What partners of a connector are asked for numbers of: release, account, or NULL for nothing';

create function _sync_interval(partner text) returns interval
language sql stable set search_path = musicverse, pg_catalog, pg_temp as $$
    select coalesce((p.config ->> 'analytics_interval')::numeric * interval '1 second', coalesce(current_setting('musicverse.analytics_interval', true), '6h')::interval)
      from partners p where p.name = _sync_interval.partner
$$;
comment on function _sync_interval(text) is 'How often a partner is asked for numbers';

create function _target_heard() returns trigger
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    kind text := (select _connector_syncs(p.connector) from partners p where p.name = new.partner);
begin
    if kind is null or _is_restore() then
        return null;
    end if;
    insert into partner_syncs as s (partner, user_id, distribution_id, next_attempt_at)
    values (new.partner, new.user_id, case kind when 'release' then new.distribution_id end, _now())
        on conflict on constraint partner_syncs_once do update set next_attempt_at = excluded.next_attempt_at where s.next_attempt_at is null;
    perform _wake_distribution();
    return null;
end
$$;
comment on function _target_heard() is 'Begins to ask for numbers of what is live';

create trigger target_heard after insert or update of status on distribution_targets
    for each row when (new.status = 'live') execute function _target_heard();

-- ---- what the worker does

create function _claim_syncs(partner text, slots int) returns table (id uuid, user_id uuid, page text, state jsonb)
language sql volatile set search_path = musicverse, pg_catalog, pg_temp as $$
    select s.id, s.user_id, s.page, jsonb_build_object(
               'release_id', k.state -> (_partner_config(p.connector, p.config) ->> 'remote_id'),
               'until', (_now() at time zone 'UTC')::date,
               'since', greatest((_now() at time zone 'UTC')::date - 365, (s.synced_at at time zone 'UTC')::date - 14,
                   (select min(t.live_at at time zone 'UTC')::date - 1 from distribution_targets t where t.distribution_id = s.distribution_id and t.partner = s.partner)))
      from partner_syncs s join partners p on p.name = s.partner
      left join distribution_work k on k.distribution_id = s.distribution_id and k.partner = s.partner
     where s.partner = _claim_syncs.partner and s.next_attempt_at <= (select _now())
     order by s.next_attempt_at limit slots for no key update of s skip locked
$$;
comment on function _claim_syncs(text, int) is 'Up to so many syncs at a partner that are due, longest first, locked';

create function _begin_sync(id uuid, timeout_ms int) returns void
language sql volatile set search_path = musicverse, pg_catalog, pg_temp as $$
    update partner_syncs s set begun_at = _now(), next_attempt_at = _now() + timeout_ms * interval '1 millisecond' + interval '5 minutes'
     where s.id = _begin_sync.id
$$;
comment on function _begin_sync(uuid, int) is 'Records that a partner is asked, before the request is sent';

create function _put_off_sync(id uuid, why text) returns void
language sql volatile set search_path = musicverse, pg_catalog, pg_temp as $$
    update partner_syncs s
       set begun_at = null, page = null, pages = 0,
           last_error = case why when 'later' then s.last_error when 'login' then 'waits until the user has logged in again' else why end,
           failures = s.failures + (why not in ('later', 'login'))::int,
           next_attempt_at = _now() + case why when 'later' then interval '30 seconds' when 'login' then _sync_interval(s.partner) else _distribution_delay(s.failures + 1) end
     where s.id = _put_off_sync.id
$$;
comment on function _put_off_sync(uuid, text) is 'Puts a sync off: later and login for want of a token, else after a fault of ours';

-- A count as partners write it; NULL for what is none
create function _count_of(value jsonb) returns bigint
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select case when jsonb_typeof(value) = 'number' then case when value::numeric between 0 and 1e15 and value::numeric = trunc(value::numeric) then value::numeric::bigint end end
$$;
comment on function _count_of(jsonb) is 'A whole number that can be, NULL otherwise';

-- Numbers of days of a release
create function _write_days(s partner_syncs, numbers jsonb) returns text
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    strange bigint;
begin
    with told as (
        select n ->> 'platform' as platform, _dsr_date(n ->> 'day', false) as day, _count_of(n -> 'streams') as streams, _count_of(n -> 'listeners') as listeners,
               _count_of(n -> 'saves') as saves, _count_of(n -> 'shares') as shares
          from jsonb_array_elements(numbers) n
    ), good as (
        select t.platform, n.day, max(n.streams) as streams, max(n.listeners) as listeners, max(n.saves) as saves, max(n.shares) as shares
          from told n join distribution_targets t on t.distribution_id = s.distribution_id and t.partner = s.partner and t.platform = n.platform
         where n.day between current_date - 400 and (_now() at time zone 'UTC')::date + 1
         group by t.platform, n.day
    ), written as (
        insert into distribution_facts as f (distribution_id, user_id, platform, day, source, streams, listeners, saves, shares)
        select s.distribution_id, s.user_id, g.platform, g.day, s.partner, coalesce(g.streams, 0), coalesce(g.listeners, 0), coalesce(g.saves, 0), coalesce(g.shares, 0)
          from good g
            on conflict on constraint distribution_facts_once do update
           set streams = excluded.streams, listeners = excluded.listeners, saves = excluded.saves, shares = excluded.shares
         where (f.streams, f.listeners, f.saves, f.shares) is distinct from (excluded.streams, excluded.listeners, excluded.saves, excluded.shares)
    )
    select count(*) filter (where n.day is null or coalesce(n.streams, n.listeners, n.saves, n.shares) is null) into strange from told n;
    return case when strange > 0 then format('%s numbers made no sense', strange) end;
end
$$;
comment on function _write_days(partner_syncs, jsonb) is 'Takes the numbers of days of a release; returns what was odd';

-- Counters of tracks: what a day had is what they have grown by since the day before
create function _write_counters(s partner_syncs, numbers jsonb) returns text
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    today constant date := (_now() at time zone 'UTC')::date;
    n record;
    before counter_snapshots;
    latest counter_snapshots;
    back text;
    first_day date;
    notes text[] := '{}';
begin
    for n in
        select distinct on (c.remote_id) c.*, k.distribution_id, t.platform, t.live_at, _count_of(c.told -> 'plays') as plays, coalesce(_count_of(c.told -> 'likes'), 0) as likes,
               coalesce(_count_of(c.told -> 'downloads'), 0) as downloads, coalesce(_count_of(c.told -> 'shares'), 0) as shares,
               (d.metadata -> 'tracks' -> substr(e.key, 2, strpos(e.key, '_') - 2)::int ->> 'track_id')::uuid as track_id
          from (select x ->> 'remote_id' as remote_id, x as told from jsonb_array_elements(numbers) x) c
          join distribution_work k on k.partner = s.partner and k.user_id = s.user_id
          join jsonb_each_text(k.state) e on e.key ~ '^t[0-9]{1,4}_urn$' and e.value = c.remote_id
          join distributions d on d.id = k.distribution_id
          join distribution_targets t on t.work_id = k.id
         where t.live_at is not null
         order by c.remote_id, k.created_at
    loop
        if n.plays is null then
            notes := notes || format('%s: plays make no sense', n.remote_id);
            continue;
        end if;
        select x.* into latest from counter_snapshots x where x.partner = s.partner and x.remote_id = n.remote_id order by x.day desc limit 1;
        select x.* into before from counter_snapshots x where x.partner = s.partner and x.remote_id = n.remote_id and x.day < today order by x.day desc limit 1;
        back := nullif(concat_ws(', ', case when n.plays < latest.plays then format('plays went back from %s to %s', latest.plays, n.plays) end,
                                       case when n.likes < latest.likes then format('likes went back from %s to %s', latest.likes, n.likes) end,
                                       case when n.downloads < latest.downloads then format('downloads went back from %s to %s', latest.downloads, n.downloads) end), '');
        if back is not null then
            notes := notes || format('%s: %s', n.remote_id, back);
        end if;
        insert into counter_snapshots as c (partner, remote_id, day, distribution_id, user_id, track_id, plays, likes, downloads, shares, note, taken_at)
        values (s.partner, n.remote_id, today, n.distribution_id, s.user_id, n.track_id, n.plays, n.likes, n.downloads, n.shares, back, _now())
            on conflict on constraint counter_snapshots_pkey do update
           set plays = excluded.plays, likes = excluded.likes, downloads = excluded.downloads, shares = excluded.shares, note = coalesce(excluded.note, c.note),
               taken_at = excluded.taken_at;
        first_day := least(today, coalesce(before.day + 1, (n.live_at at time zone 'UTC')::date));
        insert into distribution_facts as f (distribution_id, user_id, track_id, platform, day, days, source, streams, likes, downloads, shares)
        values (n.distribution_id, s.user_id, n.track_id, n.platform, first_day, today - first_day + 1, s.partner, greatest(n.plays - coalesce(before.plays, 0), 0),
                greatest(n.likes - coalesce(before.likes, 0), 0), greatest(n.downloads - coalesce(before.downloads, 0), 0), greatest(n.shares - coalesce(before.shares, 0), 0))
            on conflict on constraint distribution_facts_once do update
           set streams = excluded.streams, likes = excluded.likes, downloads = excluded.downloads, shares = excluded.shares
         where (f.streams, f.likes, f.downloads, f.shares) is distinct from (excluded.streams, excluded.likes, excluded.downloads, excluded.shares);
    end loop;
    return left(nullif(array_to_string(notes, '; '), ''), 1000);
end
$$;
comment on function _write_counters(partner_syncs, jsonb) is 'Takes counters of tracks that only grow; returns what was odd';

-- What came of a sync: next with the numbers, and the next page as message;
-- account, when the token was refused; else what went wrong. busy when somebody
-- holds it, and it is to be settled later; else ok.
create function _settle_sync(id uuid, verdict text, numbers jsonb, message text, retry_after int) returns text
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    s partner_syncs;
    odd text;
    spare constant interval := least(coalesce(retry_after, 0), 86400) * interval '1 second';
begin
    select x.* into s from partner_syncs x where x.id = id for no key update skip locked;
    if not found then
        return case when exists (select from partner_syncs x where x.id = id) then 'busy' else 'ok' end;
    elsif s.begun_at is null then
        return 'ok';
    end if;
    if verdict = 'next' then
        odd := case when s.distribution_id is not null then _write_days(s, numbers) else _write_counters(s, numbers) end;
        s.note := case when s.page is null then odd else left(concat_ws('; ', s.note, odd), 1000) end;
        s.failures := 0;
        s.last_error := null;
        s.pages := s.pages + 1;
        s.page := case when s.pages < 1000 then message end;
        if s.page is not null then
            s.next_attempt_at := _now();
        else
            s.pages := 0;
            s.synced_at := _now();
            -- what was taken down is told of for some days yet
            s.next_attempt_at := case when exists (
                select from distribution_targets t
                 where t.partner = s.partner and t.user_id = s.user_id and (s.distribution_id is null or t.distribution_id = s.distribution_id)
                   and (t.status = 'live' or t.live_at is not null and exists (
                       select from distribution_history h where h.distribution_id = t.distribution_id and h.platform = t.platform
                          and h.status = t.status and h.created_at > _now() - interval '7 days')))
                then _now() + _sync_interval(s.partner) * (0.95 + random() / 10) end;
        end if;
    else
        s.page := null;
        s.pages := 0;
        s.failures := s.failures + (verdict <> 'account')::int;
        s.last_error := _clean_message(message);
        s.next_attempt_at := _now() + greatest(spare, case verdict when 'account' then interval '30 seconds'
            when 'again' then least(_distribution_delay(s.failures), _sync_interval(s.partner)) else _sync_interval(s.partner) end);
    end if;
    update partner_syncs x
       set page = s.page, pages = s.pages, begun_at = null, failures = s.failures, last_error = s.last_error, note = s.note, next_attempt_at = s.next_attempt_at,
           synced_at = s.synced_at
     where x.id = id;
    return 'ok';
end
$$;
comment on function _settle_sync(uuid, text, jsonb, text, int) is 'Writes down what a partner told when it was asked for numbers';

-- ---- what they say

create function _labelgrid_numbers(answer jsonb, config jsonb) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select case when jsonb_typeof(answer -> 'data') = 'object' then (
        select coalesce(jsonb_agg(n.number), '[]')
          from (select jsonb_build_object('platform', coalesce((select o.key from jsonb_each_text(config -> 'stores') o where lower(o.value) = x.store limit 1), x.store),
                                          'day', x.day) || jsonb_object_agg(x.metric, x.value) as number
                  from (select lower(e ->> 'platform') as store, e ->> 'date' as day, m.metric, coalesce(e -> 'value', 'null') as value
                          from unnest('{streams,listeners,saves,shares}'::text[]) m (metric),
                               jsonb_array_elements(case jsonb_typeof(answer -> 'data' -> m.metric) when 'array' then answer -> 'data' -> m.metric else '[]' end) e
                         where jsonb_typeof(e) = 'object') x
                 group by x.store, x.day) n) end
$$;
comment on function _labelgrid_numbers(jsonb, jsonb) is 'The numbers of days in an answer of LabelGrid; NULL when it is none';

create function _soundcloud_numbers(answer jsonb, config jsonb) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select case when jsonb_typeof(coalesce(answer -> 'collection', answer)) = 'array' then (
        select coalesce(jsonb_agg(jsonb_build_object('remote_id', e -> 'urn', 'plays', e -> 'playback_count', 'likes', coalesce(e -> 'favoritings_count', e -> 'likes_count'),
                                                     'downloads', e -> 'download_count', 'shares', e -> 'reposts_count')), '[]')
          from jsonb_array_elements(coalesce(answer -> 'collection', answer)) e where jsonb_typeof(e -> 'urn') = 'string') end
$$;
comment on function _soundcloud_numbers(jsonb, jsonb) is 'The counters of tracks in an answer of SoundCloud; NULL when it is none';

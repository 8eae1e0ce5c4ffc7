-- distribution: what users do with releases
--
-- A release of another user is one that doesn't exist. Changes are judged
-- first and written last.
--
-- Locks: the release, then its work, then its targets.

create function _own_distribution(id uuid) returns distributions
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    d distributions;
begin
    select x.* into d from distributions x
     where x.id = _own_distribution.id and (caller_is_service() or x.user_id = current_user_id()) for no key update;
    if not found then
        raise exception 'distribution % does not exist', coalesce(id::text, 'null') using errcode = 'P0002';
    end if;
    return d;
end
$$;
comment on function _own_distribution(uuid) is 'A release that the caller may change, locked';

-- Fails with everything that is wrong; warnings pass.
create function _refuse_release(user_id uuid, track_ids uuid[], platforms text[], release_date date, release jsonb) returns void
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    problems text[];
    fields json;
    code text := coalesce(_release_gtin(release), _bare_grid(release));
begin
    -- of two who send off what is called the same, one comes second
    if code is not null then
        perform pg_advisory_xact_lock(hashtextextended('musicverse release ' || code, 0));
    end if;
    select array_agg(case when q.places is null then q.message else format('%s (%s)', q.message, q.places) end order by q.n),
           json_agg(json_build_object('field', q.field, 'message', q.message) order by q.n)
      into problems, fields
      from (select p.field, p.message, string_agg(p.platform, ', ' order by p.platform) as places, min(p.n) as n
              from _release_problems(user_id, track_ids, platforms, release_date, release) with ordinality p (platform, field, severity, message, n)
             where p.severity = 'error' group by p.field, p.message) q;
    if problems is not null then
        raise exception 'the release cannot be distributed: %', array_to_string(problems, '; ')
            using errcode = '22023', detail = fields::text, hint = 'check_release() lists what is wrong with a release, before it is made.';
    end if;
end
$$;
comment on function _refuse_release(uuid, uuid[], text[], date, jsonb) is 'Fails with every problem of a completed release listed';

-- ISRCs and a GTIN where there are none and a prefix is configured; else the partner gives them.
create function _give_identifiers(release jsonb) returns jsonb
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    item record;
    given text;
begin
    for item in select t, n::int - 1 as n from jsonb_array_elements(release -> 'tracks') with ordinality e (t, n)
                 where coalesce(t ->> 'isrc', '') = '' loop
        begin
            given := next_isrc();
        exception when object_not_in_prerequisite_state then
            exit;
        end;
        update tracks x set isrc = given where x.id = (item.t ->> 'track_id')::uuid and x.isrc is null;
        release := jsonb_set(release, array['tracks', item.n::text, 'isrc'], to_jsonb(given));
    end loop;
    if coalesce(release ->> 'upc', '') = '' then
        begin
            given := next_upc();
            release := release || jsonb_build_object('upc', given);
        exception when object_not_in_prerequisite_state then
            null;
        end;
    end if;
    return release;
end
$$;
comment on function _give_identifiers(jsonb) is 'A release with the ISRCs and the GTIN that it lacks, where prefixes for them are configured';

create function create_distribution(user_id uuid, track_ids uuid[], platforms text[], release_date date default null,
                                    metadata jsonb default '{}') returns uuid
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    release jsonb;
    wanted text[] := array(select distinct w from unnest(platforms) w order by w);
    result uuid := gen_random_uuid();
begin
    perform _require_user(user_id);
    metadata := coalesce(nullif(metadata, 'null'), '{}');
    if jsonb_typeof(metadata) <> 'object' then
        raise exception 'metadata must be a JSON object, not %', jsonb_typeof(metadata)
            using errcode = '22023', hint = 'Write {"title": "Battle at Dawn"}.';
    elsif octet_length(metadata::text) > 262144 then
        raise exception 'metadata have % bytes, more than 262144', octet_length(metadata::text)
            using errcode = '22023', hint = 'Pass large things by URL.';
    elsif cardinality(track_ids) > 1000 or cardinality(platforms) > 100 then
        raise exception 'a release has at most 1000 tracks and 100 platforms' using errcode = '22023';
    end if;
    if release_date is null and metadata ->> 'release_date' is not null then
        begin
            release_date := (metadata ->> 'release_date')::date;
        exception when others then
            raise exception 'release date "%" is no date', left(metadata ->> 'release_date', 50)
                using errcode = '22023', detail = '{"field": "/metadata/release_date"}', hint = 'Write it as 2026-03-27.';
        end;
    end if;
    insert into accounts as a (user_id) values (user_id) on conflict do nothing;
    release := _complete_release(array(select t.id from unnest(track_ids) with ordinality i (id, n) join tracks t on t.id = i.id
                                        where t.user_id = user_id and t.deleted_at is null order by i.n), release_date, metadata);
    perform _refuse_release(user_id, track_ids, platforms, release_date, release);
    release := _give_identifiers(release);
    insert into distributions (id, user_id, track_id, track_ids, platforms, release_date, metadata, time_zone)
    values (result, user_id, track_ids[1], track_ids, wanted, release_date, release, coalesce(release ->> 'time_zone', 'UTC'));
    insert into distribution_work (distribution_id, user_id, partner)
    select distinct result, user_id, _partner_for(w) from unnest(wanted) w;
    insert into distribution_targets (distribution_id, user_id, work_id, platform, partner)
    select result, user_id, k.id, w, k.partner
      from unnest(wanted) w join distribution_work k on k.distribution_id = result and k.partner = _partner_for(w)
     order by w;
    perform _inspect_tracks(release, user_id);
    return result;
end
$$;
comment on function create_distribution(uuid, uuid[], text[], date, jsonb) is
    'Makes a release of tracks, which submit_distribution() sends off; fails with every problem listed';

-- When a partner gets the release, and when it is to be heard. Where it costs
-- nothing to have it earlier, the partner gets it deliver_ahead.
create function _schedule(work_id uuid, d distributions, out deliver_at timestamptz, out publish_at timestamptz) returns record
language sql stable set search_path = musicverse, pg_catalog, pg_temp as $$
    select greatest(_now(), _release_moment(d.release_date, d.time_zone) - greatest(max(_release_lead_time(t.platform)), max(a.ahead))),
           _release_moment(d.release_date, d.time_zone)
      from distribution_targets t,
           (select (_partner_config(p.connector, p.config) ->> 'deliver_ahead')::numeric * interval '1 second' as ahead
              from distribution_work k join partners p on p.name = k.partner where k.id = _schedule.work_id) a
     where t.work_id = _schedule.work_id and t.status not in ('cancelled', 'taken_down')
$$;
comment on function _schedule(uuid, distributions) is 'When the work for a release begins, and when it is to be heard';

create function submit_distribution(id uuid) returns void
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    d distributions := _own_distribution(id);
    w distribution_work;
    plan record;
begin
    if not exists (select from distribution_targets t where t.distribution_id = id and t.status in ('pending', 'failed')) then
        if d.status in ('cancelled', 'taken_down') then
            raise exception 'distribution % is %', id, case d.status when 'cancelled' then 'cancelled' else 'taken down' end
                using errcode = '55000', hint = 'Make a new one with create_distribution().';
        end if;
        return;
    end if;
    if exists (select from distribution_work k join distribution_targets t on t.work_id = k.id
                where k.distribution_id = id and k.goal = 'takedown' and t.status in ('live', 'processing')
                  and exists (select from distribution_targets f where f.work_id = k.id and f.status = 'failed')) then
        raise exception 'distribution % is being taken down', id
            using errcode = '55000', hint = 'It can be submitted again when its takedown is done.';
    end if;
    -- its owner may have put another file where the refused one was
    if exists (select from distribution_targets t where t.distribution_id = id and t.status = 'failed') then
        perform _forget_tracks(d.metadata);
    end if;
    perform _refuse_release(d.user_id, d.track_ids,
        array(select t.platform from distribution_targets t where t.distribution_id = id and t.status in ('pending', 'failed')),
        case when d.submitted_at is null then d.release_date end, d.metadata);
    -- what was refused is handed over as a new revision, changed or not: under
    -- the old one's idempotency keys partners would repeat their refusals
    update distributions x
       set submitted_at = coalesce(x.submitted_at, _now()),
           revision = x.revision + (exists (select from distribution_work k join distribution_targets t on t.work_id = k.id
                                             where k.distribution_id = id and t.status = 'failed' and k.attempts > 0 and k.revision >= x.revision))::int
     where x.id = id returning x.* into d;
    for w in select k.* from distribution_work k where k.distribution_id = id
                and exists (select from distribution_targets t where t.work_id = k.id and t.status in ('pending', 'failed'))
              order by k.id for no key update
    loop
        select * into plan from _schedule(w.id, d);
        update distribution_work k
           set goal = 'deliver', revision = d.revision, deliver_at = plan.deliver_at, publish_at = plan.publish_at,
               next_attempt_at = plan.deliver_at, failures = 0, last_error = null,
               delivered_revision = null, files = null, waits_for = null
         where k.id = w.id;
        update distribution_targets t set status = 'scheduled', reason = null, last_error = null, next_attempt_at = plan.deliver_at
         where t.work_id = w.id and t.status in ('pending', 'failed');
    end loop;
    perform _inspect_tracks(d.metadata, d.user_id);
    perform _wake_distribution();
end
$$;
comment on function submit_distribution(uuid) is
    'Sends a release off: each partner gets it when its time comes. Again after a failure: the platforms that failed';

create function cancel_distribution(id uuid) returns void
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    d distributions := _own_distribution(id);
    w distribution_work;
    n bigint := 0;
begin
    if d.status = 'cancelled' then
        return;
    end if;
    for w in select k.* from distribution_work k where k.distribution_id = id
                and exists (select from distribution_targets t where t.work_id = k.id
                             and t.status in ('pending', 'scheduled', 'delivering', 'processing', 'failed'))
                and not exists (select from distribution_targets t where t.work_id = k.id and t.status = 'live')
              order by k.id for no key update
    loop
        -- what the partner may have already has to go there too
        update distribution_work k
           set goal = 'takedown', failures = 0,
               next_attempt_at = case when k.begun_at is not null then k.next_attempt_at when k.state <> '{}' or k.is_unsure then _now() end
         where k.id = w.id;
        update distribution_targets t set status = 'cancelled', reason = 'by the owner''s wish'
         where t.work_id = w.id and t.status in ('pending', 'scheduled', 'delivering', 'processing', 'failed');
        n := n + 1;
    end loop;
    if n = 0 then
        raise exception 'distribution % is % and cannot be cancelled', id, replace(d.status, '_', ' ')
            using errcode = '55000', hint = 'takedown_distribution() takes down what can be heard.';
    end if;
    perform _wake_distribution();
end
$$;
comment on function cancel_distribution(uuid) is
    'Cancels a release wherever it is not live yet; what partners have of it is withdrawn';

create function takedown_distribution(id uuid, platforms text[] default null) returns void
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    d distributions := _own_distribution(id);
    w distribution_work;
    stranger text := (select p from unnest(platforms) p where p is null or p <> all (d.platforms) limit 1);
    others text;
    n bigint := 0;
begin
    if exists (select from unnest(platforms) p where p is null or p <> all (d.platforms)) then
        raise exception 'distribution % is not for platform "%"', id, coalesce(stranger, 'null')
            using errcode = '22023', detail = '{"field": "/platforms"}', hint = format('It is for %s.', array_to_string(d.platforms, ', '));
    end if;
    for w in select k.* from distribution_work k where k.distribution_id = id and k.goal = 'deliver' and k.verifies is null
                and exists (select from distribution_targets t where t.work_id = k.id and t.status in ('live', 'processing')
                             and (platforms is null or t.platform = any (platforms)))
              order by k.id for no key update
    loop
        select string_agg(t.platform, ', ' order by t.platform) into others from distribution_targets t
         where t.work_id = w.id and t.status not in ('taken_down', 'cancelled', 'failed') and t.platform <> all (platforms);
        if others is not null then
            raise exception 'partner "%" takes a release down from all its platforms at once', w.partner
                using errcode = '0A000', hint = format('Name also %s, or no platforms at all.', others);
        end if;
        update distribution_work k
           set goal = 'takedown', failures = 0,
               next_attempt_at = case when k.begun_at is not null then k.next_attempt_at else _now() end
         where k.id = w.id;
        insert into distribution_history (distribution_id, user_id, platform, old_status, status, reason)
        select id, d.user_id, t.platform, t.status, 'takedown_requested', 'by the owner''s wish'
          from distribution_targets t where t.work_id = w.id and t.status in ('live', 'processing') order by t.platform;
        -- and nobody goes on with the rest of it
        update distribution_targets t set status = 'cancelled', reason = 'by the owner''s wish'
         where t.work_id = w.id and t.status in ('pending', 'scheduled', 'delivering');
        n := n + 1;
    end loop;
    if n = 0 and not exists (select from distribution_targets t where t.distribution_id = id and t.status in ('live', 'processing', 'taken_down')
                              and (platforms is null or t.platform = any (platforms))) then
        raise exception 'distribution % is nowhere to be heard', id
            using errcode = '55000', hint = 'cancel_distribution() cancels one that is on its way.';
    end if;
    perform _wake_distribution();
end
$$;
comment on function takedown_distribution(uuid, text[]) is
    'Has a release taken down from platforms, all of them unless they are named; they are taken_down when the partner says so';

create function update_release(id uuid, metadata jsonb) returns int
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    d distributions := _own_distribution(id);
    release jsonb;
    new_date date := d.release_date;
    w distribution_work;
    plan record;
begin
    if metadata is null or jsonb_typeof(metadata) <> 'object' then
        raise exception 'metadata must be a JSON object, not %', coalesce(jsonb_typeof(metadata), 'null')
            using errcode = '22023', hint = 'Write {"title": "Battle at Dawn"}; null takes a member away.';
    elsif octet_length(metadata::text) > 262144 then
        raise exception 'metadata have % bytes, more than 262144', octet_length(metadata::text)
            using errcode = '22023', hint = 'Pass large things by URL.';
    elsif d.status in ('cancelled', 'taken_down') then
        raise exception 'distribution % is %', id, case d.status when 'cancelled' then 'cancelled' else 'taken down' end
            using errcode = '55000', hint = 'Make a new one with create_distribution().';
    end if;
    if metadata ? 'release_date' then
        begin
            new_date := (metadata ->> 'release_date')::date;
        exception when others then
            raise exception 'release date "%" is no date', left(metadata ->> 'release_date', 50)
                using errcode = '22023', detail = '{"field": "/metadata/release_date"}', hint = 'Write it as 2026-03-27.';
        end;
        if new_date is distinct from d.release_date
            and exists (select from distribution_targets t where t.distribution_id = id and t.status = 'live') then
            raise exception 'distribution % is live: its release date cannot change', id using errcode = '55000';
        end if;
    end if;
    release := d.metadata || (metadata - 'release_date' - 'artist')
        || case when metadata ?| '{artists,artist}'::text[]
                then jsonb_build_object('artists', _artists_of(coalesce(metadata -> 'artists', metadata -> 'artist'))) else '{}' end;
    -- tracks that are given differ from how they were in what is given
    if jsonb_typeof(metadata -> 'tracks') = 'array' then
        release := release || jsonb_build_object('tracks', (
            select jsonb_agg(o.t || coalesce(g.t, '{}') order by o.n)
              from jsonb_array_elements(d.metadata -> 'tracks') with ordinality o (t, n)
              left join jsonb_array_elements(metadata -> 'tracks') g (t) on g.t -> 'track_id' = o.t -> 'track_id'));
    end if;
    release := _complete_release(d.track_ids, new_date, jsonb_strip_nulls(release));
    perform _refuse_release(d.user_id, array(select x.id from tracks x where x.id = any (d.track_ids)), d.platforms,
        case when new_date is distinct from d.release_date or d.submitted_at is null then new_date end, release);

    insert into distribution_history (distribution_id, user_id, status, reason, detail)
    values (id, d.user_id, 'updated', null,
            jsonb_build_object('revision', d.revision + 1, 'metadata_before', d.metadata, 'release_date_before', d.release_date));
    update distributions x
       set metadata = release, release_date = new_date, revision = x.revision + 1, time_zone = coalesce(release ->> 'time_zone', 'UTC')
     where x.id = id returning x.* into d;
    for w in select k.* from distribution_work k where k.distribution_id = id and k.goal = 'deliver' and k.verifies is null order by k.id for no key update loop
        continue when w.deliver_at is null;
        select * into plan from _schedule(w.id, d);
        update distribution_work k
           set revision = d.revision, deliver_at = plan.deliver_at, publish_at = plan.publish_at, failures = 0,
               next_attempt_at = case
                   -- its answer is settled first
                   when k.begun_at is not null then k.next_attempt_at
                   when not exists (select from distribution_targets t where t.work_id = k.id
                                     and t.status in ('scheduled', 'delivering', 'processing', 'live')) then null
                   when k.state <> '{}' then _now()
                   else plan.deliver_at end
         where k.id = w.id;
        update distribution_targets t set next_attempt_at = plan.deliver_at where t.work_id = w.id and t.status = 'scheduled';
    end loop;
    -- it is looked up as what it is now, when it is to be heard
    perform _renew_lookups(d);
    perform _wake_distribution();
    return d.revision;
end
$$;
comment on function update_release(uuid, jsonb) is
    'Changes the members named of a release, null takes one away; release_date reschedules it. Returns the new revision, which partners that have the release get too';

-- distribution: what users do with releases, and who configures partners
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
begin
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
    if to_regprocedure('musicverse.next_isrc(text)') is not null then
        for item in select t, n::int - 1 as n from jsonb_array_elements(release -> 'tracks') with ordinality e (t, n)
                     where coalesce(t ->> 'isrc', '') = '' loop
            begin
                execute 'select musicverse.next_isrc()' into given;
            exception when object_not_in_prerequisite_state then
                exit;
            end;
            update tracks x set isrc = given where x.id = (item.t ->> 'track_id')::uuid and x.isrc is null;
            release := jsonb_set(release, array['tracks', item.n::text, 'isrc'], to_jsonb(given));
        end loop;
    end if;
    if coalesce(release ->> 'upc', '') = '' and to_regprocedure('musicverse.next_upc(text)') is not null then
        begin
            execute 'select musicverse.next_upc()' into given;
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
    perform _inspect_tracks(release);
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
    perform _inspect_tracks(d.metadata);
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

-- ---- partners

create function _connector_defaults(connector text) returns jsonb
language sql immutable parallel safe set search_path = musicverse, pg_catalog, pg_temp as $$
    select '{"concurrency": 4, "timeout": 60, "attempts": 20, "priority": 0, "poll_interval": null, "analytics_interval": null, "deliver_ahead": 0, "remote_id": "release_id", "live_by": "partner"}'::jsonb
        -- what is handed over by hand says nothing itself
        || case when connector in ('bundle', 'itmsp') then '{"live_by": "verifier"}'::jsonb else '{}' end
        || case connector when 'soundcloud' then '{
        "authorize_url": "https://secure.soundcloud.com/authorize", "token_url": "https://secure.soundcloud.com/oauth/token", "deliver_ahead": 86400,
        "license": "all-rights-reserved", "downloadable": false, "processing_limit": 21600, "doubt_time": 60}'::jsonb
        when 'labelgrid' then '{
        "label_id": null, "genres": {}, "catalogue_prefix": "MV", "recording_country": null,
        "outlets": {"apple_music": "apple", "youtube_music": "youtube", "amazon_music": "amazon"},
        "stores": {"apple_music": "ITUNES", "youtube_music": "YOUTUBE", "amazon_music": "AMAZON"},
        "states": {"pending": "processing", "pending_review": "processing", "queued": "processing", "preparing": "processing", "processing": "processing",
                   "scheduled": "processing", "delivered": "processing", "complete": "processing", "completed": "processing", "live": "live",
                   "error": "failed", "failed": "failed", "rejected": "failed", "action_needed": "failed", "removed": "taken_down", "taken_down": "taken_down"},
        "callback": {"release": "$.data.release_id", "outlet": "$.data.outlet", "type": "$.data.type", "status": "$.data.status",
                     "external_id": "$.data.external_id", "external_url": "$.data.url", "reason": "$.data.error", "at": "$.created_at"}
    }'::jsonb
        when 'ddex_sftp' then _ddex_defaults()
        when 'itmsp' then '{"provider": null, "genres": {}, "artist_ids": {}, "language": "en"}'
        when 'bundle' then '{"upload_url": null, "note": null, "deliver_ahead": 2592000}'
        when 'verifier' then '{
        "dialect": null, "storefront": "us", "token_url": "https://accounts.spotify.com/api/token", "attempts": 1000, "second_witness": true,
        "poll_interval_max": 21600, "verify_for": 2592000, "absent_twice": 3600, "recheck": null}'::jsonb
        else '{}' end
$$;
comment on function _connector_defaults(text) is 'The config of a partner where it says nothing else';

create function _partner_config(connector text, config jsonb) returns jsonb
language sql immutable parallel safe set search_path = musicverse, pg_catalog, pg_temp as $$
    select d || case connector when 'ddex_sftp' then _ddex_preset(config ->> 'preset') else '{}' end || config || coalesce(
               (select jsonb_object_agg(part, (d -> part) || (config -> part))
                  from unnest('{outlets,stores,states,callback}'::text[]) part
                 where jsonb_typeof(config -> part) = 'object' and jsonb_typeof(d -> part) = 'object'), '{}')
      from _connector_defaults(connector) d
$$;
comment on function _partner_config(text, jsonb) is 'A partner''s config with what it leaves out';

-- The words of partners are compared in lower case, with _ for spaces. What a
-- takedown comes to is told in the words of a delivery.
create function _partner_meaning(config jsonb, kind text, word text) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select case when kind = 'takedown' and m in ('live', 'processing') then case when w in ('delivered', 'complete', 'completed', 'live') then 'taken_down' end
                when kind = 'takedown' and m = 'failed' then null
                else m end
      from (select config -> 'states' ->> x as m, x as w from (select lower(replace(word, ' ', '_')) as x) y) z
$$;
comment on function _partner_meaning(jsonb, text, text) is 'Which state a partner''s word means, by states of its config; NULL when it tells nothing';

create function _check_package_config(name text, connector text, config jsonb) returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
    if connector = 'itmsp' and coalesce(config ->> 'provider', '') !~ '^[A-Za-z0-9_]{1,100}$' then
        raise exception 'provider of partner "%" is %', name, coalesce('"' || left(config ->> 'provider', 100) || '", which is no short name', 'not given')
            using errcode = '22023', hint = 'Put Apple''s short name of your account into config: {"provider": "MiraRecords"}.';
    elsif jsonb_typeof(config -> 'artist_ids') <> 'object' then
        raise exception 'artist_ids of partner "%" must be a JSON object', name using errcode = '22023', hint = 'Write {"Mira": "1234567890"}.';
    elsif config ->> 'upload_url' !~* '^https://[!-~]+$' then
        raise exception 'upload_url of partner "%" is no https URL', name using errcode = '22023';
    end if;
end
$$;
comment on function _check_package_config(text, text, jsonb) is 'Refuses a config of a partner for whom is packed that could not work';

create function _check_partner_config(name text, connector text, config jsonb) returns void
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    item record;
begin
    if config is null or jsonb_typeof(config) <> 'object' then
        raise exception 'the config of partner "%" must be a JSON object, not %', name, coalesce(jsonb_typeof(config), 'null')
            using errcode = '22023';
    end if;
    for item in
        select v.name, v.low, v.high, _partner_config(connector, config) -> v.name as value
          from (values ('concurrency', 1, 1000), ('timeout', 0.1, 3600), ('attempts', 1, 1000), ('priority', -1000, 1000),
                       ('poll_interval', 0.1, 86400), ('analytics_interval', 0.1, 604800), ('deliver_ahead', 0, 2592000),
                       ('processing_limit', 0, 604800), ('doubt_time', 0, 3600)) v (name, low, high)
         where _partner_config(connector, config) ? v.name
    loop
        if item.value <> 'null' and (jsonb_typeof(item.value) <> 'number' or item.value::numeric not between item.low and item.high)
            or item.value = 'null' and item.name not in ('poll_interval', 'analytics_interval') then
            raise exception '% of partner "%" cannot be %', item.name, name, item.value
                using errcode = '22023', hint = format('It is a number from %s to %s.', item.low, item.high);
        end if;
    end loop;
    if config ? 'remote_id' and (jsonb_typeof(config -> 'remote_id') <> 'string' or config ->> 'remote_id' !~ '^\w{1,63}$') then
        raise exception 'remote_id of partner "%" cannot be %', name, config -> 'remote_id'
            using errcode = '22023', hint = 'It is the member of distribution_work.state that has the partner''s id of a release, such as release_id.';
    end if;
    if connector <> 'ddex_sftp' and _partner_config(connector, config) ->> 'live_by' not in ('partner', 'verifier') is not false then
        raise exception 'live_by of partner "%" cannot be %', name, config -> 'live_by'
            using errcode = '22023', hint = 'It is "partner" or "verifier": whose word it is that a release is live.';
    end if;
    foreach item.name in array '{authorize_url,token_url}'::text[] loop
        if config ? item.name then
            perform _check_url(config ->> item.name, item.name || ' of the partner');
        end if;
    end loop;
    perform _check_package_config(name, connector, config);
    foreach item.name in array '{outlets,stores,states,callback,genres}'::text[] loop
        if config ? item.name and jsonb_typeof(config -> item.name) <> 'object' then
            raise exception '% of partner "%" must be a JSON object', item.name, name using errcode = '22023';
        end if;
    end loop;
    if config ? 'host_keys' then
        for item in select x.value from jsonb_array_elements(case jsonb_typeof(config -> 'host_keys') when 'array' then config -> 'host_keys'
                                                             else jsonb_build_array(config -> 'host_keys') end) x loop
            if jsonb_typeof(item.value) <> 'string' or item.value #>> '{}' !~ '^SHA256:[A-Za-z0-9+/]{43}=?$' then
                raise exception 'host key % of partner "%" is no fingerprint', item.value, name
                    using errcode = '22023', hint = 'Write it as ssh-keygen -l shows it: "SHA256:" and 43 characters. Several go into an array.';
            end if;
        end loop;
    end if;
    for item in select key as name, value #>> '{}' as value from jsonb_each(coalesce(_partner_config(connector, config) -> 'states', '{}')) loop
        if item.value is null or item.value not in ('processing', 'live', 'failed', 'taken_down') then
            raise exception 'state "%" of partner "%" cannot mean "%"', item.name, name, item.value
                using errcode = '22023', hint = 'A state means processing, live, failed or taken_down.';
        end if;
    end loop;
    for item in select key as name, value #>> '{}' as value from jsonb_each(coalesce(config -> 'callback', '{}')) loop
        begin
            perform item.value::jsonpath;
        exception when others then
            raise exception 'callback.% of partner "%" is no path: %', item.name, name, sqlerrm
                using errcode = '22023', hint = 'Give a jsonpath such as $.data.status.';
        end;
    end loop;
end
$$;
comment on function _check_partner_config(text, text, jsonb) is 'Refuses a config that could not work, naming the member';

-- What reaches a server by SFTP: its address, its keys and who we are
create function _check_sftp_partner(name text, base_url text, credentials jsonb, config jsonb) returns void
language plpgsql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    if base_url !~ '^sftp://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[^?#%[:cntrl:] ]*)?$' then
        raise exception 'partner URL "%" is no address of an SFTP server', left(base_url, 200)
            using errcode = '22023', hint = 'Write sftp://host:port/path, without a user; sftp://host/~/path begins where the user does.';
    elsif coalesce(config -> 'host_keys', '[]') in ('[]', 'null') or jsonb_array_length(case jsonb_typeof(config -> 'host_keys') when 'array' then config -> 'host_keys' else '[]' end) > 8 then
        raise exception 'partner "%" needs the fingerprints of its host keys in config, 8 at most', name
            using errcode = '22023', hint = 'ssh-keyscan shows the keys of a server, ssh-keygen -l their fingerprints: {"host_keys": ["SHA256:..."]}. Compare them with those that the partner told.';
    elsif coalesce(credentials ->> 'username', '') = '' then
        raise exception 'credential "username" of partner "%" is missing', name using errcode = '22023';
    elsif (coalesce(credentials ->> 'password', '') = '') = (coalesce(credentials ->> 'private_key', '') = '') then
        raise exception 'partner "%" needs a password or a private key', name
            using errcode = '22023', hint = 'Give one of the credentials "password" and "private_key", the latter with "passphrase" when it has one.';
    end if;
end
$$;
comment on function _check_sftp_partner(text, text, jsonb, jsonb) is 'Refuses what could not reach a partner by SFTP, naming what is missing';

create function configure_partner(name text, base_url text, credentials jsonb, config jsonb default '{}') returns void
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    p partners;
    kind text;
    places text[];
    item record;
begin
    if name is null or name !~ '^[a-z][a-z0-9_-]{0,62}$' then
        raise exception 'partner name "%" is not valid', coalesce(name, 'null')
            using errcode = '22023', hint = 'Names begin with a lower-case letter and consist of those, digits, hyphens and underscores.';
    end if;
    select q.* into p from partners q where q.name = name for no key update;
    config := coalesce(nullif(config, 'null'), '{}');
    -- the partners that are shipped have these; another one says them
    kind := coalesce(config ->> 'connector', p.connector);
    if kind is null or kind <> all ('{ddex_sftp,itmsp,soundcloud,labelgrid,bundle,verifier}'::text[]) then
        raise exception 'the connector of partner "%" is %', name, coalesce('"' || kind || '", which is unknown', 'not given')
            using errcode = '22023',
                hint = 'For a partner of your own put connector and platforms into config. Connectors: ddex_sftp, itmsp, soundcloud, labelgrid, bundle, verifier.';
    end if;
    if (kind = 'verifier') <> (p.connector = 'verifier') and exists (select from distribution_work k where k.partner = name) then
        raise exception 'partner "%" cannot become %', name, case kind when 'verifier' then 'one that looks releases up: it carries some' else 'one that carries releases: it looks some up' end
            using errcode = '55000', hint = 'Configure another one.';
    end if;
    if jsonb_typeof(config -> 'platforms') = 'array' then
        places := array(select jsonb_array_elements_text(config -> 'platforms'));
    else
        places := p.platforms;
    end if;
    if coalesce(cardinality(places), 0) = 0 then
        raise exception 'partner "%" needs platforms', name
            using errcode = '22023', hint = 'Put them into config: {"connector": "labelgrid", "platforms": ["spotify"]}.';
    elsif exists (select from unnest(places) w where not exists (select from platforms q where q.name = w)) then
        raise exception 'partner "%" is for unknown platform "%"', name,
            (select w from unnest(places) w where not exists (select from platforms q where q.name = w) limit 1)
            using errcode = '22023', hint = 'Insert it into musicverse.platforms.';
    end if;
    -- what a shipped partner is stays
    config := coalesce((select jsonb_object_agg(m, p.config -> m) from unnest('{dialect,preset}'::text[]) m where p.config ? m), '{}') || config - 'connector' - 'platforms';
    perform _check_partner_config(name, kind, config);
    if credentials is null and p.credentials is null then
        raise exception 'credentials of partner "%" must not be null', name
            using errcode = '22023', hint = 'Give ''{}'' for a partner that wants none. NULL keeps those of a configured partner.';
    elsif credentials is null then
        credentials := _unseal(p.credentials, 'partner:' || name || ':credentials')::jsonb;
    end if;
    if jsonb_typeof(credentials) <> 'object' then
        raise exception 'the credentials of partner "%" must be a JSON object, not %', name, jsonb_typeof(credentials)
            using errcode = '22023', hint = 'Write {"token": "...", "callback_secret": "whsec_..."}.';
    end if;
    for item in select key, value #>> '{}' as value, jsonb_typeof(value) as type from jsonb_each(credentials) loop
        if item.type <> 'string' then
            raise exception 'credential "%" of partner "%" is not a string', item.key, name using errcode = '22023';
        elsif item.key = 'token' and item.value !~ '^[\x21-\x7e]+$' then
            raise exception 'credential "token" of partner "%" is not printable ASCII without spaces', name using errcode = '22023';
        end if;
    end loop;
    if _connector_has_accounts(kind) and not credentials ?& '{client_id,client_secret}'::text[] then
        raise exception 'the credentials of partner "%" lack %', name, case when credentials ? 'client_id' then 'client_secret' else 'client_id' end
            using errcode = '22023', hint = 'Register an application there, and write {"client_id": "...", "client_secret": "..."}.';
    end if;
    if kind = 'verifier' then
        base_url := coalesce(base_url, _lookup_base_url(config ->> 'dialect'));
        perform _check_verifier(name, places, _partner_config(kind, config), credentials);
    end if;
    if credentials ? 'callback_secret' then
        begin
            perform verify_webhook(credentials ->> 'callback_secret', '{}', '');
        exception when others then
            raise exception 'credential "callback_secret" of partner "%" is not a secret of Standard Webhooks', name
                using errcode = '22023', hint = 'It is whsec_ and base64, as the partner shows it.';
        end;
    end if;
    if base_url ~* '^sftp:' then
        if kind not in ('ddex_sftp', 'itmsp') then
            raise exception 'connector "%" of partner "%" does not speak SFTP', kind, name
                using errcode = '22023', hint = 'Give an https URL.';
        end if;
        perform _check_sftp_partner(name, base_url, credentials, config);
        if kind = 'ddex_sftp' then
            perform _check_ddex_config(name, _partner_config(kind, config));
        end if;
    elsif kind = 'ddex_sftp' then
        raise exception 'partner URL "%" is no address of an SFTP server', coalesce(left(base_url, 200), 'null')
            using errcode = '22023', hint = 'Write sftp://host:port/path, without a user; sftp://host/~/path begins where the user does.';
    elsif kind in ('labelgrid', 'soundcloud', 'verifier') or base_url ~* '^https?:' then
        if base_url is null then
            raise exception 'base_url of partner "%" must not be null', name using errcode = '22023';
        end if;
        perform _check_url(base_url, 'partner URL');
        if base_url ~ '[?#]' then
            raise exception 'partner URL "%" has a query or a fragment', base_url using errcode = '22023', hint = 'Leave it out.';
        end if;
    end if;
    if p.name is null then
        insert into partners (name, connector, platforms, base_url, config, credentials, is_active, installation_id)
        values (name, kind, places, rtrim(base_url, '/'), config, _seal(credentials::text, 'partner:' || name || ':credentials'), true,
                (select i.id from installation i));
    else
        update partners q
           set connector = kind, platforms = places, base_url = rtrim(base_url, '/'), config = config,
               credentials = _seal(credentials::text, 'partner:' || name || ':credentials'), is_active = true,
               paused_at = null, paused_reason = null, installation_id = (select i.id from installation i)
         where q.name = name;
    end if;
end
$$;
comment on function configure_partner(text, text, jsonb, jsonb) is
    'Configures a partner that carries releases, and makes it active; credentials of NULL keep those it has';

create function set_partner_active(name text, active boolean) returns void
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    p partners;
begin
    if active is null then
        raise exception 'active must not be null' using errcode = '22023';
    end if;
    select q.* into p from partners q where q.name = set_partner_active.name for no key update;
    if not found then
        raise exception 'partner "%" does not exist', coalesce(name, 'null')
            using errcode = 'P0002', hint = format('Known partners: %s.', (select string_agg(q.name, ', ' order by q.name) from partners q));
    elsif active and p.credentials is null then
        raise exception 'partner "%" is not configured', name using errcode = '55000', hint = 'Call configure_partner().';
    end if;
    update partners q set is_active = active where q.name = set_partner_active.name and q.is_active <> active;
end
$$;
comment on function set_partner_active(text, boolean) is 'Whether a partner gets anything; what it is to get waits meanwhile';

create function resume_partner(name text) returns boolean
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    update partners q set paused_at = null, paused_reason = null where q.name = resume_partner.name and q.paused_at is not null;
    return found;
end
$$;
comment on function resume_partner(text) is 'Goes on with a partner that was paused as it refused us; false when it was not paused';

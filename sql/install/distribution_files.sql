-- distribution: the files of a release, before a partner is asked anything
--
-- What is at the URLs of a release is looked at by the media worker from the
-- moment that the release is made. When its turn comes at a partner, all facts
-- have to be there: else the work waits, and is woken when they are. What a
-- platform would refuse is refused then; what has to be converted or drawn is
-- waited for as well. What came of it is kept with the work, for the revision,
-- so that every step sees the same files.
--
-- Locks: the work is locked by who prepares it, and then the rows of media_work
-- that it waits for, until it is written down that it waits. The media worker
-- locks them in the other order, so neither waits for the other: it leaves out
-- work that is locked, and a row that can't be locked is looked at again soon.

create function _inspect_url(url text, user_id uuid) returns uuid
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    return _request_media('inspect', jsonb_build_object('url', url), url, user_id => user_id);
end
$$;
comment on function _inspect_url(text, uuid) is 'Has the audio at a URL looked at for a user, unless it was; returns the id of the facts';

create function _track_urls(release jsonb) returns setof text
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select distinct t ->> 'audio_url' from jsonb_array_elements(release -> 'tracks') t where length(t ->> 'audio_url') > 0
$$;
comment on function _track_urls(jsonb) is 'Where the audio of a release is';

create function _inspect_tracks(release jsonb, user_id uuid) returns void
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    if _inspects_audio() then
        perform _inspect_url(u, user_id) from _track_urls(release) u order by u;
    end if;
end
$$;
comment on function _inspect_tracks(jsonb, uuid) is 'Has the audio of a user''s release looked at';

create function _forget_tracks(release jsonb) returns void
language sql set search_path = musicverse, pg_catalog, pg_temp as $$
    select _forget_media(_media_id('inspect', u)) from _track_urls(release) u order by u
$$;
comment on function _forget_tracks(jsonb) is 'Has the audio of a release looked at again when it is wanted next';

-- These steps hand a release over, and a connector looks into them first of all
create function _is_in_doubt(w distribution_work) returns boolean
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
begin
    return w.delivered_revision is null
       and (w.is_unsure and w.step = any ('{distribute,find_distribution,message,complete,find}'::text[]) or w.state ? 'doubt_at');
end
$$;
comment on function _is_in_doubt(distribution_work) is
    'May a partner have an earlier revision, whose answer was lost? That is found out before the files of another are judged';

create function _wants_files(w distribution_work) returns boolean
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    if w.verifies is not null or w.goal <> 'deliver'
        -- unless the partner wants all of them once more, when they may have been forgotten here
        or w.delivered_revision is not distinct from w.revision and w.state ->> 'resend' is distinct from 'all' then
        return false;
    elsif (w.files ->> 'revision')::int is not distinct from w.revision and w.files -> 'media' = '[]' then
        return false;
    elsif _is_in_doubt(w) then
        return false;
    elsif (w.files ->> 'revision')::int is distinct from w.revision then
        return true;
    end if;
    return exists (select from jsonb_array_elements_text(w.files -> 'media') i where _media_path(i::uuid) is null);
end
$$;
comment on function _wants_files(distribution_work) is 'Are the files of work to be prepared before a partner can have them?';

create function _release_with_files(release jsonb, files jsonb) returns jsonb
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
begin
    return case when files is null then release else
        release || coalesce(files -> 'release', '{}')
        || case when jsonb_array_length(files -> 'tracks') = jsonb_array_length(release -> 'tracks') then jsonb_build_object('tracks',
            (select jsonb_agg(o.t || (files -> 'tracks' -> (o.n::int - 1)) order by o.n) from jsonb_array_elements(release -> 'tracks') with ordinality o (t, n)))
           else '{}' end end;
end
$$;
comment on function _release_with_files(jsonb, jsonb) is 'A release as connectors get it: with what is known of its files';

-- The state of what was asked for: its row of media, or why there will be none; neither while it is made
create function _media_state(id uuid, out made media, out problem text) returns record
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    w media_work;
begin
    select k.* into w from media_work k where k.id = _media_state.id;
    if w.state = 'failed' then
        problem := w.last_error;
    elsif w.state = 'done' then
        select m.* into made from media m where m.id = _media_state.id;
    end if;
end
$$;
comment on function _media_state(uuid) is 'What was made of a request, or why nothing was; NULL while it is under way';

create function _file_of(url text, m media) returns jsonb
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    return jsonb_strip_nulls(jsonb_build_object('url', url, 'bytes', m.bytes, 'sha256', m.sha256, 'md5', m.md5, 'media_type', m.media_type,
                                                'media', case when m.file_name is not null then m.id end))
        || (m.facts - 'peaks' - 'clipped' - 'silence_start' - 'silence_end');
end
$$;
comment on function _file_of(text, media) is 'What connectors are told of a file';

-- A track's file, for platforms of these rules: what is to be merged into the
-- track, or what it waits for, or why it is refused.
create function _prepare_track(t jsonb, rules jsonb, wants_flac boolean, user_id uuid, out file jsonb, out waits_for uuid, out problem text) returns record
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    url constant text := t ->> 'audio_url';
    at text := url;
    seen record;
    flac boolean := wants_flac;
    item record;
begin
    waits_for := _inspect_url(url, user_id);
    seen := _media_state(waits_for);
    if seen.problem is not null then
        problem := format('cannot be used: %s', seen.problem);
        return;
    elsif (seen.made).id is null then
        return;
    end if;
    for item in select r.key as platform, r.value as rules, _audio_problem((seen.made).facts, r.value) as problem from jsonb_each(rules) r loop
        continue when item.problem is null;
        if not _becomes_flac((seen.made).facts, item.rules) then
            problem := format('%s (%s)', item.problem, item.platform);
            return;
        end if;
        flac := true;
    end loop;
    if flac and _can_be_flac((seen.made).facts) then
        waits_for := _request_media('flac', jsonb_build_object('url', url, 'sha256', (seen.made).sha256), user_id => user_id);
        seen := _media_state(waits_for);
        if seen.problem is not null then
            problem := format('could not be converted to FLAC: %s', seen.problem);
            return;
        elsif (seen.made).id is null then
            return;
        end if;
        at := 'media:' || waits_for;
    end if;
    waits_for := null;
    file := jsonb_strip_nulls(jsonb_build_object('audio_url', at, 'file', _file_of(at, seen.made), 'duration', (seen.made).facts -> 'duration'));
end
$$;
comment on function _prepare_track(jsonb, jsonb, boolean, uuid) is 'What partners are told of a track''s file, or what has to be made first, or why it is refused';

create function _request_release_cover(release jsonb, size int, user_id uuid) returns uuid
language sql set search_path = musicverse, pg_catalog, pg_temp as $$
    select request_cover(release ->> 'title', array_to_string(_names_of(release -> 'artists'), ', '), release ->> 'genre', null, size,
        (select array(select jsonb_array_elements_text(m.facts -> 'peaks')::float8) from media m
          where m.id = _media_id('inspect', release #>> '{tracks,0,audio_url}') and m.facts ? 'peaks'), 'jpeg', user_id)
$$;
comment on function _request_release_cover(jsonb, int, uuid) is 'Has the cover of a release drawn from its title, its artists, its genre and the peaks of its first track';

create function _prepare_cover(release jsonb, rules jsonb, user_id uuid, out cover jsonb, out waits_for uuid, out problem text) returns record
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    seen record;
begin
    waits_for := _request_release_cover(release, (select least(6000, greatest(3000, max((r.value ->> 'min_cover')::numeric)))::int from jsonb_each(rules) r), user_id);
    seen := _media_state(waits_for);
    if seen.problem is not null then
        problem := seen.problem;
    elsif (seen.made).id is not null then
        cover := jsonb_build_object('cover_url', 'media:' || waits_for, 'cover', _file_of('media:' || waits_for, seen.made));
        waits_for := null;
    end if;
end
$$;
comment on function _prepare_cover(jsonb, jsonb, uuid) is 'The drawn cover of a release, or what has to be waited for, or why there is none';

-- Its own error is a fault of ours: the work is tried again later.
create function _prepare_files(w distribution_work, d distributions) returns void
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    rules jsonb := (select jsonb_object_agg(p.name, _rules_of(p.rules)) from distribution_targets t join platforms p on p.name = t.platform
                     where t.work_id = w.id and t.status not in ('cancelled', 'taken_down'));
    wants_flac boolean := (select _partner_config(p.connector, p.config) ->> 'audio' = 'flac' from partners p where p.name = w.partner);
    item record;
    done record;
    list jsonb := '[]';
    made jsonb := '{}';
    waiting uuid[] := '{}';
    refusal text;
    lost boolean;
begin
    for item in select e.t, e.n from jsonb_array_elements(d.metadata -> 'tracks') with ordinality e (t, n) where _inspects_audio() order by e.n loop
        if coalesce(item.t ->> 'audio_url', '') = '' then
            list := list || '[{}]';
            continue;
        end if;
        done := _prepare_track(item.t, coalesce(rules, '{}'), coalesce(wants_flac, false), w.user_id);
        refusal := coalesce(refusal, format('the audio of track %s ', item.n) || done.problem);
        waiting := waiting || case when done.problem is null then done.waits_for end;
        list := list || jsonb_build_array(coalesce(done.file, '{}'));
    end loop;
    waiting := array_remove(waiting, null);
    -- its peaks come first
    if d.metadata -> 'cover' = '"draw"' and refusal is null and waiting = '{}' then
        done := _prepare_cover(d.metadata, rules, w.user_id);
        refusal := 'the cover could not be drawn: ' || done.problem;
        waiting := array_remove(array[done.waits_for], null);
        made := coalesce(done.cover, '{}');
    end if;

    if refusal is not null then
        update distribution_targets t set status = 'failed', reason = _clean_message(refusal), last_error = _clean_message(refusal)
         where t.work_id = w.id and t.status = 'scheduled';
        w.next_attempt_at := _now();
        w := _refused(w, 'deliver', w.revision, _clean_message(refusal));
        update distribution_work k
           set revision = w.revision, next_attempt_at = w.next_attempt_at, last_error = w.last_error, files = null, waits_for = null
         where k.id = w.id;
    elsif waiting <> '{}' then
        -- what is being finished right now, or is by now, is asked for again at once
        lost := (select count(*) filter (where x.state in ('pending', 'running')) < cardinality(waiting)
                   from (select q.state from media_work q where q.id = any (waiting) for share skip locked) x);
        update distribution_work k
           set waits_for = waiting, next_attempt_at = _now() + case when lost then interval '1 second' else interval '5 minutes' end
         where k.id = w.id;
    else
        update distribution_work k
           set waits_for = null,
               files = jsonb_build_object('revision', w.revision, 'tracks', list, 'release', made,
                   'media', (select coalesce(jsonb_agg(distinct m), '[]')
                               from (select f #> '{file,media}' from jsonb_array_elements(list || jsonb_build_array(jsonb_build_object('file', made -> 'cover'))) f) x (m)
                              where m is not null))
         where k.id = w.id;
    end if;
exception when others then
    update distribution_work k
       set failures = k.failures + 1, last_error = sqlerrm, next_attempt_at = _now() + _distribution_delay(k.failures + 1), waits_for = null
     where k.id = w.id;
end
$$;
comment on function _prepare_files(distribution_work, distributions) is
    'Fills in what partners are told of the files of work that is locked, or has it wait for them, or fails its targets';

create function _media_finished() returns trigger
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    update distribution_work k set waits_for = null, next_attempt_at = _now()
     where k.id in (select x.id from distribution_work x where x.waits_for @> array[new.id] for no key update skip locked);
    if found then
        perform _wake_distribution();
    end if;
    return null;
end
$$;
comment on function _media_finished() is 'Wakes the work that has waited for media';

create trigger media_finished after update of state on media_work
    for each row when (new.state in ('done', 'failed')) execute function _media_finished();

-- ---- drawn covers, handed out

-- A release of the caller's
create function _seen_distribution(id uuid) returns distributions
language plpgsql stable security definer set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    d distributions;
begin
    select x.* into d from distributions x where x.id = _seen_distribution.id and (caller_is_service() or x.user_id = current_user_id());
    if not found then
        raise exception 'distribution % does not exist', coalesce(id::text, 'null') using errcode = 'P0002';
    end if;
    return d;
end
$$;
comment on function _seen_distribution(uuid) is 'A release that the caller may see';

create function _drawn_cover(d distributions) returns uuid
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    cover uuid;
begin
    select substr(k.files #>> '{release,cover_url}', 7)::uuid into cover
      from distribution_work k where k.distribution_id = d.id and k.files #> '{release,cover_url}' is not null limit 1;
    -- not before its peaks are known
    if cover is null and current_setting('transaction_read_only') = 'off'
        and not exists (select from media_work w where w.id = _media_id('inspect', d.metadata #>> '{tracks,0,audio_url}') and w.state in ('pending', 'running')) then
        cover := _request_release_cover(d.metadata, 3000, d.user_id);
    end if;
    return cover;
end
$$;
comment on function _drawn_cover(distributions) is 'The id of a release''s drawn cover, which is asked for; NULL while what it is drawn from is not known';

create function distribution_cover(id uuid) returns bytea
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    d distributions := _seen_distribution(id);
    cover uuid;
begin
    if d.metadata -> 'cover' is distinct from '"draw"' then
        raise exception 'the cover of distribution % is not drawn', id using errcode = '55000', hint = 'Its cover_url says where it is.';
    end if;
    cover := _drawn_cover(d);
    return case when cover is not null then cover_image(cover) end;
end
$$;
comment on function distribution_cover(uuid) is 'The cover of a release that has one drawn, as JPEG; NULL while it is not drawn';

create function _cover_state(id uuid, out state text, out reason text, out is_drawn boolean, out media_type text, out bytes bigint, out sha256 text,
                             out url text) returns record
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    d distributions := _seen_distribution(id);
    seen record;
    m media;
begin
    is_drawn := coalesce(d.metadata -> 'cover' = '"draw"', false);
    if not is_drawn then
        url := d.metadata ->> 'cover_url';
        state := case when url is null then 'missing' else 'ready' end;
        return;
    end if;
    seen := _media_state(_drawn_cover(d));
    m := seen.made;
    state := case when seen.problem is not null then 'failed' when _media_is_here(m) then 'ready' else 'drawing' end;
    reason := seen.problem;
    if state = 'ready' then
        perform _touch_media(m);
        media_type := m.media_type;
        bytes := m.bytes;
        sha256 := m.sha256;
        url := _media_url('covers', m, _safe_name(_package_title(d.metadata), 100) || '.jpg');
    end if;
end
$$;
comment on function _cover_state(uuid) is 'The cover of a release: missing, drawing, ready or failed, and where it can be fetched';

-- distribution: what a release must be like
--
-- A release as partners get it is made of what its owner says and, where that
-- is silent, of what is known of its tracks and of the jobs that made them.
-- Then it is judged for each platform.

create function _release_genres() returns text[]
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select '{Alternative,Ambient,Blues,Children''s Music,Chill,Christian,Classical,Country,Dance,Drum & Bass,Dubstep,Easy Listening,Electronic,
        Experimental,Folk,Funk,Gospel,Hip-Hop,Holiday,House,Indie,Industrial,Instrumental,J-Pop,Jazz,K-Pop,Latin,Lo-Fi,Metal,New Age,
        Opera,Orchestral,Pop,Punk,R&B,Rap,Reggae,Reggaeton,Rock,Singer-Songwriter,Ska,Soul,Soundtrack,Spoken Word,Techno,Trance,Trap,World}'::text[]
$$;
comment on function _release_genres() is 'The genres that check_release() knows where a platform has no list of its own';

-- ISO 639-1, the codes of ISO 639-2 that have none there and are met in music, and zxx for no words
create function _release_languages() returns text[]
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select string_to_array(
        'aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo es et eu fa ff fi fj fo '
        'fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg '
        'li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se '
        'sg si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo yue za zh zu '
        'cmn fil haw hmn ast cop dsb hsb fur gsw mni mus nah nap scn sgn syr tpi zxx und mul', ' ')
$$;
comment on function _release_languages() is 'The codes of languages that check_release() knows';

create function _language_is_valid(code text) returns boolean
language sql immutable parallel safe set search_path = musicverse, pg_catalog, pg_temp as $$
    select coalesce(code ~ '^[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2})?$'
        -- of three letters any that is formed well: ISO 639-2 has a code for each language of 639-1 too
        and (split_part(code, '-', 1) = any (_release_languages()) or length(split_part(code, '-', 1)) = 3), false)
$$;
comment on function _language_is_valid(text) is 'Is it a code of ISO 639, with a script and a country if need be?';

create function _release_rules() returns jsonb
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select '{
        "required": ["title", "artists", "label", "genre", "language", "p_line", "c_line", "cover_url"],
        "track_required": ["title", "artists", "audio_url", "isrc"],
        "title_rules": true, "genres": null, "max_tracks": 100, "min_cover": 3000,
        "audio": {"formats": ["flac", "wav", "aiff"], "min_sample_rate": 44100, "max_sample_rate": 192000,
                  "bit_depths": [16, 24], "channels": [2], "extensible": true}
    }'::jsonb
$$;
comment on function _release_rules() is 'What a platform wants where platforms.rules says nothing else';

create function _rules_of(rules jsonb) returns jsonb
language plpgsql immutable parallel safe set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    d constant jsonb := _release_rules();
begin
    return d || rules || jsonb_build_object('audio', (d -> 'audio') || coalesce(nullif(rules -> 'audio', 'null'), '{}'));
end
$$;
comment on function _rules_of(jsonb) is 'The rules of a platform with what they leave out';

create function _names_of(artists jsonb) returns text[]
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select array(select a ->> 'name' from jsonb_array_elements(case jsonb_typeof(artists) when 'array' then artists else '[]' end) a
                  where jsonb_typeof(a) = 'object' and length(a ->> 'name') > 0)
$$;
comment on function _names_of(jsonb) is 'The names in a list of artists';

-- "Mira", ["Mira", "Ben"] and [{"name": "Mira"}] mean artists as well
create function _artists_of(given jsonb) returns jsonb
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select case jsonb_typeof(given)
        when 'string' then jsonb_build_array(jsonb_build_object('name', given, 'role', 'main'))
        when 'array' then (select coalesce(jsonb_agg(case jsonb_typeof(a) when 'string' then jsonb_build_object('name', a, 'role', 'main')
                                                          when 'object' then '{"role": "main"}'::jsonb || a else a end order by n), '[]')
                             from jsonb_array_elements(given) with ordinality e (a, n))
        else given end
$$;
comment on function _artists_of(jsonb) is 'A list of artists, each with a name and a role';

-- What is stated of AI in a track that one of our jobs made
create function _ai_of_track(track_id uuid) returns jsonb
language sql stable set search_path = musicverse, pg_catalog, pg_temp as $$
    select jsonb_build_object('audio', 'all', 'composition', 'all',
               'lyrics', case when j.params ->> 'instrumental' = 'true' or not j.params ?| '{lyrics,generate_lyrics}'::text[] then 'none'
                              when j.params ? 'lyrics' then 'none' else 'all' end)
      from generation_jobs j where j.track_id = _ai_of_track.track_id
     order by j.created_at desc limit 1
$$;
comment on function _ai_of_track(uuid) is 'What a release discloses of AI for a track that a job generated; NULL for others';

-- The more of the two: all, partly, none
create function _ai_more(a jsonb, b jsonb) returns jsonb
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select coalesce(jsonb_object_agg(k, case when a ->> k = b ->> k or not b ? k then a -> k when not a ? k then b -> k else '"partly"' end), '{}')
      from (select jsonb_object_keys(a) union select jsonb_object_keys(b)) x (k)
$$;
comment on function _ai_more(jsonb, jsonb) is 'What two statements of AI come to for both together';

create function _complete_release(track_ids uuid[], release_date date, metadata jsonb) returns jsonb
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    made jsonb := coalesce(nullif(metadata, 'null'), '{}') - 'artist' - 'tracks';
    given jsonb := case jsonb_typeof(metadata -> 'tracks') when 'array' then metadata -> 'tracks' else '[]' end;
    t tracks;
    own jsonb;
    entry jsonb;
    list jsonb := '[]';
    ai jsonb;
    whole_ai jsonb;
    any_ai boolean := false;
    artists jsonb := _artists_of(coalesce(metadata -> 'artists', metadata -> 'artist'));
    style text;
    cover text;
    cover_is_ours boolean := false;
    n int := 0;
begin
    if jsonb_typeof(made) <> 'object' then
        return '{}';
    end if;
    for t in select x.* from unnest(track_ids) with ordinality i (id, n) join tracks x on x.id = i.id order by i.n loop
        n := n + 1;
        select g into own from jsonb_array_elements(given) g where g ->> 'track_id' = t.id::text limit 1;
        own := coalesce(own, '{}') - 'artist';
        ai := coalesce(own -> 'ai', _ai_of_track(t.id));
        entry := jsonb_strip_nulls(jsonb_build_object(
                'track_id', t.id, 'title', t.title, 'isrc', t.isrc, 'duration', t.duration, 'audio_url', t.audio_url,
                'language', made -> 'language', 'explicit', coalesce(made -> 'explicit', 'false'), 'position', n, 'disc', 1,
                'audio', t.metadata -> 'audio', 'ai', ai,
                'artists', coalesce(artists, _artists_of(coalesce(t.metadata -> 'artists', t.metadata -> 'artist')))))
            || jsonb_strip_nulls(own);
        if own ? 'artists' or given -> (n - 1) ? 'artist' then
            entry := entry || jsonb_build_object('artists', _artists_of(coalesce(own -> 'artists', given -> (n - 1) -> 'artist')));
        end if;
        list := list || jsonb_build_array(entry);
        any_ai := any_ai or ai is not null;
        whole_ai := case when n = 1 then coalesce(ai, '{"audio": "none"}') else _ai_more(whole_ai, coalesce(ai, '{"audio": "none"}')) end;
        style := coalesce(style, t.style);
        if cover is null and t.cover_url is not null then
            cover := t.cover_url;
            cover_is_ours := ai is not null;
        end if;
    end loop;
    made := jsonb_strip_nulls(jsonb_build_object(
            'title', case when n = 1 then list #> '{0,title}' end,
            'artists', coalesce(artists, list #> '{0,artists}'),
            'genre', (select g from unnest(_release_genres()) g where lower(g) = lower(style)),
            'cover_url', cover, 'explicit', false, 'territories', '["Worldwide"]'::jsonb, 'training_use', 'denied'))
        || jsonb_strip_nulls(made)
        || jsonb_build_object('tracks', list)
        || case when artists is not null then jsonb_build_object('artists', artists) else '{}' end
        || case when release_date is not null then jsonb_build_object('release_date', release_date) else '{}' end;
    if made -> 'cover' = '"draw"' then
        made := made - 'cover_url';
    end if;
    -- of tracks that came from elsewhere nothing is known
    if any_ai then
        made := made || jsonb_build_object('ai', whole_ai
            || case when cover_is_ours and made ->> 'cover_url' = cover then '{"artwork": "all"}'::jsonb else '{}' end
            || coalesce(nullif(made -> 'ai', 'null'), '{}'));
    end if;
    if release_date is null then
        made := made - 'release_date';
    end if;
    return made;
end
$$;
comment on function _complete_release(uuid[], date, jsonb) is
    'A release as partners get it: what is given, completed from the tracks and the jobs that made them';

-- What is wrong with a title; NULL for nothing
create function _title_problem(title text, artists text[]) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
    letters text := regexp_replace(title, '[^[:alpha:]]', '', 'g');
    bare text := regexp_replace(title, '[(\[][^)\]]*[)\]]', '', 'g');
    name text;
begin
    if title ~ '^\s|\s$|\s\s|[[:cntrl:]]' then
        return 'has spaces at an end, two in a row, or control characters';
    elsif length(title) > 255 then
        return format('has %s characters, more than 255', length(title));
    elsif title ~* '\m(explicit|clean)( version)?\M' and title ~* '[(\[]\s*(explicit|clean)|[-\u2013]\s*(explicit|clean)\s*$' then
        return 'says "Explicit" or "Clean": that is what the member explicit is for';
    elsif title ~* '\m(prod|produced)\.?( by)?\M\s+\S' and title ~* '\mprod(\.|uced by\M| by\M)' then
        return 'names a producer: give an artist of the role producer';
    elsif title ~* '[(\[ ](feat\.?|ft\.?|featuring)\s+\S' then
        return 'names a featured artist: give an artist of the role featured';
    elsif length(letters) >= 4 and letters = upper(letters) and letters <> lower(letters) and position(' ' in btrim(title)) + length(letters) > 5 then
        return 'is in capitals only';
    elsif bare ~* '\s[-\u2013\u2014]\s*(\S+\s+)*(remix|version|edit|mix|remaster(ed)?|live|acoustic|instrumental|demo)\s*$' then
        return 'has its version behind a dash: put it into parentheses, or into version_title';
    end if;
    foreach name in array artists loop
        if length(name) > 2 and (title ilike replace(replace(name, '\', '\\'), '%', '\%') || ' -%' or title ilike '%- ' || replace(replace(name, '\', '\\'), '%', '\%')) then
            return format('names the artist "%s"', name);
        end if;
    end loop;
    return null;
end
$$;
comment on function _title_problem(text, text[]) is 'What platforms would refuse in a title; NULL for nothing';

create function _release_lead_time(platform text) returns interval
language sql stable set search_path = musicverse, pg_catalog, pg_temp as $$
    select coalesce((select p.lead_time from platforms p where p.name = platform),
                    coalesce(current_setting('musicverse.release_lead_time', true), '7d')::interval)
$$;
comment on function _release_lead_time(text) is 'How long before its release date a release is to be at a platform';

-- Local midnight; a midnight that a change of the clocks leaves out is the moment of that change
create function _release_moment(release_date date, time_zone text) returns timestamptz
language sql stable set search_path = pg_catalog, pg_temp as $$ select release_date::timestamp at time zone time_zone $$;
comment on function _release_moment(date, text) is 'When a release is to be heard; NULL for as soon as possible';

create function _time_zone_is_known(name text) returns boolean
language c stable strict as 'MODULE_PATHNAME', 'musicverse_time_zone_is_known';
comment on function _time_zone_is_known(text) is 'Is it the name of a time zone, such as Europe/Berlin?';

create function _partner_for(platform text) returns text
language sql stable security definer set search_path = musicverse, pg_catalog, pg_temp as $$
    select p.name from partners p
     where p.is_active and p.installation_id = (select i.id from installation i) and p.platforms @> array[platform]
       and p.connector <> 'verifier'
     order by coalesce((p.config ->> 'priority')::numeric, 0) desc, cardinality(p.platforms), p.name
     limit 1
$$;
comment on function _partner_for(text) is
    'Who carries releases to a platform: the highest priority of its config, then who carries to the fewest; NULL for nobody';

-- ---- audio, as inspect_audio() describes it, or the owner

create function _inspects_audio() returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    return coalesce(current_setting('musicverse.inspect_audio', true), 'on')::boolean;
end
$$;
comment on function _inspects_audio() is 'Are the files of releases looked at?';

-- What is at a URL changes: what was seen an hour ago refuses nothing any more
create function _known_audio(url text) returns jsonb
language sql stable set search_path = musicverse, pg_catalog, pg_temp as $$
    select m.facts - 'peaks' from media m
     where m.id = _media_id('inspect', url) and m.created_at > _now() - interval '1 hour' and _inspects_audio()
$$;
comment on function _known_audio(text) is 'What the media worker has seen lately at a URL; NULL for nothing';

create function _audio_problem(audio jsonb, rules jsonb) returns text
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
begin
    return case
        when jsonb_typeof(audio) is distinct from 'object' or not audio ? 'format' then null
        when not rules #> '{audio,formats}' ? lower(audio ->> 'format') then
            format('is %s: use %s', audio ->> 'format', (select string_agg(f, ', ') from jsonb_array_elements_text(rules #> '{audio,formats}') f))
        when audio ->> 'format' in ('wav', 'aiff') and audio ->> 'codec' <> 'pcm' then
            format('is a %s whose samples are %s: use integers', upper(audio ->> 'format'), case audio ->> 'codec' when 'float' then 'floating-point numbers' else 'compressed' end)
        when rules #> '{audio,extensible}' = 'false' and audio -> 'is_extensible' = 'true' then
            'is a WAV of the extensible kind (format tag 0xFFFE): use one of tag 1, or FLAC'
        when jsonb_typeof(audio -> 'sample_rate') = 'number'
            and (audio ->> 'sample_rate')::numeric not between (rules #>> '{audio,min_sample_rate}')::numeric and (rules #>> '{audio,max_sample_rate}')::numeric then
            format('has %s samples a second, not %s to %s', audio ->> 'sample_rate', rules #>> '{audio,min_sample_rate}', rules #>> '{audio,max_sample_rate}')
        when jsonb_typeof(audio -> 'bit_depth') = 'number' and not rules #> '{audio,bit_depths}' @> (audio -> 'bit_depth') then
            format('has %s bits a sample', audio ->> 'bit_depth')
        when jsonb_typeof(audio -> 'channels') = 'number' and not rules #> '{audio,channels}' @> (audio -> 'channels') then
            format('has %s channels', audio ->> 'channels') end;
end
$$;
comment on function _audio_problem(jsonb, jsonb) is 'What a platform''s rules refuse in audio; NULL for nothing';

-- Samples that FLAC keeps as they are, of a file that isn't FLAC yet
create function _can_be_flac(audio jsonb) returns boolean
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
begin
    return coalesce(audio ->> 'codec' = 'pcm' and audio ->> 'format' in ('wav', 'rf64', 'aiff') and (audio ->> 'bit_depth')::int <= 24
                    and (audio ->> 'channels')::int <= 8, false);
end
$$;
comment on function _can_be_flac(jsonb) is 'Can audio be converted to FLAC without a loss?';

create function _becomes_flac(audio jsonb, rules jsonb) returns boolean
language plpgsql immutable parallel safe set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    return _can_be_flac(audio) and _audio_problem(audio || '{"format": "flac", "codec": "flac", "is_extensible": false}', rules) is null;
end
$$;
comment on function _becomes_flac(jsonb, jsonb) is 'Does a platform take audio when it is converted to FLAC?';

create function _bare_grid(release jsonb) returns text
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select nullif(upper(translate(release ->> 'grid', '- ', '')), '')
$$;
comment on function _bare_grid(jsonb) is 'The GRid of a release without hyphens; NULL for none';

create index distributions_grid_idx on distributions (_bare_grid(metadata)) where metadata ? 'grid';

-- release is what _complete_release() made
create function _release_problems(user_id uuid, track_ids uuid[], platforms text[], release_date date, release jsonb)
returns table (platform text, field text, severity text, message text)
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp
set datestyle = 'ISO' set intervalstyle = 'postgres' as $$
#variable_conflict use_column
declare
    zone text := coalesce(release ->> 'time_zone', 'UTC');
    zone_is_known boolean := _time_zone_is_known(zone);
    last_date date := _now() at time zone 'UTC' + interval '10 years';
    names text[] := _names_of(release -> 'artists');
    wanted text;
    rules jsonb;
    item record;
    t jsonb;
    at text;
    problem text;
    audio jsonb;
    lead interval;
    value jsonb;
begin
    -- what concerns all platforms
    if coalesce(cardinality(track_ids), 0) = 0 then
        return query select null::text, '/track_ids', 'error', 'a release needs at least one track';
    elsif cardinality(track_ids) <> (select count(distinct i) from unnest(track_ids) i) then
        return query select null::text, '/track_ids', 'error', 'a track is given twice, or is null';
    end if;
    for item in select i.id, i.n from unnest(track_ids) with ordinality i (id, n)
                 where not exists (select from tracks x where x.id = i.id and x.deleted_at is null and x.user_id = _release_problems.user_id)
    loop
        return query select null::text, '/track_ids/' || item.n - 1, 'error', format('track %s does not exist', coalesce(item.id::text, 'null'));
    end loop;
    if coalesce(cardinality(platforms), 0) = 0 then
        return query select null::text, '/platforms', 'error', 'a release needs at least one platform';
    end if;
    if not zone_is_known then
        return query select null::text, '/metadata/time_zone', 'error', format('unknown time zone "%s": give a name such as Europe/Berlin', zone);
    end if;
    -- nor is every date a moment
    if release_date > last_date then
        return query select null::text, '/release_date', 'error', format('%s is more than ten years ahead: give %s or earlier', release_date, last_date);
    end if;
    foreach at in array '{title,version_title,label,genre,subgenre,language,p_line,c_line,upc,cover_url,time_zone}'::text[] loop
        if jsonb_typeof(release -> at) not in ('string', 'null') then
            return query select null::text, '/metadata/' || at, 'error', format('%s must be a string, not %s', at, jsonb_typeof(release -> at));
            release := release - at;
        end if;
    end loop;
    if release ? 'artists' and (jsonb_typeof(release -> 'artists') <> 'array' or cardinality(names) <> jsonb_array_length(release -> 'artists')) then
        return query select null::text, '/metadata/artists', 'error', 'artists are objects with a name, such as [{"name": "Mira", "role": "main"}]';
    end if;
    if jsonb_typeof(release -> 'explicit') not in ('boolean') then
        return query select null::text, '/metadata/explicit', 'error', 'explicit must be true or false';
    end if;
    if release ? 'upc' then
        if not gtin_is_valid(release ->> 'upc') then
            return query select null::text, '/metadata/upc', 'error', format('"%s" is no UPC or EAN: its check digit does not fit, or it is not 12 to 14 digits', left(release ->> 'upc', 50));
        end if;
    end if;
    for at in select c from _codes_of_others(_release_problems.user_id, release) c loop
        return query select null::text, '/metadata/' || at, 'error', format('%s %s is that of a release of somebody else', case at when 'upc' then 'UPC' else 'GRid' end, release ->> at);
    end loop;
    if release ? 'language' and not _language_is_valid(release ->> 'language') then
        return query select null::text, '/metadata/language', 'error', format('unknown language "%s": give a code of ISO 639 such as en, or zxx for music without words', left(release ->> 'language', 50));
    end if;
    foreach at in array '{p_line,c_line}'::text[] loop
        if release ->> at !~ '^(19|20)[0-9]{2} \S' then
            return query select null::text, '/metadata/' || at, 'error', format('%s must be a year and an owner, such as "2026 Mira Records", and is "%s"', at, left(release ->> at, 100));
        end if;
    end loop;
    if jsonb_typeof(release -> 'cover') not in ('object', 'null') and release -> 'cover' <> '"draw"' then
        return query select null::text, '/metadata/cover', 'error', 'cover is "draw", to have one drawn, or says the size of the one at cover_url, such as {"width": 3000, "height": 3000}';
    end if;
    if release ? 'cover_url' and (release ->> 'cover_url' !~* '^https?://[!-~]+$' or length(release ->> 'cover_url') > 2048) then
        return query select null::text, '/metadata/cover_url', 'error', 'the address of the cover is no http or https URL';
    end if;
    if release ? 'ai' and (jsonb_typeof(release -> 'ai') <> 'object' or exists (
            select from jsonb_each(case jsonb_typeof(release -> 'ai') when 'object' then release -> 'ai' else '{}' end) e
             where e.value not in ('"all"', '"partly"', '"none"'))) then
        return query select null::text, '/metadata/ai', 'error', 'what is stated of AI is all, partly or none, such as {"audio": "all"}';
    end if;
    if release ? 'training_use' and release -> 'training_use' not in ('"allowed"', '"denied"') then
        return query select null::text, '/metadata/training_use', 'error', 'training_use is allowed or denied';
    end if;
    if jsonb_typeof(release -> 'territories') <> 'array' or exists (
            select from jsonb_array_elements(case jsonb_typeof(release -> 'territories') when 'array' then release -> 'territories' else '[]' end) e
             where e #>> '{}' !~ '^([A-Z]{2}|Worldwide)$') or release -> 'territories' = '[]' then
        return query select null::text, '/metadata/territories', 'error', 'territories are ["Worldwide"] or codes of countries, such as ["DE", "AT"]';
    end if;
    for item in select e.t, e.n from jsonb_array_elements(coalesce(release -> 'tracks', '[]')) with ordinality e (t, n) loop
        at := '/metadata/tracks/' || item.n - 1;
        if item.t ? 'isrc' and not isrc_is_valid(item.t ->> 'isrc') then
            return query select null::text, at || '/isrc', 'error', format('"%s" is no ISRC: it has twelve characters, such as QZABC2600001', left(item.t ->> 'isrc', 50));
        elsif (select count(*) from jsonb_array_elements(release -> 'tracks') o where o -> 'isrc' = item.t -> 'isrc') > 1 then
            return query select null::text, at || '/isrc', 'error', format('ISRC "%s" is that of two tracks', item.t ->> 'isrc');
        end if;
        if length(item.t ->> 'audio_url') > 0 and (item.t ->> 'audio_url' !~* '^https?://[!-~]+$' or length(item.t ->> 'audio_url') > 2048) then
            return query select null::text, at || '/audio_url', 'error', format('the address of the audio of track %s is no http or https URL', item.n);
        end if;
        if item.t ? 'language' and not _language_is_valid(item.t ->> 'language') then
            return query select null::text, at || '/language', 'error', format('unknown language "%s"', left(item.t ->> 'language', 50));
        end if;
    end loop;

    -- what each wants
    for wanted in select distinct w from unnest(platforms) w order by 1 loop
        select _rules_of(p.rules) into rules from platforms p where p.name = wanted;
        if not found then
            return query select wanted, '/platforms', 'error', format('unknown platform "%s". Known: %s', left(wanted, 63),
                (select string_agg(p.name, ', ' order by p.name) from platforms p));
            continue;
        end if;
        if _partner_for(wanted) is null then
            return query select wanted, '/platforms', 'error', format('no partner that carries releases to %s is configured', wanted);
        elsif exists (select from partners p where p.name = _partner_for(wanted) and _connector_has_accounts(p.connector))
            and not exists (select from partner_accounts a where a.partner = _partner_for(wanted) and a.user_id = _release_problems.user_id and a.status <> 'needs_login') then
            return query select wanted, '/platforms', 'warning', format('nobody has logged in at %s: the release will wait for that', _partner_title(_partner_for(wanted)));
        end if;
        for at in select jsonb_array_elements_text(rules -> 'required') loop
            value := release -> at;
            continue when at = 'cover_url' and release -> 'cover' = '"draw"';
            if value is null or value in ('null', '""', '[]') or value #>> '{}' !~ '\S' then
                return query select wanted, '/metadata/' || at, 'error', format('%s is missing', at)
                    || case at when 'cover_url' then ': give one, or have one drawn by "cover": "draw"' else '' end;
            end if;
        end loop;
        if release ? 'genre' and not exists (
                select from unnest(case jsonb_typeof(rules -> 'genres') when 'array' then array(select jsonb_array_elements_text(rules -> 'genres'))
                                        else _release_genres() end) g where lower(g) = lower(release ->> 'genre')) then
            return query select wanted, '/metadata/genre', 'error', format('unknown genre "%s"', left(release ->> 'genre', 100));
        end if;
        if (rules ->> 'title_rules')::boolean and release ? 'title' then
            problem := _title_problem(release ->> 'title', names);
            if problem is not null then
                return query select wanted, '/metadata/title', 'error', format('the title "%s" %s', left(release ->> 'title', 100), problem);
            end if;
        end if;
        if cardinality(track_ids) > (rules ->> 'max_tracks')::int then
            return query select wanted, '/track_ids', 'error', format('a release has at most %s tracks', rules ->> 'max_tracks');
        end if;
        value := release -> 'cover';
        if jsonb_typeof(value -> 'width') = 'number' and jsonb_typeof(value -> 'height') = 'number' then
            if (value ->> 'width')::numeric <> (value ->> 'height')::numeric then
                return query select wanted, '/metadata/cover', 'error', format('the cover is not square: %s x %s', value ->> 'width', value ->> 'height');
            elsif (value ->> 'width')::numeric < (rules ->> 'min_cover')::numeric then
                return query select wanted, '/metadata/cover', 'error', format('the cover has %s pixels a side, fewer than %s', value ->> 'width', rules ->> 'min_cover');
            end if;
        end if;
        for item in select e.t, e.n from jsonb_array_elements(coalesce(release -> 'tracks', '[]')) with ordinality e (t, n) loop
            t := item.t;
            for at in select jsonb_array_elements_text(rules -> 'track_required') loop
                value := t -> at;
                if value is null or value in ('null', '""', '[]') or value #>> '{}' !~ '\S' then
                    -- an aggregator gives one where there is none
                    return query select wanted, format('/metadata/tracks/%s/%s', item.n - 1, at),
                        case at when 'isrc' then 'warning' else 'error' end,
                        format('%s of track %s is missing', at, item.n) || case at when 'isrc' then ': the partner will give it one' else '' end;
                end if;
            end loop;
            if (rules ->> 'title_rules')::boolean then
                problem := _title_problem(t ->> 'title', _names_of(t -> 'artists'));
                if problem is not null then
                    return query select wanted, format('/metadata/tracks/%s/title', item.n - 1), 'error', format('the title "%s" %s', left(t ->> 'title', 100), problem);
                end if;
            end if;
            audio := coalesce(_known_audio(t ->> 'audio_url'), t -> 'audio');
            problem := _audio_problem(audio, rules);
            if problem is not null and not _becomes_flac(audio, rules) then
                return query select wanted, format('/metadata/tracks/%s/audio', item.n - 1), 'error', format('the audio of track %s %s', item.n, problem);
            end if;
        end loop;
        lead := _release_lead_time(wanted);
        if release_date <= last_date and zone_is_known and _release_moment(release_date, zone) < _now() + lead then
            return query select wanted, '/release_date', 'error',
                format('%s is nearer than the %s that %s needs: give %s or later, or no date for as soon as possible',
                       release_date, lead, wanted, ((_now() + lead) at time zone zone)::date + 1);
        end if;
    end loop;
end
$$;
comment on function _release_problems(uuid, uuid[], text[], date, jsonb) is 'What is wrong with a completed release';

create function check_release(track_ids uuid[], platforms text[], release_date date default null, metadata jsonb default '{}')
returns table (platform text, field text, severity text, message text)
language plpgsql stable security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    owner uuid := current_user_id();
begin
    if jsonb_typeof(metadata) not in ('object', 'null') then
        raise exception 'metadata must be a JSON object, not %', jsonb_typeof(metadata)
            using errcode = '22023', hint = 'Write {"title": "Battle at Dawn"}.';
    end if;
    if owner is null and caller_is_service() then
        owner := (select t.user_id from tracks t where t.id = any (track_ids) limit 1);
    elsif owner is null then
        raise exception 'nobody is known to ask' using errcode = '42501', hint = 'Send an API key, or a token whose sub is the id of a user.';
    end if;
    return query select p.* from _release_problems(owner, track_ids, platforms, release_date,
        _complete_release(array(select t.id from unnest(track_ids) with ordinality i (id, n) join tracks t on t.id = i.id
                                 where t.user_id = owner order by i.n), release_date, metadata)) p;
end
$$;
comment on function check_release(uuid[], text[], date, jsonb) is
    'What platforms would refuse in a release: one row a problem; severity is error or warning, platform is NULL for what concerns all';

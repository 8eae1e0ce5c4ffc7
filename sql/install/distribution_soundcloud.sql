-- distribution: tracks and playlists as SoundCloud takes them, and what it tells
--
-- The steps are src/distribution/soundcloud.c. SoundCloud knows no ids of ours
-- and repeats no request: a track is found again by a machine tag, which it
-- keeps among the tags and shows to nobody. It holds the work, the track's
-- number, and a digest of where its sound came from.

create function _soundcloud_mark(release jsonb, reference text, n int) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select 'musicverse:ref=' || reference || '-' || n || '-' || left(md5(release #>> array['tracks', n::text, 'audio_url']), 8)
$$;
comment on function _soundcloud_mark(jsonb, text, int) is 'The machine tag of a track; the first is 0';

-- Tags are divided by spaces, and in quotes when they have some themselves.
create function _soundcloud_tags(release jsonb, track jsonb) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select coalesce(string_agg(' ' || case when tag ~ '\s' then '"' || tag || '"' else tag end, '' order by n), '')
      from (select min(n) as n, tag
              from (select n, btrim(regexp_replace(translate(t #>> '{}', '"', ''''), '\s+', ' ', 'g')) as tag
                      from jsonb_array_elements(case when jsonb_typeof(track -> 'tags') = 'array' then track -> 'tags'
                                                     when jsonb_typeof(release -> 'tags') = 'array' then release -> 'tags' else '[]' end
                                                || jsonb_build_array(release -> 'subgenre')) with ordinality e (t, n)
                     where jsonb_typeof(t) = 'string') x
             where tag <> '' and tag !~ '^musicverse:ref=' group by tag) y
$$;
comment on function _soundcloud_tags(jsonb, jsonb) is 'The tags of a track as SoundCloud takes them, each with a space before it';

create function _soundcloud_text(release jsonb, own jsonb) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select nullif(concat_ws(E'\n\n', nullif(coalesce(own ->> 'description', release ->> 'description'), ''),
                            nullif(concat_ws(E'\n', U&'\2117 ' || (release ->> 'p_line'), U&'\00A9 ' || (release ->> 'c_line')), '')), '')
$$;
comment on function _soundcloud_text(jsonb, jsonb) is 'The description of a track or an album: there is no other place for its lines of rights';

create function _soundcloud_title(thing jsonb) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select (thing ->> 'title') || coalesce(' (' || nullif(thing ->> 'version_title', '') || ')', '')
$$;
comment on function _soundcloud_title(jsonb) is 'The title of a track or a release with its version';

create function _soundcloud_license(release jsonb, config jsonb) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select case when l = any ('{no-rights-reserved,all-rights-reserved,cc-by,cc-by-nc,cc-by-nd,cc-by-sa,cc-by-nc-nd,cc-by-nc-sa}'::text[]) then l else 'all-rights-reserved' end
      from (select coalesce(release ->> 'license', config ->> 'license')) x (l)
$$;
comment on function _soundcloud_license(jsonb, jsonb) is 'The license in SoundCloud''s words';

create function _soundcloud_track(release jsonb, config jsonb, reference text, n int, sharing text) returns jsonb
language sql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
    select jsonb_strip_nulls(jsonb_build_object(
        'title', _soundcloud_title(t), 'sharing', sharing, 'description', _soundcloud_text(release, t), 'genre', release -> 'genre',
        'tag_list', _soundcloud_mark(release, reference, n) || _soundcloud_tags(release, t), 'label_name', release -> 'label',
        'release_date', release -> 'release_date', 'isrc', nullif(upper(regexp_replace(t ->> 'isrc', '[^A-Za-z0-9]', '', 'g')), ''),
        'license', _soundcloud_license(release, config),
        -- unless it is told, everybody may download it
        'downloadable', coalesce(t ->> 'downloadable', release ->> 'downloadable', config ->> 'downloadable') is not distinct from 'true'))
      from (select release -> 'tracks' -> n as t) x
$$;
comment on function _soundcloud_track(jsonb, jsonb, text, int, text) is 'A track of a release as SoundCloud takes it; the first is 0';

create function _soundcloud_playlist(release jsonb, config jsonb, reference text, sharing text) returns jsonb
language sql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
    select jsonb_strip_nulls(jsonb_build_object(
        'title', _soundcloud_title(release), 'sharing', sharing, 'description', _soundcloud_text(release, release), 'set_type', 'album',
        'genre', release -> 'genre', 'label_name', release -> 'label', 'release_date', release -> 'release_date', 'ean', nullif(release ->> 'upc', ''),
        'license', _soundcloud_license(release, config), 'tag_list', 'musicverse:ref=' || reference))
$$;
comment on function _soundcloud_playlist(jsonb, jsonb, text, text) is 'An album as SoundCloud takes it, without its tracks';

create function _soundcloud_parts(room text, fields jsonb) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select jsonb_agg(jsonb_build_array(format('%s[%s]', room, key), value)) from jsonb_each_text(fields)
$$;
comment on function _soundcloud_parts(text, jsonb) is 'Fields as those of a form: pairs of names and texts';

create function _soundcloud_items(answer jsonb) returns setof jsonb
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select e from jsonb_array_elements(case when jsonb_typeof(answer) = 'array' then answer
                                            when jsonb_typeof(answer -> 'collection') = 'array' then answer -> 'collection' else '[]' end) e
     where jsonb_typeof(e) = 'object'
$$;
comment on function _soundcloud_items(jsonb) is 'The objects of a page';

create function _soundcloud_find_track(answer jsonb, reference text, n int) returns jsonb
language sql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
    select e || jsonb_build_object('sound', m[1])
      from _soundcloud_items(answer) e, regexp_match(e ->> 'tag_list', 'musicverse:ref=' || reference || '-' || n || '-([0-9a-f]{8})') m
     where m is not null limit 1
$$;
comment on function _soundcloud_find_track(jsonb, text, int) is 'The track on a page that is ours, with the digest of its sound';

-- By its tag, or as it has our tracks, which are nobody else's
create function _soundcloud_find_playlist(answer jsonb, reference text, urns jsonb) returns jsonb
language sql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
    select e from _soundcloud_items(answer) e
     where strpos(e ->> 'tag_list', 'musicverse:ref=' || reference) > 0
        or urns <> '[]' and (select jsonb_agg(t -> 'urn') from jsonb_array_elements(case jsonb_typeof(e -> 'tracks') when 'array' then e -> 'tracks' else '[]' end) t) @> urns
     limit 1
$$;
comment on function _soundcloud_find_playlist(jsonb, text, jsonb) is 'The playlist on a page that is ours';

create function _soundcloud_problem(answer jsonb) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select nullif(concat_ws(': ', answer ->> 'message', (select string_agg(e ->> 'error_message', '; ') from jsonb_path_query(answer, '$.errors[*]') e)), '')
     where jsonb_typeof(answer) = 'object'
$$;
comment on function _soundcloud_problem(jsonb) is 'What an answer says is wrong; NULL for nothing';

-- Seconds until the limit is reset, at most a day
create function _soundcloud_reset(answer jsonb) returns int
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    said text := jsonb_path_query_first(answer, '$.**.reset_time') #>> '{}';
begin
    if said ~ '^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d [+-]\d{4}$' is not true then
        return null;
    end if;
    return least(86400, greatest(1, ceil(extract(epoch from said::timestamptz - _now()))));
exception when others then
    return null;
end
$$;
comment on function _soundcloud_reset(jsonb) is 'For how long SoundCloud wants to be left alone; NULL when it has not said';

-- distribution: releases and tracks as LabelGrid takes them, and what it tells
--
-- The steps are src/distribution/labelgrid.c. What differs from one account to
-- the other is in the partner's config: label_id, and genres, which maps the
-- names of genres to LabelGrid's ids.

create function _labelgrid_catalogue_number(reference uuid, config jsonb) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select coalesce(config ->> 'catalogue_prefix', 'MV') || upper(left(replace(reference::text, '-', ''), 16))
$$;
comment on function _labelgrid_catalogue_number(uuid, jsonb) is 'By what we find a release of ours at LabelGrid';

create function _labelgrid_artists(artists jsonb) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('name', a ->> 'name', 'role', coalesce(a ->> 'role', 'main'), 'isni', a -> 'isni')) order by n), '[]')
      from jsonb_array_elements(case jsonb_typeof(artists) when 'array' then artists else '[]' end) with ordinality e (a, n)
$$;
comment on function _labelgrid_artists(jsonb) is 'Artists as LabelGrid takes them';

create function _labelgrid_release(release jsonb, config jsonb, catalogue_number text) returns jsonb
language sql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
    select jsonb_strip_nulls(jsonb_build_object(
        'content_type', case when jsonb_array_length(release -> 'tracks') = 1 then 'single' when jsonb_array_length(release -> 'tracks') <= 6 then 'ep' else 'album' end,
        'cat', catalogue_number, 'label_id', config -> 'label_id', 'label', release -> 'label',
        'titles', jsonb_build_array(jsonb_strip_nulls(jsonb_build_object('text', release -> 'title', 'version', release -> 'version_title',
                                                                         'language', release -> 'language'))),
        'artists', _labelgrid_artists(release -> 'artists'),
        'primary_genre_id', coalesce(config -> 'genres' -> (release ->> 'genre'), release -> 'genre'),
        'secondary_genre_id', coalesce(config -> 'genres' -> (release ->> 'subgenre'), release -> 'subgenre'),
        'language', release -> 'language', 'barcode_number', release -> 'upc', 'explicit', release -> 'explicit',
        'release_date', release -> 'release_date', 'original_release_date', release -> 'original_release_date',
        'p_line', release -> 'p_line', 'c_line', release -> 'c_line', 'territories', release -> 'territories',
        'artwork_ai_usage', coalesce(release #> '{ai,artwork}', '"none"'),
        'audio_ai_usage', coalesce(release #> '{ai,audio}', '"none"'),
        'composition_ai_usage', coalesce(release #> '{ai,composition}', '"none"'),
        'ai_training', coalesce(release -> 'training_use', '"denied"')))
$$;
comment on function _labelgrid_release(jsonb, jsonb, text) is 'A release as LabelGrid takes it';

create function _labelgrid_outlets(config jsonb, platforms jsonb) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select jsonb_agg(coalesce(config -> 'outlets' ->> w, w) order by w) from jsonb_array_elements_text(platforms) w
$$;
comment on function _labelgrid_outlets(jsonb, jsonb) is 'What LabelGrid calls the platforms';

create function _labelgrid_track(release jsonb, config jsonb, n int) returns jsonb
language sql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
    select jsonb_strip_nulls(jsonb_build_object(
        'titles', jsonb_build_array(jsonb_strip_nulls(jsonb_build_object('text', t -> 'title', 'version', t -> 'version_title', 'language', t -> 'language'))),
        'reference', t -> 'track_id', 'disc', coalesce(t -> 'disc', '1'), 'track_num', coalesce(t -> 'position', to_jsonb(n + 1)),
        'composition_type', coalesce(t -> 'composition_type', '"original"'), 'commercial_samples', coalesce(t -> 'commercial_samples', 'false'),
        'artists', _labelgrid_artists(coalesce(t -> 'artists', release -> 'artists')),
        'contributors', _labelgrid_artists(coalesce(t -> 'contributors', t -> 'artists', release -> 'artists')),
        'isrc', t -> 'isrc', 'iswc', t -> 'iswc', 'audio_language', coalesce(t -> 'language', release -> 'language'), 'explicit', t -> 'explicit',
        'duration', t -> 'duration', 'p_line', release -> 'p_line',
        'recording_country', coalesce(t -> 'recording_country', release -> 'recording_country', config -> 'recording_country'),
        'audio_ai_usage', coalesce(t #> '{ai,audio}', release #> '{ai,audio}', '"none"'),
        'composition_ai_usage', coalesce(t #> '{ai,composition}', release #> '{ai,composition}', '"none"'),
        'lyrics_ai_usage', coalesce(t #> '{ai,lyrics}', release #> '{ai,lyrics}', '"none"')))
      from (select release -> 'tracks' -> n as t) x
$$;
comment on function _labelgrid_track(jsonb, jsonb, int) is 'A track of a release as LabelGrid takes it; the first is 0';

-- The entries of a list, bare or within data
create function _labelgrid_list(answer jsonb) returns setof jsonb
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select e from jsonb_array_elements(case when jsonb_typeof(answer) = 'array' then answer
                                            when jsonb_typeof(answer -> 'data') = 'array' then answer -> 'data' else '[]' end) e
     where jsonb_typeof(e) = 'object'
$$;
comment on function _labelgrid_list(jsonb) is 'The objects of a list that LabelGrid answered';

-- One a platform that is asked for; the entry that came last counts
create function _labelgrid_reports(answer jsonb, config jsonb, release_id text, platforms jsonb) returns jsonb
language sql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
    select coalesce(jsonb_agg(jsonb_strip_nulls(r.report) order by r.platform), '[]')
      from (select distinct on (w.platform) w.platform, jsonb_build_object(
                       'platform', w.platform, 'status', m.meaning, 'is_complete', lower(e.entry ->> 'status') in ('complete', 'completed'),
                       'external_id', coalesce(e.entry ->> 'external_id', e.entry ->> 'outlet_release_id'),
                       'external_url', coalesce(e.entry ->> 'external_url', e.entry ->> 'url'),
                       'reason', coalesce(e.entry ->> 'error', e.entry ->> 'reason', e.entry ->> 'message', e.entry ->> 'error_code')) as report
              from jsonb_array_elements_text(platforms) w (platform)
              join (select l, n from _labelgrid_list(answer) with ordinality x (l, n)) e (entry, n)
                on lower(coalesce(e.entry #>> '{outlet,name}', e.entry ->> 'outlet', e.entry ->> 'outlet_name')) in (lower(w.platform), lower(config -> 'outlets' ->> w.platform))
               and coalesce(e.entry ->> 'release_id', release_id) = release_id
             cross join lateral (select _partner_meaning(config, coalesce(e.entry ->> 'type', e.entry ->> 'operation'), e.entry ->> 'status') as meaning) m
             where m.meaning is not null
             order by w.platform, coalesce(e.entry ->> 'updated_at', e.entry ->> 'created_at', '') desc, e.n desc) r
$$;
comment on function _labelgrid_reports(jsonb, jsonb, text, jsonb) is 'What an answer of the delivery queue says of each platform';

create function _labelgrid_is_queued(answer jsonb, release_id text) returns boolean
language sql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
    select exists (select from _labelgrid_list(answer) e
                    where coalesce(e ->> 'release_id', _labelgrid_is_queued.release_id) = _labelgrid_is_queued.release_id
                      and coalesce(e ->> 'type', e ->> 'operation', '') <> 'takedown')
     where 'array' in (jsonb_typeof(answer), jsonb_typeof(answer -> 'data'))
$$;
comment on function _labelgrid_is_queued(jsonb, text) is 'Is the release on its way to outlets, by an answer of the delivery queue? NULL for an answer that is none';

-- Its messages, wherever they are
create function _labelgrid_problem(answer jsonb) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select to_jsonb(nullif(concat_ws(': ',
        case when jsonb_typeof(answer) = 'object' then coalesce(answer #>> '{error,message}', case jsonb_typeof(answer -> 'error') when 'string' then answer ->> 'error' end, answer ->> 'message') end,
        (select string_agg(rtrim(m, '.'), '; ') from (
            select case jsonb_typeof(e) when 'string' then e #>> '{}' when 'array' then e ->> 0 else coalesce(e ->> 'message', e::text) end as m
              from jsonb_path_query(answer, '$.errors.*') e where jsonb_typeof(answer -> 'errors') = 'object'
            union all
            select case jsonb_typeof(e) when 'string' then e #>> '{}' else coalesce(e ->> 'message', e::text) end
              from jsonb_path_query(answer, '$.errors[*]') e where jsonb_typeof(answer -> 'errors') = 'array') x)), ''))
$$;
comment on function _labelgrid_problem(jsonb) is 'What an answer says is wrong, as a JSON string; NULL for nothing';

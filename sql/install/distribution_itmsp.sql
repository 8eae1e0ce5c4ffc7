-- distribution: a release as Apple takes it, after the Apple Music Specification 5.3
--
-- What differs from one account to the other is in the partner's config:
-- provider, Apple's short name of the account; genres, codes by our names;
-- artist_ids, Apple's ids by the names of artists; language of the titles
-- where that of the release is none.

create function _itmsp_genres() returns jsonb
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select '{"Alternative": "ALTERNATIVE-00", "Ambient": "AMBIENT-00", "Blues": "BLUES-00", "Children''s Music": "CHILDREN-MUSIC-00", "Chill": "DOWNTEMPO-00",
        "Christian": "CHRISTIAN-GOSPEL-00", "Classical": "CLASSICAL-00", "Country": "COUNTRY-00", "Dance": "DANCE-00", "Drum & Bass": "JUNGLE-DRUM-N-BASS-00",
        "Dubstep": "DUBSTEP-00", "Easy Listening": "EASY-LISTENING-00", "Electronic": "ELECTRONIC-00", "Experimental": "IDM-EXPERIMENTAL-00", "Folk": "FOLK-00",
        "Funk": "FUNK-00", "Gospel": "CHRISTIAN-GOSPEL-00", "Hip-Hop": "HIP-HOP-RAP-00", "Holiday": "HOLIDAY-00", "House": "HOUSE-00", "Indie": "ALTERNATIVE-00",
        "Industrial": "INDUSTRIAL-00", "Instrumental": "INSTRUMENTAL-00", "J-Pop": "J-POP-00", "Jazz": "JAZZ-00", "K-Pop": "K-POP-00", "Latin": "LATIN-00",
        "Lo-Fi": "DOWNTEMPO-00", "Metal": "HEAVY-METAL-00", "New Age": "NEW-AGE-00", "Opera": "OPERA-00", "Orchestral": "ORCHESTRAL-00", "Pop": "POP-00",
        "Punk": "PUNK-00", "R&B": "R-B-SOUL-00", "Rap": "HIP-HOP-RAP-00", "Reggae": "REGGAE-00", "Reggaeton": "REGGAETON-Y-HIP-HOP-00", "Rock": "ROCK-00",
        "Singer-Songwriter": "SINGER-SONGWRITER-00", "Ska": "SKA-00", "Soul": "SOUL-00", "Soundtrack": "SOUNDTRACK-00", "Spoken Word": "SPOKEN-WORD-00",
        "Techno": "TECHNO-00", "Trance": "TRANCE-00", "Trap": "HIP-HOP-RAP-00", "World": "WORLD-00"}'::jsonb
$$;
comment on function _itmsp_genres() is 'Apple''s codes of the genres that check_release() knows';

create function _itmsp_genre(release jsonb, config jsonb) returns jsonb
language sql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
    select coalesce(jsonb_agg(jsonb_build_object('code', c) order by n), '[]')
      from (select c, min(n) as n
              from unnest(array[release ->> 'genre', release ->> 'subgenre']) with ordinality g (name, n),
                   coalesce(config -> 'genres' ->> g.name, _itmsp_genres() ->> g.name) c
             where c is not null group by c) x
$$;
comment on function _itmsp_genre(jsonb, jsonb) is 'The genres of a release as Apple has them';

-- Apple knows artists by their roles; a featured one is never primary
create function _itmsp_artists(artists jsonb, config jsonb) returns jsonb
language sql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
    select coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
               'artist_name', x.name, 'apple_id', coalesce(case when x.apple_id ~ '^[0-9]{1,19}$' then x.apple_id end, config -> 'artist_ids' ->> x.name),
               'roles', x.roles, 'primary', x.is_primary::text)) order by x.n), '[]')
      from (select a ->> 'name' as name, min(n) as n, max(a ->> 'apple_id') as apple_id, bool_or(coalesce(a ->> 'role', 'main') = 'main') as is_primary,
                   (select jsonb_agg(jsonb_build_object('name', r) order by r) from unnest(array_agg(distinct case coalesce(a ->> 'role', 'main')
                       when 'main' then 'Performer' when 'featured' then 'Featuring' when 'remixer' then 'Remixer' when 'producer' then 'Producer'
                       when 'composer' then 'Composer' when 'lyricist' then 'Lyricist' when 'songwriter' then 'Songwriter' when 'writer' then 'Songwriter'
                       else 'Performer' end)) r) as roles
              from jsonb_array_elements(case jsonb_typeof(artists) when 'array' then artists else '[]' end) with ordinality e (a, n)
             where a ->> 'name' <> '' group by a ->> 'name') x
$$;
comment on function _itmsp_artists(jsonb, jsonb) is 'Artists as Apple takes them';

create function _itmsp_products(release jsonb, is_for_sale boolean) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
               'territory', case c when 'Worldwide' then 'WW' else c end, 'cleared_for_sale', is_for_sale::text, 'cleared_for_stream', is_for_sale::text,
               'sales_start_date', case when is_for_sale then release ->> 'release_date' end,
               'stream_start_date', case when is_for_sale then release ->> 'release_date' end)) order by n)
      from jsonb_array_elements_text(coalesce(release -> 'territories', '["Worldwide"]')) with ordinality e (c, n)
$$;
comment on function _itmsp_products(jsonb, boolean) is 'Where Apple may offer a release, and from when';

create function _itmsp_file(facts jsonb) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select case when facts ->> 'name' is not null
                then jsonb_build_object('file_name', split_part(facts ->> 'name', '/', -1), 'size', facts ->> 'bytes', 'md5', facts ->> 'md5') end
$$;
comment on function _itmsp_file(jsonb) is 'A file as Apple wants it told; NULL for none';

create function _itmsp_language(code text, otherwise text) returns text
language sql immutable parallel safe return case when code is null or code in ('zxx', 'und', 'mul') then otherwise else code end;
comment on function _itmsp_language(text, text) is 'A language that titles may be in';

create function _itmsp_track(release jsonb, n int, input jsonb, facts jsonb) returns jsonb
language sql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
    select jsonb_strip_nulls(jsonb_build_object(
        'vendor_id', (input ->> 'vendor_id') || '_' || lpad(d.disc, 2, '0') || '_' || lpad((n + 1)::text, 3, '0'),
        'isrc', t ->> 'isrc', 'title', t ->> 'title', 'title_version', nullif(t ->> 'version_title', ''),
        'original_release_date', coalesce(release ->> 'original_release_date', release ->> 'release_date'),
        'genres', _itmsp_genre(release, input -> 'config'), 'products', _itmsp_products(release, true), 'label_name', release ->> 'label',
        'copyright_pline', release ->> 'p_line', 'explicit_content', case when t ->> 'explicit' = 'true' then 'explicit' else 'none' end,
        'volume_number', d.disc, 'track_number', coalesce(case when t ->> 'position' ~ '^[0-9]{1,3}$' then t ->> 'position' end, (n + 1)::text),
        'audio_file', _itmsp_file(facts -> 'tracks' -> n),
        'artists', _itmsp_artists(coalesce(t -> 'artists', release -> 'artists') || coalesce(t -> 'contributors', '[]'), input -> 'config'),
        'audio_language', coalesce(t ->> 'language', release ->> 'language')))
      from (select release -> 'tracks' -> n as t) x,
           lateral (select case when t ->> 'disc' ~ '^[0-9]{1,2}$' then t ->> 'disc' else '1' end as disc) d
$$;
comment on function _itmsp_track(jsonb, int, jsonb, jsonb) is 'A track as Apple takes it; the first is 0';

-- facts of {} are a package without files: what has changed, or a takedown
create function _itmsp_package(release jsonb, input jsonb, facts jsonb) returns jsonb
language sql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
    select jsonb_build_object(
        'language', _itmsp_language(release ->> 'language', coalesce(input #>> '{config,language}', 'en')), 'provider', input #>> '{config,provider}',
        'album', jsonb_strip_nulls(jsonb_build_object(
            'vendor_id', input ->> 'vendor_id', 'upc', nullif(release ->> 'upc', ''), 'title', release ->> 'title', 'title_version', nullif(release ->> 'version_title', ''),
            'original_release_date', coalesce(release ->> 'original_release_date', release ->> 'release_date'), 'label_name', release ->> 'label',
            'genres', _itmsp_genre(release, input -> 'config'), 'copyright_pline', release ->> 'p_line', 'copyright_cline', release ->> 'c_line',
            'artwork_files', case when facts -> 'cover' is not null then jsonb_build_array(_itmsp_file(facts -> 'cover')) end,
            'track_count', jsonb_array_length(release -> 'tracks')::text, 'products', _itmsp_products(release, input ->> 'scope' <> 'takedown'),
            'artists', _itmsp_artists(release -> 'artists', input -> 'config'),
            'tracks', case when input ->> 'scope' <> 'takedown' then (select jsonb_agg(_itmsp_track(release, n, input, facts) order by n)
                                                                         from generate_series(0, jsonb_array_length(release -> 'tracks') - 1) n) end)))
$$;
comment on function _itmsp_package(jsonb, jsonb, jsonb) is 'A release as _itmsp_metadata() writes it';

-- ---- what is written beside the files, for both kinds of package

create function _utf8_bytes(value text) returns bytea
language sql immutable parallel safe return convert_to(value, 'UTF8');
comment on function _utf8_bytes(text) is 'Text as it leaves the database';

create function _package_contents(input jsonb, facts jsonb) returns table (name text, content bytea)
language plpgsql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    release jsonb := _plain_json(input -> 'release');
    folder text := _package_folder(input);
    csv bytea;
    sheet bytea;
begin
    if input ->> 'connector' = 'itmsp' then
        return query select folder || '/metadata.xml', _itmsp_metadata(_itmsp_package(release, input, facts));
        return;
    end if;
    -- spreadsheets take UTF-8 for what it is when a byte order mark says so
    csv := '\xefbbbf'::bytea || _utf8_bytes(_bundle_csv(release, facts));
    sheet := _utf8_bytes(_bundle_sheet(_plain_json(input -> 'form'), release, facts));
    return query select folder || '/metadata.csv', csv;
    return query select folder || '/sheet.html', sheet;
    return query select folder || '/checksums.sha256', _utf8_bytes(
        coalesce((select string_agg((f ->> 'sha256') || '  ' || substr(f ->> 'name', length(folder) + 2) || E'\n', '' order by n)
                    from jsonb_array_elements(coalesce(facts -> 'tracks', '[]') || coalesce(facts -> 'cover', '[]')) with ordinality e (f, n)), '')
        || encode(sha256(csv), 'hex') || E'  metadata.csv\n' || encode(sha256(sheet), 'hex') || E'  sheet.html\n');
end
$$;
comment on function _package_contents(jsonb, jsonb) is 'What is written into a package beside its files: name and bytes';

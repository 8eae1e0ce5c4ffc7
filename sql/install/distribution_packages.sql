-- distribution: what is in a package, for those who have no API
--
-- A package is made of an input, which says all that it depends on: connector
-- and partner, the release, what it is to be (scope: full, metadata without
-- files, or takedown), vendor_id for Apple. The same input makes the same
-- bytes. The files are brought first; what was found of them (facts) goes into
-- what is written here: {"cover": {"name", "bytes", "sha256", "md5"}, "tracks":
-- [the same]}. Text is made in the database's encoding and leaves it as UTF-8.

create function _safe_name(name text, max_chars int) returns text
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_safe_name';
comment on function _safe_name(text, int) is 'A name for a file or a folder that any system takes';

create function _plain_json(value jsonb) returns jsonb
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_plain_json';
comment on function _plain_json(jsonb) is 'JSON whose strings have no control characters, no marks of direction, and single spaces';

create function _itmsp_metadata(package jsonb) returns bytea
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_itmsp_metadata';
comment on function _itmsp_metadata(jsonb) is 'Apple''s metadata.xml of what _itmsp_package() made, in UTF-8';

-- ---- names

create function _names_by_role(artists jsonb, roles text[]) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select string_agg(a ->> 'name', ', ' order by n)
      from jsonb_array_elements(case jsonb_typeof(artists) when 'array' then artists else '[]' end) with ordinality e (a, n)
     where coalesce(a ->> 'role', 'main') = any (roles) and a ->> 'name' <> ''
$$;
comment on function _names_by_role(jsonb, text[]) is 'The names of artists that have one of these roles; NULL for none';

create function _titled(title text, version text) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select title || case when version <> '' then ' (' || version || ')' else '' end
$$;
comment on function _titled(text, text) is 'A title with its version in parentheses';

create function _package_title(release jsonb) returns text
language sql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
    select concat_ws(' - ', _names_by_role(release -> 'artists', '{main}'), _titled(release ->> 'title', release ->> 'version_title'))
$$;
comment on function _package_title(jsonb) is 'Artist and title of a release, as its package is called';

create function _package_folder(input jsonb) returns text
language sql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
    select case input ->> 'connector' when 'itmsp' then (input ->> 'vendor_id') || '.itmsp' else _safe_name(_package_title(input -> 'release'), 100) end
$$;
comment on function _package_folder(jsonb) is 'The folder in a package';

create function _package_file_name(input jsonb) returns text
language sql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
    select _package_folder(input) || '.zip'
$$;
comment on function _package_file_name(jsonb) is 'How the file of a package is called when it is fetched';

-- The files of a release in the order they are packed, without their suffixes;
-- track is NULL for the cover. A number makes each name the only one.
create function _package_sources(input jsonb) returns table (track int, url text, name text, sha256 text)
language sql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
    select x.n, x.url,
           _package_folder(input) || '/' || case
               when input ->> 'connector' = 'itmsp' then concat(input ->> 'vendor_id', '_' || lpad(x.disc, 2, '0') || '_' || lpad((x.n + 1)::text, 3, '0'))
               when x.n is null then 'cover'
               else lpad((x.n + 1)::text, greatest(2, length(x.total::text)), '0') || ' ' || _safe_name(x.title, 80) end,
           x.sha256
      from (select n::int - 1 as n, t ->> 'audio_url' as url, _titled(t ->> 'title', t ->> 'version_title') as title,
                   case when t ->> 'disc' ~ '^[0-9]{1,2}$' then t ->> 'disc' else '1' end as disc, jsonb_array_length(input #> '{release,tracks}') as total, t ->> 'sha256' as sha256, n as place
              from jsonb_array_elements(input #> '{release,tracks}') with ordinality e (t, n)
             union all
            select null, input #>> '{release,cover_url}', null, null, 0, null, 1000000) x
     where input ->> 'scope' = 'full' and x.url <> ''
     order by x.place
$$;
comment on function _package_sources(jsonb) is 'The files that a package is made of, their names in it without suffixes, and their digests where they were looked at';

-- ---- the sheet of the artist

-- A spreadsheet must not take a title for a formula, nor be led astray by its width
create function _csv_cell(value text) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select '"' || replace(case when ascii(ltrim(v)) in (61, 43, 45, 64, 65309, 65291, 65293, 65312) then '''' else '' end || v, '"', '""') || '"'
      from (select coalesce(regexp_replace(value, '[[:cntrl:]]', ' ', 'g'), '') as v) x
$$;
comment on function _csv_cell(text) is 'A cell of CSV after RFC 4180; what a spreadsheet would take for a formula gets an apostrophe';

create function _csv_line(cells text[]) returns text
language sql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
    select string_agg(_csv_cell(c), ',' order by n) || E'\r\n' from unnest(cells) with ordinality e (c, n)
$$;
comment on function _csv_line(text[]) is 'A line of CSV';

create function _yes(value boolean) returns text
language sql immutable parallel safe return case when value then 'Yes' when not value then 'No' else '' end;
comment on function _yes(boolean) is 'Yes, No or nothing';

create function _duration_text(seconds numeric) returns text
language sql immutable parallel safe
return (round(seconds)::int / 60)::text || ':' || lpad((round(seconds)::int % 60)::text, 2, '0');
comment on function _duration_text(numeric) is 'Minutes and seconds';

create function _languages_by_code() returns jsonb
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select '{"ar": "Arabic", "bn": "Bengali", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "en": "English", "es": "Spanish", "et": "Estonian",
        "fa": "Persian", "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian", "id": "Indonesian", "is": "Icelandic",
        "it": "Italian", "ja": "Japanese", "ko": "Korean", "la": "Latin", "lt": "Lithuanian", "lv": "Latvian", "nl": "Dutch", "no": "Norwegian", "pl": "Polish",
        "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sk": "Slovak", "sl": "Slovenian", "sr": "Serbian", "sv": "Swedish", "th": "Thai", "tr": "Turkish",
        "uk": "Ukrainian", "vi": "Vietnamese", "zh": "Chinese"}'::jsonb
$$;
comment on function _languages_by_code() is 'English names of languages that lists of forms have';

create function _language_text(code text) returns text
language sql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
    select case when code = 'zxx' then 'Instrumental (no words)'
                else coalesce(_languages_by_code() ->> split_part(code, '-', 1) || ' (' || code || ')', code) end
$$;
comment on function _language_text(text) is 'A language as people call it';

create function _ai_text(value text) returns text
language sql immutable parallel safe
return case value when 'all' then 'Yes, all of it' when 'partly' then 'Yes, in part' when 'none' then 'No' else 'Not stated' end;
comment on function _ai_text(text) is 'What is stated of AI as an answer';

-- What forms ask of a track, as text
create function _bundle_track(release jsonb, n int, facts jsonb, out title text, out version text, out artists text, out featured text, out others text,
                              out writers text, out isrc text, out explicit boolean, out instrumental boolean, out language text, out duration text,
                              out cover_song boolean, out samples boolean, out ai_lyrics text, out ai_music text, out ai_audio text, out file text) returns record
language sql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
    select t ->> 'title', t ->> 'version_title', _names_by_role(t -> 'artists', '{main}'), _names_by_role(t -> 'artists', '{featured}'),
           (select string_agg((a ->> 'name') || ' (' || (a ->> 'role') || ')', ', ' order by i)
              from jsonb_array_elements(case jsonb_typeof(t -> 'artists') when 'array' then t -> 'artists' else '[]' end) with ordinality e (a, i)
             where a ->> 'role' not in ('main', 'featured')),
           _names_by_role(t -> 'contributors', '{composer,lyricist,songwriter,writer,author}'),
           t ->> 'isrc', coalesce(t ->> 'explicit' = 'true', false), coalesce(t ->> 'language', release ->> 'language') = 'zxx',
           coalesce(t ->> 'language', release ->> 'language'),
           _duration_text(case when t ->> 'duration' ~ '^[0-9]{1,5}(\.[0-9]{1,6})?$' then (t ->> 'duration')::numeric end),
           coalesce(t ->> 'composition_type', 'original') <> 'original', t ->> 'commercial_samples' = 'true',
           coalesce(t #>> '{ai,lyrics}', release #>> '{ai,lyrics}'), coalesce(t #>> '{ai,composition}', release #>> '{ai,composition}'),
           coalesce(t #>> '{ai,audio}', release #>> '{ai,audio}'),
           split_part(facts -> 'tracks' -> n ->> 'name', '/', 2)
      from (select release -> 'tracks' -> n as t) x
$$;
comment on function _bundle_track(jsonb, int, jsonb) is 'A track as forms ask for it; the first is 0';

create function _bundle_csv(release jsonb, facts jsonb) returns text
language sql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
    select _csv_line(array['Track', 'File', 'Song title', 'Version', 'Artist', 'Featured artists', 'Other artists', 'Songwriters', 'ISRC', 'Explicit lyrics',
                     'Instrumental', 'Language', 'Duration', 'Cover song', 'Contains samples', 'AI: lyrics', 'AI: music', 'AI: audio',
                     'Release title', 'Release version', 'Release artist', 'Record label', 'UPC', 'Primary genre', 'Secondary genre', 'Release language',
                     'Release date', 'Original release date', 'Recording copyright (P)', 'Copyright (C)', 'Territories', 'Cover', 'AI: artwork', 'AI training'])
        || string_agg(_csv_line(array[(n + 1)::text, t.file, t.title, t.version, t.artists, t.featured, t.others, t.writers, t.isrc, _yes(t.explicit),
                     _yes(t.instrumental), t.language, t.duration, _yes(t.cover_song), _yes(coalesce(t.samples, false)), t.ai_lyrics, t.ai_music, t.ai_audio,
                     release ->> 'title', release ->> 'version_title', _names_by_role(release -> 'artists', '{main}'), release ->> 'label', release ->> 'upc',
                     release ->> 'genre', release ->> 'subgenre', release ->> 'language', release ->> 'release_date', release ->> 'original_release_date',
                     release ->> 'p_line', release ->> 'c_line',
                     (select string_agg(c, ' ') from jsonb_array_elements_text(release -> 'territories') c), split_part(facts #>> '{cover,name}', '/', 2),
                     release #>> '{ai,artwork}', release ->> 'training_use']), '' order by n)
      from generate_series(0, jsonb_array_length(release -> 'tracks') - 1) n, _bundle_track(release, n, facts) t
$$;
comment on function _bundle_csv(jsonb, jsonb) is 'metadata.csv: a row a track, a column each thing that forms ask';

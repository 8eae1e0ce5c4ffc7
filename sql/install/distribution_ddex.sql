-- distribution: releases as messages of DDEX tell them, and where they are put
--
-- The steps are src/distribution/ddex.c. Here a partner's profile, which is its
-- config, is judged; a release of distributions.metadata becomes what
-- ern_message() takes; and names of folders and files are chosen. What was
-- chosen is kept in distribution_work.state before anything is sent, so that
-- a step that is repeated finds the same names:
--
--   rev, kind, folder, dir, root   the revision, what is told of it, and where
--   message, manifest              names of files, the second of a batch only
--   message_id, created, release_id
--   described, files               are files told of, are they sent
--   f<n>, cover                    a file: in (the folder it lies in), url, name, size, md5, sha256
--   made, sending, message_in, sent, was_sent, sent_at   how far it came
--   spare                          what is to be removed: it was put a second time
--   acked, resend, resends         what was answered

create function _ddex_defaults() returns jsonb
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
begin
    return '{
        "preset": null, "ern_version": "4.3.2", "sender": null, "recipient": null, "on_behalf_of": null, "choreography": "release_by_release",
        "directory": "", "folder_priority": "normal", "resource_folder": "resources/", "avs_version_id": "9", "release_profile": null, "hash_algorithm": "MD5",
        "audio": null, "takedown": "no_deal", "resend_resources": false, "test": false, "validate": true,
        "deals": [{"commercial_models": ["SubscriptionModel"], "use_types": ["OnDemandStream", "NonInteractiveStream", "ConditionalDownload"]},
                  {"commercial_models": ["AdvertisementSupportedModel"], "use_types": ["OnDemandStream", "NonInteractiveStream"]}],
        "manifest_namespace": "http://ddex.net/xml/ern-c-sftp/17",
        "acknowledgements": "acknowledgements", "acknowledge_timeout": 168, "live_by": "acknowledgement", "live_after": 0
    }'::jsonb;
end
$$;
comment on function _ddex_defaults() is 'The config of a partner who takes messages of DDEX, where it says nothing else';

-- What is known of those who are shipped; a config overrules it
create function _ddex_preset(name text) returns jsonb
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select case name
        when 'spotify' then '{"ern_version": "4.3.2", "choreography": "batch", "audio": "flac", "recipient": {"dpid": "PADPIDA2011072101T", "name": "Spotify"}}'
        when 'youtube' then '{"ern_version": "3.8.2", "choreography": "batch", "recipient": {"dpid": "PADPIDA2013020802I", "name": "YouTube"}}'
        else '{}' end::jsonb
$$;
comment on function _ddex_preset(text) is 'What a config of that preset has where it says nothing else';

create function _check_ddex_member(name text, config jsonb, member text, allowed text[]) returns void
language plpgsql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    if coalesce(config ->> member, '') <> all (allowed) then
        raise exception '% of partner "%" cannot be %', member, name, coalesce(config -> member, 'null')
            using errcode = '22023', hint = format('It is %s.', (select string_agg('"' || a || '"', ' or ') from unnest(allowed) a));
    end if;
end
$$;
comment on function _check_ddex_member(text, jsonb, text, text[]) is 'Refuses a member of a config that is none of these words';

-- config is complete
create function _check_ddex_config(name text, config jsonb) returns void
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    item record;
    said text;
begin
    if config ->> 'preset' is not null then
        perform _check_ddex_member(name, config, 'preset', '{spotify,youtube}');
    end if;
    perform _check_ddex_member(name, config, 'ern_version', '{4.3.2,3.8.2}');
    perform _check_ddex_member(name, config, 'choreography', '{release_by_release,batch}');
    perform _check_ddex_member(name, config, 'folder_priority', '{priority,normal,low}');
    perform _check_ddex_member(name, config, 'hash_algorithm', '{MD5,SHA-256,none}');
    perform _check_ddex_member(name, config, 'live_by', '{acknowledgement,release_date,verifier}');
    perform _check_ddex_member(name, config, 'takedown', case config ->> 'ern_version' when '3.8.2' then '{no_deal,end_date,take_down}'::text[] else '{no_deal,end_date}' end);
    if config ->> 'audio' is not null then
        perform _check_ddex_member(name, config, 'audio', '{flac}');
    end if;
    for item in select m.name, config -> m.name as value, m.needed from (values ('sender', true), ('recipient', true), ('on_behalf_of', false)) m (name, needed) loop
        if item.needed and item.value = 'null' or item.value <> 'null' and (jsonb_typeof(item.value) <> 'object' or coalesce(item.value ->> 'dpid', '') !~ '^PADPIDA[0-9]{10}[0-9A-Z]$') then
            raise exception '% of partner "%" cannot be %', item.name, name, item.value
                using errcode = '22023', hint = 'Write {"dpid": "PADPIDA2012041004F", "name": "Example Label"}: the DDEX Party Id and the name.';
        end if;
    end loop;
    foreach item.name in array '{resend_resources,test,validate}'::text[] loop
        if jsonb_typeof(config -> item.name) <> 'boolean' then
            raise exception '% of partner "%" must be true or false, not %', item.name, name, config -> item.name using errcode = '22023';
        end if;
    end loop;
    for item in select m.name, config -> m.name as value, m.high, m.nullable from (values ('acknowledge_timeout', 8760, true), ('live_after', 365, false)) m (name, high, nullable) loop
        if item.value = 'null' and not item.nullable or item.value <> 'null' and (jsonb_typeof(item.value) <> 'number' or item.value::numeric not between 0 and item.high) then
            raise exception '% of partner "%" cannot be %', item.name, name, item.value using errcode = '22023', hint = format('It is a number from 0 to %s.', item.high);
        end if;
    end loop;
    for item in select m.name, config -> m.name as value from (values ('directory'), ('resource_folder'), ('acknowledgements')) m (name) loop
        -- a path below the server's, of plain names
        if item.value <> 'null' and (jsonb_typeof(item.value) <> 'string' or item.value #>> '{}' !~ '^(([A-Za-z0-9_-][A-Za-z0-9._ -]*)(/|$))*$')
            or item.value = 'null' and item.name <> 'acknowledgements' or item.name = 'resource_folder' and item.value #>> '{}' !~ '^[^/]+/$' then
            raise exception '% of partner "%" cannot be %', item.name, name, item.value
                using errcode = '22023', hint = case item.name when 'resource_folder' then 'It is the name of a folder with a slash behind it, such as "resources/".'
                                                    else 'It is a folder below the path of the base URL, such as "incoming/acknowledgements".' end;
        end if;
    end loop;
    if config ->> 'live_by' = 'acknowledgement' and config ->> 'acknowledgements' is null then
        raise exception 'partner "%" tells by acknowledgements what is live, and has no folder of them', name
            using errcode = '22023', hint = 'Give acknowledgements, or live_by of "release_date" or "verifier".';
    end if;
    -- the rest is judged by what a message needs, and by the schema where there is one
    begin
        perform ern_message('{"upc": "0614141123452", "title": "Sample", "artists": [{"name": "Sample"}], "label": "Sample", "genre": "Pop", "release_date": "2026-01-01",
                              "p_line": {"year": 2026, "text": "(P) 2026 Sample"}, "tracks": [{"isrc": "QZABC2600001", "title": "Sample", "duration": 60}]}'::jsonb
                            || jsonb_build_object('deals', config -> 'deals'),
                            _ern_profile(config, '{"message_id": "SAMPLE", "created": "2026-01-01T00:00:00Z", "kind": "insert", "described": 0}'));
    exception
        when invalid_parameter_value then
            get stacked diagnostics said = pg_exception_detail;
            raise exception 'the config of partner "%" makes no message: %', name, replace(said, E'\n', '; ')
                using errcode = '22023', hint = 'Its members are told in docs/distribution.md, and the values of commercial models and use types by DDEX.';
        when object_not_in_prerequisite_state or undefined_file or data_exception then
            null;               -- without schemas: told when something is to be sent
    end;
end
$$;
comment on function _check_ddex_config(text, jsonb) is 'Refuses a profile that could not work, naming the member';

-- ---- a release as ern_message() takes it

-- What release members and partners call a role, as DDEX calls it; words of DDEX stay
create function _ern_role(role text) returns text
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select coalesce('{"": "MainArtist", "main": "MainArtist", "primary": "MainArtist", "main_artist": "MainArtist", "featured": "FeaturedArtist", "featuring": "FeaturedArtist",
                      "feat": "FeaturedArtist", "songwriter": "ComposerLyricist", "writer": "ComposerLyricist", "producer": "Producer", "mastering": "MasteringEngineer",
                      "engineer": "Engineer", "mixing": "Mixer", "vocals": "Vocalist", "singer": "Vocalist", "publisher": "MusicPublisher", "dj": "DJ"}'::jsonb
                    ->> lower(replace(coalesce(role, ''), ' ', '_')),
                    case when role ~ '^[A-Z][A-Za-z/]+$' then role else replace(initcap(replace(role, '_', ' ')), ' ', '') end)
$$;
comment on function _ern_role(text) is 'The role of an artist or contributor in DDEX''s words';

create function _ern_people(artists jsonb) returns table (n bigint, name text, role text, ai text, given jsonb)
language sql immutable parallel safe set search_path = musicverse, pg_catalog, pg_temp as $$
    select e.n, e.a ->> 'name', _ern_role(e.a ->> 'role'), initcap(e.a ->> 'ai'), e.a
      from jsonb_array_elements(case jsonb_typeof(artists) when 'array' then artists else '[]' end) with ordinality e (a, n)
     where jsonb_typeof(e.a) = 'object'
$$;
comment on function _ern_people(jsonb) is 'Those in a list of artists, with roles of DDEX';

-- Where nobody is a main artist, all but the featured ones are
create function _ern_artists(artists jsonb) returns jsonb
language sql immutable parallel safe set search_path = musicverse, pg_catalog, pg_temp as $$
    with p as (select * from _ern_people(artists)), m as (select count(*) filter (where role = 'MainArtist') as mains from p)
    select jsonb_agg(jsonb_strip_nulls(jsonb_build_object('name', p.name, 'sort_name', p.given -> 'sort_name', 'isni', p.given -> 'isni', 'ipi', p.given -> 'ipi',
                         'role', case p.role when 'FeaturedArtist' then p.role else 'MainArtist' end)) order by p.n)
      from p, m where p.role in ('MainArtist', 'FeaturedArtist') or m.mains = 0
$$;
comment on function _ern_artists(jsonb) is 'Who is displayed, of a list of artists';

create function _ern_contributors(people jsonb) returns jsonb
language sql immutable parallel safe set search_path = musicverse, pg_catalog, pg_temp as $$
    select coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('name', p.name, 'sort_name', p.given -> 'sort_name', 'isni', p.given -> 'isni', 'ipi', p.given -> 'ipi',
                                  'role', p.role, 'ai', p.ai)) order by p.n), '[]')
      from (select distinct on (x.name, x.role) x.* from _ern_people(people) x order by x.name, x.role, x.n) p
     where p.role not in ('MainArtist', 'FeaturedArtist')
$$;
comment on function _ern_contributors(jsonb) is 'Who contributed, of a list of artists and contributors';

-- None, Partly or All: what is stated of each part comes to. Where a name is
-- credited for a contribution it is not all AI's. Lyrics of what has no words don't count.
create function _ern_ai(ai jsonb, instrumental boolean, is_credited boolean) returns text
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select case when count(*) = 0 then null
                when bool_and(e.value = 'none') then 'None'
                when bool_and(e.value = 'all') and not is_credited then 'All'
                else 'Partly' end
      from jsonb_each_text(case jsonb_typeof(ai) when 'object' then ai else '{}' end) e
     where e.key in ('audio', 'composition') or e.key = 'lyrics' and not instrumental
$$;
comment on function _ern_ai(jsonb, boolean, boolean) is 'What a recording contains of AI, in DDEX''s words; NULL when nothing is stated';

-- AI itself, as a contributor to what it made
create function _ern_generative(ai jsonb, instrumental boolean) returns jsonb
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select coalesce(jsonb_agg(jsonb_build_object('generative', true, 'role', r.role, 'ai', initcap(ai ->> r.part)) order by r.n), '[]')
      from (values (1, 'audio', 'Performer'), (2, 'composition', 'Composer'), (3, 'lyrics', 'Lyricist')) r (n, part, role)
     where ai ->> r.part in ('all', 'partly') and (r.part <> 'lyrics' or not instrumental)
$$;
comment on function _ern_generative(jsonb, boolean) is 'What AI contributed to a recording, as contributors';

-- "2026 Mira Records"
create function _ern_line(line text, mark text) returns jsonb
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select case when line ~ '^[0-9]{4} ' then jsonb_build_object('year', left(line, 4)::int, 'text', format('(%s) %s', mark, line))
                when line is not null then jsonb_build_object('text', line) end
$$;
comment on function _ern_line(text, text) is 'A P or C line with its year';

-- Without country and script; what DDEX has no code for is not told
create function _ern_language(code text, version text) returns text
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select case when l in ('zxx', 'und', 'mul', 'sgn') then null
                when l in ('yue', 'cmn') then 'zh'
                when version = '3.8.2' and length(l) > 2 then null
                else l end
      from (select split_part(code, '-', 1)) x (l)
$$;
comment on function _ern_language(text, text) is 'The code of a language of performance that a version of ERN knows';

create function _ern_release_id(release jsonb) returns text
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select coalesce(nullif(release ->> 'upc', ''), replace(release ->> 'grid', '-', ''))
$$;
comment on function _ern_release_id(jsonb) is 'What a release is called in names of files: its UPC, or its GRid';

create function _url_extension(url text) returns text
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select lower(substring(url from '^[^?#]*\.([A-Za-z0-9]{1,5})(?:[?#]|$)'))
$$;
comment on function _url_extension(text) is 'The letters behind the last dot of the path of a URL; NULL without';

-- What a file is called by: as it was found to be, else as it is said to be
create function _ern_extension(formats text[], known text[]) returns text
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select coalesce((select f.e from (select case lower(x) when 'rf64' then 'wav' when 'jpeg' then 'jpg' else lower(x) end, n from unnest(formats) with ordinality u (x, n)) f (e, n)
                      where f.e = any (known) order by f.n limit 1), known[1])
$$;
comment on function _ern_extension(text[], text[]) is 'The first of these formats that is known, else the first known one';

-- A file of a release: its source, its name, and its digest where that is known; n of the tracks or, behind them, the cover
create function _ern_file(release jsonb, n int) returns jsonb
language sql stable set search_path = musicverse, pg_catalog, pg_temp as $$
    select case when n < jsonb_array_length(release -> 'tracks') then
        jsonb_build_object('url', t -> 'audio_url', 'source_sha256', t #> '{file,sha256}', 'name', ern_resource_name(_ern_release_id(release),
            _ern_extension(array[t #>> '{file,format}', t #>> '{audio,format}', _url_extension(t ->> 'audio_url')], '{wav,flac,aif,aiff,mp3,m4a,ogg}'),
            (select count(*)::int from jsonb_array_elements(release -> 'tracks') with ordinality o (t, n)
              where o.n <= _ern_file.n + 1 and coalesce((o.t ->> 'disc')::int, 1) = coalesce((t ->> 'disc')::int, 1)),
            coalesce((t ->> 'disc')::int, 1)))
    else
        jsonb_build_object('url', release -> 'cover_url', 'source_sha256', case when jsonb_typeof(release -> 'cover') = 'object' then release #> '{cover,sha256}' end,
            'name', ern_resource_name(_ern_release_id(release),
            _ern_extension(array[split_part(release #>> '{cover,media_type}', '/', 2), release #>> '{cover,format}', _url_extension(release ->> 'cover_url')], '{jpg,png}')))
    end
      from (select release -> 'tracks' -> n as t) x
$$;
comment on function _ern_file(jsonb, int) is 'The source of a file of a release and its name at a partner';

create function _ern_hashes(file jsonb) returns jsonb
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select jsonb_build_object('MD5', file -> 'md5', 'SHA-256', file -> 'sha256')
$$;
comment on function _ern_hashes(jsonb) is 'The digests of a file that was sent, by their names at DDEX';

create function _ern_track(release jsonb, config jsonb, files jsonb, n int) returns jsonb
language sql stable set search_path = musicverse, pg_catalog, pg_temp as $$
    with given as (select t, coalesce(t -> 'artists', release -> 'artists') as artists, coalesce(t -> 'ai', release -> 'ai') as ai,
                          coalesce(t ->> 'language', release ->> 'language') as language,
                          coalesce((t -> 'instrumental')::boolean, coalesce(t ->> 'language', release ->> 'language') = 'zxx', false) as instrumental
                     from (select release -> 'tracks' -> n as t) x),
         people as (select _ern_contributors(coalesce(artists, '[]') || case jsonb_typeof(t -> 'contributors') when 'array' then t -> 'contributors' else '[]' end) as named from given),
         made as (select _ern_ai(ai, instrumental, named <> '[]') as contains from given, people)
    select jsonb_strip_nulls(jsonb_build_object(
        'isrc', t -> 'isrc', 'iswc', t -> 'iswc', 'title', t -> 'title', 'version', t -> 'version_title',
        'duration', coalesce(t -> 'duration', t #> '{audio,duration}'), 'disc', t -> 'disc',
        'artists', _ern_artists(artists), 'artist_name', t -> 'artist_name',
        'contributors', named || case when contains <> 'None' then _ern_generative(ai, instrumental) else '[]' end, 'contains_ai', contains,
        'genre', t -> 'genre', 'subgenre', t -> 'subgenre', 'explicit', t -> 'explicit', 'p_line', _ern_line(t ->> 'p_line', 'P'),
        'language', _ern_language(language, config ->> 'ern_version'), 'instrumental', case when instrumental then true end,
        'first_published', t -> 'original_release_date',
        'file', files -> ('f' || n) -> 'name', 'size', files -> ('f' || n) -> 'size', 'hashes', _ern_hashes(files -> ('f' || n)),
        'channels', coalesce(t #> '{file,channels}', t #> '{audio,channels}'),
        'sample_rate', coalesce(t #> '{file,sample_rate}', t #> '{audio,sample_rate}'), 'bits', coalesce(t #> '{file,bit_depth}', t #> '{audio,bit_depth}')))
      from given, people, made
$$;
comment on function _ern_track(jsonb, jsonb, jsonb, int) is 'A track of a release as ern_message() takes it; the first is 0';

-- From the release date on, where the release's time zone is: nothing is to be heard before
create function _ern_deals(release jsonb, config jsonb) returns jsonb
language sql stable set search_path = musicverse, pg_catalog, pg_temp as $$
    select jsonb_agg(d.deal || jsonb_build_object('start', to_char(z.at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
                     || case when release ->> 'training_use' = 'allowed' and config ->> 'ern_version' = '4.3.2'
                             then jsonb_build_object('use_types', coalesce(d.deal -> 'use_types', '[]') || '["UseForTrainingGenerativeAI"]') else '{}' end order by d.n)
      from jsonb_array_elements(config -> 'deals') with ordinality d (deal, n),
           (select _release_moment((release ->> 'release_date')::date, coalesce(release ->> 'time_zone', 'UTC')) as at) z
$$;
comment on function _ern_deals(jsonb, jsonb) is 'The deals of a release with a partner';

-- files are those of the state, by which hashes and sizes are known
create function _ern_release(release jsonb, config jsonb, files jsonb) returns jsonb
language sql stable set search_path = musicverse, pg_catalog, pg_temp as $$
    select jsonb_strip_nulls(jsonb_build_object(
        'upc', nullif(release ->> 'upc', ''), 'grid', replace(release ->> 'grid', '-', ''), 'catalog_number', release -> 'catalog_number',
        'title', release -> 'title', 'version', release -> 'version_title', 'type', release -> 'release_type',
        'language', case when _ern_language(release ->> 'language', '4.3.2') is not null then release ->> 'language' end,
        'artists', _ern_artists(release -> 'artists'), 'artist_name', release -> 'artist_name',
        'label', release -> 'label', 'genre', release -> 'genre', 'subgenre', release -> 'subgenre',
        'p_line', _ern_line(release ->> 'p_line', 'P'), 'c_line', _ern_line(release ->> 'c_line', 'C'),
        'explicit', release -> 'explicit', 'release_date', release -> 'release_date', 'original_release_date', release -> 'original_release_date',
        'territories', case when not release ? 'excluded_territories' then release -> 'territories' end, 'excluded_territories', release -> 'excluded_territories',
        'deals', _ern_deals(release, config),
        'cover', jsonb_build_object('file', files #> '{cover,name}', 'size', files #> '{cover,size}', 'hashes', _ern_hashes(files -> 'cover'),
                     'width', release #> '{cover,width}', 'height', release #> '{cover,height}', 'contains_ai', initcap(release #>> '{ai,artwork}')),
        'tracks', (select jsonb_agg(_ern_track(release, config, files, i) order by i)
                     from generate_series(0, jsonb_array_length(release -> 'tracks') - 1) i)))
$$;
comment on function _ern_release(jsonb, jsonb, jsonb) is 'A release of distributions.metadata as ern_message() takes it';

create function _ern_profile(config jsonb, state jsonb) returns jsonb
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select jsonb_strip_nulls(jsonb_build_object(
        'version', config -> 'ern_version', 'sender', config -> 'sender', 'recipient', config -> 'recipient', 'on_behalf_of', config -> 'on_behalf_of',
        'message_id', state -> 'message_id', 'thread_id', state -> 'thread_id', 'created', state -> 'created', 'kind', state -> 'kind',
        'takedown', config -> 'takedown', 'hash_algorithm', config -> 'hash_algorithm', 'resources', state -> 'described' = '1',
        'resource_folder', config -> 'resource_folder', 'avs_version', config -> 'avs_version_id', 'release_profile', config -> 'release_profile',
        'test', config -> 'test', 'validate', config -> 'validate'))
$$;
comment on function _ern_profile(jsonb, jsonb) is 'The profile of a partner as ern_message() takes it, for the message that the state tells of';

-- Files as if they were sent, so that a message can be judged before anything is
create function _ern_files_assumed(release jsonb) returns jsonb
language sql stable set search_path = musicverse, pg_catalog, pg_temp as $$
    select jsonb_object_agg(case when i < jsonb_array_length(release -> 'tracks') then 'f' || i else 'cover' end,
                            _ern_file(release, i) || jsonb_build_object('size', 1, 'md5', repeat('0', 32), 'sha256', repeat('0', 64)))
      from generate_series(0, jsonb_array_length(release -> 'tracks')) i
$$;
comment on function _ern_files_assumed(jsonb) is 'The files of a release with digests that are none yet';

-- {"message": ...}, or {"problem": ..., "ours": ...}: ours when nothing that the release says would help
create function _ddex_message(release jsonb, config jsonb, state jsonb, files jsonb) returns jsonb
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    message text;
    said text;
begin
    message := ern_message(_ern_release(release, config, files), _ern_profile(config, state));
    return jsonb_build_object('message', message, 'md5', md5(convert_to(message, 'UTF8')), 'sha256', encode(sha256(convert_to(message, 'UTF8')), 'hex'));
exception
    when invalid_parameter_value then
        get stacked diagnostics said = pg_exception_detail;
        return jsonb_build_object('problem', concat_ws(': ', sqlerrm, replace(said, E'\n', '; ')), 'ours', said ~ '(^|\n)profile\.');
    when object_not_in_prerequisite_state or undefined_file or data_exception then
        return jsonb_build_object('problem', sqlerrm, 'ours', true);
end
$$;
comment on function _ddex_message(jsonb, jsonb, jsonb, jsonb) is 'The message that the state tells of, or why there is none';

create function _ddex_manifest(config jsonb, state jsonb) returns jsonb
language sql stable set search_path = musicverse, pg_catalog, pg_temp as $$
    select jsonb_build_array(batch_complete(
        jsonb_strip_nulls(jsonb_build_object('sender', config -> 'sender', 'recipient', config -> 'recipient', 'on_behalf_of', config -> 'on_behalf_of',
            'message_id', (state ->> 'message_id') || '_complete', 'created', state -> 'created', 'test', config -> 'test',
            'hash_algorithm', case h.algorithm when 'SHA-256' then h.algorithm else 'MD5' end, 'choreography', config -> 'manifest_namespace')),
        jsonb_build_array(jsonb_build_object('message_id', state -> 'message_id', state ->> 'id_kind', state -> 'release_id', 'kind', state -> 'kind',
            'hash', state -> case h.algorithm when 'SHA-256' then 'message_sha256' else 'message_md5' end,
            'url', format('./%s/%s', state ->> 'release_id', state ->> 'message')))))
      from (select config ->> 'hash_algorithm' as algorithm) h
$$;
comment on function _ddex_manifest(jsonb, jsonb) is 'The manifest of a batch, in an array';

-- ---- names

create index distribution_work_folder_idx on distribution_work (partner, (state ->> 'folder')) where state ? 'folder';
create index distribution_work_message_idx on distribution_work (partner, (state ->> 'message_id')) where state ? 'message_id';

-- Are files to be sent with a new message of the release?
create function _ddex_sends_files(kind text, release jsonb, config jsonb, state jsonb) returns boolean
language sql stable set search_path = musicverse, pg_catalog, pg_temp as $$
    select case when kind = 'takedown' or state ->> 'resend' = 'xml' then false
                when kind = 'insert' or state ->> 'resend' = 'all' or (config -> 'resend_resources')::boolean then true
                else exists (select from generate_series(0, jsonb_array_length(release -> 'tracks')) i,
                                         _ern_file(release, i) f
                              where state -> case when i < jsonb_array_length(release -> 'tracks') then 'f' || i else 'cover' end ->> 'url' is distinct from f ->> 'url') end
$$;
comment on function _ddex_sends_files(text, jsonb, jsonb, jsonb) is 'Does a delivery have files? An update only when one of them has changed';

-- What is to be known of a delivery before it begins: a folder of its own, the
-- ids of its message. A batch's folder is the moment: no other work may have it.
create function _ddex_name(work_id uuid, release jsonb, config jsonb, goal text, has_delivered boolean) returns jsonb
language plpgsql volatile set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    w distribution_work;
    at timestamptz := date_trunc('milliseconds', _now());
    is_batch boolean := config ->> 'choreography' = 'batch';
    id text := _ern_release_id(release);
    kind text;
    base text := '/' || coalesce(nullif(rtrim(config ->> 'directory', '/'), '') || '/', '');
    folder text;
    files boolean;
    made jsonb;
    judged jsonb;
begin
    if id is null then
        return '{"problem": "the release has neither a UPC nor a GRid", "ours": false}';
    end if;
    select k.* into w from distribution_work k where k.id = work_id;
    kind := case when goal = 'takedown' then goal
                 -- what was refused is told again as what it was
                 when w.state ? 'resend' and w.state ->> 'rev' = w.revision::text then w.state ->> 'kind'
                 when has_delivered then 'update' else 'insert' end;
    loop
        folder := case when is_batch then ern_batch_id(at) else ern_folder(id, at, config ->> 'folder_priority') end;
        exit when not exists (select from distribution_work k where k.partner = w.partner and k.state ->> 'folder' = folder);
        at := at + interval '1 millisecond';
    end loop;
    files := _ddex_sends_files(kind, release, config, w.state);
    made := jsonb_build_object(
        'rev', w.revision, 'kind', kind, 'folder', folder, 'root', base || folder, 'dir', base || folder || case when is_batch then '/' || id else '' end,
        'message', ern_path(id), 'manifest', case when is_batch then split_part(ern_batch_complete_path(folder), '/', 2) end,
        'message_id', replace(work_id::text, '-', '') || '_' || ern_batch_id(at), 'thread_id', replace(work_id::text, '-', ''),
        'created', to_char(at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'release_id', id,
        'id_kind', case when coalesce(release ->> 'upc', '') = '' then 'grid' else 'upc' end,
        -- what is told of files that are there already, as it was when they were sent
        'described', (files or kind = 'insert')::int, 'files', files::int,
        'made', null, 'ready', null, 'sending', null, 'message_in', null, 'sent', null, 'sent_at', null, 'acked', null, 'resend', null,
        'resends', case when w.state ? 'resend' then coalesce((w.state ->> 'resends')::int, 0) + 1 end);
    judged := _ddex_message(release, config, made, _ern_files_assumed(release));
    return case when judged ? 'problem' then judged else jsonb_build_object('state', made) end;
end
$$;
comment on function _ddex_name(uuid, jsonb, jsonb, text, boolean) is
    'What the state is to know of a delivery before it begins, or why there can be none';

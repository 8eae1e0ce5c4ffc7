-- What packages are made of: names, cells, Apple's metadata, the sheet; what is asked, fetched and confirmed of them without a worker.
set client_min_messages = warning;
create extension if not exists musicverse;
set search_path = musicverse, public;
\set VERBOSITY terse
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
set timezone = 'UTC';

-- names that any system takes
select quote_literal(left(n, 30)), _safe_name(n, 30) from unnest(array['Battle at Dawn', '', ' ', '.', '..', '...', '../../etc/passwd', '/etc/passwd', 'C:\x', 'a/b', 'CON', 'con', 'Con.txt', 'CON .txt', 'CONtact',
    'NUL', 'AUX.', 'COM1', 'com0', 'COM10', 'LPT9.x', U&'COM\00B9', 'name.', 'name . .', '.hidden', '-rf', E'tab\there', E'line\r\nfeed', E'bell\007', 'a<b>c:d"e|f?g*h',
    U&'\202Egpj.exe', U&'a\2066b\2069', U&'\FEFFx\200B', U&'e\0301', U&'\+01F3B5 song', repeat(U&'\0416', 500), repeat('a', 29) || ' b', repeat('a', 29) || '.b']) n;

-- texts in JSON lose what turns or hides them; members keep their names
select _plain_json(jsonb_build_object(E'a\001', jsonb_build_array(U&'x\202Ey', E'  p \t q\n'), 'n', 1.50, 'o', '{"s": null, "t": true}'::jsonb));
select _plain_json('[]'), _plain_json('{}'), _plain_json('" x "'), _plain_json('null'), _plain_json('7');

-- cells that spreadsheets would take for formulas
select _csv_line(array['=1+1', '+1', '-1', '@x', ' =x', U&'\FF1D1', E'\t=1', E'\r=1', 'plain', '1-1', 'a,b', 'say "x"', null, '']);

-- a release, and a hostile one
create temp table releases (n int, release jsonb);
insert into releases values (1, '{"title": "Battle at Dawn", "version_title": "Deluxe", "artists": [{"name": "Mira", "role": "main"}, {"name": "Ben", "role": "featured"}], "label": "Mira Records",
    "genre": "Orchestral", "subgenre": "Trap", "language": "zxx", "p_line": "2026 Mira Records", "c_line": "2026 Mira Records", "upc": "0614141123452", "explicit": false, "release_date": "2026-03-27",
    "territories": ["DE", "AT"], "training_use": "denied", "ai": {"audio": "all", "composition": "partly", "artwork": "all"}, "cover_url": "https://a.example.com/c",
    "tracks": [{"title": "Battle at Dawn", "isrc": "QZABC2600001", "audio_url": "https://a.example.com/1", "duration": 181, "artists": [{"name": "Mira", "role": "main"}, {"name": "Ben", "role": "featured"}],
                "contributors": [{"name": "Ada Example", "role": "composer"}], "explicit": true, "language": "zxx", "disc": 1, "position": 1},
               {"title": "Dusk", "audio_url": "https://a.example.com/2", "duration": 61.7, "artists": [{"name": "Mira"}, {"name": "Ada", "role": "producer"}], "language": "en", "disc": 2, "position": 1, "composition_type": "cover"}]}'),
    (2, jsonb_build_object('title', '</title><script>alert(1)</script>', 'artists', jsonb_build_array(jsonb_build_object('name', '=cmd|'' /C calc''!A0')), 'label', ']]>', 'genre', '"&<>',
        'language', 'ar', 'cover_url', 'https://a.example.com/c', 'territories', '["Worldwide"]'::jsonb, 'tracks', jsonb_build_array(
            jsonb_build_object('title', '..', 'audio_url', 'https://a.example.com/1'), jsonb_build_object('title', U&'\202Eevil', 'audio_url', 'https://a.example.com/2'),
            jsonb_build_object('title', E'a\001b\013c', 'audio_url', 'https://a.example.com/3'), jsonb_build_object('title', '<b onclick=''x''>&amp;', 'audio_url', 'https://a.example.com/4'))));
create function pg_temp.input(n int, connector text, more jsonb default '{}') returns jsonb language sql as $$
    select jsonb_build_object('connector', connector, 'scope', 'full', 'release', r.release, 'form', _bundle_form('distrokid', 'DistroKid', '{}'), 'vendor_id', '0614141123452',
        'config', '{"provider": "MiraRecords", "artist_ids": {"Mira": "123"}}'::jsonb) || more from releases r where r.n = input.n $$;
create function pg_temp.facts(input jsonb) returns jsonb language sql as $$
    select jsonb_strip_nulls(jsonb_build_object('cover', jsonb_agg(f) filter (where track is null) -> 0, 'tracks', jsonb_agg(f order by track) filter (where track is not null)))
      from (select s.track, jsonb_build_object('name', s.name || case when s.track is null then '.jpg' else '.flac' end, 'bytes', 100 + s.track, 'sha256', repeat('c', 64), 'md5', repeat('d', 32)) as f
              from _package_sources(input) s) x $$;
create function pg_temp.content(input jsonb, file text) returns text language sql as $$
    select convert_from(content, 'UTF8') from _package_contents(input, pg_temp.facts(input)) where name like '%/' || file $$;

select track, url, name from _package_sources(pg_temp.input(1, 'bundle'));
select track, name from _package_sources(pg_temp.input(2, 'bundle'));
select track, name from _package_sources(pg_temp.input(1, 'itmsp'));
select count(*) from _package_sources(pg_temp.input(1, 'itmsp', '{"scope": "metadata"}'));
select _package_file_name(pg_temp.input(1, 'bundle')), _package_file_name(pg_temp.input(1, 'itmsp'));
select ltrim(pg_temp.content(pg_temp.input(1, 'bundle'), 'metadata.csv'), U&'\FEFF');
select split_part(pg_temp.content(pg_temp.input(2, 'bundle'), 'metadata.csv'), E'\r\n', 2);
select regexp_replace(pg_temp.content(pg_temp.input(1, 'bundle'), 'checksums.sha256'), '[0-9a-f]{64}', 'DIGEST', 'g');

-- Apple's metadata: the whole, the change without files, the end
select pg_temp.content(pg_temp.input(1, 'itmsp'), 'metadata.xml');
select xpath_exists('//*[local-name() = "audio_file" or local-name() = "artwork_files"]', pg_temp.content(pg_temp.input(1, 'itmsp', '{"scope": "metadata"}'), 'metadata.xml')::xml);
select pg_temp.content(pg_temp.input(1, 'itmsp', '{"scope": "takedown"}'), 'metadata.xml');
select unnest(xpath('//*[local-name() = "title" or local-name() = "artist_name" or local-name() = "label_name"]/text()', pg_temp.content(pg_temp.input(2, 'itmsp'), 'metadata.xml')::xml))::text;
select count(*) as without_a_code from unnest(_release_genres()) g where not _itmsp_genres() ? g;
select _itmsp_genre('{"genre": "Pop", "subgenre": "Polka"}', '{"genres": {"Polka": "POLKA-00"}}'), _itmsp_genre('{"genre": "Rap", "subgenre": "Trap"}', '{}');

-- the sheet: what comes from a release is text and nothing else
select sheet ~ '<(script|b |img [^>]*onerror)' as has_tags, sheet ~ U&'[\202A-\202E]' as turns, sheet ~ 'src="https?:' as asks, (select count(*) from regexp_matches(sheet, '<section', 'g')) as tracks,
       xmlparse(document regexp_replace(regexp_replace(sheet, '<!doctype html>|<style>.*</style>', '', 'g'), '<(meta|img)([^>]*)>', '<\1\2/>', 'g')) is not null as is_well_formed
  from pg_temp.content(pg_temp.input(2, 'bundle'), 'sheet.html') sheet;
select question, answer, hint from _bundle_questions(_bundle_form('distrokid', 'DistroKid', '{}'), (select release from releases where n = 1), pg_temp.facts(pg_temp.input(1, 'bundle')));
select question, answer, hint from _bundle_track_questions(_bundle_form('tunecore', 'TuneCore', '{}'), (select release from releases where n = 1), 1, pg_temp.facts(pg_temp.input(1, 'bundle')));
select _bundle_form('mine', null, '{"upload_url": "https://mine.example.com/", "note": "Mind the gap"}');

-- partners
create function pg_temp.refusal(query text) returns text language plpgsql as $$
declare
    hint text;
begin
    execute query;
    return 'no refusal';
exception when others then
    get stacked diagnostics hint = pg_exception_hint;
    return regexp_replace(format('%s %s%s', sqlstate, left(sqlerrm, 300), coalesce(' | ' || nullif(left(hint, 200), ''), '')), '[0-9a-f]{8}-[0-9a-f-]{27}', 'ID', 'g');
end
$$;
begin;
select pg_temp.refusal($$select configure_partner('apple_direct', null, '{}')$$), pg_temp.refusal($$select configure_partner('apple_direct', null, '{}', '{"provider": "Mira Records"}')$$);
select pg_temp.refusal($$select configure_partner('apple_direct', null, '{}', '{"provider": "x", "artist_ids": 1}')$$), pg_temp.refusal($$select configure_partner('distrokid', null, '{}', '{"upload_url": "javascript:1"}')$$);
select configure_partner('distrokid', null, '{}'), configure_partner('apple_direct', null, '{}', '{"provider": "MiraRecords"}'), configure_partner('labelgrid', 'https://labelgrid.example.com', '{"token": "t"}');

-- what is asked, and what is to be had of it
\set user '00000000-0000-4000-8000-0000000000e1'
\set other '00000000-0000-4000-8000-0000000000e2'
insert into tracks (id, user_id, title, style, duration, audio_url, cover_url, isrc) values
    ('00000000-0000-4000-9000-0000000000e1', :'user', 'Rain', 'ambient', 60, 'https://a.example.com/1.flac', 'https://a.example.com/1.png', 'QZABC2600011');
\set whole '{"artist": "Mira", "label": "Mira Records", "language": "en", "p_line": "2026 Mira Records", "c_line": "2026 Mira Records"}'
select create_distribution(:'user', '{00000000-0000-4000-9000-0000000000e1}', '{distrokid,apple_music,spotify}', null, :'whole') as d \gset
select submit_distribution(:'d');
select id as w from distribution_work where distribution_id = :'d' and partner = 'distrokid' \gset
select * from distribution_package(:'d', 'distrokid');
select pg_temp.refusal(format('select distribution_package(%L, %L)', :'d', 'tidal')), pg_temp.refusal(format('select distribution_package(%L, %L)', :'w', 'tidal'));
select pg_temp.refusal(format('select confirm_distribution(%L, %L)', :'d', 'distrokid')), pg_temp.refusal(format('select confirm_distribution(%L, %L)', :'d', 'spotify'));
select pg_temp.refusal(format('select distribution_package_read(%L, %L)', :'d', 'distrokid'));
select _ask_package(:'w', d.metadata || '{"release_date": "2026-01-01"}', '{}', 'full') as asked from distributions d where d.id = :'d' \gset
select jsonb_object_keys(:'asked');
-- facts that are found meanwhile make no other package, a change does
select _ask_package(:'w', jsonb_set(d.metadata, '{tracks,0,file}', '{"bytes": 1}') || '{"release_date": "2026-01-01"}', '{}', 'full') = :'asked' as same,
       _ask_package(:'w', d.metadata || '{"release_date": "2026-01-02"}', '{}', 'full') = :'asked' as other from distributions d where d.id = :'d';
update distribution_work set state = :'asked'::jsonb || '{"asked_rev": 1}', next_attempt_at = _now() + '1 h' where id = :'w';
select state, scope, file_name from distribution_package(:'d', 'distrokid');
select _package_progress(:'w', (:'asked'::jsonb ->> 'package')::uuid);
-- made: the work is woken
update distribution_targets set status = 'delivering' where distribution_id = :'d' and platform = 'distrokid';
update media_work set state = 'failed', last_error = 'track 1: the file could not be fetched: HTTP 404' where id = (:'asked'::jsonb ->> 'package')::uuid;
select next_attempt_at <= _now() as due from distribution_work where id = :'w';
select state, reason from distribution_package(:'d', 'distrokid');
-- Apple gets the metadata alone when it has the files
select regexp_replace((_ask_package(k.id, d.metadata, s.state, s.scope) - 'package')::text, 'MV[0-9A-F]{16}', 'OURS') from distribution_work k join distributions d on d.id = k.distribution_id,
       (values (1, '{}'::jsonb, 'full'), (2, jsonb_build_object('ready_rev', 1, 'vendor_id', 'OLD', 'files', (select _package_digest(metadata) from distributions where id = :'d')), 'full'),
               (3, '{"ready_rev": 1, "vendor_id": "OLD", "files": "x"}', 'full'), (4, '{"ready_rev": 1, "vendor_id": "OLD", "files": "x"}', 'takedown')) s (n, state, scope)
 where k.distribution_id = :'d' and k.partner = 'apple_direct' order by s.n;

-- confirmed by hand
update distribution_targets set status = 'processing' where distribution_id = :'d' and platform = 'distrokid';
update distribution_work set delivered_revision = 1 where id = :'w';
select pg_temp.refusal(format('select confirm_distribution(%L, %s)', :'d', a)) from (values (1, $$'distrokid', 'javascript:alert(1)'$$), (2, $$'distrokid', null, 'a b'$$), (3, $$'tidal'$$), (4, $$null$$)) v (n, a) order by n;
select confirm_distribution(:'d', 'distrokid', 'https://open.spotify.com/album/1', 'abc');
select status, reason, external_url, external_id from distribution_targets where distribution_id = :'d' and platform = 'distrokid';
select confirm_distribution(:'d', 'distrokid', 'https://open.spotify.com/album/2');
select status, external_url, external_id from distribution_targets where distribution_id = :'d' and platform = 'distrokid';
select next_attempt_at is null as nothing_left from distribution_work where id = :'w';
select _tell_of_package(:'w', 'package'), _tell_of_package(:'w', 'removal');
select kind, title from notifications where user_id = :'user' and kind ~ 'package|wanted' order by id;
select takedown_distribution(:'d', '{distrokid}'), confirm_distribution(:'d', 'distrokid'), confirm_distribution(:'d', 'distrokid');
select status, reason from distribution_targets where distribution_id = :'d' and platform = 'distrokid';

-- of another user's there is nothing
select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-0000000000e2"}', true) is not null as claimed;
create role regress_packages nologin;
select expose_to(null, 'regress_packages');
set local role regress_packages;
select pg_temp.refusal(format('select %s(%L, %L)', f, :'d', 'distrokid')) from unnest('{confirm_distribution,distribution_package,distribution_package_read}'::text[]) f;
select pg_temp.refusal($$select _file_token('x', 1, '', '', '', '1 h')$$);
reset role;
rollback;

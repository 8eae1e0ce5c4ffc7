-- Look-ups: who may look, what is asked, and which answer is of a release of ours.
set client_min_messages = warning;
create extension if not exists musicverse;
set search_path = musicverse, public;
\set VERBOSITY terse
\set SHOW_CONTEXT never
set timezone = 'UTC';
begin;
create function pg_temp.refusal(query text) returns text language plpgsql as $$
declare
    hint text;
begin
    execute query;
    return 'no refusal';
exception when others then
    get stacked diagnostics hint = pg_exception_hint;
    return format('%s %s%s', sqlstate, left(sqlerrm, 300), coalesce(' | ' || nullif(left(hint, 200), ''), ''));
end
$$;
select name, platforms, config, is_active from partners where connector = 'verifier' order by name;
select pg_temp.refusal(format('select configure_partner(%s)', a)) from (values
    ($$'spotify_lookup', null, '{"client_id": "x"}'$$), ($$'apple_lookup', null, '{}'$$), ($$'apple_lookup', null, '{"token": "t"}', '{"storefront": "Germany"}'$$),
    ($$'deezer_lookup', null, '{}', '{"dialect": "napster"}'$$), ($$'deezer_lookup', null, '{}', '{"verify_for": 1}'$$), ($$'deezer_lookup', null, '{}', '{"recheck": "often"}'$$),
    ($$'deezer_lookup', null, '{}', '{"absent_twice": null}'$$), ($$'deezer_lookup', null, '{}', '{"second_witness": 1}'$$), ($$'deezer_lookup', null, '{}', '{"platforms": ["deezer", "tidal"]}'$$),
    ($$'mine', null, '{}', '{"connector": "verifier", "platforms": ["tidal"]}'$$), ($$'labelgrid', 'https://x.example.com', '{}', '{"live_by": "rumour"}'$$),
    ($$'deezer_lookup', 'https://deezer.example.com', null, '{"recheck": 3600}'$$)) v (a);
select configure_partner('spotify_lookup', null, '{"client_id": "x", "client_secret": "y"}'), configure_partner('apple_lookup', 'https://apple.example.com/', '{"token": "t"}', '{"storefront": "de"}'),
       configure_partner('deezer_lookup', null, '{}');
select name, base_url, config, is_active from partners where connector = 'verifier' order by name;
select _partner_for('deezer');

-- what is asked
\set release '{"title": "Rain", "upc": "4006381333931", "tracks": [{"isrc": ""}, {"isrc": "qz-abc-26-00001"}]}'
select p.name, s.step, _lookup_path(_partner_config(p.connector, p.config), r.release, s.step, 'a/b?')
  from partners p, unnest('{upc,album,isrc}'::text[]) with ordinality s (step, n), (values (1, :'release'::jsonb), (2, '{"upc": "1&q=x /", "tracks": [{"isrc": "Q Z?"}]}')) r (m, release)
 where p.connector = 'verifier' and (s.step <> 'album' or p.name = 'spotify_lookup') order by m, p.name, s.n;

-- titles, as catalogues write them
select ours, theirs, _title_agrees(ours::jsonb, theirs) as agrees from (values
    (1, '{"title": "Rain"}', 'rain'), (2, '{"title": "Rain"}', 'RAIN - Single'), (3, '{"title": "Rain"}', 'Rain - EP'), (4, '{"title": "Rain"}', 'Rain (feat. Ben)'), (5, '{"title": "Rain"}', 'Rain (Live)'),
    (6, '{"title": "Rain", "version_title": "Live"}', 'Rain (Live)'), (7, '{"title": "Rain", "version_title": "Live"}', 'Rain'), (8, '{"title": "Don''t Rain, Please"}', E'Don\u2019t rain please'),
    (9, '{"title": "Rain"}', 'Train'), (10, '{"title": "Rain"}', ''), (11, '{"title": "Rain"}', null), (12, '{"title": "???"}', '!!!'), (13, '{"title": "???"}', '???'),
    (14, E'{"title": "\u96e8\u3068\u96ea"}', E'\u96e8\u3068\u96ea'), (15, E'{"title": "\u96e8"}', E'\u96ea'), (16, '{}', 'Rain'), (17, '{"title": "Single"}', 'Single')) t (n, ours, theirs) order by n;

-- which answer is of ours
select n, _judge_lookup(dialect, step, _foreign_json(answer), :'release', known) from (values
    (1, 'deezer', 'upc', '{"id": 7, "title": "x", "upc": "4006381333931", "link": "https://www.deezer.com/album/7", "available": true}', null),
    (2, 'deezer', 'upc', '{"id": 7, "title": "Rain", "upc": "04006381333931"}', null), (3, 'deezer', 'upc', '{"id": 7, "title": "Rain", "upc": "4006381333948"}', null),
    (4, 'deezer', 'upc', '{"id": 7, "title": "Rain", "upc": "4006381333931", "available": false}', null), (5, 'deezer', 'upc', '{"error": {"type": "DataException", "message": "no data", "code": 800}}', null),
    (6, 'deezer', 'upc', '{"error": {"type": "Exception", "message": "Quota limit exceeded", "code": 4}}', null), (7, 'deezer', 'upc', '{"error": "out of order"}', null), (0, 'deezer', 'upc', '{"error": null}', null),
    (8, 'deezer', 'upc', '{}', null), (9, 'deezer', 'upc', '[]', null), (10, 'deezer', 'upc', '{"id": {"a": 1}, "upc": "4006381333931"}', null), (11, 'deezer', 'upc', 'null', null), (12, 'deezer', 'upc', '<html>', null),
    (13, 'deezer', 'upc', '{"id": 7, "upc": 4006381333931}', null), (14, 'deezer', 'upc', '{"id": 7, "upc": ["4006381333931"]}', null),
    (15, 'deezer', 'isrc', '{"id": 8, "isrc": "QZABC2600001", "title": "x", "album": {"id": 7, "title": "rain"}}', null), (16, 'deezer', 'isrc', '{"id": 8, "isrc": "QZABC2600001", "album": {"id": 7, "title": "Snow"}}', null),
    (17, 'deezer', 'isrc', '{"id": 8, "isrc": "QZABC2600002", "album": {"id": 7, "title": "Rain"}}', null), (18, 'deezer', 'isrc', '{"id": 8, "isrc": "QZABC2600001", "album": {"id": 7, "title": "Rain"}}', '9'),
    (19, 'deezer', 'isrc', '{"id": 8, "isrc": "QZABC2600001", "album": {"id": 7, "title": "Rain"}}', '7'),
    (20, 'apple', 'upc', '{"data": []}', null), (21, 'apple', 'upc', '{"data": {}}', null), (22, 'apple', 'upc', '{"errors": []}', null),
    (23, 'apple', 'upc', '{"data": [null, 1, {}, {"id": "1", "attributes": {"upc": "1"}}, {"id": "2", "attributes": {"upc": "4006381333931", "url": "https://music.apple.com/2"}}, {"id": "3", "attributes": {"upc": "4006381333931"}}]}', null),
    (24, 'apple', 'isrc', '{"data": [{"id": "1", "attributes": {"isrc": "QZABC2600001", "albumName": "Snow"}}, {"id": "2", "attributes": {"isrc": "QZABC2600001", "albumName": "Rain - Single"}}]}', null),
    (25, 'spotify', 'upc', '{"albums": {"items": [{"id": "aB1", "name": "Rain"}, {"id": "../x"}, {"id": "aB1"}, {"id": "c"}, null]}}', null), (26, 'spotify', 'upc', '{"albums": {"items": []}}', null),
    (27, 'spotify', 'upc', '{"albums": {"items": [{"id": "aB1", "external_ids": {"upc": "4006381333931"}}]}}', null), (28, 'spotify', 'upc', '{"albums": null}', null),
    (29, 'spotify', 'album', '{"id": "aB1", "name": "x", "external_ids": {"upc": "4006381333931"}, "external_urls": {"spotify": "https://open.spotify.com/album/aB1"}}', null),
    (30, 'spotify', 'album', '{"id": "aB1", "name": "Rain", "external_ids": {"upc": "1"}}', null),
    (31, 'spotify', 'isrc', '{"tracks": {"items": [{"id": "t", "external_ids": {"isrc": "QZABC2600001"}, "album": {"id": "aB1", "name": "RAIN"}}]}}', null),
    (32, 'spotify', 'isrc', '{"tracks": [1]}', null)) a (n, dialect, step, answer, known) order by n;
-- nothing of ours to compare with agrees with nothing of theirs
select _judge_lookup('deezer', 'upc', '{"id": 7, "upc": ""}', '{"title": "Rain", "tracks": []}', null), _judge_lookup('deezer', 'isrc', '{"id": 7, "isrc": "", "album": {"id": 1, "title": "Rain"}}', '{"title": "Rain", "upc": "", "tracks": []}', null);

-- tokens
select _store_lookup_token('spotify_lookup', a, '2026-01-01') from unnest('{null,"[]","{}","{\"access_token\": 1e5}","{\"access_token\": \"a b\"}","{\"access_token\": \"a\\\\r\\\\nX: y\"}","{\"access_token\": \"tok\", \"expires_in\": 3600}"}'::jsonb[]) with ordinality t (a, n) order by n;
select _lookup_token('spotify_lookup'), expires_at, position('tok' in encode(tokens, 'escape')) as seen from partner_tokens;
select _lookup_token_refused('spotify_lookup', '2026-01-01') as of_an_older_one, _lookup_token_refused('spotify_lookup', 'infinity') as once, _lookup_token_refused('spotify_lookup', 'infinity') as again;
select _store_lookup_token('spotify_lookup', '{"access_token": "tok2"}', _now()), _lookup_token_refused('spotify_lookup', 'infinity') as twice;
select _store_lookup_token('spotify_lookup', '{"access_token": "tok3"}', _now()), _lookup_token_worked('spotify_lookup') as was_in_doubt, _lookup_token_refused('spotify_lookup', 'infinity') as once;
select configure_partner('spotify_lookup', null, null) is not null as configured;
select count(*) from partner_tokens;

-- what becomes of a release that is looked up
\set user '00000000-0000-4000-8000-0000000000e1'
insert into tracks (id, user_id, title, style, audio_url, cover_url, isrc, duration) values ('00000000-0000-4000-9000-0000000000e1', :'user', 'Rain', 'ambient', 'https://a.example.com/1.flac', 'https://a.example.com/1.png', 'QZABC2600001', 60);
select configure_partner('labelgrid', 'https://labelgrid.example.com', '{"token": "t"}', '{"live_by": "verifier"}'), set_partner_active('apple_lookup', false);
create function pg_temp.release() returns uuid language sql as $$
    select create_distribution('00000000-0000-4000-8000-0000000000e1', '{00000000-0000-4000-9000-0000000000e1}', '{spotify,deezer,tidal}', null,
        '{"artist": "Mira", "label": "Mira Records", "language": "en", "p_line": "2026 Mira Records", "c_line": "2026 Mira Records", "upc": "4006381333931"}')
$$;
create function pg_temp.carried(d uuid, goal text, verdict text, report text) returns text language sql as $$
    select _begin_steps(array[k.id], array['poll'], array[false], array[1000]) from distribution_work k where k.distribution_id = d and k.verifies is null;
    select _settle_step(k.id, 'poll', goal, k.revision, verdict, null, k.revision, _now() + '1 hour', null, jsonb_build_array(jsonb_build_object('status', report)), null, false)
      from distribution_work k where k.distribution_id = d and k.verifies is null;
$$;
create function pg_temp.looked(d uuid, place text, goal text, verdict text, learned jsonb, report text default null, message text default null) returns text language sql as $$
    select _begin_steps(array[k.id], array['upc'], array[false], array[1000]) from distribution_work k where k.distribution_id = d and k.verifies = place;
    select _settle_step(k.id, 'upc', goal, k.revision, verdict, learned, null, _now() + '1 hour', message,
                        case when report is not null then jsonb_build_array(jsonb_build_object('status', report, 'external_id', 'x1')) end, null, false)
      from distribution_work k where k.distribution_id = d and k.verifies = place;
$$;
create function pg_temp.places(d uuid) returns text language sql as $$
    select string_agg(concat_ws(' ', platform, status, external_id), ', ' order by platform) from distribution_targets where distribution_id = d
$$;
create function pg_temp.lookups(d uuid) returns text language sql as $$
    select string_agg(concat_ws(' ', platform, goal, state, looks, failures, last_error), ', ' order by platform) from distribution_lookups where distribution_id = d
$$;
select pg_temp.release() as d \gset
select submit_distribution(:'d'), pg_temp.lookups(:'d');
select pg_temp.carried(:'d', 'deliver', 'wait', 'processing'), pg_temp.places(:'d');
select pg_temp.lookups(:'d'), (select count(*) from _claim_steps('spotify_lookup', 9) c where c.distribution_id = :'d' and c.platforms = '{spotify}' and not c.all_live) as claimed;
select _next_lookup(k.id, _partner_config(p.connector, p.config)) from distribution_work k join partners p on p.name = k.partner where k.distribution_id = :'d' and k.verifies is not null order by k.partner;
-- a carrier's word counts where nobody looks
select pg_temp.carried(:'d', 'deliver', 'wait', 'live'), pg_temp.places(:'d');
-- no end of a look-up is one of the release
select pg_temp.looked(:'d', 'spotify', 'deliver', 'again', null, null, 'no sense'), pg_temp.looked(:'d', 'deezer', 'deliver', 'user', null, null, 'not that');
select pg_temp.places(:'d'), pg_temp.lookups(:'d');
select update_release(:'d', '{"label": "Mira & Sons"}'), pg_temp.lookups(:'d');
-- an answer about what it was before counts for nothing
select _begin_steps(array[k.id], array['upc'], array[false], array[1000]) from distribution_work k where k.distribution_id = :'d' and k.verifies = 'deezer';
select update_release(:'d', '{"label": "Mira Records"}');
select _settle_step(k.id, 'upc', 'deliver', 2, 'done', '{"found": "x1"}', null, null, null, '[{"status": "live"}]', null, false) from distribution_work k where k.distribution_id = :'d' and k.verifies = 'deezer';
select pg_temp.places(:'d'), pg_temp.lookups(:'d');
select pg_temp.looked(:'d', 'spotify', 'deliver', 'done', '{"found": "x1", "looks": 1}', 'live'), pg_temp.places(:'d'), pg_temp.lookups(:'d');
-- taken down, as the carrier says; and as is seen
select takedown_distribution(:'d'), pg_temp.lookups(:'d');
select pg_temp.carried(:'d', 'takedown', 'done', 'taken_down'), pg_temp.places(:'d');
select pg_temp.lookups(:'d');
select pg_temp.looked(:'d', 'spotify', 'takedown', 'wait', '{"absent_since": "1"}'), pg_temp.looked(:'d', 'deezer', 'takedown', 'done', null, 'taken_down');
select pg_temp.places(:'d'), pg_temp.lookups(:'d');
select pg_temp.looked(:'d', 'spotify', 'takedown', 'done', null, 'taken_down'), pg_temp.places(:'d');
-- cancelled
select pg_temp.release() as e \gset
select submit_distribution(:'e'), pg_temp.carried(:'e', 'deliver', 'wait', 'processing');
select cancel_distribution(:'e');
select distinct _next_lookup(k.id, _partner_config(p.connector, p.config)) from distribution_work k join partners p on p.name = k.partner where k.distribution_id = :'e' and k.verifies is not null;
select pg_temp.refusal($$select configure_partner('spotify_lookup', 'https://x.example.com', '{}', '{"connector": "labelgrid"}')$$), pg_temp.refusal($$select configure_partner('labelgrid', 'https://x.example.com', '{}', '{"connector": "verifier", "dialect": "deezer"}')$$);
rollback;

-- Distribution without a worker: what a release must be like, the states of its targets, changes, cancels, reports of partners.
set client_min_messages = warning;
create extension if not exists musicverse;
set search_path = musicverse, public;
\set VERBOSITY terse
\set SHOW_CONTEXT never
\set user '00000000-0000-4000-8000-0000000000d1'
\set other '00000000-0000-4000-8000-0000000000d2'
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
    return regexp_replace(format('%s %s%s', sqlstate, left(sqlerrm, 300), coalesce(' | ' || nullif(left(hint, 200), ''), '')), '[0-9a-f]{8}-[0-9a-f-]{27}', 'ID', 'g');
end
$$;

-- partners
select name, connector, platforms, is_active from partners where is_shipped order by name;
select pg_temp.refusal(format('select configure_partner(%s)', arguments)) from (values
    (1, 'null, null, null'), (2, $$'X', null, '{}'$$), (3, $$'mine', 'https://x.example.com', '{}'$$), (4, $$'mine', 'https://x.example.com', '{}', '{"connector": "pigeon"}'$$),
    (5, $$'mine', 'https://x.example.com', '{}', '{"connector": "labelgrid"}'$$), (6, $$'mine', 'https://x.example.com', '{}', '{"connector": "labelgrid", "platforms": ["myspace"]}'$$),
    (7, $$'labelgrid', null, '{}'$$), (8, $$'labelgrid', 'https://x.example.com', null$$), (9, $$'labelgrid', 'https://x.example.com', '[]'$$),
    (10, $$'labelgrid', 'https://x.example.com', '{"token": 1}'$$), (11, $$'labelgrid', 'https://x.example.com', '{"token": "a b"}'$$),
    (12, $$'labelgrid', 'https://x.example.com', '{"callback_secret": "x"}'$$), (13, $$'labelgrid', 'https://x.example.com?a=1', '{}'$$),
    (14, $$'labelgrid', 'https://x.example.com', '{}', '{"concurrency": 0}'$$), (15, $$'labelgrid', 'https://x.example.com', '{}', '{"states": {"x": "lost"}}'$$),
    (16, $$'labelgrid', 'https://x.example.com', '{}', '{"callback": {"status": "$."}}'$$), (17, $$'labelgrid', 'https://x.example.com', '{}', '{"outlets": 1}'$$),
    (18, $$'labelgrid', 'https://x.example.com', '{}', '{"remote_id": "a b"}'$$), (19, $$'labelgrid', 'https://x.example.com', '{}', '{"remote_id": 1}'$$)) a (n, arguments) order by n;
select pg_temp.refusal(format('select configure_partner(%s)', arguments)) from (values
    ($$'spotify_direct', 'https://example.com/', '{"username": "mira", "password": "p"}'$$),
    ($$'spotify_direct', null, '{"username": "mira", "password": "p"}'$$),
    ($$'labelgrid', 'sftp://example.com/', '{"username": "mira", "password": "p"}'$$),
    ($$'spotify_direct', 'sftp://mira@example.com/', '{"username": "mira", "password": "p"}'$$),
    ($$'spotify_direct', 'sftp://example.com/?a', '{"username": "mira", "password": "p"}'$$),
    ($$'spotify_direct', 'sftp://example.com:2222/in', '{"username": "mira", "password": "p"}'$$),
    ($$'spotify_direct', 'sftp://example.com:2222/in', '{"username": "mira", "password": "p"}', '{"host_keys": "MD5:00"}'$$),
    ($$'spotify_direct', 'sftp://example.com:2222/in', '{"username": "mira", "password": "p"}', '{"host_keys": [17]}'$$),
    ($$'spotify_direct', 'sftp://example.com:2222/in', '{"username": "mira", "password": "p"}', '{"host_keys": []}'$$),
    ($$'spotify_direct', 'sftp://example.com:2222/in', '{"password": "p"}', '{"host_keys": "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}'$$),
    ($$'spotify_direct', 'sftp://example.com:2222/in', '{"username": "mira"}', '{"host_keys": "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}'$$),
    ($$'spotify_direct', 'sftp://example.com:2222/in', '{"username": "mira", "password": "p", "private_key": "k"}', '{"host_keys": "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}'$$)) v (arguments);
savepoint here;
select configure_partner('spotify_direct', 'sftp://example.com:2222/~/in', '{"username": "mira", "password": "p"}', '{"host_keys": ["SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"], "sender": {"dpid": "PADPIDA2012041004F"}}');
rollback to here;
select configure_partner('labelgrid', 'https://labelgrid.example.com/', '{"token": "t", "callback_secret": "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}');
select name, base_url, is_active, is_shipped, credentials is not null as sealed, installation_id = _sending_as() as ours from partners where name = 'labelgrid';
select set_partner_active('labelgrid', false), set_partner_active('labelgrid', true), resume_partner('labelgrid');
select pg_temp.refusal($$select set_partner_active('soundcloud', true)$$), pg_temp.refusal($$select set_partner_active('nobody', true)$$);

-- what a release is made of
insert into tracks (id, user_id, title, style, duration, audio_url, cover_url, isrc) values
    ('00000000-0000-4000-9000-000000000001', :'user', 'Rain', 'ambient', 60, 'https://a.example.com/1.flac', 'https://a.example.com/1.png', 'QZABC2600001'),
    ('00000000-0000-4000-9000-000000000002', :'user', 'Snow', null, 61, 'https://a.example.com/2.flac', null, 'QZABC2600002'),
    ('00000000-0000-4000-9000-000000000003', :'other', 'Theirs', null, 61, 'https://a.example.com/3.flac', null, null);
insert into generation_jobs (user_id, prompt, status, track_id) values (:'user', 'x', 'started', '00000000-0000-4000-9000-000000000001');
\set one '{00000000-0000-4000-9000-000000000001}'
\set two '{00000000-0000-4000-9000-000000000001,00000000-0000-4000-9000-000000000002}'
select jsonb_pretty(_complete_release(:'one', '2030-01-02', '{"artist": "Mira"}'));
select r ->> 'title' as title, r -> 'artists' as artists, r -> 'ai' as ai, t ->> 'title' as track, t -> 'artists' as its, t -> 'explicit' as explicit
  from _complete_release(:'two', null, '{"title": "Weather", "artists": ["Mira", {"name": "Ben", "role": "featured"}], "explicit": true, "ai": {"artwork": "none"},
      "tracks": [{"track_id": "00000000-0000-4000-9000-000000000002", "title": "Sleet", "explicit": false}]}') r, jsonb_array_elements(r -> 'tracks') t;

-- what platforms refuse
\set whole '{"artist": "Mira", "label": "Mira Records", "language": "en", "p_line": "2026 Mira Records", "c_line": "2026 Mira Records"}'
create function pg_temp.problems(changes jsonb, tracks uuid[] default '{00000000-0000-4000-9000-000000000001}', places text[] default '{spotify}', day date default null) returns text language sql as $$
    select coalesce(string_agg(format('%s %s %s: %s', platform, field, severity, message), '; '), 'fit')
      from musicverse.check_release(tracks, places, day, '{"artist": "Mira", "label": "Mira Records", "language": "en", "p_line": "2026 Mira Records", "c_line": "2026 Mira Records"}'::jsonb || changes)
$$;
select changes, pg_temp.problems(changes::jsonb) from (values (1, '{}'), (2, '{"label": null, "p_line": " "}'), (3, '{"genre": "Polka"}'), (4, '{"genre": "pop"}'),
    (5, '{"language": "english"}'), (6, '{"language": "zxx"}'), (7, '{"language": "pt-BR"}'), (8, '{"p_line": "Mira"}'), (9, '{"cover_url": "ftp://x"}'), (10, '{"upc": "12"}'),
    (11, '{"title": "RAIN AND SNOW"}'), (12, '{"title": "Rain (feat. Ben)"}'), (13, '{"title": "Rain (Explicit)"}'), (14, '{"title": "Rain prod. by Ben"}'),
    (15, '{"title": "Rain - Ben Remix"}'), (16, '{"title": "Rain (Ben Remix)"}'), (17, '{"title": "Mira - Rain"}'), (18, '{"title": "Explicit Content"}'),
    (20, '{"title": "ABC"}'), (21, '{"title": "雨と雪の歌"}'), (22, '{"title": " Rain"}'), (23, '{"ai": {"audio": "some"}}'), (24, '{"training_use": "maybe"}'), (25, '{"territories": ["Germany"]}'),
    (26, '{"territories": ["DE"]}'), (27, '{"explicit": "yes"}'), (28, '{"artists": [1]}'), (29, '{"artists": 1}'), (30, '{"cover": {"width": 1000, "height": 1000}}'),
    (31, '{"cover": {"width": 3000, "height": 3001}}'), (32, '{"title": 1}'), (33, '{"time_zone": "Mars"}'),
    (34, '{"tracks": [{"track_id": "00000000-0000-4000-9000-000000000001", "isrc": "QZ"}]}'),
    (35, '{"tracks": [{"track_id": "00000000-0000-4000-9000-000000000001", "audio": {"format": "mp3"}}]}'),
    (36, '{"tracks": [{"track_id": "00000000-0000-4000-9000-000000000001", "audio": {"format": "flac", "sample_rate": 22050}}]}')) c (n, changes) order by n;
select pg_temp.problems('{"tracks": [{"track_id": "00000000-0000-4000-9000-000000000001", "audio_url": "media:00000000-0000-4000-9000-000000000001"}]}');
select pg_temp.problems('{}', '{}'), pg_temp.problems('{}', '{00000000-0000-4000-9000-000000000003,00000000-0000-4000-9000-000000000001}');
select pg_temp.problems('{}', places => '{}'), pg_temp.problems('{}', places => '{myspace}'), pg_temp.problems('{}', places => '{soundcloud}');
select pg_temp.problems('{}', day => d::date) ~ '^ /release_date error: \S+ is more than ten years ahead: give \d{4}-\d\d-\d\d or earlier$' as too_far from unnest('{infinity,5874897-12-31,294277-01-01}'::text[]) d;
select pg_temp.problems('{}', day => '-infinity') ~ '^spotify /release_date error: -infinity is nearer than' as long_ago;
select pg_temp.problems('{}', day => '2020-01-01') ~ '^spotify /release_date error: 2020-01-01 is nearer than the 5 days that spotify needs' as too_near;
select pg_temp.refusal(format('select create_distribution(%s)', a)) from (values (1, $$null, '{}', '{}'$$),
    (2, $$'00000000-0000-4000-8000-0000000000d1', null, null, null, '[]'$$), (3, $$'00000000-0000-4000-8000-0000000000d1', null, null$$),
    (4, $$'00000000-0000-4000-8000-0000000000d1', '{00000000-0000-4000-9000-000000000001}', '{spotify,deezer}', null, '{"artist": "Mira"}'$$),
    (5, $$'00000000-0000-4000-8000-0000000000d1', '{00000000-0000-4000-9000-000000000001}', '{spotify}', null, '{"release_date": "soon"}'$$)) v (n, a) order by n;

-- states
select create_distribution(:'user', :'one', '{spotify,deezer,spotify}', null, :'whole') as d \gset
select platforms, status, revision, track_id, time_zone, submitted_at from distributions where id = :'d';
select submit_distribution(:'d'), submit_distribution(:'d');
select platform, status, partner from distribution_targets where distribution_id = :'d' order by 1;
select status from distributions where id = :'d';
select id as w from distribution_work where distribution_id = :'d' \gset
select old, string_agg(new, ' ' order by n) as possible from (
    select o.old, s.new, s.n from unnest('{pending,scheduled,delivering,processing,live,failed,taken_down,cancelled}'::text[]) o (old),
           unnest('{pending,scheduled,delivering,processing,live,failed,taken_down,cancelled}'::text[]) with ordinality s (new, n)
     where _target_steps() -> o.old ? s.new) x group by old order by old;
select pg_temp.refusal(format('update distribution_targets set status = %L where work_id = %L', 'taken_down', :'w'));
select pg_temp.refusal($$update distribution_history set reason = 'x'$$);

-- a step, its answer, and what partners say
-- but first of all the audio is looked at: the work waits for the media worker
select count(*) from _claim_steps('labelgrid', 10);
select waits_for = array[_media_id('inspect', 'https://a.example.com/1.flac')] as waits, next_attempt_at > _now() + '2 min' as put_off, files from distribution_work where id = :'w';
select kind, input, attempts from _claim_media_work();
update media_work set state = 'running' where state = 'pending';
select count(_settle_media_work(k.id, 'done', null, 'audio/flac', 1000, repeat('a', 64), repeat('b', 32), '{"format": "flac", "codec": "flac", "channels": 2, "sample_rate": 44100, "bit_depth": 16, "frames": 44100, "duration": 1.000, "peaks": [0.5], "clipped": 0}', null))
  from media_work k where k.state = 'running';
select waits_for, next_attempt_at <= _now() as due from distribution_work where id = :'w';
select release #> '{tracks,0,file}' as file, release #> '{tracks,0,duration}' as duration, release #>> '{tracks,0,audio_url}' as url from _claim_steps('labelgrid', 10);
-- what platforms refuse in audio
create function pg_temp.audio(more jsonb) returns table (spotify text, becomes_flac boolean) language sql as $$
    select _audio_problem(a, r), _becomes_flac(a, r)
      from (select '{"format": "wav", "codec": "pcm", "is_extensible": false, "channels": 2, "sample_rate": 44100, "bit_depth": 16}'::jsonb || more,
                   (select _rules_of(rules) from platforms where name = 'spotify')) x (a, r)
$$;
select m, a.* from (values (1, '{}'), (2, '{"is_extensible": true}'), (3, '{"format": "mp3", "codec": "mpeg", "bit_depth": null}'), (4, '{"format": "aiff"}'), (5, '{"codec": "float", "bit_depth": 32}'),
    (6, '{"codec": "", "bit_depth": null}'), (7, '{"sample_rate": 22050}'), (8, '{"bit_depth": 8}'), (9, '{"channels": 1}'), (10, '{"format": "m4a", "codec": null}')) v (n, m), pg_temp.audio(m::jsonb) a order by n;
select _known_audio('https://a.example.com/1.flac') as known, _known_audio('https://a.example.com/none.flac') as unknown;
update media set facts = facts || '{"format": "mp3", "codec": "mpeg"}';
select platform, field, message from check_release('{00000000-0000-4000-9000-000000000001}', '{spotify,soundcloud}', null, '{"artists": ["Mira"], "label": "x", "language": "en", "p_line": "2026 M", "c_line": "2026 M", "cover": "draw", "genre": "Ambient"}') where field ~ 'audio$|cover';
update media set created_at = _now() - interval '2 hours';
select count(*) from check_release('{00000000-0000-4000-9000-000000000001}', '{spotify}', null, '{"artists": ["Mira"]}') where field ~ 'audio$';
select field, message from check_release('{00000000-0000-4000-9000-000000000001}', '{spotify}', null, '{"cover": "paint", "tracks": [{"track_id": "00000000-0000-4000-9000-000000000001", "audio_url": "media:00000000-0000-4000-9000-000000000001"}]}') where field ~ 'audio_url|cover$';
update media set facts = facts || '{"format": "flac"}';
select _complete_release('{00000000-0000-4000-9000-000000000001}', null, '{"cover": "draw"}') ? 'cover_url' as drawn_wins;

-- the step
select _begin_steps(array[:'w'::uuid], array['create_release'], array[false], array[1000]);
select status from distributions where id = :'d';
select _settle_step(:'w', 'other', 'deliver', 1, 'next', '{"x": 1}', null, null, null, null, null, false) as not_this_one;
select _settle_step(:'w', 'create_release', 'deliver', 1, 'again', '{"x": 1}', null, null, E'timed\nout', null, 30, false);
select state, failures, is_unsure, last_error, next_attempt_at > _now() + '29 s' as honoured from distribution_work where id = :'w';
select _begin_steps(array[:'w'::uuid], array['create_release'], array[true], array[1000]);
select _settle_step(:'w', 'create_release', 'deliver', 1, 'wait', '{"x": null, "release_id": "r1"}', 1, now() + '1 min', null, '[{"status": "processing"}]', null, false);
select state, failures, is_unsure, delivered_revision from distribution_work where id = :'w';
select _report_target(:'w', 'spotify', 'live', 's1', 'https://spotify.example.com/1', null, now());
select _report_target(:'w', 'spotify', 'processing', null, null, null, now()) as not_back, _report_target(:'w', 'deezer', 'live', null, 'javascript:x', null, now() + '1 s') as forth;
select platform, status, external_id, external_url from distribution_targets where work_id = :'w' order by 1;
select status, external_ids from distributions where id = :'d';
select pg_temp.refusal(format('select cancel_distribution(%L)', :'d'));

-- callbacks find the work by the partner's id, wherever the connector keeps that
create function pg_temp.callback(message text, data jsonb) returns int language sql as $$
    select partner_callback('labelgrid', jsonb_build_object('webhook-id', message, 'webhook-timestamp', ts::text,
                                'webhook-signature', sign_webhook('whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=', message, ts, body)), body)
      from (select extract(epoch from _now())::bigint as ts, jsonb_build_object('data', data)::text as body) x
$$;
select pg_temp.callback('msg_1', '{"release_id": "r1", "outlet": "spotify", "status": "live"}') as taken, pg_temp.callback('msg_2', '{"release_id": "r2", "outlet": "spotify", "status": "live"}') as nothing_of_ours;
update partners set config = config || '{"remote_id": "theirs"}' where name = 'labelgrid';
update distribution_work set state = state || '{"theirs": "r2"}' where id = :'w';
select pg_temp.callback('msg_3', '{"release_id": "r1", "outlet": "spotify", "status": "live"}') as nothing_of_ours, pg_temp.callback('msg_4', '{"release_id": "r2", "outlet": "spotify", "status": "live"}') as taken;
update partners set config = config - 'remote_id' where name = 'labelgrid';
update distribution_work set state = state - 'theirs' where id = :'w';
select word, _partner_meaning(_partner_config('labelgrid', '{}'), null, word) as delivery, _partner_meaning(_partner_config('labelgrid', '{}'), 'takedown', word) as takedown
  from unnest('{Pending Review,processing,delivered,LIVE,error,removed,daydreaming}'::text[]) with ordinality w (word, n) order by n;

-- changes
select update_release(:'d', '{"title": "Drizzle", "upc": null}'), update_release(:'d', '{"artists": ["Mira", "Ben"]}');
select metadata ->> 'title' as title, jsonb_array_length(metadata -> 'artists') as artists, revision from distributions where id = :'d';
select revision, next_attempt_at <= _now() as due from distribution_work where id = :'w';
select pg_temp.refusal(format('select update_release(%L, %L)', :'d', c)) from (values (1, null), (2, '[]'), (3, '{"language": "x"}'), (4, '{"release_date": "2030-01-01"}'), (5, '{"release_date": "x"}')) v (n, c) order by n;
select _begin_steps(array[:'w'::uuid], array['update_release'], array[false], array[1000]);
select _settle_step(:'w', 'update_release', 'deliver', 3, 'user', null, null, null, 'locked', null, null, false);
select revision, delivered_revision, last_error, next_attempt_at is not null as goes_on from distribution_work where id = :'w';
select status, status from distributions where id = :'d';

-- takedown
select pg_temp.refusal(format('select takedown_distribution(%L, %L)', :'d', '{spotify}')), pg_temp.refusal(format('select takedown_distribution(%L, %L)', :'d', '{tidal}'));
select takedown_distribution(:'d'), takedown_distribution(:'d');
select _begin_steps(array[:'w'::uuid], array['takedown'], array[false], array[1000]);
select _settle_step(:'w', 'takedown', 'takedown', 1, 'done', null, null, null, null, '[{"status": "taken_down"}]', null, false);
select status from distributions where id = :'d';
select pg_temp.refusal(format('select %s(%L)', f, :'d')) from unnest('{submit_distribution,cancel_distribution,takedown_distribution}'::text[]) f;
select pg_temp.refusal(format('select update_release(%L, %L)', :'d', '{}'));
select string_agg(concat_ws(' ', platform, status, reason), ', ' order by id) from distribution_history where distribution_id = :'d';
select kind, title, body ->> 'status' as status from notifications where user_id = :'user' order by id;
select type, count(*) from events where user_id = :'user' and type like 'distribution.%' group by type order by type collate "C";
select mark_notifications_read(:'user') as read, mark_notifications_read(:'user') as again;

-- cancels
-- under what partners know a release of somebody else by, nothing is sent: it would change or take down that one
savepoint here;
insert into tracks (id, user_id, title, style, duration, audio_url, cover_url, isrc) values
    ('00000000-0000-4000-9000-00000000000a', :'other', 'Thunder', 'ambient', 60, 'https://a.example.com/4.flac', 'https://a.example.com/4.png', 'QZABC2600009');
\set theirs '{00000000-0000-4000-9000-00000000000a}'
select create_distribution(:'user', :'one', '{spotify}', null, :'whole'::jsonb || '{"upc": "4006381333931", "grid": "A1-2425G-ABC1234002-M"}') as mine \gset
select create_distribution(:'other', :'theirs', '{spotify}', null, :'whole'::jsonb || '{"upc": "4006381333931"}') as same \gset
select submit_distribution(:'mine');
select pg_temp.refusal(format('select submit_distribution(%L)', :'same'));
select pg_temp.refusal(format('select create_distribution(%L, %L, %L, null, %L)', :'other', :'theirs', '{spotify}', :'whole'::jsonb || changes)) from (values
    (1, '{"upc": "04006381333931"}'::jsonb), (2, '{"upc": "614141123452"}'), (3, '{"grid": "a12425gabc1234002m"}'), (4, '{"grid": "A1-2425G-ABC1234003-K"}')) v (n, changes) order by n;
select create_distribution(:'other', :'theirs', '{spotify}', null, :'whole'::jsonb || '{"upc": "614141123452"}') as same \gset
select pg_temp.refusal(format('select update_release(%L, %L)', :'same', '{"upc": "4006381333931"}'));
-- one's own may be sent off again, and what is withdrawn is free
select create_distribution(:'user', :'one', '{deezer}', null, :'whole'::jsonb || '{"upc": "4006381333931"}') is not null as again;
select cancel_distribution(:'mine');
select update_release(:'same', '{"upc": "4006381333931"}');
rollback to here;
select create_distribution(:'user', :'two', '{spotify}', null, :'whole'::jsonb || '{"title": "Weather"}') as e \gset
select cancel_distribution(:'e'), cancel_distribution(:'e');
select status, (select next_attempt_at from distribution_work where distribution_id = d.id) from distributions d where id = :'e';
select pg_temp.refusal(format('select submit_distribution(%L)', :'e'));

-- of another user's there is nothing
select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-0000000000d2"}', true) is not null as claimed;
create role regress_distribution nologin;
select expose_to(null, 'regress_distribution');
set local role regress_distribution;
select count(*) from distributions;
select pg_temp.refusal(format('select %s(%L)', f, :'d')) from unnest('{submit_distribution,cancel_distribution,takedown_distribution}'::text[]) f;
select pg_temp.refusal(format('select create_distribution(%L, %L, %L)', :'user', '{}', '{}'));
select string_agg(distinct message, ', ') from check_release(:'one', '{spotify}') where field ~ 'track';
reset role;

-- views
select submitted >= 1 as some, live, success_rate from distribution_success_rate where platform = 'deezer';
select with_distributions >= 1 as some from adoption;

rollback;

-- zones go by the names of their files; rules and abbreviations say the contrary of what people think
select string_agg(name || ' ' || _time_zone_is_known(name), ', ' order by n) from unnest('{UTC,Europe/Berlin,Etc/GMT+5,CET,A/B+5,MSK,EST5EDT,europe/berlin,../../etc/passwd,""}'::text[]) with ordinality x (name, n);

-- Media: what audio is told to be, and what is refused of it; work that is asked for, done, failed, forgotten.
-- No worker runs here: what it does is called.
set client_min_messages = warning;
create extension if not exists musicverse;
set search_path = musicverse, public;
\set SHOW_CONTEXT never
set timezone = 'UTC';
begin;
create function pg_temp.refusal(statement text) returns text language plpgsql as $$
begin
    execute statement;
    return 'done';
exception when others then
    return sqlstate || ' ' || sqlerrm;
end
$$;
create function pg_temp.little(n bigint, width int) returns bytea language sql as $$
    select string_agg(set_byte('\x00', 0, ((n >> (8 * i)) & 255)::int), '' order by i) from generate_series(0, width - 1) i
$$;
-- a WAV of 16 bits: frames of silence, then of a square wave, then silence again; head says what its header lies
create function pg_temp.wav(frames int, channels int = 2, rate int = 44100, bits int = 16, tag int = 1, promised bigint = null, samples bytea = null) returns bytea language sql as $$
    select 'RIFF'::bytea || pg_temp.little(36 + octet_length(s.data), 4) || 'WAVEfmt ' || pg_temp.little(16, 4) || pg_temp.little(tag, 2) || pg_temp.little(channels, 2)
           || pg_temp.little(rate, 4) || pg_temp.little(rate * channels * bits / 8, 4) || pg_temp.little(channels * bits / 8, 2) || pg_temp.little(bits, 2)
           || 'data' || pg_temp.little(coalesce(promised, octet_length(s.data)), 4) || s.data
      from (select coalesce(samples, decode(repeat('00', frames * channels * bits / 8), 'hex')) as data) s
$$;

-- ---- what audio is
select format, codec, is_extensible, channels, sample_rate, bit_depth, frames, duration, cardinality(peaks), clipped, silence_start, silence_end from inspect_audio(pg_temp.wav(44100));
-- a second of silence, one of half amplitude, one frame of full scale, half a second of silence
select frames, peaks[1], peaks[205], peaks[300], peaks[410], peaks[512], clipped, silence_start, round(silence_end::numeric, 3) as silence_end
  from inspect_audio(pg_temp.wav(0, 1, 1000, samples => decode(repeat('0000', 1000) || repeat('0040', 1000) || 'ff7f' || repeat('0000', 500), 'hex')));
select format, bit_depth, codec, channels from inspect_audio(pg_temp.wav(100, 1, 8000, 8));
select format, bit_depth, codec, frames, cardinality(peaks) from inspect_audio(pg_temp.wav(3, 2, 96000, 24));
select format, bit_depth, codec from inspect_audio(pg_temp.wav(100, 2, 44100, 32, 3));
select * from inspect_audio('\x00000020667479704d344120000000004d3441206d70343269736f6d00000000');
select inspect_audio(null) is null as nothing_of_nothing;

-- ---- what is none
select what, pg_temp.refusal(format('select inspect_audio(%L)', bytes)) from (values
    (1, 'nothing', ''::bytea), (2, 'a text', 'This is the text of a page that was served instead'), (3, 'a page', '<!DOCTYPE html><html>404'),
    (4, 'half a FLAC', 'fLaC and no more than this'), (5, 'half an Ogg', 'OggS and no more than this'), (6, 'an MP3 of one header', '\xfffb9064000000000000000000'),
    (7, 'a header alone', substr(pg_temp.wav(10), 1, 36)), (8, 'half a WAV', substr(pg_temp.wav(1000), 1, 2000)),
    (9, 'it promises more', pg_temp.wav(10, promised => 4294967295)), (10, 'no frames', pg_temp.wav(0)), (11, 'no channels', pg_temp.wav(100, 0)),
    (12, '1000 channels', pg_temp.wav(100, 1000)), (13, 'no rate', pg_temp.wav(100, 2, 0)), (14, 'NaN', pg_temp.wav(0, 1, 44100, 32, 3, null, '\x000000000000c07f')),
    (15, 'infinity', pg_temp.wav(0, 1, 44100, 32, 3, null, '\x0000803f0000807f')), (16, 'an unknown codec', pg_temp.wav(100, 2, 44100, 16, 4711)),
    (17, 'chunks without end', 'RIFF'::bytea || pg_temp.little(1000, 4) || 'WAVE' || decode(repeat('4142434400000000', 20), 'hex')),
    (18, 'a FORM of something else', 'FORM'::bytea || '\x00000010' || '8SVXbodyxxxxxxxx')) v (n, what, bytes) order by n;

-- ---- work
select _media_id('inspect', 'x') = _media_id('inspect', 'x') as same, _media_id('inspect', 'x') = _media_id('flac', 'x') as other;
select _request_media('inspect', '{"url": "https://a.example/1"}') as a \gset
select _request_media('inspect', '{"url": "https://a.example/1"}') = :'a' as the_same, _request_media('inspect', '{"url": "https://a.example/2"}', 'k') = _media_id('inspect', 'k') as by_key;
select kind, input, attempts, next_due <= _now() as more from _claim_media_work();
select _settle_media_work(:'a', 'again', E'no\nconnection', null, 0, null, null, null, null);
select state, attempts, last_error, next_attempt_at > _now() as later from media_work where id = :'a';
select kind, input, next_due > _now() as more_later from _claim_media_work();
select id is null as nothing from _claim_media_work();
select _settle_media_work(_media_id('inspect', 'k'), 'failed', 'the file could not be fetched: HTTP 404', null, 0, null, null, null, null);
select state, last_error, finished_at is not null as finished from media_work where id = _media_id('inspect', 'k');
select _request_media('inspect', '{"url": "https://a.example/2"}', 'k') = _media_id('inspect', 'k') as asked, state from media_work where id = _media_id('inspect', 'k');
select _request_media('inspect', '{"url": "https://a.example/3"}', 'k', retry => true) = _media_id('inspect', 'k') as asked_again;
select state, attempts, input from media_work where id = _media_id('inspect', 'k');
-- given up in the end
update media_work set state = 'running', attempts = 8 where id = :'a';
select _settle_media_work(:'a', 'again', 'no connection', null, 0, null, null, null, null);
select state from media_work where id = :'a';
-- put back, as the worker had to leave
update media_work set state = 'running', attempts = 3 where id = :'a';
select _settle_media_work(:'a', 'back', null, null, 0, null, null, null, null);
select state, attempts, next_attempt_at <= _now() as due from media_work where id = :'a';
-- left by a worker that ended
update media_work set state = 'running' where id = :'a';
update media_work set state = 'running', attempts = 5 where id = _media_id('inspect', 'k');
select _resume_media_work();
select state, attempts, last_error from media_work order by attempts;
savepoint apart;
-- what was under way together, and ended the worker twice, is not begun together again
update media_work set state = 'running', attempts = 1, next_attempt_at = null;
select _resume_media_work();
select bool_and(next_attempt_at <= _now()) as at_once from media_work;
update media_work set state = 'running', attempts = 4, next_attempt_at = null;
select setseed(0.5);
select _resume_media_work();
select max(next_attempt_at) - min(next_attempt_at) > interval '1 second' as apart, min(next_attempt_at) > _now() - interval '1 second' and max(next_attempt_at) < _now() + interval '2 minutes' as soon from media_work;
rollback to apart;
-- done: facts; then a file, which isn't here
update media_work set state = 'running' where id = :'a';
select _settle_media_work(:'a', 'done', null, 'audio/wav', 10, repeat('a', 64), repeat('b', 32), '{"format": "wav"}', null);
select kind, media_type, bytes, facts, file_name from media where id = :'a';
select _request_media('inspect', '{"url": "https://a.example/1"}') = :'a' as kept, _media_path(:'a') as path;
update media set file_name = id || '.flac' where id = :'a';
select _media_path(:'a') as path, _media_file('../../PG_VERSION', 3) as outside, _read_media_file('/etc/passwd', 1) as outside_too;
select _request_media('inspect', '{"url": "https://a.example/1"}') = :'a' as asked;
select state from media_work where id = :'a';
update media_work set state = 'running' where id = :'a';
select _settle_media_work(:'a', 'done', null, 'audio/flac', 10, repeat('c', 64), repeat('d', 32), null, :'a' || '.flac');
select count(*), min(media_type) from media;

-- ---- what nobody uses
select count(*) from _expire_media();
update media set last_used_at = _now() - interval '8 days';
update media_work set finished_at = _now() - interval '8 days' where state = 'failed';
select f = :'a' || '.flac' as its_file from _expire_media() f;
select count(*) as left from media_work where state in ('done', 'failed');
insert into media_work (id, kind, input, state) select _media_id('x', i::text), 'x', '{}', 'done' from generate_series(1, 5) i;
insert into media (id, kind, bytes, file_name, last_used_at) select _media_id('x', i::text), 'x', 8::bigint << 30, i || '.zip', _now() - i * interval '1 hour' from generate_series(1, 5) i;
select array_agg(f order by f) as beyond_20_gb from _expire_media() f;
select _forget_media(_media_id('x', '1'));
select count(*) as left from media;

-- ---- turns
delete from media_work;
\set ua '00000000-0000-4000-8000-00000000000a'
\set ub '00000000-0000-4000-8000-00000000000b'
create function pg_temp.ask(what text, of uuid, kind text = 'inspect') returns uuid language sql as $$
    select musicverse._request_media(kind, jsonb_build_object('url', what), user_id => of)
$$;
-- what is claimed, for whom; after it he has used so much
create function pg_temp.turn(seconds float8, lanes boolean[] = '{f,t}', busy uuid[] = '{}') returns text language plpgsql as $$
declare
    c record := musicverse._claim_media_work(lanes, busy);
begin
    if c.id is not null then
        perform musicverse._settle_media_work(c.id, 'done', null, 'audio/wav', 1, null, null, '{}', null, c.owner, seconds);
    end if;
    return case when c.id is null then 'nothing' else format('%s of %s', c.input ->> 'url', right(c.owner::text, 1)) end;
end
$$;
select count(pg_temp.ask('a' || i, :'ua')) from generate_series(1, 5) i;
update media_work set next_attempt_at = next_attempt_at - i * interval '1 second' from generate_series(1, 5) i where input ->> 'url' = 'a' || (6 - i);
select count(pg_temp.ask('b' || i, :'ub')) from generate_series(1, 2) i;
update media_work set next_attempt_at = next_attempt_at - i * interval '0.1 second' from generate_series(1, 2) i where input ->> 'url' = 'b' || (3 - i);
select pg_temp.ask('house', null) is not null as of_the_house;
-- nobody has used anything: who waits for the longest time; then who has used least
select i, pg_temp.turn(seconds) from unnest('{1,0.5,4,0.2,5,1,1,1,1}'::float8[]) with ordinality t (seconds, i);
select right(owner::text, 1) as owner, round(used::numeric, 1) as used, round(_fading(used, used_at - interval '10 minutes')::numeric, 1) as after_ten_minutes from media_use order by 1;
select _fading(1, '1970-01-01') < 1e-9 as long_ago, _fading(1, _now() + interval '1 day') as from_a_clock_turned_back, _fading(null, null) as never;
-- the same is wanted by both: done when it is the turn of the first of them
select count(pg_temp.ask('a' || i, :'ua')) from generate_series(6, 9) i;
select pg_temp.ask('a9', :'ub') = pg_temp.ask('a9', :'ub') as wanted_twice;
select right(user_id::text, 1) as user_id, kind, state, attempts, waiting_since is not null as waits from media_queue where id = _media_id('inspect', '{"url": "a9"}') order by 1;
select pg_temp.turn(1);
select count(*) filter (where since is not null) as waiting, count(due_at) as due, count(*) from media_requests where work_id = _media_id('inspect', '{"url": "a9"}');
-- what was asked for while it changed hands is set right
update media_requests set since = _now(), due_at = '-infinity' where work_id = _media_id('inspect', '{"url": "a9"}') and user_id = :'ub';
select pg_temp.turn(1);
select count(*) as still_due from media_requests where work_id = _media_id('inspect', '{"url": "a9"}') and due_at is not null;
-- later: after another attempt, both are waiting still
select pg_temp.ask('c', :'ua') = pg_temp.ask('c', :'ub') as c;
select input ->> 'url' as url, _settle_media_work(id, 'again', 'no connection', null, 0, null, null, null, null, owner, 0) from _claim_media_work('{t}', array[:'ua']::uuid[]);
select bool_and(due_at > _now()) as later, count(*) from media_requests where since is not null and work_id = _media_id('inspect', '{"url": "c"}');
update media_requests set due_at = '-infinity' where work_id = _media_id('inspect', '{"url": "c"}');
select pg_temp.turn(1);
select bool_and(r.due_at = w.next_attempt_at) as not_before_its_time from media_requests r join media_work w on w.id = r.work_id where r.user_id = :'ub' and w.input ->> 'url' = 'c';
-- lanes, and who has enough under way
delete from media_work;
select count(pg_temp.ask('a' || i, :'ua')), count(pg_temp.ask('b' || i, :'ub', 'cover')) from generate_series(1, 2) i;
select pg_temp.turn(1, '{f}', array[:'ub']::uuid[]) ~ '^b' as a_cover, pg_temp.turn(1, '{t}', array[:'ua']::uuid[]) as passed_over, pg_temp.turn(1, '{t}') ~ '^a' as what_fetches;
-- hosts of which enough is fetched, as they are written
select _media_host(jsonb_build_object('url', u)) from unnest('{https://A.example/x,http://u:p@b.example:8080?x,https://[::1]:80/a@b,ftp://c#d,media:1,nothing}'::text[]) u;
select pg_temp.ask('https://c.example/1', :'ub') is not null as c;
select kind from _claim_media_work('{t}', array[:'ua']::uuid[], '{b.example,c.example}');
select host from _claim_media_work('{t}', array[:'ua']::uuid[], '{b.example}');
select next_due > _now() is not false as nothing_else from _claim_media_work('{t}', array[:'ua']::uuid[]);
-- what is left with nobody who wants it goes; what another one wants stays
delete from media_work;
select pg_temp.ask('both', :'ua') = pg_temp.ask('both', :'ub') as both, pg_temp.ask('his', :'ua') is not null as his;
select _settle_media_work(id, 'done', null, 'audio/wav', 1, null, null, '{}', null) from _claim_media_work() where pg_temp.ask('his next', :'ua') is not null;
update media_work set state = 'running' where state = 'pending' and input ->> 'url' = 'his';
select _settle_media_work(id, 'done', null, 'audio/wav', 1, null, null, '{}', null) from media_work where state = 'running';
delete from accounts where user_id = :'ua';
select w.input ->> 'url' as url, w.state, m.last_used_at = '-infinity' as to_go, (select count(*) from media_requests r where r.work_id = w.id) from media_work w join media m on m.id = w.id order by 1;
select count(*) as waiting from media_queue;
select count(*) as files from _expire_media();
select input ->> 'url' as url from media_work order by 1;
delete from media_work;
-- many owners: found in pieces, all of them, each once
insert into accounts (user_id) select ('00000000-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid from generate_series(1, 700) i on conflict do nothing;
select count(pg_temp.ask('m' || i, ('00000000-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid)) from generate_series(1, 700) i;
do $$
declare
    c record;
    place uuid;
    n int := 0;
begin
    loop
        c := musicverse._claim_media_work(after => place);
        exit when c.id is null;
        place := c.after;
        n := n + 1;
        if n in (1, 250, 500, 650) then
            raise warning '% after %', n, coalesce(right(place::text, 3), 'nobody');
        end if;
    end loop;
    raise warning 'claimed %', n;
end
$$;
select count(*) from media_work where state = 'running' and attempts = 1;
delete from media_work;

-- ---- covers
select request_cover('Rain', 'Mira', 'ambient') as c \gset
select request_cover('Rain', 'Mira', 'ambient', size => 3000, format => 'jpeg') = :'c' as the_same, request_cover('Rain', 'Mira', 'ambient', peaks => '{0.1,1}') = :'c' as of_peaks;
select kind, input, state from media_work where id = :'c';
select cover_image(:'c') is null as not_yet;
update media_work set state = 'failed', last_error = 'no fonts' where id = :'c';
select pg_temp.refusal(format('select cover_image(%L)', :'c')), pg_temp.refusal(format('select cover_image(%L)', :'a'));
select request_cover('Rain', 'Mira', 'ambient') = :'c' as tried_again, state from media_work where id = :'c';
select state from media_work where id = :'c';
select pg_temp.refusal(format('select request_cover(%s)', a)) from (values (1, $$'x', 'y', size => 10$$), (2, $$'x', 'y', size => null$$), (3, $$'x', 'y', format => 'gif'$$),
    (4, $$'x', 'y', format => null$$), (5, $$'x', 'y', peaks => '{NaN}'$$), (6, $$repeat('x', 501), 'y'$$), (7, $$'x', 'y', peaks => '{{1},{2}}'$$)) v (n, a) order by n;
rollback;

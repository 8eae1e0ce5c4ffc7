-- What changes of rows tell: which events, with which data, and what is refused
set client_min_messages = warning;
create extension if not exists musicverse;
set search_path = musicverse, public;
\set SHOW_CONTEXT never
\set u '00000000-0000-4000-8000-0000000000d1'
\set v '00000000-0000-4000-8000-0000000000d2'
set timezone = 'UTC';
set datestyle = 'ISO, YMD';
truncate events, event_log, deliveries;
select (create_webhook(:'u', 'https://hooks.example.com/e', '{*}')).id as id \gset w_

create view public.regress_events as
select e.user_id, e.type, e.payload::jsonb -> 'data' as data, (select count(*) from deliveries d where d.event_id = e.id) as deliveries, e.id
  from events e;
create procedure public.regress_forget() language sql as $$
    truncate musicverse.deliveries, musicverse.event_log, musicverse.events;
$$;

-- the outline's ten, each by the change of state that it tells
insert into tracks (user_id, title, prompt, style) values (:'u', 'First light', 'Epic', 'Orchestral') returning id as track \gset
update tracks set title = 'Second light' where id = :'track';
update tracks set title = 'Second light' where id = :'track';
update tracks set updated_at = updated_at where id = :'track';
update tracks set deleted_at = now() where id = :'track';
update tracks set title = 'Nobody hears' where id = :'track';
update tracks set deleted_at = null where id = :'track';
delete from tracks where id = :'track';
insert into generation_jobs (user_id, prompt) values (:'u', 'Epic') returning id as job \gset
update generation_jobs set progress = 5 where id = :'job';
update generation_jobs set status = 'started' where id = :'job';
update generation_jobs set status = 'started' where id = :'job';
update generation_jobs set status = 'completed' where id = :'job';
insert into generation_jobs (user_id, prompt, status) values (:'u', 'Sad', 'started') returning id as job \gset
update generation_jobs set status = 'failed', error = 'refused' where id = :'job';
insert into generation_jobs (user_id, prompt) values (:'u', 'Never') returning id as job \gset
select cancel_job(:'job');
select record_payment(:'u', 'ev_1', 9.90, 'EUR', 'pending') is not null;
select record_payment(:'u', 'ev_1', 9.90, 'EUR', 'failed') is not null;
select record_payment(:'u', 'ev_1', 9.90, 'EUR', 'succeeded', occurred_at => now() + interval '1 minute') is not null;
select record_payment(:'u', 'ev_1', 9.90, 'EUR', 'succeeded', occurred_at => now() + interval '1 minute') is not null;
select record_subscription(:'u', 'ev_1', 'pro', 'trialing', '2026-04-01Z') is not null;
select record_subscription(:'u', 'ev_1', 'pro', 'active', '2026-05-01Z') is not null;
select record_subscription(:'u', 'ev_1', 'pro', 'cancelled', '2026-05-01Z') is not null;
select record_subscription(:'u', 'ev_1', 'pro', 'expired', '2026-05-01Z') is not null;
select type, coalesce(data ->> 'title', data ->> 'prompt', data ->> 'external_id') as what,
       coalesce(data ->> 'status', (data ->> 'deleted_at' is not null)::text) as state, data ->> 'error' as error, deliveries
  from public.regress_events order by id;
-- the data of each are what its schema in the catalogue says
select e.type, k as unknown from public.regress_events e join event_types t on t.name = e.type, jsonb_object_keys(e.data) k
 where not (t.schema -> 'properties' ? k)
union all
select e.type, k from public.regress_events e join event_types t on t.name = e.type, jsonb_array_elements_text(t.schema -> 'required') k
 where not (e.data ? k);
-- the body: its type, its time, the row, and nothing else
select payload ~ '^\{"type":"track.created","timestamp":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z","data":\{"id":"[^"]*","user_id":' as body,
       (payload::jsonb ->> 'timestamp')::timestamptz = created_at as timed, _uuid7_time(id) - created_at < '1 second' as id
  from events where type = 'track.created' order by id limit 1;
call public.regress_forget();

-- every type of column
create type public.regress_mood as enum ('calm', 'so "loud"');
create type public.regress_point as (x int, "Y y" text, at timestamptz, moods public.regress_mood[]);
create domain public.regress_count as bigint check (value >= 0);
create domain public.regress_user as uuid;
create domain public.regress_document as json;
create table public.regress_all (
    "User Id" public.regress_user, "The ""key""" int, gone int, b boolean, i2 smallint, i8 bigint, f4 real, f8 double precision,
    n numeric, nan numeric, inf float8, money_text char(5), v varchar(20), t text, bin bytea, d date, tm time, ttz timetz, ts timestamp,
    tz timestamptz, forever timestamptz, span interval, u uuid, j json, jb jsonb, mood public.regress_mood, ints int[][], texts text[],
    times timestamptz[], dates date[], point public.regress_point, points public.regress_point[], amount public.regress_count,
    document public.regress_document, range tstzrange, addr inet, bits bit(3), ts_vector tsvector, x xml, twice int generated always as ("The ""key""" * 2) stored
);
alter table public.regress_all drop column gone;
create trigger emit after insert or update or delete on public.regress_all for each row execute function emit_row_event('regress_row', 'User Id');
insert into public.regress_all values (:'u', 21, true, -2, 9007199254740993, 0.1, 1e300, 12345678901234567890.0987654321, 'NaN', '-Infinity', 'EUR',
    'vár', E'quote " slash \\ newline \n tab \t bell \x07', '\x00ff', '2026-03-09', '10:15', '10:15+02', '2026-03-09 10:15:00.5',
    '2026-03-09 10:15:00.5+02', 'infinity', '1 day 02:03:04', :'v', '{"b": 1, "a": [1e2, "\u00e9"], "a": 2}', '{"b": 1, "a": 2, "a": 3}', 'so "loud"', '{{1,2},{3,null}}',
    '{"a,b",null,"null"}', '{2026-03-09 10:15:00+02}', '{2026-03-09}', row(1, 'y', '2026-03-09 10:15+02', '{calm}'), array[row(2, null, null, null)::public.regress_point], 5,
    '{"deep": {"er": null}}', '[2026-03-09 10:15+02,)', '10.0.0.0/8', '101', 'a:1 b:2', '<a>é</a>');
select key, value from events, json_each((payload::json) -> 'data') where type = 'regress_row.created';
-- the same bytes from any session
create function public.regress_body() returns text language plpgsql as $$
begin
    truncate musicverse.events, musicverse.deliveries;
    update public.regress_all set t = case t when 'a' then 'b' else 'a' end;
    update public.regress_all set t = 'x';
    return (select payload::json ->> 'data' from musicverse.events order by id desc limit 1);
end
$$;
select public.regress_body() as body \gset
set timezone = 'America/St_Johns';
set datestyle = 'German, DMY';
set intervalstyle = 'iso_8601';
set extra_float_digits = -3;
set bytea_output = 'escape';
select public.regress_body() = :'body' as same_bytes;
select current_setting('timezone'), current_setting('datestyle'), current_setting('bytea_output');
reset extra_float_digits;
reset bytea_output;
reset intervalstyle;
set timezone = 'UTC';
set datestyle = 'ISO, YMD';
-- nothing but nulls
call public.regress_forget();
insert into public.regress_all ("User Id") values (:'v');
select count(*) as columns, count(*) filter (where value::text = 'null') as nulls, sum(deliveries) from public.regress_events, jsonb_each(data);
drop table public.regress_all;

-- documents that text and jsonb can't hold are mended, so that whoever reads events can
create table public.regress_wild (id int, user_id uuid, doc json, docs json[]);
create trigger emit after insert on public.regress_wild for each row execute function emit_row_event('regress', 'user_id');
call public.regress_forget();
select update_webhook(:'w_id', '{"filter": "$.data.id > 0"}');
insert into public.regress_wild values
    (1, :'u', '{"nul": "a\u0000b", "lone": "\ud800", "low": "x\udc00y", "pair": "\ud83d\ude00", "slash": "\\u0000", "quote": "\"1e99999999"}', null),
    (2, :'u', '[1e999999, -2.5E+3, 0, 12e-400000]', array['"\u0000"', '{"a": "\ud83d"}']::json[]);
insert into public.regress_wild values (3, :'u', ('[' || repeat('9', 200000) || ']')::json, null);
select data ->> 'id' as id, left(data ->> 'doc', 120) as doc, data ->> 'docs' as docs, deliveries from public.regress_events e order by e.id;
select count(*) from webhook_deliveries where payload is not null;
select count(*) from poll_events(:'u');
select update_webhook(:'w_id', '{"filter": null}');
drop table public.regress_wild;

-- whose event it is: nobody's, and after the user has changed
call public.regress_forget();
create table public.regress_notes (id int primary key, owner uuid, note text, removed_at timestamptz);
create trigger emit after insert or update or delete on public.regress_notes for each row execute function emit_row_event('note', 'owner', 'removed_at');
insert into public.regress_notes values (1, null, 'nobody'), (2, :'u', 'ours'), (3, :'v', 'theirs');
update public.regress_notes set note = note || '!' where id < 3;
update public.regress_notes set owner = :'v' where id = 2;
update public.regress_notes set owner = null where id = 3;
update public.regress_notes set owner = :'u' where id = 1;
delete from public.regress_notes;
select right(user_id::text, 2) as "user", type, data ->> 'note' as note, deliveries from public.regress_events order by id;
-- softly deleted, changed while it is, brought back, deleted for good
call public.regress_forget();
insert into public.regress_notes values (1, :'u', 'soft');
update public.regress_notes set removed_at = now(), note = 'going';
update public.regress_notes set note = 'gone';
update public.regress_notes set removed_at = null, note = 'back';
update public.regress_notes set removed_at = 'infinity';
delete from public.regress_notes;
insert into public.regress_notes values (1, :'u', 'born dead', now());
update public.regress_notes set note = 'still dead';
select type, data ->> 'note' as note from public.regress_events e order by e.id;
truncate public.regress_notes;

-- upsert, MERGE, data-modifying WITH, COPY, TRUNCATE
call public.regress_forget();
insert into public.regress_notes values (1, :'u', 'a') on conflict (id) do update set note = excluded.note;
insert into public.regress_notes values (1, :'u', 'b') on conflict (id) do update set note = excluded.note;
insert into public.regress_notes values (1, :'u', 'b') on conflict (id) do update set note = excluded.note;
insert into public.regress_notes values (1, :'u', 'c') on conflict do nothing;
merge into public.regress_notes n using (values (1, 'd'), (2, 'e'), (3, 'f')) s(id, note) on n.id = s.id
 when matched then update set note = s.note
 when not matched and s.id = 2 then insert values (s.id, '00000000-0000-4000-8000-0000000000d1', s.note)
 when not matched then do nothing;
merge into public.regress_notes n using (values (2)) s(id) on n.id = s.id when matched then delete;
with gone as (delete from public.regress_notes returning *), back as (insert into public.regress_notes select id + 10, owner, note from gone returning id)
select * from back;
copy public.regress_notes (id, owner, note) from stdin;
20	00000000-0000-4000-8000-0000000000d1	copied
\.
truncate public.regress_notes;
select type, data ->> 'id' as id, data ->> 'note' as note from public.regress_events e order by e.id;

-- updates that change nothing: large values, values stored before a column was there
call public.regress_forget();
alter table public.regress_notes alter note set storage external;
insert into public.regress_notes values (1, :'u', repeat('long ', 10000));
update public.regress_notes set note = note;
update public.regress_notes set note = repeat('long ', 10000);
alter table public.regress_notes add column added int, add column filled int default 7;
update public.regress_notes set note = note, added = null, filled = 7;
select type from public.regress_events order by id;
update public.regress_notes set note = repeat('Long ', 10000);
update public.regress_notes set added = 1;
select type, length(data ->> 'note') as length, data ->> 'added' as added from public.regress_events order by id;
drop table public.regress_notes;

-- partitioned, with columns in another order, and inherited
call public.regress_forget();
create table public.regress_parts (id int, owner uuid, note text) partition by range (id);
create table public.regress_part1 partition of public.regress_parts for values from (0) to (10);
create table public.regress_part2 (dropped int, note text, id int, owner uuid);
alter table public.regress_part2 drop column dropped;
alter table public.regress_parts attach partition public.regress_part2 for values from (10) to (20);
create trigger emit after insert or update or delete on public.regress_parts for each row execute function emit_row_event('part', 'owner');
insert into public.regress_parts values (1, :'u', 'one'), (11, :'u', 'eleven');
update public.regress_parts set note = note || '!';
update public.regress_parts set id = 12 where id = 1;
delete from public.regress_parts;
select type, data ->> 'id' as id, data ->> 'note' as note from public.regress_events e order by e.id;
drop table public.regress_parts;
call public.regress_forget();
create table public.regress_parent (id int, owner uuid);
create table public.regress_child (extra text) inherits (public.regress_parent);
create trigger emit after insert or update on public.regress_parent for each row execute function emit_row_event('parent', 'owner');
create trigger emit after insert or update on public.regress_child for each row execute function emit_row_event('child', 'owner');
insert into public.regress_parent values (1, :'u');
insert into public.regress_child values (2, :'u', 'more');
update public.regress_parent set id = id + 10;
select type, data - 'owner' as data from public.regress_events order by type, data;
drop table public.regress_parent cascade;

-- emit_state_event: listed values, other names for them, any insertion; on an enum, to NULL and from it
call public.regress_forget();
create table public.regress_orders (id int primary key, owner uuid, state public.regress_mood);
create trigger emit after insert or update or delete on public.regress_orders
    for each row execute function emit_state_event('order', 'owner', 'state', 'calm', 'so "loud"=shouted', 'insert:placed', 'insert:noted');
insert into public.regress_orders values (1, :'u', null), (2, :'u', 'calm'), (3, null, 'calm');
update public.regress_orders set state = 'calm';
update public.regress_orders set state = 'so "loud"';
update public.regress_orders set state = null where id = 1;
update public.regress_orders set state = 'calm' where id = 1;
delete from public.regress_orders;
select type, data ->> 'id' as id, data ->> 'state' as state from public.regress_events e order by e.id;
drop table public.regress_orders;

-- triggers that are not as they should be
call public.regress_forget();
create table public.regress_bad (id int, owner uuid, name text, gone timestamptz);
create function public.regress_try(timing text, call text, level text default 'for each row') returns void language plpgsql as $$
begin
    execute format('create trigger t %s on public.regress_bad %s execute function musicverse.%s', timing, level, call);
    insert into public.regress_bad values (1, '00000000-0000-4000-8000-0000000000d1');
    raise exception 'no error';
end
$$;
select public.regress_try('after insert', 'emit_row_event()', 'for each statement');
select public.regress_try('after insert', 'emit_row_event()');
select public.regress_try('after insert', 'emit_row_event(''bad'')');
select public.regress_try('after insert', 'emit_row_event(''bad'', ''owner'', ''gone'', ''more'')');
select public.regress_try('after insert', 'emit_row_event(''bad'', ''user_id'')');
select public.regress_try('after insert', 'emit_row_event(''bad'', ''Owner'')');
select public.regress_try('after insert', 'emit_row_event(''bad'', ''name'')');
select public.regress_try('after insert', 'emit_row_event(''bad'', ''ctid'')');
select public.regress_try('after insert', 'emit_row_event(''bad'', ''owner'', ''deleted_at'')');
select public.regress_try('after insert', 'emit_row_event('''', ''owner'')');
select public.regress_try('after insert', 'emit_row_event(''Bad "noun"'', ''owner'')');
select public.regress_try('before insert', 'emit_row_event(''bad'', ''owner'')');
select public.regress_try('after insert', 'emit_state_event(''bad'', ''owner'', ''name'')');
select public.regress_try('after insert', 'emit_state_event(''bad'', ''owner'', ''state'', ''x'')');
select public.regress_try('after insert', 'ensure_account(''owner'')');
select public.regress_try('before insert', 'ensure_account()');
select emit_row_event();
select count(*) from events;
drop table public.regress_bad;
drop function public.regress_try(text, text, text);

-- emit_event: what it takes
select emit_event(null, 'track.created', '{}');
select emit_event(:'u', null, '{}');
select emit_event(:'u', 'track.created', null);
select emit_event(:'u', 'track.vanished', '{}');
select emit_event(:'u', 'Track.created', '{}');
select emit_event(:'u', '', '{}');
select emit_event(:'u', 'track.created', '{}', '');
select emit_event(:'u', 'track.created', '{}', repeat('k', 256));
select emit_event('nobody', 'track.created', '{}');
select count(*) from events;
select emit_event(:'u', 'track.created', d::jsonb) is not null from unnest(array['{}', 'null', '"text"', '[1, {"a": 1.10}]', 'false', '1e3']) d;
select payload::json -> 'data' as data from events order by id;
select emit_event(:'v', 'track.created', '{}', repeat('k', 255)) = emit_event(:'v', 'track.updated', '{"other": 1}', repeat('k', 255)) as same;
select count(*) from events where user_id = :'v';
-- a type that was registered in a transaction that is rolled back is unknown again
begin;
select register_event_type('regress.passing', 'Rolled back', '{}');
select emit_event(:'u', 'regress.passing', '{}') is not null as emitted;
rollback;
select emit_event(:'u', 'regress.passing', '{}');
-- text of all kinds goes through as it is
call public.regress_forget();
select string_agg(chr(n), '') as chars from generate_series(1, 1000) n \gset
select emit_event(:'u', 'track.created', jsonb_build_object('title', :'chars' || E'\u2028 😀 \\ " </script> \u202e', E'k"\n', 1)) is not null as emitted;
insert into tracks (user_id, title) values (:'u', :'chars' || E'\u2028 😀 \\ " </script> \u202e');
select count(*), bool_and(data ->> 'title' = :'chars' || E'\u2028 😀 \\ " </script> \u202e') as same, bool_and(payload !~ '[\x01-\x1f]') as escaped
  from public.regress_events join events using (id);
-- large ones, and too large ones, which undo their statement
call public.regress_forget();
select emit_event(:'u', 'track.created', to_jsonb(repeat('x', 1000000))) is not null as emitted;
do $$
begin
    perform musicverse.emit_event('00000000-0000-4000-8000-0000000000d1', 'track.created', to_jsonb(repeat('x', 1048576)));
exception when program_limit_exceeded then
    raise warning '%', regexp_replace(sqlerrm, '104\d+', '104xxxx');
end
$$;
\set VERBOSITY sqlstate
insert into tracks (user_id, title, prompt) values (:'u', 'large', repeat('x', 1048576));
insert into tracks (user_id, title, prompt) values (:'u', 'larger', repeat('"', 600000));
\set VERBOSITY default
select count(*), max(length(payload)) > 1000000 as whole from events;
select count(*) from tracks where title like 'large%';

-- seen in the same transaction as soon as the statement is done, by whatever it was made
call public.regress_forget();
begin;
insert into tracks (user_id, title) values (:'u', 'seen');
select type, deliveries from public.regress_events;
delete from tracks where title = 'seen';
select type, deliveries from public.regress_events order by id;
rollback;
create function public.regress_steps() returns text language plpgsql as $$
<<f>>
declare
    id uuid := musicverse.emit_event('00000000-0000-4000-8000-0000000000d1', 'track.created', '{}');
    result text := (select count(*) from musicverse.events e where e.id = f.id);
begin
    insert into musicverse.tracks (user_id, title) values ('00000000-0000-4000-8000-0000000000d1', 'step') returning tracks.id into f.id;
    result := result || ' ' || (select count(*) from musicverse.events);
    id := musicverse.emit_event('00000000-0000-4000-8000-0000000000d1', 'track.updated', '{}');
    result := result || ' ' || (select count(*) from musicverse.events);
    if musicverse.emit_event('00000000-0000-4000-8000-0000000000d1', 'track.deleted', '{}') is not null then
        result := result || ' ' || (select count(*) from musicverse.events);
    end if;
    perform musicverse.emit_event('00000000-0000-4000-8000-0000000000d1', 'track.deleted', '{}');
    result := result || ' ' || (select count(*) from musicverse.events);
    execute 'select musicverse.emit_event($1, $2, $3)' using '00000000-0000-4000-8000-0000000000d1'::uuid, 'track.deleted', '{}'::jsonb;
    return result || ' ' || (select count(*) from musicverse.events);
end
$$;
select public.regress_steps();
call public.regress_forget();
select public.regress_steps() from generate_series(1, 2);
create function public.regress_sql() returns bigint language sql as $$
    select musicverse.emit_event('00000000-0000-4000-8000-0000000000d1', 'track.created', '{}');
    select count(*) from musicverse.events;
$$;
call public.regress_forget();
select public.regress_sql();
-- by a prepared statement, an SQL function in FROM, a default, EXPLAIN
prepare told as select emit_event($1, 'track.created', '{}') is not null as emitted;
execute told(:'u');
execute told(:'u');
create table public.regress_default (id int, event uuid default musicverse.emit_event('00000000-0000-4000-8000-0000000000d1', 'track.created', '{}'));
insert into public.regress_default values (1), (2);
select count(*) from public.regress_default d join events e on e.id = d.event;
select count(*) from (select emit_event(:'u', 'track.created', '{}') from generate_series(1, 10)) e;
begin;
explain (analyze, costs off, timing off, summary off) insert into tracks (user_id, title) values (:'u', 'explained') \g /dev/null
select data ->> 'title' as title from public.regress_events where type = 'track.created' and data ->> 'title' = 'explained';
rollback;
select count(*) from events;
drop table public.regress_default;

-- where nothing can be recorded
begin transaction read only;
select emit_event(:'u', 'track.created', '{}');
rollback;
create temporary table regress_temporary (id int, user_id uuid);
create trigger emit after insert on regress_temporary for each row execute function emit_row_event('temporary', 'user_id');
begin transaction read only;
insert into regress_temporary values (1, :'u');
rollback;
drop table regress_temporary;
-- ... and a transaction that becomes read-only keeps what it had
call public.regress_forget();
begin;
insert into tracks (user_id, title) values (:'u', 'written');
set transaction read only;
commit;
select type, deliveries, (select count(*) from event_log) as logged from public.regress_events;

-- our triggers leave the session as it was
create sequence public.regress_sequence start 41;
select nextval('public.regress_sequence');
insert into tracks (user_id, title) values (:'u', 'x'), ('00000000-0000-4000-8000-0000000000d3', 'of a new account');
select lastval();
do $$
declare
    n int;
begin
    update musicverse.tracks set title = 'y' where title = 'x';
    get diagnostics n = row_count;
    raise warning 'updated %, found %', n, found;
    update musicverse.tracks set title = 'z' where false;
    raise warning 'found %', found;
end
$$;
drop sequence public.regress_sequence;

-- a replica applies changes in silence; emit_event still speaks
call public.regress_forget();
set session_replication_role = replica;
insert into tracks (user_id, title) values (:'u', 'replicated');
select emit_event(:'u', 'track.created', '{"title": "by hand"}') is not null as emitted;
reset session_replication_role;
select data ->> 'title' as title from public.regress_events;

-- a session that restores a dump is silent, one that only looks a little like it is not
call public.regress_forget();
set check_function_bodies = false;
set row_security = off;
insert into tracks (user_id, title) values (:'u', 'not restored: a search_path');
select set_config('search_path', '', false);
insert into musicverse.tracks (user_id, title) values ('00000000-0000-4000-8000-0000000000d1', 'restored');
insert into musicverse.generation_jobs (user_id, prompt, status) values ('00000000-0000-4000-8000-0000000000d1', 'restored', 'failed');
insert into musicverse.payments (user_id, external_id, amount, currency, status) values ('00000000-0000-4000-8000-0000000000d1', 'restored', 1, 'EUR', 'succeeded');
insert into musicverse.subscriptions (user_id, external_id, tier, status) values ('00000000-0000-4000-8000-0000000000d1', 'restored', 'enterprise', 'active');
copy musicverse.tracks (user_id, title) from stdin;
00000000-0000-4000-8000-0000000000d1	restored
\.
update musicverse.tracks set title = 'restored again' where title = 'restored';
delete from musicverse.tracks where title = 'restored again';
set check_function_bodies = true;
insert into musicverse.tracks (user_id, title) values ('00000000-0000-4000-8000-0000000000d1', 'not restored: bodies');
set row_security = on;
insert into musicverse.tracks (user_id, title) values ('00000000-0000-4000-8000-0000000000d1', 'not restored: row security');
set search_path = musicverse, public;
select type, data ->> 'title' as title from public.regress_events order by id;
select tier from accounts where user_id = :'u';

drop view public.regress_events;
drop procedure public.regress_forget();
drop function public.regress_body(), public.regress_steps(), public.regress_sql();
drop type public.regress_point, public.regress_mood;
drop domain public.regress_count, public.regress_user, public.regress_document;
delete from accounts where user_id::text like '00000000-0000-4000-8000-0000000000d_';
truncate events, event_log, deliveries;
delete from event_keys;

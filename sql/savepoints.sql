-- Events belong to the subtransaction that recorded them: what is rolled back takes its own along, and no other
set client_min_messages = warning;
create extension if not exists musicverse;
set search_path = musicverse, public;
\set SHOW_CONTEXT never
\set u '00000000-0000-4000-8000-0000000000f1'
truncate events, event_log, deliveries;
select (create_webhook(:'u', 'https://hooks.example.com/s', '{*}')).id as id \gset w_

-- what there is: in the table, for the webhook, in the log (before the commit there is no log)
create view public.regress_told as
select string_agg(e.payload::jsonb -> 'data' ->> 'title', ' ' order by e.id) as events,
       string_agg(e.payload::jsonb -> 'data' ->> 'title', ' ' order by d.seq) filter (where d.id is not null) as deliveries,
       (select string_agg(x.payload::jsonb -> 'data' ->> 'title', ' ' order by l.position) from event_log l join events x on x.id = l.event_id
         where l.user_id = '00000000-0000-4000-8000-0000000000f1') as log
  from events e left join deliveries d on d.event_id = e.id where e.user_id = '00000000-0000-4000-8000-0000000000f1';
create function public.regress_tell(title text) returns uuid language sql
as $$ select musicverse.emit_event('00000000-0000-4000-8000-0000000000f1', 'track.created', jsonb_build_object('title', title)) $$;
create procedure public.regress_forget() language sql as $$
    truncate musicverse.tracks, musicverse.distributions, musicverse.distribution_work, musicverse.distribution_targets, musicverse.distribution_history, musicverse.release_recordings, musicverse.partner_syncs, musicverse.counter_snapshots, musicverse.generation_jobs, musicverse.generation_work, musicverse.deliveries, musicverse.event_log, musicverse.events;
$$;

-- to a savepoint, twice, and released
begin;
insert into tracks (user_id, title) values (:'u', '1');
savepoint a;
insert into tracks (user_id, title) values (:'u', 'not');
table public.regress_told;
rollback to a;
insert into tracks (user_id, title) values (:'u', '2');
table public.regress_told;
rollback to a;
insert into tracks (user_id, title) values (:'u', '3');
release a;
insert into tracks (user_id, title) values (:'u', '4');
commit;
table public.regress_told;
call public.regress_forget();

-- nested: the outer one takes what the inner ones released
begin;
insert into tracks (user_id, title) values (:'u', '1');
savepoint a;
insert into tracks (user_id, title) values (:'u', 'not a');
savepoint b;
insert into tracks (user_id, title) values (:'u', 'not b');
release b;
savepoint c;
insert into tracks (user_id, title) values (:'u', 'not c');
rollback to c;
insert into tracks (user_id, title) values (:'u', 'not c again');
rollback to a;
savepoint d;
insert into tracks (user_id, title) values (:'u', '2');
savepoint e;
insert into tracks (user_id, title) values (:'u', '3');
release d;
savepoint f;
insert into tracks (user_id, title) values (:'u', 'not f');
rollback to f;
commit;
table public.regress_told;
call public.regress_forget();

-- a whole transaction; one that only had savepoints; one that ends by an error
begin;
insert into tracks (user_id, title) values (:'u', 'not');
savepoint a;
insert into tracks (user_id, title) values (:'u', 'not');
rollback;
begin;
savepoint a;
insert into tracks (user_id, title) values (:'u', 'not');
rollback to a;
commit;
begin;
insert into tracks (user_id, title) values (:'u', 'not');
select 1 / 0;
commit;
table public.regress_told;
\set VERBOSITY terse
insert into tracks (user_id, title) values (:'u', 'not'), ('00000000-0000-4000-8000-0000000000f1', (1 / 0)::text);
insert into tracks (user_id, title, duration) values (:'u', 'not', 1), (:'u', 'not', 0);
\set VERBOSITY default
table public.regress_told;

-- exception blocks of PL/pgSQL, within each other
do $$
begin
    perform public.regress_tell('1');
    begin
        perform public.regress_tell('not');
        begin
            insert into musicverse.tracks (user_id, title) values ('00000000-0000-4000-8000-0000000000f1', 'not');
            raise exception 'inner';
        exception when raise_exception then
            perform public.regress_tell('not, from the handler');
        end;
        raise exception 'outer';
    exception when raise_exception then
        perform public.regress_tell('2');
    end;
    begin
        perform public.regress_tell('3');
    exception when others then
        perform public.regress_tell('not, as nothing failed');
    end;
    for n in 4 .. 7 loop
        begin
            perform public.regress_tell(n::text);
            if n % 2 = 1 then
                raise exception 'odd';
            end if;
        exception when raise_exception then
        end;
    end loop;
end
$$;
table public.regress_told;
call public.regress_forget();

-- a block that fails in the middle of a statement: the rows around it stay
create function public.regress_picky(title text) returns boolean language plpgsql as $$
begin
    perform public.regress_tell(title);
    if title = '2' then
        raise exception 'no';
    end if;
    return true;
exception when raise_exception then
    return false;
end
$$;
select n, emit_event(:'u', 'track.created', jsonb_build_object('title', 'row ' || n)) is not null as emitted, public.regress_picky(n::text) from generate_series(1, 3) n;
table public.regress_told;
call public.regress_forget();
-- ... also when it fails while triggers run
create function public.regress_trigger() returns trigger language plpgsql as $$
begin
    begin
        perform public.regress_tell('for ' || new.title);
        if new.title = '2' then
            raise exception 'no';
        end if;
    exception when raise_exception then
    end;
    return null;
end
$$;
create trigger regress after insert on tracks for each row execute function public.regress_trigger();
create trigger a_regress after insert on tracks for each row execute function public.regress_trigger();
insert into tracks (user_id, title) select :'u', n from generate_series(1, 3) n;
select (select count(*) from events) as events, (select count(*) from deliveries) as deliveries, (select count(*) from event_log) as log,
       (select string_agg(payload::jsonb -> 'data' ->> 'title', ', ' order by payload::jsonb -> 'data' ->> 'title') from events) as titles;
drop trigger regress on tracks;
drop trigger a_regress on tracks;
call public.regress_forget();

-- enough for several pieces: what is rolled back was in the tables already
begin;
savepoint a;
insert into tracks (user_id, title) select :'u', n from generate_series(1, 4500) n;
select count(*) from events;
rollback to a;
select count(*) from events;
insert into tracks (user_id, title) select :'u', n from generate_series(1, 2500) n;
commit;
select (select count(*) from events) as events, (select count(*) from deliveries) as deliveries, (select count(*) from event_log) as log,
       (select count(distinct position) from event_log) as positions, (select count(distinct seq) from deliveries) as numbers;
call public.regress_forget();
do $$
begin
    for n in 1 .. 3 loop
        begin
            insert into musicverse.tracks (user_id, title) select '00000000-0000-4000-8000-0000000000f1', i from generate_series(1, 2100) i;
            if n < 3 then
                insert into musicverse.tracks (user_id, title, duration) values ('00000000-0000-4000-8000-0000000000f1', 'x', 0);
            end if;
        exception when check_violation then
        end;
    end loop;
end
$$;
select (select count(*) from events) as events, (select count(*) from deliveries) as deliveries, (select count(*) from event_log) as log;
call public.regress_forget();

-- a cursor that goes on within a savepoint: its rows of that time are gone with it
begin;
declare c cursor for select n, emit_event(:'u', 'track.created', jsonb_build_object('title', n::text)) is not null as emitted from generate_series(1, 5) n;
fetch 2 from c;
table public.regress_told;
savepoint a;
fetch 1 from c;
table public.regress_told;
rollback to a;
table public.regress_told;
fetch 1 from c;
commit;
table public.regress_told;
call public.regress_forget();
-- one that is held: the commit runs it from its start, as the server does with any function in it
begin;
declare c cursor with hold for select n, emit_event(:'u', 'track.created', jsonb_build_object('title', n::text)) is not null as emitted from generate_series(1, 3) n;
fetch 1 from c;
commit;
fetch all from c;
close c;
table public.regress_told;
call public.regress_forget();

-- COPY, before a savepoint and behind it
begin;
copy tracks (user_id, title) from stdin;
00000000-0000-4000-8000-0000000000f1	1
00000000-0000-4000-8000-0000000000f1	2
\.
savepoint a;
copy tracks (user_id, title) from stdin;
00000000-0000-4000-8000-0000000000f1	not
\.
table public.regress_told;
rollback to a;
copy tracks (user_id, title) from stdin;
00000000-0000-4000-8000-0000000000f1	3
\.
commit;
table public.regress_told;
\set VERBOSITY terse
copy tracks (user_id, title, duration) from stdin;
00000000-0000-4000-8000-0000000000f1	not	1
00000000-0000-4000-8000-0000000000f1	not	0
\.
\set VERBOSITY default
table public.regress_told;
call public.regress_forget();

-- deferred: at the end of the transaction, or when it is told to
create table public.regress_deferred (id int primary key, user_id uuid, title text);
create constraint trigger emit after insert on public.regress_deferred deferrable initially deferred
    for each row execute function emit_row_event('regress', 'user_id');
begin;
insert into public.regress_deferred select n, :'u', n from generate_series(1, 3) n;
savepoint a;
insert into public.regress_deferred values (4, :'u', 'not');
rollback to a;
table public.regress_told;
set constraints all immediate;
table public.regress_told;
set constraints all deferred;
insert into public.regress_deferred values (5, :'u', '5');
table public.regress_told;
commit;
table public.regress_told;
begin;
insert into public.regress_deferred values (6, :'u', 'not');
rollback;
table public.regress_told;
drop table public.regress_deferred;
call public.regress_forget();

-- procedures that commit and roll back on their way
create procedure public.regress_steps() language plpgsql as $$
begin
    insert into musicverse.tracks (user_id, title) values ('00000000-0000-4000-8000-0000000000f1', '1');
    commit;
    insert into musicverse.tracks (user_id, title) values ('00000000-0000-4000-8000-0000000000f1', 'not');
    rollback;
    insert into musicverse.tracks (user_id, title) values ('00000000-0000-4000-8000-0000000000f1', '2');
    commit and chain;
    insert into musicverse.tracks (user_id, title) values ('00000000-0000-4000-8000-0000000000f1', '3');
end
$$;
call public.regress_steps();
table public.regress_told;
call public.regress_forget();

-- idempotency keys are rolled back as well
begin;
savepoint a;
select emit_event(:'u', 'track.created', '{"title": "not"}', 'key') as id \gset first_
rollback to a;
select emit_event(:'u', 'track.created', '{"title": "1"}', 'key') as id \gset second_
select emit_event(:'u', 'track.created', '{"title": "not again"}', 'key') = :'second_id' as same, :'first_id' <> :'second_id' as other;
commit;
table public.regress_told;
call public.regress_forget();
delete from event_keys;

-- two-phase commit is refused if there are events, and only then
begin;
insert into tracks (user_id, title) values (:'u', 'not');
prepare transaction 'regress_musicverse';
table public.regress_told;
begin;
select test_webhook(:'w_id') is not null as tested;
prepare transaction 'regress_musicverse';
begin;
create table public.regress_prepared ();
prepare transaction 'regress_musicverse';
commit prepared 'regress_musicverse';
drop table public.regress_prepared;
-- and the session goes on
insert into tracks (user_id, title) values (:'u', '1');
table public.regress_told;
call public.regress_forget();

drop view public.regress_told;
drop function public.regress_tell(text), public.regress_picky(text), public.regress_trigger();
drop procedure public.regress_forget(), public.regress_steps();
delete from accounts where user_id = :'u';

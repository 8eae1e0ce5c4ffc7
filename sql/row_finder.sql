-- The one row of get_job and get_track, which is found without an executor
-- where the plan allows it: whatever changes about the table, its policies and
-- its rights holds from the next call on.
set client_min_messages = warning;
create extension if not exists musicverse;
set search_path = musicverse, public;
\set u '00000000-0000-4000-8000-0000000004e1'
\set v '00000000-0000-4000-8000-0000000004e2'
\set job '00000000-0000-4000-8000-0000000004a1'
\set other '00000000-0000-4000-8000-0000000004a2'
\set track '00000000-0000-4000-8000-0000000004b1'
\pset format unaligned
\pset tuples_only on
begin;
insert into tiers (name, burst, refill_per_second, max_api_keys, max_webhooks, max_concurrent_jobs) values ('finder', 10000, 1000, 10, 10, 10);
select set_tier(:'u', 'finder') is not null, set_tier(:'v', 'finder') is not null;
insert into tracks (id, user_id, title) values (:'track', :'u', 'Long'), (gen_random_uuid(), :'v', 'Other');
insert into generation_jobs (id, user_id, prompt, track_id) values (:'job', :'u', 'a battle', :'track'), (:'other', :'v', 'not yours', null);
select key as key from create_api_key(:'u', 'finder', '{jobs:read,tracks:read}') \gset
select json_build_object('x-api-key', :'key') as headers \gset
create function pg_temp.ask(path text) returns text language sql as $$
    select status || ' ' || coalesce(body::json ->> 'job_id', body::json ->> 'id', body::json ->> 'detail', body)
           || coalesce(' with ' || (body::json ->> 'track_id'), '')
      from handle_request('GET', path, null, current_setting('t.headers')::jsonb, null)
$$;
select set_config('t.headers', :'headers', true) <> '' as set \gset
\set ask 'select pg_temp.ask(\'/api/v1/jobs/\' || :\'job\') union all select pg_temp.ask(\'/api/v1/jobs/\' || :\'other\') union all select pg_temp.ask(\'/api/v1/tracks/\' || :\'track\');'
-- one's own, but nobody else's
:ask
:ask
-- a policy more
create policy t_none on generation_jobs as restrictive for select using (prompt <> 'a battle');
:ask
drop policy t_none on generation_jobs;
create policy t_no_track on tracks as restrictive for select using (title = 'Short');
:ask
drop policy t_no_track on tracks;
:ask
-- one in another language, or with a query, is for the executor
create function public.t_may(title text) returns boolean language plpgsql as $$ begin return title <> 'Long'; end $$;
create policy t_language on tracks as restrictive for select using (public.t_may(title));
:ask
create or replace function public.t_may(title text) returns boolean language plpgsql as $$ begin return title = 'Long'; end $$;
:ask
drop policy t_language on tracks;
create policy t_query on tracks as restrictive for select using (exists (select from generation_jobs j where j.track_id = tracks.id and j.prompt = 'none'));
:ask
drop policy t_query on tracks;
-- one that fails, for one of the rows; and one that asks for the row again while it is sought
create policy t_fails on generation_jobs as restrictive for select using (1 / (length(prompt) - 8) > -2);
:ask
drop policy t_fails on generation_jobs;
create function public.t_again(id uuid) returns boolean language plpgsql as $$
begin
    return current_setting('t.depth')::int > 2 or set_config('t.depth', (current_setting('t.depth')::int + 1)::text, true) is null
        or musicverse._api_get_job(1, id) is not null;
end
$$;
select set_config('t.depth', '0', true);
create policy t_again on generation_jobs as restrictive for select using (public.t_again(id));
:ask
drop policy t_again on generation_jobs;
select set_config('t.depth', '0', true);
create policy t_again on generation_jobs as restrictive for select
    using (query_to_xml('select public.t_again(''00000000-0000-4000-8000-0000000004a1'')', false, false, '') is not null);
:ask
drop policy t_again on generation_jobs;
-- no policy at all, and none that is asked
drop policy own_rows on tracks;
:ask
alter table tracks disable row level security;
:ask
update tracks set user_id = :'v' where id = :'track';
:ask
update tracks set user_id = :'u' where id = :'track';
alter table tracks enable row level security;
create policy own_rows on tracks for select using (_may_see((select _viewer()), user_id));
:ask
-- rights of the table, of a column, of the functions in the policy
revoke select on tracks from public, musicverse_api;
:ask
grant select (id, title) on tracks to musicverse_api;
:ask
grant select on tracks to musicverse_api;
:ask
select string_agg(quote_ident(attname), ', ') as columns from pg_attribute where attrelid = 'tracks'::regclass and attnum > 0 and not attisdropped \gset
revoke select on tracks from musicverse_api;
grant select (:columns) on tracks to musicverse_api;
:ask
revoke select (prompt) on tracks from musicverse_api;
:ask
create role t_reader;
grant select on tracks to t_reader;
grant t_reader to musicverse_api;
alter role musicverse_api inherit;
:ask
revoke t_reader from musicverse_api;
:ask
alter role musicverse_api noinherit;
grant select on tracks to musicverse_api;
revoke execute on function _viewer() from public, musicverse_api;
:ask
grant execute on function _viewer() to musicverse_api;
:ask
-- the row type
alter table generation_jobs add column t_more text default 'more';
:ask
alter table generation_jobs drop column t_more;
:ask
-- a column that is younger than the rows, which have its default all the same
alter table generation_jobs add column t_hidden boolean default true;
create policy t_hides on generation_jobs as restrictive for select using (not coalesce(t_hidden, false));
:ask
drop policy t_hides on generation_jobs;
create policy t_shows on generation_jobs as restrictive for select using (t_hidden);
:ask
alter table generation_jobs drop column t_hidden cascade;
:ask
-- deleted, and as long as it is stored elsewhere
update tracks set deleted_at = now();
:ask
update tracks set deleted_at = null, prompt = (select string_agg(md5(n::text), '') from generate_series(1, 1000) n);
update generation_jobs set prompt = (select string_agg(md5(n::text), '') from generate_series(1, 1000) n) where id = :'job';
:ask
select md5(body::json ->> 'prompt') = (select md5(prompt) from generation_jobs where id = :'job')
  from handle_request('GET', '/api/v1/jobs/' || :'job', null, :'headers', null);
-- whose index is another one, or none that can be kept
alter table tracks drop constraint tracks_pkey cascade;
:ask
create unique index t_key on tracks (id);
:ask
drop index t_key;
create index t_hash on tracks using hash (id);
:ask
rollback;

-- What is different in version 2, and that both versions live side by side.
set client_min_messages = warning;
create extension if not exists musicverse;
\set SHOW_CONTEXT never
\pset format unaligned
\set a '00000000-0000-4000-8000-0000000000e4'
\set b '00000000-0000-4000-8000-0000000000e5'
create role regress_v2_service nologin;
create role regress_v2_user nologin;
select musicverse.expose_to('regress_v2_service', 'regress_v2_user', null);
grant usage on schema musicverse_v1, musicverse_v2 to regress_v2_user;
grant execute on all functions in schema musicverse_v1, musicverse_v2 to regress_v2_user;
create function public.regress_v2_mask(j json) returns text language sql as $$
    select regexp_replace(regexp_replace(regexp_replace(j::text, '"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"', '"TIME"', 'g'),
        '"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"', '"UUID"', 'g'), '("(position|next_after)" ?: ?)\d+', '\1N', 'g')
$$;

-- every operation is a function of its version, and takes the parameters of its route
select r.version, r.operation from musicverse.routes r
 where not exists (select from pg_proc p where p.pronamespace = to_regnamespace('musicverse_' || r.version) and p.proname = r.operation);
select p.oid::regprocedure as "without a route" from pg_proc p
 where p.pronamespace in ('musicverse_v1'::regnamespace, 'musicverse_v2'::regnamespace) and p.proname <> 'handle_request'
   and not exists (select from musicverse.routes r where 'musicverse_' || r.version = p.pronamespace::regnamespace::text and r.operation = p.proname);
select r.version, r.operation, name as "no such argument" from musicverse.routes r
  join pg_proc p on p.pronamespace = to_regnamespace('musicverse_' || r.version) and p.proname = r.operation,
  lateral (select e ->> 'name' from jsonb_array_elements(r.parameters) e union select jsonb_object_keys(r.request_schema -> 'properties')) n (name)
 where name <> all (coalesce(p.proargnames, '{}'));
select r.version, r.operation, name as "not described" from musicverse.routes r
  join pg_proc p on p.pronamespace = to_regnamespace('musicverse_' || r.version) and p.proname = r.operation, unnest(p.proargnames) name
 where not r.is_raw and not exists (select from jsonb_array_elements(r.parameters) e where e ->> 'name' = name) and not coalesce(r.request_schema -> 'properties' ? name, false);
-- what must be given is required
select r.version, r.operation, name as "required, or not" from musicverse.routes r
  join pg_proc p on p.pronamespace = to_regnamespace('musicverse_' || r.version) and p.proname = r.operation,
  unnest(p.proargnames) with ordinality a (name, n)
 where not r.is_raw and (n <= p.pronargs - p.pronargdefaults) is distinct from
       (exists (select from jsonb_array_elements(r.parameters) e where e ->> 'name' = name and (e ->> 'required')::boolean)
        or coalesce(r.request_schema -> 'required' ? name, false));
-- GET reads, the others write; what has a body has a schema; what has none is 204
select r.version, r.operation, r.method, p.provolatile from musicverse.routes r
  join pg_proc p on p.pronamespace = to_regnamespace('musicverse_' || r.version) and p.proname = r.operation
 where not r.is_raw and ((r.method = 'GET') <> (p.provolatile = 's') or (r.response_schema is null) <> (p.prorettype = 'void'::regtype) or (r.status = 204) <> (p.prorettype = 'void'::regtype)
    or p.prosecdef);
select r.version, r.operation from musicverse.routes r where r.is_list <> coalesce(r.operation in (select p.proname from pg_proc p where 'cursor' = any (p.proargnames)), false);
select version, count(*) as routes, count(*) filter (where is_list) as lists from musicverse.routes group by version order by version;
-- the versions differ in these
select coalesce(a.operation, b.operation) as operation, a.method || ' ' || a.path as v1, b.method || ' ' || b.path as v2
  from (select * from musicverse.routes where version = 'v1') a full join (select * from musicverse.routes where version = 'v2') b using (operation)
 where (a.method, replace(a.path, '/api/v1', '')) is distinct from (b.method, replace(b.path, '/api/v2', '')) order by 1;

-- one job, as both show it
insert into musicverse.tracks (user_id, title, audio_url) values (:'a', 'Dawn', 'https://cdn.example.com/1.flac') returning id as track_id \gset
insert into musicverse.generation_jobs (user_id, prompt, status, track_id) values (:'a', 'Dawn', 'completed', :'track_id') returning id as job_id \gset
insert into musicverse.generation_jobs (user_id, prompt, created_at) values (:'a', 'Older', '2026-01-01'), (:'b', 'Theirs', '2026-01-02');
set role regress_v2_user;
select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-0000000000e4", "role": "regress_v2_user"}', false) is not null as claimed;
select public.regress_v2_mask(musicverse_v1.get_job(:'job_id'));
select public.regress_v2_mask(musicverse_v2.get_job(:'job_id'));
select public.regress_v2_mask(musicverse_v2.list_jobs());
select p.proname, p.pronamespace::regnamespace from pg_proc p
 where p.pronamespace in ('musicverse_v1'::regnamespace, 'musicverse_v2'::regnamespace) and 'offset' = any (p.proargnames) and p.proname = 'list_jobs';
select musicverse_v2.list_jobs("limit" => 1) ->> 'next_cursor' as cursor \gset
select musicverse_v2.list_jobs(1, :'cursor') #>> '{data,0,prompt}' as prompt;
-- a cursor goes on in the other version
select musicverse_v1.list_jobs(1, :'cursor') #>> '{data,0,prompt}' as prompt;
-- the same of a track is the same
select musicverse_v1.get_track(:'track_id')::text = musicverse_v2.get_track(:'track_id')::text as same;

-- events, in the order of their commits
select public.regress_v2_mask(musicverse_v1.poll_events("limit" => 1));
select musicverse_v1.poll_events() ->> 'next_after' as after \gset
select public.regress_v2_mask(musicverse_v1.poll_events(:'after'));
select musicverse_v2.list_events() ->> 'next_cursor' as cursor \gset
select json_array_length(musicverse_v2.list_events(20, :'cursor') -> 'data') as none;
select musicverse_v2.delete_track(:'track_id');
select string_agg(e ->> 'type', ',') from json_array_elements(musicverse_v2.list_events(20, :'cursor') -> 'data') e;
select string_agg(e ->> 'type', ',') from json_array_elements(musicverse_v1.poll_events(:'after') -> 'data') e;
\set VERBOSITY sqlstate
select musicverse_v1.poll_events(-1);
select musicverse_v1.poll_events(null);
select musicverse_v1.poll_events(0, 0);
select musicverse_v2.list_events(20, 'x');
\set VERBOSITY default
-- in a read-only transaction, as PostgREST has it for GET
begin read only;
select json_array_length(musicverse_v2.list_jobs() -> 'data') as jobs, musicverse_v1.get_me() ->> 'tier' as tier,
       json_array_length(musicverse_v1.poll_events() -> 'data') > 0 as events, json_array_length(musicverse_v2.list_deliveries() -> 'data') as deliveries;
commit;
reset role;

-- what the lists cost: by an index, in its order, whatever there is besides
insert into musicverse.tracks (user_id, title, style, created_at)
select case when n % 10 = 0 then :'a' else :'b' end::uuid, n, 's' || n % 7, '2025-01-01Z'::timestamptz + n * interval '1 s' from generate_series(1, 3000) n;
insert into musicverse.generation_jobs (user_id, prompt, status, created_at)
select case when n % 10 = 0 then :'a' else :'b' end::uuid, n, 'failed', '2025-01-01Z'::timestamptz + n * interval '1 s' from generate_series(1, 3000) n;
analyze musicverse.tracks, musicverse.generation_jobs;
create function public.regress_v2_plan(query text) returns setof text language plpgsql as $$
declare
    line text;
begin
    for line in execute 'explain (costs off) ' || query loop
        if line ~ 'Scan|Sort|Index Cond' then
            return next regexp_replace(btrim(line), '''[^'']*''::\S+|\$\d+', '?', 'g');
        end if;
    end loop;
end
$$;
set role regress_v2_user;
set search_path = musicverse;
set plan_cache_mode = force_generic_plan;
prepare tracks_down as select t from tracks t where t.user_id = $1 and t.deleted_at is null and (t.created_at, t.id) < ($2, $3)
   and t.created_at >= $4 and t.created_at < $5 order by t.created_at desc, t.id desc limit $6 + 1 offset $7;
prepare tracks_up as select t from tracks t where t.user_id = $1 and t.style = $2 and t.deleted_at is null and (t.created_at, t.id) > ($3, $4)
   order by t.created_at, t.id limit $5;
prepare jobs_down as select j from generation_jobs j where j.user_id = $1 and j.status = $2 and (j.created_at, j.id) < ($3, $4)
   order by j.created_at desc, j.id desc limit $5;
select public.regress_v2_plan($q$execute tracks_down('00000000-0000-4000-8000-0000000000e4', 'infinity', '00000000-0000-4000-8000-0000000000e4', '-infinity', 'infinity', 20, 0)$q$);
select public.regress_v2_plan($q$execute tracks_up('00000000-0000-4000-8000-0000000000e4', 's1', '-infinity', '00000000-0000-4000-8000-0000000000e4', 20)$q$);
select public.regress_v2_plan($q$execute jobs_down('00000000-0000-4000-8000-0000000000e4', 'failed', 'infinity', '00000000-0000-4000-8000-0000000000e4', 20)$q$);
reset plan_cache_mode;
-- and so do the operations themselves: what a page reads is about what it shows
reset role;
select id as hook_id from musicverse.create_webhook(:'a', 'https://hooks.example.com/v2', '{track.*}') \gset
select count(musicverse.emit_event(:'a', 'track.created', '{}')) from generate_series(1, 200);
select count(*) from musicverse.create_webhook(:'b', 'https://hooks.example.com/v2', '{track.*}');
select count(musicverse.emit_event(:'b', 'track.created', '{}')) from generate_series(1, 3000);
analyze musicverse.deliveries, musicverse.events, musicverse.webhook_endpoints;
create function public.regress_v2_reads(out relation text, out scanned bigint, out fetched_few boolean) returns setof record language sql as $$
    select regexp_replace(relname::text, '_(\d{8}|default)$', ''), sum(seq_tup_read)::bigint, sum(idx_tup_fetch) < 400 from pg_stat_xact_user_tables
     where schemaname = 'musicverse' and relname ~ '^(tracks|generation_jobs|deliveries_|events_)' group by 1 order by 1 $$;
set role regress_v2_user;
begin;
select json_array_length(musicverse_v2.list_tracks() -> 'data') as tracks, json_array_length(musicverse_v2.list_tracks(style => 's1', sort => 'created_at') -> 'data') as by_style,
       json_array_length(musicverse_v2.list_jobs() -> 'data') as jobs, json_array_length(musicverse_v2.list_jobs(status => 'failed') -> 'data') as failed,
       json_array_length(musicverse_v2.list_deliveries() -> 'data') as deliveries,
       json_array_length(musicverse_v2.list_deliveries(20, webhook_id => :'hook_id') -> 'data') as of_webhook;
select * from public.regress_v2_reads() where scanned > 0 or not fetched_few;
rollback;
reset role;
reset search_path;
delete from musicverse.accounts where user_id in (:'a', :'b');
drop function public.regress_v2_mask, public.regress_v2_plan, public.regress_v2_reads;
drop owned by regress_v2_service, regress_v2_user;
drop role regress_v2_service, regress_v2_user;
delete from musicverse.exposed_roles where role_name like 'regress\_v2\_%';

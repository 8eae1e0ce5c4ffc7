-- The JSON of jobs and tracks that C writes: the same bytes as the server's own
-- functions make. And where a list has its cursor.
set client_min_messages = warning;
create extension if not exists musicverse;
set search_path = musicverse, public;
\pset format unaligned
\pset tuples_only on
begin;
-- times: none differs
select t from (values ('2026-11-22 22:31:23.12+00'::timestamptz), ('2026-11-22 22:31:23'), ('1999-12-31 23:59:59.999999+00'), ('1970-01-01 00:00+00'),
    ('0001-01-01 00:00+00'), ('0044-03-15 12:00+00 BC'), ('4713-01-01 00:00+00 BC'), ('12345-06-07 08:09:10.000001+00'), ('294276-12-31 23:59:59+00'),
    ('infinity'), ('-infinity'), (null)) v (t)
 where _api_time(t) is distinct from to_char(t at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
select count(*) from generate_series(1, 20000) n, lateral (select '2000-01-01Z'::timestamptz + (n - 10000) * interval '17 days 3:07:11.000013' as t) s
 where _api_time(t) is distinct from to_char(t at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
create function pg_temp.iso(t timestamptz) returns text language sql as $$ select to_char(t at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') $$;
create function pg_temp.track(t tracks) returns text language sql as $$
    select json_build_object('id', t.id, 'title', t.title, 'style', t.style, 'prompt', t.prompt, 'duration', t.duration, 'audio_url', t.audio_url,
        'cover_url', t.cover_url, 'metadata', t.metadata, 'isrc', t.isrc, 'created_at', pg_temp.iso(t.created_at), 'updated_at', pg_temp.iso(t.updated_at))
$$;
create function pg_temp.job_v1(j generation_jobs, t tracks) returns text language sql as $$
    select json_build_object('job_id', j.id, 'status', j.status, 'progress', j.progress, 'prompt', j.prompt, 'style', j.style, 'duration', j.duration,
        'params', j.params, 'track_id', t.id, 'result_url', t.audio_url, 'error', j.error, 'created_at', pg_temp.iso(j.created_at),
        'started_at', pg_temp.iso(j.started_at), 'finished_at', pg_temp.iso(j.finished_at))
$$;
create function pg_temp.job_v2(j generation_jobs, t tracks) returns text language sql as $$
    select json_build_object('id', j.id, 'status', j.status, 'progress', j.progress, 'prompt', j.prompt, 'style', j.style, 'duration', j.duration,
        'params', j.params, 'track', case when t.id is not null then pg_temp.track(t)::json end, 'error', j.error, 'created_at', pg_temp.iso(j.created_at),
        'started_at', pg_temp.iso(j.started_at), 'finished_at', pg_temp.iso(j.finished_at))
$$;
insert into tracks (id, user_id, title, style, prompt, duration, audio_url, metadata, isrc, created_at, deleted_at)
select gen_random_uuid(), '00000000-0000-4000-8000-0000000002e1', title, nullif(title, ''), repeat(title, 3000), n, 'https://cdn.example.com/' || n,
       jsonb_build_object('a', title, 'n', array[1.50, null, -0.0]), null, '2026-01-01Z'::timestamptz + n * interval '1.000001 s', null
  from unnest(array['', 'plain', E'"quoted" \\ and / ', E'tab\t, line\n, bell\x07, del\x7f', 'größer → 音楽 🎵']) with ordinality u (title, n);
insert into generation_jobs (user_id, prompt, style, duration, params, status, track_id, error)
select t.user_id, t.title, t.style, t.duration, t.metadata, 'queued', case when t.title <> 'plain' then t.id end, t.title from tracks t
 where t.user_id = '00000000-0000-4000-8000-0000000002e1';
select count(*) as tracks from tracks t where t.user_id = '00000000-0000-4000-8000-0000000002e1' and _api_track(t)::text = pg_temp.track(t);
select count(*) as jobs, count(t.id) as with_track from generation_jobs j left join tracks t on t.id = j.track_id
 where j.user_id = '00000000-0000-4000-8000-0000000002e1' and _api_job(1, j, t)::text = pg_temp.job_v1(j, t) and _api_job(2, j, t)::text = pg_temp.job_v2(j, t);
select _api_track(null) is null, _api_track(row(null, null, null, null, null, null, null, null, null, null, null, null, null)::tracks) is null, _api_job(1, null, null) is null;
-- what has to be escaped, at every place of eight characters: none differs
select n, c from generate_series(0, 24) n, unnest(array['"', '\', E'\x01', E'\x1f', ' ', '!', '#', '[', ']', E'\x7f', 'ü', '音', '']) c,
       lateral (select repeat('a', n) || c || repeat('b', 24 - n) as title) t
 where (_api_track(jsonb_populate_record(null::tracks, jsonb_build_object('id', gen_random_uuid(), 'title', title))) -> 'title')::text <> to_json(title)::text;
-- after a change of the row type the columns are where they are now
alter table tracks drop column prompt;
alter table tracks add column prompt text, add column later int;
update tracks set prompt = 'again', later = 1;
select count(*) as tracks from tracks t where t.user_id = '00000000-0000-4000-8000-0000000002e1' and _api_track(t)::text = pg_temp.track(t);
rollback;

-- the cursor of a list: its last member, or any other of the top, and of nothing below
create function musicverse_v1.t_tail(n int) returns text language sql stable
return (array['{"data" : [], "next_cursor" : "abc-_9"}', '{"data": [], "next_cursor": "abc"}', '{"next_cursor":"abc"}  ', '{"data" : [], "next_cursor" : null}',
              '{"next_cursor" : "abc", "data" : []}', '{"data" : {"next_cursor" : "abc"}}', '{"a\"next_cursor" : "abc"}', '{"the next_cursor" : "abc"}',
              '{"data" : [], "next_cursor" : "a\u0062c"}', '{"data" : "\"next_cursor\" : \"abc\"}"}', '{"next_cursor" : ["abc"]}', '{"x" : "abc"}', '{}', '"}', ''])[n];
insert into routes (version, method, path, operation, needs_key, is_list, summary) values ('v1', 'GET', '/t/tail/{n}', 't_tail', false, true, 'x');
select n, r.status, r.headers ->> 'Link' from generate_series(1, 15) n, handle_request('GET', '/t/tail/' || n, null, null, null) r;
delete from routes where operation = 't_tail';
drop function musicverse_v1.t_tail(int);

-- Idempotency-Key by SQL: what is given again, what is refused, what is not kept, and by whom it can be seen.
set client_min_messages = warning;
create extension if not exists musicverse;
set search_path = musicverse, public;
\set SHOW_CONTEXT never
\set u '00000000-0000-4000-8000-0000000001f1'
\set v '00000000-0000-4000-8000-0000000001f2'
\pset format unaligned
\pset tuples_only on

create sequence public.t_runs;
grant usage on sequence public.t_runs to public;
create function musicverse_v1.t_make(title text, times int default 1) returns json language plpgsql as $$
begin
    case title
        when 'invalid' then raise exception 'not that title' using errcode = '22023';
        when 'broken' then raise exception 'broken' using errcode = 'XX000';
        when 'busy' then raise exception 'busy' using errcode = 'PT429';
        when 'nothing' then return null;
        else null;
    end case;
    return json_build_object('run', nextval('public.t_runs'), 'secret', 'whsec_' || title);
end
$$;
create function musicverse_v1.t_forget(title text) returns void language plpgsql as $$ begin perform nextval('public.t_runs'); end $$;
insert into routes (version, method, path, operation, needs_key, status, summary, request_schema) values
    ('v1', 'POST', '/t/make', 't_make', false, 201, 'x', '{}'), ('v1', 'POST', '/t/forget', 't_forget', false, 200, 'x', '{}'), ('v1', 'PUT', '/t/make/{title}', 't_put', false, 200, 'x', '{}');
insert into tiers (name, burst, refill_per_second, max_api_keys, max_webhooks, max_concurrent_jobs) values ('rest3', 10000, 1000, 10, 10, 10);
select set_tier(:'u', 'rest3'), set_tier(:'v', 'rest3');
select key as k from create_api_key(:'u', 'x') \gset
select key as other from create_api_key(:'v', 'x') \gset

create function pg_temp.call(key text, idempotency_key text, body text, path text default '/t/make') returns text language sql as $$
    select status || ' ' || coalesce(headers ->> 'Idempotency-Replayed', 'new') || ' ' || coalesce(regexp_replace(body, ',"request_id":"[^"]*"', ''), '(none)')
      from handle_request('POST', path, null, jsonb_strip_nulls(jsonb_build_object('X-API-Key', key, 'Idempotency-Key', idempotency_key)), body)
$$;

\echo -- the first answer again, also with the quotes of a structured field
select pg_temp.call(:'k', 'one', '{"title": "x"}');
select pg_temp.call(:'k', 'one', '{"title": "x"}');
select pg_temp.call(:'k', '"one"', '{"title": "x"}');
select headers - '{X-Request-Id,RateLimit,RateLimit-Policy}'::text[] from handle_request('POST', '/t/make', null, jsonb_build_object('X-API-Key', :'k', 'idempotency-key', 'one'), '{"title": "x"}');
select pg_temp.call(:'k', 'void', '{"title": "x"}', '/t/forget'), pg_temp.call(:'k', 'void', '{"title": "x"}', '/t/forget');
\echo -- another request
select pg_temp.call(:'k', 'one', '{"title": "y"}');
select pg_temp.call(:'k', 'one', '{"title": "x"}', '/t/make?');
select pg_temp.call(:'k', 'one', '{"title": "x"}', '/t/make?x=1');
select pg_temp.call(:'k', 'one', '{"title": "x"}', '/t/forget');
\echo -- of somebody else, of nobody, none
select pg_temp.call(:'other', 'one', '{"title": "x"}');
select pg_temp.call(null, 'one', '{"title": "x"}'), pg_temp.call(null, 'one', '{"title": "x"}');
select pg_temp.call(:'k', null, '{"title": "x"}');
select pg_temp.call(:'k', x, '{"title": "x"}') from unnest(array['', '""', repeat('x', 256), 'ü']) x;
select left(pg_temp.call(:'k', repeat('x', 255), '{"title": "x"}'), 7);
\echo -- what the operation refused is kept; what never reached it, broke or was too much is not
select pg_temp.call(:'k', 'bad', '{"title": "invalid"}'), pg_temp.call(:'k', 'bad', '{"title": "invalid"}');
select pg_temp.call(:'k', 'nothing', '{"title": "nothing"}'), pg_temp.call(:'k', 'nothing', '{"title": "nothing"}');
select left(pg_temp.call(:'k', 'broken', '{"title": "broken"}'), 8), left(pg_temp.call(:'k', 'broken', '{"title": "broken"}'), 8), pg_temp.call(:'k', 'broken', '{"title": "x"}');
select left(pg_temp.call(:'k', 'busy', '{"title": "busy"}'), 7), pg_temp.call(:'k', 'busy', '{"title": "x"}');
select left(pg_temp.call(:'k', 'syntax', '{"title": '), 7), pg_temp.call(:'k', 'syntax', '{"title": "x"}');
\echo -- with the transaction or not at all
begin;
select pg_temp.call(:'k', 'undone', '{"title": "x"}');
select pg_temp.call(:'k', 'undone', '{"title": "x"}');
rollback;
select pg_temp.call(:'k', 'undone', '{"title": "x"}');
begin isolation level repeatable read;
select pg_temp.call(:'k', 'undone', '{"title": "x"}'), pg_temp.call(:'k', 'rr', '{"title": "x"}');
commit;
\echo -- nothing of it is legible, nor good for anybody else
select count(*) > 5, bool_or(position('whsec'::bytea in response) > 0), count(distinct user_id) from idempotency_keys where user_id in (:'u', :'v');
update idempotency_keys set response = (select response from idempotency_keys where key = 'one' and user_id = :'u') where key = 'one' and user_id = :'v';
select pg_temp.call(:'other', 'one', '{"title": "x"}');
\echo -- kept for a time
update idempotency_keys set created_at = now() - interval '25 hours' where key in ('one', 'undone') and user_id = :'u';
select pg_temp.call(:'k', 'one', '{"title": "another"}');
select pg_temp.call(:'k', 'one', '{"title": "another"}');
select _tend_idempotency_keys('24 hours');
select count(*) from idempotency_keys where key in ('one', 'undone') and user_id = :'u';

delete from routes where path like '/t/%';
delete from accounts where user_id in (:'u', :'v');
delete from tiers where name = 'rest3';
drop function musicverse_v1.t_make, musicverse_v1.t_forget;
drop sequence public.t_runs;

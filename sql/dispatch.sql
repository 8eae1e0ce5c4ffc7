-- The dispatcher by SQL: routes, arguments, bodies, problems, who is who.
set client_min_messages = warning;
create extension if not exists musicverse;
set search_path = musicverse, public;
\set SHOW_CONTEXT never
\set u '00000000-0000-4000-8000-0000000001e1'
\set v '00000000-0000-4000-8000-0000000001e2'
\pset format unaligned
\pset tuples_only on

-- operations and routes of our own, for as long as this file runs
create function musicverse_v1.t_get(track_id uuid) returns json language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    return (select json_build_object('id', t.id, 'title', t.title) from musicverse.tracks t where t.id = track_id);
end
$$;
create function musicverse_v1.t_echo(title text, duration int default 30, ratio numeric default null, tags text[] default null,
    ids uuid[] default null, at timestamptz default null, day date default null, kind uuid default null, extra jsonb default null,
    loud boolean default false, "Odd ""name" text default 'x', nets cidr[] default null) returns json language sql as $$
    select json_strip_nulls(json_build_object('title', title, 'duration', duration, 'ratio', ratio, 'tags', tags, 'ids', ids, 'at', at at time zone 'UTC',
        'day', day, 'kind', kind, 'extra', extra, 'loud', loud, 'odd', "Odd ""name", 'nets', nets))
$$;
create function musicverse_v1.t_list("limit" int default 20, cursor text default null, tags text[] default null, since timestamptz default null)
returns json language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    return json_build_object('data', to_json(tags), 'limit', "limit", 'from', musicverse._open_cursor('t_list', cursor),
        'since', since at time zone 'UTC', 'next_cursor', case when "limit" < 100 then musicverse._cursor('t_list', 'after ' || "limit") end);
end
$$;
create function musicverse_v1.t_who() returns jsonb language plpgsql stable as $$
begin
    return jsonb_build_object('role', current_user, 'user', musicverse.current_user_id(), 'service', musicverse.caller_is_service(),
        'tracks', (select count(*) from musicverse.tracks), 'accounts', (select count(*) from musicverse.accounts));
end
$$;
create function musicverse_v1.t_fail(state text, message text, detail text default '', hint text default '') returns json language plpgsql as $$
begin
    perform set_config('work_mem', '77MB', false);
    raise exception '%', message using errcode = state, detail = detail, hint = hint;
end
$$;
create function musicverse_v1.t_do(what text) returns json language plpgsql as $$
begin
    execute what;
    return '{}';
end
$$;
create function musicverse_v1.t_void() returns void language sql as $$ $$;
create function musicverse_v1.t_raw("_body" text, "_headers" jsonb) returns text language sql as $$
    select _body || '|' || (_headers ->> 'x-test')
$$;
create function musicverse_v1.t_two(a int) returns json language sql as $$ select '1'::json $$;
create function musicverse_v1.t_two(a text) returns json language sql as $$ select '2'::json $$;
insert into routes (version, method, path, operation, scope, needs_key, status, response_type, summary, parameters, request_schema, is_list, has_etag) values
    ('v1', 'GET',    '/t/tracks/{track_id}', 't_get', 'tracks:read', true, 200, 'application/json', 'x', '[]', null, false, true),
    ('v1', 'POST',   '/t/echo',  't_echo', null, true, 201, 'application/json', 'x', '[{"in":"query","name":"loud"}]',
        '{"type":"object","required":["title"],"additionalProperties":false,"properties":{
            "title":{"type":"string","minLength":1,"maxLength":10},"duration":{"type":"integer","minimum":1,"maximum":240},
            "ratio":{"type":"number","exclusiveMinimum":0},"kind":{"type":["string","null"]},"day":{},"at":{},"ids":{},"nets":{},"Odd \"name":{"enum":["x","y",null]},
            "tags":{"type":"array","minItems":1,"maxItems":3,"items":{"type":"string","maxLength":3}},
            "extra":{"type":"object","required":["a/b"],"properties":{"a/b":{"const":1},"n":{"type":"null"}}}}}', false, false),
    ('v1', 'GET',    '/t/list',  't_list', null, true, 200, 'application/json', 'x', '[]', null, true, false),
    ('v1', 'GET',    '/t/who',   't_who',  null, false, 200, 'application/json', 'x', '[]', null, false, false),
    ('v1', 'DELETE', '/t/who',   't_void', 'tracks:write', true, 200, 'application/json', 'x', '[]', null, false, false),
    ('v1', 'POST',   '/t/fail',  't_fail', null, false, 200, 'application/json', 'x', '[]', '{}', false, false),
    ('v1', 'POST',   '/t/do',    't_do',   null, false, 200, 'application/json', 'x', '[]', '{}', false, false),
    ('v1', 'POST',   '/t/raw',   't_raw',  null, false, 200, 'text/plain; charset=utf-8', 'x', '[]', null, false, false),
    ('v1', 'GET',    '/t/two/{a}', 't_two', null, false, 200, 'application/json', 'x', '[]', null, false, false),
    ('v1', 'GET',    '/t/gone',  't_gone', null, false, 200, 'application/json', 'x', '[]', null, false, false),
    ('v1', 'GET',    '/t/tracks/latest', 't_latest', null, false, 200, 'application/json', 'x', '[]', null, false, false),
    ('v1', 'PUT',    '/t/{x}/{y}/deep', 't_deep', null, false, 200, 'application/json', 'x', '[]', null, false, false);

insert into tiers (name, burst, refill_per_second, max_api_keys, max_webhooks, max_concurrent_jobs) values ('rest', 10000, 1000, 10, 10, 10), ('rest2', 3, 0.001, 10, 10, 10);
select set_tier(:'u', 'rest'), set_tier(:'v', 'rest');
insert into tracks (id, user_id, title) values ('00000000-0000-4000-8000-0000000000a1', :'u', 'Song "1"'), ('00000000-0000-4000-8000-0000000000a2', :'v', 'Not yours');
select key as k from create_api_key(:'u', 'all') \gset
select key as reader from create_api_key(:'u', 'reader', '{tracks:read}') \gset
select key as other from create_api_key(:'v', 'other') \gset

-- status, headers that don't change with each call, body without its request id
create function pg_temp.call(method text, path text, key text default null, body text default null, headers jsonb default '{}', query jsonb default null) returns text language plpgsql as $$
declare
    answer record;
begin
    select * into answer from handle_request(method, path, query, coalesce(headers, '{}') || case when key is null then '{}' else jsonb_build_object('Authorization', 'Bearer ' || key) end, body);
    return answer.status || ' ' || coalesce((select string_agg(h.key || '=' || h.value, ' ' order by h.key) from jsonb_each_text(answer.headers) h
        where h.key not in ('X-Request-Id', 'RateLimit', 'RateLimit-Policy', 'Cache-Control') and not (h.key = 'Content-Type' and h.value in ('application/json', 'application/problem+json'))), '')
        || ' ' || coalesce(regexp_replace(regexp_replace(answer.body, ',"request_id":"[^"]*"', ''), 'request id [-0-9a-f]{36}', 'request id ID'), '(none)');
end
$$;

\echo -- found, and not
select pg_temp.call('GET', '/t/tracks/00000000-0000-4000-8000-0000000000a1', :'k');
select pg_temp.call('HEAD', '/t/tracks/00000000-0000-4000-8000-0000000000a1', :'k');
select pg_temp.call('GET', '/t/tracks/00000000-0000-4000-8000-0000000000a2', :'k');
select pg_temp.call('GET', '/t/tracks/00000000-0000-4000-8000-0000000000a2', :'other');
select pg_temp.call('GET', '/t/tracks/' || x, :'k') from unnest('{17,00000000-0000-4000-8000-0000000000a1%20,%27;drop table tracks--}'::text[]) x;
select pg_temp.call(m, '/t/who') from unnest('{PUT,get,"",OPTIONS}'::text[]) m;
select pg_temp.call('OPTIONS', '*');
select pg_temp.call('GET', x) from unnest(array['/t/nowhere', '/t/who/', '//t/who', '/t//who', '/T/who', '/', '', 't/who', '/t/./who', '/t/x/%2e%2E/who', '/t%2Fwho', '/t/who%00', '/t/who%', '/t/who%4', '/t/who%zz',
    '/t/%ff', '/t/w ho', '/t/who#x', '/t/%77ho', 'http://host.example/t/who', '/t/tracks/latest', '/t/two/1']) x;
select pg_temp.call('POST', '/t/tracks/latest');
select pg_temp.call('GET', '/t/tracks/a%2Fb', :'k');
select left(pg_temp.call('GET', '/t/' || repeat('x', 9000)), 200), left(pg_temp.call('GET', repeat('/x', 40)), 150);

\echo -- who is who
select pg_temp.call('GET', '/t/who');
select pg_temp.call('GET', '/t/who', :'k');
select pg_temp.call('GET', '/t/who', null, null, jsonb_build_object('x-API-key', :'other'));
select caller_is_service(), current_user_id(), current_user;
select pg_temp.call('DELETE', '/t/who');
select pg_temp.call('DELETE', '/t/who', :'reader');
select pg_temp.call('DELETE', '/t/who', :'k');
select pg_temp.call('GET', '/t/who', 'mvai_' || repeat('x', 38));
select pg_temp.call('GET', '/t/who', :'k', null, jsonb_build_object('X-API-Key', :'other'));
select pg_temp.call('GET', '/t/who', null, null, jsonb_build_object('X-API-Key', jsonb_build_array(:'k', :'other')));
select pg_temp.call('GET', '/t/list', null, null, '{"Authorization": "Basic eDp5"}');
begin;
set local request.jwt.claims = '{"sub": "00000000-0000-4000-8000-0000000001e2"}';
select pg_temp.call('GET', '/t/who');
select pg_temp.call('GET', '/t/who', :'k');
select current_user_id();
commit;
-- in one transaction, also after an error
begin;
select pg_temp.call('GET', '/t/who', :'k');
select pg_temp.call('POST', '/t/fail', :'other', '{"state": "P0002", "message": "gone"}');
select caller_is_service(), current_user_id(), current_user, current_setting('work_mem') = '77MB' as leaked;
select pg_temp.call('GET', '/t/who', :'other');
savepoint s;
do $$ begin perform musicverse.handle_request('GET', '/t/who', '[]', null, null); exception when others then raise warning '%', sqlerrm; end $$;
select caller_is_service(), current_user_id();
commit;

\echo -- arguments of the query
select pg_temp.call('GET', '/t/list?limit=3&tags=a,b&tags=c%2Bd+e', :'k') ~ '^200 Link=</t/list\?limit=3&tags=a%2Cb&tags=c%2Bd%20e&cursor=[-A-Za-z0-9_]+>; rel="next" .*"data" : \["a","b","c\+d e"\]';
select pg_temp.call('GET', '/t/list?limit=100&since=2026-01-31T12:00:00%2B02:00', :'k');
select pg_temp.call('GET', '/t/list', :'k', null, null, '{"limit": 100, "tags": ["x", "y,z"]}');
select pg_temp.call('GET', '/t/list?' || q, :'k') from unnest('{limit=x,limit=3&limit=4,limit=99999999999,limit=,Limit=3,since=soon&tags=a&nope=1&limit=1.5,%ff=1,limit=%ff,a%00=1,&&limit=100&}'::text[]) q;
select left(pg_temp.call('GET', '/t/list?' || repeat('a=1&', 101), :'k'), 150);
select pg_temp.call('GET', '/t/list', :'k', '{"limit": 3}');

\echo -- cursors
select (handle_request('GET', '/t/list?limit=7', null, jsonb_build_object('X-API-Key', :'k'), null)).body::json ->> 'next_cursor' as c \gset
select pg_temp.call('GET', '/t/list?limit=100&cursor=' || :'c', :'k');
select pg_temp.call('GET', '/t/list?limit=100&cursor=' || :'c', :'other');
select pg_temp.call('GET', '/t/list?limit=100&cursor=' || x, :'k') from unnest(array['x', '', repeat('A', 5000), upper(:'c'), :'c' || '=']) x;
select _open_cursor('another', :'c');

\echo -- bodies
select pg_temp.call('POST', '/t/echo?loud=true', :'k', '{"title": "ü\u00e9 \"q\"", "duration": 6e1, "ratio": 0.5, "tags": ["a", "b"], "at": "2026-01-31T12:00:00Z", "day": "2026-02-28",
    "kind": "00000000-0000-4000-8000-0000000000A1", "ids": ["00000000-0000-4000-8000-0000000000a1"], "nets": ["10.0.0.0/8"], "extra": {"a/b": 1.0}, "Odd \"name": "y"}', '{"Content-Type": "application/vnd.x+json; Charset=\"UTF-8\""}');
select pg_temp.call('POST', '/t/echo', :'k', '{"title": "x", "kind": null, "duration": 60.0}', '{"Content-Type": "application/json"}');
select pg_temp.call('POST', '/t/echo', :'k', b) from unnest(array['', ' ', '{}', 'null', '[]', '"x"', '{"title":1}', '{"title":""}',
    '{"title":"x","duration":0.5,"ratio":0,"tags":[],"kind":7,"day":"2026-02-30","at":"noon-ish","ids":["x"],"nets":["10.0.0.1/8"],"extra":{"a/b":2,"n":1},"Odd \"name":"z","nope":1,"no/pe":2,"loud":true}',
    '{"title":"x","tags":["a","toolong","b","c"],"extra":{}}', '{"title":"x","duration":1e100}', '{"title":"x","ratio":1e-100,"kind":"00000000-0000-4000-8000-0000000000a1 "}']) b;
\echo -- that are no JSON
select pg_temp.call('POST', '/t/echo', :'k', b) from unnest(array['{', '{"title": "x",}', E'{"title":\n\n  "ü", oops}', '{"title": "x"} x', '{"title": ''x''}', '{"title": "\u0000"}', '{"title": "\ud800"}', E'{"title": "a\tb"}', '{"title":"x","title":"y"}',
    '{"title":"x","extra":{"a/b":1,"deep":[{"q":1,"r":2,"q":3}]}}', '{"title":"x","duration":1e1000000}', repeat('[', 33), repeat('{"a":', 100000), '{"title":"' || repeat('[', 100) || '"}']) b;
select pg_temp.call('POST', '/t/echo', :'k', '{"title":"x"}', jsonb_build_object('Content-Type', t)) from unnest('{text/plain,application/x-www-form-urlencoded,application/json; charset=latin1,+json,application/jsonx}'::text[]) t;
select pg_temp.call('POST', '/t/echo', :'k', '{"title":"x"}', '{"Content-Encoding": "gzip"}');
select pg_temp.call('POST', '/t/echo', :'k', '{"title":"' || repeat('x', 1024 * 1024) || '"}');
select left(pg_temp.call('POST', '/t/echo', :'k', '{"title":"x","tags":[' || repeat('"a",', 200000) || '"b"]}'), 300);
select left(pg_temp.call('POST', '/t/echo', :'k', '{' || (select string_agg(format('"k%s":%s', i, i), ',') from generate_series(1, 60000) i) || '}'), 200);
select pg_temp.call('POST', '/t/raw', null, '{"any" thing', '{"X-Test": "yes"}');

\echo -- what the client takes
select a, left(pg_temp.call('GET', '/t/who', :'k', null, jsonb_build_object('Accept', a)), 3) from unnest('{application/json,*/*,text/html,"text/html, application/*;q=0.5","application/json;q=0, */*","text/*, */*;q=0.000",APPLICATION/JSON; x=y,application/problem+json,""}'::text[]) a;

\echo -- errors of operations
select pg_temp.call('POST', '/t/fail', null, jsonb_build_object('state', s, 'message', 'it is wrong', 'hint', 'put it right')::text)
  from unnest('{22023,23505,23514,23503,42501,53400,55000,0A000,54000,25006,40001,55P03,P0002,P0001,XX000,42P01,PT418,PT404,PT503,PT999}'::text[]) s;
select pg_temp.call('POST', '/t/fail', null, '{"state": "22023", "message": "two things are wrong", "detail": "[{\"field\": \"/a\", \"message\": \"no\"}, {\"field\": \"/b\"}, 7]"}');
select pg_temp.call('POST', '/t/do', null, jsonb_build_object('what', w)::text) from unnest(array['select 1/0', 'select * from musicverse.installation', 'insert into musicverse.tiers select * from musicverse.tiers',
    'set local role postgres', 'set session authorization default', 'reset role', 'select no_such_function()', 'commit']) w;
select pg_temp.call('POST', '/t/do', null, '{"what": "create temp table t_left (x int)"}');
select to_regclass('t_left');
select pg_temp.call('POST', '/t/do', null, '{"what": "set work_mem = ''77MB''"}'), current_setting('work_mem') = '77MB' as leaked;
set statement_timeout = '300ms';
select pg_temp.call('POST', '/t/do', null, '{"what": "select pg_sleep(60)"}');
reset statement_timeout;
select pg_temp.call('GET', '/t/gone');

\echo -- read only
begin read only;
select left(pg_temp.call('GET', '/t/who', :'k'), 3);
select pg_temp.call('POST', '/t/do', :'k', '{"what": "create table t (x int)"}', '{"Idempotency-Key": "ro"}');
commit;

\echo -- limits
select set_tier(:'v', 'rest2');
select left(pg_temp.call('GET', '/t/who', :'other'), 3) from generate_series(1, 3);
select status, headers - '{X-Request-Id,RateLimit,Retry-After}'::text[] as headers, headers ->> 'RateLimit' ~ '^"burst";r=0;t=\d+$' as left, headers ->> 'Retry-After' = substring(headers ->> 'RateLimit' from 't=(\d+)') as retry,
       regexp_replace(body, '"request_id":"[^"]*",', '') as body from handle_request('GET', '/t/who', null, jsonb_build_object('X-API-Key', :'other'), null);

\echo -- request ids
select headers ->> 'X-Request-Id' = 'abc-1.2:_' from handle_request('GET', '/t/who', null, '{"x-request-id": "abc-1.2:_"}', null);
select distinct headers ->> 'X-Request-Id' ~ '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$' from unnest(array['a b', '', E'x\ny', 'ü', repeat('x', 129)]) i, handle_request('GET', '/t/who', null, jsonb_build_object('x-request-id', i), null);

\echo -- etags
select headers ->> 'ETag' as etag from handle_request('GET', '/t/tracks/00000000-0000-4000-8000-0000000000a1', null, jsonb_build_object('X-API-Key', :'k'), null) \gset
select pg_temp.call('GET', '/t/tracks/00000000-0000-4000-8000-0000000000a1', :'k', null, jsonb_build_object('If-None-Match', x)) from unnest(array[:'etag', 'W/' || :'etag', '"x", ' || :'etag', '*', '"x"', 'junk', '"']) x;

\echo -- versions on their way out
insert into api_versions values ('v1', '2026-01-01 00:00Z', '2027-07-01 12:30Z', 'v2');
select headers ->> 'Deprecation', headers ->> 'Sunset', headers ->> 'Link' from handle_request('GET', '/t/who', null, null, null);
delete from api_versions;
select headers ->> 'Deprecation' from handle_request('GET', '/t/who', null, null, null);

\echo -- a catalogue that changes
update routes set path = '/t/whom' where operation = 't_who';
select left(pg_temp.call('GET', '/t/who'), 30), left(pg_temp.call('GET', '/t/whom'), 30);
drop function musicverse_v1.t_who();
select pg_temp.call('GET', '/t/whom');
create function musicverse_v1.t_who(x int default 5) returns json language sql stable as $$ select to_json(x) $$;
select pg_temp.call('GET', '/t/whom'), pg_temp.call('GET', '/t/whom?x=6');
begin;
update routes set path = '/t/who' where operation = 't_who';
select left(pg_temp.call('GET', '/t/who'), 3);
rollback;
select left(pg_temp.call('GET', '/t/who'), 3), left(pg_temp.call('GET', '/t/whom'), 3);

\echo -- an operation that calls the API, and changes what is being run
create function musicverse_v1.t_nest(depth int, key text default null) returns json language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    inner_one record;
begin
    if depth = 0 then
        return json_build_object('depth', 0, 'user', current_user_id());
    end if;
    update routes set summary = 'depth ' || depth where operation = 't_nest';
    execute format('alter function musicverse_v1.t_nest cost %s', depth * 10);
    select * into inner_one from handle_request('GET', '/t/nest/' || depth - 1, null, jsonb_build_object('X-API-Key', key), null);
    return json_build_object('depth', depth, 'user', current_user_id(), 'inner', inner_one.body::json);
end
$$;
insert into routes (version, method, path, operation, needs_key, summary) values ('v1', 'GET', '/t/nest/{depth}', 't_nest', false, 'x');
select pg_temp.call('GET', '/t/nest/3?key=' || :'reader', :'k'), pg_temp.call('GET', '/t/nest/1?key=' || :'reader');
select pg_temp.call('GET', '/t/nest/0', :'k'), pg_temp.call('GET', '/t/nest/0');
\echo -- more sets of arguments than plans are kept
select count(distinct pg_temp.call('POST', '/t/echo', :'k', (jsonb_build_object('title', 'x') || (select coalesce(jsonb_object_agg(a.key, a.value), '{}')
    from jsonb_each('{"duration": 5, "ratio": 2, "tags": ["a"], "day": "2026-01-01", "at": "2026-01-01T00:00:00Z"}') with ordinality a (key, value, n) where i & (1 << n::int - 1) <> 0))::text)) from generate_series(0, 31) i, generate_series(1, 2);

\echo -- defaults that are constants and others, strict functions, what a volatile one sees of itself
create function musicverse_v1.t_default(a bigint default 20, b text[] default '{}', c timestamptz default now(), d int default null) returns json language sql stable as $$
    select json_build_object('a', a, 'b', b, 'c', c = now(), 'd', d) $$;
create function musicverse_v1.t_strict(a int default 1, b text default 'x') returns json language sql strict as $$ select json_build_object('a', a, 'b', b) $$;
create temp table t_seen (title text);
grant all on t_seen to public;
create function musicverse_v1.t_volatile(title text) returns json language sql volatile as $$
    insert into pg_temp.t_seen values (title); select json_agg(s.title order by s.title) from pg_temp.t_seen s $$;
insert into routes (version, method, path, operation, needs_key, summary, request_schema) values ('v1', 'GET', '/t/default', 't_default', false, 'x', null),
    ('v1', 'POST', '/t/strict', 't_strict', false, 'x', '{}'), ('v1', 'POST', '/t/volatile', 't_volatile', false, 'x', '{}');
select pg_temp.call('GET', '/t/default' || q) from unnest('{"",?a=5&d=6,?c=2026-01-01T00:00:00Z,"?b=x,y&c=2026-01-01T00:00:00Z"}'::text[]) q;
select pg_temp.call('POST', '/t/strict', null, b) from unnest('{"{}","{\"a\": 2}","{\"a\": null}"}'::text[]) b;
select pg_temp.call('POST', '/t/volatile', null, '{"title": "one"}'), pg_temp.call('POST', '/t/volatile', null, '{"title": "two"}');
revoke execute on function musicverse_v1.t_strict from public;
select pg_temp.call('POST', '/t/strict', null, '{}');

delete from routes where path like '/t/%';
delete from accounts where user_id in (:'u', :'v');
delete from tiers where name in ('rest', 'rest2');
do $$ declare f regprocedure; begin for f in select p.oid from pg_proc p where pronamespace = 'musicverse_v1'::regnamespace and proname ~ '^t_' loop execute 'drop function ' || f; end loop; end $$;

-- pre_request() as PostgREST calls it: verdicts, scopes of paths, headers in and out, refusals
set client_min_messages = warning;
create extension if not exists musicverse;
set search_path = musicverse, public;
\set SHOW_CONTEXT never
\set VERBOSITY terse
\set u '00000000-0000-4000-8000-0000000000f1'
\set v '00000000-0000-4000-8000-0000000000f2'
create role regress_pre_service nologin;
create role regress_pre_user nologin;
create role regress_pre_anon nologin;
select expose_to('regress_pre_service', 'regress_pre_user', 'regress_pre_anon');

-- A tier that hardly refills while this runs
insert into tiers (name, burst, refill_per_second, max_api_keys, max_webhooks, max_concurrent_jobs) values ('regress_pre', 10, 0.0001, 20, 1, 1);
select set_tier(:'u', 'regress_pre'), set_tier(:'v', 'regress_pre');
insert into routes (version, method, path, operation, scope, cost, needs_key, summary) values
    ('v1', 'GET', '/regress/job', 'regress_job', 'jobs:read', 1, true, 'x'),
    ('v1', 'POST', '/regress/make', 'regress_make', 'generate', 4, true, 'x'),
    ('v1', 'GET', '/regress/any', 'regress_any', null, 1, true, 'x'),
    ('v1', 'GET', '/regress/open', 'regress_open', null, 1, false, 'x'),
    ('v2', 'GET', '/regress/job', 'regress_job', 'tracks:read', 2, true, 'x');
select k.key as all_key, k.id as all_id from create_api_key(:'u', 'all') k \gset
select k.key as jobs_key from create_api_key(:'u', 'jobs', '{jobs:read}') k \gset
select k.key as net_key from create_api_key(:'u', 'net', '{}', null, '{198.51.100.0/24}') k \gset
select k.key as signed_key from create_api_key(:'u', 'signed', require_signature => true) k \gset
select k.key as wide_key from create_api_key(:'u', 'wide') k \gset
select k.key as old_key, k.id as old_id from create_api_key(:'u', 'old') k \gset
select revoke_api_key(:'old_id');

-- What PostgREST sets, the call, and what it would answer. Of times only their presence is shown.
create function public.regress_ask(path text, headers text, method text default 'GET', schema text default 'musicverse_v1',
                                   claims text default '{"role":"regress_pre_anon"}', given text default '') returns text language plpgsql as $$
declare
    detail text;
begin
    perform set_config('request.method', method, true), set_config('request.path', path, true), set_config('request.headers', headers, true),
            set_config('request.jwt.claims', claims, true), set_config('search_path', format('"%s", "public"', schema), true);
    perform set_config('response.headers', given, true);
    perform musicverse.pre_request();
    return format('%s service=%s %s', coalesce(right(musicverse.current_user_id()::text, 2), 'nobody'), musicverse.caller_is_service(),
                  regexp_replace(current_setting('response.headers', true), '([tw])=[0-9]+', '\1=N', 'g'));
exception when others then
    get stacked diagnostics detail = pg_exception_detail;
    return format('%s %s %s', sqlstate, sqlerrm, regexp_replace(regexp_replace(detail, '([tw])=[0-9]+', '\1=N', 'g'), '"Retry-After":"[1-9][0-9]*"', '"Retry-After":"N"'));
end
$$;
create function public.regress_key(key text, id text default 'r1') returns text language sql as $$
    select json_build_object('host', 'api.example.com', 'x-api-key', key, 'x-request-id', id)::text
$$;
grant execute on function public.regress_ask, public.regress_key to public;

-- by key, as whatever role lets it in; also as a Bearer, whatever the case
set role regress_pre_anon;
select regress_ask('/rpc/regress_job', regress_key(:'all_key'));
select current_user_id() is null as nobody_is_left, current_setting('response.headers', true) = '' as nor_headers;
select regress_ask('/rpc/regress_job', json_build_object('authorization', 'bearer ' || :'all_key', 'x-request-id', 'r2')::text);
select regress_ask('/rpc/regress_job', regress_key(:'all_key'), claims => format('{"role":"regress_pre_user","sub":"%s"}', :'v'));
set role regress_pre_service;
select regress_ask('/rpc/regress_job', regress_key(:'all_key'));
reset role;
select regress_ask('/rpc/regress_job', regress_key(:'all_key'));
-- it reads only, at any level
begin isolation level serializable read only;
select regress_ask('/rpc/regress_job', regress_key(:'all_key')) like 'f1 %' as let_through;
commit;
-- a rollback gives nothing back
begin;
select regress_ask('/rpc/regress_make', regress_key(:'all_key'), 'POST');
rollback;
select regress_ask('/rpc/regress_make', regress_key(:'all_key'), 'POST');

-- refused: 401, 403, 429
set role regress_pre_anon;
select regress_ask('/rpc/regress_job', regress_key('mvai_oops'));
select regress_ask('/rpc/regress_job', regress_key(''));
select regress_ask('/rpc/regress_job', regress_key('mvai_' || repeat('0', 38)));
select regress_ask('/rpc/regress_job', regress_key(:'old_key'));
select regress_ask('/rpc/regress_job', regress_key(:'signed_key'));
select regress_ask('/rpc/regress_job', json_build_object('x-api-key', :'jobs_key', 'x-signature', 'v1=00', 'x-request-id', 'r3')::text);
select regress_ask('/rpc/regress_job', regress_key(:'net_key'));
select regress_ask('/rpc/regress_job', '{"x-request-id": "r4"}');
select regress_ask('/rpc/regress_make', regress_key(:'jobs_key'), 'POST');
select regress_ask('/rpc/regress_job', regress_key(:'jobs_key'));
select regress_ask('/rpc/regress_make', regress_key(:'all_key'), 'POST');
\set VERBOSITY default
begin;
set local request.headers = '{"x-api-key": "mvai_no", "x-request-id": "r5"}';
select musicverse.pre_request();
rollback;
\set VERBOSITY terse

-- the version by the schema; the path as PostgREST understands it
select regress_ask('/rpc/regress_job', regress_key(:'jobs_key'), schema => 'musicverse_v2');
select regress_ask('/rpc/regress_job', regress_key(:'jobs_key'), schema => 'musicverse_v1"x');
select regress_ask('/rpc/regress_job', regress_key(:'jobs_key'), schema => 'musicverse_v12');
select regress_ask('/rpc/regress%5Fjo%62', regress_key(:'jobs_key'), 'HEAD') like 'f1 %' as decoded;
select regress_ask('/%72pc/regress_make', regress_key(:'jobs_key'), 'POST') like '%"scope"%generate%' as decoded;
select regress_ask('/rpc/regress_any', regress_key(:'jobs_key')) like 'f1 %' as any_key;
select regress_ask('/', regress_key(:'jobs_key')) like 'f1 %' as root;
-- who has no key
select regress_ask('/rpc/regress_any', '{"x-request-id": "r6"}');
select regress_ask('/rpc/regress_open', '{"x-request-id": "r6"}');
select regress_ask('/albums', '{"x-request-id": "r6"}');
select regress_ask('/rpc/regress_make', '{"x-request-id": "r6"}', 'POST', claims => format('{"role":"regress_pre_user","sub":"%s"}', :'v'));
select regress_ask('/rpc/regress_make', '{"x-request-id": "r6"}', 'POST', claims => '{"role":"regress_pre_user","sub":"a machine"}');
select regress_ask('/rpc/regress_make', '{}', 'POST', claims => '{broken') like '22P02 %' as broken_claims;
set role regress_pre_service;
select regress_ask('/rpc/regress_make', '{"x-request-id": "r7"}', 'POST') from generate_series(1, 4);
reset role;

-- paths outside the catalogue: what the host says, the most precise word; nothing said is nothing allowed
set role regress_pre_anon;
select regress_ask('/rpc/charts', regress_key(:'jobs_key'), schema => 'api');
select regress_ask('/rpc/regress_own', regress_key(:'jobs_key'));
select regress_ask('/rpc/charts', regress_key(:'wide_key'), schema => 'api') like 'f1 %' as every_scope;
reset role;
insert into request_scopes (method, path, scope, cost) values
    ('*', '/rpc/charts', 'jobs:read', 0), ('POST', '/rpc/charts', 'generate', 0), ('*', '/rpc/cha*', 'tracks:write', 0), ('*', '/albums*', null, 0);
set role regress_pre_anon;
select left(path, 12) as path, method, regress_ask(path, regress_key(:'jobs_key'), method, schema => 'api') like 'f1 %' as allowed
  from (values ('/rpc/charts', 'GET'), ('/rpc/charts', 'HEAD'), ('/rpc/charts', 'POST'), ('/rpc/charts2', 'GET'), ('/rpc/cha', 'GET'), ('/rpc/ch', 'GET'),
               ('/albums', 'DELETE'), ('/albums/1', 'GET'), ('/album', 'GET'), ('', 'GET'), ('/' || repeat('x', 100000), 'GET')) v (path, method);
select method from request_scopes;
\set VERBOSITY sqlstate
insert into request_scopes (path) values ('/x');
\set VERBOSITY terse
reset role;
update request_scopes set scope = 'generate' where path = '/rpc/charts' and method = '*';
select regress_ask('/rpc/charts', regress_key(:'jobs_key'), schema => 'api') like '%"scope"%' as changed_at_once;
begin;
delete from request_scopes;
select regress_ask('/albums', regress_key(:'jobs_key'), schema => 'api') like '%request_scopes%' as gone;
rollback;
select regress_ask('/albums', regress_key(:'jobs_key'), schema => 'api') like 'f1 %' as back;
\set VERBOSITY default
insert into request_scopes (path, scope) values ('/x', 'no:such');
insert into request_scopes (path) values ('albums');
insert into request_scopes (path) values ('/a*b');
\set VERBOSITY terse

-- hostile headers: an answer, never a crash
set role regress_pre_anon;
select headers, regexp_replace(regress_ask('/rpc/regress_open', headers), '[0-9a-f-]{36}', 'UUID')
  from unnest(array['', '{}', '[]', '{', '"x"', '1', 'null', '{"x-api-key": 1}', '{"x-api-key": ["a"]}', '{"x-api-key": {"a": "b"}}', '{"x-api-key": null}',
                    '{"a": {"x-api-key": "mvai_x"}}', '{"x-api-key": "a\u0000b"}', '{"x-api-key": "\ud800"}', '{"X-API-KEY": "mvai_x"}',
                    '{"x-request-id": "a\r\nSet-Cookie: x"}', '{"x-request-id": ""}', '{"x-forwarded-for": "1.2.3.4, \"', '{"content-length": "x"}']) headers;
select regress_ask('/rpc/regress_open', repeat('{"a":', 100000)) like '54001 %' as too_deep;
select regress_ask('/rpc/regress_open', json_build_object('x-api-key', repeat('k', 1000000))::text) like '%"malformed"%' as long_key;
select regress_ask('/rpc/regress_open', json_build_object('x-request-id', repeat('i', 129))::text) like '%iii%' as long_id;

-- response.headers of another pre-request stay
select given, regress_ask('/rpc/regress_open', '{"x-request-id": "r8"}', given => given)
  from unnest(array['[{"X-Mine": "1"}]', E' [ {"Set-Cookie": "a]"} ,\n{"Set-Cookie": "b"} ] \n', '[]', ' [ ] ', '', '{"X": "no array"}', ']']) given;
reset role;

-- proxies
set musicverse.trusted_proxies = '10.0.0.0/8';
alter system set musicverse.trusted_proxies = '10.0.0.0/33';
drop function public.regress_ask, public.regress_key;
delete from request_scopes;
delete from routes where operation like 'regress%';
delete from accounts where user_id in (:'u', :'v');
delete from tiers where name = 'regress_pre';
delete from exposed_roles where role_name like 'regress_pre_%';
drop owned by regress_pre_service, regress_pre_user, regress_pre_anon;
drop role regress_pre_service, regress_pre_user, regress_pre_anon;

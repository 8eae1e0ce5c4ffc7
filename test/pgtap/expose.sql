-- What expose_to() grants to the roles that PostgREST uses, in all three
-- schemas: enough for the functions of the API, which run as their caller, and
-- nothing to anybody else.
\set QUIET on
\set ON_ERROR_STOP on
\pset format unaligned
\pset tuples_only on
\pset pager off
set client_min_messages = warning;
create extension if not exists musicverse;
create extension if not exists pgtap;
begin;
set local search_path = public, musicverse, pg_catalog;
select no_plan();

create role regress_expose_service nologin;
create role regress_expose_user nologin;
create role regress_expose_anon nologin;
create role regress_expose_other nologin;
create function musicverse_v1.regress_mine() returns bigint language sql stable set search_path = musicverse, pg_temp as 'select count(*) from api_keys';
create function musicverse_v2.regress_mine() returns bigint language sql stable set search_path = musicverse, pg_temp as 'select count(*) from webhooks';
revoke all on all functions in schema musicverse_v1, musicverse_v2 from public;

create function pg_temp.grants(role name) returns setof text language sql as $$
    select format('%s %s', a.privilege_type, n.nspname) from pg_namespace n, aclexplode(n.nspacl) a where a.grantee = role::regrole
    union all select format('%s %s', a.privilege_type, c.oid::regclass) from pg_class c, aclexplode(c.relacl) a where a.grantee = role::regrole
    union all select format('%s %s.%s', a.privilege_type, t.attrelid::regclass, t.attname) from pg_attribute t, aclexplode(t.attacl) a where a.grantee = role::regrole
    union all select format('%s %s', a.privilege_type, p.oid::regprocedure) from pg_proc p, aclexplode(p.proacl) a where a.grantee = role::regrole
$$;
create function pg_temp.may(role name, routine text) returns boolean language sql as $$
    select has_schema_privilege(role, (select pronamespace from pg_proc where oid = routine::regprocedure), 'usage') and has_function_privilege(role, routine::regprocedure, 'execute')
$$;

-- before: nothing
select is_empty($$ select pg_temp.grants(r) from unnest('{regress_expose_service,regress_expose_user,regress_expose_anon}'::name[]) r $$, 'nothing is granted by itself');
select is_empty($$
    select n.nspname from pg_namespace n, aclexplode(n.nspacl) a where n.nspname like 'musicverse%' and a.grantee = 0
$$, 'no schema is open to everybody');
select is_empty($$
    select p.oid::regprocedure from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
     where p.pronamespace in ('musicverse_v1'::regnamespace, 'musicverse_v2'::regnamespace) and a.grantee = 0
$$, 'nor a function of the API');

select expose_to('regress_expose_service', 'regress_expose_user', 'regress_expose_anon');
create temporary table before as select r, pg_temp.grants(r) as g from unnest('{regress_expose_service,regress_expose_user,regress_expose_anon}'::name[]) r;

select is_empty($$
    select r, f from unnest('{regress_expose_service,regress_expose_user,regress_expose_anon}'::name[]) r,
           unnest('{musicverse_v1.regress_mine(),musicverse_v2.regress_mine(),musicverse.pre_request(),musicverse.current_user_id()}'::text[]) f
     where not pg_temp.may(r, f)
$$, 'each kind may call the functions of both versions, and the pre-request');
select is_empty($$
    select r, p.oid::regprocedure from unnest('{regress_expose_service,regress_expose_user,regress_expose_anon}'::name[]) r, pg_proc p
     where p.pronamespace in ('musicverse_v1'::regnamespace, 'musicverse_v2'::regnamespace) and not pg_temp.may(r, p.oid::regprocedure::text)
$$, 'all of them');
select set_eq($$ select g from before where r = 'regress_expose_anon' $$, $$ select g from before where r = 'regress_expose_user' $$,
    'an anonymous role has what an authenticated one has, as callers by key come as it');
select is_empty($$ select g from before where r <> 'regress_expose_service' and g ~ '^(INSERT|UPDATE|DELETE|TRUNCATE|REFERENCES|TRIGGER|CREATE)' $$, 'neither writes a table');
select is_empty($$ select g from before where g ~ '(secret|client_key|key_hash)$' $$, 'no column with a secret is granted');
select ok(not pg_temp.may('regress_expose_anon', f), 'anonymous roles may not call ' || f)
  from unnest('{set_tier(uuid\,text),"verify_api_key(text,text,inet,integer,boolean)","take_tokens(text,integer,integer,numeric)","emit_event(uuid,text,jsonb,text)",_unseal(text\,text)}'::text[]) f
 where to_regprocedure(f) is not null;
select is_empty($$ select pg_temp.grants('regress_expose_other') $$, 'others get nothing');

-- as they come: no row without a caller, the key's with one
select k.key from create_api_key('00000000-0000-4000-8000-0000000000b1', 'one') k \gset
select set_config('request.jwt.claims', '{"role": "regress_expose_anon"}', true) is not null;
set local role regress_expose_anon;
select is(musicverse_v1.regress_mine(), 0::bigint, 'an anonymous caller sees nothing of anybody');
select throws_ok($$ select musicverse.create_api_key('00000000-0000-4000-8000-0000000000b1', 'two') $$, '42501', null, 'and acts for nobody');
reset role;

-- again: nothing changes
select expose_to('regress_expose_service', 'regress_expose_user', 'regress_expose_anon');
select set_eq($$ select r, pg_temp.grants(r) from unnest('{regress_expose_service,regress_expose_user,regress_expose_anon}'::name[]) r $$,
    'select r, g from before', 'a second call changes nothing');
select is((select count(*) from exposed_roles where role_name like 'regress_expose_%'), 3::bigint, 'nor the registration');

-- less: what the other kind had is gone, the functions of the API stay
select expose_to(null, null, 'regress_expose_service');
select set_eq($$ select pg_temp.grants('regress_expose_service') $$, $$ select g from before where r = 'regress_expose_anon' $$, 'a service that becomes anonymous keeps what those have');
create function musicverse_v1.regress_later() returns void language sql set search_path = pg_temp as '';
revoke all on function musicverse_v1.regress_later() from public;
select ok(not pg_temp.may('regress_expose_anon', 'musicverse_v1.regress_later()'), 'a function that comes later is not granted');
select expose_to(null, null, 'regress_expose_anon');
select ok(pg_temp.may('regress_expose_anon', 'musicverse_v1.regress_later()'), 'until the next call');

-- by key, last, as the caller stands until the end of the transaction
select set_config('request.headers', json_build_object('x-api-key', :'key')::text, true) is not null;
set local role regress_expose_anon;
select musicverse.pre_request();
select is(musicverse_v1.regress_mine(), 1::bigint, 'a caller by key sees its own as the anonymous role');
select is(current_user_id(), '00000000-0000-4000-8000-0000000000b1', 'and is its user');
reset role;

select * from finish();
rollback;

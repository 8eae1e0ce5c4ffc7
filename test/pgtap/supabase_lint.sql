-- The rules that Supabase's database linter has, by the numbers it gives them, for
-- the schemas of the extension: it skips what belongs to an extension, and so
-- would never tell. Each rule is a view here. It must find nothing, and then
-- the bad object that is made for it.
\set QUIET on
\set ON_ERROR_STOP on
\pset format unaligned
\pset tuples_only on
\pset pager off
set client_min_messages = warning;
create extension if not exists musicverse;
create extension if not exists pgtap;
begin;
set local search_path = public, pg_catalog;
select no_plan();

create schema auth;
create table auth.users (id uuid primary key, email text);
create role lint_service;
create role lint_user;
create role lint_anon;
select musicverse.expose_to('lint_service', 'lint_user', 'lint_anon');
-- a day and a month that are made later obey as well
select musicverse._create_leaves('2001-01-01');
select musicverse._usage_leaf('api_usage', 'day', '2001-01-01Z'), musicverse._usage_leaf('api_usage_hours', 'month', '2001-01-01Z'),
       musicverse._usage_leaf('api_usage_days', 'year', '2001-01-01Z');

create temp view schemas as
    select n.oid, n.nspname from pg_namespace n where n.nspname in ('musicverse', 'musicverse_v1', 'musicverse_v2');
create temp view relations as
    select c.oid, c.oid::regclass::text as name, c.relkind, c.relrowsecurity, c.relispartition, c.reloptions, c.relacl, c.relowner
      from pg_class c join schemas s on s.oid = c.relnamespace;
-- who may be a caller: PUBLIC and what expose_to() was told, without the service role
create temp view callers as
    select r.oid from pg_roles r where r.rolname in ('lint_user', 'lint_anon') union all select 0::oid;
create temp view policies as
    select p.oid, format('%s on %s', p.polname, p.polrelid::regclass) as name, p.polrelid, p.polcmd, p.polpermissive, p.polroles,
           coalesce(pg_get_expr(p.polqual, p.polrelid), '') || ' ' || coalesce(pg_get_expr(p.polwithcheck, p.polrelid), '') as expression
      from pg_policy p join relations r on r.oid = p.polrelid;

-- an index of all rows, or of all that are not NULL: others don't help when what they refer to is deleted
create temp view unindexed_foreign_keys_0001 as
    select format('%s of %s', c.conname, r.name) as object
      from pg_constraint c join relations r on r.oid = c.conrelid
      join pg_attribute a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
     where c.contype = 'f'
       and not exists (select from pg_index i
                        where i.indrelid = c.conrelid and i.indisvalid
                          and (i.indpred is null or pg_get_expr(i.indpred, i.indrelid) = format('(%I IS NOT NULL)', a.attname))
                          and array(select k from unnest(c.conkey) k order by k)
                            = array(select k from unnest((i.indkey::smallint[])[0:cardinality(c.conkey) - 1]) k order by k));
create temp view exposed_auth_users_0002 as
    select distinct r.name as object
      from relations r join pg_rewrite w on w.ev_class = r.oid
      join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = w.oid and d.refclassid = 'pg_class'::regclass
     where r.relkind in ('v', 'm') and d.refobjid = 'auth.users'::regclass;
-- what asks for the caller, but for that in a subquery, which runs once a query
create temp view auth_rls_initplan_0003 as
    select p.name as object
      from policies p
     where regexp_replace(p.expression, '\( *select +(musicverse\.|auth\.)?\w+\([^()]*\)( as \w+)?\)', '', 'gi')
           ~* '\m(auth\.\w+|current_setting|current_user_id|caller_is_service|_viewer)\(';
-- A unique constraint that takes NULLs for equal tells rows apart as well: usage has such, as calls may be nobody's.
-- event_log is only ever added to and read in its order, and nothing refers to it: a key would cost every commit.
create temp view no_primary_key_0004 as
    select r.name as object
      from relations r
     where r.relkind = 'r' and r.name !~ '^musicverse\.event_log_'
       and not exists (select from pg_index i where i.indrelid = r.oid and (i.indisprimary or (i.indisunique and i.indnullsnotdistinct and i.indpred is null)));
create temp view multiple_permissive_policies_0006 as
    select format('%s for %s: %s', p.polrelid::regclass, c.cmd, string_agg(p.name, ', ')) as object
      from policies p cross join unnest('{r,a,w,d}'::"char"[]) c (cmd) cross join unnest(p.polroles) role
     where p.polpermissive and p.polcmd in ('*', c.cmd)
     group by p.polrelid, c.cmd, role having count(*) > 1;
create temp view policy_exists_rls_disabled_0007 as
    select p.name as object from policies p join relations r on r.oid = p.polrelid where not r.relrowsecurity;
-- a leaf is reached through its root, and nobody has a right to it itself
create temp view rls_enabled_no_policy_0008 as
    select r.name as object
      from relations r
     where r.relrowsecurity and r.relkind in ('r', 'p')
       and not exists (select from pg_policy p where p.polrelid = r.oid)
       and not (r.relispartition and not exists (select from aclexplode(r.relacl) a where a.grantee <> r.relowner));
create temp view duplicate_index_0009 as
    select format('%s: %s', i.indrelid::regclass, string_agg(i.indexrelid::regclass::text, ', ')) as object
      from pg_index i join relations r on r.oid = i.indrelid
     group by i.indrelid, regexp_replace(pg_get_indexdef(i.indexrelid), '^create (unique )?index \S+ ', '', 'i') having count(*) > 1;
create temp view security_definer_view_0010 as
    select r.name as object from relations r
     where r.relkind = 'v' and not '{security_invoker=true}' <@ coalesce(r.reloptions, '{}');
create temp view function_search_path_mutable_0011 as
    select p.oid::regprocedure::text as object
      from pg_proc p join schemas s on s.oid = p.pronamespace join pg_language l on l.oid = p.prolang
     where p.prokind <> 'a' and l.lanname not in ('c', 'internal') and p.prosqlbody is null
       and not exists (select from unnest(p.proconfig) c where c like 'search_path=%');
create temp view rls_disabled_in_public_0013 as
    select r.name as object from relations r where r.relkind in ('r', 'p') and not r.relrowsecurity;
create temp view extension_in_public_0014 as
    select e.extname::text as object
      from pg_extension e join pg_namespace n on n.oid = e.extnamespace
     where n.nspname in ('public', 'musicverse_v1', 'musicverse_v2') and e.extname <> 'pgtap';
create temp view rls_references_user_metadata_0015 as
    select p.name as object from policies p where p.expression like '%user_metadata%';
create temp view materialized_view_in_api_0016 as
    select r.name as object from relations r where r.relkind = 'm';
create temp view foreign_table_in_api_0017 as
    select r.name as object from relations r where r.relkind = 'f';
create temp view unsupported_reg_types_0018 as
    select format('%s.%s', r.name, a.attname) as object
      from relations r join pg_attribute a on a.attrelid = r.oid
     where r.relkind in ('r', 'p', 'm') and a.attnum > 0 and not a.attisdropped
       and a.atttypid in ('regcollation'::regtype, 'regconfig'::regtype, 'regdictionary'::regtype, 'regnamespace'::regtype,
                          'regoper'::regtype, 'regoperator'::regtype, 'regproc'::regtype, 'regprocedure'::regtype);
-- reading may be for all, as of a catalogue
create temp view rls_policy_always_true_0024 as
    select p.name as object from policies p where p.polpermissive and p.polcmd <> 'r' and p.expression ~ '^[ ()]*true[ ()]*(true)?[ ()]*$';
-- schema musicverse is not exposed, and whoever comes by an API key comes as anon: there they must only not be everybody's
create temp view security_definer_function_executable_0028 as
    select p.oid::regprocedure::text as object
      from pg_proc p join schemas s on s.oid = p.pronamespace
     where p.prosecdef and (s.nspname <> 'musicverse'
           or exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
                       where a.grantee = 0));

-- One test: the rule finds nothing, and after the statements it finds just what they made bad.
create function pg_temp.check_rule(rule text, statements text, expected text) returns setof text language plpgsql as $$
declare
    found text[];
begin
    return next is_empty(format('select object from %I', rule), format('%s: nothing is found', rule));
    begin
        execute statements;
        execute format('select array_agg(object::text order by object) from %I', rule) into found;
        raise exception using errcode = 'ZZ001';
    exception when sqlstate 'ZZ001' then
    end;
    return next is(found, array[expected], format('%s: %s is', rule, expected));
end
$$;

select is((select count(*) from schemas), 3::bigint, 'the three schemas are there');
select cmp_ok((select count(*) from relations where relkind in ('r', 'p')), '>', 20::bigint, 'with tables');
select cmp_ok((select count(*) from policies), '>', 20::bigint, 'and policies');

select pg_temp.check_rule('unindexed_foreign_keys_0001',
    'create table musicverse.bad (id uuid primary key, a int, user_id uuid constraint bad_fkey references musicverse.accounts); create index on musicverse.bad (a, user_id)',
    'bad_fkey of musicverse.bad');
select pg_temp.check_rule('unindexed_foreign_keys_0001',
    'create table musicverse.bad (id uuid primary key, gone boolean, user_id uuid constraint bad_fkey references musicverse.accounts);
     create index on musicverse.bad (user_id) where gone; create index on musicverse.bad (user_id) where not gone',
    'bad_fkey of musicverse.bad');
select pg_temp.check_rule('exposed_auth_users_0002', 'create view musicverse_v1.bad as select email from auth.users', 'musicverse_v1.bad');
select pg_temp.check_rule('auth_rls_initplan_0003',
    'create policy bad on musicverse.tracks using (user_id = (select musicverse.current_user_id()) or musicverse.caller_is_service())', 'bad on musicverse.tracks');
select pg_temp.check_rule('auth_rls_initplan_0003',
    'create policy bad on musicverse.tracks using (user_id = musicverse.current_user_id())', 'bad on musicverse.tracks');
select pg_temp.check_rule('auth_rls_initplan_0003',
    $$create policy bad on musicverse.tracks using (title = current_setting('a.b') or title = (select current_setting('a.b')))$$, 'bad on musicverse.tracks');
select pg_temp.check_rule('no_primary_key_0004', 'create table musicverse.bad (a int, b int, unique (a, b))', 'musicverse.bad');
select pg_temp.check_rule('multiple_permissive_policies_0006',
    'create policy bad on musicverse.scopes for all using ((select musicverse.caller_is_service())); drop policy service_inserts on musicverse.scopes;
     drop policy service_updates on musicverse.scopes; drop policy service_deletes on musicverse.scopes',
    'musicverse.scopes for r: all_rows on musicverse.scopes, bad on musicverse.scopes');
select pg_temp.check_rule('policy_exists_rls_disabled_0007',
    'create table musicverse_v2.bad (a int primary key); create policy p on musicverse_v2.bad using (true)', 'p on musicverse_v2.bad');
select pg_temp.check_rule('rls_enabled_no_policy_0008',
    'create table musicverse_v1.bad (a int primary key); alter table musicverse_v1.bad enable row level security', 'musicverse_v1.bad');
select pg_temp.check_rule('rls_enabled_no_policy_0008',
    'grant select on musicverse.api_usage_20010101 to lint_user', 'musicverse.api_usage_20010101');
select pg_temp.check_rule('duplicate_index_0009',
    'create unique index bad on musicverse.accounts (user_id)', 'musicverse.accounts: musicverse.accounts_pkey, musicverse.bad');
select pg_temp.check_rule('security_definer_view_0010', 'create view musicverse_v1.bad as select 1 as one', 'musicverse_v1.bad');
select pg_temp.check_rule('function_search_path_mutable_0011',
    $$create function musicverse_v1.bad() returns int language sql as 'select 1'; create function musicverse_v1.good() returns int return 1$$, 'musicverse_v1.bad()');
select pg_temp.check_rule('rls_disabled_in_public_0013', 'create table musicverse.bad (a int primary key)', 'musicverse.bad');
select pg_temp.check_rule('extension_in_public_0014', 'create extension pgcrypto schema musicverse_v1', 'pgcrypto');
select pg_temp.check_rule('rls_references_user_metadata_0015',
    $$create policy bad on musicverse.tracks using (title = ((select current_setting('request.jwt.claims'))::jsonb #>> '{user_metadata,title}'))$$, 'bad on musicverse.tracks');
select pg_temp.check_rule('materialized_view_in_api_0016', 'create materialized view musicverse.bad as select 1 as one', 'musicverse.bad');
select pg_temp.check_rule('foreign_table_in_api_0017',
    'create foreign data wrapper w; create server s foreign data wrapper w; create foreign table musicverse_v1.bad (a int) server s', 'musicverse_v1.bad');
select pg_temp.check_rule('unsupported_reg_types_0018', 'create table musicverse.bad (a regproc)', 'musicverse.bad.a');
select pg_temp.check_rule('rls_policy_always_true_0024', 'create policy bad on musicverse.tracks for update using (true)', 'bad on musicverse.tracks');
select pg_temp.check_rule('security_definer_function_executable_0028',
    $$create function musicverse_v2.bad() returns int security definer return 1$$, 'musicverse_v2.bad()');
select pg_temp.check_rule('security_definer_function_executable_0028',
    'grant execute on function musicverse.revoke_api_key(uuid, text) to public', 'musicverse.revoke_api_key(uuid,text)');

select * from finish();
rollback;

-- What must hold of every object of the extension, whatever is added: read by
-- pg_prove in a database where musicverse and pgtap can be created.
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

-- documentation and safety of every object
select is_empty($$
    select c.relname from pg_class c
     where c.relnamespace = 'musicverse'::regnamespace and c.relkind in ('r', 'p', 'v') and not c.relispartition
       and obj_description(c.oid, 'pg_class') is null
$$, 'every table and view has a comment');
select is_empty($$
    select p.oid::regprocedure from pg_proc p
     where p.pronamespace = 'musicverse'::regnamespace and obj_description(p.oid, 'pg_proc') is null
$$, 'every function has a comment');
select is_empty($$
    select p.oid::regprocedure from pg_proc p join pg_language l on l.oid = p.prolang
     where p.pronamespace = 'musicverse'::regnamespace and l.lanname <> 'c' and p.prokind <> 'a' and p.prosqlbody is null
       and not exists (select from unnest(p.proconfig) c where c ~ '^search_path=.*pg_temp$')
$$, 'every SQL function pins its search_path, with pg_temp last, or is bound when it is created');
select is_empty($$
    select p.oid::regprocedure from pg_proc p
     where p.prosecdef and (p.pronamespace in ('musicverse_v1'::regnamespace, 'musicverse_v2'::regnamespace) or p.proname ~ '^_api_')
$$, 'operations have the rights of their caller');
select is_empty($$
    select p.oid::regprocedure from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
     where p.pronamespace = 'musicverse'::regnamespace and a.grantee = 0
$$, 'no function is open to everybody');
select is_empty($$
    select p.oid::regprocedure from pg_proc p
     where p.pronamespace in ('musicverse_v1'::regnamespace, 'musicverse_v2'::regnamespace)
       and (p.prosqlbody is null or p.prosecdef or obj_description(p.oid, 'pg_proc') is null
            or exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where a.grantee = 0))
$$, 'operations of the API are bound, run as who calls, have a comment and are not open to everybody');
select is_empty($$
    select c.relname from pg_class c, aclexplode(c.relacl) a where c.relnamespace = 'musicverse'::regnamespace and a.grantee = 0
$$, 'no table is open to everybody');

-- row-level security, also on the leaves of a new day
select lives_ok($$ select _create_leaves('2001-01-01') $$, 'the leaves of a day can be made');
select is_empty($$
    select c.relname from pg_class c
     where c.relnamespace = 'musicverse'::regnamespace and c.relkind in ('r', 'p') and not c.relrowsecurity
$$, 'every table has row-level security');
select is_empty($$
    select c.relname from pg_class c
     where c.relnamespace = 'musicverse'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
       and not exists (select from pg_policy p where p.polrelid = c.oid)
$$, 'every table that is not a leaf has a policy');
select is_empty($$
    select c.relname from pg_class c
     where c.relnamespace = 'musicverse'::regnamespace and c.relkind = 'v'
       and not 'security_invoker=true' = any (coalesce(c.reloptions, '{}'))
$$, 'views show what their reader may see');
select is_empty($$
    select c.relname from pg_class c
     where c.relnamespace = 'musicverse'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
       and exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'user_id')
       and not exists (select from pg_policy p where p.polrelid = c.oid and p.polname = 'own_rows')
$$, 'every table with users'' rows lets them see their own');

-- what roles get
select is_empty($$
    select name from (select unnest(readable || writable) from unnest('{service,authenticated,anon}'::text[]) k, _exposed(k)) n(name)
     where to_regclass('musicverse.' || name) is null
$$, 'every table that expose_to() names exists');
select is_empty($$
    select name from (select unnest(callable) from unnest('{service,authenticated,anon}'::text[]) k, _exposed(k)) n(name)
     where not exists (select from pg_proc p where p.pronamespace = 'musicverse'::regnamespace and p.proname like replace(replace(name, '_', '\_'), '*', '%'))
$$, 'every function that expose_to() names exists');
select set_eq($$
    select p.proname::text from pg_proc p
     where p.pronamespace = 'musicverse'::regnamespace and p.proname !~ '^_'
       and p.proname <> all (select unnest(callable) from unnest('{service,authenticated,anon}'::text[]) k, _exposed(k))
$$, array['advance_clock', 'attach_users', 'enable_sending', 'expose_to', 'rekey_secrets'], 'the rest is the owner''s');

-- dumps
select set_eq($$
    select c.relname::text from pg_class c
     where c.relnamespace = 'musicverse'::regnamespace and c.relkind in ('r', 'S')
       and exists (select from pg_depend d where d.objid = c.oid and d.classid = 'pg_class'::regclass and d.deptype = 'e')
       and c.oid <> all (select unnest(e.extconfig) from pg_extension e where e.extname = 'musicverse')
$$, array['installation', 'worker_marks'], 'a dump holds every table but what belongs to this database alone');

-- no cascade and no list reads a whole table
select is_empty($$
    select c.conrelid::regclass, c.conname from pg_constraint c
     where c.connamespace = 'musicverse'::regnamespace and c.contype = 'f' and cardinality(c.conkey) = 1
       and c.confrelid <> 'tiers'::regclass
       and not exists (select from pg_index i where i.indrelid = c.conrelid and i.indkey[0] = c.conkey[1])
$$, 'every foreign key has an index');

-- the outline's columns
select is_empty($$
    select r, c from (values
        ('webhooks', '{id,user_id,url,events,secret,is_active,failure_count,created_at}'::name[]),
        ('webhook_deliveries', '{id,webhook_id,event_type,payload,response_status,response_body,attempt_count,delivered_at,created_at,event_id,user_id,status,next_attempt_at,last_error,duration_ms}'),
        ('tracks', '{id,user_id,title,style,prompt,duration,audio_url,cover_url,metadata,isrc,created_at,updated_at,deleted_at}'),
        ('generation_jobs', '{id,user_id,prompt,style,duration,params,status,progress,track_id,error,created_at,started_at,finished_at}'),
        ('api_keys', '{id,user_id,key_hash,key_prefix,name,scopes,last_used_at,expires_at,created_at,revoked_at,allowed_cidrs,rotated_from}'),
        ('scopes', '{name,description}'),
        ('distributions', '{id,user_id,track_id,platforms,release_date,status,metadata,external_ids,created_at,track_ids,time_zone,revision,submitted_at}'),
        ('distribution_targets', '{distribution_id,platform,partner,status,external_id,external_url,attempts,next_attempt_at,last_error,submitted_at,live_at}'),
        ('partners', '{name,connector,platforms,base_url,config,credentials,is_active}'), ('notifications', '{user_id,kind,title,body,created_at,read_at}'),
        ('tiers', '{name,burst,refill_per_second,monthly_quota,max_api_keys,max_webhooks,max_concurrent_jobs}'),
        ('accounts', '{user_id,tier,created_at}'), ('event_types', '{name,description,example,schema}')) v(r, columns), unnest(v.columns) c
     where not exists (select from pg_attribute a where a.attrelid = ('musicverse.' || r)::regclass and a.attname = c)
$$, 'the columns that callers rely on are there');
select col_type_is('musicverse', 'webhook_deliveries', 'payload', 'jsonb', 'payload is jsonb');
select col_type_is('musicverse', 'webhook_deliveries', 'attempt_count', 'integer', 'attempt_count is integer');

-- every shipped event type can come from somewhere
select is_empty($$
    select name from event_types t where t.is_shipped and split_part(name, '.', 1) in ('track', 'generation', 'payment', 'subscription')
       and not exists (select from pg_trigger g where not g.tgisinternal
                          and starts_with(encode(g.tgargs, 'escape'), split_part(t.name, '.', 1) || '\000user_id\000')
                          and (g.tgfoid = 'musicverse.emit_row_event'::regproc
                               or encode(g.tgargs, 'escape') ~ ('(\\000|=|:)' || split_part(t.name, '.', 2) || '\\000')))
$$, 'each event type of the outline has a trigger');

-- plans: a look-up touches indexes only, and pays for nothing it did not ask
create function pg_temp.plan_of(query text) returns text language plpgsql as $$
declare
    line text;
    result text := '';
begin
    for line in execute 'explain (costs off) ' || query loop
        result := result || line || E'\n';
    end loop;
    return result;
end
$$;
set local enable_seqscan = off;
select unalike(pg_temp.plan_of($$ select id, webhook_id, created_at, next_attempt_at from webhook_deliveries where id = _uuid7_bound('2001-01-01 12:00Z') $$),
              '%SubPlan%', 'what is not selected of a delivery is not looked up');
select unalike(pg_temp.plan_of($$ select * from webhook_deliveries where id = _uuid7_bound('2001-01-01 12:00Z') $$),
              '%Seq Scan on%events%', 'a delivery''s event is found by index');
select alike(pg_temp.plan_of($$ select id from webhook_deliveries where id = _uuid7_bound('2001-01-01 12:00Z') $$),
            '%Index%deliveries_20010101_pkey%', 'a delivery is found by the index of its leaf');
select unalike(pg_temp.plan_of($$ select id from webhook_deliveries where id = _uuid7_bound('2001-01-01 12:00Z') $$),
              '%deliveries_default%', 'and in no other leaf');
select unalike(pg_temp.plan_of($$ select id, event_id from webhook_deliveries where webhook_id = '00000000-0000-4000-8000-000000000000' $$),
              '%Seq Scan%', 'a webhook''s deliveries are found by index');
create role regress_pgtap_user;
select expose_to(null, 'regress_pgtap_user', null);
grant usage on schema public to regress_pgtap_user;
set local role regress_pgtap_user;
select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-0000000000d1"}', true) is not null;
select alike(pg_temp.plan_of($$ select id from webhook_deliveries where id = '00000000-0000-7000-8000-000000000000' $$),
            '%Index Cond: (id = %', 'row-level security leaves the index of ids usable');
select unalike(pg_temp.plan_of($$ select id from webhook_deliveries where webhook_id = '00000000-0000-4000-8000-000000000000' $$),
              '%Seq Scan%', 'and that of webhooks');
select alike(pg_temp.plan_of($$ select * from tracks where deleted_at is null order by created_at desc, id desc limit 20 $$),
            '%InitPlan%', 'the caller is asked for once a query');
reset role;

select * from finish();
rollback;

-- Row-level security, of every relation and function that the catalogue knows: what is added later is tried as well.
-- Nothing but the few lists at the end of each part names objects; a query without rows means that nothing is wrong.
set client_min_messages = warning;
create extension if not exists musicverse;
set search_path = musicverse, public;
\set SHOW_CONTEXT never
set timezone = 'UTC';
\set a '00000000-0000-4000-8000-0000000000ca'
\set b '00000000-0000-4000-8000-0000000000cb'
begin;
truncate events, event_log, deliveries, webhook_attempts;
create role regress_rls_service nologin;
create role regress_rls_user nologin;
create role regress_rls_anon nologin;
select expose_to('regress_rls_service', 'regress_rls_user', 'regress_rls_anon');
select _create_leaves('2001-01-01');

-- rows of two users in every table, with a word of theirs in every text that they can give
create temporary table ids (kind text, owner text, id uuid);
create function pg_temp.rows(account uuid, owner text) returns void language plpgsql as $$
declare
    webhook uuid := (musicverse.create_webhook(account, 'https://hooks.example.com/' || owner, '{*}', owner, jsonb_build_object('X-Owner', owner))).id;
    old_event uuid := overlay(musicverse._uuid7_bound('2001-01-01 12:00Z')::text placing right(account::text, 12) from 25);
    made uuid;
begin
    insert into ids values ('user', owner, account), ('webhook', owner, webhook), ('old event', owner, old_event);
    insert into musicverse.tracks (user_id, title) values (account, owner) returning id into made;
    insert into ids values ('track', owner, made);
    insert into musicverse.generation_jobs (user_id, prompt, status) values (account, owner, 'started') returning id into made;
    insert into ids values ('job', owner, made);
    insert into musicverse.generation_work (job_id, user_id, state, last_error) values (made, account, 'done', owner);
    insert into musicverse.distributions (user_id, track_ids, platforms, metadata) values (account, '{}', '{spotify}', jsonb_build_object('title', owner)) returning id into made;
    insert into ids values ('distribution', owner, made);
    insert into musicverse.distribution_work (distribution_id, user_id, partner, last_error) values (made, account, 'labelgrid', owner);
    insert into musicverse.distribution_targets (distribution_id, user_id, work_id, platform, partner, status, reason)
    select made, account, k.id, 'spotify', 'labelgrid', 'delivering', owner from musicverse.distribution_work k where k.distribution_id = made;
    insert into musicverse.distribution_work (distribution_id, user_id, partner, verifies, last_error) values (made, account, 'spotify_lookup', 'spotify', owner);
    insert into musicverse.distribution_facts (distribution_id, user_id, track_id, platform, territory, day, source, streams, revenue, currency)
    values (made, account, account, 'spotify', owner, '2026-10-01', 'labelgrid', 1, 1, 'EUR');
    insert into musicverse.partner_syncs (partner, user_id, distribution_id, note) values ('labelgrid', account, made, owner);
    insert into musicverse.counter_snapshots (partner, remote_id, day, distribution_id, user_id, plays, likes, downloads, shares) values ('soundcloud', owner, '2026-10-01', made, account, 1, 1, 1, 1);
    with r as (insert into musicverse.dsr_reports (partner, report, state, bytes, sha256) values ('labelgrid', owner, 'imported', 1, 'x') returning id)
    insert into musicverse.dsr_products (report_id, product, channel, lines, distribution_id, user_id) select r.id, 1, owner, 1, made, account from r;
    insert into musicverse.notifications (user_id, kind, title) values (account, 'test', owner);
    perform musicverse._request_media('inspect', jsonb_build_object('url', owner), user_id => account);
    insert into musicverse.partner_accounts (partner, user_id, tokens, external_id) values ('soundcloud', account, '', owner);
    insert into musicverse.partner_authorizations values (sha256(convert_to(owner, 'UTF8')), 'soundcloud', account, owner, '', now());
    insert into musicverse.partner_sign_outs (partner, user_id, tokens, next_attempt_at, created_at) values ('soundcloud', account, '', now(), now());
    insert into ids values ('payment', owner, musicverse.record_payment(account, 'rls_' || owner, 1, 'EUR', 'succeeded', owner)),
                           ('subscription', owner, musicverse.record_subscription(account, 'rls_' || owner, 'pro', 'active'));
    insert into ids values ('key', owner, (musicverse.create_api_key(account, owner)).id);
    perform musicverse._add_usage(array[row('2000-12-02 12:00Z', account, null, owner, 2, 1, 0, 0, 0, 0, 0, 0, null)::musicverse.api_usage]);
    insert into musicverse.quota_usage values (account, 'day', current_date, 1);
    insert into musicverse.idempotency_keys values (account, 'k', '', '');
    insert into ids values ('event', owner, musicverse.emit_event(account, 'track.created', jsonb_build_object('title', owner), owner));
    insert into musicverse.events values (old_event, account, 'track.created', '2001-01-01 12:00Z', owner);
    insert into musicverse.event_log values (musicverse._next_number(), account, old_event);
    insert into musicverse.deliveries (seq, id, webhook_id, user_id, event_id, created_at, status, attempt_count, last_error)
    values (musicverse._next_number(), old_event, webhook, account, old_event, '2001-01-01 12:00Z', 'f', 3, owner);
    insert into musicverse.webhook_state (webhook_id, failure_count, last_error) values (webhook, 1, owner);
    insert into musicverse.webhook_attempts (delivery_id, attempt, webhook_id, user_id, started_at, request_headers, response_body, truncated, total_us)
    select d.id, 1, webhook, account, now(), '{}', owner, false, 1 from musicverse.deliveries d where d.webhook_id = webhook;
    insert into ids select 'delivery', owner, d.id from musicverse.deliveries d where d.webhook_id = webhook;
end
$$;
select pg_temp.rows(:'a', 'mine');
select pg_temp.rows(:'b', 'theirs');
select key from create_api_key(:'a', 'by key') \gset
-- the body of an event of 2001 is to be JSON like any other
update events set payload = jsonb_build_object('type', type, 'timestamp', created_at, 'data', jsonb_build_object('title', payload)) where payload in ('mine', 'theirs');
grant select on ids to public;

create temporary table relations as
select c.oid, c.oid::regclass::text as name, c.relname, c.relkind, c.relispartition as leaf,
       exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'user_id') as of_users
  from pg_class c where c.relnamespace = 'musicverse'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S');
grant select on relations to public;
-- this test is worth something only while every relation of users has rows of both
create function pg_temp.count_rows(relation regclass, account uuid) returns bigint language plpgsql as $$
declare
    n bigint;
begin
    execute format('select count(*) from %s where user_id = %L', relation, account) into n;
    return n;
end
$$;
select name as "has no rows of both users" from pg_temp.relations
 where of_users and (not leaf or relname like '%20010101') and (pg_temp.count_rows(oid, :'a') = 0 or pg_temp.count_rows(oid, :'b') = 0);
select count(*) >= 13 as relations_of_users from pg_temp.relations where of_users and not leaf;

-- everything that a role gets to see of a relation, as one text; or the error
create function pg_temp.look(relation oid) returns text language plpgsql as $$
declare
    columns text := (select string_agg(format('r.%I::text', a.attname), ', ' order by a.attnum) from pg_attribute a
                      where a.attrelid = relation and a.attnum > 0 and not a.attisdropped and has_column_privilege(relation, a.attnum, 'select'));
    result text;
begin
    execute format('select coalesce(string_agg(concat_ws('' '', %s), chr(10)), '''') from %s r', coalesce(columns, '1'), relation::regclass) into result;
    return result;
exception when others then
    return sqlstate;
end
$$;
-- ... what of it is somebody else's
create function pg_temp.leaks(shown text, stranger text) returns boolean language sql as $$
    select shown ~ stranger or exists (select from ids i where i.owner = stranger and position(i.id::text in shown) > 0)
$$;
create function pg_temp.try(command text) returns text language plpgsql as $$
begin
    execute command;
    raise exception using errcode = 'MV000';
exception when sqlstate 'MV000' then
    return 'done';
when others then
    return sqlstate;
end
$$;
-- every way to write, in a relation with the column named
create function pg_temp.writes(relation oid) returns text language sql as $$
    select string_agg(distinct pg_temp.try(format(c.command, relation::regclass, (select attname from pg_attribute where attrelid = relation and attnum = 1))), ' ')
      from unnest(array['insert into %1$s default values', 'update %1$s set %2$I = %2$I', 'delete from %1$s', 'truncate %1$s',
                        'lock table %1$s in share mode', 'create trigger t after insert on %1$s for each row execute function pg_catalog.suppress_redundant_updates_trigger()',
                        'alter table %1$s disable row level security', 'create policy p on %1$s using (true)', 'merge into %1$s using (select 1) s on true when matched then delete']) c(command)
     where (select relkind from pg_class where oid = relation) <> 'S'
$$;

-- a user ------------------------------------------------------------------
set local role regress_rls_user;
select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-0000000000ca", "role": "regress_rls_user"}', true) is not null as claimed;
select name as "shows what is another user's" from pg_temp.relations where pg_temp.leaks(pg_temp.look(oid), 'theirs');
select name as "doesn't show one's own" from pg_temp.relations
 where has_any_column_privilege(oid, 'select') and of_users and (pg_temp.look(oid) = '' or position('0000000000ca' in pg_temp.look(oid)) = 0);
select name, pg_temp.look(oid) as "a leaf that can be read" from pg_temp.relations where leaf and pg_temp.look(oid) <> '42501';
select name, pg_temp.writes(oid) as "can be written" from pg_temp.relations where pg_temp.writes(oid) !~ '^((42501|42809|55000|0A000) ?)+$';
select relname as readable from pg_temp.relations where pg_temp.look(oid) <> '42501' order by relname collate "C";
-- no column with a secret, for any of the roles
select a.attrelid::regclass as "secret that can be read", a.attname, r.role from pg_temp.relations c join pg_attribute a on a.attrelid = c.oid
  cross join unnest(array['regress_rls_service', 'regress_rls_user', 'regress_rls_anon']) r(role)
 where a.attnum > 0 and (a.atttypid = 'bytea'::regtype or a.attname ~ 'secret|key$') and a.attname <> all ('{previous_secret_until,public_key,order_key,ordering_key,key,idempotency_key,needs_key,raw}')
   and c.relkind <> 'v' and has_column_privilege(r.role, a.attrelid, a.attnum, 'select, insert, update, references');

reset role;
-- Every function with the ids of another user's things: as with ids that nothing has, or refused
create function pg_temp.call(function oid, given uuid[]) returns text language plpgsql as $$
declare
    f pg_proc := (select p from pg_proc p where p.oid = function);
    types oid[] := f.proargtypes::oid[];
    arguments text[] := '{}';
    uuids int := 0;
    result text;
begin
    for n in 0 .. f.pronargs - f.pronargdefaults - 1 loop
        if types[n] = 'uuid'::regtype then
            uuids := uuids + 1;
        end if;
        arguments := arguments || case types[n]
            when 'uuid'::regtype then quote_literal(given[least(uuids, cardinality(given))]) || '::uuid'
            when 'text'::regtype then '''https://hooks.example.com/rls'''
            when 'text[]'::regtype then '''{*}''::text[]'
            when 'jsonb'::regtype then '''{"description": "changed"}''::jsonb'
            when 'timestamptz'::regtype then quote_literal(timestamptz '2000-12-01 00:00Z' + n * interval '1 day') || '::timestamptz'
            when 'interval'::regtype then '''1 hour''::interval'
            when 'uuid[]'::regtype then quote_literal(given) || '::uuid[]'
            else coalesce(quote_literal('{"bytea": "\\x00", "jsonpath": "$", "inet": "10.0.0.1", "date": "2001-01-05", "regclass": "pg_class", "regrole": "regress_rls_user",
                "bigint": "0", "integer": "1", "smallint": "1", "numeric": "1", "boolean": "t"}'::jsonb ->> types[n]::regtype::text), 'null') || '::' || types[n]::regtype end;
    end loop;
    execute format('select string_agg(f::text, chr(10)) from musicverse.%I(%s) f', f.proname, array_to_string(arguments, ', ')) into result;
    return 'returned ' || coalesce(result, 'nothing');
exception when others then
    return sqlstate || ' ' || sqlerrm;
end
$$;
create function pg_temp.without(ids uuid[], result text) returns text language plpgsql as $$
declare
    id uuid;
begin
    foreach id in array ids loop
        result := replace(result, id::text, 'ID');
    end loop;
    return result;
end
$$;
create temporary table functions as
select p.oid, p.proname, (select count(*) from unnest((p.proargtypes::oid[])[0:p.pronargs - p.pronargdefaults - 1]) a where a = 'uuid'::regtype) as uuids
  from pg_proc p where p.pronamespace = 'musicverse'::regnamespace and p.prokind = 'f' and p.prorettype <> 'trigger'::regtype
   and p.proname !~ '^_(api|openapi)_|^_may_see$';
grant select on functions to public;
create function pg_temp.state() returns text language plpgsql as $$
declare
    result text := '';
    one text;
    relation text;
begin
    for relation in select oid::regclass from pg_temp.relations where relkind in ('r', 'p') and not leaf order by relname loop
        execute format('select coalesce(md5(string_agg(r::text, chr(10) order by r::text)), '''') from %s r where r::text ~ %L', relation,
                       (select 'theirs|' || string_agg(i.id::text, '|') from ids i where i.owner = 'theirs')) into one;
        result := result || relation || one || ' ';
    end loop;
    return result;
end
$$;
select md5(pg_temp.state()) as before \gset
set local role regress_rls_user;
with given as (select i.kind, 1 as uuids, array[i.id] as theirs, array['00000000-0000-4000-8000-00000000ffff'::uuid] as nobodys from ids i where i.owner = 'theirs'
               union all
               select m.kind || ' of mine, ' || t.kind, 2, array[m.id, t.id], array[m.id, '00000000-0000-4000-8000-00000000ffff'] from ids m, ids t
                where m.owner = 'mine' and t.owner = 'theirs' and m.kind in ('webhook', 'user') and t.kind in ('event', 'delivery', 'webhook', 'old event')
               union all
               select t.kind || ', ' || m.kind || ' of mine', 2, array[t.id, m.id], array['00000000-0000-4000-8000-00000000ffff', m.id] from ids m, ids t
                where m.owner = 'mine' and t.owner = 'theirs' and m.kind in ('webhook', 'event', 'old event') and t.kind in ('webhook', 'user')),
     tried as (select f.proname, g.kind, pg_temp.without(g.theirs, pg_temp.call(f.oid, g.theirs)) as got,
                      pg_temp.without(g.nobodys, pg_temp.call(f.oid, g.nobodys)) as expected
                 from pg_temp.functions f, given g where f.uuids >= g.uuids and has_function_privilege(f.oid, 'execute'))
select proname, kind, got, expected from tried
 where got not like '42501%' and (got <> expected or pg_temp.leaks(got, 'theirs'));
-- ... and after all that nothing of theirs has changed
reset role;
select md5(pg_temp.state()) = :'before' as untouched;
set local role regress_rls_user;
-- (with one's own things each does something)
select proname as "does nothing even with one's own" from pg_temp.functions f
 where f.uuids > 0 and has_function_privilege(f.oid, 'execute') and f.proname !~ '^_api_|^delete_|^update_track$|^(create|submit|takedown|confirm)_distribution$|^update_release$|^distribution_package|^_package_url$|^partner_authorize_url$|^_begin_authorization$|^distribution_cover$' -- api_v1, distribution, packages and partner_accounts have them in their order
   and not exists (select from ids i, ids j where i.owner = 'mine' and j.owner = 'mine' and (f.uuids = 2 or i.id = j.id) and pg_temp.call(f.oid, array[i.id, j.id]) ~ '^returned (?!f$|nothing$)');
-- what may not be called at all
select proname as "can be called by mistake" from pg_temp.functions
 where not has_function_privilege(oid, 'execute') and pg_temp.call(oid, array['00000000-0000-4000-8000-0000000000ca'::uuid]) not like '42501%';
select string_agg(proname, ' ' order by proname) as callable from pg_temp.functions where has_function_privilege(oid, 'execute');

-- who one is can't be forged
select pg_temp.try('set musicverse.user_id = ''00000000-0000-4000-8000-0000000000cb''') as user_id, pg_temp.try('set musicverse.caller = ''00000000-0000-4000-8000-0000000000cb''') as caller;
select set_config('request.jwt.claim.sub', '00000000-0000-4000-8000-0000000000cb', true), set_config('request.jwt.sub', '00000000-0000-4000-8000-0000000000cb', true),
       set_config('app.user_id', '00000000-0000-4000-8000-0000000000cb', true);
create function pg_temp.current_user_id() returns uuid language sql as $$ select '00000000-0000-4000-8000-0000000000cb'::uuid $$;
create function pg_temp.caller_is_service() returns boolean language sql as $$ select true $$;
create temporary table webhook_endpoints as select 1 as id;
create temporary table exposed_roles as select 'regress_rls_user'::name as role_name, 'service' as kind;
set local search_path = pg_temp, musicverse, public;
select musicverse.current_user_id() = :'a' as still_me, musicverse.caller_is_service() as service;
select name from pg_temp.relations where pg_temp.leaks(pg_temp.look(oid), 'theirs');
select count(*) as mine from musicverse.webhooks;
set local search_path = musicverse, public;
drop table pg_temp.webhook_endpoints, pg_temp.exposed_roles;
drop function pg_temp.current_user_id(), pg_temp.caller_is_service();
-- claims that are none, or nobody's; the same user in capitals
select claims, set_config('request.jwt.claims', claims, true) is not null as claimed, pg_temp.try('select musicverse.current_user_id()') as answer,
       pg_temp.call('musicverse.current_user_id'::regproc, '{}') as "user", pg_temp.look('musicverse.webhooks'::regclass) ~ '(mine|theirs)' as shown
  from unnest(array['', ' ', 'null', '1', '[]', '"00000000-0000-4000-8000-0000000000ca"', '{}', '{', 'sub', '{"sub": null}', '{"sub": 1}', '{"sub": true}', '{"sub": ""}',
      '{"sub": ["00000000-0000-4000-8000-0000000000ca"]}', '{"sub": {"sub": "00000000-0000-4000-8000-0000000000ca"}}', '{"Sub": "00000000-0000-4000-8000-0000000000ca"}',
      '{"sub": "{00000000-0000-4000-8000-0000000000ca}"}', '{"sub": "00000000-0000-4000-8000-0000000000ca "}', '{"sub": "00000000-0000-4000-8000-0000000000c"}',
      '{"sub": "00000000000040008000000000000000ca"}', '{"sub": "0000000g-0000-4000-8000-0000000000ca"}', '{"sub": "00000000-0000-4000-8000-0000000000ca'' or true"}',
      '{"sub": "*"}', '{"sub": "auth0|1234"}', '{"role": "regress_rls_service"}', '{"sub": "00000000-0000-4000-8000-0000000000cb", "sub": "00000000-0000-4000-8000-0000000000CA"}']) claims;
reset role;

-- anybody -----------------------------------------------------------------
set local role regress_rls_anon;
select set_config('request.jwt.claims', '{"role": "anon"}', true) is not null as no_user;
select relname as readable from pg_temp.relations where pg_temp.look(oid) <> '42501' order by relname collate "C";
select name as "shows what is somebody's" from pg_temp.relations where pg_temp.leaks(pg_temp.look(oid), 'theirs') or pg_temp.leaks(pg_temp.look(oid), 'mine');
select name, pg_temp.writes(oid) as "can be written" from pg_temp.relations where pg_temp.writes(oid) !~ '^((42501|42809|55000|0A000) ?)+$';
select string_agg(proname, ' ' order by proname) as callable from pg_temp.functions where has_function_privilege(oid, 'execute');
-- every function answers as if nobody's things were not there
with given as (select i.kind, 1 as uuids, array[i.id] as ids, array['00000000-0000-4000-8000-00000000ffff'::uuid] as nobodys from ids i
               union all
               select m.kind || ', ' || t.kind, 2, array[m.id, t.id], array['00000000-0000-4000-8000-00000000ffff'::uuid, '00000000-0000-4000-8000-00000000ffff'] from ids m, ids t
                where m.owner = t.owner and m.kind in ('webhook', 'user') and t.kind in ('event', 'delivery', 'webhook', 'old event')),
     tried as (select f.proname, g.kind, pg_temp.without(g.ids, pg_temp.call(f.oid, g.ids)) as got,
                      pg_temp.without(g.nobodys, pg_temp.call(f.oid, g.nobodys)) as expected
                 from pg_temp.functions f, given g where f.uuids >= g.uuids and has_function_privilege(f.oid, 'execute'))
select proname, kind, got, expected from tried where got not like '42501%' and got <> expected;
select string_agg(proname, ' ' order by proname) as "does something for nobody" from pg_temp.functions f
 where has_function_privilege(oid, 'execute') and pg_temp.call(oid, array['00000000-0000-4000-8000-0000000000ca'::uuid]) ~ '^returned (?!false$|nothing$)';
reset role;
select md5(pg_temp.state()) = :'before' as untouched;

-- a service ---------------------------------------------------------------
create temporary table all_rows as select name, pg_temp.count_rows(oid, :'a') + pg_temp.count_rows(oid, :'b') as n from pg_temp.relations where of_users and not leaf;
grant select on all_rows to public;
set local role regress_rls_service;
select set_config('request.jwt.claims', '', true) is not null as no_claims;
select a.name as "doesn't show all", a.n, pg_temp.look(a.name::regclass) from all_rows a
 where has_table_privilege(a.name, 'select') and pg_temp.count_rows(a.name::regclass, :'a') + pg_temp.count_rows(a.name::regclass, :'b') <> a.n;
select a.name as "that a service can't read whole" from all_rows a where not has_table_privilege(a.name, 'select') order by 1;
select name, pg_temp.look(oid) as "a leaf that can be read" from pg_temp.relations where leaf and pg_temp.look(oid) <> '42501';
select relname as "service writes" from pg_temp.relations where relkind <> 'v' and (pg_temp.try(format('delete from %s', name)) <> '42501' or pg_temp.try(format('update %s set %I = default', name,
       (select attname from pg_attribute where attrelid = pg_temp.relations.oid and attnum = 1))) <> '42501') order by relname collate "C";
reset role;

-- somebody who was granted a table by hand still sees no more than the policies let -----
grant select on all tables in schema musicverse to regress_rls_user;
revoke select on worker_status from regress_rls_user;
set local role regress_rls_user;
select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-0000000000ca"}', true) is not null as claimed;
select name as "shows what is another user's" from pg_temp.relations where pg_temp.leaks(pg_temp.look(oid), 'theirs');
select name as "a leaf that shows rows", pg_temp.look(oid) from pg_temp.relations where leaf and pg_temp.look(oid) <> '';
reset role;

-- whoever calls by a key is its user, whatever role lets it in, to the end of the transaction -----
select set_config('request.headers', format('{"x-api-key": "%s"}', :'key'), true) is not null as asked, set_config('request.jwt.claims', '{"role": "anon"}', true) is not null as no_user;
set local role regress_rls_anon;
select name as "shows something before" from pg_temp.relations where pg_temp.leaks(pg_temp.look(oid), 'mine');
select pre_request();
select name as "shows what is another user's" from pg_temp.relations where pg_temp.leaks(pg_temp.look(oid), 'theirs');
select name as "doesn't show one's own" from pg_temp.relations
 where has_any_column_privilege(oid, 'select') and of_users and not leaf and (pg_temp.look(oid) = '' or position('0000000000ca' in pg_temp.look(oid)) = 0);
set local role regress_rls_service;
select caller_is_service() as service;
select name as "shows a service what is another user's" from pg_temp.relations where pg_temp.leaks(pg_temp.look(oid), 'theirs');
select pg_temp.call('musicverse.create_webhook'::regproc, array[:'b'::uuid]) like '42501%' as refused;
reset role;
rollback;

-- Who sees and may do what: roles as PostgREST uses them
set client_min_messages = warning;
create extension if not exists musicverse;
set search_path = musicverse, public;
\set SHOW_CONTEXT never
\set a '00000000-0000-4000-8000-0000000000c1'
\set b '00000000-0000-4000-8000-0000000000c2'
create role regress_musicverse_service nologin;
create role regress_musicverse_user nologin;
create role regress_musicverse_anon nologin;

-- rows of two users in every table
select (create_webhook(:'a', 'https://hooks.example.com/a', '{*}')).id as id \gset wa_
select (create_webhook(:'b', 'https://hooks.example.com/b', '{*}')).id as id \gset wb_
insert into tracks (user_id, title) values (:'a', 'Mine'), (:'b', 'Theirs');
insert into generation_jobs (user_id, prompt, status) values (:'a', 'Mine', 'started'), (:'b', 'Theirs', 'queued');
select id from generation_jobs where user_id = :'b' \gset jb_
select record_payment(:'a', 'access_a', 1, 'EUR', 'succeeded') is not null, record_payment(:'b', 'access_b', 1, 'EUR', 'succeeded') is not null;
select record_subscription(:'a', 'access_a', 'pro', 'active') is not null, record_subscription(:'b', 'access_b', 'pro', 'active') is not null;
insert into webhook_state (webhook_id, failure_count) values (:'wa_id', 1), (:'wb_id', 2);
insert into webhook_attempts (delivery_id, attempt, webhook_id, user_id, started_at, request_headers, response_body, truncated, total_us)
select id, 1, webhook_id, user_id, now(), '{}', 'answer', false, 1000 from deliveries where webhook_id in (:'wa_id', :'wb_id');
select min(id::text) as id from deliveries where webhook_id = :'wb_id' \gset db_
select min(id::text) as id from events where user_id = :'b' \gset eb_

-- nothing is granted before
set role regress_musicverse_user;
select count(*) from musicverse.webhooks;
select musicverse.current_user_id();
reset role;

select expose_to('regress_musicverse_service', 'regress_musicverse_user', 'regress_musicverse_anon');
select expose_to('regress_musicverse_service', 'regress_musicverse_user', 'regress_musicverse_anon');
select expose_to('regress_musicverse_service', 'regress_musicverse_service', null);
select role_name, kind from exposed_roles where role_name like 'regress\_musicverse\_%' order by kind;

-- a user: its own rows everywhere, no secret, no writing
set role regress_musicverse_user;
select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-0000000000c1", "role": "regress_musicverse_user"}', false) is not null as claimed;
select current_user_id(), caller_is_service();
create function pg_temp.counts() returns table (relation text, own bigint, others bigint) language plpgsql as $$
begin
    foreach relation in array '{accounts,payments,subscriptions,tracks,generation_jobs,webhooks,webhook_deliveries,webhook_endpoints,webhook_attempts,events,event_log,deliveries}'::text[] loop
        execute format('select count(*) filter (where user_id = %1$L), count(*) filter (where user_id <> %1$L) from musicverse.%2$I',
                       '00000000-0000-4000-8000-0000000000c1', relation) into own, others;
        return next;
    end loop;
end
$$;
select relation, own > 0 as own, others from pg_temp.counts();
select webhook_id = :'wa_id' as mine, failure_count from webhook_state;
select url, secret, failure_count from webhooks;
select event_type, payload ->> 'type' as type, response_body from webhook_deliveries order by id limit 1;
select count(*) > 0 as "catalogue" from event_types;
-- a function in the query that would tell of rows it should not see
reset role;
create function public.regress_tell(text) returns boolean language plpgsql cost 0.0000001 as $$
begin
    if $1 like '%Theirs%' or $1 like '%/b' then raise warning 'seen: %', $1; end if;
    return true;
end
$$;
set role regress_musicverse_user;
select count(*) from tracks where public.regress_tell(title);
select count(*) from webhooks where public.regress_tell(url);
select count(*) > 0 as some from events where public.regress_tell(payload);
select count(*) > 0 as some from webhook_deliveries where public.regress_tell(payload::text);

\set VERBOSITY sqlstate
select secret from webhook_endpoints;
select previous_secret from webhook_endpoints;
select client_key from webhook_endpoints;
select webhook_endpoints from webhook_endpoints;
select * from events_default;
select * from deliveries_default;
select * from event_keys;
select * from installation;
select * from exposed_roles;
select * from worker_marks;
insert into tracks (user_id, title) values (:'a', 'Sneaked');
update accounts set tier = 'enterprise';
delete from events;
update webhooks set url = 'https://elsewhere.example.com';
truncate deliveries;
-- what only the owner or the service may
select set_tier(:'a', 'enterprise');
select record_payment(:'a', 'free', 0, 'EUR', 'succeeded');
select record_subscription(:'a', 'free', 'enterprise', 'active');
select emit_event(:'a', 'payment.succeeded', '{}');
select register_event_type('a.b', 'x', '{}');
select _unseal('x', 'y');
select _queue_deliveries(null, null, null);
select _own_webhook(:'wa_id');
select rekey_secrets();
select enable_sending();
select expose_to('regress_musicverse_user', null, null);
select attach_users('pg_class');
-- another user's things are not there
select create_webhook(:'b', 'https://hooks.example.com/c', '{*}');
select update_webhook(:'wb_id', '{"url": "https://hooks.example.com/c"}');
select enable_webhook(:'wb_id');
select disable_webhook(:'wb_id');
select rotate_webhook_secret(:'wb_id');
select test_webhook(:'wb_id');
select replay_webhook(:'wb_id', '-infinity');
select replay_delivery(:'db_id');
select explain_event(:'eb_id');
select webhook_stats(:'wb_id');
\set VERBOSITY default
select delete_webhook(:'wb_id');
select cancel_job(:'jb_id');
-- its own can be used
select (create_webhook(:'a', 'https://hooks.example.com/a2', '{track.*}')).id as id \gset wa2_
select update_webhook(:'wa2_id', '{"description": "Second"}');
select rotate_webhook_secret(:'wa2_id') is not null as rotated;
select test_webhook(:'wa2_id') is not null as tested;
select disable_webhook(:'wa2_id');
select enable_webhook(:'wa2_id');
select replay_webhook(:'wa2_id', '-infinity', only_failed => false, dry_run => true);
select count(*) from explain_event((select event_id from webhook_deliveries where webhook_id = :'wa2_id'));
select deliveries from webhook_stats(:'wa2_id');
select cancel_job(id) from generation_jobs;
select delete_webhook(:'wa2_id');

-- without claims, or with strange ones, there is nobody's row
select set_config('request.jwt.claims', '', false) is not null as claimed;
select sum(own + others) from pg_temp.counts();
select set_config('request.jwt.claims', '{"sub": "service"}', false) is not null as claimed;
select sum(own + others) from pg_temp.counts();
\set VERBOSITY sqlstate
select create_webhook(:'a', 'https://hooks.example.com/c', '{*}');
\set VERBOSITY default
reset role;

-- anybody: the catalogues, and nothing of any user
set role regress_musicverse_anon;
select count(*) > 0 as types from event_types;
select count(*) >= 3 as tiers from tiers;
\set VERBOSITY sqlstate
select * from accounts;
select * from webhooks;
select create_webhook(:'a', 'https://hooks.example.com/c', '{*}');
\set VERBOSITY default
reset role;

-- a service: all rows, and the writing that its work needs; no secret either
select _request_media('inspect', '{"url": "https://a.example.com/gone"}', user_id => '00000000-0000-4000-8000-0000000000c3') is not null as asked;
set role regress_musicverse_service;
select caller_is_service();
select relation, own > 0 as own, others > 0 as others from pg_temp.counts();
insert into tracks (user_id, title) values (:'b', 'From the service');
update tracks set title = 'By the service' where title = 'From the service';
select payload -> 'data' ->> 'title' as title from webhook_deliveries where event_type = 'track.updated' and user_id = :'b';
insert into generation_jobs (user_id, prompt) values (:'b', 'From the service');
select set_tier(:'b', 'enterprise');
select tier from accounts where user_id = :'b';
select emit_event(:'b', 'track.created', '{"title": "By hand"}') is not null as emitted;
select url from webhooks where id = :'wb_id';
select enabled is not null as known from sending_status();
delete from accounts where user_id = '00000000-0000-4000-8000-0000000000c3';
select count(*) as of_nobody from media_work where input ->> 'url' = 'https://a.example.com/gone';
\set VERBOSITY sqlstate
select secret from webhook_endpoints;
select _unseal('x', 'y');
delete from events;
update webhook_endpoints set url = 'https://elsewhere.example.com';
select rekey_secrets();
select enable_sending();
select expose_to('regress_musicverse_user', null, null);
\set VERBOSITY default
reset role;

-- a role that becomes less loses the rest
select expose_to(null, 'regress_musicverse_service', null);
set role regress_musicverse_service;
select caller_is_service(), (select count(*) from tracks) as tracks;
\set VERBOSITY sqlstate
insert into tracks (user_id, title) values (:'b', 'x');
select set_tier(:'b', 'free');
\set VERBOSITY default
reset role;

-- nothing at all is open to everybody
select p.oid::regprocedure from pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
 where p.pronamespace = 'musicverse'::regnamespace and a.grantee = 0;
select c.relname from pg_class c, aclexplode(c.relacl) a where c.relnamespace = 'musicverse'::regnamespace and a.grantee = 0;
select has_schema_privilege('public', 'musicverse', 'usage') as usage, has_schema_privilege('public', 'musicverse', 'create') as "create";

delete from accounts where user_id in (:'a', :'b');
delete from exposed_roles where role_name like 'regress\_musicverse\_%';
drop function public.regress_tell(text);
drop owned by regress_musicverse_service, regress_musicverse_user, regress_musicverse_anon;
drop role regress_musicverse_service, regress_musicverse_user, regress_musicverse_anon;

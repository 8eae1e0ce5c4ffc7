-- Accounts, tiers and billing: what appears by itself, what repeats, what is refused
set client_min_messages = warning;
create extension if not exists musicverse;
set search_path = musicverse, public;
\set SHOW_CONTEXT never
\set a '00000000-0000-4000-8000-0000000000a1'
\set b '00000000-0000-4000-8000-0000000000a2'

select name, burst, refill_per_second, monthly_quota, max_api_keys, max_webhooks, max_concurrent_jobs from tiers
 where name in ('free', 'pro', 'enterprise') order by burst;

-- an account appears with the first row of its user
insert into tracks (user_id, title) values (:'a', 'One'), (:'a', 'Two');
select tier from accounts where user_id = :'a';
select set_tier(:'a', 'enterprise');
select tier from accounts where user_id = :'a';
select set_tier(:'b', 'pro');
select tier from accounts where user_id = :'b';
select set_tier(:'a', 'platinum');
select set_tier(:'a', null);
select set_tier(null, 'pro');

-- a shipped tier that was changed is the host's own from then on
begin;
update tiers set burst = 25 where name = 'free';
select burst, is_shipped from tiers where name = 'free';
-- and a restored row of one that is untouched takes its place
insert into tiers values ('pro', 111, 11, null, 1, 2, 3);
select burst, max_webhooks, is_shipped from tiers where name = 'pro';
insert into tiers values ('pro', 112, 11, null, 1, 2, 3);
rollback;
begin;
insert into tiers values ('studio', 500, 50, null, 10, 10, 10, true);
select is_shipped from tiers where name = 'studio';
rollback;

-- payments: one row and one event a state, however often it is told
select record_payment(:'a', 'pi_1', 9.99, 'eur', 'pending', 'Pro', '{"n": 1}', '2026-03-01 10:00Z') as id \gset p1_
select record_payment(:'a', 'pi_1', 9.99, 'EUR', 'failed', null, '{"n": 2}', '2026-03-01 10:01Z') = :'p1_id' as same;
select record_payment(:'a', 'pi_1', 9.99, 'EUR', 'failed', null, '{"n": 2}', '2026-03-01 10:01Z') = :'p1_id' as same;
select record_payment(:'a', 'pi_1', 9.99, 'EUR', 'failed', null, '{"n": 2}', '2026-03-01 10:05Z') = :'p1_id' as same;
select record_payment(:'a', 'pi_1', 9.99, 'EUR', 'succeeded', null, '{"n": 3}', '2026-03-01 10:06Z') = :'p1_id' as same;
-- late repetitions do not go backwards
select record_payment(:'a', 'pi_1', 9.99, 'EUR', 'failed', null, '{"n": 4}', '2026-03-01 10:01Z') = :'p1_id' as same;
select record_payment(:'a', 'pi_1', 9.99, 'EUR', 'pending') = :'p1_id' as same;
select external_id, amount, currency, status, description, metadata from payments where user_id = :'a';
select type, count(*), min(payload::jsonb -> 'data' ->> 'status') as status
  from events where user_id = :'a' and type like 'payment.%' group by type order by type;
select record_payment(:'b', 'pi_1', 9.99, 'EUR', 'succeeded');
select record_payment(:'a', 'pi_2', -1, 'EUR', 'succeeded');
select record_payment(:'a', 'pi_2', 'NaN', 'EUR', 'succeeded');
select record_payment(:'a', 'pi_2', 1, 'EURO', 'succeeded');
select record_payment(:'a', 'pi_2', 1, null, 'succeeded');
select record_payment(:'a', 'pi_2', 1, 'EUR', 'paid');
select record_payment(:'a', null, 1, 'EUR', 'succeeded');
select record_payment(:'a', 'pi_2', 1, 'EUR', 'succeeded', null, '[]');
-- an event that is rolled back was never there
begin;
select record_payment(:'b', 'pi_3', 1, 'EUR', 'succeeded') is not null as made;
rollback;
select count(*) from events where user_id = :'b' and type = 'payment.succeeded';

-- subscriptions set the tier, and tell their beginning and end once
select record_subscription(:'b', 'sub_1', 'pro', 'trialing', '2026-04-01') as id \gset s1_
select tier from accounts where user_id = :'b';
select record_subscription(:'b', 'sub_1', 'enterprise', 'active', '2026-04-01') = :'s1_id' as same;
select tier from accounts where user_id = :'b';
select record_subscription(:'b', 'sub_1', 'enterprise', 'past_due', '2026-04-01') = :'s1_id' as same;
select record_subscription(:'b', 'sub_1', 'enterprise', 'active', '2026-05-01') = :'s1_id' as same;
select record_subscription(:'b', 'sub_1', 'enterprise', 'active', '2026-05-01') = :'s1_id' as same;
-- an older period, or the trial after the paid time, is old news
select record_subscription(:'b', 'sub_1', 'pro', 'past_due', '2026-04-01') = :'s1_id' as same;
select record_subscription(:'b', 'sub_1', 'pro', 'trialing', '2026-05-01') = :'s1_id' as same;
select tier, status, current_period_end::date from subscriptions where user_id = :'b';
select record_subscription(:'b', 'sub_1', 'enterprise', 'canceled') = :'s1_id' as same;
select tier from accounts where user_id = :'b';
select record_subscription(:'b', 'sub_1', 'enterprise', 'active', '2026-05-01') = :'s1_id' as same;
select record_subscription(:'b', 'sub_1', 'enterprise', 'expired') = :'s1_id' as same;
select status, current_period_end::date from subscriptions where user_id = :'b';
select type, count(*) from events where user_id = :'b' and type like 'subscription.%' group by type order by type;
-- another one that runs decides
select record_subscription(:'b', 'sub_2', 'pro', 'active', '2026-06-01') is not null as made;
select record_subscription(:'b', 'sub_1', 'enterprise', 'cancelled', '2026-06-01') = :'s1_id' as same;
select tier from accounts where user_id = :'b';
select record_subscription(:'a', 'sub_2', 'pro', 'active');
select record_subscription(:'b', 'sub_3', 'platinum', 'active');
select record_subscription(:'b', 'sub_3', 'pro', 'paused');
select record_subscription(:'b', 'sub_3', 'pro', null);

-- jobs go forward only
insert into generation_jobs (user_id, prompt) values (:'a', 'Rain') returning id \gset j1_
update generation_jobs set progress = 5 where id = :'j1_id';
update generation_jobs set status = 'started' where id = :'j1_id' returning started_at is not null as started, finished_at;
update generation_jobs set status = 'completed' where id = :'j1_id' returning progress, finished_at is not null as finished;
\set VERBOSITY sqlstate
update generation_jobs set status = 'started' where id = :'j1_id';
update generation_jobs set progress = 101 where id = :'j1_id';
\set VERBOSITY default
select cancel_job(:'j1_id');
insert into generation_jobs (user_id, prompt) values (:'a', 'Snow') returning id \gset j2_
select cancel_job(:'j2_id');
select status, started_at, finished_at is not null as finished from generation_jobs where id = :'j2_id';
select cancel_job(:'j2_id');
select cancel_job('00000000-0000-4000-8000-00000000ffff');
insert into generation_jobs (user_id, prompt) values (:'a', 'Hail') returning id \gset j3_
update generation_jobs set status = 'failed', error = 'refused' where id = :'j3_id';
\set VERBOSITY sqlstate
insert into generation_jobs (user_id, prompt, status) values (:'a', 'Wind', 'waiting');
\set VERBOSITY default
select type, payload::jsonb -> 'data' ->> 'prompt' as prompt, payload::jsonb -> 'data' ->> 'status' as status
  from events where user_id = :'a' and type like 'generation.%' order by id;

-- tracks: every change is told, nothing is told twice
update tracks set title = 'Two' where user_id = :'a' and title = 'Two';
update tracks set title = 'Three', duration = 180 where user_id = :'a' and title = 'Two' returning updated_at > created_at as touched;
update tracks set deleted_at = now() where user_id = :'a' and title = 'Three';
update tracks set title = 'Four' where user_id = :'a' and title = 'Three';
delete from tracks where user_id = :'a';
select type, payload::jsonb -> 'data' ->> 'title' as title, payload::jsonb -> 'data' -> 'duration' as duration
  from events where user_id = :'a' and type like 'track.%' order by id;

-- the host's table of users takes everything along
create schema accounts_host;
create table accounts_host.users (id uuid primary key, name text);
create table accounts_host.people (id int primary key);
select attach_users('accounts_host.people');
begin;
delete from accounts where user_id <> all ('{00000000-0000-4000-8000-0000000000a1,00000000-0000-4000-8000-0000000000a2}');
insert into accounts_host.users values (:'a', 'Ada');
savepoint orphan;
select attach_users('accounts_host.users');
rollback to orphan;
insert into accounts_host.users values (:'b', 'Bea');
select attach_users('accounts_host.users');
select attach_users('accounts_host.users');
select count(*) from pg_constraint where conrelid = 'accounts'::regclass and contype = 'f' and confrelid = 'accounts_host.users'::regclass;
delete from accounts_host.users where id = :'b';
select count(*) from accounts where user_id = :'b';
select count(*) from subscriptions where user_id = :'b';
savepoint stranger;
\set VERBOSITY sqlstate
insert into tracks (user_id) values ('00000000-0000-4000-8000-00000000ffff');
\set VERBOSITY default
rollback;
select attach_users();
drop schema accounts_host cascade;

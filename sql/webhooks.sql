-- Webhooks by SQL: making, changing, ending, looking, sending again. No worker serves this database.
set client_min_messages = warning;
create extension if not exists musicverse;
set search_path = musicverse, public;
\set SHOW_CONTEXT never
\set u '00000000-0000-4000-8000-0000000000b1'
\set v '00000000-0000-4000-8000-0000000000b2'

-- the catalogue: each example is what its schema says
select name, description from event_types where is_shipped order by name;
select name from event_types
 where is_shipped and (select array_agg(k order by k) from jsonb_object_keys(example) k)
       <> (select array_agg(k order by k) from jsonb_object_keys(schema -> 'properties') k);
select register_event_type('playlist.shared', 'A playlist was shared', '{"id": 1}');
select register_event_type('playlist.shared', 'Someone shared a playlist', '{"id": 2}', '{"type": "object"}');
select description, example, schema, is_shipped from event_types where name = 'playlist.shared';
select register_event_type('track.created', 'Mine', '{}');
select register_event_type('Playlist', 'No dot', '{}');
select register_event_type('playlist.made', null, '{}');
select register_event_type('playlist.made', 'Made', '{}', '"x"');

-- making one
select id, secret from create_webhook(:'u', 'https://hooks.example.com/a', '{track.*,payment.failed,track.*}', 'First', '{"X-Team": "music"}') \gset w_
select :'w_secret' like 'whsec\_%' as secret;
select url, events, secret, is_active, failure_count, description, headers, signing, updated_at = created_at as fresh from webhooks where id = :'w_id';
select _unseal(secret, 'webhook:' || id || ':secret') = :'w_secret' as opens from webhook_endpoints where id = :'w_id';
select create_webhook(:'u', 'https://hooks.example.com/a', '{}');
select create_webhook(:'u', 'https://hooks.example.com/a', null);
select create_webhook(:'u', 'https://hooks.example.com/a', '{track.created,null}');
\set VERBOSITY terse
select create_webhook(:'u', 'https://hooks.example.com/a', '{track.made}');
select create_webhook(:'u', 'https://hooks.example.com/a', '{trac.*}');
select create_webhook(:'u', 'https://hooks.example.com/a', '{track*}');
select create_webhook(:'u', 'https://hooks.example.com/a', '{.*}');
select create_webhook(:'u', 'https://hooks.example.com/a', array(select 'track.created' from generate_series(1, 101)));
select create_webhook(null, 'https://hooks.example.com/a', '{*}');
select create_webhook(:'u', null, '{*}');
\set VERBOSITY sqlstate
select create_webhook(:'u', 'http://hooks.example.com/a', '{*}');
select create_webhook(:'u', 'https://127.0.0.1/a', '{*}');
select create_webhook(:'u', 'https://user:pass@hooks.example.com/a', '{*}');
select create_webhook(:'u', 'ftp://hooks.example.com/a', '{*}');
select create_webhook(:'u', '', '{*}');
\set VERBOSITY default
select create_webhook(:'u', 'https://hooks.example.com/a', '{*}', null, '[]');
select create_webhook(:'u', 'https://hooks.example.com/a', '{*}', null, '{"Content-Type": "text/plain"}');
select create_webhook(:'u', 'https://hooks.example.com/a', '{*}', null, '{"WebHook-Id": "1"}');
select create_webhook(:'u', 'https://hooks.example.com/a', '{*}', null, '{"Proxy-Authorization": "1"}');
select create_webhook(:'u', 'https://hooks.example.com/a', '{*}', null, '{"X Y": "1"}');
select create_webhook(:'u', 'https://hooks.example.com/a', '{*}', null, '{"": "1"}');
select create_webhook(:'u', 'https://hooks.example.com/a', '{*}', null, '{"X-A": "1\r\nX-B: 2"}');
select create_webhook(:'u', 'https://hooks.example.com/a', '{*}', null, '{"X-A": "1\n"}');
select create_webhook(:'u', 'https://hooks.example.com/a', '{*}', null, '{"X-A": ""}');
select create_webhook(:'u', 'https://hooks.example.com/a', '{*}', null, '{"X-A": 1}');
select create_webhook(:'u', 'https://hooks.example.com/a', '{*}', null, '{"X-A": "1", "x-a": "2"}');
select create_webhook(:'u', 'https://hooks.example.com/a', '{*}', null, (select jsonb_object_agg('X-' || n, 'v') from generate_series(1, 51) n));
select create_webhook(:'u', 'https://hooks.example.com/a', '{*}', null, jsonb_build_object('X-A', repeat('a', 8190)));
-- what the tier allows
select count(*) from (select (create_webhook(:'v', 'https://hooks.example.com/' || n, '{*}')).id from generate_series(1, 3) n) made where id is not null;
select create_webhook(:'v', 'https://hooks.example.com/4', '{*}');
select set_tier(:'v', 'pro');
select (create_webhook(:'v', 'https://hooks.example.com/4', '{*}')).id is not null as made;
select count(*) from webhooks where user_id = :'v';
delete from accounts where user_id = :'v';
select count(*) from webhooks where user_id = :'v';

-- changing one
select update_webhook(:'w_id', '{"url": "https://hooks.example.com/b", "events": ["*"], "description": null, "headers": null,
    "timeout": 5, "retry_schedule": "5s, 5min,2h", "rate_limit": 2.5, "max_concurrency": 4,
    "filter": "$.data.duration > 60", "ordering_key": "$.data.user_id"}');
select url, events, description, headers, timeout, retry_schedule, rate_limit, max_concurrency, filter, ordering_key from webhooks where id = :'w_id';
select update_webhook(:'w_id', '{"timeout": "1min 30s", "retry_schedule": ["1s", 60], "rate_limit": null, "max_concurrency": null, "filter": null, "ordering_key": null}');
select timeout, retry_schedule, rate_limit, max_concurrency, filter, ordering_key from webhooks where id = :'w_id';
select update_webhook(:'w_id', '{"timeout": null, "retry_schedule": null}');
select update_webhook(:'w_id', '{"colour": "red"}');
select update_webhook(:'w_id', '{"is_active": true}');
select update_webhook(:'w_id', '{"url": null}');
select update_webhook(:'w_id', '{"url": 5}');
select update_webhook(:'w_id', '{"events": "track.created"}');
select update_webhook(:'w_id', '{"timeout": []}');
select update_webhook(:'w_id', '{"timeout": "soon"}');
select update_webhook(:'w_id', '{"timeout": 0}');
select update_webhook(:'w_id', '{"timeout": "2 hours"}');
select update_webhook(:'w_id', '{"timeout": 1e10}');
select update_webhook(:'w_id', '{"retry_schedule": []}');
select update_webhook(:'w_id', '{"retry_schedule": ["5s", "-1s"]}');
select update_webhook(:'w_id', '{"retry_schedule": ["5s", null]}');
select update_webhook(:'w_id', '{"rate_limit": 0}');
select update_webhook(:'w_id', '{"rate_limit": 1e400}');
select update_webhook(:'w_id', '{"max_concurrency": 1.5}');
select update_webhook(:'w_id', '{"filter": "$."}');
select update_webhook(:'w_id', '{"signing": "rsa"}');
select update_webhook(:'w_id', '{"client_cert": "nope"}');
select update_webhook(:'w_id', '{"client_key": "nope"}');
select update_webhook(:'w_id', '{"client_cert": "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----"}');
select update_webhook(:'w_id', '[]');
select update_webhook(:'w_id', null);
-- nothing of a refused change stays
select update_webhook(:'w_id', '{"description": "New", "timeout": "soon"}');
select description, url from webhooks where id = :'w_id';
select update_webhook(:'w_id', '{"client_cert": "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----",
    "client_key": "-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----"}');
select client_cert is not null as cert, _unseal(client_key, 'webhook:' || id || ':client_key') like '%PRIVATE%' as opens from webhook_endpoints where id = :'w_id';
select update_webhook(:'w_id', '{"client_cert": null, "client_key": null}');

-- secrets
select rotate_webhook_secret(:'w_id') as secret \gset new_
select :'new_secret' <> :'w_secret' as changed, :'new_secret' like 'whsec\_%' as kind;
select _unseal(secret, 'webhook:' || id || ':secret') = :'new_secret' as current,
       _unseal(previous_secret, 'webhook:' || id || ':secret') = :'w_secret' as previous,
       previous_secret_until > now() + interval '23 hours' as overlaps from webhook_endpoints where id = :'w_id';
select rotate_webhook_secret(:'w_id', '0') is not null as made;
select previous_secret, previous_secret_until from webhook_endpoints where id = :'w_id';
select rotate_webhook_secret(:'w_id', '-1 hour');
select rotate_webhook_secret(:'w_id', null);
-- to another kind and back, with a day for receivers to follow
select _unseal(secret, 'webhook:' || id || ':secret') as secret from webhook_endpoints where id = :'w_id' \gset old_
select update_webhook(:'w_id', '{"signing": "ed25519"}');
select secret, left(public_key, 5) as public_key, previous_secret_until > now() as overlaps from webhooks where id = :'w_id';
select left(_unseal(secret, 'webhook:' || id || ':secret'), 5) as current,
       _unseal(previous_secret, 'webhook:' || id || ':secret') = :'old_secret' as previous from webhook_endpoints where id = :'w_id';
select rotate_webhook_secret(:'w_id') as key \gset public_
select :'public_key' = public_key as shown from webhooks where id = :'w_id';
select _unseal(previous_secret, 'webhook:' || id || ':secret') = :'old_secret' as still_the_one_in_use from webhook_endpoints where id = :'w_id';
select update_webhook(:'w_id', '{"signing": null}');
select signing, public_key from webhooks where id = :'w_id';
select rekey_secrets() >= 2 as resealed;
select left(_unseal(secret, 'webhook:' || id || ':secret'), 6) as opens from webhook_endpoints where id = :'w_id';

-- deliveries as they wait
select update_webhook(:'w_id', '{"events": ["track.*"], "filter": "$.data.duration > 60"}');
insert into tracks (user_id, title, duration) values (:'u', 'Long', 180), (:'u', 'Short', 30);
select event_type, payload -> 'data' ->> 'title' as title, status, attempt_count, response_status, response_body, delivered_at, last_error
  from webhook_deliveries where webhook_id = :'w_id' order by id;
select test_webhook(:'w_id') as id \gset t1_
select test_webhook(:'w_id', 'payment.failed') as id \gset t2_
select event_type, payload -> 'data' ->> 'message' as message, payload -> 'data' ->> 'webhook_id' = :'w_id' as mine from webhook_deliveries where id = :'t1_id';
select event_type, payload -> 'data' = (select example from event_types where name = 'payment.failed') as example,
       (payload ->> 'timestamp')::timestamptz = (select created_at from events where id = event_id) as timed, payload ->> 'type' as type from webhook_deliveries where id = :'t2_id';
select test_webhook(:'w_id', 'no.such');
-- held while disabled
select disable_webhook(:'w_id', 'being moved');
select is_active, disabled_reason, disabled_at is not null as disabled from webhooks where id = :'w_id';
select disable_webhook(:'w_id', 'once more');
select disabled_reason from webhooks where id = :'w_id';
select distinct status from webhook_deliveries where webhook_id = :'w_id';
\set VERBOSITY sqlstate
select test_webhook(:'w_id');
\set VERBOSITY default
insert into webhook_state (webhook_id, failure_count, failing_since) values (:'w_id', 7, now()) on conflict (webhook_id) do update set failure_count = 7, failing_since = now();
select failure_count from webhooks where id = :'w_id';
select enable_webhook(:'w_id');
select is_active, disabled_reason, failure_count, failing_since from webhooks where id = :'w_id';
select distinct status from webhook_deliveries where webhook_id = :'w_id';

-- why, or why not
select (create_webhook(:'u', 'https://hooks.example.com/late', '{payment.*}')).id as id \gset late_
select x.url, x.matched, x.status, x.reason
  from events e, explain_event(e.id) x where e.user_id = :'u' and e.type = 'track.created' order by e.id, x.url;
update deliveries set status = 'd', attempt_count = 1, response_status = 200, delivered_at = now() where id = :'t1_id';
update deliveries set status = 'f', attempt_count = 10, last_error = 'connection refused' where id = :'t2_id';
select e.type, x.matched, x.status, x.reason
  from events e, explain_event(e.id) x where e.user_id = :'u' and e.type in ('webhook.test', 'payment.failed') and x.webhook_id = :'w_id' order by e.id;
\set VERBOSITY terse
select * from explain_event('00000000-0000-4000-8000-00000000ffff');
select * from explain_event(null);
\set VERBOSITY default

-- sending again: what failed, what was sent, nothing twice
update deliveries set status = 'f', attempt_count = 10, response_status = 500 where webhook_id = :'w_id' and status = 'p';
select replay_webhook(:'w_id', now() - interval '1 hour', dry_run => true);
select count(*) from deliveries where webhook_id = :'w_id';
select replay_webhook(:'w_id', now() - interval '1 hour', per_second => 2);
select replay_webhook(:'w_id', now() - interval '1 hour');
select event_type, status, attempt_count, next_attempt_at - created_at as waits,
       event_id in (select d.event_id from deliveries d where d.webhook_id = :'w_id' and d.status = 'f') as same_event
  from webhook_deliveries where webhook_id = :'w_id' and status = 'pending' order by next_attempt_at;
update deliveries set status = 'd', delivered_at = now() where webhook_id = :'w_id' and status = 'p';
select replay_webhook(:'w_id', now() - interval '1 hour');
select replay_webhook(:'w_id', now() - interval '1 hour', only_failed => false, dry_run => true);
select replay_webhook(:'w_id', now() - interval '2 hours', now() - interval '1 hour', false);
select replay_webhook(:'w_id', '-infinity', only_failed => false, dry_run => true);
select replay_webhook(:'w_id', '2026-01-02Z', '2026-01-01Z');
select replay_webhook(:'w_id', null);
select replay_webhook(:'w_id', now() - interval '1 hour', only_failed => false, per_second => 0);
select replay_delivery(:'t1_id') as id \gset again_
select a.event_id = b.event_id as same_event, b.status from webhook_deliveries a, webhook_deliveries b where a.id = :'t1_id' and b.id = :'again_id';
\set VERBOSITY sqlstate
select replay_delivery(:'t1_id');
select replay_delivery('00000000-0000-4000-8000-00000000ffff');
select replay_webhook('00000000-0000-4000-8000-00000000ffff', now());
\set VERBOSITY default
-- everything since an event, also what was queued for nobody
insert into tracks (user_id, title, duration) values (:'u', 'After', 90);
insert into tracks (user_id, title, duration) values (:'u', 'Brief', 10);
select record_payment(:'u', 'pi_u', 1, 'EUR', 'succeeded') is not null as paid;
select min(event_id::text) as id from event_log where user_id = :'u' \gset first_
update deliveries set status = 'd' where webhook_id = :'w_id';
select update_webhook(:'w_id', '{"filter": null, "events": ["track.created", "payment.*"]}');
select replay_since_event(:'w_id', :'first_id', true);
select replay_since_event(:'w_id', :'first_id');
select replay_since_event(:'w_id', :'first_id');
select event_type, coalesce(payload -> 'data' ->> 'title', payload -> 'data' ->> 'status') as what
  from webhook_deliveries where webhook_id = :'w_id' and status = 'pending' order by created_at, id;
\set VERBOSITY sqlstate
select replay_since_event(:'w_id', '00000000-0000-4000-8000-00000000ffff');
\set VERBOSITY default
-- an ordering key is hashed as recording hashes it
select update_webhook(:'w_id', '{"ordering_key": "$.data.title"}');
insert into tracks (user_id, title) values (:'u', 'Keyed');
select d.order_key is not null as keyed, d.order_key = _ordering_hash('$.data.title', e.payload::jsonb) as same
  from deliveries d join events e on e.id = d.event_id where d.webhook_id = :'w_id' order by d.seq desc limit 1;
select _ordering_hash('$.data.nothing', '{"data": {}}') as none, _ordering_hash('$.data.n', '{"data": {"n": null}}') as "null";

-- figures
insert into webhook_attempts (delivery_id, attempt, webhook_id, user_id, started_at, response_status, response_body, request_headers, truncated, total_us)
select :'t1_id', n, :'w_id', :'u', now(), 200, 'answer ' || n, '{}', false, n * 1000 from generate_series(1, 100) n;
select response_body from webhook_deliveries where id = :'t1_id';
select attempts, success_rate > 0.5 as mostly, p50_ms, p95_ms, p99_ms, deliveries = delivered + failed + pending as sums from webhook_stats(:'w_id');
select deliveries, success_rate, attempts, p50_ms from webhook_stats(:'late_id', '1 hour');
select webhook_stats(:'w_id', '-1 hour');

-- a database that was copied stands still
begin;
update webhook_endpoints set installation_id = gen_random_uuid() where id = :'w_id';
select distinct status from webhook_deliveries where webhook_id = :'w_id' order by status;
select enable_sending();
select distinct status from webhook_deliveries where webhook_id = :'w_id' order by status;
update installation set identity = 'another cluster';
select distinct status from webhook_deliveries where webhook_id = :'w_id' order by status;
select enabled from sending_status();
select enable_sending();
select distinct status from webhook_deliveries where webhook_id = :'w_id' order by status;
rollback;

-- ending
select delete_webhook(:'w_id');
select delete_webhook(:'w_id');
select distinct status from webhook_deliveries where webhook_id = :'w_id' order by status;
select x.url, x.status, x.reason from explain_event(:'first_id') x where x.webhook_id = :'w_id';
select delete_webhook(:'late_id');
delete from event_types where name = 'playlist.shared';

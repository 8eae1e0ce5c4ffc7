-- Generation without a worker: what generate() and configure_provider() take and
-- refuse, templates, answers of providers, callbacks.
set client_min_messages = warning;
create extension if not exists musicverse;
set search_path = musicverse, public;
\set VERBOSITY terse
\set SHOW_CONTEXT never
\set user '00000000-0000-4000-8000-0000000000f1'
\set other '00000000-0000-4000-8000-0000000000f2'
set timezone = 'UTC';
begin;
-- refusals show their hints
create function pg_temp.refusal(query text) returns text language plpgsql as $$
declare
    hint text;
begin
    execute query;
    return 'no refusal';
exception when others then
    get stacked diagnostics hint = pg_exception_hint;
    return format('%s %s%s', sqlstate, left(sqlerrm, 200), coalesce(' | ' || nullif(left(hint, 200), ''), ''));
end
$$;

-- generate()
select generate(:'user', 'a waltz') is not null as made;
select prompt, style, duration, params, status, progress, idempotency_key from generation_jobs where user_id = :'user';
select state, attempts, sent, job_id is not null as has_job from generation_work where user_id = :'user';
-- a number that is small as jsonb and long as text, in every place
select pg_temp.refusal(format('select generate(%L, ''x'', params => %L)', :'user', params)) from unnest('{"{\"a\": 1e131000}","{\"a\": [{\"b\": -1e401}]}","{\"a\": 1e-16000}"}'::text[]) params;
select pg_temp.refusal(format('select generate(%L, ''x'', params => %L)', :'other', '{"a": [1e400, 0, 1e-400, 0e9]}'));
select pg_temp.refusal(format('select generate(%L, %s)', :'user', arguments)) from (values
    (1, 'null'), (2, ''''''), (3, $$E' \n\t '$$), (4, $$repeat('x', 4001)$$), (5, $$'x', ''$$), (6, $$'x', repeat('y', 201)$$),
    (7, $$'x', duration => 0$$), (8, $$'x', duration => -1$$), (9, $$'x', duration => 601$$), (10, $$'x', params => '[]'$$), (11, $$'x', params => '"x"'$$),
    (12, $$'x', params => jsonb_build_object('a', repeat('x', 20000))$$), (13, $$'x', idempotency_key => ''$$), (14, $$'x', idempotency_key => repeat('k', 256)$$)) v(n, arguments) order by n;
select pg_temp.refusal('select generate(null, ''x'')');
select generate(:'user', repeat('ü', 4000), null, 600, null) as job \gset
select length(prompt), duration, params from generation_jobs where id = :'job';
select generate(:'user', 'null params', params => 'null') as job \gset
select params from generation_jobs where id = :'job';

-- the same key: the first job
select generate(:'user', 'once', 'Jazz', 10, '{"b": 1, "a": 2}', 'key-1') as job \gset
select generate(:'user', 'once', 'Jazz', 10, '{"a": 2, "b": 1}', 'key-1') = :'job' as same;
select generate(:'other', 'another''s', idempotency_key => 'key-1') <> :'job' as another;
select pg_temp.refusal(format('select generate(%L, %s, idempotency_key => ''key-1'')', :'user', a)) from (values
    ($$'twice', 'Jazz', 10, '{"a": 2, "b": 1}'$$), ($$'once', null, 10, '{"a": 2, "b": 1}'$$), ($$'once', 'Jazz', 11, '{"a": 2, "b": 1}'$$), ($$'once', 'Jazz', 10$$)) v(a);
select count(*) from generation_jobs where idempotency_key = 'key-1';

-- the queue has an end, but for a call that is repeated
select count(generate(:'user', 'x')) from generate_series(1, 100 - (select count(*)::int from generation_work where user_id = :'user' and state = 'waiting'));
select pg_temp.refusal(format('select generate(%L, ''too many'')', :'user'));
select generate(:'user', 'once', 'Jazz', 10, '{"a": 2, "b": 1}', 'key-1') = :'job' as same;
select cancel_job(:'job');
select state from generation_work where job_id = :'job';
select pg_temp.refusal(format('select generate(%L, ''has room now'')', :'user'));
rollback;

-- providers
begin;
create function pg_temp.refusal(query text) returns text language plpgsql as $$
declare
    hint text;
begin
    execute query;
    return 'no refusal';
exception when others then
    get stacked diagnostics hint = pg_exception_hint;
    return format('%s %s%s', sqlstate, left(sqlerrm, 200), coalesce(' | ' || nullif(left(hint, 200), ''), ''));
end
$$;
select pg_temp.refusal('select configure_provider(' || arguments || ')') from (values
    (1, $$null, 'https://p.example.com', '{}'$$), (2, $$'Big', 'https://p.example.com', '{}'$$), (3, $$'p', null, '{}'$$), (4, $$'p', 'https://p.example.com', null$$),
    (5, $$'p', 'http://p.example.com', '{}'$$), (6, $$'p', 'https://10.0.0.1', '{}'$$), (7, $$'p', 'https://u:s3cret@p.example.com', '{}'$$), (8, $$'p', 'https://p.example.com/?a=b', '{}'$$),
    (9, $$'p', 'https://p.example.com', '[]'$$), (10, $$'p', 'https://p.example.com', '{"token": 1}'$$), (11, $$'p', 'https://p.example.com', '{"token": "s3cret\nx"}'$$),
    (12, $$'p', 'https://p.example.com', '{"Token": "s3cret"}'$$), (13, $$'p', 'https://p.example.com', '{"token": "t", "callback_secret": "s3cret"}'$$),
    (14, $$'p', 'https://p.example.com', '{}'$$)) v(n, arguments) order by n;
select pg_temp.refusal(format('select configure_provider(''p'', ''https://p.example.com'', ''{"token": "t"}'', %L)', config)) from (values
    (1, '[]'), (2, null), (3, '{"colour": "red"}'), (4, '{"mode": "push"}'), (5, '{"poll_interval": 0}'), (6, '{"concurrency": 1.5}'), (7, '{"concurrency": "many"}'),
    (8, '{"failover": 1}'), (9, '{"styles": "Jazz"}'), (10, '{"tiers": [1]}'), (11, '{"headers": {"Host": "x"}}'), (12, '{"headers": {"A": "{tokn}"}}'), (13, '{"headers": {"A": "a\r\nB: c"}}'),
    (14, '{"submit": null}'), (15, '{"submit": {"verb": "GET"}}'), (16, '{"submit": {"method": "TRACE"}}'), (17, '{"poll": {"path": "v1"}}'), (18, '{"poll": {"path": "/{prompt}"}}'),
    (19, '{"submit": {"body": {"a": ["{promt}"]}}}'), (20, '{"response": {"status": "$.a["}}'), (21, '{"response": {"sattus": "$.a"}}'), (22, '{"states": {"done": "finished"}}'), (23, '{"states": []}'),
    (24, '{"submit": {"body": {"secret": "{token}"}}}')) v(n, config) order by n;
select configure_provider('p', 'https://p.example.com/api/', '{"token": "s3cret", "callback_secret": "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}',
    '{"poll_interval": 2, "styles": ["Jazz", "Waltz"], "max_duration": 120, "submit": {"body": {"text": "{prompt}", "secs": "{duration}", "tag": "style={style};u={user_id}", "nested": [{"x": "{params}"}, 1, null]}}}');
select name, base_url, is_active, config -> 'poll_interval' as poll_interval, encode(credentials, 'escape') !~ 's3cret' as sealed from providers;
select configure_provider('p', 'https://p.example.com/api', null, config) from providers where name = 'p';
select _unseal(credentials, 'provider:p:credentials')::jsonb ->> 'token' as kept from providers;
-- what no provider takes
select pg_temp.refusal(format('select generate(%L, %s)', :'user', a)) from (values ($$'x', 'Polka'$$), ($$'x', 'jazz', 121$$), ($$'x', 'jazz', 120$$), ($$'x'$$)) v(a);
select set_provider_active('p', false);
select pg_temp.refusal('select set_provider_active(''q'', true)');
select pg_temp.refusal('select set_provider_active(''p'', null)');
select pg_temp.refusal(format('select generate(%L, ''x'', ''Polka'')', :'user'));
select set_provider_active('p', true);

-- templates
select _fill('/a/{job_id}/{unknown}/{', '{"job_id": "1{unknown}"}');
select _render('{"a": "{n}", "b": "{gone}", "c": "n is {n}", "d": ["{gone}", "{n}"], "e": {"f": "{o}"}, "g": null, "h": true}', '{"n": 1, "gone": null, "o": {"x": "{n}"}}');
select _url_encode('a/b ü?..%'), _url_encode(''), _url_encode(null);

-- the requests of a job
delete from generation_jobs;
select generate(:'user', 'x {token} {style}', 'jazz', 30, '{"tempo": 90}') as job \gset
select claimed from _claim_jobs('{p}', 10, null);
select kind, provider, method, url, replace(replace(array_to_string(headers, '; '), :'job', '<job>'), 's3cret', '<token>') as headers, replace(body, :'user', '<user>') as body, timeout_ms
  from _begin_request(:'job', '{p}');
select state, sent, attempts, next_at > _now() as later from generation_work where job_id = :'job';
select _settle_request(:'job', 'p', 'submit', 202, '{"id": "a/b", "status": "queued"}', null, false, null);
select state, remote_id, status from generation_work w join generation_jobs j on j.id = w.job_id where job_id = :'job';
select kind, method, url, body from _begin_request(:'job', '{}');
select _settle_request(:'job', 'p', 'poll', 200, answer, null, false, null) as verdict
  from (values (1, '{"id": "a/b", "status": "running", "progress": 1e300}'), (2, '{"id": "other", "status": "failed"}'), (3, '{"status": "strange\u0007"}'), (4, '{"status": {"a": 1}}'),
               (5, '{"status": "running", "progress": -1}'), (6, '7'), (7, 'no JSON'), (8, '{"status": "a\u0000b"}')) v(n, answer) order by n;
select progress, status from generation_jobs where id = :'job';
select _settle_request(:'job', 'p', 'poll', 200, '{"id": "a/b", "status": "succeeded", "result": {"audio_url": "https://x.example/a.mp3", "title": "T\u0001itle", "duration": 29.6, "peaks": [1], "metadata": {"key": "C"}}}', null, false, null);
select title, duration, audio_url, metadata, prompt from tracks where user_id = :'user';
select status, progress, track_id is not null as has_track, error from generation_jobs where id = :'job';
select _settle_request(:'job', 'p', 'poll', 200, '{"id": "a/b", "status": "failed"}', null, false, null);
select status, (select count(*) from tracks where user_id = :'user') as tracks from generation_jobs where id = :'job';

-- callbacks that end before a signature is looked at, and one that is good
select provider_callback('q', '{}', '{}'), provider_callback(null, '{}', '{}'), provider_callback('p', '[]', '{}'), provider_callback('p', '{}', '{}'), provider_callback('p', '{"webhook-id": []}', '');
select generate(:'user', 'y', 'jazz') as job \gset
select claimed from _claim_jobs('{p}', 10, null);
select count(*) from _begin_request(:'job', '{p}');
create function pg_temp.call_back(id text, body text) returns int language sql as $$
    select musicverse.provider_callback('p', jsonb_build_object('WEBHOOK-ID', id, 'Webhook-Timestamp', ts::text,
        'webhook-signature', musicverse.sign_webhook('whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=', id, ts, body)), body)
      from (select extract(epoch from musicverse._now())::bigint as ts) t
$$;
select pg_temp.call_back('1', format('{"id": "r2", "client_reference": "%s", "status": "running", "progress": 10}', :'job'));
select pg_temp.call_back('1', format('{"id": "r2", "client_reference": "%s", "status": "failed"}', :'job'));
select pg_temp.call_back('2', '{"id": "r3", "client_reference": "not a job", "status": "failed"}');
select pg_temp.call_back('3', '{"id": "r2", "status": "failed", "error": {"message": "no\u000areason"}}');
select pg_temp.call_back('4', '{"id": "r2", "status": "running"}');
select status, progress, error from generation_jobs where id = :'job';
select remove_provider('p'), remove_provider('p');
rollback;

-- who may do what
begin;
create role regress_generation_service nologin;
create role regress_generation_user nologin;
select expose_to('regress_generation_service', 'regress_generation_user');
grant usage on schema musicverse to regress_generation_user;
set local role regress_generation_user;
select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-0000000000f1"}', true) is not null as is_user;
select generate(:'user', 'mine') is not null as mine;
savepoint s;
select generate(:'other', 'not mine');
rollback to s;
select configure_provider('p', 'https://p.example.com', '{}');
rollback to s;
select * from providers;
rollback to s;
select * from generation_work;
rollback to s;
set local role regress_generation_service;
select generate(:'other', 'for somebody') is not null as made;
select configure_provider('p', 'https://p.example.com', '{"token": "x"}');
select name, state from provider_status;
select waiting from generation_status;
select credentials from providers;
rollback;

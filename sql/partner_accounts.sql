-- Accounts of users at partners without a worker: authorizations, what a code becomes, tokens for whoever needs them, and who sees what.
set client_min_messages = warning;
create extension if not exists musicverse;
set search_path = musicverse, public;
\set VERBOSITY terse
\set SHOW_CONTEXT never
\set user '00000000-0000-4000-8000-0000000000e1'
\set other '00000000-0000-4000-8000-0000000000e2'
set timezone = 'UTC';
begin;
create function pg_temp.refusal(query text) returns text language plpgsql as $$
declare
    hint text;
    detail text;
begin
    execute query;
    return 'no refusal';
exception when others then
    get stacked diagnostics hint = pg_exception_hint, detail = pg_exception_detail;
    return format('%s %s%s%s', sqlstate, left(sqlerrm, 200), coalesce(' | ' || nullif(detail, ''), ''), coalesce(' | ' || nullif(left(hint, 120), ''), ''));
end
$$;
create role regress_pa_service nologin;
create role regress_pa_user nologin;
create role regress_pa_anon nologin;
select expose_to('regress_pa_service', 'regress_pa_user', 'regress_pa_anon');

-- configuring
select pg_temp.refusal(format('select configure_partner(%s)', a)) from (values
    (1, $$'soundcloud', 'https://api.example.com', '{}'$$), (2, $$'soundcloud', 'https://api.example.com', '{"client_id": "app"}'$$),
    (3, $$'soundcloud', 'https://api.example.com', '{"client_id": "app", "client_secret": "s"}', '{"token_url": "ftp://x"}'$$),
    (4, $$'soundcloud', 'https://api.example.com', '{"client_id": "app", "client_secret": "s"}', '{"authorize_url": null}'$$),
    (5, $$'soundcloud', 'https://api.example.com', '{"client_id": "app", "client_secret": "s"}', '{"deliver_ahead": -1}'$$)) v (n, a) order by n;

-- authorizations that can't begin
select pg_temp.refusal(format('select partner_authorize_url(%s)', a)) from (values
    (1, $$'nobody', '00000000-0000-4000-8000-0000000000e1', 'https://a.example.com/'$$), (2, $$null, '00000000-0000-4000-8000-0000000000e1', 'https://a.example.com/'$$),
    (3, $$'labelgrid', '00000000-0000-4000-8000-0000000000e1', 'https://a.example.com/'$$), (4, $$'soundcloud', '00000000-0000-4000-8000-0000000000e1', 'https://a.example.com/'$$),
    (5, $$'soundcloud', null, 'https://a.example.com/'$$)) v (n, a) order by n;
select configure_partner('soundcloud', 'https://api.example.com', '{"client_id": "an app", "client_secret": "hush"}', '{"authorize_url": "https://login.example.com/authorize?display=popup"}');
select uri, pg_temp.refusal(format('select partner_authorize_url(%L, %L, %L)', 'soundcloud', '00000000-0000-4000-8000-0000000000e1', uri)) from (values
    (1, null), (2, ''), (3, 'https://a.example.com'), (4, 'https://a.example.com:8443/back?x=1'), (5, 'http://a.example.com/'), (6, 'http://localhost:8080/back'), (7, 'http://127.0.0.1/'),
    (8, 'http://[::1]:3000/a'), (9, 'http://127.0.0.1.example.com/'), (10, 'https://user@a.example.com/'), (11, 'https://a.example.com/#x'), (12, 'javascript:alert(1)'),
    (13, E'https://a.example.com/\r\nx: y'), (14, 'https://a.example.com/' || chr(252)), (15, 'myapp://back')) v (n, uri) order by n;
select left(pg_temp.refusal(format('select partner_authorize_url(%L, %L, %L)', 'soundcloud', '00000000-0000-4000-8000-0000000000e1', 'https://' || repeat('a', 2000))), 40);
select regexp_replace(partner_authorize_url('soundcloud', :'user', 'https://a.example.com/back?x=1&y=%C3%A9'), '=[A-Za-z0-9_-]{43}', '=RANDOM', 'g') as url;
select count(*), bool_and(expires_at between _now() + '9 minutes' and _now() + '10 minutes') as soon, bool_and(length(state_hash) = 32) as hashed, bool_and(user_id = :'user') as mine from partner_authorizations;

-- a login: the state works once, for its user, for ten minutes
create temporary table logins as select n, partner_authorize_url('soundcloud', case when n = 2 then :'other' else :'user' end::uuid, 'https://a.example.com/back') as url from generate_series(1, 5) n;
grant select on logins to public;
create function pg_temp.state(n int) returns text language sql as $$ select substring(l.url from 'state=(.*)$') from pg_temp.logins l where l.n = state.n $$;
set role regress_pa_user;
select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-0000000000e1", "role": "regress_pa_user"}', true) is not null as claimed;
select pg_temp.refusal(format('select partner_authorize_url(%L, %L, %L)', 'soundcloud', '00000000-0000-4000-8000-0000000000e2', 'https://a.example.com/'));
select pg_temp.refusal(format('select partner_disconnect(%L, %L)', 'soundcloud', '00000000-0000-4000-8000-0000000000e2'));
select regexp_replace(pg_temp.refusal(format('select partner_authorized(%L, %L, %L)', 'soundcloud', state, code)), '"[A-Za-z0-9_-]{43}"', 'STATE') as refused from (values
    (1, 'made-up', 'c'), (2, pg_temp.state(2), 'c'), (3, pg_temp.state(1), ''), (4, pg_temp.state(1), null), (5, pg_temp.state(1), 'a' || chr(10)), (6, null, 'c')) v (n, state, code) order by n;
select pg_temp.refusal(format('select partner_authorized(%L, %L, %L)', 'labelgrid', pg_temp.state(1), 'c')), pg_temp.refusal(format('select partner_authorized(%L, %L, %L)', 'lost', pg_temp.state(1), 'c'));
select partner_authorized('soundcloud', pg_temp.state(1), 'code-1');
select regexp_replace(pg_temp.refusal(format('select partner_authorized(%L, %L, %L)', 'soundcloud', pg_temp.state(1), 'code-1')), '"[A-Za-z0-9_-]{43}"', 'STATE') as again;
select pg_temp.refusal('select tokens from partner_accounts'), pg_temp.refusal('select code from partner_accounts'), pg_temp.refusal('select * from partner_authorizations');
select partner, status, external_id, next_attempt_at is not null as due from partner_accounts;
reset role;
set role regress_pa_service;
select set_config('request.jwt.claims', '{}', true) is not null as claimed;
select partner_authorized('soundcloud', pg_temp.state(2), 'code-2');
select user_id, status from partner_accounts order by user_id;
select pg_temp.refusal('select tokens from partner_accounts'), pg_temp.refusal('select code from partner_accounts');
reset role;
update partner_authorizations set expires_at = _now() where state_hash = sha256(convert_to(pg_temp.state(3), 'UTF8'));
select pg_temp.refusal(format('select partner_authorized(%L, %L, %L)', 'soundcloud', pg_temp.state(3), 'c')) ~ '^22023 state .* has expired' as expired;

-- what is begun too often, or too long ago, goes
select count(partner_authorize_url('soundcloud', :'user', 'https://a.example.com/back')) from generate_series(1, 30);
select count(*) from partner_authorizations where user_id = :'user';
update partner_authorizations set expires_at = _now() - interval '1 second';
select count(partner_authorize_url('soundcloud', :'other', 'https://a.example.com/back'));
select count(*) from partner_authorizations;

-- what the worker does with the code
select state, tokens from _use_account('soundcloud', :'user');
select user_id, step, generation from _claim_accounts('soundcloud', 10) order by 1;
create function pg_temp.begin(step text) returns jsonb language sql as $$ select _begin_account('soundcloud', '00000000-0000-4000-8000-0000000000e1', step, 1000) $$;
create function pg_temp.settle(step text, generation bigint, verdict text, answer jsonb default null, message text default null, retry_after int default null) returns text language sql as $$
    select _settle_account('soundcloud', '00000000-0000-4000-8000-0000000000e1', step, generation, verdict, answer, message, retry_after) $$;
create function pg_temp.shown() returns text language sql as $$
    select format('%s generation %s%s%s%s%s, next %s, failures %s: %s', status, generation, case when code is not null then ' code' end, case when wants_refresh then ' refresh' end,
                  case when wants_look then ' look' end, case when was_refused then ' refused' end, case when next_attempt_at is null then 'never' when next_attempt_at <= _now() then 'now' else 'later' end, failures, last_error)
      from partner_accounts where user_id = '00000000-0000-4000-8000-0000000000e1' $$;
select s - 'code_verifier' as secrets, length(s ->> 'code_verifier') from pg_temp.begin('exchange') s;
select pg_temp.settle('exchange', 0, 'again', message => 'HTTP 500', retry_after => 60), pg_temp.shown();
select pg_temp.settle('exchange', 0, 'next', '{"access_token": "at1"}'), pg_temp.shown();
select pg_temp.begin('exchange') is not null, pg_temp.settle('exchange', 0, 'next', '{"access_token": "at1", "refresh_token": "rt1", "expires_in": 3600}'), pg_temp.shown();
select state, tokens from _use_account('soundcloud', :'user');
select step from _claim_accounts('soundcloud', 10) where user_id = :'user';
select pg_temp.begin('look'), pg_temp.settle('look', 1, 'next', '{"external_id": "u:1", "username": "mira", "external_url": "javascript:x"}'), pg_temp.shown();
select external_id, username, external_url, connected_at is not null as since from partner_accounts where user_id = :'user';
select kind, title, body from notifications where user_id = :'user' order by id;

-- tokens for whoever needs them, and another pair in time
select state, generation, tokens from _use_account('soundcloud', :'user');
update partner_accounts set expires_at = _now() + interval '59 seconds';
select state, generation, tokens from _use_account('soundcloud', :'user');
select pg_temp.shown();
select step from _claim_accounts('soundcloud', 10) where user_id = :'user';
select pg_temp.begin('refresh') ->> 'refresh_token' as refresh_token;
select state, next_attempt_at > _now() + interval '5 minutes' as only_once from _use_account('soundcloud', :'user'), partner_accounts where user_id = :'user';
select pg_temp.settle('refresh', 1, 'next', '{"access_token": "at2", "expires_in": 60}'), pg_temp.shown();
select state, generation, tokens from _use_account('soundcloud', :'user');
select pg_temp.begin('refresh') ->> 'refresh_token' as kept, pg_temp.settle('refresh', 2, 'next', '{"access_token": "at3", "refresh_token": "rt3", "expires_in": 3600}');

-- refused: once more, then the user has to log in
select _tokens_refused('soundcloud', :'user', 2), pg_temp.shown();
select _tokens_refused('soundcloud', :'user', 3), _tokens_refused('soundcloud', :'user', 3), pg_temp.shown();
select pg_temp.begin('refresh') ->> 'refresh_token' as token, pg_temp.settle('refresh', 3, 'next', '{"access_token": "at4", "refresh_token": "rt4", "expires_in": 3600}'), pg_temp.shown();
select _tokens_worked('soundcloud', :'user', 4), pg_temp.shown();
select _tokens_refused('soundcloud', :'user', 4), pg_temp.begin('refresh') ->> 'refresh_token' as token, pg_temp.settle('refresh', 4, 'next', '{"access_token": "at5", "refresh_token": "rt5", "expires_in": 3600}');
select _tokens_refused('soundcloud', :'user', 5), pg_temp.shown();
select tokens is null as forgotten, expires_at from partner_accounts where user_id = :'user';
select state from _use_account('soundcloud', :'user');
select kind, title, body ->> 'reason' as reason from notifications where user_id = :'user' order by id;

-- another login: of somebody else, and a code that is of no use
select partner_authorize_url('soundcloud', :'user', 'https://a.example.com/back') as url \gset
select partner_authorized('soundcloud', substring(:'url' from 'state=(.*)$'), 'code-3'), pg_temp.shown();
select pg_temp.begin('exchange') is not null, pg_temp.settle('exchange', 5, 'account', message => 'invalid_grant'), pg_temp.shown();
select partner_authorize_url('soundcloud', :'user', 'https://a.example.com/back') as url \gset
select partner_authorized('soundcloud', substring(:'url' from 'state=(.*)$'), 'code-4');
select pg_temp.begin('exchange') is not null, pg_temp.settle('exchange', 5, 'next', '{"access_token": "at6", "refresh_token": "rt6", "expires_in": 3600}');
savepoint one;
insert into distributions (id, user_id, track_ids, platforms, metadata) values ('00000000-0000-4000-8000-0000000000ed', :'user', '{}', '{soundcloud}', '{}');
insert into distribution_work (id, distribution_id, user_id, partner, state) values ('00000000-0000-4000-8000-0000000000ee', '00000000-0000-4000-8000-0000000000ed', :'user', 'soundcloud', '{"t0": 1}');
insert into distribution_targets (distribution_id, user_id, work_id, platform, partner) values ('00000000-0000-4000-8000-0000000000ed', :'user', '00000000-0000-4000-8000-0000000000ee', 'soundcloud', 'soundcloud');
select pg_temp.begin('look'), pg_temp.settle('look', 6, 'next', '{"external_id": "u:2", "username": "ben"}'), pg_temp.shown();
-- work that waits is woken by the next login, and its owner told what it waits for
select _await_account('00000000-0000-4000-8000-0000000000ee', 'login');
select awaits_account, next_attempt_at > _now() as later, last_error from distribution_work where id = '00000000-0000-4000-8000-0000000000ee';
select partner_authorize_url('soundcloud', :'user', 'https://a.example.com/back') as url \gset
select partner_authorized('soundcloud', substring(:'url' from 'state=(.*)$'), 'code-5');
select pg_temp.begin('exchange') is not null, pg_temp.settle('exchange', 6, 'next', '{"access_token": "at7", "refresh_token": "rt7", "expires_in": 3600}');
select pg_temp.begin('look'), pg_temp.settle('look', 7, 'next', '{"external_id": "u:1", "username": "mira"}'), pg_temp.shown();
select next_attempt_at <= _now() as due from distribution_work where id = '00000000-0000-4000-8000-0000000000ee';
rollback to one;
select pg_temp.begin('look'), pg_temp.settle('look', 6, 'next', '{"external_id": "u:2", "username": "ben"}'), pg_temp.shown();

-- a code that comes while the tokens are refreshed is exchanged after that
update partner_accounts set expires_at = _now();
select state from _use_account('soundcloud', :'user');
select pg_temp.begin('refresh') is not null;
select partner_authorize_url('soundcloud', :'user', 'https://a.example.com/back') as url \gset
select partner_authorized('soundcloud', substring(:'url' from 'state=(.*)$'), 'code-6'), pg_temp.shown();
select pg_temp.settle('refresh', 6, 'account', message => 'invalid_grant'), pg_temp.shown();
select step from _claim_accounts('soundcloud', 10) where user_id = :'user';

-- a partner that doesn't know us is paused
select pg_temp.begin('exchange') is not null, pg_temp.settle('exchange', 6, 'ours', message => 'invalid_client'), pg_temp.shown();
select paused_reason from partners where name = 'soundcloud';

-- the end
select partner_disconnect('soundcloud', :'user'), partner_disconnect('soundcloud', :'user'), (select count(*) from partner_authorizations where user_id = :'user');
select pg_temp.settle('exchange', 6, 'next', '{"access_token": "late"}');
select state from _use_account('soundcloud', :'user');
select count(*) from partner_accounts where user_id = :'user';
rollback;

-- The operations of version 1 as PostgREST calls them: by a role without rights of its own, with a user's claims.
set client_min_messages = warning;
create extension if not exists musicverse;
set search_path = musicverse, public;
\set SHOW_CONTEXT never
\set ON_ERROR_ROLLBACK on
\pset format unaligned
\set a '00000000-0000-4000-8000-0000000000e1'
\set b '00000000-0000-4000-8000-0000000000e2'
\set nobody '00000000-0000-4000-8000-0000000000ff'
begin;
truncate events, event_log, deliveries, webhook_attempts;
create role regress_api_service nologin;
create role regress_api_user nologin;
create role regress_api_anon nologin;
select expose_to('regress_api_service', 'regress_api_user', 'regress_api_anon');
grant usage on schema musicverse_v1 to regress_api_user, regress_api_anon;
grant execute on all functions in schema musicverse_v1 to regress_api_user, regress_api_anon;
select set_tier(:'a', 'pro'), set_tier(:'b', 'pro');

-- until something generates
do $$
begin
    if not exists (select from pg_proc where pronamespace = 'musicverse'::regnamespace and proname = 'generate') then
        create function musicverse.generate(user_id uuid, prompt text, style text, duration int, params jsonb, idempotency_key text)
        returns uuid language sql security definer set search_path = musicverse, pg_temp as
        'insert into generation_jobs (user_id, prompt, style, duration, params) values ($1, $2, $3, $4, $5) returning id';
    end if;
end
$$;
-- another user's things
select (create_webhook(:'b', 'https://hooks.example.com/b', '{track.*}')).id as id \gset bw_
select (create_api_key(:'b', 'b')).id as id \gset bk_
insert into tracks (user_id, title) values (:'b', 'Theirs') returning id \gset bt_
insert into generation_jobs (user_id, prompt) values (:'b', 'Theirs') returning id \gset bj_
select id from deliveries where webhook_id = :'bw_id' limit 1 \gset bd_

-- what changes from run to run
create function public.regress_mask(j json) returns text language sql as $$
    select regexp_replace(regexp_replace(regexp_replace(regexp_replace(j::text,
        '"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"', '"TIME"', 'g'),
        '"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"', '"UUID"', 'g'),
        '(whsec_|mvai_)[A-Za-z0-9+/=]+', '\1...', 'g'), '("(position|next_after)" ?: ?)\d+', '\1N', 'g')
$$;
create function public.regress_refused(call text) returns text language plpgsql as $$
declare
    detail text;
    hint text;
begin
    execute 'select musicverse_v1.' || call;
    return 'not refused';
exception when others then
    get stacked diagnostics detail = pg_exception_detail, hint = pg_exception_hint;
    return concat_ws(' | ', sqlstate, regexp_replace(sqlerrm, '[0-9a-f]{8}-[0-9a-f-]{27}', 'UUID'), nullif(detail, ''), regexp_replace(nullif(hint, ''), '[0-9a-f]{8}-[0-9a-f-]{27}', 'UUID'));
end
$$;
create function public.regress_named(call text) returns text language sql as
$$ select regexp_replace(call, '[0-9a-f]{8}-[0-9a-f-]{27}', 'ID', 'g') $$;
create function public.regress_pages(call text, out pages int, out items int, out distinct_items int) language plpgsql as $$
declare
    page json;
    seen text[] := '{}';
    cursor text;
begin
    pages := 0;
    loop
        execute format('select musicverse_v1.' || call, quote_nullable(cursor)) into page;
        pages := pages + 1;
        seen := seen || array(select coalesce(e ->> 'id', e ->> 'job_id', e ->> 'name') from json_array_elements(page -> 'data') e);
        cursor := page ->> 'next_cursor';
        exit when cursor is null or pages > 50;
    end loop;
    items := cardinality(seen);
    distinct_items := (select count(distinct s) from unnest(seen) s);
end
$$;
set role regress_api_user;
select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-0000000000e1", "role": "regress_api_user"}', false) is not null as claimed;
set search_path = musicverse_v1;
set timezone = 'Asia/Kolkata';

-- ---- generation
select public.regress_mask(generate('Epic orchestral battle music', 'Orchestral', 180, '{"seed": 42}'));
select public.regress_mask(list_jobs());
select generate('Rain') ->> 'job_id' as id \gset job_
select public.regress_mask(get_job(:'job_id'));
select public.regress_mask(list_jobs(status => 'failed'));
select public.regress_mask(cancel_job(:'job_id'));
select public.regress_mask(cancel_job(:'job_id')) = public.regress_mask(get_job(:'job_id')) as "cancelled again is no error";
reset role;
insert into musicverse.tracks (user_id, title, style, prompt, duration, audio_url, metadata) values
    (:'a', 'Battle at Dawn', 'Orchestral', 'Epic orchestral battle music', 180, 'https://cdn.example.com/1.flac', '{"bpm": 140}') returning id \gset track_
update musicverse.generation_jobs set status = 'started' where user_id = :'a' and status = 'queued';
update musicverse.generation_jobs set status = 'completed', track_id = :'track_id' where user_id = :'a' and status = 'started' returning id as done_id \gset
set role regress_api_user;
select public.regress_mask(get_job(:'done_id'));
select list_jobs(status => 'completed') #>> '{data,0,result_url}' as result_url;
select public.regress_refused(call) as refused, public.regress_named(call) as call from (values
    ('generate(null)'), ('generate($$ $$)'), ('generate($$x$$, duration => 0)'), ('generate($$x$$, duration => -2147483648)'),
    ('generate($$x$$, params => $$[]$$)'), ('get_job(null)'), ('get_job($$' || :'nobody' || '$$)'), ('get_job($$' || :'bj_id' || '$$)'),
    ('cancel_job($$' || :'bj_id' || '$$)'), ('cancel_job($$' || :'done_id' || '$$)'), ('list_jobs(0)'), ('list_jobs(101)'), ('list_jobs(null)'),
    ('list_jobs("offset" => -1)'), ('list_jobs("offset" => 10001)'), ('list_jobs(status => $$done$$)'), ('list_jobs(cursor => $$x$$)'),
    ('list_jobs(cursor => $$$$)'), ('list_jobs(cursor => repeat($$A$$, 100000))')) c (call);

-- ---- tracks
select public.regress_mask(get_track(:'track_id'));
select public.regress_mask(list_tracks());
select public.regress_mask(update_track(:'track_id', title => '"Dawn"', metadata => '{"bpm": 90}'));
select update_track(:'track_id', title => null) ->> 'title' is null as emptied, update_track(:'track_id') ->> 'style' as "nothing given, nothing changed";
select update_track(:'track_id', title => to_jsonb(text '<b>"''; drop table tracks; -- </b>' || U&'\0001\202E\+01F3B5')) ->> 'title'
       = '<b>"''; drop table tracks; -- </b>' || U&'\0001\202E\+01F3B5' as "hostile text comes back as it is";
select public.regress_refused(call) as refused, public.regress_named(call) as call from (values
    ('get_track(null)'), ('get_track($$' || :'bt_id' || '$$)'), ('update_track($$' || :'bt_id' || '$$, $$"Mine"$$)'), ('delete_track($$' || :'bt_id' || '$$)'),
    ('update_track($$' || :'track_id' || '$$, title => $$5$$)'), ('update_track($$' || :'track_id' || '$$, metadata => $$[]$$)'),
    ('update_track($$' || :'track_id' || '$$, metadata => null)'), ('update_track($$' || :'track_id' || '$$, cover_url => $$"javascript:alert(1)"$$)'),
    ('update_track($$' || :'track_id' || '$$, title => to_jsonb(repeat($$x$$, 501)))'), ('list_tracks(sort => $$title$$)'), ('list_tracks(sort => null)'),
    ('list_tracks(cursor => (musicverse_v1.list_jobs(1, status => $$completed$$) ->> $$next_cursor$$) || $$x$$)')) c (call);
reset role;
insert into musicverse.tracks (user_id, title, style, created_at)
select :'a', 'Track ' || n, case when n % 3 = 0 then 'Waltz' else 'Jazz' end, '2026-03-01 00:00Z'::timestamptz + (n / 4) * interval '1 minute' from generate_series(1, 45) n;
set role regress_api_user;
select * from public.regress_pages('list_tracks(7, %s)');
select * from public.regress_pages('list_tracks(7, %s, sort => $$created_at$$)');
select * from public.regress_pages('list_tracks(4, %s, style => $$Waltz$$)');
select * from public.regress_pages('list_tracks(5, %s, style => $$Waltz$$, sort => $$created_at$$)');
select * from public.regress_pages('list_tracks(100, %s)');
select * from public.regress_pages('list_tracks(9, %s, created_after => $$2026-03-01 00:02Z$$, created_before => $$2026-03-01 00:04Z$$)');
select count(*) as "two of three" from json_array_elements(list_tracks(3, created_before => '2026-03-01 00:01Z', "offset" => 1) -> 'data') e;
select list_tracks(2) ->> 'next_cursor' as cursor \gset
select public.regress_refused(call) as refused from (values
    (format('list_tracks(2, %L, style => $$Jazz$$)', :'cursor')), (format('list_tracks(2, %L, "offset" => 2)', :'cursor')),
    (format('list_jobs(2, %L)', :'cursor'))) c (call);
select left(public.regress_refused(format('list_tracks(2, %L)', overlay(:'cursor' placing case substr(:'cursor', 20, 1) when '_' then '-' else '_' end from 20))), 5) as "not made here";
select delete_track(:'track_id');
select public.regress_refused(format('get_track(%L)', :'track_id')), public.regress_refused(format('delete_track(%L)', :'track_id'));
select get_job(:'done_id') ->> 'result_url' is null as "a deleted track is no result";

-- ---- webhooks
select public.regress_mask(create_webhook('https://hooks.example.com/a', '{track.*,generation.completed}', 'All of mine', '{"X-Token": "t"}'));
select list_webhooks() #>> '{data,0,id}' as id \gset wh_
select public.regress_mask(get_webhook(:'wh_id'));
select public.regress_mask(list_webhooks()) ~ 'secret' as "no secret in lists";
select public.regress_mask(update_webhook(:'wh_id', events => '["*"]', timeout => '10', retry_schedule => '["5s", 60, "1h"]', rate_limit => '5', filter => '"$.data.duration > 60"'));
select update_webhook(:'wh_id', description => null, filter => null, timeout => null) ->> 'description' is null as emptied;
select public.regress_mask(rotate_webhook_secret(:'wh_id', 3600));
select public.regress_mask(rotate_webhook_secret(:'wh_id', 0));
select public.regress_mask(test_webhook(:'wh_id'));
select public.regress_mask(disable_webhook(:'wh_id', 'Maintenance')) ~ '"is_active" : false.*Maintenance' as stopped;
select public.regress_refused(format('test_webhook(%L)', :'wh_id'));
select (enable_webhook(:'wh_id') ->> 'is_active')::boolean as started;
select public.regress_mask(get_webhook_stats(:'wh_id'));
select public.regress_mask(replay_webhook(:'wh_id', '2001-01-01', only_failed => false, dry_run => true));
select public.regress_refused(call) as refused, public.regress_named(call) as call from (values
    ('create_webhook(null, null)'), ('create_webhook($$http://hooks.example.com/$$, $${*}$$)'), ('create_webhook($$https://10.0.0.1/$$, $${*}$$)'),
    ('create_webhook($$https://hooks.example.com/$$, $${no.such}$$)'), ('create_webhook($$https://hooks.example.com/$$, $${}$$)'),
    ('create_webhook($$https://hooks.example.com/$$, $${*}$$, headers => $${"webhook-id": "x"}$$)'),
    ('get_webhook($$' || :'bw_id' || '$$)'), ('update_webhook($$' || :'bw_id' || '$$, url => $$"https://hooks.example.com/x"$$)'), ('delete_webhook($$' || :'bw_id' || '$$)'),
    ('rotate_webhook_secret($$' || :'bw_id' || '$$)'), ('test_webhook($$' || :'bw_id' || '$$)'), ('enable_webhook($$' || :'bw_id' || '$$)'),
    ('disable_webhook($$' || :'bw_id' || '$$)'), ('replay_webhook($$' || :'bw_id' || '$$, $$2001-01-01$$)'), ('get_webhook_stats($$' || :'bw_id' || '$$)'),
    ('update_webhook($$' || :'wh_id' || '$$, url => null)'), ('update_webhook($$' || :'wh_id' || '$$, url => $$5$$)'), ('rotate_webhook_secret($$' || :'wh_id' || '$$, -1)'),
    ('get_webhook_stats($$' || :'wh_id' || '$$, 0)'), ('test_webhook($$' || :'wh_id' || '$$, $$no.such$$)'), ('test_webhook($$' || :'wh_id' || '$$, null)'),
    ('replay_webhook($$' || :'wh_id' || '$$, null)'), ('delete_webhook(null)')) c (call);

-- ---- deliveries
select public.regress_mask(list_deliveries(2));
select list_deliveries(1) #>> '{data,0,id}' as id \gset del_
select public.regress_mask(get_delivery(:'del_id'));
select get_delivery(:'del_id') #>> '{payload,type}' as type;
select public.regress_refused(format('replay_delivery(%L)', :'del_id'));
reset role;
update musicverse.deliveries set status = 'f', attempt_count = 1, last_error = 'connection refused' where id = :'del_id';
insert into musicverse.webhook_attempts (delivery_id, attempt, webhook_id, user_id, started_at, error, request_headers, truncated, total_us)
values (:'del_id', 1, :'wh_id', :'a', '2026-03-09 10:15Z', 'connection refused', '{"webhook-id": "x"}', false, 1500);
select (musicverse.create_webhook(:'a', 'https://hooks.example.com/a2', '{track.*}')).id as id \gset wh2_
select count(musicverse.emit_event(:'a', case when n % 10 = 0 then 'track.deleted' else 'track.created' end, '{}')) from generate_series(1, 60) n;
set role regress_api_user;
select public.regress_mask(get_delivery(:'del_id') -> 'attempts');
select count(*) from musicverse.deliveries;
select * from public.regress_pages('list_deliveries(10, %s)');
select * from public.regress_pages('list_deliveries(50, %s)');
select * from public.regress_pages('list_deliveries(7, %s, webhook_id => $$' || :'wh2_id' || '$$)');
select * from public.regress_pages('list_deliveries(5, %s, event_type => $$track.deleted$$)');
select * from public.regress_pages('list_deliveries(5, %s, status => $$failed$$)');
select * from public.regress_pages('list_deliveries(5, %s, status => $$delivered$$)');
select string_agg(distinct e ->> 'status', ',') from json_array_elements(list_deliveries(100) -> 'data') e;
select public.regress_mask(replay_delivery(:'del_id'));
select public.regress_refused(call) as refused, public.regress_named(call) as call from (values
    ('get_delivery($$' || :'bd_id' || '$$)'), ('replay_delivery($$' || :'bd_id' || '$$)'), ('list_deliveries(webhook_id => $$' || :'bw_id' || '$$)'),
    ('list_deliveries(status => $$gone$$)'), ('get_delivery(null)'), ('list_deliveries(1000)')) c (call);
select delete_webhook(:'wh2_id');
select public.regress_refused(format('get_webhook(%L)', :'wh2_id'));

-- ---- catalogues
select * from public.regress_pages('list_event_types(5, %s)') t where t.items = t.distinct_items and t.items = (select count(*) from musicverse.event_types);
select list_event_types(1) #>> '{data,0,name}' as first, list_event_types(1) #> '{data,0,example}' is not null as has_example;
select list_scopes();

-- ---- API keys
select public.regress_mask(create_api_key('production', '{tracks:read,generate}', '2999-01-01', '{192.0.2.0/24}', true));
select list_api_keys() #>> '{data,0,id}' as id \gset key_
select public.regress_mask(get_api_key(:'key_id'));
select public.regress_mask(list_api_keys()) ~ 'key_hash|"key"' as "no key in lists";
select public.regress_mask(rotate_api_key(:'key_id', 60));
select get_api_key(:'key_id') ->> 'status' as status;
select revoke_api_key(:'key_id'), revoke_api_key(:'key_id');
select get_api_key(:'key_id') ->> 'status' as status;
select public.regress_refused(call) as refused, public.regress_named(call) as call from (values
    ('create_api_key(null)'), ('create_api_key($$$$)'), ('create_api_key($$x$$, $${root}$$)'), ('create_api_key($$x$$, null)'), ('create_api_key($$x$$, expires_at => $$2001-01-01$$)'),
    ('get_api_key($$' || :'bk_id' || '$$)'), ('rotate_api_key($$' || :'bk_id' || '$$)'), ('revoke_api_key($$' || :'bk_id' || '$$)'),
    ('rotate_api_key($$' || :'key_id' || '$$)'), ('rotate_api_key(null)'), ('rotate_api_key($$' || :'key_id' || '$$, -1)')) c (call);

-- a key hands out no more than it may do itself
reset role;
select (musicverse.create_api_key(:'a', 'every scope')).id as id \gset all_
select (musicverse.create_api_key(:'a', 'some', '{keys:write,tracks:read}')).id as id \gset some_
select (musicverse.create_api_key(:'a', 'bound', '{}', '2999-01-01', '{192.0.2.0/24,2001:db8::/32}', true)).id as id \gset bound_
set role regress_api_user;
create function pg_temp.delegates(key uuid, scopes text[], expires_at timestamptz, cidrs cidr[], signed boolean) returns text language plpgsql as $$
begin
    perform musicverse._check_delegation(key, scopes, expires_at, cidrs, signed);
    return 'allowed';
exception when others then
    return sqlstate || ' ' || sqlerrm;
end
$$;
select who, pg_temp.delegates(key::uuid, scopes, expires_at, cidrs, signed), scopes, expires_at, cidrs, signed from (values
    ('no key', null, '{}'::text[], null::timestamptz, null::cidr[], false), ('every scope', :'all_id', '{}', null, null, false), ('every scope', :'all_id', '{generate}', null, null, null),
    ('some', :'some_id', '{tracks:read}', null, null, false), ('some', :'some_id', '{tracks:read,keys:write}', '2030-01-01', '{10.0.0.0/8}', true),
    ('some', :'some_id', '{}', null, null, false), ('some', :'some_id', null, null, null, false), ('some', :'some_id', '{tracks:read,tracks:write}', null, null, false),
    ('bound', :'bound_id', '{}', '2998-01-01', '{192.0.2.128/25}', true), ('bound', :'bound_id', '{}', '2999-01-01', '{192.0.2.0/24,2001:db8:1::/48}', true),
    ('bound', :'bound_id', '{}', null, '{192.0.2.0/24}', true), ('bound', :'bound_id', '{}', '2999-01-02', '{192.0.2.0/24}', true),
    ('bound', :'bound_id', '{}', '2998-01-01', null, true), ('bound', :'bound_id', '{}', '2998-01-01', '{192.0.2.0/24,192.0.3.0/24}', true),
    ('bound', :'bound_id', '{}', '2998-01-01', '{192.0.0.0/16}', true), ('bound', :'bound_id', '{}', '2998-01-01', '{192.0.2.0/24}', false),
    ('another user''s', :'bk_id', '{tracks:read}', null, null, false)) c (who, key, scopes, expires_at, cidrs, signed);

-- ---- account and usage
select public.regress_mask(get_me());
select public.regress_mask(get_usage('2026-03-01Z', '2026-03-03Z'));
select json_array_length(get_usage() -> 'data') as buckets;
select public.regress_mask(get_usage_top('2026-03-01Z', '2026-03-03Z'));
select public.regress_refused(call) as refused, public.regress_named(call) as call from (values
    ('get_usage(bucket => $$week$$)'), ('get_usage(bucket => null)'), ('get_usage($$2026-03-03$$, $$2026-03-01$$)'), ('get_usage($$-infinity$$, $$2026-03-01$$)'),
    ('get_usage($$2001-01-01$$, $$2002-01-01$$, bucket => $$minute$$)'), ('get_usage_top("by" => $$user$$)'), ('get_usage_top("limit" => 0)')) c (call);

-- ---- distributions: sql/distribution.sql has releases
select list_distributions(), list_distributions(status => 'live');
select check_distribution('{}', '{spotify}') ->> 'is_fit' as is_fit;
select public.regress_refused(call) as refused, public.regress_named(call) as call from (values
    ('create_distribution($${}$$, $${spotify}$$)'), ('list_distributions(status => $$lost$$)'), ('list_distributions(0)'), ('get_distribution(null)'),
    ('get_distribution_timeline(null)'), ('update_distribution(null, null)'), ('submit_distribution(null)'), ('cancel_distribution(null)'), ('takedown_distribution(null)')) c (call);

-- ---- without a user there is nothing but the catalogues
select set_config('request.jwt.claims', '{"role": "regress_api_user"}', false) is not null as claimed;
select call, public.regress_refused(call) as refused from (
    select p.proname || '(' || coalesce((select string_agg(format('%I => null', name), ', ') from unnest(p.proargnames[:p.pronargs - p.pronargdefaults]) name), '') || ')' as call
      from pg_proc p where p.pronamespace = 'musicverse_v1'::regnamespace and p.proname !~ 'distribution') c
 where public.regress_refused(call) !~ '^PT401' order by 1;
reset role;
set role regress_api_anon;
select list_scopes() -> 'data' ->> 0 as scope;
select list_event_types(1) #>> '{data,0,name}' as type;
select get_openapi() ->> 'openapi' as openapi;
select public.regress_refused('get_me()'), public.regress_refused('list_tracks()');
reset role;
rollback;

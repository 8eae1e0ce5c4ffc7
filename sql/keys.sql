-- API keys by SQL: their form, making, rotating, revoking, verifying; what a verdict says and in which order.
set client_min_messages = warning;
create extension if not exists musicverse;
set search_path = musicverse, public;
\set SHOW_CONTEXT never
\set u '00000000-0000-4000-8000-0000000000d1'
\set v '00000000-0000-4000-8000-0000000000d2'

-- the form, by somebody else's CRC-32 and SHA-256
create function pg_temp.crc32(input bytea) returns bigint language plpgsql as $$
declare
    crc bigint := x'ffffffff'::bigint;
begin
    for i in 0 .. length(input) - 1 loop
        crc := crc # get_byte(input, i);
        for k in 1 .. 8 loop
            crc := (crc >> 1) # case when crc & 1 = 1 then x'edb88320'::bigint else 0 end;
        end loop;
    end loop;
    return crc # x'ffffffff'::bigint;
end
$$;
create function pg_temp.base62(number bigint) returns text language plpgsql as $$
declare
    result text := '';
begin
    for i in 1 .. 6 loop
        result := substr('0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz', (number % 62)::int + 1, 1) || result;
        number := number / 62;
    end loop;
    return result;
end
$$;
create function pg_temp.some_keys(n int, out key text, out key_hash text) returns setof record language plpgsql as $$
begin
    for i in 1 .. n loop
        select k.key, k.key_hash into key, key_hash from musicverse._new_api_key() k;
        return next;
    end loop;
end
$$;
select count(*) filter (where key ~ '^mvai_[0-9A-Za-z]{38}$') as formed,
       count(*) filter (where substr(key, 38) = pg_temp.base62(pg_temp.crc32(convert_to(substr(key, 6, 32), 'UTF8')))) as summed,
       count(*) filter (where key_hash = encode(sha256(convert_to(key, 'UTF8')), 'hex') and key_hash = _hash_of_key(key)) as hashed,
       count(distinct substr(key, 6, 32)) as different
  from pg_temp.some_keys(200) n;
-- every character of the alphabet comes up, about as often as any other
select count(*) as characters, min(n) > 120 as often, max(n) < 310 as evenly
  from (select c, count(*) as n from pg_temp.some_keys(400) n, regexp_split_to_table(substr(key, 6, 32), '') c group by c) s;
select pg_temp.crc32('123456789') = x'cbf43926'::bigint as "the usual check value";
-- a checksum with leading zeros
select 'mvai_' || r || pg_temp.base62(pg_temp.crc32(convert_to(r, 'UTF8'))) as key, _hash_of_key('mvai_' || r || pg_temp.base62(pg_temp.crc32(convert_to(r, 'UTF8')))) is not null as formed
  from (select lpad(i::text, 32, '0') as r from generate_series(1, 2000) i) s
 where pg_temp.base62(pg_temp.crc32(convert_to(r, 'UTF8'))) like '00%' order by 1 limit 2;

-- a tier whose buckets hardly refill while this runs
insert into tiers (name, burst, refill_per_second, max_api_keys, max_webhooks, max_concurrent_jobs) values ('slow', 20, 0.001, 2, 1, 1);
select set_tier(:'u', 'slow'), set_tier(:'v', 'slow');

-- making
select * from create_api_key(:'u', 'production', '{tracks:read,generate,generate}') \gset a_
select :'a_key_prefix' = left(:'a_key', 8) as prefixed, length(:'a_key_prefix') as length;
select key_prefix = :'a_key_prefix' as prefix, key_hash = encode(sha256(:'a_key'), 'hex') as hash, user_id, name, scopes, last_used_at, last_used_ip,
       expires_at, revoked_at, allowed_cidrs, require_signature, rotated_from
  from api_keys where id = :'a_id';
select position(substr(:'a_key', 9) in api_keys::text) as "the text is nowhere" from api_keys where id = :'a_id';
select * from create_api_key(:'u', 'elsewhere', expires_at => '2999-01-01', allowed_cidrs => '{192.0.2.0/24,2001:db8::/32}') \gset b_
\echo :b_expires_at
select create_api_key(:'u', 'one too many');
select create_api_key(:'v', 'x', '{generate,music:make,admin}');
select create_api_key(:'v', 'x', '{generate,null}');
select create_api_key(:'v', 'x', null);
select create_api_key(:'v', '');
select create_api_key(:'v', null);
select create_api_key(:'v', repeat('x', 256));
select create_api_key(null, 'x');
select create_api_key(:'v', 'x', expires_at => '2001-01-01');
select create_api_key(:'v', 'x', allowed_cidrs => '{}');
select create_api_key(:'v', 'x', allowed_cidrs => array(select format('10.0.%s.0/24', i)::cidr from generate_series(1, 17) i));
select count(*) as "nothing is left of what was refused" from api_keys where user_id = :'v';

-- verdicts
select allowed, status, reason, key_id = :'a_id' as mine, user_id, tier, "limit", remaining, retry_after, policy
  from verify_api_key(:'a_key');
select allowed, status, reason, remaining from verify_api_key(:'a_key', 'generate');
select allowed, status, reason, "limit", retry_after from verify_api_key(:'a_key', 'webhooks:write');
select allowed, status, reason from verify_api_key(:'a_key', 'gener');
select allowed, status, reason from verify_api_key(:'a_key', '');
select allowed, status, reason, remaining from verify_api_key(:'a_key', null, null, 10);
select allowed, status, reason, remaining, retry_after between 2000 and 3000 as "in 3000 s" from verify_api_key(:'a_key', null, null, 11);
select allowed, status, reason, remaining, retry_after from verify_api_key(:'a_key', null, null, 21);
select allowed, remaining from verify_api_key(:'a_key', null, null, 0);
select allowed, remaining from verify_api_key(:'a_key', null, null, null);
select verify_api_key(:'a_key', cost => -1);
select allowed, status, reason, key_id, user_id, tier, "limit", remaining, retry_after from verify_api_key(null);
select allowed, status, reason, key_id from verify_api_key('');
select allowed, status, reason, key_id from verify_api_key('mvai_00000000000000000000000000000001' || '000000');
select allowed, status, reason, key_id from _new_api_key() n, verify_api_key(n.key);
-- an address counts, also an IPv4 one that came by IPv6; a key bound to networks needs one
select ip, allowed, status, reason
  from unnest('{192.0.2.1,192.0.3.1,2001:db8::1,2001:db9::1,::ffff:192.0.2.7,::ffff:192.0.3.7,192.0.2.1/24,null}'::inet[]) with ordinality i (ip, n),
       verify_api_key(:'b_key', 'tracks:read', ip) order by n;

-- reasons in their order: what is refused first is told
select allowed, reason from verify_api_key(:'b_key', cost => 1000);
select allowed, reason from verify_api_key(:'b_key', 'any', '192.0.2.1', cost => 1000);

-- a refused call takes nothing
select remaining as before from verify_api_key(:'a_key', cost => 0) \gset
select count(*) from generate_series(1, 50), verify_api_key(:'a_key', 'webhooks:write') v where not v.allowed;
select remaining >= :before as "nothing taken" from verify_api_key(:'a_key', cost => 0);

-- rotating
select * from rotate_api_key(:'a_id', '1 hour') \gset c_
select name, scopes, rotated_from = :'a_id' as after, revoked_at from api_keys where id = :'c_id';
select allowed, reason from verify_api_key(:'a_key');
select allowed, reason from verify_api_key(:'c_key');
\set VERBOSITY sqlstate
select rotate_api_key(:'a_id');
\set VERBOSITY default
begin;
select advance_clock('1 hour') > now() as advanced;
select allowed, reason from verify_api_key(:'a_key');
select allowed, reason from verify_api_key(:'c_key');
select advance_clock('-1 hour') is not null as back;
commit;
select * from rotate_api_key(:'c_id') \gset d_
select allowed, reason from verify_api_key(:'c_key');
select allowed, reason from verify_api_key(:'d_key');
select rotate_api_key(:'d_id', '-1 s');
select rotate_api_key(:'d_id', null);
select rotate_api_key('00000000-0000-4000-8000-00000000ffff');
select rotate_api_key(null);

-- revoking: at once, whatever the clock says; a rotated key's overlap ends too
select revoke_api_key(:'d_id', 'left the company'), revoke_api_key(:'d_id'), revoke_api_key(:'a_id'), revoke_api_key(null);
select name, revoked_reason from api_keys where id in (:'d_id', :'a_id') order by revoked_reason nulls first;
select advance_clock('-1 day') is not null as back;
select allowed, reason from verify_api_key(:'d_key');
select allowed, reason from verify_api_key(:'a_key');
select advance_clock('1 day') is not null as forth;
\set VERBOSITY sqlstate
select rotate_api_key(:'d_id');
\set VERBOSITY default
-- ... and makes room for another
select (create_api_key(:'u', 'third', expires_at => _now() + '1 minute')).key as e_key \gset
select allowed, reason from verify_api_key(:'e_key');
select advance_clock('1 minute') is not null as later;
select allowed, reason from verify_api_key(:'e_key');
select advance_clock('-1 minute') is not null as back;

-- found in the wild
select id as f_id, key as f_key from create_api_key(:'v', 'leaky') \gset
select report_leaked_key(null), report_leaked_key(''), report_leaked_key('x', 'y');
select report_leaked_key(n.key) as unknown from _new_api_key() n;
select report_leaked_key(:'f_key', 'https://git.example.com/x'), report_leaked_key(:'f_key', 'again');
select allowed, reason from verify_api_key(:'f_key');
select type, (payload::jsonb -> 'data') - 'id' - 'key_prefix' - 'revoked_at' as data, payload::jsonb #>> '{data,id}' = :'f_id' as id,
       position(substr(:'f_key', 9) in payload) as "the text is not told"
  from events where user_id = :'v' and type = 'api_key.leaked';
select revoked_reason from api_keys where id = :'f_id';

-- what a change means is there in the transaction itself, and gone with it
select id as g_id, key as g_key from create_api_key(:'v', 'changing') \gset
select allowed, tier from verify_api_key(:'g_key');
begin;
select set_tier(:'v', 'pro');
select allowed, tier, "limit" from verify_api_key(:'g_key');
update tiers set burst = 77, daily_quota = 1000 where name = 'pro';
select allowed, tier, "limit" from verify_api_key(:'g_key');
savepoint s;
select revoke_api_key(:'g_id');
select allowed, reason from verify_api_key(:'g_key');
rollback to s;
select allowed, reason from verify_api_key(:'g_key');
rollback;
select allowed, tier, "limit" from verify_api_key(:'g_key');
delete from api_keys where id = :'g_id';
select allowed, reason from verify_api_key(:'g_key');

-- read-only and repeatable: the verdict is of now
select id as h_id, key as h_key from create_api_key(:'v', 'read only') \gset
begin transaction read only;
select allowed, status from verify_api_key(:'h_key', cost => 5);
rollback;
select remaining < 16 as "a rollback gives nothing back" from verify_api_key(:'h_key', cost => 0);

-- keys of one user with one burst together
insert into tiers (name, burst, refill_per_second, max_api_keys, max_webhooks, max_concurrent_jobs, limit_by) values ('shared', 10, 0.001, 3, 1, 1, 'user');
select set_tier('00000000-0000-4000-8000-0000000000d3', 'shared');
select key as i_key from create_api_key('00000000-0000-4000-8000-0000000000d3', 'one') \gset
select key as j_key from create_api_key('00000000-0000-4000-8000-0000000000d3', 'two') \gset
select remaining from verify_api_key(:'i_key', cost => 6);
select remaining from verify_api_key(:'j_key', cost => 3);
select allowed, reason, remaining from verify_api_key(:'i_key', cost => 2);

-- a shadow lets pass what it would refuse
set musicverse.rate_limit_shadow = on;
select allowed, status, reason, retry_after > 0 as would_wait from verify_api_key(:'i_key', cost => 2);
reset musicverse.rate_limit_shadow;
select shadowed from rate_limit_status();

-- a transaction that changed keys can't be prepared
begin;
select revoke_api_key(:'h_id');
prepare transaction 'keys';
select allowed from verify_api_key(:'h_key');

-- wrong keys from one address
select count(*) filter (where v.reason = 'unknown') between 20 and 25 as unknown, count(*) filter (where v.reason = 'rate_limited') >= 5 as limited,
       bool_and(v.retry_after > 0) filter (where v.reason = 'rate_limited') as wait
  from pg_temp.some_keys(30) n, verify_api_key(n.key, null, '198.51.100.7') v;
select allowed, reason from verify_api_key(:'h_key', null, '198.51.100.7');
select v.reason from _new_api_key() n, verify_api_key(n.key, null, '198.51.100.8') v;
select count(*) filter (where v.reason = 'unknown') between 20 and 25 as unknown, count(*) filter (where v.reason = 'rate_limited') >= 5 as limited
  from pg_temp.some_keys(30) with ordinality n (key, hash, i), verify_api_key(n.key, null, format('2001:db8:0:1::%s', i)::inet) v;

delete from accounts where user_id in (:'u', :'v', '00000000-0000-4000-8000-0000000000d3');
delete from tiers where name in ('shared', 'slow');
select allowed, reason from verify_api_key(:'h_key');

-- Signed requests: what is signed, what is refused, and that a signature is good once.
set client_min_messages = warning;
create extension if not exists musicverse;
create extension if not exists pgcrypto;
set search_path = musicverse, public;
\set SHOW_CONTEXT never
-- what was signed before the server started is refused: let it have started a while ago
select advance_clock('10 minutes') \g /dev/null
select floor(extract(epoch from _now()))::bigint as now \gset

-- by somebody else's HMAC
select request_signature('mvai_secret', 'post', '/api/v1/tracks?limit=1', 1773100800, '{"a":"ä"}')
     = 'v1=' || encode(public.hmac(convert_to(E'v1\nPOST\n/api/v1/tracks?limit=1\n1773100800\n' || encode(public.digest(convert_to('{"a":"ä"}', 'UTF8'), 'sha256'), 'hex'), 'UTF8'),
                            'mvai_secret', 'sha256'), 'hex') as "the same";
select request_signature('s', 'GET', '/', 0, null) = request_signature('s', 'get', '/', 0, '') as "no body is an empty one";
-- each part counts, and none can pass for another
select count(distinct request_signature(s, m, p, t, b)) as different
  from (values ('s', 'GET', '/a', 1, 'b'), ('S', 'GET', '/a', 1, 'b'), ('s', 'PUT', '/a', 1, 'b'), ('s', 'GET', '/b', 1, 'b'), ('s', 'GET', '/a', 2, 'b'), ('s', 'GET', '/a', -1, 'b'),
               ('s', 'GET', '/a', 1, 'B'), ('s', 'GET', '/a', 1, ''), ('s', 'GET', '/a', 1, E'b\n'), ('s', 'GETX', '/a', 1, 'b'), ('s', 'G', 'ET/a', 1, 'b'), ('s', 'GET', '/a?1', 1, 'b')) v (s, m, p, t, b);

-- good once
create function pg_temp.verify(ts bigint, signature text default null, method text default 'POST', path text default '/a', body text default 'b', secret text default 's', tolerance interval default '5 minutes')
returns boolean language sql as $$
    select musicverse.verify_request_signature(secret, coalesce(signature, musicverse.request_signature('s', 'POST', '/a', ts, 'b')), method, path, ts, body, tolerance)
$$;
select pg_temp.verify(:now) as first, pg_temp.verify(:now) as again;
select pg_temp.verify(:now - 1, method => 'post') as "small letters", pg_temp.verify(:now - 1) as again;
begin;
select pg_temp.verify(:now - 2) as in_transaction;
rollback;
select pg_temp.verify(:now - 2) as "after its rollback";
begin read only;
select pg_temp.verify(:now - 3) as read_only;
rollback;
-- what doesn't fit uses nothing up
select pg_temp.verify(:now - 4, body => 'B') as body, pg_temp.verify(:now - 4, path => '/b') as path, pg_temp.verify(:now - 4, method => 'PUT') as method,
       pg_temp.verify(:now - 4, secret => 'S') as secret, pg_temp.verify(:now - 4, 'v1=00') as short, pg_temp.verify(:now - 4, '') as empty;
select pg_temp.verify(:now - 4) as then;
-- too old, too far ahead
select pg_temp.verify(:now - 310) as old, pg_temp.verify(:now + 400) as ahead, pg_temp.verify(:now - 280) as young_enough, pg_temp.verify(:now + 280) as near_enough;
select pg_temp.verify(:now - 20, tolerance => '10 s') as old, pg_temp.verify(:now - 20, tolerance => '1 minute') as young_enough;
select pg_temp.verify(9223372036854775807), pg_temp.verify(-9223372036854775808), pg_temp.verify(0);
-- several signatures, as while a secret is changed; one that fits is enough, of a few
select pg_temp.verify(:now - 5, 'v1=00 ' || request_signature('old', 'POST', '/a', :now - 5, 'b') || ' ' || request_signature('s', 'POST', '/a', :now - 5, 'b')) as third;
select pg_temp.verify(:now - 6, request_signature('s', 'POST', '/a', :now - 6, 'b') || ' ' || request_signature('s', 'POST', '/a', :now - 6, 'b')) as twice_the_same;
select pg_temp.verify(:now - 7, repeat('x ', 1000000) || request_signature('s', 'POST', '/a', :now - 7, 'b')) as behind_a_million;
-- hostile ones are just not good
select left(s, 3) as begins, length(s), pg_temp.verify(:now - 8, s) as good
  from unnest(array[' ', 'v1', 'v1=', 'v2=' || repeat('0', 64), 'v1=' || repeat('g', 64), 'v1=' || repeat('0', 65), upper(request_signature('s', 'POST', '/a', :now - 8, 'b')) || 'x',
                    request_signature('s', 'POST', '/a', :now - 8, 'b') || E'\n', $$'; drop table x; --$$]) s where s !~ '^V1';
select pg_temp.verify(:now - 8, method => E'POST\n/a', path => ' '), pg_temp.verify(:now - 8, method => ''), pg_temp.verify(:now - 8, path => ''), pg_temp.verify(:now - 8, path => E'/a\n1');
select verify_request_signature('s', null, 'GET', '/', 1, ''), verify_request_signature('s', 'x', null, '/', 1, ''), verify_request_signature('s', 'x', 'GET', null, 1, ''), verify_request_signature('s', 'x', 'GET', '/', null, '');

-- ... and so are those of before its start, though young enough
select pg_temp.verify(:now - 3500, tolerance => '1 hour');

-- refused
select request_signature(null, 'GET', '/', 1, '');
select request_signature('', 'GET', '/', 1, '');
select request_signature('s', null, '/', 1, '');
select request_signature('s', 'GET', null, 1, '');
select request_signature('s', 'GET', '/', null, '');
select request_signature('s', E'GET\n', '/', 1, '');
select request_signature('s', '', '/', 1, '');
select request_signature('s', 'GET', E'/a\n2', 1, '');
select request_signature('s', 'GET', '', 1, '');
select verify_request_signature(null, 'x', 'GET', '/', 1, '');
select verify_request_signature('', 'x', 'GET', '/', 1, '');
select pg_temp.verify(:now, tolerance => '0');
select pg_temp.verify(:now, tolerance => '61 minutes');
select pg_temp.verify(:now, tolerance => '1 day');
select pg_temp.verify(:now, tolerance => null);

-- a clock that is set back makes none good again, and neither does a larger tolerance
select pg_temp.verify(:now - 30, tolerance => '1 minute') as good;
select advance_clock('1 hour') \g /dev/null
select pg_temp.verify(:now - 30) as "an hour later";
select advance_clock('-1 hour') \g /dev/null
select pg_temp.verify(:now - 30) as "and an hour before", pg_temp.verify(:now - 30, tolerance => '1 hour') as "with a larger tolerance";

-- a key that wants signed calls
select key as key from create_api_key('00000000-0000-4000-8000-0000000000d8', 'signing', require_signature => true) \gset
select allowed, status, reason from verify_api_key(:'key');
select allowed, status, reason from verify_api_key(:'key', is_signed =>
       verify_request_signature(:'key', request_signature(:'key', 'GET', '/x', :now, ''), 'GET', '/x', :now, ''));
select allowed, status, reason from verify_api_key(:'key', is_signed =>
       verify_request_signature(:'key', request_signature(:'key', 'GET', '/x', :now, ''), 'GET', '/x', :now, ''));
-- the key, its signature and its limits in one: the key is judged first, so that a made-up one uses no memory
select allowed, status, reason, key_id is not null as known
  from verify_signed_request(:'key', request_signature(:'key', 'GET', '/y', :now, null), 'GET', '/y', :now, null, 'tracks:read');
select allowed, status, reason
  from verify_signed_request(:'key', request_signature(:'key', 'GET', '/y', :now, null), 'GET', '/y', :now, null, 'tracks:read');
select what, allowed, status, reason
  from (values ('another body', request_signature(:'key', 'GET', '/z', :now, 'x'), 'GET', '/z', :now, 'y'), ('none', null, 'GET', '/z', null, null),
               ('no moment', request_signature(:'key', 'GET', '/z', :now, 'x'), 'GET', '/z', null, 'x'), ('no signature', null, 'GET', '/z', :now, 'x'),
               ('nothing', 'x', null, null, :now, null), ('the right one', request_signature(:'key', 'GET', '/z', :now, 'x'), 'GET', '/z', :now, 'x')) c (what, s, m, p, t, b),
       verify_signed_request(:'key', s, m, p, t, b) v;
select n.key as made_up from _new_api_key() n \gset
select request_signature(:'made_up', 'GET', '/', :now, '') as by_made_up \gset
select status, reason from verify_signed_request(:'made_up', :'by_made_up', 'GET', '/', :now, '');
select verify_request_signature(:'made_up', :'by_made_up', 'GET', '/', :now, '') as "not used up by that";
select status, reason from verify_signed_request('x', 'x', 'GET', '/', :now, ''), verify_signed_request(null, null, null, null, null, null) v (a, b, c);
-- a key that needs none: a signature that is there must be good all the same
update api_keys set require_signature = false where user_id = '00000000-0000-4000-8000-0000000000d8';
select v.status, v.reason, w.status, w.reason from verify_signed_request(:'key', null, 'GET', '/z', null, null) v, verify_signed_request(:'key', 'v1=00', 'GET', '/z', :now, null) w;
select verify_signed_request(:'key', null, 'GET', '/z', null, null, cost => -1);
delete from accounts where user_id = '00000000-0000-4000-8000-0000000000d8';
select advance_clock('-10 minutes') \g /dev/null
drop extension pgcrypto;

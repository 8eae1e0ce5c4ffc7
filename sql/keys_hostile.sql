-- Keys that are none, hostile text in every argument, roles that may not.
set client_min_messages = warning;
create extension if not exists musicverse;
set search_path = musicverse, public;
\set SHOW_CONTEXT never
set timezone = 'UTC';
\set u '00000000-0000-4000-8000-0000000000b1'
\set v '00000000-0000-4000-8000-0000000000b2'

create function pg_temp.crc32(input text) returns bigint language plpgsql as $$
declare
    crc bigint := x'ffffffff'::bigint;
begin
    for i in 0 .. length(input) - 1 loop
        crc := crc # ascii(substr(input, i + 1, 1));
        for k in 1 .. 8 loop
            crc := (crc >> 1) # case when crc & 1 = 1 then x'edb88320'::bigint else 0 end;
        end loop;
    end loop;
    return crc # x'ffffffff'::bigint;
end
$$;
-- a key with a right checksum
create function pg_temp.key_of(random text) returns text language plpgsql as $$
declare
    crc bigint := pg_temp.crc32(random);
    sum text := '';
begin
    for i in 1 .. 6 loop
        sum := substr('0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz', (crc % 62)::int + 1, 1) || sum;
        crc := crc / 62;
    end loop;
    return 'mvai_' || random || sum;
end
$$;

select id, key from create_api_key(:'u', 'the only one') \gset
select pg_temp.key_of(substr(:'key', 6, 32)) = :'key' as "made like this one";

-- every wrong shape and size
select reason, count(*), bool_and(key_id is null and user_id is null and tier is null and "limit" is null) as "tells nothing"
  from (select '' union all select ' ' union all select 'mvai_' union all select 'mvai' union all select repeat('m', 1048576) union all select :'key' || repeat('x', 1048576)
        union all select left(:'key', n) from generate_series(0, 42) n union all select :'key' || c from unnest(array[' ', E'\n', '0', E'\t', '''', 'ä']) c
        union all select c || :'key' from unnest(array[' ', E'\n', '0', 'Bearer ']) c
        union all select upper(:'key') union all select initcap(:'key') union all select reverse(:'key') union all select replace(:'key', 'mvai_', 'mvai-')
        union all select pg_temp.key_of(repeat('é', 32)) union all select 'mvai_' || repeat('０', 38)) k (wrong),
       verify_api_key(k.wrong) v group by reason;
-- no character can be another one, at any place
select reason, count(*) > 300 as many from generate_series(1, 43) n, unnest('{0,a,Z,_,é,а,'' ''}'::text[] || E'\n'::text) c, verify_api_key(overlay(:'key' placing c from n for 1)) v
 where overlay(:'key' placing c from n for 1) <> :'key' group by reason;
-- nor with the checksum that belongs to it, when the right one was seen just before
select v.reason, count(*) > 80 as many, bool_and(right_one.status <> 401) as "the right one is known" from generate_series(1, 32) n, unnest('{0,a,Z}'::text[]) c, verify_api_key(pg_temp.key_of(overlay(substr(:'key', 6, 32) placing c from n for 1))) v,
       verify_api_key(left(:'key', 43 + n)) right_one
 where substr(:'key', n + 5, 1) <> c group by v.reason;
-- nor change its place with its neighbour
select reason from generate_series(6, 42) n, lateral (select overlay(:'key' placing reverse(substr(:'key', n, 2)) from n for 2)) k (wrong), verify_api_key(k.wrong) v
 where k.wrong <> :'key' group by reason;
-- right by its form, and unknown
select reason, count(*) from generate_series(1, 200) n, verify_api_key(pg_temp.key_of(lpad(n::text, 32, 'a'))) v group by reason;

-- Nothing that could be compared is read of the tables, whatever of a wrong key is right: one look into
-- the index of hashes each, which finds nothing; and hashes of keys that agree in all but one character have nothing in common.
begin;
create temp table near as
    select n as agree, pg_temp.key_of(left(r, n) || case when substr(r, n + 1, 1) = '0' then '1' else '0' end || substr(r, n + 2)) as key
      from substr(:'key', 6, 32) r, generate_series(0, 31) n;
select idx_scan as scans, idx_tup_fetch as fetched, seq_tup_read as read from pg_stat_xact_user_tables where relid = 'api_keys'::regclass \gset before_
select reason, count(*) from near n, verify_api_key(n.key) v group by reason;
select idx_scan - :before_scans as looks, idx_tup_fetch - :before_fetched as found, seq_tup_read - :before_read as read
  from pg_stat_xact_user_tables where relid = 'api_keys'::regclass;
select max(c.common) < 8 as "nothing in common"
  from near n, lateral (select max(l) as common from generate_series(0, 64) l where left(_hash_of_key(n.key), l) = left(_hash_of_key(:'key'), l)) c;
rollback;

-- hostile text in every text argument of every function that somebody is granted
select set_tier(:'v', 'enterprise');
create table public.canary (alive boolean);
insert into public.canary values (true);
create temp table calls (name text, arguments text[]);
insert into calls values
    ('create_api_key', array[quote_literal(:'v'), '''x''', '''{}''']),
    ('verify_api_key', array[quote_literal(:'key'), '''generate''']),
    ('revoke_api_key', array['gen_random_uuid()', '''x''']),
    ('report_leaked_key', array['''x''', '''x''']),
    ('take_tokens', array['''x''', '1', '5', '1']),
    ('take_tokens_all', array['''{x}''', '1', '''{5}''', '''{1}''']),
    ('request_signature', array['''x''', '''GET''', '''/''', '1', '''x''']),
    ('verify_signed_request', array[quote_literal(:'key'), '''v1=00''', '''GET''', '''/''', 'extract(epoch from now())::bigint', '''x''', '''generate''']),
    ('verify_request_signature', array['''x''', '''v1=00''', '''GET''', '''/''', 'extract(epoch from now())::bigint', '''x''']),
    ('record_usage', array[quote_literal(:'u'), 'null', '''x''', '200']),
    ('usage_summary', array[quote_literal(:'u'), '''2026-01-01''', '''2026-01-02''', '''day''']),
    ('usage_top', array[quote_literal(:'u'), '''2026-01-01''', '''2026-01-02''', '''operation''']);
create function pg_temp.attack() returns table (name text, argument text, outcome text, calls bigint) language plpgsql as $attack$
#variable_conflict use_column
declare
    called record;
    bad text;
    outcome text;
    statement text;
begin
    create temp table outcomes (name text, argument text, outcome text);
    for called in
        select c.name, c.arguments, i.names[a.n] as argument, t.typname, a.n
          from calls c join pg_proc p on p.pronamespace = 'musicverse'::regnamespace and p.proname = c.name
          cross join lateral (select array_agg(x.name order by x.n) as names from unnest(p.proargnames) with ordinality x (name, n)
                               where p.proargmodes is null or p.proargmodes[x.n] in ('i', 'b')) i
          cross join unnest(p.proargtypes) with ordinality a (type, n) join pg_type t on t.oid = a.type
         where t.typname in ('text', '_text') and a.n <= cardinality(c.arguments)
    loop
        foreach bad in array array['''', '''''', ''';drop table public.canary;--', ''' or true --', '"', '";drop table public.canary;--', '\', '\''; drop table public.canary; --',
                                   '$$', '$1', '%', '%s', '%I%L%1$s', '{', '}', '{"', '(select alive from public.canary)', 'u.operation, (select 1)', E'\n', E'\t;', '☃', 'x' || chr(1), '/*', '*/',
                                   repeat('''', 10000), repeat('%s', 50000), repeat('ü', 500000)]
        loop
            called.arguments[called.n] := case called.typname when 'text' then quote_literal(bad) else format('array[%L]', bad) end;
            statement := format('select count(*) from musicverse.%I(%s)', called.name, array_to_string(called.arguments, ', ', 'null'));
            begin
                execute statement;
                outcome := 'works';
            exception when others then
                outcome := sqlstate;
            end;
            insert into outcomes values (called.name, called.argument, outcome);
        end loop;
    end loop;
    return query select o.name, o.argument, o.outcome, count(*) from outcomes o group by 1, 2, 3 order by 1, 2, 3;
end
$attack$;
select * from pg_temp.attack();
select alive from public.canary;
select count(*) as keys from api_keys where user_id in (:'u', :'v');
-- what the worker writes of such names, and how they are told
begin;
select _add_usage(array_agg(row('2026-01-01 00:00Z', :'u', null, o, 2, 1, 0, 0, 0, 0, 0, 0, null)::api_usage))
  from unnest(array['''', ''';drop table public.canary;--', '\', '%s', '"', '$1', '']) o;
select name, calls from usage_top(:'u', '2026-01-01', '2026-01-02') order by name collate "C";
rollback;
drop table public.canary;

-- roles: who was granted nothing, users, the anonymous, and the service itself
create role regress_nobody;
create role regress_user;
create role regress_anon;
create role regress_service;
select expose_to('regress_service', 'regress_user', 'regress_anon') \g /dev/null
create function pg_temp.as_role(role text, statement text) returns text language plpgsql as $$
begin
    execute format('set local role %I', role);
    execute statement;
    reset role;
    return 'works';
exception when others then
    return sqlstate;
end
$$;
begin;
select set_config('request.jwt.claims', json_build_object('sub', :'v')::text, true) \g /dev/null
select replace(statement, :'id', '...') as statement, pg_temp.as_role('regress_nobody', statement) as nobody, pg_temp.as_role('regress_anon', statement) as anon,
       pg_temp.as_role('regress_user', statement) as "user", pg_temp.as_role('regress_service', statement) as service
  from unnest(array['select key_hash from musicverse.api_keys', 'select * from musicverse.api_keys', 'select id, key_prefix, name from musicverse.api_keys',
                    'select k from musicverse.api_keys k', $$select from musicverse.api_keys where key_hash like 'a%'$$, 'select from musicverse.api_keys order by key_hash',
                    $$insert into musicverse.api_keys (user_id, key_hash, key_prefix, name) values ('00000000-0000-4000-8000-0000000000b2', repeat('a', 64), 'mvai_xxx', 'x')$$,
                    'update musicverse.api_keys set scopes = default', 'delete from musicverse.api_keys', 'truncate musicverse.api_keys',
                    $$insert into musicverse.scopes values ('x', 'x')$$, 'select musicverse._new_api_key()', $$select musicverse._hash_of_key('x')$$,
                    $$select musicverse._check_key_scopes('{}')$$, 'select musicverse._own_api_key(null)', 'select musicverse._insert_api_key(null)',
                    $$select musicverse.verify_api_key('x')$$, $$select musicverse.report_leaked_key('x')$$, $$select musicverse.take_tokens('x', 0, 1, 1)$$,
                    $$select musicverse.take_tokens_all('{x}', 0, '{1}', '{1}')$$, 'select musicverse.rate_limit_status()',
                    $$select musicverse.record_usage(null, null, 'x', 200)$$, $$select musicverse._add_usage('{}')$$, $$select musicverse._tend_usage('0', '0', '0')$$,
                    $$select musicverse._quota_used('00000000-0000-4000-8000-0000000000b2')$$, 'select from musicverse.usage_status', 'select from musicverse.api_usage_default',
                    'select from musicverse.api_usage', 'insert into musicverse.quota_usage default values', 'delete from musicverse.quota_usage',
                    $$select musicverse.verify_request_signature('s', 'x', 'GET', '/', 1, '')$$, $$select musicverse.verify_signed_request('s', 'x', 'GET', '/', 1, '')$$, $$select musicverse.request_signature('s', 'GET', '/', 1, '')$$,
                    $$select musicverse.quota_status('00000000-0000-4000-8000-0000000000b2')$$, $$select musicverse.quota_status('00000000-0000-4000-8000-0000000000b1')$$,
                    $$select musicverse.create_api_key('00000000-0000-4000-8000-0000000000b1', 'x')$$,
                    format('select musicverse.rotate_api_key(%L)', :'id'), 'select musicverse.advance_clock(''1 s'')']) with ordinality s (statement, n) order by n;
rollback;
-- a user can't touch another's key, and isn't told that it is there
begin;
set local role regress_user;
select set_config('request.jwt.claims', json_build_object('sub', :'v')::text, true) \g /dev/null
select revoke_api_key(:'id') as revoked, (select count(*) from (select id from api_keys) k) as seen;
rollback;
select status from verify_api_key(:'key', cost => 0);
drop owned by regress_user, regress_anon, regress_service;
delete from exposed_roles where role_name like 'regress%';
drop role regress_nobody, regress_user, regress_anon, regress_service;
delete from accounts where user_id in (:'u', :'v');

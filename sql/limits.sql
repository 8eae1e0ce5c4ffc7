-- The general limiter by SQL: token buckets in shared memory.
set client_min_messages = warning;
create extension if not exists musicverse;
set search_path = musicverse, public;
\set SHOW_CONTEXT never

-- capacity at once, then by the rate
select count(*) filter (where allowed) as admitted, min(remaining) as left_over from generate_series(1, 10) i, take_tokens(left('a', i), 1, 5, 0.001);
select allowed, remaining, round(retry_after, -1) as retry_after from take_tokens('a', 1, 5, 0.001);
select allowed, remaining from take_tokens('b', 3, 5, 0.001);
select allowed, remaining, round(retry_after, -1) as retry_after from take_tokens('b', 3, 5, 0.001);
select allowed, remaining from take_tokens('b', 2, 5, 0.001);
-- all of it or nothing; more than there can be: never
select * from take_tokens('c', 6, 5, 1);
select * from take_tokens('c', 5, 5, 0.001);
-- a look takes nothing
select * from take_tokens('d', 0, 5, 1);
select * from take_tokens('d', 0, 5, 1);
-- as many as there is room for, whatever the rate's fractions
select rate, count(*) filter (where t.allowed) as admitted
  from unnest('{0.003,0.0000001,0.0015,0.007}'::numeric[]) rate, generate_series(1, 20) i, take_tokens(left('fractions ' || rate, 99 + i), 1, 7, rate) t
 group by rate order by rate;
-- and told as many, also by rates that nobody can tell from the next
select rate, remaining from unnest('{0.003,0.0000001,0.0015,0.007,1,3,999999999}'::numeric[]) rate, take_tokens('told ' || rate, 1, 7, rate) order by rate;
select remaining from take_tokens('fast', 0, 5, 1e18);
select remaining from take_tokens('faster', 5, 5, 1e300);
-- time passes, the clock may be set back
select advance_clock('1000 s') is not null as later;
select allowed, remaining from take_tokens('a', 0, 5, 0.001);
select allowed, remaining from take_tokens('a', 1, 5, 0.001);
select advance_clock('-3 hours') is not null as back;
select allowed, remaining, round(retry_after, -1) as retry_after from take_tokens('a', 1, 5, 0.001);
select advance_clock('1000 s') is not null as later;
select allowed, remaining from take_tokens('a', 1, 5, 0.001);
select advance_clock('2 hours 2000 s') is not null as later;
-- other limits for the same bucket: what is owed stays owed, never more than all of it
select allowed, remaining from take_tokens('e', 100, 100, 0.01);
select allowed, remaining, round(retry_after, -1) as retry_after from take_tokens('e', 1, 10, 0.01);
select allowed, remaining from take_tokens('e', 1, 1000, 0.01);
-- ... and what is owed by smaller limits is what they say
select allowed from take_tokens('e', 900, 1000, 0.01);
select allowed, round(retry_after, -1) as retry_after from take_tokens('e', 1, 10, 0.01);
select advance_clock('200 s') is not null as later;
select allowed, remaining from take_tokens('e', 1, 10, 0.01);
-- ... but not by a look
select allowed, remaining from take_tokens('looked at', 900, 1000, 0.01);
select allowed, remaining from take_tokens('looked at', 0, 10, 0.01);
select allowed, remaining from take_tokens('looked at', 0, 1000, 0.01);
-- names of any kind are names
select remaining from take_tokens('', 1, 5, 0.001);
select remaining from take_tokens(repeat('x', 1000000), 1, 5, 0.001);
select remaining from take_tokens(repeat('x', 1000000), 1, 5, 0.001);
select remaining from take_tokens(repeat('x', 1000001), 1, 5, 0.001);
select remaining from take_tokens($$'; drop table musicverse.accounts; --$$, 1, 5, 0.001);
-- a rollback gives nothing back
begin;
select remaining from take_tokens('f', 2, 5, 0.001);
rollback;
select remaining from take_tokens('f', 0, 5, 0.001);
begin read only;
select remaining from take_tokens('f', 1, 5, 0.001);
commit;
-- a prepared statement with other rates each time
prepare t (text, numeric) as select allowed, remaining, round(retry_after, -1) as retry_after from take_tokens($1, 4, 5, $2);
execute t('g', 0.0001);
execute t('g', 0.0001);
execute t('g', 0.0002);
execute t('g', 0.000125000000000000000000000000000000000000000000001);
deallocate t;

-- refused
select take_tokens(null, 1, 5, 1);
select take_tokens('x', null, 5, 1);
select take_tokens('x', 1, null, 1);
select take_tokens('x', 1, 5, null);
select take_tokens('x', -1, 5, 1);
select take_tokens('x', 1, 0, 1);
select take_tokens('x', 1, -5, 1);
select take_tokens('x', 1, 5, 0);
select take_tokens('x', 1, 5, -1);
select take_tokens('x', 1, 5, 'NaN');
select take_tokens('x', 1, 5, 'Infinity');
select take_tokens('x', 1, 5, 1e-30);
select take_tokens('x', 1, 5, 1e-400);
select * from take_tokens('x', 1, 5, 1e400);
select * from take_tokens('x', 2147483647, 2147483647, 1e9);

-- several at once, or none of them
select allowed, bucket, remaining from take_tokens_all('{burst,day,month}', 1, '{5,10,20}', '{0.001,0.0001,0.00001}');
select allowed, bucket, remaining from take_tokens_all('{burst,day,month}', 4, '{5,10,20}', '{0.001,0.0001,0.00001}');
select allowed, bucket, remaining, round(retry_after, -1) as retry_after from take_tokens_all('{month,day,burst}', 1, '{20,10,5}', '{0.00001,0.0001,0.001}');
select b, (take_tokens(b, 0, c, r)).remaining from (values ('burst', 5, 0.001), ('day', 10, 0.0001), ('month', 20, 0.00001)) v (b, c, r);
select allowed, bucket, remaining, retry_after from take_tokens_all('{day,month}', 11, '{10,20}', '{1,1}');
select take_tokens_all('{}', 1, '{}', '{}');
select take_tokens_all('{a}', 1, '{1,2}', '{1}');
select take_tokens_all('{a,null}', 1, '{1,2}', '{1,1}');
select take_tokens_all(null, 1, '{1,2}', '{1,1}');
select take_tokens_all('{a}', null, '{1}', '{1}');
select take_tokens_all('{a,b}', 1, '{1,2}', '{1,0}');
select take_tokens_all(array(select i::text from generate_series(1, 17) i), 1, array(select 1 from generate_series(1, 17)), array(select 1 from generate_series(1, 17)));

-- only for those who were granted it
create role regress_limits;
grant usage on schema musicverse to regress_limits;
set role regress_limits;
select take_tokens('x', 1, 5, 1);
select take_tokens_all('{x}', 1, '{1}', '{1}');
select rate_limit_status();
reset role;
revoke usage on schema musicverse from regress_limits;
drop role regress_limits;

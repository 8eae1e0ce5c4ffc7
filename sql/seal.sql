-- Sealed secrets: only the right key, context and bytes open them.
set search_path = musicverse, public;
\set VERBOSITY terse

-- What was sealed opens, of any length; two seals of one secret differ
select _unseal(_seal(secret, 'a'), 'a') = secret as same, length(_seal(secret, 'a')) - octet_length(secret) as longer
from (values (''), ('whsec_x'), ('Füße 🎵'), (repeat('x', 100000))) as v (secret);
select count(distinct _seal('secret', 'a')) as different from generate_series(1, 1000);
select position('secret' in encode(_seal('secret secret secret', 'a'), 'escape')) as readable;

-- Stored and toasted values open too
create temp table kept as select n, _seal(repeat('x', n * 1000), 'row ' || n) as sealed from generate_series(0, 20) as n;
select count(*) as opened from kept where _unseal(sealed, 'row ' || n) = repeat('x', n * 1000);

create function pg_temp.opens(sealed bytea, context text) returns text
language plpgsql as $$
begin
    perform musicverse._unseal(sealed, context);
    return 'opened';
exception when others then
    return sqlstate || ' ' || regexp_replace(regexp_replace(sqlerrm, '"/.*"', '"…"'), '(key|has version) \d+', '\1 n');
end
$$;

-- A change of any bit is noticed, as is another context
select pg_temp.opens(set_bit(s, i, 1 - get_bit(s, i)), 'a') as answer, min(i / 8) as first_byte, max(i / 8) as last_byte, count(*)
from (select _seal('secret', 'a') as s) as v, generate_series(0, length(s) * 8 - 1) as i
group by 1 order by 2;
select pg_temp.opens(_seal('secret', 'a'), context) from unnest('{a,b,"",aa}'::text[]) as context;
select pg_temp.opens(substr(_seal('secret', 'a'), 1, n), 'a') from unnest('{0,1,32,33,38,39}'::int[]) as n;
select pg_temp.opens(_seal('secret', 'a') || '\x00', 'a');

-- A new master key: old values still open, resealing moves them to it
create temp table before as select _seal('secret', 'a') as sealed;
select _add_master_key() as new_id \gset
select :new_id between 1 and 2147483647 as an_id;
select _unseal(sealed, 'a') as old_value,
       _unseal(_reseal(sealed, 'a'), 'a') as resealed,
       ('x' || encode(substr(_reseal(sealed, 'a'), 2, 4), 'hex'))::bit(32)::bigint = :new_id as under_new_key,
       ('x' || encode(substr(sealed, 2, 4), 'hex'))::bit(32)::bigint = :new_id as was_under_it,
       ('x' || encode(substr(_seal('new', 'a'), 2, 4), 'hex'))::bit(32)::bigint = :new_id as new_value_too,
       _reseal(_reseal(sealed, 'a'), 'a') is not null as again
from before;
select _reseal(sealed, 'b') from before;

-- Nobody else may call these
create role regress_seal_user;
select p.proname, has_function_privilege('regress_seal_user', p.oid, 'execute') as allowed
from pg_proc p
where p.pronamespace = 'musicverse'::regnamespace and p.proname in ('_seal', '_unseal', '_reseal', '_add_master_key')
order by 1;
drop role regress_seal_user;

-- Identifiers of the trade: what is one, the stored form, the domains, and the numbers handed out.
set client_min_messages = warning;
create extension if not exists musicverse;
set search_path = musicverse, public;
\set SHOW_CONTEXT never

-- real ones, and each with one place changed
select name, value, valid, spoilt from (values
    ('isrc', 'QZABC2600001', isrc_is_valid('QZABC2600001'), isrc_is_valid('Q1ABC2600001')),
    ('gtin-8', '40170725', gtin_is_valid('40170725'), gtin_is_valid('40170726')),
    ('gtin-12', '614141000036', gtin_is_valid('614141000036'), gtin_is_valid('614141000063')),
    ('gtin-13', '4006381333931', gtin_is_valid('4006381333931'), gtin_is_valid('4006381333913')),
    ('gtin-14', '10614141543219', gtin_is_valid('10614141543219'), gtin_is_valid('20614141543219')),
    ('iswc', 'T0345246801', iswc_is_valid('T0345246801'), iswc_is_valid('T0345246810')),
    ('isni', '0000000121032683', isni_is_valid('0000000121032683'), isni_is_valid('0000000121032638')),
    ('isni with X', '000000012281955X', isni_is_valid('000000012281955X'), isni_is_valid('0000000122819550')),
    ('grid', 'A12425GABC1234002M', grid_is_valid('A12425GABC1234002M'), grid_is_valid('A12425GABC1234020M')),
    ('dpid', 'PADPIDA2011072101T', dpid_is_valid('PADPIDA2011072101T'), dpid_is_valid('PADPIDA2011072110T'))) v (name, value, valid, spoilt);
-- every single digit changed is noticed, but for some that the weights of an ISWC don't tell apart
select 'gtin' as kind, count(*) filter (where gtin_is_valid(overlay('4006381333931' placing d::text from i))) as taken from generate_series(1, 13) i, generate_series(0, 9) d
union all select 'iswc', count(*) filter (where iswc_is_valid(overlay('T0345246801' placing d::text from i))) from generate_series(2, 11) i, generate_series(0, 9) d
union all select 'isni', count(*) filter (where isni_is_valid(overlay('0000000121032683' placing d::text from i))) from generate_series(1, 16) i, generate_series(0, 9) d;

-- not the stored form, empty, too long, of another script, null
select isrc_is_valid(v) as isrc, gtin_is_valid(v) as gtin, iswc_is_valid(v) as iswc, isni_is_valid(v) as isni, grid_is_valid(v) as grid, dpid_is_valid(v) as dpid, left(v, 20) as value
  from unnest(array['', ' ', 'QZ-ABC-26-00001', 'qzabc2600001', 'QZABC260000', 'QZABC26000011', 'QZÄBC260001', '٠٦١٤١٤١٠٠٠٠٣٦', '61414100003', repeat('0', 100000), null]) v;
select normalize_isrc('qz-abc-26-00001'), normalize_gtin('6 14141 00003 6'), normalize_iswc('T-034.524.680-1'), normalize_isni('0000 0001 2281 955x'),
       normalize_grid('A1-2425G-ABC1234002-M'), normalize_dpid('PA-DPIDA-2011072101-T');
select normalize_isrc(null) is null as "null", isrc_is_valid(null) is null as "null";
select normalize_isrc('QZ/ABC/26/00001');
select normalize_gtin('614141000037');
select normalize_isni(repeat('ä', 100));

-- domains
create temp table t (i isrc, g gtin, w iswc, n isni, d dpid);
insert into t values ('QZABC2600001', '614141000036', 'T0345246801', '000000012281955X', 'PADPIDA2011072101T'), (null, null, null, null, null);
insert into t (i) values ('QZ-ABC-26-00001');
insert into t (g) values ('');
insert into t (w) values ('T0345246802');
insert into t (n) values ('1');
insert into t (d) values ('PADPIDA2011072101U');

-- ISRCs: of the year, in order, not without a prefix
begin;
select next_isrc();
rollback;
select configure_isrc_prefix('QZ-AB');
select configure_isrc_prefix('QZ-ABC', 100000);
select configure_isrc_prefix(null);
begin;
select configure_isrc_prefix('qz-abc');
select count(*) as made, count(distinct i) as different, bool_and(isrc_is_valid(i)) as valid, bool_and(substr(i, 6, 2) = to_char(_now() at time zone 'utc', 'YY')) as of_this_year,
       min(right(i, 5)), max(right(i, 5)) from (select next_isrc()::text as i from generate_series(1, 500)) made;
-- a higher number was used elsewhere; a lower one changes nothing
select configure_isrc_prefix('QZABC', 700), configure_isrc_prefix('QZABC', 3);
select left(next_isrc(), 5) as prefix, right(next_isrc(), 5) as number;
-- another prefix, the first one named
select configure_isrc_prefix('DEZ01', 99998);
select left(next_isrc(), 5) as prefix, right(next_isrc('QZ-ABC'), 5) as number;
do $$ begin perform next_isrc(); exception when sequence_generator_limit_exceeded then raise warning '%', regexp_replace(sqlerrm, '\d{4}$', 'this year'); end $$;
savepoint s;
select next_isrc('USZZZ');
rollback to s;
-- exhausted, and what was there goes on
select right(next_isrc('QZABC'), 5) as number;
-- a new year begins anew
select advance_clock('366 days') \g /dev/null
select right(next_isrc(), 5) as number, substr(next_isrc(), 6, 2) = to_char(_now() at time zone 'utc', 'YY') as of_that_year;
select prefix, last, is_active, year < extract(year from _now()) as past from isrc_prefixes order by prefix, year;
-- what was rolled back leaves no trace
savepoint n;
select right(next_isrc(), 5) as number;
rollback to n;
select right(next_isrc(), 5) as number;
rollback;
select advance_clock('-366 days') \g /dev/null
select count(*) as prefixes from isrc_prefixes;

-- GTINs
begin;
savepoint s;
select next_upc();
rollback to s;
select configure_gtin_prefix('61414', 12);
rollback to s;
select configure_gtin_prefix('614141', 14);
rollback to s;
select configure_gtin_prefix('614141', 12, 100000);
rollback to s;
select configure_gtin_prefix('0614141', 13, 4), configure_gtin_prefix('614142');
select next_upc(), next_upc(), next_upc('0614141');
select bool_and(gtin_is_valid(g)) as valid, count(distinct g) as different from (select next_upc()::text as g from generate_series(1, 300)) made;
savepoint o;
select configure_gtin_prefix('614142', 13);
rollback to o;
select configure_gtin_prefix('6141421');
rollback to o;
-- a UPC is an EAN with a zero before it
select configure_gtin_prefix('614141', 12);
rollback to o;
select configure_gtin_prefix('400638133', 12, 98);
select next_upc();
savepoint e;
select next_upc();
rollback to e;
select next_upc('1234567');
rollback;

-- distribution: identifiers of the trade, and the allocation of ISRCs and GTINs
--
-- One stored form each, of capitals and digits. Numbers are handed out by an
-- update of one row a prefix (and year): callers take turns by its row lock,
-- which is held until the end of the transaction. So a number that was
-- committed is never handed out again, and what a rolled back transaction had
-- taken was never seen outside, as nothing leaves the database before a commit.

create function isrc_is_valid(value text) returns boolean
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_isrc_is_valid';
comment on function isrc_is_valid(text) is 'Is it the ISRC of a recording in its stored form?';

create function normalize_isrc(value text) returns text
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_normalize_isrc';
comment on function normalize_isrc(text) is 'The stored form of an ISRC as people write it, such as QZ-ABC-26-00001';

create function _require_isrc(value text) returns boolean
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_require_isrc';
comment on function _require_isrc(text) is 'The check of domain isrc: true, or an error that says what is wrong';

create domain isrc as text check (_require_isrc(value));
comment on domain isrc is 'ISRC of a recording, in its stored form';

create function gtin_is_valid(value text) returns boolean
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_gtin_is_valid';
comment on function gtin_is_valid(text) is 'Is it the GTIN (UPC, EAN) of a release in its stored form, with a check digit that fits?';

create function normalize_gtin(value text) returns text
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_normalize_gtin';
comment on function normalize_gtin(text) is 'The stored form of a GTIN (UPC, EAN) as people write it, such as 6 14141 12345 2';

create function _require_gtin(value text) returns boolean
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_require_gtin';
comment on function _require_gtin(text) is 'The check of domain gtin: true, or an error that says what is wrong';

create domain gtin as text check (_require_gtin(value));
comment on domain gtin is 'GTIN (UPC, EAN) of a release, in its stored form';

create function iswc_is_valid(value text) returns boolean
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_iswc_is_valid';
comment on function iswc_is_valid(text) is 'Is it the ISWC of a work in its stored form, with a check digit that fits?';

create function normalize_iswc(value text) returns text
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_normalize_iswc';
comment on function normalize_iswc(text) is 'The stored form of an ISWC as people write it, such as T-034.524.680-1';

create function _require_iswc(value text) returns boolean
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_require_iswc';
comment on function _require_iswc(text) is 'The check of domain iswc: true, or an error that says what is wrong';

create domain iswc as text check (_require_iswc(value));
comment on domain iswc is 'ISWC of a work, in its stored form';

create function isni_is_valid(value text) returns boolean
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_isni_is_valid';
comment on function isni_is_valid(text) is 'Is it the ISNI of a person in its stored form, with a check digit that fits?';

create function normalize_isni(value text) returns text
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_normalize_isni';
comment on function normalize_isni(text) is 'The stored form of an ISNI as people write it, such as 0000 0001 2103 2683';

create function _require_isni(value text) returns boolean
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_require_isni';
comment on function _require_isni(text) is 'The check of domain isni: true, or an error that says what is wrong';

create domain isni as text check (_require_isni(value));
comment on domain isni is 'ISNI of a person, in its stored form';

create function grid_is_valid(value text) returns boolean
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_grid_is_valid';
comment on function grid_is_valid(text) is 'Is it the GRid of a release in its stored form, with a check digit that fits?';

create function normalize_grid(value text) returns text
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_normalize_grid';
comment on function normalize_grid(text) is 'The stored form of a GRid as people write it, such as A1-2425G-ABC1234002-M';

create function dpid_is_valid(value text) returns boolean
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_dpid_is_valid';
comment on function dpid_is_valid(text) is 'Is it the DPID of a party of DDEX in its stored form, with a check digit that fits?';

create function normalize_dpid(value text) returns text
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_normalize_dpid';
comment on function normalize_dpid(text) is 'The stored form of a DPID as people write it, such as PA-DPIDA-2011072101-T';

create function _require_dpid(value text) returns boolean
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_require_dpid';
comment on function _require_dpid(text) is 'The check of domain dpid: true, or an error that says what is wrong';

create domain dpid as text check (_require_dpid(value));
comment on domain dpid is 'DPID of a party of DDEX, in its stored form';

create function _gtin_check_digit(digits text) returns text
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_gtin_check_digit';
comment on function _gtin_check_digit(text) is 'The last digit of a GTIN that begins with these';

create table isrc_prefixes (
    prefix    text not null check (prefix ~ '^[A-Z]{2}[A-Z0-9]{3}$'),
    year      int not null check (year between 2000 and 2099),
    last      int not null check (last between 0 and 99999),
    is_active boolean not null,
    primary key (prefix, year)
);
comment on table isrc_prefixes is 'The prefixes that ISRCs are made with, and the last number of each year';
comment on column isrc_prefixes.year is 'When the ISRCs were allocated; its last two digits are in them';
comment on column isrc_prefixes.last is 'The last number handed out, 0 before the first';
comment on column isrc_prefixes.is_active is 'Does next_isrc() use it when no prefix is named?';

create table gtin_prefixes (
    prefix    text primary key check (prefix ~ '^[0-9]+$'),
    length    int not null check (length in (12, 13)),
    last      bigint not null check (last >= -1),
    is_active boolean not null,
    check (length(prefix) between 6 and length - 2)
);
create unique index gtin_prefixes_active_idx on gtin_prefixes (is_active) where is_active;
comment on table gtin_prefixes is 'The company prefixes that GTINs are made with, and the last number of each';
comment on column gtin_prefixes.length is 'Digits of a GTIN: 12 (UPC) or 13 (EAN)';
comment on column gtin_prefixes.last is 'The last item number handed out, -1 before the first';
comment on column gtin_prefixes.is_active is 'Does next_upc() use it when no prefix is named?';

create function configure_isrc_prefix(prefix text, last int default 0) returns void
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    this_year int := extract(year from _now() at time zone 'utc');
    written text := upper(translate(prefix, '- ', ''));
begin
    if written is null or written !~ '^[A-Z]{2}[A-Z0-9]{3}$' then
        raise exception '"%" is no prefix of an ISRC', prefix
            using errcode = '22023', hint = 'Give the two letters of the country and the three letters or digits of the registrant, such as QZ-ABC.';
    elsif last is null or last not between 0 and 99999 then
        raise exception 'the last number % is not one of 0 to 99999', last
            using errcode = '22023', hint = 'Give the highest number that was used this year, 0 for none.';
    end if;
    -- One of these at a time, so that one prefix is left active
    lock table isrc_prefixes in share row exclusive mode;
    update isrc_prefixes p set is_active = false where p.is_active and p.prefix <> written;
    update isrc_prefixes p set is_active = true where not p.is_active and p.prefix = written;
    insert into isrc_prefixes as p (prefix, year, last, is_active) values (written, this_year, last, true)
        on conflict on constraint isrc_prefixes_pkey do update set last = greatest(p.last, excluded.last);
end
$$;
comment on function configure_isrc_prefix(text, int) is
    'Makes it the prefix that next_isrc() uses; numbers of this year up to the last one given were used elsewhere';

create function configure_gtin_prefix(prefix text, length int default 12, last bigint default -1) returns void
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    written text := translate(prefix, '- ', '');
    canonical text;
    highest bigint;
begin
    if length is null or length not in (12, 13) then
        raise exception 'a GTIN of % digits is not possible', length using errcode = '22023', hint = 'Give 12 (UPC) or 13 (EAN).';
    elsif written is null or written !~ '^[0-9]+$' or length(written) not between 6 and length - 2 then
        raise exception '"%" is no prefix of a GTIN of % digits', prefix, length
            using errcode = '22023', hint = format('Give the company prefix by GS1, of 6 to %s digits.', length - 2);
    end if;
    highest := (10 ^ (length - 1 - length(written)))::bigint - 1;
    if last is null or last not between -1 and highest then
        raise exception 'the last item number % is not one of -1 to %', last, highest
            using errcode = '22023', hint = 'Give the highest one that was used, -1 for none.';
    end if;
    lock table gtin_prefixes in share row exclusive mode;
    -- A UPC is the EAN with a zero before it
    canonical := lpad('', 13 - length, '0') || written;
    if exists (select from gtin_prefixes p, lpad('', 13 - p.length, '0') zero
                where p.prefix <> written
                  and (starts_with(zero || p.prefix, canonical) or starts_with(canonical, zero || p.prefix))) then
        raise exception 'prefix "%" overlaps another one', written
            using errcode = '22023', hint = 'See gtin_prefixes: of two prefixes of which one begins with the other, the same GTIN could come twice.';
    end if;
    update gtin_prefixes p set is_active = false where p.is_active and p.prefix <> written;
    insert into gtin_prefixes as p (prefix, length, last, is_active) values (written, length, last, true)
        on conflict on constraint gtin_prefixes_pkey do update set last = greatest(p.last, excluded.last), is_active = true where p.length = excluded.length;
    if not found then
        raise exception 'prefix "%" is there with another length', written
            using errcode = '22023', hint = 'A company prefix is for GTINs of one length.';
    end if;
end
$$;
comment on function configure_gtin_prefix(text, int, bigint) is
    'Makes it the prefix that next_upc() uses; item numbers up to the last one given were used elsewhere';

create function next_isrc(prefix text default null) returns isrc
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    this_year int := extract(year from _now() at time zone 'utc');
    chosen text;
    number int;
begin
    select p.prefix into chosen from isrc_prefixes p
     where case when prefix is null then p.is_active else p.prefix = upper(translate(prefix, '- ', '')) end limit 1;
    if chosen is null then
        raise exception '%', case when prefix is null then 'no prefix for ISRCs is configured' else format('prefix "%s" for ISRCs is not configured', prefix) end
            using errcode = '55000', hint = 'Call configure_isrc_prefix() with the prefix that the ISRC agency gave you.';
    end if;
    -- The first of a year makes its row; who comes second waits for it
    insert into isrc_prefixes as p (prefix, year, last, is_active)
    select chosen, this_year, 1, exists (select from isrc_prefixes o where o.prefix = chosen and o.is_active)
        on conflict on constraint isrc_prefixes_pkey do update set last = p.last + 1 where p.last < 99999
        returning p.last into number;
    if number is null then
        raise exception 'prefix % has no ISRC left for %', chosen, this_year
            using errcode = '2200H', hint = 'Get another prefix from the ISRC agency and call configure_isrc_prefix() with it.';
    end if;
    return chosen || lpad((this_year % 100)::text, 2, '0') || lpad(number::text, 5, '0');
end
$$;
comment on function next_isrc(text) is 'A new ISRC, never handed out before; of the active prefix unless one is named';

create function next_upc(prefix text default null) returns gtin
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    chosen gtin_prefixes;
    digits text;
begin
    update gtin_prefixes p set last = p.last + 1
     where case when prefix is null then p.is_active else p.prefix = translate(prefix, '- ', '') end
       and p.last < (10 ^ (p.length - 1 - length(p.prefix)))::bigint - 1
    returning p.* into chosen;
    if not found then
        select p.* into chosen from gtin_prefixes p where case when prefix is null then p.is_active else p.prefix = translate(prefix, '- ', '') end;
        if not found then
            raise exception '%', case when prefix is null then 'no prefix for GTINs is configured' else format('prefix "%s" for GTINs is not configured', prefix) end
                using errcode = '55000', hint = 'Call configure_gtin_prefix() with the company prefix that GS1 gave you.';
        end if;
        raise exception 'prefix % has no GTIN left', chosen.prefix
            using errcode = '2200H', hint = 'Get another company prefix from GS1 and call configure_gtin_prefix() with it.';
    end if;
    digits := chosen.prefix || lpad(chosen.last::text, chosen.length - 1 - length(chosen.prefix), '0');
    return digits || _gtin_check_digit(digits);
end
$$;
comment on function next_upc(text) is 'A new GTIN, never handed out before; of the active prefix unless one is named';

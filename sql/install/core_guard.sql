-- core: the address guard

create function address_refusal(address inet) returns text
language c stable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_address_refusal';
comment on function address_refusal(inet) is
    'Why the workers would not dial this address, NULL when they would; musicverse.allowed_networks counts';

-- 1e131000 takes a few bytes as jsonb and a hundred kilobytes as text, so that it has to be looked for before anything is written as text.
create function _has_absurd_number(value jsonb) returns boolean
language sql immutable strict parallel safe set search_path = pg_catalog, pg_temp as $$
    select jsonb_path_exists(value, '$.** ? (@.type() == "number" && @ != 0 && (@.abs() > 1e400 || @.abs() < 1e-400))')
$$;
comment on function _has_absurd_number(jsonb) is 'Does the value hold a number of hundreds of digits?';

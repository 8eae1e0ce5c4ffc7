-- core: the address guard

create function address_refusal(address inet) returns text
language c stable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_address_refusal';
comment on function address_refusal(inet) is
    'Why the workers would not dial this address, NULL when they would; musicverse.allowed_networks counts';

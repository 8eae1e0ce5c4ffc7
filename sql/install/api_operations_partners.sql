-- api: the operations of accounts at partners
--
-- Partners are for service roles to see; of those at which users log in
-- themselves, these functions tell what users have to know.

create function _account_partners() returns table (name text, title text, platforms text[])
language sql stable security definer set search_path = musicverse, pg_catalog, pg_temp as $$
    select p.name, _partner_title(p.name), p.platforms from partners p where p.is_active and _connector_has_accounts(p.connector) order by p.name
$$;
comment on function _account_partners() is 'The active partners at which users log in themselves';

-- The columns that may be read, as the row has some that may not
create view _readable_partner_accounts with (security_invoker = true) as
select a.partner, a.user_id, a.status, a.external_id, a.username, a.external_url, a.last_error, a.connected_at, a.updated_at
  from partner_accounts a;
comment on view _readable_partner_accounts is 'partner_accounts without the tokens';

create function _api_partner_account(a _readable_partner_accounts) returns json
language sql stable parallel safe return json_build_object(
    'partner', a.partner, 'status', a.status, 'external_id', a.external_id, 'username', a.username, 'external_url', a.external_url,
    'last_error', a.last_error, 'connected_at', musicverse._api_time(a.connected_at), 'updated_at', musicverse._api_time(a.updated_at));
comment on function _api_partner_account(_readable_partner_accounts) is 'An account at a partner as JSON, without anything that opens something';

create function _api_list_partners() returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    me uuid := _api_user();
begin
    return _api_page((select json_agg(json_build_object('name', p.name, 'title', p.title, 'platforms', p.platforms,
                                                        'account', case when a.partner is not null then _api_partner_account(a) end) order by p.name)
                        from _account_partners() p left join _readable_partner_accounts a on a.partner = p.name and a.user_id = me), null);
end
$$;
comment on function _api_list_partners() is 'The partners at which users log in themselves, with the caller''s accounts';

create function _api_require_partner(name text) returns void
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    perform from _account_partners() p where p.name = _api_require_partner.name;
    if not found then
        raise exception 'partner "%" does not exist', coalesce(left(name, 100), 'null') using errcode = 'PT404';
    end if;
end
$$;
comment on function _api_require_partner(text) is 'Raises that there is no such partner at which users log in';

create function _api_authorize_partner(name text, redirect_uri text) returns json
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    me uuid := _api_user();
begin
    perform _api_require_partner(name);
    return (select json_build_object('url', b.url, 'expires_at', _api_time(b.expires_at)) from _begin_authorization(name, me, redirect_uri) b);
end
$$;
comment on function _api_authorize_partner(text, text) is 'Where the caller is to log in at a partner';

create function _api_get_partner_account(name text) returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    me uuid := _api_user();
    a _readable_partner_accounts;
begin
    select x.* into a from _readable_partner_accounts x where x.partner = name and x.user_id = me;
    if not found then
        raise exception 'there is no account at partner "%"', coalesce(left(name, 100), 'null') using errcode = 'PT404',
            hint = 'Log in there: ask for the address to send the user to.';
    end if;
    return _api_partner_account(a);
end
$$;
comment on function _api_get_partner_account(text) is 'The caller''s account at a partner';

create function _api_partner_authorized(name text, state text, code text) returns json
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    me uuid := _api_user();
begin
    perform _api_require_partner(name);
    perform partner_authorized(name, state, code);
    return _api_get_partner_account(name);
end
$$;
comment on function _api_partner_authorized(text, text, text) is 'Takes what the caller came back with from a partner';

create function _api_disconnect_partner(name text) returns void
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    me uuid := _api_user();
begin
    if not partner_disconnect(name, me) then
        raise exception 'there is no account at partner "%"', coalesce(left(name, 100), 'null') using errcode = 'PT404';
    end if;
end
$$;
comment on function _api_disconnect_partner(text) is 'Forgets the caller''s account at a partner';

-- distribution: who carries releases, and how it is configured
--
-- A config says what differs from its connector's defaults, and is refused as
-- a whole when anything in it could not work.

create function _connector_defaults(connector text) returns jsonb
language plpgsql immutable parallel safe set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    return '{"concurrency": 4, "timeout": 60, "attempts": 20, "priority": 0, "poll_interval": null, "analytics_interval": null, "deliver_ahead": 0, "remote_id": "release_id", "live_by": "partner"}'::jsonb
        -- what is handed over by hand says nothing itself
        || case when connector in ('bundle', 'itmsp') then '{"live_by": "verifier"}'::jsonb else '{}' end
        || case connector when 'soundcloud' then '{
        "authorize_url": "https://secure.soundcloud.com/authorize", "token_url": "https://secure.soundcloud.com/oauth/token",
        "sign_out_url": "https://secure.soundcloud.com/sign-out", "deliver_ahead": 86400,
        "license": "all-rights-reserved", "downloadable": false, "processing_limit": 21600, "doubt_time": 60}'::jsonb
        when 'labelgrid' then '{
        "label_id": null, "genres": {}, "catalogue_prefix": "MV", "recording_country": null, "doubt_time": 60,
        "outlets": {"apple_music": "apple", "youtube_music": "youtube", "amazon_music": "amazon"},
        "stores": {"apple_music": "ITUNES", "youtube_music": "YOUTUBE", "amazon_music": "AMAZON"},
        "states": {"pending": "processing", "pending_review": "processing", "queued": "processing", "preparing": "processing", "processing": "processing",
                   "scheduled": "processing", "delivered": "processing", "complete": "processing", "completed": "processing", "live": "live",
                   "error": "failed", "failed": "failed", "rejected": "failed", "action_needed": "failed", "removed": "taken_down", "taken_down": "taken_down"},
        "callback": {"release": "$.data.release_id", "outlet": "$.data.outlet", "type": "$.data.type", "status": "$.data.status",
                     "external_id": "$.data.external_id", "external_url": "$.data.url", "reason": "$.data.error", "at": "$.created_at"}
    }'::jsonb
        when 'ddex_sftp' then _ddex_defaults()
        when 'itmsp' then '{"provider": null, "genres": {}, "artist_ids": {}, "language": "en"}'
        when 'bundle' then '{"upload_url": null, "note": null, "deliver_ahead": 2592000}'
        when 'verifier' then '{
        "dialect": null, "storefront": "us", "token_url": "https://accounts.spotify.com/api/token", "attempts": 1000, "second_witness": true,
        "poll_interval_max": 21600, "verify_for": 2592000, "absent_twice": 3600, "recheck": null}'::jsonb
        else '{}' end;
end
$$;
comment on function _connector_defaults(text) is 'The config of a partner where it says nothing else';

create function _partner_config(connector text, config jsonb) returns jsonb
language plpgsql immutable parallel safe set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    d constant jsonb := _connector_defaults(connector);
    parts jsonb := '{}';
    part text;
begin
    foreach part in array '{outlets,stores,states,callback}'::text[] loop
        if jsonb_typeof(config -> part) = 'object' and jsonb_typeof(d -> part) = 'object' then
            parts := parts || jsonb_build_object(part, (d -> part) || (config -> part));
        end if;
    end loop;
    return d || case connector when 'ddex_sftp' then _ddex_preset(config ->> 'preset') else '{}' end || config || parts;
end
$$;
comment on function _partner_config(text, jsonb) is 'A partner''s config with what it leaves out';

-- The words of partners are compared in lower case, with _ for spaces. What a
-- takedown comes to is told in the words of a delivery.
create function _partner_meaning(config jsonb, kind text, word text) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select case when kind = 'takedown' and m in ('live', 'processing') then case when w in ('delivered', 'complete', 'completed', 'live') then 'taken_down' end
                when kind = 'takedown' and m = 'failed' then null
                else m end
      from (select config -> 'states' ->> x as m, x as w from (select lower(replace(word, ' ', '_')) as x) y) z
$$;
comment on function _partner_meaning(jsonb, text, text) is 'Which state a partner''s word means, by states of its config; NULL when it tells nothing';

create function _check_package_config(name text, connector text, config jsonb) returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
    if connector = 'itmsp' and coalesce(config ->> 'provider', '') !~ '^[A-Za-z0-9_]{1,100}$' then
        raise exception 'provider of partner "%" is %', name, coalesce('"' || left(config ->> 'provider', 100) || '", which is no short name', 'not given')
            using errcode = '22023', hint = 'Put Apple''s short name of your account into config: {"provider": "MiraRecords"}.';
    elsif jsonb_typeof(config -> 'artist_ids') <> 'object' then
        raise exception 'artist_ids of partner "%" must be a JSON object', name using errcode = '22023', hint = 'Write {"Mira": "1234567890"}.';
    elsif config ->> 'upload_url' !~* '^https://[!-~]+$' then
        raise exception 'upload_url of partner "%" is no https URL', name using errcode = '22023';
    end if;
end
$$;
comment on function _check_package_config(text, text, jsonb) is 'Refuses a config of a partner for whom is packed that could not work';

create function _check_partner_config(name text, connector text, config jsonb) returns void
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    item record;
begin
    if config is null or jsonb_typeof(config) <> 'object' then
        raise exception 'the config of partner "%" must be a JSON object, not %', name, coalesce(jsonb_typeof(config), 'null')
            using errcode = '22023';
    end if;
    for item in
        select v.name, v.low, v.high, _partner_config(connector, config) -> v.name as value
          from (values ('concurrency', 1, 1000), ('timeout', 0.1, 3600), ('attempts', 1, 1000), ('priority', -1000, 1000),
                       ('poll_interval', 0.1, 86400), ('analytics_interval', 0.1, 604800), ('deliver_ahead', 0, 2592000),
                       ('processing_limit', 0, 604800), ('doubt_time', 0, 3600)) v (name, low, high)
         where _partner_config(connector, config) ? v.name
    loop
        if item.value <> 'null' and (jsonb_typeof(item.value) <> 'number' or item.value::numeric not between item.low and item.high)
            or item.value = 'null' and item.name not in ('poll_interval', 'analytics_interval') then
            raise exception '% of partner "%" cannot be %', item.name, name, item.value
                using errcode = '22023', hint = format('It is a number from %s to %s.', item.low, item.high);
        end if;
    end loop;
    if config ? 'remote_id' and (jsonb_typeof(config -> 'remote_id') <> 'string' or config ->> 'remote_id' !~ '^\w{1,63}$') then
        raise exception 'remote_id of partner "%" cannot be %', name, config -> 'remote_id'
            using errcode = '22023', hint = 'It is the member of distribution_work.state that has the partner''s id of a release, such as release_id.';
    end if;
    if connector <> 'ddex_sftp' and _partner_config(connector, config) ->> 'live_by' not in ('partner', 'verifier') is not false then
        raise exception 'live_by of partner "%" cannot be %', name, config -> 'live_by'
            using errcode = '22023', hint = 'It is "partner" or "verifier": whose word it is that a release is live.';
    end if;
    foreach item.name in array '{authorize_url,token_url,sign_out_url}'::text[] loop
        if config ? item.name and not (item.name = 'sign_out_url' and config -> item.name = 'null') then
            perform _check_url(config ->> item.name, item.name || ' of the partner');
        end if;
    end loop;
    perform _check_package_config(name, connector, config);
    foreach item.name in array '{outlets,stores,states,callback,genres}'::text[] loop
        if config ? item.name and jsonb_typeof(config -> item.name) <> 'object' then
            raise exception '% of partner "%" must be a JSON object', item.name, name using errcode = '22023';
        end if;
    end loop;
    if config ? 'host_keys' then
        for item in select x.value from jsonb_array_elements(case jsonb_typeof(config -> 'host_keys') when 'array' then config -> 'host_keys'
                                                             else jsonb_build_array(config -> 'host_keys') end) x loop
            if jsonb_typeof(item.value) <> 'string' or item.value #>> '{}' !~ '^SHA256:[A-Za-z0-9+/]{43}=?$' then
                raise exception 'host key % of partner "%" is no fingerprint', item.value, name
                    using errcode = '22023', hint = 'Write it as ssh-keygen -l shows it: "SHA256:" and 43 characters. Several go into an array.';
            end if;
        end loop;
    end if;
    for item in select key as name, value #>> '{}' as value from jsonb_each(coalesce(_partner_config(connector, config) -> 'states', '{}')) loop
        if item.value is null or item.value not in ('processing', 'live', 'failed', 'taken_down') then
            raise exception 'state "%" of partner "%" cannot mean "%"', item.name, name, item.value
                using errcode = '22023', hint = 'A state means processing, live, failed or taken_down.';
        end if;
    end loop;
    for item in select key as name, value #>> '{}' as value from jsonb_each(coalesce(config -> 'callback', '{}')) loop
        begin
            perform item.value::jsonpath;
        exception when others then
            raise exception 'callback.% of partner "%" is no path: %', item.name, name, sqlerrm
                using errcode = '22023', hint = 'Give a jsonpath such as $.data.status.';
        end;
    end loop;
end
$$;
comment on function _check_partner_config(text, text, jsonb) is 'Refuses a config that could not work, naming the member';

-- What reaches a server by SFTP: its address, its keys and who we are
create function _check_sftp_partner(name text, base_url text, credentials jsonb, config jsonb) returns void
language plpgsql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    if base_url !~ '^sftp://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[^?#%[:cntrl:] ]*)?$' then
        raise exception 'partner URL "%" is no address of an SFTP server', left(base_url, 200)
            using errcode = '22023', hint = 'Write sftp://host:port/path, without a user; sftp://host/~/path begins where the user does.';
    elsif coalesce(config -> 'host_keys', '[]') in ('[]', 'null') or jsonb_array_length(case jsonb_typeof(config -> 'host_keys') when 'array' then config -> 'host_keys' else '[]' end) > 8 then
        raise exception 'partner "%" needs the fingerprints of its host keys in config, 8 at most', name
            using errcode = '22023', hint = 'ssh-keyscan shows the keys of a server, ssh-keygen -l their fingerprints: {"host_keys": ["SHA256:..."]}. Compare them with those that the partner told.';
    elsif coalesce(credentials ->> 'username', '') = '' then
        raise exception 'credential "username" of partner "%" is missing', name using errcode = '22023';
    elsif (coalesce(credentials ->> 'password', '') = '') = (coalesce(credentials ->> 'private_key', '') = '') then
        raise exception 'partner "%" needs a password or a private key', name
            using errcode = '22023', hint = 'Give one of the credentials "password" and "private_key", the latter with "passphrase" when it has one.';
    end if;
end
$$;
comment on function _check_sftp_partner(text, text, jsonb, jsonb) is 'Refuses what could not reach a partner by SFTP, naming what is missing';

create function configure_partner(name text, base_url text, credentials jsonb, config jsonb default '{}') returns void
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    p partners;
    kind text;
    places text[];
    item record;
begin
    if name is null or name !~ '^[a-z][a-z0-9_-]{0,62}$' then
        raise exception 'partner name "%" is not valid', coalesce(name, 'null')
            using errcode = '22023', hint = 'Names begin with a lower-case letter and consist of those, digits, hyphens and underscores.';
    end if;
    select q.* into p from partners q where q.name = name for no key update;
    config := coalesce(nullif(config, 'null'), '{}');
    -- the partners that are shipped have these; another one says them
    kind := coalesce(config ->> 'connector', p.connector);
    if kind is null or kind <> all ('{ddex_sftp,itmsp,soundcloud,labelgrid,bundle,verifier}'::text[]) then
        raise exception 'the connector of partner "%" is %', name, coalesce('"' || kind || '", which is unknown', 'not given')
            using errcode = '22023',
                hint = 'For a partner of your own put connector and platforms into config. Connectors: ddex_sftp, itmsp, soundcloud, labelgrid, bundle, verifier.';
    end if;
    if (kind = 'verifier') <> (p.connector = 'verifier') and exists (select from distribution_work k where k.partner = name) then
        raise exception 'partner "%" cannot become %', name, case kind when 'verifier' then 'one that looks releases up: it carries some' else 'one that carries releases: it looks some up' end
            using errcode = '55000', hint = 'Configure another one.';
    end if;
    if jsonb_typeof(config -> 'platforms') = 'array' then
        places := array(select jsonb_array_elements_text(config -> 'platforms'));
    else
        places := p.platforms;
    end if;
    if coalesce(cardinality(places), 0) = 0 then
        raise exception 'partner "%" needs platforms', name
            using errcode = '22023', hint = 'Put them into config: {"connector": "labelgrid", "platforms": ["spotify"]}.';
    elsif exists (select from unnest(places) w where not exists (select from platforms q where q.name = w)) then
        raise exception 'partner "%" is for unknown platform "%"', name,
            (select w from unnest(places) w where not exists (select from platforms q where q.name = w) limit 1)
            using errcode = '22023', hint = 'Insert it into musicverse.platforms.';
    end if;
    -- what a shipped partner is stays
    config := coalesce((select jsonb_object_agg(m, p.config -> m) from unnest('{dialect,preset}'::text[]) m where p.config ? m), '{}') || config - 'connector' - 'platforms';
    perform _check_partner_config(name, kind, config);
    if credentials is null and p.credentials is null then
        raise exception 'credentials of partner "%" must not be null', name
            using errcode = '22023', hint = 'Give ''{}'' for a partner that wants none. NULL keeps those of a configured partner.';
    elsif credentials is null then
        credentials := _unseal(p.credentials, 'partner:' || name || ':credentials')::jsonb;
    end if;
    if jsonb_typeof(credentials) <> 'object' then
        raise exception 'the credentials of partner "%" must be a JSON object, not %', name, jsonb_typeof(credentials)
            using errcode = '22023', hint = 'Write {"token": "...", "callback_secret": "whsec_..."}.';
    end if;
    for item in select key, value #>> '{}' as value, jsonb_typeof(value) as type from jsonb_each(credentials) loop
        if item.type <> 'string' then
            raise exception 'credential "%" of partner "%" is not a string', item.key, name using errcode = '22023';
        elsif item.key = 'token' and item.value !~ '^[\x21-\x7e]+$' then
            raise exception 'credential "token" of partner "%" is not printable ASCII without spaces', name using errcode = '22023';
        end if;
    end loop;
    if _connector_has_accounts(kind) and not credentials ?& '{client_id,client_secret}'::text[] then
        raise exception 'the credentials of partner "%" lack %', name, case when credentials ? 'client_id' then 'client_secret' else 'client_id' end
            using errcode = '22023', hint = 'Register an application there, and write {"client_id": "...", "client_secret": "..."}.';
    end if;
    if kind = 'verifier' then
        base_url := coalesce(base_url, _lookup_base_url(config ->> 'dialect'));
        perform _check_verifier(name, places, _partner_config(kind, config), credentials);
    end if;
    if credentials ? 'callback_secret' then
        begin
            perform verify_webhook(credentials ->> 'callback_secret', '{}', '');
        exception when others then
            raise exception 'credential "callback_secret" of partner "%" is not a secret of Standard Webhooks', name
                using errcode = '22023', hint = 'It is whsec_ and base64, as the partner shows it.';
        end;
    end if;
    if base_url ~* '^sftp:' then
        if kind not in ('ddex_sftp', 'itmsp') then
            raise exception 'connector "%" of partner "%" does not speak SFTP', kind, name
                using errcode = '22023', hint = 'Give an https URL.';
        end if;
        perform _check_sftp_partner(name, base_url, credentials, config);
        if kind = 'ddex_sftp' then
            perform _check_ddex_config(name, _partner_config(kind, config));
        end if;
    elsif kind = 'ddex_sftp' then
        raise exception 'partner URL "%" is no address of an SFTP server', coalesce(left(base_url, 200), 'null')
            using errcode = '22023', hint = 'Write sftp://host:port/path, without a user; sftp://host/~/path begins where the user does.';
    elsif kind in ('labelgrid', 'soundcloud', 'verifier') or base_url ~* '^https?:' then
        if base_url is null then
            raise exception 'base_url of partner "%" must not be null', name using errcode = '22023';
        end if;
        perform _check_url(base_url, 'partner URL');
        if base_url ~ '[?#]' then
            raise exception 'partner URL "%" has a query or a fragment', base_url using errcode = '22023', hint = 'Leave it out.';
        end if;
    end if;
    perform _check_report_profile(name, base_url, config);
    if p.name is null then
        insert into partners (name, connector, platforms, base_url, config, credentials, is_active, installation_id)
        values (name, kind, places, rtrim(base_url, '/'), config, _seal(credentials::text, 'partner:' || name || ':credentials'), true,
                (select i.id from installation i));
    else
        update partners q
           set connector = kind, platforms = places, base_url = rtrim(base_url, '/'), config = config,
               credentials = _seal(credentials::text, 'partner:' || name || ':credentials'), is_active = true,
               paused_at = null, paused_reason = null, installation_id = (select i.id from installation i)
         where q.name = name;
    end if;
end
$$;
comment on function configure_partner(text, text, jsonb, jsonb) is
    'Configures a partner that carries releases, and makes it active; credentials of NULL keep those it has';

create function set_partner_active(name text, active boolean) returns void
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    p partners;
begin
    if active is null then
        raise exception 'active must not be null' using errcode = '22023';
    end if;
    select q.* into p from partners q where q.name = set_partner_active.name for no key update;
    if not found then
        raise exception 'partner "%" does not exist', coalesce(name, 'null')
            using errcode = 'P0002', hint = format('Known partners: %s.', (select string_agg(q.name, ', ' order by q.name) from partners q));
    elsif active and p.credentials is null then
        raise exception 'partner "%" is not configured', name using errcode = '55000', hint = 'Call configure_partner().';
    end if;
    update partners q set is_active = active where q.name = set_partner_active.name and q.is_active <> active;
end
$$;
comment on function set_partner_active(text, boolean) is 'Whether a partner gets anything; what it is to get waits meanwhile';

create function resume_partner(name text) returns boolean
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    update partners q set paused_at = null, paused_reason = null where q.name = resume_partner.name and q.paused_at is not null;
    return found;
end
$$;
comment on function resume_partner(text) is 'Goes on with a partner that was paused as it refused us; false when it was not paused';

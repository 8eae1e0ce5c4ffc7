-- generation: the providers, and how to talk to each
--
-- A provider is a base URL, sealed credentials and a config: templates of the
-- three requests (submit, poll, cancel), paths into the answers, what the
-- provider's states mean, and its limits. What a config leaves out is that of
-- _provider_defaults(), which is the protocol of sandbox/provider.js.
--
-- Templates are JSON. A string that is one placeholder, "{duration}", becomes
-- the value itself, and its member goes away where there is none; within
-- longer strings the value stands as text. Credentials are for headers only.
-- What a user wrote is never looked through for placeholders.
--
-- Credentials are sealed under provider:<name>:credentials.

create table providers (
    name            text primary key check (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
    base_url        text not null,
    credentials     bytea not null,
    config          jsonb not null default '{}' check (jsonb_typeof(config) = 'object'),
    is_active       boolean not null default true,
    installation_id uuid not null,
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now()
);
comment on table providers is 'Who makes the music; credentials are sealed. Change by configure_provider()';
comment on column providers.config is 'What differs from the defaults';
comment on column providers.installation_id is
    'The installation that may send to it: a restored copy has another one, see enable_sending()';

create function _wake_generation() returns void
language c volatile strict as 'MODULE_PATHNAME', 'musicverse_wake_generation';
comment on function _wake_generation() is 'At the commit of this transaction, wakes the generation worker of this database';

create function _providers_changed() returns trigger
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    perform _wake_generation();
    return null;
end
$$;
comment on function _providers_changed() is 'Statement trigger: makes the generation worker look again at the commit';

create trigger providers_changed after insert or update or delete or truncate on providers
    for each statement execute function _providers_changed();
create trigger touch_updated_at before update on providers
    for each row execute function touch_updated_at();

create function _check_url(url text, what text) returns void
language c stable as 'MODULE_PATHNAME', 'musicverse_check_url';
comment on function _check_url(text, text) is 'Refuses a URL that must not be called; the second argument names it in the message';

create function _provider_defaults() returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select '{
        "mode": "poll", "poll_interval": 5, "concurrency": 10, "attempts": 3, "failover": true,
        "priority": 0, "weight": 1, "timeout": 15, "max_duration": 600, "progress_scale": 1,
        "styles": null, "tiers": null,
        "headers": {"Authorization": "Bearer {token}"},
        "submit": {"method": "POST", "path": "/v1/generations",
                   "headers": {"Idempotency-Key": "{job_id}"},
                   "body": {"prompt": "{prompt}", "style": "{style}", "duration": "{duration}", "params": "{params}",
                            "callback_url": "{callback_url}", "client_reference": "{job_id}"}},
        "poll": {"method": "GET", "path": "/v1/generations/{remote_id}"},
        "cancel": {"method": "DELETE", "path": "/v1/generations/{remote_id}"},
        "response": {"id": "$.id", "reference": "$.client_reference", "status": "$.status", "progress": "$.progress",
                     "audio_url": "$.result.audio_url", "duration": "$.result.duration", "title": "$.result.title",
                     "cover_url": "$.result.cover_url", "peaks": "$.result.peaks", "metadata": "$.result.metadata",
                     "error": "$.error.message"},
        "states": {"queued": "queued", "running": "running", "succeeded": "succeeded", "failed": "failed", "cancelled": "cancelled"}
    }'::jsonb
$$;
comment on function _provider_defaults() is 'A provider''s config where it says nothing else';

create function _provider_config(config jsonb) returns jsonb
language sql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
    select d || config || coalesce(
               (select jsonb_object_agg(part, (d -> part) || (config -> part))
                  from unnest('{submit,poll,cancel,response}'::text[]) part
                 where jsonb_typeof(config -> part) = 'object'), '{}')
      from _provider_defaults() d
$$;
comment on function _provider_config(jsonb) is
    'A config with what it leaves out; the requests and the paths are completed member by member';

create function _fill(template text, vars jsonb) returns text
language sql immutable strict set search_path = pg_catalog, pg_temp as $$
    select coalesce(string_agg(
               case when m[1] ~ '^\{[a-z0-9_]+\}$' and vars ? btrim(m[1], '{}') then coalesce(vars ->> btrim(m[1], '{}'), '')
                    else m[1] end, '' order by n), '')
      from regexp_matches(template, '(\{[a-z0-9_]+\}|[^{]+|\{)', 'g') with ordinality r (m, n)
$$;
comment on function _fill(text, jsonb) is 'A text with its placeholders replaced, once';

create function _render(template jsonb, vars jsonb) returns jsonb
language plpgsql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    string text := template #>> '{}';
begin
    case jsonb_typeof(template)
        when 'object' then
            return (select coalesce(jsonb_object_agg(e.key, e.value) filter (where e.value is not null), '{}')
                      from (select key, _render(value, vars) as value from jsonb_each(template)) e);
        when 'array' then
            return (select coalesce(jsonb_agg(e.value order by e.n) filter (where e.value is not null), '[]')
                      from (select n, _render(value, vars) as value from jsonb_array_elements(template) with ordinality a (value, n)) e);
        when 'string' then
            if string ~ '^\{[a-z0-9_]+\}$' and vars ? btrim(string, '{}') then
                return nullif(vars -> btrim(string, '{}'), 'null');
            end if;
            return to_jsonb(_fill(string, vars));
        else
            return template;
    end case;
end
$$;
comment on function _render(jsonb, jsonb) is 'A JSON template with its placeholders replaced; members without a value are left out';

create function _url_encode(value text) returns text
language sql immutable strict set search_path = pg_catalog, pg_temp as $$
    select coalesce(string_agg(case when c ~ '^[A-Za-z0-9._~-]$' then c
               else regexp_replace(upper(encode(convert_to(c, 'UTF8'), 'hex')), '(..)', '%\1', 'g') end, '' order by n), '')
      from regexp_split_to_table(value, '') with ordinality r (c, n)
     where c <> ''
$$;
comment on function _url_encode(text) is 'A text as one segment of a URL''s path';

-- The first unknown placeholder of a template, NULL when all are known
create function _unknown_placeholder(template text, known text[]) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select m[1] from regexp_matches(template, '\{([a-z0-9_]+)\}', 'g') m where m[1] <> all (known) limit 1
$$;
comment on function _unknown_placeholder(text, text[]) is 'The first placeholder of a template that nothing would replace';

create function _check_provider_headers(headers jsonb, part text, known text[]) returns void
language plpgsql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    header record;
begin
    if headers is null or headers = 'null' then
        return;
    elsif jsonb_typeof(headers) <> 'object' then
        raise exception '% of a provider must be a JSON object, not %', part, jsonb_typeof(headers)
            using errcode = '22023', hint = 'Write {"Authorization": "Bearer {token}"}.';
    end if;
    for header in select key as name, value #>> '{}' as value, jsonb_typeof(value) as type from jsonb_each(headers) loop
        if header.name !~ '^[!#$%&''*+.^_`|~0-9A-Za-z-]+$'
            or lower(header.name) in ('host', 'content-length', 'content-type', 'transfer-encoding', 'connection', 'expect', 'te',
                                      'upgrade') then
            raise exception 'header name "%" in % is not valid', header.name, part
                using errcode = '22023',
                    hint = 'Names consist of letters, digits and hyphens; those that belong to the exchange itself are not to be set.';
        elsif header.type <> 'string' or header.value !~ '^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$' then
            raise exception 'the value of header "%" in % is not valid', header.name, part
                using errcode = '22023', hint = 'Values are strings of printable ASCII on one line, with no space at either end.';
        elsif _unknown_placeholder(header.value, known) is not null then
            raise exception 'header "%" in % names the unknown placeholder "%"', header.name, part,
                _unknown_placeholder(header.value, known)
                using errcode = '22023', hint = format('Known here: %s. Members of the credentials count.', array_to_string(known, ', '));
        end if;
    end loop;
end
$$;
comment on function _check_provider_headers(jsonb, text, text[]) is 'Refuses headers that must not or cannot be sent to a provider';

create function _check_provider_config(config jsonb, credentials jsonb) returns void
language plpgsql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    known_values constant text[] := '{job_id,remote_id,prompt,style,duration,params,callback_url,user_id}';
    parts constant text[] := '{submit,poll,cancel}';
    whole jsonb;
    part text;
    item record;
begin
    if config is null or jsonb_typeof(config) <> 'object' then
        raise exception 'the config of a provider must be a JSON object, not %', coalesce(jsonb_typeof(config), 'null')
            using errcode = '22023';
    end if;
    for item in select key from jsonb_object_keys(config) key where not _provider_defaults() ? key loop
        raise exception 'unknown member "%" in the config of a provider', item.key
            using errcode = '22023',
                  hint = format('Known: %s.', (select string_agg(k, ', ' order by k) from jsonb_object_keys(_provider_defaults()) k));
    end loop;
    whole := _provider_config(config);

    if coalesce(whole ->> 'mode', '') not in ('poll', 'callback', 'both') then
        raise exception 'unknown mode "%" of a provider', whole ->> 'mode'
            using errcode = '22023', hint = 'Use poll, callback or both.';
    end if;
    for item in
        select v.name, v.low, v.high, whole -> v.name as value
          from (values ('poll_interval', 0.1, 3600), ('concurrency', 1, 10000), ('attempts', 1, 100), ('priority', -1000, 1000),
                       ('weight', 0.001, 1000), ('timeout', 0.1, 600), ('max_duration', 1, 86400),
                       ('progress_scale', 0.0001, 10000)) v (name, low, high)
    loop
        if jsonb_typeof(item.value) <> 'number' or item.value::numeric not between item.low and item.high
            or item.name in ('concurrency', 'attempts', 'priority', 'max_duration')
                and item.value::numeric <> trunc(item.value::numeric) then
            raise exception '% of a provider cannot be %', item.name, item.value
                using errcode = '22023', hint = format('It is a number from %s to %s.', item.low, item.high);
        end if;
    end loop;
    if jsonb_typeof(whole -> 'failover') <> 'boolean' then
        raise exception 'failover of a provider cannot be %', whole -> 'failover' using errcode = '22023', hint = 'It is true or false.';
    end if;
    foreach part in array '{styles,tiers}'::text[] loop
        if whole -> part <> 'null' and (jsonb_typeof(whole -> part) <> 'array'
            or jsonb_path_exists(whole -> part, '$[*] ? (@.type() != "string")')) then
            raise exception '% of a provider must be an array of strings', part
                using errcode = '22023', hint = 'Leave it out, or give null, for any.';
        end if;
    end loop;

    perform _check_provider_headers(whole -> 'headers', 'headers',
        array(select jsonb_object_keys(credentials)) || '{job_id,remote_id}'::text[]);
    foreach part in array parts loop
        if whole -> part = 'null' and part <> 'submit' then
            continue;
        elsif jsonb_typeof(whole -> part) <> 'object' then
            raise exception '% of a provider must be a JSON object, not %', part, coalesce(jsonb_typeof(whole -> part), 'null')
                using errcode = '22023', hint = 'Write {"method": "POST", "path": "/v1/generations", "body": {"prompt": "{prompt}"}}.';
        end if;
        for item in select key from jsonb_object_keys(whole -> part) key where key not in ('method', 'path', 'headers', 'body') loop
            raise exception 'unknown member "%" of % in the config of a provider', item.key, part
                using errcode = '22023', hint = 'Known: method, path, headers, body.';
        end loop;
        if coalesce(whole #>> array[part, 'method'], '') not in ('GET', 'POST', 'PUT', 'PATCH', 'DELETE') then
            raise exception 'unknown method "%" of % in the config of a provider', whole #>> array[part, 'method'], part
                using errcode = '22023', hint = 'Use GET, POST, PUT, PATCH or DELETE.';
        elsif coalesce(whole #>> array[part, 'path'], '') !~ '^/[!-~]*$' then
            raise exception 'path "%" of % in the config of a provider is not valid', whole #>> array[part, 'path'], part
                using errcode = '22023', hint = 'It begins with a slash and is percent-encoded ASCII.';
        elsif _unknown_placeholder(whole #>> array[part, 'path'], '{job_id,remote_id}') is not null then
            raise exception 'path of % in the config of a provider names the unknown placeholder "%"', part,
                _unknown_placeholder(whole #>> array[part, 'path'], '{job_id,remote_id}')
                using errcode = '22023', hint = 'Known in paths: job_id, remote_id.';
        elsif _unknown_placeholder((whole #> array[part, 'body'])::text, known_values) is not null then
            raise exception 'body of % in the config of a provider names the unknown placeholder "%"', part,
                _unknown_placeholder((whole #> array[part, 'body'])::text, known_values)
                using errcode = '22023', hint = format('Known in bodies: %s.', array_to_string(known_values, ', '));
        end if;
        perform _check_provider_headers(whole #> array[part, 'headers'], part || '.headers',
            array(select jsonb_object_keys(credentials)) || '{job_id,remote_id}'::text[]);
    end loop;

    if jsonb_typeof(whole -> 'response') <> 'object' then
        raise exception 'response of a provider must be a JSON object' using errcode = '22023';
    end if;
    for item in select key, value from jsonb_each(whole -> 'response') loop
        if not _provider_defaults() -> 'response' ? item.key then
            raise exception 'unknown member "%" of response in the config of a provider', item.key
                using errcode = '22023',
                      hint = format('Known: %s.', (select string_agg(k, ', ' order by k)
                                                     from jsonb_object_keys(_provider_defaults() -> 'response') k));
        end if;
        begin
            if item.value <> 'null' then
                perform (item.value #>> '{}')::jsonpath;
            end if;
        exception when others then
            raise exception 'response.% in the config of a provider is no path: %', item.key, sqlerrm
                using errcode = '22023', hint = 'Give a jsonpath such as $.result.url, or null.';
        end;
    end loop;
    if jsonb_typeof(whole -> 'states') <> 'object' then
        raise exception 'states of a provider must be a JSON object' using errcode = '22023',
            hint = 'Write {"complete": "succeeded"}: the provider''s word, and what it means.';
    end if;
    for item in select key, value #>> '{}' as value from jsonb_each(whole -> 'states') loop
        if item.value is null or item.value not in ('queued', 'running', 'succeeded', 'failed', 'cancelled') then
            raise exception 'state "%" of a provider cannot mean "%"', item.key, item.value
                using errcode = '22023', hint = 'A state means queued, running, succeeded, failed or cancelled.';
        end if;
    end loop;
end
$$;
comment on function _check_provider_config(jsonb, jsonb) is 'Refuses a config that could not work, naming the member';

create function _check_provider_credentials(credentials jsonb) returns void
language plpgsql volatile set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    item record;
begin
    if jsonb_typeof(credentials) <> 'object' then
        raise exception 'the credentials of a provider must be a JSON object, not %', jsonb_typeof(credentials)
            using errcode = '22023', hint = 'Write {"token": "...", "callback_secret": "whsec_..."}.';
    end if;
    for item in select key, value #>> '{}' as value, jsonb_typeof(value) as type from jsonb_each(credentials) loop
        if item.key !~ '^[a-z][a-z0-9_]*$' then
            raise exception 'the name "%" of a credential is not valid', item.key
                using errcode = '22023', hint = 'Names are lower-case letters, digits and underscores, as placeholders are.';
        elsif item.type <> 'string' or item.value !~ '^[\x20-\x7e]+$' then
            raise exception 'credential "%" is not a string of printable ASCII', item.key using errcode = '22023';
        end if;
    end loop;
    if credentials ? 'callback_secret' then
        begin
            perform verify_webhook(credentials ->> 'callback_secret', '{}', '');
        exception when others then
            raise exception 'credential "callback_secret" is not a secret of Standard Webhooks'
                using errcode = '22023', hint = 'It is whsec_ and base64, as the provider shows it.';
        end;
    end if;
end
$$;
comment on function _check_provider_credentials(jsonb) is 'Refuses credentials that cannot be used, without naming their values';

create function configure_provider(name text, base_url text, credentials jsonb, config jsonb default '{}') returns void
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    known bytea := (select p.credentials from providers p where p.name = name for no key update);
begin
    if name is null or name !~ '^[a-z][a-z0-9_-]{0,62}$' then
        raise exception 'provider name "%" is not valid', coalesce(name, 'null')
            using errcode = '22023', hint = 'Names begin with a lower-case letter and consist of those, digits, hyphens and underscores.';
    elsif base_url is null then
        raise exception 'base_url of provider "%" must not be null', name using errcode = '22023';
    elsif credentials is null and known is null then
        raise exception 'credentials of the new provider "%" must not be null', name
            using errcode = '22023', hint = 'Give ''{}'' for a provider that wants none. NULL keeps those of a known provider.';
    end if;
    perform _check_url(base_url, 'provider URL');
    if base_url ~ '[?#]' then
        raise exception 'provider URL "%" has a query or a fragment', base_url using errcode = '22023', hint = 'Leave it out.';
    end if;
    if credentials is null then
        credentials := _unseal(known, 'provider:' || name || ':credentials')::jsonb;
    end if;
    perform _check_provider_credentials(credentials);
    perform _check_provider_config(config, credentials);
    insert into providers as p (name, base_url, credentials, config, installation_id)
    values (name, rtrim(base_url, '/'), _seal(credentials::text, 'provider:' || name || ':credentials'), config,
            (select i.id from installation i))
    on conflict on constraint providers_pkey do update
        set base_url = excluded.base_url, credentials = excluded.credentials, config = excluded.config,
            installation_id = excluded.installation_id;
end
$$;
comment on function configure_provider(text, text, jsonb, jsonb) is
    'Adds a provider of music, or changes one; credentials of NULL keep those it has';

create function set_provider_active(name text, active boolean) returns void
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    if active is null then
        raise exception 'active must not be null' using errcode = '22023';
    end if;
    update providers p set is_active = active where p.name = set_provider_active.name;
    if not found then
        raise exception 'provider "%" does not exist', coalesce(name, 'null')
            using errcode = 'P0002', hint = format('Known providers: %s.', coalesce(
                (select string_agg(p.name, ', ' order by p.name) from providers p), 'none'));
    end if;
end
$$;
comment on function set_provider_active(text, boolean) is
    'Whether a provider gets new jobs; those that it has are followed to their end all the same';

create function remove_provider(name text) returns boolean
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    open bigint;
begin
    perform from providers p where p.name = remove_provider.name for update;
    if not found then
        return false;
    end if;
    select count(*) into open from generation_work w
     where w.provider = remove_provider.name and w.state in ('submitting', 'running', 'cancelling');
    if open > 0 then
        raise exception 'provider "%" has % jobs under way', name, open
            using errcode = '55000',
                hint = 'Call set_provider_active(name, false), and remove it when generation_status shows none; or cancel them.';
    end if;
    delete from providers p where p.name = remove_provider.name;
    return true;
end
$$;
comment on function remove_provider(text) is 'Forgets a provider that has no job under way; false when there is none of that name';

-- webhooks: the functions by which a subscription is made, changed and ended
--
-- All of them judge first and write last, so that nothing is half done after
-- an error. A webhook of another user is treated as one that doesn't exist.
-- Secrets are sealed under the context webhook:<id>:secret (the previous one
-- too) and webhook:<id>:client_key.
--
-- Locks: create_webhook holds the account's row against the other creations of
-- that user; the others hold the webhook's row.

create trigger a_ensure_account before insert on webhook_endpoints
    for each row execute function ensure_account('user_id');
create trigger touch_updated_at before update on webhook_endpoints
    for each row execute function touch_updated_at();

create function _check_webhook_events(events text[]) returns text[]
language plpgsql stable security definer set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    wanted text;
    result text[] := '{}';
begin
    if coalesce(cardinality(events), 0) = 0 then
        raise exception 'a webhook needs at least one event'
            using errcode = '22023', hint = 'Name event types, such as {track.created}, all of a kind by {track.*}, or everything by {*}.';
    elsif cardinality(events) > 100 then
        raise exception 'a webhook cannot name more than 100 events, not %', cardinality(events)
            using errcode = '22023', hint = 'Use prefixes, such as track.*, or * for everything.';
    end if;
    foreach wanted in array events loop
        if wanted is null then
            raise exception 'the events of a webhook must not hold null' using errcode = '22023';
        elsif wanted <> '*'
            and not exists (select from event_types t where t.name = wanted)
            and not (right(wanted, 2) = '.*'
                     and exists (select from event_types t where starts_with(t.name, left(wanted, -1)))) then
            raise exception 'unknown event type "%"', wanted
                using errcode = '22023',
                      detail = format('Known: %s.', (select string_agg(k.name, ', ' order by k.name)
                                      from (select t.name from event_types t order by t.name limit 100) k)),
                      hint = 'Use one of these names, a prefix such as track.*, or * for everything; register_event_type() adds types.';
        end if;
        if wanted <> all (result) then
            result := result || wanted;
        end if;
    end loop;
    return result;
end
$$;
comment on function _check_webhook_events(text[]) is 'Refuses what is no event type and no pattern of known ones; returns the rest without repetitions';

create function _check_webhook_headers(headers jsonb) returns jsonb
language plpgsql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    header record;
    seen text[] := '{}';
    size int := 0;
begin
    if headers is null or headers = 'null' then
        return '{}';
    elsif jsonb_typeof(headers) <> 'object' then
        raise exception 'headers must be a JSON object, not %', jsonb_typeof(headers)
            using errcode = '22023', hint = 'Write {"X-Name": "value"}.';
    end if;
    for header in select key as name, lower(key) as lower_name, value from jsonb_each(headers) loop
        if header.name !~ '^[!#$%&''*+.^_`|~0-9A-Za-z-]+$' then
            raise exception 'header name "%" is not valid', header.name
                using errcode = '22023', hint = 'Header names consist of letters, digits and hyphens.';
        elsif starts_with(header.lower_name, 'webhook-') or header.lower_name in
            ('host', 'content-length', 'content-type', 'content-encoding', 'transfer-encoding', 'connection', 'keep-alive',
             'te', 'trailer', 'upgrade', 'expect', 'proxy-connection', 'proxy-authenticate', 'proxy-authorization',
             'http2-settings') then
            raise exception 'header "%" is reserved', header.name
                using errcode = '22023', hint = 'It belongs to the delivery itself; choose another name.';
        elsif header.lower_name = any (seen) then
            raise exception 'header "%" is given twice', header.name
                using errcode = '22023', hint = 'Header names do not depend on upper and lower case.';
        elsif jsonb_typeof(header.value) <> 'string' then
            raise exception 'the value of header "%" must be a string, not %', header.name, jsonb_typeof(header.value)
                using errcode = '22023';
        elsif header.value #>> '{}' !~ '^[\x21-\x7e]([\x20-\x7e\t]*[\x21-\x7e])?$' then
            raise exception 'the value of header "%" is not valid', header.name
                using errcode = '22023',
                      hint = 'Values are printable ASCII on one line, not empty, with no space at either end.';
        end if;
        seen := seen || header.lower_name;
        size := size + length(header.name) + length(header.value #>> '{}') + 4;
    end loop;
    if cardinality(seen) > 50 or size > 8192 then
        raise exception 'too many headers: % with % bytes', cardinality(seen), size
            using errcode = '22023', hint = 'At most 50 headers with 8192 bytes are sent with a delivery.';
    end if;
    return headers;
end
$$;
comment on function _check_webhook_headers(jsonb) is 'Refuses headers that must not or cannot be sent';

create function _own_webhook(id uuid) returns webhook_endpoints
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    result webhook_endpoints;
begin
    select w.* into result from webhook_endpoints w
     where w.id = _own_webhook.id and (caller_is_service() or w.user_id = current_user_id())
       for no key update;
    if not found then
        raise exception 'webhook % does not exist', coalesce(id::text, 'null') using errcode = 'P0002';
    end if;
    return result;
end
$$;
comment on function _own_webhook(uuid) is 'The caller''s webhook, locked; raises if there is none';

create function create_webhook(user_id uuid, url text, events text[], description text default null,
                               headers jsonb default '{}', out id uuid, out secret text) returns record
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    tier_name text;
    allowed int;
begin
    perform _require_user(user_id);
    if url is null then
        raise exception 'the url of a webhook must not be null' using errcode = '22023';
    end if;
    perform _check_webhook_url(url);
    events := _check_webhook_events(events);
    headers := _check_webhook_headers(headers);

    insert into accounts as a (user_id) values (user_id) on conflict do nothing;
    -- An update, as a lock alone would let transactions with older snapshots count too few
    update accounts a set tier = a.tier from tiers t
     where t.name = a.tier and a.user_id = create_webhook.user_id
    returning t.name, t.max_webhooks into tier_name, allowed;
    if (select count(*) >= allowed from webhook_endpoints w where w.user_id = create_webhook.user_id) then
        raise exception 'user % has % webhooks already, as many as tier "%" allows', user_id, allowed, tier_name
            using errcode = '53400', hint = 'Delete a webhook, or move the account to a larger tier by set_tier().';
    end if;

    id := gen_random_uuid();
    secret := _new_webhook_secret();
    insert into webhook_endpoints (id, user_id, url, events, description, headers, secret, installation_id)
    values (id, user_id, url, events, description, headers, _seal(secret, 'webhook:' || id || ':secret'),
            (select i.id from installation i));
end
$$;
comment on function create_webhook(uuid, text, text[], text, jsonb) is
    'Subscribes a URL to a user''s events; the only time the secret is seen';

create function delete_webhook(id uuid) returns boolean
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    delete from webhook_endpoints w
     where w.id = delete_webhook.id and (caller_is_service() or w.user_id = current_user_id());
    return found;
end
$$;
comment on function delete_webhook(uuid) is 'Ends a subscription: what was pending is no longer sent; false when there is no such webhook';

create function _webhook_interval(property text, value jsonb) returns interval
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    result interval;
begin
    if jsonb_typeof(value) not in ('string', 'number') then
        raise exception 'webhook property "%" must be an interval or a number of seconds, not %', property, jsonb_typeof(value)
            using errcode = '22023';
    end if;
    begin
        result := case jsonb_typeof(value) when 'number' then make_interval(secs => (value #>> '{}')::float8)
                  else (value #>> '{}')::interval end;
    exception when data_exception then
        raise exception 'webhook property "%": "%" is not an interval', property, value #>> '{}'
            using errcode = '22023', hint = 'Write it as 30 (seconds), "30s", "5min" or "2h".';
    end;
    return result;
end
$$;
comment on function _webhook_interval(text, jsonb) is 'An interval given as text or as seconds';

create function _webhook_jsonpath(property text, value jsonb) returns jsonpath
language plpgsql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    return (value #>> '{}')::jsonpath;
exception when data_exception or syntax_error then
    raise exception 'webhook property "%" is not a jsonpath: %', property, sqlerrm
        using errcode = '22023', hint = 'It is applied to the body that is sent, such as $.data.duration > 60 or $.data.style.';
end
$$;
comment on function _webhook_jsonpath(text, jsonb) is 'A jsonpath given as text';

create function update_webhook(id uuid, changes jsonb) returns void
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    -- what each property takes, null aside
    properties constant jsonb := '{"url": ["string"], "events": ["array"], "description": ["string"], "headers": ["object"],
        "filter": ["string"], "ordering_key": ["string"], "signing": ["string"], "client_cert": ["string"],
        "client_key": ["string"], "ca_cert": ["string"], "timeout": ["string", "number"],
        "retry_schedule": ["array", "string"], "rate_limit": ["number"], "max_concurrency": ["number"]}';
    w webhook_endpoints := _own_webhook(id);
    change record;
    new_secret text;
begin
    if changes is null or jsonb_typeof(changes) <> 'object' then
        raise exception 'changes must be a JSON object, not %', coalesce(jsonb_typeof(changes), 'null')
            using errcode = '22023', hint = 'Write {"url": "https://example.com/hook"}.';
    end if;
    for change in select e.key, nullif(e.value, 'null') as value, e.value #>> '{}' as text,
                         left(e.value #>> '{}', 100) as shown from jsonb_each(changes) e loop
        if not properties ? change.key then
            raise exception 'a webhook has no property "%" that can be changed', change.key
                using errcode = '22023',
                      detail = format('Known: %s.', (select string_agg(k, ', ' order by k) from jsonb_object_keys(properties) k)),
                      hint = 'Start and stop it by enable_webhook() and disable_webhook(); a new secret comes from rotate_webhook_secret().';
        elsif change.value is null and change.key in ('url', 'events') then
            raise exception 'webhook property "%" must not be null', change.key using errcode = '22023';
        elsif change.value is not null and not (properties -> change.key) ? jsonb_typeof(change.value) then
            raise exception 'webhook property "%" must be %, not %', change.key,
                (select string_agg(k, ' or ') from jsonb_array_elements_text(properties -> change.key) k),
                jsonb_typeof(change.value)
                using errcode = '22023';
        end if;

        case change.key
        when 'url' then
            perform _check_webhook_url(change.text);
            w.url := change.text;
        when 'events' then
            w.events := _check_webhook_events(array(select a from jsonb_array_elements_text(change.value) a));
        when 'description' then
            w.description := change.text;
        when 'headers' then
            w.headers := _check_webhook_headers(change.value);
        when 'filter' then
            w.filter := _webhook_jsonpath(change.key, change.value);
        when 'ordering_key' then
            w.ordering_key := _webhook_jsonpath(change.key, change.value);
        when 'client_cert', 'ca_cert' then
            if change.text !~ '-----BEGIN (TRUSTED )?CERTIFICATE-----' or length(change.text) > 262144 then
                raise exception 'webhook property "%" is not a certificate in PEM form', change.key using errcode = '22023';
            end if;
            if change.key = 'ca_cert' then
                w.ca_cert := change.text;
            else
                w.client_cert := change.text;
            end if;
        when 'client_key' then
            if change.text !~ '-----BEGIN ([A-Z]+ )?PRIVATE KEY-----' or change.text ~ 'ENCRYPTED' or length(change.text) > 65536 then
                raise exception 'webhook property "client_key" is not an unencrypted private key in PEM form' using errcode = '22023';
            end if;
            w.client_key := _seal(change.text, 'webhook:' || w.id || ':client_key');
        when 'timeout' then
            w.timeout := _webhook_interval(change.key, change.value);
            if w.timeout not between '0.1 seconds' and '1 hour' then
                raise exception 'webhook property "timeout" must be between 0.1 seconds and 1 hour, not %', change.shown
                    using errcode = '22023';
            end if;
        when 'retry_schedule' then
            if change.value is null then
                w.retry_schedule := null;
            else
                w.retry_schedule := array(select _webhook_interval(change.key, a.step)
                    from jsonb_array_elements(case jsonb_typeof(change.value) when 'array' then change.value
                         else to_jsonb(regexp_split_to_array(change.text, '\s*,\s*')) end) with ordinality a(step, n) order by a.n);
                if cardinality(w.retry_schedule) not between 1 and 50
                    or exists (select from unnest(w.retry_schedule) step where step not between '1 second' and '30 days') then
                    raise exception 'webhook property "retry_schedule" must be 1 to 50 intervals between 1 second and 30 days, not %', change.shown
                        using errcode = '22023', hint = 'Such as ["5s", "5min", "2h"]; null takes musicverse.retry_schedule.';
                end if;
            end if;
        when 'rate_limit' then
            if (change.text)::numeric not between 0.001 and 1000000 then
                raise exception 'webhook property "rate_limit" must be between 0.001 and 1000000 deliveries a second, not %', change.shown
                    using errcode = '22023';
            end if;
            w.rate_limit := change.text;
        when 'max_concurrency' then
            if (change.text)::numeric not between 1 and 1000 or (change.text)::numeric % 1 <> 0 then
                raise exception 'webhook property "max_concurrency" must be a whole number from 1 to 1000, not %', change.shown
                    using errcode = '22023';
            end if;
            w.max_concurrency := (change.text)::numeric;
        when 'signing' then
            if coalesce(change.text, 'hmac') not in ('hmac', 'ed25519') then
                raise exception 'unknown kind of signature "%"', change.shown
                    using errcode = '22023', hint = 'Known: hmac, ed25519.';
            elsif coalesce(change.text, 'hmac') <> w.signing then
                -- Receivers get a day to change over, as at a rotation.
                w.previous_secret := w.secret;
                w.previous_secret_until := _now() + interval '24 hours';
                w.signing := coalesce(change.text, 'hmac');
                w.public_key := null;
                if w.signing = 'hmac' then
                    new_secret := _new_webhook_secret();
                else
                    select k.private_key, k.public_key into new_secret, w.public_key from _new_webhook_keypair() k;
                end if;
                w.secret := _seal(new_secret, 'webhook:' || w.id || ':secret');
            end if;
        end case;
    end loop;
    if (w.client_cert is null) <> (w.client_key is null) then
        raise exception 'client_cert and client_key of a webhook go together'
            using errcode = '22023', hint = 'Set or clear both in one call.';
    end if;

    update webhook_endpoints e
       set url = w.url, events = w.events, description = w.description, headers = w.headers, filter = w.filter,
           ordering_key = w.ordering_key, signing = w.signing, secret = w.secret, previous_secret = w.previous_secret,
           previous_secret_until = w.previous_secret_until, public_key = w.public_key, client_cert = w.client_cert,
           client_key = w.client_key, ca_cert = w.ca_cert, timeout = w.timeout, retry_schedule = w.retry_schedule,
           rate_limit = w.rate_limit, max_concurrency = w.max_concurrency
     where e.id = w.id;
end
$$;
comment on function update_webhook(uuid, jsonb) is
    'Changes the properties named; null takes the default again. After a change of signing read webhooks.public_key, or get the new secret by rotate_webhook_secret()';

create function enable_webhook(id uuid) returns void
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    w webhook_endpoints := _own_webhook(enable_webhook.id);
begin
    update webhook_state s set failure_count = 0, failing_since = null where s.webhook_id = w.id;
    update webhook_endpoints e set is_active = true, disabled_at = null, disabled_reason = null where e.id = w.id;
end
$$;
comment on function enable_webhook(uuid) is 'Clears the failure count and starts again, with what was held meanwhile';

create function disable_webhook(id uuid, reason text default null) returns void
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    w webhook_endpoints := _own_webhook(disable_webhook.id);
begin
    if not w.is_active then
        return;
    end if;
    update webhook_endpoints e
       set is_active = false, disabled_at = _now(), disabled_reason = coalesce(reason, 'disabled by request')
     where e.id = w.id;
end
$$;
comment on function disable_webhook(uuid, text) is 'Stops a webhook; its events are held until enable_webhook()';

create function rotate_webhook_secret(id uuid, overlap interval default '24 hours') returns text
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    w webhook_endpoints := _own_webhook(rotate_webhook_secret.id);
    context text := 'webhook:' || w.id || ':secret';
    new_secret text;
    shown text;
begin
    if overlap is null or overlap < '0' then
        raise exception 'overlap must not be negative, not %', coalesce(overlap::text, 'null')
            using errcode = '22023', hint = 'Zero ends the old secret at once.';
    end if;
    if w.signing = 'hmac' then
        new_secret := _new_webhook_secret();
        shown := new_secret;
    else
        select k.private_key, k.public_key into new_secret, shown from _new_webhook_keypair() k;
        w.public_key := shown;
    end if;
    if overlap = '0' then
        w.previous_secret := null;
        w.previous_secret_until := null;
    -- After a change of the kind of signature the secret of the new kind was
    -- never shown, so receivers still rely on the one before.
    elsif w.previous_secret_until is null or w.previous_secret_until <= _now()
        or left(_unseal(w.previous_secret, context), 6) = left(_unseal(w.secret, context), 6) then
        w.previous_secret := w.secret;
        w.previous_secret_until := _now() + overlap;
    end if;
    update webhook_endpoints e
       set secret = _seal(new_secret, context), public_key = w.public_key,
           previous_secret = w.previous_secret, previous_secret_until = w.previous_secret_until
     where e.id = w.id;
    return shown;
end
$$;
comment on function rotate_webhook_secret(uuid, interval) is
    'Returns a new secret (for ed25519 the new public key); for the overlap, deliveries carry both signatures';

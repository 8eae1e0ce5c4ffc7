-- distribution: what partners call back
--
-- A callback is a partner's document about one release on one platform, signed
-- after Standard Webhooks with the secret that is its credential
-- callback_secret. Where its parts are is said by callback in the partner's
-- config, what its states mean by states, and under which name the connector
-- keeps the partner's id of a release by remote_id. It counts once, and never
-- leads back: a late "processing" changes nothing of what is live.

create function partner_callback(partner text, headers jsonb, body text) returns int
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    p partners;
    config jsonb;
    secret text;
    document jsonb;
    message text;
    remote text;
    kind text;
    outlet text;
    word text;
    meaning text;
    place text;
    at timestamptz;
    w distribution_work;
begin
    select q.* into p from partners q where q.name = partner and q.is_active and q.installation_id = _sending_as();
    if not found then
        return 404;
    elsif jsonb_typeof(headers) <> 'object' is not false or body is null then
        return 400;
    elsif octet_length(body) > pg_size_bytes(coalesce(current_setting('musicverse.max_partner_response', true), '1MB')) then
        return 413;
    end if;
    secret := _unseal(p.credentials, 'partner:' || p.name || ':credentials')::jsonb ->> 'callback_secret';
    if secret is null or not verify_webhook(secret, headers, body) then
        return 401;
    end if;
    document := _foreign_json(body);
    config := _partner_config(p.connector, p.config);
    if jsonb_typeof(document) <> 'object' is not false or jsonb_typeof(config -> 'callback') <> 'object' is not false then
        return 400;
    end if;
    select case jsonb_typeof(h.value) when 'array' then h.value ->> 0 else h.value #>> '{}' end
      into message from jsonb_each(headers) h where lower(h.key) = 'webhook-id' limit 1;
    remote := jsonb_path_query_first(document, (config #>> '{callback,release}')::jsonpath, '{}', true) #>> '{}';
    outlet := jsonb_path_query_first(document, (config #>> '{callback,outlet}')::jsonpath, '{}', true) #>> '{}';
    word := jsonb_path_query_first(document, (config #>> '{callback,status}')::jsonpath, '{}', true) #>> '{}';
    kind := jsonb_path_query_first(document, (config #>> '{callback,type}')::jsonpath, '{}', true) #>> '{}';
    begin
        at := (jsonb_path_query_first(document, (config #>> '{callback,at}')::jsonpath, '{}', true) #>> '{}')::timestamptz;
    exception when others then
        null;
    end;
    -- a clock of the partner that goes wrong must not shut out what comes later
    at := least(coalesce(at, _now()), _now());

    -- written out, so that an index on the member is of use
    execute format('select k.* from distribution_work k where k.partner = $1 and k.state ->> %L = $2 limit 1', config ->> 'remote_id')
       into w using partner, remote;
    if w.id is null then
        return 404;
    elsif word is null then
        -- of something else
        return 200;
    end if;
    meaning := _partner_meaning(config, kind, word);
    select o.key into place from jsonb_each_text(coalesce(config -> 'outlets', '{}')) o where lower(o.value) = lower(outlet);
    place := coalesce(place, (select t.platform from distribution_targets t where t.work_id = w.id and t.platform = lower(outlet)));
    if not config -> 'states' ? lower(replace(word, ' ', '_')) then
        return 422;
    elsif meaning is null or outlet is not null and place is null then
        return 200;
    end if;

    -- waits for the worker, which holds it for moments
    perform from distributions d where d.id = w.distribution_id for no key update;
    select k.* into w from distribution_work k where k.id = w.id for no key update;
    if not found then
        return 404;
    end if;
    insert into partner_callbacks (partner, message_id) values (partner, message) on conflict do nothing;
    if not found then
        return 200;
    end if;
    perform _report_target(w.id, place, meaning,
        jsonb_path_query_first(document, (config #>> '{callback,external_id}')::jsonpath, '{}', true) #>> '{}',
        jsonb_path_query_first(document, (config #>> '{callback,external_url}')::jsonpath, '{}', true) #>> '{}',
        jsonb_path_query_first(document, (config #>> '{callback,reason}')::jsonpath, '{}', true) #>> '{}', at, true);
    if w.goal = 'deliver' and w.begun_at is null and w.delivered_revision = w.revision
        and not exists (select from distribution_targets t where t.work_id = w.id and t.status not in ('live', 'cancelled', 'taken_down', 'failed')) then
        -- nothing is left to be asked, but the codes that the partner may have given it
        update distribution_work k set next_attempt_at = case when _wants_codes(w) then _now() end where k.id = w.id;
        perform _wake_distribution();
    elsif w.goal = 'deliver' and w.begun_at is null and w.next_attempt_at is null
        and exists (select from distribution_targets t where t.work_id = w.id and t.status = 'processing') then
        -- what had failed goes on after all, and is to be asked about again
        update distribution_work k set next_attempt_at = _now() where k.id = w.id;
        perform _wake_distribution();
    end if;
    delete from partner_callbacks c where c.received_at < _now() - interval '7 days'
        and c.ctid = any (array(select o.ctid from partner_callbacks o where o.received_at < _now() - interval '7 days' limit 10));
    return 200;
end
$$;
comment on function partner_callback(text, jsonb, text) is
    'Takes a partner''s signed callback; returns the HTTP status to answer: 200, 400, 401, 404, 413 or 422';

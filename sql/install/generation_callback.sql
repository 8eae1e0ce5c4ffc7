-- generation: what providers call back
--
-- A callback is a provider's document about one generation, signed after
-- Standard Webhooks with the secret that is its credential callback_secret.
-- It goes the same way as the answer to a poll, under the same locks, for
-- which it waits. It may come before the answer to the request that began the
-- generation: then the job is found by the reference that was sent along.

create function provider_callback(provider text, headers jsonb, body text) returns int
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    p providers;
    config jsonb;
    secret text;
    document jsonb;
    message text;
    reference text;
    remote text;
    job uuid;
    j generation_jobs;
    w generation_work;
    problem text;
begin
    select q.* into p from providers q where q.name = provider and q.installation_id = _sending_as();
    if not found then
        return 404;
    elsif jsonb_typeof(headers) <> 'object' is not false or body is null then
        return 400;
    elsif octet_length(body) > pg_size_bytes(coalesce(current_setting('musicverse.max_provider_response', true), '1MB')) then
        return 413;
    end if;
    secret := _unseal(p.credentials, 'provider:' || p.name || ':credentials')::jsonb ->> 'callback_secret';
    if secret is null or not verify_webhook(secret, headers, body) then
        return 401;
    end if;
    document := _foreign_json(body);
    config := _provider_config(p.config);
    if jsonb_typeof(document) <> 'object' is not false then
        return 400;
    end if;
    select case jsonb_typeof(h.value) when 'array' then h.value ->> 0 else h.value #>> '{}' end
      into message from jsonb_each(headers) h where lower(h.key) = 'webhook-id' limit 1;
    remote := jsonb_path_query_first(document, (config #>> '{response,id}')::jsonpath, '{}', true) #>> '{}';
    reference := jsonb_path_query_first(document, (config #>> '{response,reference}')::jsonpath, '{}', true) #>> '{}';

    select k.job_id into job from generation_work k where k.provider = provider and k.remote_id = remote;
    if not found and reference ~ '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$' then
        select k.job_id into job from generation_work k where k.job_id = reference::uuid and k.provider = provider and k.sent;
    end if;
    if job is null then
        return 404;
    end if;
    select g.* into j from generation_jobs g where g.id = job for no key update;
    if not found then
        return 404;
    end if;
    select k.* into w from generation_work k where k.job_id = job for no key update;
    if w.provider is distinct from provider then
        return 404;
    elsif w.callback_id = message then
        return 200;
    end if;
    problem := _job_report(j, w, config, document);
    if problem is not null then
        update generation_work k set last_error = _clean_message('callback: ' || problem) where k.job_id = job;
        return 422;
    end if;
    update generation_work k
       set callback_id = message,
           next_at = case k.state when 'running' then _now() + (config ->> 'poll_interval')::float8 * interval '1 second' else k.next_at end
     where k.job_id = job;
    perform _wake_generation();
    return 200;
end
$$;
comment on function provider_callback(text, jsonb, text) is
    'Takes a provider''s signed callback; returns the HTTP status to answer: 200, 400, 401, 404, 413 or 422';

create function _generation_worker(out pid int, out state text, out in_flight int, out requests bigint, out failures bigint,
                                   out last_error text, out last_error_at timestamptz, out breakers text[]) returns record
language c volatile strict as 'MODULE_PATHNAME', 'musicverse_generation_worker';
comment on function _generation_worker() is 'What the generation worker of this database tells of itself';

create view generation_status with (security_invoker = true) as
select w.pid, w.state, q.waiting, q.oldest_waiting, q.submitting, q.running, q.cancelling,
       w.in_flight, w.requests, w.failures, w.last_error, w.last_error_at
  from _generation_worker() w,
       (select count(*) filter (where state = 'waiting') as waiting,
               min(created_at) filter (where state = 'waiting') as oldest_waiting,
               count(*) filter (where state = 'submitting') as submitting,
               count(*) filter (where state = 'running') as running,
               count(*) filter (where state = 'cancelling') as cancelling
          from generation_work where state <> 'done') q;
comment on view generation_status is 'The generation worker, and how much there is to do';

create view provider_status with (security_invoker = true) as
select p.name, p.is_active,
       case when p.installation_id <> (select i.id from installation i) then 'held: restored from another database'
            when not p.is_active then 'inactive'
            when p.name = any (g.breakers) then 'failing: only probed'
            else 'ready' end as state,
       coalesce(w.submitting, 0) as submitting, coalesce(w.running, 0) as running, coalesce(w.cancelling, 0) as cancelling,
       (_provider_config(p.config) ->> 'concurrency')::int as concurrency, w.oldest, w.last_error
  from providers p cross join _generation_worker() g
  left join (select provider, count(*) filter (where state = 'submitting') as submitting,
      count(*) filter (where state = 'running') as running,
                    count(*) filter (where state = 'cancelling') as cancelling, min(claimed_at) as oldest,
                    max(last_error) as last_error
               from generation_work where state in ('submitting', 'running', 'cancelling') group by provider) w on w.provider = p.name;
comment on view provider_status is 'The providers, and what each has under way';

-- generation: what the worker has to do for each job
--
-- One row a job: waiting -> submitting -> running -> done, with cancelling in
-- between where a provider is still to be told. The job itself is queued until
-- a provider has taken it.
--
--   submitting  a provider was chosen; the request is sent until it is answered.
--               It was recorded before it was sent, and carries the job's id as
--               idempotency key, so that after a crash it is sent again and
--               means the same generation.
--   running     the provider has it under remote_id; it is polled, or calls back
--   cancelling  nobody wants it any more; the provider is to be told
--
-- Whatever comes back goes through _job_report(), under the locks of the job
-- and its row here, so that an answer, a callback and a cancel can race: the
-- first that ends the job wins, the others change nothing.
--
-- Locks: the job, then its row here. The worker never waits for one: what is
-- locked is done later. Only _claim_jobs() and _begin_request() lock the row
-- alone, and wait for nothing while they have it.

create table generation_work (
    job_id      uuid primary key references generation_jobs on delete cascade,
    user_id     uuid not null,
    state       text not null default 'waiting' check (state in ('waiting', 'submitting', 'running', 'cancelling', 'done')),
    created_at  timestamptz not null default now(),
    provider    text references providers on delete set null,
    remote_id   text,
    sent        boolean not null default false,
    attempts    int not null default 0,
    failures    int not null default 0,
    tried       text[] not null default '{}',
    claimed_at  timestamptz,
    next_at     timestamptz,
    deadline    timestamptz,
    progress_at timestamptz,
    callback_id text,
    last_error  text
);
create index generation_work_waiting_idx on generation_work (user_id, created_at, job_id) where state = 'waiting';
create index generation_work_active_idx on generation_work (user_id) where state in ('submitting', 'running');
create index generation_work_open_idx on generation_work (provider) where state in ('submitting', 'running', 'cancelling');
create unique index generation_work_remote_idx on generation_work (provider, remote_id);
comment on table generation_work is 'What the generation worker does for each job; written by it alone';
comment on column generation_work.sent is 'The provider may have the job: a request was begun and not refused';
comment on column generation_work.attempts is 'Requests to submit or to cancel, recorded before they are sent';
comment on column generation_work.failures is 'Failures in a row';
comment on column generation_work.tried is 'Providers that were given up for this job';
comment on column generation_work.callback_id is 'The webhook-id of the last callback';

create function _job_queued() returns trigger
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    if not _is_restore() then
        insert into generation_work (job_id, user_id, created_at) values (new.id, new.user_id, new.created_at);
        perform _wake_generation();
    end if;
    return null;
end
$$;
comment on function _job_queued() is 'Gives the worker a job that was queued';

-- Whoever ends a job, or takes a waiting one into his own hands, ends its work.
-- The worker's own functions change their row first, and find nothing left here.
create function _job_left() returns trigger
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    if _is_restore() then
        return null;
    end if;
    update generation_work w
       set state = case when w.state <> 'waiting' and w.sent and new.status in ('cancelled', 'failed') then 'cancelling' else 'done' end,
           next_at = _now(), failures = 0, attempts = 0
     where w.job_id = new.id and w.state in ('waiting', 'submitting', 'running')
       and (new.status in ('completed', 'failed', 'cancelled') or w.state = 'waiting');
    if found then
        perform _wake_generation();
    end if;
    return null;
end
$$;
comment on function _job_left() is 'Ends the work for a job that was ended by somebody else, and has the provider told';

create trigger queue_work after insert on generation_jobs
    for each row when (new.status = 'queued') execute function _job_queued();
create trigger end_work after update of status on generation_jobs
    for each row when (new.status <> 'queued' and new.status <> old.status) execute function _job_left();

create function _provider_takes(config jsonb, style text, duration int, tier text) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select coalesce(duration, 0) <= (config ->> 'max_duration')::int
       and (config -> 'tiers' = 'null' or coalesce(config -> 'tiers' ? tier, false))
       and (config -> 'styles' = 'null' or exists (select from jsonb_array_elements_text(config -> 'styles') s
           where lower(s) = lower(style)))
$$;
comment on function _provider_takes(jsonb, text, int, text) is 'Does a provider take jobs of this kind?';

-- The best of those with room: by priority, then by how loaded they are
create function _pick_provider(style text, duration int, tier text, usable text[], but text[]) returns text
language sql stable set search_path = musicverse, pg_catalog, pg_temp as $$
    select p.name
      from providers p cross join lateral (select _provider_config(p.config) as config offset 0) c
      cross join lateral (select count(*) as n from generation_work w
                           where w.provider = p.name and w.state in ('submitting', 'running')) load
     where p.is_active and p.installation_id = (select i.id from installation i)
       and p.name = any (usable) and p.name <> all (but)
       and load.n < (c.config ->> 'concurrency')::int
       and _provider_takes(c.config, style, duration, tier)
     order by (c.config ->> 'priority')::int desc, load.n / (c.config ->> 'weight')::numeric, p.name
     limit 1
$$;
comment on function _pick_provider(text, int, text, text[], text[]) is
    'Which provider gets the next job of a kind, NULL when none has room';

-- Gives waiting jobs to providers, one a user and round, going round the users
-- by their ids from the one after the last. A user who has as many under way
-- as his tier allows is passed over, and so is a job that no provider takes now.
create function _claim_jobs(usable text[], slots int, inout after uuid, out claimed int) returns record
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    at uuid := after;
    is_whole boolean := after is null;
    served int := 0;
    next_user uuid;
    tier tiers;
    job record;
    chosen text;
begin
    claimed := 0;
    while claimed < slots loop
        select w.user_id into next_user from generation_work w
         where w.state = 'waiting' and (at is null or w.user_id > at)
         order by w.user_id limit 1;
        if not found then
            -- round again, until a whole round served nobody
            exit when is_whole and served = 0;
            is_whole := true;
            served := 0;
            at := null;
            continue;
        end if;
        at := next_user;
        select t.* into tier from accounts a join tiers t on t.name = a.tier where a.user_id = next_user;
        if not found or tier.max_concurrent_jobs <= (select count(*) from generation_work w
                 where w.user_id = next_user and w.state in ('submitting', 'running')) then
            continue;
        end if;
        for job in
            select w.job_id, j.style, j.duration from generation_work w join generation_jobs j on j.id = w.job_id
             where w.state = 'waiting' and w.user_id = next_user
             order by w.created_at, w.job_id limit 20 for update of w skip locked
        loop
            chosen := _pick_provider(job.style, job.duration, tier.name, usable, '{}');
            if chosen is not null then
                update generation_work w
                   set state = 'submitting', provider = chosen, claimed_at = _now(), next_at = _now(),
                       deadline = _now() + coalesce(current_setting('musicverse.generation_timeout', true), '30min')::interval
                 where w.job_id = job.job_id;
                claimed := claimed + 1;
                served := served + 1;
                after := next_user;
                exit;
            end if;
        end loop;
    end loop;
end
$$;
comment on function _claim_jobs(text[], int, uuid) is
    'Gives up to so many waiting jobs to the providers named, fairly among users; returns the user served last';

create function _retry_delay(failures int) returns interval
language sql volatile set search_path = pg_catalog, pg_temp as $$
    select least(300, 2 * power(2, least(greatest(failures, 1), 10) - 1)) * (0.5 + random() / 2) * interval '1 second'
$$;
comment on function _retry_delay(int) is
    'How long to wait after so many failures in a row: doubling from 2 s to 5 min, less up to a half by chance';

create function _clean_message(message text) returns text
language sql immutable strict set search_path = pg_catalog, pg_temp as $$
    select nullif(left(btrim(regexp_replace(message, '[[:cntrl:][:space:]]+', ' ', 'g')), 500), '')
$$;
comment on function _clean_message(text) is 'What a provider said, on one line of at most 500 characters';

-- The next request of a job, recorded before it is sent. No row means: nothing now.
create function _begin_request(job_id uuid, usable text[], out kind text, out provider text, out method text, out url text,
                               out headers text[], out body text, out timeout_ms int) returns setof record
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    w generation_work;
    j generation_jobs;
    p providers;
    config jsonb;
    request jsonb;
    secrets jsonb;
    vars jsonb;
    other text;
    callback text := coalesce(current_setting('musicverse.public_url', true), '');
begin
    select k.* into w from generation_work k
        where k.job_id = job_id and k.state in ('submitting', 'running', 'cancelling') for update skip locked;
    if not found then
        return;
    end if;
    select g.* into j from generation_jobs g where g.id = job_id;
    select q.* into p from providers q where q.name = w.provider;
    if w.state = 'submitting' and (p.name is null or p.name <> all (usable)) then
        if p.name is null or (_provider_config(p.config) ->> 'failover')::boolean then
            other := _pick_provider(j.style, j.duration, (select a.tier from accounts a where a.user_id = j.user_id), usable, '{}');
        end if;
        if other is null then
            update generation_work k set next_at = _now() + interval '5 seconds' where k.job_id = job_id;
            return;
        end if;
        w.failures := 0;
        select q.* into p from providers q where q.name = other;
    end if;
    if p.name is null or w.state = 'cancelling' and w.remote_id is null and not w.sent
        or w.state = 'cancelling' and (w.attempts >= 5 or _provider_config(p.config) -> 'cancel' = 'null') then
        update generation_work k set state = 'done' where k.job_id = job_id;
        return;
    end if;
    config := _provider_config(p.config);
    kind := case when w.state = 'submitting' or w.remote_id is null then 'submit' when w.state = 'running' then 'poll' else 'cancel' end;
    provider := p.name;
    request := config -> kind;
    if request = 'null' then
        return;
    end if;
    begin
        secrets := _unseal(p.credentials, 'provider:' || p.name || ':credentials')::jsonb;
    exception when others then
        update generation_work k
           set last_error = _clean_message('credentials: ' || sqlerrm), next_at = _now() + interval '10 seconds'
         where k.job_id = job_id;
        return;
    end;

    vars := jsonb_build_object('job_id', j.id, 'remote_id', _url_encode(w.remote_id));
    method := request ->> 'method';
    url := p.base_url || _fill(request ->> 'path', vars);
    vars := vars || jsonb_build_object('remote_id', w.remote_id, 'user_id', j.user_id, 'prompt', j.prompt, 'style', j.style,
        'duration', j.duration, 'params', j.params,
        'callback_url', case when callback <> '' and config ->> 'mode' <> 'poll'
                             then rtrim(callback, '/') || '/api/v1/providers/' || p.name || '/callback' end);
    if request ? 'body' then
        body := _render(request -> 'body', vars)::text;
    end if;
    headers := array(select h.name || ': ' || _fill(h.value, secrets || jsonb_build_object('job_id', j.id, 'remote_id', w.remote_id))
                       from (select key as name, value #>> '{}' as value
                               from jsonb_each(coalesce(nullif(config -> 'headers', 'null'), '{}')
                                   || coalesce(nullif(request -> 'headers', 'null'), '{}'))) h)
        || '{Accept: application/json}'::text[] || case when body is null then '{}' else '{Content-Type: application/json}'::text[] end;
    timeout_ms := ((config ->> 'timeout')::numeric * 1000)::int;
    if kind <> 'poll' then
        update generation_work k
           set attempts = k.attempts + 1, sent = k.sent or kind = 'submit', provider = p.name, failures = w.failures,
               next_at = _now() + make_interval(secs => (config ->> 'timeout')::numeric::float8) + _retry_delay(k.attempts + 1)
         where k.job_id = job_id;
    end if;
    return next;
end
$$;
comment on function _begin_request(uuid, text[]) is 'The next request to the provider of a job, recorded before it is sent';

-- A provider's document about a job, whose rows the caller has locked. NULL when
-- it made sense, whether or not it changed anything; else what is wrong with it.
create function _job_report(j generation_jobs, w generation_work, config jsonb, document jsonb) returns text
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    paths jsonb := config -> 'response';
    found_id text;
    word text;
    meaning text;
    percent numeric;
    value jsonb;
    audio text;
    made jsonb := '{}';
    seconds int;
    name text;
    cover text;
    track uuid;
begin
    if jsonb_typeof(document) <> 'object' then
        return 'the answer is not a JSON object';
    end if;
    if w.state not in ('submitting', 'running', 'cancelling') then
        return null;
    end if;
    found_id := jsonb_path_query_first(document, (paths ->> 'id')::jsonpath, '{}', true) #>> '{}';
    if found_id is not null then
        if w.remote_id is not null and found_id <> w.remote_id then
            return format('the answer is about another generation, %s', _clean_message(left(found_id, 100)));
        elsif w.remote_id is null then
            if found_id !~ '^[!-~]{1,200}$' or found_id in ('.', '..') then
                return 'the id of the generation is not printable ASCII of 1 to 200 characters';
            elsif exists (select from generation_work o where o.provider = w.provider and o.remote_id = found_id) then
                return format('the answer is about the generation of another job, %s', found_id);
            end if;
            update generation_work k set remote_id = found_id where k.job_id = w.job_id;
            w.remote_id := found_id;
        end if;
    elsif w.remote_id is null then
        return 'the answer has no id of the generation';
    end if;

    word := jsonb_path_query_first(document, (paths ->> 'status')::jsonpath, '{}', true) #>> '{}';
    meaning := config -> 'states' ->> word;
    if meaning is null then
        return coalesce(format('the answer has the unknown status "%s"', _clean_message(left(word, 100))), 'the answer has no status');
    end if;
    if w.state = 'cancelling' then
        update generation_work k
           set state = case when meaning in ('queued', 'running') then 'cancelling' else 'done' end, next_at = _now(), attempts = 0
         where k.job_id = w.job_id;
        return null;
    end if;

    if meaning = 'succeeded' then
        audio := jsonb_path_query_first(document, (paths ->> 'audio_url')::jsonpath, '{}', true) #>> '{}';
        if not coalesce(audio ~ '^https?://[!-~]+$' and length(audio) <= 2048, false) then
            return 'the generation succeeded without the URL of its audio';
        end if;
    end if;

    if w.state = 'submitting' then
        update generation_work k
           set state = 'running', failures = 0, attempts = 0, last_error = null,
               next_at = _now() + (config ->> 'poll_interval')::float8 * interval '1 second'
         where k.job_id = w.job_id;
    elsif w.failures > 0 then
        update generation_work k
           set failures = 0, last_error = null, next_at = _now() + (config ->> 'poll_interval')::float8 * interval '1 second'
         where k.job_id = w.job_id;
    end if;
    if j.status = 'queued' then
        update generation_jobs g set status = 'started' where g.id = j.id;
    end if;

    case meaning
        when 'queued', 'running' then
            value := jsonb_path_query_first(document, (paths ->> 'progress')::jsonpath, '{}', true);
            if jsonb_typeof(value) = 'number' then
                percent := floor(least(99, greatest(0, value::numeric * (config ->> 'progress_scale')::numeric)));
                -- never backwards, and at most once a second
                if percent > j.progress and coalesce(w.progress_at + interval '1 second' <= _now(), true) then
                    update generation_jobs g set progress = percent where g.id = j.id;
                    update generation_work k set progress_at = _now(),
                        next_at = _now() + (config ->> 'poll_interval')::float8 * interval '1 second'
                     where k.job_id = w.job_id;
                end if;
            end if;
        when 'failed', 'cancelled' then
            update generation_work k set state = 'done' where k.job_id = w.job_id;
            update generation_jobs g
               set status = 'failed',
                   error = coalesce(_clean_message(jsonb_path_query_first(document, (paths ->> 'error')::jsonpath, '{}', true) #>> '{}'),
                                    case meaning when 'failed' then 'the provider gave no reason' else 'the provider cancelled it' end)
             where g.id = j.id;
        when 'succeeded' then
            value := jsonb_path_query_first(document, (paths ->> 'metadata')::jsonpath, '{}', true);
            if jsonb_typeof(value) = 'object' and length(value::text) <= 65536 then
                made := value;
            end if;
            value := jsonb_path_query_first(document, (paths ->> 'peaks')::jsonpath, '{}', true);
            if jsonb_typeof(value) = 'array' and jsonb_array_length(value) <= 10000
                and not jsonb_path_exists(value, '$[*] ? (@.type() != "number")') then
                made := made || jsonb_build_object('peaks', value);
            end if;
            value := jsonb_path_query_first(document, (paths ->> 'duration')::jsonpath, '{}', true);
            seconds := case when jsonb_typeof(value) = 'number' and value::numeric > 0 and value::numeric <= 86400
                            then greatest(1, round(value::numeric)) else j.duration end;
            name := left(_clean_message(jsonb_path_query_first(document, (paths ->> 'title')::jsonpath, '{}', true) #>> '{}'), 300);
            cover := jsonb_path_query_first(document, (paths ->> 'cover_url')::jsonpath, '{}', true) #>> '{}';
            if cover !~ '^https?://[!-~]+$' or length(cover) > 2048 then
                cover := null;
            end if;
            begin
                insert into tracks (user_id, title, style, prompt, duration, audio_url, cover_url, metadata)
                values (j.user_id, name, j.style, j.prompt, seconds, audio, cover, made)
                returning id into track;
            exception when program_limit_exceeded then
                -- larger than an event may be: what can be done without goes
                insert into tracks (user_id, title, style, prompt, duration, audio_url, cover_url)
                values (j.user_id, name, j.style, j.prompt, seconds, audio, cover)
                returning id into track;
            end;
            update generation_work k set state = 'done' where k.job_id = w.job_id;
            update generation_jobs g set status = 'completed', track_id = track where g.id = j.id;
    end case;
    return null;
end
$$;
comment on function _job_report(generation_jobs, generation_work, jsonb, jsonb) is
    'Takes a provider''s document about a job; returns what is wrong with it';

-- A request that came to nothing. final: asking again would be of no use.
-- elsewhere says when another provider may be asked: now, as this one has
-- certainly not taken the job; later, after so many attempts; or never.
create function _job_problem(j generation_jobs, w generation_work, config jsonb, kind text, problem text,
                             final boolean, elsewhere text, retry_after int) returns void
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    other text;
    wait interval := greatest(_retry_delay(w.failures + 1), least(coalesce(retry_after, 0), 3600) * interval '1 second');
    switch boolean := kind = 'submit' and w.state = 'submitting' and (config ->> 'failover')::boolean
        and (elsewhere = 'now' or elsewhere = 'later' and w.failures + 1 >= (config ->> 'attempts')::int);
begin
    if switch then
        other := _pick_provider(j.style, j.duration, (select a.tier from accounts a where a.user_id = j.user_id),
                                array(select p.name from providers p), w.tried || w.provider);
        if other is not null then
            update generation_work k
               set provider = other, tried = k.tried || k.provider, sent = false, failures = 0, next_at = _now(), last_error = problem
             where k.job_id = w.job_id;
            return;
        end if;
    end if;
    if final then
        update generation_work k set state = 'done', sent = false, last_error = problem where k.job_id = w.job_id;
        if j.status in ('queued', 'started') then
            update generation_jobs g set status = 'failed', error = problem where g.id = j.id;
        end if;
        return;
    end if;
    update generation_work k
       set failures = k.failures + 1, next_at = _now() + wait, last_error = problem,
           -- all were tried: begin anew, with the best
           tried = case when switch then '{}' else k.tried end,
           sent = k.sent and not (elsewhere = 'now' and k.attempts <= 1)
     where k.job_id = w.job_id;
end
$$;
comment on function _job_problem(generation_jobs, generation_work, jsonb, text, text, boolean, text, int) is
    'Plans the next attempt after a failure, with another provider where that is better, or fails the job';

-- What became of a request: busy when somebody holds the job, and it is to be
-- settled later; ok when it went well; else problem.
create function _settle_request(job_id uuid, provider text, kind text, status int, body text, error text,
                                unreached boolean, retry_after int) returns text
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    j generation_jobs;
    w generation_work;
    config jsonb;
    document jsonb;
    problem text := error;
    final boolean := false;
    elsewhere text := case when unreached then 'now' else 'later' end;
begin
    select g.* into j from generation_jobs g where g.id = job_id for no key update skip locked;
    if not found then
        return case when exists (select from generation_jobs g where g.id = job_id) then 'busy' else 'ok' end;
    end if;
    select k.* into w from generation_work k where k.job_id = job_id for no key update skip locked;
    if not found then
        return 'busy';
    elsif w.provider is distinct from provider or w.state not in ('submitting', 'running', 'cancelling') then
        return 'ok';
    end if;
    select _provider_config(p.config) into config from providers p where p.name = provider;

    document := _foreign_json(body);
    if kind = 'cancel' then
        if problem is null and (status between 200 and 299 or status in (404, 409, 410)) then
            update generation_work k set state = 'done', last_error = null where k.job_id = job_id;
            return 'ok';
        end if;
    elsif problem is null and status between 200 and 299 then
        problem := case when document is null then 'the answer is not JSON' else _job_report(j, w, config, document) end;
        if problem is null then
            return 'ok';
        end if;
        -- the document may have told the id before it stopped making sense
        select k.* into w from generation_work k where k.job_id = job_id;
        final := w.failures >= 4;
        problem := format('provider %s: %s', provider, problem);
    end if;
    if problem is null then
        problem := coalesce(_clean_message(jsonb_path_query_first(document, (config #>> '{response,error}')::jsonpath,
                                                                  '{}', true) #>> '{}'),
                            format('provider %s answered HTTP %s', provider, status));
        final := kind = 'submit' and status between 400 and 499 and status not in (401, 408, 409, 425, 429)
            or kind = 'poll' and status in (404, 410) and w.failures >= 2;
        elsewhere := case when status in (401, 402, 403, 404, 405, 429, 503) then 'now' when final then 'never' else 'later' end;
    end if;
    perform _job_problem(j, w, config, kind, _clean_message(problem), final, elsewhere, retry_after);
    return 'problem';
end
$$;
comment on function _settle_request(uuid, text, text, int, text, text, boolean, int) is
    'Writes down what became of a request to a provider';

create function _expire_job(job_id uuid) returns void
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    w generation_work;
begin
    perform from generation_jobs g where g.id = job_id for no key update skip locked;
    if not found then
        return;
    end if;
    select k.* into w from generation_work k where k.job_id = job_id and k.state in ('submitting', 'running') and k.deadline <= _now();
    if found then
        update generation_jobs g
           set status = 'failed',
               error = format('no result within %s', coalesce(current_setting('musicverse.generation_timeout', true), '30min'))
         where g.id = job_id and g.status in ('queued', 'started');
    end if;
end
$$;
comment on function _expire_job(uuid) is 'Fails a job whose time is over, and has the provider told';

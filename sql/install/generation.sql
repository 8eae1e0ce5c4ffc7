-- generation: tracks, and the jobs that make them
--
-- Every change of a track is an event, and so is every step of a job that its
-- owner waits for. A job goes queued -> started -> completed, failed or
-- cancelled and never back; the trigger sees to it, whoever writes the row.

create table tracks (
    id         uuid primary key default gen_random_uuid(),
    user_id    uuid not null references accounts on delete cascade,
    title      text,
    style      text,
    prompt     text,
    duration   int check (duration > 0),
    audio_url  text,
    cover_url  text,
    metadata   jsonb not null default '{}' check (jsonb_typeof(metadata) = 'object'),
    isrc       text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    deleted_at timestamptz
);
-- Deleted tracks too, as the cascade from accounts asks for them
create index tracks_user_id_created_at_idx on tracks (user_id, created_at desc, id desc);
comment on table tracks is 'Tracks of the users; changes emit track.created, track.updated and track.deleted';
comment on column tracks.duration is 'Seconds';
comment on column tracks.deleted_at is 'Set when the user deleted it: emits track.deleted';

create table generation_jobs (
    id          uuid primary key default gen_random_uuid(),
    user_id     uuid not null references accounts on delete cascade,
    prompt      text not null,
    style       text,
    duration    int check (duration > 0),
    params      jsonb not null default '{}' check (jsonb_typeof(params) = 'object'),
    status      text not null default 'queued'
                check (status in ('queued', 'started', 'completed', 'failed', 'cancelled')),
    progress    int not null default 0 check (progress between 0 and 100),
    track_id    uuid references tracks on delete set null,
    error       text,
    created_at  timestamptz not null default now(),
    started_at  timestamptz,
    finished_at timestamptz,
    idempotency_key text check (length(idempotency_key) between 1 and 255)
);
create unique index generation_jobs_idempotency_key_idx on generation_jobs (user_id, idempotency_key) where idempotency_key is not null;
create index generation_jobs_user_id_created_at_idx on generation_jobs (user_id, created_at desc, id desc);
create index generation_jobs_open_idx on generation_jobs (created_at) where status in ('queued', 'started');
create index generation_jobs_track_id_idx on generation_jobs (track_id) where track_id is not null;
comment on table generation_jobs is 'Jobs of music generation; changes emit generation.started, .completed and .failed';

create function _job_step() returns trigger
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    is_end boolean := new.status in ('completed', 'failed', 'cancelled');
begin
    if tg_op = 'UPDATE' and new.status = old.status then
        return new;
    end if;
    if tg_op = 'UPDATE' and not (old.status = 'queued' and new.status in ('started', 'failed', 'cancelled')
                                 or old.status = 'started' and is_end) then
        raise exception 'generation job % cannot go from "%" to "%"', new.id, old.status, new.status
            using errcode = '55000',
                hint = 'A job goes queued, started, then completed, failed or cancelled; a queued one may also fail or be cancelled.';
    end if;
    if new.status in ('started', 'completed') then
        new.started_at := coalesce(new.started_at, now());
    end if;
    if is_end then
        new.finished_at := coalesce(new.finished_at, now());
    end if;
    if new.status = 'completed' then
        new.progress := 100;
    end if;
    return new;
end
$$;
comment on function _job_step() is 'Keeps the order of a job''s states and their times';

create trigger a_ensure_account before insert on tracks
    for each row execute function ensure_account('user_id');
create trigger touch_updated_at before update on tracks
    for each row execute function touch_updated_at();
create trigger emit_event after insert or update or delete on tracks
    for each row execute function emit_row_event('track', 'user_id', 'deleted_at');

create trigger a_ensure_account before insert on generation_jobs
    for each row execute function ensure_account('user_id');
create trigger job_step before insert or update of status on generation_jobs
    for each row execute function _job_step();
create trigger emit_event after insert or update of status on generation_jobs
    for each row execute function emit_state_event('generation', 'user_id', 'status', 'started', 'completed', 'failed');

create function generate(user_id uuid, prompt text, style text default null, duration int default null,
                         params jsonb default '{}', idempotency_key text default null) returns uuid
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    max_queued int := coalesce(current_setting('musicverse.max_queued_jobs', true), '100')::int;
    max_duration int;
    queued bigint;
    account accounts;
    known generation_jobs;
    result uuid;
begin
    perform _require_user(user_id);
    params := coalesce(nullif(params, 'null'), '{}');
    if prompt is null or prompt !~ '\S' then
        raise exception 'the prompt of a job must not be %', case when prompt is null then 'null' else 'blank' end
            using errcode = '22023', hint = 'Say what the music is to be, such as "a slow waltz for two violins".';
    elsif length(prompt) > 4000 then
        raise exception 'the prompt has % characters, more than 4000', length(prompt)
            using errcode = '22023', hint = 'Give a shorter prompt.';
    elsif length(style) not between 1 and 200 then
        raise exception 'the style has % characters, not 1 to 200', length(style)
            using errcode = '22023', hint = 'Leave it out for any style.';
    elsif jsonb_typeof(params) <> 'object' then
        raise exception 'params must be a JSON object, not %', jsonb_typeof(params) using errcode = '22023', hint = 'Write {"tempo": 120}.';
    elsif _has_absurd_number(params) then
        raise exception 'params hold a number of hundreds of digits' using errcode = '22023', hint = 'Write it as a string.';
    elsif octet_length(params::text) > 16384 then
        raise exception 'params have % bytes, more than 16384', octet_length(params::text)
            using errcode = '22023', hint = 'Pass large things by URL.';
    elsif length(idempotency_key) not between 1 and 255 then
        raise exception 'the idempotency key has % characters, not 1 to 255', length(idempotency_key) using errcode = '22023';
    end if;

    insert into accounts as a (user_id) values (user_id) on conflict do nothing;
    -- one call of the user after the other: the same key, and the length of the queue, are then seen by each
    select a.* into account from accounts a where a.user_id = user_id for no key update;
    if idempotency_key is not null then
        select j.* into known from generation_jobs j where j.user_id = user_id and j.idempotency_key = idempotency_key;
        if found then
            if (known.prompt, known.style, known.duration, known.params) is distinct from (prompt, style, duration, params) then
                raise exception 'idempotency key "%" was used for another job', idempotency_key
                    using errcode = '22023', hint = 'Use a new key for each job, and the same one only to repeat a call as it was.';
            end if;
            return known.id;
        end if;
    end if;

    select coalesce(max((_provider_config(p.config) ->> 'max_duration')::int), 600) into max_duration from providers p where p.is_active;
    if duration not between 1 and max_duration then
        raise exception 'a duration of % s is not possible', duration
            using errcode = '22023', hint = format('Give 1 to %s s.', max_duration);
    elsif exists (select from providers p where p.is_active)
        and not exists (select from providers p
            where p.is_active and _provider_takes(_provider_config(p.config), style, duration, account.tier)) then
        raise exception 'no provider takes a job of style "%" and % s for tier "%"',
            coalesce(style, 'any'), coalesce(duration::text, 'any'), account.tier
            using errcode = '22023', hint = 'Choose another style or a shorter duration, or move the account to another tier.';
    end if;
    if max_queued > 0 then
        select count(*) into queued from generation_work w where w.user_id = user_id and w.state = 'waiting';
        if queued >= max_queued then
            raise exception 'user % has % jobs in the queue already', user_id, queued
                using errcode = '53400', hint = 'Wait until some have begun, cancel some, or raise musicverse.max_queued_jobs.';
        end if;
    end if;
    insert into generation_jobs (user_id, prompt, style, duration, params, idempotency_key)
    values (user_id, prompt, style, duration, params, idempotency_key)
    -- a transaction with an older snapshot did not see the first one above: 40001
    on conflict do nothing returning id into result;
    return result;
end
$$;
comment on function generate(uuid, text, text, int, jsonb, text) is
    'Queues a job that makes music; a background worker sends it to a provider. The same idempotency key returns the first job';

create function cancel_job(id uuid) returns boolean
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    update generation_jobs j set status = 'cancelled'
     where j.id = cancel_job.id and j.status in ('queued', 'started')
       and (caller_is_service() or j.user_id = current_user_id());
    return found;
end
$$;
comment on function cancel_job(uuid) is 'Cancels a job that is not finished; false when there is nothing to cancel';

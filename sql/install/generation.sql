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
    finished_at timestamptz
);
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
            using errcode = '55000', hint = 'A job goes queued, started, then completed, failed or cancelled; a queued one may also fail or be cancelled.';
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

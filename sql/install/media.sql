-- media: work on bytes, and the files that come of it
--
-- A piece of work has the id of what it is to make, and that id follows from
-- its kind and its key: whoever asks for the same gets the same. What was made
-- is a row of media under that id; where its file is not here any more (removed
-- as nobody used it, a restored dump, a promoted stand-by), it counts as not
-- made, and is made again when somebody asks.
--
-- Locks: the work, then its row of media.

create table media_work (
    id              uuid primary key,
    kind            text not null check (kind ~ '^[a-z][a-z0-9_]{0,62}$'),
    input           jsonb not null check (jsonb_typeof(input) = 'object'),
    state           text not null default 'pending' check (state in ('pending', 'running', 'done', 'failed')),
    attempts        int not null default 0,
    next_attempt_at timestamptz,
    last_error      text,
    created_at      timestamptz not null default now(),
    begun_at        timestamptz,
    finished_at     timestamptz
);
create index media_work_due_idx on media_work (next_attempt_at) where state = 'pending';
create index media_work_running_idx on media_work (id) where state = 'running';
create index media_work_failed_idx on media_work (finished_at) where state = 'failed';
comment on table media_work is 'What the media worker is to make, or has made; queued by functions of other rooms';
comment on column media_work.kind is 'What is to be done: inspect, flac, cover, and what other rooms add';
comment on column media_work.attempts is 'How often it was begun since it was asked for';
comment on column media_work.last_error is 'Why the last attempt came to nothing; of failed ones why there will be no other';

create table media (
    id           uuid primary key references media_work on delete cascade,
    kind         text not null,
    media_type   text,
    bytes        bigint not null,
    sha256       text check (sha256 ~ '^[0-9a-f]{64}$'),
    md5          text check (md5 ~ '^[0-9a-f]{32}$'),
    facts        jsonb not null default '{}' check (jsonb_typeof(facts) = 'object'),
    file_name    text unique,
    created_at   timestamptz not null default now(),
    last_used_at timestamptz not null default now()
);
create index media_last_used_at_idx on media (last_used_at);
comment on table media is 'What the media worker has made; the files are in musicverse.media_directory';
comment on column media.bytes is 'Of the file; where there is none, of what was looked at, as are the digests';
comment on column media.file_name is 'NULL for what is facts only';
comment on column media.last_used_at is 'Kept lazily; after musicverse.media_retention without a use the row and its file go';

create function _wake_media() returns void
language c volatile strict as 'MODULE_PATHNAME', 'musicverse_wake_media';
comment on function _wake_media() is 'At the commit of this transaction, wakes the media worker of this database';

create function _media_file(file_name text, bytes bigint) returns text
language c stable strict as 'MODULE_PATHNAME', 'musicverse_media_file';
comment on function _media_file(text, bigint) is 'The path of a media file of so many bytes; NULL when it is not here';

create function _read_media_file(file_name text, bytes bigint) returns bytea
language c stable strict as 'MODULE_PATHNAME', 'musicverse_read_media_file';
comment on function _read_media_file(text, bigint) is 'What is in a media file of so many bytes; NULL when it is not here';

create function _media_id(kind text, key text) returns uuid
language plpgsql immutable strict parallel safe set search_path = pg_catalog, pg_temp as $$
begin
    return encode(substr(sha256(convert_to(kind || ' ' || key, 'UTF8')), 1, 16), 'hex')::uuid;
end
$$;
comment on function _media_id(text, text) is 'The id of what a kind of work makes of a key';

create function _media_retention() returns interval
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    return coalesce(current_setting('musicverse.media_retention', true), '7d')::interval;
end
$$;
comment on function _media_retention() is 'How long media are kept that nobody uses';

-- What is there is used: its time begins again. Not at each use a write.
create function _touch_media(m media) returns void
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    if m.last_used_at < _now() - least(_media_retention() / 8, interval '1 hour')
        and current_setting('transaction_read_only') = 'off' then
        update media x set last_used_at = _now() where x.id = m.id;
    end if;
end
$$;
comment on function _touch_media(media) is 'Notes lazily that media are used';

create function _media_is_here(m media) returns boolean
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    return m.id is not null and (m.file_name is null or _media_file(m.file_name, m.bytes) is not null);
end
$$;
comment on function _media_is_here(media) is 'Is what was made still to be had?';

create function _media_path(id uuid) returns text
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    m media;
    path text;
begin
    select x.* into m from media x where x.id = _media_path.id;
    path := _media_file(m.file_name, m.bytes);
    if path is not null then
        perform _touch_media(m);
    end if;
    return path;
end
$$;
comment on function _media_path(uuid) is 'The path of the file of media, on this server; NULL when it is not here';

-- Asks for something, for a user, or for the house: the id under which it will
-- be, or is already. Without a key the input is it. What has failed stays so,
-- unless it is to be tried again.
create function _request_media(kind text, input jsonb, key text default null, retry boolean default false, user_id uuid default null) returns uuid
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    result uuid := _media_id(kind, coalesce(key, input::text));
    is_wanted boolean;
    w media_work;
    m media;
begin
    loop
        is_wanted := true;
        select x.* into w from media_work x where x.id = result;
        if not found then
            insert into media_work as x (id, kind, input, next_attempt_at) values (result, kind, input, _now()) on conflict do nothing;
            continue when not found;
        else
            select x.* into m from media x where x.id = result;
            if w.state = 'done' and _media_is_here(m) then
                perform _touch_media(m);
                is_wanted := false;
            elsif w.state = 'done' or w.state = 'failed' and retry then
                update media_work x
                   set state = 'pending', attempts = 0, next_attempt_at = _now(), last_error = null, finished_at = null, input = input
                 where x.id = result and x.state = w.state;
                continue when not found;
            elsif w.state = 'failed' then
                is_wanted := false;
            end if;
        end if;
        exit when _note_media_request(result, user_id, is_wanted);
    end loop;
    return result;
end
$$;
comment on function _request_media(text, jsonb, text, boolean, uuid) is
    'Has the media worker make something for a user, or for the house, unless it is there; returns its id, which is the same for the same kind and key';

-- Not what is being made now.
create function _forget_media(id uuid) returns void
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    delete from media_work k where k.id = _forget_media.id and k.state in ('done', 'failed');
end
$$;
comment on function _forget_media(uuid) is 'Has media made anew when somebody asks for them next; their file is removed, or written over';

-- ---- what the worker does

-- What ends the worker takes with it what is only fetched meanwhile. When that
-- happens again they are begun apart from each other, so that the one at fault is
-- given up alone.
create function _resume_media_work(but uuid[] default '{}') returns bigint
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    n bigint;
begin
    update media_work k
       set state = case when k.attempts >= 5 then 'failed' else 'pending' end,
           next_attempt_at = case when k.attempts < 5 then _now() + random() * (k.attempts - 1) * interval '30 seconds' end,
           finished_at = case when k.attempts >= 5 then _now() end,
           last_error = format('the worker ended %s times while it was at it', k.attempts)
     where k.state = 'running' and k.id <> all (but);
    get diagnostics n = row_count;
    return n;
end
$$;
comment on function _resume_media_work(uuid[]) is
    'Makes due what the last worker left half done, at once the first time, but for what is under way; what it left so five times is given up';

-- done, failed for good, again later, or back as if it had not been begun
create function _settle_media_work(id uuid, verdict text, message text, media_type text, bytes bigint, sha256 text, md5 text,
                                   facts jsonb, file_name text, owner uuid default null, seconds float8 default 0) returns void
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    w media_work;
begin
    update media_work k
       set state = case when verdict = 'done' then 'done'
                        when verdict = 'failed' or verdict = 'again' and k.attempts >= 8 then 'failed'
                        else 'pending' end,
           attempts = k.attempts - (verdict = 'back')::int,
           next_attempt_at = case verdict when 'back' then _now()
                                          when 'again' then _now() + power(2, least(k.attempts, 12)) * (1 + random()) * interval '1 second' end,
           last_error = case when verdict in ('failed', 'again') then _clean_message(message) when verdict = 'done' then null else k.last_error end,
           finished_at = case when verdict in ('done', 'failed') or verdict = 'again' and k.attempts >= 8 then _now() end
     where k.id = id and k.state = 'running'
    returning k.* into w;
    if not found then
        return;
    end if;
    perform _charge_media(owner, seconds);
    if w.state = 'done' then
        insert into media as m (id, kind, media_type, bytes, sha256, md5, facts, file_name, created_at, last_used_at)
        values (id, w.kind, media_type, bytes, sha256, md5, coalesce(facts, '{}'), file_name, _now(), _now())
            on conflict on constraint media_pkey do update
           set media_type = excluded.media_type, bytes = excluded.bytes, sha256 = excluded.sha256, md5 = excluded.md5,
               facts = excluded.facts, file_name = excluded.file_name, created_at = _now(), last_used_at = _now();
    end if;
end
$$;
comment on function _settle_media_work(uuid, text, text, text, bigint, text, text, jsonb, text, uuid, float8) is
    'Writes down what became of a piece of work, and how long it took whom it was done for';

-- The newest stay within musicverse.media_max_size
create function _expire_media() returns setof text
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    delete from media_use u where u.used_at < _now() - interval '3 hours';
    return query
    with old as (
        select m.id, m.file_name from media m where m.last_used_at < _now() - _media_retention()
        union
        select f.id, f.file_name
          from (select m.id, m.file_name, sum(m.bytes) over (order by m.last_used_at desc, m.id) as total from media m where m.file_name is not null) f
         where f.total > nullif(pg_size_bytes(current_setting('musicverse.media_max_size', true)), 0)
    ), gone as (
        delete from media_work k
         where k.state = 'done' and k.id in (select o.id from old o)
            or k.state = 'failed' and k.finished_at < _now() - _media_retention()
        returning k.id
    )
    select o.file_name from old o join gone g on g.id = o.id where o.file_name is not null;
end
$$;
comment on function _expire_media() is
    'Forgets media that nobody has used for musicverse.media_retention, and the oldest beyond musicverse.media_max_size; returns the names of their files';

create function _media_worker(out pid int, out state text, out at_work text, out last_error text, out last_error_at timestamptz) returns record
language c volatile strict as 'MODULE_PATHNAME', 'musicverse_media_worker';
comment on function _media_worker() is 'What the media worker of this database tells of itself';

create view media_status with (security_invoker = true) as
select w.pid, w.state, w.at_work, q.waiting, q.due, q.oldest_due, q.failed, f.files, f.bytes, w.last_error, w.last_error_at
  from _media_worker() w,
       (select count(*) filter (where k.state = 'pending' and k.next_attempt_at > _now()) as waiting,
               count(*) filter (where k.state = 'pending' and k.next_attempt_at <= _now()) as due,
               min(k.next_attempt_at) filter (where k.state = 'pending' and k.next_attempt_at <= _now()) as oldest_due,
               count(*) filter (where k.state = 'failed') as failed
          from media_work k) q,
       (select count(*) as files, coalesce(sum(m.bytes), 0)::bigint as bytes from media m where m.file_name is not null) f;
comment on view media_status is 'The media worker, what there is to do, and how much room its files take';

-- ---- audio

create function inspect_audio(audio bytea, out format text, out codec text, out is_extensible boolean, out channels int, out sample_rate int,
                              out bit_depth int, out frames bigint, out duration float8, out peaks float8[], out clipped bigint,
                              out silence_start float8, out silence_end float8) returns record
language c immutable strict parallel safe cost 100000 as 'MODULE_PATHNAME', 'musicverse_inspect_audio';
comment on function inspect_audio(bytea) is
    'What audio a file is and what its samples are like; fails with what is wrong with one that can''t be read. Of m4a only the format is known';

-- media: for whom work is done, and whose turn it is
--
-- The same work may be wanted by several users. It is in the queue of each of
-- them, and done when the first of these queues comes to it: nobody waits
-- behind the work of another one, and no work is lost with one who asked.
--
-- The next piece is that of who has had the least of the worker's time lately:
-- a second counts half after ten minutes. Owners are found by hops in an index,
-- from one to the next, and not more than 200 at a time: beyond that the search
-- goes on behind them the next time. So it costs the same however much is due.
--
-- due_at follows the work, by a trigger; but what is asked for while the work
-- changes hands may miss that. So it is taken for a hint: who claims looks at
-- the work, and sets right what is wrong. As there is one worker, which alone
-- begins and ends work, that is enough.
--
-- Locks: the work, then its requests. Nobody but the worker writes media_use.

create table media_requests (
    work_id uuid not null references media_work on delete cascade,
    user_id uuid references accounts on delete cascade,
    owner   uuid not null generated always as (coalesce(user_id, '00000000-0000-0000-0000-000000000000'::uuid)) stored,
    fetches boolean not null,
    host    text,
    since   timestamptz,
    due_at  timestamptz,
    primary key (work_id, owner)
);
create index media_requests_due_idx on media_requests (fetches, owner, due_at) where due_at is not null;
create index media_requests_user_id_idx on media_requests (user_id);
create index media_requests_since_idx on media_requests (since) where since is not null;
comment on table media_requests is 'For whom the media worker makes something';
comment on column media_requests.user_id is 'NULL for the house''s own work';
comment on column media_requests.owner is 'The user; the nil UUID for the house';
comment on column media_requests.fetches is 'It may take a file of another server: see media_work.kind';
comment on column media_requests.host is 'From where, with the port if one is named; NULL where that is not one place';
comment on column media_requests.since is 'NULL for whom does not wait any more';
comment on column media_requests.due_at is 'When it may be begun; NULL while that is under way, and then';

create table media_use (
    owner   uuid primary key,
    used    float8 not null,
    used_at timestamptz not null
) with (fillfactor = 70);
comment on table media_use is 'How much of the media worker''s time owners of work have had lately; written by it alone';
comment on column media_use.owner is 'As in media_requests';
comment on column media_use.used is 'Seconds, as much as was left of them at used_at: they count half after ten minutes';

create function _fading(used float8, used_at timestamptz) returns float8
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    return coalesce(used * power(0.5, least(greatest(extract(epoch from _now() - used_at), 0) / 600, 100)::float8), 0);
end
$$;
comment on function _fading(float8, timestamptz) is 'What is left now of the use of the media worker';

-- Covers are made of what is here. Of other kinds some are as well, at times: that does no harm.
create function _media_fetches(kind text) returns boolean
language sql immutable strict parallel safe set search_path = pg_catalog, pg_temp as $$
    select kind <> 'cover'
$$;
comment on function _media_fetches(text) is 'May work of that kind take files of other servers?';

create function _media_host(input jsonb) returns text
language sql immutable strict parallel safe set search_path = pg_catalog, pg_temp as $$
    select left(lower(substring(input ->> 'url' from '^[A-Za-z]+://(?:[^/?#]*@)?([^/?#]+)')), 300)
$$;
comment on function _media_host(jsonb) is 'From where work takes its file, if it is one; as it is written in its URL';

-- False: the work is gone meanwhile. Without a lock on what is there already.
create function _note_media_request(work_id uuid, user_id uuid, is_wanted boolean) returns boolean
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    waits boolean;
    w media_work;
begin
    select r.since is not null into waits from media_requests r
     where r.work_id = work_id and r.owner = coalesce(user_id, '00000000-0000-0000-0000-000000000000');
    if waits or waits is not null and not is_wanted or current_setting('transaction_read_only') = 'on' then
        return true;
    end if;
    -- so that it is not forgotten just now
    select k.* into w from media_work k where k.id = work_id for key share;
    if not found then
        return false;
    end if;
    if user_id is not null then
        insert into accounts as a (user_id) values (user_id) on conflict do nothing;
    end if;
    insert into media_requests as r (work_id, user_id, fetches, host, since, due_at)
    values (work_id, user_id, _media_fetches(w.kind), _media_host(w.input), case when is_wanted then _now() end, case when is_wanted then coalesce(w.next_attempt_at, _now()) end)
        on conflict on constraint media_requests_pkey do update set since = excluded.since, due_at = excluded.due_at
     where r.since is null and excluded.since is not null;
    if is_wanted then
        perform _wake_media();
    end if;
    return true;
end
$$;
comment on function _note_media_request(uuid, uuid, boolean) is 'Writes down for whom a piece of work is done, and that he waits for it if it is to be done';

create function _media_work_moved() returns trigger
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    if new.state in ('done', 'failed') then
        update media_requests r set since = null, due_at = null where r.work_id = new.id and r.since is not null;
    else
        update media_requests r set due_at = case new.state when 'pending' then new.next_attempt_at end
         where r.work_id = new.id and r.since is not null;
        if new.state = 'pending' and not exists (select from media_requests r where r.work_id = new.id) then
            -- who wanted it was deleted while it was under way
            delete from media_work k where k.id = new.id;
        end if;
    end if;
    return null;
end
$$;
comment on function _media_work_moved() is 'Has the requests for a piece of work follow it, and drops what nobody wants';

create trigger media_work_moved after update of state, next_attempt_at on media_work
    for each row when (new.state <> old.state or new.next_attempt_at is distinct from old.next_attempt_at) execute function _media_work_moved();

-- What was made for users who are all gone goes as soon as the worker looks after
-- its files. Whoever deletes an account needs no right to the work.
create function _media_request_gone() returns trigger
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    if not exists (select from media_requests r where r.work_id = old.work_id) then
        delete from media_work w where w.id = old.work_id and w.state in ('pending', 'failed');
        update media m set last_used_at = '-infinity' where m.id = old.work_id;
    end if;
    return null;
end
$$;
comment on function _media_request_gone() is 'Drops what nobody waits for any more, as its owner was deleted';

create trigger media_request_gone after delete on media_requests
    for each row execute function _media_request_gone();

create function _charge_media(owner uuid, seconds float8) returns void
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    insert into media_use as u (owner, used, used_at)
    select _charge_media.owner, seconds, _now() where _charge_media.owner is not null and seconds > 0
        on conflict on constraint media_use_pkey do update set used = _fading(u.used, u.used_at) + excluded.used, used_at = excluded.used_at;
end
$$;
comment on function _charge_media(uuid, float8) is 'Counts so many seconds of the worker for an owner of work';

-- lanes: of work that fetches, of work that doesn't, or both. busy: owners who
-- have enough of what fetches under way; busy_hosts: from where enough is
-- fetched. after: where the search begins, which is to be given back the next
-- time.
-- Plans are kept, also from a time when the table was small: hence the settings.
create function _claim_media_work(lanes boolean[] default '{f,t}', busy uuid[] default '{}', busy_hosts text[] default '{}', inout after uuid default null,
                                  out id uuid, out kind text, out input jsonb, out attempts int, out owner uuid, out host text, out next_due timestamptz) returns record
language plpgsql set search_path = musicverse, pg_catalog, pg_temp
    set enable_seqscan = off set enable_bitmapscan = off as $$
#variable_conflict use_column
declare
    hops constant int := 200;
    nowhere constant uuid := '00000000-0000-0000-0000-000000000000';
    begun constant timestamptz := _now();
    start constant uuid := coalesce(after, nowhere);
    place uuid := start;
    is_round boolean := start = nowhere;
    passed uuid[] := '{}';
    best record;
    w media_work;
begin
    after := null;
    loop
        with recursive found as (
            (select r.fetches, r.owner, r.work_id, r.host, r.due_at, 1 as n
               from unnest(lanes) l(fetches) cross join lateral
                    (select x.fetches, x.owner, x.work_id, x.host, x.due_at from media_requests x
                      where x.fetches = l.fetches and x.due_at is not null and x.owner >= place order by x.owner, x.due_at limit 1) r)
            union all
            select r.fetches, r.owner, r.work_id, r.host, r.due_at, f.n + 1
              from found f cross join lateral
                   (select x.fetches, x.owner, x.work_id, x.host, x.due_at from media_requests x
                     where x.fetches = f.fetches and x.due_at is not null and x.owner > f.owner order by x.owner, x.due_at limit 1) r
             where f.n < hops
        )
        select c.owner, c.work_id, c.host, (select f.owner from found f where f.n = hops order by f.owner limit 1) as place into best
          from (select) one left join lateral
               (select f.owner, f.work_id, f.host from found f left join media_use u on u.owner = f.owner
                 where f.due_at <= begun and not (f.fetches and (f.owner = any (busy) or coalesce(f.host = any (busy_hosts), false))) and f.work_id <> all (passed)
                 order by _fading(u.used, u.used_at), f.due_at limit 1) c on true;
        if best.work_id is not null then
            select k.* into w from media_work k where k.id = best.work_id for no key update skip locked;
            if not found then
                passed := passed || best.work_id;
            elsif w.state = 'pending' and w.next_attempt_at <= begun then
                after := best.place;
                owner := best.owner;
                host := best.host;
                update media_work k set state = 'running', attempts = k.attempts + 1, begun_at = begun, next_attempt_at = null
                 where k.id = w.id
                returning k.id, k.kind, k.input, k.attempts into id, kind, input, attempts;
                exit;
            else
                update media_requests r
                   set since = case when w.state in ('pending', 'running') then r.since end, due_at = case w.state when 'pending' then w.next_attempt_at end
                 where r.work_id = w.id and r.owner = best.owner;
            end if;
        elsif best.place is not null then
            exit when is_round and start <> nowhere and best.place >= start;
            place := best.place;
        else
            exit when is_round;
            is_round := true;
            place := nowhere;
        end if;
    end loop;
    next_due := (select min(k.next_attempt_at) from media_work k where k.state = 'pending' and (_claim_media_work.id is not null or k.next_attempt_at > begun));
    if passed <> '{}' and id is null then
        next_due := least(next_due, begun + interval '0.1 seconds');
    end if;
end
$$;
comment on function _claim_media_work(boolean[], uuid[], text[], uuid) is
    'The piece of work whose owner has had the least of the worker lately, as begun; NULL for none. And when the next one is due';

create view media_queue with (security_invoker = true) as
select r.user_id, w.id, w.kind, w.state, r.since as waiting_since, w.attempts, w.next_attempt_at, w.begun_at, w.last_error,
       _fading(u.used, u.used_at) as used_lately
  from media_requests r join media_work w on w.id = r.work_id left join media_use u on u.owner = r.owner
 where r.since is not null;
comment on view media_queue is 'Who waits for the media worker, since when and for what; seconds of it that he has had lately: who has had the least is next';

-- distribution: what the worker does, step by step
--
-- The worker claims work that is due, records the step it begins, and settles
-- what came of it. It never waits for a row's lock: what is locked is done
-- later. Claiming locks the release and its work together.
--
-- A step that was begun and not settled is due again later, or at once when
-- the worker starts; then its answer was never seen, which the connector is
-- told.

create index distribution_work_remote_idx on distribution_work (partner, (state ->> 'release_id'));

create function _distribution_delay(failures int) returns interval
language sql volatile set search_path = pg_catalog, pg_temp as $$
    select least(3600, power(2, least(greatest(failures, 1), 12))) * (0.5 + random() / 2) * interval '1 second'
$$;
comment on function _distribution_delay(int) is
    'How long to wait after so many failures in a row: doubling from 2 s to an hour, less up to a half by chance';

create function _resume_steps() returns bigint
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    n bigint;
begin
    update distribution_work k set begun_at = null, is_unsure = true, next_attempt_at = least(k.next_attempt_at, _now())
     where k.begun_at is not null
       and k.id in (select x.id from distribution_work x where x.begun_at is not null for no key update skip locked);
    get diagnostics n = row_count;
    update partner_accounts a set begun_at = null, next_attempt_at = least(a.next_attempt_at, _now())
     where (a.partner, a.user_id) in (select x.partner, x.user_id from partner_accounts x where x.begun_at is not null for no key update skip locked);
    update partner_syncs y set begun_at = null, next_attempt_at = least(y.next_attempt_at, _now())
     where y.id in (select x.id from partner_syncs x where x.begun_at is not null for no key update skip locked);
    update report_folders y set begun_at = null, next_attempt_at = _now()
     where y.id in (select x.id from report_folders x where x.begun_at is not null for no key update skip locked);
    return n;
end
$$;
comment on function _resume_steps() is 'Makes steps and requests for accounts whose answer the last worker did not see due at once; returns how many steps';

-- Of a change that a partner refused: it goes on with what it has
create function _release_as_of(d distributions, revision int) returns distributions
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    change jsonb;
begin
    if revision < d.revision then
        select h.detail into change from distribution_history h
         where h.distribution_id = d.id and h.status = 'updated' and (h.detail ->> 'revision')::int > revision order by h.id limit 1;
    end if;
    if change is not null then
        d.metadata := change -> 'metadata_before';
        d.release_date := (change ->> 'release_date_before')::date;
        d.time_zone := coalesce(d.metadata ->> 'time_zone', 'UTC');
    end if;
    return d;
end
$$;
comment on function _release_as_of(distributions, int) is 'A release as it was in a revision of it';

create function _claim_steps(partner text, slots int)
returns table (id uuid, distribution_id uuid, user_id uuid, goal text, revision int, delivered_revision int, release jsonb, state jsonb,
               platforms text[], all_live boolean, step text, is_unsure boolean, publish_at timestamptz)
language plpgsql volatile set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    claimed uuid[] := array(
        select k.id from distribution_work k join distributions d on d.id = k.distribution_id
         where k.partner = _claim_steps.partner and k.next_attempt_at <= (select _now())
         order by k.next_attempt_at
         limit slots for no key update of d, k skip locked);
begin
    perform _prepare_files(k, _release_as_of(d, k.revision)) from distribution_work k join distributions d on d.id = k.distribution_id
      where k.id = any (claimed) and _wants_files(k);
    -- partners want a date: as soon as possible is the day of the submission
    return query
    select k.id, k.distribution_id, k.user_id, k.goal, k.revision, k.delivered_revision,
           _with_identifiers(_release_with_files(r.metadata, k.files), g.identifiers) || jsonb_build_object('release_date', coalesce(r.release_date, (r.submitted_at at time zone r.time_zone)::date)), k.state,
           array(select t.platform from distribution_targets t
                  where t.distribution_id = k.distribution_id and (t.work_id = k.id or t.platform = k.verifies) and t.status not in ('cancelled', 'taken_down')
                    -- nothing of what failed is there to be taken down
                    and (t.status <> 'failed' or k.goal = 'deliver') order by 1),
           not exists (select from distribution_targets t
                        where t.distribution_id = k.distribution_id and (t.work_id = k.id or t.platform = k.verifies) and t.status not in ('live', 'cancelled', 'taken_down')),
           k.step, k.is_unsure or k.begun_at is not null, k.publish_at
      from distribution_work k join distributions d on d.id = k.distribution_id
     cross join lateral _release_as_of(d, case when k.verifies is null then k.revision else d.revision end) r
      left join lateral (select t.identifiers from distribution_targets t
                          where t.distribution_id = k.distribution_id and (t.work_id = k.id or t.platform = k.verifies) and t.identifiers <> '{}' limit 1) g on true
     where k.id = any (claimed) and coalesce(k.next_attempt_at <= (select _now()), false) and not _wants_files(k)
     order by k.next_attempt_at;
end
$$;
comment on function _claim_steps(text, int) is 'Up to so much work at a partner that is due and whose files are known, longest first, locked';

create function _begin_steps(ids uuid[], steps text[], doubts boolean[], timeouts_ms int[]) returns void
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    update distribution_work k
       set step = b.step, begun_at = _now(), is_unsure = b.is_unsure, awaits_account = false, attempts = k.attempts + 1,
           next_attempt_at = _now() + b.timeout_ms * interval '1 millisecond' + interval '5 minutes'
      from unnest(ids, steps, doubts, timeouts_ms) b (id, step, is_unsure, timeout_ms)
     where k.id = b.id;
    update distribution_targets t set status = 'delivering', attempts = t.attempts + 1
     where t.work_id = any (ids) and t.status = 'scheduled';
end
$$;
comment on function _begin_steps(uuid[], text[], boolean[], int[]) is 'Records steps before their requests are sent';

-- goals: what each step was begun for
create function _keep_steps(ids uuid[], goals text[]) returns setof uuid
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    update distribution_work k set next_attempt_at = _now() + interval '6 minutes'
     where k.id in (select w.id from distribution_work w
                     where w.id = any (ids) and w.begun_at is not null and w.next_attempt_at < _now() + interval '3 minutes'
                       for no key update skip locked);
    update report_folders y set next_attempt_at = _now() + interval '6 minutes'
     where y.id in (select x.id from report_folders x
                     where x.id = any (ids) and x.begun_at is not null and x.next_attempt_at < _now() + interval '3 minutes'
                       for no key update skip locked);
    return query select r.id from unnest(ids, goals) r (id, goal) left join distribution_work k on k.id = r.id
                  where k.goal is distinct from r.goal and not exists (select from report_folders y where y.id = r.id);
end
$$;
comment on function _keep_steps(uuid[], text[]) is
    'Keeps steps that take long, and are under way, from being due; returns those that are not wanted any more';

-- Nothing to be asked now. The state of targets stays as it is.
create function _put_off_step(id uuid, until timestamptz, problem text) returns void
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
    update distribution_work k
       set next_attempt_at = case when problem is null then until else _now() + _distribution_delay(k.failures + 1) end,
           begun_at = null, failures = k.failures + (problem is not null)::int, last_error = coalesce(problem, k.last_error)
     where k.id = id;
end
$$;
comment on function _put_off_step(uuid, timestamptz, text) is 'Puts work off until a time, NULL for until something changes, or after a fault of ours';

-- What a partner says of a release on a platform, NULL for all that the work
-- is for. An older report than the last, and one that would lead back, change
-- nothing; neither does one by_carrier of what a look-up has to find out.
create function _report_target(work_id uuid, platform text, status text, external_id text, external_url text, reason text,
                               at timestamptz, by_carrier boolean default false) returns bigint
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    t distribution_targets;
    n bigint := 0;
begin
    external_url := case when external_url ~* '^https?://[!-~]+$' and length(external_url) <= 2048 then external_url end;
    external_id := left(_clean_message(external_id), 255);
    for t in select x.* from distribution_targets x
              where x.work_id = work_id and (platform is null or x.platform = platform) order by x.platform for no key update
    loop
        continue when at is not null and t.reported_at > at;
        continue when by_carrier and t.status <> status and _awaits_witness(work_id, t.platform, status);
        if t.status <> status and not (_target_steps() -> t.status ? status
                -- what waits has not been handed over: nobody can say anything of it
                and t.status not in ('pending', 'scheduled')
                -- the owner was told; it is tried again when he says so
                and not (t.status = 'failed' and status = 'processing' and at is null)) then
            continue;
        end if;
        update distribution_targets x
           set status = status, external_id = coalesce(external_id, x.external_id), external_url = coalesce(external_url, x.external_url),
               reason = case when x.status <> status then _clean_message(reason) else x.reason end,
               last_error = case when status = 'failed' then _clean_message(reason) when status = 'live' then null else x.last_error end,
               reported_at = greatest(x.reported_at, at)
         where x.id = t.id
           and (x.status <> status or x.external_id is distinct from coalesce(external_id, x.external_id)
                or x.external_url is distinct from coalesce(external_url, x.external_url) or at is not null);
        n := n + (t.status <> status)::int;
    end loop;
    return n;
end
$$;
comment on function _report_target(uuid, text, text, text, text, text, timestamptz, boolean) is
    'Takes what is said of a release on a platform, by its carrier or somebody who knows better; returns how many targets changed their state';

create function _pause_partner(name text, reason text) returns void
language sql volatile set search_path = musicverse, pg_catalog, pg_temp as $$
    -- who holds the row configures it now
    update partners q set paused_at = _now(), paused_reason = reason
     where q.name = (select r.name from partners r where r.name = _pause_partner.name and r.paused_at is null for no key update skip locked)
$$;
comment on function _pause_partner(text, text) is 'Asks nothing more of a partner that refuses us';

-- The release was refused: by the partner, or by us before it was asked
create function _refused(w distribution_work, goal text, revision int, message text) returns distribution_work
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    w.last_error := message;
    if _refused.goal = 'deliver' and (w.delivered_revision < _refused.revision
            -- or this one is, and was refused there later
            or exists (select from distribution_targets t where t.work_id = w.id and t.status = 'live')) then
        insert into distribution_history (distribution_id, user_id, status, reason, detail)
        values (w.distribution_id, w.user_id, 'update_refused', message,
                jsonb_build_object('revision', _refused.revision, 'delivered_revision', w.delivered_revision, 'partner', w.partner));
        insert into notifications (user_id, kind, title, body)
        select d.user_id, 'distribution.update_refused', format('A change of "%s" was refused', coalesce(d.metadata ->> 'title', 'the release')),
               jsonb_build_object('distribution_id', d.id, 'partner', w.partner, 'revision', _refused.revision,
                                  'delivered_revision', w.delivered_revision, 'reason', message)
          from distributions d where d.id = w.distribution_id;
    end if;
    if _refused.goal = 'deliver' and w.delivered_revision < _refused.revision then
        -- an earlier revision is there, and stays
        w.revision := w.delivered_revision;
    else
        w.next_attempt_at := null;
        perform _report_target(w.id, null, 'failed', null, null, message, null);
    end if;
    return w;
end
$$;
comment on function _refused(distribution_work, text, int, text) is
    'What follows for work when a revision of its release is refused: its targets fail, or it stays with the revision before';

create function _wants_codes(w distribution_work) returns boolean
language sql stable set search_path = musicverse, pg_catalog, pg_temp as $$
    select w.state ? 'wants_codes' and not exists (select from distribution_targets t where t.work_id = w.id and t.status = 'failed')
$$;
comment on function _wants_codes(distribution_work) is 'Now that all of it is live, is its partner to be asked once more for the codes that it may have given it?';

-- What became of a step: busy when somebody holds the release, and it is to be
-- settled later; else ok. goal and revision are those it was begun with: when
-- they have changed since, what was learned counts and the verdict doesn't.
-- delivered is the revision that the partner has now, NULL for none that is new.
create function _settle_step(id uuid, step text, goal text, revision int, verdict text, learned jsonb, delivered int,
                             until timestamptz, message text, reports jsonb, retry_after int, unreached boolean) returns text
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    w distribution_work;
    p partners;
    report jsonb;
    owner uuid;
    is_wanted boolean;
begin
    select d.user_id into owner from distributions d where d.id = (select k.distribution_id from distribution_work k where k.id = id)
       for no key update skip locked;
    if not found then
        return case when exists (select from distribution_work k where k.id = id) then 'busy' else 'ok' end;
    end if;
    select k.* into w from distribution_work k where k.id = id for no key update;
    if w.step is distinct from step or w.begun_at is null then
        return 'ok';
    end if;
    message := _clean_message(message);
    -- there is another file now than the one that was looked at
    if verdict = 'user' and message = 'the file has changed since it was inspected' then
        perform _forget_tracks(d.metadata) from distributions d where d.id = w.distribution_id;
        update distribution_work k set files = null where k.id = id;
        verdict := 'again';
    end if;
    if learned is not null and (w.verifies is null or w.goal = goal and w.revision = revision) then
        w.state := (select coalesce(jsonb_object_agg(e.key, e.value) filter (where e.value <> 'null'), '{}') from jsonb_each(w.state || learned) e);
    end if;
    if learned is not null and w.verifies is null then
        perform _keep_identifiers(w, learned);
    end if;
    if goal = 'deliver' then
        w.delivered_revision := greatest(w.delivered_revision, delivered);
    end if;
    -- a step that looks into a doubt and finds out nothing leaves it
    w.is_unsure := case when verdict in ('next', 'wait', 'done') then false else w.is_unsure or verdict = 'again' and not unreached end;
    w.next_attempt_at := _now();
    if verdict in ('next', 'wait', 'done') then
        w.failures := 0;
        w.last_error := null;
    end if;
    if w.verifies is not null then
        w := _settle_lookup(w, goal, revision, verdict, until, message, reports, retry_after);
    elsif w.goal = goal then
        is_wanted := w.revision = revision or goal = 'takedown';
        if is_wanted then
            case verdict
                when 'next' then
                    null;
                when 'wait' then
                    w.next_attempt_at := coalesce(until, _now() + interval '1 minute');
                when 'done' then
                    w.next_attempt_at := null;
                when 'again' then
                    select q.* into p from partners q where q.name = w.partner;
                    w.failures := w.failures + 1;
                    w.last_error := message;
                    w.next_attempt_at := _now() + greatest(_distribution_delay(w.failures), least(coalesce(retry_after, 0), 86400) * interval '1 second');
                    -- what the partner has already is only asked for, or withdrawn: that goes on
                    if goal = 'deliver' and w.delivered_revision is distinct from revision
                        and w.failures >= (_partner_config(p.connector, p.config) ->> 'attempts')::int then
                        w := _refused(w, goal, revision, format('given up after %s attempts: %s', w.failures, message));
                    end if;
                when 'user' then
                    w := _refused(w, goal, revision, message);
                when 'ours' then
                    w.last_error := message;
                    w.failures := w.failures + 1;
                    perform _pause_partner(w.partner, message);
                when 'account' then
                    -- of its tokens, which are refreshed: the step itself has not failed
                    w.last_error := message;
            end case;
        end if;
        -- an earlier revision that has arrived is on its way there
        if is_wanted or delivered is not null then
            for report in select r from jsonb_array_elements(coalesce(reports, '[]')) r loop
                perform _report_target(id, report ->> 'platform', report ->> 'status', report ->> 'external_id', report ->> 'external_url',
                                       report ->> 'reason', null, true);
            end loop;
        end if;
        if is_wanted and verdict = 'wait' and w.goal = 'deliver' and w.delivered_revision = w.revision
            and not exists (select from distribution_targets t where t.work_id = id and t.status not in ('live', 'cancelled', 'taken_down', 'failed')) then
            w.next_attempt_at := case when _wants_codes(w) then _now() end;
        end if;
    end if;
    update distribution_work k
       set state = w.state, revision = w.revision, delivered_revision = w.delivered_revision, is_unsure = w.is_unsure, begun_at = null, failures = w.failures,
           last_error = w.last_error, next_attempt_at = w.next_attempt_at
     where k.id = id;
    if verdict in ('again', 'ours', 'wait') then
        update distribution_targets t set last_error = w.last_error, next_attempt_at = w.next_attempt_at, attempts = t.attempts + (verdict = 'again')::int
         where t.work_id = id and t.status in ('delivering', 'processing') and (t.last_error is distinct from w.last_error or verdict <> 'wait');
    end if;
    return 'ok';
end
$$;
comment on function _settle_step(uuid, text, text, int, text, jsonb, int, timestamptz, text, jsonb, int, boolean) is
    'Writes down what became of a step';

create function _distribution_worker(out pid int, out state text, out in_flight int, out requests bigint, out failures bigint,
                                     out last_error text, out last_error_at timestamptz, out breakers text[]) returns record
language c volatile strict as 'MODULE_PATHNAME', 'musicverse_distribution_worker';
comment on function _distribution_worker() is 'What the distribution worker of this database tells of itself';

create view distribution_status with (security_invoker = true) as
select w.pid, w.state, q.waiting, q.due, q.oldest_due, q.under_way, q.takedowns, q.lookups, q.failing,
       w.in_flight, w.requests, w.failures, w.last_error, w.last_error_at
  from _distribution_worker() w,
       (select count(*) filter (where next_attempt_at > _now()) as waiting,
               count(*) filter (where next_attempt_at <= _now()) as due,
               min(next_attempt_at) filter (where next_attempt_at <= _now()) as oldest_due,
               count(*) filter (where begun_at is not null) as under_way,
               count(*) filter (where goal = 'takedown' and k.verifies is null) as takedowns,
               count(*) filter (where k.verifies is not null) as lookups,
               count(*) filter (where k.failures > 0) as failing
          from distribution_work k where next_attempt_at is not null) q;
comment on view distribution_status is 'The distribution worker, and how much there is to do';

create view partner_status with (security_invoker = true) as
select p.name, p.connector, p.platforms, p.is_active,
       case when not p.is_active then 'inactive'
            when p.installation_id is distinct from (select i.id from installation i) then 'held: restored from another database'
            when p.paused_at is not null then 'paused: it refuses us'
            when p.name = any (g.breakers) then 'failing: only probed'
            else 'ready' end as state,
       coalesce(w.waiting, 0) as waiting, coalesce(w.due, 0) as due, coalesce(w.under_way, 0) as under_way, w.oldest_due,
       (_partner_config(p.connector, p.config) ->> 'concurrency')::int as concurrency,
       p.paused_at, coalesce(p.paused_reason, w.last_error) as last_error
  from partners p cross join _distribution_worker() g
  left join (select partner, count(*) filter (where next_attempt_at > _now()) as waiting,
                    count(*) filter (where next_attempt_at <= _now()) as due, count(*) filter (where begun_at is not null) as under_way,
                    min(next_attempt_at) filter (where next_attempt_at <= _now()) as oldest_due, max(last_error) as last_error
               from distribution_work where next_attempt_at is not null group by partner) w on w.partner = p.name;
comment on view partner_status is 'The partners, and what each has under way';

-- ---- how well it goes

create view distribution_success_rate with (security_invoker = true) as
select t.platform, t.partner, count(*) as submitted,
       count(*) filter (where t.live_at is not null) as live,
       count(*) filter (where t.status = 'failed') as failed,
       count(*) filter (where t.status in ('scheduled', 'delivering', 'processing')) as under_way,
       round(count(*) filter (where t.live_at is not null)::numeric
             / nullif(count(*) filter (where t.live_at is not null or t.status = 'failed'), 0), 4) as success_rate,
       percentile_cont(0.5) within group (order by extract(epoch from t.live_at - t.submitted_at)) filter (where t.live_at is not null) as median_seconds_to_live
  from distribution_targets t
 where t.submitted_at > now() - interval '30 days'
 group by t.platform, t.partner;
comment on view distribution_success_rate is 'Per platform and partner, of what was submitted in the last 30 days: how much is live, how much failed, how long it took';

create view webhook_success_rate with (security_invoker = true) as
select date_trunc('day', d.created_at) as day, count(*) as deliveries,
       count(*) filter (where d.status = 'd') as delivered, count(*) filter (where d.status = 'f') as failed,
       count(*) filter (where d.status = 'p') as pending,
       round(count(*) filter (where d.status = 'd')::numeric / nullif(count(*) filter (where d.status in ('d', 'f')), 0), 4) as success_rate
  from deliveries d
 where d.created_at > now() - interval '30 days'
 group by 1;
comment on view webhook_success_rate is 'Per day of the last 30: webhook deliveries, and the share of the settled ones that arrived';

create view adoption with (security_invoker = true) as
select (select count(*) from accounts) as accounts,
       (select count(distinct user_id) from api_keys where revoked_at is null) as with_api_keys,
       (select count(distinct user_id) from webhook_endpoints where is_active) as with_webhooks,
       (select count(distinct user_id) from tracks where deleted_at is null) as with_tracks,
       (select count(distinct user_id) from distributions) as with_distributions,
       (select count(distinct user_id) from distributions where created_at > now() - interval '30 days') as distributing_lately,
       (select count(distinct user_id) from distribution_targets where live_at is not null) as ever_live;
comment on view adoption is 'How many accounts use what';

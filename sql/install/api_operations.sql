-- api: the operations, once for all versions; here those of generation and tracks
--
-- The functions of musicverse_v1 and musicverse_v2 are wrappers of these. What
-- isn't the caller's is not there: PT404, as PostgREST has no 404 for P0002.
--
-- A list fetches one row more than asked for: it tells whether there is a next page.
-- It goes by its index whatever the arguments are, so its plan is made once:
-- the server would make one each time, as it takes an unknown limit for a large one.
--
-- In plpgsql, which keeps its plans, or in C what is asked most; the wrappers
-- are single expressions, which the planner takes in.

create function _api_missing(kind text, id uuid) returns void
language c stable as 'MODULE_PATHNAME', 'musicverse_api_missing';
comment on function _api_missing(text, uuid) is 'Raises that something of the caller''s does not exist';

-- ---- generation

create function _api_list_jobs(version int, "limit" int, cursor text, "offset" int, status text) returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp set plan_cache_mode = force_generic_plan as $$
declare
    me uuid := _api_user();
    filters text := jsonb_build_array(status);
    place text[] := _api_place('list_jobs', filters, "limit", cursor, "offset");
    before timestamptz := coalesce(place[1]::timestamptz, 'infinity');
    before_id uuid := coalesce(place[2]::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
    page generation_jobs[];
begin
    perform _api_choice('status', status, '{queued,started,completed,failed,cancelled}');
    if status is null then
        page := array(select j from generation_jobs j where j.user_id = me and (j.created_at, j.id) < (before, before_id)
                       order by j.created_at desc, j.id desc limit "limit" + 1 offset "offset");
    else
        page := array(select j from generation_jobs j
                       where j.user_id = me and j.status = _api_list_jobs.status and (j.created_at, j.id) < (before, before_id)
                       order by j.created_at desc, j.id desc limit "limit" + 1 offset "offset");
    end if;
    return _api_page((select json_agg(_api_job(version, j, t.track)) from unnest(page[:"limit"]) j
                        left join lateral (select t as track from tracks t where t.id = j.track_id and t.deleted_at is null offset 0) t on true),
        case when cardinality(page) > "limit" then
            _api_next('list_jobs', filters, to_json(page["limit"].created_at) #>> '{}', page["limit"].id::text) end);
end
$$;
comment on function _api_list_jobs(int, int, text, int, text) is 'A page of jobs, newest first';

create function _api_get_job(version int, job_id uuid) returns json
language c stable as 'MODULE_PATHNAME', 'musicverse_api_get_job';
comment on function _api_get_job(int, uuid) is 'A job and its track';

create function _api_generate(version int, prompt text, style text, duration int, params jsonb) returns json
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    me uuid := _api_user();
    made uuid;
begin
    if coalesce(prompt, '') !~ '\S' then
        raise exception 'the prompt must not be empty' using errcode = '22023', detail = '{"field": "/prompt"}', hint = 'Say what to make.';
    elsif duration <= 0 then
        raise exception 'duration must be above zero, but is %', duration using errcode = '22023', detail = '{"field": "/duration"}';
    elsif jsonb_typeof(params) not in ('object', 'null') then
        raise exception 'params must be an object, not %', jsonb_typeof(params) using errcode = '22023', detail = '{"field": "/params"}';
    end if;
    made := generate(me, prompt, style, duration, coalesce(nullif(params, 'null'), '{}'), null::text);
    return _api_get_job(version, made);
end
$$;
comment on function _api_generate(int, text, text, int, jsonb) is 'Queues a job of the caller''s';

create function _api_cancel_job(version int, job_id uuid) returns json
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    state text;
begin
    perform _api_get_job(version, job_id);
    if not cancel_job(job_id) then
        select j.status into state from generation_jobs j where j.id = job_id;
        if state <> 'cancelled' then
            raise exception 'job % is % already', job_id, state using errcode = 'PT409', hint = 'Only a job that is queued or started can be cancelled.';
        end if;
    end if;
    return _api_get_job(version, job_id);
end
$$;
comment on function _api_cancel_job(int, uuid) is 'Cancels a job; one that is cancelled already stays so';

-- ---- tracks

create function _api_list_tracks(operation text, "limit" int, cursor text, "offset" int, style text, created_after timestamptz,
                                 created_before timestamptz, sort text) returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp set plan_cache_mode = force_generic_plan as $$
declare
    me uuid := _api_user();
    filters text := jsonb_build_array(style, extract(epoch from created_after), extract(epoch from created_before), sort);
    place text[] := _api_place(operation, filters, "limit", cursor, "offset");
    is_ascending boolean := sort = 'created_at';
    since timestamptz := coalesce(created_after, '-infinity');
    until timestamptz := coalesce(created_before, 'infinity');
    at timestamptz := coalesce(place[1]::timestamptz, case when is_ascending then '-infinity' else 'infinity' end::timestamptz);
    at_id uuid := coalesce(place[2]::uuid, case when is_ascending then '00000000-0000-0000-0000-000000000000'
                                                else 'ffffffff-ffff-ffff-ffff-ffffffffffff' end::uuid);
    page tracks[];
begin
    if sort is null then
        raise exception 'sort must not be null' using errcode = '22023', detail = '{"field": "/sort"}';
    end if;
    perform _api_choice('sort', sort, '{-created_at,created_at}');
    -- four plans, so that each goes by an index
    if is_ascending and style is null then
        page := array(select t from tracks t
                       where t.user_id = me and t.deleted_at is null and (t.created_at, t.id) > (at, at_id)
                          and t.created_at >= since and t.created_at < until
                       order by t.created_at, t.id limit "limit" + 1 offset "offset");
    elsif is_ascending then
        page := array(select t from tracks t
                       where t.user_id = me and t.style = _api_list_tracks.style and t.deleted_at is null
                          and (t.created_at, t.id) > (at, at_id) and t.created_at >= since and t.created_at < until
                       order by t.created_at, t.id limit "limit" + 1 offset "offset");
    elsif style is null then
        page := array(select t from tracks t
                       where t.user_id = me and t.deleted_at is null and (t.created_at, t.id) < (at, at_id)
                          and t.created_at >= since and t.created_at < until
                       order by t.created_at desc, t.id desc limit "limit" + 1 offset "offset");
    else
        page := array(select t from tracks t
                       where t.user_id = me and t.style = _api_list_tracks.style and t.deleted_at is null
                          and (t.created_at, t.id) < (at, at_id) and t.created_at >= since and t.created_at < until
                       order by t.created_at desc, t.id desc limit "limit" + 1 offset "offset");
    end if;
    return _api_page((select json_agg(_api_track(t)) from unnest(page[:"limit"]) t),
        case when cardinality(page) > "limit" then
            _api_next(operation, filters, to_json(page["limit"].created_at) #>> '{}', page["limit"].id::text) end);
end
$$;
comment on function _api_list_tracks(text, int, text, int, text, timestamptz, timestamptz, text) is 'A page of the tracks that are not deleted';

create function _api_get_track(track_id uuid) returns json
language c stable as 'MODULE_PATHNAME', 'musicverse_api_get_track';
comment on function _api_get_track(uuid) is 'A track that is not deleted';

create function _api_update_track(track_id uuid, changes jsonb) returns json
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    perform _api_get_track(track_id);
    perform update_track(track_id, _present(changes));
    return _api_get_track(track_id);
end
$$;
comment on function _api_update_track(uuid, jsonb) is 'Changes a track';

create function _api_delete_track(track_id uuid) returns void
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    perform _api_user();
    if not delete_track(track_id) then
        perform _api_missing('track', track_id);
    end if;
end
$$;
comment on function _api_delete_track(uuid) is 'Deletes a track';

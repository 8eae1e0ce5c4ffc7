-- api: the operations of distributions

create function _api_distribution(d distributions) returns json
language sql stable set search_path = musicverse, pg_catalog, pg_temp as $$
    select json_build_object(
        'id', d.id, 'status', d.status, 'track_ids', d.track_ids, 'platforms', d.platforms, 'release_date', d.release_date,
        'time_zone', d.time_zone, 'revision', d.revision, 'metadata', d.metadata, 'external_ids', d.external_ids,
        'targets', coalesce((select json_agg(json_build_object(
                'platform', t.platform, 'status', t.status, 'reason', t.reason, 'external_id', t.external_id, 'external_url', t.external_url,
                'identifiers', t.identifiers, 'next_attempt_at', _api_time(t.next_attempt_at), 'live_at', _api_time(t.live_at)) order by t.platform)
            from distribution_targets t where t.distribution_id = d.id), '[]'),
        'submitted_at', _api_time(d.submitted_at), 'created_at', _api_time(d.created_at))
$$;
comment on function _api_distribution(distributions) is 'A release with what became of it on each platform as JSON';

create function _api_get_distribution(distribution_id uuid) returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    me uuid := _api_user();
    d distributions;
begin
    select * into d from distributions x where x.id = distribution_id and x.user_id = me;
    if not found then
        perform _api_missing('distribution', distribution_id);
    end if;
    return _api_distribution(d);
end
$$;
comment on function _api_get_distribution(uuid) is 'A release';

create function _api_create_distribution(track_ids uuid[], platforms text[], release_date date, metadata jsonb, submit boolean) returns json
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    made uuid := create_distribution(_api_user(), track_ids, platforms, release_date, metadata);
begin
    if submit is not false then
        perform submit_distribution(made);
    end if;
    return _api_get_distribution(made);
end
$$;
comment on function _api_create_distribution(uuid[], text[], date, jsonb, boolean) is 'Makes a release, and submits it unless told otherwise';

create function _api_check_distribution(track_ids uuid[], platforms text[], release_date date, metadata jsonb) returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    me uuid := _api_user();
begin
    return (select json_build_object('is_fit', count(*) filter (where c.severity = 'error') = 0, 'problems', coalesce(json_agg(json_build_object(
                   'platform', c.platform, 'field', c.field, 'severity', c.severity, 'message', c.message)), '[]'))
              from check_release(track_ids, platforms, release_date, metadata) c);
end
$$;
comment on function _api_check_distribution(uuid[], text[], date, jsonb) is 'What platforms would refuse in a release';

create function _api_list_distributions("limit" int, cursor text, status text) returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    me uuid := _api_user();
    filters text := coalesce(status, '');
    place text[] := _api_place('list_distributions', filters, "limit", cursor);
    before timestamptz := coalesce(place[1]::timestamptz, 'infinity');
    before_id uuid := coalesce(place[2]::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
    page distributions[];
begin
    perform _api_choice('status', status, '{pending,scheduled,processing,live,failed,taken_down,cancelled}');
    if status is null then
        page := array(select d from distributions d where d.user_id = me and (d.created_at, d.id) < (before, before_id)
                       order by d.created_at desc, d.id desc limit "limit" + 1);
    else
        page := array(select d from distributions d where d.user_id = me and d.status = _api_list_distributions.status
                         and (d.created_at, d.id) < (before, before_id) order by d.created_at desc, d.id desc limit "limit" + 1);
    end if;
    return _api_page((select json_agg(_api_distribution(d)) from unnest(page[:"limit"]) d),
        case when cardinality(page) > "limit" then
            _api_next('list_distributions', filters, to_json(page["limit"].created_at) #>> '{}', page["limit"].id::text) end);
end
$$;
comment on function _api_list_distributions(int, text, text) is 'A page of releases, newest first';

create function _api_get_timeline(distribution_id uuid, "limit" int, cursor text) returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    me uuid := _api_user();
    filters text := coalesce(distribution_id::text, '');
    place text[] := _api_place('get_distribution_timeline', filters, "limit", cursor);
    after bigint := coalesce(place[1]::bigint, 0);
    page distribution_history[];
begin
    perform from distributions d where d.id = distribution_id and d.user_id = me;
    if not found then
        perform _api_missing('distribution', distribution_id);
    end if;
    page := array(select h from distribution_history h where h.distribution_id = _api_get_timeline.distribution_id and h.id > after
                   order by h.id limit "limit" + 1);
    return _api_page((select json_agg(json_build_object('at', _api_time(h.created_at), 'platform', h.platform, 'status', h.status, 'reason', h.reason))
                        from unnest(page[:"limit"]) h),
        case when cardinality(page) > "limit" then _api_next('get_distribution_timeline', filters, page["limit"].id::text) end);
end
$$;
comment on function _api_get_timeline(uuid, int, text) is 'A page of what happened to a release, oldest first';

-- what is asked of one that is there
create function _api_change_distribution(distribution_id uuid, what text, platforms text[], metadata jsonb) returns json
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    perform _api_get_distribution(distribution_id);
    case what
        when 'submit' then perform submit_distribution(distribution_id);
        when 'cancel' then perform cancel_distribution(distribution_id);
        when 'takedown' then perform takedown_distribution(distribution_id, platforms);
        when 'update' then perform update_release(distribution_id, metadata);
    end case;
    return _api_get_distribution(distribution_id);
end
$$;
comment on function _api_change_distribution(uuid, text, text[], jsonb) is 'Submits, cancels, takes down or changes a release';

create function _api_confirm_distribution(distribution_id uuid, platform text, external_url text, external_id text) returns json
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    perform _api_get_distribution(distribution_id);
    perform confirm_distribution(distribution_id, platform, external_url, external_id);
    return _api_get_distribution(distribution_id);
end
$$;
comment on function _api_confirm_distribution(uuid, text, text, text) is 'Takes what became of a release that was delivered by hand';

create function _api_get_package(distribution_id uuid, platform text) returns json
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
    perform _api_get_distribution(distribution_id);
    if not exists (select from distribution_targets t where t.distribution_id = distribution_id and t.platform = platform) then
        perform _api_missing('package for this platform of distribution', distribution_id);
    end if;
    return (select json_build_object('distribution_id', distribution_id, 'platform', platform, 'state', p.state, 'revision', p.revision, 'scope', p.scope,
                   'file_name', p.file_name, 'media_type', p.media_type, 'bytes', p.bytes, 'sha256', p.sha256, 'reason', p.reason,
                   'url', u.url, 'expires_at', case when u.url is not null then _api_time(_now() + interval '15 minutes') end)
              from distribution_package(distribution_id, platform) p, lateral (select case when p.state = 'ready' then _package_url(distribution_id, platform) end as url) u);
end
$$;
comment on function _api_get_package(uuid, text) is 'The package of a release for a platform, and where it can be fetched for fifteen minutes';

create function _api_get_cover(distribution_id uuid) returns json
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    c record;
begin
    perform _api_get_distribution(distribution_id);
    c := _cover_state(distribution_id);
    if c.state = 'missing' then
        perform _api_missing('cover of distribution', distribution_id);
    end if;
    return json_build_object('distribution_id', distribution_id, 'state', c.state, 'is_drawn', c.is_drawn, 'media_type', c.media_type, 'bytes', c.bytes,
                             'sha256', c.sha256, 'reason', c.reason, 'url', c.url,
                             'expires_at', case when c.is_drawn and c.url is not null then _api_time(_now() + interval '15 minutes') end);
end
$$;
comment on function _api_get_cover(uuid) is 'The cover of a release, and where it can be fetched';

-- What a release, or all of them, came to from one day to another: by what is asked for, and in all
create function _api_stats(distribution_id uuid, "from" date, "to" date, platform text, "by" text) returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    me uuid := _api_user();
    until date := coalesce("to", (_now() at time zone 'UTC')::date);
    since date := coalesce("from", until - 365);
begin
    if until < since or until - since > 3660 then
        raise exception 'there are % days from % to %', until - since, since, until
            using errcode = '22023', detail = '{"field": "/from"}', hint = 'Ask for 0 to 3660 days.';
    end if;
    return (
        with counted as materialized (
            select case "by" when 'day' then f.day::text when 'platform' then f.platform when 'territory' then f.territory
                             when 'distribution' then f.distribution_id::text when 'track' then f.track_id::text end as what, f.*
              from counted_facts f
             where f.user_id = me and f.day between since and until and (_api_stats.distribution_id is null or f.distribution_id = _api_stats.distribution_id)
               and (_api_stats.platform is null or f.platform = _api_stats.platform)
        )
        select json_build_object('from', since, 'to', until, 'by', "by",
            'data', coalesce((select json_agg(json_build_object('name', g.what, 'streams', g.streams, 'downloads', g.downloads, 'likes', g.likes,
                                     'saves', g.saves, 'shares', g.shares, 'revenue', g.revenue) order by g.what collate "C" nulls last)
                                from (select c.what, sum(c.streams) as streams, sum(c.downloads) as downloads, sum(c.likes) as likes, sum(c.saves) as saves,
                                             sum(c.shares) as shares, sum_money(c.revenue, c.currency) as revenue
                                        from counted c group by c.what) g), '[]'),
            'totals', (select json_build_object('streams', coalesce(sum(c.streams), 0), 'downloads', coalesce(sum(c.downloads), 0), 'likes', coalesce(sum(c.likes), 0),
                              'saves', coalesce(sum(c.saves), 0), 'shares', coalesce(sum(c.shares), 0), 'revenue', sum_money(c.revenue, c.currency)) from counted c)));
end
$$;
comment on function _api_stats(uuid, date, date, text, text) is 'How the caller''s releases were heard and what they earned, by day or whatever else';

create function _api_get_distribution_stats(distribution_id uuid, "from" date, "to" date, platform text, "by" text) returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    me uuid := _api_user();
begin
    perform _api_choice('by', "by", '{day,platform,territory,track}');
    perform from distributions d where d.id = distribution_id and d.user_id = me;
    if not found then
        perform _api_missing('distribution', distribution_id);
    end if;
    return _api_stats(distribution_id, "from", "to", platform, "by");
end
$$;
comment on function _api_get_distribution_stats(uuid, date, date, text, text) is 'How a release was heard and what it earned';

create function _api_get_stats("from" date, "to" date, platform text, "by" text) returns json
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    perform _api_choice('by', "by", '{day,platform,territory,distribution,track}');
    return _api_stats(null, "from", "to", platform, "by");
end
$$;
comment on function _api_get_stats(date, date, text, text) is 'How all releases were heard and what they earned';

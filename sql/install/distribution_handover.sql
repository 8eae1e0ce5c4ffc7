-- distribution: packages that are asked for, fetched, and what is confirmed of them
--
-- The steps are src/distribution/packages.c, the packing src/distribution/package_build.c.
-- A package is media: it may be forgotten when nobody fetches it, and is packed
-- again when somebody asks.

create index distribution_work_package_idx on distribution_work ((state ->> 'package')) where state ? 'package';

-- What Apple calls a release stays the same, whatever becomes of its UPC
create function _vendor_id(release jsonb, state jsonb, work_id uuid) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select coalesce(state ->> 'vendor_id', case when release ->> 'upc' ~ '^[0-9]{12,14}$' then release ->> 'upc' end,
                    'MV' || upper(left(replace(work_id::text, '-', ''), 16)))
$$;
comment on function _vendor_id(jsonb, jsonb, uuid) is 'The id by which Apple tells a release from others';

create function _package_digest(release jsonb) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select md5(concat_ws(' ', release ->> 'cover_url', (select string_agg(t ->> 'audio_url', ' ' order by n)
                                                          from jsonb_array_elements(release -> 'tracks') with ordinality e (t, n))))
$$;
comment on function _package_digest(jsonb) is 'A digest of the addresses of a release''s files';

-- Of what was found out of the files only what they have to be: the same release makes the same package
create function _bare_release(release jsonb) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select release || jsonb_build_object('tracks', (select coalesce(jsonb_agg(t - 'file' || jsonb_strip_nulls(jsonb_build_object('sha256', t #> '{file,sha256}')) order by n), '[]')
                                                      from jsonb_array_elements(release -> 'tracks') with ordinality e (t, n)))
$$;
comment on function _bare_release(jsonb) is 'A release with the digests of its files, and no other facts of them';

create function _package_input(w distribution_work, release jsonb, scope text) returns jsonb
language sql stable set search_path = musicverse, pg_catalog, pg_temp as $$
    select jsonb_build_object('connector', p.connector, 'scope', scope, 'release', _bare_release(release),
               'form', _bundle_form(p.name, (select q.title from platforms q where q.name = p.platforms[1]), p.config))
           || case p.connector when 'itmsp'
                   then jsonb_build_object('vendor_id', _vendor_id(release, w.state, w.id), 'config', p.config - '{concurrency,timeout,attempts,priority,poll_interval}'::text[])
                   else '{}' end
      from partners p where p.name = w.partner
$$;
comment on function _package_input(distribution_work, jsonb, text) is 'All that a package depends on';

-- scope is full or takedown; where Apple has the files already, the metadata will do
create function _ask_package(work_id uuid, release jsonb, state jsonb, scope text) returns jsonb
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    w distribution_work;
    input jsonb;
begin
    select k.* into w from distribution_work k where k.id = work_id;
    w.state := state;
    if scope = 'full' and state ->> 'files' = _package_digest(release) and state ? 'ready_rev'
        and (select p.connector from partners p where p.name = w.partner) = 'itmsp' then
        scope := 'metadata';
    end if;
    input := _package_input(w, release, scope);
    return jsonb_strip_nulls(jsonb_build_object('package', _request_media('package', input, null, true, w.user_id), 'scope', scope, 'vendor_id', input -> 'vendor_id',
        'files', case when scope = 'takedown' then state ->> 'files' else _package_digest(release) end));
end
$$;
comment on function _ask_package(uuid, jsonb, jsonb, text) is 'Has a package made; returns what is to be known of it';

-- What itmsp.c knows of the files it has sent, as a package's facts
create function _itmsp_facts(release jsonb, state jsonb) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select jsonb_strip_nulls(jsonb_build_object(
        'cover', case when state ? 'cover_name' then jsonb_build_object('name', state -> 'cover_name', 'bytes', state -> 'cover_bytes', 'md5', state -> 'cover_md5') end,
        'tracks', (select jsonb_agg(jsonb_build_object('name', state -> ('f' || n || '_name'), 'bytes', state -> ('f' || n || '_bytes'), 'md5', state -> ('f' || n || '_md5')) order by n)
                     from generate_series(0, jsonb_array_length(release -> 'tracks') - 1) n)))
$$;
comment on function _itmsp_facts(jsonb, jsonb) is 'The files of a package that was sent';

create function _itmsp_sent(release jsonb, config jsonb, vendor_id text, scope text, state jsonb) returns text
language sql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
    select convert_from(_itmsp_metadata(_itmsp_package(_plain_json(release), jsonb_build_object('config', config, 'vendor_id', vendor_id, 'scope', scope),
                                                       case scope when 'full' then _itmsp_facts(release, state) else '{}' end)), 'UTF8')
$$;
comment on function _itmsp_sent(jsonb, jsonb, text, text, jsonb) is 'metadata.xml of a package that is sent by SFTP';

create function _package_reason(partner text) returns text
language sql stable set search_path = musicverse, pg_catalog, pg_temp as $$
    select case p.connector when 'itmsp' then 'the package is ready to be fetched: deliver it by Transporter'
                else 'the bundle is ready to be fetched: upload it at ' || coalesce((select q.title from platforms q where q.name = p.platforms[1]), p.name) end
      from partners p where p.name = partner
$$;
comment on function _package_reason(text) is 'What a target waits for when its package is ready';

create function _package_progress(work_id uuid, package uuid) returns jsonb
language sql stable set search_path = musicverse, pg_catalog, pg_temp as $$
    select jsonb_build_object('state', m.state, 'error', m.last_error, 'reason', _package_reason(w.partner))
      from media_work m, distribution_work w where m.id = package and w.id = work_id
$$;
comment on function _package_progress(uuid, uuid) is 'How far a package is: pending, running, done or failed; NULL when it is not known';

-- For those who hear of nothing by a change of state
create function _tell_of_package(work_id uuid, what text) returns bigint
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    n bigint;
begin
    insert into notifications (user_id, kind, title, body)
    select t.user_id, case what when 'removal' then 'distribution.takedown_wanted' else 'distribution.package_ready' end,
           format(case when what <> 'removal' then 'A new package of "%s" is ready for %s' when p.connector = 'itmsp' then 'A package that takes "%s" down is ready for %s'
                       else 'Take "%s" down at %s, and confirm it' end, coalesce(d.metadata ->> 'title', 'the release'), coalesce(q.title, t.platform)),
           jsonb_build_object('distribution_id', t.distribution_id, 'platform', t.platform, 'status', t.status)
      from distribution_targets t join distributions d on d.id = t.distribution_id join partners p on p.name = t.partner
      left join platforms q on q.name = t.platform
     where t.work_id = work_id and t.status in ('live', 'processing');
    get diagnostics n = row_count;
    return n;
end
$$;
comment on function _tell_of_package(uuid, text) is 'Notifies the owner of a package that changes no state, or of what is left to be done for a takedown';

-- The media worker has made one, or can't: whoever waits for it looks at once
create function _package_made() returns trigger
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    update distribution_work k set next_attempt_at = _now()
     where k.id in (select x.id from distribution_work x
                     where x.state ? 'package' and x.state ->> 'package' = new.id::text and x.next_attempt_at is not null and x.begun_at is null
                       for no key update skip locked);
    if found then
        perform _wake_distribution();
    end if;
    return null;
end
$$;
comment on function _package_made() is 'Wakes the work that waits for a package';

create trigger package_made after update of state on media_work
    for each row when (new.kind = 'package' and new.state in ('done', 'failed')) execute function _package_made();

-- ---- what the owner does

create function _target_for(id uuid, platform text, d distributions) returns distribution_targets
language plpgsql stable set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    t distribution_targets;
begin
    select x.* into t from distribution_targets x where x.distribution_id = id and x.platform = platform;
    if not found then
        raise exception 'distribution % is not for platform "%"', id, coalesce(platform, 'null')
            using errcode = '22023', detail = '{"field": "/platform"}', hint = format('It is for %s.', array_to_string(d.platforms, ', '));
    end if;
    return t;
end
$$;
comment on function _target_for(uuid, text, distributions) is 'A release on a platform that it is for';

create function confirm_distribution(id uuid, platform text, external_url text default null, external_id text default null) returns void
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    d distributions := _own_distribution(id);
    t distribution_targets := _target_for(id, platform, d);
    w distribution_work;
begin
    if external_url is not null and (external_url !~* '^https?://[!-~]+$' or length(external_url) > 2048) then
        raise exception 'external_url "%" is no http or https URL', left(external_url, 100)
            using errcode = '22023', detail = '{"field": "/external_url"}', hint = 'Give the address under which the release can be heard there.';
    elsif external_id is not null and (external_id !~ '^[!-~]+$' or length(external_id) > 255) then
        raise exception 'external_id "%" is not printable ASCII of at most 255 characters', left(external_id, 100)
            using errcode = '22023', detail = '{"field": "/external_id"}';
    elsif (select p.connector from partners p where p.name = t.partner) <> all ('{bundle,itmsp}'::text[]) then
        raise exception 'partner "%" tells itself what became of a release on "%"', t.partner, platform using errcode = '55000';
    end if;
    select k.* into w from distribution_work k where k.id = t.work_id for no key update;
    if w.goal = 'takedown' and t.status not in ('live', 'processing', 'taken_down') or w.goal = 'deliver' and t.status not in ('processing', 'live') then
        raise exception 'distribution % on % is %: there is nothing to confirm', id, platform, replace(t.status, '_', ' ')
            using errcode = '55000', hint = case when t.status in ('pending', 'scheduled', 'delivering') then 'Fetch its package first, and deliver it.'
                                       else 'Only what is processing or live is confirmed, and what is to be taken down.' end;
    end if;
    perform _report_target(w.id, platform, case w.goal when 'takedown' then 'taken_down' else 'live' end, external_id, external_url,
                           case when caller_is_service() then 'confirmed' else 'confirmed by its owner' end, null);
    if w.begun_at is null and not exists (select from distribution_targets x where x.work_id = w.id and x.status not in ('live', 'cancelled', 'taken_down', 'failed'))
        and (w.goal = 'takedown' or w.delivered_revision = w.revision) then
        -- nothing is left to be done
        update distribution_work k set next_attempt_at = null where k.id = w.id;
    end if;
end
$$;
comment on function confirm_distribution(uuid, text, text, text) is
    'Tells that a release which was delivered by hand can be heard on a platform, or no longer can after a takedown';

create function _package_of(id uuid, platform text) returns distribution_work
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    d distributions;
    t distribution_targets;
    w distribution_work;
begin
    select x.* into d from distributions x where x.id = _package_of.id and (caller_is_service() or x.user_id = current_user_id());
    if not found then
        raise exception 'distribution % does not exist', coalesce(id::text, 'null') using errcode = 'P0002';
    end if;
    t := _target_for(id, platform, d);
    select k.* into w from distribution_work k where k.id = t.work_id;
    return w;
end
$$;
comment on function _package_of(uuid, text) is 'The work whose package the caller may fetch';

-- By the steps of the worker, which finds the files anew as well
create function _pack_again(work_id uuid) returns void
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    update distribution_work k
       set state = case k.goal when 'deliver' then k.state - '{asked_rev,ready_rev,files}'::text[] else k.state - 'removal' end,
           delivered_revision = case k.goal when 'takedown' then k.delivered_revision end, next_attempt_at = _now()
     where k.id = work_id and k.begun_at is null and k.state ? case k.goal when 'deliver' then 'ready_rev' else 'removal' end;
    if found then
        perform _wake_distribution();
    end if;
end
$$;
comment on function _pack_again(uuid) is 'Has a package that is gone made again, once';

-- waiting: not packed yet, nor to be fetched at all where a partner takes releases itself
create function distribution_package(id uuid, platform text)
returns table (state text, revision int, scope text, file_name text, media_type text, bytes bigint, sha256 text, reason text)
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    w distribution_work := _package_of(id, platform);
    m media;
    k media_work;
begin
    select x.* into k from media_work x where x.id = (w.state ->> 'package')::uuid;
    select x.* into m from media x where x.id = k.id;
    if k.state = 'done' and _media_is_here(m) then
        perform _touch_media(m);
        return query select 'ready', coalesce((w.state ->> 'asked_rev')::int, w.revision), w.state ->> 'scope', _package_file_name(k.input), m.media_type, m.bytes, m.sha256,
                            case when w.goal = 'deliver' then _package_reason(w.partner) end;
        return;
    elsif w.state ? 'package' and (k.id is null or k.state = 'done') then
        -- it was not fetched for long, or is on another server
        if current_setting('transaction_read_only') = 'on' or w.goal = 'takedown' and w.state ->> 'scope' <> 'takedown' then
            return query select 'expired', coalesce((w.state ->> 'asked_rev')::int, w.revision), w.state ->> 'scope', null::text, null::text, null::bigint, null::text,
                                'it was removed, as nobody fetched it' || case when w.goal = 'deliver' or w.state ->> 'scope' = 'takedown'
                                    then ': asked for outside of a read-only transaction it is packed again' else '' end;
            return;
        end if;
        perform _pack_again(w.id);
    end if;
    return query select case when not w.state ? 'package' then 'waiting' when k.state = 'failed' then 'failed' else 'building' end,
                        coalesce((w.state ->> 'asked_rev')::int, w.revision), w.state ->> 'scope', null::text, null::text, null::bigint, null::text,
                        case when k.state = 'failed' then k.last_error end;
end
$$;
comment on function distribution_package(uuid, text) is
    'The package of a release for a platform that is fed by hand: waiting, building, ready (to be fetched), failed or expired';

create function _read_media_part(file_name text, bytes bigint, "offset" bigint, length int) returns bytea
language c stable strict as 'MODULE_PATHNAME', 'musicverse_read_media_part';
comment on function _read_media_part(text, bigint, bigint, int) is 'A part of a media file of so many bytes; NULL when it is not here';

create function distribution_package_read(id uuid, platform text, "offset" bigint default 0, length int default 1048576) returns bytea
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    w distribution_work;
    m media;
begin
    if "offset" is null or "offset" < 0 then
        raise exception 'offset % is not one', coalesce("offset"::text, 'null') using errcode = '22023', detail = '{"field": "/offset"}', hint = 'Begin with 0.';
    elsif length is null or length not between 1 and 16777216 then
        raise exception 'length % is not from 1 to 16777216', coalesce(length::text, 'null')
            using errcode = '22023', detail = '{"field": "/length"}', hint = 'Read the package piece by piece.';
    end if;
    w := _package_of(id, platform);
    select x.* into m from media x where x.id = (w.state ->> 'package')::uuid;
    if not found or not _media_is_here(m) then
        raise exception 'there is no package of distribution % for % to be fetched', id, platform
            using errcode = '55000', hint = 'distribution_package() tells when there is, and has it packed again where it was forgotten.';
    end if;
    return coalesce(_read_media_part(m.file_name, m.bytes, "offset", length), '');
end
$$;
comment on function distribution_package_read(uuid, text, bigint, int) is
    'A piece of a package, empty behind its end';

-- ---- the address of a file

create function _file_token(file_name text, bytes bigint, sha256 text, media_type text, shown_name text, lifetime interval) returns text
language sql volatile set search_path = musicverse, pg_catalog, pg_temp as $$
    select rtrim(translate(encode(_seal(concat_ws(E'\n', file_name, bytes, floor(extract(epoch from _now() + lifetime))::bigint, sha256, media_type, shown_name), 'file'), 'base64'),
                           E'+/\n', '-_'), '=')
$$;
comment on function _file_token(text, bigint, text, text, text, interval) is
    'What the gateway serves a media file for, until its time is over; sealed by the master key, so that nobody else can make one';

-- NULL where nobody outside reaches the gateway
create function _media_url(folder text, m media, shown_name text) returns text
language plpgsql set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    base constant text := current_setting('musicverse.public_url', true);
begin
    if coalesce(base, '') = '' or coalesce(current_setting('musicverse.gateway_workers', true), '0')::int = 0 then
        return null;
    end if;
    return format('%s/files/%s/%s/%s', rtrim(base, '/'), folder, _file_token(m.file_name, m.bytes, m.sha256, m.media_type, shown_name, interval '15 minutes'),
                  _url_encode(shown_name));
end
$$;
comment on function _media_url(text, media, text) is 'Where the gateway serves a media file for the next fifteen minutes, under a name';

create function _package_url(id uuid, platform text) returns text
language sql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
    select _media_url('packages', m, _package_file_name(k.input))
      from _package_of(id, platform) p join media_work k on k.id = (p.state ->> 'package')::uuid join media m on m.id = k.id
     where k.state = 'done' and _media_is_here(m)
$$;
comment on function _package_url(uuid, text) is 'Where the gateway serves a package for the next fifteen minutes';

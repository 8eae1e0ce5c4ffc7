-- distribution: messages of DDEX, which tell partners of a release
--
-- What they are made of, a release and a partner's profile, is JSON that
-- docs/ddex.md describes. Nothing here writes or sends: callers store the text
-- and what sends it uses its UTF-8.

create function ern_message(release jsonb, profile jsonb) returns text
language c stable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_ern_message';
comment on function ern_message(jsonb, jsonb) is
    'The ERN message, 4.3.2 or 3.8.2, that tells a partner of a release, its update or its end; valid by the schema of DDEX';

create function ern_problems(message text, version text) returns setof text
language c stable strict parallel safe rows 10 as 'MODULE_PATHNAME', 'musicverse_ern_problems';
comment on function ern_problems(text, text) is 'What the schema of DDEX says against a message, at most 100 lines; no row when it is valid';

create function acknowledgement(message text, out message_id text, out release_id text, out status text, out action text, out text text,
                                out release_status text, out file_status text, out acknowledgement_id text) returns setof record
language c immutable strict parallel safe rows 1 as 'MODULE_PATHNAME', 'musicverse_acknowledgement';
comment on function acknowledgement(text) is 'What a partner''s acknowledgement or status message says, a row for each release';

create function batch_complete(profile jsonb, messages jsonb) returns text
language c immutable strict parallel safe as 'MODULE_PATHNAME', 'musicverse_batch_complete';
comment on function batch_complete(jsonb, jsonb) is 'The manifest that completes a batch, to be uploaded last';

-- ---- names of files and folders

create function _check_release_id(release_id text) returns text
language plpgsql immutable strict parallel safe set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    if release_id !~ '^[A-Za-z0-9]{1,32}$' then
        raise exception '"%" cannot be part of a file name', release_id
            using errcode = '22023', hint = 'Give the UPC or another id of letters and digits.';
    end if;
    return release_id;
end
$$;
comment on function _check_release_id(text) is 'The id, when it may stand in the name of a file';

create function ern_batch_id(at timestamptz) returns text
language sql immutable strict parallel safe
return to_char(at at time zone 'utc', 'YYYYMMDDHH24MISSMS');
comment on function ern_batch_id(timestamptz) is 'The name of a batch and its folder: the moment in UTC, to the millisecond';

create function ern_folder(release_id text, at timestamptz, priority text default 'normal') returns text
language plpgsql immutable strict parallel safe set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
begin
    if priority not in ('priority', 'normal', 'low') then
        raise exception 'priority "%" is not known', priority using errcode = '22023', hint = 'Give priority, normal or low.';
    end if;
    return upper(left(priority, 1)) || '_' || _check_release_id(release_id) || '_' || ern_batch_id(at);
end
$$;
comment on function ern_folder(text, timestamptz, text) is 'The folder of a delivery, release by release: P, N or L for its priority, the release, the moment';

create function ern_path(release_id text) returns text
language sql immutable strict parallel safe
return _check_release_id(release_id) || '.xml';
comment on function ern_path(text) is 'The message''s file in the folder of a delivery';

create function ern_path(batch_id text, release_id text) returns text
language sql immutable strict parallel safe
return _check_release_id(batch_id) || '/' || _check_release_id(release_id) || '/' || _check_release_id(release_id) || '.xml';
comment on function ern_path(text, text) is 'The message''s file in a batch';

create function ern_batch_complete_path(batch_id text) returns text
language sql immutable strict parallel safe
return _check_release_id(batch_id) || '/BatchComplete_' || batch_id || '.xml';
comment on function ern_batch_complete_path(text) is 'The manifest''s file in a batch';

create function ern_resource_name(release_id text, extension text, track int default null, disc int default 1) returns text
language plpgsql immutable parallel safe set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    if extension is null or extension !~ '^[a-z0-9]{1,8}$' then
        raise exception '"%" is no extension of a file name', extension using errcode = '22023', hint = 'Give flac, wav, jpg or the like.';
    elsif track not between 1 and 999 or disc not between 1 and 99 then
        raise exception 'there is no track % on disc %', track, disc using errcode = '22023', hint = 'Both are counted from 1.';
    end if;
    return _check_release_id(release_id) || coalesce('_' || lpad(disc::text, 2, '0') || '_' || lpad(track::text, 3, '0'), '') || '.' || extension;
end
$$;
comment on function ern_resource_name(text, text, int, int) is 'The file of a track, or of the cover when there is no number of one, in the folder resources';

-- generation: what a user may change of a track
--
-- As for webhooks: judged first and written last, and a track of another user
-- is one that doesn't exist. A deleted track stays as a row, so that what was
-- made of it can still be told.

create function update_track(id uuid, changes jsonb) returns void
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    -- the longest text of each property
    properties constant jsonb := '{"title": 500, "style": 200, "cover_url": 2048, "metadata": 65536}';
    t tracks;
    change record;
    kinds text[];
begin
    if changes is null or jsonb_typeof(changes) <> 'object' then
        raise exception 'changes must be a JSON object, not %', coalesce(jsonb_typeof(changes), 'null')
            using errcode = '22023', hint = 'Write {"title": "Battle at Dawn"}.';
    elsif _has_absurd_number(changes) then
        raise exception 'changes hold a number of hundreds of digits' using errcode = '22023', hint = 'Write it as a string.';
    end if;
    select x.* into t from tracks x
     where x.id = update_track.id and x.deleted_at is null and (caller_is_service() or x.user_id = current_user_id())
       for no key update;
    if not found then
        raise exception 'track % does not exist', coalesce(id::text, 'null') using errcode = 'P0002';
    end if;
    for change in select e.key, e.value #>> '{}' as text, jsonb_typeof(e.value) as kind, e.value from jsonb_each(changes) e loop
        kinds := case change.key when 'metadata' then '{object}' else '{string,"null"}' end;
        if not properties ? change.key then
            raise exception 'a track has no property "%" that can be changed', left(change.key, 100)
                using errcode = '22023', hint = 'Known: cover_url, metadata, style, title.';
        elsif change.kind <> all (kinds) then
            raise exception 'track property "%" must be %, not %', change.key,
                case change.key when 'metadata' then 'an object' else 'a string or null' end, change.kind
                using errcode = '22023', detail = json_build_object('field', '/' || change.key);
        elsif length(change.text) > (properties ->> change.key)::int then
            raise exception 'track property "%" must have at most % characters, not %', change.key, properties ->> change.key, length(change.text)
                using errcode = '22023', detail = json_build_object('field', '/' || change.key);
        elsif change.key = 'cover_url' and change.text !~* '^https?://[!-~]+$' then
            raise exception 'track property "cover_url" is not an http or https URL'
                using errcode = '22023', detail = json_build_object('field', '/cover_url');
        end if;
        case change.key
            when 'title' then t.title := change.text;
            when 'style' then t.style := change.text;
            when 'cover_url' then t.cover_url := change.text;
            when 'metadata' then t.metadata := change.value;
        end case;
    end loop;
    update tracks x set title = t.title, style = t.style, cover_url = t.cover_url, metadata = t.metadata where x.id = t.id;
end
$$;
comment on function update_track(uuid, jsonb) is 'Changes the properties named of a track: title, style, cover_url, metadata; null empties, metadata is replaced as a whole';

create function delete_track(id uuid) returns boolean
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    update tracks t set deleted_at = _now()
     where t.id = delete_track.id and t.deleted_at is null and (caller_is_service() or t.user_id = current_user_id());
    return found;
end
$$;
comment on function delete_track(uuid) is 'Deletes a track softly; false when there is no such track or it is deleted already';

-- distribution: covers
--
-- Drawn in C (src/distribution/cover*.c), where also the arguments are judged:
-- small ones at once, large ones better by the media worker.
-- Not immutable: the fonts are the machine's. Who the caller is only the leader
-- of a parallel query knows.

create function cover_art(title text, artist text, style text, seed text default null, size int default 3000,
                          peaks float8[] default null, format text default 'png') returns bytea
language c stable parallel restricted cost 1000000 as 'MODULE_PATHNAME', 'musicverse_cover_art';
comment on function cover_art(text, text, text, text, int, float8[], text) is
    'Draws the cover of a release, size x size pixels, as PNG or JPEG; the same arguments give the same bytes. With peaks, which are a track''s, it is their ring';

create function _cover_art_bare(title text, artist text, style text, seed text default null, size int default 3000,
                                peaks float8[] default null, family text default null, bare boolean default true) returns bytea
language c stable parallel restricted cost 1000000 as 'MODULE_PATHNAME', 'musicverse_cover_art_bare';
comment on function _cover_art_bare(text, text, text, text, int, float8[], text, boolean) is
    'For tests: the same cover, of a family that is named, if any, and without its text, if bare';

create function _check_cover(title text, artist text, style text, seed text, size int, peaks float8[], format text) returns void
language c stable parallel restricted as 'MODULE_PATHNAME', 'musicverse_check_cover';
comment on function _check_cover(text, text, text, text, int, float8[], text) is 'Refuses arguments of which no cover can be drawn';

create function request_cover(title text, artist text, style text default null, seed text default null, size int default 3000,
                              peaks float8[] default null, format text default 'jpeg', user_id uuid default null) returns uuid
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
begin
    perform _check_cover(title, artist, style, seed, size, peaks, format);
    return _request_media('cover', jsonb_strip_nulls(jsonb_build_object(
        'title', title, 'artist', artist, 'style', style, 'seed', seed, 'size', size, 'peaks', to_jsonb(peaks), 'format', format)), retry => true,
        user_id => coalesce(user_id, current_user_id()));
end
$$;
comment on function request_cover(text, text, text, text, int, float8[], text, uuid) is
    'Has the media worker draw a cover for a user, the caller by default, with the arguments of cover_art(); returns its id, which is the same for the same arguments';

create function cover_image(id uuid) returns bytea
language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
declare
    w media_work;
    m media;
    image bytea;
begin
    select x.* into w from media_work x where x.id = cover_image.id and x.kind = 'cover';
    if not found then
        raise exception 'cover % does not exist', coalesce(id::text, 'null')
            using errcode = 'P0002', hint = 'request_cover() returns the id; what nobody uses is forgotten after musicverse.media_retention.';
    elsif w.state = 'failed' then
        raise exception 'cover % could not be drawn: %', id, w.last_error using errcode = '55000', hint = 'request_cover() tries again.';
    elsif w.state = 'done' then
        select x.* into m from media x where x.id = cover_image.id;
        image := _read_media_file(m.file_name, m.bytes);
        if image is not null then
            perform _touch_media(m);
        elsif current_setting('transaction_read_only') = 'off' then
            perform _request_media('cover', w.input, user_id => coalesce(current_user_id(),
                (select r.user_id from media_requests r where r.work_id = w.id limit 1)));
        end if;
    end if;
    return image;
end
$$;
comment on function cover_image(uuid) is 'A cover that was requested; NULL while it is not drawn';

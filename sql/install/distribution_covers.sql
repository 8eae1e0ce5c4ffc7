-- distribution: covers
--
-- Drawn in C (src/distribution/cover*.c), where also the arguments are judged.
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

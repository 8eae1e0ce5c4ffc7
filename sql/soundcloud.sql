-- What SoundCloud gets of a release, and what is read from its answers; the connector itself is tried by test/t/123_soundcloud.pl.
set client_min_messages = warning;
create extension if not exists musicverse;
set search_path = musicverse, public;
set timezone = 'UTC';
\set release '{"title": "Weather", "version_title": "Live", "genre": "Ambient", "subgenre": "Drone", "label": "Mira Records", "upc": "4006381333931", "release_date": "2030-01-02", "p_line": "2026 Mira", "c_line": "2026 Mira", "tags": ["lo fi", "a\\"b", 7, "  x  ", "musicverse:ref=forged"], "tracks": [{"title": "Rain", "audio_url": "https://a.example.com/1.flac", "isrc": "qz-abc-26-00001"}, {"title": "Snow", "version_title": "", "audio_url": "https://a.example.com/2.flac", "description": "Cold", "tags": [], "downloadable": true}]}'
\set config '{"license": "cc-by", "downloadable": false}'
select jsonb_pretty(_soundcloud_track(:'release', :'config', '00000000-0000-4000-9000-000000000001', 0, 'private'));
select jsonb_pretty(_soundcloud_track(:'release', :'config', '00000000-0000-4000-9000-000000000001', 1, 'public'));
select jsonb_pretty(_soundcloud_playlist(:'release', :'config', '00000000-0000-4000-9000-000000000001', 'private'));
select _soundcloud_track('{"title": "x", "license": "mine", "tracks": [{"title": "Bare", "audio_url": "a"}]}', '{}', 'r', 0, 'private');
select _soundcloud_parts('track', '{"title": "a\r\nb", "downloadable": false}');
select _soundcloud_license(r::jsonb, c::jsonb) from (values ('{}', '{"license": "cc-by"}'), ('{"license": "cc-by-nc"}', '{"license": "cc-by"}'), ('{"license": "WTFPL"}', '{}'), ('{}', '{}')) v (r, c);

-- ours among others
select n, _soundcloud_find_track(answer::jsonb, 'r1', 0) from (values
    (1, '{"collection": [{"urn": "soundcloud:tracks:1", "tag_list": null}, 7, {"urn": "soundcloud:tracks:2", "tag_list": "x musicverse:ref=r1-0-0123abcd"}]}'),
    (2, '{"collection": [{"urn": "soundcloud:tracks:3", "tag_list": "musicverse:ref=r1-1-0123abcd"}, {"urn": "soundcloud:tracks:4", "tag_list": "musicverse:ref=r2-0-0123abcd"}]}'),
    (3, '[{"urn": "soundcloud:tracks:5", "tag_list": "musicverse:ref=r1-0-0123abcd"}, {"urn": "soundcloud:tracks:6", "tag_list": "musicverse:ref=r1-0-0123abcd"}]'),
    (4, '{"collection": 1}'), (5, '{}'), (6, '7'), (7, 'null')) v (n, answer) order by n;
select n, _soundcloud_find_playlist(answer::jsonb, 'r1', urns::jsonb) ->> 'urn' as urn from (values
    (1, '{"collection": [{"urn": "l1", "tag_list": "musicverse:ref=r1"}]}', '[]'), (2, '{"collection": [{"urn": "l2", "tag_list": ""}]}', '[]'),
    (3, '{"collection": [{"urn": "l3", "tracks": [{"urn": "a"}]}, {"urn": "l4", "tracks": [{"urn": "a"}, {"urn": "b"}]}]}', '["a", "b"]'),
    (4, '{"collection": [{"urn": "l5", "tracks": 1}, {"urn": "l6"}]}', '["a"]')) v (n, answer, urns) order by n;

-- what is wrong, and for how long
select n, _soundcloud_problem(answer::jsonb) from (values (1, '{"code": 422, "message": "no"}'), (2, '{"message": "no", "errors": [{"error_message": "a"}, {"error_message": "b"}]}'),
    (3, '{"errors": [{"meta": {}}]}'), (4, '[]'), (5, '"x"'), (6, '{"message": null}')) v (n, answer) order by n;
select n, _soundcloud_reset(answer) from (values
    (1, jsonb_build_object('errors', jsonb_build_array(jsonb_build_object('meta', jsonb_build_object('reset_time', to_char(_now() at time zone 'UTC' + interval '3 days', 'YYYY/MM/DD HH24:MI:SS +0000')))))),
    (2, '{"errors": [{"meta": {"reset_time": "2001/01/01 00:00:00 +0000"}}]}'), (3, '{"errors": [{"meta": {"reset_time": "2026/02/31 00:00:00 +0000"}}]}'), (4, '{"reset_time": "soon"}'), (5, '{"reset_time": 7}'), (6, '{}'), (7, '[]')) v (n, answer) order by n;
select _soundcloud_reset(jsonb_build_object('reset_time', to_char(_now() at time zone 'UTC' + interval '90 seconds', 'YYYY/MM/DD HH24:MI:SS +0000'))) between 60 and 91 as soon;

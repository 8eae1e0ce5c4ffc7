-- Covers: what is refused, what stays the same, and what a file says of itself. How they look is for eyes: test/covers/contact_sheet.
set search_path = musicverse, public;
\set VERBOSITY default
\set SHOW_CONTEXT never

-- The same arguments, the same bytes; any other argument, others
create temp table made as
select name, cover_art(title, artist, style, seed, size) as file, cover_art(title, artist, style, seed, size) as again
from (values ('first', 'Night Drive', 'Laser Palms', 'synthwave', 'a', 96), ('title', 'Night Drives', 'Laser Palms', 'synthwave', 'a', 96),
             ('artist', 'Night Drive', 'Laser Palm', 'synthwave', 'a', 96), ('style', 'Night Drive', 'Laser Palms', 'folk', 'a', 96),
             ('seed', 'Night Drive', 'Laser Palms', 'synthwave', 'b', 96), ('no seed', 'Night Drive', 'Laser Palms', 'synthwave', null, 96),
             ('size', 'Night Drive', 'Laser Palms', 'synthwave', 'a', 97)) v (name, title, artist, style, seed, size);
select count(*), count(distinct file), bool_and(file = again) as same from made;
select cover_art('x', 'y', null, null, 64) = cover_art('x', 'y', null, '', 64) as null_is_no_seed,
       cover_art('x', 'y', 'Epic SYNTHWAVE of 1986', 'a', 64) = cover_art('x', 'y', 'synthwave', 'a', 64) as a_word_of_the_style,
       cover_art('x', 'y', 'popular', 'a', 64) <> cover_art('x', 'y', 'pop', 'a', 64) as but_whole_words;

-- A PNG: signature, IHDR of 8 bits RGB, not interlaced, sRGB; and a JPEG
select get_byte(file, 24) as bits, get_byte(file, 25) as colour, get_byte(file, 28) as interlace,
       encode(substr(file, 1, 8), 'hex') as signature, encode(substr(file, 17, 8), 'hex') as size, position('\x73524742'::bytea in file) > 0 as srgb,
       encode(substr(file, length(file) - 7), 'hex') as last
  from cover_art('x', 'y', 'jazz', null, 100) as file;
select encode(substr(file, 1, 4), 'hex') as first, encode(substr(file, length(file) - 1), 'hex') as last,
       file = cover_art('x', 'y', 'jazz', null, 100, format => 'jpeg') as same
  from cover_art('x', 'y', 'jazz', null, 100, format => 'jpeg') as file;

-- All sizes between, all families, all styles
select count(distinct length(cover_art('x', 'y', 'jazz', null, size))) as sizes from unnest('{64,65,127,256,1001}'::int[]) as size;
select family, _cover_art_bare('x', 'y', 'pop', 'a', 64, null, family, false) is not null as drawn
from unnest('{gradient,flow,grid,ring,halftone,strata}'::text[]) as family;
select count(distinct cover_art('x', 'y', style, 'a', 64)) as styles
from unnest('{ambient,blues,classical,country,jungle,electronic,folk,funk,hip hop,house,indie,jazz,latin,lo-fi,metal,pop,r&b,reggae,rock,soundtrack,synthwave,techno,world}'::text[]) style;

-- NULL and blank: nothing is written for them
select cover_art(null, null, null, 'a', 64) = cover_art('', ' ', '', 'a', 64) as nothing,
       cover_art(null, 'y', 'pop', 'a', 64) = cover_art(E' \t\n', 'y', 'pop', 'a', 64) as blank,
       cover_art('x', null, 'pop', 'a', 64) is not null as title_only;
select cover_art('x', 'y', 'pop', null, null);
select cover_art('x', 'y', 'pop', null, 64, null, null);

-- What cannot be seen is left out, and changes nothing
select name, cover_art(title, 'y', 'pop', 'a', 64) = cover_art('a b', 'y', 'pop', 'a', 64) as same
from (values ('control', E'\x01a\x1b b\x7f'), ('lines', E'a\r\n\tb'), ('space around', '  a   b '), ('zero width', U&'a\200B \FEFFb'),
             ('override', U&'\202Ea b\202C'), ('isolate', U&'\2066a b\2069'), ('soft hyphen', U&'a\00AD b'), ('other text', 'a c')) v (name, title);

-- Refused
select cover_art('x', 'y', 'pop', null, 63);
select cover_art('x', 'y', 'pop', null, 6001);
select cover_art('x', 'y', 'pop', null, -2147483648);
select cover_art('x', 'y', 'pop', null, 64, null, 'PNG');
select cover_art('x', 'y', 'pop', null, 64, null, repeat('x', 100000));
select cover_art(repeat('x', 501), 'y', 'pop', null, 64);
select cover_art('x', repeat('x', 501), 'pop', null, 64);
select cover_art(repeat('x', 1048576), 'y', 'pop', null, 64);
select cover_art('x', 'y', repeat('x', 1048576), null, 64);
select cover_art('x', 'y', 'pop', repeat('x', 1048576), 64);
select cover_art('x', 'y', 'pop', null, 64, '{1,null}');
select cover_art('x', 'y', 'pop', null, 64, '{1,NaN}');
select cover_art('x', 'y', 'pop', null, 64, '{1,-Infinity}');
select cover_art('x', 'y', 'pop', null, 64, '{{1,2},{3,4}}');

-- Drawn, however odd: the longest, one endless word, marks heaped up, no letters at all
select name, length(cover_art(title, title, 'rock', 'a', 128)) > 1000 as drawn
from (values ('longest', repeat('long ', 100)), ('word', repeat('x', 500)), ('marks', repeat('a' || repeat(U&'\0301', 40), 10)),
             ('wide', repeat('㍿', 500)), ('right to left', repeat('שלום ', 99)), ('both ways', 'abc שלום 123 عربي def'), ('emoji', '👩‍👩‍👧‍👦🏳️‍🌈🇺🇦'), ('punctuation', '…'),
             ('markup', '<b>&amp;</b>'), ('format', '%s%n%d')) v (name, title);

-- Peaks make a ring of any style, and no two of them the same; none are no peaks
select cover_art('x', 'y', 'pop', 'a', 64, array(select i from generate_series(1, 512) i)) = _cover_art_bare('x', 'y', 'pop', 'a', 64, array(select i from generate_series(1, 512) i), 'ring', false) as a_ring,
       cover_art('x', 'y', 'pop', 'a', 64, array(select i from generate_series(1, 512) i)) <> cover_art('x', 'y', 'pop', 'a', 64, array(select 512 - i from generate_series(1, 512) i)) as of_these,
       cover_art('x', 'y', 'pop', 'a', 64, '{}') = cover_art('x', 'y', 'pop', 'a', 64) as empty,
       cover_art('x', 'y', 'pop', 'a', 64, '{0,0,0}') is not null as silent,
       cover_art('x', 'y', 'pop', 'a', 64, '{1e308,-1e308,1e-308}') is not null as huge;

-- A character that no font has is left out, and said so
select cover_art(U&'a\+0FFFFD b', 'y', 'pop', 'a', 64) is not null as drawn;

-- Fonts: a folder without any, and back
set musicverse.font_directory = '/nonexistent/<&>';
select cover_art('x', 'y', 'pop', null, 64);
select cover_art(null, null, 'pop', null, 64) is not null as without_text;
reset musicverse.font_directory;
select cover_art('Night Drive', 'Laser Palms', 'synthwave', 'a', 96) = file as same from made where name = 'first';

-- Who may
create role regress_covers_user;
select has_function_privilege('regress_covers_user', 'cover_art(text, text, text, text, int, float8[], text)', 'execute') as anybody;
begin;
select expose_to(null, 'regress_covers_user');
set role regress_covers_user;
savepoint s;
select cover_art('x', 'y', 'pop', null, 64);
rollback to s;
select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-0000000000c0"}', true) is not null as a_user;
select length(cover_art('x', 'y', 'pop', null, 64)) > 1000 as drawn;
select _cover_art_bare('x', 'y', 'pop', null, 64);
rollback;
drop role regress_covers_user;

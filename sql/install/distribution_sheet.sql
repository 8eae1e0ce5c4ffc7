-- distribution: the sheet that an artist reads while filling in the form of an
-- aggregator without an API
--
-- One HTML file that works offline and prints well: no script, no request, all
-- that comes from a release is escaped and isolated, so that neither tags nor
-- directions of writing go beyond it. A click on an answer selects it whole.

create function _html(value text) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select replace(replace(replace(replace(replace(value, '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&quot;'), '''', '&#39;')
$$;
comment on function _html(text) is 'Text as content or attribute of HTML';

-- What is known of forms; a partner of one's own says it in its config
create function _bundle_form(partner text, title text, config jsonb) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select jsonb_strip_nulls(jsonb_build_object('partner', partner, 'title', coalesce(title, partner),
        'upload_url', coalesce(config ->> 'upload_url', case partner when 'distrokid' then 'https://distrokid.com/new/' when 'tunecore' then 'https://www.tunecore.com/' end),
        'note', coalesce(config ->> 'note', case partner
            when 'distrokid' then 'DistroKid takes music made with AI when you own all rights to it, it imitates nobody, and it is no mass-produced filler. Answer its AI credits truthfully: this sheet has what was recorded.'
            when 'tunecore' then 'TuneCore does not distribute music that is wholly made by AI, and looks for it. Upload a release here only where people had a real part in it, and say so.' end)))
$$;
comment on function _bundle_form(text, text, jsonb) is 'The form that a bundle is for: its name, its address, what is to be known before';

-- Questions of the form about the release: a hint stands where there is nothing to be copied
create function _bundle_questions(form jsonb, release jsonb, facts jsonb) returns table (question text, answer text, hint text)
language sql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
    select q.question, nullif(q.answer, ''), q.hint
      from (values
        (1, 'Number of songs', jsonb_array_length(release -> 'tracks')::text, null),
        (2, case when jsonb_array_length(release -> 'tracks') = 1 then 'Title of the single' else 'Album title' end, release ->> 'title', null),
        (3, 'Version', release ->> 'version_title', 'None: leave it empty'),
        (4, 'Artist or band', _names_by_role(release -> 'artists', '{main}'), null),
        (5, 'Featured artists', _names_by_role(release -> 'artists', '{featured}'), 'None'),
        (6, 'Is the artist on Spotify and Apple Music already?', null, 'If so, choose your own page there: a new one parts you from your listeners'),
        (7, 'Release date', release ->> 'release_date', 'As soon as possible'),
        (8, 'Previously released?', case when release ->> 'original_release_date' <> '' then 'Yes, on ' || (release ->> 'original_release_date') else 'No' end, null),
        (9, 'Record label', release ->> 'label', 'Your name, or what the form offers'),
        (10, 'Cover art', split_part(facts #>> '{cover,name}', '/', 2), 'The file beside this sheet'),
        (11, 'Language', _language_text(release ->> 'language'), 'That of the titles'),
        (12, 'Primary genre', release ->> 'genre', 'The nearest one that the form offers'),
        (13, 'Secondary genre', release ->> 'subgenre', 'None'),
        (14, 'UPC or EAN', release ->> 'upc', 'Leave it empty: ' || (form ->> 'title') || ' gives one'),
        (15, 'Recording copyright (P)', release ->> 'p_line', null),
        (16, 'Copyright (C)', release ->> 'c_line', null),
        (17, 'Countries', (select string_agg(c, ', ') from jsonb_array_elements_text(release -> 'territories') c), 'Worldwide'),
        (18, 'Was the cover made by AI?', _ai_text(release #>> '{ai,artwork}'), null),
        (19, 'May AI be trained with it?', case release ->> 'training_use' when 'allowed' then 'Yes' else 'No' end, null))
        q (n, question, answer, hint)
     where q.n not in (15, 16, 17) or form ->> 'partner' <> 'distrokid'
     order by q.n
$$;
comment on function _bundle_questions(jsonb, jsonb, jsonb) is 'What a form asks of a release, and what to answer';

-- And about each track
create function _bundle_track_questions(form jsonb, release jsonb, n int, facts jsonb) returns table (question text, answer text, hint text)
language sql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
    select q.question, nullif(q.answer, ''), q.hint
      from _bundle_track(release, n, facts) t, lateral (values
        (1, 'Audio file', t.file, null),
        (2, 'Song title', t.title, null),
        (3, 'Version', t.version, 'None: leave it empty'),
        (4, 'Artist', t.artists, null),
        (5, 'Featured artists', t.featured, 'None'),
        (6, 'Other artists', t.others, null),
        (7, 'ISRC', t.isrc, 'Leave it empty: ' || (form ->> 'title') || ' gives one'),
        (8, 'Explicit lyrics?', _yes(t.explicit), null),
        (9, 'Is it instrumental?', _yes(t.instrumental), null),
        (10, 'Language of the lyrics', case when not t.instrumental then _language_text(t.language) end, 'No words'),
        (11, 'Did you write it?', case when t.cover_song then 'No: it is a cover of a song of others' else 'Yes, it is an original song' end, null),
        (12, 'Songwriters (real names)', t.writers, 'The legal names of the people who wrote it, yours if you did'),
        (13, 'Does it contain samples?', _yes(coalesce(t.samples, false)), null),
        (14, 'AI: lyrics', _ai_text(t.ai_lyrics), null),
        (15, 'AI: music', _ai_text(t.ai_music), null),
        (16, 'AI: audio', _ai_text(t.ai_audio), null),
        (17, 'Start of the preview', null, 'Leave it to the platforms'))
        q (n, question, answer, hint)
     where q.answer <> '' or q.hint is not null
     order by q.n
$$;
comment on function _bundle_track_questions(jsonb, jsonb, int, jsonb) is 'What a form asks of a track, and what to answer';

create function _sheet_answer(question text, answer text, hint text) returns text
language sql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
    select format(E'<div><dt>%s</dt><dd>%s</dd></div>\n', _html(question),
                  case when answer is not null then '<bdi class="answer" dir="auto">' || _html(answer) || '</bdi>'
                       else '<span class="hint">' || _html(coalesce(hint, 'Not given')) || '</span>' end)
$$;
comment on function _sheet_answer(text, text, text) is 'A question and its answer on the sheet';

create function _sheet_style() returns text
language sql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
    select ':root { color-scheme: light dark; --paper: #fff; --ink: #1c1b22; --soft: #5d5b6a; --line: #dcdae4; --tint: #f5f3fa; --accent: #5b3fd6; --warn: #8a4b00; --warn-tint: #fff4e2 }
@media (prefers-color-scheme: dark) { :root { --paper: #16151c; --ink: #eceaf4; --soft: #a5a2b5; --line: #35333f; --tint: #201f29; --accent: #b3a2ff; --warn: #ffc77d; --warn-tint: #33270f } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 60rem; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; overflow-wrap: anywhere }
header { display: flex; gap: 1.5rem; align-items: flex-end; flex-wrap: wrap; margin-bottom: 1.5rem }
header img { width: 10rem; height: 10rem; object-fit: cover; border-radius: .5rem; background: var(--tint) }
header div { flex: 1 1 18rem }
h1 { font-size: 2rem; line-height: 1.15; margin: 0 }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem }
h3 { font-size: 1.05rem; margin: 0 0 .5rem }
h3 small { font-weight: 400; color: var(--soft) }
p { margin: .35rem 0 }
.for { color: var(--accent); font-weight: 600; margin: 0 0 .25rem }
.by { font-size: 1.1rem; color: var(--soft) }
a { color: var(--accent) }
.note { background: var(--warn-tint); color: var(--warn); border-radius: .5rem; padding: .75rem 1rem }
ol, ul { padding-inline-start: 1.4rem; margin: .5rem 0 } li { margin: .25rem 0 }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 0 2rem; margin: 0 }
dl div { display: grid; grid-template-columns: 11.5rem 1fr; gap: .75rem; padding: .4rem 0; border-bottom: 1px solid var(--line) }
dt { color: var(--soft) } dd { margin: 0 }
.answer { user-select: all; -webkit-user-select: all; cursor: pointer; font-weight: 600; unicode-bidi: isolate; border-radius: .25rem; outline-offset: 2px }
.answer:hover { outline: 2px solid var(--accent) }
.hint { color: var(--soft); font-style: italic }
.scroll { overflow-x: auto }
table { border-collapse: collapse; table-layout: fixed; width: 100%; min-width: 42rem; font-size: .95rem }
th:nth-child(1) { width: 2.75rem } th:nth-child(2) { width: 28% } th:nth-child(4) { width: 9rem } th:nth-child(5) { width: 4.5rem } th:nth-child(6) { width: 28% }
th:nth-child(1), th:nth-child(5) { text-align: end }
th { text-align: start; color: var(--soft); font-weight: 400; white-space: nowrap }
th, td { padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
td.number { text-align: end; font-variant-numeric: tabular-nums; color: var(--soft) } td.code { white-space: nowrap; font-variant-numeric: tabular-nums }
section.track { background: var(--tint); border-radius: .75rem; padding: 1rem 1.25rem; margin: 0 0 1rem; break-inside: avoid }
.check { list-style: none; padding: 0 } .check li::before { content: ""; display: inline-block; width: .8em; height: .8em; border: 1.5px solid var(--soft); border-radius: .15em; margin-inline-end: .6em }
footer { margin-top: 3rem; color: var(--soft); font-size: .875rem }
code { font-family: ui-monospace, "SF Mono", Consolas, "Noto Sans Mono", monospace; font-size: .9em }
@media (max-width: 34rem) { dl div { grid-template-columns: 1fr; gap: 0 } h1 { font-size: 1.6rem } }
@media print { :root { color-scheme: light; --paper: #fff; --ink: #000; --soft: #444; --line: #bbb; --tint: #fff; --accent: #000; --warn: #000; --warn-tint: #fff }
  @page { margin: 15mm } body { padding: 0; max-width: none; font-size: 10.5pt } section.track, .note { border: 1px solid var(--line) } h2 { break-after: avoid } tr, dl div { break-inside: avoid } table { min-width: 0 } header img { width: 7rem; height: 7rem } }'
$$;
comment on function _sheet_style() is 'How the sheet looks: on a screen, light or dark, and on paper';

create function _bundle_sheet(form jsonb, release jsonb, facts jsonb) returns text
language sql immutable set search_path = musicverse, pg_catalog, pg_temp as $$
    select E'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        || E'<meta http-equiv="Content-Security-Policy" content="default-src ''none''; style-src ''unsafe-inline''; img-src ''self'' file:">\n'
        || E'<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="referrer" content="no-referrer">\n'
        || format(E'<title>%s &#8211; %s</title>\n<style>\n%s\n</style>\n</head>\n<body>\n<main>\n', _html(_package_title(release)), _html(form ->> 'title'), _sheet_style())
        || '<header>'
        || coalesce('<img src="' || _html(split_part(facts #>> '{cover,name}', '/', 2)) || '" alt="The cover">', '')
        || format(E'<div><p class="for">To be uploaded at %s</p><h1><bdi dir="auto">%s</bdi></h1><p class="by"><bdi dir="auto">%s</bdi></p></div></header>\n',
                  _html(form ->> 'title'), _html(_titled(release ->> 'title', release ->> 'version_title')), _html(coalesce(_names_by_role(release -> 'artists', '{main}'), '')))
        || coalesce('<p class="note">' || _html(form ->> 'note') || E'</p>\n', '')
        || E'<h2>What to do</h2>\n<ol>\n'
        || format(E'<li>Open the upload form of %s%s, and keep this sheet beside it. A click on an answer selects it whole.</li>\n', _html(form ->> 'title'),
                  coalesce(': <a href="' || _html(form ->> 'upload_url') || '" rel="noreferrer">' || _html(form ->> 'upload_url') || '</a>', ''))
        || E'<li>Answer its questions as below, and upload the files in this folder.</li>\n'
        || E'<li>When the release can be heard, confirm it where you submitted it, with its address; it is live there from then on.</li>\n</ol>\n'
        || E'<h2>The release</h2>\n<dl>\n'
        || (select string_agg(_sheet_answer(q.question, q.answer, q.hint), '' order by o)
              from _bundle_questions(form, release, facts) with ordinality q (question, answer, hint, o))
        || E'</dl>\n<h2>Tracks at a glance</h2>\n<div class="scroll" role="region" aria-label="Tracks at a glance" tabindex="0"><table>\n<tr><th>No.</th><th>Title</th><th>Artist</th><th>ISRC</th><th>Length</th><th>File</th></tr>\n'
        || (select string_agg(format(E'<tr><td class="number">%s</td><td><bdi dir="auto">%s</bdi></td><td><bdi dir="auto">%s</bdi></td><td class="code">%s</td><td class="number">%s</td><td><bdi dir="auto">%s</bdi></td></tr>\n',
                     n + 1, _html(_titled(t.title, t.version)), _html(coalesce(t.artists, '')), _html(coalesce(t.isrc, '')), coalesce(t.duration, ''), _html(coalesce(t.file, ''))), '' order by n)
              from generate_series(0, jsonb_array_length(release -> 'tracks') - 1) n, _bundle_track(release, n, facts) t)
        || E'</table></div>\n<h2>Track by track</h2>\n'
        || (select string_agg(format(E'<section class="track"><h3>%s. <bdi dir="auto">%s</bdi> <small>%s</small></h3>\n<dl>\n', n + 1, _html(_titled(t.title, t.version)), coalesce(t.duration, ''))
                     || (select string_agg(_sheet_answer(q.question, q.answer, q.hint), '' order by o)
                           from _bundle_track_questions(form, release, n, facts) with ordinality q (question, answer, hint, o))
                     || E'</dl></section>\n', '' order by n)
              from generate_series(0, jsonb_array_length(release -> 'tracks') - 1) n, _bundle_track(release, n, facts) t)
        || E'<h2>What you will be asked to agree to</h2>\n<ul class="check">\n'
        || E'<li>The recordings are yours to sell, and so are the songs, or you have a licence for them.</li>\n'
        || E'<li>No name or voice of another artist is in them, nor in titles or on the cover, without leave.</li>\n'
        || E'<li>What was made by AI is stated, as it is on this sheet.</li>\n'
        || E'<li>No streams are bought; whoever promises them costs you the release.</li>\n</ul>\n</main>\n'
        || E'<footer><p>The same is in <code>metadata.csv</code>, which spreadsheets open. <code>sha256sum -c checksums.sha256</code> tells whether all files are whole.</p></footer>\n</body>\n</html>\n'
$$;
comment on function _bundle_sheet(jsonb, jsonb, jsonb) is 'sheet.html: what to answer to each question of a form';

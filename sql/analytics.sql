-- Sales reports: what is taken, what is put aside, what counts, and for whom; totals.
set client_min_messages = warning;
create extension if not exists musicverse;
set search_path = musicverse, public;
\set VERBOSITY terse
\set SHOW_CONTEXT never
\set user '00000000-0000-4000-8000-0000000000a1'
\set other '00000000-0000-4000-8000-0000000000a2'
set timezone = 'UTC';
set datestyle = iso;
begin;
insert into tracks (id, user_id, title, isrc, audio_url) values
    ('00000000-0000-4000-9000-0000000000a1', :'user', 'Rain', 'QZABC2600001', 'https://a.example.com/1.flac'),
    ('00000000-0000-4000-9000-0000000000a2', :'user', 'Snow', 'QZABC2600002', 'https://a.example.com/2.flac'),
    ('00000000-0000-4000-9000-0000000000a3', :'other', 'Theirs', 'QZABC2600001', 'https://a.example.com/3.flac');
create function pg_temp.release(owner uuid, day timestamptz, upc text, variadic tracks text[]) returns uuid language plpgsql as $$
declare
    d uuid;
begin
    insert into musicverse.distributions (user_id, track_ids, platforms, metadata)
    select owner, array_agg(t.id), '{spotify,deezer}', jsonb_build_object('title', 'R', 'upc', upc, 'tracks', jsonb_agg(jsonb_build_object('track_id', t.id, 'isrc', t.isrc) order by t.id))
      from musicverse.tracks t where t.user_id = owner and t.title = any (tracks) returning id into d;
    insert into musicverse.distribution_work (distribution_id, user_id, partner) values (d, owner, 'spotify_direct');
    insert into musicverse.distribution_targets (distribution_id, user_id, work_id, platform, partner, status, submitted_at, live_at)
    select d, owner, k.id, p, 'spotify_direct', 'live', day, day from musicverse.distribution_work k, unnest('{spotify,deezer}'::text[]) p where k.distribution_id = d;
    return d;
end
$$;
select pg_temp.release(:'user', '2026-01-01', '4006381333931', 'Rain', 'Snow') as album \gset
select pg_temp.release(:'user', '2026-02-01', '614141123452', 'Rain') as single \gset
-- claims a recording of somebody else's, later
select pg_temp.release(:'other', '2026-03-01', null, 'Theirs') as theirs \gset
select distribution_id = :'album' as album, position, isrc, upc, track_id from release_recordings where distribution_id in (:'album', :'single') order by 1 desc, 2;

-- records, whose other cells are empty
create function pg_temp.line(cells int, variadic given text[]) returns text language sql as $$
    select string_agg(coalesce(g.value, ''), e'\t' order by n)
      from generate_series(1, cells) n left join (select split_part(v, '=', 1)::int as place, substr(v, strpos(v, '=') + 1) as value from unnest(given) v) g on g.place = n
$$;
create function pg_temp.head(message text default 'M1', made text default '2026-11-02T10:00:00Z', period text default '2026-10-01 2026-10-31') returns text language sql as $$
    select pg_temp.line(16, '1=HEAD', '2=dsrf/1.4/6/1.4', '3=FinancialReportingToRecordCompaniesSRB', '4=1.1', '5=' || message, '6=' || made, '7=1', '8=1',
        '9=' || split_part(period, ' ', 1), '10=' || split_part(period, ' ', 2), '12=Spotify', '13=Premium')
$$;
create function pg_temp.sy10(id text, territory text, use text default 'OnDemandStream') returns text language sql as $$
    select pg_temp.line(46, '1=SY10.01', '2=' || id, '5=SubscriptionModel', '6=' || use, '7=2026-10', '8=2026-10', '13=' || territory, '14=Premium', '21=USD', '22=EUR')
$$;
create function pg_temp.sr08(id text, isrc text, upc text, uses text, amount text, variadic more text[] default '{}') returns text language sql as $$
    select pg_temp.line(48, variadic array['1=SR08.01', '2=t', '4=' || upc, '14=' || isrc, '25=' || id, '27=' || uses, '47=' || amount] || more)
$$;
-- a report of these lines, whose footer fits
create function pg_temp.report(variadic lines text[]) returns text language sql as $$
    select array_to_string(lines || format(e'SRFO\t%s\t%s', cardinality(lines) + 1, (select count(*) from unnest(lines) l where l like 'SY%')), e'\n') || e'\n'
$$;
create function pg_temp.told(r dsr_reports) returns text language sql as $$
    select format('%s: %s lines, %s sales, %s imported, %s rejected, %s ignored, %s unmatched, %s uses, %s%s', (r).state, (r).lines, (r).sales, (r).imported,
        (r).rejected, (r).ignored, (r).unmatched, (r).quantity, (r).revenue, '; ' || (r).reason)
$$;

-- the profile for record companies
select pg_temp.report(pg_temp.head(), '# what follows is made up', '', pg_temp.sy10('1', 'US'), pg_temp.sy10('2', 'DE', 'PermanentDownload'),
    pg_temp.sr08('1', 'QZABC2600001', '4006381333931', '100', '1.25'), pg_temp.sr08('1', 'QZABC2600001', '0614141123452', '40', '0.5'),
    pg_temp.sr08('1', 'qz-abc-26-00002', '', '7', '0.000000000001'), pg_temp.sr08('2', '', '4006381333931', '5', '3.99', '28=2'),
    pg_temp.sr08('2', 'QZABC2600001', '', '10', '-0.99', '28=1', '29=8', '26=2026-10-05'), pg_temp.sr08('1', 'QZABC2699999', '', '1000', '9.99'), e'DE01\tx') as good \gset
select pg_temp.told(import_dsr('spotify_direct', null, :'good'));
select pg_temp.told(import_dsr('spotify_direct', null, :'good')) as again;
select count(*) from dsr_reports;
select line, record, product, isrc, upc, territory, commercial_model, use_type, service, measure, quantity, revenue, currency, period_start, period_end, left(raw, 10)
  from dsr_lines order by line;
select product, isrc, upc, lines, platform, distribution_id = :'album' as album, distribution_id = :'single' as single, track_id from dsr_products order by product;
select distribution_id = :'album' as album, track_id, platform, territory, day, days, streams, downloads, revenue, currency from distribution_facts order by 1, 2, 4, 5;
select (select sum(quantity) from dsr_lines l join dsr_products p using (report_id, product) where p.distribution_id is not null) = (select sum(streams + downloads) from distribution_facts) as as_many,
       (select sum(revenue) from dsr_lines l join dsr_products p using (report_id, product) where p.distribution_id is not null) = (select sum(revenue) from distribution_facts) as as_much;
select streams, downloads, revenue, first_day, last_day from release_stats where distribution_id = :'album';
select track_id, streams, downloads, revenue from track_stats order by 1;
select user_id = :'user' as mine, platform, streams, downloads, revenue from platform_stats;
select platform, day, days, streams, downloads, revenue, currency from distribution_stats where distribution_id = :'album' order by day;

-- counters of days that a report covers don't count again
insert into distribution_facts (distribution_id, user_id, platform, day, source, streams, likes) values
    (:'album', :'user', 'spotify', '2026-10-31', 'labelgrid', 1000, 3), (:'album', :'user', 'spotify', '2026-11-01', 'labelgrid', 17, 2), (:'album', :'user', 'deezer', '2026-10-31', 'labelgrid', 9, 0);
select platform, streams, likes from platform_stats where user_id = :'user' order by 1;

-- the platform as a whole
insert into accounts (user_id, tier) values ('00000000-0000-4000-8000-0000000000a9', 'pro') on conflict (user_id) do update set tier = 'pro';
insert into distribution_facts (distribution_id, user_id, platform, day, source, streams) values (:'theirs', :'other', 'spotify', current_date - 1, 'spotify_direct', 5);
select count(*), count(target), bool_and(value between 0 and 1) filter (where target is not null) as are_shares from success_metrics;
select metric, value >= 5 as some from success_metrics where metric = 'streams';

-- corrections: a later one takes its place, an earlier one comes too late, a message counts once
select pg_temp.told(import_dsr('spotify_direct', null, pg_temp.report(pg_temp.head(), pg_temp.sy10('1', 'US'), pg_temp.sr08('1', 'QZABC2600001', '', '99', '1'))));
select pg_temp.told(import_dsr('spotify_direct', 'again', :'good' || e'\n'));
select pg_temp.told(import_dsr('spotify_direct', null, pg_temp.report(pg_temp.head(made => '2026-11-03T10:00:00Z'), pg_temp.sy10('1', 'US'), pg_temp.sr08('1', 'QZABC2600001', '4006381333931', '99', '1'))));
select pg_temp.told(import_dsr('spotify_direct', null, :'good')) as the_first_again;
select state, reason, made_at from dsr_reports order by id;
select streams, downloads, revenue from platform_stats where user_id = :'user' and platform = 'spotify';

-- cut, changed, and worse
select n, pg_temp.told(import_dsr('spotify_direct', 'bad', convert_to(content, 'UTF8'))) from (values
    (1, ''), (2, e'\n\n'), (3, e'hello\n'), (4, pg_temp.head('B')), (5, pg_temp.head('B') || e'\nSRFO\t3\t0\n'), (6, pg_temp.head('B') || e'\nSRFO\t2\t1\n'), (7, pg_temp.head('B') || e'\nSRFO\t\t0\n'),
    (8, pg_temp.head('B') || e'\nSRFO\t1e0\t0\n'), (9, pg_temp.head('B') || e'\nSRFO\t2\t0\nSRFO\t3\t0\n'), (10, pg_temp.head('B') || e'\n' || pg_temp.head('B') || e'\nSRFO\t3\t0\n'),
    (11, pg_temp.head('B', period => '2026-13 x') || e'\nSRFO\t2\t0\n'), (12, pg_temp.head('B', period => '2026-10-31 2026-10-01') || e'\nSRFO\t2\t0\n'), (13, e'HEAD\tx\n'),
    (14, pg_temp.head('M2') || e'\nSRFO\t2\t0')) v (n, content) order by n;
select count(*) from dsr_lines l join dsr_reports r on r.id = l.report_id where r.report = 'bad';

-- lines that are wrong are put aside alone
select pg_temp.told(import_dsr('spotify_direct', 'lines', convert_to(pg_temp.report(pg_temp.head('M3'), pg_temp.sy10('1', 'US'), pg_temp.sy10('1', 'US'), pg_temp.sy10('', 'US'),
    pg_temp.line(46, '1=SY10.01', '2=9', '22=euro'), pg_temp.line(46, '1=SY10.01', '2=8'),
    pg_temp.sr08('7', 'QZABC2600001', '', '1', '1'), pg_temp.sr08('1', 'QZABC2600001', '', '', '1'), pg_temp.sr08('1', 'QZABC2600001', '', '1e9', '1'), pg_temp.sr08('1', 'QZABC2600001', '', '1.5', '1'),
    pg_temp.sr08('1', 'QZABC2600001', '', '9999999999999999', '1'), pg_temp.sr08('1', 'QZABC2600001', '', '1', 'NaN'), pg_temp.sr08('1', 'QZABC2600001', '', '1', '1,5'),
    pg_temp.sr08('1', 'QZABC2600001', '', '1', '1.'), pg_temp.sr08('1', 'QZABC2600001', '', '1', '0.0000000000001'), pg_temp.sr08('1', 'QZABC2600001', '', '1', repeat('9', 16)),
    pg_temp.sr08('1', 'QZABC2600001', '', '2.0', '999999999999999.999999999999', '26=2026-10-07'), pg_temp.sr08('8', 'QZABC2600001', '', '1', '1'), pg_temp.sr08('1', 'QZABC2600001', '', '1', '1', '26=2026-02-30'),
    pg_temp.sr08('1', 'QZABC2600001', '', '1', '1', '28=x'), pg_temp.sr08('1', 'not one', '12', '1', ''), pg_temp.sr08('1', 'QZABC2600001', '', '1', '1') || e'\tx', 'SR08.01', 'sr08', 'Total: 7', e'XX99\tx',
    pg_temp.sr08('1', '"QZABC2600001"', '', '1', '') || e'\r'), 'UTF8') || ''));
select line, x.reason from dsr_rejects x join dsr_reports r on r.id = x.report_id where r.report = 'lines' order by line;
select line, isrc, x.quantity, x.revenue, currency from dsr_lines x join dsr_reports r on r.id = x.report_id where r.report = 'lines' order by line;
-- no text at all, within a good report
select pg_temp.told(import_dsr('spotify_direct', 'bytes', convert_to(pg_temp.head('M4') || e'\n' || pg_temp.sy10('1', 'US') || e'\n', 'UTF8') || 'SR08.01' || '\x00'::bytea || e'\n' || '\xff80'::bytea || convert_to(e'\nSRFO\t5\t1\n', 'UTF8')));
select line, x.reason, raw from dsr_rejects x join dsr_reports r on r.id = x.report_id where r.report = 'bytes' order by line;
select pg_temp.told(import_dsr('spotify_direct', 'long', pg_temp.report(pg_temp.head('M5'), pg_temp.sy10('1', 'US'), repeat('x', 1048577), pg_temp.sr08('1', 'QZABC2600001', '', '1', '1') )));
select line, x.reason, length(raw) from dsr_rejects x join dsr_reports r on r.id = x.report_id where r.report = 'long';
select pg_temp.told(import_dsr('spotify_direct', 'mark', e'\ufeff' || replace(pg_temp.report(pg_temp.head('M6'), pg_temp.sy10('1', 'US'), pg_temp.sr08('1', 'QZABC2600002', '', '3', '1')), e'\n', e'\r\n')));

-- blocks: what was sold is said by reference
select pg_temp.told(import_dsr('spotify_direct', 'blocks', array_to_string(array[pg_temp.head('M7', period => '2026-09-01 2026-09-30'),
    pg_temp.line(15, '1=SY01.02', '2=1', '5=PayAsYouGoModel', '6=PermanentDownload', '7=FR', '11=EUR'), pg_temp.line(22, '1=SY02.03', '2=2', '5=AdvertisementSupportedModel', '6=OnDemandStream', '7=FR', '11=EUR'),
    pg_temp.line(16, '1=RE01.02', '2=b1', '3=R1', '7=4006381333931'), pg_temp.line(13, '1=AS01.02', '2=b1', '3=A1', '4=d1', '5=QZABC2600001'), pg_temp.line(24, '1=AS02.03', '2=b1', '3=A2', '5=QZABC2600002'),
    pg_temp.line(19, '1=MW01.02', '2=b1'), pg_temp.line(13, '1=SU01.02', '2=b1', '3=1', '4=x', '5=R1', '9=4', '10=1'), pg_temp.line(11, '1=SU02.02', '2=b1', '3=2', '6=A2', '8=70'),
    pg_temp.line(11, '1=SU03.02', '2=b1', '4=2', '5=d1', '6=30', '7=0.3', '8=2026-09-02', '9=2026-09-08'), pg_temp.line(11, '1=SU02.02', '2=b1', '3=2', '6=A9', '8=70'),
    pg_temp.line(11, '1=SU02.02', '2=b2', '3=2', '6=A1', '8=70'), e'FOOT\t13\t13\t2\t2\t2'], e'\n')));
select line, x.reason from dsr_rejects x join dsr_reports r on r.id = x.report_id where r.report = 'blocks' order by line;
select line, record, isrc, upc, measure, x.quantity, x.revenue, currency, period_start, period_end from dsr_lines x join dsr_reports r on r.id = x.report_id where r.report = 'blocks' order by line;
select pg_temp.told(import_dsr('spotify_direct', 'fewer blocks', pg_temp.head('M8') || e'\nFOOT\t2\t2\t0\t1\t1\n'));

-- for several platforms the channel says which; cumulative ones take the place of those that end earlier
update partners set config = '{"dsr": {"cumulative": true}, "outlets": {"deezer": "Deezer SA"}}' where name = 'labelgrid';
select channel, pg_temp.told(import_dsr('labelgrid', 'to ' || day, pg_temp.report(pg_temp.head('C' || day, period => '2026-08-01 ' || day),
    pg_temp.line(15, '1=SY01.02', '2=1', '3=' || channel, '7=FR', '11=EUR'), pg_temp.line(39, '1=SR02.01', '2=1', '4=QZABC2600002', '35=' || n))))
  from (values (1, '2026-08-10', 'Deezer SA', 10), (2, '2026-08-20', 'deezer', 25), (3, '2026-08-15', 'Deezer', 20), (4, '2026-08-31', 'Nobody', 40)) v (o, day, channel, n) order by o;
select report, state, reason from dsr_reports where partner = 'labelgrid' order by id;
select sum(streams) from distribution_facts where source = 'labelgrid' and report_id is not null;

-- a release that came after its report; deletion
select pg_temp.told(import_dsr('spotify_direct', 'early', pg_temp.report(pg_temp.head('M9', period => '2026-07-01 2026-07-31'), pg_temp.sy10('1', 'US'), pg_temp.sr08('1', 'QZABC2600003', '', '11', '1'))));
insert into tracks (user_id, title, isrc, audio_url) values (:'other', 'Late', 'QZABC2600003', 'https://a.example.com/4.flac');
select pg_temp.release(:'other', '2026-07-01', null, 'Late') as late \gset
select pg_temp.told(rematch_dsr((select id from dsr_reports where report = 'early')));
select sum(streams) from distribution_facts where distribution_id = :'late';
update distributions set metadata = jsonb_set(metadata, '{tracks,0,isrc}', '"QZABC2600004"') where id = :'late';
select isrc from release_recordings where distribution_id = :'late';
delete from distributions where id = :'late';
select count(*) from distribution_facts where distribution_id = :'late';
delete from dsr_reports where report = 'blocks';
select count(*) from dsr_lines l where not exists (select from dsr_reports r where r.id = l.report_id);
select count(*) from distribution_facts f where report_id is not null and not exists (select from dsr_reports r where r.id = f.report_id);

-- an older release that is changed to the codes of somebody else's
insert into tracks (user_id, title, isrc, audio_url) values (:'other', 'Older', 'QZABC2600005', 'https://a.example.com/5.flac');
select pg_temp.release(:'other', '2025-01-01', '036000291452', 'Older') as older \gset
update release_recordings r set isrc_since = t.live_at, upc_since = t.live_at from distribution_targets t where t.distribution_id = r.distribution_id and t.platform = 'spotify';
update distributions set metadata = jsonb_set(metadata || '{"title": "Renamed"}', '{tracks,0,isrc}', '"QZ-ABC-26-00005"') where id = :'older';
select isrc_since < now() as as_before, upc_since < now() as as_before from release_recordings where distribution_id = :'older';
update distributions set metadata = jsonb_set(metadata || '{"upc": "4006381333931"}', '{tracks,0,isrc}', '"QZABC2600001"') where id = :'older';
select pg_temp.told(import_dsr('spotify_direct', 'claimed', pg_temp.report(pg_temp.head('M10', period => '2026-06-01 2026-06-30'), pg_temp.sy10('1', 'US'),
    pg_temp.sr08('1', 'QZABC2600001', '4006381333931', '13', '2'), pg_temp.sr08('1', 'QZABC2600001', '', '14', '3'), pg_temp.sr08('1', '', '4006381333931', '15', '4'))));
select isrc, upc, user_id = :'user' as mine from dsr_products p join dsr_reports r on r.id = p.report_id where r.report = 'claimed' order by product;

-- property: what counts is what was imported of ours
select coalesce(sum(l.quantity), 0) = (select sum(streams + downloads) from distribution_facts where report_id is not null) as as_many,
       coalesce(sum(l.revenue), 0) = (select sum(revenue) from distribution_facts where report_id is not null) as as_much
  from dsr_lines l join dsr_reports r on r.id = l.report_id and r.state = 'imported' join dsr_products p on p.report_id = l.report_id and p.product = l.product and p.distribution_id is not null;

-- sums are of 64 bits: what would be more of them is put aside
select pg_temp.told(import_dsr('spotify_direct', 'much', (select pg_temp.report(variadic array[pg_temp.head('MA'), pg_temp.sy10('1', 'US')]
    || array_agg(pg_temp.sr08('1', 'QZABC2600001', '', v.uses, '1') order by n))
    from (select n, '999999999999990' as uses from generate_series(1, 9300) n union all select 9301, '9' union all select 9302, '2' union all select 9303, '-2' union all select 9304, '1') v)));
select line, x.reason from dsr_rejects x join dsr_reports r on r.id = x.report_id where r.report = 'much' and (line < 5 or line > 9300) order by line;
select sum(streams) from distribution_facts f join dsr_reports r on r.id = f.report_id where r.report = 'much';

-- packed with gzip: of one member and of two; the report is what comes out
\set packed '1f8b08000000000002037d8d410f82300c85cfe5bf00ed201cbc81a05e0ccabcc80dd9962c0146061cfcf76ed1c478f16bd3347defa5a72a2f412c56c514a571e62714dda2fb7c13da5cac517a90bc29c00bc71618b22c240a91dd0877e8bb0572f51630c4ef9a10009fcdaad5131c01bf238b30716677df1e4b6ff5bc6a339d8d9003d45329c76e127cb5b21b8157f04bc01b1ff7bfe0dae6c59e65e860f01fa24ff850430a14bc007bb8142cf1000000'
\set in_two '1f8b0800000000000203f3707574e14c292e4ad337d433d13703919c4e89c599c98ea52999f90145f9699939a9c1414e9c2009f7284e230323335d43435d03a31043032b03108ae2340442888481ae0182696cc8c9195c905f929956c909045cc19106467a06c640c59c9c00f5089879780000001f8b08000000000002030b2e4d2a4e2eca2c28c9cccff3cd4f49cde1f4cf7349cd4dcc4b092e294a4dcce50c76e544055cc14106467a06869c869c9c81518e4ece4666064060c4891f181a4235bbf9739a701a720100bcfbd86c7900000000000000000000'
-- cut, changed, with something behind it, and worse
select n, pg_temp.told(import_dsr('spotify_direct', 'bad pack', content)) from (values
    (1, substr(decode(:'packed', 'hex'), 1, 100)), (2, substr(decode(:'packed', 'hex'), 1, 4)), (3, set_byte(decode(:'packed', 'hex'), length(decode(:'packed', 'hex')) - 5, 7)),
    (4, decode(:'packed', 'hex') || 'x'::bytea), (5, set_byte(decode(:'packed', 'hex'), 60, 255)), (6, decode(:'packed', 'hex') || substr(decode(:'packed', 'hex'), 1, 30)),
    (7, '\x1f8b'::bytea), (8, '\x1f8b08000000000002030300000000000000000000'::bytea), (9, substr(decode(:'in_two', 'hex'), 1, 150))) v (n, content) order by n;
select pg_temp.told(import_dsr('spotify_direct', 'packed', decode(:'packed', 'hex')));
select pg_temp.told(import_dsr('spotify_direct', 'packed', decode(:'in_two', 'hex'))) as in_two, count(*) from dsr_reports where report = 'packed';
select bytes, length(sha256), quantity from dsr_reports where report = 'packed';

create function pg_temp.refusal(query text) returns text language plpgsql as $$
begin
    execute query;
    return 'no refusal';
exception when others then
    return format('%s %s', sqlstate, left(sqlerrm, 200));
end
$$;
select pg_temp.refusal(q) from (values (1, $$select import_dsr('nobody', null, 'x')$$), (2, $$select import_dsr('spotify_direct', '', 'x')$$), (3, $$select import_dsr('spotify_direct', 'x', null::text)$$),
    (4, $$select import_dsr_file('spotify_direct', '/nowhere.tsv')$$), (5, $$select import_dsr_file('spotify_direct', 'x.tsv')$$), (6, $$select import_dsr_file('spotify_direct', '/tmp')$$),
    (7, $$select rematch_dsr(-1)$$)) v (n, q) order by n;
rollback;

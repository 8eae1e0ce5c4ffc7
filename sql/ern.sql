-- Messages of DDEX: what is written of a release, what is refused, what answers say, how files are called.
-- The official schemas are no part of this: test/t/110_ern.pl judges by them.
set client_min_messages = warning;
create extension if not exists musicverse;
set search_path = musicverse, public;
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on

create function pg_temp.release() returns jsonb language sql as $$ select '{
    "upc": "0614141123452", "title": "First Light", "label": "Example Label", "genre": "Electronic",
    "artists": [{"name": "Ada Example", "sort_name": "Example, Ada", "isni": "0000000121032683"}],
    "p_line": {"year": 2026, "text": "(P) 2026 Example Label"}, "c_line": {"year": 2026, "text": "(C) 2026 Example Label"},
    "release_date": "2026-03-06",
    "cover": {"file": "0614141123452.jpg", "width": 3000, "height": 3000, "hashes": {"MD5": "d41d8cd98f00b204e9800998ecf8427e"}},
    "tracks": [{"isrc": "QZABC2600001", "title": "First Light", "duration": 200.4, "file": "0614141123452_01_001.flac",
                "hashes": {"MD5": "d41d8cd98f00b204e9800998ecf8427e"}}]}'::jsonb $$;
create function pg_temp.profile(more jsonb default '{}') returns jsonb language sql as $$ select '{
    "sender": {"dpid": "PADPIDA2012041004F", "name": "Example Label"}, "recipient": {"dpid": "PADPIDA2011072101T"},
    "message_id": "MSG-1", "created": "2026-01-15T10:00:00Z", "hash_algorithm": "MD5", "validate": false,
    "commercial_models": ["SubscriptionModel"], "use_types": ["OnDemandStream"]}'::jsonb || more $$;

-- a single in both versions, as it is sent
select ern_message(pg_temp.release(), pg_temp.profile());
select ern_message(pg_temp.release(), pg_temp.profile('{"version": "3.8.2"}'));
select ern_message('{"upc": "0614141123452"}', pg_temp.profile('{"kind": "purge", "test": true}'));

-- parts of a message
create function pg_temp.part(element text, release jsonb default '{}', more jsonb default '{}') returns setof text language sql as $$
    select regexp_replace(m[1], '\n\s*', ' ', 'g')
      from regexp_matches(ern_message(pg_temp.release() || release, pg_temp.profile(more)), '(<' || element || '[ >].*?</' || element || '>)', 'g') m $$;
-- who is displayed, and who is told of once
select pg_temp.part('Party', '{"artists": [{"name": "A"}, {"name": "B"}, {"name": "C", "role": "FeaturedArtist"}, {"name": "D", "role": "FeaturedArtist"}]}'),
       pg_temp.part('DisplayArtistName', '{"artists": [{"name": "A"}, {"name": "B"}, {"name": "C", "role": "FeaturedArtist"}, {"name": "D", "role": "FeaturedArtist"}]}');
-- deals: territories, times with and without a zone, before the release, their end
select pg_temp.part('Deal', '{"territories": ["DE", "AT"]}');
select pg_temp.part('Deal', '{"excluded_territories": ["US"], "deals": [
    {"start": "2026-02-20T00:00:00+01:00", "end": "2026-03-06T00:00:00+01:00", "pre_order": true, "commercial_models": ["PayAsYouGoModel"], "use_types": ["PermanentDownload"]},
    {"start": "2026-03-06T00:00:00+01:00", "territories": ["CH"]}]}');
select pg_temp.part('Deal', '{"deals": [{"start": "2026-02-20", "pre_order": true}]}', '{"version": "3.8.2"}');
select count(*) as deals from pg_temp.part('Deal', '{}', '{"kind": "takedown"}');
select pg_temp.part('ValidityPeriod', '{}', '{"kind": "takedown", "takedown": "end_date", "takedown_at": "2026-04-01"}');
select pg_temp.part('ValidityPeriod', '{}', '{"kind": "takedown", "takedown": "end_date", "takedown_at": "2026-02-01"}');
select pg_temp.part('Deal', '{}', '{"kind": "takedown", "takedown": "take_down", "takedown_at": "2026-04-01T00:00:00Z", "version": "3.8.2"}');
-- an update sends no files unless it is told to
select count(*) from pg_temp.part('TechnicalDetails', '{}', '{"kind": "update"}');
select count(*) from pg_temp.part('TechnicalDetails', '{}', '{"kind": "update", "resources": true}');
-- what cannot be in XML goes, space becomes one, everything else stays
select pg_temp.part('DisplayTitleText', jsonb_build_object('title', E'  <b>&amp; "quoted" ]]> \x01\x07\x1b\x7f\u0085\uffff\ufffe tab\t\tand\r\n\r\nlines  '));
select pg_temp.part('DisplayTitleText', jsonb_build_object('title', E'שלום \u202eevil\u202c 🎵 👩‍👩‍👧 日本語 e\u0301 \U0010FFFD'));
select pg_temp.part('DisplayTitleText', '{"title": "One", "version": "Live"}');
-- AI: of a track, of a part, of all, by somebody without a name
select pg_temp.part(element, jsonb_build_object('contains_ai', 'Partly', 'tracks', jsonb_build_array(pg_temp.release() #> '{tracks,0}' || '{"contributors": [
    {"name": "Ada", "role": "Composer", "ai": "None"}, {"generative": true, "role": "Performer", "ai": "All"}]}'))) from unnest('{ContainsAI,Contributor}'::text[]) element;
select pg_temp.part('ContainsAI', jsonb_build_object('tracks', jsonb_build_array(pg_temp.release() #> '{tracks,0}' || '{"contains_ai": "None"}')));

-- everything that is wrong at once
select ern_message('{}', '{}');
select ern_message('[]', '7');
select ern_message(pg_temp.release() || '{"upc": "0614141123453", "genre": 7, "artists": [{"role": "Producer"}, 8], "release_date": "2026-02-30", "explicit": "maybe", "territories": ["Germany"],
    "contains_ai": "yes", "tracks": [{"isrc": "QZ-ABC-26-00001", "title": " \t", "duration": 0, "file": "../x.flac", "hashes": {"MD5": "x"}, "disc": 2},
        {"isrc": "QZABC2600001", "title": "b", "duration": 1e300, "file": "x", "disc": 1, "hashes": {"MD5": "d41d8cd98f00b204e9800998ecf8427e"}}, {"isrc": "QZABC2600001", "title": "c", "duration": 1, "file": ".x"}],
    "deals": [{"start": "tomorrow", "territories": ["DE"], "excluded_territories": ["AT"]}]}', pg_temp.profile());
select ern_message(pg_temp.release(), pg_temp.profile('{"version": "4.3"}'));
select ern_message(pg_temp.release(), pg_temp.profile('{"version": "3.8.2", "kind": "purge"}'));
select ern_message(pg_temp.release(), pg_temp.profile('{"takedown": "take_down"}'));
select ern_message(pg_temp.release() || jsonb_build_object('contains_ai', 'None', 'tracks', jsonb_build_array(pg_temp.release() #> '{tracks,0}' || '{"contributors": [{"name": "Ada", "role": "Composer", "ai": "Partly"}]}')), pg_temp.profile());
select ern_message(null, pg_temp.profile()) is null;
-- without the schemas nothing is called valid
select ern_message(pg_temp.release(), pg_temp.profile('{"validate": true}'));
select ern_problems('<x/>', '4.3.2');
select ern_problems('<x/>', '4.1');

-- answers
\pset tuples_only off
\pset null null
select * from acknowledgement('<?xml version="1.0" encoding="UTF-8"?>
<ns3:AcknowledgementMessage xmlns:ns3="http://ddex.net/xml/ern-c-sftp/18"><MessageHeader><MessageId>ACK-1</MessageId></MessageHeader>
  <ReleaseStatus><ReleaseId><ICPN>0614141123452</ICPN></ReleaseId><ReleaseStatus>SuccessfullyIngestedByReleaseDistributor</ReleaseStatus>
    <Acknowledgement><MessageType>NewReleaseMessage</MessageType><MessageId>MSG-1</MessageId><MessageStatus><Status>FileOK</Status></MessageStatus></Acknowledgement></ReleaseStatus>
  <ReleaseStatus><ReleaseId><ICPN>0614141123469</ICPN></ReleaseId><ReleaseStatus>ProcessingErrorAtReleaseDistributor</ReleaseStatus>
    <Acknowledgement><MessageId>MSG-2</MessageId><MessageStatus><Status> ResourceCorrupt
 </Status></MessageStatus><ErrorText><![CDATA[<track 3> & more]]></ErrorText><ProposedActionType>ResendXmlAndResources</ProposedActionType></Acknowledgement></ReleaseStatus>
</ns3:AcknowledgementMessage>');
-- the older form, which has one release
select * from acknowledgement('<f:FtpAcknowledgementMessage xmlns:f="http://ddex.net/xml/ern-c/15"><MessageHeader><MessageId>A</MessageId></MessageHeader>
  <AcknowledgedFile><ReleaseId><GRid>A12425GABC1234002M</GRid></ReleaseId><Date>2026-01-01</Date></AcknowledgedFile><FileStatus>IdentifierInvalid</FileStatus>
  <ErrorText>no such ISRC</ErrorText><ProposedActionType>ResendXmlOnly</ProposedActionType></f:FtpAcknowledgementMessage>');
select s as said, a.status from unnest('{InPreparationForDeliveryToReleaseDistributor,InDeliveryToReleaseDistributor,DeliveredToReleaseDistributor,ReleaseReceivedByReleaseDistributor,
    SuccessfullyIngestedByReleaseDistributor,ReleaseStagedForPublication,ReleaseMadeAvailableToConsumers,ProcessingErrorAtReleaseCreator,RightsConflict,ReleaseViolatesTermsOfService,
    ReleaseNotAvailable,Something}'::text[]) s, acknowledgement('<x xmlns="urn:any"><ReleaseStatus>' || s || '</ReleaseStatus></x>') a;
select * from acknowledgement('<x/>');
-- hostile ones; the details are libxml2's words
\set VERBOSITY terse
select acknowledgement('');
select acknowledgement('{"status": "ok"}');
select acknowledgement('<a><b></a>');
select acknowledgement('<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x><ReleaseStatus>&e;</ReleaseStatus></x>');
select acknowledgement('<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd"><x/>');
select acknowledgement('<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><l>&c;</l>');
select acknowledgement('<x>&e;</x>');
select acknowledgement(repeat('<a>', 100000));
select acknowledgement('<x>' || repeat('y', 1100000) || '</x>');
select (acknowledgement('<?xml version="1.0" encoding="ISO-8859-1"?><x><ErrorText>ä€</ErrorText></x>')).text as "the declared encoding was before it became text";
select (acknowledgement('<x xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="/etc/passwd" parse="text"/><ErrorText>no</ErrorText></x>')).text;

-- the manifest of a batch
\set VERBOSITY default
\pset tuples_only on
select batch_complete(pg_temp.profile(), '[{"message_id": "MSG-1", "upc": "0614141123452", "hash": "d41d8cd98f00b204e9800998ecf8427e"}, {"message_id": "MSG-2", "upc": "614141000036", "kind": "takedown"}]');
select batch_complete('{}', '[]');
select batch_complete(pg_temp.profile('{"choreography": "x"}'), '[{}, 7]');

-- names
set timezone = 'America/New_York';
select ern_batch_id('2026-02-20 10:00:00.123Z'), ern_folder('0614141123452', '2026-02-20 10:00:00.123Z'), ern_folder('0614141123452', '2026-02-20 23:59:59.9Z', 'priority');
select ern_path('0614141123452'), ern_path('20260220100000123', '0614141123452'), ern_batch_complete_path('20260220100000123');
select ern_resource_name('0614141123452', 'flac', 1), ern_resource_name('0614141123452', 'wav', 12, 2), ern_resource_name('0614141123452', 'jpg');
select ern_path('../../etc/passwd');
select ern_folder('1', now(), 'urgent');
select ern_resource_name('1', 'flac;x', 1);
select ern_resource_name('1', 'flac', 0);

-- a folder of answers that is full of names
\pset tuples_only off
begin;
select _take_listing('spotify_direct', (select string_agg(format('ACK_%s.xml', i), E'\n') from generate_series(1, 12000) i)) as taken;
select _take_listing('spotify_direct', (select string_agg(format('ACK_%s.xml', i), E'\n') from generate_series(1, 12000) i)) as none_more_until_some_are_read;
update partner_acknowledgements set read_at = now() where id in (select id from partner_acknowledgements order by id limit 500);
select _take_listing('spotify_direct', (select string_agg(format('ACK_%s.xml', i), E'\n') from generate_series(1, 12000) i)) as as_many_as_were_read;
rollback;

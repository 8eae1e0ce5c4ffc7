# Messages of DDEX by their official schemas: whatever is written validates, by
# the server and by xmllint, for both versions; what doesn't is refused; the
# official samples pass; schemas that were changed are not taken; memory that
# libxml2 allocates comes back. DDEX's licence lets tests have the schemas, not
# the repository: they are looked for beside the project, or where
# MUSICVERSE_DDEX says.
use MusicVerse::Test;

use File::Copy qw(copy);
use File::Path qw(make_path);

my $ddex = $ENV{MUSICVERSE_DDEX} || "$root/../shared/ddex";
plan(skip_all => "the schemas of DDEX are not in $ddex: set MUSICVERSE_DDEX") unless -r "$ddex/xsd/ern432/release-notification.xsd";

my $work = PostgreSQL::Test::Utils::tempdir();
my $node = new_cluster('main', 'musicverse.ddex_schema_directory' => "$ddex/xsd");

# ---- releases and profiles

my %hashes = (MD5 => 'd41d8cd98f00b204e9800998ecf8427e', 'SHA-256' => 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');

sub release
{
	my ($tracks, %more) = @_;
	return {
		upc => '0614141123452', title => 'Long Night', label => 'Example Label', genre => 'Electronic', subgenre => 'House',
		artists => [ { name => 'Ada Example', sort_name => 'Example, Ada', isni => '0000000121032683' } ],
		p_line => { year => 2026, text => '(P) 2026 Example Label' }, c_line => { year => 2026, text => '(C) 2026 Example Label' },
		release_date => '2026-03-06', catalog_number => 'EX-001', grid => 'A12425GABC1234002M', language => 'en',
		cover => { file => '0614141123452.jpg', width => 3000, height => 3000, size => 1234567, hashes => \%hashes },
		tracks => [ map { track($_) } 1 .. $tracks ], %more };
}

sub track
{
	my ($number, %more) = @_;
	return {
		isrc => sprintf('QZABC26%05d', $number), iswc => 'T0345246801', title => "Track $number", duration => 3000 + $number, language => 'en',
		file => sprintf('0614141123452_01_%03d.flac', $number), size => 12345678, hashes => \%hashes, channels => 2, sample_rate => 44100, bits => 24,
		contributors => [ { name => 'Ada Example Smith', role => 'ComposerLyricist', ipi => '00123456789' }, { name => 'Pat', role => 'Mixer' } ], %more };
}

sub profile
{
	my (%more) = @_;
	return {
		sender => { dpid => 'PADPIDA2012041004F', name => "Example & S\x{f6}hne" }, recipient => { dpid => 'PADPIDA2011072101T', name => 'Example DSP' },
		message_id => 'MSG-1', created => '2026-01-15T10:00:00Z', test => JSON::PP::true,
		commercial_models => [ 'SubscriptionModel', 'AdvertisementSupportedModel' ], use_types => [ 'OnDemandStream', 'NonInteractiveStream', 'ConditionalDownload' ], %more };
}

sub write_file
{
	my ($file, $text) = @_;
	open my $handle, '>', $file or die "$file: $!";
	print $handle $text;
	close $handle;
	return $file;
}

# What xmllint says against files of a version, empty when all are valid; it reads the schema once
sub judge
{
	my ($version, @files) = @_;
	my $schema = "$ddex/xsd/ern" . ($version =~ s/\.//gr) . '/release-notification.xsd';
	my $said = qx{xmllint --nonet --noout --schema "$schema" @files 2>&1};
	my $valid = () = $said =~ /^\S+ validates$/mg;
	return $? == 0 && $valid == @files ? '' : $said;
}

sub message { my ($release, $profile) = @_; return sql($node, sprintf 'select musicverse.ern_message(%s, %s)', lit($release), lit($profile)); }

my $serial = 0;
my %written;    # version => files

# The server finds it valid; xmllint is asked about all at the end
sub validates
{
	my ($name, $release, %profile) = @_;
	my @messages;
	foreach my $version (grep { !$profile{version} || $_ eq $profile{version} } '4.3.2', '3.8.2')
	{
		my $text = eval { message($release, profile(%profile, version => $version)) };
		my $why = $@;
		ok(defined $text, "$version, $name: is written and found valid") or diag($why), next;
		push @{ $written{$version} }, write_file(sprintf('%s/%03d_%s.xml', $work, ++$serial, $name =~ s/\W+/_/gr), "$text\n");
		push @messages, $text;
	}
	return @messages;
}

# ---- everything validates

my ($single432, $single382) = validates('single', release(1));
my ($album432, $album382)   = validates('album of 12 tracks', release(12));
validates('EP', release(5));
validates('without what need not be', do {
	my $bare = release(1);
	delete @$bare{qw(c_line catalog_number grid language subgenre)};
	delete @{ $bare->{tracks}[0] }{qw(iswc language size channels sample_rate bits contributors)};
	$bare;
});
validates('several discs', release(4, tracks => [ map { track($_, disc => int(($_ + 1) / 2)) } 1 .. 4 ]));
validates('several artists, featured ones, everybody who contributed', release(2,
	artists => [ { name => 'A' }, { name => 'B' }, { name => 'C', role => 'FeaturedArtist' } ],
	tracks => [ track(1, artists => [ { name => 'A' }, { name => 'D', role => 'FeaturedArtist', isni => '000000012281955X' } ], version => 'Live'),
		track(2, contributors => [ map { { name => "N $_", role => $_ } } qw(Composer Lyricist Arranger MusicPublisher Producer Mixer MasteringEngineer Programmer StudioMusician LeadVocalist Remixer) ]) ]));
validates("parental warning $_->[0]", release(2, explicit => $_->[1], tracks => [ track(1, explicit => JSON::PP::true), track(2) ]))
  foreach [ explicit => JSON::PP::true ], [ none => JSON::PP::false ], [ clean => 'clean' ], [ unknown => 'unknown' ];
validates('some territories', release(1, territories => [ 'DE', 'AT', 'CH' ]));
validates('all territories but some', release(1, excluded_territories => [ 'US', 'CA' ]));
validates('deals with zones, a pre-order, an end', release(2, deals => [
	{ start => '2026-02-20T00:00:00+01:00', end => '2026-03-06T00:00:00+01:00', pre_order => JSON::PP::true, commercial_models => ['PayAsYouGoModel'], use_types => ['PermanentDownload'] },
	{ start => '2026-03-06T00:00:00.5-03:30', territories => [ 'BR', 'AR' ] }, { start => '2026-03-06', end => '2027-03-06T00:00:00Z', territories => ['JP'] } ]));
foreach my $ai (qw(All Partly None))
{
	my ($message) = validates("AI: $ai", release(2, contains_ai => $ai,
		cover => { %{ release(1)->{cover} }, contains_ai => $ai },
		tracks => [ map { track($_, contributors => $ai eq 'All' ? [ { generative => JSON::PP::true, role => 'Performer', ai => 'All' } ]
				: [ { name => 'Ada', role => 'Composer', ai => $ai }, $ai eq 'None' ? () : { generative => JSON::PP::true, role => 'Performer', ai => 'All' } ]) } 1, 2 ]));
	is(scalar(() = $message =~ m{<ContainsAI>$ai</ContainsAI>}g), 4, "4.3.2, AI: $ai is told of the release, each track and the cover");
}
validates('update without files', release(3), kind => 'update');
validates('update with files', release(3), kind => 'update', resources => JSON::PP::true);
my ($gone432, $gone382) = validates('takedown by no deal', release(2), kind => 'takedown', takedown => 'no_deal');
unlike("$gone432$gone382", qr/DealList/, 'a takedown by no deal has none');
my ($ended) = validates('takedown by an end', release(2), kind => 'takedown', takedown => 'end_date', takedown_at => '2026-04-01T00:00:00Z');
like($ended, qr{<EndDateTime>2026-04-01T00:00:00Z</EndDateTime>}, 'a takedown by an end has it');
validates('takedown by TakeDown', release(2), kind => 'takedown', takedown => 'take_down', version => '3.8.2');
validates('purge', { upc => '0614141123452' }, kind => 'purge', version => '4.3.2');
validates('on behalf of another, hashes of another kind', release(1), on_behalf_of => { dpid => 'PADPIDA2007040502I', name => 'X' }, hash_algorithm => 'SHA-256');
validates('hashes left out', release(1), hash_algorithm => 'none');

# ---- titles of every kind

my %title = (
	markup => q{<b>&amp;"'</TitleText>]]>&#0;<!-- <![CDATA[ <?x},
	control => join('', map { chr } 1 .. 31, 127 .. 159) . 'x',
	noncharacters => "\x{fdd0}\x{fffe}\x{ffff}\x{1fffe}x\x{10ffff}",
	'right to left' => "\x{202e}\x{5e9}\x{5dc}\x{5d5}\x{5dd}\x{2066}\x{627}",
	emoji => "\x{1f468}\x{200d}\x{1f469}\x{200d}\x{1f467} \x{1f3b5}\x{fe0f}",
	'marks upon marks' => 'Z' . "\x{300}" x 200,
	long => 'y' x 20000);
foreach my $name (sort keys %title)
{
	my ($message) = validates("title of $name", release(1, title => $title{$name}, label => $title{$name}, artists => [ { name => $title{$name} } ], genre => $title{$name}));
}
is(judge($_, @{ $written{$_} }), '', "xmllint finds all of the " . @{ $written{$_} } . " messages of $_ valid") foreach sort keys %written;
like(judge('4.3.2', $written{'4.3.2'}[0], $written{'3.8.2'}[0]), qr/fails to validate/, 'and could find otherwise');

# Each character of XML alone, by the server's own judge
is(sql($node, sprintf q{
	select string_agg(to_hex(c), ' ') from unnest(array[1, 8, 9, 10, 11, 12, 13, 14, 31, 32, 38, 60, 62, 127, 128, 133, 159, 160, 173, 8206, 8232, 8238, 55295, 57344, 64976, 65533, 65534, 65535, 65536, 131070, 1114111]) c
	 where exists (select from musicverse.ern_problems(musicverse.ern_message(%s || jsonb_build_object('title', 'x' || chr(c) || 'y'), %s), '4.3.2'))},
	lit(release(1)), lit(profile(validate => JSON::PP::false))), '', 'no single character makes a message invalid');

# What was written is what is read
like($album432, qr{<PartyName>\s*<FullName>Example &amp; S(?:\xc3\xb6|\xf6)hne</FullName>}, 'a name is written as it is');
my $texts = write_file("$work/markup.xml", message(release(1, title => $title{markup}), profile()));
is(qx{xmllint --xpath 'string(//Release/DisplayTitle/TitleText)' "$texts"} =~ s/\s+$//r, $title{markup} =~ s/\s+/ /gr, 'a title of markup reads as it was given');

# ---- as the official samples are built

sub paths
{
	my ($text) = @_;
	my (@open, %seen);
	$text =~ s/<!--.*?-->//gs;
	while ($text =~ m{<(/?)([\w:]+)((?:\s+[\w:]+\s*=\s*"[^"]*")*)\s*(/?)>}g)
	{
		my ($end, $name, $empty) = ($1, $2 =~ s/^\w+://r, $4);
		if ($end) { pop @open; next; }
		push @open, $name;
		$seen{ join '/', @open } = 1;
		pop @open if $empty;
	}
	return \%seen;
}
my $skeleton = paths(slurp_file("$ddex/skeletons/ern432_audio_album.xml"));
my $ours     = paths(message(release(3, tracks => [ map { track($_, instrumental => JSON::PP::false, contains_ai => 'None', contributors => [ { name => 'Ada', role => 'ComposerLyricist', ipi => '00123456789', ai => 'None' } ]) } 1 .. 3 ],
	cover => { %{ release(1)->{cover} }, contains_ai => 'None' }), profile()));
is_deeply([ grep { !$ours->{$_} } sort keys %$skeleton ], [], 'an album of 4.3.2 has everything that the skeleton has');
my $official = paths(slurp_file("$ddex/samples/ern382/kazhs_official-album.xml"));
my $ours382  = paths($album382);
is_deeply([ grep { !$ours382->{$_} && !m{/IsBackfill$|/ReleaseList/Release/ReleaseId/GRid$} } sort keys %$official ], [], 'an album of 3.8.2 has everything that the official sample has');

# ---- what is not valid is refused

my $error = sql_error($node, sprintf 'select musicverse.ern_message(%s, %s)', lit(release(1)), lit(profile(commercial_models => ['FreeBeer'])));
is("$error->{sqlstate} $error->{message}", '22023 the message is not valid by its schema: 1 problem', 'a value that the standard lacks is refused');
like($error->{detail}, qr/^line \d+: .*CommercialModelType.*FreeBeer/, 'and named');
foreach my $case ([ '<x/>', qr/No matching global declaration/ ], [ 'x', qr/Start tag expected/ ], [ '<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', qr/document type/ ],
	[ $single432 =~ s/ISRC>/ISRX>/gr, qr/ISRX/ ], [ $single432 =~ s{<DealReleaseReference>R1}{<DealReleaseReference>R7}r, qr/DealReleaseReference R7 refers to nothing/ ],
	[ $single432 =~ s{<ResourceReference>A2}{<ResourceReference>A1}r, qr/ResourceReference A1 is there twice/ ], [ $single432 =~ s{PT50M}{three}r, qr/duration/ ],
	[ $single382, qr/ern\/382/ ])
{
	my $problems = sql($node, sprintf q{select string_agg(p, ' | ') from musicverse.ern_problems(%s, '4.3.2') p}, lit($case->[0]));
	like($problems, $case->[1], "ern_problems() finds $case->[1]");
}
cmp_ok(sql($node, q{select count(*) from musicverse.ern_problems('<e:NewReleaseMessage xmlns:e="http://ddex.net/xml/ern/432">' || repeat('<x/>', 100000) || '</e:NewReleaseMessage>', '4.3.2')}), '<=', 100, 'no endless list of problems');
like(sql($node, sprintf q{select string_agg(p, ' | ') from musicverse.ern_problems(%s, '4.3.2') p}, lit('<e:NewReleaseMessage xmlns:e="http://ddex.net/xml/ern/432" AvsVersionId="' . "\x{e9}\x{1f3b5}" x 3000 . '"><' . "\x{e9}" x 3000 . '/></e:NewReleaseMessage>')), qr/line 1/, 'a long name is cut between characters');
like(sql_error($node, q{select musicverse.ern_problems(repeat('x', 17 * 1024 * 1024), '4.3.2')})->{message}, qr/is too long/, 'nor an endless message');

# ---- the official samples and our skeletons

foreach my $file (glob("$ddex/samples/ern382/*.xml"), glob("$ddex/skeletons/ern432*.xml"))
{
	my $version = $file =~ /ern432/ ? '4.3.2' : '3.8.2';
	my $said = sql($node, sprintf q{select string_agg(p, ' | ') from musicverse.ern_problems(%s, '%s') p}, lit(slurp_file($file)), $version);
	is($said, '', 'is valid here too: ' . $file =~ s{.*/}{}r);
}
my $ack = sql_row($node, sprintf 'select message_id, release_id, status, file_status from musicverse.acknowledgement(%s)', lit(slurp_file((glob("$ddex/skeletons/ACK_*.xml"))[0])));
is("$ack->{message_id} $ack->{release_id} $ack->{status} $ack->{file_status}", 'MSG-1 0614141123452 processing FileOK', 'the acknowledgement is read');

# ---- memory comes back, also after errors

sub resident { my ($session) = @_; return $session->query_safe(q{select substring(pg_read_file('/proc/self/status') from 'VmRSS:\s+(\d+)')::int}); }
my $session = session($node);
my $work_it = sprintf q{do $do$
	declare
		release jsonb := %s;
		profile jsonb := %s;
	begin
		for i in 1 .. 40 loop
			perform musicverse.ern_message(release, profile);
			begin perform musicverse.ern_message(release, profile || '{"use_types": ["no"]}'); exception when others then end;
			begin perform musicverse.ern_message(release, '{}'); exception when others then end;
			perform musicverse.ern_problems('<x>' || repeat('<a>y</a>', 1000) || '</x>', '4.3.2');
			perform musicverse.acknowledgement('<x>' || repeat('<ReleaseStatus>y<![CDATA[z]]></ReleaseStatus>', 1000) || '</x>');
			begin perform musicverse.acknowledgement('<x>' || repeat('<a>y', 200)); exception when others then end;
		end loop;
	end $do$}, lit(release(12)), lit(profile());
$session->query_safe($work_it);
my $before = resident($session);
$session->query_safe($work_it) foreach 1 .. 3;
my $after = resident($session);
cmp_ok($after - $before, '<', 3000, "memory stays what it is: $before kB, later $after kB");
$session->quit;

# ---- schemas

sub refusal { return sql_error($node, q{select musicverse.ern_problems('<x/>', '4.3.2')}); }
my $copy = "$work/xsd";
make_path("$copy/ern432");
copy("$ddex/xsd/ern432/$_", "$copy/ern432/$_") or die "$_: $!" foreach qw(release-notification.xsd allowed-value-sets.xsd);
sub use_schemas
{
	my %conf = @_;
	set_conf($node, %conf);
	$node->reload;
	wait_for_sql($node, "select setting = @{[ lit($conf{$_}) ]} from pg_settings where name = '$_'", 't', 30, $_) foreach keys %conf;
}
use_schemas('musicverse.ddex_schema_directory' => $copy);
is(refusal(), undef, 'a copy of the official schemas is taken');
write_file("$copy/ern432/allowed-value-sets.xsd", slurp_file("$ddex/xsd/ern432/allowed-value-sets.xsd") . "<!-- x -->\n");
my $sha = (split ' ', qx{sha256sum "$copy/ern432/allowed-value-sets.xsd"})[0];
is(refusal()->{message}, qq{schema "$copy/ern432/allowed-value-sets.xsd" is not the official one}, 'a changed one is not');
like(refusal()->{detail}, qr/^Its SHA-256 is $sha, not c0cb3759/, 'and its digest is told');
use_schemas('musicverse.ddex_schema_digests' => $sha);
is(refusal(), undef, 'unless the digest is listed');
unlink "$copy/ern432/allowed-value-sets.xsd";
is(refusal()->{sqlstate}, '58P01', 'a missing one is missed');
write_file("$copy/ern432/allowed-value-sets.xsd", '<x');
$sha = (split ' ', qx{sha256sum "$copy/ern432/allowed-value-sets.xsd"})[0];
use_schemas('musicverse.ddex_schema_digests' => $sha);
like(refusal()->{message}, qr/^the schema of ERN 4\.3\.2 could not be parsed/, 'one that is listed and broken is told of');
unlike(slurp_file($node->logfile), qr/parser error/, 'libxml2 itself writes nothing to the log');
use_schemas('musicverse.ddex_schema_directory' => '');
is(refusal()->{sqlstate}, '55000', 'without a folder nothing is judged');
is(sql_error($node, sprintf 'select musicverse.ern_message(%s, %s)', lit(release(1)), lit(profile()))->{sqlstate}, '55000', 'nor written, unless the profile renounces');
use_schemas('musicverse.ddex_schema_directory' => "$ddex/xsd");

# ---- a database of another encoding

sql($node, q{create database latin encoding 'LATIN1' template template0 lc_collate 'C' lc_ctype 'C'});
my $latin = [ $node, 'latin' ];
sql($latin, 'create extension musicverse');
is(sql($latin, sprintf q{select (m like '%%' || chr(201) || 'tude%%') and not exists (select from musicverse.ern_problems(m, '4.3.2')) from musicverse.ern_message(%s || jsonb_build_object('title', chr(201) || 'tude'), %s) m},
		lit(release(1)), lit(profile(sender => { dpid => 'PADPIDA2012041004F' }))), 't', 'in a database of LATIN1 a message is text of it, and valid in UTF-8');

done_testing();

# Releases carried by SFTP as messages of DDEX: both versions by both
# choreographies to a real OpenSSH server, each message judged by the official
# schema; what partners answer, well and badly; changes, takedowns, cancels;
# titles of every kind; who is asked how often. The schemas are looked for as in
# 110_ern.pl.
use MusicVerse::Test;
use MusicVerse::Stream;
use MusicVerse::Ddex;
use MusicVerse::LabelGrid ();

# most files here are no audio
my $node = new_cluster('ddex', 'musicverse.ddex_schema_directory' => ddex_schemas() // '', 'musicverse.inspect_audio' => 'off');
my $sftp = MusicVerse::Stream::Sftp->start(log => 1);
my $http = http_server();
note('the schemas of DDEX are not there, see MUSICVERSE_DDEX: messages are not judged here') unless ddex_schemas();

sub partner { my ($name, %config) = @_; return MusicVerse::Ddex->new($node, $sftp, $http, $name, %config); }
sub taken   { my ($delivery) = @_; wait_for_sql($node, "select count(*) > 0 from musicverse.partner_statuses where taken_at is not null and message_id = '$delivery->{message_id}'", 't', 30, 'the answer to be taken'); return; }

# ---- both versions by both choreographies

foreach my $version ('4.3.2', '3.8.2')
{
	foreach my $choreography (qw(release_by_release batch))
	{
		my $batch = $choreography eq 'batch';
		my $what  = "$version, $choreography";
		my $partner = partner(($batch ? 'b' : 'r') . $version =~ s/\.//gr, ern_version => $version, choreography => $choreography, takedown => $version eq '4.3.2' ? 'no_deal' : 'end_date');
		my $before = () = $sftp->deeds;
		my ($id, $delivery) = $partner->sent({ title => 'Long Night', ai => { audio => 'all', composition => 'partly', artwork => 'all' } }, tracks => 3);
		my @deeds = $sftp->deeds;
		splice @deeds, 0, $before;
		is(ddex_judge($version, $delivery->{message}), '', "$what: the message is valid");
		is(MusicVerse::Ddex::wrong_files($delivery), '', "$what: each file is there as the message tells it");
		is_deeply($delivery->{files}, [ "$delivery->{upc}.jpg", map { sprintf '%s_01_%03d.flac', $delivery->{upc}, $_ } 1 .. 3 ], "$what: by the names of the standard");
		my @named = map { /^rename \S+ (\S+)/ ? $1 =~ s{.*/}{}r : () } @deeds;
		is_deeply([ @named[ 4 .. $#named ] ], [ "$delivery->{upc}.xml", $batch ? $delivery->{manifest} =~ s{.*/}{}r : () ], "$what: the message last" . ($batch ? ', and then the manifest' : '')) or diag("@named");
		is(scalar(grep { /^close \S+\.(xml|flac|jpg) [1-9]/ } @deeds), 0, "$what: nothing was written under its name");
		if ($batch)
		{
			my $manifest = slurp_file($delivery->{manifest});
			is(ddex_xpath($manifest, 'string(//MessageInBatch/HashSum/HashSumValue)'), Digest::MD5::md5_hex($delivery->{message}), "$what: the manifest has the message's hash");
			is(ddex_xpath($manifest, 'concat(//URL, " ", //MessageInBatch/MessageId)'), "./$delivery->{upc}/$delivery->{upc}.xml $delivery->{message_id}", "$what: and names it");
		}
		is($partner->work($id)->{delivered_revision}, 1, "$what: it is delivered");
		$partner->acknowledge($delivery, status => 'SuccessfullyIngestedByReleaseDistributor');
		taken($delivery);
		is($partner->status($id), 'processing', "$what: ingested is not live");
		$partner->acknowledge($delivery, status => 'ReleaseMadeAvailableToConsumers');
		$partner->wait_status($id, 'live');
		pass("$what: it is live when the partner says so");

		sql($node, qq{select musicverse.update_release('$id', '{"title": "Longer Night"}')});
		my $update = wait_for(sub { ($partner->of($id))[1] }, 60, 'the update');
		is(ddex_judge($version, $update->{message}), '', "$what: the update is valid");
		is_deeply($update->{files}, [], "$what: files that have not changed are not sent again");
		unlike($update->{message}, qr/resources/, "$what: nor told of");
		like($update->{message}, qr{<TitleText>Longer Night<}, "$what: the change is");
		isnt($update->{message_id}, $delivery->{message_id}, "$what: by a message of its own");
		$partner->acknowledge($update, status => 'ReleaseReceived');

		sql($node, sprintf q{select musicverse.update_release('%s', %s)}, $id, lit({ cover_url => "$http->{base}/source?size=7000" }));
		my $files = wait_for(sub { ($partner->of($id))[2] }, 60, 'the second update');
		is(ddex_judge($version, $files->{message}), '', "$what: an update with files is valid");
		is(MusicVerse::Ddex::wrong_files($files), '', "$what: and has them") or diag(json($files->{files}));

		sql($node, "select musicverse.takedown_distribution('$id')");
		my $down = wait_for(sub { ($partner->of($id))[3] }, 60, 'the takedown');
		is(ddex_judge($version, $down->{message}), '', "$what: the takedown is valid");
		$version eq '4.3.2' ? unlike($down->{message}, qr/<DealList/, "$what: no deal is left") : like($down->{message}, qr/<EndDateTime>/, "$what: the deals end");
		is($partner->status($id), 'live', "$what: it is not down before the partner says so");
		$partner->acknowledge($down, status => 'SuccessfullyIngestedByReleaseDistributor');
		$partner->wait_status($id, 'taken_down');
		pass("$what: then it is");
	}
}

# ---- what is told

my $partner = partner('told', hash_algorithm => 'SHA-256');
my ($id, $delivery) = $partner->sent({ title => 'Facts', version_title => 'Live', language => 'pt-BR', explicit => JSON::PP::true, territories => [ 'DE', 'AT' ], time_zone => 'Europe/Berlin',
	original_release_date => '2020-02-02', training_use => 'allowed', ai => { audio => 'all', composition => 'all', lyrics => 'none' },
	artists => [ { name => 'Mira' }, { name => 'Ben', role => 'featured' }, { name => 'Pat', role => 'producer' }, { name => 'Zoe', role => 'songwriter', ai => 'none' } ] },
	date => '2036-03-06');
my $told = sub { my ($path) = @_; return ddex_xpath($delivery->{message}, $path =~ m{^string|^count|^concat} ? $path : "string($path)"); };
is($told->('//StartDateTime'), '2036-03-05T23:00:00Z', 'nobody may hear it before the day begins in its time zone');
is($told->('//ReleaseDate'), '2036-03-06', 'which is its date');
is($told->('//Release/OriginalReleaseDate'), '2020-02-02', 'the original date is told');
is($told->('//Release/DisplayTitleText'), 'Facts (Live)', 'the version');
is($told->('//Release/DisplayArtistName'), 'Mira feat. Ben', 'who is displayed');
is($told->('string(//Contributor[Role/Value="StudioProducer"]/ContributorPartyReference)'), $told->('string(//Party[PartyName/FullName="Pat"]/PartyReference)'), 'who contributed');
is($told->('string(//Contributor[Role/Value="ComposerLyricist"]/AiContribution)'), 'None', 'without AI');
is($told->('count(//Contributor[SpecialContributor="GenerativeAI"])'), 2, 'AI itself, for sound and composition');
is($told->('//SoundRecording/ContainsAI'), 'Partly', 'and what that comes to where somebody is credited');
is($told->('//SoundRecording/LanguageOfPerformance'), 'pt', 'the language');
is($told->('//SoundRecording/ParentalWarningType'), 'Explicit', 'what parents are warned of');
is($told->('count(//Deal[1]/DealTerms/TerritoryCode)'), 2, 'the territories');
is($told->('count(//UseType[.="UseForTrainingGenerativeAI"])'), 2, 'training, which is allowed');
is($told->('//SoundRecording//HashSum/Algorithm'), 'SHA-256', 'hashes of the kind wanted');
is($told->('//SoundRecording//FileSize'), -s "$delivery->{dir}/resources/$delivery->{upc}_01_001.flac", 'sizes');
is($told->('//SoundRecording//SamplingRate'), '44.1', 'and what is known of the sound');
like($delivery->{folder} =~ s{.*/}{}r, qr/^N_$delivery->{upc}_\d{17}$/, 'a folder for each delivery');

my $grid = $partner->release({ upc => undef, grid => 'A12425GABC1234002M' });
$partner->submit($grid);
$partner->wait_status($grid, 'processing');
my ($by_grid) = grep { $_->{upc} eq 'A12425GABC1234002M' } $partner->deliveries;
is(ddex_judge('4.3.2', $by_grid->{message}), '', 'a release without a UPC has a GRid');
like($by_grid->{message}, qr{<GRid>A12425GABC1234002M<}, 'by which it is known');

# ---- audio that is looked at, and converted

set_conf($node, 'musicverse.inspect_audio' => 'on');
$node->reload;
wait_for_sql($node, 'show musicverse.inspect_audio', 'on', 30, 'the setting');
my $real = MusicVerse::LabelGrid->start;
my $flac = partner('flac', preset => 'spotify', choreography => 'release_by_release');
my $looked = $flac->release({ cover_url => $real->base . '/files/cover.jpg' });
sql($node, sprintf q{update musicverse.distributions set metadata = jsonb_set(metadata, '{tracks,0,audio_url}', to_jsonb(%s::text)) #- '{tracks,0,audio}' where id = '%s'}, lit($real->base . '/files/large.wav'), $looked);
$flac->submit($looked);
$flac->wait_status($looked, 'processing', 90);
($delivery) = $flac->of($looked);
is(MusicVerse::Ddex::wrong_files($delivery), '', 'what was converted is there as the message tells it');
is(slurp_file("$delivery->{dir}/resources/$delivery->{upc}_01_001.flac") =~ /^fLaC/ ? 1 : 0, 1, 'a WAV is FLAC for who wants it so');
is($told->('concat(//AudioCodecType, " ", //SamplingRate, " ", //BitsPerSample, " ", //NumberOfChannels)'), 'FLAC 44.1 16 2', 'with what was found of it');
isnt($told->('//SoundRecording/Duration'), 'PT1M0S', 'and how long it is');
set_conf($node, 'musicverse.inspect_audio' => 'off');
$node->reload;
wait_for_sql($node, 'show musicverse.inspect_audio', 'off', 30, 'the setting');

# ---- titles of every kind

my $any = partner('any');
sql($node, q{update musicverse.platforms set rules = '{"title_rules": false, "genres": ["<g>"]}' where name = 'any'});
my %title = (
	markup          => q{<b>&amp;"'</TitleText>]]>&#0;<!-- <![CDATA[ <?x},
	'right to left' => "\x{202e}\x{5e9}\x{5dc}\x{5d5}\x{5dd}\x{2066}\x{627}",
	emoji           => "\x{1f468}\x{200d}\x{1f469} \x{1f3b5}\x{fe0f}",
	control         => "a\x{1}\x{8}b\x{7f}\x{9f}\tc  d\r\n",
	formula         => q{=HYPERLINK("http://example.com";A1)+cmd|' /C calc'!A0},
	path            => '../../etc/passwd%00.xml');
foreach my $kind (sort keys %title)
{
	my $given = $title{$kind};
	my (undef, $delivery) = $any->sent({ title => $given, artists => [ { name => $given } ], label => $given, genre => '<g>' });
	my $clean = $given =~ s/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]//gr =~ s/\s+/ /gr =~ s/^ | $//gr;
	is(ddex_judge('4.3.2', $delivery->{message}), '', "a title of $kind is told validly");
	is(ddex_xpath($delivery->{message}, 'string(//Release/DisplayTitle/TitleText)'), $clean, "and reads as it was given");
}

# ---- what is not valid

my $invalid = $partner->release({ artists => [ { name => 'Mira' }, { name => 'X', role => 'wizard' } ] });
if (ddex_schemas())
{
	my $before = () = grep { !/^opendir/ } $sftp->deeds;
	$partner->submit($invalid);
	$partner->wait_status($invalid, 'failed');
	like($partner->reason($invalid), qr/the message is not valid by its schema: 1 problem: line \d+: .*'Wizard'/, 'what the schema does not take fails, with its words');
	is(scalar(() = grep { !/^opendir/ } $sftp->deeds), $before, 'and nothing of it is sent');
}
my $no_isrc = $partner->release({ title => 'Without' });
sql($node, "update musicverse.distributions set metadata = metadata #- '{tracks,0,isrc}' where id = '$no_isrc'");
$partner->configure;
sql($node, "update musicverse.distribution_work set next_attempt_at = null where distribution_id = '$no_isrc'");
$partner->submit($no_isrc);
$partner->wait_status($no_isrc, 'failed');
like($partner->reason($no_isrc), qr/tracks\[0\]\.isrc is missing/, 'so does what lacks an identifier');

# ---- what partners answer

my $answers = partner('answers');
foreach my $case (
	[ 'ProcessingErrorAtReleaseDistributor', 'failed', qr/^answers: ProcessingErrorAtReleaseDistributor: no such genre$/, text => 'no such genre' ],
	[ 'RightsConflict',                      'failed', qr/RightsConflict/ ],
	[ 'ReleaseViolatesTermsOfService',       'failed', qr/ReleaseViolatesTermsOfService/ ],
	[ undef,                                 'failed', qr/ResourceCorrupt: track 1 ends early/, file => 'ResourceCorrupt', text => 'track 1 ends early', action => 'DoNotResendRelease' ],
	[ 'ReleaseMadeAvailableToConsumers',     'live',   qr/^$/ ])
{
	my ($status, $becomes, $reason, %how) = @$case;
	my ($id, $delivery) = $answers->sent;
	$answers->acknowledge($delivery, status => $status, %how);
	$answers->wait_status($id, $becomes);
	like($answers->reason($id) // '', $reason, ($status // $how{file}) . " is $becomes");
}
foreach my $space ('http://ddex.net/xml/ern-c-sftp/16', 'http://ddex.net/xml/ern-c/15', 'urn:own')
{
	my ($id, $delivery) = $answers->sent;
	$answers->acknowledge($delivery, status => 'ReleaseMadeAvailableToConsumers', space => $space, upc => $space eq 'urn:own' ? 'own-id-17' : $delivery->{upc});
	$answers->wait_status($id, 'live');
	pass("answers in the namespace $space are read");
}
($id, $delivery) = $answers->sent;
$answers->acknowledge($delivery, status => 'ReleaseMadeAvailableToConsumers', message => undef, upc => $delivery->{upc} =~ s/^0//r);
$answers->wait_status($id, 'live');
pass('an answer without the message\'s id is known by the release');
($id, $delivery) = $answers->sent;
$answers->answer("ACK_$delivery->{message_id}.xml", '<a><FileStatus>FileOK</FileStatus></a>');
wait_for_sql($node, "select state ->> 'acked' from musicverse.distribution_work where distribution_id = '$id'", 1, 30, 'the answer to be taken');
pass('one without either by the file\'s name');

# resending
foreach my $case ([ 'ResendXmlOnly', [] ], [ 'ResendXmlAndResources', [ 'jpg', 'flac' ] ])
{
	my ($action, $files) = @$case;
	my ($id, $delivery) = $answers->sent;
	$answers->acknowledge($delivery, status => 'ProcessingErrorAtReleaseDistributor', action => $action);
	my $again = wait_for(sub { ($answers->of($id))[1] }, 60, 'another delivery');
	is_deeply([ sort map { s/.*\.//r } @{ $again->{files} } ], [ sort @$files ], "$action is done");
	is(ddex_judge('4.3.2', $again->{message}), '', 'by a valid message');
	like($again->{message}, qr/<URI>resources/, 'that tells of the files');
	is($answers->status($id), 'processing', 'nothing has failed');
	$answers->acknowledge($delivery, status => 'RightsConflict');    # of the first message
	$answers->acknowledge($again, status => 'ReleaseMadeAvailableToConsumers');
	$answers->wait_status($id, 'live');
	pass('and a late answer to the first message changes nothing');
}
($id, $delivery) = $answers->sent;
foreach my $n (1 .. 4)
{
	my $last = wait_for(sub { ($answers->of($id))[ $n - 1 ] }, 60, "delivery $n");
	wait_for_sql($node, "select state ->> 'sent_at' is not null and state ->> 'message_id' = '$last->{message_id}' from musicverse.distribution_work where distribution_id = '$id'", 't', 30, 'it to be told');
	$answers->acknowledge($last, status => 'ProcessingErrorAtReleaseDistributor', action => 'ResendXmlOnly', text => "no $n");
}
$answers->wait_status($id, 'failed');
like($answers->reason($id), qr/no 4/, 'what is refused again and again fails');
is(scalar($answers->of($id)), 4, 'after three more messages');
sql($node, qq{select musicverse.update_release('$id', '{"title": "Better"}')});
$answers->submit($id);
my $better = wait_for(sub { ($answers->of($id))[4] }, 60, 'the release anew');
is(MusicVerse::Ddex::wrong_files($better), '', 'changed and submitted again it is sent as a whole');
$answers->acknowledge($better, status => 'ReleaseMadeAvailableToConsumers');
$answers->wait_status($id, 'live');

# a change that is refused there
sql($node, qq{select musicverse.update_release('$id', '{"title": "Worse"}')});
my $worse = wait_for(sub { ($answers->of($id))[5] }, 60, 'the change');
$answers->acknowledge($worse, status => 'RightsConflict', text => 'not yours');
wait_for_sql($node, "select reason from musicverse.distribution_history where distribution_id = '$id' and status = 'update_refused'", 'answers: RightsConflict: not yours', 30, 'the owner to be told');
is($answers->status($id), 'live', 'a change that is refused there fails nothing');

# ---- hostile answers

my ($mine, $own) = $answers->sent;
my $other = partner('other');
my ($theirs, $theirs_delivery) = $other->sent;
my %hostile = (
	'ACK_xxe.xml'   => qq{<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a><MessageId>$own->{message_id}</MessageId><ErrorText>&x;</ErrorText><FileStatus>FileOK</FileStatus></a>},
	'ACK_laugh.xml' => qq{<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><a><MessageId>$own->{message_id}</MessageId><ErrorText>&b;</ErrorText><FileStatus>X</FileStatus></a>},
	'ACK_no.xml'    => "this is no XML of $own->{message_id}",
	'ACK_nul.xml'   => "<a>\0</a>",
	'ACK_bad.xml'   => "<a>\xff\xfe</a>",
	'ACK_empty.xml' => '',
	'ACK_deep.xml'  => '<a>' x 2000 . '</a>' x 2000);
$answers->answer($_, $hostile{$_}) foreach sort keys %hostile;
$answers->answer('ACK_big.xml', "<a><MessageId>$own->{message_id}</MessageId><FileStatus>X</FileStatus>" . ' ' x 50_000_000 . '</a>');
$answers->answer($_, '<a/>') foreach '.hidden.xml', 'a..xml', "new\nline.xml", 'notes.txt', "rm -rf \$HOME;.xml";
mkdir "$answers->{dir}/acks/folder.xml" or die;
$answers->acknowledge($theirs_delivery, status => 'RightsConflict');                              # of another partner's release
$answers->acknowledge($own, status => 'RightsConflict', upc => $theirs_delivery->{upc});          # a message of this one, the release of another
$answers->acknowledge($own, status => 'RightsConflict', message => 'x' x 10000);
my $end = $answers->acknowledge($own, status => 'ReleaseReceived');
taken($own);
wait_for_sql($node, q{select count(*) from musicverse.partner_acknowledgements where partner = 'answers' and read_at is null}, 0, 60, 'all to be read');
is($answers->status($mine), 'processing', 'hostile answers change nothing of ours');
is($other->status($theirs), 'processing', 'nor of others');
is(sql($node, q{select string_agg(file_name, ' ' order by file_name) from musicverse.partner_acknowledgements where problem is not null}),
	join(' ', (map { "ACK_$_.xml" } qw(bad big deep empty laugh no nul xxe)), 'folder.xml', 'line.xml'), 'each is noted, once');
is(sql($node, q{select count(*) from musicverse.partner_acknowledgements where file_name ~ 'hidden|\.\.|new|notes|rm'}), 0, 'names that are none are not read');
is(sql($node, q{select count(*) from musicverse.partner_statuses s where s.taken_at is null and s.partner = 'answers'}) >= 3, 1, 'what is for nobody is kept');
rmdir "$answers->{dir}/acks/folder.xml";

# ---- one listing for all

my $many = partner('many', poll_interval => 3600, concurrency => 4);
my @many = map { $many->release } 1 .. 30;
sql($node, join ';', map { "select musicverse.submit_distribution('$_')" } @many);
$many->wait_status($_, 'processing') foreach @many;
sql($node, q{update musicverse.distribution_work set next_attempt_at = musicverse._now() where partner = 'many'});
wait_for_sql($node, q{select count(*) from musicverse.distribution_work where partner = 'many' and next_attempt_at > musicverse._now() and begun_at is null}, 30, 60, 'all to have looked');
is(scalar(grep { $_ eq 'opendir many/acks' } $sftp->deeds), 1, 'thirty releases that wait need one listing');
$many->acknowledge($_, status => 'ReleaseMadeAvailableToConsumers') foreach map { $many->of($_) } @many;
sql($node, q{select musicverse.advance_clock('1 hour 1 minute')});
$many->wait_status($_, 'live') foreach @many;
my @opened = grep { $_ eq 'opendir many/acks' } $sftp->deeds;
cmp_ok(scalar(@opened), '<=', 3, 'and one more when they are answered');

# ---- other ways to know

my $dated = partner('dated', live_by => 'release_date', live_after => 1, acknowledgements => undef);
my ($soon) = $dated->sent;
my $later = $dated->release({}, date => sql($node, "select (musicverse._now() + interval '5 days')::date"));
$dated->submit($later);
$dated->wait_status($later, 'processing');
sql($node, q{select musicverse.advance_clock('25 hours')});
$dated->wait_status($soon, 'live');
is($dated->status($later), 'processing', 'where live is assumed, not before the release date');
sql($node, q{select musicverse.advance_clock('6 days')});
$dated->wait_status($later, 'live');
pass('but after it');
sql($node, "select musicverse.takedown_distribution('$soon')");
$dated->wait_status($soon, 'taken_down');
is(scalar($dated->of($soon)), 2, 'without acknowledgements a takedown is done when it is sent');

my $silent = partner('silent', acknowledge_timeout => 48);
my ($unheard) = $silent->sent;
sql($node, q{select musicverse.advance_clock('49 hours')});
$silent->wait_status($unheard, 'failed');
like($silent->reason($unheard), qr/^silent did not acknowledge the message \w+ within 48 hours$/, 'a partner who never answers is told of');

# ---- cancels

my $cancelled = partner('cancelled', choreography => 'batch');
($id, $delivery) = $cancelled->sent;
sql($node, "select musicverse.cancel_distribution('$id')");
my $recall = wait_for(sub { ($cancelled->of($id))[1] }, 60, 'the recall');
unlike($recall->{message}, qr/<DealList/, 'what was delivered is taken back');
is($cancelled->status($id), 'cancelled', 'it is cancelled');
$id = $cancelled->release({}, size => 3_000_000, query => 'rate=600000');
$cancelled->submit($id);
my $state = wait_for(sub { my $w = $cancelled->work($id); $w->{step} eq 'audio.0' && -e $sftp->file("cancelled/in/$w->{state}{folder}") ? $w->{state} : undef }, 60, 'the upload to be under way');
sql($node, "select musicverse.cancel_distribution('$id')");
wait_for(sub { !-e $sftp->file("cancelled/in/$state->{folder}") }, 60, 'what was put to be removed');
is(scalar($cancelled->of($id)), 0, 'what was not completed leaves nothing behind');

# ---- who is configured

foreach my $case (
	[ { sender => undef }, qr/^sender of partner "told" cannot be null/ ],
	[ { sender => { dpid => 'X' } }, qr/^sender of partner "told" cannot be/ ],
	[ { ern_version => '4.1' }, qr/^ern_version of partner "told" cannot be "4\.1"/ ],
	[ { choreography => 'fast' }, qr/^choreography of partner/ ],
	[ { takedown => 'take_down' }, qr/^takedown of partner/ ],
	[ { hash_algorithm => 'CRC' }, qr/^hash_algorithm of partner/ ],
	[ { directory => '../up' }, qr/^directory of partner/ ],
	[ { acknowledgements => undef }, qr/tells by acknowledgements what is live, and has no folder of them/ ],
	[ { acknowledge_timeout => -1 }, qr/^acknowledge_timeout of partner/ ],
	[ { resend_resources => 'yes' }, qr/must be true or false/ ],
	[ { deals => 'all' }, qr/makes no message: deals must be an array/ ],
	ddex_schemas() ? [ { deals => [ { commercial_models => ['FreeBeer'], use_types => ['OnDemandStream'] } ] }, qr/makes no message: .*FreeBeer/ ] : ())
{
	my ($change, $why) = @$case;
	eval { $partner->configure(%$change) };
	my ($said) = $@ =~ /ERROR:  (.*)/;
	like($said, $why, 'refused: ' . join ' ', keys %$change);
}

done_testing();

# Releases looked up in catalogues: found live, absent after a takedown, by one
# witness or two; catalogues that lie, refuse and break; kill -9 in between.
use lib 'test/lib';
use MusicVerse::Test;
use MusicVerse::Ddex;
use MusicVerse::LabelGrid;
use MusicVerse::Lookups;
use MusicVerse::Partners;
use MusicVerse::Stream;

my $node     = new_cluster('verifier', 'musicverse.ddex_schema_directory' => MusicVerse::Ddex::ddex_schemas() // '', 'musicverse.inspect_audio' => 'off');
my $partners = MusicVerse::Partners->start;
my $carrier  = MusicVerse::LabelGrid->start;
my $user     = user(1);
my @dialects = qw(spotify apple deezer);
my %platform = (spotify => 'spotify', apple => 'apple_music', deezer => 'deezer');

# It delivers, and never says that anything is live
$carrier->control(live => \0);
$carrier->configure($node, live_by => 'verifier', poll_interval => 5);

my $made = 0;

# A release with numbers of its own that is on its way: (id, upc, isrc)
sub carried
{
	my (%how) = @_;
	my ($upc, $isrc) = (gtin(++$made), sprintf 'QZABC26%05d', $made);
	my $title = $how{title} // "Song $made";
	my $id = $carrier->release($node, $user, { title => $title, %{ $how{metadata} // {} } }, platforms => $how{platforms} // [ 'spotify', 'apple_music', 'deezer' ], date => $how{date});
	my $track = sql($node, "select track_id from musicverse.distributions where id = '$id'");
	my %changes = (exists $how{upc} ? () : (upc => $upc), tracks => [ { track_id => $track, isrc => $isrc, $how{files} ? (audio_url => "$how{files}/song$made.flac") : () } ], $how{files} ? (cover_url => "$how{files}/cover.png") : ());
	sql($node, sprintf 'select musicverse.update_release(%s, %s)', lit($id), lit(\%changes));
	submit($node, $id);
	return ($id, $upc, $isrc, $title);
}

sub wait_targets
{
	my ($id, $expected, $seconds) = @_;
	wait_for_sql($node, "select string_agg(platform || ' ' || status, ', ' order by platform) from musicverse.distribution_targets where distribution_id = '$id'", $expected, $seconds // 60, "release $id to be $expected");
	return;
}

sub everywhere { my ($status) = @_; return join ', ', map { "$_ $status" } qw(apple_music deezer spotify); }

sub lookup { my ($id, $dialect) = @_; return (sql_rows($node, "select * from musicverse.distribution_lookups where distribution_id = '$id' and partner = '${dialect}_lookup'"))[0]; }

sub wait_looks
{
	my ($id, $dialect, $least) = @_;
	wait_for(sub { my $l = lookup($id, $dialect); $l && $l->{looks} >= $least }, 60, "$least looks of $dialect");
	return;
}

sub target { my ($id, $platform) = @_; return sql_row($node, "select * from musicverse.distribution_targets where distribution_id = '$id' and platform = '$platform'"); }

sub partner_state { my ($dialect) = @_; return sql($node, "select state from musicverse.partner_status where name = '${dialect}_lookup'"); }

# ---- who is configured

is(sql($node, q{select string_agg(name || ' ' || is_active, ', ' order by name) from musicverse.partners where connector = 'verifier'}),
	'apple_lookup false, deezer_lookup false, spotify_lookup false', 'three are shipped');
like(sql_error($node, q{select musicverse.configure_partner('spotify_lookup', null, '{}')})->{message}, qr/lack client_id/, 'Spotify wants a client');
sql($node, q{select musicverse.configure_partner('deezer_lookup', null, '{}')});
is(sql($node, q{select base_url from musicverse.partners where name = 'deezer_lookup'}), 'https://api.deezer.com', 'Deezer wants nothing');
sql($node, q{select musicverse.set_partner_active('deezer_lookup', false)});

my ($early) = carried();
wait_targets($early, everywhere('processing'));
is(sql($node, q{select count(*) from musicverse.distribution_work where verifies is not null}), 0, 'nobody looks without a verifier');
configure_lookup($node, $partners, $_) foreach @dialects;
is(sql($node, "select musicverse._partner_for('deezer')"), 'labelgrid', 'a verifier carries nothing');
wait_looks($early, $_, 1) foreach @dialects;
pass('one that is configured looks for what is under way');

# ---- found live

my ($id, $upc, $isrc, $title) = carried();
wait_targets($id, everywhere('processing'));
wait_looks($id, $_, 2) foreach @dialects;
is(targets_of($node, $id), everywhere('processing'), 'what is not there is not live');
shows($partners, map { $_ => { "upc:$upc" => { title => 'Of no concern', tracks => [] } } } @dialects);
wait_targets($id, everywhere('live'));
pass('found by its UPC, it is live');
foreach my $dialect (@dialects)
{
	my $target = target($id, $platform{$dialect});
	ok($target->{external_id} && $target->{external_url} =~ m{^https://\w+(\.\w+)*\.com/}, "$dialect: id and address are kept");
	is_deeply([ @$target{qw(reason partner)} ], [ "found by ${dialect}_lookup", 'labelgrid' ], "$dialect: it stays its carrier's");
	is_deeply([ @{ lookup($id, $dialect) }{qw(state next_attempt_at last_error)} ], [ 'ended', undef, undef ], "$dialect: nothing is left to be looked for");
}
is($partners->counters('spotify')->{tokens_issued}, 1, 'one token was enough');
unlike(sql($node, q{select string_agg(t::text, '') from musicverse.partner_tokens t}) . sql($node, q{select string_agg(state::text, '') from musicverse.distribution_work}), qr/at_|access_token/, 'which is nowhere to be read');
sql($node, "select musicverse.cancel_distribution('$early')");
wait_for_sql($node, "select count(*) from musicverse.distribution_work where distribution_id = '$early' and next_attempt_at is not null", 0, 60, 'the look-ups of a cancelled release to end');

# by ISRC and title, written otherwise
($id, undef, $isrc, $title) = carried(upc => undef, title => 'Rain, Again');
is(sql($node, "select metadata ->> 'upc' from musicverse.distributions where id = '$id'"), '', 'it has no UPC');
shows($partners, map { $_ => { "isrc:$isrc" => { title => 'Snow' } } } @dialects);
wait_targets($id, everywhere('processing'));
wait_looks($id, $_, 2) foreach @dialects;
is(targets_of($node, $id), everywhere('processing'), 'its ISRC on another release is not it');
shows($partners, map { $_ => { "isrc:$isrc" => { title => "RAIN \x{2013} again" } } } @dialects);
wait_targets($id, everywhere('live'));
pass('its ISRC with its title is, as catalogues write it');

# neither
$id = $carrier->release($node, $user, { title => 'Nameless' }, platforms => ['deezer']);
submit($node, $id);
wait_for_sql($node, "select state || ': ' || last_error from musicverse.distribution_lookups where distribution_id = '$id'", 'given up: the release has neither a UPC nor an ISRC to look for', 60, 'the look-up to end');
is(target($id, 'deezer')->{reason}, 'the release has neither a UPC nor an ISRC to look for', 'and its target says why it waits');
$upc = gtin(++$made);
shows($partners, deezer => { "upc:$upc" => { title => 'Nameless' } });
sql($node, sprintf 'select musicverse.update_release(%s, %s)', lit($id), lit({ upc => $upc }));
wait_targets($id, 'deezer live');
pass('given a UPC it is found');

# ---- lies

($id, $upc, $isrc, $title) = carried(title => 'Truth');
lies($partners, 'other', @dialects);
shows($partners, map { $_ => { "upc:$upc" => { title => $title, tracks => [ { isrc => $isrc, title => $title } ] } } } @dialects);
wait_targets($id, everywhere('processing'));
wait_looks($id, $_, 2) foreach @dialects;
is(targets_of($node, $id), everywhere('processing'), 'somebody else\'s release is not ours');
lies($partners, 'duplicates', @dialects);
wait_targets($id, everywhere('live'));
pass('of several one that agrees will do');
lies($partners, undef, @dialects);

# ---- not before it is to be heard

my $day = sql($node, q{select ((musicverse._now() at time zone 'UTC')::date + 40)::text});
($id, $upc) = carried(date => $day, platforms => ['deezer']);
shows($partners, deezer => { "upc:$upc" => { title => 'Early' } });
my $jump = sql($node, "select extract(epoch from deliver_at - musicverse._now())::int + 3600 from musicverse.distribution_work where distribution_id = '$id'");
sql($node, "select musicverse.advance_clock('$jump s')");
$partners->advance($jump);
wait_targets($id, 'deezer processing');
is_deeply([ @{ lookup($id, 'deezer') }{qw(looks state)} ], [ 0, 'looking' ], 'delivered ahead, it is not looked for yet');
is(sql($node, "select count(*) from musicverse.distribution_work where distribution_id = '$id' and verifies = 'deezer' and next_attempt_at = publish_at"), 1, 'but when it is to be heard');
my $later = sql($node, "select ('$day'::date + 2)::text");
sql($node, qq{select musicverse.update_release('$id', '{"release_date": "$later"}')});
is(sql($node, "select next_attempt_at::date from musicverse.distribution_work where distribution_id = '$id' and verifies = 'deezer'"), $later, 'rescheduled, later');
sql($node, q{select musicverse.advance_clock('10 days')});
$partners->advance(10 * 86400);
wait_targets($id, 'deezer live');
pass('then it is found');

# ---- gone after a takedown

($id, $upc) = carried();
shows($partners, map { $_ => { "upc:$upc" => { title => 'Fleeting' } } } @dialects);
wait_targets($id, everywhere('live'));
sql($node, "select musicverse.takedown_distribution('$id')");
wait_looks($id, $_, 1) foreach @dialects;
wait_for(sub { !grep { lookup($id, $_)->{goal} ne 'takedown' || lookup($id, $_)->{looks} < 1 } @dialects }, 60, 'looks for its absence');
is(targets_of($node, $id), everywhere('live'), 'its carrier says that it is gone, and it is there');
shows($partners, map { $_ => {} } @dialects);
wait_for(sub { !grep { !defined lookup($id, $_)->{absent_since} } @dialects }, 60, 'its absence to be seen');
is(targets_of($node, $id), everywhere('live'), 'once is not enough');
shows($partners, deezer => { "upc:$upc" => { title => 'Fleeting' } });
sql($node, q{select musicverse.advance_clock('61 minutes')});
wait_targets($id, 'apple_music taken_down, deezer live, spotify taken_down');
wait_for(sub { !defined lookup($id, 'deezer')->{absent_since} }, 60, 'it to be found once more');
pass('what comes back is not gone');
shows($partners, deezer => {});
wait_for(sub { defined lookup($id, 'deezer')->{absent_since} }, 60, 'its absence to be seen');
sql($node, q{select musicverse.advance_clock('61 minutes')});
wait_release($node, $id, 'taken_down', 60);
pass('absent twice, it is taken down');
is(sql($node, "select string_agg(status, ' ' order by id) from musicverse.distribution_history where distribution_id = '$id' and platform = 'deezer'"),
	'pending scheduled delivering processing live takedown_requested taken_down', 'its history');

# ---- a second witness

$carrier->configure($node, live_by => 'partner', poll_interval => 5);
($id, $upc) = carried(platforms => ['deezer']);
shows($partners, deezer => { "upc:$upc" => { title => 'Fast' } });
wait_targets($id, 'deezer live');
is(target($id, 'deezer')->{reason}, 'found by deezer_lookup', 'where its carrier has not said it yet, a look-up does');
sql($node, "select musicverse.takedown_distribution('$id')");
wait_release($node, $id, 'taken_down', 60);
pass('of a takedown its own word is enough');
configure_lookup($node, $partners, 'deezer', second_witness => \0);
($id) = carried(platforms => ['deezer']);
wait_targets($id, 'deezer processing');
$carrier->control(live => \1);
wait_targets($id, 'deezer live');
is(lookup($id, 'deezer'), undef, 'where that is not wished, nobody looks');
$carrier->control(live => \0);
$carrier->configure($node, live_by => 'verifier', poll_interval => 5);

# ---- what is live stays so

configure_lookup($node, $partners, 'deezer', recheck => 3600);
($id, $upc) = carried(platforms => ['deezer']);
shows($partners, deezer => { "upc:$upc" => { title => 'Here' } });
wait_targets($id, 'deezer live');
shows($partners, deezer => {});
sql($node, q{select musicverse.advance_clock('61 minutes')});
wait_for(sub { lookup($id, 'deezer')->{state} eq 'missing' }, 60, 'it to be missing');
is_deeply([ targets_of($node, $id), defined lookup($id, 'deezer')->{absent_since} ], [ 'deezer live', 1 ], 'it is told, and changes nothing');
shows($partners, deezer => { "upc:$upc" => { title => 'Here' } });
sql($node, q{select musicverse.advance_clock('61 minutes')});
wait_for(sub { lookup($id, 'deezer')->{state} eq 'looking' }, 60, 'it to be there again');
is(sql($node, "select count(*) from musicverse.distribution_history where distribution_id = '$id' and status = 'live'"), 1, 'it was live all the time');
configure_lookup($node, $partners, 'deezer');

# ---- what goes wrong

foreach my $case (
	[ deezer => 'its quota',      { on => 'album', mode => 'limited', count => 1 } ],
	[ apple  => 'a limit',        { on => 'albums', mode => 'limited', count => 1 } ],
	[ spotify => 'Retry-After',   { on => 'search', mode => 'limited', retry_after => 2, count => 1 } ],
	[ spotify => 'an error',      { on => 'search', mode => 'error', status => 500, count => 2 } ],
	[ spotify => 'no token',      { on => 'token', mode => 'bad-json', count => 1 } ],
	[ spotify => 'a lost answer', { on => 'album', mode => 'lost', count => 1 } ],
	[ apple  => 'a bad request',  { on => 'albums', mode => 'error', status => 400, count => 1 } ],
	(map { [ deezer => "mode $_", { on => 'album', mode => $_, count => 1 } ] } qw(garbage html empty array bad-json close short)))
{
	my ($dialect, $name, @faults) = @$case;
	($id, $upc) = carried(platforms => [ $platform{$dialect} ], title => 'Trouble');
	sql($node, 'delete from musicverse.partner_tokens') if $name eq 'no token';
	lookup_faults($partners, $dialect, @faults);
	shows($partners, $dialect => { "upc:$upc" => { title => 'Trouble' } });
	wait_targets($id, "$platform{$dialect} live");
	is(sql($node, "select sum(failures) || ' ' || count(*) filter (where state ? 'found') from musicverse.distribution_work where distribution_id = '$id' and verifies is not null"), '0 1', "$dialect, $name: it was asked again");
	lookup_faults($partners, $dialect);
}
is(join(' ', map { partner_state($_) } @dialects), 'ready ready ready', 'none of which paused anybody');

# a token that ends before its time
my $tokens = $partners->counters('spotify')->{tokens_issued};
lookup_faults($partners, 'spotify', { on => 'search', mode => 'error', status => 401, count => 1 });
($id, $upc) = carried(platforms => ['spotify']);
shows($partners, spotify => { "upc:$upc" => { title => 'Trouble' } });
wait_targets($id, 'spotify live');
is($partners->counters('spotify')->{tokens_issued} - $tokens, 1, 'a token that is refused is got anew');
$partners->advance(7200);
($id, $upc) = carried(platforms => ['spotify']);
shows($partners, spotify => { "upc:$upc" => { title => 'Trouble' } });
wait_targets($id, 'spotify live');
is($partners->counters('spotify')->{tokens_issued} - $tokens, 2, 'so is one that has expired');
($tokens, my $refused) = ($partners->counters('spotify')->{tokens_issued}, json($partners->counters('spotify')->{refused}));
sql($node, q{select musicverse.advance_clock('2 hours')});
($id, $upc) = carried(platforms => ['spotify']);
shows($partners, spotify => { "upc:$upc" => { title => 'Trouble' } });
wait_targets($id, 'spotify live');
is_deeply([ $partners->counters('spotify')->{tokens_issued} - $tokens, json($partners->counters('spotify')->{refused}) ], [ 1, $refused ], 'and one whose time is over, before it is refused');

# refused
foreach my $case ([ spotify => { client_id => 'nobody', client_secret => 'x' } ], [ apple => { token => 'wrong' } ])
{
	my ($dialect, $credentials) = @$case;
	configure_lookup($node, $partners, $dialect, credentials => $credentials);
	($id, $upc) = carried(platforms => [ $platform{$dialect} ]);
	shows($partners, $dialect => { "upc:$upc" => { title => 'Trouble' } });
	wait_for(sub { partner_state($dialect) eq 'paused: it refuses us' }, 60, "$dialect to be paused");
	is(targets_of($node, $id), "$platform{$dialect} processing", "$dialect that refuses us is paused, and nothing fails");
	configure_lookup($node, $partners, $dialect);
	wait_targets($id, "$platform{$dialect} live");
	pass("$dialect goes on when it is configured anew");
}
lookup_faults($partners, 'spotify', { on => 'search', mode => 'error', status => 401 });
($id, $upc) = carried(platforms => ['spotify']);
shows($partners, spotify => { "upc:$upc" => { title => 'Trouble' } });
wait_for(sub { partner_state('spotify') eq 'paused: it refuses us' }, 60, 'spotify to be paused');
lookup_faults($partners, 'spotify');
is(sql($node, q{select musicverse.resume_partner('spotify_lookup')}), 't', 'whose tokens are refused time and again is paused');
wait_targets($id, 'spotify live');

# failures in a row, and not found for long: the look-up ends, and nothing else
configure_lookup($node, $partners, 'deezer', attempts => 2);
lookup_faults($partners, 'deezer', { on => [ 'album', 'track' ], mode => 'html' });
($id, $upc) = carried(platforms => ['deezer']);
wait_for_sql($node, "select last_error from musicverse.distribution_lookups where distribution_id = '$id' and next_attempt_at is null", 'given up after 2 attempts: deezer_lookup: the answer to upc makes no sense', 60, 'the look-up to end');
is(targets_of($node, $id), 'deezer processing', 'a verifier that fails fails no release');
lookup_faults($partners, 'deezer');
configure_lookup($node, $partners, 'deezer', verify_for => 86400);
wait_looks($id, 'deezer', 1);
pass('configured anew it looks again');
sql($node, q{select musicverse.advance_clock('2 days')});
wait_for_sql($node, "select state || ': ' || last_error from musicverse.distribution_lookups where distribution_id = '$id'", 'given up: not found on deezer for 1 day', 60, 'the look-up to end');
is_deeply([ @{ target($id, 'deezer') }{qw(status reason)} ], [ 'processing', 'not found on deezer for 1 day' ], 'what is not found for long is not looked for any more');

# ---- what is handed over by hand, of which nobody else tells

configure_lookup($node, $partners, 'apple', poll_interval_max => 1);
my ($pid, $out) = start_process('files', 'node', "$root/test/partners/files.js");
my $files = do { my $at = from_json(scalar <$out>); "http://$at->{host}:$at->{port}" };
sql($node, q{select musicverse.configure_partner('apple_direct', null, '{}', '{"provider": "MiraRecords"}')});
is(sql($node, q{select musicverse._partner_config(connector, config) ->> 'live_by' from musicverse.partners where name = 'apple_direct'}), 'verifier', 'a package says nothing itself');
($id, $upc) = carried(platforms => ['apple_music'], files => $files);
wait_targets($id, 'apple_music processing');
is(target($id, 'apple_music')->{partner}, 'apple_direct', 'it is packed');
shows($partners, apple => { "upc:$upc" => { title => 'By hand' } });
wait_targets($id, 'apple_music live');
is(sql($node, "select count(*) from musicverse.distribution_work where distribution_id = '$id' and next_attempt_at is not null"), 0, 'it is found, and nothing is left to be done');
sql($node, "select musicverse.takedown_distribution('$id')");
wait_for(sub { lookup($id, 'apple')->{goal} eq 'takedown' && lookup($id, 'apple')->{looks} }, 60, 'looks for its absence');
shows($partners, apple => {});
wait_for(sub { defined lookup($id, 'apple')->{absent_since} }, 60, 'its absence to be seen');
sql($node, q{select musicverse.advance_clock('61 minutes')});
wait_targets($id, 'apple_music taken_down');
pass('so it is after a takedown');
($id, $upc) = carried(platforms => ['apple_music'], files => $files);
wait_targets($id, 'apple_music processing');
sql($node, "select musicverse.confirm_distribution('$id', 'apple_music', 'https://music.apple.com/us/album/1')");
is(targets_of($node, $id), 'apple_music live', 'its owner may say it as well');
wait_for_sql($node, "select count(*) from musicverse.distribution_work where distribution_id = '$id' and next_attempt_at is not null", 0, 60, 'the look-up to end');
sql($node, q{select musicverse.set_partner_active('apple_direct', false)});

# ---- what is told by messages, to a platform of one's own

my $sftp = MusicVerse::Stream::Sftp->start;
my $teller = MusicVerse::Ddex->new($node, $sftp, http_server(), 'teller', live_by => 'verifier');
sql($node, sprintf q{select musicverse.configure_partner('teller_lookup', %s, '{}', %s)}, lit($partners->base('/deezer')),
	lit({ connector => 'verifier', platforms => ['teller'], dialect => 'deezer', poll_interval => 0.2, poll_interval_max => 1 }));

sub heard { my ($message) = @_; wait_for_sql($node, "select count(*) > 0 from musicverse.partner_statuses where taken_at is not null and message_id = '$message->{message_id}'", 't', 60, 'the answer to be taken'); return; }

my ($told, $message) = $teller->sent({ title => 'By message' });
$teller->acknowledge($message, status => 'ReleaseMadeAvailableToConsumers');
heard($message);
is($teller->status($told), 'processing', 'that it can be heard is the partner\'s word');
shows($partners, deezer => { "upc:$message->{upc}" => { title => 'By message' } });
wait_targets($told, 'teller live');
sql($node, "select musicverse.takedown_distribution('$told')");
my $down = wait_for(sub { ($teller->of($told))[1] }, 60, 'the takedown');
$teller->acknowledge($down, status => 'SuccessfullyIngestedByReleaseDistributor');
heard($down);
is($teller->status($told), 'live', 'so is that it was taken down');
wait_for(sub { (lookup($told, 'teller') // {})->{goal} eq 'takedown' && lookup($told, 'teller')->{looks} }, 60, 'looks for its absence');
shows($partners, deezer => {});
wait_for(sub { defined lookup($told, 'teller')->{absent_since} }, 60, 'its absence to be seen');
sql($node, q{select musicverse.advance_clock('61 minutes')});
wait_targets($told, 'teller taken_down');
wait_for_sql($node, "select count(*) from musicverse.distribution_work where distribution_id = '$told' and next_attempt_at is not null", 0, 60, 'all to be done');
pass('and both are, when they are seen');
$sftp->stop;

# ---- one token for all, under a new master key too

foreach my $key ('old', 'new')
{
	sql($node, 'select musicverse.rekey_secrets()') if $key eq 'new';
	($id, $upc) = carried(platforms => ['spotify']);
	shows($partners, spotify => { "upc:$upc" => { title => 'Sealed' } });
	wait_targets($id, 'spotify live');
	$tokens = $partners->counters('spotify')->{tokens_issued} if $key eq 'old';
}
is($partners->counters('spotify')->{tokens_issued}, $tokens, 'what is kept is opened under a new key');
configure_lookup($node, $partners, 'spotify', concurrency => 20);
my %many = map { my ($id, $upc) = carried(platforms => ['spotify']); ($id => $upc) } 1 .. 10;
wait_looks($_, 'spotify', 1) foreach keys %many;
lookup_faults($partners, 'spotify', { on => 'token', mode => 'ok', delay_ms => 300, count => 1 });
sql($node, q{delete from musicverse.partner_tokens; update musicverse.distribution_work set next_attempt_at = musicverse._now() where verifies = 'spotify' and next_attempt_at is not null and begun_at is null});
($tokens) = $partners->counters('spotify')->{tokens_issued};
shows($partners, spotify => { map { ("upc:$_" => { title => 'One of many' }) } values %many });
wait_targets($_, 'spotify live') foreach keys %many;
is($partners->counters('spotify')->{tokens_issued} - $tokens, 1, 'when all of them want a token, one asks for it');
lookup_faults($partners, 'spotify');

# ---- kill -9 after every step: its answer is lost

configure_lookup($node, $partners, $_) foreach @dialects;
foreach my $case ([ spotify => 'token' ], [ spotify => 'search' ], [ spotify => 'album' ], [ apple => 'albums' ], [ deezer => 'album' ])
{
	my ($dialect, $step) = @$case;
	sql($node, 'delete from musicverse.partner_tokens');
	my $before = $partners->counters($dialect)->{requests}{$step} // 0;
	($id, $upc) = carried(platforms => [ $platform{$dialect} ]);
	lookup_faults($partners, $dialect, { on => $step, mode => 'hang', count => 1 });
	shows($partners, $dialect => { "upc:$upc" => { title => 'Killed' } });
	wait_for(sub { ($partners->counters($dialect)->{requests}{$step} // 0) > $before && sql($node, "select count(*) from musicverse.distribution_work where distribution_id = '$id' and verifies is not null and begun_at is not null") }, 60, "the request $step");
	my $pid = sql($node, 'select pid from musicverse.distribution_status');
	kill 'KILL', $pid;
	wait_for(sub { my $now = eval { sql($node, 'select pid from musicverse.distribution_status') }; $now && $now ne $pid }, 60, 'another worker');
	wait_targets($id, "$platform{$dialect} live");
	is(sql($node, "select count(*) from musicverse.distribution_history where distribution_id = '$id' and status = 'live'"), 1, "killed at $step of $dialect: found, once");
	lookup_faults($partners, $dialect);
}

done_testing();

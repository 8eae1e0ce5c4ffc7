# kill -9 after every step of the connector ddex_sftp: deliveries, changes,
# takedowns and cancels whose worker is ended at each step come to what they
# come to in peace. And what only trouble leads to: find, clean, replace, tidy.
use lib 'test/lib';
use MusicVerse::Ddex;
use MusicVerse::Killed;
use MusicVerse::Stream;
use MusicVerse::Test;

my $node = new_cluster('killed_ddex', 'musicverse.ddex_schema_directory' => ddex_schemas() // '', 'musicverse.inspect_audio' => 'off');
my $sftp = MusicVerse::Stream::Sftp->start(log => 1);
my $http = http_server();
my $killed = MusicVerse::Killed->new($node);

sub partner { my ($name, %config) = @_; return MusicVerse::Ddex->new($node, $sftp, $http, $name, %config); }

sub submit_sql { my ($id) = @_; return "select musicverse.submit_distribution('$id'); update musicverse.distribution_work set next_attempt_at = musicverse._now() where distribution_id = '$id' and next_attempt_at > musicverse._now(); select musicverse._wake_distribution()"; }

sub submit { my ($id) = @_; $killed->act(submit_sql($id), "select submitted_at is not null from musicverse.distributions where id = '$id'"); return; }

sub update { my ($id, $changes) = @_; $killed->act(update_sql($id, $changes), sprintf 'select metadata @> %s from musicverse.distributions where id = %s', lit($changes), lit($id)); return; }

sub update_sql { my ($id, $changes) = @_; return sprintf 'select musicverse.update_release(%s, %s)', lit($id), lit($changes); }

sub wait_work { my ($id, $what, $expected) = @_; wait_for_sql($node, "select $what from musicverse.distribution_work where distribution_id = '$id' and begun_at is null", $expected, 90, "$what to be $expected"); return; }

sub of { my ($partner, $id) = @_; my $upc = $killed->ask("select metadata ->> 'upc' from musicverse.distributions where id = '$id'"); return grep { $_->{upc} eq $upc && (($partner->{config}{choreography} // '') ne 'batch' || $_->{manifest}) } $partner->deliveries; }

# Waits for so many deliveries, and returns the last
sub nth
{
	my ($partner, $id, $n) = @_;
	my $delivery = eval { wait_for(sub { (of($partner, $id))[ $n - 1 ] }, 60, "delivery $n") } or die $@, json($partner->work($id)), "\n";
	return $delivery;
}

# All that lies in the folder of a partner, with the names of releases and moments taken out
sub lies
{
	my ($partner) = @_;
	my @names;
	my $look;
	$look = sub { foreach my $path (MusicVerse::Ddex::under($_[0])) { push @names, $path; $look->($path) if -d $path; } };
	$look->("$partner->{dir}/in");
	return join ' ', sort map { s{^\Q$partner->{dir}\E/in/}{}r =~ s/06141411\d{4}/UPC/gr =~ s/\d{17}/MOMENT/gr } @names;
}

# A release's whole life: (id, what lies there, what was told)
sub life
{
	my ($partner, $end) = @_;
	my $id = $partner->release({ title => 'Rain' }, tracks => 2);
	$killed->watch($id);
	my $phase = sub { $killed->after_each($id, $_[0]) if $end; };
	$phase->('insert');
	submit($id);
	$partner->acknowledge(nth($partner, $id, 1), status => 'ReleaseMadeAvailableToConsumers');
	$partner->wait_status($id, 'live', 120);
	$phase->('update');
	update($id, { title => 'Hail' });
	$partner->acknowledge(nth($partner, $id, 2), status => 'ReleaseReceived');
	wait_work($id, "state ->> 'acked'", 1);
	$phase->('files');
	update($id, { cover_url => "$http->{base}/source?size=7000" });
	$partner->acknowledge(nth($partner, $id, 3), status => 'ReleaseReceived');
	wait_work($id, "state ->> 'acked'", 1);
	$phase->('takedown');
	$killed->act("select musicverse.takedown_distribution('$id')", "select goal = 'takedown' from musicverse.distribution_work where distribution_id = '$id'");
	$partner->acknowledge(nth($partner, $id, 4), status => 'SuccessfullyIngestedByReleaseDistributor');
	$partner->wait_status($id, 'taken_down', 120);
	$killed->act("delete from public.ended_at");
	is(join('; ', map { MusicVerse::Ddex::wrong_files($_) } (of($partner, $id))[ 0, 2 ]), '; ', 'files are as their messages tell') or diag(json([ of($partner, $id) ]));
	return ($id, lies($partner), $killed->told($id), $killed->rest_of($id));
}

foreach my $choreography (qw(release_by_release batch))
{
	my ($peace, @in_peace) = life(partner("peace$choreography", choreography => $choreography), 0);
	my $partner = partner("war$choreography", choreography => $choreography);
	my ($war, @in_war) = life($partner, 1);
	is($in_war[0], $in_peace[0], "$choreography: what lies there is what would without a kill");
	unlike($in_war[0], qr/\.part/, 'nothing is left of attempts');
	is($in_war[1] =~ s/war/peace/gr, $in_peace[1], 'the same was told, once');
	is($in_war[2] =~ s/war/peace/gr, $in_peace[2], 'and the same is known');
}


# ---- a change, or a cancel, meets a delivery that is not complete, or of which it isn't known

foreach my $choreography (qw(release_by_release batch))
{
	my $complete = $choreography eq 'batch' ? 'complete' : 'message';
	my $partner = partner("met$choreography", choreography => $choreography);
	my $meets = sub {
		my ($when, $step, $query, $deliveries, $what) = @_;
		my $id = $partner->release({ title => 'Rain' });
		$killed->after($id, $_) foreach qw(find clean), $when eq 'lost' ? $step : ();
		$query =~ s/:id/'$id'/;
		$when eq 'lost' ? $killed->resumed_at($id, $step, $query) : $killed->at($id, $step, $query);
		submit($id);
		my $last = $deliveries ? nth($partner, $id, $deliveries) : undef;
		wait_for(sub { grep { / clean / } $killed->ended($id) }, 90, 'clean') unless $deliveries;
		$killed->rest($id);
		my @all = of($partner, $id);
		is(scalar(@all), $deliveries, "$choreography, $what, $when at $step: so many deliveries");
		is(MusicVerse::Ddex::wrong_files($all[0]), '', 'the first is whole') if @all;
		unlike(lies($partner), qr/\.part/, 'nothing is left of attempts');
		is(scalar(MusicVerse::Ddex::under("$partner->{dir}/in")), scalar(@{ [ $partner->deliveries ] }), 'and no folder without a delivery');
		unlike($killed->told($id), qr/(\w+ (?:scheduled|delivering|processing|cancelled)),.* \1\b.*\|.*\|/, 'nothing was told twice');
		return ($id, @all);
	};
	my $change = q{select musicverse.update_release(:id, '{"title": "Hail"}')};
	my $cancel = 'select musicverse.cancel_distribution(:id)';
	foreach my $step ('cover', 'prepare', $choreography eq 'batch' ? 'message' : ())
	{
		my ($id, $one) = $meets->('settled', $step, $change, 1, 'a change');
		like($one->{message}, qr/Hail/, 'of what it is now');
		is(MusicVerse::Ddex::wrong_files($one), '', 'with its files');
		$meets->('settled', $step, $cancel, 0, 'a cancel');
	}
	foreach my $step ('audio', $choreography eq 'batch' ? 'message' : ())
	{
		$meets->('lost', $step, $change, 1, 'a change');
		$meets->('lost', $step, $cancel, 0, 'a cancel');
	}
	my ($id, $one, $two) = $meets->('lost', $complete, $change, 2, 'a change');
	like($two->{message}, qr/Hail/, 'the second has the change');
	$partner->acknowledge($two, status => 'ReleaseMadeAvailableToConsumers');
	$partner->wait_status($id, 'live');
	(undef, $one, $two) = $meets->('lost', $complete, $cancel, 2, 'a cancel');
	unlike($two->{message}, qr/<DealList/, 'the second takes it back');
}

# ---- what is left in a folder was never the partner's: its files are sent again

foreach my $choreography (qw(release_by_release batch))
{
	my $partner = partner("anew$choreography", choreography => $choreography);
	my $id = $partner->release({ title => 'Rain' });
	submit($id);
	$partner->acknowledge(nth($partner, $id, 1), status => 'ReleaseMadeAvailableToConsumers');
	$partner->wait_status($id, 'live');
	$killed->after($id, 'cover');
	$killed->after($id, 'clean');
	$killed->at($id, 'cover', update_sql($id, { title => 'Hail' }));
	update($id, { cover_url => "$http->{base}/source?size=7000" });
	my $second = nth($partner, $id, 2);
	$killed->rest($id);
	is(scalar(of($partner, $id)), 2, "$choreography, a change of the cover is overtaken by another: two deliveries");
	is(MusicVerse::Ddex::wrong_files($second), '', 'the second has the files');
	like($second->{message}, qr/Hail/, 'and both changes');
	is((grep { /jpg$/ } @{ $second->{files} })[0] && -s "$second->{dir}/resources/$second->{upc}.jpg", 7000, 'the cover is the new one');
}

# ---- a part of a file never takes the place of a whole one

{
	my $partner = partner('part');
	my $id = $partner->release({ title => 'Rain' }, size => 3_000_000, query => 'rate=3000000');
	$killed->after($id, 'audio');
	$killed->after($id, 'replace');
	submit($id);
	$killed->wait_ended($id, 'replace');
	my ($whole) = wait_for(sub { glob "$partner->{dir}/in/*/resources/*.flac" }, 60, 'the file');
	wait_for(sub { (-s "$whole.part" // 0) > 1_000_000 }, 60, 'a part of it to be sent again');
	kill KILL => $killed->ask('select pid from musicverse.distribution_status');
	my $delivery = nth($partner, $id, 1);
	$killed->rest($id);
	is(MusicVerse::Ddex::wrong_files($delivery), '', 'killed in a transfer that is behind a replace: the file is whole');
	unlike(lies($partner), qr/\.part/, 'nothing is left of attempts');
}

# ---- folders that are not there any more

foreach my $choreography (qw(release_by_release batch))
{
	my $complete = $choreography eq 'batch' ? 'complete' : 'message';
	my $n = 0;
	my $taking = sub {
		my ($what, $query, %how) = @_;
		my $partner = partner("take$choreography" . ++$n, choreography => $choreography);
		mkdir "$partner->{dir}/taken" or die;
		my $id = $partner->release({ title => 'Rain' }, tracks => 2);
		$killed->after($id, $complete, shell => "mv $partner->{dir}/in/* $partner->{dir}/taken/");
		$killed->after($id, 'find');
		$killed->resumed_at($id, $complete, $query =~ s/:id/'$id'/r) if $query;
		submit($id);
		$killed->wait_ended($id, $complete);
		return ($partner, $id);
	};
	my ($partner, $id) = $taking->('nothing');
	$partner->wait_status($id, 'processing');
	$killed->rest($id);
	is(scalar(MusicVerse::Ddex::under("$partner->{dir}/in")), 0, "$choreography, what the partner took away when it was complete is not sent again");
	is($killed->ask("select state ->> 'sent' from musicverse.distribution_work where distribution_id = '$id'"), 1, 'but known to be sent');
	($partner, $id) = $taking->('change', q{select musicverse.update_release(:id, '{"title": "Hail"}')});
	my $second = nth($partner, $id, 1);
	like($second->{message}, qr/Hail/, 'a change of it is a message');
	is(MusicVerse::Ddex::wrong_files($second), '', 'with the files');
	$killed->rest($id);
	# the partner takes away what takes it back as well
	($partner, $id) = $taking->('cancel', q{select musicverse.cancel_distribution(:id)});
	wait_work($id, "concat(state ->> 'kind', state ->> 'sent')", 'takedown1');
	$killed->rest($id);
	my @messages = map { slurp_file($_) } grep { !/BatchComplete/ } glob "$partner->{dir}/taken/*/{*/,}*.xml";
	is(join(' ', map { /<DealList/ ? 'deals' : 'none' } @messages), 'deals none', 'and a cancel takes it back');
	is(scalar(MusicVerse::Ddex::under("$partner->{dir}/in")), 0, 'once');

	foreach my $case ([ audio => 'resources' ], [ cover => '.' ], [ prepare => '.' ])
	{
		my ($step, $what) = @$case;
		$partner = partner("gone$choreography$step", choreography => $choreography);
		my $id = $partner->release({ title => 'Rain' }, tracks => 2);
		$killed->watch($id);
		my $folder = "$partner->{dir}/in/*" . ($choreography eq 'batch' ? '/*' : '') . "/$what";
		$killed->at($id, $step, sprintf 'copy (select) to program %s', lit("rm -r $folder 2>&1 || rm -r $partner->{dir}/in/*"));
		submit($id);
		my $delivery = nth($partner, $id, 1);
		$killed->rest($id);
		is(MusicVerse::Ddex::wrong_files($delivery), '', "$choreography, folders that somebody removed after $step: all of it is sent anew") or diag(lies($partner));
		is(scalar(MusicVerse::Ddex::under("$partner->{dir}/in")), 1, 'once') or diag(lies($partner));
	}
}

# ---- what nobody is asked

{
	my $assumed = partner('assumed', live_by => 'release_date', live_after => 0, acknowledgements => undef);
	my $id = $assumed->release;
	$killed->after_each($id, 'any');
	submit($id);
	$assumed->wait_status($id, 'live', 90);
	$killed->rest($id);
	is(scalar(of($assumed, $id)), 1, 'assumed to be live: one delivery');
	like($killed->told($id), qr/ delivering, \w+ processing, \w+ live \|.*submitted, distribution.processing, distribution.live \|/, 'told once');
	my $silent = partner('silent', acknowledge_timeout => 0.0005);
	$id = $silent->release;
	$killed->after($id, 'expire');
	submit($id);
	$silent->wait_status($id, 'failed', 90);
	$killed->rest($id);
	like($killed->told($id), qr/ processing, \w+ failed \|.*distribution.processing, distribution.failed \|/, 'what expires fails, once');
}

$killed->complete('ddex_sftp', ['ddex*']);

done_testing();

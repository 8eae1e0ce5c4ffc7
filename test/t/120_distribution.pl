# Releases carried to a partner: the whole way, refusals by their nature,
# changes, cancels, takedowns, callbacks, and kill -9 after every step.
use lib 'test/lib';
use MusicVerse::Test;
use MusicVerse::LabelGrid;

use Digest::SHA qw(sha256_hex);

my $node    = new_cluster('distribution');
my $partner = MusicVerse::LabelGrid->start;
my $user    = user(1);
$partner->configure($node);

sub work { my ($id) = @_; return sql_row($node, "select * from musicverse.distribution_work where distribution_id = '$id'"); }

# What LabelGrid has of a release of ours
sub theirs
{
	my ($id)   = @_;
	my $number = sql($node, "select musicverse._labelgrid_catalogue_number(id, '{}') from musicverse.distribution_work where distribution_id = '$id'");
	my $state  = $partner->state;
	return map { my $r = $_; +{ %$r, tracks => [ grep { $_->{release_id} == $r->{id} } @{ $state->{tracks} } ] } }
	  grep { $_->{cat} eq $number } @{ $state->{releases} };
}

# ---- the whole way

my $id = $partner->release($node, $user, {}, tracks => 2, file => 'large');
is(targets_of($node, $id), 'deezer pending, spotify pending', 'a release is made, one target a platform');
is(sql($node, "select count(*) from musicverse.distribution_work where distribution_id = '$id'"), 1, 'one aggregator, one piece of work');
submit($node, $id);
wait_release($node, $id, 'live');
is((theirs($id))[0]{release_date}, sql($node, "select (submitted_at at time zone 'utc')::date from musicverse.distributions where id = '$id'"), 'as soon as possible is the day of the submission');
is(targets_of($node, $id), 'deezer live, spotify live', 'it is live');
my ($theirs) = theirs($id);
is(scalar(@{ $theirs->{tracks} }), 2, 'with its tracks');
my $large = http('GET', $partner->base . '/files/large2.flac')->{content};
is($theirs->{tracks}[1]{file}{size}, length $large, 'the bytes are there');
is($theirs->{tracks}[1]{file}{sha256}, sha256_hex($large), 'and the right ones');
wait_for_sql($node, "select next_attempt_at is null and begun_at is null from musicverse.distribution_work where distribution_id = '$id'", 't', 30, 'nothing to be left to be done');
is(join(' ', map { $_->{step} } $partner->log), 'create_release create_track upload_url put commit create_track upload_url put commit photo validate distribute list_tracks look queue list_tracks look',
	'in this order, and asked which codes they got');
is((grep { $_->{step} eq 'put' && defined $_->{authorization} } $partner->log) + 0, 0, 'the store gets no token');
is_deeply([ map { $_->{key} } $partner->log('distribute') ], [ work($id)->{id} . ':distribute:1' ], 'writes have an idempotency key');
is(sql($node, "select external_ids ->> 'spotify' from musicverse.distributions where id = '$id'"), "spotify-$theirs->{id}", 'the platform\'s id is kept');
is(sql($node, "select string_agg(status, ' ' order by id) from musicverse.distribution_history where distribution_id = '$id' and platform = 'spotify'"),
	'pending scheduled delivering processing live', 'its history');
is(sql($node, "select string_agg(type, ' ' order by position) from musicverse.poll_events('$user') where type like 'distribution.%' and data ->> 'platform' = 'spotify'"),
	'distribution.submitted distribution.processing distribution.live', 'its events');
is(sql($node, "select count(*) from musicverse.notifications where user_id = '$user'"), 6, 'its notifications');

# ---- what goes wrong, by its nature

$partner->control(create_release => [ { http => 503, retry_after => 1 }, { http => 500, done => \1 } ], put => [ { http => 403 } ], queue => [ { reset => \1 } ]);
$id = $partner->release($node, $user, { title => 'Storm' });
submit($node, $id);
wait_release($node, $id, 'live', 60);
is(scalar(theirs($id)), 1, 'transient: it is tried again, and made once');
is((grep { $_->{step} eq 'list_releases' } $partner->log) + 0, 2, 'after an answer that says nothing it is looked for');

$partner->control(validate => [ { http => 422, body => { message => 'invalid', errors => { title => ['The title is taken'] } } } ]);
$id = $partner->release($node, $user, { title => 'Taken' });
submit($node, $id);
wait_release($node, $id, 'failed');
is(sql($node, "select reason from musicverse.distribution_targets where distribution_id = '$id' and platform = 'spotify'"), 'LabelGrid: invalid: The title is taken', 'the user\'s: it fails, and says why');
is(sql($node, "select body ->> 'reason' from musicverse.notifications where body ->> 'distribution_id' = '$id' and kind = 'distribution.failed' limit 1"), 'LabelGrid: invalid: The title is taken', 'and the user is told');
is(sql($node, qq{select musicverse.update_release('$id', '{"title": "Free"}')}), 2, 'it is changed: a new revision');
submit($node, $id);
wait_release($node, $id, 'live');
is((theirs($id))[0]{titles}[0]{text}, 'Free', 'and submitted again');

is(work($id)->{revision}, 3, 'as a revision of its own, so that the refusal is not repeated');

$id = $partner->release($node, $user, { title => 'Gone' }, file => 'missing');
submit($node, $id);
wait_release($node, $id, 'failed');
like(sql($node, "select reason from musicverse.distribution_targets where distribution_id = '$id' limit 1"), qr/could not be fetched: HTTP 404/, 'a file that is gone is the user\'s');

$partner->configure($node, credentials => { token => 'wrong' });
$id = $partner->release($node, $user, { title => 'Ours' });
submit($node, $id);
wait_for_sql($node, "select state from musicverse.partner_status where name = 'labelgrid'", 'paused: it refuses us', 30, 'the partner to be paused');
is(targets_of($node, $id), 'deezer delivering, spotify delivering', 'ours: the release waits');
$partner->configure($node);
wait_release($node, $id, 'live');
pass('and goes on when the partner is configured anew');

$partner->control(live => \0);
$id = $partner->release($node, $user, { title => 'In part' });
submit($node, $id);
wait_for_sql($node, "select string_agg(distinct status, ',') from musicverse.distribution_targets where distribution_id = '$id'", 'processing', 30, 'processing');
my ($part) = theirs($id);
$partner->statuses($part->{id}, spotify => 'complete', deezer => 'error');
wait_for_sql($node, "select status || ' ' || reason from musicverse.distribution_targets where distribution_id = '$id' and platform = 'deezer'", 'failed the cover shows a price', 30, 'one platform to fail');
my $looks = () = $partner->log('look');
wait_for(sub { (() = $partner->log('look')) >= $looks + 3 }, 30, 'looks at the release');
is(targets_of($node, $id), 'deezer failed, spotify processing', 'delivered is not live yet');
$partner->control(live => \1);
wait_for_sql($node, "select status from musicverse.distribution_targets where distribution_id = '$id' and platform = 'spotify'", 'live', 30, 'the other to be live');
is(targets_of($node, $id), 'deezer failed, spotify live', 'one platform does not fail the other');
$partner->statuses($part->{id}, spotify => 'live', deezer => 'live');
submit($node, $id);
wait_for(sub { targets_of($node, $id) eq 'deezer live, spotify live' }, 30, 'the one that failed to be live');
is(scalar(@{ (theirs($id))[0]{distributions} }), 2, 'submitted again: distributed again');
$id = sql($node, q{select distribution_id from musicverse.distribution_work k join musicverse.distributions d on d.id = k.distribution_id where d.metadata ->> 'title' = 'Ours'});

# ---- what can't be written down for one of several

foreach my $which ([ 'a step', 'new.begun_at is not null and old.begun_at is null' ], [ 'an answer', "new.state ? 'release_id' and not old.state ? 'release_id'" ])
{
	my ($what, $when) = @$which;
	my @three = map { $partner->release($node, $user, { title => "$_ of three, $what" }) } 1 .. 3;
	sql($node, qq{create function refuse() returns trigger language plpgsql as 'begin raise exception ''not this one''; end';
		create trigger refuse before update on musicverse.distribution_work for each row when (new.distribution_id = '$three[1]' and $when) execute function refuse()});
	sql($node, join ';', map { "select musicverse.submit_distribution('$_')" } @three);
	wait_release($node, $_, 'live') foreach @three[ 0, 2 ];
	wait_for_sql($node, "select last_error from musicverse.distribution_work where distribution_id = '$three[1]'", 'not this one', 30, "$what to be refused");
	pass("$what that can't be written down holds up nothing else");
	sql($node, 'drop function refuse() cascade');
	wait_release($node, $three[1], 'live', 60);
	is(scalar(theirs($three[1])), 1, 'and goes on when it can, as one release');
}

# ---- changes

is(sql($node, qq{select musicverse.update_release('$id', '{"title": "Ours anew"}')}), 2, 'a live release is changed');
wait_for_sql($node, "select delivered_revision from musicverse.distribution_work where distribution_id = '$id'", 2, 30, 'the change to be delivered');
is((theirs($id))[0]{titles}[0]{text}, 'Ours anew', 'the partner has the change');
is(targets_of($node, $id), 'deezer live, spotify live', 'it stays live');
$partner->control(update_release => [ { http => 403, body => { message => 'locked', code => 'RELEASE_LOCKED_FIELDS' } } ]);
sql($node, qq{select musicverse.update_release('$id', '{"title": "Never"}')});
wait_for_sql($node, "select status from musicverse.distribution_history where distribution_id = '$id' order by id desc limit 1", 'update_refused', 30, 'the change to be refused');
is(targets_of($node, $id), 'deezer live, spotify live', 'a change that is refused fails nothing');

# ---- ends

sql($node, "select musicverse.takedown_distribution('$id')");
wait_release($node, $id, 'taken_down');
is((theirs($id))[0]{status}, 'removed', 'it is taken down');
like(sql_error($node, "select musicverse.cancel_distribution('$id')")->{message}, qr/is taken down and cannot be cancelled/, 'what was taken down can\'t be cancelled');

$partner->control(validate => [ ({ http => 503, retry_after => 2 }) x 3 ]);
$id = $partner->release($node, $user, { title => 'Withdrawn' });
submit($node, $id);
wait_for_sql($node, "select step from musicverse.distribution_work where distribution_id = '$id'", 'validate', 30, 'the work to come to validate');
sql($node, "select musicverse.cancel_distribution('$id')");
wait_release($node, $id, 'cancelled');
wait_for(sub { !theirs($id) }, 30, 'the draft to be deleted');
pass('a cancelled release leaves no draft behind');

$partner->control(live => \0);
$id = $partner->release($node, $user, { title => 'Recalled' });
submit($node, $id);
wait_for_sql($node, "select string_agg(distinct status, ',') from musicverse.distribution_targets where distribution_id = '$id'", 'processing', 30, 'processing');
sql($node, "select musicverse.cancel_distribution('$id')");
wait_for(sub { (theirs($id))[0]{status} eq 'removed' }, 30, 'the release to be taken down');
is(targets_of($node, $id), 'deezer cancelled, spotify cancelled', 'up to the last moment');

# the answer to distribute is lost, and it was not carried out: there is a draft
$partner->control(distribute => [ { hang => \1 } ]);
my $before = () = $partner->log('distribute');
$id = $partner->release($node, $user, { title => 'Doubtful' });
submit($node, $id);
wait_for(sub { (() = $partner->log('distribute')) > $before }, 30, 'the request to distribute');
sql($node, "select musicverse.cancel_distribution('$id')");
wait_for(sub { !theirs($id) }, 60, 'the draft to be deleted');
pass('what was perhaps distributed, and was not, is deleted');

# one platform failed: the other is taken down, and both can be submitted and taken down again
sub failed_at_deezer
{
	my ($title) = @_;
	$partner->control(live => \0);
	my $made = $partner->release($node, $user, { title => $title });
	submit($node, $made);
	wait_for_sql($node, "select string_agg(distinct status, ',') from musicverse.distribution_targets where distribution_id = '$made'", 'processing', 30, 'processing');
	$partner->statuses((theirs($made))[0]{id}, spotify => 'live', deezer => 'error');
	wait_for(sub { targets_of($node, $made) eq 'deezer failed, spotify live' }, 30, 'one platform to fail');
	return $made;
}

$id = failed_at_deezer('Half');
sql($node, "select musicverse.takedown_distribution('$id')");
is(sql_error($node, "select musicverse.submit_distribution('$id')")->{message}, "distribution $id is being taken down", 'what is being taken down is not submitted');
$partner->statuses((theirs($id))[0]{id}, spotify => 'removed');
wait_for(sub { targets_of($node, $id) eq 'deezer failed, spotify taken_down' }, 30, 'the one that is there to be taken down');
wait_for_sql($node, "select next_attempt_at is null from musicverse.distribution_work where distribution_id = '$id'", 't', 30, 'the work to end');
$partner->statuses((theirs($id))[0]{id});
$partner->control(live => \1);
submit($node, $id);
wait_for(sub { targets_of($node, $id) eq 'deezer live, spotify taken_down' }, 30, 'the other to be live');
sql($node, "select musicverse.takedown_distribution('$id')");
wait_for(sub { targets_of($node, $id) eq 'deezer taken_down, spotify taken_down' }, 30, 'it to be taken down as well');
is((theirs($id))[0]{status}, 'removed', 'what was submitted again is taken down again');

# one platform live, the other submitted again and on its way
$id = failed_at_deezer('On its way');
$partner->control(update_release => [ ({ http => 503, retry_after => 2 }) x 3 ]);
submit($node, $id);
wait_for(sub { targets_of($node, $id) eq 'deezer delivering, spotify live' }, 30, 'the other to be on its way');
sql($node, "select musicverse.takedown_distribution('$id')");
is(targets_of($node, $id), 'deezer cancelled, spotify live', 'a takedown ends what is on its way there');
$partner->statuses((theirs($id))[0]{id});
$partner->control(live => \1);
wait_for(sub { targets_of($node, $id) eq 'deezer cancelled, spotify taken_down' }, 30, 'it to be taken down');

# a change that the partner never takes
$partner->configure($node, attempts => 1);
$id = $partner->release($node, $user, { title => 'Steady' });
submit($node, $id);
wait_release($node, $id, 'live');
$partner->control(live => \1, update_release => [ { http => 503 } ]);
sql($node, qq{select musicverse.update_release('$id', '{"title": "Shaky"}')});
wait_for_sql($node, "select status || ': ' || reason from musicverse.distribution_history where distribution_id = '$id' order by id desc limit 1", 'update_refused: given up after 1 attempts: LabelGrid: as told', 30, 'the change to be given up');
is(targets_of($node, $id), 'deezer live, spotify live', 'its owner is told, and it stays live');
$partner->configure($node);

# ---- a copy sends nothing

$partner->control(live => \1);
sql($node, q{update musicverse.installation set identity = 'another'});
my $asked = () = $partner->log('create_release');
$id = $partner->release($node, $user, { title => 'Copied' });
submit($node, $id);
wait_for_sql($node, 'select state from musicverse.distribution_status', 'standing still: a copy', 30, 'the worker to stand still');
is(scalar(() = $partner->log('create_release')), $asked, 'a copy tells nobody of a release');
sql($node, 'select musicverse.enable_sending()');
wait_release($node, $id, 'live');
pass('until it is told to send');
$partner->control(live => \0);

# ---- callbacks

sub callback
{
	my ($message, $data, %how) = @_;
	my $body = $how{body} // json({ event => 'delivery.completed', created_at => $how{at} // sql($node, "select to_json(musicverse._now()) #>> '{}'"), data => $data });
	my $ts   = time;
	my $sign = sql($node, sprintf 'select musicverse.sign_webhook(%s, %s, %d, %s)', lit($how{secret} // secret_of_callbacks()), lit($message), $ts, lit($body));
	return sql($node, sprintf "select status from musicverse.handle_request('POST', '/api/v1/partners/labelgrid/callback', null, %s, %s)",
		lit({ 'webhook-id' => $message, 'webhook-timestamp' => "$ts", 'webhook-signature' => $sign }), lit($body));
}

$partner->configure($node, poll_interval => 3600);
$id = $partner->release($node, $user, { title => 'Called' });
submit($node, $id);
wait_for_sql($node, "select string_agg(distinct status, ',') from musicverse.distribution_targets where distribution_id = '$id'", 'processing', 30, 'processing');
my %about = (release_id => work($id)->{state}{release_id});
is(callback('m1', { %about, outlet => 'spotify', status => 'live', url => 'https://spotify.example.com/1' }), 200, 'a callback');
is(targets_of($node, $id), 'deezer processing, spotify live', 'counts for its platform');
is(callback('m2', { %about, outlet => 'spotify', status => 'processing' }), 200, 'a late one is taken');
is(targets_of($node, $id), 'deezer processing, spotify live', 'and changes nothing of what is live');
is(callback('m3', { %about, outlet => 'deezer', status => 'failed', error => 'no cover' }), 200, 'a failure');
is(callback('m4', { %about, outlet => 'deezer', status => 'live' }, at => '2020-01-01T00:00:00Z'), 200, 'an older one');
is(targets_of($node, $id), 'deezer failed, spotify live', 'does not count');
is(callback('m3', { %about, outlet => 'deezer', status => 'live' }), 200, 'a repeated one');
is(targets_of($node, $id), 'deezer failed, spotify live', 'neither');
is(callback('m5', { %about, outlet => 'deezer', status => 'live' }, secret => 'whsec_' . 'B' x 32), 401, 'a forged one is refused');
is(callback('m6', { release_id => 'nothing', outlet => 'deezer', status => 'live' }), 404, 'one of nothing of ours');
is(callback('m8', {}, body => '{"data": 1e131000}'), 400, 'one with a number of absurd size');
is(callback('m7', { %about, outlet => 'deezer', status => 'on the moon' }), 422, 'one that makes no sense');
is(work($id)->{next_attempt_at}, undef, 'nothing is left to be asked');
$partner->control(live => \1);
is(callback('m9', { %about, outlet => 'deezer', status => 'processing' }), 200, 'one by which it goes on after all is taken');
wait_for(sub { targets_of($node, $id) eq 'deezer live, spotify live' }, 30, 'the partner to be asked what becomes of it');

# ---- kill -9 after every step: carried out there, the answer lost

$partner->configure($node);
$partner->control(live => \1, redistributes => \0);
foreach my $step (qw(create_release create_track put commit photo validate distribute queue))
{
	$partner->control($step => [ { done => \1, hang => \1 } ]);
	my $before = () = $partner->log($step);
	my $killed = $partner->release($node, $user, { title => "Killed at $step" });
	submit($node, $killed);
	wait_for(sub { (() = $partner->log($step)) > $before }, 30, "the request of $step");
	my $pid = sql($node, 'select pid from musicverse.distribution_status');
	kill 'KILL', $pid;
	wait_for(sub { my $now = eval { sql($node, 'select pid from musicverse.distribution_status') }; $now && $now ne $pid }, 60, 'another worker');
	wait_release($node, $killed, 'live', 60);
	my @made = theirs($killed);
	is(join(' ', scalar(@made), scalar(@{ $made[0]{tracks} }), scalar(@{ $made[0]{distributions} })), '1 1 1', "killed at $step: one release, one track, distributed once");
}

done_testing();

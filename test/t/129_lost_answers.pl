# The answer to what hands a release over is lost, and its owner changes it
# before it is asked again: which revision the partner has, is found out, and
# its owner is told what becomes of the other.
use lib 'test/lib';
use MusicVerse::Test;
use MusicVerse::LabelGrid;

my $node    = new_cluster('lost');
my $partner = MusicVerse::LabelGrid->start;
my $user    = user(1);
my %quick   = (doubt_time => 0, timeout => 3);
$partner->configure($node, %quick);

sub work { my ($id) = @_; return sql_row($node, "select * from musicverse.distribution_work where distribution_id = '$id'"); }

sub theirs
{
	my ($id) = @_;
	my $number = sql($node, "select musicverse._labelgrid_catalogue_number(id, '{}') from musicverse.distribution_work where distribution_id = '$id'");
	return grep { $_->{cat} eq $number } @{ $partner->state->{releases} };
}

# "1 live Before": how often it was distributed, and what it is called there
sub distributed
{
	my ($id) = @_;
	return join ' | ', map { scalar(@{ $_->{distributions} }) . " $_->{status} $_->{titles}[0]{text}" } theirs($id);
}

sub history
{
	my ($id) = @_;
	return sql($node, "select string_agg(status, ' ' order by id) from musicverse.distribution_history where distribution_id = '$id' and coalesce(platform, 'spotify') = 'spotify'");
}

sub change { my ($id, %what) = @_; return sql($node, "select musicverse.update_release('$id', " . lit(\%what) . ')'); }

# A release whose distribute is answered in that way
sub begin
{
	my ($title, $behaviour, %more) = @_;
	$partner->control(live => \0, locks => \1, redistributes => \0, distribute => [$behaviour], %more);
	my $before = () = $partner->log('distribute');
	my $id = $partner->release($node, $user, { title => $title });
	submit($node, $id);
	wait_for(sub { (() = $partner->log('distribute')) > $before }, 60, "$title: the request to distribute");
	return $id;
}

sub goes_live
{
	my ($id, $what) = @_;
	wait_for(sub { targets_of($node, $id) eq 'deezer processing, spotify processing' }, 60, "$what: it to be processed");
	wait_for_sql($node, "select status from musicverse.distribution_history where distribution_id = '$id' and status = 'update_refused'", 'update_refused', 60, "$what: the change to be refused");
	$partner->control(live => \1);
	wait_release($node, $id, 'live', 60);
	is(distributed($id), '1 distributed Before', "$what: what arrived is live, once");
	is(work($id)->{delivered_revision} . ' of ' . work($id)->{revision}, '1 of 1', "$what: and is known to be");
	is(sql($node, "select revision from musicverse.distributions where id = '$id'"), 2, "$what: the change is kept");
	unlike(history($id), qr/failed/, "$what: nothing has failed");
	return;
}

# ---- LabelGrid took it

my $id = begin('Before', { done => \1, hang => \1 });
change($id, title => 'After');
goes_live($id, 'changed while the answer was waited for');
my $told = sql_row($node, "select title, body from musicverse.notifications where kind = 'distribution.update_refused' and body ->> 'distribution_id' = '$id'");
is($told->{title}, 'A change of "After" was refused', 'its owner is told');
is(join(' ', @{ $told->{body} }{qw(revision delivered_revision)}), '2 1', 'which revision is there');
is($told->{body}{reason}, 'LabelGrid: the release is locked; what was submitted stays as it is there, which is revision 1: take the release down and make a new one of it',
	'and what he can do');
is(scalar(() = $partner->log('find_release')), 0, 'nothing is made again');

$id = begin('Before', { done => \1, http => 503, retry_after => 3600 });
wait_for_sql($node, "select failures from musicverse.distribution_work where distribution_id = '$id'", 1, 60, 'the answer to be lost');
change($id, title => 'After');
goes_live($id, 'changed after the answer was lost');

$id = begin('Before', { done => \1, hang => \1 });
my $pid = sql($node, 'select pid from musicverse.distribution_status');
change($id, title => 'After');
kill 'KILL', $pid;
wait_for(sub { my $now = eval { sql($node, 'select pid from musicverse.distribution_status') }; $now && $now ne $pid }, 60, 'another worker');
goes_live($id, 'changed, and the worker was killed');

# its queue tells nothing of it yet, and what is locked does
$id = begin('Before', { done => \1, http => 503, retry_after => 3600 }, queue => [ { http => 200, body => { data => [] } } ]);
wait_for_sql($node, "select failures from musicverse.distribution_work where distribution_id = '$id'", 1, 60, 'the answer to be lost');
change($id, title => 'After');
goes_live($id, 'known by its lock');

# it turns up while it is looked for
$partner->configure($node, %quick, doubt_time => 600);
$id = begin('Before', { done => \1, http => 503, retry_after => 3600 }, queue => [ { http => 200, body => { data => [] } } ]);
wait_for_sql($node, "select failures from musicverse.distribution_work where distribution_id = '$id'", 1, 60, 'the answer to be lost');
change($id, title => 'After');
goes_live($id, 'turned up later');
$partner->configure($node, %quick);

# an answer that makes no sense is none
$id = begin('Before', { done => \1, http => 503, retry_after => 3600 }, queue => [ { http => 200, body => { message => 'hello' } } ]);
wait_for_sql($node, "select failures from musicverse.distribution_work where distribution_id = '$id'", 1, 60, 'the answer to be lost');
change($id, title => 'After');
goes_live($id, 'garbage in between');

# what comes next could not even be sent
$id = begin('Before', { done => \1, http => 503, retry_after => 3600 });
wait_for_sql($node, "select failures from musicverse.distribution_work where distribution_id = '$id'", 1, 60, 'the answer to be lost');
my $track = sql($node, "select metadata #>> '{tracks,0,track_id}' from musicverse.distributions where id = '$id'");
change($id, title => 'After', tracks => [ { track_id => $track, audio_url => $partner->base . '/files/missing.flac' } ]);
goes_live($id, 'changed into what can\'t be sent');

# ---- and what becomes of later changes

$partner->control(locks => \0, redistributes => \1);
is(change($id, title => 'Third', tracks => [ { track_id => $track, audio_url => $partner->base . '/files/b1.flac' } ]), 3, 'LabelGrid lets it be changed again');
wait_for_sql($node, "select delivered_revision from musicverse.distribution_work where distribution_id = '$id'", 3, 60, 'the change to be delivered');
is(distributed($id), '2 distributed Third', 'it is distributed again');
is(targets_of($node, $id), 'deezer live, spotify live', 'and stays live');

# a cover that is refused is not sent again, nor is the old one
$partner->control(live => \0, locks => \0, redistributes => \1);
$id = $partner->release($node, $user, { title => 'Before' });
submit($node, $id);
wait_for(sub { targets_of($node, $id) eq 'deezer processing, spotify processing' }, 60, 'it to be processed');
$partner->control(photo => [ { http => 403, body => { error => { message => 'locked', code => 'RELEASE_LOCKED_FIELDS' } } } ]);
change($id, cover_url => $partner->base . '/files/other.jpg');
wait_for_sql($node, "select status from musicverse.distribution_history where distribution_id = '$id' and status = 'update_refused'", 'update_refused', 60, 'the cover to be refused');
$partner->control(live => \1);
wait_release($node, $id, 'live', 60);
is(sql($node, "select count(*) from musicverse.distribution_history where distribution_id = '$id' and status = 'update_refused'"), 1, 'it is refused once');

# ---- LabelGrid did not take it

$id = begin('Before', { hang => \1 });
change($id, title => 'After');
$partner->control(live => \1);
wait_release($node, $id, 'live', 60);
is(distributed($id), '1 distributed After', 'what did not arrive is delivered as it is now');
is(work($id)->{delivered_revision}, 2, 'and known to be');

# cancelled while it is looked for
$partner->configure($node, %quick, doubt_time => 600);
foreach my $arrived (0, 1)
{
	$id = begin('Before', { http => 503, retry_after => 3600, done => ($arrived ? \1 : \0) }, queue => [ ({ http => 200, body => { data => [] } }) x ($arrived ? 1 : 0) ]);
	wait_for_sql($node, "select failures from musicverse.distribution_work where distribution_id = '$id'", 1, 60, 'the answer to be lost');
	change($id, title => 'After');
	wait_for_sql($node, "select state ->> 'doubt_rev' from musicverse.distribution_work where distribution_id = '$id'", 1, 60, 'it to be looked for');
	sql($node, "select musicverse.cancel_distribution('$id')");
	wait_for_sql($node, "select next_attempt_at is null and begun_at is null from musicverse.distribution_work where distribution_id = '$id'", 't', 60, 'it to be withdrawn');
	is(distributed($id), $arrived ? '1 removed Before' : '', 'cancelled in doubt: ' . ($arrived ? 'what arrived is taken down' : 'the draft is deleted'));
}
$partner->configure($node, %quick);

done_testing();

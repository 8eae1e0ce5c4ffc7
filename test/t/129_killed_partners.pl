# kill -9 after every step of the connectors labelgrid, soundcloud and verifier:
# deliveries, changes, takedowns and cancels come to what they come to in peace.
use lib 'test/lib';
use MusicVerse::Killed;
use MusicVerse::LabelGrid;
use MusicVerse::Lookups;
use MusicVerse::Partners;
use MusicVerse::SoundCloud;
use MusicVerse::Test;

my $node     = new_cluster('killed_partners', 'musicverse.inspect_audio' => 'off');
my $grid     = MusicVerse::LabelGrid->start;
my $partners = MusicVerse::Partners->start;
my $killed   = MusicVerse::Killed->new($node);
my $user     = user(1);

sub submit_killed { my ($id) = @_; $killed->act("select musicverse.submit_distribution('$id')", "select submitted_at is not null from musicverse.distributions where id = '$id'"); return; }
sub change { my ($id, $sql) = @_; $killed->act("select musicverse.update_release('$id', $sql) from musicverse.distributions where id = '$id' and revision = " . $killed->ask("select revision from musicverse.distributions where id = '$id'")); return; }
sub takedown { my ($id) = @_; $killed->act("select musicverse.takedown_distribution('$id')", "select goal = 'takedown' from musicverse.distribution_work where distribution_id = '$id' and verifies is null"); return; }
sub wait_work { my ($id, $what, $expected) = @_; wait_for_sql($node, "select $what from musicverse.distribution_work where distribution_id = '$id' and begun_at is null and verifies is null", $expected, 90, "$what to be $expected"); return; }

# The first track has another file, and the release another title
sub other_file { my ($url) = @_; return "jsonb_build_object('title', 'Hail', 'tracks', jsonb_build_array(metadata #> '{tracks,0}' || '{\"audio_url\": \"$url\"}', metadata #> '{tracks,1}'))"; }

# ---- LabelGrid

$grid->configure($node, poll_interval => 0.3, doubt_time => 1);

sub at_grid
{
	my ($id) = @_;
	my $number = $killed->ask("select musicverse._labelgrid_catalogue_number(id, '{}') from musicverse.distribution_work where distribution_id = '$id'");
	my $state  = $grid->state;
	return grep { $_->{cat} eq $number } map { my $r = $_; +{ %$r, tracks => [ grep { $_->{release_id} == $r->{id} } @{ $state->{tracks} } ] } } @{ $state->{releases} };
}

# How many there are, and of each: the titles, the tracks' files, how often it was distributed
sub told_of_grid
{
	my ($id) = @_;
	my @all = at_grid($id);
	return join '; ', scalar(@all) . ' there', map { my $r = $_;
		my %keys = map { $_ => 1 } @{ $r->{distributions} };
		join ', ', json($r->{titles}), (map { $_->{file}{sha256} // 'no file' } @{ $r->{tracks} }), keys(%keys) . ' times', $r->{status} } @all;
}

sub life_at_grid
{
	my ($end) = @_;
	my @there;
	$grid->control(live => \0);
	my $id = $grid->release($node, $user, { title => 'Rain' }, tracks => 2);
	my $phase = sub { $killed->watch($id); $killed->after_each($id, $_[0]) if $end; };
	my $look = sub { $killed->act("delete from public.ended_at where distribution_id = '$id'"); push @there, told_of_grid($id); };
	$phase->('insert');
	submit_killed($id);
	wait_for_sql($node, "select status from musicverse.distributions where id = '$id'", 'processing', 90, 'the release');
	wait_work($id, 'delivered_revision', 1);
	my ($made) = at_grid($id);
	$grid->statuses($made->{id}, map { $_ => 'complete' } @{ $made->{outlets} });
	$grid->control(live => \1);
	wait_release($node, $id, 'live', 90);
	$look->();
	$phase->('update');
	change($id, other_file($grid->base . '/files/b1.flac'));
	wait_work($id, 'delivered_revision', 2);
	$look->();
	$phase->('takedown');
	$grid->statuses($made->{id});
	takedown($id);
	wait_release($node, $id, 'taken_down', 90);
	$look->();
	return (join("\n", @there), $killed->told($id), $killed->rest_of($id));
}

my @in_peace = life_at_grid(0);
my @in_war   = life_at_grid(1);
is($in_war[0], $in_peace[0], 'LabelGrid: what it has is what it would have without a kill');
is($in_war[1], $in_peace[1], 'the same was told, once');
is($in_war[2], $in_peace[2], 'and the same is known');

$grid->control(live => \0);
foreach my $step (qw(create_release upload validate distribute))
{
	my $id = $grid->release($node, $user, { title => 'Rain' }, tracks => 2);
	$killed->after($id, $_) foreach $step, qw(find_release delete_release takedown);
	$killed->resumed_at($id, $step, "select musicverse.cancel_distribution('$id')");
	submit_killed($id);
	wait_for_sql($node, "select goal = 'takedown' and step in ('delete_release', 'takedown', 'poll_removal') and begun_at is null and not is_unsure from musicverse.distribution_work where distribution_id = '$id'", 't', 90, 'the cancel');
	$killed->rest($id);
	like(told_of_grid($id), $step eq 'distribute' ? qr/^1 there.*removed$/ : qr/^0 there$/, "LabelGrid, cancelled when the answer to $step was lost: nothing of it is left on sale");
}
{
	my $id = $grid->release($node, $user, { title => 'Rain' }, tracks => 2);
	$killed->after($id, $_) foreach qw(distribute find_distribution);
	$killed->resumed_at($id, 'distribute', qq{select musicverse.update_release('$id', '{"title": "Hail"}')});
	submit_killed($id);
	wait_work($id, 'delivered_revision', 2);
	$killed->rest($id);
	like(told_of_grid($id), qr/^1 there; .*Hail.*, 2 times, /, 'changed when the answer to distribute was lost: one release, whose change was distributed as well');
}

# ---- SoundCloud

configure_soundcloud($node, $partners, poll_interval => 0.3);
http('PUT', $partners->base("/storage/$_"), "\x89PNG\r\n\x1a\n\0\0\0\rIHDR" . pack('NN', 3000, 3000) . "\x08\x02\0\0\0" . 'x' x 5000 . $_) foreach qw(cover.png other.png);
log_in($node, $partners, $user);

my $isrc = 0;
sub for_soundcloud
{
	my ($date) = @_;
	my @tracks = map { sql($node, sprintf 'insert into musicverse.tracks (user_id, title, style, audio_url, cover_url, isrc) values (%s, %s, %s, %s, %s, %s) returning id',
			lit($user), lit("Song $_"), lit('Ambient'), lit($partners->base('/storage/zeros/' . (44044 + 4 * $_) . '.wav')), lit($partners->base('/storage/cover.png')), lit(sprintf 'QZABC26%05d', ++$isrc)) } 1, 2;
	return sql($node, sprintf 'select musicverse.create_distribution(%s, %s, %s, %s, %s)', lit($user), lit('{' . join(',', @tracks) . '}'), lit('{soundcloud}'), $date // 'null', lit({ artist => 'Mira', title => 'Rain' }));
}

sub at_soundcloud
{
	my $r = $partners->records('soundcloud');
	return join ', ', (map { "$_->{title} $_->{sharing} $_->{asset}{bytes}" } sort { $a->{title} cmp $b->{title} } @{ $r->{tracks} }),
		(map { "$_->{title} $_->{sharing} " . scalar(@{ $_->{tracks} }) } @{ $r->{playlists} });
}

sub life_at_soundcloud
{
	my ($end) = @_;
	my @there;
	my $id = for_soundcloud();
	my $phase = sub { $killed->watch($id); $killed->after_each($id, $_[0]) if $end; };
	my $look = sub { $killed->rest($id); push @there, at_soundcloud(); };
	$phase->('insert');
	submit_killed($id);
	wait_release($node, $id, 'live', 90);
	$look->();
	$phase->('update');
	change($id, "jsonb_build_object('title', 'Hail', 'cover_url', '" . $partners->base('/storage/other.png') . "')");
	wait_work($id, 'delivered_revision', 2);
	$look->();
	$phase->('refused');
	change($id, other_file($partners->base('/storage/zeros/48000.wav')));
	wait_for_sql($node, "select count(*) from musicverse.distribution_history where distribution_id = '$id' and status = 'update_refused'", 1, 90, 'the refusal');
	$look->();
	$phase->('takedown');
	takedown($id);
	wait_release($node, $id, 'taken_down', 90);
	$look->();

	# changed and cancelled before its moment
	$id = for_soundcloud("current_date + 1");
	$phase->('insert');
	submit_killed($id);
	wait_for_sql($node, "select status from musicverse.distribution_targets where distribution_id = '$id'", 'processing', 90, 'the upload');
	$look->();
	$phase->('update');
	change($id, other_file($partners->base('/storage/zeros/48000.wav')));
	wait_work($id, 'delivered_revision', 2);
	$look->();
	$phase->('cancel');
	$killed->act("select musicverse.cancel_distribution('$id')", "select status = 'cancelled' from musicverse.distributions where id = '$id'");
	wait_for(sub { at_soundcloud() eq '' }, 90, 'it to be withdrawn');
	$look->();
	return (join("\n", @there), $killed->told($id), $killed->rest_of($id));
}

@in_peace = life_at_soundcloud(0);
@in_war   = life_at_soundcloud(1);
is($in_war[0], $in_peace[0], 'SoundCloud: what it has is what it would have without a kill');
is($in_war[1], $in_peace[1], 'the same was told, once');
is($in_war[2], $in_peace[2], 'and the same is known');

# ---- look-ups

$grid->control(live => \0);
$grid->configure($node, live_by => 'verifier', poll_interval => 5);
my $made = 0;

sub life_looked_up
{
	my ($end) = @_;
	my ($upc, $isrc) = (gtin(++$made), sprintf 'QZABC27%05d', $made);
	my $id = $grid->release($node, $user, { title => 'Found', upc => $upc }, platforms => ['spotify']);
	sql($node, "select musicverse.update_release('$id', jsonb_build_object('tracks', jsonb_build_array(metadata #> '{tracks,0}' || '{\"isrc\": \"$isrc\"}'))) from musicverse.distributions where id = '$id'");
	my $phase = sub { $killed->watch($id); return unless $end; $killed->act("delete from public.ended_at"); $killed->after($id, $_, phase => $_[0]) foreach qw(token upc album isrc); };
	shows($partners, spotify => {});
	$phase->('absent');
	submit_killed($id);
	wait_for_sql($node, "select (state ->> 'looks')::int >= 2 from musicverse.distribution_work where distribution_id = '$id' and verifies is not null", 't', 90, 'two looks');
	$phase->('found');
	shows($partners, spotify => { "upc:$upc" => { title => 'Found' } });
	wait_for_sql($node, "select status from musicverse.distribution_targets where distribution_id = '$id'", 'live', 90, 'it to be found');
	$phase->('takedown');
	takedown($id);
	wait_work($id, "state ->> 'removal_asked'", 1);
	# it is still there when it is looked for first
	wait_for(sub { $end ? grep { /^takedown album / } $killed->ended($id) : $killed->ask(q{select count(*) from public.ran where connector = 'verifier' and goal = 'takedown' and step = 'album'}) }, 60, 'a look');
	shows($partners, spotify => {});
	wait_release($node, $id, 'taken_down', 90);
	$killed->act("delete from public.ended_at");
	return ($killed->told($id), $killed->ask("select string_agg(concat_ws(' ', partner, goal, failures, last_error, state ->> 'found' is not null), ', ' order by partner) from musicverse.distribution_work where distribution_id = '$id'"));
}

configure_lookup($node, $partners, 'spotify', absent_twice => 0.5);
@in_peace = life_looked_up(0);
sql($node, 'delete from musicverse.partner_tokens');
@in_war = life_looked_up(1);
is($in_war[0], $in_peace[0], 'look-ups: the same was told, once');
is($in_war[1], $in_peace[1], 'and the same is known');

$killed->complete('labelgrid', ['labelgrid*']);
$killed->complete('soundcloud', ['soundcloud*']);
$killed->complete('verifier', ['verifier']);

done_testing();

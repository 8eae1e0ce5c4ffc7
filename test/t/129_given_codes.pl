# A release without codes, to which LabelGrid gives them: they are kept, shown,
# and sales reports that name them find the release; never somebody else's.
use lib 'test/lib';
use MusicVerse::Test;
use MusicVerse::LabelGrid;

my $node    = new_cluster('given');
my $partner = MusicVerse::LabelGrid->start;
my ($user, $other) = (user(1), user(2));
$partner->configure($node);

sub identifiers { my ($id) = @_; return sql_row($node, "select identifiers from musicverse.distribution_targets where distribution_id = '$id' and platform = 'spotify'")->{identifiers}; }

sub track_of { my ($id, $n) = @_; return sql($node, "select track_ids[$n] from musicverse.distributions where id = '$id'"); }

sub live
{
	my ($who, $metadata, $gives, %with) = @_;
	$partner->control(live => \1, gives => $gives);
	my $id = $partner->release($node, $who, $metadata, %with);
	submit($node, $id);
	wait_release($node, $id, 'live', 60);
	wait_for_sql($node, "select next_attempt_at is null and begun_at is null from musicverse.distribution_work where distribution_id = '$id'", 't', 60, 'nothing to be left to be asked');
	return $id;
}

# What LabelGrid paid for a release and a recording of it; returns who gets it
my $reports = 0;
sub earned
{
	my ($upc, $isrc) = @_;
	my $n = ++$reports;
	my $line = sub {
		my ($cells, %at) = @_;
		return join "\t", map { $at{$_} // '' } 1 .. $cells;
	};
	my @lines = (
		$line->(16, 1 => 'HEAD', 2 => 'dsrf/1.4/6/1.4', 3 => 'FinancialReportingToRecordCompaniesSRB', 4 => '1.1', 5 => "M$n", 6 => '2026-11-02T10:00:00Z', 7 => 1, 8 => 1,
			9 => '2026-10-01', 10 => '2026-10-31', 12 => 'Spotify', 13 => 'Premium'),
		$line->(46, 1 => 'SY10.01', 2 => 1, 5 => 'SubscriptionModel', 6 => 'OnDemandStream', 7 => '2026-10', 8 => '2026-10', 13 => 'US', 14 => 'spotify', 21 => 'USD', 22 => 'EUR'),
		$line->(48, 1 => 'SR08.01', 2 => 't', 4 => $upc // '', 14 => $isrc // '', 25 => 1, 27 => 100, 47 => '1.5'));
	push @lines, join "\t", 'SRFO', @lines + 1, 1;
	my $text = join "\n", @lines, '';
	my $report = sql($node, sprintf q{select (musicverse.import_dsr('labelgrid', 'r%d', %s::text)).id}, $n, lit($text));
	return sql($node, "select string_agg(concat_ws(' ', distribution_id, track_id), '') from musicverse.dsr_products where report_id = $report");
}

# ---- given, kept, shown, found

my $id = live($user, { title => 'Given' }, { upc => '614141123452', isrc => 'QZABC260000' }, tracks => 2);
my @tracks = map { track_of($id, $_) } 1, 2;
my %kept = (upc => '614141123452', isrcs => { $tracks[0] => 'QZABC2600000', $tracks[1] => 'QZABC2600001' });
is_deeply(identifiers($id), \%kept, 'the codes that LabelGrid gave are kept');
is(sql($node, "select metadata ->> 'upc' is null from musicverse.distributions where id = '$id'"), 't', 'the release itself stays as it is');
is_deeply(from_json(sql($node, "select musicverse._api_distribution(d)::jsonb -> 'targets' -> 0 -> 'identifiers' from musicverse.distributions d where id = '$id'")), \%kept, 'the API shows them');
is(earned('614141123452', 'QZABC2600001'), "$id $tracks[1]", 'sales that name both find the track');
is(earned('0614141123452', undef), $id, 'those that name the UPC find the release');
is(earned(undef, 'QZABC2600000'), "$id $tracks[0]", 'those that name an ISRC find the track');
is(sql($node, "select sum(revenue) from musicverse.distribution_facts where distribution_id = '$id'"), '4.5', 'the revenue is there');
is((scalar(() = $partner->log('look'))) . ' ' . scalar(grep { $_->{path} =~ /^\/tracks/ } $partner->log('list_tracks')), '1 1', 'LabelGrid was asked once');

# a change is told with them, and takes nothing away
$partner->control(gives => { upc => '036000291452', isrc => 'QZABC260009' });
sql($node, qq{select musicverse.update_release('$id', '{"title": "Given anew"}')});
wait_for_sql($node, "select delivered_revision from musicverse.distribution_work where distribution_id = '$id'", 2, 60, 'the change to be delivered');
is_deeply(identifiers($id), \%kept, 'what was given first stays');
is(earned('614141123452', 'QZABC2600001'), "$id $tracks[1]", 'and is found still');

# ---- late, and only of what is lacking

$id = live($user, { title => 'Late', upc => '4006381333931' }, { upc => '036000291452', isrc => 'QZABC260001', late => \1 });
is_deeply(identifiers($id), { isrcs => { track_of($id, 1) => 'QZABC2600010' } }, 'what it is given late is kept, of what it lacks');
is(earned('4006381333931', 'QZABC2600010'), join(' ', $id, track_of($id, 1)), 'and is found with its own UPC');
is(earned('036000291452', undef), '', 'a UPC that is nobody\'s finds nothing');

# ---- nothing of others

my $theirs = live($other, { title => 'Theirs' }, { upc => '614141123452', isrc => 'QZABC260000' });
is_deeply(identifiers($theirs), {}, 'codes of somebody else are not kept, whoever says they were given');
my $first = sql($node, q{select distribution_id from musicverse.release_recordings where upc = '00614141123452' limit 1});
like(earned('614141123452', 'QZABC2600000'), qr/^$first /, 'nor are their sales');
like(sql_error($node, sprintf q{select musicverse.create_distribution(%s, array(select track_ids[1] from musicverse.distributions where id = '%s'), '{spotify}', null,
	'{"title": "Claimed", "artist": "Mira", "label": "M", "language": "en", "p_line": "2026 M", "c_line": "2026 M", "upc": "614141123452"}')}, lit($other), $theirs)->{message},
	qr/upc|UPC/, 'who claims a given code as his own is refused');

# who guesses what is given next gets nothing by it
my $guess = $partner->release($node, $other, { title => 'Guessed' });
sql($node, sprintf q{select musicverse.update_release('%s', '{"tracks": [{"track_id": "%s", "isrc": "QZABC2600020"}]}')}, $guess, track_of($guess, 1));
$partner->control(live => \1, gives => { upc => '4012345678901', isrc => 'QZABC260003' });
submit($node, $guess);
wait_for_sql($node, "select identifiers from musicverse.distribution_targets where distribution_id = '$guess' and platform = 'spotify'", '{"upc": "4012345678901"}', 60, 'a UPC to be given');
wait_release($node, $guess, 'live', 60);
$id = live($user, { title => 'Next' }, { upc => '042100005264', isrc => 'QZABC260002' });
is_deeply(identifiers($id), { upc => '042100005264', isrcs => { track_of($id, 1) => 'QZABC2600020' } }, 'an ISRC that somebody else has named in advance is kept');
is(earned('042100005264', 'QZABC2600020'), join(' ', $id, track_of($id, 1)), 'and its sales are his whom it was given to');
is(earned('4012345678901', 'QZABC2600020'), join(' ', $guess, track_of($guess, 1)), 'with the UPC of the other they are the other\'s');

# ---- garbage

foreach my $garbage (12, 'x' x 5000, '614141123453', "' or 1", { a => 1 }, [])
{
	$id = live($user, { title => 'Garbage' }, { upc => $garbage, isrc => 'nothing' });
	is_deeply(identifiers($id), {}, 'what is no code is left out: ' . substr json($garbage), 0, 30);
}
$partner->control(live => \1, gives => undef, look => [ ({ http => 404 }) x 2 ], list_tracks => [ ({ http => 200, body => 'hello' }) x 2 ]);
$id = $partner->release($node, $user, { title => 'Gone' });
submit($node, $id);
wait_release($node, $id, 'live', 60);
wait_for_sql($node, "select next_attempt_at is null and begun_at is null from musicverse.distribution_work where distribution_id = '$id'", 't', 60, 'nothing to be left to be asked');
pass('that they can\'t be had fails nothing');

done_testing();

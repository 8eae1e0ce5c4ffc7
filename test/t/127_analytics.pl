# Sales reports with several sessions and a crash: the same report from two
# sessions at once counts once, a server that dies within an import has none of
# it, a file of the server is read by those who may, and memory stays flat.
use MusicVerse::Test;

my $node = new_cluster('main');
my ($user, $release) = (user(1), '00000000-0000-4000-8000-00000000aaaa');
sql($node, "insert into musicverse.distributions (id, user_id, track_ids, platforms, metadata) values ('$release', '$user', '{}', '{spotify}', "
	  . q['{"title": "R", "tracks": [{"isrc": "QZABC2600001"}]}');]
	  . "insert into musicverse.distribution_work (distribution_id, user_id, partner) values ('$release', '$user', 'spotify_direct');"
	  . "insert into musicverse.distribution_targets (distribution_id, user_id, work_id, platform, partner, status) "
	  . "select distribution_id, user_id, id, 'spotify', partner, 'scheduled' from musicverse.distribution_work");

# A report of so many lines with one use each; says how many lines its footer tells instead
sub report
{
	my ($message, $lines, $told) = @_;
	my $path = $node->basedir . "/$message.tsv";
	open my $file, '>', $path or die "$path: $!";
	print $file join("\t", 'HEAD', 'dsrf/1.4/6/1.4', 'BasicAudioProfileSRB', '1.4', $message, '2026-11-02T10:00:00Z', 1, 1, '2026-10-01', '2026-10-31', '', 'Spotify', ('') x 4), "\n";
	print $file join("\t", 'SY02.03', 1, '', '', 'SubscriptionModel', 'OnDemandStream', 'SE', ('') x 15), "\n";
	my $line = join("\t", 'SR02.01', 1, 'd', 'QZABC2600001', ('') x 30, 1, ('') x 4) . "\n";
	print $file $line foreach 1 .. $lines;
	print $file join("\t", 'SRFO', $told // $lines + 3, 1), "\n";
	close $file;
	return $path;
}
my $streams = 'select coalesce(sum(streams), 0) from musicverse.distribution_stats';

# ---- two at once
my $path = report('both', 1000);
my ($one, $two) = map { $node->background_psql('postgres', on_error_stop => 1) } 1 .. 2;
my $import = sprintf 'select (musicverse.import_dsr_file($$spotify_direct$$, %s)).id', lit($path);
$one->query_safe('begin');
my $id = $one->query_safe($import);
$two->query_until(qr/asked/, "\\echo asked\n$import;\n\\echo done\n");
wait_for_sql($node, q[select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query ~ 'import_dsr_file' and pid <> pg_backend_pid()], '1', 60,
	'the second to wait for the first');
is(sql($node, $streams), '0', 'nothing counts before it is committed');
$one->query_safe('commit');
$two->query_until(qr/done/, '');
is(sql($node, 'select count(*), min(id) from musicverse.dsr_reports'), "1|$id", 'the report is there once');
is(sql($node, $streams), '1000', 'and counts once');
$_->quit foreach $one, $two;

# ---- a crash within
$path = report('crash', 50000);
my $dying = $node->background_psql('postgres', on_error_stop => 0);
$dying->query_safe('begin');
$dying->query_safe(sprintf 'select musicverse.import_dsr_file($$spotify_direct$$, %s)', lit($path));
$node->stop('immediate');
$node->start;
is(sql($node, 'select count(*) from musicverse.dsr_reports'),                             '1',           'what was not committed is not there');
is(sql($node, "select count(*) from musicverse.dsr_lines where report_id <> $id"),        '0',           'nor its lines');
is(sql($node, sprintf 'select state from musicverse.import_dsr_file($$spotify_direct$$, %s)', lit($path)), 'imported', 'it is imported afterwards');
is(sql($node, $streams), '51000', 'and counts once');

# ---- cut: nothing of it counts, and nothing of its lines stays
$path = report('cut', 5000, 6000);
like(sql($node, sprintf 'select state, reason from musicverse.import_dsr_file($$spotify_direct$$, %s)', lit($path)),
	qr/^rejected\|its footer counts 6000 lines, but there are 5003/, 'a wrong count rejects the report');
is(sql($node, $streams), '51000', 'which changes nothing');
is(sql($node, q[select count(*) from musicverse.dsr_lines l join musicverse.dsr_reports r on r.id = l.report_id where r.report = 'cut']), '0', 'and leaves no lines');

# ---- who may read files
sql($node, 'create role files_service login; create role files_user; create role files_anon; select musicverse.expose_to($$files_service$$, $$files_user$$, $$files_anon$$)');
my $denied = sprintf 'select state from musicverse.import_dsr_file($$spotify_direct$$, %s)', lit($path);
my ($code, $out, $error) = $node->psql('postgres', $denied, extra_params => [ '-U', 'files_service' ]);
like($error, qr/permission denied to read files/, 'a service role alone reads no files');
sql($node, 'grant pg_read_server_files to files_service');
is($node->safe_psql('postgres', $denied, extra_params => [ '-U', 'files_service' ]), 'rejected', 'with the privileges it does');

# ---- a large one: memory doesn't grow with it
$path = report('large', 400000);
my $session = $node->background_psql('postgres', on_error_stop => 1);
my $pid     = $session->query_safe('select pg_backend_pid()');
$session->query_safe(sprintf 'select musicverse.import_dsr_file($$spotify_direct$$, %s)', lit(report('small', 10)));
my $before = memory($pid);
$session->query_safe(sprintf 'select musicverse.import_dsr_file($$spotify_direct$$, %s)', lit($path));
cmp_ok(memory($pid) - $before, '<', 30000, 'an import of 400000 lines takes less than 30 MB');
is(sql($node, $streams), '451010', 'all of them count');
$session->quit;

# ---- the examples of the page
my $examples = join "\n", slurp_file("$root/docs/analytics.md") =~ /^```sql\n(.*?)^```$/msg;
cmp_ok(length $examples, '>', 300, 'the page has examples');
sql($node, 'create database examples');
sql([ $node, 'examples' ], 'create extension musicverse');
my ($status, $shown, $complaints) = $node->psql('examples', $examples);
is("$status $complaints", '0 ', 'which run from top to bottom');
like($shown, qr/^imported\|4\|1\|1\|\{\}$/m, 'as they should');

# KB that are the process's own
sub memory
{
	my ($pid) = @_;
	open my $file, '<', "/proc/$pid/status" or die "$pid: $!";
	my ($kb) = map { /^RssAnon:\s+(\d+)/ } <$file>;
	return $kb;
}

done_testing();

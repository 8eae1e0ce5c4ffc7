# poll_events while a transaction is between taking its positions and being
# visible: whoever polls then must not be told of what comes behind it. A commit
# that waits for a standby that isn't there stands still at just that point.
use MusicVerse::Test;

my $node = new_cluster('main', 'musicverse.databases' => '', wal_level => 'replica', max_wal_senders => 2,
	synchronous_standby_names => 'nobody', synchronous_commit => 'local');
my $user = user(1);
my $cursor = 0;

sub emit { return sprintf "select from musicverse.emit_event(%s, 'track.created', '{\"n\": \"%s\"}')", lit($user), $_[0]; }

# The events behind the cursor, which moves on
sub poll
{
	my @rows = sql_rows($node, sprintf 'select position, data from musicverse.poll_events(%s, %s) order by position', lit($user), $cursor);
	$cursor = $rows[-1]{position} if @rows;
	return join ' ', map { $_->{data}{n} } @rows;
}
sub wait_for_commit
{
	my ($pid) = @_;
	wait_for_sql($node, "select wait_event from pg_stat_activity where pid = $pid", 'SyncRep', 60, 'the commit to wait for its standby');
}

sql($node, emit('before'));
is(poll(), 'before', 'what is committed is seen');

# Two that wait; all others don't ask for a standby
my @slow = map { session($node) } 1 .. 2;
my @pid  = map { $_->query_safe('select pg_backend_pid()') } @slow;
$_->query_safe('set synchronous_commit = on') foreach @slow;
# query_until returns at the echo, so the commit is under way only
$slow[0]->query_until(qr/under way/, "\\echo under way\n" . emit('slow') . ";\n");
wait_for_commit($pid[0]);
is(poll(), '', 'one that is not visible yet is not shown');
sql($node, emit('behind'));
is(sql($node, "select count(*) from musicverse.event_log l join musicverse.events e on e.id = l.event_id where payload like '%behind%'"), '1',
	'a later one is visible in the table');
is(poll(), '', 'and is not shown as long as an earlier position is in doubt');
$slow[1]->query_until(qr/under way/, "\\echo under way\nbegin;\n" . emit('slow too') . ";\n" . emit('slow still') . ";\ncommit;\n");
wait_for_commit($pid[1]);
sql($node, emit('last'));
is(poll(), '', 'however many come');
is( sql($node, sprintf 'set transaction isolation level repeatable read; select count(*) from musicverse.poll_events(%s, %s)', lit($user), $cursor),
	'0', 'with a snapshot for the transaction either');
is( sql($node, sprintf 'select count(*) from musicverse.poll_events(%s, 0)', lit($user)), '1', 'from the beginning it ends at the same place');

# A session that dies while it waits is committed all the same
is(sql($node, "select pg_terminate_backend($pid[0])"), 't', 'the first session is ended');
wait_for_sql($node, "select count(*) from pg_stat_activity where pid = $pid[0]", '0', 60);
is(poll(), 'slow behind', 'what it committed is shown, and what it kept back, up to the next in doubt');

sql($node, "alter system set synchronous_standby_names = ''");
sql($node, 'select pg_reload_conf()');
wait_for_sql($node, "select state from pg_stat_activity where pid = $pid[1]", 'idle', 60, 'the second commit to end');
is(poll(), 'slow too slow still last', 'then the rest, in the order of the commits');
is(poll(), '', 'and nothing twice');
$slow[1]->query_safe('select 1');
$slow[1]->quit;

# Many at once: whoever polls all the while has seen everything exactly once
my $writers = 4;
my $each    = 150;
my $script = $PostgreSQL::Test::Utils::tmp_check . '/writer.sql';
PostgreSQL::Test::Utils::append_to_file($script, "begin;\nselect from musicverse.emit_event('$user', 'track.created', '{\"n\": \":client_id\"}');\n"
	. "select from musicverse.emit_event('$user', 'track.created', '{\"n\": \":client_id\"}');\ncommit;\n");
my ($pid) = start_process('pgbench', 'pgbench', '-n', '-f', $script, '-c', $writers, '-j', 2, '-t', $each, '-d', $node->connstr('postgres'));
my (%seen, $twice, $unordered, $total);
my $last = $cursor;
wait_for(sub {
	my $done = waitpid($pid, POSIX::WNOHANG()) == $pid;
	my @rows;
	do
	{
		@rows = sql_rows($node, sprintf 'select position, event_id from musicverse.poll_events(%s, %s, 1000)', lit($user), $last);
		foreach my $row (@rows)
		{
			$twice++ if $seen{ $row->{event_id} }++;
			$unordered++ if $row->{position} <= $last;
			$last = $row->{position};
			$total++;
		}
	} while (@rows == 1000);
	return $done;
}, 120, 'the writers to end');
is($total, 2 * $writers * $each, 'under load a reader gets every event');
is($twice, undef, 'none twice');
is($unordered, undef, 'in the order of positions');
done_testing();

# Usage and quotas with their worker: exact sums of what many sessions count,
# over restarts and crashes, with a full table and with tables that can't be written.
use MusicVerse::Test;

my $node = new_cluster('main', 'musicverse.usage_flush_interval' => '1h', 'musicverse.usage_entries' => 64, 'musicverse.quota_entries' => 128);
my $user = user(1);
my $workers = "select count(*) from pg_stat_activity where backend_type = 'musicverse usage worker' and datname = 'postgres'";

sub flush { return sql($node, 'select musicverse.flush_usage()'); }
sub calls { my ($where) = @_; return sql($node, "select coalesce(sum(calls), 0) from musicverse.api_usage" . ($where ? " where $where" : '')); }
sub together
{
	my ($n, $statement) = @_;
	my @sessions = map { session($node) } 1 .. $n;
	$sessions[$_]->query_until(qr/under way/, "\\echo under way\n" . $statement->($_) . ";\n") foreach 0 .. $#sessions;
	$_->query_safe('select 1') foreach @sessions;
	$_->quit foreach @sessions;
	return;
}

wait_for_sql($node, $workers, '1', 60, 'the usage worker');
sql($node, q{
	insert into musicverse.tiers (name, burst, refill_per_second, max_api_keys, max_webhooks, max_concurrent_jobs, daily_quota)
	values ('day', 100000000, 1000000, 5, 1, 1, 5000)});
sql($node, "select musicverse.set_tier('$user', 'day')");
sql($node, "create table keys as select * from musicverse.create_api_key('$user', 'one')");

# ---- many sessions

together(6, sub {
	my ($n) = @_;
	return "select count(musicverse.record_usage('$user', null, 'op ' || i % 3, 200 + 100 * (i % 4), (i || ' us')::interval, 1, 2)) from generate_series(1, 5000) i";
});
flush();
is(calls(), '30000', 'every call that six sessions counted is in the table');
is_deeply(sql_row($node, 'select sum(errors)::int as errors, sum(bytes_in)::int as "in", sum(bytes_out)::int as out, sum(duration_us)::bigint as us,
		(select sum(n)::int from (select unnest(histogram) as n from musicverse.api_usage) h) as timed from musicverse.api_usage'),
	{ errors => 15000, in => 30000, out => 60000, us => 6 * 5000 * 5001 / 2, timed => 30000 }, 'with errors, bytes and durations');
is(sql($node, 'select count(*) from musicverse.api_usage group by minute limit 1'), '12', 'a row for each operation and class of status');
is(sql($node, 'select sum(calls) from musicverse.api_usage_hours') . sql($node, '; select sum(calls) from musicverse.api_usage_days'), '3000030000', 'hours and days have the same');
flush();
is(calls(), '30000', 'and nothing is counted twice');

# ---- a quota, among sessions

together(8, sub { return "select count(*) filter (where v.allowed) from generate_series(1, 1000) i, keys k, musicverse.verify_api_key(left(k.key, 99 + i)) v" });
is(sql($node, "select used from musicverse.quota_status('$user') where period = 'day'"), '5000', 'eight sessions use up a quota to its end and not beyond');
flush();
is(calls("operation = 'verify' and status_class = 2"), '5000', 'as many calls were let through');
is(sql($node, "select sum(refused) from musicverse.api_usage where operation = 'verify'"), '3000', 'the others are counted as refused');
is(sql($node, "select used from musicverse.quota_usage where period = 'day'"), '5000', 'the ledger knows it');
like(sql($node, 'select last_used_at > now() - interval \'1 hour\' from musicverse.api_keys'), qr/t/, 'and when the key was last used');

# ---- restarts

sql($node, "update musicverse.tiers set daily_quota = 6000 where name = 'day'");
is(sql($node, "select count(*) filter (where v.allowed) from generate_series(1, 300) i, keys k, musicverse.verify_api_key(left(k.key, 99 + i)) v"), '300', 'a larger quota lets more through');
sql($node, "select musicverse.record_usage('$user', null, 'before the restart', 200) from generate_series(1, 123)");
is(calls("operation = 'before the restart'"), '0', 'not written yet');
$node->restart;
is(sql($node, "select used from musicverse.quota_status('$user') where period = 'day'"), '5300', 'after a restart the quota goes on where it was');
wait_for_sql($node, $workers, '1', 60, 'the usage worker');
flush();
is(calls("operation = 'before the restart'"), '123', 'and what was counted is written');
is(calls("operation = 'verify' and status_class = 2"), '5300', 'of the key as well');

sql($node, "select count(*) from generate_series(1, 200) i, keys k, musicverse.verify_api_key(left(k.key, 99 + i)) v");
flush();
sql($node, "select count(*) from generate_series(1, 100) i, keys k, musicverse.verify_api_key(left(k.key, 99 + i)) v");
$node->stop('immediate');
$node->start;
is(sql($node, "select used from musicverse.quota_status('$user') where period = 'day'"), '5500', 'after a crash the quota is what the ledger has');
wait_for_sql($node, $workers, '1', 60, 'the usage worker');
flush();
is(calls("operation = 'verify' and status_class = 2"), '5500', 'and nothing that was written is counted again');
is(calls("operation = 'before the restart'"), '123', 'nor what the state file had held');

# ---- a worker that dies, or is told to end, while it writes

sql($node, "select musicverse.record_usage('$user', null, 'held up', 200) from generate_series(1, 77)");
my $lock = session($node);
$lock->query_safe('begin; lock table musicverse.api_usage_days in access exclusive mode');
my $flusher = session($node);
$flusher->query_until(qr/under way/, "\\echo under way\nselect musicverse.flush_usage();\n");
wait_for_sql($node, "select count(*) from pg_stat_activity where backend_type = 'musicverse usage worker' and wait_event_type = 'Lock'", '1', 60, 'the worker to wait');
is(sql($node, "select count(pg_terminate_backend(pid)) from pg_stat_activity where backend_type = 'musicverse usage worker'"), '1', 'the worker is ended while it writes');
$lock->query_safe('commit');
$lock->quit;
$flusher->query_safe('select 1');
$flusher->quit;
is(calls("operation = 'held up'"), '77', 'what it had in hand is written by the next one, once');

# ---- tables that can't be written

sql($node, "create function no() returns trigger language plpgsql as 'begin raise exception \$\$the disk is full\$\$; end'");
sql($node, 'create trigger no before insert on musicverse.api_usage_days for each row execute function no()');
sql($node, "select musicverse.record_usage('$user', null, 'full disk', 200) from generate_series(1, 50)");
$flusher = session($node);
$flusher->query_until(qr/under way/, "\\echo under way\nselect musicverse.flush_usage();\n");
wait_for_sql($node, 'select last_error from musicverse.usage_status', 'the disk is full', 60, 'the error to be told');
is(calls("operation = 'full disk'"), '0', 'what fails is written nowhere');
sql($node, "select musicverse.record_usage('$user', null, 'full disk', 200) from generate_series(1, 50)");
sql($node, 'drop trigger no on musicverse.api_usage_days');
$flusher->query_safe('select 1');
$flusher->quit;
flush();
is(calls("operation = 'full disk'"), '100', 'and is when it can be, once');

# ---- more than there is room for

sql($node, "select musicverse.record_usage('$user', null, 'crowd ' || i, 200) from generate_series(1, 500) i");
my $status = sql_row($node, 'select entries, dropped from musicverse.usage_status');
flush();
my $written = calls("operation like 'crowd%'");
cmp_ok($written, '>=', 60, "of 500 counters for which there are 64 places $written are written");
is($written + $status->{dropped}, 500, 'and the others are told');
sql($node, "select musicverse.record_usage('$user', null, repeat(chr(233), 1000), 200)");
sql($node, "select musicverse.record_usage('$user', null, E'a \\'; drop table x; -- \\t\\n\\\\', 200)");
sql($node, "select musicverse.record_usage('$user', null, '', 200)");
flush();
is(sql($node, 'select max(octet_length(operation)) from musicverse.api_usage'), '62', 'a long name is cut between characters');
is(calls("operation = E'a \\'; drop table x; -- \\t\\n\\\\'"), '1', 'a hostile one is a name');

# ---- users beyond the places for quotas

sql($node, q{
	create table crowd as select ('00000000-0000-4000-9000-' || lpad(i::text, 12, '0'))::uuid as id from generate_series(1, 400) i;
	insert into musicverse.accounts select id, 'day' from crowd;
	create table crowd_keys as select k.key from crowd, musicverse.create_api_key(id, 'x') k});
is(sql($node, 'select count(*) filter (where v.allowed) from crowd_keys k, musicverse.verify_api_key(k.key, cost => 7) v'), '400', 'all are let through');
cmp_ok(sql($node, 'select quota_no_room from musicverse.usage_status'), '>', 0, 'some without being counted, which is told');
flush();
is(sql($node, 'select count(*) filter (where v.allowed) from crowd_keys k, musicverse.verify_api_key(k.key, cost => 7) v'), '400', 'what is in the ledger makes room');
for (1 .. 4)
{
	flush();
	sql($node, 'select count(*) filter (where v.allowed) from crowd_keys k, musicverse.verify_api_key(k.key, cost => 7) v');
}
flush();
is(sql($node, "select count(*) from musicverse.quota_usage q join crowd c on c.id = q.user_id where period = 'day' and used % 7 <> 0"), '0', 'nobody\'s count is half of it');
is(sql($node, "select count(*) from crowd c, musicverse.quota_status(c.id) s where s.period = 'day' and s.used > 42"), '0', 'nor more than it was');

# ---- leaving: databases and extensions go without waiting for the worker

sql($node, 'create database other');
set_conf($node, 'musicverse.databases' => 'postgres, other');
$node->reload;
sql([ $node, 'other' ], 'create extension musicverse');
wait_for_sql($node, "select count(*) from pg_stat_activity where backend_type = 'musicverse usage worker' and datname = 'other'", '1', 60, 'a worker for another database');
sql([ $node, 'other' ], "select musicverse.record_usage('$user', null, 'other', 200)");
sql([ $node, 'other' ], 'select musicverse.flush_usage()');
is(sql([ $node, 'other' ], 'select operation from musicverse.api_usage'), 'other', 'each database has its own usage');
is(calls("operation = 'other'"), '0', 'and not that of others');
sql($node, 'drop database other');
pass('a database can be dropped');
sql($node, 'drop extension musicverse');
wait_for_sql($node, $workers, '0', 60, 'the worker to leave');
sql($node, 'create extension musicverse');
wait_for_sql($node, $workers, '1', 60, 'the worker to come back');
flush();
is(calls(), '0', 'a new extension begins anew');

done_testing();

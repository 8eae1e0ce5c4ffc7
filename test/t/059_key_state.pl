# What of keys, limits and usage outlives a restart or a crash; keys of every
# shape in a database that takes any bytes; more keys, users and databases than
# there is room for; and percentiles against the numbers they stand for.
use MusicVerse::Test;

my $node = new_cluster('main', 'musicverse.usage_flush_interval' => '1s', 'musicverse.usage_entries' => 64, 'musicverse.quota_entries' => 128);
my $user = user(1);
my $worker = "select count(*) from pg_stat_activity where backend_type = 'musicverse usage worker' and datname = 'postgres'";
sub flush { my ($where) = @_; return sql($where // $node, 'select musicverse.flush_usage()'); }

wait_for_sql($node, $worker, '1', 60, 'the usage worker');
sql($node, q{
	insert into musicverse.tiers (name, burst, refill_per_second, max_api_keys, max_webhooks, max_concurrent_jobs)
	values ('slow', 100, 0.0001, 2000, 1, 1)});
sql($node, "select musicverse.set_tier('$user', 'slow')");
sql($node, "create table keys as select * from musicverse.create_api_key('$user', 'one')");

# ---- buckets

my $left = 'select v.remaining from keys k, musicverse.verify_api_key(k.key, cost => 0) v';
my $named = "select remaining from musicverse.take_tokens('named', 0, 10, 0.0001)";
sql($node, 'select v.allowed from keys k, musicverse.verify_api_key(k.key, cost => 60) v');
sql($node, "select musicverse.take_tokens('named', 7, 10, 0.0001)");
$node->restart;
is(sql($node, $left) . ' ' . sql($node, $named), '40 3', 'after a clean restart buckets hold what they held');

# The state file is written again when its last writing is an interval old
my $state = $node->data_dir . '/pg_stat/musicverse.state';
sql($node, 'select v.allowed from keys k, musicverse.verify_api_key(k.key, cost => 20) v');
my $since = time;
wait_for(sub { -e $state && (stat $state)[9] > $since + 1 }, 60, 'the state file to be written');
$node->stop('immediate');
$node->start;
is(sql($node, $left) . ' ' . sql($node, $named), '20 3', 'after a crash what they held at most an interval before it');
my $pid = sql($node, 'select pg_backend_pid()');
my $victim = session($node);
$pid = $victim->query_safe('select pg_backend_pid()');
kill KILL => $pid;
wait_for(sub { slurp_file($node->logfile) =~ /all server processes terminated; reinitializing/ }, 60, 'the server to begin anew');
wait_for_sql($node, $worker, '1', 60, 'the usage worker');
eval { $victim->quit };
is(sql($node, $left), '20', 'also after a backend was killed');

# A state file that is damaged, or another cluster's, is left alone
$node->stop;
my $bytes = slurp_file($state);
foreach my $case ([ 'cut short', substr($bytes, 0, length($bytes) - 5) ], [ 'changed', $bytes =~ s/(.)\z/chr(ord($1) ^ 1)/esr ], [ 'empty', '' ], [ 'something else', 'x' x 5000 ])
{
	my ($name, $content) = @$case;
	open my $file, '>:raw', $state or die "$state: $!";
	print $file $content;
	close $file;
	my $offset = -s $node->logfile;
	$node->start;
	like(substr(slurp_file($node->logfile), $offset), qr/musicverse\.state" is damaged and ignored/, "a state file that is $name is told");
	is(sql($node, 'select v.status from keys k, musicverse.verify_api_key(k.key, cost => 0) v'), '200', 'and keys work on');
	$node->stop;
}
$node->start;
wait_for_sql($node, $worker, '1', 60, 'the usage worker');

# ---- keys of any bytes: a database without an encoding

sql($node, q{create database bytes template template0 encoding 'SQL_ASCII'});
set_conf($node, 'musicverse.databases' => 'postgres, bytes');
$node->reload;
my $other = [ $node, 'bytes' ];
sql($other, 'create extension musicverse');
sql($other, "create table keys as select * from musicverse.create_api_key('$user', 'one')");
is(sql($other, q{
	select string_agg(distinct v.reason, ',') from keys k,
	       lateral (select E'\x80\xff\xc0' union all select E'\xe4' || substr(k.key, 2) union all select left(k.key, 42) || E'\xe4'
	                union all select overlay(k.key placing E'\xff' from i for 1) from generate_series(1, 43) i) b (bytes),
	       musicverse.verify_api_key(b.bytes, b.bytes, null) v}), 'malformed', 'invalid UTF-8 is no key, at any place');
sql($other, "select musicverse.verify_api_key(k.key, repeat(E'\\xe4\\xff', 40)) from keys k");
wait_for_sql($node, "select count(*) from pg_stat_activity where backend_type = 'musicverse usage worker' and datname = 'bytes'", '1', 60, 'a worker there');
flush($other);
is(sql($other, q{select max(octet_length(operation)) from musicverse.api_usage where operation like E'\xe4%'}), '63', 'nor does it harm as the name of an operation');
is(sql($other, q{select (musicverse.take_tokens(E'\xff\xfe', 1, 5, 0.001)).remaining}), '4', 'or of a bucket');
is(sql($other, q{select musicverse.verify_request_signature(E'\xff', E'v1=\xff', E'\xff', E'/\xff', 0, E'\xff')}), 'f', 'or in a request');

# ---- a database that nobody serves fills the table of usage: those that are served go on

set_conf($node, 'musicverse.databases' => 'postgres');
$node->reload;
wait_for_sql($node, "select count(*) from pg_stat_activity where backend_type = 'musicverse usage worker' and datname = 'bytes'", '0', 60, 'its worker to leave');
wait_for_sql($other, "select string_agg(m, '') from (select 'x' as m from musicverse.usage_status where entries >= room) s", 'x', 60, 'the table to be full')
  if sql($other, "select count(musicverse.record_usage(null, null, 'op ' || i, 200)) from generate_series(1, 1000) i");
sql($node, "select musicverse.record_usage('$user', null, 'served ' || i, 200) from generate_series(1, 20) i");
flush();
is(sql($node, "select count(*) from musicverse.api_usage where operation like 'served%'"), '20', 'usage that nobody would write makes room');
like(sql_error($other, 'select musicverse.flush_usage()')->{message}, qr/no usage worker serves this database/, 'there flush_usage() says why it can not');
sql($other, q{
	insert into musicverse.accounts select ('00000000-0000-4000-9000-' || lpad(i::text, 12, '0'))::uuid from generate_series(1, 400) i;
	select count(*) from musicverse.accounts a, musicverse._quota_used(a.user_id)});
sql($node, "create table crowd as select ('00000000-0000-4000-a000-' || lpad(i::text, 12, '0'))::uuid as id from generate_series(1, 60) i; insert into musicverse.accounts select id from crowd");
my $before = sql($node, 'select quota_no_room from musicverse.usage_status');
sql($node, 'select count(*) from crowd c, musicverse._quota_used(c.id)');
is(sql($node, 'select quota_no_room from musicverse.usage_status'), $before, 'and so do its quotas');

# ---- many keys used between two flushes

sql($node, "create table many as select k.key, k.id from generate_series(1, 1500) i, musicverse.create_api_key('$user', 'key ' || i) k");
set_conf($node, 'musicverse.usage_flush_interval' => '1h');
$node->reload;
wait_for_sql($node, 'show musicverse.usage_flush_interval', '1h', 30);
flush();
sql($node, q{select count(*) filter (where v.status = 200) from many m, musicverse.verify_api_key(m.key, client_ip => '2001:db8::7', cost => 0) v});
sql($node, q{select count(*) filter (where v.status = 200) from many m, musicverse.verify_api_key(m.key, client_ip => '2001:db8::7', cost => 0) v});
flush();
is(sql($node, q{select count(*) from many m join musicverse.api_keys k using (id) where k.last_used_at is not null and k.last_used_ip = '2001:db8::7'}), '1500',
	'of each the last use is known');

# ---- somebody who deletes an account and doesn't commit

sql($node, "select musicverse.take_tokens('x', 1, 5, 1); select musicverse._quota_used('$user')");
my $deleting = session($node);
sql($node, 'select count(*) from keys k, musicverse.verify_api_key(k.key, cost => 1) v');
$deleting->query_safe("begin; delete from musicverse.accounts where user_id = '$user'");
sql($node, "select musicverse.record_usage('$user', null, 'meanwhile', 200)");
my $flusher = session($node);
$flusher->query_until(qr/under way/, "\\echo under way\nselect musicverse.flush_usage();\n");
wait_for_sql($node, 'select last_error from musicverse.usage_status', 'canceling statement due to lock timeout', 60, 'the worker to give up');
is(sql($node, "select count(*) from musicverse.api_usage where operation = 'meanwhile'"), '1', 'usage is written all the same');
$deleting->query_safe('rollback');
$flusher->query_safe('select 1');
eval { $_->quit } foreach $deleting, $flusher;

# ---- percentiles

sql($node, q{
	select setseed(0.5);
	create table took as select 1 + i % 3 as minute, case when i % 10 = 0 then exp(random() * 9) else exp(random() * 3) end as ms from generate_series(1, 6000) i});
my $start = sql($node, "select date_trunc('hour', musicverse._now()) + interval '1 hour'");
foreach my $minute (1 .. 3)
{
	sql($node, "select musicverse.advance_clock(timestamptz '$start' + interval '$minute minute' - musicverse._now())");
	sql($node, "select count(musicverse.record_usage('$user', null, 'timed', 200, make_interval(secs => ms / 1000))) from took where minute = $minute");
}
flush();
foreach my $bucket (qw(minute hour day))
{
	my @rows = sql_rows($node, "select s.calls, s.p50_ms, s.p95_ms, s.p99_ms, extract(minute from s.bucket_start)::int as minute
		from musicverse.usage_summary('$user', '$start', timestamptz '$start' + interval '4 minutes', '$bucket') s where p50_ms is not null order by s.bucket_start");
	is(scalar @rows, $bucket eq 'minute' ? 3 : 1, "$bucket: a row for each that has calls");
	foreach my $row (@rows)
	{
		my $which = $bucket eq 'minute' ? "where minute = $row->{minute}" : '';
		my $true = sql_row($node, "select percentile_disc(0.5) within group (order by ms) as p50_ms, percentile_disc(0.95) within group (order by ms) as p95_ms,
			percentile_disc(0.99) within group (order by ms) as p99_ms from took $which");
		foreach my $p (qw(p50_ms p95_ms p99_ms))
		{
			my $ratio = $row->{$p} / $true->{$p};
			ok($ratio > 0.79 && $ratio < 1.27, sprintf '%s: %s is %.2f ms, by the numbers %.2f ms', $bucket, $p, $row->{$p}, $true->{$p});
		}
	}
}

done_testing();

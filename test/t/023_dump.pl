# Copies: what a dump, a base backup and a promoted standby bring along is
# complete, fires nothing, and sends nothing until somebody says so.
use MusicVerse::Test;

my $receiver = start_receiver();
my $user     = user(1);
my $node     = new_cluster('main', 'musicverse.retry_schedule' => '1d', wal_level => 'replica', max_wal_senders => 5);

# ---- something of everything --------------------------------------------

sql($node, "select musicverse.register_event_type('order.shipped', 'An order left', '{}')");
my $webhook = sql_row($node, sprintf 'select * from musicverse.create_webhook(%s, %s, %s)',
	lit($user), lit($receiver->url('main')), "array['track.*','order.shipped']");
$receiver->control('main', { secrets => [ $webhook->{secret} ] });
sql($node, "update musicverse.tiers set burst = 77 where name = 'pro'; insert into musicverse.tiers values ('label', 5, 5, null, 5, 5, 5)");
sql($node, sprintf "select musicverse.set_tier(%s, 'label')", lit($user));
sql($node, sprintf "insert into musicverse.tracks (user_id, title) select %s, 'day one ' || n from generate_series(1, 20) n", lit($user));
sql($node, sprintf "select musicverse.record_payment(%s, 'p1', 9.99, 'EUR', 'succeeded')", lit($user));
sql($node, sprintf "select musicverse.emit_event(%s, 'order.shipped', '{}', 'key-1')", lit($user));
$receiver->wait_stats('main', 30, received => 21);
wait_for_sql($node, q(select count(*) from musicverse.webhook_deliveries where status <> 'delivered'), '0', 30, 'all to be delivered');

# the leaves of coming days, as the workers make them, and one that holds rows
sql($node, q(select musicverse._create_leaves(d::date) from generate_series(now() at time zone 'UTC' + interval '5 days',
	now() at time zone 'UTC' + interval '6 days', interval '1 day') d));

# a key, a scope of the host's, and usage that is past what is kept, as in a dump that is restored long after
sql($node, sprintf q{
	select musicverse.create_api_key(%1$s, 'dumped', '{generate}');
	insert into musicverse.scopes values ('host:own', 'x');
	select musicverse._add_usage(array[row(at, %1$s, null, 'GET /x', 2, 7, 0, 0, 0, 1, 2, 3, array_fill(1::bigint, '{64}'))::musicverse.api_usage])
	  from unnest(array[date_trunc('minute', now() - interval '30 days'), date_trunc('minute', now() - interval '400 days')]) at;
	insert into musicverse.quota_usage values (%1$s, 'day', current_date, 7)}, lit($user));

# what is pending when the copies are taken: failed once, next attempt tomorrow
$receiver->control('main', { secrets => [ $webhook->{secret} ], mode => 'fail' });
sql($node, sprintf "insert into musicverse.tracks (user_id, title) select %s, 'pending ' || n from generate_series(1, 5) n", lit($user));
wait_for_sql($node, 'select count(*) from musicverse.webhook_deliveries where attempt_count = 1 and status = $$pending$$',
	'5', 30, 'the first attempts to fail');
# some copies move their clock, so their deliveries look like those of another day
$receiver->control('main', { secrets => [ $webhook->{secret} ], mode => 'ok', tolerance => undef });

my @tables = qw(accounts tiers event_types tracks payments subscriptions generation_jobs scopes api_keys api_usage api_usage_hours api_usage_days quota_usage webhook_endpoints webhook_state
  events event_log event_keys deliveries webhook_attempts);

sub contents
{
	my ($where) = @_;
	return { map { $_ => sql($where, "select count(*) || ' ' || coalesce(md5(string_agg(r::text, '|' order by r::text)), '-') from musicverse.$_ r") } @tables };
}

$node->stop;    # so that nothing changes under the copies; the dump is taken from a restarted one
$node->append_conf('postgresql.conf', "musicverse.databases = ''");
$node->start;
my $before = contents($node);
my $seen   = $receiver->stats('main')->{received};

# ---- dump and restore ---------------------------------------------------

my $dumps = PostgreSQL::Test::Utils::tempdir();
command_ok([ 'pg_dump', '-Fp', '-f', "$dumps/plain.sql", '-d', $node->connstr('postgres') ], 'pg_dump, plain');
command_ok([ 'pg_dump', '-Fc', '-f', "$dumps/custom.dump", '-d', $node->connstr('postgres') ], 'pg_dump, custom');

my $other = new_cluster('other', 'musicverse.databases' => 'plain, custom', -extension => 0);
sql($other, "create database $_") foreach qw(plain custom);
command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dumps/plain.sql", '-d', $other->connstr('plain') ],
	'the plain dump restores without an error');
command_ok([ 'pg_restore', '--exit-on-error', '-d', $other->connstr('custom'), "$dumps/custom.dump" ],
	'the custom dump restores without an error');

foreach my $database (qw(plain custom))
{
	my $there = [ $other, $database ];
	is_deeply(contents($there), $before, "$database: every row came back, and no event was recorded beside them");
	wait_for_sql($there, 'select state from musicverse.worker_status', 'running', 30, "$database: a worker");
	is(sql($there, 'select enabled from musicverse.sending_status()'), 'f', "$database: sending is not enabled");
	like(sql($there, 'select remedy from musicverse.sending_status()'), qr/enable_sending/, "$database: and the remedy is told");
	is(sql($there, q(select string_agg(distinct status, ',') from musicverse.webhook_deliveries)), 'delivered,held',
		"$database: what was pending is held");
	# the workers may have made leaves of coming days meanwhile
	my $leaves = q(select inhrelid::regclass::text as leaf from pg_inherits where inhparent = 'musicverse.events'::regclass);
	my %there = map { $_->{leaf} => 1 } sql_rows($there, $leaves);
	is(join(' ', grep { !$there{$_} } map { $_->{leaf} } sql_rows($node, $leaves)), '', "$database: with all its leaves");
}

# new things work there at once, old ones not even when the clock says so
my $there = [ $other, 'plain' ];
my $new = sql_row($there, sprintf 'select * from musicverse.create_webhook(%s, %s, %s)',
	lit($user), lit($receiver->url('new')), "array['track.*']");
$receiver->control('new', { secrets => [ $new->{secret} ], tolerance => undef });
sql($there, "select musicverse.advance_clock('3 days')");
sql($there, sprintf "insert into musicverse.tracks (user_id, title) values (%s, 'after the restore')", lit($user));
$receiver->wait_stats('new', 30, received => 1);
is($receiver->stats('new')->{verified}, 1, 'a webhook made after the restore is sent to');
is($receiver->stats('main')->{received}, $seen, 'those that were restored are not');

# enabled without the key file: nothing is lost, the reason is told
sql($there, 'select musicverse.enable_sending()');
wait_for(sub { (sql($there, 'select last_error from musicverse.worker_status') // '') =~ /master key/ }, 30, 'the missing key to be told');
is($receiver->stats('main')->{received}, $seen, 'without the master key nothing is sent');
is(sql($there, q(select count(*) from musicverse.deliveries where status = 'p')), '6', 'and nothing is given up');

# with it everything goes
my $keys = slurp_file($node->data_dir . '/musicverse.key') . slurp_file($other->data_dir . '/musicverse.key');
my $file = $other->data_dir . '/musicverse.key';
open my $handle, '>', $file or die "$file: $!";
print $handle $keys;
close $handle;
chmod 0600, $file;
$other->reload;
$receiver->wait_stats('main', 60, received => $seen + 6);
is($receiver->stats('main')->{bad_signatures}, 0, 'with the key brought along all that was held arrives, signed as before');
wait_for_sql($there, q(select count(*) from musicverse.deliveries where status = 'p'), '0', 30, 'all to be settled');
$other->stop;

# ---- a physical copy ----------------------------------------------------

$node->append_conf('postgresql.conf', "musicverse.databases = 'postgres'");
$node->backup('base');
$seen = $receiver->stats('main')->{received};
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($node, 'base');
chmod 0600, $copy->data_dir . '/musicverse.key';    # the test library's copying doesn't keep modes
$copy->start;
wait_for_sql($copy, 'select state from musicverse.worker_status', 'standing still: a copy', 30, 'the copy to stand still');
like(slurp_file($copy->logfile), qr/sends nothing from this database: it is a copy.*\n.*enable_sending/, 'its log says so, and what to do');
sql($copy, sprintf "insert into musicverse.tracks (user_id, title) values (%s, 'on the copy')", lit($user));
sql($copy, "select musicverse.advance_clock('3 days')");
is($receiver->stats('main')->{received}, $seen, 'a physical copy sends nothing');
sql($copy, 'select musicverse.enable_sending()');
$receiver->wait_stats('main', 60, received => $seen + 6);
pass('enabled, it sends what waited and what is new');
$copy->stop;

# the original, started again, is no copy
$node->restart;
wait_for_sql($node, 'select state from musicverse.worker_status', 'running', 30, 'the original to run on');
is(sql($node, 'select enabled from musicverse.sending_status()'), 't', 'the original goes on sending after a restart');

# ---- a standby ----------------------------------------------------------

foreach my $named (0, 1)
{
	if ($named)
	{
		$node->append_conf('postgresql.conf', "musicverse.cluster_identity = 'studio'");
		$node->reload;
		wait_for_sql($node, q(select count(*) from musicverse.installation where identity like '%studio'), '1', 30, 'the name to be taken');
	}
	$node->backup("standby$named");
	my $standby = PostgreSQL::Test::Cluster->new("standby$named");
	$standby->init_from_backup($node, "standby$named", has_streaming => 1);
	chmod 0600, $standby->data_dir . '/musicverse.key';
	$standby->start;
	$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
	is(sql($standby, q(select count(*) from pg_stat_activity where backend_type like 'musicverse%')), '0', 'no worker runs in recovery');
	$seen = $receiver->stats('main')->{received};
	$node->stop if $named;
	$standby->promote;
	if ($named)
	{
		wait_for_sql($standby, 'select state from musicverse.worker_status', 'running', 30, 'the promoted standby to run');
		sql($standby, sprintf "insert into musicverse.tracks (user_id, title) values (%s, 'after the promotion')", lit($user));
		$receiver->wait_stats('main', 30, received => $seen + 1);
		pass('a promoted standby of the same cluster_identity goes on by itself');
	}
	else
	{
		wait_for_sql($standby, 'select state from musicverse.worker_status', 'standing still: a copy', 30, 'the promoted standby to stand still');
		pass('a promoted standby without a name stands still, as the primary may be alive');
	}
	$standby->stop;
}

done_testing();

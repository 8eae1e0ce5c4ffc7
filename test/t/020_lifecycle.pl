# Workers come and go with what they serve: the extension, the database, its
# name, the settings, the slots of the server. Whatever happens around them,
# nothing blocks on a receiver that hangs and no delivery is lost.
use MusicVerse::Test;

use File::Copy qw(copy);
use File::Path qw(make_path);

my $receiver = start_receiver();
my $user     = user(1);

# The workers connected to a database
sub workers
{
	my ($database) = @_;
	return "select count(*) from pg_stat_activity where backend_type = 'musicverse delivery worker' and datname = '$database'";
}

sub subscribe
{
	my ($where, $name) = @_;
	return sql_row($where, sprintf 'select * from musicverse.create_webhook(%s, %s, $${payment.*}$$)', lit($user), lit($receiver->url($name)))->{id};
}

# Emits so many events in one transaction
sub emit
{
	my ($where, $count) = @_;
	sql($where, sprintf 'select count(musicverse.emit_event(%s, $$payment.succeeded$$, $${"amount": 1}$$)) from generate_series(1, %d)',
		lit($user), $count // 1);
}

sub wait_state
{
	my ($where, $state) = @_;
	wait_for_sql($where, "select string_agg(distinct state, ',') from musicverse.worker_status", $state, 60, "workers that are $state");
}

sub wait_settled
{
	my ($where, $count) = @_;
	wait_for_sql($where, 'select count(*) filter (where status = $$d$$) || $$ of $$ || count(*) from musicverse.deliveries',
		"$count of $count", 60, "$count deliveries to be settled");
}

sub log_count
{
	my ($node, $pattern) = @_;
	return scalar(() = slurp_file($node->logfile) =~ /$pattern/g);
}

# A command that must not wait for a receiver: far less than the time-out of requests
sub promptly
{
	my ($where, $command) = @_;
	return !defined sql_error($where, "set statement_timeout = '30s';\n$command");
}

my $node = new_cluster('main',
	-extension                    => 0,
	log_min_messages              => 'debug1',
	'musicverse.request_timeout'  => '10min',
	'musicverse.delivery_workers' => 2);
my $second = [ $node, 'second' ];
sql($node, 'create database second');

# ---- CREATE EXTENSION

my $started = qr/starting background worker process "musicverse delivery worker \d for postgres"/;
my $ended   = qr/unregistering background worker "musicverse delivery worker \d for postgres"/;
wait_for(sub { log_count($node, $ended) >= 2 }, 60, 'workers to look for the extension and leave');
is(sql($node, workers('postgres')), 0, 'no worker stays where the extension is not created');

my $creating = session($node);
my $others   = 0;

# The launcher has taken a turn when it has tried this database
sub launcher_turn
{
	my $before = log_count($node, qr/starting background worker process "musicverse delivery worker \d for second"/);
	set_conf($node, 'musicverse.databases' => ++$others % 2 ? 'postgres, second' : 'postgres');
	$node->reload;
	return unless $others % 2;
	wait_for(sub { log_count($node, qr/starting background worker process "musicverse delivery worker \d for second"/) > $before },
		60, 'a turn of the launcher');
}
$creating->query_safe('begin; create extension musicverse');
launcher_turn();
is(log_count($node, $started), 2, 'no worker is started before the commit of CREATE EXTENSION');
$creating->query_safe('rollback; begin; create extension musicverse');
sql($node, 'create database turn');
is(log_count($node, $started), 2, 'nor by its ROLLBACK');
$creating->query_safe('commit');
wait_state($node, 'running');
is(log_count($node, $started), 4, 'each worker is started once at the commit');
$creating->quit;
launcher_turn();
wait_for_sql($node, 'show musicverse.databases', 'postgres', 30, 'the reload');

my ($status, $stdout, $stderr) = $node->psql('second', 'create extension musicverse');
like($stderr, qr/NOTICE:  no worker serves database "second" yet\n.*HINT:  Add it to musicverse\.databases/s,
	'CREATE EXTENSION says that no worker serves the database');

# ---- databases

subscribe($second, 'second');
emit($second, 3);
is(sql($node, workers('second')), 0, 'an unserved database has no worker');
set_conf($node, 'musicverse.databases' => 'postgres, second');
$node->reload;
$receiver->wait_stats('second', 60, ids => 3);
wait_settled($second, 3);
pass('a database added to musicverse.databases is served after a reload');

subscribe($node, 'main');
emit($node, 2);
$receiver->wait_stats('main', 60, ids => 2);
pass('and the first one still is');

# ---- DROP EXTENSION while requests are under way

$receiver->control('main', { mode => 'hang' });
emit($node, 20);
$receiver->wait_stats('main', 60, received => 4);
ok(promptly($node, 'drop extension musicverse'), 'DROP EXTENSION does not wait for a receiver that hangs');
wait_for_sql($node, workers('postgres'), '0', 60, 'the workers to leave');
pass('the workers leave after DROP EXTENSION');
wait_for(sub { $receiver->stats('main')->{concurrent} == 0 }, 60, 'their requests to end');
sql($node, 'create extension musicverse');
wait_state($node, 'running');
$receiver->control('main', undef);
subscribe($node, 'main');
emit($node, 2);
$receiver->wait_stats('main', 60, ids => 2);
wait_settled($node, 2);
pass('CREATE EXTENSION works again');

my $before = sql($node, 'select string_agg(pid::text, $$,$$ order by pid) from musicverse.worker_status');
sql($node, 'begin; drop extension musicverse; create extension musicverse; commit');
wait_for_sql($node, "select count(*) from musicverse.worker_status where state = 'running' and pid::text <> all (string_to_array('$before', ','))",
	'2', 50, 'new workers for the new extension');
subscribe($node, 'main');
emit($node, 2);
$receiver->wait_stats('main', 60, ids => 4);
pass('dropped and created in one transaction, it is served at once by new workers');

# ---- commands that need the database for themselves, with requests under way

$receiver->control('second', { mode => 'hang' });
emit($second, 20);
$receiver->wait_stats('second', 60, received => 5);
ok(promptly($node, 'create database copied template second'), 'CREATE DATABASE ... TEMPLATE of a served database succeeds');
$receiver->control('second', undef);
$receiver->wait_stats('second', 60, ids => 20);
wait_settled($second, 23);
pass('its workers come back and send what was under way');

my $copied = [ $node, 'copied' ];
set_conf($node, 'musicverse.databases' => 'postgres, second, copied');
$node->reload;
wait_state($copied, 'standing still: a copy');
emit($copied, 1);
sql($copied, 'update musicverse.webhook_endpoints set url = ' . lit($receiver->url('copied')));
like(sql($copied, 'select reason || $$ | $$ || remedy from musicverse.sending_status()'), qr/copy.*enable_sending/, 'sending_status() names the copy and the remedy');
is(sql($copied, 'select string_agg(distinct status, $$,$$ order by status) from musicverse.webhook_deliveries'), 'delivered,held', 'its deliveries are held');
$before = $receiver->stats('second')->{received};
emit($second, 1);
$receiver->wait_stats('second', 60, received => $before + 1);
is($receiver->stats('copied')->{received}, 0, 'a copy made from a template sends nothing');
sql($copied, 'select musicverse.enable_sending()');
$receiver->wait_stats('copied', 60, ids => 21);
is($receiver->stats('copied')->{received}, 21, 'enable_sending() in the copy sends what is pending there');
wait_settled($copied, 24);

emit($second, 1);
ok(promptly($node, 'alter database second rename to third'), 'ALTER DATABASE ... RENAME of a served database succeeds');
is(sql($node, "select count(*) from pg_stat_activity where backend_type = 'musicverse delivery worker' and datname = 'third'"), 0, 'under another name it is not served');
my $third = [ $node, 'third' ];
my $ids   = $receiver->stats('second')->{ids};
$receiver->control('second', { mode => 'hang' });
emit($third, 20);
set_conf($node, 'musicverse.databases' => 'postgres, third, copied');
$node->reload;
$receiver->wait_stats('second', 60, received => 1);
pass('until musicverse.databases has it');

# ---- DROP DATABASE with requests under way

ok(promptly($node, 'drop database third'), 'DROP DATABASE does not wait for a receiver that hangs');
is(sql($node, workers('third')), 0, 'no worker is left');
$receiver->control('copied', { mode => 'hang' });
emit($copied, 20);
$receiver->wait_stats('copied', 60, received => 5);
ok(promptly($node, 'drop database copied with (force)'), 'nor does DROP DATABASE ... WITH FORCE');
sql($node, 'create database third');
sql($third, 'create extension musicverse');
wait_state($third, 'running');
subscribe($third, 'third');
emit($third, 2);
$receiver->wait_stats('third', 60, ids => 2);
wait_settled($third, 2);
pass('a new database of that name is served');
is(log_count($node, qr/FATAL:  (?!terminating connection|terminating background worker)/), 0, 'no worker has tried to enter a database that is gone');

# ---- ALTER EXTENSION ... UPDATE under way

sql($node, 'drop database third; drop database turn');
my $tree = private_tree();
{
	local $ENV{PATH} = "$tree/bin:$ENV{PATH}";
	$node->stop('fast');
	$node->start;
}
# From now on in one database, with one thing after the other under traffic
sql($node, 'drop extension musicverse; create extension musicverse');
$receiver->control('main', undef);
subscribe($node, 'main');
my ($sent, $settled) = (0, 0);
my @subscribers = 'main';

# Runs the code while two sessions commit events one by one, the first of which
# have arrived. True when in the end every subscriber has every event and all
# is settled. What the code returns tells whether it wants to be run again.
sub under_traffic
{
	my ($code) = @_;
	my $script = "$PostgreSQL::Test::Utils::tmp_check/traffic.sql";
	my $each   = 1000;
	append_to_file($script, join '', map { "select musicverse.emit_event('$user', 'payment.succeeded', '{}');\n" } 1 .. $each) unless -e $script;

	my %target = map { $_ => $receiver->stats($_)->{ids} + 2 * $each } @subscribers;
	my @sessions = map {
		(start_process("traffic_$_", 'psql', '-X', '-q', '-At', '-o', '/dev/null', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $script))[0]
	} 1, 2;
	$receiver->wait_stats('main', 60, ids => $target{main} - 2 * $each + 10);
	1 while $code->() && $receiver->stats('main')->{ids} < $target{main};
	my @failed = grep { waitpid($_, 0) != $_ || $? } @sessions;

	$sent    += 2 * $each;
	$settled += 2 * $each * @subscribers;
	$receiver->wait_stats($_, 60, ids => $target{$_}) foreach @subscribers;
	wait_settled($node, $settled);
	return !@failed && !grep { $receiver->stats($_)->{ids} != $target{$_} } @subscribers;
}

ok(under_traffic(
	sub {
		sql($node, 'alter extension musicverse update');
		sql($node, 'alter extension musicverse update to $$throwaway$$');
		return 0;
	}),
	'ALTER EXTENSION ... UPDATE goes on under traffic and nothing is lost');
is(sql($node, 'select extversion || musicverse.throwaway() from pg_extension where extname = $$musicverse$$'), 'throwaway1', 'the update has happened');
is($receiver->stats('main')->{duplicates}, 0, 'nothing was sent twice');

# ---- VACUUM FULL under way

$before = sql($node, 'select count(*) from musicverse.webhook_attempts');
ok(under_traffic(
	sub {
		sql($node, "select format('vacuum full %s', c.oid::regclass) from pg_class c
		             where c.relnamespace = 'musicverse'::regnamespace and c.relkind = 'r' \\gexec");
		return 1;
	}),
	'VACUUM FULL of every table goes on under traffic and nothing is lost');
is($receiver->stats('main')->{duplicates}, 0, 'nothing was sent twice');
is(sql($node, 'select count(*) from musicverse.webhook_attempts') - $before, 2000, 'each delivery was settled once');
is(sql($node, 'select count(*) from musicverse.deliveries where attempt_count <> 1'), 0, 'with one attempt');

# ---- settings

copy($node->data_dir . '/musicverse.key', $node->data_dir . '/other.key') or die $!;
chmod 0600, $node->data_dir . '/other.key';
my %other = (
	allow_http                    => 'off',
	allowed_networks              => '127.0.0.1/32',
	analytics_interval            => '7min',
	anonymous_burst               => 7,
	anonymous_refill              => 7,
	breaker_threshold             => 7,
	cluster_identity              => 'here',
	connect_timeout               => '7s',
	cors_allowed_origins          => 'https://x.example',
	databases                     => 'postgres, template1',
	delivery_concurrency          => 17,
	ddex_schema_digests           => 'c0cb3759f59dcea9bb4ab3bcc0899ce3f5c5ef15b94cb4086c25c76829e079a8',
	ddex_schema_directory         => '/nowhere',
	delivery_concurrency_per_host => 7,
	delivery_workers              => 3,
	disable_after                 => 7,
	disable_after_interval        => '7h',
	distribution_concurrency      => 7,
	distribution_poll_interval    => '7min',
	gateway_access_log            => 'on',
	gateway_connections_per_address => 7,
	gateway_database              => 'postgres',
	gateway_document_root         => '/nowhere',
	gateway_keepalive_timeout     => '7s',
	gateway_listen                => '127.0.0.1:0',
	gateway_max_connections       => 70,
	gateway_request_timeout       => '7s',
	gateway_statement_timeout     => '7s',
	gateway_workers               => 1,
	generation_concurrency        => 7,
	generation_timeout            => '7min',
	idempotency_retention         => '7h',
	inspect_audio                 => 'off',
	master_key_file               => 'other.key',
	max_event_size                => '70kB',
	max_report                    => '7MB',
	max_request_body              => '7kB',
	max_partner_response          => '70kB',
	max_provider_response         => '70kB',
	max_queued_jobs               => 7,
	max_response_body             => '7kB',
	max_upload                    => '7MB',
	media_directory               => 'elsewhere',
	media_fetches                 => 7,
	media_max_size                => '7MB',
	media_retention               => '7h',
	metrics_allowed               => '10.0.0.0/8',
	public_url                    => 'https://api.example.com',
	rate_limit_when_full          => 'refuse',
	release_lead_time             => '7h',
	request_timeout               => '70s',
	require_https                 => 'on',
	retention                     => 7,
	retry_schedule                => '7s,7min',
	signature_tolerance           => '7s',
	usage_days_retention          => 700,
	usage_flush_interval          => '7s',
	trusted_proxies               => '10.0.0.0/8',
	usage_hours_retention         => 70,
	usage_retention               => 6,
	webhook_concurrency           => 7,
	wrong_key_burst               => 7,
	wrong_key_refill              => 7);
my %was = map { $_->{name} => $_->{setting} }
  sql_rows($node, "select substr(name, 12) as name, setting from pg_settings where name like 'musicverse.%' and context = 'sighup'");
is_deeply([ sort keys %was ], [ sort keys %other ], 'the settings that a reload changes are those known here');
foreach my $setting (sort keys %other)
{
	set_conf($node, "musicverse.$setting" => $other{$setting});
	$node->reload;
	wait_for_sql($node, "select setting <> '$was{$setting}' from pg_settings where name = 'musicverse.$setting'", 't', 30, "the new $setting");
	emit($node, 3);
	$sent    += 3;
	$settled += 3;
	$receiver->wait_stats('main', 30, ids => $sent);
	wait_settled($node, $settled);
	pass("deliveries go on after a reload of musicverse.$setting");
}

# Of six webhooks each of three workers has some
set_conf($node, 'musicverse.allow_http' => 'on');
$node->reload;
wait_for_sql($node, 'show musicverse.allow_http', 'on', 30, 'the reload');
sql($node, sprintf 'select musicverse.set_tier(%s, $$enterprise$$)', lit($user));
foreach my $name (map { "shard_$_" } 1 .. 5)
{
	subscribe($node, $name);
	push @subscribers, $name;
}
foreach my $count (1, 3, 2)
{
	ok(under_traffic(
		sub {
			set_conf($node, 'musicverse.delivery_workers' => $count);
			$node->reload;
			wait_for_sql($node, "select count(*) filter (where state = 'running') || ' of ' || count(*) from musicverse.worker_status", "$count of $count", 60, "$count workers");
			return 0;
		}),
		"musicverse.delivery_workers = $count under traffic loses nothing");
}

# ---- pg_upgrade's mode

$node->stop('fast');
my @ctl = ('pg_ctl', '-w', '-D', $node->data_dir, '-l', $node->logfile);
system_or_bail(@ctl, '-o', '-b', 'start');
$node->_update_pid(1);
is(sql($node, "select count(*) from pg_stat_activity where backend_type like 'musicverse%'"), 0, 'there is neither launcher nor worker in binary upgrade mode');
like(sql($node, 'select reason from musicverse.sending_status()'), qr/./, 'and the functions are there');
$node->stop('fast');

# ---- no slot

$node = new_cluster('slots', -extension => 0, max_worker_processes => 7, 'musicverse.databases' => 'nobody');
my @hogs = map { session($node) } 1 .. 5;
$_->query_until(qr/started/, q{
	select set_config(name, 'on', false) from pg_settings where name in ('force_parallel_mode', 'debug_parallel_query');
	\echo started
	select pg_sleep(600);
}) foreach @hogs;
wait_for_sql($node, "select count(*) from pg_stat_activity where backend_type = 'parallel worker'", '5', 30, 'the last slots to be used');
set_conf($node, 'musicverse.databases' => 'postgres');
$node->reload;
my $full = qr/LOG:  musicverse could not start a worker: no background worker slot is free\n.*HINT:  Raise max_worker_processes \(now 7\)/;
wait_for(sub { log_count($node, $full) }, 30, 'the log to tell it');
sql($node, 'create extension musicverse');
subscribe($node, 'slots');
emit($node, 2);
sql($node, "create database turn_$_") foreach 1 .. 3;
is(sql($node, workers('postgres')), 0, 'without a slot there is no worker');
sql($node, "select pg_cancel_backend(pid) from pg_stat_activity where query like '%pg_sleep(600)%' and backend_type = 'client backend' and pid <> pg_backend_pid()");
$receiver->wait_stats('slots', 60, ids => 2);
pass('with a slot it starts by itself and sends what was recorded');
is(log_count($node, $full), 1, 'the log has told it once, with the remedy');
my $over = qr/LOG:  musicverse found a background worker slot again/;
wait_for(sub { log_count($node, $over) }, 30, 'the log to tell that it is over');
is(log_count($node, $over), 1, 'and once that it is over');
eval { $_->quit } foreach @hogs;

done_testing();

# A server of its own beside the private tree, with one more version of the
# extension: its programs are copies, as they look for their files from where
# they really are; the rest are links.
sub private_tree
{
	my $made   = "$PostgreSQL::Test::Utils::tmp_check/tree";
	my %real   = map { chomp(my $path = `pg_config --$_`); ($_ => $path) } qw(bindir pkglibdir sharedir);
	my ($base) = $real{bindir} =~ m{^(.*)/bin$} or die "no bin in $real{bindir}";
	my $share  = "$made$real{sharedir}";

	make_path("$made$real{bindir}", "$share/extension");
	foreach my $program (qw(postgres pg_ctl))
	{
		copy("$real{bindir}/$program", "$made$real{bindir}/$program") or die "$program: $!";
		chmod 0755, "$made$real{bindir}/$program";
	}
	symlink $real{pkglibdir}, "$made$real{pkglibdir}";
	foreach my $file (glob("$real{sharedir}/*"), glob("$real{sharedir}/extension/*"))
	{
		my $link = $share . substr($file, length $real{sharedir});
		symlink $file, $link unless -e $link;
	}
	my ($version) = slurp_file("$share/extension/musicverse.control") =~ /default_version = '(.*)'/;
	append_to_file("$share/extension/musicverse--$version--throwaway.sql", <<'SQL');
create function throwaway() returns int language sql set search_path = pg_catalog, pg_temp as 'select 1';
alter table webhook_endpoints add column throwaway int;
alter table webhook_state add column throwaway int;
create or replace function _leaf_is_pending(suffix text) returns boolean language sql set search_path = pg_catalog, pg_temp as 'select true';
SQL
	symlink $real{bindir}, "$made/programs";
	symlink "$made$real{bindir}", "$made/bin";
	return $made;
}

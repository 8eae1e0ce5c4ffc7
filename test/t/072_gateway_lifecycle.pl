# The gateway's workers come and go: with settings, with the extension, with
# the database, after a crash. Whatever was begun is answered, and what was
# told to stop listens no more.
use MusicVerse::Test;
use MusicVerse::Gateway;

use Time::HiRes qw(time);

my $get  = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
my $node = new_cluster('main',
	-extension                         => 0,
	'musicverse.gateway_listen'        => '127.0.0.1:0, [::1]:0',
	'musicverse.gateway_access_log'    => 'on');
sql($node, 'create extension musicverse');

sub set
{
	my (%conf) = @_;
	set_conf($node, map { ("musicverse.$_" => $conf{$_}) } keys %conf);
	$node->reload;
}

sub workers { return sql($node, "select count(*) from pg_stat_activity where backend_type = 'musicverse gateway worker'"); }

sub wait_workers
{
	my ($n) = @_;
	wait_for_sql($node, "select count(*) from pg_stat_activity where backend_type = 'musicverse gateway worker'", $n, 30, "$n workers");
}

sub refused { my ($port) = @_; return !dial($port); }

is(workers(), 0, 'by default there is no gateway');

# ---- settings

foreach my $bad ('8790', '127.0.0.1', 'localhost:8790', '127.0.0.1:70000', '::1:8790', '[::1]8790', '127.0.0.1:1 127.0.0.1:2', join(',', ('127.0.0.1:1') x 9))
{
	my $error = sql_error($node, "alter system set musicverse.gateway_listen = '$bad'");
	ok($error && $error->{sqlstate} eq '22023' && $error->{message} =~ /musicverse\.gateway_listen/ && $error->{hint}, "gateway_listen = '$bad' is refused");
}
is(sql_error($node, "alter system set musicverse.trusted_proxies = '10.0.0.1/8'")->{message}, 'invalid network "10.0.0.1/8" in "musicverse.trusted_proxies"',
	'so is a bad network');
is(sql_error($node, "alter system set musicverse.gateway_document_root = 'www'")->{sqlstate}, '22023', 'and a folder that is no full path');

set(gateway_workers => 2);
my $port = gateway_port($node);
pass('a reload starts workers');
is(sql($node, q{select count(distinct pid) || ' ' || count(distinct port) || ' ' || bool_and(listen ~ '^127\.0\.0\.1:\d+, \[::1\]:\d+$') from musicverse.gateway_status}),
	'2 1 true', 'with port 0 all listen on the same ports');
is(ask($port, $get)->{status}, 200, 'they serve');
my ($six) = sql($node, 'select listen from musicverse.gateway_status limit 1') =~ /\[::1\]:(\d+)/;
SKIP:
{
	my $socket = dial($six, host => '::1') or skip 'no IPv6 on this machine', 1;
	send_bytes($socket, $get);
	is(read_answer($socket)->{status}, 200, 'by IPv6 too');
}
my %pids;
for (1 .. 40)
{
	ask($port, $get);
	last if (%pids = map { $_ => 1 } grep { $_ } split /\n/, sql($node, 'select worker from musicverse.gateway_status where requests > 0')) && keys %pids >= 2;
}
pass('connections are shared out');
like(slurp_file($node->logfile), qr/LOG:  access: 127\.0\.0\.1 "GET \/healthz" 200 16 bytes [\d.]+ ms operation=healthz user=- request=-\n/, 'the access log');
ask($port, "GET /nothing?key=mvai_secret HTTP/1.1\r\nHost: a\r\nX-API-Key: mvai_secret\r\n\r\n");
unlike(slurp_file($node->logfile), qr/mvai_secret/, 'holds no secrets');

my $status = sql_row($node, 'select * from musicverse.gateway_status where worker = 0');
is("$status->{database} $status->{state}", 'postgres listening', 'gateway_status tells');

# ---- the port changes, nothing is dropped

my $other = free_port();
set(gateway_workers => 1);
wait_workers(1);
my $kept  = dial($port);
send_bytes($kept, $get);
is(read_answer($kept)->{status}, 200, 'a connection to the old port');
my $half = dial($port);
send_bytes($half, "POST /api/v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{");
set(gateway_listen => "127.0.0.1:$other");
wait_for(sub { my $answer = ask($other, $get); $answer->{status} == 200 }, 30, 'the new port');
wait_for(sub { refused($port) }, 10, 'the old port to be closed');
send_bytes($half, '}');
cmp_ok(read_answer($half)->{status}, '>', 0, 'a request that was under way is answered');
pass('after a reload it listens elsewhere');
is(sql($node, 'select port from musicverse.gateway_status where pid is not null'), $other, 'as gateway_status says');

my $taken = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 0, Listen => 1);
set(gateway_listen => '127.0.0.1:' . $taken->sockport . ", 127.0.0.1:$other");
wait_for(sub { slurp_file($node->logfile) =~ /could not listen on 127\.0\.0\.1:\d+: Address already in use\n.*HINT:  Is something else listening there/ }, 10, 'the message');
is(ask($other, $get)->{status}, 200, 'a port that is taken is told of, the others are served');
close $taken;
$port = $other;
set(gateway_listen => "127.0.0.1:$port");

# ---- told to stop

my $pid = sql($node, 'select pid from musicverse.gateway_status where pid is not null');
$half = dial($port);
send_bytes($half, "POST /api/v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{");
my $idle = dial($port);
send_bytes($idle, $get);
is(read_answer($idle)->{status}, 200, 'a connection that is idle');
wait_for_sql($node, 'select connections >= 2 from musicverse.gateway_status where pid is not null', 't', 10, 'both connections');
sql($node, "select pg_terminate_backend($pid)");
wait_for_sql($node, 'select state from musicverse.gateway_status where worker = 0', 'stopping', 10, 'the worker to stop');
ok((read_rest($idle, 10))[1], 'is closed');
send_bytes($half, '}');
my $answer = read_answer($half);
ok($answer->{status} && lc $answer->{headers}{connection} eq 'close', 'a request that was under way is answered, and told that it was the last') or diag(explain($answer));
wait_for(sub { ask($port, $get)->{status} == 200 }, 30, 'the next worker');
pass('and there is another worker');

# ---- the extension

sql($node, 'drop extension musicverse');
wait_workers(0);
ok(refused($port), 'without the extension nobody listens');
sql($node, 'create extension musicverse');
wait_for(sub { ask($port, $get)->{status} == 200 }, 10, 'the gateway');
pass('it is back at once with the extension');
my $before = sql($node, 'select pid from musicverse.gateway_status where pid is not null');
sql($node, 'begin; drop extension musicverse; create extension musicverse; commit');
wait_for_sql($node, "select pid <> $before from musicverse.gateway_status where state = 'listening'", 't', 30, 'another worker');
wait_for(sub { ask($port, "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")->{status} == 200 }, 30, 'the gateway to be ready');
pass('replaced in one transaction, it is served by a new worker');

# ---- databases

sql($node, 'create database second');
sql([ $node, 'second' ], 'create extension musicverse');
set(databases => 'postgres, second', gateway_database => 'second');
wait_for_sql($node, q{select database from musicverse.gateway_status where state = 'listening'}, 'second', 30, 'the gateway to move');
is(ask($port, $get)->{status}, 200, 'the gateway serves the database it is told to');
my $busy = dial($port);
send_bytes($busy, "POST /api/v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{");
my $start = time;
is(sql_error($node, 'create database third template second'), undef, 'a database that it serves can be copied');
is(sql_error($node, 'drop database second'), undef, 'and dropped');
cmp_ok(time - $start, '<', 25, 'also while a request is under way');
close $busy;
ok(refused($port), 'then nobody listens');
set(databases => 'postgres', gateway_database => '');
wait_for(sub { ask($port, $get)->{status} == 200 }, 30, 'the gateway');

# ---- a crash

set(gateway_workers => 2);
gateway_port($node);
my ($answered, $lost, $killed) = (0, 0, 0);
my $ended = time + 30;
my $victim = sql($node, "select pid from musicverse.gateway_status where pid is not null limit 1");
while (time < $ended)
{
	my $one = ask($port, $get, seconds => 2);
	if   ($one->{status} == 200) { $answered++; }
	else                         { $lost++; }
	if ($answered == 200 && !$killed) { kill KILL => $victim; $killed = 1; }
	last if $killed && $lost && $one->{status} == 200;
	Time::HiRes::usleep(20_000) if $one->{status} != 200;    # nobody listens while the server recovers
}
ok($killed && $lost && time < $ended, 'a worker that is killed: the server restarts and serves again');
wait_for_sql($node, q{select count(*) from musicverse.gateway_status where state = 'listening'}, '2', 30, 'both workers');
is(sql($node, q{select bool_and(requests < 1000) from musicverse.gateway_status}), 't', 'counters begin anew');

# ---- what runs is bounded

SKIP:
{
	skip 'operations cannot be called yet', 6 unless dispatcher_is_there($node, $port);
	my $slow = sub { my ($ms) = @_; return "GET /api/v1/gateway-test?ms=$ms HTTP/1.1\r\nHost: a\r\n\r\n"; };
	set(gateway_workers => 1, gateway_statement_timeout => '500ms');
	wait_workers(1);
	wait_for_sql($node, 'show musicverse.gateway_statement_timeout', '500ms', 10, 'the reload');
	my $late = wait_for(sub { my $one = ask($port, $slow->(3000)); $one->{status} ? $one : undef }, 10, 'an answer');
	is($late->{status}, 503, 'a request that takes too long is cancelled');
	like($late->{headers}{'retry-after'}, qr/^\d+$/, 'it may be tried again');
	is(ask($port, $slow->(1))->{status}, 200, 'the worker lives on');
	set(gateway_statement_timeout => '10s');
	wait_for_sql($node, 'show musicverse.gateway_statement_timeout', '10s', 10, 'the reload');
	my $socket = dial($port);
	send_bytes($socket, $slow->(1500));
	my $serving = "select pid from pg_stat_activity where backend_type = 'musicverse gateway worker' and state = 'active' and query = 'GET /api/v1/gateway-test'";
	wait_for(sub { sql($node, $serving) }, 10, 'the request to run');
	my $runs = sql($node, $serving);
	sql($node, "select pg_terminate_backend($runs)");
	is(read_answer($socket)->{status}, 200, 'a query that runs when its worker is told to stop is finished');
	wait_for_sql($node, "select count(*) from musicverse.gateway_status where state = 'listening' and pid <> $runs", '1', 30, 'the next worker');
	$socket = dial($port);
	send_bytes($socket, $slow->(8000));
	wait_for(sub { sql($node, $serving) }, 10, 'the request to run');
	sql($node, "select pg_cancel_backend(($serving))");
	is(read_answer($socket)->{status}, 503, 'one that is cancelled is answered');
	$socket = dial($port);
	send_bytes($socket, $slow->(9000));
	$runs = wait_for(sub { sql($node, $serving) }, 10, 'the request to run');
	sql($node, "select pg_terminate_backend($runs)");
	wait_for_sql($node, "select count(*) from musicverse.gateway_status where state = 'listening' and pid <> $runs", '1', 30, 'the next worker');
	is(read_answer($socket)->{status}, 0, 'one that takes longer than its worker may is ended with it');
}

# ---- the end

$half = dial($port);
send_bytes($half, "POST /api/v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{");
$start = time;
$node->stop('fast');
cmp_ok(time - $start, '<', 20, 'the server stops although a client dawdles');
ok(refused($port), 'and nobody listens');
unlike(slurp_file($node->logfile), qr/PANIC|unrecognized|out of memory/, 'nothing odd was logged');

done_testing();

# A million requests (SOAK_REQUESTS) to one worker of the gateway: over many
# connections that come and go, with bodies, files, refusals and connections
# that are cut. Its memory and its descriptors are flat after a warm-up of a tenth.
use MusicVerse::Test;
use MusicVerse::Gateway;

my $requests = $ENV{SOAK_REQUESTS} || 1_000_000;
my $clients  = 8;
my $www      = PostgreSQL::Test::Utils::tempdir();
PostgreSQL::Test::Utils::append_to_file("$www/index.html", 'x' x 5000);
my $node = gateway_cluster('main',
	'musicverse.gateway_document_root'           => $www,
	'musicverse.gateway_connections_per_address' => 0);
my $port = gateway_port($node);
my $pid  = sql($node, 'select pid from musicverse.gateway_status');
my $host = "Host: a\r\n";
my @kinds = (
	"GET /api/v1/nothing?a=b HTTP/1.1\r\n$host\r\n",
	"GET /api/v1/nothing HTTP/1.1\r\n${host}X-API-Key: mvai_wrong\r\n\r\n",
	"POST /api/v1/nothing HTTP/1.1\r\n${host}Content-Length: 20000\r\n\r\n" . 'a' x 20000,
	"GET /healthz HTTP/1.1\r\n$host\r\n",
	"GET / HTTP/1.1\r\n$host\r\n",
	"GET /not/there HTTP/1.1\r\n$host\r\n",
	"GET /metrics HTTP/1.1\r\n$host\r\n");

# Sends so many, 50 ahead of the answers, a new connection for every 500
sub client
{
	my ($n) = @_;
	while ($n > 0)
	{
		my $socket = dial($port) or die "cannot connect: $!\n";
		foreach (1 .. 10)
		{
			my @sent = map { $kinds[ rand() < 0.01 ? 6 : rand 6 ] } 1 .. 50;
			send_bytes($socket, join '', @sent);
			foreach (@sent) { read_answer($socket, 'GET', 30)->{status} or die "no answer\n"; $n--; }
		}
		# the way it ends: in the middle of a request, or with one that is refused
		send_bytes($socket, rand() < 0.5 ? "GET /a HTTP/1.1\r\nHo" : "GET / HTTP/1.1\r\n\r\n");
		close $socket;
	}
}

sub round_of
{
	my ($n) = @_;
	my @pids = map {
		my $child = fork // die "fork: $!";
		if (!$child) { srand($$); my $ok = eval { client($n / $clients); 1 }; warn $@ unless $ok; POSIX::_exit($ok ? 0 : 1); }
		$child
	} 1 .. $clients;
	my $failed = 0;
	foreach (@pids) { waitpid($_, 0); $failed ||= $?; }
	return !$failed;
}

sub memory { my ($kb) = slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+)/m; return $kb; }
sub descriptors { my @all = glob "/proc/$pid/fd/*"; return scalar @all; }
sub settle { wait_for_sql($node, 'select connections from musicverse.gateway_status', '0', 90, 'all connections to end'); }

ok(round_of($requests / 10), 'a tenth is answered');
settle();
my ($kb, $fds) = (memory(), descriptors());
foreach my $round (1 .. 9)
{
	ok(round_of($requests / 10), "round $round is answered");
	settle();
	note("memory $kb kB at first, now " . memory());
}
cmp_ok(memory() - $kb, '<', 512, 'memory is flat');
is(descriptors(), $fds, 'so are descriptors');
is(sql($node, 'select pid from musicverse.gateway_status'), $pid, 'all by the same worker');
cmp_ok(sql($node, 'select requests from musicverse.gateway_status'), '>=', $requests, 'that counted them');

done_testing();

# What the gateway does with bytes that no good client sends: it answers 400 and
# its like or closes, never two things for one request, never nothing, and
# serves others meanwhile. Requests by raw sockets, one by one; then seeded
# mutations and noise; then a thousand connections that say nothing.
use MusicVerse::Test;
use MusicVerse::Gateway;

use Time::HiRes qw(time);

my $node = gateway_cluster('main',
	'musicverse.max_request_body'                => '64kB',
	'musicverse.gateway_connections_per_address' => 0,
	'musicverse.gateway_max_connections'         => 1500,
	'musicverse.gateway_request_timeout'         => '1s',
	'musicverse.gateway_keepalive_timeout'       => '2s');
my $port = gateway_port($node);
my $host = "Host: a\r\n";

sub well
{
	my ($name) = @_;
	is(ask($port, "GET /healthz HTTP/1.1\r\n$host\r\n")->{status}, 200, $name);
}

# ---- one by one: the bytes, the status; and the connection is closed unless said otherwise

my $post    = "POST /api/v1/x HTTP/1.1\r\n$host";
my $chunked = "${post}Transfer-Encoding: chunked\r\n\r\n";
my @cases = (
	[ 'no Host',                          "GET /healthz HTTP/1.1\r\n\r\n", 400 ],
	[ 'several Hosts',                    "GET /healthz HTTP/1.1\r\n$host$host\r\n", 400 ],
	[ 'a Host with a space',              "GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n", 400 ],
	[ 'bare LFs',                         "GET /healthz HTTP/1.1\nHost: a\n\n", 400 ],
	[ 'a bare LF behind the first line',  "GET /healthz HTTP/1.1\nHost: a\r\n\r\n", 400 ],
	[ 'a bare LF between headers',        "GET /healthz HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", 400 ],
	[ 'a bare LF at the end',             "GET /healthz HTTP/1.1\r\n$host\n", 400 ],
	[ 'a bare CR in a value',             "GET /healthz HTTP/1.1\r\nHost: a\rX: y\r\n\r\n", 400 ],
	[ 'a folded header',                  "GET /healthz HTTP/1.1\r\n${host}X: y\r\n z\r\n\r\n", 400 ],
	[ 'a first header that is folded',    "GET /healthz HTTP/1.1\r\n X: y\r\n$host\r\n", 400 ],
	[ 'a NUL in a value',                 "GET /healthz HTTP/1.1\r\n${host}X: y\0z\r\n\r\n", 400 ],
	[ 'a NUL in a name',                  "GET /healthz HTTP/1.1\r\n${host}X\0: y\r\n\r\n", 400 ],
	[ 'a NUL in the target',              "GET /health\0z HTTP/1.1\r\n$host\r\n", 400 ],
	[ 'a NUL in the query',               "GET /healthz?a\0b HTTP/1.1\r\n$host\r\n", 400 ],
	[ 'a NUL in the method',              "G\0ET /healthz HTTP/1.1\r\n$host\r\n", 400 ],
	[ 'a space before the colon',         "GET /healthz HTTP/1.1\r\n${host}X : y\r\n\r\n", 400 ],
	[ 'a header without a name',          "GET /healthz HTTP/1.1\r\n${host}: y\r\n\r\n", 400 ],
	[ 'a header without a colon',         "GET /healthz HTTP/1.1\r\n${host}nonsense\r\n\r\n", 400 ],
	[ 'control characters in a value',    "GET /healthz HTTP/1.1\r\n${host}X: \x01\r\n\r\n", 400 ],
	[ 'two spaces in the first line',     "GET  /healthz HTTP/1.1\r\n$host\r\n", 400 ],
	[ 'a space in the target',            "GET /health z HTTP/1.1\r\n$host\r\n", 400 ],
	[ 'a tab in the target',              "GET /health\tz HTTP/1.1\r\n$host\r\n", 400 ],
	[ 'bytes above ASCII in the target',  "GET /\xff HTTP/1.1\r\n$host\r\n", 400 ],
	[ 'a fragment',                       "GET /a#b HTTP/1.1\r\n$host\r\n", 400 ],
	[ 'an absolute target',               "GET http://a/healthz HTTP/1.1\r\n$host\r\n", 400 ],
	[ 'CONNECT',                          "CONNECT a:80 HTTP/1.1\r\n$host\r\n", 400 ],
	[ 'GET *',                            "GET * HTTP/1.1\r\n$host\r\n", 400 ],
	[ 'HTTP/0.9',                         "GET /healthz\r\n\r\n", 400 ],
	[ 'HTTP/2.0',                         "GET /healthz HTTP/2.0\r\n$host\r\n", 505 ],
	[ 'the preface of HTTP/2',            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505 ],
	[ 'http/1.1 in small letters',        "GET /healthz http/1.1\r\n$host\r\n", 400 ],
	[ 'a method that is no token',        "G(T /healthz HTTP/1.1\r\n$host\r\n", 400 ],
	[ 'a long method',                    'A' x 40 . " /healthz HTTP/1.1\r\n$host\r\n", 400 ],
	[ 'a length beside chunks',           "${post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400 ],
	[ 'chunks beside a length',           "${post}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400 ],
	[ 'several lengths',                  "${post}Content-Length: 5\r\nContent-Length: 40\r\n\r\nhelloGET /healthz HTTP/1.1\r\n$host\r\n", 400 ],
	[ 'the same length twice',            "${post}Content-Length: 0\r\nContent-Length: 0\r\n\r\n", 400 ],
	[ 'a list of lengths',                "${post}Content-Length: 5, 5\r\n\r\nhello", 400 ],
	[ 'a length with a sign',             "${post}Content-Length: +5\r\n\r\nhello", 400 ],
	[ 'a negative length',                "${post}Content-Length: -5\r\n\r\nhello", 400 ],
	[ 'a hexadecimal length',             "${post}Content-Length: 0x5\r\n\r\nhello", 400 ],
	[ 'a length beyond all numbers',      "${post}Content-Length: 99999999999999999999999\r\n\r\nhello", 413 ],
	[ 'a length above the limit',         "${post}Content-Length: 65537\r\n\r\n" . 'a' x 65537, 413 ],
	[ 'a length far above the limit',     "${post}Content-Length: 655370000\r\n\r\nhello", 413 ],
	[ 'the same, expecting to be asked',  "${post}Expect: 100-continue\r\nContent-Length: 65537\r\n\r\n", 413 ],
	[ 'another expectation',              "${post}Expect: 200-ok\r\nContent-Length: 5\r\n\r\nhello", 417 ],
	[ 'another transfer coding',          "${post}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501 ],
	[ 'the coding identity',              "${post}Transfer-Encoding: identity\r\n\r\n", 501 ],
	[ 'several transfer codings',         "${post}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400 ],
	[ 'chunks in HTTP/1.0',               "POST /api/v1/x HTTP/1.0\r\n${host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400 ],
	[ 'a chunk that has no size',         "${chunked}zz\r\nhello\r\n0\r\n\r\n", 400 ],
	[ 'a chunk longer than it says',      "${chunked}5\r\nhelloXX0\r\n\r\n", 400 ],
	[ 'a chunk of negative size',         "${chunked}-5\r\nhello\r\n0\r\n\r\n", 400 ],
	[ 'a chunk of a size beyond numbers', "${chunked}fffffffffffffffff\r\nhello\r\n0\r\n\r\n", 413 ],
	[ 'chunks above the limit',           $chunked . ("8000\r\n" . 'a' x 32768 . "\r\n") x 3 . "0\r\n\r\n", 413 ],
	[ 'a target of 9,000 bytes',          'GET /' . 'a' x 9000 . " HTTP/1.1\r\n$host\r\n", 414 ],
	[ 'a target of 100,000 bytes',        'GET /' . 'a' x 100_000 . " HTTP/1.1\r\n$host\r\n", 414 ],
	[ '101 headers',                      "GET /healthz HTTP/1.1\r\n$host" . "X: y\r\n" x 101 . "\r\n", 431 ],
	[ '17 kB of headers',                 "GET /healthz HTTP/1.1\r\n$host" . ('X: ' . 'y' x 1000 . "\r\n") x 17 . "\r\n", 431 ],
	[ '200 kB of headers',                "GET /healthz HTTP/1.1\r\n$host" . ('X: ' . 'y' x 1000 . "\r\n") x 200 . "\r\n", 431 ]);
foreach my $case (@cases)
{
	my ($name, $bytes, $status) = @$case;
	my $answer = ask($port, $bytes, seconds => 5);
	is("$answer->{status}" . ($answer->{closed} ? ', closed' : ''), "$status, closed", $name) or diag(explain($answer));
}
my $noise = ask($port, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", seconds => 5);
is("$noise->{status} $noise->{closed}", '0 1', 'TLS where HTTP is spoken is closed');

# ---- what looks odd and is right

my @right = (
	[ 'empty lines first',              "\r\n\r\nGET /healthz HTTP/1.1\r\n$host\r\n", 200 ],
	[ 'HTTP/1.0 without a Host',        "GET /healthz HTTP/1.0\r\n\r\n", 200 ],
	[ 'spaces and tabs around a value', "GET /healthz HTTP/1.1\r\nHost:\t a \t\r\nX:\r\n\r\n", 200 ],
	[ 'bytes above ASCII in a value',   "GET /healthz HTTP/1.1\r\n${host}X: \xff\xfe\r\n\r\n", 200 ],
	[ '100 headers',                    "GET /healthz HTTP/1.1\r\n$host" . "X: y\r\n" x 99 . "\r\n", 200 ],
	[ '15 kB of headers',               "GET /healthz HTTP/1.1\r\n$host" . ('X: ' . 'y' x 1000 . "\r\n") x 15 . "\r\n", 200 ],
	[ 'a jar of cookies',               "GET /healthz HTTP/1.1\r\n${host}Cookie: " . join('; ', map { "name$_=" . 'v' x 50 } 1 .. 60) . "\r\n\r\n", 200 ],
	[ 'a query of 3,500 parameters',    'GET /healthz?' . 'a&' x 3500 . " HTTP/1.1\r\n$host\r\n", 200 ],
	[ 'OPTIONS *',                      "OPTIONS * HTTP/1.1\r\n$host\r\n", 204 ],
	[ 'HEAD',                           "HEAD /healthz HTTP/1.1\r\n$host\r\n", 200 ],
	[ 'a body with GET',                "GET /healthz HTTP/1.1\r\n${host}Content-Length: 5\r\n\r\nhello", 200 ]);
foreach my $case (@right)
{
	my ($name, $bytes, $status) = @$case;
	my $answer = ask($port, $bytes, seconds => 5);
	is($answer->{status}, $status, $name) or diag(explain($answer));
}

{
	my $socket = dial($port);
	send_bytes($socket, "GET /healthz HTTP/1.1\r\n$host\r\n" x 50 . "HEAD /healthz HTTP/1.1\r\n$host\r\n" . "GET /nowhere HTTP/1.1\r\n$host\r\n");
	my @statuses = map { read_answer($socket, $_ == 51 ? 'HEAD' : 'GET')->{status} } 1 .. 52;
	is(join(' ', @statuses), join(' ', (200) x 51, 404), 'requests that are sent ahead are answered in turn');

	send_bytes($socket, "${post}Content-Length: 11\r\n\r\n{\"a\": \"b\"}\nGET /healthz HTTP/1.1\r\n$host\r\n");
	cmp_ok(read_answer($socket)->{status}, '>', 0, 'so is one behind a body');
	is(read_answer($socket)->{body}, qq({"status":"ok"}\n), 'which begins where the body ends');

	foreach my $chunks ("5;x=y\r\nhello\r\n0\r\nX: y\r\n\r\n", "5;x\nhello\r\n0\r\n\r\n", "5\nhello\n0\n\n", "5;x\ry\r\nhello\r\n0\r\n\r\n")
	{
		my $other = dial($port);
		send_bytes($other, "${chunked}${chunks}GET /healthz HTTP/1.1\r\n$host\r\n");
		my $answer = read_answer($other);
		cmp_ok($answer->{status}, '>', 0, 'chunks are answered');
		ok($chunks eq "5;x=y\r\nhello\r\n0\r\nX: y\r\n\r\n" || $answer->{closed}, 'and what follows doubtful ones is nobody\'s request');
	}

	send_bytes($socket, "${post}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
	my ($asked) = $socket->can('blocking') && IO::Select->new($socket)->can_read(5);
	ok($asked, '100 Continue comes before the body');
	send_bytes($socket, '{}');
	ok(read_answer($socket)->{continued}, 'and the answer behind it');
}

# A good request in pieces, cut everywhere: nothing of it is taken for bad
{
	my $bytes = "GET /healthz?a=b HTTP/1.1\r\n${host}Accept: text/html, */*\r\nX-Long: " . 'y' x 5000 . "\r\nUser-Agent: test\r\n\r\n";
	my $bad   = 0;
	my $socket = dial($port);
	$socket->setsockopt(Socket::IPPROTO_TCP(), Socket::TCP_NODELAY(), 1);
	foreach my $cut (map { ($_ * 37) % length $bytes } 1 .. 60)
	{
		send_bytes($socket, substr $bytes, 0, $cut);
		Time::HiRes::usleep(500);    # so that the pieces are read one by one; either way is right
		send_bytes($socket, substr $bytes, $cut);
		$bad++ unless read_answer($socket)->{status} == 200;
	}
	is($bad, 0, 'a request in two pieces is the same request');
}

# ---- noise and mutations

my $seed = $ENV{MV_SEED} // int(rand(1 << 31));
srand($seed);
note("seed $seed (MV_SEED repeats it)");
my @seeds = map { $_->[1] } @cases, @right;
my $end   = time + 6;
my ($sent, $silent) = (0, 0);
sub mutated
{
	my $bytes = substr $seeds[ rand @seeds ], 0, 3000;
	return join '', map { chr int rand 256 } 1 .. 1 + rand 500 if rand() < 0.1;
	foreach (1 .. 1 + rand 6)
	{
		my $at   = int rand length $bytes;
		my $kind = rand;
		if    ($kind < 0.3) { substr($bytes, $at, 1) = chr int rand 256; }
		elsif ($kind < 0.5) { substr($bytes, $at, 1 + rand 8) = ''; }
		elsif ($kind < 0.7) { substr($bytes, $at, 0) = ("\r\n", "\n", "\0", ' ', ':', ',', "\r\n\r\n", "Content-Length: 3\r\n", '0', "\t")[ rand 10 ]; }
		else                { substr($bytes, $at, 0) = substr $bytes, rand length $bytes, rand 50; }
		$bytes = ' ' unless length $bytes;
	}
	return $bytes;
}

# What isn't complete would wait for more: we close our side, so an answer or the end must come
while (time < $end)
{
	my @sockets = map { dial($port) } 1 .. 100;
	my %bytes;
	foreach my $socket (@sockets) { send_bytes($socket, $bytes{$socket} = mutated()); shutdown $socket, 1; }
	foreach my $socket (@sockets)
	{
		my (undef, $closed) = read_rest($socket, 8);
		$silent++ unless $closed;
		note('silence at ' . unpack 'H*', $bytes{$socket}) unless $closed;
		$sent++;
		close $socket;
	}
}
cmp_ok($sent, '>=', 100, "$sent mutated requests were sent");
is($silent, 0, "each was answered or closed (seed $seed)");
well('and others are served as before');
is(sql($node, q{select count(*) from musicverse.gateway_status where errors > 0 and state <> 'listening'}), 0, 'by the worker that was there');
unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC|FATAL:.*gateway/, 'which never failed');

# ---- slow ones

{
	my $line   = dial($port);
	my $header = dial($port);
	my $body   = dial($port);
	my $start  = time;
	my $served = 1;
	send_bytes($header, "GET /healthz HTTP/1.1\r\n$host");
	send_bytes($body,   "${post}Content-Length: 1000\r\n\r\n");
	my %open = map { $_ => $_ } $line, $header, $body;
	my %answer;
	while (%open && time < $start + 15)
	{
		foreach my $socket (values %open)
		{
			if (IO::Select->new($socket)->can_read(0))
			{
				sysread $socket, $answer{$socket}, 1000;
				delete $open{$socket};
				next;
			}
			send_bytes($socket, $socket == $line ? 'G' : $socket == $header ? "X: y\r\n" : 'a');
		}
		$served &&= ask($port, "GET /healthz HTTP/1.1\r\n$host\r\n")->{status} == 200;
		Time::HiRes::usleep(100_000);    # the pace of a slow client
	}
	is(scalar(keys %open), 0, 'clients that send byte by byte are cut');
	like($answer{$header}, qr/\AHTTP\/1\.1 408 .*Connection: close/s, 'who has begun a request is told why');
	like($answer{$body},   qr/\AHTTP\/1\.1 408 /,                    'so is who is slow with its body');
	ok($served, 'others are served meanwhile');
}

# ---- a thousand idle connections

set_conf($node, 'musicverse.gateway_request_timeout' => '60s', 'musicverse.gateway_keepalive_timeout' => '60s');
$node->reload;
wait_for_sql($node, 'show musicverse.gateway_request_timeout', '1min', 10, 'the reload');
my @idle = map { dial($port) } 1 .. 1000;
is(scalar(grep { defined } @idle), 1000, 'a thousand connections are opened');
wait_for_sql($node, 'select sum(connections) >= 1000 from musicverse.gateway_status', 't', 10, 'the connections to be taken');
well('and another is served beside them');
my $first = $idle[0];
send_bytes($first, "GET /healthz HTTP/1.1\r\n$host\r\n");
is(read_answer($first)->{status}, 200, 'so is one of them');

set_conf($node, 'musicverse.gateway_max_connections' => 1000);
$node->reload;
wait_for_sql($node, 'show musicverse.gateway_max_connections', '1000', 10, 'the reload');
well('where the limit is reached, one that is idle makes room');
close $_ foreach @idle;
wait_for_sql($node, 'select sum(connections) < 10 from musicverse.gateway_status', 't', 10, 'their end to be seen');

set_conf($node, 'musicverse.gateway_connections_per_address' => 3, 'musicverse.gateway_max_connections' => 1000);
$node->reload;
wait_for_sql($node, 'show musicverse.gateway_connections_per_address', '3', 10, 'the reload');
my @three = map { dial($port) } 1 .. 3;
send_bytes($_, "GET /healthz HTTP/1.1\r\n$host\r\n") foreach @three;
is(join(' ', map { read_answer($_)->{status} } @three), '200 200 200', 'as many connections as an address may have');
is(ask($port, "GET /healthz HTTP/1.1\r\n$host\r\n")->{status}, 429, 'one more is refused');
is(ask($port, "GET /healthz HTTP/1.1\r\n$host\r\n", from => '127.0.0.2')->{status}, 200, 'one of another address is not');
close pop @three;
wait_for(sub { ask($port, "GET /healthz HTTP/1.1\r\n$host\r\n")->{status} == 200 }, 10, 'room for another');
pass('where one is closed there is room again');
cmp_ok(sql($node, 'select sum(connections_refused) from musicverse.gateway_status'), '>=', 1, 'gateway_status counts what was refused');

done_testing();

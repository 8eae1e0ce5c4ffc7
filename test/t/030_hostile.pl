# Receivers that answer with anything but HTTP in good faith: whatever they
# send, the attempt is recorded as readable text with a sentence for the
# failure, what is kept of a response is bounded, the delivery is tried again,
# and the worker lives on.
use MusicVerse::Test;
use IO::Socket::INET;

my $node     = new_cluster('main', 'musicverse.retry_schedule' => '1h,1h');
my $receiver = start_receiver('--quiet');
my $raw      = raw_receiver();
my $pid      = wait_for(sub { sql($node, 'select pid from musicverse.worker_status') }, 30, 'the worker to start');
my $users    = 0;
my %id;       # webhook's id by the name of the case

# What the sandbox's receiver does: mode => what is recorded of the attempt.
# error undef: a success.
my %modes = (
	redirect       => { status => 302,   error => qr/^redirect \(HTTP 302\) is not followed$/ },
	fail           => { status => 500,   error => qr/^HTTP 500$/ },
	busy           => { status => 429,   error => qr/^HTTP 429$/ },
	hang           => { status => undef, error => qr/^timed out after \d+ ms while waiting for response$/, timeout => 2 },
	trickle        => { status => 200,   error => qr/^timed out after \d+ ms while reading response$/, timeout => 2 },
	'slow-headers' => { status => undef, error => qr/^timed out after \d+ ms while reading response$/, timeout => 2 },
	short          => { status => 200,   error => qr/^connection closed in the middle of the response$/ },
	close          => { status => undef, error => qr/^connection closed without a response$/ },
	reset          => { status => undef, error => qr/^connection reset by peer while / },
	'header-bomb'  => { status => undef, error => qr/^response header longer than 131072 bytes$/ },
	http09         => { status => undef, error => qr/^response is not HTTP / },
	garbage        => { status => undef, error => qr/^response is not HTTP / },
	'nul-header'   => { status => undef, error => qr/^[a-z].*header/i },
	endless        => { status => 200,   truncated => 1 },
	'gzip-bomb'    => { status => 200,   truncated => 1 },
	'1xx'          => { status => 200,   body => 'ok' },
	nul            => { status => 200,   body => "before\x{fffd}between\x{fffd}\x{fffd}after\n" },
	'bad-utf8'     => { status => 200,   body => qr/^ok \x{fffd}+\(\x{fffd}+\n$/ });

# What the receiver below sends: bytes that no server of good faith does
my %bytes = (
	'status of five digits'     => { bytes => "HTTP/1.1 99999 x\r\n\r\n", error => qr/^[a-z]/ },
	'status without digits'     => { bytes => "HTTP/1.1 abc\r\n\r\n", error => qr/^[a-z]/ },
	'status 999'                => { bytes => "HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n", status => 999, error => qr/^HTTP 999$/ },
	'an unasked upgrade'        => { bytes => "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\nPRI * HTTP/2.0\r\n\r\n", error => qr/^[a-z]/ },
	'a length beyond 64 bits'   => { bytes => "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nx", any => 1 },
	'a negative length'         => { bytes => "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nx", any => 1 },
	'two lengths'               => { bytes => "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 500\r\n\r\nx", any => 1 },
	'a chunk beyond 64 bits'    => { bytes => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffffffff\r\nx", error => qr/^[a-z]/, any_status => 1 },
	'a chunk without length'    => { bytes => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nx", error => qr/^[a-z]/, any_status => 1 },
	'trailers without end'      => { bytes => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", then => "X-T: " . 't' x 1000 . "\r\n", error => qr/^[a-z]/, any_status => 1 },
	'interim answers without end' => { bytes => '', then => "HTTP/1.1 102 Processing\r\n\r\n", error => qr/^response header longer than/ },
	'a status line without end' => { bytes => 'HTTP/1.1 200 ', then => 'a' x 1000, error => qr/^response header / },
	'a header without end'      => { bytes => "HTTP/1.1 200 OK\r\nX-Long: ", then => 'a' x 1000, error => qr/^response header / },
	'only an interim answer'    => { bytes => "HTTP/1.1 103 Early Hints\r\nX-Interim: yes\r\n\r\n", error => qr/^[a-z]/ },
	'headers without names'     => { bytes => "HTTP/1.1 200 OK\r\n: x\r\nno colon\r\n  folded\r\n\tand: again\r\n\xff\xfe: \x01\x02\r\nContent-Length: 2\r\n\r\nok", any => 1 },
	'the same header 3000 times' => { bytes => "HTTP/1.1 200 OK\r\n" . "X-Many: and again\r\n" x 3000 . "Content-Length: 2\r\n\r\nok", body => 'ok', status => 200 },
	'quotes in a header'        => { bytes => "HTTP/1.1 200 OK\r\nX-\"Q\\: \"},{\"\\\r\nContent-Length: 2\r\n\r\nok", any => 1 },
	'bare line feeds'           => { bytes => "HTTP/1.1 200 OK\nX-Lf: yes\nContent-Length: 2\n\nok", body => 'ok', status => 200 },
	'a wait of 10^30 seconds'   => { bytes => "HTTP/1.1 503 Busy\r\nRetry-After: 1" . '0' x 30 . "\r\nContent-Length: 0\r\n\r\n", status => 503, error => qr/^HTTP 503$/ },
	'a wait that is no number'  => { bytes => "HTTP/1.1 503 Busy\r\nRetry-After: -1e9\xff\r\nContent-Length: 0\r\n\r\n", status => 503, error => qr/^HTTP 503$/ },
	'an unfinished letter'      => { bytes => "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab\xe2\x82", body => "ab\x{fffd}\x{fffd}", status => 200 },
	'a letter at the cut'       => { bytes => "HTTP/1.1 200 OK\r\nContent-Length: 4099\r\n\r\n" . 'a' x 4095 . "\xf0\x9f\x98\x80", status => 200, truncated => 1 });

foreach my $mode (sort keys %modes)
{
	$receiver->control($mode, { mode => $mode, count => 1, $mode eq 'slow-headers' ? (interval_ms => 5) : () });
	$id{$mode} = webhook($receiver->url($mode), $modes{$mode}{timeout});
}
my $n = 0;
foreach my $case (sort keys %bytes)
{
	$raw->{answers}[ $n ] = $bytes{$case};
	$id{$case} = webhook("http://127.0.0.1:$raw->{port}/" . $n++, 20);
}
$raw->{start}->();

sql($node, 'insert into musicverse.tracks (user_id, title) select user_id, $$x$$ from musicverse.webhook_endpoints');
my %cases = (%modes, %bytes);
wait_for_sql($node, 'select count(distinct webhook_id) from musicverse.webhook_attempts', scalar keys %cases, 90,
	'an attempt of each to be recorded');

foreach my $case (sort keys %cases)
{
	my $want = $cases{$case};
	my $got  = sql_row($node, "select response_status, error, response_body, response_headers::jsonb as headers, truncated
	                             from musicverse.webhook_attempts where webhook_id = '$id{$case}' and attempt = 1");
	note("$case: " . ($got->{error} // "HTTP $got->{response_status}"));
	subtest "what is recorded of: $case" => sub {
		is($got->{response_status}, $want->{status}, 'the status') unless $want->{any} || $want->{any_status};
		if ($want->{error}) { like($got->{error}, $want->{error}, 'the reason'); }
		elsif (!$want->{any}) { is($got->{error}, undef, 'it is a success'); }
		like($got->{error} // 'ok', qr/^[ -~]{2,255}$/, 'the reason is one line of plain text');
		if (ref $want->{body}) { like($got->{response_body}, $want->{body}, 'the body as valid text'); }
		elsif (defined $want->{body}) { is($got->{response_body}, $want->{body}, 'the body'); }
		ok($got->{truncated}, 'that the body was cut') if $want->{truncated};
		cmp_ok(length($got->{response_body} // ''), '<=', 4096, 'no more of the body than the setting allows');
		ok(!grep { /[^ -~]/ } %{ $got->{headers} // {} }, 'headers in plain text');
	};
}

# What is behind the rows, beyond what one case is about
my %row = map { $_->{webhook_id} => $_ } sql_rows($node,
	'select webhook_id, response_body, response_headers::jsonb as headers, octet_length(response_headers::text) as header_bytes
	   from musicverse.webhook_attempts where attempt = 1');
is($row{ $id{'1xx'} }{headers}{'x-final'}, 'yes', 'the final response counts');
ok(!exists $row{ $id{'1xx'} }{headers}{'x-interim'}, 'and nothing of the interim ones');
is($row{ $id{'bad-utf8'} }{headers}{'x-odd'}, '??(', 'bytes beyond ASCII in a header become question marks');
is($row{ $id{'gzip-bomb'} }{headers}{'content-encoding'}, 'gzip', 'a compressed body is recognisable');
unlike($row{ $id{'gzip-bomb'} }{response_body}, qr/^\x{fffd}?\0*$/, 'and is not decompressed');
is($row{ $id{'a letter at the cut'} }{response_body}, 'a' x 4095 . "\x{fffd}", 'a body cut within a letter is still text');
cmp_ok($row{ $id{'the same header 3000 times'} }{header_bytes}, '<=', 40000, 'of the headers a bounded part is kept');
is( sql($node, 'select count(*) from musicverse.webhook_attempts
                 where convert_from(convert_to(coalesce(response_body, $$$$) || coalesce(error, $$$$) || coalesce(response_headers::text, $$$$) ||
                       request_headers::text, $$UTF8$$), $$UTF8$$) is null'),
	0, 'all that is recorded is valid UTF-8');
is($receiver->stats('redirect-redirected')->{received}, 0, 'a redirect is not followed');

# A stranger's wait is bounded by the schedule
foreach my $case ('a wait of 10^30 seconds', 'a wait that is no number')
{
	is( sql($node, "select next_attempt_at between now() and now() + interval '61 minutes' from musicverse.deliveries where webhook_id = '$id{$case}'"),
		't', "$case: the next attempt is within the schedule");
}

# An answer that comes unasked must not be taken for that of the next request
my $smuggler = webhook("http://127.0.0.1:$raw->{port}/smuggle");
foreach my $round (1 .. 3)
{
	sql($node, "insert into musicverse.tracks (user_id, title) select user_id, 'x' from musicverse.webhook_endpoints where id = '$smuggler'");
	wait_for_sql($node, "select count(*) from musicverse.webhook_attempts where webhook_id = '$smuggler'", $round, 20, "attempt $round");
}
is( sql($node, "select string_agg(coalesce(response_status::text, error), ',') from musicverse.webhook_attempts where webhook_id = '$smuggler'"),
	'200,200,200', 'a second response behind the first is not the answer to the next request');

# All that failed goes out again, to receivers that now behave
my @failed = grep { $cases{$_}{error} } keys %cases;
sql($node, "select musicverse.advance_clock('2 hours')");
foreach my $case (sort @failed)
{
	eval { wait_for_sql($node, "select string_agg(distinct status::text, '') from musicverse.deliveries where webhook_id = '$id{$case}'", 'd', 30, $case); 1 }
	  or diag $@;
	is( sql($node, "select string_agg(status::text || attempt_count::text, ' ') from musicverse.deliveries where webhook_id = '$id{$case}'"),
		'd2', "$case: the second attempt delivers it");
}

# The cap is a setting
foreach my $cap (0, 1000, 200000)
{
	sql($node, "alter system set musicverse.max_response_body = $cap");
	$node->reload;
	wait_for(sub { sql($node, 'show musicverse.max_response_body') =~ /^(?:0|1000B|200000B)$/ && sql($node, 'select setting from pg_settings where name = $$musicverse.max_response_body$$') == $cap }, 10, 'the reload');
	my $name = "endless-$cap";
	$receiver->control($name, { mode => 'endless' });
	my $webhook = webhook($receiver->url($name));
	my $bytes = "select coalesce(octet_length(response_body), 0) from musicverse.webhook_attempts where webhook_id = '$webhook' order by started_at desc limit 1";
	# the worker may not have read the setting yet: send until it shows
	wait_for(sub {
		my $before = sql($node, "select count(*) from musicverse.webhook_attempts where webhook_id = '$webhook'");
		sql($node, "insert into musicverse.tracks (user_id, title) select user_id, 'x' from musicverse.webhook_endpoints where id = '$webhook'");
		wait_for_sql($node, "select count(*) > $before from musicverse.webhook_attempts where webhook_id = '$webhook'", 't', 20, 'an attempt');
		return sql($node, $bytes) == $cap;
	}, 30, "a body cut at $cap bytes");
	is(sql($node, $bytes), $cap, "max_response_body = $cap keeps so many bytes of an endless body");
}

is(sql($node, 'select pid from musicverse.worker_status'), $pid, 'the worker is still the same process');
my $log = slurp_file($node->logfile);
unlike($log, qr/terminated by signal|PANIC:|TRAP:/, 'nothing crashed');
unlike($log, qr/musicverse delivery worker.*(?:ERROR|WARNING|FATAL):/, 'the worker had nothing to complain about');

done_testing();

# A webhook of a user of its own
sub webhook
{
	my ($url, $timeout) = @_;
	my $id = sql($node, sprintf 'select id from musicverse.create_webhook(%s, %s, $${*}$$)', lit(user(++$users)), lit($url));
	sql($node, sprintf 'select musicverse.update_webhook(%s, %s)', lit($id), lit({ timeout => $timeout })) if $timeout;
	return $id;
}

# A receiver that answers the first request for /N with the bytes of answer N,
# pouring "then" behind them until the sender goes away, and later ones with a
# plain 200. One process a connection.
sub raw_receiver
{
	my $self = { answers => [] };
	my $listener = IO::Socket::INET->new(Listen => 100, LocalAddr => '127.0.0.1', LocalPort => 0) or die "listen: $!";
	$self->{port} = $listener->sockport;
	$self->{seen} = PostgreSQL::Test::Utils::tempdir();
	$self->{start} = sub {
		my $parent = $$;
		$self->{pid} = fork // die "fork: $!";
		return if $self->{pid};
		$SIG{CHLD} = $SIG{PIPE} = 'IGNORE';
		$SIG{TERM} = sub { POSIX::_exit(0) };
		$SIG{ALRM} = sub { POSIX::_exit(0) if getppid() != $parent; alarm 1 };
		alarm 1;
		while (1)
		{
			my $client = $listener->accept or next;
			next if fork;
			alarm 120;
			$SIG{ALRM} = 'DEFAULT';
			raw_answers($self, $client);
			POSIX::_exit(0);
		}
	};
	return $self;
}

sub raw_answers
{
	my ($self, $client) = @_;
	while (my $line = <$client>)
	{
		my ($path) = $line =~ m{^POST /(\S+)} or return;
		my $length = 0;
		while (defined($line = <$client>) && $line =~ /\S/) { $length = $1 if $line =~ /^content-length: (\d+)/i; }
		read $client, (my $body), $length;
		my $plain = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
		if ($path eq 'smuggle')
		{
			syswrite $client, "${plain}HTTP/1.1 500 Smuggled\r\nContent-Length: 0\r\n\r\n";
			next;
		}
		if (!mkdir "$self->{seen}/$path")
		{
			syswrite $client, $plain;
			next;
		}
		my $answer = $self->{answers}[$path];
		syswrite $client, $answer->{bytes};
		if (my $then = $answer->{then}) { while (defined syswrite $client, $then) { } }
		# all has to be read before the end is seen, which a reset would forestall
		shutdown $client, 1;
		my $rest;
		1 while sysread $client, $rest, 65536;
		return;
	}
}

END
{
	local $?;
	if ($raw && $raw->{pid}) { kill TERM => $raw->{pid}; waitpid $raw->{pid}, 0; }
}

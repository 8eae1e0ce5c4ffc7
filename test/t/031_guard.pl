# Which targets are refused: by the text of their URL when a webhook is made,
# and by the address that is really dialled, whatever their name meant before.
# Then nothing is sent there, and the attempt says why. And a name service that
# never answers holds up its own deliveries only.
#
# The second half needs a network where every address is this machine and a
# name service that lies: it is skipped where namespaces are not to be had.
BEGIN { require MusicVerse::Namespace; MusicVerse::Namespace::enter(); }
use MusicVerse::Test;
use Time::HiRes qw(time);

my $node = new_cluster('main',
	'musicverse.databases'        => 'postgres, victim',
	'musicverse.allow_http'       => 'off',
	'musicverse.allowed_networks' => '',
	'musicverse.retry_schedule'   => '1h,1h,1h',
	'musicverse.connect_timeout'  => '8s');
my $user = user(1);
sql($node, "select musicverse.set_tier('$user', 'enterprise')");
sql($node, 'update musicverse.tiers set max_webhooks = 1000');

# ---- by the text --------------------------------------------------------

my @refused = (
	# plain text, credentials, other schemes
	[ 'http://example.com/',                 'is not encrypted' ],
	[ 'HTTP://example.com/',                 'is not encrypted' ],
	[ 'https://user:password@example.com/',  'contains credentials' ],
	[ 'https://user@example.com/',           'contains credentials' ],
	[ 'https://example.com@127.0.0.1/',      'contains credentials' ],
	[ 'https://:@example.com/',              'contains credentials' ],
	(map { [ $_, 'has the scheme' ] } 'gopher://example.com/_x', 'ftp://example.com/', 'dict://example.com:11211/stats',
		'ldap://example.com/', 'smb://example.com/x', 'telnet://example.com/', 'ws://example.com/', 'unix://var/run/docker.sock',
		'https+unix://x/'),
	(map { [ $_, 'is not a complete URL|has the scheme|malformed' ] } 'file:///etc/passwd', 'file://localhost/etc/passwd', 'unix:/tmp/x.sock',
		'/tmp/x.sock', 'javascript:alert(1)', 'https://', 'https:///path', '', 'https:/127.0.0.1', 'https:127.0.0.1', 'https:\\\\127.0.0.1',
		'http+unix://%2Fvar%2Frun%2Fdocker.sock/x', 'https://[::1', 'https://example.com:99999/', 'https://example.com:x/'),
	[ 'https://example.com\\@127.0.0.1/', 'contains credentials' ],
	# (the rest of a message behind a line end is not looked at)
	[ "https://example.com/\r\nHost: 127.0.0.1", 'webhook URL' ],
	(map { [ $_, 'contains a blank, a control character or a letter beyond ASCII' ] } 'https://exa mple.com/', "https://example.com\t/", "https://example.com/\x7f",
		"https://127\x{3002}0\x{3002}0\x{3002}1/", "https://\x{2460}\x{2461}\x{2466}.0.0.1/"),
	[ 'https://example.com/' . 'x' x 2048, 'is longer than 2048 bytes' ],
	# addresses, in all the ways to write them
	(map { [ "https://$_/", 'leads to a loopback address' ] } qw(127.0.0.1 127.0.0.1. 127.255.255.254 127.1 127.0.1 2130706433
		0x7f000001 0X7F.1 0x7f.0x0.0x0.0x1 017700000001 0177.0.0.01 127.0x0.0.1 %31%32%37.0.0.1 [::1] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1]
		[::ffff:7f00:1] [0:0:0:0:0:ffff:127.0.0.1] [64:ff9b::127.0.0.1] [64:ff9b::7f00:1]
		localhost LOCALHOST localhost. app.localhost ip6-localhost)),
	(map { [ "https://$_/", 'leads to a private address' ] } qw(10.0.0.1 10.1 167772161 0xa000001 012.0.0.1 172.16.0.1 172.31.255.255
		192.168.0.1 192.168.1 [fc00::1] [fdff::1] [::ffff:10.0.0.1] [::ffff:c0a8:1] [64:ff9b::10.0.0.1])),
	(map { [ "https://$_/", 'leads to a link-local address' ] } qw(169.254.169.254 2852039166 0xa9fea9fe 0251.0376.0251.0376 [fe80::1]
		[::ffff:169.254.169.254] [64:ff9b::a9fe:a9fe])),
	(map { [ "https://$_/", 'leads to a (6to4|Teredo|IPv4-compatible|IPv4-translated|local NAT64) address' ] } qw([2002:7f00:1::1] [2002:a00:1::]
		[2001:0:4136:e378:8000:63bf:80ff:fffe] [::127.0.0.1] [::ffff:0:127.0.0.1] [64:ff9b:1::127.0.0.1])),
	(map { [ "https://$_->[0]/", "leads to a $_->[1]" ] } [ '0.0.0.0', 'unspecified' ], [ '0', 'unspecified' ], [ '[::]', 'unspecified' ],
		[ '100.64.0.1', 'shared address' ], [ '224.0.0.1', 'multicast' ], [ '[ff02::1]', 'multicast' ], [ '240.0.0.1', 'reserved' ],
		[ '255.255.255.255', 'broadcast' ], [ '198.18.0.1', 'benchmarking' ], [ '192.0.2.1', 'documentation' ], [ '[2001:db8::1]', 'documentation' ],
		[ '[fec0::1]', 'site-local' ]),
	[ 'https://[fe80::1%25lo]/', 'leads to a|is not a complete URL' ]);

subtest 'URLs that create_webhook refuses' => sub {
	foreach my $case (@refused)
	{
		my ($url, $why) = @$case;
		my $error = sql_error($node, sprintf 'select * from musicverse.create_webhook(%s, %s, $${*}$$)', lit($user), lit(utf8_bytes($url)));
		my $shown = substr utf8_bytes($url), 0, 60;
		$shown =~ s/[^ -~]/?/g;
		like(($error // {})->{message} // 'it was taken', qr/$why/, $shown) or next;
		is($error->{sqlstate}, '22023', "$shown: the SQLSTATE of a bad value");
		ok($error->{hint}, "$shown: a hint");
		unlike("$error->{message} " . ($error->{detail} // ''), qr/password/, "$shown: no password in the message");
	}
};
is(sql($node, 'select count(*) from musicverse.webhook_endpoints'), 0, 'nothing came of a refused URL');

foreach my $url ('https://example.com/hooks', 'https://93.184.216.34/', 'https://[2606:4700:4700::1111]:8443/', 'https://127.0.0.1.example.com/',
	'https://example.com/?x=@127.0.0.1', 'https://172.15.255.255/', 'https://[::ffff:8.8.8.8]/')
{
	is(sql_error($node, sprintf 'select * from musicverse.create_webhook(%s, %s, $${*}$$)', lit($user), lit($url)), undef, "taken: $url");
}
my $changed = sql($node, "select id from musicverse.webhooks where url = 'https://example.com/hooks'");
foreach my $url ('https://127.1/', 'http://example.com/', 'file:///etc/passwd', 'https://user@example.com/')
{
	is((sql_error($node, sprintf 'select musicverse.update_webhook(%s, %s)', lit($changed), lit({ url => $url })) // {})->{sqlstate},
		'22023', "update_webhook refuses $url as well");
}
sql($node, 'select musicverse.delete_webhook(id) from musicverse.webhooks');

sub utf8_bytes { my ($text) = @_; utf8::encode($text) if utf8::is_utf8($text); return $text; }

# ---- by the address that is dialled -------------------------------------

# name => [ answers, reason, can anything be dialled there at all? ]
my %target = (
	private10     => [ { a => ['10.1.2.3'] },                  'private address',     1 ],
	private172    => [ { a => ['172.16.5.5'] },                'private address',     1 ],
	private192    => [ { a => ['192.168.1.1'] },               'private address',     1 ],
	loopback      => [ { a => ['127.0.0.1'] },                 'loopback address',    1 ],
	'loopback-2'  => [ { a => ['127.200.0.9'] },               'loopback address',    1 ],
	metadata      => [ { a => ['169.254.169.254'] },           'link-local address',  1 ],
	cgnat         => [ { a => ['100.64.0.1'] },                'shared address (carrier-grade NAT)', 1 ],
	unspecified   => [ { a => ['0.0.0.0'] },                   'unspecified address', 1 ],
	reserved      => [ { a => ['240.0.0.1'] },                 'reserved address',    0 ],
	multicast     => [ { a => ['224.0.0.1'] },                 'multicast address',   0 ],
	broadcast     => [ { a => ['255.255.255.255'] },           'broadcast address',   0 ],
	benchmark     => [ { a => ['198.18.0.1'] },                'benchmarking address', 1 ],
	loopback6     => [ { aaaa => ['::1'] },                    'loopback address',    1 ],
	unspecified6  => [ { aaaa => ['::'] },                     'unspecified address', 1 ],
	private6      => [ { aaaa => ['fd00::1'] },                'private address',     1 ],
	'link-local6' => [ { aaaa => ['fe80::1'] },                'link-local address',  0 ],
	multicast6    => [ { aaaa => ['ff02::1'] },                'multicast address',   0 ],
	mapped        => [ { aaaa => ['::ffff:10.1.2.3'] },        'private address',     1 ],
	'mapped-loop' => [ { aaaa => ['::ffff:127.0.0.1'] },       'loopback address',    1 ],
	nat64         => [ { aaaa => ['64:ff9b::10.1.2.3'] },      'private address',     1 ],
	'nat64-loop'  => [ { aaaa => ['64:ff9b::127.0.0.1'] },     'loopback address',    1 ],
	'nat64-local' => [ { aaaa => ['64:ff9b:1::1'] },           'local NAT64 address', 1 ],
	'6to4'        => [ { aaaa => ['2002:a01:203::1'] },        '6to4 address',        1 ],
	teredo        => [ { aaaa => ['2001:0:4136:e378:8000:63bf:80ff:fffe'] }, 'Teredo address', 1 ],
	compatible    => [ { aaaa => ['::10.1.2.3'] },             'IPv4-compatible address', 1 ],
	'two-bad'     => [ { a => [ '10.1.2.3', '192.168.1.1' ], aaaa => ['::1'] }, '(?:private|loopback) address', 1 ],
	# public when it was looked up first, private when it is dialled
	rebound       => [ [ { a => ['93.184.216.34'] }, { a => ['10.1.2.3'] } ], 'private address', 1 ]);
my %names = map { ("$_.test" => $target{$_}[0]) } keys %target;

SKIP:
{
	skip(MusicVerse::Namespace::missing(), 1) if MusicVerse::Namespace::missing();

	my $dns = MusicVerse::Namespace->start_dns({ %names,
		'public.test'  => { a => ['93.184.216.34'] },
		'public6.test' => { aaaa => ['2606:4700:4700::1111'] },
		'mixed.test'   => { a => [ '93.184.216.34', '10.1.2.3' ] },
		'mixed6.test'  => { a => ['10.1.2.3'], aaaa => ['2606:4700:4700::1111'] },
		map { ("silent$_.test" => 'silence') } 1 .. 30 });
	my $everywhere = MusicVerse::Namespace->start_listener('::');
	my $inside     = MusicVerse::Namespace->start_listener('10.1.2.3');
	my $port       = $everywhere->port;

	configure('musicverse.allow_http' => 'on');
	my $pid = wait_for(sub { sql($node, 'select pid from musicverse.worker_status') }, 30, 'the worker to start');

	my ($error, @found) = Socket::getaddrinfo('rebound.test', 80, { family => Socket::AF_INET(), socktype => Socket::SOCK_STREAM() });
	is($error ? "$error" : join(' ', map { Socket::inet_ntoa((Socket::unpack_sockaddr_in($_->{addr}))[1]) } @found),
		'93.184.216.34', 'a check before the connection finds a public address');

	my %id = map { $_ => webhook("http://$_.test:$port/") } keys %target;
	event();
	wait_for_sql($node, 'select count(distinct webhook_id) from musicverse.webhook_attempts', scalar keys %target, 60, 'all attempts');
	foreach my $name (sort keys %target)
	{
		my ($records, $reason) = @{ $target{$name} };
		my $row = sql_row($node, "select error, response_status, remote_addr from musicverse.webhook_attempts where webhook_id = '$id{$name}'");
		my $quoted = $reason =~ /^\(\?:/ ? $reason : quotemeta $reason;
		like($row->{error}, qr/^address [0-9a-f.:]+ refused: $quoted$/, "$name: the attempt says what was refused and why");
		is($row->{remote_addr}, undef, "$name: nothing was dialled");
	}
	is(join(' ', $everywhere->connections), '', 'no connection arrived from all of these, though somebody listens there');
	is( sql($node, 'select count(*) from musicverse.deliveries where status = $$p$$ and attempt_count = 1 and next_attempt_at > now()'),
		scalar keys %target, 'refused deliveries wait for another attempt');
	sql($node, 'select musicverse.disable_webhook(id) from musicverse.webhooks');

	# Public addresses are dialled, in both families
	my %public = map { $_ => webhook("http://$_.test:$port/") } qw(public public6);
	event();
	delivered($public{$_}, "$_: a public address is dialled") foreach sort keys %public;
	is(join(' ', sort $everywhere->connections), '2606:4700:4700::1111 93.184.216.34', 'and nothing but these');
	sql($node, 'select musicverse.disable_webhook(id) from musicverse.webhooks');

	# One of several addresses: what is refused isn't dialled when the others fail
	my %mixed = map { $_ => webhook("http://$_.test:" . $inside->port . '/') } qw(mixed mixed6);
	event();
	foreach my $name (sort keys %mixed)
	{
		wait_for_sql($node, "select count(*) from musicverse.webhook_attempts where webhook_id = '$mixed{$name}'", 1, 20, "$name to fail");
		like(sql($node, "select error from musicverse.webhook_attempts where webhook_id = '$mixed{$name}'"),
			qr/^could not connect to (?:93\.184\.216\.34|2606:4700:4700::1111) port \d+: connection refused$/,
			"$name: the address that may be dialled is reported");
	}
	is(join(' ', $inside->connections), '', 'the other one was not dialled in its place');

	# Where the owner allows it, the same deliveries arrive: so it was the guard
	configure('musicverse.allowed_networks' => '0.0.0.0/0, ::/0');
	sql($node, 'select musicverse.enable_webhook(id) from musicverse.webhooks');
	sql($node, "select musicverse.advance_clock('2 hours')");
	delivered($id{$_}, "$_: arrives when its network is allowed") foreach grep { $target{$_}[2] } sort keys %target;
	delivered($mixed{$_}, "$_: arrives when its network is allowed") foreach sort keys %mixed;
	sql($node, 'select musicverse.delete_webhook(id) from musicverse.webhooks');
	configure('musicverse.allowed_networks' => '');

	# ---- a name service that never answers ----

	my @silent  = map { webhook("http://silent$_.test:$port/") } 1 .. 20;
	my $healthy = webhook("http://public.test:$port/");
	event();
	wait_for(sub { (grep { /^silent/ } map { s/ .*//r } $dns->queries) >= 20 }, 20, 'the names to be asked for');
	event() foreach 1 .. 5;
	wait_for_sql($node, "select count(*) from musicverse.deliveries where webhook_id = '$healthy' and status = 'd'", 6, 30, 'the healthy webhook');
	is( sql($node, "select count(*) from musicverse.webhook_attempts where webhook_id = any ('{" . join(',', @silent) . "}')"),
		0, 'while names are not answered, others are delivered to');
	wait_for_sql($node, "select count(distinct webhook_id) from musicverse.webhook_attempts where webhook_id = any ('{" . join(',', @silent) . "}')",
		20, 60, 'the attempts to time out');
	is( sql($node, "select count(*) from musicverse.webhook_attempts where webhook_id = any ('{" . join(',', @silent) . "}')
	                 and error !~ '^timed out after [0-9]+ ms while resolving\$'"),
		0, 'each of them ends after its time-out and says that the name was not resolved');
	sql($node, 'select musicverse.delete_webhook(id) from musicverse.webhooks');

	# The worker of another database is asked to go while it waits for a name
	configure('musicverse.connect_timeout' => '10min', 'musicverse.request_timeout' => '10min');
	sql($node, 'create database victim');
	my $victim = [ $node, 'victim' ];
	sql($victim, 'create extension musicverse');
	sql($victim, sprintf 'select musicverse.create_webhook(%s, %s, $${*}$$)', lit($user), lit("http://silent21.test:$port/"));
	sql($victim, "select musicverse.emit_event('$user', 'track.created', '{}')");
	asked($dns, 'silent21.test');
	my $before = time;
	sql($node, 'drop database victim');
	cmp_ok(time - $before, '<', 20, 'DROP DATABASE does not wait for the name service');

	is(sql($node, 'select pid from musicverse.worker_status'), $pid, 'the worker is still the same process');

	webhook("http://silent22.test:$port/");
	event();
	asked($dns, 'silent22.test');
	$before = time;
	$node->stop('fast');
	cmp_ok(time - $before, '<', 20, 'nor does a shutdown');
	unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC:|TRAP:/, 'nothing crashed');
	$_->stop foreach $dns, $everywhere, $inside;
}

done_testing();

sub webhook
{
	my ($url) = @_;
	return sql($node, sprintf 'select id from musicverse.create_webhook(%s, %s, $${*}$$)', lit($user), lit($url));
}

sub event { sql($node, "select musicverse.emit_event('$user', 'track.created', '{}')"); }

sub asked
{
	my ($dns, $name) = @_;
	wait_for(sub { grep { /^\Q$name\E / } $dns->queries }, 30, "the name server to be asked for $name");
}

# Also the worker has to have read it: its settings are ours as soon as a new
# session has them, since the postmaster tells its children first
sub configure
{
	my (%settings) = @_;
	sql($node, sprintf 'alter system set %s = %s', $_, $_ =~ /networks/ && $settings{$_} =~ /,/ ? join(', ', map { lit(s/^ //r) } split /,/, $settings{$_}) : lit($settings{$_}))
	  foreach sort keys %settings;
	$node->reload;
	foreach my $name (keys %settings)
	{
		(my $shown = $settings{$name}) =~ s/^$/^\$/;
		wait_for(sub { sql($node, "show $name") eq $settings{$name} }, 20, "$name to be read");
	}
}

sub delivered
{
	my ($webhook, $what) = @_;
	my $done = eval { wait_for_sql($node, "select string_agg(distinct status::text, '') from musicverse.deliveries where webhook_id = '$webhook'", 'd', 30, $what) };
	diag $@ unless $done;
	ok($done, $what);
}

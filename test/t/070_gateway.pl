# The gateway in ordinary use: the API, files, probes and metrics by HTTP::Tiny
# and curl, behind a proxy and without one.
use MusicVerse::Test;
use MusicVerse::Gateway;

use File::Path qw(make_path);
use IO::Compress::Gzip qw(gzip);

my $www = PostgreSQL::Test::Utils::tempdir() . '/www';
make_path("$www/sub/deep");
sub put { my ($name, $text) = @_; open my $file, '>:raw', "$www/$name" or die "$name: $!"; print $file $text; close $file; }
put('index.html',      "<!doctype html><title>home</title>\n");
put('sub/index.html',  "<!doctype html><title>sub</title>\n");
put('app.js',          'x' x 100_000);
put('a b.txt',         "with a space\n");
put('empty.css',       '');
put('.secret',         'secret');
put('big.bin',         'y' x 3_000_000);
put('../outside.txt',  'outside');
gzip(\('x' x 100_000), \my $zipped);
put('app.js.gz', $zipped);
symlink "$www/../outside.txt", "$www/link.txt";
symlink '/etc', "$www/etc";
mkdir "$www/.git";
put('.git/config', 'secret');
system 'mkfifo', "$www/pipe";

my $node = gateway_cluster('main',
	'musicverse.gateway_workers'       => 2,
	'musicverse.gateway_document_root' => $www,
	'musicverse.trusted_proxies'       => '127.0.0.9, 10.0.0.0/8');
my $port = gateway_port($node);
my $base = base($port);

sub get { my ($path, $headers) = @_; return http('GET', "$base$path", undef, $headers); }

sub set
{
	my (%conf) = @_;
	set_conf($node, map { ("musicverse.$_" => $conf{$_}) } keys %conf);
	$node->reload;
	wait_for_sql($node, "show musicverse.$_", $conf{$_}, 10, 'the reload') foreach keys %conf;
}

# ---- probes

is(get('/healthz')->{content}, qq({"status":"ok"}\n), '/healthz');
my $ready = wait_for(sub { my $r = get('/readyz'); $r->{status} == 200 ? $r : undef }, 30, 'the server to be ready');
is_deeply(from_json($ready->{content}),
	{ status => 'ok', checks => { database => 'writable', extension => 'present', delivery_workers => '1 of 1', usage_worker => 'running' } }, '/readyz');
is_deeply(sql_json($node, 'select musicverse.health()'), from_json($ready->{content}), 'health() says the same');
is(http('HEAD', "$base/healthz")->{status}, 200, 'HEAD works too');
is(http('DELETE', "$base/healthz")->{status}, 405, 'nothing else does');

# ---- the API is the dispatcher's

my $answer = get('/api/v1/nothing');
isnt($answer->{status}, 599, 'the API answers');
ok($answer->{content} =~ /^\{/, 'in JSON');
is(run_curl("$base/api/v1/nothing"), $answer->{status}, 'also to curl');
isnt(run_curl('-X', 'POST', '-d', '{"a": 1}', "$base/api/v1/nothing"), '000', 'which may bring something');

sub run_curl
{
	my ($stdout, $stderr);
	IPC::Run::run([ 'curl', '-s', '-o', '/dev/null', '-w', '%{http_code}', @_ ], '>', \$stdout, '2>', \$stderr);
	return $stdout;
}

# ---- what a worker keeps from request to request ends with a change that another process makes

my ($user, $other) = map { "00000000-0000-4000-8000-00000000070$_" } 1, 2;
sql($node, "select musicverse.set_tier('$_', 'enterprise')") foreach $user, $other;
my $job = sql($node, "insert into musicverse.generation_jobs (user_id, prompt) values ('$user', 'a battle') returning id");
my $key = sql($node, "select key from musicverse.create_api_key('$user', 'kept', '{jobs:read}')");

# The statuses of many requests, each of a connection of its own, so that every worker is asked
sub statuses
{
	my %seen;
	$seen{ get("/api/v1/jobs/$job", { 'x-api-key' => $key })->{status} }++ foreach 1 .. 12;
	return join ' ', sort keys %seen;
}

is(statuses(), '200', 'a job is shown to its user');
foreach my $change (
	[ 'create policy t_none on musicverse.generation_jobs as restrictive for select using (false)', '404', 'a policy' ],
	[ 'drop policy t_none on musicverse.generation_jobs', '200', 'none any more' ],
	[ 'revoke select on musicverse.generation_jobs from musicverse_api', '403', 'a right that is taken away' ],
	[ 'grant select on musicverse.generation_jobs to musicverse_api', '200', 'and given back' ],
	[ 'revoke execute on function musicverse._viewer() from musicverse_api', '403', 'that of a function in the policy' ],
	[ 'grant execute on function musicverse._viewer() to musicverse_api', '200', 'given back too' ],
	[ "update musicverse.generation_jobs set user_id = '$other' where id = '$job'", '404', 'another owner' ])
{
	sql($node, $change->[0]);
	is(statuses(), $change->[1], "from the next request on: $change->[2]");
}

# ---- files

my $page = get('/');
is($page->{content}, "<!doctype html><title>home</title>\n", 'the index page');
is($page->{headers}{'content-type'}, 'text/html; charset=utf-8', 'as HTML');
like($page->{headers}{'content-security-policy'}, qr/^default-src 'self'/, 'with a policy for its content');
is($page->{headers}{'x-content-type-options'}, 'nosniff', 'types are not guessed');
like($page->{headers}{etag}, qr/^"[0-9a-f]+-[0-9a-f]+-[0-9a-f]+"$/, 'it has a strong tag');
is(get('/', { 'if-none-match' => $page->{headers}{etag} })->{status}, 304, 'by which it need not be sent again');
is(get('/', { 'if-none-match' => qq("other", W/$page->{headers}{etag}) })->{status}, 304, 'also in a list');
is(get('/', { 'if-none-match' => '*' })->{status}, 304, 'or any');
is(get('/', { 'if-none-match' => '"other"', 'if-modified-since' => $page->{headers}{'last-modified'} })->{status}, 200, 'another tag wants it');
is(get('/', { 'if-modified-since' => $page->{headers}{'last-modified'} })->{status}, 304, 'so does its date');
put('index.html', "<!doctype html><title>Home</title>\n");
isnt(get('/')->{headers}{etag}, $page->{headers}{etag}, 'a file that changed has another tag');

is(get('/sub/')->{content}, "<!doctype html><title>sub</title>\n", 'a folder has its index');
my $moved = get('/sub?a=b');
is("$moved->{status} $moved->{headers}{location}", '308 /sub/?a=b', 'and is asked for with a slash');
is(get('//sub')->{status}, 404, 'never on another server');
is(get('/a%20b.txt')->{content}, "with a space\n", 'names are decoded');
is(get('/a%20b.txt')->{headers}{'content-type'}, 'text/plain; charset=utf-8', 'text has its charset');
my $empty = get('/empty.css');
is("$empty->{status} $empty->{headers}{'content-length'} $empty->{headers}{'content-type'}", '200 0 text/css; charset=utf-8', 'an empty file');
is(length(get('/big.bin')->{content}), 3_000_000, 'a large one');
is(get('/big.bin')->{headers}{'content-type'}, 'application/octet-stream', 'of no known type');
my $head = http('HEAD', "$base/big.bin");
is("$head->{status} $head->{headers}{'content-length'}", '200 3000000', 'HEAD tells its length');
is(http('POST', "$base/app.js", 'x')->{status}, 405, 'files are only read');

my $plain = get('/app.js');
is($plain->{content}, 'x' x 100_000, 'a script');
is($plain->{headers}{vary}, 'Accept-Encoding', 'may differ by encoding');
foreach my $accept ('gzip', 'br, gzip', 'gzip;q=0.5', 'GZIP', 'deflate, gzip ; q=1')
{
	my $small = get('/app.js', { 'accept-encoding' => $accept });
	ok(($small->{headers}{'content-encoding'} // '') eq 'gzip' && $small->{content} eq $zipped, "its compressed twin goes to who takes \"$accept\"");
	is($small->{headers}{'content-type'}, 'text/javascript; charset=utf-8', 'as the same type');
}
foreach my $accept ('br', 'gzip;q=0', 'gzipped', 'identity, gzip;q=0.0')
{
	is(get('/app.js', { 'accept-encoding' => $accept })->{headers}{'content-encoding'}, undef, "not to who takes \"$accept\"");
}

my @paths = qw(/.secret /.git/config /link.txt /etc/passwd /../outside.txt /sub/../../outside.txt /%2e%2e/outside.txt /sub/%2e%2e/%2e%2e/outside.txt
  /..%2foutside.txt /%2e%2e%2foutside.txt /sub%2f..%2f..%2foutside.txt /..%5coutside.txt /..\\outside.txt /%00 /index.html%00.txt /%c0%ae%c0%ae/outside.txt
  /%zz /% /%2 /pipe /sub/deep/ /nothing /index.html/ /sub/./index.html /./index.html);
push @paths, '/' . join('/', ('sub') x 100), '/' . 'a' x 300;
foreach my $path (@paths)
{
	my $one = ask($port, "GET $path HTTP/1.1\r\nHost: a\r\n\r\n");
	is($one->{status}, 404, (length $path > 40 ? substr($path, 0, 40) . '…' : $path) . ' is not served');
}
unlike(join('', map { ask($port, "GET $_ HTTP/1.1\r\nHost: a\r\n\r\n")->{body} } @paths), qr/secret|outside|root:/, 'and nothing leaks');

# ---- proxies

set(gateway_access_log => 'on');
my $serial = 0;

# The address that the gateway takes for the client's
sub seen
{
	my ($from, @headers) = @_;
	my $mark = 'mark' . ++$serial;
	ask($port, join("\r\n", "GET /$mark HTTP/1.1", 'Host: a', @headers, '', ''), from => $from);
	my ($address) = slurp_file($node->logfile) =~ /access: (\S+) "GET \/$mark"/;
	return $address;
}
is(seen('127.0.0.1'), '127.0.0.1', 'without a proxy the peer is the client');
is(seen('127.0.0.1', 'X-Forwarded-For: 1.2.3.4'), '127.0.0.1', 'who is not trusted is not believed');
is(seen('127.0.0.9', 'X-Forwarded-For: 1.2.3.4'), '1.2.3.4', 'a trusted proxy is');
is(seen('127.0.0.9', 'X-Forwarded-For: 6.6.6.6, 1.2.3.4'), '1.2.3.4', 'what the client made up is not');
is(seen('127.0.0.9', 'X-Forwarded-For: 6.6.6.6, 1.2.3.4, 10.1.1.1'), '1.2.3.4', 'proxies that are trusted are passed over');
is(seen('127.0.0.9', 'X-Forwarded-For: 6.6.6.6', 'X-Forwarded-For: 1.2.3.4'), '1.2.3.4', 'the last header counts');
is(seen('127.0.0.9', 'X-Forwarded-For: 1.2.3.4', 'X-Forwarded-For: 10.1.1.1'), '1.2.3.4', 'and the one before where that names proxies only');
is(seen('127.0.0.9', 'X-Forwarded-For: 10.2.2.2, 10.1.1.1'), '10.2.2.2', 'where all are proxies the first one asked');
is(seen('127.0.0.9', 'X-Forwarded-For: 1.2.3.4, nonsense'), '127.0.0.9', 'nonsense ends the list');
is(seen('127.0.0.9', 'X-Forwarded-For: [2001:db8::1]:443'), '2001:db8::1', 'IPv6 with a port');
is(seen('127.0.0.9', 'X-Forwarded-For: 1.2.3.4:5678'), '1.2.3.4', 'IPv4 with a port');
is(seen('127.0.0.9', 'X-Forwarded-For: ::ffff:1.2.3.4'), '1.2.3.4', 'IPv4 within IPv6');
set(gateway_access_log => 'errors');
ask($port, "GET /healthz?errors-only HTTP/1.1\r\nHost: a\r\n\r\n");
get('/not-there');
wait_for(sub { slurp_file($node->logfile) =~ /"GET \/not-there" 404/ }, 10, 'the log');
my ($tail) = slurp_file($node->logfile) =~ /.*gateway_access_log" changed to "errors"(.*)/s;
unlike($tail, qr/healthz/, 'the log holds errors only when told so');

# ---- https only

set(require_https => 'on');
is(get('/api/v1/x')->{status}, 403, 'by http the API is refused');
is(get('/healthz')->{status}, 200, 'probes are not');
my $redirect = get('/sub/?a=b');
is("$redirect->{status} $redirect->{headers}{location}", "308 https://127.0.0.1:$port/sub/?a=b", 'pages are redirected');
is(http('POST', "$base/sub/", 'x')->{status}, 403, 'unless they are not just read');
is(ask($port, "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n")->{status}, 308, 'who is not trusted can not claim https');
is(ask($port, "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\r\n", from => '127.0.0.9')->{status}, 200, 'a trusted proxy can');
is(ask($port, "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https, http\r\n\r\n", from => '127.0.0.9')->{status}, 308, 'and say that it was not');
set(require_https => 'off');

# ---- metrics

my $metrics = get('/metrics');
is($metrics->{headers}{'content-type'}, 'text/plain; version=0.0.4; charset=utf-8', '/metrics');
is(ask($port, "GET /metrics HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n", from => '127.0.0.9')->{status}, 403, 'is not for everybody');
is(ask($port, "GET /metrics HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n")->{status}, 403, 'nor for who comes by a proxy that is not trusted');
is(ask($port, "GET /metrics HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n", from => '127.0.0.9')->{status}, 200, 'a trusted proxy may bring it to who is allowed');

my (%value, %type);
my $bad = 0;
foreach my $line (split /\n/, $metrics->{content})
{
	if    ($line =~ /^# TYPE (\S+) (counter|gauge|histogram)$/) { $bad++ if $type{$1}++; }
	elsif ($line =~ /^# HELP \S+ \S.*$/) { }
	elsif ($line =~ /^([a-z_]+)(\{(?:[a-z]+="(?:[^"\\\n]|\\[\\"n])*",?)*\})? (\d+(?:\.\d+)?)$/) { $value{"$1" . ($2 // '')} = $3; }
	else { $bad++; diag("bad line: $line"); }
}
is($bad, 0, 'every line has the format');
cmp_ok($value{'musicverse_http_requests_total{operation="healthz",status="2xx"}'}, '>=', 3, 'requests are counted by operation and status');
cmp_ok($value{'musicverse_http_requests_total{operation="none",status="4xx"}'}, '>=', 10, 'so are those of nobody');
is($value{'musicverse_http_request_duration_seconds_bucket{operation="healthz",le="+Inf"}'}, $value{'musicverse_http_request_duration_seconds_count{operation="healthz"}'},
	'histograms add up');
is($value{'musicverse_gateway_up{worker="1"}'}, 1, 'any worker tells of all');
is($value{'musicverse_delivery_worker_up{database="postgres",worker="0"}'}, 1, 'also of the delivery workers');
is($value{$_} // 'missing', 0, "$_ is there") foreach qw(musicverse_rate_limit_no_room_total musicverse_usage_dropped_total);
my $sum = 0;
$sum += $value{$_} foreach grep { /^musicverse_http_requests_total/ } keys %value;
is($sum, $value{'musicverse_gateway_requests_total{worker="0"}'} + $value{'musicverse_gateway_requests_total{worker="1"}'}, 'both ways of counting agree');
SKIP:
{
	my ($out, $err) = ('', '');
	skip 'python3-prometheus-client is not installed', 1 unless IPC::Run::run([ '/usr/bin/python3', '-c', 'import prometheus_client.parser' ], '>', \$out, '2>', \$err);
	my $ok = IPC::Run::run([ '/usr/bin/python3', '-c', "import sys\nfrom prometheus_client.parser import text_string_to_metric_families as p\nprint(sum(len(f.samples) for f in p(sys.stdin.read())))" ],
		'<', \$metrics->{content}, '>', \$out, '2>', \$err);
	ok($ok && $out == keys %value, "Prometheus' own parser reads all of it") or diag($out, $err);
}
like(sql($node, 'select musicverse.metrics()'), qr/^# HELP musicverse_info/, 'metrics() tells the same');
is(sql_error($node, 'create role nobody; set role nobody; select musicverse.metrics()')->{sqlstate}, '42501', 'to those who may call it');
sql($node, q{create role service; select musicverse.expose_to('service')});
like(sql($node, 'set role service; select count(*) from musicverse.gateway_status; select left(musicverse.metrics(), 6); select musicverse.health() is not null'),
	qr/2\n# HELP\nt/, 'a service role may');

# ---- without files

set(gateway_document_root => '');
is_deeply([ @{ from_json(get('/')->{content}) }{qw(name openapi)} ], [ 'musicverse', '/api/v1/openapi.json' ], 'without files / points to the API');
is(get('/index.html')->{status}, 404, 'and nothing else is there');
is(get('/index.html')->{headers}{'content-type'}, 'application/problem+json', 'as a problem');

# ---- memory

my $pid = sub { sql($node, 'select pid from musicverse.gateway_status where worker = 0') };
set(gateway_workers => '1');
wait_for_sql($node, q{select count(*) from musicverse.gateway_status where state = 'listening'}, '1', 10, 'one worker');
my $rss = sub { my ($kb) = slurp_file('/proc/' . $pid->() . '/status') =~ /^RssAnon:\s+(\d+)/m; return $kb; };
my $many = sub {
	my ($n) = @_;
	my $socket = dial($port);
	foreach (1 .. $n / 100)
	{
		send_bytes($socket, "GET /api/v1/nothing?x=$_ HTTP/1.1\r\nHost: a\r\n\r\n" x 100);
		read_answer($socket) foreach 1 .. 100;
	}
};
$many->(2000);
my $before = $rss->();
$many->(8000);
cmp_ok($rss->() - $before, '<', 300, 'memory does not grow with requests');

done_testing();

# The edge function under real Deno against a real database: what comes in
# reaches handle_request() verbatim, and so does its answer the client, by both
# of its transports. What is the same at every door is in 091_doors.pl.
use MusicVerse::Test;
use MusicVerse::Api;
use Digest::SHA qw(hmac_sha256_hex sha256_hex);

MusicVerse::Api::deno() or plan skip_all => 'Deno is not installed in test/edge';

my $user = user(1);
my $node = new_cluster('main', listen_addresses => '127.0.0.1', 'musicverse.cors_allowed_origins' => '');
sql($node, "select musicverse.set_tier('$user', 'enterprise')");
my $key    = sql($node, "select key from musicverse.create_api_key('$user', 'edge')");
my $signed = sql($node, "select key from musicverse.create_api_key('$user', 'signed', require_signature => true)");
my $here   = sql($node, "select key from musicverse.create_api_key('$user', 'here', allowed_cidrs => '{203.0.113.0/24}')");
sql($node, q{
	create function musicverse_v1.regress_echo(text text default null) returns json language sql stable return json_build_object('text', text, 'length', length(text));
	insert into musicverse.routes (version, method, path, operation, summary, request_schema) values
		('v1', 'POST', '/api/v1/regress/echo', 'regress_echo', 'Echo', '{"type": "object", "properties": {"text": {"type": "string"}}}');
	grant execute on function musicverse_v1.regress_echo to musicverse_api;
});

my %bearer = (authorization => "Bearer $key");

# The same of both transports
sub ordinary
{
	my ($base, $how) = @_;

	my $me = http('GET', "$base/api/v1/me", undef, \%bearer);
	is($me->{status}, 200, "$how: a key is known");
	is(from_json($me->{content})->{user_id}, $user, 'as its user');
	like($me->{headers}{ratelimit}, qr/^"burst";r=\d+;t=\d+$/, 'RateLimit comes through');
	like($me->{headers}{'ratelimit-policy'}, qr/^"burst";q=\d+;w=\d+$/, 'so does its policy');
	is($me->{headers}{'content-type'}, 'application/json', 'and the type, untouched');

	my $none = http('GET', "$base/api/v1/me");
	is($none->{status}, 401, 'without a key it is refused');
	is($none->{headers}{'content-type'}, 'application/problem+json', 'by a problem');
	ok($none->{headers}{'www-authenticate'}, 'that says how to do better');

	my $echo = http('POST', "$base/api/v1/regress/echo", qq({"text": "tab\\t \\"quotes\\" \xc3\xa4\xf0\x9f\x8e\xb5"}), { %bearer, 'content-type' => 'application/json' });
	is_deeply(from_json($echo->{content}), { text => "tab\t \"quotes\" \x{e4}\x{1f3b5}", length => 16 }, 'a body arrives as it was sent') or diag($echo->{content});
	is(http('POST', "$base/api/v1/regress/echo", "\xef\xbb\xbf{}", { %bearer, 'content-type' => 'application/json' })->{status}, 400, 'also a mark of byte order, which is no JSON');
	is(http('POST', "$base/api/v1/regress/echo", "{\"text\": \"\xff\"}", { %bearer, 'content-type' => 'application/json' })->{status}, 400, 'what is not UTF-8 is refused');
	is(http('POST', "$base/api/v1/regress/echo", '{"text": "' . 'x' x 1100000 . '"}', { %bearer, 'content-type' => 'application/json' })->{status}, 413, 'so is what is too large');

	my $head = http('HEAD', "$base/api/v1/event-types?limit=1", undef, \%bearer);
	is("$head->{status} $head->{content}", '200 ', 'HEAD has no body');
	my $list = http('GET', "$base/api/v1/event-types?limit=2", undef, \%bearer);
	is(scalar @{ from_json($list->{content})->{data} }, 2, 'the query is passed on');
	my $scopes = http('GET', "$base/api/v1/scopes", undef, \%bearer);
	my $same = http('GET', "$base/api/v1/scopes", undef, { %bearer, 'if-none-match' => $scopes->{headers}{etag} });
	is("$same->{status} $same->{content}", '304 ', '304 has no body either');
	is(http('GET', "$base/api/v1/jobs/%2e%2e%2fme", undef, \%bearer)->{status}, 404, 'the path is not decoded on the way');
	is(http('DELETE', "$base/api/v1/me", undef, \%bearer)->{headers}{allow}, 'GET, HEAD, OPTIONS', '405 comes with Allow');

	my $webhook = from_json(http('POST', "$base/api/v1/webhooks", { url => 'https://hooks.example.com/', events => ['*'] }, \%bearer)->{content});
	my $deleted = http('DELETE', "$base/api/v1/webhooks/$webhook->{id}", undef, \%bearer);
	is("$deleted->{status} $deleted->{content}", '204 ', '204 has no body');

	# over method, path with query and body, as they were sent
	my $target = '/api/v1/regress/echo?x=%41%20';
	my $body   = qq({ "text" :  "\xc3\xa4" });
	my $sign   = sub {
		my ($ts) = @_;
		my $text = join "\n", 'v1', 'POST', '/api/v1/regress/echo', $ts, sha256_hex($body);
		return { authorization => "Bearer $signed", 'content-type' => 'application/json', 'x-timestamp' => $ts, 'x-signature' => 'v1=' . hmac_sha256_hex($text, $signed) };
	};
	my $ts   = time + 2;
	my $good = http('POST', "$base/api/v1/regress/echo", $body, $sign->($ts));
	is($good->{status}, 200, 'a signed request is verified behind the function') or diag($good->{content});
	is(http('POST', "$base/api/v1/regress/echo", $body, $sign->($ts))->{status}, 401, 'once');

	# the client's address: what our own proxy saw, not what the client said
	is(http('GET', "$base/api/v1/me", undef, { 'x-api-key' => $here, 'x-forwarded-for' => '198.51.100.1, 203.0.113.9' })->{status}, 200, 'the address that the proxy saw counts');
	is(http('GET', "$base/api/v1/me", undef, { 'x-api-key' => $here, 'x-forwarded-for' => '203.0.113.9, 198.51.100.1' })->{status}, 403, 'not one that the client made up');
	is(http('GET', "$base/api/v1/me", undef, { 'x-api-key' => $here })->{status}, 403, 'nor none');

	my $preflight = http('OPTIONS', "$base/api/v1/me", undef,
		{ origin => 'https://app.example.com', 'access-control-request-method' => 'GET', 'access-control-request-headers' => 'authorization' });
	is("$preflight->{status} $preflight->{headers}{'access-control-allow-origin'}", '204 *', 'pages of other origins may ask');
	is($preflight->{headers}{'access-control-allow-headers'}, 'authorization', 'with their headers');
	my $cors = http('GET', "$base/api/v1/me", undef, { %bearer, origin => 'https://app.example.com' });
	like($cors->{headers}{'access-control-expose-headers'}, qr/\bRateLimit\b.*\bRetry-After\b/, 'and may read what is left of the limit');
	ok(!exists $cors->{headers}{'access-control-allow-credentials'}, 'but cookies are nobody\'s');
	return;
}

my $port = $node->port;
my ($pid, $base) = MusicVerse::Api::start_edge('connection', MUSICVERSE_DB_URL => "postgres://postgres\@127.0.0.1:$port/postgres?user=" . scalar(getpwuid($>)));
ordinary($base, 'a connection of its own');

# ---- the database goes and comes back

my $log = "$PostgreSQL::Test::Utils::log_path/connection.log";
$node->stop('fast');
my $gone = http('GET', "$base/api/v1/me", undef, \%bearer);
is("$gone->{status} $gone->{headers}{'retry-after'}", '503 1', 'without a database it says so');
unlike($gone->{content}, qr/ECONN|127\.0|postgres/, 'and no more than that');
like(slurp_file($log), qr/ECONNREFUSED|CONNECTION_ENDED|shutting down|terminating/i, 'which is in its log');
$node->start;
wait_for(sub { http('GET', "$base/api/v1/me", undef, \%bearer)->{status} == 200 }, 30, 'the function to find the database again');
stop_process($pid);

# ---- by PostgREST's RPC, of which test/edge/postgrest.mjs plays the part

my ($rest_pid, $rest_out) = start_process('postgrest', 'node', "$root/test/edge/postgrest.mjs", $node->host, $port, scalar(getpwuid($>)));
my $rest = from_json(scalar <$rest_out>);
sql($node, q{
	create role service_role nologin; create role anon nologin; create role authenticated nologin;
	select musicverse.expose_to('service_role', 'authenticated', 'anon');
	grant execute on function musicverse_v1.regress_echo to musicverse_api;
});
($pid, $base) = MusicVerse::Api::start_edge('rpc', MUSICVERSE_TRANSPORT => 'rpc', SUPABASE_URL => "http://127.0.0.1:$rest->{port}", SUPABASE_SERVICE_ROLE_KEY => 'the-service-key');
ordinary($base, 'RPC');
my ($bad_pid, $bad) = MusicVerse::Api::start_edge('rpc_bad', MUSICVERSE_TRANSPORT => 'rpc', SUPABASE_URL => "http://127.0.0.1:$rest->{port}", SUPABASE_SERVICE_ROLE_KEY => 'wrong');
is(http('GET', "$bad/api/v1/me", undef, \%bearer)->{status}, 503, 'a wrong service key is the function\'s trouble, not the client\'s');

done_testing();

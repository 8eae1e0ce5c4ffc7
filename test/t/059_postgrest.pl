# The pre-request as PostgREST runs it: statement by statement over the extended
# protocol, on pooled connections, in its transactions, with Supabase's roles.
use MusicVerse::Test;
use MusicVerse::PostgREST;

my $node = new_cluster('main', 'musicverse.usage_flush_interval' => '1h', 'musicverse.anonymous_burst' => 3, 'musicverse.anonymous_refill' => 0.001);
my ($one, $two) = (user(1), user(2));

sql($node, q{
	create role anon nologin noinherit;
	create role authenticated nologin noinherit;
	create role service_role nologin noinherit bypassrls;
	create role backend nologin noinherit;
	create role authenticator login noinherit;
	grant anon, authenticated, service_role, backend to authenticator;

	-- operations as they are written: as their caller, over row-level security
	create function musicverse_v1.whoami() returns json language sql stable set search_path = musicverse, pg_temp
		return json_build_object('user', musicverse.current_user_id(), 'role', current_user, 'service', musicverse.caller_is_service());
	create function musicverse_v1.my_tracks() returns setof musicverse.tracks language sql stable as 'select * from musicverse.tracks order by title';
	create function musicverse_v1.my_track(track_id uuid) returns json language plpgsql stable as $$
	declare
		result json := (select to_json(t) from musicverse.tracks t where t.id = track_id);
	begin
		if result is null then
			raise exception 'there is no track %', track_id using errcode = 'PT404', hint = 'List yours by my_tracks().';
		end if;
		return result;
	end $$;
	create function musicverse_v1.make(title text, times int default 1) returns json language sql volatile as $$
		select json_build_object('id', musicverse.create_webhook(musicverse.current_user_id(), 'https://hooks.example.com/' || title, '{*}')) from generate_series(1, times) limit 1 $$;
	create function musicverse_v1.echo(json) returns json language sql immutable as 'select $1';
	create function musicverse_v1.accepted() returns json language plpgsql stable set search_path = pg_catalog, pg_temp as $$
	begin
		perform set_config('response.status', '202', true),
			set_config('response.headers', jsonb_insert(current_setting('response.headers')::jsonb, '{0}', '{"X-Function": "yes"}')::text, true);
		return '{}';
	end $$;
	create function musicverse_v1.breaks() returns json language plpgsql stable as $$ begin return to_json(1 / 0); end $$;
	create function musicverse_v1.open() returns json language sql stable as $$ select '"open"'::json $$;
	create function musicverse_v2.whoami() returns json language sql stable return json_build_object('version', 2);
	create schema api;
	grant usage on schema api to anon, authenticated, service_role;
	create function api.charts() returns json language sql stable as $$ select '["a"]'::json $$;
	create function api.pre_request() returns void language plpgsql as $$
	begin
		perform set_config('response.headers', '[{"Cache-Control": "no-store"}]', true);
		perform musicverse.pre_request();
	end $$;

	insert into musicverse.routes (version, method, path, operation, scope, cost, needs_key, summary) values
		('v1', 'GET', '/t/whoami', 'whoami', null, 1, false, 'x'), ('v1', 'GET', '/t/tracks', 'my_tracks', 'tracks:read', 1, true, 'x'),
		('v1', 'GET', '/t/track', 'my_track', 'tracks:read', 1, true, 'x'), ('v1', 'POST', '/t/make', 'make', 'webhooks:write', 5, true, 'x'),
		('v1', 'POST', '/t/echo', 'echo', null, 1, true, 'x'), ('v1', 'GET', '/t/accepted', 'accepted', null, 1, true, 'x'),
		('v1', 'GET', '/t/breaks', 'breaks', null, 1, true, 'x'), ('v1', 'GET', '/t/open', 'open', null, 1, false, 'x'),
		('v2', 'GET', '/t/whoami', 'whoami', 'usage:read', 2, true, 'x');
	select musicverse.expose_to('service_role', 'authenticated', 'anon'), musicverse.expose_to('backend')});
sql($node, "insert into musicverse.tiers (name, burst, refill_per_second, max_api_keys, max_webhooks, max_concurrent_jobs) values ('slow', 1000, 0.001, 50, 50, 1), ('tiny', 3, 0.05, 5, 5, 1)");
sql($node, "select musicverse.set_tier('$_', 'slow')") foreach $one, $two;
sql($node, "insert into musicverse.tracks (user_id, title) values ('$one', 'First'), ('$one', 'Second'), ('$two', 'Theirs')");
sub key { my ($user, $rest) = @_; return sql_row($node, "select id, key from musicverse.create_api_key('$user', 'k'" . ($rest // '') . ')'); }
my $key     = key($one);
my $other   = key($two);
my $reading = key($one, ", '{tracks:read}'");
my $api     = MusicVerse::PostgREST->new($node, $root);

sub with { my ($k, %more) = @_; return { host => 'api.example.com', accept => '*/*', 'user-agent' => 'curl/8.5.0', 'X-API-Key' => $k->{key}, %more }; }

# ---- a key, whatever the transaction

my $got = $api->get('whoami', {}, with($key));
is_deeply($got->{body}, { user => $one, role => 'anon', service => JSON::PP::false }, 'GET: a caller by key is its user, in the anonymous role');
is($got->{status}, 200, 'it succeeds');
is($got->{headers}{'RateLimit-Policy'}, '"burst";q=1000;w=1000000', 'RateLimit-Policy is a structured field');
like($got->{headers}{RateLimit}, qr/^"burst";r=999;t=1000$/, 'RateLimit as well');
like($got->{headers}{'X-Request-Id'}, qr/^[0-9a-f-]{36}$/, 'the request has an id');
is($api->get('whoami', {}, with($key, 'X-Request-Id' => 'mine-1'))->{headers}{'X-Request-Id'}, 'mine-1', 'or its own');
$got = $api->get('whoami', {}, with($key), method => 'HEAD');
is($got->{status}, 200, 'HEAD');
like($got->{headers}{RateLimit}, qr/r=997/, 'takes a token too');
is(join(' ', map { $_->{title} } @{ $api->get('my_tracks', {}, with($key), set => 1)->{body} }), 'First Second', 'a set holds its own rows');
is(join(' ', map { $_->{title} } @{ $api->get('my_tracks', {}, with($other), set => 1)->{body} }), 'Theirs', 'the next on the connection sees its own');
$got = $api->post('make', { title => 'a' }, with($key), types => { title => 'text' });
is($got->{status}, 200, 'POST: a function that writes');
is(sql($node, "select count(*) from musicverse.webhooks where user_id = '$one'"), '1', 'has written for the user of the key');
is($api->post('whoami', '{}', with($key), volatile => 0)->{body}{user}, $one, 'POST to a stable function reads only');
is_deeply($api->post('echo', '{"a": [1, "ä"]}', with($key), unnamed => 1, volatile => 0)->{body}, { a => [ 1, "\x{e4}" ] }, 'the body as one unnamed argument');
is($api->get('make', { title => 'b' }, with($key), types => { title => 'text' })->{status}, 405, 'GET of a function that writes fails in its read-only transaction');
is($api->get('whoami', {}, with($key), schema => 'musicverse_v2')->{body}{version}, 2, 'the other version by its schema');
is($api->get('whoami', {}, { authorization => "Bearer $key->{key}" })->{body}{user}, $one, 'a key as a Bearer is one, should it ever arrive');

# ---- headers of the function, of another pre-request

$got = $api->get('accepted', {}, with($key));
is($got->{status}, 202, 'the function sets its status');
is($got->{headers}{'X-Function'}, 'yes', 'and adds a header');
like($got->{headers}{RateLimit}, qr/^"burst"/, 'to ours');
my $hosted = MusicVerse::PostgREST->new($node, $root, pre_request => '"api"."pre_request"');
$got = $hosted->get('whoami', {}, with($key));
is_deeply([ map { keys %$_ } @{ $got->{list} } ], [ 'Cache-Control', 'RateLimit-Policy', 'RateLimit', 'X-Request-Id' ], 'the headers of the host\'s own pre-request are kept');
is($got->{body}{user}, $one, 'around which ours works');

# ---- refusals

sub refused
{
	my ($answer, $status, $code, $name) = @_;
	is("$answer->{status} $answer->{body}{code}", "$status $code", $name);
	return $answer;
}
$got = refused($api->get('my_tracks', {}, {}, set => 1), 401, 'missing', 'no key');
like($got->{headers}{'WWW-Authenticate'}, qr/^ApiKey /, 'which says how');
like($got->{body}{hint}, qr/X-API-Key/, 'and where');
refused($api->get('my_tracks', {}, { 'x-api-key' => 'mvai_x' }, set => 1), 401, 'malformed', 'a key that is none');
refused($api->get('my_tracks', {}, { 'x-api-key' => substr($key->{key}, 0, 42) . (substr($key->{key}, 42) eq 'a' ? 'b' : 'a') }, set => 1), 401, 'malformed', 'a key with a typo');
refused($api->post('make', { title => 'x' }, with($reading), types => { title => 'text' }), 403, 'scope', 'a key without the scope');
is(scalar @{ $api->get('my_tracks', {}, with($reading), set => 1)->{body} }, 2, 'which has another one');
my $old = key($one);
is($api->get('whoami', {}, with($old))->{status}, 200, 'a key works');
sql($node, "select musicverse.revoke_api_key('$old->{id}')");
refused($api->get('whoami', {}, with($old)), 401, 'revoked', 'until it is revoked, on any connection');
my $signed = key($one, ', require_signature => true');
$got = refused($api->get('whoami', {}, with($signed, 'X-Signature' => 'v1=' . '0' x 64, 'X-Timestamp' => time)), 401, 'signature', 'signatures can\'t be verified here');
like($got->{body}{hint}, qr/gateway/, 'which says where');
refused($api->get('whoami', {}, {}, raw_headers => '{"x-api-key": '), 400, 'headers', 'headers that are no JSON');

my $tiny = user(3);
sql($node, "select musicverse.set_tier('$tiny', 'tiny')");
my $few = key($tiny);
is(scalar(grep { $api->get('whoami', {}, with($few))->{status} == 200 } 1 .. 3), 3, 'a burst of three');
$got = refused($api->get('whoami', {}, with($few)), 429, 'rate_limited', 'and no more');
my ($t) = $got->{headers}{RateLimit} =~ /^"burst";r=0;t=(\d+)$/;
ok(defined $t && $got->{headers}{'Retry-After'} =~ /^\d+$/ && $got->{headers}{'Retry-After'} >= $t && $t >= 1 && $t <= 20, 'Retry-After is in whole seconds, never earlier than t');
is($got->{headers}{'RateLimit-Policy'}, '"burst";q=3;w=60', 'the policy is told');
sql($node, "select musicverse.advance_clock('$got->{headers}{'Retry-After'} seconds')");
is($api->get('whoami', {}, with($few))->{status}, 200, 'after Retry-After it goes on');
refused($api->post('make', { title => 'x' }, with($few), types => { title => 'text' }), 429, 'rate_limited', 'what costs more than the limit');

# ---- errors of functions: the connection goes on, nobody's rights are left

$got = $api->get('my_track', { track_id => user(99) }, with($key), types => { track_id => 'uuid' });
is("$got->{status} $got->{body}{message}", '404 there is no track ' . user(99), 'an error of a function is its own');
is($api->get('breaks', {}, with($key))->{status}, 400, 'as is a failure');
refused($api->get('my_tracks', {}, {}, set => 1), 401, 'missing', 'after it the connection has no caller');
is($api->get('whoami', {}, {})->{body}{user}, undef, 'nobody is nobody');
is_deeply($api->get('open', {}, {})->{headers}{RateLimit}, undef, 'nor headers of the one before');
is($api->statement('select current_setting($1, true) as s', 'response.headers')->{rows}[0]{s}, '', 'nothing is set between requests');
is($api->get('whoami', {}, with($key), end => 'ABORT')->{body}{user}, $one, 'Prefer: tx=rollback');
is($api->get('whoami', {}, {})->{body}{user}, undef, 'leaves nobody either');
is($api->statement('select current_user as u')->{rows}[0]{u}, 'authenticator', 'the role has ended too');

# ---- tokens and service roles, as in Supabase

my %jwt = (role => 'authenticated', claims => { sub => $two, aud => 'authenticated' });
$got = $api->get('my_tracks', {}, {}, set => 1, %jwt);
is(join(' ', map { $_->{title} } @{ $got->{body} }), 'Theirs', 'a user with a token is who it says');
like($got->{headers}{RateLimit}, qr/^"burst";r=999;/, 'with limits of its own');
is($api->get('whoami', {}, with($key), %jwt)->{body}{user}, $one, 'with a key as well it is the key\'s user');
my %service = (role => 'service_role', claims => { iss => 'supabase' });
is_deeply($api->get('whoami', {}, {}, %service)->{body}, { user => undef, role => 'service_role', service => JSON::PP::true }, 'a service role is one');
is($api->get('my_tracks', {}, {}, set => 1, %service)->{status}, 200, 'is not held up where a key is needed');
refused($api->get('my_tracks', {}, with($key), set => 1, %service), 403, 'role', 'one that bypasses row-level security can\'t call by a key');
$got = $api->get('whoami', {}, with($key), role => 'backend');
is_deeply($got->{body}, { user => $one, role => 'backend', service => JSON::PP::false }, 'another one with a key is the key\'s user and no service');
is(scalar @{ $api->get('my_tracks', {}, with($key), set => 1, role => 'backend')->{body} }, 2, 'and sees what that user sees');
is(scalar @{ $api->get('my_tracks', {}, {}, set => 1, role => 'backend')->{body} }, 3, 'without one all');
is(sql($node, "select musicverse.caller_is_service()"), 't', 'which lasts no longer');

# ---- the host's own functions and tables

refused($api->get('charts', {}, with($reading), schema => 'api'), 403, 'scope', 'a path that nobody knows is refused to a key with scopes');
is($api->get('charts', {}, with($key), schema => 'api')->{status}, 200, 'not to a key without');
is($api->get('charts', {}, {}, schema => 'api')->{status}, 200, 'nor to those whom its grants let in');
sql($node, "insert into musicverse.request_scopes (path, scope, cost) values ('/rpc/charts', 'tracks:read', 7)");
$got = $api->get('charts', {}, with($reading), schema => 'api');
is($got->{status}, 200, 'once it is known it is let through, at once on every connection');
my ($left) = $got->{headers}{RateLimit} =~ /r=(\d+)/;
($got) = $api->get('charts', {}, with($reading), schema => 'api')->{headers}{RateLimit} =~ /r=(\d+)/;
is($left - $got, 7, 'at its cost');

# ---- addresses

is(scalar(grep { $api->get('open', {}, { 'x-forwarded-for' => '203.0.113.9' })->{status} == 200 } 1 .. 10), 10, 'without trusted proxies no header tells an address');
set_conf($node, 'musicverse.trusted_proxies' => '10.0.0.0/8, fd00::/8');
$node->reload;
wait_for(sub { defined $api->get('open', {}, { 'x-forwarded-for' => '203.0.113.1' })->{headers}{RateLimit} }, 30, 'the reload');
my @from = map { "$_, 203.0.113.9, fd00::7, 10.1.2.3" } '1.1.1.1', '2.2.2.2', 'x', '10.0.0.9', '', '::1';
is(scalar(grep { $api->get('open', {}, { 'x-forwarded-for' => $_ })->{status} == 200 } @from), 3, 'an address has its limit, whatever it says of those before it');
$got = refused($api->get('open', {}, { 'x-forwarded-for' => '203.0.113.9:4711, 10.0.0.1' }), 429, 'rate_limited', 'with a port too');
like($got->{headers}{'RateLimit-Policy'}, qr/^"address";q=3;/, 'by the policy for addresses');
is($api->get('open', {}, { 'x-forwarded-for' => '203.0.113.10' })->{status}, 200, 'others have theirs');
my $net = key($one, ", '{}', null, '{198.51.100.0/24, 2001:db8::/32}'");
is($api->get('whoami', {}, with($net, 'x-forwarded-for' => $_->[0]))->{status}, $_->[1], "a key with networks from $_->[0]")
  foreach [ '198.51.100.7', 200 ], [ '::ffff:198.51.100.7, 10.0.0.1', 200 ], [ '[2001:db8::1]:443', 200 ], [ '198.51.100.7, 203.0.113.10', 403 ], [ 'unknown', 403 ], [ '', 403 ];

# ---- usage: one call each, by what became of it

sql($node, 'select musicverse.flush_usage()');
my %usage = map { ("$_->{operation} $_->{status_class}" => $_) }
  sql_rows($node, "select operation, status_class, sum(calls)::int as calls, sum(refused)::int as refused, count(key_id) as keys from musicverse.api_usage group by 1, 2");
is($usage{'make 2'}{calls}, 1, 'a call that was committed is a success');
is($usage{'make 4'}{calls}, 3, 'one that failed or was refused is not');
is($usage{'make 4'}{refused}, 2, 'refusals are told apart');
is($usage{'breaks 4'}{calls}, 1, 'a function\'s error is counted');
is($usage{'accepted 2'}{calls}, 1, 'a status of the function\'s own too');
is($usage{'/rpc/charts 2'}{calls}, 2, 'the host\'s own are counted under their path');
is($usage{'other 2'}{calls}, 2, 'the rest together');
is(sql($node, "select count(*) from musicverse.api_usage where operation = 'my_tracks' and status_class = 2 and key_id = '$reading->{id}' and user_id = '$one'"), '1', 'by key and user');
cmp_ok(sql($node, "select max(duration_us) from musicverse.api_usage where operation = 'whoami'"), '>', 0, 'with their duration');

# ---- every operation that is shipped, as PostgREST calls it

my %version = (v1 => 'musicverse_v1', v2 => 'musicverse_v2');
my @operations = sql_rows($node, q{
	select r.version, r.operation, r.needs_key, p.provolatile <> 'v' as reads, p.prorettype = 'void'::regtype as nothing
	  from musicverse.routes r join pg_proc p on p.proname = r.operation and p.pronamespace = ('musicverse_' || r.version)::regnamespace
	 where r.is_shipped and p.pronargs = p.pronargdefaults order by 1, 2});
cmp_ok(scalar(grep { $_->{needs_key} } @operations), '>', 10, 'operations that can be called without arguments');
foreach my $operation (@operations)
{
	my %where = (schema => $version{ $operation->{version} });
	my $call = sub { return $operation->{reads} ? $api->get($operation->{operation}, {}, @_) : $api->post($operation->{operation}, '{}', @_); };
	my $answer = $call->(with($other), %where);
	my $expected = ($answer->{error}{sqlstate} // '') eq 'PT501' ? 501 : 200;
	is($answer->{status}, $expected, "$operation->{version} $operation->{operation} by key") or diag(json($answer));
	unlike(json($answer), qr/$one/, 'shows nothing of another user');
	$answer = $call->({}, %where);
	is($answer->{status}, $operation->{needs_key} ? 401 : 200, '... without one') or diag(json($answer));
}
my $made = $api->post('create_webhook', { url => 'https://hooks.example.com/rest', events => ['track.*'] }, with($other), types => { url => 'text', events => 'text[]' });
is($made->{status}, 200, 'a webhook is made') or diag(json($made));
is($api->get('get_webhook', { webhook_id => $made->{body}{id} }, with($other), types => { webhook_id => 'uuid' })->{status}, 200, 'its owner sees it');
is($api->get('get_webhook', { webhook_id => $made->{body}{id} }, with($key), types => { webhook_id => 'uuid' })->{status}, 404, 'nobody else does');
is($api->get('get_webhook', { webhook_id => $made->{body}{id} }, {}, types => { webhook_id => 'uuid' }, role => 'authenticated', claims => { sub => $two })->{status}, 200, 'its owner by token');
is($api->get('get_webhook', { webhook_id => $made->{body}{id} }, {}, types => { webhook_id => 'uuid' }, role => 'authenticated', claims => { sub => $one })->{status}, 404, 'and again nobody else');
$got = $api->post('update_track', { track_id => user(99), title => 'x' }, with($other), types => { track_id => 'uuid', title => 'jsonb' });
is($got->{status}, 404, 'what is not there can\'t be changed') or diag(json($got));
refused($api->post('create_webhook', { url => 'https://hooks.example.com/rest', events => ['track.*'] }, with($reading), types => { url => 'text', events => 'text[]' }), 403, 'scope', 'not by a key without the scope');

# ---- many connections, one key: exactly its burst

my $crowd = user(4);
sql($node, "update musicverse.tiers set burst = 40, refill_per_second = 0.0001 where name = 'tiny'; select musicverse.set_tier('$crowd', 'tiny')");
my $shared = key($crowd);
my @pool   = map { MusicVerse::PostgREST->new($node, $root) } 1 .. 4;
my $passed = 0;
foreach my $n (1 .. 60)
{
	$passed++ if $pool[$n % 4]->get('whoami', {}, with($shared))->{status} == 200;
}
is($passed, 40, 'connections share the limit of a key');
$_->quit foreach @pool, $hosted, $api;

done_testing();

# The dispatcher among other sessions: answers that are kept, the role that
# operations run as, roles that change, settings, signatures, what is counted.
# What a client meets at every door, races too, is in 091_doors.pl.
use MusicVerse::Test;
use Digest::SHA qw(hmac_sha256_hex);

my $node = new_cluster('main', max_connections => 100, 'musicverse.anonymous_burst' => 0, -extension => 0);
my $user = user(1);

# ---- two databases make the role at once --------------------------------

sql($node, 'create database one');
sql($node, 'create database two');
my @both = map { session([ $node, $_ ]) } qw(one two);
$_->query_until(qr/under way/, "set client_min_messages = warning;\n\\echo under way\ncreate extension musicverse;\n") foreach @both;
is($_->query_safe(q(select count(*) from pg_extension where extname = 'musicverse')), '1', 'the extension is made in two databases at once') foreach @both;
$_->quit foreach @both;
is(sql($node, q(select rolcanlogin::text || rolsuper || rolinherit from pg_roles where rolname = 'musicverse_api')), 'falsefalsefalse',
	'the role they share can do nothing by itself');
sql($node, 'drop database one');
sql($node, 'drop database two');
sql($node, 'create extension musicverse');
is(sql($node, q(select count(*) from musicverse.exposed_roles)), '0', 'it is none of the host');
is(sql($node, q(select has_table_privilege('musicverse_api', 'musicverse.tracks', 'select') and has_function_privilege('musicverse_api', 'musicverse.create_webhook(uuid,text,text[],text,jsonb)', 'execute')
	and not has_table_privilege('musicverse_api', 'musicverse.installation', 'select') and not has_any_column_privilege('musicverse_api', 'musicverse.idempotency_keys', 'select'))), 't',
	'and has what an authenticated role gets');

# ---- operations of our own ----------------------------------------------

sql($node, q{
	create table public.made (id serial, body text);
	grant all on public.made, public.made_id_seq to public;
	create function musicverse_v1.t_make(title text) returns json language plpgsql as $$
	declare made int;
	begin
		insert into public.made (body) values (title) returning id into made;
		return json_build_object('id', made);
	end $$;
	create function musicverse_v1.t_do(what text) returns json language plpgsql as $$ begin execute what; return '{}'; end $$;
	insert into musicverse.routes (version, method, path, operation, needs_key, status, summary, request_schema) values
		('v1', 'POST', '/t/make', 't_make', true, 201, 'x', '{}'), ('v1', 'POST', '/t/do', 't_do', false, 200, 'x', '{}');
	insert into musicverse.tiers (name, burst, refill_per_second, max_api_keys, max_webhooks, max_concurrent_jobs) values ('rest', 100000, 1000, 9, 9, 9);
});
sql($node, sprintf q(select musicverse.set_tier(%s, 'rest')), lit($user));
my $key = sql($node, sprintf q(select key from musicverse.create_api_key(%s, 'x')), lit($user));

sub call
{
	my ($method, $path, $headers, $body) = @_;
	my $answer = sql_row($node, sprintf 'select status, headers::text, body from musicverse.handle_request(%s, %s, null, %s, %s)',
		lit($method), lit($path), lit($headers // {}), lit($body));
	$answer->{headers} = from_json($answer->{headers});
	return $answer;
}

# ---- answers that are kept

is(call('POST', '/t/make', { 'X-API-Key' => $key, 'Idempotency-Key' => 'kept' }, '{"title": "one"}')->{status}, 201, 'an answer is kept') foreach 1, 2;
is(sql($node, 'select count(*) from public.made'), '1', 'so it is done once');

# kept answers go with time
sql($node, q(select musicverse.advance_clock('25 hours')));
wait_for_sql($node, 'select count(*) from musicverse.idempotency_keys', '0', 30, 'the worker to clear old answers away');

# ---- what goes wrong ----------------------------------------------------

# a cancel is nobody's answer, and leaves the session as it was
my $session = session($node);
my $pid = $session->query_safe('select pg_backend_pid()');
$session->query_until(qr/under way/, qq(\\echo under way\nselect status from musicverse.handle_request('POST', '/t/do', null, null, '{"what": "select pg_sleep(100)"}');\n));
wait_for_sql($node, "select count(*) from pg_stat_activity where pid = $pid and wait_event = 'PgSleep'", '1', 20, 'the operation to run');
sql($node, "select pg_cancel_backend($pid)");
is($session->query('select current_user, musicverse.caller_is_service(), musicverse.current_user_id() is null') =~ s/\n//gr, 'postgres|t|t', 'after a cancel the session is who it was');
like($session->{stderr}, qr/canceling statement due to user request/, 'who cancelled sees that');
$session->quit;

# ---- roles that change are seen at once ---------------------------------

sql($node, 'create role app_service; create role app_member; create role app_user; grant app_service to app_member');
sql($node, q(select musicverse.expose_to('app_service', 'app_user')));
my $member = session($node);
$member->query_safe('set role app_member');
my $asked = sub { return $member->query_safe('select musicverse.caller_is_service()') };
sql($node, 'grant usage on schema musicverse to app_member; grant execute on function musicverse.caller_is_service() to app_member');
is($asked->(), 't', 'a member of the service role is one');
sql($node, 'revoke app_service from app_member');
is($asked->(), 'f', 'until it is a member no more');
sql($node, 'grant app_service to app_member');
is($asked->(), 't', 'and again');
sql($node, q(delete from musicverse.exposed_roles where role_name = 'app_service'));
is($asked->(), 'f', 'nor when the role is no service role any more');
sql($node, q(insert into musicverse.exposed_roles values ('app_service', 'service')));
is($asked->(), 't', 'or becomes one');
$member->query_safe('begin; reset role; delete from musicverse.exposed_roles; set role app_member');
is($asked->(), 'f', 'its own change counts before it is committed');
$member->query_safe('rollback; set role app_member');
is($asked->(), 't', 'and not after it is undone');
$member->query_safe('reset role; alter role app_member superuser; set role app_member');
is($asked->(), 't', 'a superuser is one');
$member->quit;

# ---- routes that another session changes --------------------------------

my $kept = session($node);
my $look = sub { return $kept->query_safe(sprintf q(select status from musicverse.handle_request('POST', '%s', null, null, '{"what": "select 1"}')), $_[0]) };
is($look->('/t/do'), 200, 'a session knows a route');
sql($node, q(update musicverse.routes set path = '/t/done' where operation = 't_do'));
is($look->('/t/do') . $look->('/t/done'), '404200', 'and that it was changed by another');
sql($node, q(begin; update musicverse.routes set path = '/t/do' where operation = 't_do'; create or replace function musicverse_v1.t_do(what text) returns json language plpgsql as
	$$ begin execute what; return '{"new": true}'; end $$; commit));
is($look->('/t/do'), 200, 'as is its function');
is($kept->query_safe(q(select body from musicverse.handle_request('POST', '/t/do', null, null, '{"what": "select 1"}'))), '{"new": true}', 'which is the new one');
$kept->quit;

# ---- by the roles of the host -------------------------------------------

sql($node, q(create role app_anon; select musicverse.expose_to('app_service', 'app_user', 'app_anon');
	create function musicverse_v1.t_me() returns json language plpgsql stable set search_path = pg_catalog, pg_temp as $$
	begin return json_build_object('user', musicverse.current_user_id(), 'role', current_user); end $$;
	insert into musicverse.routes (version, method, path, operation, summary) values ('v1', 'GET', '/t/me', 't_me', 'x')));
foreach my $role (qw(app_service app_user app_anon))
{
	my $as = sub {
		my ($claims, $headers) = @_;
		return sql($node, sprintf q(begin read only; set local role %s; set local request.jwt.claims = %s;
			select status || ' ' || coalesce(body::json ->> 'user', '-') from musicverse.handle_request('GET', '/t/me', null, %s, null); commit), $role, lit($claims), lit($headers));
	};
	is($as->('', {}), '401 -', "$role: nobody without a key or a token");
	is($as->(json({ sub => user(7) }), {}), '200 ' . user(7), "$role: the user of the token");
	is($as->(json({ sub => user(7) }), { 'X-API-Key' => $key }), "200 $user", "$role: the user of the key before that of the token");
}
is(sql($node, sprintf q(begin; set local role app_anon; select status from musicverse.handle_request('POST', '/t/make', null, %s, '{"title": "anon"}'); commit),
	lit({ 'X-API-Key' => $key, 'Idempotency-Key' => 'anon' })), '201', 'a role that may write nothing lets the operation write, and its answer be kept');
is(sql($node, q(select count(*) from musicverse.idempotency_keys where key = 'anon')), '1', 'which it is');
is(sql_error($node, 'set role app_user; select * from musicverse.idempotency_keys')->{sqlstate}, '42501', 'and which it cannot see');

# ---- settings -----------------------------------------------------------

is(call('OPTIONS', '/t/do', { Origin => 'https://app.example', 'Access-Control-Request-Method' => 'POST' })->{headers}{'Access-Control-Allow-Origin'}, undef,
	'no origin is allowed by itself');
set_conf($node, 'musicverse.cors_allowed_origins' => 'https://app.example, https://b.example', 'musicverse.max_request_body' => '1kB');
$node->reload;
wait_for_sql($node, 'show musicverse.max_request_body', '1kB', 10, 'the settings to be read');
my $preflight = call('OPTIONS', '/t/do', { Origin => 'https://b.example', 'Access-Control-Request-Method' => 'POST', 'Access-Control-Request-Headers' => 'x-api-key' });
is($preflight->{status}, 204, 'a browser asks first');
is($preflight->{headers}{'Access-Control-Allow-Origin'}, 'https://b.example', 'and is told that its page may');
is($preflight->{headers}{'Access-Control-Allow-Methods'}, 'POST, OPTIONS', 'by which methods');
like($preflight->{headers}{'Access-Control-Allow-Headers'}, qr/Authorization.*Idempotency-Key.*X-API-Key/, 'with which headers');
is($preflight->{headers}{Vary}, 'Origin', 'and caches that it depends on the origin');
foreach my $origin ('https://evil.example', 'https://app.example.evil', 'null', '*', "https://app.example, https://b.example", '')
{
	is(call('OPTIONS', '/t/do', { Origin => $origin, 'Access-Control-Request-Method' => 'POST' })->{headers}{'Access-Control-Allow-Origin'}, undef, "\"$origin\" may not");
}
my $answered = call('POST', '/t/do', { Origin => 'https://app.example' }, '{"what": 1}');
is($answered->{headers}{'Access-Control-Allow-Origin'}, 'https://app.example', 'a refusal can be read by the page');
like($answered->{headers}{'Access-Control-Expose-Headers'}, qr/ETag.*Link.*RateLimit.*Retry-After.*X-Request-Id/, 'and the headers that matter');
is(call('POST', '/t/do', {}, '{"what": "' . 'x' x 1024 . '"}')->{status}, 413, 'a body is too large by the setting');
set_conf($node, 'musicverse.cors_allowed_origins' => '*');
$node->reload;
wait_for_sql($node, 'show musicverse.cors_allowed_origins', '*', 10, 'the setting to be read');
is(call('GET', '/t/nowhere', { Origin => 'https://any.example' })->{headers}{'Access-Control-Allow-Origin'}, '*', 'all origins may, when that is said');

# ---- signed requests ----------------------------------------------------

my $body = '{"what": "select 1"}';
my $signed = sub {
	my ($path, $secret, $ts, $sent) = @_;
	my $signature = sql($node, sprintf 'select musicverse.request_signature(%s, %s, %s, %d, %s)', lit($secret), lit('POST'), lit($path), $ts, lit($body));
	return call('POST', $path, { 'X-API-Key' => $key, 'X-Signature' => $signature, 'X-Timestamp' => "$ts" }, $sent // $body)->{status};
};
my $now = sql($node, 'select extract(epoch from now())::bigint');
$now = sql($node, 'select extract(epoch from musicverse._now())::bigint');
is($signed->('/t/do', $key, $now), 200, 'a signed request');
is($signed->('/t/do', $key, $now), 401, 'is good once');
is($signed->('/t/do?', $key, $now), 200, 'another target is another request');
is($signed->('/t/do', $key, $now - 1, '{"what": "select 2"}'), 401, 'another body is not what was signed');
is($signed->('/t/do', $key, $now - 400), 401, 'nor good when it is too old');
is($signed->('/t/do', 'other', $now - 2), 401, 'or by another secret');
is(call('POST', '/t/do', { 'X-API-Key' => $key, 'X-Signature' => 'x' }, $body)->{status}, 400, 'without its moment it cannot be told');
sql($node, 'update musicverse.api_keys set require_signature = true');
is(call('POST', '/t/do', { 'X-API-Key' => $key }, $body)->{status}, 401, 'a key that wants signatures takes nothing else');
is($signed->('/t/do', $key, $now - 3), 200, 'and takes those');

# ---- usage --------------------------------------------------------------

sql($node, 'select musicverse.flush_usage()');
is(sql($node, q(select string_agg(distinct operation, ',' order by operation) from musicverse.api_usage)), 'none,t_do,t_make,t_me', 'calls are counted by operation');
cmp_ok(sql($node, sprintf q(select sum(calls) from musicverse.api_usage where operation = 't_make' and user_id = %s), lit($user)), '>=', 3, 'and user');

done_testing();

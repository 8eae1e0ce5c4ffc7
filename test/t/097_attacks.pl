# What a hostile caller tried, and must not get.
use MusicVerse::Test;
use MusicVerse::Gateway;

my $node = new_cluster('main');
my $user = user(1);

sql($node, qq{
	create role anon nologin;
	create role authenticated nologin;
	create role service_role nologin;
	select musicverse.expose_to('service_role', 'authenticated', 'anon');
	insert into musicverse.tiers (name, burst, refill_per_second, max_api_keys, max_webhooks, max_concurrent_jobs) values ('test', 100000, 1000, 100, 100, 10);
	select musicverse.set_tier('$user', 'test');
});

sub key
{
	my (%with) = @_;
	return sql_row($node, sprintf q{select id, key from musicverse.create_api_key('%s', 'test', %s, %s, %s)},
		$user, lit($with{scopes} // '{}'), lit($with{expires_at}), lit($with{cidrs}));
}

# (status, body) of a request, after what is to be run in the same transaction
sub request
{
	my ($method, $path, %with) = @_;
	my $call = sprintf q{select json_build_object('status', status, 'headers', headers, 'body', body)
		from musicverse_v1.handle_request(%s, %s, null, %s, %s, %s)},
		lit($method), lit($path), lit({ ($with{key} ? ('x-api-key' => $with{key}) : ()), %{ $with{headers} // {} } }),
		lit(defined $with{body} ? ref $with{body} ? json($with{body}) : $with{body} : undef), lit($with{ip});
	my $answer = sql_json($node, sprintf "begin; do \$\$ begin perform 1; %s end \$\$; %s; %s; commit", $with{before} // '',
		$with{role} ? "set local role $with{role}" : 'select 1 where false', $call);
	$answer->{json} = length($answer->{body} // '') ? from_json($answer->{body}) : undef;
	return $answer;
}

# ---- an address of one's own choice

my $bound = key(cidrs => '{192.0.2.0/24}')->{key};
is(request('GET', '/api/v1/tracks', key => $bound, ip => '192.0.2.1')->{status}, 200, 'a service tells where a client is');
is(request('GET', '/api/v1/tracks', key => $bound, ip => '192.0.2.1', role => 'service_role')->{status}, 200, 'by whatever role');
foreach my $role (qw(anon authenticated))
{
	is(request('GET', '/api/v1/tracks', key => $bound, ip => '192.0.2.1', role => $role)->{status}, 403, "$role is not believed");
}
my $headers = q{perform set_config('request.headers', '{"x-forwarded-for": "192.0.2.1"}', true);};
is(request('GET', '/api/v1/tracks', key => $bound, role => 'anon', before => $headers)->{status}, 403, 'nor a header without a proxy that is trusted');
set_conf($node, 'musicverse.trusted_proxies' => '10.0.0.0/8');
$node->reload;
wait_for_sql($node, 'show musicverse.trusted_proxies', '10.0.0.0/8');
is(request('GET', '/api/v1/tracks', key => $bound, role => 'anon', before => $headers)->{status}, 200, "behind one PostgREST's header counts");
is(request('GET', '/api/v1/tracks', key => $bound, role => 'anon', ip => '192.0.2.1', before => $headers =~ s/192/198/r)->{status}, 403, 'and no argument');

# ---- a key that comes in by one door and asks at the next

my $reader = key(scopes => '{tracks:read}')->{key};
sql($node, q{insert into musicverse.request_scopes (path) values ('/rpc/*')});
my $by_key = sprintf q{
	perform set_config('request.headers', %s, true), set_config('request.method', 'POST', true), set_config('request.path', '/rpc/handle_request', true);
	perform musicverse.pre_request();}, lit(json({ 'x-api-key' => $reader }));
my $asked = request('POST', '/api/v1/api-keys', body => { name => 'mighty' }, role => 'anon', before => $by_key);
is($asked->{status}, 401, 'what a key may is not asked without the key');
is(request('POST', '/api/v1/api-keys', body => { name => 'mighty' }, role => 'anon', before => $by_key, key => $reader)->{status}, 403, 'nor with it, where it lacks the scope');
is(request('GET', '/api/v1/tracks', role => 'anon', before => $by_key, key => $reader)->{status}, 200, 'what it may, it may');
is(request('GET', '/api/v1/me', role => 'anon', before => $by_key)->{json}{key}{scopes}[0], 'tracks:read', 'where any key will do, it is still that key');

# ---- a key that is on its way out

my $leaked = key();
my $next = sql_value($node, qq{select key from musicverse.rotate_api_key('$leaked->{id}', '1 hour')});
is(request('GET', '/api/v1/tracks', key => $leaked->{key})->{status}, 200, 'a key that was rotated works for a while');
is(request('POST', '/api/v1/api-keys', key => $leaked->{key}, body => { name => 'heir' })->{status}, 403, 'but makes none that works for longer');
is(request('POST', "/api/v1/api-keys/$leaked->{id}/rotate", key => $leaked->{key}, body => {})->{status}, 403, 'and none by rotating itself');
my $soon = sql_value($node, q{select musicverse._api_time(now() + '10 minutes')});
is(request('POST', '/api/v1/api-keys', key => $leaked->{key}, body => { name => 'heir', expires_at => $soon })->{status}, 201, 'only for less');

# ---- numbers and headers without end

foreach my $number (qw(1e-99999999999999999999 1e99999999999999999999 -1E-9223372036854775808 1e-401))
{
	is(request('POST', '/api/v1/api-keys', key => $next, body => qq({"name": $number}))->{status}, 400, "the number $number is an answer, not an error");
}
is(request('GET', '/api/v1/tracks', key => $next, headers => { accept => [ ('*/*') x 900 ] })->{status}, 200, 'many headers are one list');
is(request('GET', '/api/v1/tracks', key => $next, headers => { accept => [ ('*/*') x 1000 ] })->{status}, 400, 'too many are refused');
is(request('GET', '/api/v1/tracks', key => $next, headers => { accept => [ ('x/' . 'y' x 9000) x 2 ] })->{status}, 400, 'and so are long ones');

# ---- somebody else's answer

my $hander = key(scopes => '{keys:write}')->{key};
my %retry = (headers => { 'idempotency-key' => 'deploy-1' }, body => { name => 'mighty' });
my $made = request('POST', '/api/v1/api-keys', key => $next, %retry);
is($made->{status}, 201, 'a key for every scope, made by one that may');
is(request('POST', '/api/v1/api-keys', key => $next, %retry)->{json}{key}, $made->{json}{key}, 'which gets the answer again');
is(request('POST', '/api/v1/api-keys', key => $hander, %retry)->{status}, 422, 'but not another key of the same user');

# ---- functions that change all the time

my $grown = sql($node, sprintf q{
	do $$ begin perform musicverse.handle_request('GET', '/api/v1/tracks', null, %1$s, null); end $$;
	select sum(total_bytes) as before from pg_backend_memory_contexts where name like 'musicverse route%%' \gset
	do $$ begin
		for i in 1..500 loop
			execute 'alter function musicverse_v1.list_tracks cost ' || 100 + i;
			perform musicverse.handle_request('GET', '/api/v1/tracks', null, %1$s, null);
		end loop;
	end $$;
	select sum(total_bytes) - :before from pg_backend_memory_contexts where name like 'musicverse route%%'}, lit({ 'x-api-key' => $next }));
is($grown, 0, 'what was known of a function that changed is forgotten');

# ---- a provider whose numbers fit into no memory

sql($node, q{select musicverse.configure_provider('evil', 'http://127.0.0.1:9', '{"token": "x", "callback_secret": "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}');
	select musicverse.set_provider_active('evil', false)});
my $job = sql($node, "select musicverse.generate('$user', 'x')");
sql($node, "update musicverse.generation_work set state = 'running', provider = 'evil', remote_id = 'gen_1', next_at = 'infinity' where job_id = '$job'");

sub called_back
{
	my ($document) = @_;
	return sql($node, sprintf q{
		with c as (select extract(epoch from now())::bigint as ts, %s as document),
			s as (select *, musicverse.sign_webhook('whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=', 'msg_' || md5(document), ts, document) as signature from c)
		select musicverse.provider_callback('evil', jsonb_build_object('webhook-id', 'msg_' || md5(document), 'webhook-timestamp', ts::text, 'webhook-signature', signature), document) from s},
		lit($document));
}
my $bomb = '{"id": "gen_1", "status": "succeeded", "result": {"audio_url": "https://a.example/1e2000", "metadata": [' . join(',', ('1e131000') x 9000) . ']}}';
is(called_back($bomb), 400, 'a callback of astronomic numbers is refused');
is(sql($node, sprintf q{select musicverse._settle_request('%s', 'evil', 'poll', 200, %s, null, false, null)}, $job, lit($bomb)), 'problem', 'an answer is nonsense');
is(called_back('{"id": "gen_1", "status": "running", "progress": 1.5e1, "note": "5e12345 \\" 1e9999"}'), 200, 'but not where strings look like them');
is(sql($node, "select progress from musicverse.generation_jobs where id = '$job'"), 15, 'and small ones count');

# ---- a catalogue of routes that is gone before the answer is sent

sql($node, q{
	create function musicverse_v1.t_again(depth int) returns json language plpgsql security definer set search_path = musicverse, pg_catalog, pg_temp as $$
	begin
		update routes set summary = summary || '.' where operation = 't_again';
		if depth > 0 then
			perform handle_request('GET', '/t/again/0', null, null, null);
		end if;
		return '{}';
	end
	$$;
	insert into musicverse.routes (version, method, path, operation, needs_key, summary) values ('v1', 'GET', '/t/again/{depth}', 't_again', false, 'x');
	grant execute on function musicverse_v1.t_again to musicverse_api;
});
is(request('GET', '/t/again/1')->{headers}{'Content-Type'}, 'application/json', 'its type of content is still there') for 1 .. 3;

# ---- what waits for the commit, in the gateway

set_conf($node, 'musicverse.gateway_workers' => 1, 'musicverse.gateway_listen' => '127.0.0.1:0');
$node->reload;
my $base = base(gateway_port($node));
sql($node, q{
	create schema host;
	create table host.seen (id int primary key, role text, is_service boolean, caller uuid);
	create table host.notes (id int, seen int references host.seen deferrable initially deferred);
	create function host.look() returns trigger language plpgsql as $$
	begin
		insert into host.seen values (new.id, current_user, musicverse.caller_is_service(), musicverse.current_user_id());
		return null;
	end
	$$;
	create constraint trigger look after insert on host.notes deferrable initially deferred for each row when (new.id > 0) execute function host.look();
	grant usage on schema host to musicverse_api;
	grant insert, select on all tables in schema host to musicverse_api;
	create function musicverse_v1.t_note(id int, seen int default null) returns json language plpgsql set search_path = host, pg_catalog, pg_temp as $$
	begin
		insert into notes values (id, seen);
		return json_build_object('id', id);
	end
	$$;
	insert into musicverse.routes (version, method, path, operation, summary, request_schema) values ('v1', 'POST', '/api/v1/t/notes', 't_note', 'x', '{"type": "object"}');
	grant execute on function musicverse_v1.t_note to musicverse_api;
});
is(http('POST', "$base/api/v1/t/notes", { id => 1 }, { 'x-api-key' => $next })->{status}, 200, 'a deferred trigger');
is(sql($node, 'table host.seen'), "1|musicverse_api|f|$user", 'is run as the operation is');
is(http('POST', "$base/api/v1/t/notes", { id => -1, seen => 7 }, { 'x-api-key' => $next })->{status}, 409, 'and a deferred constraint is its answer');
is(sql($node, 'select count(*) from host.notes'), 1, 'which undoes it');
done_testing();

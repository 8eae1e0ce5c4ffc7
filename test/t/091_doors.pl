# The same through every door of the REST API: the gateway, the edge function,
# and handle_request() as PostgREST calls it. A program's whole life, and what
# the API must withstand. Beside what is asserted, whatever a door answers is
# written down and compared with what the others answered to the same.
use MusicVerse::Test;
use MusicVerse::Api;
use MusicVerse::Gateway qw(gateway_port dial send_bytes read_answer);
use MusicVerse::Provider;

use Digest::SHA qw(hmac_sha256_base64);
use MIME::Base64 qw(decode_base64);

my $node     = new_cluster('main', MusicVerse::Api::settings(), 'musicverse.cors_allowed_origins' => 'https://app.example', 'musicverse.usage_flush_interval' => '1h');
my $receiver = start_receiver();
my $provider = MusicVerse::Provider->start;
my $secret   = 'whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=';
my $nobody   = '00000000-0000-4000-8000-0000000000ff';
my $uuid     = qr/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/;

sql($node, q{
	insert into musicverse.tiers (name, burst, refill_per_second, max_api_keys, max_webhooks, max_concurrent_jobs) values
		('wide', 100000, 1000, 100, 100, 50), ('tiny', 3, 0.01, 9, 9, 9);
	create function musicverse_v1.t_broken() returns json language plpgsql as $$ begin return (select json_agg(secret_column) from hidden_table); end $$;
	create function musicverse_v1.t_raw(headers jsonb, body text) returns int language sql as $$ select body::int $$;
	create function musicverse_v1.t_raw_json(headers jsonb, body text) returns json language sql as $$ select '{}'::json $$;
	insert into musicverse.routes (version, method, path, operation, needs_key, summary, is_raw) values
		('v1', 'POST', '/api/v1/t/broken', 't_broken', true, 'x', false), ('v1', 'POST', '/api/v1/t/raw', 't_raw', false, 'x', true),
		('v1', 'POST', '/api/v1/t/raw-json', 't_raw_json', false, 'x', true);
	grant execute on function musicverse_v1.t_broken, musicverse_v1.t_raw, musicverse_v1.t_raw_json to musicverse_api});
$provider->configure($node, 'stub', styles => ['Ambient'], max_duration => 60);
$provider->configure($node, 'caller', styles => ['Called'], mode => 'both', poll_interval => 3600, credentials => { token => 't', callback_secret => $secret });

my @doors = MusicVerse::Api->doors($node);
diag('Deno is not installed in test/edge: the edge function is left out') unless MusicVerse::Api::deno();

# ---- asking, and writing down what was answered

my %seen;    # door => what it answered, in the order of the questions

# What must be the same whatever the door: no ids, no moments, no transport
sub essence
{
	my ($method, $target, $got) = @_;
	my %transport = map { $_ => 1 } qw(date connection content-length keep-alive transfer-encoding server);
	my $what = "$method $target -> $got->{status} " . join ' ', map { /^(content-type|allow|cache-control|etag|www-authenticate|vary|access-control-.*)$/ ? "$_: $got->{headers}{$_};" : $_ }
	  grep { !$transport{$_} } sort keys %{ $got->{headers} };
	my $json = $got->{json};
	$what .= ' ' . json(ref $json eq 'HASH' && exists $json->{status} && exists $json->{title} ? { %$json, request_id => defined $json->{request_id} ? 'id' : 'none' } : [ sort keys %$json ]) if ref $json eq 'HASH';
	$what =~ s/$uuid/ID/g;
	$what =~ s/etag: "[^"]*"/etag/;
	$what =~ s/cursor=[\w%-]+/cursor=C/g;
	$what =~ s/mvai_\w+/KEY/g;
	$what =~ s/broken-\d/broken-N/g;
	return length $what > 900 ? substr($what, 0, 900) : $what;
}

# ask(door, who, method, target, body, headers): the answer; who is a key or undef
sub ask
{
	my ($door, $key, $method, $target, $body, $headers, %option) = @_;
	my $got = $door->request($method, $target, { defined $key ? ('x-api-key' => $key) : (), %{ $headers // {} } }, $body, ip => $option{ip} // $door->{ip});
	push @{ $seen{ $door->{name} } }, essence($method, $target, $got) unless $option{unseen};
	return $got;
}

# The same without an entry, for what is asked until something has happened
sub poll { my ($door, $key, $target) = @_; return ask($door, $key, 'GET', $target, undef, undef, unseen => 1); }

sub key
{
	my ($user, %with) = @_;
	return sql_row($node, sprintf q{select id, key from musicverse.create_api_key(%s, 'test', %s, %s, %s)}, lit($user), lit($with{scopes} // '{}'), lit($with{expires_at}), lit($with{cidrs}));
}

# Is it a problem of that type and status, told as RFC 9457 has it?
sub problem
{
	my ($got, $status, $type, $name, $detail) = @_;
	my $json = ref $got->{json} eq 'HASH' ? $got->{json} : {};
	my $is = join ' ', $got->{status}, $json->{type} // 'none', $json->{status} // 'none', $got->{headers}{'content-type'} // 'none', ($json->{request_id} // '') eq ($got->{headers}{'x-request-id'} // 'none') ? 'id' : 'no id';
	my $ok = is($is, "$status /problems/$type $status application/problem+json id", $name);
	$ok &&= like($json->{detail}, $detail, "$name, and why") if defined $detail;
	diag($got->{content}) unless $ok;
	return $json;
}

sub fields { my ($json) = @_; return join ' ', sort map { $_->{field} // "?$_->{parameter}" } @{ $json->{errors} // [] }; }

# ---- a program's whole life

sub life
{
	my ($door, $user, $key) = @_;
	my $n = $door->{name};

	my $hook = ask($door, $key, 'POST', '/api/v1/webhooks', { url => $receiver->url($n), events => ['*'], description => 'All' });
	is($hook->{status}, 201, "$n: a webhook is made");
	$receiver->control($n, { secrets => [ $hook->{json}{secret} ] });

	my $made = ask($door, $key, 'POST', '/api/v1/generate', { prompt => "Rain \x{1f327}", style => 'Ambient', duration => 30, params => { seed => 1 } });
	is("$made->{status} $made->{json}{status}", '202 queued', "$n: a job is queued") or diag($made->{content});
	my $at = "/api/v1/jobs/$made->{json}{job_id}";
	my $job = wait_for(sub { my $got = poll($door, $key, $at); $got->{json}{status} eq 'completed' ? $got : undef }, 30, 'the job');
	is($job->{json}{progress}, 100, "$n: and followed until it is completed");
	is($job->{json}{prompt}, "Rain \x{1f327}", "$n: with its prompt");
	is(ask($door, $key, 'GET', $at, undef, { 'if-none-match' => $job->{headers}{etag} })->{status}, 304, "$n: after which nothing changes");
	my $track = ask($door, $key, 'GET', "/api/v1/tracks/$job->{json}{track_id}");
	is($track->{json}{audio_url}, $job->{json}{result_url}, "$n: its track is there");
	my $second = ask($door, $key, 'GET', $at =~ s/v1/v2/r);
	is_deeply($second->{json}{track}, $track->{json}, "$n: which version 2 has within the job");
	is_deeply([ sort grep { !exists $second->{json}{$_} } keys %{ $job->{json} } ], [qw(job_id result_url track_id)], "$n: while version 1 has its own members");
	is(ask($door, $key, 'POST', "$at/cancel")->{status}, 409, "$n: what is completed can't be cancelled");
	is(ask($door, $key, 'POST', '/api/v2/jobs', { prompt => 'x', style => 'Waltz' })->{status}, 422, "$n: what no provider takes is refused");

	$receiver->wait_stats($n, 30, verified => 3);
	is(join(' ', sort map { from_json($_->{body})->{type} } $receiver->requests($n)), 'generation.completed generation.started track.created', "$n: the webhook heard of all, signed");
	my $deliveries = ask($door, $key, 'GET', '/api/v1/deliveries?event_type=track.created');
	is($deliveries->{json}{data}[0]{webhook_id}, $hook->{json}{id}, "$n: the deliveries are listed");
	is(ask($door, $key, 'POST', "/api/v1/webhooks/$hook->{json}{id}/test", {})->{status}, 202, "$n: an example is sent");
	$receiver->wait_stats($n, 30, verified => 4);

	# lists to their end, by Link and by next_cursor
	sql($node, qq{insert into musicverse.tracks (user_id, title, created_at) select '$user', n, '2026-01-01Z'::timestamptz + (n / 3) * interval '1 s' from generate_series(1, 24) n});
	foreach my $version (qw(v1 v2))
	{
		my ($target, $pages, %had) = ("/api/$version/tracks?limit=7", 0);
		while ($target)
		{
			my $page = ask($door, $key, 'GET', $target);
			last if $page->{status} != 200 || ++$pages > 9;
			$had{ $_->{id} }++ foreach @{ $page->{json}{data} };
			my ($next) = ($page->{headers}{link} // '') =~ /<([^>]*)>; rel="next"/;
			is($next, defined $page->{json}{next_cursor} ? "/api/$version/tracks?limit=7&cursor=$page->{json}{next_cursor}" : undef, "$n $version: Link says what next_cursor does");
			$target = $next;
		}
		is("$pages " . keys(%had) . ' ' . grep({ $_ > 1 } values %had), '4 25 0', "$n $version: all tracks, once each");
	}

	my $song = "/api/v1/tracks/$track->{json}{id}";
	my $changed = ask($door, $key, 'PATCH', $song, { title => "Rain\nagain", metadata => { a => [ 1, undef ] } });
	is_deeply([ @{ $changed->{json} }{qw(title style metadata)} ], [ "Rain\nagain", 'Ambient', { a => [ 1, undef ] } ], "$n: a track is changed");
	isnt(ask($door, $key, 'GET', $song)->{headers}{etag}, $track->{headers}{etag}, "$n: and so its ETag");
	is(ask($door, $key, 'DELETE', $song)->{status}, 204, "$n: it is deleted");
	problem(ask($door, $key, $_, $song), 404, 'not-found', "$n: and gone for $_") foreach qw(GET DELETE);
	is(poll($door, $key, $at)->{json}{track_id}, undef, "$n: also for its job");

	my $child = ask($door, $key, 'POST', '/api/v2/api-keys', { name => 'child', scopes => ['tracks:read'] });
	is($child->{status}, 201, "$n: a key makes a key");
	is(ask($door, $child->{json}{key}, 'GET', '/api/v2/tracks')->{status}, 200, "$n: which may what it is for");
	problem(ask($door, $child->{json}{key}, 'POST', '/api/v2/jobs', { prompt => 'x' }), 403, 'insufficient-scope', "$n: and no more", qr/generate/);
	my $rotated = ask($door, $key, 'POST', "/api/v1/api-keys/$child->{json}{id}/rotate", {});
	is($rotated->{status}, 201, "$n: it is rotated");
	problem(ask($door, $child->{json}{key}, 'GET', '/api/v1/tracks'), 401, 'unauthorized', "$n: the old one is no longer good");
	is(ask($door, $rotated->{json}{key}, 'GET', '/api/v1/tracks')->{status}, 200, "$n: the new one is");
	is(ask($door, $key, 'DELETE', "/api/v1/api-keys/$rotated->{json}{id}")->{status}, 204, "$n: it is revoked");
	problem(ask($door, $rotated->{json}{key}, 'GET', '/api/v1/tracks'), 401, 'unauthorized', "$n: and good no more", qr/revoked/);

	my $me = ask($door, $key, 'GET', '/api/v2/me');
	is("$me->{json}{user_id} $me->{json}{tier} $me->{json}{key}{name}", "$user wide test", "$n: who asks is told");
	sql($node, 'select musicverse.flush_usage()');
	my $usage = ask($door, $key, 'GET', '/api/v1/usage?bucket=hour');
	my $calls = 0;
	$calls += $_->{calls} foreach @{ $usage->{json}{data} };
	cmp_ok($calls, '>=', 25, "$n: what was used is told");
	my ($listed) = grep { $_->{name} eq 'list_tracks' } @{ ask($door, $key, 'GET', '/api/v2/usage/top')->{json}{data} };
	is($listed->{calls}, 12, "$n: by operation");
	is(ask($door, $key, 'DELETE', "/api/v1/webhooks/$hook->{json}{id}")->{status}, 204, "$n: the webhook is deleted");
	return;
}

# ---- what can't be read, or isn't what an operation takes

sub rubbish
{
	my ($door, $user, $key) = @_;
	my $n = $door->{name};

	foreach my $case (
		[ '{"prompt": "a",}', 400, 'bad-request', qr/line 1, column 16/, 'a comma too many' ],
		[ qq({\n  "prompt": x}), 400, 'bad-request', qr/line 2, column 13/, 'a word' ],
		[ '{"prompt": "a"', 400, 'bad-request', qr/line 1, column 15/, 'half of it' ],
		[ '{"prompt": "a"} {}', 400, 'bad-request', qr/line 1, column 17/, 'twice as much' ],
		[ '{"prompt": "a", "params": {"x": ' . '[' x 31 . ']' x 31 . '}}', 400, 'bad-request', qr/32/, 'deep nesting' ],
		[ '{"params": ' . '[' x 100_000, 400, 'bad-request', undef, 'very deep nesting' ],
		[ '{"prompt": "a", "prompt": "b"}', 400, 'bad-request', qr/"prompt" twice/, 'a key twice' ],
		[ '{"prompt": "a", "params": {"b": {"c": 1, "c": 1}}}', 400, 'bad-request', qr/"c" twice/, 'a key twice within' ],
		[ qq({"prompt": "\xff"}), 400, 'bad-request', undef, 'what is not UTF-8' ],
		[ qq({"prompt": "\xed\xa0\x80"}), 400, 'bad-request', undef, 'half of a character' ],
		[ qq({"prompt": "a\0b"}), 400, 'bad-request', undef, 'a NUL' ],
		[ '{"prompt": "a\u0000b"}', 400, 'bad-request', undef, 'an escaped NUL' ],
		[ '{"prompt": "\ud800"}', 400, 'bad-request', undef, 'an escaped half of a character' ],
		[ "\xef\xbb\xbf{\"prompt\": \"a\"}", 400, 'bad-request', qr/line 1, column 1/, 'a mark of byte order' ],
		[ '{"prompt": "a", "duration": 1' . '0' x 500 . '}', 400, 'bad-request', undef, 'a number that is too long' ],
		[ '[]', 422, 'invalid-request', qr/object/, 'an array' ],
		[ 'null', 422, 'invalid-request', qr/object/, 'nothing' ],
		[ '', 422, 'invalid-request', undef, 'an empty body', '/prompt' ],
		[ '{}', 422, 'invalid-request', undef, 'no member', '/prompt' ],
		[ '{"prompt": 1}', 422, 'invalid-request', undef, 'a wrong type', '/prompt' ],
		[ '{"prompt": null}', 422, 'invalid-request', undef, 'a null', '/prompt' ],
		[ '{"prompt": "a", "duration": "x", "params": [], "surprise": 1}', 422, 'invalid-request', undef, 'much that is wrong', '/duration /params /surprise' ],
		[ '{"prompt": "a", "duration": 1.5}', 422, 'invalid-request', undef, 'half a second', '/duration' ],
		[ '{"prompt": "a", "duration": 1e20}', 422, 'invalid-request', undef, 'a number beyond', '/duration' ],
		[ '{"prompt": "a", "duration": -1}', 422, 'invalid-request', undef, 'a number below', '/duration' ],
		[ '{"prompt": "' . 'x' x 4001 . '"}', 422, 'invalid-request', undef, 'a prompt that is too long', '/prompt' ],
		[ '{"prompt": " "}', 422, 'invalid-request', undef, 'a blank prompt', '/prompt' ])
	{
		my ($body, $status, $type, $detail, $what, $fields) = @$case;
		my $got = ask($door, $key, 'POST', '/api/v1/generate', $body, { 'content-type' => 'application/json' }, unseen => scalar($body =~ /[\x80-\xff\0]/));
		next if !$door->is_http && $got->{status} == 0;
		my $json = problem($got, $status, $type, "$n: $what", $detail);
		is(fields($json), $fields, "$n: $what, with the fields") if defined $fields;
	}
	is(sql($node, "select count(*) from musicverse.generation_jobs where user_id = '$user' and created_at > now() - interval '1 hour'"), 1, "$n: nothing came of it");

	problem(ask($door, $key, 'POST', '/api/v1/generate', 'prompt=a', { 'content-type' => 'application/x-www-form-urlencoded' }), 415, 'unsupported-media-type', "$n: a form");
	problem(ask($door, $key, 'POST', '/api/v1/generate', '{}', { 'content-type' => 'application/json; charset=latin1' }), 415, 'unsupported-media-type', "$n: another encoding");
	problem(ask($door, $key, 'POST', '/api/v1/generate', '{}', { 'content-type' => 'application/json', 'content-encoding' => 'gzip' }), 415, 'unsupported-media-type', "$n: compressed");
	is(ask($door, $key, 'POST', '/api/v1/generate', '{}', { 'content-type' => 'application/vnd.musicverse+json; charset="UTF-8"' })->{status}, 422, "$n: another JSON is read");
	problem(ask($door, $key, 'POST', '/api/v1/generate', '{}', { 'content-type' => 'application/json', 'idempotency-key' => "a\tb" }), 400, 'bad-request', "$n: a header with a tab in its value");
	problem(ask($door, $key, 'POST', '/api/v1/generate', '{"prompt": "' . 'x' x 1_100_000 . '"}', { 'content-type' => 'application/json' }, unseen => 1), 413, 'content-too-large', "$n: too much");
	problem(ask($door, $key, 'GET', '/api/v1/me', undef, { accept => 'text/html, application/json;q=0' }), 406, 'not-acceptable', "$n: an answer that is not wanted");
	is(ask($door, $key, 'GET', '/api/v1/me', undef, { accept => 'text/html, application/*;q=0.1' })->{status}, 200, "$n: or is after all");
	return;
}

# ---- paths, methods, parameters

sub targets
{
	my ($door, $user, $key) = @_;
	my $n = $door->{name};

	problem(ask($door, $key, 'GET', '/api/v1/nothing'), 404, 'not-found', "$n: no route");
	problem(ask($door, $key, 'GET', '/api/v1/me/'), 404, 'not-found', "$n: none with a slash", qr/slash/);
	problem(ask($door, $key, 'GET', '/api/v3/me'), 404, 'not-found', "$n: no such version");
	problem(ask($door, $key, 'GET', '/api/v1/tracks/' . ($_ =~ s/ /%20/gr)), 404, 'not-found', "$n: an id that is none: $_")
	  foreach '1', 'x', '%2e%2e%2fme', "$nobody%20", "{$nobody}", '%F0%9F%8E%B5', "';drop table tracks;--", $nobody;
	problem(ask($door, $key, 'GET', "/api/v1/jobs/$_"), 400, 'bad-request', "$n: a path that can't be read: $_") foreach '%', '%zz', '%00', '%ff', '%2e%2e/me', '../me', './x';
	problem(ask($door, $key, 'GET', '/api/v1/jobs/' . 'x' x 9000, undef, undef, unseen => 1), 414, 'uri-too-long', "$n: a long one");

	foreach my $case ([ 'DELETE', '/api/v1/me', 'GET, HEAD, OPTIONS' ], [ 'PUT', '/api/v1/webhooks', 'GET, HEAD, POST, OPTIONS' ], [ 'POST', "/api/v1/tracks/$nobody", 'GET, HEAD, PATCH, DELETE, OPTIONS' ],
		[ 'GET', '/api/v1/generate', 'POST, OPTIONS' ], [ 'PROPFIND', '/api/v2/jobs', 'GET, HEAD, POST, OPTIONS' ], [ 'GET', '/api/v1/providers/x/callback', 'POST, OPTIONS' ])
	{
		my ($method, $target, $allow) = @$case;
		my $got = ask($door, $key, $method, $target);
		problem($got, 405, 'method-not-allowed', "$n: $method $target");
		is($got->{headers}{allow}, $allow, "$n: where others are allowed");
		my $options = ask($door, undef, 'OPTIONS', $target);
		is("$options->{status} $options->{headers}{allow} $options->{content}", "204 $allow ", "$n: OPTIONS tells them as well");
	}

	my $get  = ask($door, $key, 'GET',  '/api/v1/scopes');
	my $head = ask($door, $key, 'HEAD', '/api/v1/scopes');
	is("$head->{status} $head->{content} $head->{headers}{etag} $head->{headers}{'content-type'}", "200  $get->{headers}{etag} application/json", "$n: HEAD is GET without the body");
	is($head->{headers}{'content-length'}, length $get->{content}, "$n: whose length it tells") if exists $head->{headers}{'content-length'};
	is(ask($door, $key, 'HEAD', '/api/v1/nothing')->{content}, '', "$n: also of a problem");

	foreach my $case ([ '*', 304 ], [ $get->{headers}{etag}, 304 ], [ "W/$get->{headers}{etag}", 304 ], [ qq("other", $get->{headers}{etag}), 304 ], [ '"other"', 200 ], [ 'nonsense', 200 ])
	{
		my $got = ask($door, $key, 'GET', '/api/v1/scopes', undef, { 'if-none-match' => $case->[0] });
		is("$got->{status} " . ($got->{headers}{etag} // 'none') . ' ' . !!length $got->{content}, "$case->[1] $get->{headers}{etag} " . ($case->[1] == 200), "$n: If-None-Match: " . ($case->[0] eq $get->{headers}{etag} ? 'its own' : $case->[0]));
	}
	is($get->{headers}{'cache-control'}, 'private, no-cache', "$n: what a key was shown is private");
	is(ask($door, undef, 'GET', '/api/v1/scopes')->{headers}{'cache-control'}, 'no-cache', "$n: what everybody may see is not");

	foreach my $case ([ 'limit=x', 400, 'bad-request', '?limit' ], [ 'limit=1&limit=2', 400, 'bad-request', '?limit' ], [ 'nothing=1&none=2', 400, 'bad-request', '?none ?nothing' ], [ 'limit=99999999999', 400, 'bad-request', '?limit' ],
		[ 'limit=0', 422, 'invalid-request', '?limit' ], [ 'limit=101', 422, 'invalid-request', '?limit' ], [ 'sort=title', 422, 'invalid-request', '?sort' ], [ 'created_after=yesterday-ish', 400, 'bad-request', '?created_after' ],
		[ 'style=%ff', 400, 'bad-request', '?style' ], [ 'style=%00', 400, 'bad-request', '?style' ], [ 'offset=1&cursor=x', 422, 'invalid-request', '?offset' ])
	{
		my ($query, $status, $type, $fields) = @$case;
		is(fields(problem(ask($door, $key, 'GET', "/api/v1/tracks?$query"), $status, $type, "$n: ?$query")), $fields, "$n: ?$query, with its name");
	}
	problem(ask($door, $key, 'GET', '/api/v1/tracks?' . join('&', map { "a$_=1" } 1 .. 101), undef, undef, unseen => 1), 400, 'bad-request', "$n: a hundred parameters and one");
	is(ask($door, $key, 'GET', '/api/v1/tracks?style=a+b%2Bc&limit=5')->{status}, 200, "$n: a query is decoded");
	is(ask($door, $key, 'GET', '/api/v1/tracks?')->{status}, 200, "$n: an empty query is none");
	return;
}

# ---- pages of other origins

sub origins
{
	my ($door, $user, $key) = @_;
	my $n = $door->{name};
	my %ask = ('access-control-request-method' => 'POST', 'access-control-request-headers' => 'x-api-key, content-type');

	my $preflight = ask($door, undef, 'OPTIONS', '/api/v1/generate', undef, { origin => 'https://app.example', %ask });
	is("$preflight->{status} $preflight->{headers}{'access-control-allow-origin'} $preflight->{headers}{'access-control-allow-methods'} $preflight->{headers}{vary}", '204 https://app.example POST, OPTIONS Origin', "$n: a page asks first");
	like($preflight->{headers}{'access-control-allow-headers'}, qr/\bX-API-Key\b/, "$n: and may send a key");
	is(ask($door, undef, 'OPTIONS', '/api/v1/generate', undef, { origin => 'https://evil.example', %ask })->{headers}{'access-control-allow-origin'}, undef, "$n: another may not");
	my $got = ask($door, $key, 'GET', '/api/v1/me', undef, { origin => 'https://app.example' });
	is($got->{headers}{'access-control-allow-origin'}, 'https://app.example', "$n: and read the answer");
	like($got->{headers}{'access-control-expose-headers'}, qr/\bETag\b.*\bRetry-After\b/, "$n: with what matters of its headers");
	is(ask($door, undef, 'GET', '/api/v1/me', undef, { origin => 'https://app.example' })->{headers}{'access-control-allow-origin'}, 'https://app.example', "$n: also a refusal");
	is($got->{headers}{'access-control-allow-credentials'}, undef, "$n: cookies are nobody's");
	return;
}

# ---- what is somebody else's

sub others
{
	my ($door, $user, $key, $other) = @_;
	my $n = $door->{name};
	my $theirs = key($other)->{key};

	# theirs are made as the other, by this door too
	my $hook  = ask($door, $theirs, 'POST', '/api/v1/webhooks', { url => $receiver->url("$n-other"), events => ['*'] })->{json};
	my $job   = ask($door, $theirs, 'POST', '/api/v1/generate', { prompt => 'x', style => 'Called' })->{json};
	my $made  = ask($door, $theirs, 'POST', '/api/v1/api-keys', { name => 'theirs' })->{json};
	my $track = sql($node, "insert into musicverse.tracks (user_id, title) values ('$other', 'Theirs') returning id");
	my $delivery = ask($door, $theirs, 'POST', "/api/v1/webhooks/$hook->{id}/test", {})->{json};
	my %id = (webhook_id => $hook->{id}, job_id => $job->{job_id}, key_id => $made->{id}, track_id => $track, delivery_id => $delivery->{delivery_id});
	is(scalar(grep { defined } values %id), 5, "$n: somebody else has things");

	my $routes = 0;
	foreach my $route (sql_rows($node, q{select method, path, operation, request_example from musicverse.routes where path ~ '\{' and is_shipped and not is_raw and tag <> 'Distribution' order by path, method}))
	{
		my $target = $route->{path} =~ s/\{(\w+)\}/$id{$1}/gr;
		problem(ask($door, $key, $route->{method}, $target, $route->{method} eq 'GET' ? undef : $route->{request_example}), 404, 'not-found', "$n: $route->{method} $route->{path} of somebody else");
		$routes++;
	}
	cmp_ok($routes, '>=', 38, "$n: all routes with an id");
	is(ask($door, $theirs, 'GET', "/api/v2/$_")->{status}, 200, "$n: whose $_ are still there") foreach "tracks/$track", "jobs/$job->{job_id}", "webhooks/$hook->{id}", "api-keys/$made->{id}";
	is(ask($door, $theirs, 'GET', "/api/v1/webhooks/$hook->{id}")->{json}{is_active}, JSON::PP::true, "$n: and as they were");
	is(scalar(grep { $_->{id} eq $track } @{ ask($door, $key, 'GET', '/api/v1/tracks?limit=100')->{json}{data} }), 0, "$n: lists have none of it");
	is(ask($door, $key, 'GET', "/api/v1/deliveries?webhook_id=$hook->{id}")->{json}{data}[0], undef, "$n: not by a filter either");

	# cursors
	sql($node, "insert into musicverse.tracks (user_id, title, style) select '$other', n, 'S' from generate_series(1, 3) n");
	my $cursor = ask($door, $key, 'GET', '/api/v1/tracks?limit=1')->{json}{next_cursor};
	my $their  = ask($door, $theirs, 'GET', '/api/v1/tracks?limit=1')->{json}{next_cursor};
	my $middle = length($cursor) / 2;
	foreach my $case ([ 'made up', 'abc' ], [ 'empty', '' ], [ 'no base64', '%21' ], [ 'half', substr $cursor, 0, $middle ], [ 'changed', substr($cursor, 0, $middle) . (substr($cursor, $middle, 1) eq 'A' ? 'B' : 'A') . substr($cursor, $middle + 1) ],
		[ 'twice', $cursor . $cursor ], [ 'of somebody else', $their ])
	{
		problem(ask($door, $key, 'GET', "/api/v1/tracks?cursor=$case->[1]"), 422, 'invalid-request', "$n: a cursor that is $case->[0]", qr/cursor/);
	}
	problem(ask($door, $key, 'GET', "/api/v1/tracks?style=S&cursor=$cursor"), 422, 'invalid-request', "$n: a cursor of other filters", qr/filters/);
	problem(ask($door, $key, 'GET', "/api/v1/jobs?cursor=$cursor"), 422, 'invalid-request', "$n: a cursor of another list", qr/cursor/);
	is(ask($door, $key, 'GET', "/api/v1/tracks?cursor=$cursor")->{status}, 200, "$n: the real one");
	return $theirs;
}

# ---- once is once

sub idempotency
{
	my ($door, $user, $key, $theirs) = @_;
	my $n = $door->{name};
	my %once = ('idempotency-key' => '"order 1"');
	my $body = { url => $receiver->url('once'), events => ['*'] };

	my $first = ask($door, $key, 'POST', '/api/v1/webhooks', $body, \%once);
	my $again = ask($door, $key, 'POST', '/api/v1/webhooks', $body, \%once);
	is("$first->{status} $again->{status}", '201 201', "$n: the same again is answered the same");
	is($again->{content}, $first->{content}, "$n: to the byte, secret and all");
	is(($first->{headers}{'idempotency-replayed'} // 'no') . ' ' . ($again->{headers}{'idempotency-replayed'} // 'no'), 'no true', "$n: and says so");
	problem(ask($door, $key, 'POST', '/api/v1/webhooks', { %$body, events => ['track.*'] }, \%once), 422, 'idempotency-key-reused', "$n: not another body");
	problem(ask($door, $key, 'POST', '/api/v1/api-keys', { name => 'x' }, \%once), 422, 'idempotency-key-reused', "$n: nor another path");
	is(ask($door, $theirs, 'POST', '/api/v1/webhooks', $body, \%once)->{headers}{'idempotency-replayed'}, undef, "$n: another user's key is another");
	problem(ask($door, $key, 'POST', '/api/v1/webhooks', $body, { 'idempotency-key' => 'x' x 256 }), 400, 'bad-request', "$n: a key that is too long");
	is(sql($node, "select count(*) from musicverse.webhooks where user_id = '$user' and url like '%/once'"), 1, "$n: it was done once");

	my %refused = ('idempotency-key' => 'refused');
	my $bad = { url => 'ftp://x.example', events => ['*'] };
	my @refusals = map { ask($door, $key, 'POST', '/api/v1/webhooks', $bad, \%refused) } 1, 2;
	problem($refusals[0], 422, 'invalid-request', "$n: what an operation refuses is a problem", qr/ftp/);
	is("$refusals[1]{status} $refusals[1]{content}", "422 $refusals[0]{content}", "$n: that is kept as well");
	isnt($refusals[1]{headers}{'x-request-id'}, $refusals[0]{headers}{'x-request-id'}, "$n: the request that asks again has an id of its own");
	return;
}

# ---- what fails, what is refused

sub refusals
{
	my ($door, $user, $key, undef, $tiny) = @_;
	my $n = $door->{name};

	my $broken = ask($door, $key, 'POST', '/api/v1/t/broken', undef, { 'x-request-id' => "broken-$door->{number}.1" });
	problem($broken, 500, 'internal-error', "$n: an operation that errors", qr/broken-$door->{number}\.1/);
	unlike($broken->{content}, qr/hidden_table|secret_column|relation|SQL|select|plpgsql/i, "$n: tells nothing of SQL");
	like(slurp_file($node->logfile), qr/request broken-$door->{number}\.1: operation t_broken failed: relation "hidden_table" does not exist/, "$n: but the log does, under the request's id");
	my $own = ask($door, $key, 'POST', '/api/v1/t/broken', undef, { 'x-request-id' => "bad id" });
	like($own->{headers}{'x-request-id'}, qr/^$uuid$/, "$n: an id that can't be sent back is replaced");
	like(slurp_file($node->logfile), qr/request $own->{headers}{'x-request-id'}: operation t_broken failed/, "$n: by one that is in the log too");

	my %keys = (revoked => key($user), expired => key($user, expires_at => '2999-01-01'), here => key($user, cidrs => '{203.0.113.0/24}'), unscoped => key($user, scopes => '{usage:read}'));
	sql($node, "select musicverse.revoke_api_key('$keys{revoked}{id}'); update musicverse.api_keys set expires_at = now() where id = '$keys{expired}{id}'");
	foreach my $case ([ 'no key', undef ], [ 'nonsense', 'x' ], [ 'a made up key', 'mvai_' . 'a' x 38 ], [ 'an unknown key', 'mvai_4JqW8xY2bN6kR0tZ5cV9mA3sD7fG1hL03hqcfu' ], [ 'a revoked key', $keys{revoked}{key} ], [ 'an expired key', $keys{expired}{key} ])
	{
		my $got = ask($door, $case->[1], 'GET', '/api/v1/me');
		problem($got, 401, 'unauthorized', "$n: $case->[0]");
		is($got->{headers}{'www-authenticate'}, 'Bearer', "$n: and how to do better");
	}
	is(ask($door, undef, 'GET', '/api/v1/me', undef, { authorization => "Bearer $key" })->{status}, 200, "$n: a key may come as a Bearer");
	problem(ask($door, 'mvai_other', 'GET', '/api/v1/me', undef, { authorization => "Bearer $key" }), 400, 'bad-request', "$n: not with another beside it");
	problem(ask($door, $keys{unscoped}{key}, 'GET', '/api/v1/tracks'), 403, 'insufficient-scope', "$n: a scope is missing", qr/tracks:read/);
	problem(ask($door, $keys{here}{key}, 'GET', '/api/v1/me'), 403, 'address-not-allowed', "$n: a key from elsewhere");
	is(ask($door, $keys{here}{key}, 'GET', '/api/v1/me', undef, undef, ip => '203.0.113.9')->{status}, 200, "$n: and from where it may");

	# signed over what was sent, to the byte
	my $ts = time - $door->{number};
	my $signed = '/api/v1/tracks?limit=5&style=%41%2e';
	my $signature = sql($node, sprintf 'select musicverse.request_signature(%s, %s, %s, %d, %s)', lit($key), lit('GET'), lit($signed), $ts, lit(''));
	my %signature = ('x-signature' => $signature, 'x-timestamp' => $ts);
	is(ask($door, $key, 'GET', $signed, undef, \%signature)->{status}, 200, "$n: a signed request");
	problem(ask($door, $key, 'GET', $signed, undef, \%signature), 401, 'unauthorized', "$n: is good once");
	problem(ask($door, $key, 'GET', $signed =~ s/%41/A/r, undef, { %signature, 'x-timestamp' => $ts - 1 }), 401, 'unauthorized', "$n: for what was signed");
	problem(ask($door, $key, 'GET', $signed, undef, { 'x-signature' => $signature }), 400, 'bad-request', "$n: with its moment");

	my $good = ask($door, $key, 'GET', '/api/v1/me');
	like($good->{headers}{'ratelimit-policy'}, qr/^"burst";q=100000;w=\d+$/, "$n: the limit is told");
	like($good->{headers}{ratelimit}, qr/^"burst";r=\d+;t=\d+$/, "$n: and what is left");
	my $limited = key($tiny)->{key};
	is(ask($door, $limited, 'GET', '/api/v1/me')->{headers}{ratelimit} =~ s/t=\d+/t/r, qq("burst";r=$_;t), "$n: $_ left") foreach 2, 1, 0;
	my $refused = ask($door, $limited, 'GET', '/api/v1/me');
	is_deeply(problem($refused, 429, 'rate-limited', "$n: none left")->{'violated-policies'}, ['burst'], "$n: by which limit");
	my ($t) = $refused->{headers}{ratelimit} =~ /^"burst";r=0;t=(\d+)$/;
	cmp_ok($refused->{headers}{'retry-after'}, '>=', $t, "$n: when to come back");
	my $dear = ask($door, $limited, 'POST', '/api/v1/generate', { prompt => 'x' });
	is("$dear->{status} " . ($dear->{headers}{'retry-after'} // 'none'), '429 none', "$n: not for what costs more than there ever is");

	my @anonymous = map { ask($door, undef, 'GET', '/api/v1/scopes', undef, undef, ip => "198.51.100.$door->{number}", unseen => 1) } 1 .. 21;
	is(join(' ', map { $_->{status} } @anonymous), join(' ', (200) x 20, 429), "$n: without a key an address has a limit");
	is_deeply(problem($anonymous[20], 429, 'rate-limited', "$n: which is told")->{'violated-policies'}, ['address'], "$n: as the address's");

	sql($node, q{insert into musicverse.api_versions values ('v1', '2026-01-01Z', '2027-07-01Z', 'v2')});
	my $old = ask($door, $key, 'GET', '/api/v1/tracks?limit=1');
	is("$old->{headers}{deprecation} $old->{headers}{sunset}", '@1767225600 Thu, 01 Jul 2027 00:00:00 GMT', "$n: a version on its way out says so");
	like($old->{headers}{link}, qr{^</api/v1/tracks\?limit=1&cursor=[\w-]+>; rel="next", </api/v2>; rel="successor-version"$}, "$n: and where to go, beside the next page");
	is(ask($door, undef, 'GET', '/api/v1/me')->{headers}{deprecation}, '@1767225600', "$n: also on refusals");
	is(ask($door, $key, 'GET', '/api/v2/tracks?limit=1')->{headers}{deprecation}, undef, "$n: the other is not");
	sql($node, q{delete from musicverse.api_versions});
	is(ask($door, $key, 'GET', '/api/v1/tracks?limit=1')->{headers}{deprecation}, undef, "$n: nor is it when that is taken back");
	return;
}

# ---- what providers call back

# The headers of a signed callback
sub sign
{
	my ($body, %odd) = @_;
	my ($id, $ts) = ($odd{id}, time + ($odd{late} // 0));
	my $signature = hmac_sha256_base64("$id.$ts.$body", decode_base64(($odd{secret} // $secret) =~ s/^whsec_//r));
	$signature .= '=' while length($signature) % 4;
	return ('Webhook-Id' => $id, 'webhook-timestamp' => $ts, 'webhook-signature' => "v1,$signature", 'content-type' => $odd{type} // 'application/json', %{ $odd{headers} // {} });
}

sub call_back
{
	my ($door, $document, %odd) = @_;
	my $body = ref $document ? json($document) : $document;
	$odd{id} //= 'msg_' . ++$door->{messages};
	return ask($door, undef, 'POST', '/api/v1/providers/' . ($odd{provider} // 'caller') . '/callback', $odd{body} // $body, { sign($body, %odd) }, ip => $odd{ip} // $door->{ip}, unseen => $odd{unseen});
}

sub callbacks
{
	my ($door, $user, $key) = @_;
	my $n = $door->{name};
	my $job = ask($door, $key, 'POST', '/api/v1/generate', { prompt => 'Called', style => 'Called' })->{json}{job_id};
	wait_job($node, $job, 'started');
	my $remote = work_row($node, $job)->{remote_id};

	my $taken = call_back($door, { id => $remote, status => 'running', progress => 30 });
	is("$taken->{status} $taken->{content} " . ($taken->{headers}{'content-type'} // 'none'), '200  none', "$n: a signed callback is taken");
	is(poll($door, $key, "/api/v1/jobs/$job")->{json}{progress}, 30, "$n: with its progress");
	is(call_back($door, { id => $remote, status => 'running', progress => 40 }, type => 'text/plain', headers => { authorization => 'Bearer theirs', accept => 'text/html', 'x-signature' => 'theirs', 'idempotency-key' => 'theirs' })->{status}, 200,
		"$n: whatever its other headers are");

	my $forged = call_back($door, { id => $remote, status => 'failed' }, secret => 'whsec_' . 'B' x 44);
	problem($forged, 401, 'bad-signature', "$n: a forged one is not");
	is($forged->{headers}{'www-authenticate'}, 'Signature', "$n: and needs a signature");
	is(call_back($door, { id => $remote, status => 'failed' }, body => json({ id => $remote, status => 'succeeded' }))->{status}, 401, "$n: nor one with another body");
	is(call_back($door, { id => $remote, status => 'failed' }, late => -600)->{status}, 401, "$n: nor an old one");
	is(ask($door, $key, 'POST', '/api/v1/providers/caller/callback', {})->{status}, 401, "$n: nor one without a signature, by whatever key");
	problem(call_back($door, { id => $remote }, provider => 'nobody'), 404, 'not-found', "$n: nor one of nobody's");
	problem(call_back($door, { id => 'gen-none', status => 'failed' }), 404, 'not-found', "$n: nor of an unknown generation");
	problem(call_back($door, '{'), 400, 'bad-request', "$n: nor what is no JSON");
	problem(call_back($door, { id => $remote, status => 'dreaming' }), 422, 'invalid-request', "$n: nor nonsense");
	problem(call_back($door, "\xff", unseen => 1), 400, 'bad-request', "$n: nor what is not UTF-8") if $door->is_http;
	is(poll($door, $key, "/api/v1/jobs/$job")->{json}{status}, 'started', "$n: which changed nothing");

	my $result = { id => $remote, status => 'succeeded', result => { audio_url => "https://audio.example/$n.mp3" } };
	is(call_back($door, $result, id => 'msg_done')->{status}, 200, "$n: the result is taken");
	is(call_back($door, $result, id => 'msg_done')->{status}, 200, "$n: and again");
	is(call_back($door, $result)->{status}, 200, "$n: and under another id");
	my $done = poll($door, $key, "/api/v1/jobs/$job")->{json};
	is("$done->{status} $done->{result_url}", "completed https://audio.example/$n.mp3", "$n: the job is completed");
	is(sql($node, "select count(*) from musicverse.tracks where audio_url = 'https://audio.example/$n.mp3'"), 1, "$n: by one track");

	# forged ones are limited, real ones of elsewhere and here never
	my $evil = "192.0.2.$door->{number}";
	my @flood = map { call_back($door, { id => $remote, status => 'failed' }, secret => 'whsec_' . 'B' x 44, ip => $evil, unseen => 1) } 1 .. 12;
	is(join(' ', map { $_->{status} } @flood), join(' ', (401) x 10, (429) x 2), "$n: forged ones are limited");
	problem($flood[11], 429, 'rate-limited', "$n: by their address");
	cmp_ok($flood[11]{headers}{'retry-after'}, '>=', 1, "$n: which may come back");
	my @real = map { call_back($door, $result, ip => "192.0.2.1$door->{number}", unseen => 1)->{status} } 1 .. 24;
	is("@real", join(' ', (200) x 24), "$n: real ones are not, however many");

	# what a raw operation may return
	is(ask($door, undef, 'POST', '/api/v1/t/raw', '204')->{status}, 204, "$n: a raw route answers what its operation says");
	problem(ask($door, undef, 'POST', '/api/v1/t/raw', '409'), 409, 'conflict', "$n: as a problem, too");
	problem(ask($door, undef, 'POST', '/api/v1/t/raw', '302', { 'x-request-id' => "odd-$n" }), 500, 'internal-error', "$n: unless it is no status");
	like(slurp_file($node->logfile), qr/request odd-$n: operation t_raw returned 302, which is no status to answer/, "$n: of which the log tells");
	problem(ask($door, undef, 'POST', '/api/v1/t/raw', 'x'), 422, 'invalid-request', "$n: or it raises");
	problem(ask($door, undef, 'POST', '/api/v1/t/raw', "204\xff", undef, unseen => 1), 400, 'bad-request', "$n: no operation is handed what is not UTF-8") if $door->is_http;
	problem(ask($door, undef, 'POST', '/api/v1/t/raw-json', 'x'), 501, 'not-implemented', "$n: one that returns something else can't be called");
	return;
}

# ---- all of it, by each

my $number = 0;
foreach my $door (@doors)
{
	my ($user, $other, $tiny) = map { user(10 * (1 + $number) + $_) } 1 .. 3;
	$door->{number} = ++$number;
	$door->{ip}     = "198.18.0.$number";
	sql($node, "select musicverse.set_tier('$user', 'wide'), musicverse.set_tier('$other', 'wide'), musicverse.set_tier('$tiny', 'tiny')");
	my $key    = key($user)->{key};
	my $theirs;
	life($door, $user, $key);
	rubbish($door, $user, $key);
	targets($door, $user, $key);
	origins($door, $user, $key);
	$theirs = others($door, $user, $key, $other);
	idempotency($door, $user, $key, $theirs);
	refusals($door, $user, $key, $theirs, $tiny);
	callbacks($door, $user, $key);
}

# ---- a provider of another make, which really calls back

my ($sandbox_pid, $sandbox_out) = start_process('sandbox_provider', 'node', "$root/sandbox/provider.js", '--token', 't', '--callback-secret', $secret, '--quiet');
my $sandbox = from_json(scalar <$sandbox_out>);
$sandbox = "http://$sandbox->{host}:$sandbox->{port}";
http_json('PUT', "$sandbox/control", { instant => \1 });
sql($node, sprintf q(select musicverse.configure_provider('sandbox', %s, %s, '{"mode": "callback", "poll": null, "styles": ["chiptune"]}')), lit($sandbox), lit({ token => 't', callback_secret => $secret }));
foreach my $door (grep { $_->is_http } @doors)
{
	set_conf($node, 'musicverse.public_url' => $door->{base});
	$node->reload;
	wait_for_sql($node, 'show musicverse.public_url', $door->{base}, 10, 'the address of the API');
	my $job = wait_job($node, sql($node, sprintf q(select musicverse.generate(%s, 'Called back', 'chiptune', 2)), lit(user(11))), 'completed');
	like(sql($node, "select audio_url from musicverse.tracks where id = '$job->{track_id}'"), qr/^\Q$sandbox\E\//, "$door->{name}: a provider that is never asked calls back, and the job is completed");
}
stop_process($sandbox_pid);

# ---- fifty at once

set_conf($node, 'musicverse.gateway_workers' => 4);
$node->reload;
gateway_port($node);
my $racer = user(99);
sql($node, "select musicverse.set_tier('$racer', 'wide')");
my $key  = key($racer)->{key};
my $jobs = sub { return sql($node, "select count(*) from musicverse.generation_jobs where user_id = '$racer' and prompt = '$_[0]'") };

# The same from fifty connections, the answers by their status
sub at_once
{
	my ($door, $target, $body, %headers) = @_;
	my $request = join "\r\n", "POST $target HTTP/1.1", 'Host: a', (map { "$_: $headers{$_}" } sort keys %headers), 'Content-Length: ' . length($body), '', $body;
	my @sockets = map { dial($door->port) } 1 .. 50;
	send_bytes($_, $request) foreach @sockets;
	my %by;
	foreach my $answer (map { read_answer($_, 'POST', 30) } @sockets) { push @{ $by{ $answer->{status} } }, $answer; }
	return %by;
}

foreach my $door (grep { $_->is_http } @doors)
{
	my %by = at_once($door, '/api/v1/generate', json({ prompt => "Race by $door->{name}", style => 'Called' }), 'X-API-Key' => $key, 'Idempotency-Key' => "race-$door->{name}", 'Content-Type' => 'application/json');
	is(join(' ', grep { $_ ne '202' && $_ ne '409' } keys %by), '', "$door->{name}: fifty clients at once are answered, or told that it is in flight");
	is(scalar(keys %{ { map { $_->{body} => 1 } @{ $by{202} } } }), 1, "$door->{name}: by the same");
	is($jobs->("Race by $door->{name}"), 1, "$door->{name}: there is one job");

	# and its provider says fifty times that it is done
	my $job = sql($node, "select id from musicverse.generation_jobs where user_id = '$racer' and prompt = 'Race by $door->{name}'");
	wait_job($node, $job, 'started');
	my $done = json({ id => work_row($node, $job)->{remote_id}, status => 'succeeded', result => { audio_url => "https://audio.example/race-$door->{name}.mp3" } });
	%by = at_once($door, '/api/v1/providers/caller/callback', $done, sign($done, id => 'msg_race'));
	is(join(' ', map { "$_ " . @{ $by{$_} } } sort keys %by), '200 50', "$door->{name}: fifty callbacks at once are taken");
	is(sql($node, "select count(*) from musicverse.tracks where audio_url = 'https://audio.example/race-$door->{name}.mp3'"), 1, "$door->{name}: there is one track");
}
my $script = $node->basedir . '/race.sql';
open my $file, '>', $script or die "$script: $!";
print $file sprintf q(insert into public.answers select status, headers ->> 'Idempotency-Replayed', body
	from musicverse.handle_request('POST', '/api/v1/generate', null, %s, '{"prompt": "Race by sql", "style": "Called"}');) . "\n", lit({ 'X-API-Key' => $key, 'Idempotency-Key' => 'race-sql' });
close $file;
sql($node, 'create table public.answers (status int, replayed text, body text)');
$node->command_ok([ 'pgbench', '-n', '-c', 50, '-j', 2, '-t', 4, '-f', $script, 'postgres' ], 'sql: fifty sessions send the same four times each');
is(sql($node, q(select count(*) from public.answers where status not in (202, 409))), '0', 'sql: each gets the answer, or is told that it is in flight');
is(sql($node, q(select count(*) filter (where replayed is null) || ' ' || count(distinct body) from public.answers where status = 202)), '1 1', 'sql: the answer was new to one of them, and the same for all');
is($jobs->('Race by sql'), 1, 'sql: there is one job');

# ---- what differed

foreach my $door (@doors[ 1 .. $#doors ])
{
	my ($mine, $first) = map { $seen{ $_->{name} } } $door, $doors[0];
	s/(gateway|edge|sql)\b/DOOR/g foreach @$mine;
	my @differences = map { my $f = $first->[$_] // 'nothing'; $f =~ s/(gateway|edge|sql)\b/DOOR/g; my $m = $mine->[$_] // 'nothing'; $f eq $m ? () : "$doors[0]{name}: $f\n$door->{name}: $m" } 0 .. ($#$mine > $#$first ? $#$mine : $#$first);
	is(scalar(@differences), 0, "$door->{name}: answers all " . @$mine . " requests as the $doors[0]{name} does") or diag(join "\n", @differences > 20 ? @differences[ 0 .. 19 ] : @differences);
}

done_testing();

# Every route by the dispatcher, with a key: its status, the answer by the
# judges, what the scope of the key lets pass, and what keys may hand out.
use MusicVerse::Test;

use File::Temp ();
use IPC::Run ();

my $node = new_cluster('main');
my $receiver = start_receiver();
my $dir      = File::Temp->newdir;
my $user     = user(1);

sql($node, qq{
	insert into musicverse.tiers (name, burst, refill_per_second, max_api_keys, max_webhooks, max_concurrent_jobs) values ('test', 100000, 1000, 100, 100, 10);
	select musicverse.set_tier('$user', 'test');
});

sub key
{
	my (%with) = @_;
	return sql_row($node, sprintf q{select id, key from musicverse.create_api_key('%s', 'test', %s, %s, %s)},
		$user, lit($with{scopes} // '{}'), lit($with{expires_at}), lit($with{cidrs}));
}

# (status, headers, body) of a request
sub request
{
	my ($method, $path, $body, $key, %headers) = @_;
	my $answer = sql_row($node, sprintf q{select status, headers, body from musicverse.handle_request(%s, %s, '{}', %s, %s, '192.0.2.1')},
		lit($method), lit($path), lit({ ($key ? (authorization => "Bearer $key") : ()), (defined $body ? ('content-type' => 'application/json') : ()), %headers }),
		lit(defined $body ? json($body) : ''));
	my $json = length($answer->{body} // '') ? from_json($answer->{body}) : undef;
	return ($answer->{status}, $answer->{headers}, $json);
}

my %document = map { $_ => sql_json($node, "select musicverse.openapi('$_')") } qw(v1 v2);
foreach my $version (qw(v1 v2))
{
	open my $file, '>:raw', "$dir/$version.json" or die "$!\n";
	print $file json($document{$version});
	close $file;
}

# operation => [method, path, status, scope]
my %route;
foreach my $row (sql_rows($node, 'select version, operation, method, path, status, scope, tag from musicverse.routes where is_shipped'))
{
	$route{ $row->{version} }{ $row->{operation} } = $row;
}

my (@cases, %called);
my $every = key()->{key};

# Calls an operation with a key that may do everything, but first with ones that may do nothing of it
sub call
{
	my ($version, $operation, $path, $query, $body) = @_;
	my $route  = $route{$version}{$operation} or die "no $operation in $version";
	my $target = $route->{path} =~ s/\{(\w+)\}/$path->{$1}/gr;
	$target .= '?' . join('&', map { "$_=$query->{$_}" } sort keys %$query) if $query && %$query;
	if ($route->{scope} && !$called{$version}{$operation}++)
	{
		my ($status) = request($route->{method}, $target, $body, key_without($route->{scope}));
		is($status, 403, "$version $operation: needs its scope");
		($status) = request($route->{method}, $target, $body, undef);
		is($status, 401, "$version $operation: and a key");
	}
	my ($status, $headers, $answer) = request($route->{method}, $target, $body, $every);
	is($status, $route->{status}, "$version $operation: $route->{status}") or diag(json($answer));
	push @cases, { document => "$dir/$version.json", operation => $operation, answer => $answer } if $operation ne 'get_openapi';
	return $answer;
}

my %without;

sub key_without
{
	my ($scope) = @_;
	return $without{$scope} //= key(scopes => '{' . sql($node, "select string_agg(name, ',') from musicverse.scopes where name <> '$scope'") . '}')->{key};
}

my $nothing = '00000000-0000-4000-8000-0000000000ff';
foreach my $version (qw(v1 v2))
{
	my $v1 = $version eq 'v1';
	my $job = call($version, $v1 ? 'generate' : 'create_job', {}, {}, { prompt => 'Rain', style => 'Ambient', duration => 60, params => { seed => 1 } });
	my $job_id = $v1 ? $job->{job_id} : $job->{id};
	call($version, 'list_jobs', {}, { limit => 5 });
	call($version, 'get_job',    { job_id => $job_id });
	call($version, 'cancel_job', { job_id => $job_id });

	my $track = sql($node, qq{insert into musicverse.tracks (user_id, title, style) values ('$user', 'Rain', 'Ambient') returning id});
	call($version, 'list_tracks', {}, { style => 'Ambient', sort => '-created_at', created_after => '2001-01-01T00:00:00Z' });
	call($version, 'get_track', { track_id => $track });
	is(call($version, 'update_track', { track_id => $track }, {}, { title => undef, metadata => { a => 1 } })->{title}, undef, "$version: null empties");
	is(call($version, 'update_track', { track_id => $track }, {}, { title => 'Heavy rain' })->{style}, 'Ambient', "$version: what is left out stays");
	call($version, 'delete_track', { track_id => $track });

	my $hook = call($version, 'create_webhook', {}, {}, { url => $receiver->url($version), events => ['webhook.*'], headers => { 'X-A' => 'b' } });
	my %hook = (webhook_id => $hook->{id});
	call($version, 'list_webhooks');
	call($version, 'get_webhook', \%hook);
	my $changed = call($version, 'update_webhook', \%hook, {}, { description => 'x', timeout => 5, retry_schedule => [ 5, '1min' ], rate_limit => 1000, filter => '$.data' });
	is_deeply([ @$changed{qw(timeout retry_schedule description)} ], [ 5, [ 5, 60 ], 'x' ], "$version: a webhook is changed");
	is(call($version, 'update_webhook', \%hook, {}, { timeout => undef })->{timeout}, undef, "$version: and set back");
	call($version, 'rotate_webhook_secret', \%hook, {}, { overlap_seconds => 60 });
	my $delivery = call($version, 'test_webhook', \%hook, {}, {})->{delivery_id};
	wait_for_sql($node, "select status from musicverse.webhook_deliveries where id = '$delivery'", 'delivered', 30, 'the delivery');
	call($version, 'get_webhook_stats', \%hook, { period_seconds => 60 });
	call($version, 'replay_webhook', \%hook, {}, { since => '2001-01-01T00:00:00Z', dry_run => \1 });
	call($version, 'list_deliveries', {}, { webhook_id => $hook->{id}, status => 'delivered' });
	call($version, 'get_delivery',    { delivery_id => $delivery });
	call($version, 'replay_delivery', { delivery_id => $delivery });
	call($version, 'disable_webhook', \%hook, {}, { reason => 'Enough' });
	call($version, 'enable_webhook',  \%hook);
	call($version, $v1 ? 'poll_events' : 'list_events');
	call($version, 'delete_webhook', \%hook);

	call($version, 'list_event_types', {}, { limit => 100 });
	call($version, 'list_scopes');
	call($version, 'get_openapi');
	my $key = call($version, 'create_api_key', {}, {}, { name => 'production', scopes => ['tracks:read'], allowed_cidrs => ['192.0.2.0/24'] });
	call($version, 'list_api_keys');
	call($version, 'get_api_key', { key_id => $key->{id} });
	my $next = call($version, 'rotate_api_key', { key_id => $key->{id} }, {}, {});
	call($version, 'revoke_api_key', { key_id => $next->{id} });
	is(call($version, 'get_me')->{key}{name}, 'test', "$version: the key that asks is told");
	call($version, 'get_usage', {}, { from => '2026-03-01T00:00:00Z', to => '2026-03-02T00:00:00Z', bucket => 'hour' });
	call($version, 'get_usage_top', {}, { by => 'operation' });

	# nobody carries it anywhere: the partner stays away
	sql($node, q{select musicverse.configure_partner('labelgrid', 'http://127.0.0.1:9', '{}')});
	my $song    = sql($node, qq{insert into musicverse.tracks (user_id, title, audio_url, cover_url) values ('$user', 'Rain', 'https://x.example.com/a.flac', 'https://x.example.com/c.png') returning id});
	my %fit     = (track_ids => [$song], platforms => ['spotify'], metadata => { artist => 'Mira', label => 'Mira', genre => 'Pop', language => 'en', p_line => '2026 Mira', c_line => '2026 Mira' });
	is(call($version, 'check_distribution', {}, {}, \%fit)->{is_fit}, JSON::PP::true, "$version: a release is fit");
	my %release = (distribution_id => call($version, 'create_distribution', {}, {}, { %fit, submit => \0 })->{id});
	call($version, 'list_distributions', {}, { status => 'pending' });
	call($version, 'get_distribution', \%release);
	is(call($version, 'update_distribution', \%release, {}, { metadata => { title => 'Heavy rain' } })->{revision}, 2, "$version: a release is changed");
	call($version, 'submit_distribution', \%release);
	call($version, 'get_distribution_timeline', \%release, { limit => 2 });
	sql($node, "insert into musicverse.distribution_facts (distribution_id, user_id, platform, territory, day, source, streams, revenue, currency) values "
		  . "('$release{distribution_id}', '$user', 'spotify', 'SE', current_date - 1, 'labelgrid', 7, 0.5, 'EUR'), ('$release{distribution_id}', '$user', 'spotify', null, current_date - 1, 'labelgrid', 3, 0, null)");
	is(call($version, 'get_distribution_stats', \%release, { by => $_ })->{totals}{streams}, 10, "$version: streams by $_") foreach qw(day platform territory track);
	is(call($version, 'get_stats', {}, { by => 'distribution', platform => 'spotify' })->{data}[-1]{revenue}{EUR}, 0.5, "$version: revenue of all");
	is(call($version, 'cancel_distribution', \%release)->{status}, 'cancelled', "$version: a release is cancelled");
	sql($node, "set session_replication_role = replica; update musicverse.distribution_targets set status = 'live' where distribution_id = '$release{distribution_id}'; update musicverse.distribution_work set goal = 'deliver' where distribution_id = '$release{distribution_id}'");
	call($version, 'takedown_distribution', \%release, {}, { platforms => ['spotify'] });

	sql($node, q{select musicverse.configure_partner('soundcloud', 'http://127.0.0.1:9', '{"client_id": "app", "client_secret": "s"}', '{"token_url": "http://127.0.0.1:9/token"}')});
	my %cloud = (name => 'soundcloud');
	is(call($version, 'list_partners')->{data}[0]{account}, undef, "$version: nobody has logged in");
	my ($state) = call($version, 'authorize_partner', \%cloud, {}, { redirect_uri => 'https://music.example.com/connected' })->{url} =~ /[?&]state=([\w-]+)/;
	is(call($version, 'partner_authorized', \%cloud, {}, { state => $state, code => 'c' })->{status}, 'pending', "$version: somebody logs in");
	call($version, 'get_partner_account', \%cloud);
	is(call($version, 'list_partners')->{data}[0]{account}{status}, 'pending', "$version: which is listed");
	call($version, 'disconnect_partner', \%cloud);

	# nothing of somebody else's, and nothing that isn't
	foreach my $operation (sort keys %{ $route{$version} })
	{
		my $route = $route{$version}{$operation};
		next if $route->{path} !~ /\{/;
		my $body = $operation eq 'replay_webhook' ? { since => '2001-01-01T00:00:00Z' } : $operation eq 'update_distribution' ? { metadata => {} }
		  : $operation eq 'confirm_distribution' ? { platform => 'spotify' } : $operation eq 'authorize_partner' ? { redirect_uri => 'https://a.example.com/' } : $operation eq 'partner_authorized' ? { state => 'x', code => 'y' } : undef;
		my ($status, $headers, $problem) = request($route->{method}, $route->{path} =~ s/\{\w+\}/$nothing/r, $body, $every);
		is("$status $headers->{'Content-Type'}", '404 application/problem+json', "$version $operation: 404") or diag(json($problem));
	}
}

my ($in, $out, $err) = (join('', map { json($_) . "\n" } @cases), '', '');
IPC::Run::run([ 'node', "$root/test/judge-openapi/judge.mjs" ], \$in, \$out, \$err);
my @verdicts = split /\n/, $out;
foreach my $i (0 .. $#cases)
{
	diag("$cases[$i]{operation}: $verdicts[$i]") if ($verdicts[$i] // '') ne 'ok';
}
is(scalar(grep { $_ eq 'ok' } @verdicts), scalar(@cases), 'all answers are as described');

# ---- examples of the description are taken

foreach my $operation (sort keys %{ $route{v1} })
{
	my $route = $route{v1}{$operation};
	my $described = $document{v1}{paths}{ $route->{path} }{ lc $route->{method} };
	my $example = $described->{requestBody} && $described->{requestBody}{content}{'application/json'}{example} or next;
	my ($status) = request($route->{method}, $route->{path} =~ s/\{\w+\}/$nothing/r, $example, $every);
	ok($status != 400 && ($status != 422 || $operation eq 'create_distribution'), "the example of $operation is taken ($status)");
}

# ---- problems are as their examples say

my $reader = key(scopes => '{jobs:read}')->{key};
my $ended  = sql($node, qq{insert into musicverse.generation_jobs (user_id, prompt, status) values ('$user', 'x', 'completed') returning id});
foreach my $case (
	[ 400, 'GET', '/api/v1/webhooks?x=1', undef, $every ],
	[ 401, 'GET', '/api/v1/tracks', undef, undef ],
	[ 403, 'GET', '/api/v1/tracks', undef, $reader ],
	[ 404, 'GET', "/api/v1/tracks/$nothing", undef, $every ],
	[ 409, 'POST', "/api/v1/jobs/$ended/cancel", undef, $every ],
	[ 422, 'POST', '/api/v1/generate', { prompt => '' }, $every ])
{
	my ($expected, @request) = @$case;
	my ($status, undef, $problem) = request(@request);
	my $example = $document{v1}{components}{responses}{"Problem$expected"}{content}{'application/problem+json'}{example};
	is("$status $problem->{type} $problem->{title}", "$expected $example->{type} $example->{title}", "$expected is as its example");
	# ids aside
	is($problem->{detail} =~ s/[0-9a-f]{8}-[0-9a-f-]{27}/ID/r, $example->{detail} =~ s/[0-9a-f]{8}-[0-9a-f-]{27}/ID/r, "$expected: to the word")
	  unless $expected == 400;
	my $known = $document{v1}{components}{schemas}{Problem}{properties};
	is_deeply([ grep { !exists $known->{$_} } sort keys %$problem ], [], "$expected: with no member that is not described");
}

# ---- a key hands out no more than it may do itself

my $some  = key(scopes => '{keys:write,tracks:read}');
my $bound = key(expires_at => '2999-01-01', cidrs => '{192.0.2.0/24}');
foreach my $case (
	[ $some, 201, 'a key of its own scopes', { name => 'x', scopes => ['tracks:read'] } ],
	[ $some, 403, 'no key for every scope', { name => 'x' } ],
	[ $some, 403, 'no key for every scope, in so many words', { name => 'x', scopes => [] } ],
	[ $some, 403, 'no key for another', { name => 'x', scopes => [ 'tracks:read', 'generate' ] } ],
	[ $bound, 201, 'a bound key of a bound one', { name => 'x', expires_at => '2998-01-01T00:00:00Z', allowed_cidrs => ['192.0.2.64/26'] } ],
	[ $bound, 403, 'no key for ever', { name => 'x', allowed_cidrs => ['192.0.2.0/24'] } ],
	[ $bound, 403, 'no key from everywhere', { name => 'x', expires_at => '2998-01-01T00:00:00Z' } ])
{
	my ($key, $expected, $name, $body) = @$case;
	my ($status, undef, $answer) = request('POST', '/api/v1/api-keys', $body, $key->{key});
	is($status, $expected, $name) or diag(json($answer));
}
my ($status) = request('POST', "/api/v1/api-keys/$bound->{id}/rotate", {}, $some->{key});
is($status, 403, 'nor by rotating one that may do more');
($status) = request('POST', "/api/v1/api-keys/$some->{id}/rotate", {}, $some->{key});
is($status, 201, 'but itself');
is(sql($node, 'select musicverse._caller_key_id() is null'), 't', 'no key is left behind');

# ---- pages

sql($node, qq{insert into musicverse.tracks (user_id, title, created_at) select '$user', n, '2026-01-01Z'::timestamptz + (n / 3) * interval '1 s' from generate_series(1, 25) n});
foreach my $version (qw(v1 v2))
{
	my ($target, $pages, %seen) = ("/api/$version/tracks?limit=7&created_before=2026-02-01T00:00:00Z", 0);
	while ($target)
	{
		my ($status, $headers, $page) = request('GET', $target, undef, $every);
		is($status, 200, "$version: a page") or last;
		$pages++;
		$seen{ $_->{id} }++ foreach @{ $page->{data} };
		($target) = ($headers->{Link} // '') =~ /<([^>]*)>; rel="next"/;
		is(!!$target, !!defined $page->{next_cursor}, "$version: its link");
	}
	is("$pages " . keys(%seen) . ' ' . grep({ $_ > 1 } values %seen), '4 25 0', "$version: all tracks, once each, by the links");
}
($status) = request('GET', '/api/v2/tracks?offset=1', undef, $every);
is($status, 400, 'version 2 knows no offset');

done_testing();

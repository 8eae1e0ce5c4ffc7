# The description of the API is judged by other people's code: the document of
# both versions by two validators, and what every operation really answers by
# the schema and the example of its route.
use MusicVerse::Test;

use File::Temp ();
use IPC::Run ();

my $node     = new_cluster('main');
my $receiver = start_receiver();
my $dir      = File::Temp->newdir;
my ($user, $other) = (user(1), user(2));

# The judges' words on some cases, see judge.mjs
sub judge
{
	my ($in, $out, $err) = (join('', map { json($_) . "\n" } @_), '', '');
	IPC::Run::run([ 'node', "$root/test/judge-openapi/judge.mjs" ], \$in, \$out, \$err);
	die "the judges failed: $err" unless split(/\n/, $out) == @_;
	return split /\n/, $out;
}

sub spew
{
	my ($name, $text) = @_;
	open my $file, '>:raw', "$dir/$name" or die "$dir/$name: $!\n";
	print $file $text;
	close $file;
	return "$dir/$name";
}

# ---- the documents

my %text     = map { $_ => sql($node, "select musicverse.openapi('$_')") } qw(v1 v2);
my %document = map { $_ => spew("$_.json", $text{$_}) } qw(v1 v2);
my @verdicts = judge(map { { document => $document{$_} } } qw(v1 v2));
is($verdicts[0], 'ok', 'version 1 is valid, and holds to the rules of a linter');
is($verdicts[1], 'ok', 'so is version 2');

my $v1 = from_json($text{v1});
is($v1->{openapi}, '3.1.0', 'it is OpenAPI 3.1');
is_deeply([ sort keys %{ $v1->{webhooks} } ], [ split /\n/, sql($node, 'select name from musicverse.event_types order by name collate "C"') ],
	'every event type is described as a webhook');
is_deeply([ map { $_->{name} } @{ $v1->{webhooks}{'track.created'}{post}{parameters} } ], [qw(webhook-id webhook-timestamp webhook-signature)],
	'with the headers of Standard Webhooks');
is_deeply([ sort map { map { $_->{operationId} } values %$_ } values %{ $v1->{paths} } ],
	[ split /\n/, sql($node, q{select operation from musicverse.routes where version = 'v1' order by operation::text collate "C"}) ],
	'every route is an operation');
is_deeply($v1->{paths}{'/api/v1/tracks/{track_id}'}{delete}{security}, [ { bearer => ['tracks:write'] }, { apiKey => ['tracks:write'] },
		{ bearer => ['tracks:write'], signature => [] } ], 'an operation names its scope');
is_deeply($v1->{paths}{'/api/v1/scopes'}{get}{security}, [], 'and what needs no key says so');

# The judges can say no
my $broken = from_json($text{v1});
$broken->{paths}{'/api/v1/tracks'}{get}{parameters}[0]{in} = 'nowhere';
$broken->{paths}{'/api/v1/me'}{get}{operationId} = 'get_job';
my ($said) = judge({ document => spew('broken.json', json($broken)) });
like($said, qr/^bad: .*operationId.*schema: \[/, 'a broken document is found by both');

# What a host adds is described as well
sql($node, q{
	insert into musicverse.api_schemas (version, name, schema) values ('v1', 'Playlist', '{"type": "object", "properties": {"name": {"type": "string"}}, "examples": [{"name": "Rain"}]}');
	insert into musicverse.routes (version, method, path, operation, tag, summary, response_schema)
	values ('v1', 'GET', '/api/v1/playlist', 'get_playlist', 'Playlists', 'Show the playlist', '{"$ref": "#/components/schemas/Playlist"}');
	select musicverse.register_event_type('playlist.shared', 'A playlist was shared', '{"name": "Rain"}');
});
my $more = sql($node, 'select musicverse.openapi()');
like($more, qr/playlist\.shared/, 'the event of a host is in it');
# Redocly wants a description of every tag, which routes do not have
like((judge({ document => spew('more.json', $more) }))[0], qr/^(ok|bad: tag-description: [^;]+)$/, 'and it is still valid');
sql($node, q{delete from musicverse.routes where operation = 'get_playlist'; delete from musicverse.api_schemas where name = 'Playlist'});

# ---- the answers

sql($node, q{
	create role service;
	create role web;
	select musicverse.expose_to('service', 'web', null);
	grant usage on schema musicverse_v1, musicverse_v2 to web;
	grant execute on all functions in schema musicverse_v1, musicverse_v2 to web;
	do $do$
	begin
		if not exists (select from pg_proc where pronamespace = 'musicverse'::regnamespace and proname = 'generate') then
			create function musicverse.generate(user_id uuid, prompt text, style text, duration int, params jsonb, idempotency_key text)
			returns uuid language sql security definer set search_path = musicverse, pg_temp as
			'insert into generation_jobs (user_id, prompt, style, duration, params) values ($1, $2, $3, $4, $5) returning id';
			grant execute on function musicverse.generate to web;
		end if;
	end
	$do$;
	select musicverse.set_tier('} . $user . q{', 'pro');
});

my (@cases, %called);

# Calls an operation as the user, as PostgREST would; its answer goes to the judges
sub call
{
	my ($version, $operation, %arguments) = @_;
	my $list = join ', ', map { qq{"$_" => } . (ref $arguments{$_} eq 'SCALAR' ? ${ $arguments{$_} } : lit($arguments{$_})) } sort keys %arguments;
	my $text = sql($node, qq{set role web; set request.jwt.claims = '{"sub": "$user", "role": "web"}'; select musicverse_$version.$operation($list)});
	my $answer = $text eq '' ? undef : from_json($text);
	push @cases, { document => $document{$version}, operation => $operation, answer => $answer };
	$called{$version}{$operation} = 1;
	return $answer;
}

foreach my $version (qw(v1 v2))
{
	my $hook = call($version, 'create_webhook', url => $receiver->url($version), events => '{*}', description => 'All', headers => { 'x-a' => 'b' });
	my $job = call($version, $version eq 'v1' ? 'generate' : 'create_job', prompt => 'Rain', style => 'Ambient', duration => 60, params => { seed => 1 });
	my $id = $job->{ $version eq 'v1' ? 'job_id' : 'id' };
	my $track = sql($node, qq{insert into musicverse.tracks (user_id, title, style, prompt, duration, audio_url) values ('$user', 'Rain', 'Ambient', 'Rain', 60, 'https://cdn.example.com/rain.flac') returning id});
	call($version, 'get_job', job_id => $id);
	call($version, 'list_jobs');
	call($version, 'cancel_job', job_id => $id);
	sql($node, qq{insert into musicverse.generation_jobs (user_id, prompt, status, track_id) values ('$user', 'Rain', 'completed', '$track')});
	is(scalar @{ call($version, 'list_jobs', limit => 1, status => 'completed')->{data} }, 1, "$version: a completed job");
	call($version, 'list_tracks', limit => 1);
	call($version, 'get_track', track_id => $track);
	call($version, 'update_track', track_id => $track, title => \q{'"Heavy rain"'});
	call($version, 'delete_track', track_id => $track);

	wait_for_sql($node, qq{select count(*) >= 3 and bool_and(status = 'delivered') from musicverse.webhook_deliveries where webhook_id = '$hook->{id}'},
		't', 60, 'deliveries');
	my $deliveries = call($version, 'list_deliveries', webhook_id => $hook->{id});
	my $detail     = call($version, 'get_delivery',    delivery_id => $deliveries->{data}[0]{id});
	is($detail->{attempts}[0]{response_status}, 200, "$version: an attempt as it was");
	is($detail->{payload}{type},                $detail->{event_type}, "$version: and what was sent");
	call($version, 'replay_delivery', delivery_id => $detail->{id});
	call($version, 'get_webhook',     webhook_id  => $hook->{id});
	call($version, 'list_webhooks');
	call($version, 'update_webhook', webhook_id => $hook->{id}, timeout => \q{'"20s"'}, retry_schedule => \q{'[5, "1h"]'}, rate_limit => \q{'100'});
	call($version, 'update_webhook', webhook_id => $hook->{id}, signing => \q{'"ed25519"'});
	call($version, 'rotate_webhook_secret', webhook_id => $hook->{id}, overlap_seconds => 60);
	call($version, 'update_webhook', webhook_id => $hook->{id}, signing => \'null');
	call($version, 'rotate_webhook_secret', webhook_id => $hook->{id});
	call($version, 'test_webhook', webhook_id => $hook->{id});
	call($version, 'replay_webhook', webhook_id => $hook->{id}, since => '2001-01-01', only_failed => 'false');
	call($version, 'get_webhook_stats', webhook_id => $hook->{id});
	call($version, 'disable_webhook',   webhook_id => $hook->{id}, reason => 'Enough');
	call($version, 'enable_webhook',    webhook_id => $hook->{id});
	call($version, $version eq 'v1' ? 'poll_events' : 'list_events');
	call($version, 'list_event_types', limit => 100);
	call($version, 'list_scopes');
	my $key = call($version, 'create_api_key', name => 'production', scopes => '{tracks:read}', expires_at => '2999-01-01', allowed_cidrs => '{192.0.2.0/24}');
	like($key->{key}, qr/^mvai_\w{38}$/, "$version: a key");
	sql($node, qq{select musicverse.verify_api_key('$key->{key}', 'tracks:read', '192.0.2.1'); select musicverse.record_usage('$user', '$key->{id}', 'list_tracks', 200, '5 ms', 1, 2)});
	call($version, 'get_api_key', key_id => $key->{id});
	call($version, 'list_api_keys');
	my $next = call($version, 'rotate_api_key', key_id => $key->{id}, overlap_seconds => 60);
	call($version, 'revoke_api_key', key_id => $next->{id});
	call($version, 'get_me');
	sql($node, 'select musicverse.flush_usage()');
	is(call($version, 'get_usage')->{bucket}, 'day', "$version: usage");
	ok(@{ call($version, 'get_usage_top')->{data} } >= 1, "$version: of operations");
	call($version, 'get_usage_top', by => 'key');
	is(call($version, 'get_openapi')->{info}{version}, $version, "$version: its own description");
	pop @cases;
	call($version, 'delete_webhook', webhook_id => $hook->{id});

	is_deeply([ sort keys %{ $called{$version} } ],
		[ split /\n/, sql($node, qq{select operation from musicverse.routes where version = '$version' and tag <> 'Distribution' and not is_raw order by operation::text collate "C"}) ],
		"$version: every operation was called");
}
@verdicts = judge(@cases);
foreach my $i (0 .. $#cases)
{
	next if $verdicts[$i] eq 'ok';
	diag("$cases[$i]{operation}: $verdicts[$i]\n" . json($cases[$i]{answer}));
}
is(scalar(grep { $_ ne 'ok' } @verdicts), 0, 'all ' . @cases . ' answers are as described');

# And the judges would have said otherwise
my ($listed) = grep { $_->{operation} eq 'get_api_key' } @cases;
is_deeply([ map { /^(ok|bad)/ } judge($listed, { %$listed, answer => { %{ $listed->{answer} }, scopes => 'all' } },
			{ %$listed, answer => { %{ $listed->{answer} }, surprise => 1 } }, { %$listed, answer => {} }) ],
	[qw(ok bad bad bad)], 'another answer is not');

done_testing();

# Every example in the description of the API, done: what it says to send is
# sent to the gateway, with the ids of what is there, and what comes back is
# judged by the schemas it promises, by other people's code. So is every refusal
# that can be had for the asking, and what is really delivered to a webhook.
use MusicVerse::Test;
use MusicVerse::Api;
use MusicVerse::Gateway qw(gateway_port base);
use MusicVerse::Provider;

use Digest::SHA qw(hmac_sha256_base64);
use File::Temp ();
use IPC::Run ();
use MIME::Base64 qw(decode_base64);

my $node     = new_cluster('main', MusicVerse::Api::settings(), 'musicverse.anonymous_burst' => 0, 'musicverse.usage_flush_interval' => '1h');
my $door     = bless { name => 'gateway', base => base(gateway_port($node)), how => \&MusicVerse::Api::by_http }, 'MusicVerse::Api';
my $receiver = start_receiver();
my $dir      = File::Temp->newdir;
my $user     = user(1);
my $secret   = 'whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=';
my $nothing  = '00000000-0000-4000-8000-0000000000ff';

sql($node, qq{
	insert into musicverse.tiers (name, burst, refill_per_second, max_api_keys, max_webhooks, max_concurrent_jobs) values ('wide', 100000, 1000, 200, 100, 10), ('tiny', 1, 0.001, 9, 9, 9);
	select musicverse.set_tier('$user', 'wide'), musicverse.set_tier('${\user(2)}', 'tiny')});
my $key  = sql($node, "select key from musicverse.create_api_key('$user', 'all')");
my $used = sql($node, "select key from musicverse.create_api_key('${\user(2)}', 'used up')");

my (%text, %file);
foreach my $version (qw(v1 v2))
{
	$text{$version} = $door->request('GET', "/api/$version/openapi.json")->{content};
	$file{$version} = "$dir/$version.json";
	open my $out, '>:raw', $file{$version} or die "$file{$version}: $!\n";
	print $out $text{$version};
	close $out;
}
my %document = map { $_ => from_json($text{$_}) } qw(v1 v2);

# ---- judging, all at the end by one process

my @cases;    # [ what, case ]

sub judged { my ($what, %case) = @_; push @cases, [ $what, \%case ]; return; }

judged("$_: every example is what its schema says", document => $file{$_}, examples => \1) foreach qw(v1 v2);

# ---- operations by their examples

# path, method, and the Operation Object
sub described
{
	my ($version, $id) = @_;
	foreach my $path (keys %{ $document{$version}{paths} })
	{
		foreach my $method (keys %{ $document{$version}{paths}{$path} })
		{
			my $operation = $document{$version}{paths}{$path}{$method};
			return (uc $method, $path, $operation) if $operation->{operationId} eq $id;
		}
	}
	die "no operation $id in $version\n";
}

# The target, with ids of ours for the examples', and other parameters as they are shown
sub target
{
	my ($path, $operation, $ids) = @_;
	my @query;
	foreach my $parameter (@{ $operation->{parameters} })
	{
		next if $parameter->{'$ref'} || !exists $parameter->{example};
		my $value = $ids->{ $parameter->{name} } // $parameter->{example};
		if   ($parameter->{in} eq 'path') { $path =~ s/\{$parameter->{name}\}/$value/; }
		else                              { push @query, "$parameter->{name}=" . ($value =~ s/([^\w.~-])/sprintf '%%%02X', ord $1/ger); }
	}
	return @query ? "$path?" . join('&', @query) : $path;
}

sub example { my ($operation) = @_; return $operation->{requestBody} ? $operation->{requestBody}{content}{'application/json'}{example} : undef; }

# Sends it, and has the answer judged by what is described for its status
sub ask
{
	my ($version, $id, $status, $what, $method, $target, $headers, $body) = @_;
	my $got = $door->request($method, $target, $headers, $body);
	is($got->{status}, $status, "$version $id: $what, $status") or diag("$method $target: $got->{content}");
	judged("$version $id: $what is as described", document => $file{$version}, operation => $id, status => $got->{status}, headers => $got->{headers}, answer => length($got->{content}) ? $got->{json} : undef);
	return $got;
}

my %done;

sub run_example
{
	my ($version, $id, %ids) = @_;
	my ($method, $path, $operation) = described($version, $id);
	my ($status) = grep { /^2/ } keys %{ $operation->{responses} };
	my $target   = target($path, $operation, \%ids);
	my $body     = example($operation);
	exists $ids{$_} and $body->{$_} = $ids{$_} foreach ref $body ? keys %$body : ();
	my %key      = ('x-api-key' => $key);
	my $with     = { %key, defined $body ? ('content-type' => 'application/json') : () };
	die "$id has a body and no example of it\n" if $operation->{requestBody} && !defined $body;
	$done{$version}{$id} = 1;

	# what is refused, before it is done
	my $guarded = @{ $operation->{security} } > 0;
	ask($version, $id, 401, 'without a key', $method, $target, { 'content-type' => 'application/json' }, $body) if $guarded;
	my $scope = $guarded ? $operation->{security}[0]{bearer}[0] : undef;
	ask($version, $id, 403, 'without the scope', $method, $target, { %$with, 'x-api-key' => without($scope) }, $body) if defined $scope;
	if ($path =~ /\{\w+_id\}/)
	{
		ask($version, $id, 404, 'of what is not there', $method, target($path, $operation, { map { $_ => $nothing } $path =~ /\{(\w+)\}/g }), $with, $body);
		ask($version, $id, 404, 'of no id', $method, target($path, $operation, { map { $_ => 'x' } $path =~ /\{(\w+)\}/g }), $with, $body);
	}
	ask($version, $id, 400, 'with an unknown parameter', $method, $target . ($target =~ /\?/ ? '&' : '?') . 'surprise=1', $with, $body) if $id !~ /_callback$/;
	ask($version, $id, 406, 'as what it is not', $method, $target, { %$with, accept => 'image/png' }, $body) if $operation->{responses}{406};
	if (defined $body && $id !~ /_callback$/)
	{
		ask($version, $id, 400, 'with half a body', $method, $target, $with, '{');
		ask($version, $id, 413, 'with too much of it', $method, $target, $with, '{"x": "' . 'x' x 1_050_000 . '"}');
		ask($version, $id, 415, 'with another type', $method, $target, { %$with, 'content-type' => 'text/plain' }, $body);
		ask($version, $id, 422, 'with an array', $method, $target, $with, '[]');
		ask($version, $id, 422, 'with an unknown member', $method, $target, $with, { %$body, surprise => 1 });
		ask($version, $id, 422, "with a broken $_", $method, $target, $with, { %$body, $_ => { broken => [] } })
		  foreach grep { my $type = $operation->{requestBody}{content}{'application/json'}{schema}{properties}{$_}{type}; !grep { $_ eq 'object' } ref $type ? @$type : $type } sort keys %$body;
		judged("$version $id: the example is a request", document => $file{$version}, request => $id, answer => $body);
	}
	elsif ($guarded && $method ne 'GET')
	{
		ask($version, $id, 422, 'with a body where none is', $method, $target, $with, { surprise => 1 });
	}
	ask($version, $id, 429, 'by who has used it up', $method, $target, { %$with, 'x-api-key' => $used }, $body) if $guarded;

	return if $id =~ /_callback$/;
	my $got = ask($version, $id, $status, 'the example', $method, $target, $with, $body);
	judged("$version $id: the answer has the members of its example", document => $file{$version}, operation => $id, answer => length($got->{content}) ? $got->{json} : undef) if $got->{status} < 300 && $id ne 'get_openapi';
	if ($operation->{responses}{304})
	{
		# what a worker changes meanwhile has another tag
		my $etag = $got->{headers}{etag};
		for (1 .. 5)
		{
			my $now = $door->request($method, $target, { %$with, 'if-none-match' => $etag });
			last if $now->{status} != 200;
			$etag = $now->{headers}{etag};
		}
		ask($version, $id, 304, 'the same again', $method, $target, { %$with, 'if-none-match' => $etag });
	}
	return $got->{json};
}

# One that is signed instead, and what its door refuses
sub run_callback
{
	my ($version, $id, $sender) = @_;
	run_example($version, $id);
	my ($method, $path, $operation) = described($version, $id);
	my ($target, $body, $ts) = (target($path, $operation, {}), json(example($operation)), time);
	my %signed = (
		'webhook-id' => 'msg_1', 'webhook-timestamp' => $ts,
		'webhook-signature' => 'v1,' . hmac_sha256_base64("msg_1.$ts.$body", decode_base64($secret =~ s/^whsec_//r)) . '=');
	ask($version, $id, 401, 'unsigned', $method, $target, {}, $body);
	ask($version, $id, 404, 'of nobody', $method, $target =~ s/$sender/nobody/r, \%signed, $body);
	ask($version, $id, 413, 'too large', $method, $target, {}, 'x' x 1_050_000);
	ask($version, $id, 200, 'the example, signed', $method, $target, \%signed, $body);
	return;
}

my %without;

sub without
{
	my ($scope) = @_;
	return $without{$scope} //= sql($node, "select key from musicverse.create_api_key('$user', 'without $scope', array(select name from musicverse.scopes where name <> '$scope'))");
}

# A release that its partner has
sub handed_over
{
	my ($platforms, %release) = @_;
	my $id = sql($node, qq{select musicverse.create_distribution('$user', '{$release{track_ids}[0]}', '{$platforms}', '$release{release_date}', '{"artist": "Mira", "label": "Mira Records", "language": "zxx", "p_line": "2026 Mira Records", "c_line": "2026 Mira Records"}')});
	sql($node, "update musicverse.distribution_targets set status = '$_' where distribution_id = '$id'") foreach qw(scheduled delivering processing);
	return $id;
}

# spends what it has
$door->request('GET', '/api/v1/me', { 'x-api-key' => $used });

foreach my $version (qw(v1 v2))
{
	my $v1  = $version eq 'v1';
	my %key = ('x-api-key' => $key);

	my $job = run_example($version, $v1 ? 'generate' : 'create_job');
	my %job = (job_id => $v1 ? $job->{job_id} : $job->{id});
	run_example($version, 'get_job', %job);
	run_example($version, 'cancel_job', %job);
	my $track = sql($node, qq{insert into musicverse.tracks (user_id, title, style, prompt, duration, audio_url, created_at) values ('$user', 'Battle', 'Orchestral', 'x', 60, 'https://cdn.example.com/1.flac', '2026-03-09Z') returning id});
	my $over  = sql($node, qq{insert into musicverse.generation_jobs (user_id, prompt, status, track_id) values ('$user', 'x', 'completed', '$track') returning id});
	ask($version, 'cancel_job', 409, 'when it is over', 'POST', "/api/$version/jobs/$over/cancel", \%key);
	is(scalar @{ run_example($version, 'list_jobs')->{data} }, $v1 ? 1 : 2, "$version list_jobs: one is completed");
	is(scalar @{ run_example($version, 'list_tracks')->{data} }, 1, "$version list_tracks: one of the style");
	run_example($version, $_, track_id => $track) foreach qw(get_track update_track delete_track);

	my $hook = run_example($version, 'create_webhook');
	my %hook = (webhook_id => $hook->{id});
	run_example($version, 'list_webhooks');
	run_example($version, $_, %hook) foreach qw(get_webhook get_webhook_stats update_webhook rotate_webhook_secret test_webhook disable_webhook);
	ask($version, 'test_webhook', 409, 'when it is disabled', 'POST', "/api/$version/webhooks/$hook->{id}/test", { %key, 'content-type' => 'application/json' }, '{}');
	run_example($version, 'enable_webhook', %hook);

	# a delivery that has come to its end
	my $reached = from_json($door->request('POST', "/api/$version/webhooks", \%key, { url => $receiver->url("reached-$version"), events => ['webhook.*'] })->{content});
	my $sent = from_json($door->request('POST', "/api/$version/webhooks/$reached->{id}/test", \%key, {})->{content})->{delivery_id};
	wait_for_sql($node, "select status from musicverse.webhook_deliveries where id = '$sent'", 'delivered', 30, 'the delivery');
	run_example($version, 'list_deliveries', webhook_id => $reached->{id}, status => 'delivered', event_type => 'webhook.test');
	run_example($version, $_, delivery_id => $sent) foreach qw(get_delivery replay_delivery);
	my $pending = sql($node, "select id from musicverse.webhook_deliveries where webhook_id = '$hook->{id}' and status = 'pending' limit 1");
	ask($version, 'replay_delivery', 409, 'while it is pending', 'POST', "/api/$version/deliveries/$pending/replay", \%key);
	run_example($version, 'replay_webhook', %hook);
	run_example($version, $v1 ? 'poll_events' : 'list_events');
	run_example($version, 'list_event_types');
	run_example($version, 'delete_webhook', %hook);

	my $made = run_example($version, 'create_api_key');
	run_example($version, 'list_api_keys');
	run_example($version, 'get_api_key', key_id => $made->{id});
	my $next = run_example($version, 'rotate_api_key', key_id => $made->{id});
	run_example($version, 'revoke_api_key', key_id => $next->{id});
	run_example($version, 'list_scopes');
	run_example($version, 'get_me');
	sql($node, 'select musicverse.flush_usage()');
	run_example($version, $_) foreach qw(get_usage get_usage_top);
	run_example($version, 'get_openapi');

	# nobody listens there
	sql($node, qq{select musicverse.configure_partner('labelgrid', 'http://127.0.0.1:9', '{"token": "t", "callback_secret": "$secret"}')});
	my $dawn = sql($node, qq{insert into musicverse.tracks (user_id, title, style, audio_url, cover_url) values ('$user', 'Battle at Dawn', 'Orchestral', 'https://cdn.example.com/2.flac', 'https://cdn.example.com/2.png') returning id});
	my $day  = sql($node, q{select current_date + 60});
	my %release = (track_ids => [$dawn], release_date => $day);
	is(run_example($version, 'check_distribution', %release)->{is_fit}, 1, "$version check_distribution: the example is fit");
	my $unfit = ask($version, 'create_distribution', 422, 'of what platforms refuse', 'POST', "/api/$version/distributions", \%key, { %release, platforms => ['spotify'] });
	like($unfit->{json}{hint}, qr/^check_release\(\) lists/, "$version create_distribution: names of functions keep their letters");
	my %sent = (distribution_id => run_example($version, 'create_distribution', %release)->{id});
	run_example($version, $_, %sent) foreach qw(list_distributions get_distribution get_distribution_timeline);
	run_example($version, 'get_distribution_stats', %sent);
	run_example($version, 'get_stats');
	is(run_example($version, 'get_cover', %sent)->{url}, 'https://cdn.example.com/2.png', "$version get_cover: where one is that was given");
	run_example($version, 'update_distribution', %sent, metadata => { title => 'Battle at Dusk', release_date => sql($node, q{select current_date + 61}) });
	run_example($version, $_, %sent) foreach qw(submit_distribution cancel_distribution);
	ask($version, 'submit_distribution', 409, 'of what was cancelled', 'POST', "/api/$version/distributions/$sent{distribution_id}/submit", \%key);
	run_example($version, 'takedown_distribution', distribution_id => handed_over('spotify,deezer', %release));
	sql($node, q{select musicverse.configure_partner('distrokid', null, '{}')});
	my %by_hand = (distribution_id => handed_over('distrokid', %release));
	run_example($version, $_, %by_hand) foreach qw(get_package confirm_distribution);

	sql($node, q{select musicverse.configure_partner('soundcloud', 'http://127.0.0.1:9', '{"client_id": "app", "client_secret": "s"}', '{"token_url": "http://127.0.0.1:9/token"}')});
	is(scalar @{ run_example($version, 'list_partners')->{data} }, 1, "$version list_partners: one at which users log in");
	my ($state) = run_example($version, 'authorize_partner')->{url} =~ /[?&]state=([\w-]+)/;
	ask($version, 'authorize_partner', 422, 'to be sent back to nowhere', 'POST', "/api/$version/partners/soundcloud/authorize", { %key, 'content-type' => 'application/json' }, { redirect_uri => 'http://example.com/' });
	ask($version, 'partner_authorized', 422, 'by a state that is not', 'POST', "/api/$version/partners/soundcloud/authorized", { %key, 'content-type' => 'application/json' }, { state => 'x', code => 'y' });
	ask($version, $_->[0], 404, 'of no such partner', $_->[1], "/api/$version/partners/nobody/$_->[2]", { %key, 'content-type' => 'application/json' }, $_->[3])
	  foreach [ 'authorize_partner', 'POST', 'authorize', { redirect_uri => 'https://a.example.com/' } ], [ 'partner_authorized', 'POST', 'authorized', { state => 'x', code => 'y' } ], [ 'get_partner_account', 'GET', 'account' ], [ 'disconnect_partner', 'DELETE', 'account' ];
	is(run_example($version, 'partner_authorized', state => $state)->{status}, 'pending', "$version partner_authorized: the code waits for the worker");
	wait_for_sql($node, "select last_error is not null from musicverse.partner_accounts where partner = 'soundcloud'", 't', 60, 'the worker to have asked in vain');
	is(run_example($version, 'get_partner_account')->{status}, 'pending', "$version get_partner_account: and so it is shown");
	run_example($version, 'disconnect_partner');

	if ($v1)
	{
		# the provider of the example has the generation of the example
		sql($node, qq{
			select musicverse.configure_provider('sandbox', 'https://provider.example.com', '{"token": "t", "callback_secret": "$secret"}'), musicverse.set_provider_active('sandbox', false);
			insert into musicverse.generation_jobs (user_id, prompt) values ('$user', 'x');
			update musicverse.generation_work set provider = 'sandbox', remote_id = 'gen_1', sent = true, state = 'running', next_at = now() + interval '1 day', deadline = now() + interval '1 day'
			 where job_id = (select id from musicverse.generation_jobs where prompt = 'x' and status = 'queued');
			update musicverse.generation_jobs set status = 'started' where prompt = 'x' and status = 'queued'});
		run_callback($version, 'provider_callback', 'sandbox');
		is(sql($node, q{select progress from musicverse.generation_jobs j join musicverse.generation_work w on w.job_id = j.id where w.remote_id = 'gen_1'}), 35, 'and it was heard');

		# and the partner the release
		sql($node, qq{
			update musicverse.distribution_work set state = '{"release_id": 1}' where distribution_id = '@{[ handed_over('spotify,deezer', %release) ]}'});
		run_callback($version, 'partner_callback', 'labelgrid');
		is(sql($node, q{select status from musicverse.distribution_targets where platform = 'spotify' and work_id = (select id from musicverse.distribution_work where state @> '{"release_id": 1}')}), 'live', 'and it was heard');
	}
	is_deeply([ sort keys %{ $done{$version} } ], [ sort map { map { $_->{operationId} } values %$_ } values %{ $document{$version}{paths} } ], "$version: all operations were done");
}

# ---- what is delivered

$receiver->control('gone', { mode => 'gone' });
my $other = user(3);
sql($node, "select musicverse.set_tier('$other', 'wide')");
my $all = from_json($door->request('POST', '/api/v1/webhooks', { 'x-api-key' => sql($node, "select key from musicverse.create_api_key('$other', 'hooks')") }, { url => $receiver->url('all'), events => ['*'] })->{content});
$receiver->control('all', { secrets => [ $all->{secret} ] });

# really happened
sql($node, qq{
	insert into musicverse.tracks (user_id, title, style, prompt, duration, audio_url, cover_url, metadata, isrc) values ('$other', 'A "song" \x{1f3b5}', 'Ambient', 'x', 1, 'https://a.example/1', 'https://a.example/2', '{"a": [null]}', 'DEZ650710022');
	insert into musicverse.tracks (user_id) values ('$other');
	update musicverse.tracks set title = null where user_id = '$other' and title is not null;
	update musicverse.tracks set deleted_at = now() where user_id = '$other';
	insert into musicverse.generation_jobs (user_id, prompt, status) select '$other', 'x', 'queued' from generate_series(1, 2);
	update musicverse.generation_jobs set status = 'started' where user_id = '$other';
	update musicverse.generation_jobs set status = 'failed', error = 'out of tune' where id = (select id from musicverse.generation_jobs where user_id = '$other' limit 1);
	update musicverse.generation_jobs set status = 'completed' where user_id = '$other' and status = 'started';
	insert into musicverse.payments (user_id, external_id, amount, currency, status) values ('$other', 'p1', 9.99, 'EUR', 'succeeded'), ('$other', 'p2', 1, 'USD', 'failed');
	insert into musicverse.subscriptions (user_id, external_id, tier, status) values ('$other', 's1', 'pro', 'active');
	update musicverse.subscriptions set status = 'cancelled' where user_id = '$other';
	select musicverse.create_webhook('$other', '${\$receiver->url('gone')}', '{webhook.test}')});
my @happened = qw(track.created track.created track.updated track.deleted track.deleted generation.started generation.started generation.failed generation.completed payment.succeeded payment.failed subscription.created subscription.cancelled webhook.disabled);
sql($node, "select musicverse.test_webhook(id) from musicverse.webhooks where user_id = '$other' and url like '%gone'");
$receiver->wait_stats('all', 30, verified => scalar @happened);

# the others by their examples
my @types = split /\n/, sql($node, 'select name from musicverse.event_types order by name');
sql($node, "select musicverse.test_webhook('$all->{id}', name) from musicverse.event_types");
$receiver->wait_stats('all', 30, verified => @happened + @types);
my (%delivered, $n);
foreach my $request ($receiver->requests('all'))
{
	my $body = from_json($request->{body});
	$delivered{ $body->{type} }++;
	judged("$body->{type}: what was delivered (" . ++$n . ') is as described', document => $file{v1}, webhook => $body->{type}, headers => $request->{headers}, answer => $body);
}
my %expected = map { $_ => 1 } @types;
$expected{$_}++ foreach @happened;
is_deeply(\%delivered, \%expected, 'events of every type were delivered');

# ---- the verdicts

# and one that must be bad of each kind
my $me = $document{v1}{components}{schemas}{Me}{examples}[0];
my @bad = (
	{ document => $file{v1}, operation => 'get_me', status => 200, headers => { 'content-type' => 'application/json' }, answer => $me },
	{ document => $file{v1}, operation => 'get_me', status => 418, headers => { 'content-type' => 'application/json' }, answer => $me },
	{ document => $file{v1}, operation => 'get_me', status => 401, headers => { 'content-type' => 'application/problem+json' }, answer => { type => 'x' } },
	{ document => $file{v1}, operation => 'get_me', status => 401, headers => { 'content-type' => 'text/html' }, answer => { type => 'about:blank', title => 'x', status => 401 } },
	{ document => $file{v1}, operation => 'delete_track', status => 204, headers => {}, answer => {} },
	{ document => $file{v1}, request => 'generate', answer => { prompt => 1 } },
	{ document => $file{v1}, webhook => 'track.created', headers => {}, answer => { type => 'track.created', timestamp => '2026-03-09T10:15:00Z', data => {} } });
my ($in, $out, $err) = (join('', map { json($_) . "\n" } (map { $_->[1] } @cases), @bad), '', '');
IPC::Run::run([ 'node', "$root/test/judge-openapi/judge.mjs" ], '<', \$in, '>', \$out, '2>', \$err) or die "the judges failed: $err";
my @verdicts = split /\n/, $out;
is(scalar(@verdicts), @cases + @bad, 'all were judged');
foreach my $i (0 .. $#cases)
{
	like($verdicts[$i], qr/^ok( [1-9]\d+)?$/, $cases[$i][0]) or diag(json($cases[$i][1]{answer} // 'nothing'));
}
like($verdicts[ @cases + $_ ], qr/^bad: /, "the judges can say no ($_)") foreach 0 .. $#bad;

done_testing();

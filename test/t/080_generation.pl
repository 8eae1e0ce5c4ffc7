# Jobs from generate() to the track, with a provider that keeps the protocol and
# one that does everything else.
use MusicVerse::Test;
use MusicVerse::Provider;

my $node     = new_cluster('main', 'musicverse.generation_timeout' => '1d', 'musicverse.databases' => 'postgres, latin');
my $provider = MusicVerse::Provider->start;
my $user     = user(1);
sql($node, q{update musicverse.tiers set max_concurrent_jobs = 50});

sub advance { sql($node, "select musicverse.advance_clock('$_[0]')"); }

# Moves the clock on until the job is as expected
sub wait_by_clock
{
	my ($job, $status) = @_;
	eval { wait_for(sub { advance('10 seconds'); sql($node, "select status = '$status' from musicverse.generation_jobs where id = '$job'") eq 't' }, 20, "job $job to be $status") } or do { my $e = $@; diag(sql($node, 'table musicverse.generation_status; table musicverse.provider_status; select w.*, j.params, j.error from musicverse.generation_work w join musicverse.generation_jobs j on j.id = w.job_id where state <> $$done$$')); die $e };
	return job_row($node, $job);
}

sub events_of
{
	my ($job) = @_;
	return sql($node, qq{select string_agg(e.type, ' ' order by l.position) from musicverse.event_log l join musicverse.events e on e.id = l.event_id
		where e.payload::json #>> '{data,id}' in ('$job', (select track_id::text from musicverse.generation_jobs where id = '$job'))});
}

# ---- before there is a provider

my $early = generate_job($node, $user);
is(job_row($node, $early)->{status}, 'queued', 'without a provider a job waits');
$provider->configure($node, 'stub', credentials => { token => 's3cret', callback_secret => 'whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=' });
wait_job($node, $early, 'completed');
pass('and is done when there is one');

# ---- the way of a job

my $job = sql($node, "select musicverse.generate('$user', 'Ein langsamer Walzer für zwei Geigen \x{1f3bb} {token}', 'Waltz', 30, '{\"tempo\": 90}')");
my $row = wait_job($node, $job, 'completed');
is($row->{progress}, 100, 'a completed job has made all its progress');
my ($track, @more) = tracks_of($node, $job);
is(@more, 0, 'it has one track');
is_deeply([ @$track{qw(user_id style duration prompt)} ], [ $user, 'Waltz', 30, $row->{prompt} ], 'of its user, with what was asked for');
like($track->{audio_url}, qr{^https://audio\.example\.com/gen-\d+\.mp3$}, 'its audio');
like($track->{title}, qr/^Song gen-/, 'its title');
is_deeply($track->{metadata}, { peaks => [ 0, 0.5, 1 ], bpm => 120 }, 'its peaks and metadata');
is(events_of($job), 'generation.started track.created generation.completed', 'everybody hears of it, in order');

my ($post, @again) = $provider->log($job, 'POST');
is(@again, 0, 'the provider was asked once');
is($post->{authorization}, 'Bearer s3cret', 'with the credentials');
my $body = from_json($post->{text});
is($body->{client_reference}, $job, 'with the job as reference');
is($body->{prompt}, $row->{prompt}, 'a placeholder within a prompt stays as it is');
is_deeply([ @$body{qw(style duration)}, $body->{params}{tempo} ], [ 'Waltz', 30, 90 ], 'values keep their types');
ok(!exists $body->{callback_url}, 'what there is not is left out');
unlike(sql($node, 'select * from musicverse.providers'), qr/s3cret/, 'credentials are sealed');

# ---- misbehaviour that passes

my %passing = (
	'fails and recovers'         => { submit => [ { http => 503, begun => \0 }, { http => 500 }, {} ] },
	'is not reached at first'    => { submit => [ { reset => \1, begun => \0 }, {} ] },
	'closes after it has begun'  => { submit => [ { reset => \1 }, {} ] },
	'says HTML first'            => { submit => [ { body => '<html>' }, {} ] },
	'asks for time'              => { submit => [ { http => 429, retry_after => 2, begun => \0 }, {} ] },
	'fails in polls'             => { poll   => [ { http => 502 }, { body => 'oops' }, { bytes => '//79' }, { doc => { status => 'succeeded', result => { audio_url => 'https://a.example/1.mp3' } } } ] },
	'answers with too much'      => { poll   => [ { size => 2_000_000 }, { doc => { status => 'succeeded', result => { audio_url => 'https://a.example/2.mp3' } } } ] },
	'knows states of its own'    => { poll   => [ { doc => { status => 'mixing' } }, { doc => { status => 'succeeded', result => { audio_url => 'https://a.example/3.mp3' } } } ] },
	'tells of another'           => { poll   => [ { doc => { id => 'gen-1' } }, { doc => { status => 'succeeded', result => { audio_url => 'https://a.example/4.mp3' } } } ] },
	'is done without audio once' => { poll   => [ { doc => { status => 'succeeded' } }, { doc => { status => 'succeeded', result => { audio_url => 'https://a.example/5.mp3' } } } ] },
	'gives nonsense beside'      => { poll   => [ { doc => { status => 'succeeded', result => { audio_url => 'https://a.example/6.mp3', duration => -3, title => { a => 1 }, peaks => [ 'x' ], metadata => [] } } } ] },
	'is done at once'            => { submit => [ { doc => { status => 'succeeded', result => { audio_url => 'https://a.example/7.mp3' } } } ] },
);
my %job_of = map { $_ => generate_job($node, $user, %{ $passing{$_} }) } sort keys %passing;
foreach my $what (sort keys %passing)
{
	my $done = wait_by_clock($job_of{$what}, 'completed');
	my @tracks = tracks_of($node, $done->{id});
	is(scalar(@tracks), 1, "a provider that $what: one track");
	is(scalar(grep { $_->{key} eq $done->{id} } $provider->generations), 1, "a provider that $what: one generation");
}
is(sql($node, "select count(*) from musicverse.tracks"), 2 + keys %passing, 'there is no track more than jobs');
is(scalar($provider->log($job_of{'fails and recovers'}, 'POST')), 3, 'a failed request is repeated until it is taken');
is((sort { $a <=> $b } map { scalar $provider->log($_, 'POST') } $job_of{'closes after it has begun'})[0], 2, 'with the same key');
is(sql($node, "select count(distinct (e.payload::json #>> '{data,id}')) = count(*) from musicverse.events e where e.type = 'generation.completed'"), 't', 'each is told once');

# ---- progress

my $lies = generate_job($node, $user, poll => [ map({ { doc => { status => 'running', progress => $_ } } } 40, 900, 10, -5, 'much', undef), { doc => { status => 'running', progress => 98 } } ]);
my @seen;
wait_for(sub { push @seen, sql($node, "select progress from musicverse.generation_jobs where id = '$lies'"); advance('1 second'); $provider->log($lies, 'GET') >= 8 }, 30, 'the polls');
is(join(' ', sort { $a <=> $b } @seen), join(' ', @seen), 'progress never goes backwards');
is($seen[-1] <= 99 ? 'below' : 'all', 'below', 'and is not 100 before the end');
ok(sql($node, "select musicverse.cancel_job('$lies')") eq 't', 'it can be cancelled');
wait_for(sub { $provider->log($lies, 'DELETE') == 1 }, 30, 'the provider to be told');
wait_for_sql($node, "select state from musicverse.generation_work where job_id = '$lies'", 'done', 30);
is(job_row($node, $lies)->{status}, 'cancelled', 'the provider is told of a cancel');

# ---- misbehaviour that ends the job

my %ending = (
	'refuses'               => [ { submit => [ { http => 422, begun => \0, doc => { error => { message => "no  vio\nlence\t\x07please" } } } ] }, qr/^no vio lence please$/ ],
	'refuses without words' => [ { submit => [ { http => 400, begun => \0, body => '<html>' } ] }, qr/^provider stub answered HTTP 400$/ ],
	'refuses at length'     => [ { submit => [ { http => 400, begun => \0, doc => { error => { message => 'x' x 5000 } } } ] }, qr/^x{500}$/ ],
	'fails'                 => [ { poll   => [ { doc => { status => 'failed', error => { message => 'out of tune' } } } ] }, qr/^out of tune$/ ],
	'gives up'              => [ { poll   => [ { doc => { status => 'cancelled' } } ] }, qr/^the provider cancelled it$/ ],
	'never has audio'       => [ { poll   => [ { doc => { status => 'succeeded', result => { audio_url => 'javascript:alert(1)' } } } ] }, qr/without the URL of its audio/ ],
	'has no id'             => [ { submit => [ { doc => { id => undef } } ] }, qr/no id of the generation/ ],
	'gives a bad id'        => [ { submit => [ { doc => { id => '..' } } ] }, qr/id of the generation is not/ ],
	'gives another id'      => [ { submit => [ { doc => { id => 'gen-1' } } ] }, qr/generation of another job, gen-1/ ],
	'has lost it'           => [ { poll   => [ { http => 404, doc => { error => { message => 'gone' } } } ] }, qr/^gone$/ ],
	'hangs for ever'        => [ { submit => [ { doc => { status => 'running' } } ], poll => [ { doc => { status => 'running' } } ] }, qr/^no result within 1d$/ ],
);
my %failing = map { $_ => generate_job($node, $user, %{ $ending{$_}[0] }) } sort keys %ending;
foreach my $what (sort keys %ending)
{
	advance('25 hours') if $what eq 'hangs for ever';
	my $failed = wait_by_clock($failing{$what}, 'failed');
	like($failed->{error}, $ending{$what}[1], "a provider that $what: the job fails and says so");
	is($failed->{track_id}, undef, "a provider that $what: there is no track");
}
wait_for(sub { advance('10 seconds'); $provider->log($failing{'hangs for ever'}, 'DELETE') >= 1 }, 30, 'the provider to be told');
pass('what is over time is cancelled at the provider');

# ---- cancel

my $waiting = generate_job($node, user(2), submit => [ { hang => \1 } ]);
wait_for(sub { $provider->log($waiting, 'POST') == 1 }, 30, 'the request');
is(sql($node, "select musicverse.cancel_job('$waiting')"), 't', 'a job can be cancelled while its request is under way');
is(sql($node, "select musicverse.cancel_job('$waiting')"), 'f', 'once');

my $late = generate_job($node, $user, submit => [ { wait => 300 } ], poll => [ { doc => { status => 'succeeded', result => { audio_url => 'https://a.example/late.mp3' } } } ]);
wait_for(sub { $provider->log($late, 'POST') == 1 }, 30, 'the request');
sql($node, "select musicverse.cancel_job('$late')");
wait_for(sub { $provider->log($late, 'DELETE') == 1 }, 30, 'the provider to be told');
is(scalar(tracks_of($node, $late)), 0, 'its result is not wanted any more');
is(job_row($node, $late)->{status}, 'cancelled', 'it stays cancelled');

# ---- callbacks

my $secret = 'whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=';
my $calls  = 0;
sub call_back
{
	my ($doc, %odd) = @_;
	my $id = $odd{id} // 'msg_' . ++$calls;
	my $text = ref $doc ? json($doc) : $doc;
	return sql($node, sprintf q{with t as (select extract(epoch from musicverse._now())::bigint + %d as ts)
		select musicverse.provider_callback(%s, jsonb_build_object('Webhook-Id', %s::text, 'webhook-timestamp', ts::text, 'webhook-signature', musicverse.sign_webhook(%s, %s, ts, %s)), %s) from t},
		$odd{late} // 0, lit($odd{provider} // 'stub'), lit($id), lit($odd{secret} // $secret), lit($id), lit($text), lit($odd{body} // $text));
}

$provider->configure($node, 'stub', mode => 'both', poll_interval => 3600, credentials => { token => 's3cret', callback_secret => $secret });
sql($node, q{alter system set musicverse.public_url = 'https://api.example.com/'});
$node->reload;
wait_for_sql($node, 'show musicverse.public_url', 'https://api.example.com/');
my $called = generate_job($node, $user);
wait_job($node, $called, 'started');
($post) = $provider->log($called, 'POST');
is(from_json($post->{text})->{callback_url}, 'https://api.example.com/api/v1/providers/stub/callback', 'the provider is told where to call back');
my $remote = work_row($node, $called)->{remote_id};
is(call_back({ id => $remote, status => 'running', progress => 30 }), 200, 'a callback is taken');
is(job_row($node, $called)->{progress}, 30, 'with its progress');
is(call_back({ id => $remote, status => 'running', progress => 60 }, secret => 'whsec_' . 'B' x 44), 401, 'not with another signature');
is(call_back({ id => $remote, status => 'failed' }, body => json({ id => $remote, status => 'running' })), 401, 'nor with another body');
is(call_back({ id => $remote, status => 'failed' }, late => -600), 401, 'nor an old one');
is(call_back({ id => $remote, status => 'failed' }, provider => 'nobody'), 404, 'an unknown provider is 404');
is(call_back({ id => 'gen-999', status => 'failed' }), 404, 'so is an unknown generation');
is(call_back('{'), 400, 'what is not JSON is 400');
is(call_back('[]'), 400, 'nor an object');
is(call_back({ id => $remote, status => 'dreaming' }), 422, 'an unknown state is 422');
is(sql($node, "select musicverse.provider_callback('stub', '{}', '{}')"), 401, 'no signature at all is 401');
is(sql($node, "select musicverse.provider_callback('stub', null, null)"), 400, 'nothing at all is 400');
is(sql($node, "select musicverse.provider_callback('stub', '{}', repeat('x', 2000000))"), 413, 'too much is 413');
my $result = { id => $remote, status => 'succeeded', result => { audio_url => 'https://a.example/called.mp3' } };
is(call_back($result, id => 'msg_done'), 200, 'the result is taken');
is(call_back($result, id => 'msg_done'), 200, 'and again');
is(call_back($result), 200, 'under another id too');
is(call_back({ id => $remote, status => 'running', progress => 1 }), 200, 'an older one changes nothing');
is(job_row($node, $called)->{status}, 'completed', 'the job is completed');
is(sql($node, "select count(*) from musicverse.tracks where audio_url = 'https://a.example/called.mp3'"), 1, 'with one track');

# before the POST is answered
my $hasty = generate_job($node, $user, submit => [ { wait => 1000 } ]);
wait_for(sub { $provider->log($hasty, 'POST') == 1 }, 30, 'the request');
my ($generation) = grep { $_->{key} eq $hasty } $provider->generations;
is(call_back({ id => $generation->{id}, client_reference => $hasty, status => 'succeeded', result => { audio_url => 'https://a.example/hasty.mp3' } }), 200,
	'a callback may come before the answer');
is(job_row($node, $hasty)->{status}, 'completed', 'and completes the job');
is(events_of($hasty), 'generation.started track.created generation.completed', 'with all its events');
wait_for_sql($node, 'select in_flight from musicverse.generation_status', 0);
is(scalar(tracks_of($node, $hasty)), 1, 'the answer then changes nothing');

# ---- what is told

my $status = sql_row($node, 'select * from musicverse.generation_status');
is($status->{state}, 'running', 'generation_status: the worker runs');
cmp_ok($status->{requests}, '>', 50, 'generation_status: it counts requests');
is(sql($node, 'select name, state, concurrency from musicverse.provider_status'), 'stub|ready|10', 'provider_status: the provider is ready');

# ---- a copy asks nobody

sql($node, q{update musicverse.installation set identity = 'elsewhere'; select musicverse._wake()});
wait_for_sql($node, 'select state from musicverse.generation_status', 'standing still: a copy');
my $before = () = $provider->log;
my $held = generate_job($node, $user);
advance('1 minute');
is(call_back({ id => 'gen-1', status => 'failed' }), 404, 'a copy takes no callbacks');
sql($node, 'select musicverse.enable_sending()');
wait_job($node, $held, 'started');
is(scalar(grep { $_->{key} && $_->{key} eq $held } $provider->log), 1, 'a copy sends nothing until it is told that it may');

# ---- DROP EXTENSION while a provider hangs

my $hanging = generate_job($node, $user, submit => [ { hang => \1 } ]);
wait_for(sub { $provider->log($hanging, 'POST') == 1 }, 30, 'the request');
sql($node, q{set statement_timeout = '10s'; drop extension musicverse cascade});
wait_for_sql($node, q{select count(*) from pg_stat_activity where backend_type = 'musicverse generation worker'}, 0, 30);
pass('DROP EXTENSION does not wait for a provider that hangs');

# ---- a database of another encoding

sql($node, q{create database latin encoding 'LATIN1' template template0 lc_collate 'C' lc_ctype 'C'});
my $latin = [ $node, 'latin' ];
sql($latin, 'create extension musicverse');
$provider->configure($latin, 'stub');
$provider->control(poll => [ { doc => { status => 'succeeded', result => { audio_url => 'https://a.example/8.mp3', title => "f\x{fc}r \x{1f3bb} und \x{2192}!" } } } ]);
my $foreign = generate_job($latin, $user);
wait_job($latin, $foreign, 'completed');
is(sql($latin, q{select encode(convert_to(title, 'LATIN1'), 'escape') from musicverse.tracks}), 'f\374r ? und ?!', 'what the encoding has not becomes a question mark');

done_testing();

# The provider of the sandbox: that what it composes is music, as far as that
# can be measured, and that it keeps the protocol which the platform relies on,
# also where it is told to break it.
use MusicVerse::Test;
use File::Path qw(make_path);

my $dir = "$PostgreSQL::Test::Utils::tmp_check/composer";
make_path("$dir/listen", "$dir/provider");

# ---- what it composes ---------------------------------------------------

# runs beside the tests of the protocol and is read at the end
my ($listener, $heard) = start_process('composer_check', 'node', "$root/test/composer/check.mjs", "$dir/listen");

# ---- the protocol -------------------------------------------------------

my $secret = 'whsec_' . 'c2FuZGJveC1wcm92aWRlci1zZWNyZXQ=';
my ($pid, $out) = start_process('provider', 'node', "$root/sandbox/provider.js", '--port', 0, '--token', 'sesame',
	'--callback-secret', $secret, '--work', "$dir/provider");
my $ready = from_json(scalar <$out>);
my $base  = "http://$ready->{host}:$ready->{port}";
my $client = HTTP::Tiny->new(timeout => 20);

sub request
{
	my ($method, $path, $body, %headers) = @_;
	my $token = exists $headers{token} ? delete $headers{token} : 'sesame';
	$headers{authorization} = "Bearer $token" if defined $token;
	my @content = defined $body ? (content => ref $body ? json($body) : $body) : ();
	my $answer = $client->request($method, "$base$path", { headers => \%headers, @content });
	$answer->{json} = eval { from_json($answer->{content}) };
	return $answer;
}

sub control  { return request('PUT', '/control', $_[0])->{json}; }
sub counters { return request('GET', '/control')->{json}; }
sub submit
{
	my ($key, %more) = @_;
	return request('POST', '/v1/generations', { prompt => 'a calm sea', duration => 20, %more }, 'idempotency-key' => $key);
}

sub finished
{
	my ($id) = @_;
	my $document;
	wait_for(
		sub { ($document = request('GET', "/v1/generations/$id")->{json})->{status} =~ /^(succeeded|failed|cancelled)$/ },
		60, "the end of $id");
	return $document;
}

is($ready->{pid}, $pid, 'it says where it listens');

# who may ask, and what
is(request('POST', '/v1/generations', { prompt => 'x' }, token => undef)->{status}, 401, 'no token');
is(request('POST', '/v1/generations', { prompt => 'x' }, token => 'other')->{status}, 401, 'a wrong token');
foreach my $case (
	[ 'no JSON',           '{"prompt":' ],
	[ 'no object',         '[]' ],
	[ 'no prompt',         {} ],
	[ 'an empty prompt',   { prompt => ' ' } ],
	[ 'no number',         { prompt => 'x', duration => 'long' } ],
	[ 'too long',          { prompt => 'x', duration => 601 } ],
	[ 'params a list',     { prompt => 'x', params => [] } ],
	[ 'a callback by FTP', { prompt => 'x', callback_url => 'ftp://127.0.0.1/' } ])
{
	my $answer = request('POST', '/v1/generations', $case->[1]);
	ok($answer->{status} == 422 && $answer->{json}{error}{code} && $answer->{json}{error}{message}, "$case->[0] is refused");
}
is(request('POST', '/v1/generations', 'x' x 300_000)->{status}, 413, 'a body without measure is refused');
is(request('GET', '/v1/generations/gen_none')->{status}, 404, 'an unknown id');
is(request('PATCH', '/v1/generations')->{status}, 405, 'a method without meaning');

# a real piece
my %train = (
	prompt => 'night train in D minor, 120 bpm', style => 'techno', duration => 6, client_reference => 'job-1', params => { seed => 3 });
my $piece = submit('real', %train);
is($piece->{status}, 202, 'a generation is accepted');
is_deeply([ @{ $piece->{json} }{qw(status progress)} ], [ 'queued', 0 ], 'and queued');
my $id = $piece->{json}{id};
my $repeated = submit('real', %train);
is_deeply([ $repeated->{status}, $repeated->{json}{id} ], [ 200, $id ], 'the same key gives the same generation');
is(submit('real', prompt => 'something else')->{status}, 409, 'another body with the same key is refused');
is(request('GET', "/v1/audio/$id.wav")->{status}, 404, 'no audio before its end');
my $done = finished($id);
is_deeply([ @$done{qw(status progress)} ], [ 'succeeded', 100 ], 'it succeeds');
is_deeply([ @{ $done->{result}{metadata} }{qw(bpm key style seed)} ], [ 120, 'D minor', 'techno', '3' ], 'with what was asked for');
ok(length $done->{result}{title}, "it has a title: $done->{result}{title}");
is(scalar @{ $done->{result}{peaks} }, 512, 'and an outline');
sub found { return [ map { $_->{id} } @{ request('GET', "/v1/generations?client_reference=$_[0]")->{json}{data} } ]; }
is_deeply(found('job-1'), [$id], 'it is found by the reference');
is_deeply(found('other'), [], 'and by no other');

# its audio
my $wav = $client->get($done->{result}{audio_url});
is($wav->{headers}{'content-length'}, length $wav->{content}, 'the audio has its length');
is(length $wav->{content}, 44 + 6 * 44100 * 4, 'which is that of six seconds');
my $etag = $wav->{headers}{etag};
sub range { return $client->get($done->{result}{audio_url}, { headers => { range => $_[0], $_[1] ? %{ $_[1] } : () } }); }
is(range('bytes=0-3')->{content}, 'RIFF', 'the first bytes');
is(range('bytes=0-3')->{headers}{'content-range'}, 'bytes 0-3/' . length $wav->{content}, 'say what they are of');
is(range('bytes=-100')->{content}, substr($wav->{content}, -100), 'the last bytes');
is(range('bytes=1000000-')->{content}, substr($wav->{content}, 1000000), 'the bytes from somewhere');
is(range('bytes=99999999-')->{status}, 416, 'there are none behind the end');
is(range('bytes=0-3', { 'if-range' => '"old"' })->{status}, 200, 'all of it when it has changed');
is($client->get($done->{result}{audio_url}, { headers => { 'if-none-match' => $etag } })->{status}, 304, 'nothing when it has not');
is_deeply(request('GET', "/v1/audio/$id.json")->{json}{peaks}, $done->{result}{peaks}, 'the outline by itself');

# cancelled, before and while
my $running = submit('long', style => 'ambient', duration => 600)->{json}{id};
my $waiting = submit('behind', duration => 5)->{json}{id};
my $never   = submit('never', duration => 5)->{json}{id};
wait_for(sub { request('GET', "/v1/generations/$running")->{json}{status} eq 'running' }, 20, 'a generation that runs');
is(request('DELETE', "/v1/generations/$never")->{json}{status}, 'cancelled', 'one that waits is cancelled');
is(request('DELETE', "/v1/generations/$running")->{json}{status}, 'cancelled', 'one that runs, too');
is(finished($waiting)->{status}, 'succeeded', 'the next one has its turn');
is(request('DELETE', "/v1/generations/$waiting")->{json}{status}, 'succeeded', 'what is done stays done');
wait_for(sub { !glob "$dir/provider/$running*" }, 10, 'no file of what was cancelled');
is(counters()->{cancelled}, 2, 'they are counted');

# callbacks, verified by the receiver
my $receiver = start_receiver('--quiet');
$receiver->control($_, { secrets => [$secret] }) foreach qw(plain flaky twice forged early);
control({ instant => JSON::PP::true });
sub states { return map { from_json($_->{body})->{status} } $receiver->requests($_[0]); }
my $called = submit('called', callback_url => $receiver->url('plain'))->{json}{id};
$receiver->wait_stats('plain', 10, verified => 2);
is_deeply([ states('plain') ], [ 'running', 'succeeded' ], 'each change of state is told, in order');
is(from_json(($receiver->requests('plain'))[1]{body})->{id}, $called, 'by the document');
$receiver->control('flaky', { mode => 'fail', count => 2 });
submit('flaky', callback_url => $receiver->url('flaky'));
$receiver->wait_stats('flaky', 10, received => 4, ids => 2);
is($receiver->stats('flaky')->{duplicates}, 2, 'what is refused is told again, by the same id');
control({ callback => 'duplicate' });
submit('twice', callback_url => $receiver->url('twice'));
$receiver->wait_stats('twice', 10, received => 4, duplicates => 2);
control({ callback => 'bad-signature' });
submit('forged', callback_url => $receiver->url('forged'));
$receiver->wait_stats('forged', 10, bad_signatures => 2);
is($receiver->stats('forged')->{verified}, 0, 'a forged one is not verified');
control({ callback => 'early' });
is(submit('early', callback_url => $receiver->url('early'))->{json}{status}, 'queued', 'an early callback:');
is(($receiver->stats('early')->{verified}), 2, 'the end was told before the request was answered');
control({ callback => 'normal' });

# misbehaviour
control({ mode => 'fail', status => 503, retry_after => 7, count => 2, on => ['submit'] });
my $busy = submit('busy');
is_deeply([ $busy->{status}, $busy->{headers}{'retry-after'} ], [ 503, 7 ], 'it fails as told');
is(submit('busy')->{status}, 503, 'as often as told');
is(submit('busy')->{status}, 202, 'and no more');
my $before = counters()->{distinct};
control({ mode => 'close', after => JSON::PP::true, count => 1, on => 'submit' });
is(submit('lost')->{status}, 599, 'an answer is lost');
is(submit('lost')->{status}, 200, 'but what it was for exists');
is(counters()->{distinct}, $before + 1, 'once');
foreach my $case ([ 'bad-json', qr/^\{"id":"gen_0","status":"succ$/ ], [ 'html', qr/^<!doctype html>/ ], [ 'empty', qr/^$/ ])
{
	control({ mode => $case->[0], count => 1, on => 'poll' });
	like(request('GET', "/v1/generations/$id")->{content}, $case->[1], "$case->[0] in place of an answer");
}
control({ mode => 'ok' });
foreach my $case (
	[ 'no-audio',  sub { !exists $_[0]{result}{audio_url} } ],
	[ 'progress',  sub { $_[0]{progress} == 900 } ],
	[ 'state',     sub { $_[0]{status} eq 'daydreaming' } ],
	[ 'other-id',  sub { $_[0]{id} ne $id } ])
{
	control({ lie => $case->[0] });
	ok($case->[1]->(request('GET', "/v1/generations/$id")->{json}), "the lie \"$case->[0]\"");
}
control({ lie => 'backwards', render_ms => 60000 });
my $slow = submit('slow')->{json}{id};
my @progress = map { request('GET', "/v1/generations/$slow")->{json}{progress} } 1 .. 3;
ok($progress[0] > $progress[1] && $progress[1] > $progress[2], "progress goes backwards: @progress");
request('DELETE', "/v1/generations/$slow");
control({ lie => undef, render_ms => 0, outcome => 'failed', error => { code => 'content_policy', message => 'no' } });
is(finished(submit('refused')->{json}{id})->{error}{code}, 'content_policy', 'a generation fails as told');
is(request('PUT', '/control', { colour => 'red' })->{status}, 400, 'an unknown field is refused');
is(request('PUT', '/control', { lie => 'big' })->{status}, 400, 'an unknown lie is refused');

my $counted = counters();
is($counted->{client_references}{'job-1'}, 2, 'submissions are counted for each reference');
is($counted->{behaviour}{outcome}, 'failed', 'what was told can be read');
request('DELETE', '/control');
is_deeply([ @{ counters() }{qw(submitted distinct)} ], [ 0, 0 ], 'and forgotten');

# ---- the verdict of the ear ---------------------------------------------

my $judged = 0;
while (my $line = <$heard>)
{
	my $verdict = from_json($line);
	ok($verdict->{ok}, $verdict->{name}) or diag($verdict->{detail} // 'no detail');
	$judged++;
}
cmp_ok($judged, '>', 100, 'all pieces were judged');

# a tool that had no part in it reads the files
SKIP:
{
	my ($file) = glob "$dir/listen/jazz.wav $dir/listen/rock.wav";
	my $python = q{import sys,wave; w=wave.open(sys.argv[1]); print(w.getnchannels(), w.getsampwidth(), w.getframerate(), w.getnframes())};
	my $read = qx{python3 -c '$python' '$dir/listen/rock.wav' 2>/dev/null};
	skip 'no python3 here', 1 unless $read;
	is($read, "2 2 44100 441000\n", 'Python reads the same from the header');
}

is(stop_process($pid), 0, 'it ends when told to');
done_testing();

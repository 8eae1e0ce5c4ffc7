# Streams: from HTTP into an HTTP body, a form, a file on a real SFTP server, a
# file of ours and memory; what happens when either side is slow, stops, lies or
# refuses; how broken uploads are continued; that memory stays flat; and that
# nobody gets a last byte of what is wrong.
use MusicVerse::Test;
use MusicVerse::Stream;
use Digest::MD5;
use Digest::SHA;

my $node = stream_cluster('main');
my $http = http_server();
my $sftp = MusicVerse::Stream::Sftp->start;
my $MB   = 1_000_000;

sub from    { my ($query, %more) = @_; return { url => "$http->{base}/source?$query", %more }; }
sub body    { my ($query, %more) = @_; return { kind => 'body', url => "$http->{base}/sink?" . ($query // ''), %more }; }
sub memory  { return { kind => 'memory', @_ }; }
sub run     { my ($source, $sink, %more) = @_; return stream_job($node, source => $source, sink => $sink, %more); }
sub sha     { my ($size, $start) = @_; return http('GET', "$http->{base}/sha256?size=$size&from=" . ($start // 0))->{content}; }
sub sha_of  { my ($file) = @_; return Digest::SHA->new(256)->addfile($file, 'b')->hexdigest; }
sub whole   { my ($path) = @_; return scalar grep { $_->{method} eq 'WHOLE' && index($_->{path}, $path) >= 0 } @{ http_json('GET', "$http->{base}/log") }; }
sub asked   { my ($path) = @_; return grep { index($_->{path}, $path) >= 0 } @{ http_json('GET', "$http->{base}/log") }; }

# A job that is to fail: on which side, and how it is told
sub fails
{
	my ($run, $side, $error, $name) = @_;
	my $good = $run->{failed} eq $side && $run->{error} =~ $error;
	ok($good, $name) or diag("failed: $run->{failed}, error: $run->{error}");
	return;
}

# ---- each kind of sink --------------------------------------------------

my $job = run(from('size=3000000', digests => 3), body('', method => 'POST'));
is($job->{failed}, 'none', 'a body is streamed');
my $got = from_json($job->{body});
is_deeply([ @$got{qw(bytes sha256 method)} ], [ 3000000, sha(3000000), 'POST' ], 'all of it came, by the method asked for');
is($got->{headers}{'content-length'}, 3000000, 'its length was told ahead');
is($job->{sha256}, sha(3000000), 'its SHA-256 was computed on the way');
is($job->{md5}, Digest::MD5::md5_hex(http('GET', "$http->{base}/source?size=3000000")->{content}), 'its MD5 too');

$job = stream_job($node,
	source  => from('size=2000000', begins => 'RIFF'),
	source2 => from('size=70000', size => 70000),
	sink    => { kind => 'form', url => "$http->{base}/sink", parts => [
		{ name => 'title', text => 'one & two' },
		{ name => 'audio', source => 0, filename => 'a.wav', type => 'audio/wav' },
		{ name => 'cover', source => 1, filename => 'c.jpg', type => 'image/jpeg' },
		{ name => 'end', text => 'x' } ] });
is($job->{failed}, 'none', 'a form with two files is streamed') or diag($job->{error});
is_deeply([ map { [ @$_{qw(name filename type bytes)} ] } @{ from_json($job->{body})->{parts} } ],
	[ [ 'title', undef, undef, 9 ], [ 'audio', 'a.wav', 'audio/wav', 2000000 ], [ 'cover', 'c.jpg', 'image/jpeg', 70000 ], [ 'end', undef, undef, 1 ] ],
	'its fields are there in order');
is_deeply([ map { $_->{sha256} } @{ from_json($job->{body})->{parts} }[ 1, 2 ] ], [ sha(2000000), sha(70000) ], 'and its files are whole');

$job = run(from('size=3000000', sha256 => sha(3000000)), $sftp->sink('a/b c/one.wav', temporary => $sftp->file('a/b c/.one.part')));
is($job->{failed}, 'none', 'a file is streamed to an SFTP server') or diag($job->{error});
is(sha_of($sftp->file('a/b c/one.wav')), sha(3000000), 'it is whole there, in directories that were made for it');
ok(!-e $sftp->file('a/b c/.one.part'), 'and its temporary name is gone');
fails(run(from('size=3000000'), $sftp->sink('a/b c/one.wav', temporary => $sftp->file('a/b c/.one.part'))),
	'sink', qr/could not get its name, which may be taken/, 'a finished file is not overwritten');

my $xml = '<a>' . ('x' x 200) . '</a>';
is(run({ text => $xml }, $sftp->sink("it's \"q\".xml", temporary => $sftp->file('.t')))->{failed}, 'none', 'what is in memory is uploaded, under a name with quotes');
is(run($sftp->source("it's \"q\".xml"), memory())->{memory}, $xml, 'and a small file is downloaded');
is(run({ text => '' }, $sftp->sink('empty'))->{failed}, 'none', 'an empty file is one too');
is(-s $sftp->file('empty'), 0, 'of no bytes');
is(run(from('size=0'), body())->{failed}, 'none', 'an empty body too');
fails(run($sftp->source('a/b c/one.wav'), memory(cap => 1000)), 'source', qr/longer than the 1000 bytes that are taken/, 'but not more than is taken');
fails(run($sftp->source('nowhere'), memory()), 'source', qr/no such file/, 'a file that is missing is told');
is_deeply([ sort grep { !/^\.\.?$/ } split /\n/, run($sftp->source('a/b c/'), memory())->{memory} ], [ '.one.part', 'one.wav' ], 'a directory is listed');
my $file = PostgreSQL::Test::Utils::tempdir() . '/kept';
is(run(from('size=300000&chunked=1'), { kind => 'fd', file => $file })->{failed}, 'none', 'a source of unknown length goes into a file of ours');
is(sha_of($file), sha(300000), 'which is whole');

sub commands { return stream_job($node, commands => [@_], $sftp->target); }
is(commands([ 'mkdir', $sftp->file('new') ], [ 'rename', $sftp->file('empty'), $sftp->file('new/moved') ], [ 'delete', $sftp->file('a/b c/.one.part') ])->{code}, 0, 'commands are obeyed');
ok(-e $sftp->file('new/moved') && !-e $sftp->file('a/b c/.one.part'), 'all of them');
like(commands([ 'delete', $sftp->file('nowhere') ])->{error}, qr/refused a command: .*[Nn]o such file/, 'one that fails is told');
is(commands([ '?delete', $sftp->file('nowhere') ], [ 'rmdir', $sftp->file('a/b c') . "/../../new/../none" ])->{code} != 0, 1, 'behind one that may fail the next is tried');
is(commands([ '?delete', $sftp->file('nowhere') ], [ 'delete', $sftp->file('new/moved') ])->{code}, 0, 'and obeyed');

# ---- sources whose length is not told to those who have to be told it

$job = run(from('size=3000000&chunked=1', digests => 3), body('', method => 'POST'));
is($job->{failed}, 'none', 'a source that announces no length is streamed') or diag($job->{error});
is_deeply([ from_json($job->{body})->{bytes}, $job->{sha256} ], [ 3000000, sha(3000000) ], 'all of it');
is(from_json($job->{body})->{headers}{'content-length'}, 3000000, 'as it was counted first');
is(scalar(asked('size=3000000&chunked=1')), 2, 'which needs it twice');
foreach my $second ('size=70000&ranges=1', 'size=70000&norange=1', 'size=70000&norange=1&chunked=1', 'size=0&ranges=1', 'size=0&linger=300')
{
	my ($size) = $second =~ /size=(\d+)/;
	$job = stream_job($node, source => from('size=500000'), source2 => from("$second&second=1"),
		sink => { kind => 'form', url => "$http->{base}/sink", parts => [ map { { name => "f$_", source => $_, filename => 'f' } } 0, 1 ] });
	is($job->{failed}, 'none', "a form with a second file: $second") or diag($job->{error});
	is_deeply([ map { [ @$_{qw(bytes sha256)} ] } @{ from_json($job->{body} // '{"parts": []}')->{parts} } ], [ [ 500000, sha(500000) ], [ $size, sha($size) ] ], 'both are whole');
}
$job = stream_job($node, source => from('size=500000'), source2 => from('size=70000&status=404'),
	sink => { kind => 'form', url => "$http->{base}/sink?second", parts => [ map { { name => "f$_", source => $_, filename => 'f' } } 0, 1 ] });
fails($job, 'source', qr/it answered HTTP 404/, 'a second file that is missing');
is(scalar(asked('/sink?second')), 0, 'is noticed before anything is sent');

# ---- limits, and files of ours

fails(run(from('size=2000001', max => 2000000), body('long')), 'source', qr/longer than the 2000000 bytes that are taken/, 'a source that is too long');
fails(run(from('size=2000001&chunked=1', max => 2000000), body('long')), 'source', qr/longer than the 2000000 bytes/, 'also when it does not say so');
is(scalar(asked('/sink?long')), 0, 'before the sink is opened');
fails(run(from('size=2000001&chunked=1', max => 2000000), $sftp->sink('long')), 'source', qr/longer than the 2000000 bytes/, 'the same for SFTP');
is(run(from('size=2000000', max => 2000000), body())->{failed}, 'none', 'one that just fits');
$job = run({ file => $file, digests => 1 }, body(''));
is($job->{failed}, 'none', 'a file of ours is streamed') or diag($job->{error});
is_deeply([ from_json($job->{body})->{sha256}, $job->{sha256} ], [ sha(300000), sha(300000) ], 'and is whole');
is(run({ file => $file, start => 100000, digests => 1 }, memory())->{sha256}, sha(300000, 100000), 'a part of it too');
is(run({ file => $file }, $sftp->sink('kept.wav', temporary => $sftp->file('.kept.wav')))->{failed}, 'none', 'and it goes to an SFTP server');
is(sha_of($sftp->file('kept.wav')), sha(300000), 'as it is');
fails(run({ file => $file, sha256 => sha(1) }, body('changed')), 'source', qr/SHA-256/, 'unless it was changed');
is(whole('/sink?changed'), 0, 'when nobody gets all of it');
fails(run({ file => $sftp->{dir} }, body()), 'source', qr/no file that can be read/, 'a directory is no file');

# ---- big ones, and slow ones --------------------------------------------

foreach my $sink ($sftp->sink('big', temporary => $sftp->file('.big')), body())
{
	my $run = stream_run($node, { source => from('size=' . 200 * $MB), sink => $sink });
	is($run->{jobs}[0]{failed}, 'none', "200 MB are streamed ($sink->{kind})") or diag($run->{jobs}[0]{error});
	cmp_ok($run->{growth_kb}, '<', 16 * 1024, 'with flat memory');
	note("$sink->{kind}: $run->{ms} ms, grown by $run->{growth_kb} kB, longest turn $run->{longest_turn_ms} ms");
}
is(-s $sftp->file('big'), 200 * $MB, 'and are there');
unlink $sftp->file('big');
is(run(from('size=9000000'), $sftp->sink('large'))->{failed}, 'none', 'without a temporary name too');

foreach my $slow (
	[ 'a slow source',          from('size=800000&rate=1000000'), body() ],
	[ 'a slow source for SFTP', from('size=800000&rate=1000000'), $sftp->sink('slow') ],
	[ 'a slow sink',            from('size=9000000'),             body('rate=9000000') ],
	[ 'a slow sink for SFTP',   $sftp->source('large'),           body('rate=9000000') ])
{
	my ($name, $source, $sink) = @$slow;
	my $run = stream_run($node, { source => $source, sink => $sink });
	is($run->{jobs}[0]{failed}, 'none', "$name is waited for") or diag($run->{jobs}[0]{error});
	cmp_ok($run->{cpu_ms}, '<', $run->{ms} / 3, 'without turning in circles') or diag(json($run));
	cmp_ok($run->{growth_kb}, '<', 16 * 1024, 'and without hoarding');
}

my @many = map { { source => from('size=3000000', digests => 1), sink => $_ % 2 ? body() : $sftp->sink("many$_", temporary => $sftp->file(".many$_")) } } 1 .. 20;
my $run = stream_run($node, @many);
is_deeply([ map { "$_->{failed} " . ($_->{sha256} // $_->{error}) } @{ $run->{jobs} } ], [ ('none ' . sha(3000000)) x 20 ], 'twenty at once');
note("20 streams: $run->{ms} ms, longest turn $run->{longest_turn_ms} ms, grown by $run->{growth_kb} kB");

# ---- sources that fail --------------------------------------------------

my %wrong = (
	'stop=1000000'           => qr/closed in the middle/,
	'reset=1000000'          => qr/reset by peer/,
	'status=403'             => qr/it answered HTTP 403/,
	'status=302'             => qr/redirect \(HTTP 302\) is not followed/,
	'announce=2500000'       => qr/announces 2500000 bytes, promised were 2000000/,
	'chunked=1&stop=1000000' => qr/./);
foreach my $how (sort keys %wrong)
{
	fails(run(from("size=2000000&$how", size => 2000000), $sftp->sink('wrong', temporary => $sftp->file('.wrong'))), 'source', $wrong{$how}, "source with $how");
}
fails(run(from('size=2000001&chunked=1', size => 2000000), body()), 'source', qr/more than the 2000000 bytes/, 'a source that sends too much');
fails(run(from('size=1999999&chunked=1', size => 2000000), body()), 'source', qr/it ended, promised were 2000000 bytes/, 'or too little');
fails(run(from('size=2000000', sha256 => sha(2000001)), body('wrong')), 'source', qr/SHA-256 is not the one promised/, 'or something else');
fails(run(from('size=2000000&chunked=1&linger=500', size => 2000000, sha256 => sha(2000001)), body('wrong')), 'source', qr/SHA-256 is not the one promised/, 'also when it is long in ending');
fails(run(from('size=2000000', sha256 => sha(2000001)), $sftp->sink('wrong', temporary => $sftp->file('.wrong'))), 'source', qr/SHA-256/, 'the same for SFTP');
fails(run(from('size=2000000', begins => 'fLaC'), body('never')), 'source', qr/it doesn't begin as it should/, 'or is no audio');
fails(run(from('size=2000000&stall=1000000'), body(), low_speed_bytes => 1000, low_speed_seconds => 1), 'source', qr/slower than 1000 bytes a second for 1 s/, 'or falls silent');
is(scalar asked('/sink?never'), 0, 'a sink is not opened for what was seen to be wrong');
ok(!-e $sftp->file('wrong'), 'no wrong file got its name');
is(run(from('size=2000000', sha256 => sha(2000000)), body('right'))->{failed}, 'none', 'what is right');
is(whole('/sink?right'), 1, 'comes as a whole');
is(whole('/sink?wrong'), 0, 'no sink got all of what was wrong');
is(run(from('size=2000000', start => 500000, digests => 1), memory(cap => 3 * $MB))->{sha256}, sha(2000000, 500000), 'a part is asked for');
is((asked('/source?size=2000000'))[-1]{range}, 'bytes=500000-', 'by its range');
is(run(from('size=2000000&norange=1', start => 500000, digests => 1), memory(cap => 3 * $MB))->{sha256}, sha(2000000, 500000), 'and cut out where there are no ranges');
fails(run(from('size=2000000&badrange=1', start => 500000), memory()), 'source', qr/another range than the one from byte 500000/, 'another part is not taken');

# ---- sinks that fail ----------------------------------------------------

$job = run(from('size=' . 20 * $MB), body('answer=403&after=1000000'));
fails($job, 'sink', qr/it answered HTTP 403|reset by peer|broke/, 'a sink that refuses in the middle');
cmp_ok($job->{offered}, '<', 20 * $MB, 'gets no more');
fails(run(from('size=1000'), body('answer=413')), 'sink', qr/it answered HTTP 413/, 'a sink that refuses at the end');
fails(run(from('size=20000000'), body('reset=1000000')), 'sink', qr/reset by peer|broke/, 'a sink that resets');
fails(run(from('size=20000000'), body('stall=1000000'), low_speed_bytes => 1000, low_speed_seconds => 1), 'sink', qr/slower than/, 'a sink that reads no more');
fails(run(from('size=1000'), body('silent=1'), answer_timeout => 300), 'sink', qr/no answer within 300 ms/, 'a sink that never answers');
$job = run(from('size=6000000'), body('rate=700000'), answer_timeout => 2000);
is($job->{failed}, 'none', 'what waits in the kernel for a slow sink doesn\'t count as its silence') or diag($job->{error});
$job = run(from('size=1000', url => "http://127.0.0.1:1/"), memory());
fails($job, 'source', qr/could not connect/, 'a source that is not there');

# ---- SFTP servers that fail ---------------------------------------------

fails(run(from('size=1000'), { %{ $sftp->sink('x') }, key => undef, password => 'wrong' }), 'sink', qr/refused the user or its credentials/, 'a wrong password');
my $stranger = MusicVerse::Stream::Sftp->start(file_size => 2048);
fails(run(from('size=1000'), { %{ $sftp->sink('x') }, key => $stranger->{key} }), 'sink', qr/refused the user or its credentials/, 'a wrong key');
fails(run(from('size=20000000'), $stranger->sink('full', temporary => $stranger->file('.full'))), 'sink', qr/failed to write the file \(disk full\?\)/, 'a full disk');
my $before = $stranger->{fingerprint};
$stranger->stop;
$stranger->new_host_key;
$stranger->run;
fails(run(from('size=1000'), { %{ $stranger->sink('x') }, host_keys => $before }), 'sink',
	qr/server's host key \Q$stranger->{fingerprint}\E is none of those pinned/, 'a host key that has changed');
is(run(from('size=1000'), { %{ $stranger->sink('x') }, host_keys => "$before, $stranger->{fingerprint}" })->{failed}, 'none', 'until it is pinned too');
fails(run(from('size=1000'), $sftp->sink('many2/x')), 'sink', qr/./, 'a directory that cannot be made');

# one after the other in one loop, which keeps connections
my $served = $sftp->sessions;
my @runs = map { from_json($_)->{jobs}[0] } split /\n/, sql($node, join ';', map { 'select stream_run(' . lit([$_]) . ')' }
	{ source => from('size=1000'), sink => $sftp->sink('kept', temporary => $sftp->file('.kept')) },
	{ source => from('size=1000'), sink => { %{ $sftp->sink('stranger') }, host_keys => $before } });
is($runs[0]{failed}, 'none', 'a connection is kept');
is($sftp->sessions - $served, 1, 'by which a file is renamed too');
fails($runs[1], 'sink', qr/none of those pinned/, 'but not used by who has pinned another key');

foreach my $signal ('KILL', 'STOP')
{
	my $session = session($node);
	$session->query_until(qr/begun/, "\\echo begun\nselect stream_run(" . lit([ { source => from('size=60000000&rate=6000000'), sink => $sftp->sink("cut$signal", temporary => $sftp->file(".cut$signal")),
		low_speed_bytes => 1000, low_speed_seconds => 1 } ]) . ");\n\\echo ended\n");
	wait_for(sub { (-s $sftp->file(".cut$signal") // 0) > 2 * $MB }, 20, 'the upload to be under way');
	my $server = ($sftp->sessions)[-1];
	kill $signal => $server;
	my ($told) = $session->query_until(qr/ended/, '') =~ /(\{.*\})/;
	$session->quit;
	kill KILL => $server;
	my $result = from_json($told);
	fails($result->{jobs}[0], 'sink', $signal eq 'KILL' ? qr/./ : qr/slower than/, "a server that gets SIG$signal in the middle");
	note("SIG$signal: longest turn $result->{longest_turn_ms} ms; $result->{jobs}[0]{error}");
	ok(!-e $sftp->file("cut$signal"), 'leaves no finished file');
}

# ---- uploads that are continued -----------------------------------------

sub broken
{
	my ($name) = @_;
	unlink $sftp->file($name), $sftp->file(".$name");
	fails(run(from('size=9000000&stop=6000000'), $sftp->sink($name, temporary => $sftp->file(".$name"))), 'source', qr/middle/, "$name breaks off");
	# what was under way is still written
	wait_for(sub { !grep { kill 0, $_ } $sftp->sessions }, 10, 'its server to end');
	return -s $sftp->file(".$name");
}
foreach my $how ([ 'reread', 'size=9000000' ], [ 'range', 'size=9000000&ranges=1' ], [ 'range', 'size=9000000&norange=1' ])
{
	my ($resume, $query) = @$how;
	my $there = broken('again');
	cmp_ok($there, '>', 1000000, 'having got somewhere');
	my $job = run(from($query, $resume eq 'reread' ? (sha256 => sha(9000000)) : ()), $sftp->sink('again', temporary => $sftp->file('.again'), resume => $resume));
	is($job->{failed}, 'none', "and is continued ($resume, $query)") or diag($job->{error});
	is($job->{resumed_at}, $there, 'where it ended');
	is($job->{offered}, 9000000 - $there, 'with the rest only');
	is((asked($query))[-1]{range}, $resume eq 'range' ? "bytes=$there-" : undef, 'of which the source was asked');
	is(sha_of($sftp->file('again')), sha(9000000), 'and is whole');
}
is(run(from('size=9000000'), $sftp->sink('fresh', temporary => $sftp->file('.fresh'), resume => 'range'))->{failed}, 'none', 'one that never began is begun');
is(sha_of($sftp->file('fresh')), sha(9000000), 'and is whole');
append_to_file($sftp->file('.long'), 'x' x 5000);
fails(run(from('size=3000'), $sftp->sink('long', temporary => $sftp->file('.long'), resume => 'reread')), 'sink', qr/the file there has 5000 bytes, the source 3000/, 'one that is longer is not');
rename $sftp->file('again'), $sftp->file('.again') or die;
is(run(from('size=9000000'), $sftp->sink('again', temporary => $sftp->file('.again'), resume => 'reread'))->{failed}, 'none', 'one that only lacks its name gets it');

# ---- ends ---------------------------------------------------------------

fails(run(from('size=20000000&rate=8000000'), body(), abort_after => 1000000), 'caller', qr/^aborted$/, 'an abort ends both sides');
my $session = session($node);
my $pid     = $session->query_safe('select pg_backend_pid()');
$session->query_until(qr/begun/, "\\echo begun\nselect stream_run(" . lit([ { source => from('size=60000000&rate=6000000'), sink => $sftp->sink('ended', temporary => $sftp->file('.ended')) } ]) . ");\n");
wait_for(sub { (-s $sftp->file('.ended') // 0) > $MB }, 20, 'the upload to be under way');
sql($node, "select pg_terminate_backend($pid)");
wait_for_sql($node, "select count(*) from pg_stat_activity where pid = $pid", '0', 10, 'the process to end');
ok(!-e $sftp->file('ended') && -s $sftp->file('.ended'), 'a process that is ended in the middle leaves a part without a name');
eval { $session->quit };

# ---- what is refused ----------------------------------------------------

my %target = $sftp->target;
foreach my $case (
	[ { host_keys => undef },                   qr/needs the fingerprints of its host keys/ ],
	[ { host_keys => 'SHA256:short' },          qr/a fingerprint of a host key is not/ ],
	[ { user => undef },                        qr/needs a user/ ],
	[ { password => 'x' },                      qr/either a password or a private key/ ],
	[ { key => undef },                         qr/either a password or a private key/ ],
	[ { url => "$target{url}/path" },           qr/has a path/ ],
	[ { url => 'ftp://127.0.0.1/' },            qr/none of http:, https: and sftp:/ ],
	[ { url => 'sftp://a:b@127.0.0.1/' },       qr/credentials in the URL/ ])
{
	my ($change, $why) = @$case;
	like(run(from('size=1'), { %{ $sftp->sink('x') }, %$change })->{why} // '', $why, "refused: $why");
}
fails(run({ text => 'x' }, { %{ $sftp->sink('x') }, path => "a\nrm b" }), 'caller', qr/control character/, 'a path with a line end');
fails(run(from('size=1', sha256 => sha(1)), $sftp->sink('x', temporary => 'y', resume => 'range')), 'caller', qr/no digest of a part/, 'a digest of a part');

set_conf($node, 'musicverse.allowed_networks' => '');
$node->reload;
wait_for_sql($node, 'show musicverse.allowed_networks', '', 10, 'the setting');
$job = run({ text => 'x' }, $sftp->sink('guarded'));
fails($job, 'sink', qr/address 127\.0\.0\.1 refused: loopback address/, 'the address guard is asked for SFTP too');
ok($job->{refused} && !-e $sftp->file('guarded'), 'and nothing is dialled');
fails(run(from('size=1'), memory()), 'source', qr/refused: loopback address/, 'as for sources');

done_testing();

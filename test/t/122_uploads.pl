# Files on their way to partners: as bodies, in forms, to SFTP servers; of any
# size in little memory; sources that fail and sinks that fail, and whose fault
# it is; kill -9 in the middle.
use lib 'test/lib';
use Digest::SHA qw(sha256_hex);
use MusicVerse::LabelGrid qw(wait_release submit targets_of);
use MusicVerse::Partners;
use MusicVerse::Scripted;
use MusicVerse::Stream qw(http_server);
use MusicVerse::Test;

my $node = scripted_cluster('uploads', 'musicverse.max_upload' => '5GB', 'musicverse.distribution_poll_interval' => '1s');
my $http = http_server();
my $sftp = MusicVerse::Stream::Sftp->start;
my $user = user(1);

sub source { return "$http->{base}/source?$_[0]"; }
sub sha    { my ($size) = @_; return http('GET', "$http->{base}/sha256?size=$size")->{content}; }
sub asked  { my ($path) = @_; return grep { index($_->{path}, $path) >= 0 } @{ http_json('GET', "$http->{base}/log") }; }
sub sha_of { my ($path) = @_; return Digest::SHA->new(256)->addfile($sftp->file($path), 'b')->hexdigest; }
sub reason { my ($id) = @_; return sql($node, "select coalesce(reason, last_error) from musicverse.distribution_targets where distribution_id = '$id'"); }

# What came of a release that was carried by these steps
sub http_steps { scripted($node, $http->{base}, {}, {}, @_); return carry($node); }
sub goes       { my ($id) = @_; wait_release($node, $id, 'live', 60); return learned($node, $id); }

# ---- by HTTP

my $got = goes(http_steps(
	body  => { method => 'PUT', path => '/sink?body', source_url => source('size=3000000'), source_sha256 => sha(3000000), idempotent => \1 },
	form  => { path => '/sink?form', source_url => source('size=2000000&chunked=1'), parts => [
		{ name => 'title', value => "one & tw\x{f6}" }, { name => 'audio', file_name => 'a.wav', content_type => 'audio/wav' },
		{ name => 'cover', source_url => source('size=70000'), file_name => 'c.jpg', content_type => 'image/jpeg' } ] },
	plain => { path => '/sink?plain', parts => [ { name => 'a', value => 'b' }, { name => 'c', value => 'd' } ] },
	text  => { path => '/sink?text', body => '<a/>', content_type => 'application/xml' },
	none  => { nothing => \1 }));
is_deeply([ @{ $got->{body} }{qw(status bytes sha256)} ], [ 200, 3000000, sha(3000000) ], 'a file becomes a body, and its digest is told');
my $sink = from_json($got->{body}{body});
is_deeply([ @$sink{qw(method bytes sha256)} ], [ 'PUT', 3000000, sha(3000000) ], 'it came');
like($sink->{headers}{'idempotency-key'}, qr/:body:1$/, 'with the idempotency key');
$sink = from_json($got->{form}{body});
is_deeply([ map { [ @$_{qw(name filename type bytes)} ] } @{ $sink->{parts} } ],
	[ [ 'title', undef, undef, 10 ], [ 'audio', 'a.wav', 'audio/wav', 2000000 ], [ 'cover', 'c.jpg', 'image/jpeg', 70000 ] ], 'a form with two files');
is_deeply([ map { $_->{sha256} } @{ $sink->{parts} }[ 1, 2 ] ], [ sha(2000000), sha(70000) ], 'which are whole');
is_deeply([ @{ $got->{form} }{qw(bytes sha256)} ], [ 2000000, sha(2000000) ], 'the request\'s own source is told of');
is_deeply([ map { [ @$_{qw(name filename bytes)} ] } @{ from_json($got->{plain}{body})->{parts} } ], [ [ 'a', undef, 1 ], [ 'c', undef, 1 ] ], 'a form without a file');
is(from_json($got->{text}{body})->{headers}{'content-type'}, 'application/xml', 'a text of another type');
is_deeply($got->{none}, { status => 200, bytes => 0, unsure => JSON::PP::false }, 'a step that asks nobody');

# ---- by SFTP

my $name = getpwuid($>);
sub sftp_steps
{
	my ($server, @steps) = @_;
	scripted($node, "sftp://127.0.0.1:$server->{port}$server->{dir}/files", { username => $name, private_key => $server->{key} },
		{ host_keys => [ $server->{fingerprint} ], timeout => 5 }, @steps);
	return carry($node);
}
$got = goes(sftp_steps($sftp,
	mkdir    => { sftp => 'commands', commands => [ [ 'mkdir', '/20261125' ], [ '?mkdir', '/20261125' ] ] },
	put      => { sftp => 'put', path => '/20261125/a.wav', temporary => '/20261125/.a.part', source_url => source('size=3000000'), source_sha256 => sha(3000000) },
	xml      => { sftp => 'put', path => '/20261125/a.xml', body => "<a>\x{e4}</a>" },
	made     => { sftp => 'put', path => '/new/er/b.xml', body => 'b' },
	list     => { sftp => 'list', path => '/20261125' },
	get      => { sftp => 'get', path => '/20261125/a.xml' },
	'?taken' => { sftp => 'put', path => '/20261125/a.wav', temporary => '/20261125/.b.part', source_url => source('size=1000') },
	'?gone'  => { sftp => 'get', path => '/nowhere' },
	'?exist' => { sftp => 'commands', commands => [ [ 'mkdir', '/20261125' ] ] },
	'?lost'  => { sftp => 'commands', commands => [ [ 'delete', '/nowhere' ] ] },
	none     => { nothing => \1, sftp => 'list', path => '/' },
	rename   => { sftp => 'commands', commands => [ [ 'rename', '/20261125/a.xml', '/20261125/b.xml' ], [ 'delete', '/20261125/.b.part' ] ] }));
is_deeply([ map { $got->{$_}{status} } qw(mkdir put xml made list get taken gone exist lost none rename) ], [ 200, 200, 200, 200, 200, 200, 409, 404, 409, 404, 200, 200 ], 'what an SFTP server says');
is(sha_of('20261125/a.wav'), sha(3000000), 'the file is there');
is_deeply([ @{ $got->{put} }{qw(bytes sha256)} ], [ 3000000, sha(3000000) ], 'as it is told');
is(join(' ', sort split /\n/, $got->{list}{body}), 'a.wav a.xml', 'names in a directory');
is($got->{get}{body}, "<a>\x{e4}</a>", 'a file that is read');
ok(-e $sftp->file('20261125/b.xml') && -e $sftp->file('new/er/b.xml'), 'commands are obeyed, directories made');
is(scalar($sftp->sessions), 1, 'all by one connection');

# ---- files of ours

sub media
{
	my ($size) = @_;
	my $id = sql($node, q{with w as (insert into musicverse.media_work (id, kind, input, state) values (gen_random_uuid(), 'test', '{}', 'done') returning id)
		select id from w});
	my ($own) = glob $node->data_dir . '/musicverse_media/*-*';
	append_to_file("$own/$id.wav", http('GET', source("size=$size"))->{content});
	sql($node, "insert into musicverse.media (id, kind, bytes, file_name) values ('$id', 'test', $size, '$id.wav')");
	return ($id, "$own/$id.wav");
}
wait_for_sql($node, 'select state from musicverse.media_status', 'running', 60, 'the media worker');
my ($media, $file) = media(3000000);
$got = goes(http_steps(
	body => { path => '/sink?media', source_url => "media:$media", source_sha256 => sha(3000000) },
	form => { path => '/sink?media', parts => [ { name => 'audio', source_url => "media:$media", file_name => 'a.wav' }, { name => 'cover', source_url => source('size=70000&ranges=1'), file_name => 'c' } ] }));
is(from_json($got->{body}{body})->{sha256}, sha(3000000), 'a file of ours is carried');
is_deeply([ map { $_->{bytes} } @{ from_json($got->{form}{body})->{parts} } ], [ 3000000, 70000 ], 'in a form too');
$got = goes(sftp_steps($sftp, put => { sftp => 'put', path => '/media.wav', temporary => '/.media', source_url => "media:$media" }));
is(sha_of('media.wav'), sha(3000000), 'and to an SFTP server');

# ---- failures that are the source's

sub fails
{
	my ($id, $like, $name) = @_;
	wait_release($node, $id, 'failed', 60);
	like(reason($id), $like, $name);
	return;
}
sub once { my ($config, %request) = @_; scripted($node, $http->{base}, {}, { attempts => 1, %$config }, body => { path => '/sink?never', %request }); return carry($node); }
sub whole { my ($path) = @_; return scalar grep { $_->{method} eq 'WHOLE' && index($_->{path}, $path) >= 0 } @{ http_json('GET', "$http->{base}/log") }; }

fails(once({ attempts => 20 }, source_url => source('size=1000&status=404')), qr/^the file could not be fetched: HTTP 404$/, 'a source that is missing is the user\'s');
fails(once({ attempts => 20 }, source_url => source('size=0')), qr/^the file is empty$/, 'so is one that is empty');
fails(once({}, source_url => source('size=2000000'), source_sha256 => sha(1)), qr/given up .*: the file has changed since it was inspected$/, 'one that has changed is tried again, as it is looked at anew');
fails(once({}, source_url => "media:$media", source_sha256 => sha(1)), qr/given up .*: the file has changed since it was inspected$/, 'also one of ours');
fails(once({}, source_url => source('size=2000000&status=500')), qr/given up after 1 attempts: the file could not be fetched: HTTP 500$/, 'a server that fails is tried again');
fails(once({}, source_url => source('size=2000000&stop=1000000')), qr/given up .* could not be fetched: after \d+ bytes: connection closed in the middle/, 'or breaks off');
fails(once({}, source_url => source('size=2000000&announce=2500000')), qr/given up .* could not be fetched: after \d+ bytes: connection closed in the middle/, 'or has less than it said');
fails(once({}, source_url => 'http://127.0.0.1:1/'), qr/given up .* could not be fetched: could not connect/, 'or is not there');
fails(once({}, source_url => 'sftp://127.0.0.1:1/'), qr/given up .* user/, 'or speaks something else');
unlink $file;
fails(once({}, source_url => "media:$media"), qr/given up .*: the file media:$media is gone$/, 'a file of ours that is gone, as it is made again');
symlink $node->data_dir . '/PG_VERSION', $file;
sql($node, "update musicverse.media set bytes = 3 where id = '$media'");
fails(once({}, source_url => "media:$media"), qr/could not open the file of media:$media: Too many levels/, 'a link in its place is not followed');
sql($node, "alter system set musicverse.max_upload = '1MB'");
sql($node, 'select pg_reload_conf()');
fails(once({ attempts => 20 }, source_url => source('size=1048577')), qr/^the file is larger than 1024 kB$/, 'a file that is too long is the user\'s');
fails(once({ attempts => 20 }, source_url => source('size=1048577&chunked=1')), qr/^the file is larger than 1024 kB$/, 'also when its length is seen late');
sql($node, 'alter system reset musicverse.max_upload');
sql($node, 'select pg_reload_conf()');
is(whole('/sink?never'), 0, 'nobody got all of what was wrong');
my @failing = (once({}, source_url => source('size=1000&status=500')), map { carry($node) } 1 .. 5);
wait_release($node, $_, 'failed', 60) foreach @failing;
is(sql($node, "select state from musicverse.partner_status where name = 'scripted'"), 'ready', 'and none of it is held against the partner');

# ---- and those that are the partner's

sub partner_is { my ($state, $name) = @_; wait_for_sql($node, "select state from musicverse.partner_status where name = 'scripted'", $state, 60, $name); pass($name); return; }

@failing = (once({ attempts => 20 }, path => '/sink?answer=500', source_url => source('size=1000')), map { carry($node) } 1 .. 4);
partner_is('failing: only probed', 'a partner that fails is only probed');
sql($node, "select musicverse.cancel_distribution('$_')") foreach @failing;
my $id = once({ attempts => 20 }, path => '/sink?answer=403&after=1000000', source_url => source('size=20000000'));
partner_is('paused: it refuses us', 'one that refuses us in the middle of a body is paused');
sql($node, "select musicverse.cancel_distribution('$id')");
$id = once({ attempts => 20 }, path => '/sink?answer=413', source_url => source('size=1000'));
fails($id, qr/./, 'what it says of the file is the user\'s');

my $stranger = MusicVerse::Stream::Sftp->start;
my $before   = $stranger->{fingerprint};
$stranger->stop;
$stranger->new_host_key;
$stranger->run;
my @put = (put => { sftp => 'put', path => '/a.wav', temporary => '/.a', source_url => source('size=1000') });
{
	local $stranger->{fingerprint} = $before;
	$id = sftp_steps($stranger, @put);
	partner_is('paused: it refuses us', 'a partner whose host key has changed is paused');
	like(sql($node, "select paused_reason from musicverse.partners where name = 'scripted'"), qr/host key SHA256:\S+ is none of those pinned/, 'which it is told');
}
{
	local $stranger->{key} = $sftp->{key};
	scripted($node, "sftp://127.0.0.1:$stranger->{port}$stranger->{dir}/files", { username => $name, private_key => $stranger->{key} }, { host_keys => $stranger->{fingerprint} }, @put);
	wait_for_sql($node, "select paused_reason ~ 'refused the user' from musicverse.partners where name = 'scripted'", 't', 60, 'the login to be refused');
	pass('so is one that refuses the login');
}
scripted($node, "sftp://127.0.0.1:$stranger->{port}$stranger->{dir}/files", { username => $name, private_key => $stranger->{key} }, { host_keys => $stranger->{fingerprint} }, @put);
wait_release($node, $id, 'live', 60);
is(-s $stranger->file('a.wav'), 1000, 'until it is configured anew');

# ---- what breaks in the middle, and goes on

sub worker { return sql($node, 'select pid from musicverse.distribution_status'); }
sub under_way
{
	my ($part) = @_;
	wait_for(sub { (-s $sftp->file($part) // 0) > 2_000_000 }, 60, 'the upload to be under way');
	return;
}
# The first byte of what is there: if it is continued, it stays
sub mark
{
	my ($part) = @_;
	open my $fh, '+<', $sftp->file($part) or die "$part: $!";
	syswrite $fh, 'X';
	close $fh;
	return;
}
sub marked { my ($path) = @_; return substr(slurp_file($sftp->file($path)), 0, 4); }
my $long = 'size=12000000&rate=3000000';

$id = sftp_steps($sftp, put => { sftp => 'put', path => '/cut.wav', temporary => '/.cut', source_url => source("$long&cut") });
under_way('.cut');
kill KILL => slurp_file('/proc/' . ($sftp->sessions)[-1] . '/stat') =~ /^\d+ \(.*\) \S (\d+)/;
wait_for(sub { my $w = work_of($node, $id); $w->{failures} > 0 }, 60, 'the upload to break');
mark('.cut');
$got = goes($id);
is(marked('cut.wav'), 'XIFF', 'a server that is killed: what it has is continued');
is(-s $sftp->file('cut.wav'), 12000000, 'to the end');
is($got->{put}{unsure}, JSON::PP::true, 'by a step that is unsure');
is($got->{put}{sha256}, sha(12000000), 'and the digest is that of the whole source');

append_to_file($sftp->file('.over'), 'x' x 100000);
$got = goes(sftp_steps($sftp, put => { sftp => 'put', path => '/over.wav', temporary => '/.over', source_url => source('size=1000') }));
is(sha_of('over.wav'), sha(1000), 'what is there and too long is overwritten');

$id = sftp_steps($sftp, put => { sftp => 'put', path => '/killed.wav', temporary => '/.killed', source_url => source("$long&killed") });
under_way('.killed');
my $pid = worker();
kill KILL => $pid;
wait_for(sub { my $now = eval { worker() }; $now && $now ne $pid }, 60, 'another worker');
is(goes($id)->{put}{unsure}, JSON::PP::true, 'a worker that is killed in the middle begins the step again');
is(sha_of('killed.wav'), sha(12000000), 'and the file is whole');

$id = sftp_steps($sftp, put => { sftp => 'put', path => '/stopped.wav', temporary => '/.stopped', source_url => source("$long&stopped") });
under_way('.stopped');
$node->restart;
is(goes($id)->{put}{unsure}, JSON::PP::true, 'so does one that is told to leave');
is(sha_of('stopped.wav'), sha(12000000), 'and the file is whole again');

# ---- streams that take long

$id = http_steps(body => { path => '/sink?clock', source_url => source("$long&clock") });
wait_for(sub { scalar asked('&clock') }, 60, 'the stream to run');
sql($node, q{select musicverse.advance_clock('1 hour')});
goes($id);
is(scalar(() = asked('&clock')), 1, 'a stream that takes an hour is begun once');

$id = http_steps(body => { path => '/sink?cancelled', source_url => source('size=600000000&rate=3000000&cancelled') });
wait_for(sub { scalar asked('&cancelled') }, 60, 'the stream to run');
sql($node, "select musicverse.cancel_distribution('$id')");
wait_for_sql($node, 'select in_flight from musicverse.distribution_status', 0, 30, 'the stream to be given up');
wait_for(sub { !defined work_of($node, $id)->{begun_at} }, 30, 'it to be settled');
is(targets_of($node, $id), 'spotify cancelled', 'a release that is cancelled in the middle of a stream is given up');
is(scalar(() = asked('&cancelled')), 1, 'and not begun again');
is(whole('/sink?cancelled'), 0, 'nobody got all of it');

# ---- big ones, by LabelGrid's connector

sql($node, q{select musicverse.set_partner_active('scripted', false)});
my $partners = MusicVerse::Partners->start;
$partners->control(labelgrid => { strict => \0, pace_ms => 20 });
http('PUT', $partners->base('/storage/cover.png'), "\x89PNG\r\n\x1a\n\0\0\0\rIHDR" . pack('NN', 3000, 3000) . "\x08\x02\0\0\0");
sql($node, sprintf q{select musicverse.configure_partner('labelgrid', %s, %s, '{"poll_interval": 0.2, "timeout": 60, "label_id": 1}')},
	lit($partners->base('/labelgrid/api/public')), lit({ token => $MusicVerse::Partners::token }));

my $isrc = 'QZABC2600000';
sub grid
{
	my ($title, $upc, $bytes) = @_;
	return sql($node, sprintf q{with t as (insert into musicverse.tracks (user_id, title, style, audio_url, cover_url, duration, isrc)
		values (%1$s, %2$s, 'Ambient', %3$s, %4$s, 60, %6$s) returning id) select array_agg(id) as ids from t \gset
		select musicverse.create_distribution(%1$s, :'ids', '{spotify}', null, %5$s)},
		lit($user), lit($title), lit($partners->base("/storage/zeros/$bytes.wav")), lit($partners->base('/storage/cover.png')),
		lit({ title => $title, artist => 'Mira', label => 'Mira Records', language => 'en', p_line => '2026 Mira', c_line => '2026 Mira', upc => $upc }), lit(++$isrc));
}
sub zeros_sha
{
	my ($bytes) = @_;
	my $digest = Digest::SHA->new(256);
	$digest->add(http('GET', $partners->base("/storage/zeros/$bytes.wav"), undef, { range => 'bytes=0-43' })->{content});
	my $left = $bytes - 44;
	for (my $zeros = "\0" x 1_000_000; $left > 0; $left -= length $zeros)
	{
		$digest->add($left < length $zeros ? substr($zeros, 0, $left) : $zeros);
	}
	return $digest->hexdigest;
}
sub anonymous_kb { return slurp_file("/proc/$_[0]/status") =~ /RssAnon:\s+(\d+)/ ? $1 : 0; }

$pid = worker();
my $least = anonymous_kb($pid);
my $most  = $least;
$id = grid('Two gigabytes', '4006381333931', 2_000_000_000);
submit($node, $id);
wait_for(sub { my $now = anonymous_kb($pid); $most = $now if $now > $most; sql($node, "select status from musicverse.distributions where id = '$id'") =~ /live|failed/ }, 400, 'two gigabytes to be there');
is(sql($node, "select status from musicverse.distributions where id = '$id'"), 'live', 'a file of two gigabytes') or diag(reason($id));
note('memory of the worker: ' . $least . ' kB, at most ' . $most . ' kB');
cmp_ok($most - $least, '<', 64 * 1024, 'two gigabytes go in little memory');
my ($theirs) = @{ $partners->records('labelgrid')->{tracks} };
is($theirs->{file}{size}, 2_000_000_000, 'all of them');
is($theirs->{file}{sha256}, zeros_sha(2_000_000_000), 'as they are');

$id = grid('Killed', '4006381333948', 400_000_000);
my $seen = $partners->counters('storage')->{requests}{zeros};
submit($node, $id);
wait_for(sub { $partners->counters('storage')->{requests}{zeros} > $seen && work_of($node, $id)->{step} =~ /^upload/ }, 60, 'the upload to run');
kill KILL => $pid;
wait_for(sub { my $now = eval { worker() }; $now && $now ne $pid }, 60, 'another worker');
wait_release($node, $id, 'live', 200);
my $counted = $partners->counters('labelgrid');
is_deeply([ @$counted{qw(releases distinct_releases tracks commits distributed)} ], [ 2, 2, 2, 2, 2 ], 'a worker that is killed in the middle of an upload: one release');

done_testing();

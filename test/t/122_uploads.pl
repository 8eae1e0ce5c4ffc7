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
	'?none'  => { sftp => 'get', path => '/nowhere' },
	'?exist' => { sftp => 'commands', commands => [ [ 'mkdir', '/20261125' ] ] },
	'?lost'  => { sftp => 'commands', commands => [ [ 'delete', '/nowhere' ] ] },
	rename   => { sftp => 'commands', commands => [ [ 'rename', '/20261125/a.xml', '/20261125/b.xml' ], [ 'delete', '/20261125/.b.part' ] ] }));
is_deeply([ map { $got->{$_}{status} } qw(mkdir put xml made list get taken none exist lost rename) ], [ 200, 200, 200, 200, 200, 200, 409, 404, 409, 404, 200 ], 'what an SFTP server says');
is(Digest::SHA->new(256)->addfile($sftp->file('20261125/a.wav'))->hexdigest, sha(3000000), 'the file is there');
is_deeply([ @{ $got->{put} }{qw(bytes sha256)} ], [ 3000000, sha(3000000) ], 'as it is told');
is(join(' ', sort split /\n/, $got->{list}{body}), 'a.wav a.xml', 'names in a directory');
is($got->{get}{body}, "<a>\x{e4}</a>", 'a file that is read');
ok(-e $sftp->file('20261125/b.xml') && -e $sftp->file('new/er/b.xml'), 'commands are obeyed, directories made');
is(scalar($sftp->sessions), 1, 'all by one connection');

done_testing();

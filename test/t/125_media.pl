# The media worker: work is done once, by one process, whatever ends it; files
# are a cache that can be lost; audio of any size is looked at in little memory.
use lib 'test/lib';
use Digest::MD5 qw(md5_hex);
use Digest::SHA qw(sha256_hex);
use MusicVerse::Partners;
use MusicVerse::Test;

my $node = new_cluster('main', 'musicverse.max_upload' => '3GB');
my ($pid, $out) = start_process('sounds', 'node', "$root/test/partners/sounds.js");
my $sounds = do { my $at = from_json(scalar <$out>); "http://$at->{host}:$at->{port}" };

sub asked   { my ($path) = @_; return scalar grep { $_ eq $path } @{ http_json('GET', "$sounds/log") }; }
sub release { http('PUT', "$sounds/release"); return; }
sub work    { my ($id) = @_; return sql_row($node, "select * from musicverse.media_work where id = '$id'"); }
sub made    { my ($id) = @_; return sql_row($node, "select * from musicverse.media where id = '$id'"); }
sub path    { my ($id) = @_; return sql($node, "select musicverse._media_path('$id')"); }

sub wait_state
{
	my ($id, $state, $seconds) = @_;
	wait_for_sql($node, "select state from musicverse.media_work where id = '$id'", $state, $seconds // 60, "the work to be $state");
	return;
}

sub wait_worker { wait_for_sql($node, 'select state from musicverse.media_status', 'running', 60, 'the worker'); return; }

sub request
{
	my ($kind, $input) = @_;
	return sql($node, sprintf 'select musicverse._request_media(%s, %s)', lit($kind), lit(json($input)));
}

sub inspect { my ($url) = @_; my $id = request('inspect', { url => $url }); wait_state($id, 'done'); return made($id)->{facts}; }

sub fails
{
	my ($kind, $input, $reason, $what) = @_;
	my $id = request($kind, $input);
	wait_state($id, 'failed');
	like(work($id)->{last_error}, $reason, $what);
	return;
}

# Kills the worker; the server starts anew, and with it another one
sub kill_worker
{
	my $pid = sql($node, 'select pid from musicverse.media_status');
	kill KILL => $pid;
	wait_for(sub { my ($now) = eval { sql($node, 'select coalesce(pid, 0) from musicverse.media_status') }; $now && $now != $pid }, 60, 'another worker');
	return;
}

wait_worker();

# ---- what is at a URL

my $id = request('inspect', { url => "$sounds/a.flac?blocks=44" });
wait_state($id, 'done');
my $flac  = http('GET', "$sounds/a.flac?blocks=44")->{content};
my $facts = made($id)->{facts};
is_deeply([ @$facts{qw(format codec channels sample_rate bit_depth frames)} ], [ 'flac', 'flac', 2, 44100, 16, 45056 ], 'what audio it is');
is_deeply([ @{ made($id) }{qw(kind media_type bytes sha256 md5 file_name)} ], [ 'inspect', 'audio/flac', length $flac, sha256_hex($flac), md5_hex($flac), undef ], 'and its digests');
is(scalar(@{ $facts->{peaks} }), 512, 'with peaks');
is(request('inspect', { url => "$sounds/a.flac?blocks=44" }), $id, 'the same has the same id');
is(asked('/a.flac'), 2, 'and is not fetched again');
$facts = inspect("$sounds/b.wav?bits=24&rate=96000&channels=1&extensible=1");
is_deeply([ @$facts{qw(format codec channels sample_rate bit_depth frames)} ], [ 'wav', 'pcm', 1, 96000, 24, 2000 ], 'a WAV');
ok($facts->{is_extensible}, 'of the extensible kind');

fails('inspect', { url => "$sounds/gone.wav" }, qr/^the file could not be fetched: HTTP 404$/, 'what is not there');
fails('inspect', { url => "$sounds/moved.wav" }, qr/^the file could not be fetched: HTTP 302, and redirects are not followed$/, 'what is elsewhere');
fails('inspect', { url => "$sounds/page.wav" }, qr/^the file is not audio that can be read: it is neither/, 'a page of text');
fails('inspect', { url => "$sounds/empty.wav" }, qr/^the file is empty$/, 'nothing');
fails('inspect', { url => 'file:///etc/passwd' }, qr/^"file:\/\/\/etc\/passwd" is no URL of a file$/, 'a file of the server');
fails('inspect', { url => 'http://10.0.0.1/a.wav' }, qr/^the file could not be fetched: .*private/, 'an address that the guard refuses');
fails('inspect', {}, qr/^"null" is no URL/, 'no URL');
fails('nothing', { a => 1 }, qr/^this server knows no work of kind "nothing"$/, 'what no server knows');
$id = request('inspect', { url => 'http://127.0.0.1:1/a.wav' });
wait_for_sql($node, "select attempts > 0 and state = 'pending' and next_attempt_at > now() from musicverse.media_work where id = '$id'", 't', 60, 'a failed attempt');
like(work($id)->{last_error}, qr/could not be fetched: .*connect/i, 'a server that is down is asked again later');
is(sql($node, "select last_error from musicverse.media_status"), work($id)->{last_error}, 'which the status tells');

# ---- FLAC

$id = request('flac', { url => "$sounds/b.wav?bits=24&rate=96000&channels=1&extensible=1&frames=50000" });
wait_state($id, 'done');
my $file = path($id);
my $tmp  = PostgreSQL::Test::Utils::tempdir();
is_deeply([ @{ made($id) }{qw(media_type bytes)} ], [ 'audio/flac', -s $file ], 'a WAV becomes a FLAC');
is(sha256_hex(slurp_file($file)), made($id)->{sha256}, 'with its digest');
is(qx{flac -s -t "$file" 2>&1}, '', 'which flac finds in order');
is(join(' ', map { chomp(my $said = qx{metaflac --show-$_ "$file"}); $said } qw(sample-rate bps channels total-samples)), '96000 24 1 50000', 'of the same rate, bits and channels');
system_or_bail('flac', '-s', '-d', '-f', '-o', "$tmp/b.wav", $file);
my $samples = sub { my ($wav) = @_; my $at = index($wav, 'data'); return substr $wav, $at + 8, unpack 'V', substr $wav, $at + 4, 4 };
ok($samples->(slurp_file("$tmp/b.wav")) eq $samples->(http('GET', "$sounds/b.wav?bits=24&rate=96000&channels=1&extensible=1&frames=50000")->{content}), 'with the same samples');
like(qx{sndfile-info "$file"}, qr/Frames\s*: 50000/, 'sndfile-info agrees');
fails('flac', { url => "$sounds/c.flac" }, qr/^the file has no samples that FLAC could keep as they are$/, 'a FLAC is not made FLAC');
fails('flac', { url => "$sounds/b.wav?bits=32" }, qr/^the file has 32 bits a sample, which FLAC has not$/, 'nor what has too many bits');
fails('flac', { url => "$sounds/b.wav", sha256 => 'a' x 64 }, qr/^the file is another one than before$/, 'nor another file than was meant');

# ---- covers

sub cover { my (%how) = @_; return sql($node, sprintf q{select musicverse.request_cover(%s, %s, 'ambient', size => %d, format => %s)}, lit($how{title} // 'Rain'), lit('Mira'), $how{size} // 600, lit($how{format} // 'jpeg')); }
$id = cover();
wait_state($id, 'done');
is_deeply([ @{ made($id) }{qw(kind media_type)} ], [ 'cover', 'image/jpeg' ], 'a cover is drawn');
is(sql($node, "select encode(musicverse.cover_image('$id'), 'hex') = encode(musicverse.cover_art('Rain', 'Mira', 'ambient', size => 600, format => 'jpeg'), 'hex')"), 't', 'the same as cover_art() draws');
my $png = cover(format => 'png');
wait_state($png, 'done');
system_or_bail('pngcheck', '-q', path($png));
pass('a PNG is one');

# ---- files that are lost

unlink path($id) or die $!;
is(path($id), '', 'a file that is removed is not here');
is(sql($node, "select musicverse.cover_image('$id') is null"), 't', 'nor is the cover');
wait_for_sql($node, "select length(musicverse.cover_image('$id')) > 1000", 't', 60, 'it to be drawn again');
append_to_file(path($id), 'x');
is(path($id), '', 'nor is one of another length');
is(cover(), $id, 'it is asked for');
wait_for(sub { path($id) ne '' }, 60, 'it to be drawn again');

# ---- retention and room

my @covers = map { cover(title => "Cover $_") } 1 .. 6;
wait_state($_, 'done') foreach @covers;
my $size = -s path($covers[0]);
sql($node, "update musicverse.media set last_used_at = now() - interval '1 day'");
path($covers[5]);
set_conf($node, 'musicverse.media_max_size' => '1MB', 'musicverse.media_retention' => '12h');
my @before = map { path($_) } @covers[0 .. 2];
sql($node, "update musicverse.media set last_used_at = now() - interval '1 day' where id = any ('{" . join(',', @covers[0 .. 2]) . "}')");
$node->reload;
wait_for_sql($node, "select count(*) from musicverse.media where id = any ('{" . join(',', @covers[0 .. 2]) . "}')", '0', 60, 'what nobody uses to go');
wait_for(sub { !grep { -e } @before }, 60, 'their files to go');
ok(path($covers[5]) ne '', 'what is used stays');
is(cover(title => 'Cover 1'), $covers[0], 'it is asked for again, under the same id');
wait_state($covers[0], 'done');
ok(-e path($covers[0]), 'and made again');
my @big = map { cover(title => "Big $_", size => 1500, format => 'jpeg') } 1 .. 6;
foreach my $big (@big)
{
	wait_for_sql($node, "select coalesce((select state from musicverse.media_work where id = '$big'), 'gone') in ('done', 'gone')", 't', 60, 'a big cover');
}
wait_for_sql($node, 'select bytes < 1024 * 1024 from musicverse.media_status', 't', 60, 'the oldest to go');
is(sql($node, "select count(*) from musicverse.media where id = '$big[5]'"), 1, 'the newest stays');
fails('flac', { url => "$sounds/large.wav?frames=600000" }, qr/^the file has \d+ bytes, more than musicverse\.media_max_size$/, 'what is too large for the room is refused');
set_conf($node, 'musicverse.media_max_size' => '20GB', 'musicverse.media_retention' => '7d');
$node->reload;

# ---- a directory that can't be written to

my $directory = $node->data_dir . '/musicverse_media';
my ($own) = glob "$directory/*-*";
is(sprintf('%04o', (stat $own)[2] & 07777), '0700', 'the directory is its owner\'s alone');
set_conf($node, 'musicverse.media_directory' => "$tmp/none/below");
$node->reload;
wait_for_sql($node, 'show musicverse.media_directory', "$tmp/none/below", 30, 'the reload');
$id = cover(title => 'Nowhere');
wait_for_sql($node, "select last_error from musicverse.media_work where id = '$id'", qq{could not create directory "$tmp/none/below": No such file or directory}, 60, 'the attempt to fail');
is(work($id)->{state}, 'pending', 'it is tried again');
set_conf($node, 'musicverse.media_directory' => 'musicverse_media');
$node->reload;
wait_state($id, 'done');
pass('and made when there is room');

# ---- kill -9, a restart, and who needs the database for himself, in the middle

my %middle = (
	inspect => sub { my ($n) = @_; return request('inspect', { url => "$sounds/held$n.flac?blocks=300" }) },
	flac    => sub { my ($n) = @_; return request('flac',    { url => "$sounds/held$n.wav?frames=300000" }) });
my $n = 0;
foreach my $kind (sort keys %middle)
{
	my %end = (
		'kill -9'       => sub { kill_worker() },
		'a restart'     => sub { $node->restart; wait_worker(); },
		'DROP DATABASE' => sub { sql($node, 'create database other template template0'); sql($node, 'drop database other'); sql($node, 'alter extension musicverse update'); });
	foreach my $what (sort keys %end)
	{
		my $name = '/held' . ++$n . ($kind eq 'flac' ? '.wav' : '.flac');
		my $id   = $middle{$kind}->($n);
		wait_for(sub { asked($name) }, 60, 'the file to be half there');
		is(sql($node, 'select at_work from musicverse.media_status'), "$kind $id", "$kind: the status tells what is under way");
		$end{$what}->();
		# whether it was ended or went on: it comes to its end
		wait_for(sub { release(); work($id)->{state} eq 'done' }, 60, "the work to be done after $what");
		is(sql($node, "select count(*) from musicverse.media where id = '$id'"), 1, "$kind: done once after $what in the middle");
	}
}
wait_for(sub { !glob "$own/*.part" }, 60, 'nothing half done to be left');

$id = cover(title => 'Large', size => 6000, format => 'png');
wait_for_sql($node, 'select at_work from musicverse.media_status', "cover $id", 60, 'the drawing');
kill_worker();
wait_state($id, 'done');
is(work($id)->{attempts}, 2, 'a cover: drawn once after kill -9');

sql($node, "update musicverse.media_work set state = 'running', attempts = 5 where id = '$id'");
kill_worker();
wait_state($id, 'failed');
is(work($id)->{last_error}, 'the worker ended 5 times while it was at it', 'what ends the worker again and again is given up');

$id = request('inspect', { url => "$sounds/held99.flac" });
wait_for(sub { asked('/held99.flac') }, 60, 'the file to be half there');
ok(!defined sql_error($node, q{set statement_timeout = '30s'; create database copied template postgres}), 'who needs the database for himself does not wait for a file');
wait_for(sub { release(); work($id)->{state} eq 'done' }, 60, 'the work to be done');
is(work($id)->{attempts}, 1, 'which counts as no attempt');

# ---- what is left lying about

append_to_file("$own/$id.part", 'half');
append_to_file("$own/00000000-0000-4000-8000-000000000001.flac", 'of a row that was never committed');
(my $dropped = $own) =~ s/-\d+$/-4000000000/;
mkdir $dropped or die $!;
append_to_file("$dropped/a.png", 'x');
(my $foreign = $own) =~ s{/\d+-}{/1-};
mkdir $foreign or die $!;
my @kept = sql($node, 'select count(*) from musicverse.media where musicverse._media_path(id) is not null');
$node->restart;
wait_worker();
wait_for(sub { !-e "$own/$id.part" && !-e "$own/00000000-0000-4000-8000-000000000001.flac" }, 60, 'files without a row to go');
wait_for(sub { !-e $dropped }, 60, 'the directory of a database that is gone to go');
ok(-e $foreign, 'that of another cluster stays');
is(sql($node, 'select count(*) from musicverse.media where musicverse._media_path(id) is not null'), $kept[0], 'and so do files that have a row');

# ---- a copy stands still

my $copied = [ $node, 'copied' ];
set_conf($node, 'musicverse.databases' => 'postgres, copied');
$node->reload;
wait_for_sql($copied, 'select state from musicverse.media_status', 'standing still: a copy', 60, 'the worker of the copy');
sql($copied, q{select musicverse.request_cover('Copy', 'Mira', size => 64)});
sql($copied, 'select musicverse.enable_sending()');
wait_for_sql($copied, q{select state from musicverse.media_work where input ->> 'title' = 'Copy'}, 'done', 60, 'the copy to work when it may');
pass('a copy makes nothing until enable_sending()');
is(sql($copied, "select count(*) from musicverse.media where file_name is not null and musicverse._media_path(id) is not null"), 1, 'it has none of the files of the original');

# ---- two gigabytes

my $partners = MusicVerse::Partners->start;
my $worker = sql($node, 'select pid from musicverse.media_status');
my $most = sub { my ($kb) = slurp_file("/proc/$worker/status") =~ /^VmHWM:\s*(\d+)/m; return $kb };
inspect("$sounds/warm.flac");
my $before = $most->();
$id = request('inspect', { url => $partners->base('/storage/zeros/2000000044.wav') });
wait_state($id, 'done', 400);
is_deeply([ @{ made($id)->{facts} }{qw(frames silence_start)} ], [ 500000000, 11337.868 ], 'two gigabytes are looked at');
cmp_ok($most->() - $before, '<', 32 * 1024, 'in little memory');

done_testing();

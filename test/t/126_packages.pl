# Packages for those without an API: what is in them, whatever a release is
# called, judged by other tools; fetching them by SQL, by the gateway, in part;
# confirming by hand; kill -9 of the media worker; Apple's packages, fetched and
# sent. kill -9 of the other one is 129_killed_packages.pl.
use lib 'test/lib';
use utf8;
use Digest::SHA qw(sha256_hex);
use Digest::MD5 qw(md5_hex);
use MusicVerse::LabelGrid qw(wait_release submit targets_of);
use MusicVerse::Lookups;
use MusicVerse::Partners;
use MusicVerse::Stream;
use MusicVerse::Test;

# its files begin as what they are called, and go on as nothing: none is looked at before it is packed
my $node = new_cluster('packages',
	'musicverse.inspect_audio'              => 'off',
	'musicverse.gateway_workers'            => 1,
	'musicverse.gateway_listen'             => '127.0.0.1:0',
	'musicverse.public_url'                 => 'https://music.example.com',
	'musicverse.distribution_poll_interval' => '1s');
my ($pid, $out) = start_process('files', 'node', "$root/test/partners/files.js");
my $files = do { my $at = from_json(scalar <$out>); "http://$at->{host}:$at->{port}" };
my $user = user(1);
my $tmp  = PostgreSQL::Test::Utils::tempdir();
my $count = 0;

sub partner { my ($name, $config, $base, $credentials) = @_; sql($node, sprintf 'select musicverse.configure_partner(%s, %s, %s, %s)', lit($name), lit($base), lit($credentials // {}), lit($config // {})); return; }

# A release of tracks, each {title, file} or a title alone
sub release
{
	my ($platforms, $metadata, @tracks) = @_;
	my @ids;
	foreach my $track (map { ref $_ ? $_ : { title => $_ } } @tracks)
	{
		my $file = $track->{file} // 'song' . ++$count . '.flac';
		push @ids, sql($node, sprintf q{insert into musicverse.tracks (user_id, title, style, audio_url, cover_url, duration) values (%s, %s, 'Ambient', %s, %s, 61) returning id},
			lit($user), lit($track->{title}), lit("$files/$file"), lit("$files/cover.png"));
	}
	return sql($node, sprintf 'select musicverse.create_distribution(%s, %s, %s, null, %s)', lit($user), lit('{' . join(',', @ids) . '}'), lit('{' . join(',', @$platforms) . '}'),
		lit({ title => 'Rain', artist => 'Mira', label => 'Mira Records', language => 'en', p_line => '2026 Mira', c_line => '2026 Mira', %{ $metadata // {} } }));
}

sub package_of { my ($id, $platform) = @_; return sql_row($node, sprintf 'select * from musicverse.distribution_package(%s, %s)', lit($id), lit($platform // 'distrokid')); }

sub wait_target
{
	my ($id, $status, $platform) = @_;
	wait_for_sql($node, sprintf('select status from musicverse.distribution_targets where distribution_id = %s and platform = %s', lit($id), lit($platform // 'distrokid')), $status, 60, "the target to be $status");
	return;
}

# Reads a package piece by piece; returns the path of a copy
sub fetched
{
	my ($id, $platform) = @_;
	$platform //= 'distrokid';
	my $package = package_of($id, $platform);
	my $bytes   = '';
	while (1)
	{
		my $piece = sql($node, sprintf q{select encode(musicverse.distribution_package_read(%s, %s, %d, 100000), 'hex')}, lit($id), lit($platform), length $bytes);
		last if $piece eq '';
		$bytes .= pack 'H*', $piece;
	}
	is(sha256_hex($bytes) . " " . length $bytes, "$package->{sha256} $package->{bytes}", "a package for $platform: its digest and size");
	my $path = "$tmp/" . ++$count . '.zip';
	open my $handle, '>:raw', $path or die $!;
	print $handle $bytes;
	close $handle;
	return $path;
}

sub run { my $said = qx{cd "$tmp" && LC_ALL=C.UTF-8 @_ 2>&1}; utf8::decode($said); return wantarray ? split /\n/, $said : $said; }

# What Python has to say of a package
sub judged
{
	my ($zip) = @_;
	return from_json(scalar qx{python3 "$root/test/partners/package.py" "$zip"});
}

# ---- the whole way

partner('distrokid');
partner('tunecore');
my $id = release(['distrokid'], { title => 'Ночь', version_title => 'Deluxe', genre => 'Ambient', explicit => \1 }, 'Battle at Dawn', { title => 'Dusk', file => 'dusk.wav' });
is(package_of($id)->{state}, 'waiting', 'nothing is packed before it is submitted');
submit($node, $id);
wait_target($id, 'processing');
is(sql($node, "select reason from musicverse.distribution_targets where distribution_id = '$id'"), 'the bundle is ready to be fetched: upload it at DistroKid', 'it waits for somebody, and says for what');
is(sql($node, "select string_agg(type, ' ' order by position) from musicverse.poll_events('$user') where type like 'distribution.%'"), 'distribution.submitted distribution.processing', 'its events');
my $package = package_of($id);
is("@$package{qw(state scope file_name media_type)}", 'ready full Mira - Ночь (Deluxe).zip application/zip', 'its package');
my $zip   = fetched($id);
my $first = $package->{sha256};
my $judged = judged($zip);
is(join(' | ', @{ $judged->{names} }), join(' | ', map { "Mira - Ночь (Deluxe)/$_" } '01 Battle at Dawn.flac', '02 Dusk.wav', 'cover.png', 'metadata.csv', 'sheet.html', 'checksums.sha256'), 'what is in it');
is_deeply([ @$judged{qw(test bad same utf8 stored times sums bom)} ], [ undef, [], JSON::PP::false, JSON::PP::true, [ '01 Battle at Dawn.flac', '02 Dusk.wav', 'cover.png' ], 1, JSON::PP::true, JSON::PP::true ], 'Python finds it in order');
is($judged->{rows}[1]{'File'}, '02 Dusk.wav', 'the CSV names the files');
like(run("unzip -tq '$zip'"), qr/No errors detected/, 'unzip does');
is(scalar(() = run("bsdtar -tf '$zip'")), 6, 'bsdtar does');
is(scalar(() = run("sh -c \"cat '$zip' | bsdtar -tf -\"")), 6, 'and where it comes as a stream');
like(run("mkdir x && cd x && bsdtar -xf '$zip' && cd * && sha256sum -c checksums.sha256"), qr/^(.*: OK\n){5}$/, 'the checksums are those of the files');

# ---- fetched over HTTP

my $key  = sql($node, "select key from musicverse.create_api_key('$user', 'all')");
my $other = sql($node, "select key from musicverse.create_api_key('" . user(2) . "', 'all')");
wait_for_sql($node, "select count(*) > 0 from musicverse.gateway_status where state = 'listening'", 't', 60, 'the gateway');
my $base = 'http://127.0.0.1:' . sql($node, 'select port from musicverse.gateway_status limit 1');
sub api { my ($method, $path, $body, $as) = @_; my $got = http($method, "$base/api/v1/distributions/$path", defined $body ? json($body) : undef, { 'x-api-key' => $as // $key, 'content-type' => 'application/json' }); $got->{json} = eval { from_json($got->{content}) }; return $got; }

my $told = api('GET', "$id/packages/distrokid");
is($told->{status}, 200, 'the API tells of it');
is_deeply([ @{ $told->{json} }{qw(state sha256 bytes)} ], [ 'ready', $first, $package->{bytes} ], 'what SQL does');
is(api('GET', "$id/packages/distrokid", undef, $other)->{status}, 404, 'another user\'s is not there');
is(api('GET', "$id/packages/spotify")->{status}, 404, 'nor what it is not for');
(my $address = $told->{json}{url}) =~ s{^https://music\.example\.com}{} or fail('the address is that of the setting');
unlike($address, qr/[^!-~]/, 'the address is one in ASCII');
sub file { my ($how, $at, $method) = @_; return http($method // 'GET', $base . ($at // $address), undef, $how // {}); }
my $whole = file();
is(sha256_hex($whole->{content}), $first, 'at its url is the package');
is($whole->{headers}{'content-disposition'}, q{attachment; filename*=UTF-8''Mira%20%2D%20%D0%9D%D0%BE%D1%87%D1%8C%20%28Deluxe%29%2Ezip}, 'with its name');
is($whole->{headers}{etag}, qq{"$first"}, 'and its digest');
my $part = file({ range => 'bytes=100-199' });
is("$part->{status} $part->{headers}{'content-range'}", "206 bytes 100-199/$package->{bytes}", 'a part of it');
is($part->{content}, substr($whole->{content}, 100, 100), 'is the right one');
is(file({ range => 'bytes=-5' })->{content}, substr($whole->{content}, -5), 'the end');
is(file({ range => "bytes=$package->{bytes}-" })->{status}, 416, 'nothing is behind it');
is(file({ range => 'bytes=0-9', 'if-range' => '"another"' })->{status}, 200, 'of another file it is the whole');
is(file({ range => 'bytes=0-0,5-6' })->{status}, 200, 'and for several parts');
is(file({ 'if-none-match' => qq{"$first"} })->{status}, 304, 'what is known is not sent');
is(file({}, undef, 'HEAD')->{headers}{'content-length'}, $package->{bytes}, 'HEAD tells its length');
is(file({}, undef, 'POST')->{status}, 405, 'it is only read');
(my $forged = $address) =~ s{(/files/packages/.{60})(.)}{$1 . ($2 eq 'A' ? 'B' : 'A')}e;
is(file({}, $forged)->{status}, 404, 'a token that was changed opens nothing');
is(file({}, $_)->{status}, 404, "nor does $_") foreach '/files/packages/', '/files/packages/x', '/files/packages/../../etc/passwd', '/files/packages/' . 'A' x 4000 . '/x';
my $sealed = sql($node, q{select rtrim(translate(encode(musicverse._seal(E'../PG_VERSION\n3\n99999999999\nx\ntext/plain\nx', 'file'), 'base64'), E'+/\n', '-_'), '=')});
is(file({}, "/files/packages/$sealed/x")->{status}, 404, 'what is no media file is not served, whoever says so');
unlike(slurp_file($node->logfile), qr{/files/packages/[A-Za-z0-9_-]{100}}, 'no log has the address');
my $short = sql($node, "select musicverse._file_token(m.file_name, m.bytes, m.sha256, m.media_type, 'x', '-1 s') from musicverse.media m where m.sha256 = '$first'");
is(file({}, "/files/packages/$short/x")->{status}, 404, 'one whose time is over neither');
is(sql($node, "select b.body::jsonb ->> 'url' from musicverse.handle_request('GET', '/api/v1/distributions/$id/packages/distrokid', null, " . lit({ 'x-api-key' => $key }) . ", null) b") =~ m{^https://music\.example\.com/files} ? 1 : 0, 1, 'SQL tells the same');

# a drawn cover in the same way
my $drawn = release([ 'distrokid' ], { title => "Drawn \x{1F3B5}", cover => 'draw' }, 'Drawn');
$told = api('GET', "$drawn/cover");
is_deeply([ @{ $told->{json} }{qw(state is_drawn url)} ], [ 'drawing', JSON::PP::true, undef ], 'a cover is drawn when it is asked for');
wait_for_sql($node, qq{select state from musicverse.media_work where kind = 'cover'}, 'done', 60, 'the cover');
$told = api('GET', "$drawn/cover");
($address) = $told->{json}{url} =~ m{^https://music\.example\.com(/files/covers/[!-~]+\.jpg)$};
my $picture = file();
is($told->{json}{sha256}, sha256_hex($picture->{content}), 'at its url it is fetched');
is($picture->{headers}{'content-type'}, 'image/jpeg', 'as what it is');
like($picture->{content}, qr/^\xff\xd8\xff/, 'which it is');
is(api('GET', "$drawn/cover", undef, $other)->{status}, 404, 'another user\'s is not there');
is(file({}, '/files/others/' . ($address =~ m{covers/(.*)})[0])->{status}, 404, 'nor in another folder');
is_deeply([ @{ api('GET', "$id/cover")->{json} }{qw(state is_drawn url expires_at)} ], [ 'ready', JSON::PP::false, "$files/cover.png", undef ], 'of one that was given its address is told');
$node->safe_psql('postgres', "alter system set musicverse.public_url = ''");
$node->reload;
wait_for(sub { !defined api('GET', "$id/packages/distrokid")->{json}{url} }, 30, 'no address without a public one');

# ---- confirmed, changed, taken down

is(api('POST', "$id/confirm", { platform => 'distrokid', external_url => 'javascript:x' })->{status}, 422, 'what is no URL confirms nothing');
my $confirmed = api('POST', "$id/confirm", { platform => 'distrokid', external_url => 'https://open.spotify.com/album/1' });
is("$confirmed->{status} $confirmed->{json}{status} $confirmed->{json}{targets}[0]{external_url}", '200 live https://open.spotify.com/album/1', 'it is confirmed: live');
is(sql($node, "select string_agg(status, ' ' order by id) from musicverse.distribution_history where distribution_id = '$id' and platform = 'distrokid'"), 'pending scheduled delivering processing live', 'its history');
sql($node, qq{select musicverse.update_release('$id', '{"title": "Day"}')});
wait_for_sql($node, "select kind from musicverse.notifications where user_id = '$user' order by id desc limit 1", 'distribution.package_ready', 60, 'the owner to be told');
isnt(package_of($id)->{sha256}, $first, 'a change makes a new package');
is(package_of($id)->{revision}, 2, 'of the new revision');
is(targets_of($node, $id), 'distrokid live', 'and it stays live');
my $changed = package_of($id)->{sha256};
my ($kept) = glob $node->data_dir . '/musicverse_media/*/' . sql($node, "select file_name from musicverse.media where sha256 = '$changed'");
unlink $kept or die "$kept: $!";
is(sql($node, "begin read only; select state from musicverse.distribution_package('$id', 'distrokid')"), 'expired', 'a file that is gone is not there, where nothing can be written');
is(api('GET', "$id/packages/distrokid")->{json}{state}, 'building', 'and is packed again');
wait_for(sub { package_of($id)->{state} eq 'ready' }, 60, 'the package again');
is(package_of($id)->{sha256}, $changed, 'the same bytes');
my $url = sql($node, "select metadata #>> '{tracks,0,audio_url}' from musicverse.distributions where id = '$id'");
sub with_audio { my ($there) = @_; sql($node, sprintf q{select musicverse.update_release(%s, jsonb_build_object('tracks', jsonb_build_array(metadata #> '{tracks,0}' || %s, metadata #> '{tracks,1}'))) from musicverse.distributions where id = %1$s}, lit($id), lit({ audio_url => $there })); return; }
with_audio("$files/gone.flac");
wait_for_sql($node, "select status from musicverse.distribution_history where distribution_id = '$id' order by id desc limit 1", 'update_refused', 60, 'a change that can\'t be packed to be refused');
is(targets_of($node, $id) . ' ' . package_of($id)->{sha256}, "distrokid live $changed", 'fails nothing, and the package before it stays');
with_audio($url);
sql($node, "select musicverse.takedown_distribution('$id')");
wait_for_sql($node, "select kind from musicverse.notifications where user_id = '$user' order by id desc limit 1", 'distribution.takedown_wanted', 60, 'the owner to be asked');
is(targets_of($node, $id), 'distrokid live', 'what is to be taken down by hand is not taken down by a wish');
is(api('POST', "$id/confirm", { platform => 'distrokid' })->{json}{status}, 'taken_down', 'but when it is confirmed');

# ---- whatever it is called

$id = release([ 'distrokid', 'tunecore' ], { title => 'Weather', artist => '=cmd|calc' }, 'CON', 'a/b\\c', '..', '...x', "nul.txt", 'ends in dots...', "\x{202e}gpj.exe", '=HYPERLINK("http://x.example.com")',
	'+1', '-1', '@SUM(1)', 'say "hi", twice', '<script>alert(1)</script>', ']]>&amp;', '🎵🎶', 'שלום <b>', 'e' . "\x{301}" x 3, 'same', 'Same', 'Ж' x 200, "a\x{2028}b");
sql($node, "update musicverse.distributions set metadata = jsonb_set(metadata, '{tracks}', (select jsonb_agg(t || jsonb_build_object('title', case when n = 20 then repeat('x', 500) when n = 3 then E'tab\\tand\\x01bell' else t ->> 'title' end) order by n) from jsonb_array_elements(metadata -> 'tracks') with ordinality e (t, n))) where id = '$id'");
sql($node, "update musicverse.distribution_targets set status = 'scheduled' where distribution_id = '$id'; update musicverse.distributions set submitted_at = now() where id = '$id';
	update musicverse.distribution_work set deliver_at = now(), next_attempt_at = now() where distribution_id = '$id'; select musicverse._wake_distribution()");
foreach my $platform (qw(distrokid tunecore))
{
	wait_target($id, 'processing', $platform);
	$zip    = fetched($id, $platform);
	$judged = judged($zip);
	is_deeply([ @$judged{qw(test bad same utf8 sums widths formulas)} ], [ undef, [], JSON::PP::false, JSON::PP::true, JSON::PP::true, [34], [] ], "$platform: hostile titles hurt nobody");
	is(scalar @{ $judged->{names} }, 25, 'all are there');
	is($judged->{rows}[7]{'Song title'}, q{'=HYPERLINK("http://x.example.com")}, 'a formula is a text');
	unlike($judged->{sheet}, qr/<script|<b>|[\x{202a}-\x{202e}]/, 'the sheet is not led astray');
	like(run("unzip -tq '$zip'"), qr/No errors detected/, 'unzip opens it');
	is(scalar(() = run("bsdtar -tf '$zip'")), 25, 'bsdtar does');
}

# ---- what can't be packed

$id = release(['distrokid'], {}, 'One', { title => 'Two', file => 'gone.flac' });
submit($node, $id);
wait_release($node, $id, 'failed', 60);
like(sql($node, "select reason from musicverse.distribution_targets where distribution_id = '$id'"), qr/^track 2: the file could not be fetched: .*HTTP 404/, 'a track that is gone fails it, and it says which');
is(package_of($id)->{state}, 'failed', 'so does its package');
sql($node, sprintf q{update musicverse.tracks set audio_url = %s where audio_url like '%%/gone.flac'}, lit("$files/found.flac"));
sql($node, sprintf q{select musicverse.update_release(%s, jsonb_build_object('tracks', (select jsonb_agg(t || jsonb_build_object('audio_url', replace(t ->> 'audio_url', 'gone', 'found'))) from musicverse.distributions d, jsonb_array_elements(d.metadata -> 'tracks') t where d.id = %1$s)))}, lit($id));
submit($node, $id);
wait_target($id, 'processing');
pass('when it is mended and submitted again it goes on');
$id = release(['distrokid'], {}, { title => 'Page', file => 'page.html' });
submit($node, $id);
wait_release($node, $id, 'failed', 60);
like(sql($node, "select reason from musicverse.distribution_targets where distribution_id = '$id'"), qr/^track 1: the file is no FLAC/, 'a page in place of a song is none');
is_deeply([ @{ sql_error($node, "select musicverse.confirm_distribution('$id', 'distrokid')") }{qw(sqlstate message)} ], [ '55000', "distribution $id on distrokid is failed: there is nothing to confirm" ], 'and nothing to confirm');

# ---- many, and kill -9

$id = release(['tunecore'], { title => 'Hundred' }, map { "Song $_" } 1 .. 100);
submit($node, $id);
wait_for_sql($node, "select status from musicverse.distribution_targets where distribution_id = '$id'", 'processing', 180, 'an album of 100 tracks to be packed');
$judged = judged(fetched($id, 'tunecore'));
is(scalar @{ $judged->{names} }, 104, 'an album of 100 tracks');
like($judged->{names}[99], qr{/100 Song 100\.flac$}, 'in order');
is(scalar @{ $judged->{rows} }, 100, 'and its table');

$id = release(['distrokid'], { title => 'Held' }, 'One', { title => 'Two', file => 'held2.flac' });
submit($node, $id);
foreach my $turn (1, 2)
{
	wait_for(sub { (grep { $_ eq '/held2.flac' } @{ http_json('GET', "$files/log") }) >= $turn }, 60, 'the worker to be in the middle');
	my $killed = sql($node, 'select pid from musicverse.media_status');
	kill 'KILL', $killed;
	wait_for(sub { my $now = eval { sql($node, 'select pid from musicverse.media_status') }; $now && $now ne $killed }, 60, 'another worker');
}
wait_for(sub { (grep { $_ eq '/held2.flac' } @{ http_json('GET', "$files/log") }) >= 3 }, 60, 'the third try');
http_json('PUT', "$files/release", {});
wait_target($id, 'processing');
judged(fetched($id));
is(sql($node, "select count(*) from musicverse.media_work where kind = 'package' and input #>> '{release,title}' = 'Held'"), 1, 'the media worker was killed twice in the middle: one package');
is(scalar(() = glob $node->data_dir . '/musicverse_media/*/*.part'), 0, 'and nothing half done is left');

# ---- Apple's, fetched

sub attributes
{
	my ($xml) = @_;
	my $path = "$tmp/" . ++$count . '.xml';
	open my $handle, '>:raw', $path or die $!;
	print $handle $xml;
	close $handle;
	is(run("xmllint --noout '$path'"), '', 'the metadata are well-formed');
	return sub { my ($what) = @_; my $got = run(qq{xmllint --xpath "$what" '$path'}); chomp $got; return $got; };
}
sub el { return join '', map { "/*[local-name()='$_']" } split m{/}, shift; }

partner('apple_direct', { provider => 'MiraRecords' });
$id = release(['apple_music'], { title => 'Rain & <Snow>', upc => '0614141123452' }, 'One', { title => 'Two', file => 'two.wav' });
submit($node, $id);
wait_target($id, 'processing', 'apple_music');
$zip = fetched($id, 'apple_music');
is(join(' ', run("bsdtar -tf '$zip'")), join(' ', map { "0614141123452.itmsp/$_" } '0614141123452_01_001.flac', '0614141123452_01_002.wav', '0614141123452.png', 'metadata.xml'), 'the package of Apple');
my $xml = qx{unzip -p "$zip" 0614141123452.itmsp/metadata.xml};
my $at  = attributes($xml);
is($at->('string(' . el('package/album/title') . ')'), 'Rain & <Snow>', 'its title');
foreach my $n (1, 2)
{
	my $track = el('package/album/tracks') . "/*[$n]" . el('audio_file');
	my $name  = $at->("string($track" . el('file_name') . ')');
	my $bytes = qx{unzip -p "$zip" 0614141123452.itmsp/$name};
	is($at->("string($track" . el('checksum') . ')') . ' ' . $at->("string($track" . el('size') . ')'), md5_hex($bytes) . ' ' . length $bytes, "the checksum and size of $name");
}
sql($node, qq{select musicverse.update_release('$id', '{"title": "Hail"}')});
wait_for_sql($node, "select delivered_revision from musicverse.distribution_work where distribution_id = '$id'", 2, 60, 'the change to be packed');
$zip = fetched($id, 'apple_music');
is(join(' ', run("bsdtar -tf '$zip'")), '0614141123452.itmsp/metadata.xml', 'a change of the metadata needs no files');
sql($node, "select musicverse.confirm_distribution('$id', 'apple_music', 'https://music.apple.com/album/1'); select musicverse.takedown_distribution('$id')");
wait_for(sub { my $p = package_of($id, 'apple_music'); $p->{scope} eq 'takedown' && $p->{state} eq 'ready' }, 60, 'the package of the takedown');
$zip = fetched($id, 'apple_music');
$at  = attributes(scalar qx{unzip -p "$zip" 0614141123452.itmsp/metadata.xml});
is($at->('string(' . el('package/album/products/product/cleared_for_sale') . ')'), 'false', 'a takedown clears it for no sale');
sql($node, "select musicverse.confirm_distribution('$id', 'apple_music')");
is(targets_of($node, $id), 'apple_music taken_down', 'and is confirmed');

# ---- Apple's, sent

my $sftp = MusicVerse::Stream::Sftp->start;
partner('apple_direct', { provider => 'MiraRecords', host_keys => [ $sftp->{fingerprint} ], timeout => 5 }, "sftp://127.0.0.1:$sftp->{port}$sftp->{dir}/files", { username => scalar getpwuid($>), private_key => $sftp->{key} });
$id = release(['apple_music'], { title => 'Sent', upc => '0614141999996' }, 'One', 'Two');
submit($node, $id);
wait_target($id, 'processing', 'apple_music');
my $folder = '0614141999996.itmsp';
is(join(' ', sort map { s{.*/}{}r } glob $sftp->file("$folder/*")), '0614141999996.png 0614141999996_01_001.flac 0614141999996_01_002.flac metadata.xml', 'by SFTP it is laid into the folder');
$at = attributes(slurp_file($sftp->file("$folder/metadata.xml")));
is($at->('string(' . el('package/album/tracks') . '/*[2]' . el('audio_file/checksum') . ')'), md5_hex(slurp_file($sftp->file("$folder/0614141999996_01_002.flac"))), 'with the right checksum');
sql($node, "select musicverse.confirm_distribution('$id', 'apple_music')");
sql($node, qq{select musicverse.update_release('$id', '{"title": "Sent anew"}')});
wait_for_sql($node, "select delivered_revision from musicverse.distribution_work where distribution_id = '$id'", 2, 60, 'the change to be sent');
$at = attributes(slurp_file($sftp->file("$folder/metadata.xml")));
is($at->('string(' . el('package/album/title') . ')') . ' ' . $at->("count(//*[local-name()='audio_file'])"), 'Sent anew 0', 'a change is metadata alone');
sql($node, "select musicverse.takedown_distribution('$id')");
wait_for_sql($node, "select state ->> 'removal' from musicverse.distribution_work where distribution_id = '$id'", 'sent', 60, 'the takedown to be sent');
like(slurp_file($sftp->file("$folder/metadata.xml")), qr{<cleared_for_sale>false</}, 'so is the takedown');
sql($node, "select musicverse.confirm_distribution('$id', 'apple_music')");
is(targets_of($node, $id), 'apple_music taken_down', 'which is confirmed as well');

# ---- confirmed by a look-up

my $catalogues = MusicVerse::Partners->start;
my $upc = gtin(4711);
partner('distrokid_lookup', { connector => 'verifier', platforms => ['distrokid'], dialect => 'deezer', poll_interval => 0.2, poll_interval_max => 1, timeout => 10, absent_twice => 0 }, $catalogues->base('/deezer'));
$id = release(['distrokid'], { title => 'Found', upc => $upc }, 'One');
submit($node, $id);
wait_target($id, 'processing');
shows($catalogues, deezer => { "upc:$upc" => { title => 'Found' } });
wait_target($id, 'live');
like(sql($node, "select external_url from musicverse.distribution_targets where distribution_id = '$id'"), qr/^http/, 'what was uploaded by hand is found in a catalogue, and is live');
sql($node, "select musicverse.takedown_distribution('$id')");
wait_for_sql($node, "select state ->> 'removal' from musicverse.distribution_work where distribution_id = '$id' and verifies is null", 'asked', 60, 'the owner to be asked');
shows($catalogues, deezer => {});
wait_target($id, 'taken_down');
pass('and taken down when it is not found any more');
sql($node, q{select musicverse.set_partner_active('distrokid_lookup', false)});
$catalogues->stop;

# ---- with files that are looked at: facts, conversions, drawn covers, and another file than was seen

$node->safe_psql('postgres', "alter system set musicverse.inspect_audio = on");
$node->reload;
partner('apple_direct', { provider => 'MiraRecords' }, undef, {});
$id = release([ 'apple_music', 'distrokid' ], { title => 'Real', cover => 'draw' }, { title => 'One', file => 'real/one.wav' }, { title => 'Two', file => 'real/two.aiff' });
submit($node, $id);
wait_target($id, 'processing', $_) foreach qw(apple_music distrokid);
$judged = judged(fetched($id));
is(join(' ', map { s{.*/}{}r } @{ $judged->{names} }), '01 One.wav 02 Two.aiff cover.jpg metadata.csv sheet.html checksums.sha256', 'a drawn cover is packed as well') or diag json($judged->{names});
is($judged->{rows}[1]{Duration}, '0:02', 'the length is the measured one');
$zip = fetched($id, 'apple_music');
like(scalar(run("bsdtar -tf '$zip'")), qr/_01_002\.flac/, 'what Apple does not take is converted to FLAC');
$id = release(['distrokid'], { title => 'Replaced' }, { title => 'One', file => 'real/replaced.wav' });
wait_for_sql($node, sprintf(q{select state from musicverse.media_work where kind = 'inspect' and input ->> 'url' = %s}, lit("$files/real/replaced.wav")), 'done', 60, 'the file to be looked at');
http_json('PUT', "$files/louder", {});
submit($node, $id);
wait_target($id, 'processing');
is(sql($node, "select count(*) from musicverse.distribution_history where distribution_id = '$id' and status = 'failed'"), 0, 'another file than was looked at is looked at again');
my $louder = http('GET', "$files/real/replaced.wav")->{content};
is(sql($node, sprintf q{select m.sha256 from musicverse.media m join musicverse.media_work w using (id) where w.kind = 'inspect' and w.input ->> 'url' = %s}, lit("$files/real/replaced.wav")), sha256_hex($louder), 'so that its facts are those of the other');
$zip = fetched($id);
is(sha256_hex(qx{unzip -p "$zip" "Mira - Replaced/01 One.wav"}), sha256_hex($louder), 'and it is the one that is packed');

# ---- one that would fill the disk stops growing

$node->safe_psql('postgres', "alter system set musicverse.$_") foreach 'inspect_audio = off', q{media_max_size = '1MB'};
$node->restart;
$id = release(['distrokid'], { title => 'Huge' }, map { { title => "Part $_", file => "huge$_.flac?size=600000" } } 1 .. 3);
submit($node, $id);
wait_release($node, $id, 'failed', 60);
like(sql($node, "select reason from musicverse.distribution_targets where distribution_id = '$id'"), qr/^track 2: with it the package has 1200000 bytes, more than musicverse\.media_max_size/, 'a package that grows beyond what all files may have fails where it does');
is(scalar(grep { $_ eq '/huge3.flac' } @{ from_json(http('GET', "$files/log")->{content}) }), 0, 'and what would come behind is not brought');

stop_process($pid);
$sftp->stop;
done_testing();

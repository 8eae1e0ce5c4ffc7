# The stand-ins for partners of distribution: that they keep the protocols which
# the connectors rely on, count what a partner would see, and break the rules
# when they are told to.
use MusicVerse::Test;
use MusicVerse::Partners;

use Digest::MD5 qw(md5_hex);
use Digest::SHA qw(sha256 sha256_hex);
use IO::Socket::INET ();
use MIME::Base64 qw(encode_base64 encode_base64url);
use Time::HiRes ();

my $partners = MusicVerse::Partners->start;
my $receiver = start_receiver();

sub refused
{
	my ($answer, $status, $like, $name) = @_;
	ok($answer->{status} == $status && $answer->{content} =~ $like, $name) or diag("$answer->{status} $answer->{content}");
}

sub parts
{
	my (@parts) = @_;
	my $body = '';
	while (my ($name, $value) = splice @parts, 0, 2)
	{
		my $file = ref $value ? "; filename=\"$value->[0]\"\r\nContent-Type: application/octet-stream" : '';
		$body .= "--=_b\r\nContent-Disposition: form-data; name=\"$name\"$file\r\n\r\n" . (ref $value ? $value->[1] : $value) . "\r\n";
	}
	return ("$body--=_b--\r\n", 'multipart/form-data; boundary="=_b"');
}

sub get { return http('GET', $partners->base($_[0]), undef, $_[1])->{content}; }

my $wav  = get('/storage/zeros/44144.wav');
my $png  = "\x89PNG\r\n\x1a\n\0\0\0\rIHDR" . pack('NN', 3000, 3000) . "\x08\x02\0\0\0";
my $flac = 'fLaC' . pack('CCn', 0, 0, 34) . pack('nnCnCn', 4096, 4096, 0, 0, 0, 0) . pack('N', (44100 << 12) | (1 << 9) | (15 << 4)) . pack('N', 44100) . "\0" x 16;

# ---- storage --------------------------------------------------------------

is(length $wav, 44144, 'silence of the size asked for');
is_deeply([ unpack 'a4 V a8 V v v V V v v a4 V', $wav ], [ 'RIFF', 44136, 'WAVEfmt ', 16, 1, 2, 44100, 176400, 4, 16, 'data', 44100 ], 'is a WAV file');
is_deeply([ unpack 'x36 a4 V v a4 V', get('/storage/zeros/1002.wav') ], [ 'JUNK', 2, 0, 'data', 948 ], 'of any even size');
refused(http('GET', $partners->base('/storage/zeros/1001.wav')), 400, qr/even number/, 'not of an odd one');
my $tail = http('GET', $partners->base('/storage/zeros/4000000000.wav'), undef, { range => 'bytes=3999999990-' });
is_deeply([ @$tail{qw(status content)}, $tail->{headers}{'content-range'} ], [ 206, "\0" x 10, 'bytes 3999999990-3999999999/4000000000' ],
	'the end of a huge one is there at once');
is(http('HEAD', $partners->base('/storage/zeros/4000000000.wav'))->{headers}{'content-length'}, 4000000000, 'and its length');

my $put = http('PUT', $partners->base('/storage/cover.png'), $png);
is_deeply([ $put->{status}, $put->{headers}{etag} ], [ 200, '"' . md5_hex($png) . '"' ], 'an object is kept');
my $object = http('GET', $partners->base('/storage/cover.png'), undef, { range => 'bytes=1-3' });
is_deeply([ @$object{qw(status content)}, $object->{headers}{'content-type'} ], [ 206, 'PNG', 'image/png' ], 'and read in part');
refused(http('GET', $partners->base('/storage/none.wav')), 404, qr/NoSuchKey/, 'what is not there');
is(http('DELETE', $partners->base('/storage/cover.png'))->{status}, 204, 'it is deleted');
is(http('GET', $partners->base('/storage/cover.png'))->{status}, 404, 'and gone');
refused(http('GET', $partners->base('/storage/..%2f..%2fetc%2fpasswd')), 404, qr/no meaning/, 'no way out of the folder');

# ---- SoundCloud: authorization -------------------------------------------

my $verifier  = 'a' x 64;
my $challenge = encode_base64url(sha256($verifier));
my %exchange  = (grant_type => 'authorization_code', code_verifier => $verifier, redirect_uri => 'https://musicverse.example/callback');

my $page = $partners->authorize(code_challenge => $challenge, approve => '');
ok($page->{status} == 200 && $page->{content} =~ /name="approve" value="yes"/, 'a page asks');
like($partners->authorize(code_challenge => $challenge, approve => 'no')->{headers}{location}, qr/error=access_denied&state=st%26te$/, 'no is an answer');
like($partners->authorize(code_challenge => $challenge, code_challenge_method => 'plain')->{headers}{location}, qr/error=invalid_request/, 'S256 only');
is($partners->authorize(code_challenge => $challenge, client_id => 'other')->{status}, 400, 'an unknown client is sent nowhere');

sub code { my ($code) = $partners->authorize(code_challenge => $challenge)->{headers}{location} =~ /[?&]code=([^&]+)&state=st%26te$/; return $code; }
refused($partners->soundcloud_token(%exchange, code => code(), code_verifier => 'b' x 64), 400, qr/invalid_grant/, 'a wrong verifier');
refused($partners->soundcloud_token(%exchange, code => code(), redirect_uri => 'https://evil.example/'), 400, qr/redirect_uri/, 'a wrong redirect_uri');
refused($partners->soundcloud_token(%exchange, code => code(), client_secret => 'guess'), 401, qr/invalid_client/, 'a wrong secret');
refused($partners->soundcloud_token(grant_type => 'password'), 400, qr/unsupported_grant_type/, 'a grant that there is not');
$partners->control(soundcloud => { auto_approve => JSON::PP::true });
like($partners->authorize(code_challenge => $challenge, approve => '')->{headers}{location}, qr/[?&]code=/, 'everybody may be approved at once');
$partners->control(soundcloud => { auto_approve => JSON::PP::false });

my $code   = code();
my $tokens = from_json($partners->soundcloud_token(%exchange, code => $code)->{content});
is_deeply([ sort(keys %$tokens), $tokens->{expires_in} ], [ qw(access_token expires_in refresh_token scope token_type), 3600 ], 'a code becomes tokens');

sub cloud
{
	my ($method, $path, $body, %headers) = @_;
	my $with  = delete $headers{token} // $tokens->{access_token};
	my $reply = http($method, $partners->base("/soundcloud$path"), $body, { authorization => "OAuth $with", %headers });
	$reply->{json} = eval { from_json($reply->{content}) };
	return $reply;
}

is(cloud('GET', '/me')->{json}{username}, 'sandbox', 'which open the door');
refused(http('GET', $partners->base('/soundcloud/me'), undef, { authorization => "Bearer $tokens->{access_token}" }), 401, qr/OAuth/, 'as the document spells it');

my $old = $tokens;
$partners->control(soundcloud => { expires_in => 60 });
$tokens = from_json($partners->soundcloud_token(grant_type => 'refresh_token', refresh_token => $old->{refresh_token})->{content});
ok($tokens->{expires_in} == 60 && $tokens->{refresh_token} ne $old->{refresh_token}, 'a refresh token is exchanged for another');
is(cloud('GET', '/me')->{status}, 200, 'the new access token works');
$partners->advance(61);
refused(cloud('GET', '/me'), 401, qr/expired/, 'as long as it was told');
$partners->control(soundcloud => { expires_in => 3600 });
my $newest = from_json($partners->soundcloud_token(grant_type => 'refresh_token', refresh_token => $tokens->{refresh_token})->{content});
refused($partners->soundcloud_token(grant_type => 'refresh_token', refresh_token => $old->{refresh_token}), 400, qr/used before/, 'one that was used');
refused(cloud('GET', '/me', undef, token => $newest->{access_token}), 401, qr/revoked/, 'costs the whole family');
refused($partners->soundcloud_token(grant_type => 'refresh_token', refresh_token => $newest->{refresh_token}), 400, qr/revoked/, 'the newest token too');
$tokens = $partners->soundcloud_tokens;
refused($partners->soundcloud_token(%exchange, code => $code), 400, qr/used before/, 'a code works once');
is_deeply([ @{ $partners->counters('soundcloud') }{qw(tokens_issued refreshes refresh_reuses code_reuses families_revoked)} ], [ 4, 2, 1, 1, 1 ], 'it was counted');

# ---- SoundCloud: tracks ---------------------------------------------------

sub upload
{
	my ($sound, @more) = @_;
	my ($body, $type) = parts('track[title]' => 'Night train', 'track[asset_data]' => [ 'night "train".wav', $sound ], @more);
	return cloud('POST', '/tracks', $body, 'content-type' => $type);
}

$partners->control(soundcloud => { processing_ms => 60000, plays_per_hour => 3600 });
my $uploaded = upload($wav, 'track[sharing]' => 'private', 'track[downloadable]' => 'false', 'track[isrc]' => 'QZABC2600001', 'track[release_date]' => '2026-12-24',
	'track[license]' => 'all-rights-reserved', 'track[tag_list]' => '"night train" techno', 'track[artwork_data]' => [ 'cover.png', $png ]);
is($uploaded->{status}, 201, 'a track is uploaded') or diag($uploaded->{content});
my $track = $uploaded->{json};
is_deeply([ @$track{qw(kind title sharing isrc release_year release_month release_day duration)} ],
	[ 'track', 'Night train', 'private', 'QZABC2600001', 2026, 12, 24, 250 ], 'as it was described');
ok(!$track->{streamable} && !$track->{downloadable} && $track->{access} eq 'blocked', 'it is not ready');
is($partners->records('soundcloud')->{tracks}[0]{asset}{sha256}, sha256_hex($wav), 'every byte came');
is(upload($flac)->{json}{duration}, 1000, 'FLAC is heard as well');
(my $more = $wav) =~ s/(?<=data)..../pack 'V', 99999/se;
foreach my $case ([ 'noise', 'x' x 5000 ], [ 'half a WAV', substr($wav, 0, 5000) ], [ 'a WAV that promises more', $more ], [ 'a WAV of nothing', get('/storage/zeros/44.wav') ], [ 'half a FLAC', 'fLaC' ])
{
	refused(upload($case->[1]), 422, qr/asset_data/, "$case->[0] is refused");
}
refused(upload($wav, 'track[sharing]' => 'secret'), $partners->{validated} ? 400 : 422, qr/sharing/, 'a value that there is not');
refused(upload($wav, 'track[release_date]' => 'soon'), 422, qr/release_date/, 'a date that is none');
refused(upload($wav, 'track[artwork_data]' => [ 'a.png', 'x' ]), 422, qr/artwork_data/, 'a picture that is none');
refused(cloud('POST', '/tracks', 'x', 'content-type' => 'multipart/form-data; boundary=q'), 400, qr/last delimiter/, 'a body that is not multipart');
refused(upload($wav, ('x' x 20) => 'y' x 1_100_000), 400, qr/longer than/, 'a field without measure');

$partners->advance(61);
$tokens = $partners->soundcloud_tokens;
my $path = "/tracks/$track->{urn}";
$track = cloud('GET', $path)->{json};
ok($track->{streamable} && $track->{access} eq 'playable' && $track->{playback_count} == 0, 'after a while it is ready, and nobody hears it');
is(cloud('PUT', $path, { track => { sharing => 'public' } })->{json}{sharing}, 'public', 'it is published');
$partners->advance(1000);
$tokens = $partners->soundcloud_tokens;
my $first = cloud('GET', $path =~ s/:/%3A/gr)->{json};
cmp_ok($first->{playback_count}, '>=', 1000, 'and heard');
$partners->control(soundcloud => { plays_per_hour => 0, add_stats => { urn => $track->{urn}, playback_count => 7, favoritings_count => 3, download_count => 1 } });
is_deeply([ @{ cloud('GET', "/tracks/" . ($track->{urn} =~ s/.*://r))->{json} }{qw(playback_count favoritings_count download_count)} ], [ 7, 3, 1 ], 'exactly as often as told');
refused(cloud('PUT', $path, { track => { sharing => 'secret' } }), 400, qr/sharing/, 'a change that cannot be');

my $list = cloud('GET', '/me/tracks?linked_partitioning=true&limit=1')->{json};
is_deeply([ scalar @{ $list->{collection} }, $list->{next_href} ], [ 1, $partners->base('/soundcloud/me/tracks?linked_partitioning=true&limit=1&cursor=1') ], 'tracks by pages');
$list = from_json(get('/soundcloud/me/tracks?linked_partitioning=true&limit=1&cursor=1', { authorization => "OAuth $tokens->{access_token}" }));
is_deeply([ map { $_->{urn} } @{ $list->{collection} } ], [ $track->{urn} ], 'to the last');
ok(!exists $list->{next_href}, 'which says so');

my $playlist = cloud('POST', '/playlists', { playlist => { title => 'Trains', sharing => 'private', set_type => 'album', ean => '4006381333931', tracks => [ { urn => $track->{urn} } ] } });
is_deeply([ $playlist->{status}, @{ $playlist->{json} }{qw(kind playlist_type track_count)} ], [ 201, 'playlist', 'album', 1 ], 'an album is a playlist');
my $set = "/playlists/$playlist->{json}{urn}";
is(cloud('PUT', $set, { playlist => { tracks => [], sharing => 'public' } })->{json}{track_count}, 0, 'it is changed');
is(cloud('GET', $set)->{json}{sharing}, 'public', 'and read');
my ($fields, $as) = parts('playlist[title]' => 'By form', 'playlist[tracks][][urn]' => $track->{urn});
is(cloud('POST', '/playlists', $fields, 'content-type' => $as)->{json}{track_count}, 1, 'or made by a form');
($fields, $as) = parts('track[title]' => 'Day train', 'track[downloadable]' => 'true');
is_deeply([ @{ cloud('PUT', $path, $fields, 'content-type' => $as)->{json} }{qw(title downloadable isrc)} ], [ 'Day train', JSON::PP::true, 'QZABC2600001' ], 'as a track is changed by one');
$list = cloud('GET', '/me/playlists?linked_partitioning=true&limit=1')->{json};
is_deeply([ (map { $_->{title} } @{ $list->{collection} }), $list->{next_href} ], [ 'By form', $partners->base('/soundcloud/me/playlists?linked_partitioning=true&limit=1&cursor=1') ], 'playlists by pages');
refused(cloud('POST', '/playlists', { playlist => { title => 'x', tracks => [ { urn => 'soundcloud:tracks:1' } ] } }), 404, qr/no track/, 'of tracks that are there');
is(cloud('DELETE', $_)->{status}, 200, "$_ is deleted") foreach $set, $path;
refused(cloud('GET', $path), 404, qr/no track/, 'and gone');

$partners->control(soundcloud => { processing => 'fail', processing_ms => 0 });
is(upload($wav)->{json}{access}, 'blocked', 'a track whose processing fails stays silent');
$partners->control(soundcloud => { processing => 'ok', reject_assets => JSON::PP::true });
refused(upload($wav), 422, qr/asset_data\]: told/, 'a good file can be refused');
$partners->control(soundcloud => { reject_assets => JSON::PP::false });

SKIP:
{
	skip 'no description of SoundCloud: set SOUNDCLOUD_OPENAPI', 4 unless $partners->{validated};
	refused(upload($wav, 'track[tilte]' => 'x'), 400, qr/track\[tilte\] is not described/, 'a misspelt name is refused by the description');
	refused(cloud('PUT', '/tracks/1', { track => { downloadable => 'perhaps' } }), 400, qr/must be boolean/, 'and a wrong type');
	my $judged = $partners->counters('soundcloud')->{validated};
	cmp_ok($judged->{answers}, '>', 30, 'every answer was judged');
	is_deeply($judged->{invalid_answers}, [], 'and is as documented');
}

# ---- the judge ------------------------------------------------------------

my $small = "$PostgreSQL::Test::Utils::tmp_check/small.yaml";
open my $file, '>', $small or die "$small: $!\n";
print $file <<'YAML';
openapi: 3.0.4
paths:
  /things:
    post:
      requestBody: { content: { multipart/form-data: { schema: { allOf: [ { $ref: '#/components/schemas/Thing' }, { required: [ size ] } ] } } } }
      responses: { '201': { $ref: '#/components/responses/Thing' } }
components:
  responses: { Thing: { content: { 'application/json; charset=utf-8': { schema: { $ref: '#/components/schemas/Thing' } } } } }
  schemas:
    Thing: { type: object, properties: { size: { type: integer }, on: { type: boolean }, note: { type: string, nullable: true }, parts: { type: array, items: { $ref: '#/components/schemas/Thing' } } } }
    Error: { type: object, properties: { code: { type: integer } } }
YAML
close $file;
my @asked = (
	[ request => 'POST', '/things', 'multipart/form-data', { size => '3', on => 'true' } ],
	[ request => 'POST', '/things', 'multipart/form-data', { size => 'three', on => 'maybe', off => 'x' } ],
	[ request => 'POST', '/things', 'text/plain',          {} ],
	[ answer  => 'POST', '/things', 201, { size => 3, note => undef, parts => [ { size => 1 } ] } ],
	[ answer  => 'POST', '/things', 201, { size => '3', parts => [ { sise => 1 } ] } ],
	[ answer  => 'POST', '/things', 204, undef ],
	[ answer  => 'POST', '/things', 401, { code => 'x' } ],
	[ answer  => 'GET',  '/things', 200, {} ]);
my ($said, $trouble) = ('', '');
IPC::Run::run([ 'node', '-e', 'const [, module, file, asked] = process.argv; const judge = require(module)(file);'
		  . 'for (const [kind, ...rest] of JSON.parse(asked)) console.log(judge[kind](...rest).join("; ") || "ok")',
		"$root/test/judge-openapi/partner.cjs", $small, json(\@asked) ], '>', \$said, '2>', \$trouble);
is($said, <<'SAID', 'the judge says yes and no') or diag($trouble);
ok
/size must be integer; /on must be boolean; /off is not described
the type text/plain is not described for POST /things
ok
/size must be integer; /parts/0/sise is not described
the status 204 is not described
/code must be integer
no operation GET /things
SAID

# ---- LabelGrid ------------------------------------------------------------

sub grid
{
	my ($method, $where, $body, %headers) = @_;
	my $reply = http($method, $partners->base("/labelgrid/api/public$where"), $body, { authorization => "Bearer $MusicVerse::Partners::token", %headers });
	$reply->{json} = eval { from_json($reply->{content}) };
	$reply->{data} = ref $reply->{json} eq 'HASH' ? $reply->{json}{data} // $reply->{json} : undef;
	return $reply;
}

my %release = (content_type => 'Single', label_id => 1, cat => 'MV-1', artwork_ai_usage => 'full', primary_genre_id => 7, barcode_number => '4006381333931',
	release_date => '2026-12-24', artists => [ { artist_id => 1, artistic_role => 'MainArtist' } ], titles => [ { iso_code => 'en', text => 'Night train' } ]);
my %song = (disc => 1, track_num => 1, composition_type => 'original', audio_ai_usage => 'full', composition_ai_usage => 'full', commercial_samples => 'no', audio_language => 'en',
	recording_country => 'DE', isrc => 'QZABC2600001', artists => $release{artists}, titles => $release{titles}, contributors => [ { roles => { Producer => JSON::PP::true }, ai_contribution => 'full' } ]);

is(grid('GET', '/me', undef, authorization => 'Bearer other')->{status}, 401, 'LabelGrid wants its token');
is(grid('GET', "/$_")->{status}, 200, "there are $_") foreach qw(labels genres artists distro-outlets webhooks/event-types);
foreach my $field (qw(artwork_ai_usage cat titles))
{
	my %less = %release;
	delete $less{$field};
	my $reply = grid('POST', '/releases', \%less);
	ok($reply->{status} == 422 && $reply->{json}{errors}{$field} && $reply->{json}{errors_structured}[0]{code} eq 'required', "a release needs $field");
}
refused(grid('POST', '/releases', { %release, barcode_number => '4006381333932' }), 422, qr/not a UPC/, 'and a right check digit');

my $created = grid('POST', '/releases', \%release, 'idempotency-key' => 'one');
is($created->{status}, 201, 'a release is created');
my $id = $created->{data}{id};
my $again = grid('POST', '/releases', \%release, 'idempotency-key' => 'one');
is_deeply([ @$again{qw(status json)}, $again->{headers}{'idempotency-replayed'} ], [ @$created{qw(status json)}, 'true' ], 'its key gets the same answer');
refused(grid('POST', '/releases', { %release, cat => 'MV-2' }, 'idempotency-key' => 'one'), 409, qr/IDEMPOTENCY_KEY_REUSED/, 'not for another one');
is_deeply([ @{ $partners->counters('labelgrid') }{qw(releases replayed conflicts)}, $partners->counters('labelgrid')->{idempotency_keys}{one} ], [ 1, 1, 1, 3 ], 'one release is there');
is_deeply([ map { $_->{id} } @{ grid('GET', "/releases?$_")->{json}{data} } ], [$id], "it is found by $_") foreach 'filter[cat]=MV-1', 'filter%5Bbarcode_number%5D=4006381333931';
is_deeply(grid('GET', '/releases?filter[cat]=MV-9')->{json}{data}, [], 'and no other');
is(grid($_, "/releases/$id", { c_line => "2026 $_" })->{data}{c_line}, "2026 $_", "$_ changes it") foreach qw(PATCH PUT);

my $song = grid('POST', "/releases/$id/tracks", \%song)->{data}{id};
refused(grid('POST', '/tracks', { %song, release_id => $id }), 422, qr/is there already/, 'a place holds one track');
foreach my $field (qw(audio_ai_usage composition_ai_usage contributors))
{
	my %less = (%song, track_num => 2);
	delete $less{$field};
	refused(grid('POST', "/releases/$id/tracks", \%less), 422, qr/The $field field is required/, "a track needs $field");
}
my $verdict = grid('POST', "/releases/$id/validate")->{json};
is_deeply([ map { "$_->{field} $_->{code}" } @{ $verdict->{errors_structured} } ], [ 'photo required', "tracks.$song.stereo required" ], 'the check says what is missing');
refused(grid('POST', "/releases/$id/distribute"), 422, qr/no cover/, 'and is made again before it goes out');

my $files  = "/tracks/$song/files/stereo";
my $target = grid('POST', "$files/upload-url", { filename => 'night train.wav' })->{json};
refused(grid('PUT', $files, { s3_key => $target->{key} }), 422, qr/Nothing has been uploaded/, 'nothing to commit');
refused(http('PUT', $target->{upload_url}, $wav, { authorization => 'Bearer x' }), 400, qr/Only one auth mechanism/, 'a signed URL wants no other authorization');
my @pieces = ('abc', undef);
refused(HTTP::Tiny->new->request('PUT', $target->{upload_url}, { content => sub { shift @pieces } }), 411, qr/MissingContentLength/, 'and a length');
refused(http('PUT', $target->{upload_url} =~ s/.$/x/r, $wav), 403, qr/SignatureDoesNotMatch/, 'and its signature');
is(http('PUT', $target->{upload_url}, $wav)->{headers}{etag}, '"' . md5_hex($wav) . '"', 'then it takes the file');
refused(grid('PUT', $files, { s3_key => $target->{key}, size => 1 }),     422, qr/size is 44144/, 'a wrong size');
refused(grid('PUT', $files, { s3_key => $target->{key}, md5  => 'abc' }), 422, qr/md5 is/,        'a wrong digest');
my $commit = grid('PUT', $files, { s3_key => $target->{key}, size => length $wav, md5 => md5_hex($wav) });
is_deeply([ $commit->{status}, @{ $commit->{data} }{qw(format channels sha256)} ], [ 200, 'wav', 2, sha256_hex($wav) ], 'the file belongs to the track');
my $late = grid('POST', "$files/upload-url", { filename => 'b.wav' })->{json}{upload_url};
$partners->advance(901);
refused(http('PUT', $late, $wav), 403, qr/expired/, 'a signed URL has its time');

my ($cover, $type) = parts(file => [ 'cover.png', $png ]);
is(grid('POST', "/releases/$id/photo", $cover, 'content-type' => $type)->{data}{width}, 3000, 'a cover');
is_deeply(grid('POST', "/releases/$id/validate")->{json}{errors}, [], 'nothing is missing');

my $hook = grid('POST', '/webhooks', { name => 'us', url => $receiver->url('grid'), events => [ 'delivery.completed', 'delivery.failed', 'takedown.completed' ] })->{data};
like($hook->{secret}, qr/^whsec_/, 'a webhook has a secret');
ok(!exists grid('GET', '/webhooks')->{json}{data}[0]{secret}, 'which is told once');
$receiver->control('grid', { secrets => [ $hook->{secret} ] });
refused(grid('POST', '/webhooks', { name => 'us', url => 'x', events => ['sunrise'] }), 422, qr/sunrise is unknown/, 'events are known ones');

sub queue
{
	my ($what) = @_;
	return { map { $_->{outlet} => $_->{status} } grep { $_->{type} eq ($what // 'release') } @{ grid('GET', "/queues/distro?release_id=$id")->{json}{data} } };
}

sub found
{
	my $spotify = from_json(http('POST', $partners->base('/spotify/api/token'), 'grant_type=client_credentials',
			{ 'content-type' => 'application/x-www-form-urlencoded', authorization => 'Basic ' . encode_base64(join(':', @MusicVerse::Partners::client{qw(client_id client_secret)}), '') })->{content});
	my $bearer = { authorization => "Bearer $spotify->{access_token}" };
	my $apple  = { authorization => "Bearer $MusicVerse::Partners::token" };
	return [
		(map { $_->{total} } from_json(get('/spotify/v1/search?q=upc:4006381333931&type=album', $bearer))->{albums}, from_json(get('/spotify/v1/search?q=isrc%3AQZABC2600001&type=track', $bearer))->{tracks}),
		(map { scalar @{ from_json(get("/apple/v1/catalog/de/$_", $apple))->{data} } } 'albums?filter[upc]=4006381333931', 'songs?filter[isrc]=QZABC2600001'),
		(map { from_json(get("/deezer/$_"))->{error} ? 0 : 1 } 'album/upc:4006381333931', 'track/isrc:QZABC2600001') ];
}

$partners->control(labelgrid => { pace_ms => 60000, fail => { youtube => 'the video is too short' } });
is(grid('POST', "/releases/$id/distribute", undef, 'idempotency-key' => 'go')->{status}, 202, 'it is sent out');
is(grid('POST', "/releases/$id/distribute", undef, 'idempotency-key' => 'go')->{status}, 202, 'the key makes it safe to repeat');
refused(grid('POST', "/releases/$id/distribute"), 409, qr/ALREADY_SUBMITTED/, 'without it is a second time');
my %all = map { $_ => 1 } qw(spotify apple deezer youtube amazon tidal);
is_deeply(queue(), { map { $_ => 'queued' } keys %all }, 'every outlet has it in its queue');
refused(grid('PATCH', "/releases/$id", { cat => 'MV-3' }), 403, qr/RELEASE_LOCKED_FIELDS/, 'it cannot be changed');
$partners->advance(61);
is_deeply(queue(), { map { $_ => 'processing' } keys %all }, 'it moves on');
is_deeply(found(), [ (0) x 6 ], 'nobody shows it yet');
$partners->advance(61);
is_deeply(queue(), { (map { $_ => 'delivered' } keys %all), youtube => 'failed' }, 'one fails');
like(join(' ', map { $_->{error} // () } @{ grid('GET', '/queues/distro?filter[status]=failed')->{json}{data} }), qr/^the video is too short$/, 'for a reason');
$partners->control(labelgrid => { vocabulary => 'documented' });
is_deeply(queue(), { (map { $_ => 'complete' } keys %all), youtube => 'error' }, 'in the words of its client');
$partners->control(labelgrid => { vocabulary => 'plain', hold => 'delivered' });
$partners->advance(61);
is(queue()->{spotify}, 'delivered', 'it can be held');
$partners->control(labelgrid => { hold => undef, put => { release_id => $id, outlet => 'tidal', status => 'failed', message => 'no' } });
is_deeply(queue(), { (map { $_ => 'live' } keys %all), youtube => 'failed', tidal => 'failed' }, 'and put, the others are live');
is_deeply(found(), [ (1) x 6 ], 'Spotify, Apple and Deezer show it');

my $stats = $receiver->wait_stats('grid', 10, verified => 7);
is_deeply([ @$stats{qw(received bad_signatures duplicates)} ], [ 7, 0, 0 ], 'each step was told once, and signed');
my %told;
$told{"$_->{event} $_->{data}{release_id}"}++ foreach map { from_json($_->{body}) } $receiver->requests('grid');
is_deeply(\%told, { "delivery.completed $id" => 5, "delivery.failed $id" => 2 }, 'as it happened');
is(($receiver->requests('grid'))[0]{headers}{'x-webhook-event'}, 'delivery.completed', 'the event stands in a header as well');

sub summary { return grid('GET', "/analytics/summary?filter[start_date]=2026-01-01&filter[end_date]=2026-01-03&metrics[]=streams&metrics[]=saves$_[0]")->{json}; }
my $numbers = summary("&filter[release_id]=$id");
is(scalar @{ $numbers->{data}{streams} }, 12, 'numbers for three days of four platforms');
is_deeply(summary("&filter[upc]=4006381333931")->{data}, $numbers->{data}, 'the same when asked again');
is_deeply(summary('&filter[upc]=1')->{data}{streams}, [], 'none of others');
refused(grid('GET', '/analytics/summary?metrics[]=streams'), 422, qr/start_date/, 'a window is needed');

is(grid('POST', "/releases/$id/takedown-all")->{status}, 202, 'it is taken down');
is_deeply(found(), [ (1) x 6 ], 'which takes its time');
$partners->advance(121);
is_deeply(queue('takedown'), { map { $_ => 'delivered' } qw(spotify apple deezer amazon) }, 'where it was');
is_deeply(found(), [ (0) x 6 ], 'nobody shows it any more');
is(grid('GET', "/releases/$id")->{data}{status}, 'taken_down', 'the release says so');
refused(grid('POST', "/releases/$id/takedown-all"), 409, qr/NOT_DISTRIBUTED/, 'once is enough');
$receiver->wait_stats('grid', 10, verified => 11);
is_deeply([ @{ $partners->counters('labelgrid') }{qw(releases distinct_releases tracks uploads bytes commits photos distributed takedowns)} ], [ 1, 1, 1, 1, 44144, 1, 1, 1, 1 ], 'it was counted');
$partners->advance(86400);
is(grid('POST', '/releases', { %release, cat => 'MV-4' }, 'idempotency-key' => 'one')->{status}, 201, 'a key is forgotten after a day');

$partners->control(labelgrid => { strict => JSON::PP::false, envelope => JSON::PP::false });
is(grid('POST', '/releases', { title => 'x', artwork_ai_usage => 'none' })->{json}{status}, 'draft', 'it can ask for less, and wrap nothing');
$partners->control(labelgrid => { strict => JSON::PP::true, envelope => JSON::PP::true });

# ---- look-ups -------------------------------------------------------------

$partners->control(deezer => { catalogue => { 'upc:0012345678905' => { title => 'Told', tracks => [ { isrc => 'QZABC2600009', title => 'A' } ] } } });
is_deeply([ map { from_json(get("/deezer/$_"))->{title} } 'album/upc:12345678905', 'track/isrc:QZ-ABC-26-00009' ], [ 'Told', 'A' ], 'a catalogue as told');
is_deeply(from_json(get('/deezer/album/upc:1'))->{error}, { type => 'DataException', message => 'no data', code => 800 }, 'Deezer says no with 200');
$partners->control(deezer => { catalogue => { 'upc:0012345678905' => { title => 'Told' }, 'upc:12345678905' => JSON::PP::false } });
ok(from_json(get('/deezer/album/upc:0012345678905'))->{error}, 'and hides as told');
refused(http('GET', $partners->base('/spotify/v1/search?q=upc:1&type=album')), 401, qr/No token provided/, 'Spotify wants a token');
is(http('GET', $partners->base('/apple/v1/catalog/de/albums?filter[upc]=1'))->{status}, 401, 'so does Apple');
refused(http('POST', $partners->base('/spotify/api/token'), 'grant_type=client_credentials', { 'content-type' => 'application/x-www-form-urlencoded' }), 400, qr/invalid_client/, 'for a client only');

# ---- what goes wrong on demand -------------------------------------------

sub faults { my ($partner, @faults) = @_; return $partners->control($partner => { faults => \@faults }); }

faults(labelgrid => { on => 'releases', mode => 'error', status => 503, message => 'later', count => 2 });
is_deeply([ map { grid('GET', '/releases')->{status} } 1 .. 3 ], [ 503, 503, 200 ], 'a status for so many requests');
faults(labelgrid => { on => 'releases', mode => 'fail', skip => 1, count => 1 });
is_deeply([ map { grid('GET', '/releases')->{status} } 1 .. 3 ], [ 200, 500, 200 ], 'after so many');
faults(labelgrid => { on => [ 'release', 'releases' ], mode => 'bad-json' });
ok(!defined grid('GET', '/releases')->{json} && !defined grid('GET', "/releases/$id")->{json}, 'JSON that ends too early, at several steps');
is(grid('GET', '/labels')->{status}, 200, 'others go on');
faults(labelgrid => { mode => 'html' });
like(grid('GET', '/labels')->{content}, qr/<html>/, 'HTML with 200, at all steps');
faults('labelgrid');
foreach my $mode (qw(garbage close reset short empty array))
{
	# no count: the client here tries a GET again by itself
	faults(deezer => { mode => $mode });
	my $reply = http('GET', $partners->base('/deezer/album/upc:1'));
	faults('deezer');
	ok($reply->{status} == 599 || $reply->{content} !~ /^\{/, "mode $mode");
	is(http('GET', $partners->base('/deezer/album/upc:1'))->{status}, 200, 'ends');
}

faults(soundcloud => { on => 'me', mode => 'html', status => 403, count => 1 }, { on => 'me', mode => 'limited', reset_seconds => 30, count => 1 });
my $html = cloud('GET', '/me');
ok($html->{status} == 403 && $html->{headers}{'content-type'} eq 'text/html', 'SoundCloud refuses in HTML');
my $limited = cloud('GET', '/me');
like($limited->{json}{errors}[0]{meta}{reset_time}, qr{^20\d\d/\d\d/\d\d \d\d:\d\d:\d\d \+0000$}, 'and tells when to come again');
faults(labelgrid => { on => 'queue', mode => 'limited', retry_after => 7, count => 1 });
is(grid('GET', '/queues/distro')->{headers}{'retry-after'}, 7, 'LabelGrid in a header');
faults(deezer => { mode => 'limited', count => 1 });
is(from_json(get('/deezer/album/upc:1'))->{error}{code}, 4, 'Deezer with 200');

my $before = $partners->counters('labelgrid')->{releases};
faults(labelgrid => { on => 'release-create', mode => 'lost', count => 1 });
my %third = (%release, cat => 'MV-5', barcode_number => '0012345678905');
is(grid('POST', '/releases', \%third, 'idempotency-key' => 'lost')->{status}, 599, 'an answer is lost');
is($partners->counters('labelgrid')->{releases}, $before + 1, 'its work is done');
my $twice = grid('POST', '/releases', \%third, 'idempotency-key' => 'lost');
ok($twice->{status} == 201 && $partners->counters('labelgrid')->{releases} == $before + 1, 'the key finds it');
faults(labelgrid => { on => 'release-create', mode => 'error', status => 500, after => JSON::PP::true, count => 1 });
is(grid('POST', '/releases', { %release, cat => 'MV-6' })->{status}, 500, 'or an error is answered');
is(scalar @{ grid('GET', '/releases?filter[cat]=MV-6')->{json}{data} }, 1, 'though the work is done');
faults(soundcloud => { on => 'token', mode => 'lost', count => 1 });
is($partners->soundcloud_token(grant_type => 'refresh_token', refresh_token => $tokens->{refresh_token})->{status}, 599, 'a refresh whose answer is lost');
refused($partners->soundcloud_token(grant_type => 'refresh_token', refresh_token => $tokens->{refresh_token}), 400, qr/used before/, 'has used the token');
$tokens = $partners->soundcloud_tokens;

my $tracks = $partners->counters('soundcloud')->{tracks};
faults(soundcloud => { on => 'upload', mode => 'reset-upload', bytes => 10000, count => 1 });
is(upload($wav)->{status}, 599, 'an upload is broken off');
is($partners->counters('soundcloud')->{tracks}, $tracks, 'and nothing is there');
faults(soundcloud => { on => 'upload', mode => 'error', status => 503, unread => JSON::PP::true, count => 1 });
my ($big, $kind) = parts('track[asset_data]' => [ 'a.wav', $wav ]);
my $early = IO::Socket::INET->new(PeerAddr => $partners->{host}, PeerPort => $partners->{port}) or die "connect: $@\n";
print $early "POST /soundcloud/tracks HTTP/1.1\r\nHost: x\r\nContent-Type: $kind\r\nContent-Length: " . length($big) . "\r\n\r\n" . substr($big, 0, 500);
like(scalar <$early>, qr{^HTTP/1.1 503 }, 'an answer can come before the body has');
close $early;
faults(storage => { on => 'zeros', mode => 'cut', bytes => 1000 });
my $cut = http('GET', $partners->base('/storage/zeros/100000.wav'), undef, {}, timeout => 10);
is($cut->{status}, 599, 'a download is broken off');
faults('storage');
is(length get('/storage/zeros/100000.wav'), 100000, 'once');

# a client that goes away in the middle leaves nothing behind
my $socket = IO::Socket::INET->new(PeerAddr => $partners->{host}, PeerPort => $partners->{port}) or die "connect: $@\n";
my ($body, $of) = parts('track[title]' => 'x', 'track[asset_data]' => [ 'a.wav', $wav ]);
print $socket "POST /soundcloud/tracks HTTP/1.1\r\nHost: x\r\nAuthorization: OAuth $tokens->{access_token}\r\nContent-Type: $of\r\nContent-Length: " . length($body) . "\r\n\r\n" . substr($body, 0, 20000);
close $socket;
is($partners->counters('soundcloud')->{tracks}, $tracks, 'half an upload is none');
is(upload($wav)->{status}, 201, 'the next one is');

my $began = Time::HiRes::time();
faults(apple => { mode => 'ok', delay_ms => 300, count => 1 });
http('GET', $partners->base('/apple/v1/catalog/de/albums?filter[upc]=1'));
cmp_ok(Time::HiRes::time() - $began, '>=', 0.3, 'an answer can be slow');
faults(apple => { mode => 'hang', count => 1 });
is(http('GET', $partners->base('/apple/v1/catalog/de/albums?filter[upc]=1'), undef, {}, timeout => 0.5)->{status}, 599, 'or never come');

$partners->control(labelgrid => { lie => 'contradictory' });
cmp_ok(scalar(grep { $_->{status} eq 'failed' } @{ grid('GET', "/queues/distro?release_id=$id")->{json}{data} }), '>', 2, 'states that contradict each other');
$partners->control(labelgrid => { lie => 'state' });
is((values %{ queue() })[0], 'daydreaming', 'states that there are not');
$partners->control(labelgrid => { lie => 'duplicates' });
is(scalar @{ grid('GET', '/releases?filter[cat]=MV-5')->{json}{data} }, 2, 'entries twice');
$partners->control(labelgrid => { lie => undef, callback => 'bad-signature' });
grid('POST', "/webhooks/$hook->{id}/test");
$receiver->wait_stats('grid', 10, bad_signatures => 1);
$partners->control(labelgrid => { callback => 'duplicate' });
grid('POST', "/webhooks/$hook->{id}/test");
$receiver->wait_stats('grid', 10, duplicates => 1);
pass('callbacks that are wrong, and twice');
$partners->control(labelgrid => { callback => 'normal' });
my $rotated = grid('POST', "/webhooks/$hook->{id}/regenerate-secret")->{data}{secret};
$receiver->control('rotated', { secrets => [$rotated] });
is(grid('PATCH', "/webhooks/$hook->{id}", { url => $receiver->url('rotated') })->{data}{url}, $receiver->url('rotated'), 'a webhook moves');
grid('POST', "/webhooks/$hook->{id}/test");
is($receiver->wait_stats('rotated', 10, verified => 1)->{bad_signatures}, 0, 'with another secret');
is(grid('DELETE', "/webhooks/$hook->{id}")->{status}, 204, 'and goes');
my $mine = (cloud('GET', '/me/tracks')->{json})->[0];
$partners->control(soundcloud => { lie => 'contradictory' });
my $odd = cloud('GET', "/tracks/$mine->{urn}")->{json};
isnt($odd->{streamable} ? 'playable' : 'blocked', $odd->{access}, 'a track that is and is not');
$partners->control(soundcloud => { lie => 'nulls' });
ok(exists cloud('GET', "/tracks/$mine->{urn}")->{json}{isrc} && !defined cloud('GET', "/tracks/$mine->{urn}")->{json}{isrc}, 'nulls where texts should be');
$partners->control(deezer => { lie => 'other', catalogue => { 'upc:12345678905' => { title => 'Told' } } });
is(from_json(get('/deezer/album/upc:12345678905'))->{upc}, '0000000000000', 'somebody else\'s release');

foreach my $case ([ 'partner', { napster => {} } ], [ 'field', { apple => { speed => 1 } } ], [ 'step', { apple => { faults => [ { on => 'x' } ] } } ],
	[ 'mode', { apple => { faults => [ { mode => 'x' } ] } } ], [ 'lie', { apple => { lie => 'x' } } ], [ 'field', { apple => { faults => [ { onn => 'x' } ] } } ])
{
	refused(http('PUT', $partners->base('/control'), $case->[1]), 400, qr/unknown $case->[0]/, "an unknown $case->[0] is refused");
}
my $fresh = $partners->forget;
is_deeply([ @{ $fresh->{labelgrid} }{qw(releases tracks uploads)}, $fresh->{soundcloud}{tracks}, $fresh->{clock_offset_ms}, $fresh->{deezer}{lie} ], [ 0, 0, 0, 0, 0, undef ], 'everything is forgotten');

kill TERM => $partners->{pid};
waitpid $partners->{pid}, 0;
is($?, 0, 'it ends on SIGTERM');

done_testing();

# The files of releases, before a partner is asked anything: waited for, told,
# refused, converted, drawn; changed by their owner in the meantime.
use lib 'test/lib';
use Digest::MD5 qw(md5_hex);
use Digest::SHA qw(sha256_hex);
use MusicVerse::Ddex ();
use MusicVerse::LabelGrid;
use MusicVerse::Stream;
use MusicVerse::Test;

our $submitting = '';
my $node    = new_cluster('files');
my $partner = MusicVerse::LabelGrid->start;
my $user    = user(1);
my ($pid, $out) = start_process('sounds', 'node', "$root/test/partners/sounds.js");
my $sounds = do { my $at = from_json(scalar <$out>); "http://$at->{host}:$at->{port}" };
$partner->configure($node);

# A release of a track at each of these paths; returns its id
sub release
{
	my ($metadata, $platforms, @paths) = @_;
	my @ids = map { sql($node, sprintf q{insert into musicverse.tracks (user_id, title, style, audio_url, cover_url) values (%s, %s, 'Ambient', %s, %s) returning id},
			lit($user), lit("Song $_"), lit("$sounds$_"), lit($partner->base . '/files/cover.jpg')) } @paths;
	return sql($node, sprintf $submitting . 'select musicverse.create_distribution(%s, %s, %s, null, %s) as id \gset' . "\n%sselect :'id'", lit($user), lit('{' . join(',', @ids) . '}'), lit('{' . join(',', @$platforms) . '}'),
		lit({ title => 'Rain', artist => 'Mira', label => 'Mira Records', language => 'en', p_line => '2026 Mira', c_line => '2026 Mira', %$metadata }), $submitting ? "select musicverse.submit_distribution(:'id') \\g /dev/null\ncommit;" : '');
}

# ... and submitted in the same transaction, when nobody can know what is in the files
sub submitted { local $submitting = 'begin;'; return release(@_); }

sub reason { my ($id) = @_; return sql($node, "select string_agg(distinct reason, ';') from musicverse.distribution_targets where distribution_id = '$id'"); }
sub work { my ($id) = @_; return sql_row($node, "select * from musicverse.distribution_work where distribution_id = '$id'"); }
sub asked { my ($path) = @_; return scalar grep { $_ eq $path } @{ http_json('GET', "$sounds/log") }; }

# What the partner has of the tracks of a release, in order
sub theirs
{
	my ($id) = @_;
	my $number = sql($node, "select musicverse._labelgrid_catalogue_number(id, '{}') from musicverse.distribution_work where distribution_id = '$id'");
	my $state  = $partner->state;
	my ($release) = grep { $_->{cat} eq $number } @{ $state->{releases} };
	return map { $_->{file} } grep { $_->{release_id} == $release->{id} } @{ $state->{tracks} };
}

# ---- waited for, and told

my $id = release({}, [ 'spotify', 'deezer' ], '/held1.flac?blocks=20', '/two.flac');
wait_for(sub { asked('/held1.flac') }, 60, 'the file to be looked at when the release is made');
submit($node, $id);
wait_for_sql($node, "select cardinality(waits_for) from musicverse.distribution_work where distribution_id = '$id'", '1', 60, 'the work to wait for the file that is held');
is(targets_of($node, $id), 'deezer scheduled, spotify scheduled', 'a release waits for its files');
is(scalar($partner->log), 0, 'and the partner is asked nothing');
http('PUT', "$sounds/release");
wait_for(sub { http('PUT', "$sounds/release"); sql($node, "select status from musicverse.distributions where id = '$id'") eq 'live' }, 60, 'the release to be live');
my $bytes = http('GET', "$sounds/two.flac")->{content};
is((theirs($id))[1]{sha256}, sha256_hex($bytes), 'then it goes on by itself');
my $file = sql_value($node, "select files #> '{tracks,1,file}' from musicverse.distribution_work where distribution_id = '$id'");
is_deeply([ @$file{qw(url bytes sha256 md5 media_type format channels sample_rate bit_depth)} ],
	[ "$sounds/two.flac", length $bytes, sha256_hex($bytes), md5_hex($bytes), 'audio/flac', 'flac', 2, 44100, 16 ], 'connectors are told of a file');
my $before = asked('/two.flac');
$id = release({ title => 'Again' }, ['spotify'], '/two.flac');
submit($node, $id);
wait_release($node, $id, 'live', 60);
is(asked('/two.flac') - $before, 1, 'what was looked at before is only uploaded');

# ---- refused before the partner is asked

my $said = scalar($partner->log('create_release'));
my %refused = (
	'/gone.flac'                  => qr{^the audio of track 1 cannot be used: the file could not be fetched: HTTP 404$},
	'/page.flac'                  => qr{^the audio of track 1 cannot be used: the file is not audio that can be read: it is neither},
	'/mono.flac.wav?channels=1'   => qr{^the audio of track 1 has 1 channels \(deezer\)$},
	'/slow.wav?rate=22050'        => qr{^the audio of track 1 has 22050 samples a second, not 44100 to 192000 \(deezer\)$},
	'/deep.wav?bits=32'           => qr{^the audio of track 1 has 32 bits a sample \(deezer\)$});
foreach my $path (sort keys %refused)
{
	$id = submitted({ title => "Refused $path" }, [ 'spotify', 'deezer' ], $path);
	wait_release($node, $id, 'failed', 60);
	like(reason($id), $refused{$path}, "$path is refused");
	is(sql($node, "select count(*) from musicverse.notifications where kind = 'distribution.failed' and body ->> 'distribution_id' = '$id'"), 2, 'and its owner told');
}
is(scalar($partner->log('create_release')), $said, 'the partner was told of none of them');
is(sql($node, "select count(*) from musicverse.poll_events('$user') where type = 'distribution.failed' and data ->> 'distribution_id' = '$id'"), 2, 'there are events');
eval { release({}, ['deezer'], '/mono.flac.wav?channels=1') };
like($@, qr{the audio of track 1 has 1 channels \(deezer\)}, 'what is known already is refused at once');

# another file, in the same place: it is looked at again
$id = sql($node, q{select id from musicverse.distributions where metadata ->> 'title' = 'Refused /mono.flac.wav?channels=1'});
sql($node, sprintf q{update musicverse.distributions set metadata = replace(metadata::text, 'channels=1', 'channels=2')::jsonb where id = '%s'}, $id);
submit($node, $id);
wait_release($node, $id, 'live', 60);
pass('what was refused is submitted again, with another file');
$id = release({ title => 'Changed' }, ['spotify'], '/changed.flac');
wait_for_sql($node, "select state from musicverse.media_work where input ->> 'url' = '$sounds/changed.flac'", 'done', 60, 'it to be looked at');
http('PUT', "$sounds/change");
submit($node, $id);
wait_release($node, $id, 'live', 90);
is((theirs($id))[0]{sha256}, sha256_hex(http('GET', "$sounds/changed.flac")->{content}), 'a file that changed after it was looked at is looked at anew');
is(sql($node, "select files #>> '{tracks,0,file,sha256}' from musicverse.distribution_work where distribution_id = '$id'"), (theirs($id))[0]{sha256}, 'and what is told of it is so');

# an update that is refused leaves what is there
sql($node, sprintf q{select musicverse.update_release('%s', %s)}, $id, lit({ tracks => [ { track_id => sql($node, "select track_id from musicverse.distributions where id = '$id'"), audio_url => "$sounds/page2.flac" } ] }));
wait_for_sql($node, "select status from musicverse.distribution_history where distribution_id = '$id' order by id desc limit 1", 'update_refused', 60, 'the update to be refused');
is(targets_of($node, $id), 'spotify live', 'an update with a bad file is refused, and what is live stays');
is(work($id)->{revision}, 1, 'as it is');

# ---- converted

my $wav = "$sounds/x.wav?frames=30000&extensible=1";
$id = release({ title => 'Extensible' }, ['spotify'], '/x.wav?frames=30000&extensible=1');
submit($node, $id);
wait_release($node, $id, 'live', 60);
$file = sql_value($node, "select files #> '{tracks,0,file}' from musicverse.distribution_work where distribution_id = '$id'");
is_deeply([ @$file{qw(format media_type)}, (theirs($id))[0]{sha256} ], [ 'flac', 'audio/flac', $file->{sha256} ], 'a WAV that a platform takes as FLAC only is converted');
is($file->{url}, "media:$file->{media}", 'it is a file of ours');
my $path = sql($node, "select musicverse._media_path('$file->{media}')");
chomp(my $total = qx{metaflac --show-total-samples "$path"});
is($total, 30000, 'all of it');
like((map { $_->{path} } grep { $_->{step} eq 'put' } $partner->log)[-1], qr/\.flac/, 'and it is called so');
unlink $path or die $!;
sql($node, "select musicverse.update_release('$id', '{\"title\": \"Extended\"}')");
wait_for_sql($node, "select delivered_revision from musicverse.distribution_work where distribution_id = '$id'", '2', 60, 'the update');
ok(-e $path, 'a converted file that is lost is made again');
$partner->configure($node, audio => 'flac');
$id = release({ title => 'Plain' }, ['deezer'], '/plain.wav');
submit($node, $id);
wait_release($node, $id, 'live', 60);
is(sql($node, "select files #>> '{tracks,0,file,format}' from musicverse.distribution_work where distribution_id = '$id'"), 'flac', 'so is a WAV for a partner that wants FLAC');
$partner->configure($node);

# ---- drawn

my ($drawn) = map { release({ title => 'Drawn', cover => 'draw' }, [ 'spotify', 'deezer' ], $_) } '/drawn.flac?blocks=200';
submit($node, $drawn);
wait_release($node, $drawn, 'live', 60);
my $cover = sql_value($node, "select files -> 'release' from musicverse.distribution_work where distribution_id = '$drawn'");
is_deeply([ @{ $cover->{cover} }{qw(width height media_type)} ], [ 3000, 3000, 'image/jpeg' ], 'a cover is drawn');
is($cover->{cover_url}, "media:$cover->{cover}{media}", 'it is a file of ours');
is(sha256_hex(slurp_file(sql($node, "select musicverse._media_path('$cover->{cover}{media}')"))), $cover->{cover}{sha256}, 'with its digest');
is(sql($node, "select sha256(musicverse.distribution_cover('$drawn')) = decode('$cover->{cover}{sha256}', 'hex')"), 't', 'which its owner can get');
like(sql_error($node, "select musicverse.distribution_cover('$id')")->{message}, qr/is not drawn/, 'of others there is none');
my $number = sql($node, "select musicverse._labelgrid_catalogue_number(id, '{}') from musicverse.distribution_work where distribution_id = '$drawn'");
my ($theirs) = grep { $_->{cat} eq $number } @{ $partner->state->{releases} };
cmp_ok($theirs->{photo}, '>', $cover->{cover}{bytes}, 'the partner has it');
is(sql($node, "select input -> 'peaks' is not null from musicverse.media_work where id = '$cover->{cover}{media}'"), 't', 'it is of the peaks of its track');

# ---- wanted once more, when what was made is forgotten

sql($node, q{select musicverse.configure_isrc_prefix('QZABC'), musicverse.configure_gtin_prefix('061414111')});
my $ddex = MusicVerse::Ddex->new($node, MusicVerse::Stream::Sftp->start, undef, 'again', audio => 'flac', validate => JSON::PP::false);
$id = release({ title => 'Once more' }, ['again'], '/again.wav?frames=60000');
submit($node, $id);
$ddex->wait_status($id, 'processing');
my $first = wait_for(sub { ($ddex->of($id))[0] }, 60, 'the delivery');
wait_for_sql($node, "select state ? 'sent_at' from musicverse.distribution_work where distribution_id = '$id'", 't', 60, 'it to be told');
is(sql($node, "select files #>> '{tracks,0,file,format}' from musicverse.distribution_work where distribution_id = '$id'"), 'flac', 'a release is delivered with a file that was made for it');
sql($node, q{delete from musicverse.media_work where kind = 'flac'});
$ddex->acknowledge($first, status => 'ProcessingErrorAtReleaseDistributor', action => 'ResendXmlAndResources');
my $second = wait_for(sub { ($ddex->of($id))[1] }, 60, 'another delivery');
is(MusicVerse::Ddex::wrong_files($second), '', 'it is made once more when the partner wants all again');
is_deeply($second->{files}, $first->{files}, 'under the same names');

# ---- turned off

set_conf($node, 'musicverse.inspect_audio' => 'off');
$node->reload;
wait_for_sql($node, 'show musicverse.inspect_audio', 'off', 30, 'the reload');
$id = release({ title => 'Unseen' }, ['spotify'], '/page3.flac');
submit($node, $id);
wait_release($node, $id, 'live', 60);
is(asked('/page3.flac'), 1, 'turned off, nothing is looked at');

# ---- nobody waits in vain

set_conf($node, 'musicverse.inspect_audio' => 'on');
$node->reload;
wait_for_sql($node, 'show musicverse.inspect_audio', 'on', 30, 'the reload');
my @many = map { release({ title => "Many $_" }, ['spotify'], "/many$_.flac") } 1 .. 20;
submit($node, $_) foreach @many;
wait_release($node, $_, 'live', 90) foreach @many;
is(sql($node, 'select count(*) from musicverse.distribution_work where waits_for is not null'), 0, 'of many releases none is left waiting');

done_testing();

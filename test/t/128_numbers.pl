# Numbers that partners are asked for: LabelGrid's of days, SoundCloud's
# counters, which go back, lie and come in pages; partners that fail, a token
# that is refused, and a server that dies in between.
use lib 'test/lib';
use MusicVerse::Partners;
use MusicVerse::SoundCloud;
use MusicVerse::Test;

my $node     = new_cluster('numbers');
my $partners = MusicVerse::Partners->start;
my $user     = user(1);

# A release that was carried, in a state as its connector leaves it
my $made = 0;

sub live
{
	my ($partner, $state, @platforms) = @_;
	my $id = sprintf '00000000-0000-4000-8000-%012d', ++$made;
	sql($node, sprintf q{insert into musicverse.distributions (id, user_id, track_ids, platforms, metadata) values (%1$s, '%2$s', '{}', %3$s,
			'{"title": "R", "tracks": [{"track_id": "00000000-0000-4000-9000-000000000001"}, {"track_id": "00000000-0000-4000-9000-000000000002"}]}');
		insert into musicverse.distribution_work (distribution_id, user_id, partner, state) values (%1$s, '%2$s', %4$s, %5$s);
		insert into musicverse.distribution_targets (distribution_id, user_id, work_id, platform, partner, status, submitted_at)
		select %1$s, '%2$s', k.id, p, k.partner, 'live', now() from musicverse.distribution_work k, unnest(%3$s::text[]) p where k.distribution_id = %1$s},
		lit($id), $user, lit('{' . join(',', @platforms) . '}'), lit($partner), lit($state));
	return $id;
}

sub synced
{
	my ($partner, $what) = @_;
	my $before = sql($node, 'select musicverse._now()');
	sql($node, "update musicverse.partner_syncs set next_attempt_at = now() where partner = '$partner'; select musicverse._wake_distribution()");
	wait_for_sql($node, "select count(*) from musicverse.partner_syncs where partner = '$partner' and (synced_at > '$before') is not true", '0', 60, $what // "$partner to be asked");
	return;
}

# ---- LabelGrid

sub grid
{
	my ($method, $where, $body) = @_;
	my $reply = http_json($method, $partners->base("/labelgrid/api/public$where"), $body, { authorization => "Bearer $MusicVerse::Partners::token" });
	return $reply->{data} // $reply;
}

$partners->control(labelgrid => { strict => JSON::PP::false });
my %release = (content_type => 'Single', label_id => 1, artwork_ai_usage => 'none', audio_ai_usage => 'none', composition_ai_usage => 'none', primary_genre_id => 7, release_date => '2026-01-01',
	artists => [ { artist_id => 1, artistic_role => 'MainArtist' } ], titles => [ { iso_code => 'en', text => 'Night train' } ]);
my $wav = http('GET', $partners->base('/storage/zeros/44144.wav'))->{content};
my $png = "\x89PNG\r\n\x1a\n\0\0\0\rIHDR" . pack('NN', 3000, 3000) . "\x08\x02\0\0\0";

# What a connector would have done: a release with a track and a cover, live at these outlets
sub distribute
{
	my ($cat, $upc, $isrc, @outlets) = @_;
	my $id   = grid('POST', '/releases', { %release, cat => $cat, barcode_number => $upc })->{id};
	my $song = grid('POST', "/releases/$id/tracks", { disc => 1, track_num => 1, composition_type => 'original', audio_ai_usage => 'none', composition_ai_usage => 'none', commercial_samples => 'no',
		audio_language => 'en', recording_country => 'DE', isrc => $isrc, artists => $release{artists}, titles => $release{titles}, contributors => [ { roles => { Producer => JSON::PP::true } } ] })->{id};
	my $target = grid('POST', "/tracks/$song/files/stereo/upload-url", { filename => 'a.wav' });
	http('PUT', $target->{upload_url}, $wav);
	grid('PUT', "/tracks/$song/files/stereo", { s3_key => $target->{key} });
	http('POST', $partners->base("/labelgrid/api/public/releases/$id/photo"), "--=_b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"c.png\"\r\nContent-Type: image/png\r\n\r\n$png\r\n--=_b--\r\n",
		{ authorization => "Bearer $MusicVerse::Partners::token", 'content-type' => 'multipart/form-data; boundary="=_b"' });
	grid('POST', "/releases/$id/distribute", { outlets => \@outlets });
	wait_for(sub { !grep { $_->{status} ne 'live' } @{ grid('GET', "/queues/distro?filter[release_id]=$id") } }, 60, "release $id to be live");
	return $id;
}
$partners->control(labelgrid => { pace_ms => 10 });
my $first  = distribute('MV-1', '4006381333931', 'QZABC2600001', qw(spotify apple));
my $second = distribute('MV-2', '0012345678905', 'QZABC2600002', 'deezer');

sql($node, sprintf "select musicverse.configure_partner('labelgrid', %s, %s, %s)", lit($partners->base('/labelgrid/api/public')), lit({ token => $MusicVerse::Partners::token }), lit({ label_id => 1, timeout => 10, analytics_interval => 3600 }));
my $one = live('labelgrid', { release_id => $first }, qw(spotify apple_music));
my $two = live('labelgrid', { release_id => $second }, 'deezer');
wait_for_sql($node, q{select count(*) from musicverse.partner_syncs where synced_at is not null}, '2', 60, 'the numbers of both');

# what the partner itself tells
sub told
{
	my ($id) = @_;
	my ($since, $until) = split /\|/, sql($node, q{select (now() at time zone 'UTC')::date - 1, (now() at time zone 'UTC')::date});
	my $data = grid('GET', "/analytics/summary?filter[release_id]=$id&filter[start_date]=$since&filter[end_date]=$until&metrics[]=streams&metrics[]=listeners&metrics[]=saves&metrics[]=shares");
	my %sum;
	foreach my $metric (keys %$data) { $sum{$metric} += $_->{value} foreach @{ $data->{$metric} }; }
	return join '|', map { $sum{$_} // 0 } qw(streams listeners saves shares);
}
my $sums = q{select coalesce(sum(streams), 0), coalesce(sum(listeners), 0), coalesce(sum(saves), 0), coalesce(sum(shares), 0) from musicverse.distribution_stats where distribution_id = '%s'};
isnt(told($first), '0|0|0|0', 'the partner has numbers');
is(sql($node, sprintf $sums, $one), told($first), 'they are those of the release');
is(sql($node, sprintf $sums, $two), told($second), 'and those of the other one its own');
is(sql($node, "select string_agg(distinct platform, ' ' order by platform) from musicverse.distribution_facts where distribution_id = '$one'"), 'apple_music spotify', 'by platform');
my $before = sql($node, 'select count(*) from musicverse.distribution_facts');
synced('labelgrid');
is(sql($node, 'select count(*) from musicverse.distribution_facts'), $before, 'asked again, they are the same');
is(sql($node, sprintf $sums, $one), told($first), 'and count once');
like(sql($node, q{select min(next_attempt_at - now()) from musicverse.partner_syncs}), qr/^0[01]:/, 'the next time is an interval later');

# failures: nothing is lost, and the partner carries on
$partners->control(labelgrid => { faults => [ { on => 'analytics', mode => $_, count => 1 } ] }), synced('labelgrid', "the partner to be asked again after $_") foreach qw(lost html reset huge);
is(sql($node, sprintf $sums, $one), told($first), 'what fails is asked again');
$partners->control(labelgrid => { faults => [ { on => 'analytics', mode => 'error', status => 403 } ] });
sql($node, q{update musicverse.partner_syncs set next_attempt_at = now() where partner = 'labelgrid'; select musicverse._wake_distribution()});
wait_for_sql($node, q{select count(*) from musicverse.partner_syncs where last_error ~ '403'}, '2', 60, 'the refusal');
is(sql($node, q{select paused_at is null from musicverse.partners where name = 'labelgrid'}), 't', 'a partner that refuses numbers is not paused');
like(sql($node, q{select min(next_attempt_at - now()) from musicverse.partner_syncs}), qr/^0[01]:/, 'it is asked again an interval later');
$partners->control(labelgrid => { faults => [] });

# ---- SoundCloud

configure_soundcloud($node, $partners, analytics_interval => 3600);
log_in($node, $partners, $user);
my $tokens = $partners->soundcloud_tokens;
$partners->control(soundcloud => { plays_per_hour => 0, processing_ms => 0 });

sub upload
{
	my ($title) = @_;
	my $body = join '', map { "--=_b\r\nContent-Disposition: form-data; name=\"$_->[0]\"$_->[2]\r\n\r\n$_->[1]\r\n" }
	  [ 'track[title]', $title, '' ], [ 'track[sharing]', 'public', '' ], [ 'track[asset_data]', $wav, "; filename=\"a.wav\"\r\nContent-Type: application/octet-stream" ];
	my $answer = http('POST', $partners->base('/soundcloud/tracks'), "$body--=_b--\r\n", { authorization => "OAuth $tokens->{access_token}", 'content-type' => 'multipart/form-data; boundary="=_b"' });
	return from_json($answer->{content})->{urn} // die $answer->{content};
}

sub played { my ($urn, $plays, $likes) = @_; $partners->control(soundcloud => { add_stats => { urn => $urn, playback_count => $plays, favoritings_count => $likes } }); return; }

my @urns = map { upload("Song $_") } 1 .. 3;
played($urns[0], 100, 7);
played($urns[1], 50,  0);
played($urns[2], 9,   0);    # of no release of ours
my $cloud = live('soundcloud', { t0_urn => $urns[0], t1_urn => $urns[1] }, 'soundcloud');
wait_for_sql($node, q{select count(*) from musicverse.partner_syncs where partner = 'soundcloud' and synced_at is not null}, '1', 60, 'the counters');
my $counted = "select sum(streams), sum(likes) from musicverse.distribution_stats where distribution_id = '$cloud'";
is(sql($node, $counted), '150|7', 'what has been played since it is there');
is(sql($node, q{select string_agg(streams::text, ' ' order by track_id) from musicverse.track_stats where track_id is not null}), '100 50', 'track by track');
played($urns[0], 11, 1);
synced('soundcloud');
is(sql($node, $counted), '161|8', 'what is more within the day is of the day');
is(sql($node, q{select count(*) from musicverse.counter_snapshots}), '2', 'with one snapshot a day');

# another day
sql($node, q{update musicverse.counter_snapshots set day = day - 1; update musicverse.distribution_facts set day = day - 1 where source = 'soundcloud'});
played($urns[0], 5, 0);
synced('soundcloud');
is(sql($node, "select string_agg(streams::text, ' ' order by day) from (select day, sum(streams) as streams from musicverse.distribution_stats where distribution_id = '$cloud' group by day) d"), '161 5', 'the next day has what is more since');

# counters that go back
$partners->control(soundcloud => { lie => 'backwards' });
synced('soundcloud');
is(sql($node, q{select count(*) from musicverse.distribution_facts where least(streams, likes, downloads, shares) < 0}), '0', 'a counter that goes back makes no negative day');
is(sql($node, $counted), '161|8', 'and takes nothing of the days before');
like(sql($node, q{select note from musicverse.partner_syncs where partner = 'soundcloud'}), qr/plays went back from 116 to 58/, 'but is noted');
$partners->control(soundcloud => { lie => $_ }), synced('soundcloud', "the partner to be asked, with $_") foreach qw(duplicates nulls);
$partners->control(soundcloud => { lie => undef });
synced('soundcloud');
is(sql($node, $counted), '166|8', 'when it comes back, all is counted once');

# a token that is refused is refreshed, and the counters are asked for again
$partners->control(soundcloud => { faults => [ { on => 'tracks', mode => 'error', status => 401, count => 1 } ] });
my $refreshes = $partners->counters('soundcloud')->{refreshes};
sql($node, q{update musicverse.partner_syncs set next_attempt_at = now() where partner = 'soundcloud'; select musicverse._wake_distribution()});
wait_for_sql($node, q{select last_error ~ '401' from musicverse.partner_syncs where partner = 'soundcloud'}, 't', 60, 'the refusal');
wait_for(sub { $partners->counters('soundcloud')->{refreshes} > $refreshes }, 60, 'a refresh');
wait_for_sql($node, q{select wants_refresh from musicverse.partner_accounts}, 'f', 60, 'the new token');
synced('soundcloud');
is(sql($node, $counted), '166|8', 'a new token serves as well');

# more than a page
my @more = map { upload("Many $_") } 1 .. 205;
played($more[204], 1, 0);
my $last = live('soundcloud', { t0_urn => $more[204] }, 'soundcloud');
synced('soundcloud');
is(sql($node, "select sum(streams) from musicverse.distribution_stats where distribution_id = '$last'"), '1', 'all pages are read');
is(sql($node, q{select page is null and pages = 0 from musicverse.partner_syncs where partner = 'soundcloud'}), 't', 'and it begins anew');

# a page of where the partner was before it was configured anew: no token goes there
my $former = start_receiver();
sql($node, sprintf q{update musicverse.partner_syncs set page = %s, pages = 1 where partner = 'soundcloud'}, lit($former->url('former')));
synced('soundcloud');
is($former->requests('former'), 0, 'a page that is not below the address of the partner is not asked for');

# ---- a server that dies while it asks
$partners->control(soundcloud => { faults => [ { on => 'tracks', mode => 'ok', delay_ms => 5000, count => 1 } ] });
played($urns[0], 10, 0);
sql($node, q{update musicverse.partner_syncs set next_attempt_at = now() where partner = 'soundcloud'; select musicverse._wake_distribution()});
wait_for_sql($node, q{select begun_at is not null from musicverse.partner_syncs where partner = 'soundcloud'}, 't', 60, 'it to be under way');
my $died = sql($node, 'select musicverse._now()');
$node->stop('immediate');
$node->start;
wait_for_sql($node, "select synced_at > '$died' and begun_at is null from musicverse.partner_syncs where partner = 'soundcloud'", 't', 90, 'it to be asked again');
is(sql($node, $counted), '176|8', 'and nothing is lost or counted twice');

# ---- taken down: for some days yet, then no more
sql($node, qq{update musicverse.distribution_targets set status = 'taken_down' where partner = 'labelgrid'});
synced('labelgrid');
is(sql($node, q{select count(*) from musicverse.partner_syncs where partner = 'labelgrid' and next_attempt_at is not null}), '2', 'numbers come late: it is asked for a while');
sql($node, q{set session_replication_role = replica; update musicverse.distribution_history set created_at = created_at - interval '8 days'});
synced('labelgrid');
is(sql($node, q{select count(*) from musicverse.partner_syncs where partner = 'labelgrid' and next_attempt_at is not null}), '0', 'and then no more');

done_testing();

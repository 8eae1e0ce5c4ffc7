# Releases in users' own accounts at SoundCloud: singles and albums, uploaded
# ahead and made public at their moment, changed, cancelled, taken down; what
# goes wrong; and kill -9 after every step.
use lib 'test/lib';
use utf8;
use MusicVerse::Test;
use MusicVerse::LabelGrid qw(submit wait_release targets_of);
use MusicVerse::Partners;
use MusicVerse::SoundCloud;

my $node     = new_cluster('soundcloud');
my $partners = MusicVerse::Partners->start;
my $user     = user(1);
configure_soundcloud($node, $partners);

my $png = "\x89PNG\r\n\x1a\n\0\0\0\rIHDR" . pack('NN', 3000, 3000) . "\x08\x02\0\0\0" . 'x' x 5000;
foreach my $name (qw(cover.png other.png)) { http('PUT', $partners->base("/storage/$name"), $png . $name); }

sub cloud  { return $partners->counters('soundcloud'); }
sub tracks { return @{ $partners->records('soundcloud')->{tracks} }; }
sub lists  { return @{ $partners->records('soundcloud')->{playlists} }; }
sub work   { my ($id) = @_; return sql_row($node, "select * from musicverse.distribution_work where distribution_id = '$id'"); }
sub clock  { return sql($node, 'select musicverse._now()'); }

# Both clocks go on
sub advance { my ($seconds) = @_; $partners->advance($seconds); sql($node, "select musicverse.advance_clock('$seconds seconds')"); return; }

# A release of so many tracks; returns its id
my $isrc = 0;

sub release
{
	my ($metadata, %with) = @_;
	my @tracks = map { sql($node, sprintf 'insert into musicverse.tracks (user_id, title, style, audio_url, cover_url, isrc) values (%s, %s, %s, %s, %s, %s) returning id',
			lit($user), lit($with{titles} ? $with{titles}[ $_ - 1 ] : "Song $_"), lit('Ambient'), lit($with{audio} // $partners->base('/storage/zeros/' . (44044 + 4 * $_) . '.wav')),
			lit(exists $with{cover} ? $with{cover} : $partners->base('/storage/cover.png')), lit(sprintf 'QZABC26%05d', ++$isrc)) } 1 .. $with{tracks} // 1;
	return sql($node, sprintf 'select musicverse.create_distribution(%s, %s, %s, %s, %s)', lit($user), lit('{' . join(',', @tracks) . '}'), lit('{soundcloud}'),
		lit($with{date}), lit({ artist => 'Mira', %{ $metadata // {} } }));
}

# Begins anew, so that counters tell of what follows
my @invalid;

sub anew { my (@faults) = @_; push @invalid, @{ cloud()->{validated}{invalid_requests} }; $partners->forget; log_in($node, $partners, $user); faults($partners, @faults) if @faults; return; }

# ---- nobody has logged in

my $id   = release({ title => 'Rain' });
my $late = release({ title => 'Hail' });
is(sql($node, "select string_agg(message, '; ') from musicverse.distributions d, musicverse.check_release(d.track_ids, d.platforms, null, d.metadata) where d.id = '$id' and severity = 'warning' and field = '/platforms'"),
	'nobody has logged in at SoundCloud: the release will wait for that', 'a check warns');
submit($node, $id);
wait_for_sql($node, "select last_error from musicverse.distribution_targets where distribution_id = '$id'", 'waits until the user has logged in at SoundCloud', 60, 'the release to wait');
submit($node, $late);
wait_for_sql($node, "select last_error from musicverse.distribution_targets where distribution_id = '$late'", 'waits until the user has logged in at SoundCloud', 60, 'another to wait');
is(sql($node, "select string_agg(kind || ' ' || title, ', ') from musicverse.notifications where user_id = '$user' and kind like 'partner.%'"), 'partner.needs_login Log in at SoundCloud', 'the user is told, once');
sql($node, "select musicverse.cancel_distribution('$late')");
log_in($node, $partners, $user);
wait_release($node, $id, 'live', 60);
is(targets_of($node, $late), 'soundcloud cancelled', 'and when he has, it goes on; what was cancelled does not');

# ---- a single

my ($track) = tracks();
is_deeply([ @$track{qw(title sharing isrc genre license downloadable label_name)} ], [ 'Song 1', 'public', 'QZABC2600001', 'Ambient', 'all-rights-reserved', JSON::PP::false, undef ], 'it is there as it should be');
is($track->{asset}{bytes}, 44048, 'with its sound');
ok($track->{artwork_url}, 'and its cover');
like($track->{tag_list}, qr/^musicverse:ref=[0-9a-f-]{36}-0-[0-9a-f]{8}$/, 'and the tag by which it is found again');
my $target = sql_row($node, "select * from musicverse.distribution_targets where distribution_id = '$id'");
is_deeply([ @$target{qw(status external_id external_url)} ], [ 'live', $track->{urn}, $track->{permalink_url} ], 'its name and address there are told');
is(sql($node, "select string_agg(status, ' ' order by id) from musicverse.distribution_history where distribution_id = '$id' and platform = 'soundcloud'"), 'pending scheduled delivering processing live', 'its history');
is(work($id)->{next_attempt_at}, undef, 'nothing is left to be done');
is(join(' ', map { "$_ " . (cloud()->{requests}{$_} // 0) } qw(upload delete playlist-create)), 'upload 1 delete 0 playlist-create 0', 'with no request too many');

# ---- every character arrives

my $hostile = qq{"Quotes" 'and' \\slashes/ \r\n--musicverse; name="track[sharing]"\r\n\r\npublic & <b>%41%00</b> \x{1f3b5} \x{202e}\x{feff} é};
anew();
$id = release({ title => 'x', description => $hostile, label => $hostile, genre => 'Ambient', tags => [ 'lo fi', 'a"b', "\t" ], version_title => 'y' }, titles => [$hostile], cover => undef);
submit($node, $id);
wait_release($node, $id, 'live', 60);
($track) = tracks();
is($track->{title},      $hostile, 'a title with everything in it');
is($track->{label_name}, $hostile, 'a label');
is($track->{description}, $hostile, 'a description');
is($track->{tag_list} =~ s/musicverse:\S+ //r, q{"lo fi" a'b}, 'tags, quoted');
is($track->{sharing}, 'public', 'and no field more than there were');

# ---- an album

anew();
$id = release({ title => 'Weather', upc => '4006381333931', label => 'Mira Records', p_line => '2026 Mira', c_line => '2026 Mira' }, tracks => 3);
submit($node, $id);
wait_release($node, $id, 'live', 90);
my ($list) = lists();
is_deeply([ @$list{qw(title sharing playlist_type ean track_count)} ], [ 'Weather', 'public', 'album', '4006381333931', 3 ], 'three tracks are an album');
is(join(' ', map { $_->{title} } @{ $list->{tracks} }), 'Song 1 Song 2 Song 3', 'in their order');
is(scalar(grep { $_->{sharing} eq 'public' } tracks()), 3, 'all of which can be heard');
is($list->{description}, "\x{2117} 2026 Mira\n\x{a9} 2026 Mira", 'its lines of rights are in its description');
is(sql($node, "select external_id || ' ' || external_url from musicverse.distribution_targets where distribution_id = '$id'"), "$list->{urn} $list->{permalink_url}", 'the playlist is what it is called');

# ---- changes of what is live

is(sql($node, sprintf q{select musicverse.update_release(%s, %s)}, lit($id), lit({ title => 'Climate', cover_url => $partners->base('/storage/other.png'), genre => 'Pop' })), 2, 'it is changed');
wait_for_sql($node, "select delivered_revision || ' ' || (next_attempt_at is null) from musicverse.distribution_work where distribution_id = '$id'", '2 true', 90, 'the change to be delivered');
is_deeply([ (lists())[0]{title}, (lists())[0]{sharing}, map { "$_->{genre} $_->{sharing}" } tracks() ], [ 'Climate', 'public', ('Pop public') x 3 ], 'SoundCloud has it, and all stays public');
is(cloud()->{tracks} . cloud()->{playlists}, '31', 'and nothing was made again');
my $first = sql($node, "select track_ids[1] from musicverse.distributions where id = '$id'");
sql($node, sprintf q{select musicverse.update_release(%s, %s)}, lit($id), lit({ tracks => [ { track_id => $first, audio_url => $partners->base('/storage/zeros/50000.wav') } ] }));
wait_for_sql($node, "select status from musicverse.distribution_history where distribution_id = '$id' order by id desc limit 1", 'update_refused', 60, 'the change to be refused');
like(sql($node, "select reason from musicverse.distribution_history where distribution_id = '$id' order by id desc limit 1"), qr/can't change the sound of track 1/, 'the sound of what is public can not be changed');
is(targets_of($node, $id), 'soundcloud live', 'which fails nothing');

# ---- taken down

sql($node, "select musicverse.takedown_distribution('$id')");
wait_release($node, $id, 'taken_down', 90);
is(scalar(tracks()) + scalar(lists()), 0, 'nothing is there any more');
is(cloud()->{refused}{track} . cloud()->{refused}{playlist}, '31', 'which was asked for');

# ---- uploaded ahead, public at its moment

anew();
my $day = sql($node, q{select ((musicverse._now() at time zone 'Asia/Tokyo')::date + 10)::text});
my $at  = sql($node, "select musicverse._release_moment('$day', 'Asia/Tokyo')");
$id = release({ title => 'Dawn', time_zone => 'Asia/Tokyo' }, tracks => 2, date => $day);
submit($node, $id);
is(work($id)->{deliver_at} . ' ' . sql($node, "select publish_at - deliver_at from musicverse.distribution_work where distribution_id = '$id'"), work($id)->{deliver_at} . ' 1 day', 'it is delivered a day ahead');
is(cloud()->{requests}{upload} // 0, 0, 'and not earlier');
advance(sql($node, "select ceil(extract(epoch from deliver_at - musicverse._now())) from musicverse.distribution_work where distribution_id = '$id'"));
wait_for_sql($node, "select next_attempt_at = publish_at from musicverse.distribution_work where distribution_id = '$id'", 't', 90, 'the release to wait for its moment');
is(join(' ', map { $_->{sharing} } tracks(), lists()), 'private private private', 'it is there, and private');
is(targets_of($node, $id), 'soundcloud processing', 'which is told');

my $later = sql($node, "select ('$day'::date + 3)::text");
sql($node, qq{select musicverse.update_release('$id', '{"release_date": "$later"}')});
wait_for_sql($node, "select delivered_revision || ' ' || (next_attempt_at = publish_at) from musicverse.distribution_work where distribution_id = '$id'", '2 true', 90, 'the release to wait for another moment');
is((tracks())[0]{release_day}, 0 + substr($later, 8), 'rescheduled: SoundCloud knows the new date');
advance(sql($node, "select ceil(extract(epoch from '$at'::timestamptz - musicverse._now())) + 1"));
pass_by();
is(shared(), 'private private private', 'at the old one nothing happens');
advance(sql($node, "select floor(extract(epoch from publish_at - musicverse._now())) - 40 from musicverse.distribution_work where distribution_id = '$id'"));
pass_by();
is(shared(), 'private private private', 'shortly before the new one neither');
wait_release($node, $id, 'live', 120);
is(shared(), 'public public public', 'then it is public');
is(sql($node, "select t.live_at >= k.publish_at from musicverse.distribution_targets t join musicverse.distribution_work k on k.id = t.work_id where k.distribution_id = '$id'"), 't', 'not a second early');

# cancelled at the last moment
anew();
$day = sql($node, q{select ((musicverse._now() at time zone 'UTC')::date + 1)::text});
$id  = release({ title => 'Never' }, tracks => 2, date => $day);
submit($node, $id);
wait_for_sql($node, "select next_attempt_at = publish_at from musicverse.distribution_work where distribution_id = '$id'", 't', 90, 'the release to wait for its moment');
is(scalar(tracks()), 2, 'less than a day before, it is uploaded at once');
sql($node, "select musicverse.cancel_distribution('$id')");
wait_for(sub { !tracks() && !lists() }, 60, 'what is there to be deleted');
wait_for_sql($node, "select next_attempt_at is null and state = '{}' from musicverse.distribution_work where distribution_id = '$id'", 't', 60, 'the work to end');
is(targets_of($node, $id), 'soundcloud cancelled', 'cancelled: nobody has heard of it');

# cancelled during the upload, whose answer is lost on top
foreach my $fault ({ mode => 'ok', delay_ms => 2000 }, { mode => 'lost', delay_ms => 2000 })
{
	anew({ on => 'upload', count => 1, %$fault });
	$id = release({ title => 'Hasty' });
	submit($node, $id);
	wait_for(sub { (cloud()->{requests}{upload} // 0) >= 1 }, 60, 'the upload');
	sql($node, "select musicverse.cancel_distribution('$id')");
	wait_for_sql($node, "select next_attempt_at is null and state = '{}' and begun_at is null from musicverse.distribution_work where distribution_id = '$id'", 't', 120, 'the work to end');
	is(scalar(tracks()), 0, "cancelled during the upload ($fault->{mode}): nothing stays");
}
$day = sql($node, q{select ((musicverse._now() at time zone 'UTC')::date + 1)::text});

# another sound before it is public: the track is made anew
$id = release({ title => 'Changed' }, tracks => 2, date => $day);
submit($node, $id);
wait_for_sql($node, "select next_attempt_at = publish_at from musicverse.distribution_work where distribution_id = '$id'", 't', 90, 'the release to wait for its moment');
$first = sql($node, "select track_ids[1] from musicverse.distributions where id = '$id'");
sql($node, sprintf q{select musicverse.update_release(%s, %s)}, lit($id), lit({ tracks => [ { track_id => $first, audio_url => $partners->base('/storage/zeros/50000.wav') } ] }));
wait_for_sql($node, "select delivered_revision || ' ' || (next_attempt_at = publish_at) from musicverse.distribution_work where distribution_id = '$id'", '2 true', 90, 'the change to be delivered');
is(join(' ', sort { $a <=> $b } map { $_->{asset}{bytes} } tracks()), '44052 50000', 'another sound');
is(join(' ', map { $_->{asset} // $_->{title} } @{ (lists())[0]{tracks} }), 'Song 1 Song 2', 'in the place of the old one');
sql($node, "select musicverse.cancel_distribution('$id')");
wait_for(sub { !tracks() && !lists() }, 60, 'what is there to be deleted');

# ---- tokens that expire, are revoked, and are wanted by many

$partners->control(soundcloud => { expires_in => 30 });
anew();
$partners->control(soundcloud => { expires_in => 62 });
log_in($node, $partners, $user);
my @ids = map { release({ title => "At once $_" }) } 1 .. 6;
submit($node, $_) foreach @ids;
foreach my $round (1 .. 3)
{
	advance(5);
	wait_for_sql($node, "select bool_and(attempts >= $round) from musicverse.distribution_work where distribution_id in ('" . join("','", @ids) . "')", 't', 60, 'them to be under way');
}
wait_release($node, $_, 'live', 120) foreach @ids;
cmp_ok(cloud()->{refreshes}, '>=', 1, 'tokens that run out are refreshed: ' . cloud()->{refreshes} . ' times');
is(cloud()->{refresh_reuses}, 0, 'none of them twice');
is(scalar(tracks()), 6, 'for six releases at once');
$partners->control(soundcloud => { expires_in => 3600 });

anew({ on => 'upload', mode => 'error', status => 401, count => 1 });
$id = release({ title => 'Once refused' });
submit($node, $id);
wait_release($node, $id, 'live', 60);
is(join(' ', @{ cloud() }{qw(refreshes refresh_reuses tracks)}), '1 0 1', 'a token that is refused is refreshed');

anew({ on => 'upload', mode => 'error', status => 401, count => 2 });
$id = release({ title => 'Twice refused' });
submit($node, $id);
wait_account($node, $user, 'needs_login');
wait_for_sql($node, "select last_error from musicverse.distribution_targets where distribution_id = '$id'", 'waits until the user has logged in at SoundCloud', 60, 'the release to wait');
is(sql($node, "select state from musicverse.partner_status where name = 'soundcloud'"), 'ready', 'once: then the user has to log in, and the partner goes on');
log_in($node, $partners, $user);
wait_release($node, $id, 'live', 60);
is(scalar(tracks()), 1, 'and the release with him');

anew({ on => 'token', mode => 'lost', count => 1 });
sql($node, "update musicverse.partner_accounts set expires_at = musicverse._now() where user_id = '$user'");
$id = release({ title => 'Lost' });
submit($node, $id);
wait_account($node, $user, 'needs_login');
is(targets_of($node, $id), 'soundcloud scheduled', 'a refresh whose answer is lost fails nothing');
log_in($node, $partners, $user);
wait_release($node, $id, 'live', 60);
pass('another login, and it goes on');

# ---- what goes wrong, by its nature

foreach my $case (
	[ 'an upload whose answer is lost',      { on => 'upload', mode => 'lost', count => 1 } ],
	[ 'and then a search that is refused',   { on => 'upload', mode => 'lost', count => 1 }, { on => 'tracks', mode => 'error', status => 401, count => 1 } ],
	[ 'or answered by HTML',                 { on => 'upload', mode => 'lost', count => 1 }, { on => 'tracks', mode => 'html', status => 403, count => 1 } ],
	[ 'or not at all',                       { on => 'upload', mode => 'lost', count => 1 }, { on => 'tracks', mode => 'reset', count => 1 } ],
	[ 'an upload that breaks off',           { on => 'upload', mode => 'reset-upload', bytes => 10000, count => 1 } ],
	[ 'one that is answered by HTML',        { on => 'upload', mode => 'html', status => 503, count => 1 } ],
	[ 'one that is answered by 403 in HTML', { on => 'upload', mode => 'html', status => 403, count => 1 } ],
	[ 'one that comes too early',            { on => 'upload', mode => 'limited', reset_seconds => 2, count => 1 } ],
	[ 'garbage with 200',                    { on => 'upload', mode => 'bad-json', after => \1, count => 1 } ],
	[ 'half an answer',                      { on => 'upload', mode => 'cut', bytes => 60, count => 1 } ],
	[ 'a sound that is refused for a moment', { on => 'upload', mode => 'error', status => 422, message => 'track[asset_data]: try again', count => 2 } ],
	[ 'garbage for a look',                  { on => 'track', mode => 'array', count => 1 } ],
	[ 'a publication whose answer is lost',  { on => 'update', mode => 'lost', count => 1 } ],
	[ 'one that is answered by garbage',     { on => 'update', mode => 'empty', after => \1, count => 1 } ],
	[ 'one that fails',                      { on => 'update', mode => 'error', status => 500, count => 2 } ])
{
	my ($name, @faults) = @$case;
	anew(@faults);
	my $wrong = release({ title => 'Wrong' });
	submit($node, $wrong);
	wait_release($node, $wrong, 'live', 90);
	is(scalar(tracks()) . cloud()->{distinct_tracks} . (tracks())[0]{sharing}, '11public', "$name: one track, public");
}

foreach my $case (
	[ 'a sound that is always refused', { on => 'upload', mode => 'error', status => 422, message => 'track[asset_data]: noise' }, qr/^SoundCloud: track\[asset_data\]: noise$/, 3 ],
	[ 'a title that is not taken', { on => 'upload', mode => 'error', status => 422, message => 'title is bad' }, qr/^SoundCloud: title is bad$/, 1 ],
	[ 'a user who may not', { on => 'upload', mode => 'error', status => 403, message => 'quota exceeded' }, qr/^SoundCloud: quota exceeded$/, 1 ])
{
	my ($name, $fault, $reason, $times) = @$case;
	anew($fault);
	my $wrong = release({ title => 'Refused' });
	submit($node, $wrong);
	wait_release($node, $wrong, 'failed', 90);
	like(sql($node, "select reason from musicverse.distribution_targets where distribution_id = '$wrong'"), $reason, "$name: the release fails, and says why");
	is(cloud()->{requests}{upload}, $times, "after $times attempts");
	faults($partners);
	submit($node, $wrong);
	wait_release($node, $wrong, 'live', 60);
	is(sql($node, "select state from musicverse.partner_status where name = 'soundcloud'"), 'ready', 'submitted again, it is released; nobody else is held up');
}

configure_soundcloud($node, $partners, timeout => 1, doubt_time => 8);
anew({ on => 'upload', mode => 'ok', delay_ms => 5000, count => 1 });
$id = release({ title => 'Slow' });
submit($node, $id);
wait_release($node, $id, 'live', 90);
is(join(' ', scalar(tracks()), cloud()->{tracks}, cloud()->{requests}{tracks} >= 2 ? 'looked for again' : 'looked for once'), '1 1 looked for again', 'an upload that turns up later than it was waited for is not made again');

configure_soundcloud($node, $partners, processing_limit => 1);
anew();
$partners->control(soundcloud => { processing => 'fail' });
$id = release({ title => 'Broken' });
submit($node, $id);
wait_release($node, $id, 'failed', 60);
like(sql($node, "select reason from musicverse.distribution_targets where distribution_id = '$id'"), qr/has not made track 1 playable/, 'a track that never becomes playable fails');
$partners->control(soundcloud => { processing => 'ok' });
configure_soundcloud($node, $partners);

foreach my $lie (qw(contradictory other-id))
{
	anew();
	$partners->control(soundcloud => { lie => $lie });
	$id = release({ title => $lie });
	submit($node, $id);
	wait_for(sub { (cloud()->{requests}{track} // 0) >= 3 }, 60, 'looks');
	is(targets_of($node, $id) . (tracks())[0]{sharing}, 'soundcloud deliveringprivate', "$lie: what makes no sense is not believed");
	$partners->control(soundcloud => { lie => undef });
	wait_release($node, $id, 'live', 60);
}
anew();
$partners->control(soundcloud => { lie => 'nulls' });
$id = release({ title => 'Nulls' });
submit($node, $id);
wait_release($node, $id, 'live', 60);
pass('nulls where there should be texts are nothing');

# ---- kill -9 after every step: carried out there, the answer lost

foreach my $case ([ upload => 1 ], [ upload => 2 ], [ 'playlist-create' => 1 ], [ track => 1 ], [ update => 1 ], [ update => 2 ], [ 'playlist-update' => 1 ])
{
	my ($step, $after) = @$case;
	anew({ on => $step, mode => 'hang', after => \1, count => 1, skip => $after - 1 });
	my $killed = release({ title => "Killed at $step" }, tracks => 2);
	submit($node, $killed);
	kill_at($step);
	wait_release($node, $killed, 'live', 120);
	is(join(' ', scalar(tracks()), cloud()->{distinct_tracks}, cloud()->{tracks}, scalar(lists()), cloud()->{playlists}), '2 2 2 1 1', "killed at $step, the $after.: each track once, one album");
	is(join(' ', map { $_->{sharing} } tracks(), lists()), 'public public public', 'all of it public');
}
anew();
$id = release({ title => 'Removed' }, tracks => 2);
submit($node, $id);
wait_release($node, $id, 'live', 60);
faults($partners, { on => [qw(delete playlist-delete)], mode => 'hang', after => \1, count => 1 });
sql($node, "select musicverse.takedown_distribution('$id')");
kill_at('playlist-delete');
wait_release($node, $id, 'taken_down', 120);
is(scalar(tracks()) + scalar(lists()), 0, 'killed at a takedown: nothing is left');

# a user who goes away meanwhile
anew();
$id = release({ title => 'Left' });
submit($node, $id);
wait_release($node, $id, 'live', 60);
sql($node, "select musicverse.partner_disconnect('soundcloud', '$user')");
sql($node, "select musicverse.takedown_distribution('$id')");
wait_for_sql($node, "select last_error from musicverse.distribution_work where distribution_id = '$id'", 'waits until the user has logged in at SoundCloud', 60, 'the takedown to wait');
is(scalar(tracks()), 1, 'who has gone away leaves what is there');
log_in($node, $partners, $user);
wait_release($node, $id, 'taken_down', 60);
is(scalar(tracks()), 0, 'and a takedown that waits until he is back');

# a page that leads elsewhere: the token goes nowhere else
my $elsewhere = start_receiver();
anew({ on => 'upload', mode => 'lost', count => 1 }, { on => 'tracks', mode => 'fail', status => 200, body => json({ collection => [], next_href => $elsewhere->url('steal') }), count => 1 });
$id = release({ title => 'Led astray' });
submit($node, $id);
wait_release($node, $id, 'live', 60);
is(join(' ', scalar(tracks()), cloud()->{faulty}{tracks}, $elsewhere->stats('steal')->{received} // 0), '1 1 0', 'a page that leads elsewhere is not followed');

# among many tracks, several pages
anew();
my $tokens = sql($node, "select musicverse._unseal(tokens, 'partner:soundcloud:' || user_id || ':tokens')::jsonb ->> 'access_token' from musicverse.partner_accounts where user_id = '$user'");
{
	my $wav = http('GET', $partners->base('/storage/zeros/1000.wav'))->{content};
	faults($partners, { on => 'upload', mode => 'lost', count => 1 });
	$id = release({ title => 'Old' });
	submit($node, $id);
	wait_for(sub { tracks() == 1 }, 60, 'the upload');
	foreach my $n (1 .. 210)
	{
		my $body = join '', map { "--=_b\r\nContent-Disposition: form-data; name=\"$_->[0]\"\r\n\r\n$_->[1]\r\n" } [ 'track[title]', "Other $n" ], [ 'track[sharing]', 'private' ];
		$body .= "--=_b\r\nContent-Disposition: form-data; name=\"track[asset_data]\"; filename=\"a.wav\"\r\n\r\n$wav\r\n--=_b--\r\n";
		http('POST', $partners->base('/soundcloud/tracks'), $body, { authorization => "OAuth $tokens", 'content-type' => 'multipart/form-data; boundary="=_b"' });
	}
	wait_release($node, $id, 'live', 90);
	is(scalar(grep { $_->{title} eq 'Song 1' } tracks()), 1, 'it is found among others');
}

is_deeply([ @invalid, @{ cloud()->{validated}{invalid_requests} } ], [], 'no request was other than described') if $partners->{validated};
done_testing();

# Another release is made public: by then the worker has looked at everything that was due before
sub pass_by
{
	my $other = release({ title => 'Other' }, titles => ['Other']);
	submit($node, $other);
	wait_release($node, $other, 'live', 60);
	return;
}

# What SoundCloud has of all but that
sub shared { return join ' ', map { $_->{sharing} } grep { $_->{title} ne 'Other' } tracks(), lists(); }

# Ends the worker when the partner has carried a step out, and its answer hangs
sub kill_at
{
	my ($step) = @_;
	wait_for(sub { (cloud()->{faulty}{$step} // 0) >= 1 }, 60, "the request of $step");
	my $pid = sql($node, 'select pid from musicverse.distribution_status');
	kill 'KILL', $pid;
	wait_for(sub { my $now = eval { sql($node, 'select pid from musicverse.distribution_status') }; $now && $now ne $pid }, 60, 'another worker');
	return;
}

# A walk at random through distribution: releases for all kinds of partners are
# submitted, changed, cancelled and taken down while partners fail, callbacks
# come late and twice, clocks jump, workers are killed and the server restarts.
# In the end everybody behaves, and what is there has to be what was asked for.
#
# WALK_SEED repeats a walk as far as timing lets it; WALK_STEPS (default 600) and WALK_RELEASES
# (24) change its length.
use lib 'test/lib';
use MusicVerse::Test;
use MusicVerse::Ddex;
use MusicVerse::Lookups;
use MusicVerse::Partners;
use MusicVerse::SoundCloud;
use MusicVerse::Stream;
use Time::HiRes qw(time sleep);

my $seed = $ENV{WALK_SEED} || 1 + time % 1_000_000;
srand $seed;
diag("seed $seed");
my $steps    = $ENV{WALK_STEPS} || 600;
my $most     = $ENV{WALK_RELEASES} || 24;
my $secret   = 'whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=';
my $node     = new_cluster('walk', 'musicverse.ddex_schema_directory' => ddex_schemas() // '', 'musicverse.distribution_poll_interval' => '1s');
my $partners = MusicVerse::Partners->start;
my $sftp     = MusicVerse::Stream::Sftp->start(log => 1);
my $user     = user(1);
my $clock    = 0;     # how far the clocks were moved, which a crash of the server makes it forget
my (@releases, %count, %surprises, %acknowledged, $last_callback);

sub pick { return $_[ rand @_ ]; }

# ---- the partners

sub configure_labelgrid
{
	my (%config) = @_;
	my $token = delete $config{token} // $MusicVerse::Partners::token;
	sql($node, sprintf 'select musicverse.configure_partner(%s, %s, %s, %s)', lit('labelgrid'), lit($partners->base('/labelgrid/api/public')),
		lit({ token => $token, callback_secret => $secret }),
		lit({ poll_interval => 0.3, timeout => 5, label_id => 1, recording_country => 'US', analytics_interval => 604800, attempts => 8, %config }));
	return;
}

sql($node, q{update musicverse.platforms set lead_time = '0' where name in ('spotify', 'deezer', 'distrokid')});
$partners->control(labelgrid => { pace_ms => 50, callback => 'none' });
configure_labelgrid();
configure_soundcloud($node, $partners);
configure_lookup($node, $partners, 'deezer');
sql($node, q{select musicverse.configure_partner('distrokid', null, '{}', '{}')});
my $ddex = MusicVerse::Ddex->new($node, $sftp, undef, 'dsp', choreography => 'batch', connector => 'ddex_sftp');
log_in($node, $partners, $user);
my $png = "\x89PNG\r\n\x1a\n\0\0\0\rIHDR" . pack('NN', 3000, 3000) . "\x08\x02\0\0\0" . 'x' x 5000;
http('PUT', $partners->base("/storage/cover$_.png"), $png . $_) foreach 1, 2;

# ---- what owners do

# Runs a statement that may be refused for reasons that its caller is told of
sub try
{
	my ($what, $query) = @_;
	my $error = eval { sql_error($node, $query) };
	$error = { sqlstate => 'lost', message => $@ } if $@;
	$count{"$what " . ($error ? $error->{sqlstate} : 'done')}++;
	$surprises{"$what: $error->{sqlstate} $error->{message}"}++ if $error && $error->{sqlstate} !~ /^(55000|0A000|22023|lost)$/;
	return !$error;
}

my $sounds = 0;

sub sound { return $partners->base('/storage/zeros/' . (88244 + 4 * ++$sounds) . '.wav'); }

sub date { my ($days) = @_; return sql($node, "select ((musicverse._now() at time zone 'UTC')::date + $days)::text"); }

sub create
{
	my $n = @releases + 1;
	my @platforms = grep { rand() < 0.4 } qw(spotify deezer soundcloud dsp distrokid);
	@platforms = pick(qw(spotify soundcloud dsp distrokid)) unless @platforms;
	my $tracks = 1 + int rand 5;
	my @ids = map { sql($node, sprintf 'insert into musicverse.tracks (user_id, title, style, audio_url, cover_url, isrc, duration) values (%s, %s, %s, %s, %s, %s, 60) returning id',
			lit($user), lit("Walk $n song $_"), lit('Ambient'), lit(sound()), lit($partners->base('/storage/cover1.png')), lit(sprintf 'QZWLK26%05d', $n * 10 + $_)) } 1 .. $tracks;
	my $id = eval { sql($node, sprintf 'select musicverse.create_distribution(%s, %s, %s, %s, %s)', lit($user), lit('{' . join(',', @ids) . '}'), lit('{' . join(',', @platforms) . '}'),
		lit(rand() < 0.5 ? date(1 + int rand 4) : undef),
		lit({ title => "Walk $n", artist => 'Mira', label => 'Mira Records', language => 'en', p_line => '2026 Mira', c_line => '2026 Mira', upc => gtin($n) })) };
	# a partner may be switched off
	die $@ unless $id || $@ =~ /no partner that carries releases/;
	return unless $id;
	push @releases, { id => $id, n => $n, platforms => \@platforms, tracks => \@ids, lied => {} };
	return;
}

sub update
{
	my ($r) = @_;
	my %change;
	my $kind = rand;
	$change{title} = "Walk $r->{n} revision " . ++$r->{changes} if $kind < 0.5;
	$change{release_date} = date(pick(0, 1, 2, 5)) if $kind >= 0.4 && $kind < 0.65;
	$change{cover_url} = $partners->base('/storage/cover' . pick(1, 2) . '.png') if $kind >= 0.65 && $kind < 0.75;
	$change{tracks} = [ { track_id => pick(@{ $r->{tracks} }), $kind < 0.85 ? (title => "Walk $r->{n} take " . ++$r->{changes}) : (audio_url => sound()) } ] if $kind >= 0.75;
	try('update', sprintf 'select musicverse.update_release(%s, %s)', lit($r->{id}), lit(\%change));
	return;
}

sub takedown
{
	my ($r) = @_;
	my @of = rand() < 0.5 ? pick(@{ $r->{platforms} }) : ();
	try('takedown', sprintf 'select musicverse.takedown_distribution(%s, %s)', lit($r->{id}), lit(@of ? '{' . join(',', @of) . '}' : undef));
	return;
}

# A callback of what the partner says, late, again, or something else
sub callback
{
	my ($r) = pick(grep { grep { /^(spotify|deezer)$/ } @{ $_->{platforms} } } @releases) // return;
	my $found = eval { sql_json($node, "select state -> 'release_id' from musicverse.distribution_work where distribution_id = '$r->{id}' and partner = 'labelgrid'") } // return;
	my @entries = grep { $_->{release_id} == $found && $_->{outlet} =~ /^(spotify|deezer)$/ } @{ $partners->records('labelgrid')->{queue} };
	my $entry = @entries ? pick(@entries) : return;
	my %data = map { $_ => $entry->{$_} } qw(release_id outlet type status error);
	if (rand() < 0.2)
	{
		$data{status} = pick(qw(processing live failed));
		$r->{lied}{ $data{outlet} } = 1;
	}
	my ($message, $body) = ('walk' . int rand 1e9, json({ created_at => sql($node, q{select to_json(musicverse._now() - random() * interval '1 hour') #>> '{}'}), data => \%data }));
	($message, $body) = @$last_callback if $last_callback && rand() < 0.3;
	$last_callback = [ $message, $body ];
	my $ts   = sql($node, 'select floor(extract(epoch from musicverse._now()))');
	my $sign = sql($node, sprintf 'select musicverse.sign_webhook(%s, %s, %d, %s)', lit($secret), lit($message), $ts, lit($body));
	my $status = sql($node, sprintf 'select musicverse.partner_callback(%s, %s, %s)', lit('labelgrid'), lit({ 'webhook-id' => $message, 'webhook-timestamp' => "$ts", 'webhook-signature' => $sign }), lit($body));
	$count{"callback $status"}++;
	$surprises{"a callback was answered with $status: $body"}++ if $status !~ /^(200|404)$/;
	return;
}

# Somebody uploads what is packed, and says so
sub confirm
{
	my ($r) = @_;
	try('confirm', sprintf 'select musicverse.confirm_distribution(%s, %s)', lit($r->{id}), lit('distrokid')) if grep { $_ eq 'distrokid' } @{ $r->{platforms} };
	return;
}

# What the partner of DDEX has read it answers
sub acknowledge
{
	foreach my $delivery (grep { $_->{manifest} && !$acknowledged{ $_->{message_id} }++ } $ddex->deliveries)
	{
		my $down = $delivery->{message} !~ /<DealList/;
		my $no   = !$down && rand() < 0.1;
		$ddex->acknowledge($delivery, $no ? (file => 'ProcessingErrorAtRecordLevel', text => 'no') : (status => $down ? 'SuccessfullyIngestedByReleaseDistributor' : 'ReleaseMadeAvailableToConsumers'));
	}
	return;
}

# ---- what happens

sub advance
{
	my ($seconds) = @_;
	$partners->advance($seconds);
	$clock += $seconds;
	eval { sql($node, "select musicverse.advance_clock('$seconds seconds')"); 1 } or restored();
	return;
}

# The server is there again, and knows what the time is
sub restored
{
	wait_for(sub { eval { sql($node, 'select 1') } }, 60, 'the server');
	sql($node, "select musicverse.advance_clock(($clock - extract(epoch from musicverse._now() - clock_timestamp())) * interval '1 second')");
	return;
}

sub killed
{
	my ($view) = @_;
	my $pid = sql($node, "select pid from musicverse.$view") or return;
	kill 'KILL', $pid;
	wait_for(sub { my $now = eval { sql($node, "select pid from musicverse.$view") }; $now && $now ne $pid }, 60, 'another worker');
	restored();
	return;
}

my %faults = (
	labelgrid  => [qw(releases release-create release-update release-delete track-create track-update upload-url commit photo validate distribute queue takedown)],
	soundcloud => [qw(token upload track tracks update delete playlist-create playlists playlist-update playlist-delete)],
	deezer     => [qw(album track)],
	storage    => [qw(get zeros upload)]);

sub fault
{
	my $partner = pick(sort keys %faults);
	my $mode    = pick(qw(error limited lost reset close bad-json));
	my %fault   = (on => pick(@{ $faults{$partner} }), mode => $mode, count => 1 + int rand 2, $mode eq 'error' ? (status => pick(429, 500, 503, 503)) : (), rand() < 0.2 ? (delay_ms => 300) : ());
	$partners->control($partner => { faults => [ \%fault ] });
	$count{"fault $mode"}++;
	return;
}

my %shaken = (
	refused => sub { configure_labelgrid(token => 'wrong') },
	right   => sub { configure_labelgrid() },
	paused  => sub { my $p = pick(qw(labelgrid soundcloud dsp distrokid deezer_lookup)); sql($node, "select musicverse.set_partner_active('$p', false)") },
	resumed => sub { sql($node, q{select musicverse.set_partner_active(name, true) from musicverse.partners where credentials is not null and not is_active}) },
	failing => sub { $partners->control(labelgrid => { fail => pick({}, { spotify => 'it was refused' }) }) },
	out     => sub { sql($node, "select musicverse.partner_disconnect('soundcloud', '$user')") },
	in      => sub { logged_in() });

sub logged_in
{
	my $status = eval { MusicVerse::SoundCloud::account_of($node, $user)->{status} } // 'none';
	return if $status eq 'connected' || !eval { my ($state, $code) = begin_login($node, $partners, $user); sql($node, "select musicverse.partner_authorized('soundcloud', '$state', '$code')"); 1 };
	return;
}

# What may be done of a release, by how often
my @deeds = (
	(sub { submit_again($_[0]) }) x 10, (\&update) x 8, (\&takedown) x 3, (\&callback) x 8, (\&confirm) x 3,
	(sub { try('cancel', "select musicverse.cancel_distribution('$_[0]{id}')") }) x 1);

sub submit_again { my ($r) = @_; $r->{submitted} ||= try('submit', "select musicverse.submit_distribution('$r->{id}')"); try('submit', "select musicverse.submit_distribution('$r->{id}')") if rand() < 0.3; return; }

sub walk
{
	foreach my $step (1 .. $steps)
	{
		my $what = rand;
		sleep rand 0.1;
		if    ($what < 0.12 && @releases < $most || !@releases) { create(); }
		elsif ($what < 0.62) { pick(@deeds)->(pick(@releases)); }
		elsif ($what < 0.72) { acknowledge(); }
		elsif ($what < 0.80) { advance(pick(1, 5, 60, 3600, 43200)); }
		elsif ($what < 0.94) { fault(); }
		elsif ($what < 0.98) { pick(map { $shaken{$_} } sort keys %shaken)->(); }
		elsif ($what < 0.995) { killed(pick(qw(distribution_status media_status))); $count{killed}++; }
		else { $node->restart; restored(); $count{restarted}++; }
	}
	return;
}

# ---- everybody behaves again

my $unsettled = q{select coalesce(string_agg(k.partner || ' ' || coalesce(k.verifies || ' ', '') || k.goal || ' ' || coalesce(k.step, '-') || ' of ' || k.distribution_id || ': ' || coalesce(k.last_error, ''), E'\n'), '')
	from musicverse.distribution_work k where k.next_attempt_at is not null or k.begun_at is not null or k.waits_for is not null};

sub heal
{
	$partners->control(labelgrid => { faults => [], fail => {} }, map { $_ => { faults => [] } } qw(soundcloud deezer storage));
	configure_labelgrid();
	$shaken{resumed}->();
	sql($node, q{select musicverse.resume_partner(name) from musicverse.partners});
	foreach my $r (@releases) { try('submit', "select musicverse.submit_distribution('$r->{id}')") if $r->{submitted} && rand() < 0.5; }
	my $end  = time + ($ENV{WALK_SETTLE} || 300);
	my $last = 0;
	while (1)
	{
		logged_in();
		acknowledge();
		my %to_confirm = map { $_ => 1 } split /\n/, sql($node, q{select k.distribution_id from musicverse.distribution_targets t join musicverse.distribution_work k on k.id = t.work_id
			where t.platform = 'distrokid' and (t.status = 'processing' or k.goal = 'takedown' and t.status = 'live')});
		confirm($_) foreach grep { $to_confirm{ $_->{id} } } @releases;
		my $left = sql($node, $unsettled);
		return if $left eq '';
		if (time > $end) { fail('everything settles'); diag($left); return; }
		next if time - $last < 0.7;
		advance(3600);
		$last = time;
	}
	return;
}

# ---- what has to be

# Rows that ought not to be
sub none
{
	my ($name, $query) = @_;
	my $rows = sql($node, $query);
	is($rows, '', $name) or diag("seed $seed");
	return;
}

# The title of a release, or of its n-th track, in a revision
sub title_at
{
	my ($r, $revision, $path) = @_;
	return sql($node, sprintf q{select coalesce((select h.detail #> '{metadata_before}' from musicverse.distribution_history h where h.distribution_id = d.id and h.status = 'updated'
			and (h.detail ->> 'revision')::int > %d order by h.id limit 1), d.metadata) #>> '{%s}' from musicverse.distributions d where d.id = '%s'}, $revision, $path, $r->{id});
}

sub check_labelgrid
{
	my ($r, $work, $targets, $records) = @_;
	my $upc   = gtin($r->{n});
	my @found = grep { ($_->{barcode_number} // '') eq $upc } @{ $records->{releases} };
	my @wrong;
	push @wrong, scalar(@found) . ' releases' if @found > 1;
	my @here = grep { $_->{platform} =~ /^(spotify|deezer)$/ } @$targets;
	foreach my $t (@here)
	{
		my @queue = map { $_->{type} . ' ' . $_->{status} } grep { @found && $_->{release_id} == $found[0]{id} && $_->{outlet} eq $t->{platform} } @{ $records->{queue} };
		my $heard = (grep { $_ eq 'release live' } @queue) && !(grep { /^takedown delivered/ } @queue);
		push @wrong, "$t->{platform} is live, and there @queue" if $t->{status} eq 'live' && !$heard && !$r->{lied}{ $t->{platform} };
		push @wrong, "$t->{platform} was delivered more than once: @queue" if (grep { /^release/ } @queue) > 1;
		push @wrong, "$t->{platform} is $t->{status} ($t->{reason}), and there @queue" if $t->{status} =~ /^(failed|taken_down|cancelled)$/ && $heard && !$r->{lied}{ $t->{platform} };
	}
	if ((grep { $_->{status} eq 'live' } @here) && @found == 1)
	{
		my $title = title_at($r, $work->{delivered_revision} // 0, 'title');
		push @wrong, "it is called $found[0]{titles}[0]{text}, not $title" if $found[0]{titles}[0]{text} ne $title;
		my $tracks = grep { $_->{release_id} == $found[0]{id} } @{ $records->{tracks} };
		push @wrong, "it has $tracks tracks" if $tracks != @{ $r->{tracks} };
	}
	push @wrong, 'a draft is left' if @found && $found[0]{status} eq 'draft' && !grep { $_->{status} ne 'cancelled' } @here;
	return @wrong;
}

sub check_soundcloud
{
	my ($r, $work, $targets, $records) = @_;
	my ($t)    = grep { $_->{platform} eq 'soundcloud' } @$targets;
	my @tracks = grep { ($_->{tag_list} // '') =~ /musicverse:ref=$work->{id}-/ } @{ $records->{tracks} };
	my @lists  = grep { ($_->{tag_list} // '') =~ /musicverse:ref=$work->{id}/ } @{ $records->{playlists} };
	my $public = grep { $_->{sharing} eq 'public' } @tracks, @lists;
	my $n      = @{ $r->{tracks} };
	my @wrong;
	push @wrong, @tracks . ' tracks, ' . @lists . ' lists' if @tracks > $n || @lists > 1;
	if ($t->{status} eq 'live')
	{
		my $revision = $work->{delivered_revision} // 0;
		push @wrong, "live, and there are @{[ scalar @tracks ]} tracks, @{[ scalar @lists ]} lists, $public of it public" if @tracks != $n || @lists != ($n > 1) || $public != @tracks + @lists;
		my $title = title_at($r, $revision, $n > 1 ? 'title' : 'tracks,0,title');
		my $there = ($n > 1 ? $lists[0] : $tracks[0])->{title} // '';
		push @wrong, "it is called $there, not $title" if $there ne $title;
	}
	push @wrong, "$t->{status}, and there are " . @tracks . ' tracks' if $t->{status} =~ /^(taken_down|cancelled|pending)$/ && @tracks + @lists;
	push @wrong, "$t->{status} ($t->{reason}), and $public can be heard" if $t->{status} eq 'failed' && $public && ($t->{reason} // '') !~ /given up/;
	return @wrong;
}

sub check_ddex
{
	my ($r, $work, $targets) = @_;
	my ($t) = grep { $_->{platform} eq 'dsp' } @$targets;
	my @sent = $ddex->of($r->{id});
	my @wrong;
	my $of_it = grep { $_->{upc} eq gtin($r->{n}) } $ddex->deliveries;
	push @wrong, "$of_it messages, " . @sent . ' of them completed' if $of_it != @sent && $t->{status} =~ /^(live|taken_down|cancelled)$/;
	my %seen;
	foreach my $delivery (@sent)
	{
		push @wrong, "message $delivery->{message_id} twice" if $seen{ $delivery->{message_id} }++;
		my $problem = $delivery->{message} =~ /<File>/ ? MusicVerse::Ddex::wrong_files($delivery) : '';
		push @wrong, $problem if $problem;
	}
	my ($told, $down) = (undef, 0);
	foreach my $delivery (@sent) { $down = $delivery->{message} !~ /<DealList/; $told = $delivery unless $down; }
	push @wrong, "$t->{status}, and the last message of " . @sent . ' is ' . ($down ? 'a takedown' : 'none') if $t->{status} eq 'live' && ($down || !$told);
	push @wrong, "$t->{status}, and its last message is no takedown" if $t->{status} =~ /^(taken_down|cancelled)$/ && @sent && !$down;
	if ($t->{status} eq 'live' && $told)
	{
		my $title = title_at($r, $work->{delivered_revision} // 0, 'title');
		push @wrong, "it is not told as $title" if index($told->{message}, "<TitleText>$title<") < 0 && index($told->{message}, ">$title<") < 0;
	}
	return @wrong;
}

# Whatever becomes BatchComplete is the last that is written in its folder
sub check_order
{
	my (%completed, @wrong);
	foreach my $deed ($sftp->deeds)
	{
		my ($folder, $name) = $deed =~ m{^rename \S+ dsp/in/([^/]+)/(\S+)} or next;
		push @wrong, "$name after the manifest" if $completed{$folder};
		$completed{$folder} = 1 if $name =~ /^BatchComplete/;
	}
	return @wrong;
}

sub check_bundle
{
	my ($r, $work, $targets) = @_;
	my ($t) = grep { $_->{platform} eq 'distrokid' } @$targets;
	return 'it is cancelled, and its package is there' if $t->{status} eq 'cancelled' && $work->{state}{package};
	return "live, and revision $work->{delivered_revision} of $work->{revision}" if $t->{status} eq 'live' && $work->{goal} eq 'deliver' && ($work->{delivered_revision} // 0) != $work->{revision};
	return;
}

sub check
{
	none('targets have come to an end', q{select distribution_id, platform, status, reason from musicverse.distribution_targets t where status not in ('pending', 'live', 'failed', 'taken_down', 'cancelled')});
	none('what failed says why', q{select distribution_id, platform from musicverse.distribution_targets where status = 'failed' and coalesce(reason, '') = ''});
	none('the status of releases derives from their targets', q{select id, status, musicverse._derived_status(id) from musicverse.distributions where status <> musicverse._derived_status(id)});
	none('the history begins with pending, goes where it may and ends where the target is', q{
		with h as (select h.*, lag(h.status) over w as before, lead(h.status) over w as after from musicverse.distribution_history h
			where platform is not null and status <> 'takedown_requested' window w as (partition by distribution_id, platform order by id))
		select h.distribution_id, h.platform, h.before, h.old_status, h.status from h join musicverse.distribution_targets t using (distribution_id, platform)
		where h.old_status is distinct from h.before or h.before is null and h.status <> 'pending'
			or h.before is not null and not musicverse._target_steps() -> h.before ? h.status or h.after is null and h.status <> t.status});
	my $told = q{select distribution_id::text, platform, case status when 'scheduled' then 'submitted' else status end as what, count(*)
		from musicverse.distribution_history where platform is not null and (status in ('processing', 'live', 'failed', 'taken_down') or status = 'scheduled' and old_status in ('pending', 'failed')) group by 1, 2, 3};
	foreach my $case ([ 'notifications', q{select body ->> 'distribution_id', body ->> 'platform', substr(kind, 14), count(*) from musicverse.notifications
				where kind in ('distribution.submitted', 'distribution.processing', 'distribution.live', 'distribution.failed', 'distribution.taken_down') group by 1, 2, 3} ],
		[ 'events', q{select payload::jsonb #>> '{data,distribution_id}', payload::jsonb #>> '{data,platform}', substr(type, 14), count(*) from musicverse.events where type like 'distribution.%' group by 1, 2, 3} ])
	{
		none("$case->[0] are those of the history", "(($told) except ($case->[1])) union all (($case->[1]) except ($told))");
	}
	none('nothing is due, under way or waited for', $unsettled);
	none('the media worker has nothing left', q{select id, kind, state, last_error from musicverse.media_work where state in ('pending', 'running')});
	my $cloud = $partners->counters('soundcloud');
	is($cloud->{refresh_reuses}, 0, 'no token was used twice');
	is(join('; ', @{ $cloud->{validated}{invalid_requests} // [] }), '', 'all requests to SoundCloud are as documented');

	my %records = map { $_ => $partners->records($_) } qw(labelgrid soundcloud);
	my %checks  = (labelgrid => \&check_labelgrid, soundcloud => \&check_soundcloud, dsp => \&check_ddex, distrokid => \&check_bundle);
	my @wrong;
	foreach my $r (@releases)
	{
		my @targets = sql_rows($node, "select * from musicverse.distribution_targets where distribution_id = '$r->{id}' order by platform");
		foreach my $work (sql_rows($node, "select * from musicverse.distribution_work where distribution_id = '$r->{id}' and verifies is null"))
		{
			my @found = $checks{ $work->{partner} }->($r, $work, \@targets, $records{ $work->{partner} });
			push @wrong, map { "$r->{id} at $work->{partner}: $_\n  " . json({ map { $_ => $work->{$_} } qw(goal revision delivered_revision step failures last_error state) }) . "\n  "
				  . sql($node, "select string_agg(coalesce(platform, '*') || ' ' || status, ', ' order by id) from musicverse.distribution_history where distribution_id = '$r->{id}'") } @found;
		}
	}
	is(join("\n", @wrong, check_order()), '', 'partners have what they are to have') or diag("seed $seed");
	is(join("\n", sort keys %surprises), '', 'no call failed as it should not');

	my $log = slurp_file($node->logfile);
	is(scalar(() = $log =~ /(?:PANIC|TRAP):/g), 0, 'the server has not panicked');
	my @errors = grep { /(ERROR|FATAL):/ && !/client backend|not initialized|recovery mode|starting up|shutting down|administrator command|could not be fetched/ } split /\n/, $log;
	is(join("\n", @errors), '', 'no worker has met an error');
	return;
}

walk();
heal();
diag(join ', ', map { "$_: $count{$_}" } sort keys %count);
diag(sql($node, q{select string_agg(n || ' ' || status, ', ') from (select platform || ' ' || status as status, count(*) as n from musicverse.distribution_targets group by 1 order by 1) x}));
check();
done_testing();

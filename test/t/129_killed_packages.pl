# kill -9 after every step of the connectors bundle and itmsp, whose packages
# are fetched, and of itmsp where it sends them by SFTP: deliveries, changes,
# takedowns and cancels come to what they come to in peace. And parts of files
# that a former revision has left.
use lib 'test/lib';
use Digest::MD5 qw(md5_hex);
use MusicVerse::Killed;
use MusicVerse::Stream;
use MusicVerse::Test;

# most files here are no audio
my $node = new_cluster('killed_packages', 'musicverse.inspect_audio' => 'off');
my ($pid, $out) = start_process('files', 'node', "$root/test/partners/files.js");
my $files = do { my $at = from_json(scalar <$out>); "http://$at->{host}:$at->{port}" };
my $sftp  = MusicVerse::Stream::Sftp->start(log => 1);
my $killed = MusicVerse::Killed->new($node);
my $user  = user(1);
my $count = 0;
my %platform = (bundle => 'distrokid', itmsp => 'apple_music', sent => 'apple_music');

sub partner { my ($name, $config, $base, $credentials) = @_; sql($node, sprintf 'select musicverse.configure_partner(%s, %s, %s, %s)', lit($name), lit($base), lit($credentials // {}), lit($config // {})); return; }

# A release of two tracks
sub release
{
	my ($platform, %with) = @_;
	my @ids = map { ++$count; sql($node, sprintf q{insert into musicverse.tracks (user_id, title, style, audio_url, cover_url, duration) values (%s, %s, 'Ambient', %s, %s, 61) returning id},
			lit($user), lit("Song $_"), lit($with{audio} // "$files/song$count.flac"), lit("$files/cover.png")) } 1, 2;
	return sql($node, sprintf 'select musicverse.create_distribution(%s, %s, %s, null, %s)', lit($user), lit('{' . join(',', @ids) . '}'), lit("{$platform}"),
		lit({ title => 'Rain', artist => 'Mira', label => 'Mira Records', language => 'en', p_line => '2026 Mira', c_line => '2026 Mira' }));
}

sub submit { my ($id) = @_; $killed->act("select musicverse.submit_distribution('$id')", "select submitted_at is not null from musicverse.distributions where id = '$id'"); return; }
sub update { my ($id, $changes) = @_; $killed->act(sprintf('select musicverse.update_release(%s, %s)', lit($id), lit($changes)), sprintf('select metadata @> %s from musicverse.distributions where id = %s', lit($changes), lit($id))); return; }
sub takedown { my ($id) = @_; $killed->act("select musicverse.takedown_distribution('$id')", "select goal = 'takedown' from musicverse.distribution_work where distribution_id = '$id'"); return; }
sub cancel { my ($id) = @_; $killed->act("select musicverse.cancel_distribution('$id')", "select status = 'cancelled' from musicverse.distributions where id = '$id'"); return; }
sub confirm { my ($id, $platform) = @_; $killed->act("select musicverse.confirm_distribution('$id', '$platform')"); return; }
sub wait_work { my ($id, $what, $expected) = @_; wait_for_sql($node, "select $what from musicverse.distribution_work where distribution_id = '$id' and begun_at is null", $expected, 90, "$what to be $expected"); return; }
sub state_of { my ($id, $name) = @_; return $killed->ask("select state ->> '$name' from musicverse.distribution_work where distribution_id = '$id'"); }

# All audio_url of a release are others
sub other_audio { my ($id, $url, $size) = @_; $size //= ''; return "select musicverse.update_release('$id', jsonb_build_object('tracks', (select jsonb_agg(t || jsonb_build_object('audio_url', '$url' || n || '.flac$size') order by n) from jsonb_array_elements(metadata -> 'tracks') with ordinality e (t, n)))) from musicverse.distributions where id = '$id'"; }

# What is there of a release: the packages that were made, or the folder at the server
sub there
{
	my ($kind, $id) = @_;
	my $state = $killed->ask("select concat_ws(' ', state ->> 'scope', state ->> 'asked_rev', state ->> 'ready_rev', state ->> 'removal', state ->> 'sent_rev') from musicverse.distribution_work where distribution_id = '$id'");
	if ($kind ne 'sent')
	{
		my $packages = $killed->ask(sprintf q{select string_agg(concat_ws(' ', w.input ->> 'scope', w.state, m.id is not null), ', ' order by w.created_at, w.id)
			from musicverse.media_work w left join musicverse.media m using (id) where w.kind = 'package' and w.input #>> '{release,tracks,0,track_id}' = (select track_ids[1]::text from musicverse.distributions where id = %s)}, lit($id));
		return "$state | $packages";
	}
	my $folder = $sftp->file(state_of($id, 'vendor_id') . '.itmsp');
	my $vendor = state_of($id, 'vendor_id');
	return $state . ' | ' . join ' ', map { my $text = slurp_file($_); s{.*/}{}r =~ s/\Q$vendor\E/ID/gr . (/xml$/ ? ($text =~ /<cleared_for_sale>(\w+)/)[0] . (() = $text =~ /<audio_file>/g) : '') } sort glob "$folder/*";
}

# Do the files fit what the metadata tell?
sub wrong_files
{
	my ($id) = @_;
	my $folder = $sftp->file(state_of($id, 'vendor_id') . '.itmsp');
	my $text   = slurp_file("$folder/metadata.xml");
	my @wrong;
	my $n = 0;
	while ($text =~ m{<file_name>([^<]+)</file_name>\s*<size>(\d+)</size>\s*<checksum[^>]*>(\w+)<}g)
	{
		my $real = -e "$folder/$1" ? md5_hex(slurp_file("$folder/$1")) : 'missing';
		push @wrong, "$1: $3, really $real" if $3 ne $real;
		$n++;
	}
	return join '; ', @wrong, $n == 3 ? () : "$n files";
}

# Its whole life: (id, what is there after each phase, what was told, what is known)
sub life
{
	my ($kind, $end) = @_;
	my $platform = $platform{$kind};
	my $id = release($platform);
	my @there;
	my $phase = sub { $killed->watch($id); $killed->after_each($id, $_[0]) if $end; };
	my $look = sub { $killed->rest($id); push @there, there($kind, $id); };
	$phase->('insert');
	submit($id);
	wait_for_sql($node, "select status from musicverse.distribution_targets where distribution_id = '$id'", 'processing', 90, 'the package');
	$look->();
	is(wrong_files($id), '', "$kind: its files are as the metadata tell") if $kind eq 'sent';
	confirm($id, $platform);
	$phase->('update');
	update($id, { title => 'Hail' });
	wait_work($id, 'delivered_revision', 2);
	$look->();
	$phase->('files');
	$killed->act(other_audio($id, "$files/another$count"), "select revision = 3 from musicverse.distributions where id = '$id'");
	wait_work($id, 'delivered_revision', 3);
	$look->();
	is(wrong_files($id), '', "$kind: and so are others") if $kind eq 'sent';
	$phase->('takedown');
	takedown($id);
	wait_work($id, "coalesce(state ->> 'removal', '')", $kind eq 'sent' ? 'sent' : 'asked');
	$look->();
	confirm($id, $platform);
	wait_for_sql($node, "select status from musicverse.distribution_targets where distribution_id = '$id'", 'taken_down', 90, 'the takedown');
	$killed->rest($id);
	return ($id, join("\n", @there), $killed->told($id), $killed->rest_of($id));
}

partner('distrokid');
partner('apple_direct', { provider => 'MiraRecords' });
foreach my $kind (qw(bundle itmsp sent))
{
	partner('apple_direct', { provider => 'MiraRecords', host_keys => [ $sftp->{fingerprint} ], timeout => 5 }, "sftp://127.0.0.1:$sftp->{port}$sftp->{dir}/files", { username => scalar getpwuid($>), private_key => $sftp->{key} }) if $kind eq 'sent';
	my ($peace, @in_peace) = life($kind, 0);
	my ($war, @in_war) = life($kind, 1);
	is($in_war[0], $in_peace[0], "$kind: what is there is what would without a kill");
	unlike($in_war[0], qr/\.part/, 'nothing is left of attempts');
	is($in_war[1], $in_peace[1], 'the same was told, once');
	is($in_war[2], $in_peace[2], 'and the same is known');

	# cancelled when it is ready, and when it is not
	my $id = release($platform{$kind});
	$killed->after_each($id, 'any');
	submit($id);
	wait_for_sql($node, "select status from musicverse.distribution_targets where distribution_id = '$id'", 'processing', 90, 'the package');
	cancel($id);
	wait_work($id, "concat(state ->> 'package', state ->> 'removal')", $kind eq 'sent' ? 'sent' : '');
	$killed->rest($id);
	like($killed->told($id), qr/ processing, \w+ cancelled \| \S+ distribution\.processing \| \S+ distribution\.processing$/, "$kind: cancelled when it was there, told once");
	like(there($kind, $id), qr/metadata.xmlfalse0$/, 'what is there says so') if $kind eq 'sent';
	foreach my $step ($kind eq 'sent' ? qw(folder audio cover) : 'pack')
	{
		$id = release($platform{$kind});
		$killed->after($id, $_) foreach $step, 'withdraw';
		$killed->resumed_at($id, $step, "select musicverse.cancel_distribution('$id')");
		submit($id);
		$killed->wait_ended($id, 'withdraw') if $kind eq 'sent' || $step ne 'pack';
		wait_for_sql($node, "select status from musicverse.distributions where id = '$id'", 'cancelled', 90, 'the cancel');
		$killed->rest($id);
		like($killed->told($id), qr/ delivering, \w+ cancelled \| \S+submitted \| \S+submitted$/, "cancelled when the answer to $step was lost, told once");
		next if $kind ne 'sent';
		is(-e $sftp->file('MV' . uc(substr(sql($node, "select replace(id::text, '-', '') from musicverse.distribution_work where distribution_id = '$id'"), 0, 16)) . '.itmsp') ? 1 : 0, 0, 'nothing is left there');
	}
}

# the answer to what completes it was lost: what is cancelled is taken back
{
	my $id = release('apple_music');
	$killed->after($id, $_) foreach qw(metadata removal_folder removal);
	$killed->resumed_at($id, 'metadata', "select musicverse.cancel_distribution('$id')");
	submit($id);
	wait_work($id, "state ->> 'removal'", 'sent');
	$killed->rest($id);
	like(there('sent', $id), qr/metadata.xmlfalse0$/, 'a cancel that meets a lost answer to the metadata takes the package back');
}

# a part of one revision's file is not the beginning of the next one's
{
	my $id = release('apple_music', audio => "$files/held.flac?size=2000000");
	submit($id);
	my $part = wait_for(sub { (grep { -s $_ > 500_000 } glob $sftp->file('MV*.itmsp/*_001.*part'))[0] }, 60, 'a part of the file');
	$killed->resumed_at($id, 'audio', other_audio($id, "$files/longer", '?size=3000000'));
	kill KILL => $killed->ask('select pid from musicverse.distribution_status');
	wait_for_sql($node, "select status from musicverse.distribution_targets where distribution_id = '$id'", 'processing', 90, 'the package');
	$killed->rest($id);
	is(wrong_files($id), '', 'a change that meets a part of the file before it: the file is the new one, whole');
	unlike(there('sent', $id), qr/\.part/, 'and nothing is left of the old one');
}

# whoever reads the directory takes the package away when it is complete
{
	my $id = release('apple_music');
	mkdir $sftp->file('taken') or die;
	$killed->after($id, 'metadata', shell => 'mv ' . $sftp->file('*.itmsp') . ' ' . $sftp->file('taken'));
	submit($id);
	wait_for_sql($node, "select status from musicverse.distribution_targets where distribution_id = '$id'", 'processing', 90, 'the package');
	$killed->rest($id);
	is(scalar(() = glob $sftp->file('*.itmsp')), 0, 'what was taken away when it was complete is not sent again');
	$id = release('apple_music');
	$killed->at($id, 'cover', 'copy (select) to program ' . lit('rm -r ' . $sftp->file('*.itmsp')));
	submit($id);
	wait_for_sql($node, "select status from musicverse.distribution_targets where distribution_id = '$id'", 'processing', 90, 'the package');
	is(wrong_files($id), '', 'what was removed before is sent as a whole');
}

$killed->complete('bundle', [], );
$killed->complete('itmsp', [ 'packages', 'itmsp' ], ask_removal => 1);

done_testing();

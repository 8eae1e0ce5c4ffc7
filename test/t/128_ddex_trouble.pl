# Partners who take messages of DDEX by SFTP, in trouble: servers that end in
# the middle of a file, are full, have another key, refuse us; and kill -9 with
# a change behind it. kill -9 after every step is 129_killed_ddex.pl.
use MusicVerse::Test;
use MusicVerse::Stream;
use MusicVerse::Ddex;

# most files here are no audio
my $node = new_cluster('ddex', 'musicverse.ddex_schema_directory' => ddex_schemas() // '', 'musicverse.inspect_audio' => 'off');
my $sftp = MusicVerse::Stream::Sftp->start(log => 1);
my $http = http_server();

sub partner { my ($name, %config) = @_; return MusicVerse::Ddex->new($node, $sftp, $http, $name, %config); }
sub state_of { my ($partner) = @_; return sql($node, "select state from musicverse.partner_status where name = '$partner->{name}'"); }

# ---- a server that ends in the middle of a file

my $partner = partner('broken', choreography => 'batch');
my $id = $partner->release({}, size => 6_000_000, query => 'rate=3000000');
$partner->submit($id);
my $state = wait_for(sub { my $w = $partner->work($id); ($w->{step} // '') eq 'audio.0' ? $w->{state} : undef }, 60, 'the upload');
my ($part) = map { $sftp->file("broken/in/$state->{folder}/$state->{release_id}/resources/$_") } "$state->{release_id}_01_001.flac.part";
wait_for(sub { (-s $part // 0) > 2_000_000 }, 30, 'a part of the file to be there');
kill KILL => ($sftp->sessions)[-1];
my $there = -s $part;
$partner->wait_status($id, 'processing', 120);
my ($delivery) = $partner->of($id);
is(MusicVerse::Ddex::wrong_files($delivery), '', 'a file that broke off is whole in the end');
my ($written) = map { /^close \S+flac\.part (\d+)/ ? $1 : () } $sftp->deeds;
cmp_ok($written, '<=', 6_000_001 - $there, 'and was continued where it ended');
is(scalar(grep { /BatchComplete/ } $sftp->deeds), 1, 'one manifest');

# ---- one that is full

$partner = partner('full');
$sftp->limit(2048);
kill TERM => $_ foreach $sftp->sessions;
$id = $partner->release({}, size => 3_000_000);
$partner->submit($id);
wait_for_sql($node, "select last_error ~ 'no room|disk full|write' from musicverse.distribution_work where distribution_id = '$id'", 't', 60, 'the disk to be full');
is($partner->status($id), 'delivering', 'a full disk fails nothing');
is(scalar($partner->of($id)), 0, 'no message tells of half a file');
$sftp->limit;
kill TERM => $_ foreach $sftp->sessions;
sql($node, "update musicverse.distribution_work set next_attempt_at = musicverse._now() where distribution_id = '$id'; select musicverse._wake_distribution()");
$partner->wait_status($id, 'processing', 120);
is(MusicVerse::Ddex::wrong_files(($partner->of($id))[0]), '', 'when there is room again the file is whole');

# ---- no schemas: nothing can be judged

if (ddex_schemas())
{
	set_conf($node, 'musicverse.ddex_schema_directory' => '');
	$node->reload;
	wait_for_sql($node, 'show musicverse.ddex_schema_directory', '', 30, 'the setting');
	my $blind = partner('blind');
	my $before = () = grep { /blind/ } $sftp->deeds;
	my $id = $blind->release;
	$blind->submit($id);
	wait_for(sub { state_of($blind) =~ /^paused/ }, 60, 'the partner to be paused');
	like(sql($node, q{select paused_reason from musicverse.partners where name = 'blind'}), qr/schema/, 'without the schemas a partner is paused');
	is(scalar(() = grep { /blind/ } $sftp->deeds), $before, 'and nothing is sent');
	set_conf($node, 'musicverse.ddex_schema_directory' => ddex_schemas());
	$node->reload;
	wait_for_sql($node, 'show musicverse.ddex_schema_directory', ddex_schemas(), 30, 'the setting');
	sql($node, q{select musicverse.resume_partner('blind')});
	$blind->wait_status($id, 'processing');
	pass('until they are there');
}

# ---- one that refuses us, and one that is another

$partner = partner('refusing');
$partner->configure(credentials => { username => scalar getpwuid($>), password => 'wrong' });
$id = $partner->release;
$partner->submit($id);
wait_for(sub { state_of($partner) =~ /^paused/ }, 60, 'the partner to be paused');
is($partner->status($id), 'delivering', 'a wrong password pauses the partner, and fails nothing');
is(scalar($partner->of($id)), 0, 'nothing was sent');
$partner->configure;
$partner->wait_status($id, 'processing');
pass('mended it goes on');

$sftp->stop;
my $old = $sftp->{fingerprint};
$sftp->new_host_key;
$sftp->run;
kill TERM => $_ foreach $sftp->sessions;
my $before = () = $sftp->deeds;
$id = $partner->release;
$partner->submit($id);
wait_for(sub { state_of($partner) =~ /^paused/ }, 60, 'the partner to be paused');
like(sql($node, q{select paused_reason from musicverse.partners where name = 'refusing'}), qr/host key/, 'another host key pauses it too, and is told');
is(scalar(() = grep { /refusing/ } ($sftp->deeds)[ $before .. 100000 ]), 0, 'and nothing is sent there');
$partner->configure;
$partner->wait_status($id, 'processing');
pass('until it is pinned');

$partner->configure(directory => 'locked/below');
mkdir "$partner->{dir}/locked" or die "locked: $!";
chmod 0500, "$partner->{dir}/locked";
$id = $partner->release;
$partner->submit($id);
SKIP: {
	skip 'this user writes whatever the mode', 1 if $ENV{MV_KEEPS_FILE_ACCESS} || $> == 0;
	wait_for(sub { state_of($partner) =~ /^paused/ }, 60, 'the partner to be paused');
	like(sql($node, q{select paused_reason from musicverse.partners where name = 'refusing'}), qr{locked/below.*nor can it be made}, 'a folder that can\'t be made pauses it, and is named');
}
chmod 0700, "$partner->{dir}/locked";
$partner->configure(directory => 'locked/below');
$partner->wait_status($id, 'processing');
pass('until it can');
$partner->configure;

# ---- kill -9

sql($node, q{
	create table hold (step text primary key);
	create function held() returns trigger language plpgsql as $$
	begin
		if old.begun_at is not null and new.begun_at is null and exists (select from public.hold h where split_part(old.step, '.', 1) = h.step) then
			set local lock_timeout = 0;
			perform pg_sleep(600);
		end if;
		return new;
	end $$;
	create trigger held before update on musicverse.distribution_work for each row execute function held()});

# Kills the worker when a step is carried out, and its answer not written down
sub kill_at
{
	my ($step, $begin, $before) = @_;
	sql($node, "insert into hold values ('$step'); select musicverse._wake_distribution()");
	$begin->() if $begin;
	wait_for_sql($node, q{select count(*) from pg_stat_activity where wait_event = 'PgSleep' and backend_type like 'musicverse%'}, 1, 60, "$step to be carried out");
	$before->() if $before;
	sql($node, 'delete from hold');
	my $pid = sql($node, q{select pid from pg_stat_activity where wait_event = 'PgSleep' and backend_type like 'musicverse%'});
	kill KILL => $pid;
	wait_for(sub { my $now = eval { sql($node, 'select pid from musicverse.distribution_status') }; $now && $now ne $pid }, 60, 'another worker');
	return;
}

# ---- what completes a delivery is there, its answer lost, and the release changed since

foreach my $choreography (qw(release_by_release batch))
{
	my $name    = $choreography eq 'batch' ? 'changedbatch' : 'changedone';
	my $partner = partner($name, choreography => $choreography);
	my $lose    = sub {
		my ($title, $change) = @_;
		my $id = $partner->release({ title => $title });
		kill_at($choreography eq 'batch' ? 'complete' : 'message', sub { $partner->submit($id) }, sub { sql($node, "select musicverse._pause_partner('$name', 'for a moment')") });
		my ($delivery) = $partner->of($id);
		sql($node, "select musicverse.update_release('$id', " . lit($change) . "); select musicverse.resume_partner('$name')");
		return ($id, $delivery);
	};

	my ($id, $delivery) = $lose->('Taken', { title => 'Changed' });
	wait_for_sql($node, "select delivered_revision || ' ' || (state ->> 'kind') from musicverse.distribution_work where distribution_id = '$id'", '2 update', 90, 'the change to be delivered');
	is(scalar($partner->of($id)), 2, "$choreography: what has arrived is known, and its change is an update of it");
	$partner->acknowledge(($partner->of($id))[1], status => 'ReleaseMadeAvailableToConsumers');
	$partner->wait_status($id, 'live', 90);

	($id, $delivery) = $lose->('Kept', { title => 'Unfit', upc => undef });
	wait_for_sql($node, "select reason from musicverse.distribution_history where distribution_id = '$id' and status = 'update_refused'", 'the release has neither a UPC nor a GRid', 90, 'the change to be refused');
	is($partner->status($id), 'processing', "$choreography: a change that can't be told fails nothing");
	$partner->acknowledge($delivery, status => 'ReleaseMadeAvailableToConsumers');
	$partner->wait_status($id, 'live', 90);
	is(join(' of ', @{ $partner->work($id) }{qw(delivered_revision revision)}), '1 of 1', "$choreography: what has arrived goes live");
	my @left = grep { !m{/BatchComplete} } MusicVerse::Ddex::under($delivery->{folder});
	is(scalar(grep { /\.part$/ } @left), 0, "$choreography: nothing is left of attempts");
}

done_testing();

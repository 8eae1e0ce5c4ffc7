# When a release goes out: time zones, changes of the clocks, a clock that
# jumps, rescheduling, and very many that are due in the same minute.
use lib 'test/lib';
use MusicVerse::Test;
use MusicVerse::LabelGrid;
use Time::HiRes qw(time);

my $node    = new_cluster('schedule', 'musicverse.release_lead_time' => '2d', max_connections => 40);
my $partner = MusicVerse::LabelGrid->start;
my $user    = user(1);
$partner->configure($node, concurrency => 64);

sub work_of { my ($id, $column) = @_; return sql($node, "select to_char($column at time zone 'UTC', 'YYYY-MM-DD HH24:MI') from musicverse.distribution_work where distribution_id = '$id'"); }

sub moment { my ($date, $zone) = @_; return sql($node, "select to_char(musicverse._release_moment('$date', '$zone') at time zone 'UTC', 'YYYY-MM-DD HH24:MI')"); }

# ---- the moment of a date

foreach my $case (
	[ '2027-01-15', 'UTC',                 '2027-01-15 00:00', 'UTC' ],
	[ '2027-01-15', 'Europe/Berlin',       '2027-01-14 23:00', 'winter' ],
	[ '2027-07-16', 'Europe/Berlin',       '2027-07-15 22:00', 'summer' ],
	[ '2027-03-28', 'Europe/Berlin',       '2027-03-27 23:00', 'the day on which summer time begins' ],
	[ '2027-03-29', 'Europe/Berlin',       '2027-03-28 22:00', 'the day after' ],
	[ '2027-10-31', 'Europe/Berlin',       '2027-10-30 22:00', 'the day on which it ends' ],
	[ '2027-01-15', 'Pacific/Kiritimati',  '2027-01-14 10:00', 'the first to have the day' ],
	[ '2027-01-15', 'Pacific/Pago_Pago',   '2027-01-15 11:00', 'the last' ],
	[ '2018-11-04', 'America/Sao_Paulo',   '2018-11-04 03:00', 'a midnight that was left out: the moment of the change' ],
	[ '2028-02-29', 'Asia/Kathmandu',      '2028-02-28 18:15', 'a leap day, and quarters of an hour' ])
{
	my ($date, $zone, $expected, $name) = @$case;
	is(moment($date, $zone), $expected, "$name: $date in $zone");
}
foreach my $zone ('Europe/Atlantis', 'UTC+3', 'EST5EDT4', '')
{
	my $error = sql_error($node, "select musicverse.create_distribution('$user', '{}', '{spotify}', null, '{\"time_zone\": \"$zone\"}')");
	like($error->{message}, qr/unknown time zone "\Q$zone\E"/, "\"$zone\" is no time zone");
}

# ---- scheduled until its time, delivered ahead

my $day = sql($node, q{select ((musicverse._now() at time zone 'Asia/Tokyo')::date + 30)::text});
my $id = $partner->release($node, $user, { time_zone => 'Asia/Tokyo' }, date => $day, platforms => [ 'spotify', 'deezer' ]);
submit($node, $id);
is(targets_of($node, $id), 'deezer scheduled, spotify scheduled', 'it is scheduled');
is(work_of($id, 'publish_at'), moment($day, 'Asia/Tokyo'), 'to be heard at midnight there');
is(sql($node, "select publish_at - deliver_at from musicverse.distribution_work where distribution_id = '$id'"), '5 days', 'and delivered as early as the slowest platform needs it');
is(scalar($partner->log), 0, 'nothing is sent before');

my $later = sql($node, "select ('$day'::date + 7)::text");
is(sql($node, qq{select musicverse.update_release('$id', '{"release_date": "$later"}')}), 2, 'it is rescheduled');
is(work_of($id, 'publish_at'), moment($later, 'Asia/Tokyo'), 'to another day');
is(sql($node, "select count(*) from musicverse.distribution_targets where distribution_id = '$id' and status = 'scheduled' and next_attempt_at = (select deliver_at from musicverse.distribution_work where distribution_id = '$id')"), 2, 'which its targets tell');

sql($node, q{select musicverse.advance_clock('31 days')});
is(targets_of($node, $id), 'deezer scheduled, spotify scheduled', 'a day before it is still scheduled');
sql($node, q{select musicverse.advance_clock('1 day 12 hours')});
wait_release($node, $id, 'live');
is(($partner->state->{releases})->[0]{release_date}, $later, 'after a jump of the clock it is delivered, with its date');

my $near = sql($node, q{select ((musicverse._now() at time zone 'UTC')::date + 3)::text});
like(sql_error($node, "select * from musicverse.check_release('{}', '{}', '$near') limit 0") // 'none', qr/none/, 'a near date can be checked');
my $track = sql($node, "select id from musicverse.tracks limit 1");
is(sql($node, "select platform from musicverse.check_release('{$track}', '{spotify,deezer}', '$near') where field = '/release_date'"), 'spotify', 'it is too near for the one platform and not for the other');

# ---- ten thousand in the same minute: each has but one step left

my $many = 10000;
$partner->control(live => \1);
my $due = sql($node, q{select (musicverse._now() + '1 hour')::text});
sql($node, qq{
	set session_replication_role = replica;
	insert into musicverse.distributions (user_id, track_ids, platforms, metadata, status, submitted_at)
		select '$user', '{$track}', '{deezer}', '{"title": "Many", "tracks": []}', 'scheduled', now() from generate_series(1, $many);
	insert into musicverse.distribution_work (distribution_id, user_id, partner, state, deliver_at, next_attempt_at)
		select id, user_id, 'labelgrid', '{"release_id": "1", "release_rev": 1, "validated_rev": 1}', '$due', '$due'::timestamptz + random() * interval '1 minute' from musicverse.distributions where metadata ->> 'title' = 'Many';
	insert into musicverse.distribution_targets (distribution_id, user_id, work_id, platform, partner, status)
		select distribution_id, user_id, id, 'deezer', 'labelgrid', 'scheduled' from musicverse.distribution_work where deliver_at = '$due';
	reset session_replication_role;
	analyze musicverse.distributions, musicverse.distribution_work, musicverse.distribution_targets});
like(sql($node, "explain select * from musicverse.distribution_work k where k.partner = 'labelgrid' and k.next_attempt_at <= now() order by k.next_attempt_at limit 64"),
	qr/distribution_work_due_idx/, 'what is due is found by an index');
$partner->configure($node, concurrency => 64, poll_interval => 86400);
my $start = time;
sql($node, q{select musicverse.advance_clock('2 hours')});
wait_for_sql($node, "select count(*) from musicverse.distribution_targets where status <> 'processing' and work_id in (select id from musicverse.distribution_work where deliver_at = '$due')", 0, 120, 'all of them to be delivered');
my $seconds = time - $start;
note(sprintf '%d releases in %.1f s: %.0f a second', $many, $seconds, $many / $seconds);
is(sql($node, 'select max(attempts) from musicverse.distribution_work where deliver_at = ' . lit($due)), 1, 'each was sent once');
my %keys = map { $_->{key} => 1 } $partner->log('distribute');
is(scalar(keys %keys), $many + 1, 'and arrived');
done_testing();

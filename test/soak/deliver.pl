# Ten minutes (SOAK_SECONDS) of everything at once: a session that changes rows
# and emits events without pause, webhooks of all kinds, receivers that fail in
# a new way every second. The memory of the worker and of that session is flat
# after a warm-up of a third, and in the end every delivery has arrived.
use MusicVerse::Test;
use List::Util qw(min);
use MusicVerse::Backlog;
use Time::HiRes qw(time sleep);

my $seconds  = $ENV{SOAK_SECONDS} || 600;
my $slack    = 6;
my $node     = new_cluster('main',
	'musicverse.retry_schedule'    => join(',', ('1s') x 90),
	'musicverse.disable_after'     => 0,
	'musicverse.request_timeout'   => '2s',
	'musicverse.connect_timeout'   => '2s');
my $good     = start_receiver();
my $bad      = start_receiver('--quiet');
my @modes    = qw(fail busy redirect hang trickle endless short close reset header-bomb gzip-bomb http09 garbage 1xx slow-headers bad-utf8 nul nul-header);
my @kinds    = ({}, { signing => 'ed25519' }, { ordering_key => '$.data.title' }, { rate_limit => 50 }, { filter => '$.data.title like_regex "[a-m]"' },
	{ headers => { 'X-Custom' => 'yes' } }, { max_concurrency => 1 }, { timeout => 1 });
sql($node, 'update musicverse.tiers set max_webhooks = 1000');

my %name;
foreach my $i (0 .. 23)
{
	my ($receiver, $name) = ($i % 3 ? $good : $bad, "e$i");
	my $id = sql($node, sprintf 'select id from musicverse.create_webhook(%s, %s, $${track.*,payment.*}$$)', lit(user(1 + $i % 4)), lit($receiver->url($name)));
	sql($node, sprintf 'select musicverse.update_webhook(%s, %s)', lit($id), lit($kinds[ $i % @kinds ])) if keys %{ $kinds[ $i % @kinds ] };
	$receiver->control($name, { record => 0 });
	$name{$id} = [ $receiver, $name ];
}
my @bad_names = map { $_->[1] } grep { $_->[0] == $bad } values %name;

sql($node, q{
	create function step() returns void language plpgsql as $$
	declare
		u uuid := ('00000000-0000-4000-8000-' || lpad((1 + floor(random() * 4))::text, 12, '0'))::uuid;
		t uuid;
	begin
		insert into musicverse.tracks (user_id, title) values (u, chr(97 + floor(random() * 26)::int)) returning id into t;
		update musicverse.tracks set title = title || repeat('x', floor(random() * 100)::int) where id = t;
		if random() < 0.3 then delete from musicverse.tracks where id = t; end if;
		if random() < 0.1 then
			perform musicverse.emit_event(u, 'payment.succeeded', jsonb_build_object('amount', '1', 'title', 'p', 'pad', repeat('y', floor(random() * 40000)::int)));
		end if;
		if random() < 0.05 then raise exception 'rolled back'; end if;
	exception when raise_exception then null;
	end $$});
my $pid = wait_for(sub { sql($node, 'select pid from musicverse.worker_status') }, 30, 'the worker to start');

# The session, one statement after the other
my $script = PostgreSQL::Test::Utils::tempdir() . '/steps.sql';
PostgreSQL::Test::Utils::append_to_file($script, "\\o /dev/null\nselect step() \\watch 0.03\n");
my ($psql, $out) = start_process('enqueuer', 'psql', '-X', '-q', '-d', $node->connstr('postgres') . ' application_name=enqueuer', '-f', $script);
my $backend = wait_for(sub { sql($node, "select pid from pg_stat_activity where application_name = 'enqueuer'") }, 30, 'the session');

my (%early, %late);
my $start = time;
while ((my $at = time - $start) < $seconds)
{
	$bad->control($_, { mode => rand() < 0.5 ? 'ok' : $modes[ rand @modes ] }) foreach @bad_names;
	sql($node, "select musicverse.advance_clock('5 seconds')") if rand() < 0.2;
	sleep 1;
	my %rss = (worker => MusicVerse::Backlog::rss($pid), session => MusicVerse::Backlog::rss($backend));
	my $window = $at < $seconds / 3 ? undef : $at < $seconds * 2 / 3 ? \%early : \%late;
	next unless $window;
	# bodies of what is about to be sent come and go: what stays is the least
	$window->{$_} = min($window->{$_} // $rss{$_}, $rss{$_}) foreach keys %rss;
}
foreach my $process (qw(worker session))
{
	diag(sprintf '%s: %.1f MiB at least in the second third, %.1f in the last', $process, $early{$process}, $late{$process});
	cmp_ok($late{$process} - $early{$process}, '<=', $slack, "the memory of the $process does not grow");
}

# Everybody behaves again
stop_process($psql);
$bad->control($_, { mode => 'ok' }) foreach @bad_names;
wait_for(sub {
	sql($node, "select musicverse.advance_clock('6 minutes')");
	sleep 0.5;
	sql($node, 'select count(*) from musicverse.deliveries where status = $$p$$') == 0;
}, 300 + $seconds / 2, 'everything to be delivered');
is(sql($node, "select string_agg(distinct status::text, '') from musicverse.deliveries"), 'd', 'every delivery was made');
foreach my $id (sort { $name{$a}[1] cmp $name{$b}[1] } keys %name)
{
	my ($receiver, $name) = @{ $name{$id} };
	is($receiver->stats($name)->{ids}, sql($node, "select count(*) from musicverse.deliveries where webhook_id = '$id'"), "endpoint $name got every event");
}
is(sql($node, 'select pid from musicverse.worker_status'), $pid, 'the worker is still the same process');
unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC:|TRAP:/, 'nothing crashed');

done_testing();

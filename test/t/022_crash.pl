# kill -9 of a worker and immediate shutdown, again and again at random moments
# while sessions commit and roll back. What a crash may cost is a repetition
# with the same webhook-id; never an event, and never one that wasn't committed.
#
# MV_SEED=number repeats a run's choices, MV_ROUNDS=number makes it longer.
use MusicVerse::Test;

my $rounds = $ENV{MV_ROUNDS} || 20;
my $seed   = $ENV{MV_SEED}   || int(rand(2**31));
srand($seed);
note "MV_SEED=$seed";

# Settled rows reach the disk late, so that a crash really loses some. Retries
# are many and quick, so that nothing is given up while the server is down.
my $receiver = start_receiver();
my $node     = new_cluster('main',
	wal_writer_delay              => '10s',
	wal_writer_flush_after        => '100MB',
	'musicverse.delivery_workers' => 2,
	'musicverse.disable_after'    => 0,
	'musicverse.disable_after_interval' => 0,
	'musicverse.retry_schedule'   => join(',', ('1s') x 40));
my $user  = user(1);
my @names = map { "hook_$_" } 1 .. 3;
sql($node, "select musicverse.set_tier('$user', 'enterprise'); create table committed (tag text primary key)");
foreach my $name (@names)
{
	my $webhook = sql_row($node, sprintf 'select * from musicverse.create_webhook(%s, %s, $${payment.*}$$)', lit($user), lit($receiver->url($name)));
	sql($node, "select musicverse.update_webhook('$webhook->{id}', '{\"ordering_key\": \"\$.data.key\"}')") if $name eq 'hook_3';
	$receiver->control($name, { secrets => [ $webhook->{secret} ], tolerance => undef, mode => 'ok', delay_ms => 5 });
}

# What a session does in a round: transactions of one or several events, some
# rolled back as a whole, some in part. A tag is in table committed if and only
# if its event was committed.
my %never;

sub script
{
	my ($round, $session) = @_;
	my @lines;
	for my $n (1 .. 25)
	{
		my $emit = sub {
			my ($tag) = @_;
			my $key = int rand 3;
			return qq{select musicverse.emit_event('$user', 'payment.succeeded', '{"tag": "$tag", "key": $key}');}
			  . qq{insert into committed values ('$tag');};
		};
		my $tag  = "$round.$session.$n";
		my $kind = rand;
		if    ($kind < 0.15) { push @lines, 'begin;', $emit->("$tag.rolled-back"), 'rollback;'; $never{"$tag.rolled-back"} = 1; }
		elsif ($kind < 0.35) { push @lines, 'begin;', $emit->("$tag.a"), 'savepoint s;', $emit->("$tag.rolled-back"), 'rollback to s;', $emit->("$tag.b"), 'commit;'; $never{"$tag.rolled-back"} = 1; }
		elsif ($kind < 0.50) { push @lines, 'begin;', (map { $emit->("$tag.$_") } 1 .. 8), 'commit;'; }
		else                 { push @lines, 'begin;', $emit->($tag), 'commit;'; }
	}
	return join "\n", @lines, '';
}

# A pending delivery below the mark of its shard, with no note of its webhook
# from where on to look: a restarted worker would never see it.
my $overlooked = q{
	select count(*) from musicverse.deliveries d
	  join musicverse.worker_marks m on m.shards = 2 and m.shard = mod(uuid_hash(d.webhook_id)::bigint & 4294967295, 2)
	  left join musicverse.webhook_state s on s.webhook_id = d.webhook_id
	 where d.status = 'p' and d.seq < m.low_seq and (s.low_seq is null or s.low_seq > d.seq)};

my (%happened, $lost, $marks);
foreach my $round (1 .. $rounds)
{
	my $immediate = $round % 3 == 0;
	my $before    = $receiver->stats('hook_1')->{received};
	my @sessions;

	# One of the endpoints has trouble in some rounds, so that retries are pending
	$receiver->control($names[ rand @names ], { mode => 'fail', count => 20 }) if rand() < 0.4;
	foreach my $session (1 .. 4)
	{
		my $file = "$PostgreSQL::Test::Utils::tmp_check/round_${round}_$session.sql";
		append_to_file($file, script($round, $session));
		push @sessions, (start_process("session_$session", 'psql', '-X', '-q', '-At', '-o', '/dev/null', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $file))[0];
	}

	# The moment: after so many requests of this round, or after the sessions
	my $moment = $before + int rand 150;
	wait_for(sub { $receiver->stats('hook_1')->{received} >= $moment || !grep { kill 0 => $_ and waitpid($_, 1) == 0 } @sessions }, 60, 'the moment');
	if ($immediate)
	{
		$node->stop('immediate');
		waitpid($_, 0) foreach @sessions;
		$node->start;
	}
	else
	{
		my $pid = $happened{"pid $round"} = sql($node, 'select pid from musicverse.worker_status where pid is not null order by random() limit 1');
		ok(kill(9 => $pid), "round $round: a worker is killed") if $pid;
		# The server ends everybody's session and starts anew
		waitpid($_, 0) foreach @sessions;
		wait_for_sql($node, "select count(*) from pg_stat_activity where pid = $pid", '0', 60, 'the server to notice it') if $pid;
	}
	$happened{ $immediate ? 'shutdown' : 'kill' }++;
	wait_for_sql($node, "select count(*) from musicverse.worker_status where state = 'running'", '2', 60, 'the workers to come back');
	$lost += sql($node, $overlooked);
	# Time for marks to be written anew, over what is pending now
	sql($node, "select musicverse.advance_clock('10 seconds')") if rand() < 0.5;
}
cmp_ok($happened{kill}, '>', 1, "$happened{kill} times a worker was killed");
cmp_ok($happened{shutdown}, '>', 1, "$happened{shutdown} times the server was shut down in the midst");

# ---- in the end

wait_for(
	sub {
		sql($node, "select musicverse.advance_clock('5 seconds')");
		sql($node, "select count(*) from musicverse.deliveries where status = 'p'") == 0;
	},
	60, 'everything to be delivered');
pass('in the end no delivery is pending');
is(sql($node, "select count(*) from musicverse.deliveries where status <> 'd'"), 0, 'and none was given up');
is($lost, 0, 'no mark was ever above a pending delivery that nobody had noted');

my %committed = map { $_ => 1 } split /\n/, sql($node, 'select tag from committed');
my %id_of     = map { $_->{tag} => $_->{id} } sql_rows($node, "select payload::json #>> '{data,tag}' as tag, id from musicverse.events");
cmp_ok(scalar(keys %committed), '>', 20 * $rounds, scalar(keys %committed) . ' events were committed');
is_deeply([ sort keys %id_of ], [ sort keys %committed ], 'the events recorded are those of the transactions that were committed');
is(sql($node, 'select count(*) from musicverse.deliveries'), @names * keys %committed, 'each has a delivery for every webhook');

my $repeated = 0;
foreach my $name (@names)
{
	my (%ids, $stray);
	foreach my $request ($receiver->requests($name))
	{
		next unless $request->{mode} eq 'ok';
		my $tag = from_json($request->{body})->{data}{tag};
		$repeated++ if $ids{$tag}{ $request->{headers}{'webhook-id'} }++;
		$stray++ if !$committed{$tag} || $never{$tag};
	}
	is(scalar(grep { !$ids{$_} } keys %committed), 0, "$name: every committed event has arrived");
	is($stray // 0, 0, "$name: nothing else has");
	is(scalar(grep { keys %{ $ids{$_} } != 1 || !$ids{$_}{ $id_of{$_} } } keys %committed), 0, "$name: each with its own webhook-id, whenever it came");
	my $stats = $receiver->stats($name);
	is($stats->{bad_signatures}, 0, "$name: all signatures are right");
}
cmp_ok($repeated, '>', 0, "crashes cost $repeated repetitions");
note join ', ', map { "$_: $happened{$_}" } grep { !/pid/ } sort keys %happened;

done_testing();

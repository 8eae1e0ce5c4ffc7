# The worker is killed at every step of a job. Whatever it was doing, there is
# one generation at the provider in the end, one track, and each event once.
use MusicVerse::Test;
use MusicVerse::Provider;

my $node     = new_cluster('main', 'musicverse.generation_timeout' => '7d');
my $provider = MusicVerse::Provider->start;
my $user     = user(1);
sql($node, q{update musicverse.tiers set max_concurrent_jobs = 50});
$provider->configure($node, 'stub', concurrency => 50, timeout => 60);

my $kills = 0;

sub crash
{
	my $pid = sql($node, 'select pid from musicverse.generation_status');
	ok(kill(9 => $pid), 'the worker is killed');
	$kills++;
	wait_for_sql($node, "select pid <> $pid and pid is not null from musicverse.generation_status", 't', 60, 'another worker');
}

sub wait_by_clock
{
	my ($job, $status) = @_;
	wait_for(sub { sql($node, "select musicverse.advance_clock('5 seconds')"); sql($node, "select status = '$status' from musicverse.generation_jobs where id = '$job'") eq 't' }, 30, "job $job to be $status");
}

sub check
{
	my ($what, $job) = @_;
	is(scalar(grep { $_->{key} eq $job } $provider->generations), 1, "$what: one generation");
	is(sql($node, "select count(*) from musicverse.tracks where audio_url in (select 'https://audio.example.com/' || remote_id || '.mp3' from musicverse.generation_work where job_id = '$job')"), 1, "$what: one track");
	is(sql($node, "select string_agg(type, ' ' order by type) from musicverse.events where payload::json #>> '{data,id}' = '$job'"), 'generation.completed generation.started', "$what: each event once");
}

# Holds the job's row, so that nothing about it can be written down
sub hold
{
	my ($job) = @_;
	my $session = session($node);
	$session->query_safe("begin; select 1 from musicverse.generation_jobs where id = '$job' for update");
	return $session;
}

# Sessions end with the crash
sub forget { my ($session) = @_; eval { $session->{run}->kill_kill } if $session; return; }

# 1: the request was recorded, and nobody answers; the generation has begun
my $job = generate_job($node, $user, submit => [ { hang => \1 }, {} ]);
wait_for(sub { $provider->log($job, 'POST') == 1 }, 30, 'the request');
is(work_row($node, $job)->{attempts}, 1, 'an attempt is recorded before it is answered');
crash();
is(work_row($node, $job)->{attempts}, 1, 'and is still known after the crash');
wait_by_clock($job, 'completed');
check('killed while it waited for the answer', $job);
cmp_ok(scalar($provider->log($job, 'POST')), '>=', 2, 'the request was sent again');

# 2: it was answered, and the answer was not yet written down
$job = generate_job($node, $user, submit => [ { wait => 300 }, {} ]);
wait_for(sub { $provider->log($job, 'POST') == 1 }, 30, 'the request');
my $holder = hold($job);
wait_for_sql($node, 'select in_flight from musicverse.generation_status', 0, 30, 'the answer');
is(work_row($node, $job)->{remote_id}, undef, 'the answer is not written down');
crash();
forget($holder);
wait_by_clock($job, 'completed');
check('killed with the answer in its hands', $job);

# 3: it runs, and nothing is under way; 4: a poll is under way
my $running = generate_job($node, $user, poll => [ { doc => { status => 'running' } }, { hang => \1 }, { done => \1, doc => { status => 'succeeded' } } ]);
wait_for(sub { $provider->log($running, 'GET') == 2 }, 30, 'a poll under way');
crash();
wait_for(sub { sql($node, "select musicverse.advance_clock('5 seconds')"); $provider->log($running, 'GET') > 2 }, 30, 'the next poll');
wait_by_clock($running, 'completed');
check('killed while it polled', $running);

# 5: the result is there, and not yet written down
$job = generate_job($node, $user, poll => [ { wait => 500, done => \1, doc => { status => 'succeeded' } }, { doc => { status => 'succeeded' } } ]);
wait_for(sub { $provider->log($job, 'GET') == 1 }, 30, 'the poll');
$holder = hold($job);
wait_for_sql($node, 'select in_flight from musicverse.generation_status', 0, 30, 'the result');
is(job_row($node, $job)->{status}, 'started', 'the result is not written down');
crash();
forget($holder);
wait_by_clock($job, 'completed');
check('killed with the result in its hands', $job);

# 6: a cancel is under way
my $cancelled = generate_job($node, $user, poll => [ { doc => { status => 'running' } } ], cancel => [ { hang => \1 }, {} ]);
wait_job($node, $cancelled, 'started');
sql($node, "select musicverse.cancel_job('$cancelled')");
wait_for(sub { $provider->log($cancelled, 'DELETE') == 1 }, 30, 'the cancel');
crash();
wait_for(sub { sql($node, "select musicverse.advance_clock('5 seconds')"); $provider->log($cancelled, 'DELETE') == 2 }, 30, 'the cancel again');
is(job_row($node, $cancelled)->{status}, 'cancelled', 'killed while it cancelled: the provider is told again');

# 7: at any moment, with much to do; and an immediate shutdown
my @jobs;
foreach my $round (1 .. 3)
{
	push @jobs, map { generate_job($node, user($_ % 3 + 1), submit => [ { wait => int rand 100 } ]) } 1 .. 8;
	my $before = () = $provider->log;
	my $moment = int rand 20;
	wait_for(sub { sql($node, "select musicverse.advance_clock('1 second')"); $provider->log >= $before + $moment || sql($node, q{select count(*) from musicverse.generation_work where state not in ('done')}) == 0 }, 30, 'the moment');
	if ($round == 2) { $node->stop('immediate'); $node->start; }
	else             { crash(); }
}
wait_for(sub { sql($node, "select musicverse.advance_clock('5 seconds')"); sql($node, "select count(*) from musicverse.generation_jobs where status in ('queued', 'started')") == 0 }, 60, 'all jobs');
my %generations;
$generations{ $_->{key} }++ foreach $provider->generations;
is(sql($node, "select count(*) from musicverse.generation_jobs where status = 'completed'"), 4 + @jobs, 'all jobs are completed in the end');
is(join(' ', map { $generations{$_} // 0 } @jobs), join(' ', (1) x @jobs), 'each has one generation');
is(sql($node, 'select count(*), count(distinct audio_url) from musicverse.tracks'), (4 + @jobs) . '|' . (4 + @jobs), 'and one track');
is(sql($node, q{select count(*) from (select payload::json #>> '{data,id}', type from musicverse.events where type in ('generation.completed', 'generation.started') group by 1, 2 having count(*) > 1) q}), 0, 'no event is told twice');
note "killed $kills times";

done_testing();

# Whose job goes next, how many at once, to which provider, and when again.
use MusicVerse::Test;
use MusicVerse::Provider;

my $node  = new_cluster('main', 'musicverse.generation_timeout' => '7d');
my $first = MusicVerse::Provider->start;

sub advance { sql($node, "select musicverse.advance_clock('$_[0]')"); }
sub all_done { wait_for(sub { advance($_[0] // '2 seconds'); sql($node, q{select count(*) from musicverse.generation_jobs where status in ('queued', 'started')}) == 0 }, 30, 'all jobs'); }

# ---- users take turns

sql($node, q{update musicverse.tiers set max_concurrent_jobs = 100});
my @jobs = ((map { generate_job($node, user(1), prompt => "1.$_") } 1 .. 6), (map { generate_job($node, user(2), prompt => "2.$_") } 1 .. 3), generate_job($node, user(3), prompt => '3.1'));
$first->configure($node, 'first', concurrency => 1);
all_done();
is(join(' ', map { from_json($_->{text})->{prompt} } $first->log(undef, 'POST')), '1.1 2.1 3.1 1.2 2.2 1.3 2.3 1.4 1.5 1.6', 'users take turns, each with his jobs in order');
is($first->most, 1, 'a provider has as many jobs at once as it wants');

# ---- as many as the tier allows

sql($node, q{update musicverse.tiers set max_concurrent_jobs = 2 where name = 'free'; update musicverse.tiers set max_concurrent_jobs = 3 where name = 'pro'});
sql($node, sprintf q{select musicverse.set_tier('%s', 'pro')}, user(2));
$first->configure($node, 'first', concurrency => 100);
$first->control(poll => [ { doc => { status => 'running' } } ]);
@jobs = map { my $u = $_; map { generate_job($node, user($u)) } 1 .. 5 } 1 .. 3;
my $running = q{select string_agg(n::text, ' ' order by user_id) from (select user_id, count(*) as n from musicverse.generation_work where state in ('submitting', 'running') group by 1) q};
wait_for_sql($node, $running, '2 3 2', 30, 'as many as allowed');
sql($node, sprintf q{select musicverse.set_tier('%s', 'pro'); select musicverse._wake()}, user(1));
wait_for_sql($node, $running, '3 3 2', 30, 'a larger tier');
pass('a user has as many jobs under way as his tier allows');
sql($node, "select musicverse.cancel_job('$jobs[0]')");
wait_for_sql($node, "select state from musicverse.generation_work where job_id = '$jobs[3]'", 'running', 30, 'the next one');
pass('one that is cancelled makes room for the next');
is(sql($node, 'select waiting, running from musicverse.generation_status'), '6|8', 'generation_status counts them');
$first->control();
all_done();
is(sql($node, q{select string_agg(status || ' ' || n, ', ' order by status) from (select status, count(*) n from musicverse.generation_jobs group by 1) q}), 'cancelled 1, completed 24', 'all are done in the end');

# ---- the queue has an end

sql($node, 'alter system set musicverse.max_queued_jobs = 3');
sql($node, "select musicverse.set_provider_active('first', false)");
$node->reload;
wait_for_sql($node, 'show musicverse.max_queued_jobs', 3);
my @queued = map { generate_job($node, user(5)) } 1 .. 3;
is(sql_error($node, sprintf q{select musicverse.generate('%s', 'x')}, user(5))->{sqlstate}, '53400', 'a user may have so many in the queue');
is(sql_error($node, sprintf q{select musicverse.generate('%s', 'x')}, user(6)), undef, 'another user as well');
is(job_row($node, $queued[0])->{status}, 'queued', 'a provider that is not active gets none');
is(sql($node, "select state from musicverse.provider_status"), 'inactive', 'provider_status says so');
sql($node, "select musicverse.set_provider_active('first', true)");
all_done();

# ---- Retry-After, backoff

my $before = () = $first->log;
my $asked = generate_job($node, user(1), submit => [ { http => 429, retry_after => 600, begun => \0 }, {} ]);
wait_for(sub { $first->log($asked, 'POST') == 1 }, 30, 'the request');
wait_for_sql($node, "select failures from musicverse.generation_work where job_id = '$asked'", 1);
cmp_ok(sql($node, "select extract(epoch from next_at - musicverse._now()) from musicverse.generation_work where job_id = '$asked'"), '>', 590, 'Retry-After is waited for');
advance('500 seconds');
is(scalar($first->log($asked, 'POST')), 1, 'not less');
advance('101 seconds');
wait_job($node, $asked, 'started');
pass('nor more');
my $backoff = generate_job($node, user(1), submit => [ ({ http => 500, begun => \0 }) x 4, {} ]);
my @delays;
for my $n (1 .. 4)
{
	wait_for_sql($node, "select failures from musicverse.generation_work where job_id = '$backoff'", $n);
	push @delays, sql($node, "select extract(epoch from next_at - musicverse._now()) from musicverse.generation_work where job_id = '$backoff'");
	advance('40 seconds');
}
is(join(' ', map { my ($d, $n) = ($delays[$_], 2 * 2**$_); $d <= $n && $d > 0.3 * $n ? 'right' : "$d of $n" } 0 .. 3), 'right right right right', 'delays double, less a part by chance');
all_done();

# ---- several providers

my $second = MusicVerse::Provider->start;
my $gone   = MusicVerse::Provider->start;
$gone->configure($node, 'gone', priority => 10);
$gone->stop;
$second->configure($node, 'second', priority => -5, styles => [ 'Jazz', 'Waltz' ]);
my $moved = generate_job($node, user(1));
wait_for(sub { sql($node, "select provider = 'first' from musicverse.generation_work where job_id = '$moved'") eq 't' }, 30, 'the next provider');
all_done();
is(scalar($first->log($moved, 'POST')), 1, 'one that is not there is passed over at once');
is(job_row($node, $moved)->{error}, undef, 'and the user sees nothing of it');
@jobs = map { generate_job($node, user($_)) } 1 .. 8;
all_done();
is(sql($node, "select count(*) from musicverse.generation_jobs where status = 'failed'"), 0, 'nothing fails');
wait_for_sql($node, q{select state from musicverse.provider_status where name = 'gone'}, 'failing: only probed', 30);
pass('after some failures it is only probed');

sql($node, "select musicverse.remove_provider('gone'); select musicverse.set_provider_active('first', false)");
my $error = sql_error($node, sprintf q{select musicverse.generate('%s', 'x', 'Polka')}, user(1));
like("$error->{sqlstate} $error->{message}", qr/^22023 no provider takes a job of style "Polka"/, 'a style that nobody takes is refused');
my $jazz = sql($node, sprintf q{select musicverse.generate('%s', 'x', 'jazz')}, user(1));
all_done();
is(scalar($second->log($jazz, 'POST')), 1, 'one that somebody takes goes there');

sql($node, "select musicverse.set_provider_active('first', true)");
$first->configure($node, 'first', priority => 5, attempts => 2);
my $failing = sql($node, sprintf q{select musicverse.generate('%s', 'x', 'Waltz', params => %s)}, user(1), lit({ submit => [ { http => 500, begun => \0 } ] }));
wait_for(sub { advance('5 seconds'); $first->log($failing, 'POST') == 2 && $second->log($failing, 'POST') >= 1 }, 30, 'the other provider');
is(scalar($first->log($failing, 'POST')), 2, 'one that fails is left after so many attempts');
is(sql($node, "select musicverse.cancel_job('$failing')"), 't', 'and the job can be cancelled then');
my $unpaid = sql($node, sprintf q{select musicverse.generate('%s', 'x', 'Waltz', params => %s)}, user(1), lit({ submit => [ { http => 402, begun => \0 } ] }));
wait_for(sub { $second->log($unpaid, 'POST') >= 1 }, 30, 'the other provider');
pass('one that wants to be paid is left at once');
wait_job($node, $unpaid, 'failed');

$first->configure($node, 'first', failover => \0, priority => 5);
my $stays = sql($node, sprintf q{select musicverse.generate('%s', 'x', 'Waltz', params => %s)}, user(1), lit({ submit => [ ({ http => 503, begun => \0 }) x 6, {} ] }));
all_done('20 seconds');
is(scalar($second->log($stays, 'POST')), 0, 'without failover a job stays where it is');
is(job_row($node, $stays)->{status}, 'completed', 'until it is taken');

# ---- removal

$first->control(poll => [ { doc => { status => 'running' } } ]);
my $held = generate_job($node, user(1));
wait_job($node, $held, 'started');
$error = sql_error($node, "select musicverse.remove_provider('first')");
like("$error->{sqlstate} $error->{message}", qr/^55000 provider "first" has 1 jobs under way/, 'a provider with jobs is not removed');
sql($node, "delete from musicverse.generation_jobs where id = '$held'");
is(sql($node, "select musicverse.remove_provider('first')"), 't', 'without it is');
is(sql($node, "select musicverse.remove_provider('first')"), 'f', 'once');

done_testing();

# A backlog of 100,000 deliveries: it fits into little memory of the worker
# while all of it waits, and drains completely, also beside a session whose old
# snapshot keeps dead rows alive. test/soak/backlog.pl does it with more, and
# measures.
use MusicVerse::Test;
use MusicVerse::Backlog;

my $n        = 100_000;
my $limit    = 64;
my $receiver = start_receiver();
my $node     = new_cluster('main',
	'musicverse.retry_schedule'    => '10h,10h',
	'musicverse.breaker_threshold' => 1000,
	'musicverse.disable_after'     => 0,
	'max_wal_size'                 => '4GB');
sql($node, 'update musicverse.tiers set max_webhooks = 1000');
$receiver->control('all', { record => 0 });
my $backlog = MusicVerse::Backlog->new($node, sub { $receiver->url('all') }, 100);
my $idle    = $backlog->idle;

# Every one is tried once, fails, and waits for hours
$receiver->control('all', { mode => 'fail' });
$backlog->enqueue($n);
my $tried = $backlog->watch('attempts', $n, 300);
wait_for_sql($node, 'select count(*) from musicverse.deliveries where status = $$p$$ and attempt_count = 1', $n, 30, 'the outcomes to be recorded');
pass("$n deliveries wait after a failure");
cmp_ok($tried->{peak} - $idle, '<=', $limit, "with $n pending the worker takes at most $limit MiB more than idle");

# An old snapshot, for as long as they drain
my $reader = session($node);
$reader->query_safe('begin isolation level repeatable read');
is($reader->query_safe('select count(*) from musicverse.deliveries where status = $$p$$'), $n, 'a session holds a snapshot in which all are pending');

$receiver->control('all', { mode => 'ok' });
$backlog->mark;
sql($node, "select musicverse.advance_clock('11 hours')");
my $drained = $backlog->watch('delivered', $n, 300);
wait_for_sql($node, 'select count(*) from musicverse.deliveries where status <> $$d$$', 0, 30, 'the backlog to drain');
pass('all of them are delivered beside it');
is($reader->query_safe('select count(*) from musicverse.deliveries where status = $$p$$'), $n, 'the snapshot was held all the while');
$reader->quit;

cmp_ok($drained->{peak} - $idle, '<=', $limit, "draining takes at most $limit MiB more than idle");
cmp_ok($drained->{end} - $drained->{quarter}, '<=', 16, 'memory does not grow while it drains');
my $stats = $receiver->stats('all');
is($stats->{ids},        $n + 100, 'every event arrived');
is($stats->{duplicates}, $n,       'and once more after its failure, not oftener');

# What comes next finds the way as before
$backlog->enqueue(1000);
$backlog->watch('delivered', 1000, 60);
pass('new events are delivered after the backlog');
is(sql($node, 'select pid from musicverse.worker_status'), $backlog->pid, 'the worker is still the same process');
note(sprintf 'memory in MiB: idle %.1f, tried %.1f, drained: a quarter %.1f, peak %.1f, end %.1f; seconds: %.1f, %.1f',
	$idle, $tried->{peak}, @$drained{qw(quarter peak end)}, $tried->{seconds}, $drained->{seconds});

done_testing();

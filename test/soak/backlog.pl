# A backlog of 500,000 deliveries (BACKLOG_ROWS), several times: it drains in
# flat memory, and a session that holds an old snapshot all the while slows it
# down by less than a fifth. Drains with and without the snapshot take turns in
# an order that cancels what the growth of the tables costs. nginx receives,
# since a slower receiver would hide what the worker loses.
use MusicVerse::Test;
use MusicVerse::Backlog;
use IO::Socket::INET;
use List::Util qw(max sum);

my $n     = $ENV{BACKLOG_ROWS} || 500_000;
my $limit = 64;
my $port  = start_nginx();
my $node  = new_cluster('main',
	shared_buffers => '512MB',
	max_wal_size   => '16GB',
	'musicverse.delivery_concurrency' => 100);
sql($node, 'update musicverse.tiers set max_webhooks = 1000');
my $backlog = MusicVerse::Backlog->new($node, sub { "http://127.0.0.1:$port/$_[0]" }, 100);
my $idle    = $backlog->idle;

my %seconds = (alone => [], snapshot => []);
foreach my $kind (qw(alone snapshot snapshot alone alone snapshot snapshot alone))
{
	my $reader;
	if ($kind eq 'snapshot')
	{
		$reader = session($node);
		$reader->query_safe('begin isolation level repeatable read');
		$reader->query_safe('select count(*) from musicverse.deliveries');
	}
	sql($node, 'checkpoint');
	$backlog->enqueue($n);
	my $run = $backlog->watch('delivered', $n, 1200);
	wait_for_sql($node, 'select count(*) from musicverse.deliveries where status <> $$d$$', 0, 60, 'the backlog to drain');
	push @{ $seconds{$kind} }, $run->{seconds};
	diag(sprintf '%-8s %.0f/s, worker %.1f MiB idle, %.1f at a quarter, %.1f at most', $kind, $n / $run->{seconds}, $idle, $run->{quarter}, $run->{peak});
	cmp_ok($run->{peak} - $idle,          '<=', $limit, "$kind: at most $limit MiB more than idle");
	cmp_ok($run->{end} - $run->{quarter}, '<=', 16,     "$kind: memory does not grow while it drains");
	if ($reader)
	{
		is($reader->query_safe('select 1'), 1, 'the snapshot was held all the while');
		$reader->quit;
	}
}
my $ratio = sum(@{ $seconds{alone} }) / sum(@{ $seconds{snapshot} });
cmp_ok($ratio, '>', 0.8, sprintf 'beside an old snapshot the backlog drains at %.2f of its speed', $ratio);
is(sql($node, 'select pid from musicverse.worker_status'), $backlog->pid, 'the worker is still the same process');

done_testing();

# An nginx as the benchmark has it; returns its port
sub start_nginx
{
	my ($nginx) = grep { -x } '/usr/sbin/nginx', map { "$_/nginx" } split /:/, $ENV{PATH};
	plan(skip_all => 'there is no nginx') unless $nginx;
	my $dir = PostgreSQL::Test::Utils::tempdir();
	my $free = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', LocalPort => 0)->sockport;
	my $conf = slurp_file("$root/bench/nginx.conf.in");
	$conf =~ s/\@DIR\@/$dir/g;
	$conf =~ s/\@PORT\@/$free/g;
	PostgreSQL::Test::Utils::append_to_file("$dir/nginx.conf", $conf);
	start_process('nginx', $nginx, '-p', $dir, '-e', "$dir/error.log", '-c', "$dir/nginx.conf");
	wait_for(sub { http('GET', "http://127.0.0.1:$free/")->{status} == 200 }, 20, 'nginx to listen');
	return $free;
}

# Backlogs: many deliveries that wait at once, and what the worker's memory and
# speed do while they drain. Shared by a quick test and by the soak.
#
#   my $backlog = MusicVerse::Backlog->new($node, sub { "http://127.0.0.1:$port/$_[0]" }, 100);
#   $backlog->enqueue(100000);
#   my $run = $backlog->watch('delivered', 100000, 300);   # seconds, peak, quarter, end
#
# Memory is RssAnon of the worker in MiB: shared buffers that it touches don't
# count. Progress is read from worker_status, that is from shared memory, so
# watching costs the worker nothing.
package MusicVerse::Backlog;

use strict;
use warnings;

use MusicVerse::Test;
use Time::HiRes ();

# So many users, each with a webhook at the URL that the sub makes of its number
sub new
{
	my ($class, $node, $url, $webhooks) = @_;
	my $self = bless { node => $node, webhooks => $webhooks }, $class;
	sql($node, join ';', map { sprintf 'select musicverse.create_webhook(%s, %s, $${track.created}$$)', lit(user($_)), lit($url->($_)) } 1 .. $webhooks);
	$self->{pid} = wait_for(sub { sql($node, 'select pid from musicverse.worker_status') }, 60, 'the worker to start');

	# One delivery each, so that what every endpoint needs is there
	$self->enqueue($webhooks);
	$self->watch('delivered', $webhooks, 60);
	$self->{idle} = rss($self->{pid});
	return $self;
}

sub pid  { return $_[0]{pid}; }
sub idle { return $_[0]{idle}; }

sub rss
{
	my ($pid) = @_;
	my ($kib) = slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m or die "no RssAnon of process $pid";
	return $kib / 1024;
}

sub counters
{
	my ($self) = @_;
	my %count;
	@count{qw(delivered attempts)} = split /\|/, sql($self->{node}, 'select delivered, attempts from musicverse.worker_status');
	return \%count;
}

# One event a row, in one transaction, spread over the webhooks; call before watch
sub enqueue
{
	my ($self, $count) = @_;
	$self->{before} = $self->counters;
	sql($self->{node}, "insert into musicverse.tracks (user_id, title)
		select ('00000000-0000-4000-8000-' || lpad((i % $self->{webhooks} + 1)::text, 12, '0'))::uuid, repeat('x', 200) from generate_series(1, $count) i");
	$self->{start} = Time::HiRes::time();
}

# What follows is counted from here on
sub mark
{
	my ($self) = @_;
	$self->{before} = $self->counters;
	$self->{start}  = Time::HiRes::time();
}

# Waits until so many more are delivered (or attempts made). Memory: the peak,
# that after a quarter of the way, and at the end.
sub watch
{
	my ($self, $what, $count, $seconds) = @_;
	my %run = (peak => 0);
	wait_for(sub {
		my $done = $self->counters->{$what} - $self->{before}{$what};
		my $rss  = rss($self->{pid});
		$run{peak} = $rss if $rss > $run{peak};
		$run{quarter} //= $rss if $done >= $count / 4;
		$run{end} = $rss;
		return 1 if $done >= $count;
		Time::HiRes::sleep(0.1);
		return 0;
	}, $seconds, "$count $what");
	$run{seconds} = Time::HiRes::time() - $self->{start};
	return \%run;
}

1;

# What the TAP tests stand on: clusters with the extension loaded, the receiver
# of the sandbox, waiting for conditions, SQL and HTTP in one line each.
#
#   use MusicVerse::Test;
#   my $node     = new_cluster('main');
#   my $receiver = start_receiver();
#   sql($node, 'select musicverse.emit_event(...)');
#   wait_for(sub { $receiver->requests('a') >= 1 }, 10, 'the delivery of the event');
#
# Promises: nothing sleeps in place of a condition; every wait has a deadline
# and dies naming what it waited for; clusters listen on a Unix socket only;
# every process started here is stopped when the test ends, also when it dies,
# and the receiver also when the test is killed. Importing it imports strict,
# warnings, Test::More, PostgreSQL::Test::Utils and what is listed below.
package MusicVerse::Test;

use strict;
use warnings;

use Carp qw(croak);
use Cwd qw(abs_path);
use Exporter ();
use File::Basename qw(dirname);
use HTTP::Tiny;
use IO::Select ();
use IPC::Open3 qw(open3);
use JSON::PP ();
use List::Util ();
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils ();
use Test::More ();
use Time::HiRes ();

our @ISA    = qw(Exporter);
our @EXPORT = qw(
  $root new_cluster set_conf start_receiver start_process stop_process wait_for wait_for_sql
  sql sql_row sql_rows sql_json sql_error sql_value lit user session
  json from_json http http_json
);

our $root = dirname(dirname(dirname(dirname(abs_path(__FILE__)))));

my $coder = JSON::PP->new->utf8->canonical->allow_nonref;
my %processes;    # pid => name: what we started and have to stop
my $main_pid = $$;

# A test that is told to end must come to its END blocks, which stop servers
$SIG{$_} = sub { die "ended by a signal\n" } foreach qw(TERM INT HUP);

sub import
{
	my $caller = caller;
	strict->import;
	warnings->import;
	eval "package $caller; use Test::More; use PostgreSQL::Test::Cluster; use PostgreSQL::Test::Utils; 1" or die $@;
	__PACKAGE__->export_to_level(1, @_);
}

# ---- clusters -----------------------------------------------------------

# new_cluster(name, setting => value, ..., -option => value, ...)
#
# A running cluster with the extension's library loaded and its workers serving
# database postgres. Settings are added to postgresql.conf, quoted as needed;
# undef leaves the default out. Options:
#   -extension => 0   don't create the extension in database postgres
#   -start => 0       only initialise
#   -preload => 0     without shared_preload_libraries
#   -init => [...]    arguments of PostgreSQL::Test::Cluster's init
# The tests' receivers are on loopback and speak plain HTTP, so that is allowed
# here, and the clock can be moved.
sub new_cluster
{
	my ($name, %given) = @_;
	my %option = map { $_ => delete $given{$_} } grep { /^-/ } keys %given;
	my $preload = $option{-preload} // 1;
	my %conf = (
		fsync                         => 'off',
		synchronous_commit            => 'on',
		max_connections               => 50,
		max_worker_processes          => 16,
		shared_buffers                => '64MB',
		restart_after_crash           => 'on',
		log_statement                 => 'none',
		log_replication_commands      => 'off',
		log_line_prefix               => '%m [%p] %b %q%a ',
		timezone                      => 'UTC',
		$preload
		? ( shared_preload_libraries      => 'musicverse',
			'musicverse.databases'        => 'postgres',
			'musicverse.allow_http'       => 'on',
			'musicverse.allowed_networks' => '127.0.0.0/8, ::1/128',
			'musicverse.test_clock'       => 'on')
		: (),
		%given);

	my ($unknown) = grep { !/^-(extension|start|preload|init)$/ } keys %option;
	croak "new_cluster: unknown option \"$unknown\"" if defined $unknown;

	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(extra => [ '--no-locale', '--encoding=UTF8' ], @{ $option{-init} // [] });
	set_conf($node, %conf);
	return $node if defined $option{-start} && !$option{-start};

	$node->start;
	sql($node, 'create extension musicverse') if $option{-extension} // 1;
	return $node;
}

# Appends settings; the caller reloads or restarts.
sub set_conf
{
	my ($node, %conf) = @_;
	my $text = '';
	foreach my $key (sort keys %conf)
	{
		next unless defined $conf{$key};
		(my $value = $conf{$key}) =~ s/'/''/g;
		$text .= "$key = '$value'\n";
	}
	$node->append_conf('postgresql.conf', $text);
}

# ---- SQL ----------------------------------------------------------------
# Each takes a cluster, or a pair [cluster, database], and a query.

sub target
{
	my ($where) = @_;
	return ref $where eq 'ARRAY' ? @$where : ($where, 'postgres');
}

# Runs statements; returns psql's unaligned output; dies on an error.
sub sql
{
	my ($where, $query, %psql) = @_;
	my ($node, $database) = target($where);
	my ($status, $stdout, $stderr) = $node->psql($database, $query, on_error_die => 0, %psql);
	croak "sql failed: $stderr\nin: $query" if $status != 0;
	return $stdout;
}

# The rows of a query, each a hash by column; types as JSON has them
sub sql_rows
{
	my ($where, $query) = @_;
	my $text = sql($where, "select coalesce(json_agg(row_to_json(q)), '[]') from ($query) q");
	return @{ from_json($text) };
}

sub sql_row
{
	my ($where, $query) = @_;
	my @rows = sql_rows($where, $query);
	croak 'sql_row: ' . @rows . " rows, not one, from: $query" if @rows != 1;
	return $rows[0];
}

# The one value of a query, and the same decoded from JSON
sub sql_value
{
	my ($where, $query) = @_;
	my $row = sql_row($where, $query);
	croak "sql_value: not one column from: $query" if keys %$row != 1;
	return (values %$row)[0];
}

sub sql_json
{
	my ($where, $query) = @_;
	my $text = sql($where, $query);
	return $text eq '' ? undef : from_json($text);
}

# The error that statements raise, as { sqlstate, message, detail, hint };
# undef when they succeed.
sub sql_error
{
	my ($where, $query) = @_;
	my ($node, $database) = target($where);
	my ($status, $stdout, $stderr) = $node->psql($database, "\\set VERBOSITY verbose\n$query");
	return undef if $status == 0;
	my ($severity, $sqlstate, $message) = $stderr =~ /(ERROR|FATAL|PANIC):  ([0-9A-Z]{5}): (.*)/
	  or croak "sql_error: no error in: $stderr";
	my ($detail) = $stderr =~ /^DETAIL:  (.*)/m;
	my ($hint)   = $stderr =~ /^HINT:  (.*)/m;
	return { sqlstate => $sqlstate, message => $message, detail => $detail, hint => $hint };
}

# A session that stays open (PostgreSQL::Test::BackgroundPsql): ->query_safe, ->quit
sub session
{
	my ($where, %options) = @_;
	my ($node, $database) = target($where);
	return $node->background_psql($database, on_error_stop => 0, %options);
}

# A value as an SQL literal; references become jsonb.
sub lit
{
	my ($value) = @_;
	return 'null' unless defined $value;
	my $cast = '';
	($value, $cast) = (json($value), '::jsonb') if ref $value;
	my $escape = $value =~ s/\\/\\\\/g ? ' E' : '';
	$value =~ s/'/''/g;
	return "$escape'$value'$cast";
}

# The id of a user, the same for the same number
sub user
{
	my ($number) = @_;
	return sprintf '00000000-0000-4000-8000-%012d', $number // 1;
}

# ---- waiting ------------------------------------------------------------

# Calls the sub every 20 ms until it returns something true, and returns that.
# Dies after so many seconds, naming what was waited for.
sub wait_for
{
	my ($condition, $seconds, $what) = @_;
	my $end = Time::HiRes::time() + ($seconds // 30);
	while (1)
	{
		my $value = $condition->();
		return $value if $value;
		croak 'waited ' . ($seconds // 30) . ' s in vain for ' . ($what // 'a condition')
		  if Time::HiRes::time() > $end;
		Time::HiRes::sleep(0.02);
	}
}

# The same for a query that is to return the text expected, by default "t".
# One session polls, so that waiting costs the server little; it connects again
# when the server restarts, and an error only means: not yet.
sub wait_for_sql
{
	my ($where, $query, $expected, $seconds, $what) = @_;
	my ($node, $database) = target($where);
	my @psql = ('psql', '-X', '-A', '-t', '-q', '-d', $node->connstr($database));
	my ($pid, $in, $out, $select);
	my ($round, $last) = (0, '');
	my $give_up = Time::HiRes::time() + ($seconds // 30);
	$expected //= 't';

	my $hang_up = sub {
		return unless $pid;
		local ($?, $SIG{PIPE}) = (0, 'IGNORE');
		close $in;
		kill TERM => $pid;
		waitpid($pid, 0);
		undef $pid;
	};
	my $ask = sub {
		local $SIG{PIPE} = 'IGNORE';
		if (!$pid)
		{
			$pid    = open3($in, $out, undef, @psql);
			$select = IO::Select->new($out);
		}
		my $mark = 'answered ' . ++$round;
		my $text = '';
		syswrite $in, "$query\n;\n\\echo $mark\n";
		while ($text !~ s/(^|\n)\Q$mark\E\n\z//)
		{
			return undef unless $select->can_read(List::Util::max(0.1, $give_up - Time::HiRes::time()));
			if (!sysread $out, $text, 65536, length $text)
			{
				$last = $text;
				$hang_up->();
				return undef;
			}
		}
		$last = $text;
		return $text eq $expected;
	};
	my $done  = eval { wait_for($ask, $seconds, $what // $query) };
	my $error = $@;
	$hang_up->();
	return 1 if $done;
	$error =~ s/ at \S+ line \d+\.?\n.*//s;
	croak "$error; expected \"$expected\", last seen \"$last\"";
}

# ---- JSON and HTTP ------------------------------------------------------

sub json      { return $coder->encode($_[0]); }
sub from_json { my ($text) = @_; utf8::encode($text) if utf8::is_utf8($text); return $coder->decode($text); }

my $http;

# http('PUT', url, body, { header => value }): HTTP::Tiny's response. Never dies
# because of the status; a failed connection has status 599.
sub http
{
	my ($method, $url, $body, $headers, %options) = @_;
	$http //= HTTP::Tiny->new(timeout => 30, max_redirect => 0, verify_SSL => 0, proxy => undef, http_proxy => undef, https_proxy => undef);
	my $client = %options ? HTTP::Tiny->new(timeout => 30, max_redirect => 0, proxy => undef, http_proxy => undef, https_proxy => undef, %options) : $http;
	my %request;
	$request{content} = ref $body ? json($body) : $body if defined $body;
	$request{headers} = { ref $body ? ('content-type' => 'application/json') : (), %{ $headers // {} } };
	return $client->request($method, $url, \%request);
}

# The same, decoded; dies unless it was a success.
sub http_json
{
	my ($method, $url, $body, $headers) = @_;
	my $response = http($method, $url, $body, $headers);
	croak "$method $url: $response->{status} $response->{reason} $response->{content}" unless $response->{success};
	return length($response->{content} // '') ? from_json($response->{content}) : undef;
}

# ---- processes ----------------------------------------------------------

# start_process(name, command, ...): (pid, handle of its standard output). Its
# error output goes to the test's log folder. The kernel ends it with us.
sub start_process
{
	my ($name, @command) = @_;
	my $log = "$PostgreSQL::Test::Utils::log_path/$name.log";

	pipe(my $read, my $write) or croak "pipe: $!";
	my $pid = fork // croak "fork: $!";
	if ($pid == 0)
	{
		close $read;
		open STDIN, '<', '/dev/null';
		open STDERR, '>>', $log;
		POSIX::dup2(fileno($write), 1);
		exec('setpriv', '--pdeathsig', 'TERM', @command) or POSIX::_exit(127);
	}
	close $write;
	$processes{$pid} = $name;
	return ($pid, $read);
}

# Ends a process that was started here; returns its wait status.
sub stop_process
{
	my ($pid, $signal) = @_;
	croak "stop_process: $pid was not started here" unless delete $processes{$pid};
	local $?;
	kill $signal // 'TERM' => $pid;
	my $end = Time::HiRes::time() + 5;
	while ((my $got = waitpid($pid, POSIX::WNOHANG())) == 0)
	{
		kill KILL => $pid if Time::HiRes::time() > $end;
		Time::HiRes::sleep(0.01);
	}
	return $?;
}

my $receivers = 0;

# Starts sandbox/receiver.js with the arguments given.
sub start_receiver
{
	my (@arguments) = @_;
	my $name = 'receiver_' . ++$receivers;
	my ($pid, $out) = start_process($name, 'node', "$root/sandbox/receiver.js", @arguments);
	my $line = eval {
		local $SIG{ALRM} = sub { die "no line after 20 s\n" };
		alarm 20;
		my $read = <$out>;
		alarm 0;
		$read;
	};
	alarm 0;
	if (!defined $line)
	{
		stop_process($pid);
		my $log = PostgreSQL::Test::Utils::slurp_file("$PostgreSQL::Test::Utils::log_path/$name.log");
		croak "the receiver did not start: $log";
	}
	return bless { %{ from_json($line) }, pid => $pid, out => $out }, 'MusicVerse::Test::Receiver';
}

END
{
	my $status = $?;
	if ($$ == $main_pid)
	{
		stop_process($_) foreach keys %processes;
	}
	$? = $status;
}

# One receiver process; a name is one endpoint of it, made by its first use.
package MusicVerse::Test::Receiver;

use strict;
use warnings;

sub port       { return $_[0]{port}; }
sub https_port { return $_[0]{https_port}; }
sub pid        { return $_[0]{pid}; }
sub base       { return "http://" . ($_[0]{host} =~ /:/ ? "[$_[0]{host}]" : $_[0]{host}) . ":$_[0]{port}"; }

# Where deliveries for the endpoint go; url(name, 'https') for the TLS port
sub url
{
	my ($self, $name, $scheme) = @_;
	return $self->base . "/hook/$name" if ($scheme // 'http') eq 'http';
	return "https://localhost:$self->{https_port}/hook/$name";
}

# Tells the endpoint how to behave, by the fields of the receiver's control
# document; undef forgets what was told and what was received.
sub control
{
	my ($self, $name, $how) = @_;
	my $url = $self->base . "/control/$name";
	return MusicVerse::Test::http_json('DELETE', $url) unless defined $how;
	return MusicVerse::Test::http_json('PUT', $url, $how);
}

# What the endpoint has counted: received, verified, duplicates, ids, last, ...
sub stats
{
	my ($self, $name) = @_;
	return MusicVerse::Test::http_json('GET', $self->base . "/control/$name");
}

# The requests remembered, oldest first; in scalar context their number
sub requests
{
	my ($self, $name) = @_;
	my (@all, $list);
	do
	{
		my $after = @all ? $all[-1]{seq} : 0;
		$list = MusicVerse::Test::http_json('GET', $self->base . "/requests/$name?after=$after&limit=1000");
		push @all, @$list;
	} while (@$list == 1000);
	return @all;
}

# The distinct webhook-ids received, oldest first
sub ids
{
	my ($self, $name) = @_;
	return split /\n/, MusicVerse::Test::http('GET', $self->base . "/ids/$name")->{content};
}

# Waits until counters of the endpoint are at least so high, e.g.
# wait_stats('a', 30, verified => 3); returns all of them.
sub wait_stats
{
	my ($self, $name, $seconds, %least) = @_;
	my $query = join '&', map { "$_=$least{$_}" } sort keys %least;
	my $give_up = Time::HiRes::time() + $seconds;
	while (1)
	{
		my $left = int(1000 * ($give_up - Time::HiRes::time()));
		$left = $left > 20000 ? 20000 : $left < 1 ? 1 : $left;
		my $answer = MusicVerse::Test::http('GET', $self->base . "/wait/$name?$query&timeout_ms=$left");
		return MusicVerse::Test::from_json($answer->{content}) if $answer->{status} == 200;
		next if $answer->{status} == 408 && Time::HiRes::time() < $give_up;
		Carp::croak("waited $seconds s in vain for $query at \"$name\": $answer->{status} $answer->{content}");
	}
}

# Waits until so many requests have come, and returns them all.
sub wait_requests
{
	my ($self, $name, $count, $seconds) = @_;
	$self->wait_stats($name, $seconds // 30, received => $count);
	return $self->requests($name);
}

sub stop
{
	my ($self) = @_;
	MusicVerse::Test::stop_process(delete $self->{pid}) if $self->{pid};
}

sub DESTROY { }

1;

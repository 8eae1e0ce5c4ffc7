# What the tests of the gateway share: a cluster that serves on a port of its
# own choice on loopback, and bytes on a socket, as no library would send them.
#
#   my $node = gateway_cluster('main', 'musicverse.gateway_workers' => 2);
#   my $port = gateway_port($node);
#   my $answer = ask($port, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
#   is($answer->{status}, 200);
#   ok(!$answer->{closed});
package MusicVerse::Gateway;

use strict;
use warnings;

use Carp qw(croak);
use Exporter qw(import);
use IO::Select;
use IO::Socket::IP;
use MusicVerse::Test ();
use Socket qw(SOCK_STREAM);
use Time::HiRes qw(time);

our @EXPORT = qw(gateway_cluster gateway_port free_port dial send_bytes read_answer read_rest ask base dispatcher_is_there);

# new_cluster() with one worker of the gateway on a port of its choice
sub gateway_cluster
{
	my ($name, %conf) = @_;
	my $node = MusicVerse::Test::new_cluster($name,
		'musicverse.gateway_workers' => 1,
		'musicverse.gateway_listen'  => '127.0.0.1:0',
		%conf);
	gateway_port($node) unless exists $conf{-extension};
	return $node;
}

# Waits until all workers listen; the port of the first address
sub gateway_port
{
	my ($node) = @_;
	MusicVerse::Test::wait_for_sql($node,
		q{select count(*) = current_setting('musicverse.gateway_workers')::int from musicverse.gateway_status where state = 'listening'},
		't', 30, 'the gateway to listen');
	return MusicVerse::Test::sql($node, q{select distinct port from musicverse.gateway_status where state = 'listening'});
}

sub base { my ($port) = @_; return "http://127.0.0.1:$port"; }

# A port that nobody listens on now
sub free_port
{
	my $probe = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 0, Listen => 1, Type => SOCK_STREAM) or croak "cannot listen: $@";
	return $probe->sockport;
}

sub dial
{
	my ($port, %options) = @_;
	return IO::Socket::IP->new(PeerHost => $options{host} // '127.0.0.1', PeerPort => $port, Type => SOCK_STREAM, Timeout => 10,
		$options{from} ? (LocalHost => $options{from}) : ());
}

sub send_bytes
{
	my ($socket, $bytes) = @_;
	local $SIG{PIPE} = 'IGNORE';
	my $at = 0;
	while ($at < length $bytes)
	{
		my $n = syswrite $socket, $bytes, length($bytes) - $at, $at;
		return 0 unless defined $n;
		$at += $n;
	}
	return 1;
}

# One answer from the socket, which keeps what comes behind it in %rest: status,
# headers (hash, small letters), body, closed (the peer has closed behind it),
# 100 when "100 Continue" came first. status is 0 when there was none in time.
my %rest;

sub read_answer
{
	my ($socket, $method, $seconds) = @_;
	my $buffer = delete $rest{$socket} // '';
	my $select = IO::Select->new($socket);
	my $end    = time + ($seconds // 10);
	my $closed = 0;
	my $answer = { status => 0, headers => {}, body => '', closed => 0, continued => 0 };
	my $more = sub {
		return 0 if $closed;
		my $left = $end - time;
		return 0 if $left <= 0 || !$select->can_read($left);
		my $n = sysread $socket, $buffer, 65536, length $buffer;
		$closed = 1 unless $n;
		return $n;
	};

	while (1)
	{
		while ($buffer !~ /\r\n\r\n/) { last unless $more->(); }
		last unless $buffer =~ s/\A(HTTP\/1\.[01] (\d{3}) .*?\r\n)\r\n//s;
		my ($head, $status) = ($1, $2);
		if ($status == 100) { $answer->{continued} = 1; next; }
		$answer->{status}  = $status;
		$answer->{headers} = { map { /^([^:]+):\s*(.*)$/ ? (lc $1 => $2) : () } split /\r\n/, $head };
		last;
	}
	if ($answer->{status})
	{
		my $length = $answer->{headers}{'content-length'} // 0;
		$length = 0 if ($method // 'GET') eq 'HEAD' || $answer->{status} == 304 || $answer->{status} == 204;
		while (length $buffer < $length) { last unless $more->(); }
		$answer->{body} = substr $buffer, 0, $length, '';
		# closing follows at once or not at all
		if (lc($answer->{headers}{connection} // '') eq 'close') { 1 while $more->(); }
	}
	$answer->{closed} = $closed;
	$rest{$socket} = $buffer;
	return $answer;
}

# Everything until the peer closes or the seconds are over; the second value tells which
sub read_rest
{
	my ($socket, $seconds) = @_;
	my $buffer = delete $rest{$socket} // '';
	my $select = IO::Select->new($socket);
	my $end    = time + ($seconds // 10);
	while ((my $left = $end - time) > 0)
	{
		next unless $select->can_read($left);
		return ($buffer, 1) unless sysread $socket, $buffer, 65536, length $buffer;
	}
	return ($buffer, 0);
}

# One connection, these bytes, the first answer
sub ask
{
	my ($port, $bytes, %options) = @_;
	my $socket = dial($port, %options) or return { status => 0, headers => {}, body => '', closed => 1, refused => 1 };
	send_bytes($socket, $bytes);
	my $answer = read_answer($socket, $bytes =~ /\AHEAD/ ? 'HEAD' : 'GET', $options{seconds});
	delete $rest{$socket};
	close $socket;
	return $answer;
}

# Whether operations can be called: makes one, GET /api/v1/gateway-test?ms=10,
# that sleeps so long.
sub dispatcher_is_there
{
	my ($node, $port) = @_;
	MusicVerse::Test::sql($node, q{
		create function musicverse_v1.gateway_test(ms int default 0) returns json language plpgsql stable set search_path = pg_catalog as $$
		begin
			perform pg_sleep(ms / 1000.0);
			return json_build_object('slept', ms);
		end
		$$;
		grant usage on schema musicverse_v1 to public;
		grant execute on function musicverse_v1.gateway_test(int) to public;
		insert into musicverse.routes (version, method, path, operation, needs_key, summary)
			values ('v1', 'GET', '/api/v1/gateway-test', 'gateway_test', false, 'Sleeps');
	});
	return ask($port, "GET /api/v1/gateway-test HTTP/1.1\r\nHost: a\r\n\r\n")->{body} =~ /slept/;
}

1;

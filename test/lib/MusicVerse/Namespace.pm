# A network and name service of a test's own: every address, public or private,
# is this machine, and names mean what the test says, for this process and all
# that it starts (servers too). Nothing of the system is changed: it is a user,
# a mount and a network namespace, which go away with the last process in them.
#
#   BEGIN { require MusicVerse::Namespace; MusicVerse::Namespace::enter(); }
#   use MusicVerse::Test;
#   my $why_not = MusicVerse::Namespace::missing();
#   my $dns = MusicVerse::Namespace->start_dns({ 'x.test' => { a => ['10.1.2.3'] } });
#
# enter() runs the script again inside, before anything else has begun. Where
# the machine doesn't allow that (containers that forbid user namespaces) it
# returns, and missing() says why. The user stays the same, since servers
# refuse root, and keeps rights over the new namespaces only.
package MusicVerse::Namespace;

use strict;
use warnings;

use File::Temp ();
use IO::Socket::INET ();
use POSIX ();
use Socket ();

my @unshare = qw(unshare --user --map-current-user --keep-caps --mount --net --);
my $dir;

sub missing { return $ENV{MV_NAMESPACE_MISSING}; }

sub enter
{
	if (!$ENV{MV_NAMESPACE})
	{
		my $why = qx{@unshare sh -c 'ip link set lo up && ip route add local 0.0.0.0/0 dev lo &&
			ip -6 route add local ::/0 dev lo && mount -t tmpfs none /mnt && test -r "\$0"' '$0' 2>&1};
		if ($? != 0)
		{
			$why =~ s/\s+/ /g;
			$ENV{MV_NAMESPACE_MISSING} = 'no private network and name service here: ' . ($why || 'files are not readable there');
			return;
		}
		$ENV{MV_NAMESPACE} = 1;
		$ENV{PERL5LIB} = join ':', @INC;
		exec @unshare, $^X, $0, @ARGV or die "cannot run unshare: $!\n";
	}

	$dir = File::Temp::tempdir('mv-names-XXXXXX', TMPDIR => 1, CLEANUP => 1);
	chmod 0755, $dir;
	run('ip link set lo up');
	run("ip $_ dev lo") foreach 'route add local 0.0.0.0/0', '-6 route add local ::/0';
	put('resolv.conf', "nameserver 127.0.0.53\noptions timeout:30 attempts:1\n");
	put('nsswitch.conf', "passwd: files\ngroup: files\nhosts: files dns\n");
	put('hosts', "127.0.0.1 localhost\n");
	# a cache of names would answer in our place
	-d $_ and run("mount -t tmpfs none $_") foreach '/run/nscd', '/var/run/nscd';
}

sub run
{
	my ($command) = @_;
	system("$command >&2") == 0 or die "failed: $command\n";
}

# Our own file in the place of one of /etc
sub put
{
	my ($name, $text) = @_;
	return if !-e "/etc/$name" && $name ne 'resolv.conf';
	open my $file, '>', "$dir/$name" or die "$dir/$name: $!";
	print $file $text;
	close $file;
	run("mount --bind $dir/$name /etc/$name");
}

# Answers for names: { a => [...], aaaa => [...] }, a list of such, one for each
# time that the A record is asked for (the last one stays), or 'silence'. Other
# names don't exist.
sub start_dns
{
	my ($class, $names) = @_;
	my $socket = IO::Socket::INET->new(Proto => 'udp', LocalAddr => '127.0.0.53', LocalPort => 53) or die "name server: $!";
	my $self   = bless { log => "$dir/queries" }, $class;
	open my $log, '>>', $self->{log} or die "$self->{log}: $!";
	my $parent = $$;
	$self->{pid} = fork // die "fork: $!";
	return $self if $self->{pid};

	$SIG{TERM} = sub { POSIX::_exit(0) };
	$SIG{ALRM} = sub { POSIX::_exit(0) if getppid() != $parent; alarm 1 };
	alarm 1;
	my %asked;
	while (1)
	{
		my $peer = $socket->recv(my $query, 1500) // next;
		my ($id, $labels) = unpack 'n x10 a*', $query;
		my @labels;
		while (length $labels and my $length = unpack 'C', $labels) { (my $label, $labels) = unpack 'C/a a*', $labels; push @labels, $label; }
		my $type = unpack 'x n', $labels;
		my $name = lc join '.', @labels;
		syswrite $log, "$name $type\n";

		my $record = $names->{$name};
		next if defined $record && $record eq 'silence';
		if (ref $record eq 'ARRAY')
		{
			my $times = $asked{$name} // 0;
			$asked{$name}++ if $type == 1;
			$record = $record->[ $times < @$record ? $times : -1 ];
		}
		my $list = $record && ($type == 1 ? $record->{a} : $type == 28 ? $record->{aaaa} : undef) || [];
		my $family = $type == 1 ? Socket::AF_INET() : Socket::AF_INET6();
		my @answers = map { pack 'n n n N n/a', 0xc00c, $type, 1, 0, Socket::inet_pton($family, $_) } @$list;
		my $question = join('', map { pack 'C/a', $_ } @labels) . pack 'C n n', 0, $type, 1;
		$socket->send(pack('n n n n n n', $id, 0x8580 | ($record ? 0 : 3), 1, scalar @answers, 0, 0) . $question . join('', @answers), 0, $peer);
	}
}

# The queries so far, as "name type"
sub queries
{
	my ($self) = @_;
	open my $log, '<', $self->{log} or die "$self->{log}: $!";
	chomp(my @lines = <$log>);
	return @lines;
}

sub stop
{
	my ($self) = @_;
	local $?;
	return unless $self->{pid};
	kill TERM => $self->{pid};
	waitpid delete $self->{pid}, 0;
}

# A receiver of TCP connections on the address, which tells to which addresses
# they were made and answers any request with 200: (port, sub that lists them)
sub start_listener
{
	my ($class, $address) = @_;
	require IO::Socket::IP;
	my $socket = IO::Socket::IP->new(Listen => 200, LocalHost => $address, LocalPort => 0, V6Only => 0) or die "listen on $address: $@";
	my $self   = bless { log => File::Temp::tempnam($dir, 'seen'), port => $socket->sockport }, $class;
	open my $log, '>>', $self->{log} or die "$self->{log}: $!";
	my $parent = $$;
	$self->{pid} = fork // die "fork: $!";
	return $self if $self->{pid};

	$SIG{TERM} = sub { POSIX::_exit(0) };
	$SIG{PIPE} = 'IGNORE';
	$SIG{ALRM} = sub { POSIX::_exit(0) if getppid() != $parent; alarm 1 };
	alarm 1;
	while (1)
	{
		my $client = $socket->accept or next;
		syswrite $log, $client->sockhost . "\n";
		my $text = '';
		1 while $text !~ /\r\n\r\n/ && sysread $client, $text, 65536, length $text;
		my ($head, $body) = split /\r\n\r\n/, $text, 2;
		my ($length) = ($head // '') =~ /^content-length: (\d+)/mi;
		1 while length($body // '') < ($length // 0) && sysread $client, $body, 65536, length $body;
		syswrite $client, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
	}
}

sub port { return $_[0]{port}; }

# Addresses that were connected to, in order; IPv4 ones in their own form
sub connections
{
	my ($self) = @_;
	open my $log, '<', $self->{log} or die "$self->{log}: $!";
	my @lines = <$log>;
	chomp @lines;
	s/^::ffff:// foreach @lines;
	return @lines;
}

sub DESTROY { $_[0]->stop if $_[0]{pid}; }

1;

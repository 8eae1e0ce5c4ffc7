# What the tests of streams share: a server without the extension that has
# test/stream's module, an HTTP server of sources and sinks, and real OpenSSH
# servers that are reached by SFTP.
#
#   my $http = MusicVerse::Stream::http_server();
#   my $sftp = MusicVerse::Stream::Sftp->start;
#   my $run  = stream_run($node, { source => { url => "$http->{base}/source?size=5" }, sink => $sftp->sink('a.wav') });
#   is($run->{jobs}[0]{failed}, 'none');
#
# The SSH server is the user's own: its configuration, keys and files are in a
# temporary folder. It can check keys; passwords it can only refuse, as those of
# the machine are not for it to read.
package MusicVerse::Stream;

use strict;
use warnings;

use Exporter qw(import);
use MusicVerse::Test;

our @EXPORT = qw(stream_cluster stream_run stream_job http_server);

my $servers = 0;

# A cluster with stream_run(jsonb), and nothing of the extension
sub stream_cluster
{
	my ($name, %conf) = @_;
	my $module = "$root/build/stream";
	my $built  = qx{"$root/test/stream/build.sh" "$module" 2>&1};
	die "test/stream/build.sh: $built" if $? != 0;
	my $node = new_cluster($name,
		-extension => 0,
		-preload   => 0,
		session_preload_libraries     => "$module/stream_test",
		'musicverse.allowed_networks' => '127.0.0.0/8',
		%conf);
	sql($node, "create function stream_run(jsonb) returns jsonb language c strict as '$module/stream_test'");
	return $node;
}

# Runs jobs side by side, and tells what came of them
sub stream_run { my ($node, @jobs) = @_; return sql_json($node, 'select stream_run(' . lit(\@jobs) . ')'); }

# One job, and what came of it
sub stream_job { my ($node, %job) = @_; return stream_run($node, \%job)->{jobs}[0]; }

sub http_server
{
	my ($pid, $out) = start_process('stream_http_' . ++$servers, 'node', "$root/test/stream/server.js");
	my $line = <$out> // die "test/stream/server.js did not start\n";
	my $port = from_json($line)->{port};
	return { pid => $pid, out => $out, port => $port, base => "http://127.0.0.1:$port" };
}

package MusicVerse::Stream::Sftp;

use strict;
use warnings;

use IO::Socket::IP;
use MusicVerse::Test;

# start(file_size => KiB): servers that can't write longer files, as on a full disk;
# start(log => 1): they tell what they do, see ->deeds
sub start
{
	my ($class, %option) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir();
	my $self = bless { dir => $dir, option => \%option, log => 'sshd_' . ++$servers }, $class;
	mkdir "$dir/files" or die "$dir/files: $!";
	$self->new_host_key;
	ssh_keygen("$dir/user_key");
	rename "$dir/user_key.pub", "$dir/authorized_keys" or die "$dir/authorized_keys: $!";
	$self->{key} = slurp_file("$dir/user_key");
	$self->{pidfile} = "$dir/sftp.pid";
	$self->limit($option{file_size});
	$self->run;
	return $self;
}

# What sessions that begin from now on can write; undef for all
sub limit
{
	my ($self, $file_size) = @_;
	my $dir   = $self->{dir};
	my $limit = $file_size ? "trap '' XFSZ; ulimit -f " . $file_size * 2 : ':';
	my $log   = $self->{option}{log} ? "-e -l INFO 2>>$dir/deeds" : '-l ERROR';
	append_to_file("$dir/serve.new", "#!/bin/sh\n$limit\necho \$\$ >>$self->{pidfile}\ncd $dir/files && exec " . sftp_server() . " $log\n");
	chmod 0755, "$dir/serve.new";
	rename "$dir/serve.new", "$dir/serve" or die "$dir/serve: $!";
	return;
}

# What the servers did, in order: "rename a b", "close a 5" (so many bytes were written), "remove a", "mkdir a", "opendir a"
sub deeds
{
	my ($self) = @_;
	my @deeds;
	foreach my $line (-e "$self->{dir}/deeds" ? split /\n/, slurp_file("$self->{dir}/deeds") : ())
	{
		my $own = qr/"\Q$self->{dir}\E\/files\/([^"]*?)\/?"/;
		if    ($line =~ /rename old $own new $own/)                      { push @deeds, "rename $1 $2"; }
		elsif ($line =~ /close $own bytes read \d+ written (\d+)/)       { push @deeds, "close $1 $2"; }
		elsif ($line =~ /(remove|mkdir|rmdir|opendir)(?: name)? $own/)    { push @deeds, "$1 $2"; }
	}
	return @deeds;
}

sub ssh_keygen
{
	my ($file) = @_;
	unlink $file, "$file.pub";
	system("ssh-keygen -q -t ed25519 -N '' -C '' -f '$file'") == 0 or die "ssh-keygen failed\n";
	return;
}

sub sshd { return (grep { -x } '/usr/sbin/sshd', '/usr/local/sbin/sshd')[0]; }
sub sftp_server { return (grep { -x } '/usr/lib/openssh/sftp-server', '/usr/libexec/openssh/sftp-server', '/usr/lib/ssh/sftp-server')[0]; }

# Another key: the server is to be restarted
sub new_host_key
{
	my ($self) = @_;
	ssh_keygen("$self->{dir}/host_key");
	($self->{fingerprint}) = qx{ssh-keygen -l -f "$self->{dir}/host_key.pub"} =~ /(SHA256:\S+)/ or die "no fingerprint\n";
	return;
}

sub run
{
	my ($self) = @_;
	my $dir = $self->{dir};
	$self->{port} //= do { my $probe = IO::Socket::IP->new(LocalHost => '127.0.0.1', LocalPort => 0, Listen => 1) or die "listen: $@"; $probe->sockport };
	my $conf = "$dir/sshd_config";
	unlink $conf;
	append_to_file($conf, <<"EOC");
ListenAddress 127.0.0.1
Port $self->{port}
HostKey $dir/host_key
PidFile none
AuthorizedKeysFile $dir/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication yes
KbdInteractiveAuthentication no
MaxStartups 100:100:200
MaxSessions 100
LogLevel ERROR
Subsystem sftp $dir/serve
EOC
	($self->{pid}, $self->{out}) = start_process($self->{log}, sshd(), '-D', '-e', '-f', $conf);
	wait_for(sub {
		my $socket = IO::Socket::IP->new(PeerHost => '127.0.0.1', PeerPort => $self->{port}) or return 0;
		return (<$socket> // '') =~ /^SSH-2\.0/;
	}, 20, 'sshd to listen');
	return;
}

sub stop { my ($self) = @_; stop_process($self->{pid}); return; }

# The processes that serve connections, oldest first
sub sessions { my ($self) = @_; return -e $self->{pidfile} ? split /\n/, slurp_file($self->{pidfile}) : (); }

# How a job names it
sub target
{
	my ($self) = @_;
	return (
		url       => "sftp://127.0.0.1:$self->{port}",
		user      => scalar getpwuid($>),
		key       => $self->{key},
		host_keys => $self->{fingerprint});
}

# A sink, a source, a list of commands there
sub sink   { my ($self, $path, %more) = @_; return { kind => 'sftp', $self->target, path => "$self->{dir}/files/$path", %more }; }
sub source { my ($self, $path, %more) = @_; return { $self->target, path => "$self->{dir}/files/$path", %more }; }
sub file   { my ($self, $path) = @_; return "$self->{dir}/files/$path"; }

1;

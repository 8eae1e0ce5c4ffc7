# A provider of music that misbehaves as jobs say: test/providers/misbehave.js
#
#   my $provider = MusicVerse::Provider->start;
#   $provider->configure($node, 'stub', poll_interval => 0.1);
#   my $job = $provider->generate($node, user(1), submit => [ { http => 503 }, {} ]);
#   wait_job($node, $job, 'completed');
package MusicVerse::Provider;

use strict;
use warnings;

use Exporter qw(import);
use MusicVerse::Test;

our @EXPORT = qw(wait_job job_row generate_job tracks_of work_row);

my $count = 0;

sub start
{
	my ($class) = @_;
	my ($pid, $out) = start_process('provider_' . ++$count, 'node', "$root/test/providers/misbehave.js");
	my $line = <$out>;
	die "the provider did not start\n" unless defined $line;
	return bless { %{ from_json($line) }, pid => $pid, out => $out }, $class;
}

sub base { my ($self) = @_; return "http://$self->{host}:$self->{port}"; }

sub stop { my ($self) = @_; stop_process($self->{pid}); return; }

sub configure
{
	my ($self, $node, $name, %config) = @_;
	my $credentials = delete $config{credentials} // { token => "token-of-$name" };
	sql($node, sprintf 'select musicverse.configure_provider(%s, %s, %s, %s)', lit($name), lit($self->base), lit($credentials), lit({ poll_interval => 0.1, %config }));
	return;
}

sub control { my ($self, %how) = @_; http_json('PUT', $self->base . '/control', \%how); return; }

# The requests so far, those of one job, those of one method
sub log
{
	my ($self, $key, $method) = @_;
	return grep { (!defined $key || ($_->{key} // '') eq $key) && (!defined $method || $_->{method} eq $method) } @{ http_json('GET', $self->base . '/log') };
}

sub generations { my ($self) = @_; return @{ http_json('GET', $self->base . '/generations')->{all} }; }
sub most        { my ($self) = @_; return http_json('GET', $self->base . '/generations')->{most}; }

# ---- jobs

sub generate_job
{
	my ($node, $user, %params) = @_;
	my $prompt = delete $params{prompt} // 'x';
	return sql($node, sprintf 'select musicverse.generate(%s, %s, params => %s)', lit($user), lit($prompt), lit(\%params));
}

sub job_row  { my ($node, $job) = @_; return sql_row($node, "select * from musicverse.generation_jobs where id = '$job'"); }
sub work_row { my ($node, $job) = @_; return sql_row($node, "select * from musicverse.generation_work where job_id = '$job'"); }

sub tracks_of
{
	my ($node, $job) = @_;
	return sql_rows($node, "select t.* from musicverse.tracks t join musicverse.generation_jobs j on j.track_id = t.id where j.id = '$job'");
}

sub wait_job
{
	my ($node, $job, $status, $seconds) = @_;
	wait_for_sql($node, "select status from musicverse.generation_jobs where id = '$job'", $status, $seconds // 30, "job $job to be $status");
	return job_row($node, $job);
}

1;

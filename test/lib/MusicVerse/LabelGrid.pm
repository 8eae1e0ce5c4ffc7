# A LabelGrid that does as it is told: test/partners/labelgrid.js
#
#   my $partner = MusicVerse::LabelGrid->start;
#   $partner->configure($node);
#   my $id = $partner->release($node, user(1), { title => 'Rain' });
#   wait_release($node, $id, 'live');
package MusicVerse::LabelGrid;

use strict;
use warnings;

use Exporter qw(import);
use MusicVerse::Test;

our @EXPORT = qw(wait_release targets_of submit secret_of_callbacks);

my $count  = 0;
my $secret = 'whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=';

sub start
{
	my ($class) = @_;
	my ($pid, $out) = start_process('labelgrid_' . ++$count, 'node', "$root/test/partners/labelgrid.js");
	my $line = <$out>;
	die "the partner did not start\n" unless defined $line;
	return bless { %{ from_json($line) }, pid => $pid, out => $out }, $class;
}

sub base { my ($self) = @_; return "http://$self->{host}:$self->{port}"; }

sub stop { my ($self) = @_; stop_process($self->{pid}); return; }

sub configure
{
	my ($self, $node, %config) = @_;
	my $credentials = delete $config{credentials} // { token => 'secret-token', callback_secret => $secret };
	sql($node, sprintf "select musicverse.configure_partner('labelgrid', %s, %s, %s)",
		lit($self->base), lit($credentials), lit({ poll_interval => 0.2, timeout => 5, label_id => 1, %config }));
	return;
}

sub secret_of_callbacks { return $secret; }

sub control { my ($self, %how) = @_; http_json('PUT', $self->base . '/control', \%how); return; }

sub statuses { my ($self, $id, %statuses) = @_; http_json('PUT', $self->base . '/statuses', { id => 0 + $id, statuses => \%statuses }); return; }

sub state { my ($self) = @_; return http_json('GET', $self->base . '/state'); }

# What it was asked, all or of one step
sub log
{
	my ($self, $step) = @_;
	return grep { !defined $step || $_->{step} eq $step } @{ http_json('GET', $self->base . '/log') };
}

# A release of so many tracks that is fit for all platforms; returns its id
sub release
{
	my ($self, $node, $user, $metadata, %with) = @_;
	my $n     = $with{tracks} // 1;
	my $base  = $self->base;
	my $files = $with{file} // 'a';
	return sql($node, sprintf q{with t as (insert into musicverse.tracks (user_id, title, style, audio_url, cover_url, duration)
		select %1$s, 'Song ' || i, 'Ambient', '%2$s/files/%6$s' || i || '.flac', '%2$s/files/cover.jpg', 60 from generate_series(1, %3$d) i returning id)
		select array_agg(id) as ids from t \gset
		select musicverse.create_distribution(%1$s, :'ids', %4$s, %7$s, %5$s)},
		lit($user), $base, $n, lit('{' . join(',', @{ $with{platforms} // [ 'spotify', 'deezer' ] }) . '}'),
		lit({ title => 'Rain', artist => 'Mira', label => 'Mira Records', language => 'en', p_line => '2026 Mira', c_line => '2026 Mira', %{ $metadata // {} } }),
		$files, lit($with{date}) . '::date');
}

# ---- releases

sub submit { my ($node, $id) = @_; sql($node, "select musicverse.submit_distribution('$id')"); return; }

sub wait_release
{
	my ($node, $id, $status, $seconds) = @_;
	wait_for_sql($node, "select status from musicverse.distributions where id = '$id'", $status, $seconds // 30, "release $id to be $status");
	return;
}

# "spotify live, deezer failed"
sub targets_of
{
	my ($node, $id) = @_;
	return sql($node, "select string_agg(platform || ' ' || status, ', ' order by platform) from musicverse.distribution_targets where distribution_id = '$id'");
}

1;

# The stand-ins for partners of distribution: sandbox/partners.js
#
#   my $partners = MusicVerse::Partners->start;
#   $partners->control(labelgrid => { pace_ms => 20, faults => [ { on => 'distribute', mode => 'lost', count => 1 } ] });
#   my $tokens = $partners->soundcloud_tokens;     # an approval without a browser
#   is($partners->counters('labelgrid')->{distributed}, 1, 'once');
#
# SoundCloud's traffic is judged by its own description when the file is found:
# the environment's SOUNDCLOUD_OPENAPI, or shared/ beside the project.
package MusicVerse::Partners;

use strict;
use warnings;

use Digest::SHA qw(sha256);
use MIME::Base64 qw(encode_base64url);
use MusicVerse::Test;

my $count = 0;

our %client = (client_id => 'sandbox-app', client_secret => 'sandbox-secret');
our $token  = 'sandbox-token';

sub description
{
	my ($file) = grep { defined && -f } $ENV{SOUNDCLOUD_OPENAPI}, map { "$root/$_/shared/soundcloud-openapi.yaml" } '..', '../..';
	return $file;
}

sub start
{
	my ($class, @arguments) = @_;
	my $file = description();
	my @judge = defined $file ? ('--soundcloud-openapi', $file, '--validate', "$root/test/judge-openapi/partner.cjs") : ();
	my ($pid, $out) = start_process('partners_' . ++$count, 'node', "$root/sandbox/partners.js", '--port', 0, '--token', $token,
		'--client-id', $client{client_id}, '--client-secret', $client{client_secret}, @judge, @arguments);
	my $line = <$out>;
	die "the partners did not start\n" unless defined $line;
	return bless { %{ from_json($line) }, pid => $pid, out => $out }, $class;
}

sub base { my ($self, $room) = @_; return "http://$self->{host}:$self->{port}" . ($room // ''); }
sub stop { my ($self) = @_; stop_process($self->{pid}); return; }

sub control  { my ($self, %how) = @_; return http_json('PUT', $self->base . '/control', \%how); }
sub forget   { my ($self) = @_; return http_json('DELETE', $self->base . '/control'); }
sub advance  { my ($self, $seconds) = @_; return $self->control(advance_ms => $seconds * 1000); }
sub counters { my ($self, $partner) = @_; return http_json('GET', $self->base . '/control')->{$partner}; }
sub records  { my ($self, $partner) = @_; return http_json('GET', $self->base . "/records/$partner"); }

sub form
{
	my (%fields) = @_;
	return join '&', map { join '=', map { s/([^\w.~-])/sprintf '%%%02X', ord $1/gre } $_, $fields{$_} } sort keys %fields;
}

# The answer of SoundCloud's page: where the browser is sent
sub authorize
{
	my ($self, %fields) = @_;
	return http('GET', $self->base('/soundcloud/authorize?')
		  . form(client_id => $client{client_id}, redirect_uri => 'https://musicverse.example/callback', response_type => 'code',
			code_challenge_method => 'S256', state => 'st&te', approve => 'yes', %fields));
}

sub soundcloud_token
{
	my ($self, %fields) = @_;
	return http('POST', $self->base('/soundcloud/oauth/token'), form(%client, %fields), { 'content-type' => 'application/x-www-form-urlencoded' });
}

# Approves and exchanges the code: { access_token, refresh_token, expires_in, ... }
sub soundcloud_tokens
{
	my ($self) = @_;
	my $verifier = 'v' x 43;
	my ($code) = $self->authorize(code_challenge => encode_base64url(sha256($verifier)))->{headers}{location} =~ /[?&]code=([^&]+)/;
	return from_json($self->soundcloud_token(grant_type => 'authorization_code', code => $code, code_verifier => $verifier,
			redirect_uri => 'https://musicverse.example/callback')->{content});
}

1;

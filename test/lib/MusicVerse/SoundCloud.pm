# Users who log in at SoundCloud, and releases for it: sandbox/partners.js
#
#   my $partners = MusicVerse::Partners->start;
#   configure_soundcloud($node, $partners);
#   log_in($node, $partners, user(1));
package MusicVerse::SoundCloud;

use strict;
use warnings;

use Exporter qw(import);
use MusicVerse::Partners;
use MusicVerse::Test;

our @EXPORT = qw(configure_soundcloud begin_login log_in account_of wait_account faults);

my $back = 'http://127.0.0.1:9/connected';

sub configure_soundcloud
{
	my ($node, $partners, %config) = @_;
	my $credentials = delete $config{credentials} // { %MusicVerse::Partners::client };
	sql($node, sprintf "select musicverse.configure_partner('soundcloud', %s, %s, %s)", lit($partners->base('/soundcloud')), lit($credentials),
		lit({ poll_interval => 0.2, timeout => 10, doubt_time => 3, analytics_interval => 604800, authorize_url => $partners->base('/soundcloud/authorize'), token_url => $partners->base('/soundcloud/oauth/token'),
			sign_out_url => $partners->base('/soundcloud/sign-out'), %config }));
	return;
}

# What the user's browser brings back: (state, code)
sub begin_login
{
	my ($node, $partners, $user) = @_;
	my $url    = sql($node, "select musicverse.partner_authorize_url('soundcloud', '$user', '$back')");
	my $answer = http('GET', "$url&approve=yes");
	my ($code, $state) = ($answer->{headers}{location} // '') =~ /^\Q$back\E\?code=([^&]+)&state=([^&]+)$/ or die "no code: $answer->{status} $answer->{content}\n";
	return ($state, $code);
}

sub account_of { my ($node, $user) = @_; return sql_row($node, "select * from musicverse.partner_accounts where partner = 'soundcloud' and user_id = '$user'"); }

sub wait_account
{
	my ($node, $user, $status) = @_;
	wait_for_sql($node, "select status from musicverse.partner_accounts where partner = 'soundcloud' and user_id = '$user'", $status, 60, "the account to be $status");
	return;
}

sub log_in
{
	my ($node, $partners, $user) = @_;
	my ($state, $code) = begin_login($node, $partners, $user);
	sql($node, "select musicverse.partner_authorized('soundcloud', '$state', '$code')");
	wait_account($node, $user, 'connected');
	return;
}

sub faults { my ($partners, @faults) = @_; $partners->control(soundcloud => { faults => \@faults }); return; }

1;

# Verifiers, which look releases up in the catalogues of sandbox/partners.js
#
#   my $partners = MusicVerse::Partners->start;
#   configure_lookup($node, $partners, 'spotify', recheck => 60);
#   shows($partners, spotify => { 'upc:4006381333931' => { title => 'Rain' } });
package MusicVerse::Lookups;

use strict;
use warnings;

use Exporter qw(import);
use MusicVerse::Partners;
use MusicVerse::Test;

our @EXPORT = qw(configure_lookup shows lies lookup_faults gtin);

my %credentials = (spotify => \%MusicVerse::Partners::client, apple => { token => $MusicVerse::Partners::token }, deezer => {});

sub configure_lookup
{
	my ($node, $partners, $dialect, %config) = @_;
	my $credentials = delete $config{credentials} // $credentials{$dialect};
	sql($node, sprintf "select musicverse.configure_partner(%s, %s, %s, %s)", lit("${dialect}_lookup"), lit($partners->base("/$dialect")), lit($credentials),
		lit({ poll_interval => 0.2, poll_interval_max => 1, timeout => 10, $dialect eq 'spotify' ? (token_url => $partners->base('/spotify/api/token')) : (), %config }));
	return;
}

# What catalogues have, and nothing else
sub shows { my ($partners, %catalogues) = @_; $partners->control(map { $_ => { catalogue => $catalogues{$_} } } keys %catalogues); return; }

sub lies { my ($partners, $lie, @dialects) = @_; $partners->control(map { $_ => { lie => $lie } } @dialects); return; }

sub lookup_faults { my ($partners, $dialect, @faults) = @_; $partners->control($dialect => { faults => \@faults }); return; }

# The n-th of our UPCs, with its check digit
sub gtin
{
	my ($n) = @_;
	my $body = sprintf '40063%07d', $n;
	my $sum = 0;
	my @digits = split //, $body;
	$sum += $digits[$_] * ($_ % 2 ? 3 : 1) foreach 0 .. 11;
	return $body . (10 - $sum % 10) % 10;
}

1;

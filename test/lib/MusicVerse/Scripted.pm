# A partner whose connector does what a script says: test/connector
#
#   my $node = scripted_cluster('uploads');
#   scripted($node, 'http://127.0.0.1:1234', { token => 'x' }, { timeout => 5 },
#       put => { method => 'PUT', path => '/a', source_url => $url });
#   my $id = carry($node);
#   wait_release($node, $id, 'live');
#   is(learned($node, $id)->{put}{bytes}, 17);
package MusicVerse::Scripted;

use strict;
use warnings;

use Exporter qw(import);
use MusicVerse::Test;

our @EXPORT = qw(scripted_cluster scripted carry learned work_of);

my $releases = 0;

sub scripted_cluster
{
	my ($name, %conf) = @_;
	my $module = "$root/build/connector";
	my $built  = qx{"$root/test/connector/build.sh" "$module" 2>&1};
	die "test/connector/build.sh: $built" if $? != 0;
	# its releases have no audio that is any
	return new_cluster($name, shared_preload_libraries => "musicverse, $module/connector_test", 'musicverse.inspect_audio' => 'off', %conf);
}

# Configures the partner. Steps are pairs of a name ("?name" takes refusals too) and a request.
sub scripted
{
	my ($node, $base, $credentials, $config, @steps) = @_;
	my @script;
	while (my ($step, $request) = splice @steps, 0, 2)
	{
		my $any = $step =~ s/^\?//;
		push @script, { step => $step, request => $request, $any ? (any => \1) : () };
	}
	my $kind = $base =~ /^sftp:/ ? 'ddex_sftp' : 'labelgrid';
	my $who  = { dpid => 'PADPIDA2012041004F' };
	sql($node, sprintf q{begin; select musicverse.configure_partner('scripted', %s, %s, %s); update musicverse.partners set connector = 'scripted' where name = 'scripted'; commit},
		lit($base), lit($credentials), lit({ connector => $kind, platforms => ['spotify'], timeout => 5, priority => 9, $kind eq 'ddex_sftp' ? (sender => $who, recipient => $who) : (), %$config, script => \@script }));
	return;
}

# A release for it, which is submitted
sub carry
{
	my ($node, $user) = @_;
	my $title = 'Song ' . ++$releases;
	my $id = sql($node, sprintf q{with t as (insert into musicverse.tracks (user_id, title, style, audio_url, cover_url, duration)
		values (%1$s, %2$s, 'Ambient', 'https://cdn.example.com/1.flac', 'https://cdn.example.com/1.jpg', 60) returning id)
		select array_agg(id) as ids from t \gset
		select musicverse.create_distribution(%1$s, :'ids', '{spotify}', null, %3$s)},
		lit($user // user(1)), lit($title),
		lit({ title => $title, artist => 'Mira', label => 'Mira Records', language => 'en', p_line => '2026 Mira', c_line => '2026 Mira' }));
	sql($node, "select musicverse.submit_distribution('$id')");
	return $id;
}

sub work_of { my ($node, $id) = @_; return sql_row($node, "select * from musicverse.distribution_work where distribution_id = '$id'"); }
sub learned { my ($node, $id) = @_; return work_of($node, $id)->{state}; }

1;

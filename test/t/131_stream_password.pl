# Passwords of SFTP servers. Those of the machine are not for a test to know, so
# the server sees another /etc/passwd: skipped where namespaces are not to be had.
BEGIN { require MusicVerse::Namespace; MusicVerse::Namespace::enter(); }
use MusicVerse::Test;
use MusicVerse::Stream;

plan(skip_all => MusicVerse::Namespace::missing()) if MusicVerse::Namespace::missing();

my $user = getpwuid($>);
my $word = 'the "right" one';
my $hash = crypt($word, '$6$salt$');
MusicVerse::Namespace::put('passwd', join '', map { s/^\Q$user\E:[^:]*:/$user:$hash:/r } split /^/, slurp_file('/etc/passwd'));

my $node = stream_cluster('main');
my $sftp = MusicVerse::Stream::Sftp->start;
sub by { my ($password, $name) = @_; return { source => { text => 'hello' }, sink => { %{ $sftp->sink($name) }, key => undef, password => $password } }; }

is(stream_job($node, %{ by($word, 'a') })->{failed}, 'none', 'the right password is taken');
is(slurp_file($sftp->file('a')), 'hello', 'and the file is there');
like(stream_job($node, %{ by('wrong', 'b') })->{error}, qr/refused the user or its credentials/, 'a wrong one is not');

# one after the other in one loop, which keeps connections
my @runs = map { from_json($_)->{jobs}[0] } split /\n/, sql($node, join ';', map { 'select stream_run(' . lit([$_]) . ')' } by($word, 'c'), by('wrong', 'd'));
is($runs[0]{failed}, 'none', 'on a connection that is kept');
like($runs[1]{error}, qr/refused the user or its credentials/, 'nobody comes in by the password of another');
ok(!-e $sftp->file('d'), 'or writes');

done_testing();

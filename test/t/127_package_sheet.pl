# The sheet of a package in a real browser: it is read with pleasure, by
# everybody, and does nothing, whatever a release is called. And what is written
# into packages from a database of another encoding; the examples of the page.
use lib 'test/lib';
use utf8;
use MusicVerse::Test;

my $node = new_cluster('sheet', 'musicverse.databases' => '');
my $tmp  = PostgreSQL::Test::Utils::tempdir();

# Files of a package, by their names without the folder, as bytes
sub contents
{
	my ($where, $release) = @_;
	my $input = { connector => 'bundle', scope => 'full', release => $release, form => sql_json($where, q{select musicverse._bundle_form('distrokid', 'DistroKid', '{}')}) };
	my $facts = { cover => { name => 'x/cover.png', bytes => 1, sha256 => 'c' x 64 }, tracks => [ map { { name => "x/$_.flac", bytes => 1, sha256 => 'd' x 64 } } 1 .. @{ $release->{tracks} } ] };
	my %got;
	local $ENV{PGCLIENTENCODING} = 'utf8';
	foreach my $row (sql_rows($where, sprintf q{select name, encode(content, 'hex') as bytes from musicverse._package_contents(%s, %s)}, lit($input), lit($facts)))
	{
		$got{ $row->{name} =~ s{.*/}{}r } = pack 'H*', $row->{bytes};
	}
	return \%got;
}

# ---- in the browser

my $release = { title => "Battle \x{202e}at Dawn", version_title => 'Deluxe', artists => [ { name => 'Mira', role => 'main' }, { name => 'مرحبا', role => 'featured' } ], label => '"><img src=x onerror=alert(1)>',
	genre => 'Orchestral', language => 'he', p_line => '2026 Mira', c_line => '2026 Mira', upc => '0614141123452', territories => ['Worldwide'], ai => { audio => 'all', artwork => 'partly' },
	cover_url => 'https://a.example.com/c', tracks => [
		{ title => 'Battle at Dawn', isrc => 'QZABC2600001', duration => 181, artists => [ { name => 'Mira', role => 'main' } ], audio_url => 'https://a.example.com/1' },
		{ title => '<script>alert(2)</script>', duration => 61, audio_url => 'https://a.example.com/2', explicit => \1 },
		{ title => 'שיר חדש <b onclick=alert(3)>', audio_url => 'https://a.example.com/3', language => 'he' },
		{ title => 'x' x 500, audio_url => 'https://a.example.com/4' },
		{ title => '🎵🎶 </section></dl><style>*{display:none}</style>', audio_url => 'https://a.example.com/5' } ] };
my $files = contents($node, $release);
mkdir "$tmp/package" or die $!;
sub put { my ($name, $bytes) = @_; open my $handle, '>:raw', "$tmp/package/$name" or die $!; print $handle $bytes; close $handle; return; }
put($_, $files->{$_}) foreach keys %$files;
put('cover.png', pack 'H*', sql($node, q{select encode(musicverse.cover_art('Battle at Dawn', 'Mira', 'orchestral', size => 300), 'hex')}));

SKIP:
{
	-e "$root/test/browser/node_modules/playwright-core" or skip 'test/browser is not installed', 1;
	my ($chromium) = grep { -x } ($ENV{CHROMIUM} // (), '/usr/bin/chromium', '/usr/bin/chromium-browser') or skip 'there is no chromium', 1;
	my $folder = "$PostgreSQL::Test::Utils::tmp_check/sheets";
	mkdir $folder;
	local $ENV{CHROMIUM} = $chromium;
	local $ENV{HOME} = $PostgreSQL::Test::Utils::tmp_check;
	open my $tap, '-|', 'timeout', '120', 'node', "$root/test/browser/sheet.mjs", "$tmp/package/sheet.html", $folder or die $!;
	my $count = 0;
	while (my $line = <$tap>)
	{
		if ($line =~ /^(not )?ok \d+ - (.*)/) { ok(!$1, $2); $count++ }
		elsif ($line =~ /^# (.*)/) { diag($1) }
	}
	close $tap;
	is($? >> 8, 0, 'the browser came to its end');
	is($count, 15, 'having looked at everything');
	is(scalar(grep { -s > 20000 } glob "$folder/*.png"), 4, 'and taken its pictures');
}

# ---- a database of another encoding

sql($node, q{create database latin encoding 'LATIN1' locale 'C' template template0});
sql([ $node, 'latin' ], 'create extension musicverse');
my $umlaut = { %$release, title => "Gr\x{fc}n", artists => [ { name => "M\x{ed}ra" } ], label => 'x', tracks => [ { title => "\x{c4}ra..", audio_url => 'https://a.example.com/1' } ] };
my ($one, $other) = map { contents($_, $umlaut) } $node, [ $node, 'latin' ];
is_deeply([ map { $other->{$_} eq $one->{$_} } sort keys %$one ], [ (1) x 3 ], 'of LATIN1 comes the same as of UTF-8');
is(sql([ $node, 'latin' ], q{select musicverse._safe_name(chr(196) || 'ra..', 20) = chr(196) || 'ra'}), 't', 'and names are the same');

# ---- the examples of the page

my $text = join "\n", slurp_file("$root/docs/packages.md") =~ /^```sql\n(.*?)^```/msg;
cmp_ok(length $text, '>', 800, 'packages.md has examples');
sql($node, 'create database page');
sql([ $node, 'page' ], 'create extension musicverse');
my ($status, $stdout, $stderr) = $node->psql('page', $text);
is("$status $stderr", '0 ', 'they run from top to bottom');
like($stdout, qr/^waiting\|1$/m, 'and tell what they say');

done_testing();

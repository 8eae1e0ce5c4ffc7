# The documentation page as it is installed and served by the gateway, in a real
# browser: it draws what the server's own description says, sends real requests,
# speaks two languages, and nobody is shut out.
use MusicVerse::Test;
use File::Basename qw(basename);

my $look = "$root/test/browser/look.mjs";
-e "$root/test/browser/node_modules/playwright-core" or plan skip_all => 'test/browser is not installed';
my ($chromium) = grep { -x } ($ENV{CHROMIUM} // (), '/usr/bin/chromium', '/usr/bin/chromium-browser') or plan skip_all => 'there is no chromium';

my $node = new_cluster('main', 'musicverse.gateway_workers' => 1, 'musicverse.gateway_listen' => '127.0.0.1:0');
my $key  = sql($node, "select musicverse.set_tier('" . user(1) . "', 'pro'); select key from musicverse.create_api_key('" . user(1) . "', 'page')");
wait_for_sql($node, "select count(*) > 0 from musicverse.gateway_status where state = 'listening'", 't', 60, 'the gateway');
my $base = 'http://127.0.0.1:' . sql($node, 'select port from musicverse.gateway_status limit 1');

# ---- what is served

my $page = http('GET', "$base/");
is("$page->{status} $page->{headers}{'content-type'}", '200 text/html; charset=utf-8', 'the page is at /');
is(http('GET', "$base/docs/")->{content}, $page->{content}, 'and at /docs/');
is(http('GET', "$base/docs")->{headers}{location}, '/docs/', 'to which /docs leads');
like($page->{headers}{'content-security-policy'}, qr/default-src 'self'/, 'it may load nothing from elsewhere');
unlike($page->{content}, qr{(?:src|href)="(?:https?:)?//}, 'and asks for nothing');

my $size = 0;
my @files = map { basename($_) } grep { !/\.gz$/ } glob "$root/web/docs/*";
foreach my $file ('/', map { "/docs/$_" } @files)
{
	my $answer = http('GET', "$base$file", undef, { 'accept-encoding' => 'gzip' });
	is($answer->{headers}{'content-encoding'}, 'gzip', "$file comes compressed");
	$size += length $answer->{content};
}
cmp_ok($size, '<', 60 * 1024, "all of it is $size bytes, compressed");
foreach my $version ('v1', 'v2')
{
	my $russian = slurp_file("$root/web/docs/russian.js");
	my @untold = grep { $russian !~ /\b\Q$_\E:/ } map { $_->{operation} } sql_rows($node, "select operation from musicverse.routes where version = '$version'");
	is("@untold", '', "each operation of $version has a name in Russian");
}
my $russian = slurp_file("$root/web/docs/russian.js");
is(join(' ', grep { $russian !~ /'\Q$_\E':/ } map { $_->{name} } sql_rows($node, 'select name from musicverse.event_types')), '', 'so has each event');

# ---- in the browser

my $folder = "$PostgreSQL::Test::Utils::tmp_check/pages";
mkdir $folder;
local $ENV{CHROMIUM} = $chromium;
local $ENV{HOME} = $PostgreSQL::Test::Utils::tmp_check;
open my $tap, '-|', 'timeout', '120', 'node', $look, $base, $key, $folder or die $!;
my $count = 0;
while (my $line = <$tap>)
{
	if ($line =~ /^(not )?ok \d+ - (.*)/) { ok(!$1, $2); $count++ }
	elsif ($line =~ /^# (.*)/) { diag($1) }
}
close $tap;
is($? >> 8, 0, 'the browser came to its end');
cmp_ok($count, '>', 20, 'having looked at everything');
my @pictures = glob "$folder/*.png";
cmp_ok(scalar(grep { -s > 20000 } @pictures), '==', 7, 'and taken its pictures');

done_testing();

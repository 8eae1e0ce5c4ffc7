# `make demo` tells the truth: it checks each of its claims, and comes to its end.
use MusicVerse::Test;

my $out = "$PostgreSQL::Test::Utils::log_path/demo.out";
local $ENV{PGBIN} = $ENV{PGBIN} // (split /:/, $ENV{PATH})[0];
is(system("timeout 400 node $root/sandbox/demo >$out 2>&1"), 0, 'the demonstration ends well') or diag(slurp_file($out));
my $text = slurp_file($out);
like($text, qr/^   all true, in [\d.]+ s$/m, 'everything it claims is true');
my ($wav) = $text =~ /listen to it: (.*\.wav)/;
ok($wav && -s $wav > 1_000_000, 'a piece of music is left to listen to');
is(() = $text =~ /✓/g, 32, 'nothing it shows is passed over');

done_testing();

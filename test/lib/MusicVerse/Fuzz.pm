# Builds test/fuzz with sanitizers and runs it; shared by a quick test and by the soak.
package MusicVerse::Fuzz;

use strict;
use warnings;

use MusicVerse::Test;

# Seconds in all, and the seed of the inputs. Skips the test where the compiler
# can't build programs with sanitizers.
sub run
{
	my ($seconds, $seed) = @_;
	my $dir   = PostgreSQL::Test::Utils::tempdir();
	my @flags = ('-fsanitize=address,undefined', '-fno-sanitize-recover=undefined');
	my $cc    = $ENV{CC} || 'cc';

	open my $probe, '>', "$dir/probe.c" or die "$dir/probe.c: $!";
	print $probe "int main(void) { return 0; }\n";
	close $probe;
	my $why = qx{$cc @flags -o "$dir/probe" "$dir/probe.c" 2>&1 && "$dir/probe" 2>&1};
	my $leaks = $? == 0 ? 1 : 0;
	if (!$leaks)
	{
		# Where a process may not be traced, leaks can't be looked for
		local $ENV{ASAN_OPTIONS} = 'detect_leaks=0';
		plan(skip_all => 'no sanitizers here: ' . ($why =~ s/\s+/ /gr)) if !-x "$dir/probe" || system("$dir/probe") != 0;
	}

	my $built = qx{"$root/test/fuzz/build.sh" "$dir/fuzz" @flags 2>&1};
	is($? == 0 ? '' : $built, '', 'the parsers build with sanitizers') or return;

	local $ENV{ASAN_OPTIONS}  = "detect_leaks=$leaks:abort_on_error=0";
	local $ENV{LSAN_OPTIONS}  = "suppressions=$root/test/fuzz/leaks:print_suppressions=0";
	local $ENV{UBSAN_OPTIONS} = 'print_stacktrace=1';
	open my $fuzz, '-|', "exec '$dir/fuzz/fuzz' $seconds $seed 2>&1" or die "fuzz: $!";
	my $rest = '';
	my $targets = 0;
	while (my $line = <$fuzz>)
	{
		if ($line =~ /^(\w+): (\d+) runs, \d+ errors$/)
		{
			cmp_ok($2, '>', 0, "$1 reads what it likes without harm");
			note($line);
			$targets++;
		}
		else { $rest .= $line; }
	}
	close $fuzz;
	is($?, 0, "seed $seed: no sanitizer had anything to report") or diag($rest);
	return $targets;
}

1;

# The parsers of foreign bytes under sanitizers, for longer and with inputs that
# are new every time: SOAK_SECONDS (default 300) and FUZZ_SEED.
use MusicVerse::Test;
use MusicVerse::Fuzz;

MusicVerse::Fuzz::run($ENV{SOAK_SECONDS} || 300, $ENV{FUZZ_SEED} || time);
done_testing();

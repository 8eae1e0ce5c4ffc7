# The parsers of foreign bytes, in a program of their own built with the
# address and undefined-behaviour sanitizers (test/fuzz): addresses and hosts,
# response headers and bodies, keys, signatures, settings, URLs, signed requests,
# what a state file holds, audio. Some seconds of inputs here, the same ones every time; test/soak/fuzz.pl takes longer and new ones.
use MusicVerse::Test;
use MusicVerse::Fuzz;

MusicVerse::Fuzz::run(14, 1);
done_testing();

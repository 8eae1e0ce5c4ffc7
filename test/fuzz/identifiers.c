/* Identifiers of the trade: whatever is normalised and valid has one form. */
#include "../../src/distribution/identifiers.c"

#include "fuzz.h"

static void
run_identifier(const char *data, size_t len)
{
	char		once[MV_IDENTIFIER_MAX];
	char		twice[MV_IDENTIFIER_MAX];
	size_t		n = mv_identifier_normalize(data, len, once);

	must(n <= len && n <= MV_IDENTIFIER_MAX);
	must(mv_identifier_normalize(once, n, twice) == n && memcmp(once, twice, n) == 0);
	for (int kind = MV_ISRC; kind <= MV_DPID; kind++)
	{
		char	   *exact = malloc(len);

		memcpy(exact, data, len);
		if (mv_identifier_is_valid(kind, exact, len))
			must(n == len && memcmp(once, data, n) == 0);
		mv_identifier_is_valid(kind, once, n);
		free(exact);
	}
}

static const char *const words[] = {
	"QZABC2600001", "0614141123452", "T0345246801", "000000012281955X", "A12425GABC1234002M", "PADPIDA2011072101T", "PADPIDA", "A1", "T", "X", "-", ".", " ",
	"0", "9", "\xc3\xa4", "\xff", NULL
};

const FuzzTarget identifiers_targets[] = {
	{"identifier", run_identifier, words},
	{0}
};

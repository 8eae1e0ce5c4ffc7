/* Paths of requests as PostgREST hands them on, and the schema that search_path begins with. */
#include "../../src/keys/operation.c"

#include "fuzz.h"

char	   *namespace_search_path = "musicverse_v1";

static void
run_path(const char *data, size_t len)
{
	char	   *decoded = palloc(MAX_PATH);
	int			n;

	if (memchr(data, 0, len) != NULL)
		return;
	n = decode(data, decoded);
	must(n <= (int) len && n <= MAX_PATH);
	if (n >= 0 && memchr(data, '%', len) == NULL)
		must(n == (int) len && memcmp(decoded, data, len) == 0);
	if (n >= 0)
	{
		find_route(decoded, n);
		find_rule("GET", decoded, n);
	}
}

static void
run_search_path(const char *data, size_t len)
{
	char		version[NAMEDATALEN];

	if (memchr(data, 0, len) != NULL)
		return;
	namespace_search_path = unconstify(char *, data);
	if (first_version(version))
		must(strlen(version) < len);
	namespace_search_path = "musicverse_v1";
}

static const char *const words[] = {
	"/rpc/", "%", "%2f", "%00", "%g0", "generate", "/", "musicverse_", "v1", "\"", ", ", " ", "public", "\"musicverse_v1\"", NULL
};

const FuzzTarget operation_targets[] = {
	{"operation_path", run_path, words},
	{"operation_search_path", run_search_path, words},
	{0}
};

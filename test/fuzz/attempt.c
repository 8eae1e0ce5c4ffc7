/* What is stored of a response: always text that the server takes, and JSON. */
#include "../../src/webhooks/attempt.c"

#include "fuzz.h"

static void
check_text(const text *value)
{
	must(pg_encoding_verifymbstr(PG_UTF8, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)) == VARSIZE_ANY_EXHDR(value));
	must(memchr(VARDATA_ANY(value), 0, VARSIZE_ANY_EXHDR(value)) == NULL);
}

static void
run_body(const char *data, size_t len)
{
	char	   *bytes = malloc(len);

	memcpy(bytes, data, len);
	check_text(attempt_clean_text(bytes, len));
	free(bytes);
}

static void
run_headers(const char *data, size_t len)
{
	char	   *lines = malloc(len);
	text	   *json;

	memcpy(lines, data, len);
	json = headers_json(lines, len);
	check_text(json);
	must(VARDATA_ANY(json)[0] == '{' && VARDATA_ANY(json)[VARSIZE_ANY_EXHDR(json) - 1] == '}');
	free(lines);
}

static const char *const words[] = {
	"Name: value\n", "\n", ":", "\"", "\\", "{", "}", " ", "\t", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xc3", "\xe2\x82", "\xed\xa0\x80", "\xff",
	"\xf4\x90\x80\x80", "\xc0\x80", "ok", NULL
};

const FuzzTarget attempt_targets[] = {
	{"response_text", run_body, words},
	{"response_headers", run_headers, words},
	{0}
};

/* The timestamp header that verify_webhook() reads. */
#include "../../src/webhooks/sign_sql.c"

#include "fuzz.h"

static void
run_timestamp(const char *data, size_t len)
{
	char	   *value = malloc(len);
	int64		ts;

	memcpy(value, data, len);
	if (parse_timestamp(value, len, &ts))
		must(ts >= 0);
	free(value);
}

static const char *const words[] = {"0", "1", "1773100800", "9223372036854775807", "99999999", " ", "-", "+", ".", "e", NULL};

const FuzzTarget timestamp_targets[] = {
	{"timestamp", run_timestamp, words},
	{0}
};

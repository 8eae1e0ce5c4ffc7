/* The setting musicverse.retry_schedule. */
#include "../../src/webhooks/outcome.c"

#include "fuzz.h"

static void
run_schedule(const char *data, size_t len)
{
	char	   *value;
	void	   *extra = NULL;

	if (memchr(data, 0, len) != NULL)
		return;
	value = pstrdup(data);
	if (outcome_check_schedule(&value, &extra, PGC_S_FILE))
	{
		Schedule   *schedule = extra;

		must(schedule->count >= 0 && schedule->count <= MAX_SCHEDULE);
		for (int i = 0; i < schedule->count; i++)
			must(schedule->seconds[i] >= 0 && schedule->seconds[i] <= 30 * SECS_PER_DAY);
		free(extra);
	}
}

static const char *const words[] = {
	"5s", "5min", "30m", "2h", "1d", "30d", "31d", "9223372036854775807", "-1", "0", ",", ", ", " ", "s", "h", "ms", "2592000", "99999999999999999999", NULL
};

const FuzzTarget schedule_targets[] = {
	{"retry_schedule", run_schedule, words},
	{0}
};

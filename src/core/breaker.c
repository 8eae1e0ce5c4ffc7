/*
 * Breakers. See breaker.h.
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "core/breaker.h"
#include "core/compat.h"

#define FIRST_MS	5000
#define LONGEST_MS	(5 * 60 * 1000)

bool
mv_breaker_note(MvBreaker *breaker, bool success, TimestampTz now, const char *kind, const char *name)
{
	bool		was_open = breaker->open_ms != 0;

	if (success)
	{
		if (was_open)
			ereport(LOG, (errmsg("%s \"%s\" answers again", kind, name)));
		breaker->failures = breaker->open_ms = 0;
		return was_open;
	}
	breaker->failures++;
	if (was_open ? breaker->open_until > now	/* one of those that were under way when it opened */
		: breaker->failures < MV_BREAKER_THRESHOLD)
		return false;
	if (!was_open)
		ereport(LOG, (errmsg("%s \"%s\" has failed %d times in a row: it is only probed", kind, name, breaker->failures)));
	breaker->open_ms = was_open ? Min(breaker->open_ms * 2, LONGEST_MS) : FIRST_MS;
	breaker->open_until = now + (int64) (breaker->open_ms * (0.8 + 0.4 * pg_prng_double(&pg_global_prng_state)) * 1000);
	return true;
}

bool
mv_breaker_allows(const MvBreaker *breaker, int in_flight, TimestampTz now)
{
	return breaker->open_ms == 0 || (breaker->open_until <= now && in_flight == 0);
}

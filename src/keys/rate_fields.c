/*
 * Header fields of a verdict. See rate_fields.h. Written without printf, as
 * every request has them.
 */
#include "postgres.h"

#include "keys/rate_fields.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static int64
whole_seconds(int64 us)
{
	return (us + USECS_PER_SEC - 1) / USECS_PER_SEC;
}

/* "name";a=1;b=2 */
static void
put(char *to, const char *name, const char *a, int64 a_value, const char *b, int64 b_value)
{
	*to++ = '"';
	to = stpcpy(to, name);
	*to++ = '"';
	to = stpcpy(to, a);
	to += pg_lltoa(a_value, to);
	to = stpcpy(to, b);
	pg_lltoa(b_value, to);
}

bool
mv_rate_fields(const MvVerdict *verdict, MvRateFields *fields)
{
	int64		t = whole_seconds(verdict->reset_us);

	fields->retry_after = 0;
	if (verdict->limit < 0)
		return false;
	if (!verdict->allowed && verdict->retry_us > 0)
	{
		fields->retry_after = whole_seconds(verdict->retry_us);
		t = Min(t, fields->retry_after);
	}
	StaticAssertStmt(sizeof(fields->policy) >= sizeof("\"address\";q=;w=") + 2 * MAXINT8LEN, "the longest policy fits");
	put(fields->policy, verdict->policy, ";q=", verdict->limit, ";w=", Max(whole_seconds(verdict->window_us), 1));
	put(fields->limit, verdict->policy, ";r=", verdict->remaining, ";t=", t);
	return true;
}

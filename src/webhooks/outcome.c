/*
 * What an answer means.
 *
 * 2xx is success, everything else a failure: redirects are not followed.
 * A failed delivery is tried again after a delay of the schedule, with full
 * jitter, until the schedule is used up; then it is given up. Retry-After of
 * 429 and 503 moves the next attempt and holds the whole endpoint, at most by
 * the schedule's longest delay. 410 disables the webhook at once.
 *
 * The breaker of an endpoint opens after so many failures in a row. While it
 * is open nothing is sent; when its time has passed one delivery goes as a
 * probe. Success closes it, and how many go at once starts small and doubles
 * with success; failure opens it for twice as long.
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "core/clock.h"
#include "core/compat.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "webhooks/worker_int.h"

#define BREAKER_FIRST_MS	5000
#define BREAKER_LONGEST_MS	(5 * 60 * 1000)
#define FIRST_WINDOW		2
#define MAX_SCHEDULE		100

char	   *mv_retry_schedule = NULL;
int		   *mv_retry_seconds = NULL;
int			mv_retry_count = 0;

/* What the check hook hands to the assign hook */
typedef struct Schedule
{
	int			count;
	int			seconds[MAX_SCHEDULE];
} Schedule;

/* "90", "5s", "30min", "2h", "1d"; -1 when it is none of these. */
static int64
parse_delay(const char *item)
{
	static const struct
	{
		const char *unit;
		int			seconds;
	}			units[] = {{"", 1}, {"s", 1}, {"min", 60}, {"m", 60}, {"h", 3600}, {"d", 86400}};
	char	   *end;
	long		value;

	errno = 0;
	value = strtol(item, &end, 10);
	if (end == item || errno != 0 || value < 0 || value > 30 * SECS_PER_DAY)
		return -1;
	while (*end == ' ')
		end++;
	for (int i = 0; i < lengthof(units); i++)
		if (strcmp(end, units[i].unit) == 0)
			return (int64) value * units[i].seconds;
	return -1;
}

bool
outcome_check_schedule(char **newval, void **extra, GucSource source)
{
	Schedule   *schedule = guc_malloc(LOG, sizeof(Schedule));
	char	   *copy = pstrdup(*newval);
	char	   *rest = copy;
	char	   *item;

	if (schedule == NULL)
		return false;
	schedule->count = 0;
	while ((item = strsep(&rest, ",")) != NULL)
	{
		int64		delay;
		char	   *end;

		while (*item == ' ')
			item++;
		for (end = item + strlen(item); end > item && end[-1] == ' '; end--)
			;
		*end = '\0';
		if (*item == '\0' && rest == NULL && schedule->count == 0)
			break;				/* empty: no second attempt */
		delay = parse_delay(item);
		if (delay < 0 || delay > 30 * SECS_PER_DAY || schedule->count == MAX_SCHEDULE)
		{
			if (schedule->count == MAX_SCHEDULE)
				GUC_check_errdetail("More than %d delays.", MAX_SCHEDULE);
			else
				GUC_check_errdetail("\"%s\" is not a delay of at most 30 days.", item);
			GUC_check_errhint("Give delays separated by commas, such as \"5s,5min,2h,1d\".");
			guc_free(schedule);
			return false;
		}
		schedule->seconds[schedule->count++] = (int) delay;
	}
	*extra = schedule;
	return true;
}

void
outcome_assign_schedule(const char *newval, void *extra)
{
	Schedule   *schedule = extra;

	mv_retry_seconds = schedule->seconds;
	mv_retry_count = schedule->count;
}

static int
longest_delay(const int *schedule, int n)
{
	int			longest = 0;

	for (int i = 0; i < n; i++)
		longest = Max(longest, schedule[i]);
	return longest;
}

/* ---- the breaker ---- */

static void
open_breaker(Endpoint *endpoint, TimestampTz now)
{
	double		jitter = 0.8 + 0.4 * pg_prng_double(&pg_global_prng_state);

	if (endpoint->breaker == BREAKER_CLOSED)
	{
		endpoint->open_ms = BREAKER_FIRST_MS;
		worker.open_breakers++;
	}
	else
		endpoint->open_ms = Min(endpoint->open_ms * 2, BREAKER_LONGEST_MS);
	endpoint->breaker = BREAKER_OPEN;
	endpoint->open_until = now + (int64) (endpoint->open_ms * jitter * 1000);
	endpoint->window = FIRST_WINDOW;
}

void
breaker_note(Endpoint *endpoint, bool success, TimestampTz now)
{
	if (success)
	{
		if (endpoint->breaker != BREAKER_CLOSED)
		{
			endpoint->breaker = BREAKER_CLOSED;
			endpoint->window = FIRST_WINDOW;
			worker.open_breakers--;
		}
		else if (endpoint->window < endpoint->max_concurrency)
			endpoint->window = Min(endpoint->window * 2, endpoint->max_concurrency);
		endpoint->failures = 0;
		return;
	}
	endpoint->failures++;
	endpoint->window = Max(FIRST_WINDOW, endpoint->window / 2);
	if (endpoint->breaker == BREAKER_HALF_OPEN ||
		(endpoint->breaker == BREAKER_CLOSED && endpoint->failures >= mv_breaker_threshold))
		open_breaker(endpoint, now);
}

/* ---- the verdict ---- */

/* Why it isn't a success, "" when it is. */
static void
describe(Exchange *exchange)
{
	MvTransfer *transfer = &exchange->transfer;

	if (transfer->code != CURLE_OK)
		strlcpy(exchange->error, transfer->error[0] ? transfer->error : curl_easy_strerror(transfer->code),
				sizeof(exchange->error));
	else if (transfer->status >= 300 && transfer->status < 400)
		snprintf(exchange->error, sizeof(exchange->error), "redirect (HTTP %ld) is not followed", transfer->status);
	else if (transfer->status < 200 || transfer->status > 299)
		snprintf(exchange->error, sizeof(exchange->error), "HTTP %ld", transfer->status);
	else
		exchange->error[0] = '\0';
}

static void
note_failure(Exchange *exchange, TimestampTz now)
{
	Endpoint   *endpoint = exchange->delivery->endpoint;

	if (endpoint->failing_since == 0)
		endpoint->failing_since = now;
	endpoint->last_failure = now;
	strlcpy(endpoint->last_error, exchange->error, sizeof(endpoint->last_error));
	if (mv_disable_after_interval > 0 &&
		now - endpoint->failing_since >= (int64) mv_disable_after_interval * USECS_PER_SEC)
		exchange->disable_reason = "failing for too long without a success";
}

static void
give_up(Exchange *exchange)
{
	Endpoint   *endpoint = exchange->delivery->endpoint;

	exchange->verdict = VERDICT_GIVEN_UP;
	endpoint->failure_count++;
	if (mv_disable_after > 0 && endpoint->failure_count >= mv_disable_after)
		exchange->disable_reason = "too many deliveries given up in a row";
}

/* Sets verdict, error, next attempt, and what is known of the endpoint. */
void
outcome_judge(Exchange *exchange, TimestampTz now)
{
	Delivery   *delivery = exchange->delivery;
	Endpoint   *endpoint = delivery->endpoint;
	MvTransfer *transfer = &exchange->transfer;
	const int  *schedule = endpoint->schedule != NULL ? endpoint->schedule : mv_retry_seconds;
	int			n = endpoint->schedule != NULL ? endpoint->schedule_len : mv_retry_count;
	int64		wait;

	describe(exchange);
	endpoint->state_dirty = true;
	if (exchange->error[0] == '\0')
	{
		exchange->verdict = VERDICT_DELIVERED;
		endpoint->failure_count = 0;
		endpoint->failing_since = 0;
		endpoint->last_success = now;
		breaker_note(endpoint, true, now);
		return;
	}

	note_failure(exchange, now);
	breaker_note(endpoint, false, now);
	if (transfer->code == CURLE_OK && transfer->status == 410)
	{
		give_up(exchange);
		exchange->disable_reason = "the endpoint answered 410 Gone";
		return;
	}
	if (delivery->attempts + 1 > n)
	{
		give_up(exchange);
		return;
	}

	exchange->verdict = VERDICT_RETRY;
	/* full jitter, but for a twentieth that keeps a retry from being no retry at all */
	wait = (int64) (schedule[delivery->attempts] * USECS_PER_SEC *
					(0.05 + 0.95 * pg_prng_double(&pg_global_prng_state)));
	if (transfer->retry_after >= 0 && (transfer->status == 429 || transfer->status == 503))
	{
		int64		asked = Min(transfer->retry_after, (long) longest_delay(schedule, n)) * USECS_PER_SEC;

		wait = Max(wait, asked);
		endpoint->not_before = Max(endpoint->not_before, now + asked);
	}
	exchange->next_attempt = now + wait;
}

/*
 * Which delivery goes next, and its request.
 *
 * Endpoints that have something to send take turns, one delivery a turn. An
 * endpoint is out of the round while it has as many in flight as its window
 * or its limit allow, while its breaker is open, its rate is used up or it
 * asked for time, and while its host or the share of the doubtful is full.
 * What may well hang or fail may have half of all places, so that a crowd of
 * dead endpoints leaves the other half to those that are known to answer.
 */
#include "postgres.h"

#include <math.h>

#include "core/catalog.h"
#include "core/clock.h"
#include "core/uuid7.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "webhooks/worker_int.h"

static slist_head spare_exchanges = SLIST_STATIC_INIT(spare_exchanges);

static Exchange *
exchange_new(void)
{
	Exchange   *exchange;

	if (slist_is_empty(&spare_exchanges))
		return MemoryContextAllocZero(TopMemoryContext, sizeof(Exchange));
	exchange = slist_container(Exchange, node, slist_pop_head_node(&spare_exchanges));
	memset(exchange, 0, sizeof(Exchange));
	return exchange;
}

void
exchange_free(Exchange *exchange)
{
	mv_transfer_release(&exchange->transfer);
	target_release(exchange->target);
	slist_push_head(&spare_exchanges, &exchange->node);
}

/* ---- whose turn it is ---- */

void
endpoint_unschedule(Endpoint *endpoint)
{
	switch (endpoint->place)
	{
		case PLACE_RUN:
		case PLACE_STALLED:
		case PLACE_BODY:
			dlist_delete(&endpoint->run_node);
			break;
		case PLACE_SLEEPING:
			pairingheap_remove(worker.sleeping, &endpoint->sleep_node);
			break;
		case PLACE_NOWHERE:
			break;
	}
	endpoint->place = PLACE_NOWHERE;
}

static void
sleep_until(Endpoint *endpoint, TimestampTz at)
{
	endpoint->wake_at = at;
	endpoint->place = PLACE_SLEEPING;
	pairingheap_add(worker.sleeping, &endpoint->sleep_node);
}

static void
stand_in(Endpoint *endpoint, dlist_head *list, EndpointPlace place)
{
	endpoint->place = place;
	dlist_push_tail(list, &endpoint->run_node);
}

/* How far the rate limit's arrival time may run ahead: a tenth of a second's worth. */
static int64
rate_tolerance(Endpoint *endpoint)
{
	return (int64) ((ceil(endpoint->rate / 10) - 1) / endpoint->rate * USECS_PER_SEC);
}

/*
 * May it well hang or fail? A retry, and whatever goes to an endpoint that
 * failed last or has not answered well yet.
 */
static bool
is_doubtful(Endpoint *endpoint, Delivery *delivery)
{
	return delivery->attempts > 0 || endpoint->failing_since != 0 || endpoint->last_success == 0;
}

static int
doubtful_share(void)
{
	return Max(1, mv_delivery_concurrency / 2);
}

/* Puts the endpoint where it belongs at the moment. */
void
endpoint_schedule(Endpoint *endpoint, TimestampTz now)
{
	Delivery   *next;
	int			limit;

	endpoint_unschedule(endpoint);
	if (endpoint->nready == 0 || !endpoint->known || !endpoint->sendable ||
		endpoint->generation != mv_endpoints_generation)
		return;					/* comes back when it was read again */

	limit = endpoint->breaker == BREAKER_CLOSED ? Min(endpoint->window, endpoint->max_concurrency) : 1;
	if (endpoint->in_flight >= limit)
		return;					/* comes back when one is done */
	if (endpoint->breaker == BREAKER_OPEN && endpoint->open_until > now)
	{
		sleep_until(endpoint, endpoint->open_until);
		return;
	}
	if (endpoint->not_before > now)
	{
		sleep_until(endpoint, endpoint->not_before);
		return;
	}
	if (endpoint->rate > 0 && endpoint->arrival - rate_tolerance(endpoint) > now)
	{
		sleep_until(endpoint, endpoint->arrival - rate_tolerance(endpoint));
		return;
	}
	next = dlist_head_element(Delivery, node, &endpoint->ready);
	if (next->body == NULL && !next->body_missing)
		stand_in(endpoint, &worker.bodies, PLACE_BODY);
	else if (endpoint->host->in_flight >= mv_delivery_concurrency_per_host)
		stand_in(endpoint, &endpoint->host->stalled, PLACE_STALLED);
	else if (is_doubtful(endpoint, next) && worker.doubtful_in_flight >= doubtful_share())
		stand_in(endpoint, &worker.doubtful_stalled, PLACE_STALLED);
	else
		stand_in(endpoint, &worker.run, PLACE_RUN);
}

static void
wake_sleeping(TimestampTz now)
{
	while (!pairingheap_is_empty(worker.sleeping))
	{
		Endpoint   *first = pairingheap_container(Endpoint, sleep_node, pairingheap_first(worker.sleeping));

		if (first->wake_at > now)
			break;
		endpoint_schedule(first, now);
	}
}

/* One place of a list became free: whoever waited longest may look again. */
static void
wake_stalled(dlist_head *list, TimestampTz now)
{
	if (!dlist_is_empty(list))
		endpoint_schedule(dlist_head_element(Endpoint, run_node, list), now);
}

/* ---- the request ---- */

/* Puts a line in front of the list. */
static void
link_header(struct curl_slist *line, char *text, struct curl_slist **list)
{
	line->data = text;
	line->next = *list;
	*list = line;
}

/* The complete list of headers, made of the exchange's lines and the target's. */
static bool
make_headers(Exchange *exchange)
{
	Delivery   *delivery = exchange->delivery;
	Endpoint   *endpoint = delivery->endpoint;
	struct curl_slist *list = exchange->target->headers;
	char		id[37];
	char	   *signature = exchange->signature_line;
	size_t		len;

	mv_uuid_text(&delivery->event_id, id);
	memcpy(exchange->id_line, "webhook-id: ", 12);
	memcpy(exchange->id_line + 12, id, sizeof(id));
	memcpy(exchange->timestamp_line, "webhook-timestamp: ", 19);
	exchange->timestamp_line[19 + pg_lltoa(exchange->timestamp, exchange->timestamp_line + 19)] = '\0';

	memcpy(signature, "webhook-signature: ", 19);
	len = mv_sign(endpoint->signer, id, exchange->timestamp, delivery->body, delivery->body_len, signature + 19);
	if (len == 0)
		return false;
	if (endpoint->previous_signer != NULL && endpoint->previous_until > exchange->started_at)
	{
		signature[19 + len] = ' ';
		if (mv_sign(endpoint->previous_signer, id, exchange->timestamp, delivery->body, delivery->body_len,
					signature + 20 + len) > 0)
			exchange->two_signatures = true;
		else
			signature[19 + len] = '\0';
	}
	link_header(&exchange->lines[2], signature, &list);
	link_header(&exchange->lines[1], exchange->timestamp_line, &list);
	link_header(&exchange->lines[0], exchange->id_line, &list);
	exchange->transfer.headers = list;
	return true;
}

static void
count_start(Exchange *exchange)
{
	Endpoint   *endpoint = exchange->delivery->endpoint;

	endpoint->in_flight++;
	exchange->host = endpoint->host;
	exchange->host->in_flight++;
	worker.in_flight++;
	exchange->doubtful = is_doubtful(endpoint, exchange->delivery);
	if (exchange->doubtful)
		worker.doubtful_in_flight++;
	if (endpoint->breaker == BREAKER_OPEN)
		endpoint->breaker = BREAKER_HALF_OPEN;
	if (endpoint->rate > 0)
		endpoint->arrival = Max(endpoint->arrival, exchange->started_at) + (int64) (USECS_PER_SEC / endpoint->rate);
}

/* An outcome without an exchange: nothing could be sent. */
static void
fail_at_once(Exchange *exchange, const char *why, Verdict verdict, TimestampTz now)
{
	exchange->attempted = false;
	exchange->verdict = verdict;
	exchange->next_attempt = now + USECS_PER_MINUTE;
	exchange->delivery->state = DELIVERY_DONE;
	strlcpy(exchange->error, why, sizeof(exchange->error));
	if (worker.ndone == 0)
		worker.done_since = now;
	slist_push_head(&worker.done, &exchange->node);
	worker.ndone++;
}

static void
start(Endpoint *endpoint, TimestampTz now)
{
	Delivery   *delivery = dlist_head_element(Delivery, node, &endpoint->ready);
	Exchange   *exchange = exchange_new();
	MvTransfer *transfer = &exchange->transfer;

	dlist_delete(&delivery->node);
	endpoint->nready--;
	worker.nready--;
	delivery->state = DELIVERY_IN_FLIGHT;
	endpoint->last_used = now;
	intake_ran_short(endpoint);

	exchange->delivery = delivery;
	exchange->attempted = true;
	exchange->started_at = now;
	exchange->timestamp = now / USECS_PER_SEC + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;
	transfer->owner = exchange;
	if (delivery->body_missing)
	{
		fail_at_once(exchange, "the event is not kept any more", VERDICT_GIVEN_UP, now);
		return;
	}
	exchange->target = endpoint->target;
	exchange->target->users++;
	transfer->target = endpoint->target->target;
	transfer->body = delivery->body;
	transfer->body_len = delivery->body_len;
	transfer->max_response_body = mv_max_response_body;
	if (!make_headers(exchange))
	{
		fail_at_once(exchange, "could not be signed", VERDICT_RETRY, now);
		return;
	}
	count_start(exchange);
	if (!mv_transfer_start(worker.loop, transfer))
		dispatch_finished(exchange, now);
}

/* Starts what may be started. */
void
dispatch(TimestampTz now)
{
	wake_sleeping(now);
	while (worker.in_flight < mv_delivery_concurrency && !dlist_is_empty(&worker.run))
	{
		Endpoint   *endpoint = dlist_head_element(Endpoint, run_node, &worker.run);

		/* hosts and retries may have filled up since it was put here */
		endpoint_schedule(endpoint, now);
		if (endpoint->place != PLACE_RUN)
			continue;
		start(endpoint, now);
		endpoint_schedule(endpoint, now);
	}
}

/* An exchange came to its end: judge it and free its places. */
void
dispatch_finished(Exchange *exchange, TimestampTz now)
{
	Endpoint   *endpoint = exchange->delivery->endpoint;

	endpoint->in_flight--;
	exchange->host->in_flight--;
	worker.in_flight--;
	if (exchange->doubtful)
		worker.doubtful_in_flight--;
	exchange->delivery->state = DELIVERY_DONE;
	outcome_judge(exchange, now);
	if (exchange->disable_reason != NULL)
	{
		/* nothing more from now on, not only once it is settled */
		endpoint->disabling = true;
		endpoint->sendable = false;
	}

	if (worker.ndone == 0)
		worker.done_since = now;
	slist_push_head(&worker.done, &exchange->node);
	worker.ndone++;

	endpoint_schedule(endpoint, now);
	wake_stalled(&exchange->host->stalled, now);
	if (exchange->doubtful)
		wake_stalled(&worker.doubtful_stalled, now);
}

/* Milliseconds until something is due, -1 = nothing is planned. */
long
dispatch_timeout(TimestampTz now)
{
	TimestampTz first = PG_INT64_MAX;

	if (!pairingheap_is_empty(worker.sleeping))
		first = pairingheap_container(Endpoint, sleep_node, pairingheap_first(worker.sleeping))->wake_at;
	if (!pairingheap_is_empty(worker.waiting))
		first = Min(first, pairingheap_container(Delivery, timer, pairingheap_first(worker.waiting))->due);
	if (first == PG_INT64_MAX)
		return -1;
	return first <= now ? 0 : (long) Min((first - now + 999) / 1000, INT_MAX);
}

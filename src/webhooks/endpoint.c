/*
 * The webhooks in memory: made when a delivery needs them, read again when the
 * table changed, dropped when they weren't used for a while.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "core/catalog.h"
#include "core/clock.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "webhooks/worker_int.h"

#define IDLE_MS 60000			/* after which the memory of an endpoint is given back */

typedef struct EndpointEntry
{
	pg_uuid_t	id;
	Endpoint   *endpoint;
	char		status;
} EndpointEntry;

#define SH_PREFIX endpoints
#define SH_ELEMENT_TYPE EndpointEntry
#define SH_KEY_TYPE pg_uuid_t
#define SH_KEY id
#define SH_HASH_KEY(tb, key) hash_bytes((key).data, UUID_LEN)
#define SH_EQUAL(tb, a, b) (memcmp((a).data, (b).data, UUID_LEN) == 0)
#define SH_SCOPE static inline
#define SH_DEFINE
#define SH_DECLARE
#include "lib/simplehash.h"

static int	stale_count;		/* endpoints that must be loaded */

static int
wakes_first(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	TimestampTz at_a = pairingheap_const_container(Endpoint, sleep_node, a)->wake_at;
	TimestampTz at_b = pairingheap_const_container(Endpoint, sleep_node, b)->wake_at;

	return at_a < at_b ? 1 : at_a > at_b ? -1 : 0;
}

void
endpoint_init(void)
{
	worker.endpoints = endpoints_create(TopMemoryContext, 256, NULL);
	endpoint_config_init();
	worker.sleeping = pairingheap_allocate(wakes_first, NULL);
	dlist_init(&worker.run);
	dlist_init(&worker.bodies);
	dlist_init(&worker.backlogged);
	dlist_init(&worker.doubtful_stalled);
	slist_init(&worker.done);
}

/* The endpoint, made without a configuration when it is new. */
Endpoint *
endpoint_get(const pg_uuid_t *id)
{
	EndpointEntry *entry = endpoints_lookup(worker.endpoints, *id);
	Endpoint   *endpoint;
	bool		found;

	if (entry != NULL)
	{
		if (entry->endpoint->generation != mv_endpoints_generation)
			stale_count++;
		return entry->endpoint;
	}
	endpoint = MemoryContextAllocZero(TopMemoryContext, sizeof(Endpoint));
	endpoint->id = *id;
	dlist_init(&endpoint->ready);
	endpoint->window = 2;
	endpoint->last_used = mv_now();
	entry = endpoints_insert(worker.endpoints, *id, &found);
	entry->endpoint = endpoint;
	stale_count++;
	return endpoint;
}

void
endpoint_each(void (*function) (Endpoint *endpoint, void *arg), void *arg)
{
	endpoints_iterator iter;
	EndpointEntry *entry;

	endpoints_start_iterate(worker.endpoints, &iter);
	while ((entry = endpoints_iterate(worker.endpoints, &iter)) != NULL)
		function(entry->endpoint, arg);
}

static void
note_for_unload(Delivery *delivery)
{
	endpoint_look_from(delivery->endpoint, delivery->seq);
	delivery_forget(delivery);
}

/*
 * Takes what is ready or waits out of the memory: it isn't to be sent now.
 * What is in flight stays.
 */
void
endpoint_unload(Endpoint *endpoint)
{
	endpoint_unschedule(endpoint);
	while (!dlist_is_empty(&endpoint->ready))
		note_for_unload(dlist_head_element(Delivery, node, &endpoint->ready));
	delivery_drop_waiting(endpoint);
	order_forget(endpoint);
}

/* Collects those whose configuration is missing or out of date, and needed. */
typedef struct StaleList
{
	Datum	   *ids;
	int			n;
	int			room;
} StaleList;

static bool
is_needed(Endpoint *endpoint)
{
	return endpoint->unsettled > 0 || endpoint->backlog_lo != 0;
}

static void
collect_stale(Endpoint *endpoint, void *arg)
{
	StaleList  *list = arg;

	if (endpoint->generation == mv_endpoints_generation || !is_needed(endpoint))
		return;
	if (list->n == list->room)
	{
		list->room = Max(64, list->room * 2);
		list->ids = list->ids == NULL ? palloc(sizeof(Datum) * list->room) :
			repalloc(list->ids, sizeof(Datum) * list->room);
	}
	list->ids[list->n++] = UUIDPGetDatum(&endpoint->id);
}

/* The webhook was deleted: what is pending for it is cancelled. */
static void
mark_gone(Endpoint *endpoint)
{
	endpoint_drop_config(endpoint);
	endpoint->known = true;
	endpoint->gone = true;
	endpoint->sendable = false;
	endpoint->generation = worker.generation;
	endpoint_unload(endpoint);
}

bool
endpoint_any_stale(void)
{
	return stale_count > 0 || worker.generation != mv_endpoints_generation;
}

static void
mark_stale(Endpoint *endpoint, void *arg)
{
	endpoint->generation = 0;
	endpoint->fingerprint = 0;
}

/* Settings changed: all configurations are made anew. */
void
endpoint_mark_stale(void)
{
	endpoint_each(mark_stale, NULL);
	worker.generation = 0;
}

/* It was disabled by an outcome, which is settled: the table has the last word. */
void
endpoint_disabled(Endpoint *endpoint)
{
	endpoint->disabling = false;
	endpoint->generation = 0;
	stale_count++;
}

void
endpoint_load_stale(void)
{
	static SPIPlanPtr plan = NULL;
	static SPIPlanPtr cancel = NULL;
	Oid			types[2] = {UUIDARRAYOID, UUIDOID};
	Datum		values[2];
	StaleList	list = {0};

	if (!endpoint_any_stale())
		return;
	worker.generation = mv_endpoints_generation;
	stale_count = 0;
	endpoint_each(collect_stale, &list);
	if (list.n == 0)
		return;

	values[0] = PointerGetDatum(construct_array(list.ids, list.n, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
	values[1] = UUIDPGetDatum(&worker.installation_id);
	/* a change counted in the generation may be younger than the transaction's snapshot */
	PushActiveSnapshot(GetLatestSnapshot());
	worker_execute(&plan, endpoint_columns, 2, types, values, NULL, true, 0);
	PopActiveSnapshot();
	for (uint64 i = 0; i < SPI_processed; i++)
		endpoint_load_row(SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
	SPI_freetuptable(SPI_tuptable);

	for (int i = 0; i < list.n; i++)
	{
		Endpoint   *endpoint = endpoint_get(DatumGetUUIDP(list.ids[i]));
		Oid			cancel_types[2] = {UUIDOID, INT8OID};
		Datum		cancel_values[2];

		if (endpoint->generation == worker.generation)
			continue;
		mark_gone(endpoint);
		cancel_values[0] = UUIDPGetDatum(&endpoint->id);
		cancel_values[1] = Int64GetDatum(endpoint->backlog_lo);
		worker_execute(&cancel, "update musicverse.deliveries set status = 'c', next_attempt_at = null, last_error = 'webhook deleted'"
					   " where webhook_id = $1 and seq >= $2 and status = 'p'", 2, cancel_types, cancel_values, NULL, false, 0);
		pg_atomic_fetch_add_u64(&worker.shard->settled, SPI_processed);
		endpoint->backlog_lo = 0;
	}
}

static void
sweep_one(Endpoint *endpoint, void *arg)
{
	TimestampTz now = *(TimestampTz *) arg;

	/* a place that became free wakes only the next in line, who may not want it */
	if (endpoint->place == PLACE_STALLED)
		endpoint_schedule(endpoint, now);
	if (endpoint->backlog_lo != 0 && endpoint->backlog_at != 0 && endpoint->backlog_at <= now)
		endpoint_look_from(endpoint, endpoint->backlog_lo);
	if (endpoint->previous_signer != NULL && endpoint->previous_until <= now)
	{
		mv_signer_free(endpoint->previous_signer);
		endpoint->previous_signer = NULL;
	}
}

static void
free_endpoint(Endpoint *endpoint)
{
	endpoint_unschedule(endpoint);
	endpoint_drop_config(endpoint);
	if (endpoint->in_backlog_list)
	{
		dlist_delete(&endpoint->backlog_node);
		worker.nbacklogged--;
	}
	if (endpoint->breaker != BREAKER_CLOSED)
		worker.open_breakers--;
	endpoints_delete(worker.endpoints, endpoint->id);
	if (endpoint->context != NULL)
		MemoryContextDelete(endpoint->context);
	pfree(endpoint);
}

/* Once a second: what became due, and what isn't needed any more. */
void
endpoint_sweep(TimestampTz now)
{
	static TimestampTz last_eviction = 0;
	Endpoint  **idle;
	int			n = 0;
	endpoints_iterator iter;
	EndpointEntry *entry;

	endpoint_each(sweep_one, &now);
	worker.backlog_wanted |= worker.nbacklogged > 0;
	if (now - last_eviction < IDLE_MS * INT64CONST(1000) && now >= last_eviction)
		return;
	last_eviction = now;
	if (worker.endpoints->members == 0)
		return;
	idle = palloc(sizeof(Endpoint *) * worker.endpoints->members);
	endpoints_start_iterate(worker.endpoints, &iter);
	while ((entry = endpoints_iterate(worker.endpoints, &iter)) != NULL)
	{
		Endpoint   *endpoint = entry->endpoint;

		if (!is_needed(endpoint) && endpoint->in_flight == 0 && !endpoint->state_dirty && endpoint->low_seq_written == 0 &&
			endpoint->breaker == BREAKER_CLOSED && now - endpoint->last_used > IDLE_MS * INT64CONST(1000))
			idle[n++] = endpoint;
	}
	while (n > 0)
		free_endpoint(idle[--n]);
	pfree(idle);
}

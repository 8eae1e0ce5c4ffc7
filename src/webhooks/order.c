/*
 * Ordering keys: of the deliveries of one webhook with the same key, only the
 * oldest unsettled one may be sent; the others are parked behind it. A key
 * with many parked keeps just the first of them in memory and remembers from
 * where on the table has more, so that one blocked key can't fill the memory
 * and hold up the others.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "core/clock.h"
#include "utils/memutils.h"
#include "webhooks/worker_int.h"

#define MAX_PARKED 64			/* of one key */

typedef struct OrderKey
{
	int64		key;
	Delivery   *holder;			/* the one that may be sent */
	dlist_head *parked;			/* apart, as entries of the hash move */
	int			nparked;
	int64		spilled_lo;		/* lowest one that was left in the table, 0 = none */
	char		status;
} OrderKey;

#define SH_PREFIX keys
#define SH_ELEMENT_TYPE OrderKey
#define SH_KEY_TYPE int64
#define SH_KEY key
#define SH_HASH_KEY(tb, key) murmurhash32((uint32) (key) ^ (uint32) ((uint64) (key) >> 32))
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DEFINE
#define SH_DECLARE
#include "lib/simplehash.h"

/*
 * To be asked for every delivery that comes into memory. True: it may be made
 * ready. False: it was parked, or left in the table (and is gone).
 */
bool
order_may_start(Delivery *delivery)
{
	Endpoint   *endpoint = delivery->endpoint;
	OrderKey   *entry;
	bool		found;

	if (delivery->order_key == 0)
		return true;
	if (endpoint->keys == NULL)
		endpoint->keys = keys_create(TopMemoryContext, 16, NULL);
	entry = keys_insert(endpoint->keys, delivery->order_key, &found);
	if (!found)
	{
		entry->holder = delivery;
		entry->parked = MemoryContextAlloc(TopMemoryContext, sizeof(dlist_head));
		dlist_init(entry->parked);
		entry->nparked = 0;
		entry->spilled_lo = 0;
		return true;
	}
	if (entry->spilled_lo != 0 || entry->nparked >= MAX_PARKED)
	{
		if (entry->spilled_lo == 0 || delivery->seq < entry->spilled_lo)
			entry->spilled_lo = delivery->seq;
		delivery_forget(delivery);
		return false;
	}
	delivery->state = DELIVERY_PARKED;
	dlist_push_tail(entry->parked, &delivery->node);
	entry->nparked++;
	worker.nready++;
	return false;
}

/* The holder of its key was settled: the next one may go. */
void
order_settled(Delivery *delivery)
{
	Endpoint   *endpoint = delivery->endpoint;
	OrderKey   *entry;

	if (delivery->order_key == 0 || endpoint->keys == NULL)
		return;
	entry = keys_lookup(endpoint->keys, delivery->order_key);
	if (entry == NULL || entry->holder != delivery)
		return;
	if (!dlist_is_empty(entry->parked))
	{
		Delivery   *next = dlist_head_element(Delivery, node, entry->parked);

		entry->holder = next;
		entry->nparked--;
		delivery_make_ready(next, false);
		endpoint_schedule(endpoint, mv_now());
		return;
	}
	if (entry->spilled_lo != 0)
		endpoint_look_from(endpoint, entry->spilled_lo);
	pfree(entry->parked);
	keys_delete(endpoint->keys, delivery->order_key);
	if (endpoint->keys->members == 0)
	{
		keys_destroy(endpoint->keys);
		endpoint->keys = NULL;
	}
}

/* Drops all keys and what is parked; the caller looks into the table again. */
void
order_forget(Endpoint *endpoint)
{
	keys_iterator iter;
	OrderKey   *entry;

	if (endpoint->keys == NULL)
		return;
	keys_start_iterate(endpoint->keys, &iter);
	while ((entry = keys_iterate(endpoint->keys, &iter)) != NULL)
	{
		while (!dlist_is_empty(entry->parked))
		{
			Delivery   *parked = dlist_head_element(Delivery, node, entry->parked);

			endpoint_look_from(endpoint, parked->seq);
			delivery_forget(parked);
		}
		if (entry->spilled_lo != 0)
			endpoint_look_from(endpoint, entry->spilled_lo);
		pfree(entry->parked);
	}
	keys_destroy(endpoint->keys);
	endpoint->keys = NULL;
}

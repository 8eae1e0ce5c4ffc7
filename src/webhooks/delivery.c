/*
 * Deliveries in memory: found by their number, and each in one place: ready
 * in its endpoint's list, waiting for its time, parked behind another of its
 * ordering key, in flight, or done with an outcome to be settled.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "core/clock.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "webhooks/worker_int.h"

#define REREAD_WAITING_MS 30000

typedef struct DeliveryEntry
{
	int64		seq;
	Delivery   *delivery;
	char		status;
} DeliveryEntry;

#define SH_PREFIX deliveries
#define SH_ELEMENT_TYPE DeliveryEntry
#define SH_KEY_TYPE int64
#define SH_KEY seq
#define SH_HASH_KEY(tb, key) murmurhash32((uint32) (key) ^ (uint32) ((uint64) (key) >> 32))
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DEFINE
#define SH_DECLARE
#include "lib/simplehash.h"

static MemoryContext delivery_context;

static int
due_first(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	TimestampTz due_a = pairingheap_const_container(Delivery, timer, a)->due;
	TimestampTz due_b = pairingheap_const_container(Delivery, timer, b)->due;

	return due_a < due_b ? 1 : due_a > due_b ? -1 : 0;
}

void
delivery_init(void)
{
	delivery_context = SlabContextCreate(TopMemoryContext, "musicverse deliveries",
										 SLAB_DEFAULT_BLOCK_SIZE, sizeof(Delivery));
	worker.deliveries = deliveries_create(TopMemoryContext, 1024, NULL);
	worker.waiting = pairingheap_allocate(due_first, NULL);
}

Delivery *
delivery_add(Endpoint *endpoint, int64 seq)
{
	bool		found;
	DeliveryEntry *entry = deliveries_insert(worker.deliveries, seq, &found);
	Delivery   *delivery;

	Assert(!found);
	delivery = MemoryContextAllocZero(delivery_context, sizeof(Delivery));
	delivery->seq = seq;
	delivery->endpoint = endpoint;
	delivery->state = DELIVERY_DONE;	/* nowhere yet */
	entry->delivery = delivery;
	endpoint->unsettled++;
	return delivery;
}

void
delivery_drop_body(Delivery *delivery)
{
	if (delivery->body == NULL)
		return;
	worker.body_bytes -= delivery->body_len;
	free(delivery->body);
	delivery->body = NULL;
}

bool
delivery_known(int64 seq)
{
	return deliveries_lookup(worker.deliveries, seq) != NULL;
}

/* Takes it out of whichever list it is in. */
static void
delivery_unlink(Delivery *delivery)
{
	switch (delivery->state)
	{
		case DELIVERY_READY:
			dlist_delete(&delivery->node);
			delivery->endpoint->nready--;
			worker.nready--;
			break;
		case DELIVERY_WAITING:
			pairingheap_remove(worker.waiting, &delivery->timer);
			delivery->endpoint->nwaiting--;
			worker.nwaiting--;
			break;
		case DELIVERY_PARKED:
			dlist_delete(&delivery->node);
			worker.nready--;
			break;
		default:
			break;
	}
	delivery->state = DELIVERY_DONE;
}

void
delivery_forget(Delivery *delivery)
{
	delivery_unlink(delivery);
	delivery_drop_body(delivery);
	delivery->endpoint->unsettled--;
	deliveries_delete(worker.deliveries, delivery->seq);
	pfree(delivery);
}

void
delivery_make_ready(Delivery *delivery, bool front)
{
	Endpoint   *endpoint = delivery->endpoint;

	delivery_unlink(delivery);
	delivery->state = DELIVERY_READY;
	if (front)
		dlist_push_head(&endpoint->ready, &delivery->node);
	else
		dlist_push_tail(&endpoint->ready, &delivery->node);
	endpoint->nready++;
	worker.nready++;
}

/*
 * A row that isn't due stays in the table, to be looked for when it is. Where
 * the backlog isn't being read at the moment it joins what waits there.
 */
void
delivery_pass_over(Endpoint *endpoint, int64 seq, TimestampTz due, TimestampTz now)
{
	TimestampTz at = Max(due, now + REREAD_WAITING_MS * INT64CONST(1000));

	if (endpoint->backlog_lo == 0)
	{
		endpoint->backlog_lo = seq;
		endpoint->backlog_at = at;
	}
	else if (endpoint->backlog_at != 0)
	{
		endpoint->backlog_lo = Min(endpoint->backlog_lo, seq);
		endpoint->backlog_at = Min(endpoint->backlog_at, at);
	}
	else
	{
		endpoint->skipped_at = endpoint->skipped_lo == 0 ? at : Min(endpoint->skipped_at, at);
		endpoint->skipped_lo = endpoint->skipped_lo == 0 ? seq : Min(endpoint->skipped_lo, seq);
	}
}

/*
 * Lets it wait in memory, without its body. When too many wait already it
 * goes back to the table, unless others stand behind it in order.
 */
void
delivery_make_wait(Delivery *delivery, TimestampTz due)
{
	Endpoint   *endpoint = delivery->endpoint;

	delivery_unlink(delivery);
	delivery_drop_body(delivery);
	if (worker.nwaiting >= MAX_WAITING && delivery->order_key == 0)
	{
		int64		seq = delivery->seq;

		delivery_forget(delivery);
		delivery_pass_over(endpoint, seq, due, mv_now());
		return;
	}
	delivery->state = DELIVERY_WAITING;
	delivery->due = due;
	pairingheap_add(worker.waiting, &delivery->timer);
	endpoint->nwaiting++;
	worker.nwaiting++;
}

void
delivery_wake_due(TimestampTz now)
{
	while (!pairingheap_is_empty(worker.waiting))
	{
		Delivery   *first = pairingheap_container(Delivery, timer, pairingheap_first(worker.waiting));

		Endpoint   *endpoint = first->endpoint;

		if (first->due > now)
			break;
		if (endpoint->known && !endpoint->sendable)
		{
			endpoint_look_from(endpoint, first->seq);
			delivery_forget(first);
			continue;
		}
		/* behind the others while it would only be the probe again and again */
		delivery_make_ready(first, endpoint->breaker == BREAKER_CLOSED);
		endpoint_schedule(endpoint, now);
	}
}

void
delivery_each(void (*function) (Delivery *delivery, void *arg), void *arg)
{
	deliveries_iterator iter;
	DeliveryEntry *entry;

	deliveries_start_iterate(worker.deliveries, &iter);
	while ((entry = deliveries_iterate(worker.deliveries, &iter)) != NULL)
		function(entry->delivery, arg);
}

/* Leaves in the table what waits for its time, of an endpoint that isn't sent to now. */
void
delivery_drop_waiting(Endpoint *endpoint)
{
	deliveries_iterator iter;
	DeliveryEntry *entry;
	Delivery  **found;
	int			n = 0;

	if (endpoint->nwaiting == 0)
		return;
	found = palloc(sizeof(Delivery *) * endpoint->nwaiting);
	deliveries_start_iterate(worker.deliveries, &iter);
	while ((entry = deliveries_iterate(worker.deliveries, &iter)) != NULL)
		if (entry->delivery->endpoint == endpoint && entry->delivery->state == DELIVERY_WAITING)
			found[n++] = entry->delivery;
	while (n > 0)
	{
		endpoint_look_from(endpoint, found[--n]->seq);
		delivery_forget(found[n]);
	}
	pfree(found);
}

/* In a database of no encoding there may be anything: what isn't UTF-8 becomes U+FFFD. */
static char *
force_utf8(const char *bytes, int len)
{
	StringInfoData out;

	initStringInfo(&out);
	while (len > 0)
	{
		int			good = pg_encoding_verifymbstr(PG_UTF8, bytes, len);

		appendBinaryStringInfo(&out, bytes, good);
		bytes += good;
		len -= good;
		if (len > 0)
		{
			appendStringInfoString(&out, "\xef\xbf\xbd");
			bytes++;
			len--;
		}
	}
	return out.data;
}

/* The body in UTF-8, which is what was meant and what is signed. */
void
delivery_take_body(Delivery *delivery, Datum value, bool isnull)
{
	text	   *body;
	char	   *bytes;
	int			len;

	if (isnull)
		return;
	body = DatumGetTextPP(value);
	bytes = VARDATA_ANY(body);
	len = VARSIZE_ANY_EXHDR(body);
	if (GetDatabaseEncoding() != PG_UTF8)
	{
		bytes = GetDatabaseEncoding() == PG_SQL_ASCII ? force_utf8(bytes, len) :
			pg_server_to_any(pnstrdup(bytes, len), len, PG_UTF8);
		len = strlen(bytes);
	}
	/* a body may stay for long among many that pass: malloc joins what is free between them */
	delivery->body = malloc(len + 1);
	if (delivery->body == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	memcpy(delivery->body, bytes, len);
	delivery->body[len] = '\0';
	delivery->body_len = len;
	worker.body_bytes += len;
}

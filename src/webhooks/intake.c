/*
 * From committed ranges and backlogs to deliveries in memory.
 *
 * Backends hand over ranges of delivery numbers at their commits, so the
 * worker reads just the rows that are new, and never searches through what is
 * settled. Where an endpoint can't take more at the moment, its rows stay in
 * the table and the endpoint remembers from which number on; they are read
 * back in order, in windows, when there is room.
 *
 * At the start, the marks of the run before tell where to begin (maintain.c).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "core/clock.h"
#include "core/numbers.h"
#include "core/uuid7.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "webhooks/worker_int.h"

#define UNIX_EPOCH_USECS ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

/* ---- what is still in the table ---- */

void
endpoint_look_from(Endpoint *endpoint, int64 seq)
{
	if (endpoint->backlog_lo == 0 || seq < endpoint->backlog_lo)
		endpoint->backlog_lo = seq;
	endpoint->backlog_at = 0;
	if (!endpoint->in_backlog_list)
	{
		dlist_push_tail(&worker.backlogged, &endpoint->backlog_node);
		endpoint->in_backlog_list = true;
		worker.nbacklogged++;
		worker.backlog_wanted = true;
	}
}

/* Room for another delivery of this endpoint? */
static bool
has_room(Endpoint *endpoint)
{
	return endpoint->nready < MAX_READY && worker.nready < MAX_LOADED &&
		worker.body_bytes < MAX_LOADED_BYTES;
}

/* Must new rows of the endpoint wait until its backlog was read? */
static bool
reads_backlog(Endpoint *endpoint)
{
	return endpoint->backlog_lo != 0 && (endpoint->backlog_at == 0 || endpoint->keys != NULL);
}

#define DELIVERY_COLUMNS \
	"select d.seq, d.id, d.webhook_id, d.event_id, d.order_key, d.created_at, d.next_attempt_at," \
	" d.attempt_count, d.ctid, d.tableoid, e.id is null," \
	" case when octet_length(e.payload) <= " CppAsString2(INLINE_BODY) " then e.payload end" \
	" from musicverse.deliveries d left join musicverse.events e on e.id = d.event_id"

/* The columns of DELIVERY_COLUMNS */
enum
{
	R_SEQ, R_ID, R_WEBHOOK, R_EVENT, R_ORDER, R_CREATED, R_NEXT, R_ATTEMPTS, R_TID, R_LEAF, R_MISSING, R_BODY, R_COLUMNS
};

/*
 * Takes one row of DELIVERY_COLUMNS into memory. False when its endpoint has
 * no room: the row stays in the table, which the endpoint remembers.
 */
static bool
take_row(Datum *values, bool *nulls, bool from_backlog, TimestampTz now)
{
	int64		seq = DatumGetInt64(values[R_SEQ]);
	TimestampTz due = nulls[R_NEXT] ? 0 : DatumGetTimestampTz(values[R_NEXT]);
	Endpoint   *endpoint = endpoint_get(DatumGetUUIDP(values[R_WEBHOOK]));
	Delivery   *delivery;

	if (delivery_known(seq))
		return true;
	if (!from_backlog && (reads_backlog(endpoint) || (endpoint->known && !endpoint->sendable)))
	{
		endpoint_look_from(endpoint, seq);
		return true;
	}
	if (!has_room(endpoint))
	{
		endpoint_look_from(endpoint, seq);
		return false;
	}
	if (due > now && from_backlog && endpoint->nwaiting >= MAX_READY)
	{
		delivery_pass_over(endpoint, seq, due, now);
		return true;
	}

	delivery = delivery_add(endpoint, seq);
	delivery->id = *DatumGetUUIDP(values[R_ID]);
	delivery->event_id = *DatumGetUUIDP(values[R_EVENT]);
	delivery->order_key = nulls[R_ORDER] ? 0 : DatumGetInt64(values[R_ORDER]);
	delivery->created_at = DatumGetTimestampTz(values[R_CREATED]);
	delivery->attempts = DatumGetInt16(values[R_ATTEMPTS]);
	delivery->tid = *(ItemPointer) DatumGetPointer(values[R_TID]);
	delivery->leaf = DatumGetObjectId(values[R_LEAF]);
	delivery->body_missing = DatumGetBool(values[R_MISSING]);

	if (!order_may_start(delivery))
		return true;
	if (due > now)
		delivery_make_wait(delivery, due);
	else
	{
		delivery_take_body(delivery, values[R_BODY], nulls[R_BODY]);
		delivery_make_ready(delivery, false);
		if (endpoint->nready == 1)
			endpoint_schedule(endpoint, now);
	}
	return true;
}

/* ---- ranges of fresh deliveries ---- */

void
intake_pop_ring(void)
{
	MvShard    *shard = worker.shard;

	if (shard->head == shard->tail && !shard->overflow)
		return;
	LWLockAcquire(worker.database->lock, LW_EXCLUSIVE);
	while (shard->head != shard->tail || shard->overflow)
	{
		MvRange		range = {0};

		if (shard->overflow)
		{
			/* whatever was committed since then: the marks of the clock bound it */
			range.lo = shard->overflow_lo;
			range.hi = PG_INT64_MAX;
			range.first_id = shard->overflow_id;
			shard->overflow = false;
			shard->head = shard->tail;
		}
		else
			range = shard->ring[shard->head++ % MV_RING_SIZE];

		if (worker.nranges == worker.room_ranges)
		{
			worker.room_ranges *= 2;
			worker.ranges = repalloc_huge(worker.ranges, sizeof(MvRange) * worker.room_ranges);
		}
		worker.ranges[worker.nranges++] = range;
	}
	LWLockRelease(worker.database->lock);
}

/* Forgets all ranges: the tables are going to be looked through. */
void
intake_discard(void)
{
	MvShard    *shard = worker.shard;

	LWLockAcquire(worker.database->lock, LW_EXCLUSIVE);
	shard->head = shard->tail;
	shard->overflow = false;
	pg_atomic_write_u64(&shard->enqueued, 0);
	pg_atomic_write_u64(&shard->settled, 0);
	LWLockRelease(worker.database->lock);
	worker.nranges = 0;
}

int64
intake_lowest_range(void)
{
	int64		lowest = PG_INT64_MAX;

	for (int i = 0; i < worker.nranges; i++)
		lowest = Min(lowest, worker.ranges[i].lo);
	return lowest;
}

/*
 * With no room for its rows, notes only which endpoints have some, and from
 * where on. True when the range was read to its end.
 */
static bool
skim_range(MvRange *range)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[4] = {INT8OID, INT8OID, UUIDOID, INT8OID};
	Datum		values[4];
	int64		rows = 0;

	values[0] = Int64GetDatum(range->lo);
	values[1] = Int64GetDatum(range->hi);
	values[2] = UUIDPGetDatum(&range->first_id);
	values[3] = Int64GetDatum(SKIM_ROWS);
	worker_execute(&plan,
				   "select webhook_id, min(seq), max(seq), count(*) from (select d.webhook_id, d.seq from musicverse.deliveries d"
				   " where d.seq >= $1 and d.seq < $2 and d.id >= $3 and d.status = 'p' order by d.seq limit $4) d group by 1",
				   4, types, values, NULL, true, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Datum		row[4];
		bool		nulls[4];

		heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, row, nulls);
		if (mv_shard_of(DatumGetUUIDP(row[0]), worker.shards) == worker.shard_no)
			endpoint_look_from(endpoint_get(DatumGetUUIDP(row[0])), DatumGetInt64(row[1]));
		range->lo = Max(range->lo, DatumGetInt64(row[2]) + 1);
		rows += DatumGetInt64(row[3]);
	}
	SPI_freetuptable(SPI_tuptable);
	return rows < SKIM_ROWS;
}

/* Reads a piece of the range. True when it was read to its end. */
static bool
read_range(MvRange *range, TimestampTz now)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[4] = {INT8OID, INT8OID, UUIDOID, INT8OID};
	Datum		values[4];
	uint64		n;

	if (range->one_webhook)
	{
		Endpoint   *endpoint = endpoint_get(&range->webhook_id);

		if (reads_backlog(endpoint) || !has_room(endpoint) || (endpoint->known && !endpoint->sendable))
		{
			endpoint_look_from(endpoint, range->lo);
			return true;
		}
	}

	if (worker.nready + LOAD_ROWS > MAX_LOADED || worker.body_bytes >= MAX_LOADED_BYTES)
		return skim_range(range);

	values[0] = Int64GetDatum(range->lo);
	values[1] = Int64GetDatum(range->hi);
	values[2] = UUIDPGetDatum(&range->first_id);
	values[3] = Int64GetDatum(LOAD_ROWS);
	worker_execute(&plan, DELIVERY_COLUMNS
				   " where d.seq >= $1 and d.seq < $2 and d.id >= $3 and d.status = 'p' order by d.seq limit $4",
				   4, types, values, NULL, true, 0);
	n = SPI_processed;
	for (uint64 i = 0; i < n; i++)
	{
		Datum		row[R_COLUMNS];
		bool		nulls[R_COLUMNS];

		heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, row, nulls);
		if (mv_shard_of(DatumGetUUIDP(row[R_WEBHOOK]), worker.shards) == worker.shard_no)
			take_row(row, nulls, false, now);
		range->lo = DatumGetInt64(row[R_SEQ]) + 1;
	}
	SPI_freetuptable(SPI_tuptable);
	return n < LOAD_ROWS;
}

static void
read_ranges(TimestampTz now)
{
	int			done = 0;

	/* one piece at most of the first that is large, any number of small ones */
	while (done < worker.nranges && done < 64)
		if (read_range(&worker.ranges[done], now))
			done++;
		else
			break;
	worker.nranges -= done;
	memmove(worker.ranges, worker.ranges + done, sizeof(MvRange) * worker.nranges);
}

/* ---- backlogs ---- */

/* How many deliveries of one backlog are in memory at most: they share the room. */
static int
backlog_share(void)
{
	return Max(MIN_SHARE, Min(LOAD_ROWS, MAX_LOADED / Max(1, worker.nbacklogged)));
}

static bool
wants_backlog(Endpoint *endpoint)
{
	int			share = backlog_share();

	return endpoint->backlog_lo != 0 && endpoint->backlog_at == 0 && endpoint->known && endpoint->sendable &&
		endpoint->nready <= share / 4 && worker.nready + share <= MAX_LOADED && has_room(endpoint) &&
		!(endpoint->breaker == BREAKER_OPEN && endpoint->nready > 0);
}

/* A delivery left the endpoint's ready ones: is it time to read more? */
void
intake_ran_short(Endpoint *endpoint)
{
	if (endpoint->in_backlog_list && endpoint->nready <= backlog_share() / 4)
		worker.backlog_wanted = true;
}

static void
read_backlog(Endpoint *endpoint, TimestampTz now)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[4] = {UUIDOID, INT8OID, UUIDOID, INT8OID};
	Datum		values[4];
	pg_uuid_t	first_id;
	int64		limit = backlog_share();
	int64		next = endpoint->backlog_lo;
	uint64		n;
	bool		room = true;

	/* a delivery's number is the microsecond it was made in, its id a moment later */
	mv_uuid7_bound(endpoint->backlog_lo - UNIX_EPOCH_USECS - 60 * USECS_PER_SEC, &first_id);
	values[0] = UUIDPGetDatum(&endpoint->id);
	values[1] = Int64GetDatum(endpoint->backlog_lo);
	values[2] = UUIDPGetDatum(&first_id);
	values[3] = Int64GetDatum(limit);
	worker_execute(&plan, DELIVERY_COLUMNS
				   " where d.webhook_id = $1 and d.seq >= $2 and d.id >= $3 and d.status = 'p'"
				   " order by d.webhook_id, d.seq limit $4",
				   4, types, values, NULL, true, 0);
	n = SPI_processed;
	for (uint64 i = 0; i < n && room; i++)
	{
		Datum		row[R_COLUMNS];
		bool		nulls[R_COLUMNS];

		heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, row, nulls);
		room = take_row(row, nulls, true, now);
		next = DatumGetInt64(row[R_SEQ]) + (room ? 1 : 0);
	}
	SPI_freetuptable(SPI_tuptable);

	endpoint->backlog_lo = next;
	if (room && n < limit)
	{
		/* all read; what was passed over waits for its time */
		endpoint->backlog_lo = endpoint->skipped_lo;
		endpoint->backlog_at = endpoint->skipped_lo != 0 ? endpoint->skipped_at : 0;
		endpoint->skipped_lo = 0;
	}
}

static void
read_backlogs(TimestampTz now)
{
	int			budget = 16;
	dlist_node *last;

	if (dlist_is_empty(&worker.backlogged))
	{
		worker.backlog_wanted = false;
		return;
	}
	last = dlist_tail_node(&worker.backlogged);
	while (budget > 0)
	{
		dlist_node *node = dlist_pop_head_node(&worker.backlogged);
		Endpoint   *endpoint = dlist_container(Endpoint, backlog_node, node);
		bool		wanted = wants_backlog(endpoint);

		endpoint->in_backlog_list = false;
		worker.nbacklogged--;
		if (wanted)
		{
			read_backlog(endpoint, now);
			budget--;
		}
		if (endpoint->backlog_lo != 0 && endpoint->backlog_at == 0 && endpoint->known && endpoint->sendable)
			endpoint_look_from(endpoint, endpoint->backlog_lo);
		if (node == last)
		{
			worker.backlog_wanted = false;
			break;
		}
	}
}

/* Bodies too large to be read ahead, and those of deliveries that waited. */
static void
read_bodies(TimestampTz now)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[1] = {UUIDOID};
	Datum		values[1];
	int			budget = 64;

	while (!dlist_is_empty(&worker.bodies) && budget > 0)
	{
		Endpoint   *endpoint = dlist_head_element(Endpoint, run_node, &worker.bodies);
		dlist_iter	iter;
		int			ahead = 16;

		endpoint_unschedule(endpoint);
		dlist_foreach(iter, &endpoint->ready)
		{
			Delivery   *delivery = dlist_container(Delivery, node, iter.cur);
			bool		isnull;

			if (ahead-- == 0 || budget == 0)
				break;
			if (delivery->body != NULL || delivery->body_missing)
				continue;
			values[0] = UUIDPGetDatum(&delivery->event_id);
			worker_execute(&plan, "select payload from musicverse.events where id = $1", 1, types, values, NULL, true, 1);
			if (SPI_processed == 0)
				delivery->body_missing = true;
			else
			{
				Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);

				delivery_take_body(delivery, value, isnull);
			}
			SPI_freetuptable(SPI_tuptable);
			budget--;
			if (delivery->body_len > INLINE_BODY)
				break;
		}
		endpoint_schedule(endpoint, now);
	}
}

bool
intake_wanted(TimestampTz now)
{
	return worker.nranges > 0 || worker.backlog_wanted || !dlist_is_empty(&worker.bodies) || endpoint_any_stale();
}

void
intake_read(TimestampTz now)
{
	endpoint_load_stale();
	read_ranges(now);
	endpoint_load_stale();
	read_backlogs(now);
	read_bodies(now);
}

/*
 * After a start: which endpoints have something unsettled, and from where on.
 * Above the mark every pending row is looked at; below it those endpoints
 * that were noted. The mark of this shard counts, or the lowest of another
 * number of shards if all of those have one: together they cover every
 * endpoint, a part of them doesn't.
 */
void
intake_recover(void)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[2] = {INT4OID, INT4OID};
	Datum		values[2];
	uint64		total = 0;
	bool		isnull;

	values[0] = Int32GetDatum(worker.shards);
	values[1] = Int32GetDatum(worker.shard_no);
	worker_execute(&plan,
				   "with mark as materialized ("
				   " select low_seq, low_id from musicverse.worker_marks where shards = $1 and shard = $2"
				   " union all select min(low_seq), min(low_id::text collate \"C\")::uuid from musicverse.worker_marks"
				   "  group by shards having count(*) = shards"
				   " union all select 0, '00000000-0000-0000-0000-000000000000'"
				   " order by low_seq desc limit 1),"
				   " above as (select d.webhook_id, min(d.seq) as seq, count(*) as n"
				   " from musicverse.deliveries d"
				   " where d.seq >= (select low_seq from mark) and d.id >= (select low_id from mark) and d.status = 'p'"
				   " group by 1),"
				   " below as (select webhook_id, low_seq as seq from musicverse.webhook_state where low_seq is not null)"
				   " select webhook_id, least(above.seq, below.seq), coalesce(above.n, 0)"
				   " from above full join below using (webhook_id)",
				   2, types, values, NULL, true, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		pg_uuid_t  *webhook_id = DatumGetUUIDP(SPI_getbinval(tuple, desc, 1, &isnull));

		if (mv_shard_of(webhook_id, worker.shards) != worker.shard_no)
			continue;
		endpoint_look_from(endpoint_get(webhook_id), DatumGetInt64(SPI_getbinval(tuple, desc, 2, &isnull)));
		total += DatumGetInt64(SPI_getbinval(tuple, desc, 3, &isnull));
	}
	SPI_freetuptable(SPI_tuptable);
	pg_atomic_write_u64(&worker.shard->recovered, total);
}

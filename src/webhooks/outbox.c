/*
 * The outbox of a transaction.
 *
 * Events are gathered while a statement runs and written in bulk when it
 * ends (executor and utility hooks), when they grow large, or at the latest
 * before the commit. Their rows are then visible to the transaction like any
 * others. What belongs to a rolled-back subtransaction is dropped from the
 * memory here, and by the server from the tables.
 *
 * Two numberings:
 *  - deliveries.seq is taken when the rows are written. The ranges are told to
 *    the workers after the commit, so nobody ever searches for them, and an
 *    open transaction holds up nobody.
 *  - event_log.position is taken just before the commit, so that it follows
 *    the order of commits. Between the taking and the end of the transaction
 *    the number is announced as in doubt (shared.h), so that a reader knows up
 *    to where the log is complete.
 *
 * A lower bound is announced before the first number is taken: 1, then the
 * number itself. So a reader that finds no announcement knows that all
 * numbers taken before are decided.
 *
 * Locks: RowExclusiveLock on the tables written; LWLocks of shared.h after
 * the commit. PREPARE TRANSACTION is refused, as nobody would be told at its
 * second phase.
 */
#include "postgres.h"

#include "access/xact.h"
#include "core/bulk.h"
#include "core/catalog.h"
#include "core/compat.h"
#include "core/numbers.h"
#include "core/shared.h"
#include "core/utility.h"
#include "core/uuid7.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "webhooks/event.h"
#include "webhooks/outbox.h"

PG_FUNCTION_INFO_V1(musicverse_hold_deliveries);
PG_FUNCTION_INFO_V1(musicverse_announce_deliveries);

#define FLUSH_EVENTS	2000
#define FLUSH_BYTES		(4 * 1024 * 1024)
#define MAX_RANGES		256

typedef struct OutDelivery
{
	pg_uuid_t	webhook_id;
	int64		order_key;
	int			event;			/* index */
} OutDelivery;

typedef struct LogEntry
{
	pg_uuid_t	user_id;
	pg_uuid_t	event_id;
	SubTransactionId subid;
} LogEntry;

/* All arrays are in the context, which goes with the transaction. */
static struct
{
	MemoryContext context;		/* NULL = nothing recorded in this transaction */
	MemoryContext texts;		/* reset at each flush */
	Size		bytes;

	MvOutEvent *events;
	SubTransactionId *event_subids;
	int			nevents,
				room_events;
	OutDelivery *deliveries;
	int			ndeliveries,
				room_deliveries;
	LogEntry   *log;
	int64		nlog,
				room_log;
	MvRange    *ranges;
	int			nranges;
	bool		committing;		/* the log was written: write at once from now on */
	bool		flushing;
} outbox;

static ExecutorRun_hook_type prev_executor_run = NULL;
static ExecutorFinish_hook_type prev_executor_finish = NULL;
static MemoryContext running_query = NULL;	/* of the query that the executor runs */

static void
open_outbox(void)
{
	if (outbox.context != NULL)
		return;
	memset(&outbox, 0, sizeof(outbox));
	outbox.context = AllocSetContextCreate(TopTransactionContext, "musicverse outbox", ALLOCSET_DEFAULT_SIZES);
	outbox.texts = AllocSetContextCreate(outbox.context, "musicverse outbox texts", ALLOCSET_DEFAULT_SIZES);
	outbox.room_events = 64;
	outbox.events = MemoryContextAlloc(outbox.context, sizeof(MvOutEvent) * outbox.room_events);
	outbox.event_subids = MemoryContextAlloc(outbox.context, sizeof(SubTransactionId) * outbox.room_events);
	outbox.room_deliveries = 64;
	outbox.deliveries = MemoryContextAlloc(outbox.context, sizeof(OutDelivery) * outbox.room_deliveries);
	outbox.room_log = 64;
	outbox.log = MemoryContextAlloc(outbox.context, sizeof(LogEntry) * outbox.room_log);
	outbox.ranges = MemoryContextAlloc(outbox.context, sizeof(MvRange) * MAX_RANGES);
}

MemoryContext
mv_outbox_context(void)
{
	open_outbox();
	return outbox.texts;
}

void
mv_outbox_add_event(const MvOutEvent *event)
{
	open_outbox();
	if (outbox.nevents == outbox.room_events)
	{
		outbox.room_events *= 2;
		outbox.events = repalloc_huge(outbox.events, sizeof(MvOutEvent) * outbox.room_events);
		outbox.event_subids = repalloc_huge(outbox.event_subids, sizeof(SubTransactionId) * outbox.room_events);
	}
	outbox.event_subids[outbox.nevents] = GetCurrentSubTransactionId();
	outbox.events[outbox.nevents++] = *event;
}

void
mv_outbox_add_delivery(const pg_uuid_t *webhook_id, int64 order_key)
{
	if (outbox.ndeliveries == outbox.room_deliveries)
	{
		outbox.room_deliveries *= 2;
		outbox.deliveries = repalloc_huge(outbox.deliveries, sizeof(OutDelivery) * outbox.room_deliveries);
	}
	outbox.deliveries[outbox.ndeliveries++] = (OutDelivery) {*webhook_id, order_key, outbox.nevents - 1};
}

void
mv_outbox_written_bytes(Size bytes)
{
	outbox.bytes += bytes;
	if (outbox.committing || outbox.nevents >= FLUSH_EVENTS || outbox.bytes >= FLUSH_BYTES)
		mv_flush_events();
}

void
mv_outbox_hold_deliveries(void)
{
	MvInDoubt  *slot = mv_in_doubt();

	open_outbox();
	if (slot == NULL || pg_atomic_read_u64(&slot->delivery_lo) != 0)
		return;
	slot->database = MyDatabaseId;
	pg_write_barrier();
	pg_atomic_write_u64(&slot->delivery_lo, 1);
	pg_memory_barrier();
}

void
mv_outbox_announce(int64 lo, int64 hi, int64 count, const pg_uuid_t *first_id, const pg_uuid_t *webhook_id)
{
	MvRange    *last;

	open_outbox();
	last = outbox.nranges > 0 ? &outbox.ranges[outbox.nranges - 1] : NULL;
	if (last != NULL && (last->hi == lo || outbox.nranges == MAX_RANGES))
	{
		/* grow the last one; beyond MAX_RANGES it may cover others' numbers too */
		last->lo = Min(last->lo, lo);
		last->hi = Max(last->hi, hi);
		last->count += count;
		if (memcmp(first_id, &last->first_id, UUID_LEN) < 0)
			last->first_id = *first_id;
		if (last->one_webhook && (webhook_id == NULL || memcmp(webhook_id, &last->webhook_id, UUID_LEN) != 0))
			last->one_webhook = false;
		return;
	}
	last = &outbox.ranges[outbox.nranges++];
	memset(last, 0, sizeof(*last));
	last->lo = lo;
	last->hi = hi;
	last->count = count;
	last->first_id = *first_id;
	if (webhook_id != NULL)
	{
		last->one_webhook = true;
		last->webhook_id = *webhook_id;
	}
}

/* Writes events[from..] */
static void
write_events(const MvCatalog *catalog, int from)
{
	MvBulk	   *bulk = mv_bulk_open(catalog->events);

	for (int i = from; i < outbox.nevents; i++)
	{
		MvOutEvent *event = &outbox.events[i];
		TupleTableSlot *slot = mv_bulk_row(bulk, &event->id);

		memset(slot->tts_isnull, false, sizeof(bool) * slot->tts_tupleDescriptor->natts);
		slot->tts_values[0] = UUIDPGetDatum(&event->id);
		slot->tts_values[1] = UUIDPGetDatum(&event->user_id);
		slot->tts_values[2] = PointerGetDatum(event->type);
		slot->tts_values[3] = TimestampTzGetDatum(event->at);
		slot->tts_values[4] = PointerGetDatum(event->payload);
	}
	mv_bulk_close(bulk);
}

/* Writes deliveries[from..] and notes their range. */
static void
write_deliveries(const MvCatalog *catalog, int from)
{
	int			n = outbox.ndeliveries - from;
	MvInDoubt  *slot = mv_in_doubt();
	MvBulk	   *bulk;
	pg_uuid_t  *ids;
	int64		lo;
	bool		one_webhook = true;

	if (n <= 0)
		return;
	mv_outbox_hold_deliveries();
	lo = mv_take_numbers(n);
	if (slot != NULL && pg_atomic_read_u64(&slot->delivery_lo) == 1)
		pg_atomic_write_u64(&slot->delivery_lo, (uint64) lo);
	ids = MemoryContextAllocHuge(outbox.texts, sizeof(pg_uuid_t) * n);
	bulk = mv_bulk_open(catalog->deliveries);
	for (int i = 0; i < n; i++)
	{
		OutDelivery *delivery = &outbox.deliveries[from + i];
		MvOutEvent *event = &outbox.events[delivery->event];
		TupleTableSlot *row;

		one_webhook &= memcmp(&delivery->webhook_id, &outbox.deliveries[from].webhook_id, UUID_LEN) == 0;

		mv_uuid7(&ids[i]);
		row = mv_bulk_row(bulk, &ids[i]);
		memset(row->tts_isnull, false, sizeof(bool) * row->tts_tupleDescriptor->natts);
		row->tts_values[0] = Int64GetDatum(lo + i);
		row->tts_values[1] = UUIDPGetDatum(&ids[i]);
		row->tts_values[2] = UUIDPGetDatum(&delivery->webhook_id);
		row->tts_values[3] = UUIDPGetDatum(&event->user_id);
		row->tts_values[4] = UUIDPGetDatum(&event->id);
		row->tts_values[5] = Int64GetDatum(delivery->order_key);
		row->tts_isnull[5] = delivery->order_key == 0;
		row->tts_values[6] = TimestampTzGetDatum(event->at);
		row->tts_isnull[7] = true;	/* next_attempt_at: at once */
		row->tts_isnull[8] = true;	/* delivered_at */
		row->tts_values[9] = CharGetDatum('p');
		row->tts_values[10] = Int16GetDatum(0);
		row->tts_isnull[11] = true;	/* response_status */
		row->tts_isnull[12] = true;	/* duration_ms */
		row->tts_isnull[13] = true;	/* last_error */
	}
	mv_bulk_close(bulk);
	mv_outbox_announce(lo, lo + n, n, &ids[0], one_webhook ? &outbox.deliveries[from].webhook_id : NULL);
}

static void
remember_log(int from)
{
	SubTransactionId subid = GetCurrentSubTransactionId();

	for (int i = from; i < outbox.nevents; i++)
	{
		if (outbox.nlog == outbox.room_log)
		{
			outbox.room_log *= 2;
			outbox.log = repalloc_huge(outbox.log, sizeof(LogEntry) * outbox.room_log);
		}
		outbox.log[outbox.nlog++] = (LogEntry) {outbox.events[i].user_id, outbox.events[i].id, subid};
	}
}

/*
 * Takes positions and writes the log: the last thing before the commit. All
 * positions are taken after the announcement, none before.
 */
static void
write_log(const MvCatalog *catalog)
{
	MvInDoubt  *slot = mv_in_doubt();
	MvBulk	   *bulk;
	int64		position;

	if (outbox.nlog == 0)
		return;
	if (slot != NULL && pg_atomic_read_u64(&slot->position_lo) == 0)
	{
		slot->database = MyDatabaseId;
		pg_write_barrier();
		pg_atomic_write_u64(&slot->position_lo, 1);
		pg_memory_barrier();
	}
	position = mv_take_numbers(outbox.nlog);
	if (slot != NULL && pg_atomic_read_u64(&slot->position_lo) == 1)
		pg_atomic_write_u64(&slot->position_lo, (uint64) position);
	bulk = mv_bulk_open(catalog->event_log);
	for (int64 i = 0; i < outbox.nlog; i++)
	{
		LogEntry   *entry = &outbox.log[i];
		TupleTableSlot *row;

		row = mv_bulk_row(bulk, &entry->event_id);
		memset(row->tts_isnull, false, sizeof(bool) * row->tts_tupleDescriptor->natts);
		row->tts_values[0] = Int64GetDatum(position + i);
		row->tts_values[1] = UUIDPGetDatum(&entry->user_id);
		row->tts_values[2] = UUIDPGetDatum(&entry->event_id);
	}
	mv_bulk_close(bulk);
	outbox.nlog = 0;
}

/*
 * Writes what belongs to the current subtransaction and its finished
 * children. Events of an enclosing level stay: if they were written now, a
 * rollback of this level would take them away.
 */
void
mv_flush_events(void)
{
	SubTransactionId subid;
	const MvCatalog *catalog;
	MemoryContext old;
	int			from,
				from_delivery;
	bool		pushed = false;

	if (outbox.context == NULL || outbox.nevents == 0 || outbox.flushing)
		return;
	subid = GetCurrentSubTransactionId();
	for (from = outbox.nevents; from > 0 && outbox.event_subids[from - 1] >= subid; from--)
		;
	if (from == outbox.nevents)
		return;
	for (from_delivery = outbox.ndeliveries;
		 from_delivery > 0 && outbox.deliveries[from_delivery - 1].event >= from; from_delivery--)
		;

	outbox.flushing = true;
	catalog = mv_catalog();
	if (!ActiveSnapshotSet())
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		pushed = true;
	}
	old = MemoryContextSwitchTo(outbox.texts);
	write_events(catalog, from);
	write_deliveries(catalog, from_delivery);
	MemoryContextSwitchTo(old);
	remember_log(from);
	if (outbox.committing)
		write_log(catalog);
	if (pushed)
		PopActiveSnapshot();
	outbox.nevents = from;
	outbox.ndeliveries = from_delivery;
	if (from == 0)
	{
		MemoryContextReset(outbox.texts);
		outbox.bytes = 0;
	}
	outbox.flushing = false;
}

/* The end of a statement. Also called while a transaction is in failure. */
static void
statement_end(void)
{
	if (outbox.context != NULL && outbox.nevents > 0 && IsTransactionState())
		mv_flush_events();
}

static void
executor_run(MV_EXECUTOR_RUN_PARAMETERS)
{
	MemoryContext outer = running_query;

	running_query = query->estate->es_query_cxt;
	PG_TRY();
	{
		if (prev_executor_run)
			prev_executor_run(MV_EXECUTOR_RUN_ARGUMENTS);
		else
			standard_ExecutorRun(MV_EXECUTOR_RUN_ARGUMENTS);
	}
	PG_FINALLY();
	{
		running_query = outer;
	}
	PG_END_TRY();
}

bool
mv_outbox_is_batch(FmgrInfo *function)
{
	return running_query != NULL && function != NULL && function->fn_mcxt == running_query;
}

static void
executor_finish(QueryDesc *query)
{
	if (prev_executor_finish)
		prev_executor_finish(query);
	else
		standard_ExecutorFinish(query);
	if (outbox.context != NULL && outbox.nevents > 0)
		mv_flush_events();
}

static void
before_commit(void)
{
	mv_flush_events();
	outbox.committing = true;
	if (outbox.nlog > 0)
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		write_log(mv_catalog());
		PopActiveSnapshot();
	}
}

static void
forget_doubts(void)
{
	MvInDoubt  *slot = mv_in_doubt();

	if (slot == NULL)
		return;
	pg_memory_barrier();
	pg_atomic_write_u64(&slot->delivery_lo, 0);
	pg_atomic_write_u64(&slot->position_lo, 0);
}

static void
xact_callback(XactEvent event, void *arg)
{
	if (outbox.context == NULL)
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			before_commit();
			break;
		case XACT_EVENT_PRE_PREPARE:
			if (outbox.nevents > 0 || outbox.nlog > 0 || outbox.nranges > 0)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot PREPARE a transaction that has recorded events"),
						 errhint("Commit it in one phase.")));
			break;
		case XACT_EVENT_COMMIT:
			for (int i = 0; i < outbox.nranges; i++)
				mv_publish_range(&outbox.ranges[i]);
			forget_doubts();
			outbox.context = NULL;
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			forget_doubts();
			outbox.context = NULL;
			break;
		default:
			break;
	}
}

/*
 * Everything added since a subtransaction began is its own or its children's,
 * so a rollback cuts the tails.
 */
static void
subxact_callback(SubXactEvent event, SubTransactionId subid, SubTransactionId parent, void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB || outbox.context == NULL)
		return;
	outbox.flushing = false;
	while (outbox.nevents > 0 && outbox.event_subids[outbox.nevents - 1] >= subid)
		outbox.nevents--;
	while (outbox.ndeliveries > 0 && outbox.deliveries[outbox.ndeliveries - 1].event >= outbox.nevents)
		outbox.ndeliveries--;
	while (outbox.nlog > 0 && outbox.log[outbox.nlog - 1].subid >= subid)
		outbox.nlog--;
}

void
mv_outbox_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
	prev_executor_run = ExecutorRun_hook;
	ExecutorRun_hook = executor_run;
	prev_executor_finish = ExecutorFinish_hook;
	ExecutorFinish_hook = executor_finish;
	mv_statement_end = statement_end;
}

/* _hold_deliveries() */
Datum
musicverse_hold_deliveries(PG_FUNCTION_ARGS)
{
	mv_outbox_hold_deliveries();
	PG_RETURN_VOID();
}

/* _announce_deliveries(lo bigint, hi bigint, count bigint): they were made in this transaction */
Datum
musicverse_announce_deliveries(PG_FUNCTION_ARGS)
{
	pg_uuid_t	first_id;

	mv_uuid7_bound(GetCurrentTransactionStartTimestamp(), &first_id);
	open_outbox();
	if (PG_GETARG_INT64(2) > 0)
		mv_outbox_announce(PG_GETARG_INT64(0), PG_GETARG_INT64(1), PG_GETARG_INT64(2), &first_id, NULL);
	PG_RETURN_VOID();
}

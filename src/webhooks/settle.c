/*
 * Outcomes into the tables: one row an attempt, and the delivery's row
 * changed in place. A batch is one transaction that commits without waiting
 * for the disk: if a crash takes it away, its deliveries are pending again
 * and are sent twice, with the same webhook-id.
 *
 * A delivery's row is changed by its place as seen when it was read, after
 * checking that it is the one; leaves keep half of each page free, so the new
 * version fits beside the old one and no index is touched. Where the row has
 * moved (VACUUM FULL, another change) a statement finds it by its id.
 *
 * Outcomes stay in memory until the commit went through. When a batch can't
 * be written its members are tried one by one, so that one bad row doesn't
 * keep the others.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "core/bulk.h"
#include "core/catalog.h"
#include "core/clock.h"
#include "core/compat.h"
#include "core/row_json.h"
#include "core/uuid7.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "storage/bufmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/formatting.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "webhooks/event.h"
#include "webhooks/worker_int.h"

#define STATE_INTERVAL_MS 1000	/* between two writings of webhook_state */
#define MAX_LEAVES 8

/* Columns of deliveries, as the install script makes them */
enum
{
	D_SEQ, D_ID, D_WEBHOOK, D_USER, D_EVENT, D_ORDER, D_CREATED, D_NEXT, D_DELIVERED, D_STATUS,
	D_ATTEMPTS, D_RESPONSE, D_DURATION, D_ERROR, D_COLUMNS
};

/* ---- deliveries ---- */

typedef struct Leaf
{
	Oid			oid;
	Relation	rel;
	BlockNumber blocks;			/* at least, as long as the lock is held */
	ResultRelInfo *info;
	TupleTableSlot *old;
	TupleTableSlot *new;
} Leaf;

typedef struct Batch
{
	EState	   *estate;
	Leaf		leaves[MAX_LEAVES];
	int			nleaves;
} Batch;

static Leaf *
leaf_of(Batch *batch, Oid oid)
{
	Leaf	   *leaf;

	for (int i = 0; i < batch->nleaves; i++)
		if (batch->leaves[i].oid == oid)
			return &batch->leaves[i];
	if (batch->nleaves == MAX_LEAVES)
		return NULL;
	leaf = &batch->leaves[batch->nleaves];
	leaf->rel = try_table_open(oid, RowExclusiveLock);
	if (leaf->rel == NULL)
		return NULL;
	leaf->oid = oid;
	leaf->blocks = RelationGetNumberOfBlocks(leaf->rel);
	leaf->info = makeNode(ResultRelInfo);
	InitResultRelInfo(leaf->info, leaf->rel, 0, NULL, 0);
	ExecOpenIndices(leaf->info, false);
	leaf->old = table_slot_create(leaf->rel, NULL);
	leaf->new = MakeSingleTupleTableSlot(RelationGetDescr(leaf->rel), &TTSOpsVirtual);
	batch->nleaves++;
	return leaf;
}

static void
close_batch(Batch *batch)
{
	for (int i = 0; i < batch->nleaves; i++)
	{
		Leaf	   *leaf = &batch->leaves[i];

		ExecDropSingleTupleTableSlot(leaf->old);
		ExecDropSingleTupleTableSlot(leaf->new);
		ExecCloseIndices(leaf->info);
		table_close(leaf->rel, NoLock);
	}
	FreeExecutorState(batch->estate);
}

static char
status_of(Verdict verdict)
{
	switch (verdict)
	{
		case VERDICT_DELIVERED:
			return 'd';
		case VERDICT_GIVEN_UP:
			return 'f';
		case VERDICT_CANCELLED:
			return 'c';
		case VERDICT_RETRY:
			break;
	}
	return 'p';
}

static void
put_outcome(Exchange *exchange, Datum *values, bool *nulls)
{
	MvTransfer *transfer = &exchange->transfer;

	values[D_STATUS] = CharGetDatum(status_of(exchange->verdict));
	values[D_ATTEMPTS] = Int16GetDatum(exchange->delivery->attempts + (exchange->attempted ? 1 : 0));
	values[D_NEXT] = TimestampTzGetDatum(exchange->next_attempt);
	nulls[D_NEXT] = exchange->verdict != VERDICT_RETRY;
	values[D_DELIVERED] = TimestampTzGetDatum(exchange->started_at + transfer->timing.total);
	nulls[D_DELIVERED] = exchange->verdict != VERDICT_DELIVERED;
	values[D_RESPONSE] = Int16GetDatum((int16) transfer->status);
	nulls[D_RESPONSE] = transfer->status <= 0;
	values[D_DURATION] = Int32GetDatum((int32) ((transfer->timing.total + 500) / 1000));
	nulls[D_DURATION] = !exchange->attempted;
	nulls[D_ERROR] = exchange->error[0] == '\0';
	if (!nulls[D_ERROR])
		values[D_ERROR] = PointerGetDatum(attempt_clean_text(exchange->error, strlen(exchange->error)));
}

/* False when the row isn't where it was seen. */
static bool
update_in_place(Batch *batch, Exchange *exchange)
{
	Delivery   *delivery = exchange->delivery;
	Leaf	   *leaf = leaf_of(batch, delivery->leaf);
	bool		update_indexes = false;

	if (leaf == NULL || RelationGetDescr(leaf->rel)->natts != D_COLUMNS ||
		ItemPointerGetBlockNumberNoCheck(&delivery->tid) >= leaf->blocks)
		return false;
	ExecClearTuple(leaf->old);
	if (!table_tuple_fetch_row_version(leaf->rel, &delivery->tid, GetActiveSnapshot(), leaf->old))
		return false;
	slot_getallattrs(leaf->old);
	if (leaf->old->tts_isnull[D_SEQ] || DatumGetInt64(leaf->old->tts_values[D_SEQ]) != delivery->seq ||
		memcmp(DatumGetUUIDP(leaf->old->tts_values[D_ID]), &delivery->id, UUID_LEN) != 0 ||
		DatumGetChar(leaf->old->tts_values[D_STATUS]) != 'p')
		return false;

	ExecClearTuple(leaf->new);
	memcpy(leaf->new->tts_values, leaf->old->tts_values, sizeof(Datum) * D_COLUMNS);
	memcpy(leaf->new->tts_isnull, leaf->old->tts_isnull, sizeof(bool) * D_COLUMNS);
	put_outcome(exchange, leaf->new->tts_values, leaf->new->tts_isnull);
	ExecStoreVirtualTuple(leaf->new);
	if (mv_table_tuple_update(leaf->rel, &delivery->tid, leaf->new, GetCurrentCommandId(true),
							  GetActiveSnapshot(), &update_indexes) != TM_Ok)
		return false;
	if (update_indexes)
		list_free(mv_insert_index_tuples(leaf->info, leaf->new, batch->estate));
	ResetPerTupleExprContext(batch->estate);
	delivery->tid = leaf->new->tts_tid;
	return true;
}

static void
update_by_id(Exchange *exchange)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[8] = {UUIDOID, CHAROID, INT2OID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT2OID, INT4OID, TEXTOID};
	Datum		row[D_COLUMNS] = {0};
	bool		nulls[D_COLUMNS] = {0};
	static const int columns[8] = {D_ID, D_STATUS, D_ATTEMPTS, D_NEXT, D_DELIVERED, D_RESPONSE, D_DURATION, D_ERROR};
	Datum		values[8];
	char		null_flags[8];

	put_outcome(exchange, row, nulls);
	row[D_ID] = UUIDPGetDatum(&exchange->delivery->id);
	for (int i = 0; i < 8; i++)
	{
		values[i] = row[columns[i]];
		null_flags[i] = nulls[columns[i]] ? 'n' : ' ';
	}
	worker_execute(&plan, "update musicverse.deliveries set status = $2, attempt_count = $3, next_attempt_at = $4,"
				   " delivered_at = $5, response_status = $6, duration_ms = $7, last_error = $8"
				   " where id = $1 and status = 'p' returning ctid, tableoid", 8, types, values, null_flags, false, 0);
	if (SPI_processed == 1)
	{
		bool		isnull;

		exchange->delivery->tid = *(ItemPointer) DatumGetPointer(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
		exchange->delivery->leaf = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	}
	SPI_freetuptable(SPI_tuptable);
}

/* ---- endpoints ---- */

static void
disable(Endpoint *endpoint, const char *reason)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[2] = {UUIDOID, TEXTOID};
	Datum		values[2] = {UUIDPGetDatum(&endpoint->id), CStringGetTextDatum(reason)};
	StringInfoData data;
	char		id[37];

	worker_execute(&plan, "update musicverse.webhook_endpoints set is_active = false, disabled_at = musicverse._now(),"
				   " disabled_reason = $2 where id = $1 and is_active returning user_id", 2, types, values, NULL, false, 0);
	if (SPI_processed != 1)
		return;
	mv_uuid_text(&endpoint->id, id);
	initStringInfo(&data);
	appendStringInfo(&data, "{\"webhook_id\":\"%s\",\"url\":", id);
	escape_json(&data, endpoint->url);
	appendStringInfoString(&data, ",\"reason\":");
	escape_json(&data, reason);
	appendStringInfo(&data, ",\"failure_count\":%d,\"last_error\":", endpoint->failure_count);
	escape_json(&data, TextDatumGetCString(PointerGetDatum(attempt_clean_text(endpoint->last_error, strlen(endpoint->last_error)))));
	appendStringInfoString(&data, ",\"disabled_at\":");
	mv_append_json_time(&data, mv_now());
	appendStringInfoChar(&data, '}');
	mv_emit(&endpoint->user_id, "webhook.disabled", data.data, data.len, NULL);
}

typedef struct StateRows
{
	Datum	   *columns[6];
	bool	   *nulls[6];
	int			n;
	int			room;
} StateRows;

static void
collect_state(Endpoint *endpoint, void *arg)
{
	StateRows  *rows = arg;
	int			i = rows->n;

	if (!endpoint->state_dirty || endpoint->gone)
		return;
	if (i == rows->room)
	{
		rows->room *= 2;
		for (int c = 0; c < 6; c++)
		{
			rows->columns[c] = repalloc(rows->columns[c], sizeof(Datum) * rows->room);
			rows->nulls[c] = repalloc(rows->nulls[c], sizeof(bool) * rows->room);
		}
	}
	for (int c = 0; c < 6; c++)
		rows->nulls[c][i] = false;
	rows->columns[0][i] = UUIDPGetDatum(&endpoint->id);
	rows->columns[1][i] = Int32GetDatum(endpoint->failure_count);
	rows->columns[2][i] = TimestampTzGetDatum(endpoint->failing_since);
	rows->nulls[2][i] = endpoint->failing_since == 0;
	rows->columns[3][i] = TimestampTzGetDatum(endpoint->last_success);
	rows->nulls[3][i] = endpoint->last_success == 0;
	rows->columns[4][i] = TimestampTzGetDatum(endpoint->last_failure);
	rows->nulls[4][i] = endpoint->last_failure == 0;
	rows->nulls[5][i] = endpoint->last_error[0] == '\0';
	if (!rows->nulls[5][i])
		rows->columns[5][i] = PointerGetDatum(attempt_clean_text(endpoint->last_error, strlen(endpoint->last_error)));
	rows->n++;
}

static Datum
state_array(StateRows *rows, int column, Oid type, int len, bool byval, char align)
{
	int			lower = 1;

	return PointerGetDatum(construct_md_array(rows->columns[column], rows->nulls[column], 1, &rows->n, &lower,
											  type, len, byval, align));
}

static void
clear_dirty(Endpoint *endpoint, void *arg)
{
	endpoint->state_dirty = false;
}

static void
write_state(void)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[6] = {UUIDARRAYOID, INT4ARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID};
	Datum		values[6];
	StateRows	rows = {.room = 64};

	for (int c = 0; c < 6; c++)
	{
		rows.columns[c] = palloc(sizeof(Datum) * rows.room);
		rows.nulls[c] = palloc(sizeof(bool) * rows.room);
	}
	endpoint_each(collect_state, &rows);
	if (rows.n == 0)
		return;
	values[0] = state_array(&rows, 0, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR);
	values[1] = state_array(&rows, 1, INT4OID, 4, true, TYPALIGN_INT);
	for (int c = 2; c < 5; c++)
		values[c] = state_array(&rows, c, TIMESTAMPTZOID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
	values[5] = state_array(&rows, 5, TEXTOID, -1, false, TYPALIGN_INT);
	worker_execute(&plan,
				   "insert into musicverse.webhook_state as s (webhook_id, failure_count, failing_since,"
				   "  last_success_at, last_failure_at, last_error)"
				   " select u.* from unnest($1, $2, $3, $4, $5, $6) as u (id, n, failing, success, failure, error)"
				   " join musicverse.webhook_endpoints w on w.id = u.id order by u.id for key share of w"
				   " on conflict (webhook_id) do update set failure_count = excluded.failure_count,"
				   "  failing_since = excluded.failing_since,"
				   "  last_success_at = coalesce(excluded.last_success_at, s.last_success_at),"
				   "  last_failure_at = coalesce(excluded.last_failure_at, s.last_failure_at),"
				   "  last_error = coalesce(excluded.last_error, s.last_error)",
				   6, types, values, NULL, false, 0);
	endpoint_each(clear_dirty, NULL);
}

/* ---- the batch ---- */

/*
 * Writes up to limit outcomes, within the current transaction. They stay in
 * worker.done until settle_forget().
 */
void
settle(int limit)
{
	static TimestampTz last_state = 0;
	TimestampTz now = mv_now();
	Batch		batch = {0};
	MvBulk	   *bulk = NULL;
	slist_iter	iter;
	int			n = 0;

	batch.estate = CreateExecutorState();
	slist_foreach(iter, &worker.done)
	{
		Exchange   *exchange = slist_container(Exchange, node, iter.cur);

		if (n++ == limit)
			break;
		if (exchange->attempted)
		{
			if (bulk == NULL)
				bulk = mv_bulk_open(mv_catalog()->attempts);
			attempt_write(bulk, exchange);
		}
		if (!update_in_place(&batch, exchange))
			update_by_id(exchange);
		if (exchange->disable_reason != NULL)
			disable(exchange->delivery->endpoint, exchange->disable_reason);
	}
	if (bulk != NULL)
		mv_bulk_close(bulk);
	close_batch(&batch);

	if (now - last_state >= STATE_INTERVAL_MS * INT64CONST(1000) || now < last_state || worker.in_flight == 0)
	{
		write_state();
		last_state = now;
	}
}

/* What an outcome means for the memory; its transaction was committed. */
static void
finish(Exchange *exchange)
{
	Delivery   *delivery = exchange->delivery;
	Endpoint   *endpoint = delivery->endpoint;
	MvShard    *shard = worker.shard;

	if (exchange->attempted)
	{
		pg_atomic_fetch_add_u64(&shard->attempts, 1);
		delivery->attempts++;
		if (exchange->verdict != VERDICT_DELIVERED)
			pg_atomic_fetch_add_u64(&shard->attempts_failed, 1);
	}
	if (exchange->verdict == VERDICT_RETRY)
		delivery_make_wait(delivery, exchange->next_attempt);
	else
	{
		pg_atomic_fetch_add_u64(&shard->settled, 1);
		if (exchange->verdict == VERDICT_DELIVERED)
			pg_atomic_fetch_add_u64(&shard->delivered, 1);
		else if (exchange->verdict == VERDICT_GIVEN_UP)
			pg_atomic_fetch_add_u64(&shard->failed, 1);
		order_settled(delivery);
		delivery_forget(delivery);
	}
	if (exchange->error[0] != '\0')
		worker_note_error(exchange->error);
	if (exchange->disable_reason != NULL)
		endpoint_disabled(endpoint);
	exchange_free(exchange);
}

/* The first n outcomes were committed. */
void
settle_forget(int n)
{
	while (n-- > 0 && !slist_is_empty(&worker.done))
	{
		Exchange   *exchange = slist_container(Exchange, node, slist_pop_head_node(&worker.done));

		worker.ndone--;
		finish(exchange);
	}
}

/*
 * The first outcome can't be written, whatever is tried: it is taken for not
 * having happened, and the delivery is looked for in the table later.
 */
void
settle_drop_first(void)
{
	Exchange   *exchange;
	Delivery   *delivery;

	if (slist_is_empty(&worker.done))
		return;
	exchange = slist_container(Exchange, node, slist_pop_head_node(&worker.done));
	worker.ndone--;
	delivery = exchange->delivery;
	if (exchange->disable_reason != NULL)
		endpoint_disabled(delivery->endpoint);
	delivery_make_wait(delivery, mv_now() + 5 * USECS_PER_MINUTE);
	exchange_free(exchange);
}

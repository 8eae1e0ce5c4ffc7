/*
 * What keeps the tables and a restart cheap.
 *
 * Marks: below worker_marks.low_seq of a shard everything is settled, but for
 * the endpoints that have a low_seq of their own in webhook_state. What was
 * pending for less than YOUNG holds the mark back; endpoints with older
 * deliveries are noted, so that one dead endpoint doesn't hold it for days.
 * The mark is never above the number of an open transaction or of a range
 * that wasn't read yet. It is written behind the outcomes it covers, in the
 * same stream of WAL, so a crash can't keep it and lose them.
 *
 * Leaves: the worker of shard 0 makes the leaves of the coming days and drops
 * those past retention. It begins when there are events, so that it doesn't
 * get between CREATE EXTENSION and the leaves that a dump brings along.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "core/clock.h"
#include "core/numbers.h"
#include "core/uuid7.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "webhooks/worker_int.h"

#define MARKS_INTERVAL	(5 * USECS_PER_SEC)
#define LEAVES_INTERVAL (10 * USECS_PER_MINUTE)
#define YOUNG			(60 * USECS_PER_SEC)
#define UNIX_EPOCH_USECS ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

static TimestampTz last_marks = 0;
static TimestampTz last_leaves = 0;
static int64 mark_written = 0;

static void
low_of_backlog(Endpoint *endpoint, void *arg)
{
	endpoint->low_seq = PG_INT64_MAX;
	if (endpoint->backlog_lo != 0)
		endpoint->low_seq = endpoint->backlog_lo;
	if (endpoint->skipped_lo != 0)
		endpoint->low_seq = Min(endpoint->low_seq, endpoint->skipped_lo);
}

static void
low_of_delivery(Delivery *delivery, void *arg)
{
	delivery->endpoint->low_seq = Min(delivery->endpoint->low_seq, delivery->seq);
}

static void
lowest(Endpoint *endpoint, void *arg)
{
	int64	   *low = arg;

	if (endpoint->known && !endpoint->sendable)
		return;					/* held: it isn't late */
	*low = Min(*low, endpoint->low_seq);
}

/* Finds the lowest unsettled number of each endpoint, and tells the oldest. */
void
maintain_survey(TimestampTz now)
{
	int64		low = PG_INT64_MAX;

	endpoint_each(low_of_backlog, NULL);
	delivery_each(low_of_delivery, NULL);
	endpoint_each(lowest, &low);
	/* a number is the microsecond in which it was taken */
	pg_atomic_write_u64(&worker.shard->oldest_pending, low == PG_INT64_MAX ? 0 : (uint64) (low - UNIX_EPOCH_USECS));
}

typedef struct Marks
{
	int64		young;			/* from here on a low number holds the mark */
	int64		mark;
	Datum	   *ids;
	Datum	   *lows;
	bool	   *nulls;
	int			n;
	int			room;
} Marks;

static void
find_mark(Endpoint *endpoint, void *arg)
{
	Marks	   *marks = arg;

	if (endpoint->low_seq >= marks->young && endpoint->low_seq < marks->mark)
		marks->mark = endpoint->low_seq;
}

/* Those whose note in webhook_state is not what it should be. */
static void
collect_notes(Endpoint *endpoint, void *arg)
{
	Marks	   *marks = arg;
	int64		note = endpoint->low_seq < marks->mark ? endpoint->low_seq : 0;

	if (note == endpoint->low_seq_written || endpoint->gone)
		return;
	if (marks->n == marks->room)
	{
		marks->room *= 2;
		marks->ids = repalloc(marks->ids, sizeof(Datum) * marks->room);
		marks->lows = repalloc(marks->lows, sizeof(Datum) * marks->room);
		marks->nulls = repalloc(marks->nulls, sizeof(bool) * marks->room);
	}
	marks->ids[marks->n] = UUIDPGetDatum(&endpoint->id);
	marks->lows[marks->n] = Int64GetDatum(note);
	marks->nulls[marks->n] = note == 0;
	marks->n++;
	endpoint->low_seq_written = note;
}

static void
write_notes(Marks *marks)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[2] = {UUIDARRAYOID, INT8ARRAYOID};
	Datum		values[2];
	int			lower = 1;

	values[0] = PointerGetDatum(construct_array(marks->ids, marks->n, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
	values[1] = PointerGetDatum(construct_md_array(marks->lows, marks->nulls, 1, &marks->n, &lower,
												   INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	worker_execute(&plan,
				   "insert into musicverse.webhook_state (webhook_id, low_seq)"
				   " select u.* from unnest($1, $2) as u (id, low) join musicverse.webhook_endpoints w on w.id = u.id"
				   " order by u.id for key share of w"
				   " on conflict (webhook_id) do update set low_seq = excluded.low_seq",
				   2, types, values, NULL, false, 0);
}

static void
write_marks(TimestampTz now)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[4] = {INT4OID, INT4OID, INT8OID, UUIDOID};
	Datum		values[4];
	pg_uuid_t	low_id;
	Marks		marks = {.room = 64};
	int64		ceiling = mv_last_number() + 1;
	int64		in_doubt = mv_lowest_delivery_in_doubt(MyDatabaseId);

	/* what was committed until then is in the ring by now, and read from it */
	intake_pop_ring();
	marks.mark = Min(Min(ceiling, in_doubt), intake_lowest_range());
	marks.young = GetCurrentTimestamp() + UNIX_EPOCH_USECS - YOUNG;
	maintain_survey(now);
	endpoint_each(find_mark, &marks);
	if (marks.mark <= mark_written)
		return;

	marks.ids = palloc(sizeof(Datum) * marks.room);
	marks.lows = palloc(sizeof(Datum) * marks.room);
	marks.nulls = palloc(sizeof(bool) * marks.room);
	endpoint_each(collect_notes, &marks);
	if (marks.n > 0)
		write_notes(&marks);

	mv_uuid7_bound(marks.mark - UNIX_EPOCH_USECS - 60 * USECS_PER_SEC, &low_id);
	values[0] = Int32GetDatum(worker.shards);
	values[1] = Int32GetDatum(worker.shard_no);
	values[2] = Int64GetDatum(marks.mark);
	values[3] = UUIDPGetDatum(&low_id);
	worker_execute(&plan,
				   "insert into musicverse.worker_marks (shards, shard, low_seq, low_id, updated_at)"
				   " values ($1, $2, $3, $4, musicverse._now())"
				   " on conflict (shards, shard) do update set low_seq = excluded.low_seq, low_id = excluded.low_id,"
				   " updated_at = excluded.updated_at", 4, types, values, NULL, false, 0);
	mark_written = marks.mark;
}

static void
tend_leaves(void)
{
	Oid			types[1] = {INT4OID};
	Datum		values[1] = {Int32GetDatum(mv_retention_days)};
	static SPIPlanPtr plan = NULL;

	worker_execute(&plan, "select musicverse._tend_leaves(make_interval(days => $1))", 1, types, values, NULL, false, 0);
}

bool
maintain_wanted(TimestampTz now)
{
	return now - last_marks >= MARKS_INTERVAL || now < last_marks ||
		(worker.shard_no == 0 && (now - last_leaves >= LEAVES_INTERVAL || now < last_leaves));
}

void
maintain(TimestampTz now)
{
	if (now - last_marks >= MARKS_INTERVAL || now < last_marks)
	{
		last_marks = now;
		write_marks(now);
	}
	else if (worker.shard_no == 0)
	{
		last_leaves = now;
		tend_leaves();
	}
}

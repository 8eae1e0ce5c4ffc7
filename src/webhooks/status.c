/*
 * Reading: the workers' state from shared memory, and the log of events.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "core/caller.h"
#include "core/catalog.h"
#include "core/numbers.h"
#include "core/shared.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "webhooks/event.h"

PG_FUNCTION_INFO_V1(musicverse_worker_status);
PG_FUNCTION_INFO_V1(musicverse_poll_events);

#define MAX_POLL 1000

static Datum
counter(pg_atomic_uint64 *value)
{
	return Int64GetDatum((int64) pg_atomic_read_u64(value));
}

/* _worker_status(): a row for each shard of this database that has had a worker */
Datum
musicverse_worker_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MvDatabase *database;

	InitMaterializedSRF(fcinfo, 0);
	mv_shared_require("worker_status");
	database = mv_database_find(MyDatabaseId);
	if (database == NULL)
		return (Datum) 0;
	for (int s = 0; s < Max(database->shards, 1); s++)
	{
		MvShard    *shard = &database->shard[s];
		MvPlace    *place = &database->place[s];
		Datum		values[15] = {0};
		bool		nulls[15] = {0};
		int64		backlog;
		uint64		oldest = pg_atomic_read_u64(&shard->oldest_pending);
		const char *state;
		int			i = 0;

		LWLockAcquire(database->lock, LW_SHARED);
		state = place->pid == 0 ? (place->no_extension ? "waiting for the extension" : "not running") :
			shard->standing_still ? "standing still: a copy" : "running";
		values[i++] = Int32GetDatum(s);
		nulls[i] = place->pid == 0;
		values[i++] = Int32GetDatum(place->pid);
		values[i++] = CStringGetTextDatum(state);
		values[i++] = Int32GetDatum((int32) pg_atomic_read_u32(&shard->in_flight));
		backlog = (int64) (pg_atomic_read_u64(&shard->enqueued) + pg_atomic_read_u64(&shard->recovered) -
						   pg_atomic_read_u64(&shard->settled));
		values[i++] = Int64GetDatum(Max(backlog, 0));
		values[i++] = Int32GetDatum((int32) pg_atomic_read_u32(&shard->waiting));
		nulls[i] = oldest == 0;
		values[i++] = TimestampTzGetDatum((TimestampTz) oldest);
		values[i++] = Int32GetDatum((int32) pg_atomic_read_u32(&shard->open_breakers));
		values[i++] = counter(&shard->delivered);
		values[i++] = counter(&shard->failed);
		values[i++] = counter(&shard->attempts);
		values[i++] = counter(&shard->attempts_failed);
		values[i++] = counter(&shard->statements);
		nulls[i] = shard->last_error[0] == '\0';
		values[i] = CStringGetTextDatum(shard->last_error);
		i++;
		nulls[i] = shard->last_error_at == 0;
		values[i++] = TimestampTzGetDatum(shard->last_error_at);
		LWLockRelease(database->lock);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * poll_events(user_id uuid, after bigint, max int): the events of a user
 * behind a position, in the order of their commits. Positions are taken just
 * before a commit, so one that is missing now could only come from a
 * transaction that is committing at this moment: the answer ends before it.
 */
Datum
musicverse_poll_events(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			types[4] = {UUIDOID, INT8OID, INT8OID, INT4OID};
	Datum		args[4];
	int64		after = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1);
	int32		max = PG_ARGISNULL(2) ? 100 : PG_GETARG_INT32(2);
	int64		last,
				in_doubt;
	SPIPlanPtr	plan;
	Oid			save_user;
	int			save_context;

	InitMaterializedSRF(fcinfo, 0);
	mv_shared_require("poll_events()");
	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("user_id must not be null")));
	if (max < 1 || max > MAX_POLL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("limit %d is out of range", max),
				 errhint("Ask for 1 to %d events.", MAX_POLL)));
	if (after < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("position " INT64_FORMAT " is negative", after),
				 errhint("Begin with 0, go on with the last position that was returned.")));
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("poll_events() can't tell on a standby up to where the log is complete"),
				 errhint("Ask the primary.")));
	mv_require_user(PG_GETARG_UUID_P(0));

	/* in this order: numbers taken, numbers in doubt, snapshot */
	mv_take_numbers(1);
	last = mv_last_number();
	in_doubt = mv_lowest_position_in_doubt(MyDatabaseId);

	args[0] = PG_GETARG_DATUM(0);
	args[1] = Int64GetDatum(after);
	args[2] = Int64GetDatum(Min(last + 1, in_doubt));
	args[3] = Int32GetDatum(max);

	GetUserIdAndSecContext(&save_user, &save_context);
	SetUserIdAndSecContext(mv_catalog()->owner, save_context | SECURITY_LOCAL_USERID_CHANGE);
	SPI_connect();
	plan = SPI_prepare("select l.position, e.id, e.type, e.created_at, e.payload::jsonb -> 'data'"
					   " from (select position, event_id from musicverse.event_log"
					   "  where user_id = $1 and position > $2 and position < $3"
					   "  order by user_id, position limit $4) l"
					   " join musicverse.events e on e.id = l.event_id order by l.position", 4, types);
	if (plan == NULL)
		elog(ERROR, "could not prepare a statement: %s", SPI_result_code_string(SPI_result));
	SPI_execute_snapshot(plan, args, NULL, GetLatestSnapshot(), InvalidSnapshot, true, false, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Datum		values[5];
		bool		nulls[5];

		heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, values, nulls);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	SPI_finish();
	SetUserIdAndSecContext(save_user, save_context);
	return (Datum) 0;
}

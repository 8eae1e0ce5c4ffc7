/*
 * Operations that show one resource of the caller's: get_job, get_track.
 *
 * Each row is one query, whose plan is kept, under the caller's rights and
 * row-level security. In C, as these are what the API is asked most: without
 * a query for each expression and a change of search_path for each function.
 * The track of a job is a query of its own, as most jobs that are asked for
 * have none yet, and a join would make ready for one.
 *
 * Locks: AccessShareLock on the tables that are read.
 */
#include "postgres.h"

#include "api/arguments.h"
#include "api/resource.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "nodes/parsenodes.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(musicverse_api_get_job);
PG_FUNCTION_INFO_V1(musicverse_api_get_track);

typedef struct KeptQuery
{
	const char *text;			/* of an id */
	SPIPlanPtr	plan;
} KeptQuery;

/* Operators are named in full, as whoever calls chose the search_path. */
static KeptQuery job_by_id = {"select j from musicverse.generation_jobs j where j.id operator(pg_catalog.=) $1"};
static KeptQuery track_by_id = {"select t from musicverse.tracks t where t.id operator(pg_catalog.=) $1 and t.deleted_at is null"};

static void
prepare(KeptQuery *query)
{
	static Oid	types[] = {UUIDOID};
	SPIPlanPtr	plan;

	/* by the primary key, whoever asks: no need to plan for each */
	plan = SPI_prepare_cursor(query->text, lengthof(types), types, CURSOR_OPT_GENERIC_PLAN);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare \"%s\": %s", query->text, SPI_result_code_string(SPI_result));
	query->plan = plan;
}

/* The row, NULL when there is none. */
static HeapTupleHeader
find(KeptQuery *query, const pg_uuid_t *id)
{
	Datum		value = UUIDPGetDatum(id);
	bool		isnull;

	if (query->plan == NULL)
		prepare(query);
	if (SPI_execute_plan(query->plan, &value, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not run \"%s\"", query->text);
	if (SPI_processed == 0)
		return NULL;
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	return isnull ? NULL : DatumGetHeapTupleHeader(value);
}

/* _api_get_job(version int, job_id uuid) */
Datum
musicverse_api_get_job(PG_FUNCTION_ARGS)
{
	int			version = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT32(0);
	pg_uuid_t  *id = PG_ARGISNULL(1) ? NULL : PG_GETARG_UUID_P(1);
	MemoryContext context = CurrentMemoryContext;
	HeapTupleHeader row;
	HeapTupleHeader track;
	MvApiJob   *job;
	const pg_uuid_t *track_id;
	pg_uuid_t	user_id;
	Datum		result;

	mv_api_user(&user_id);
	if (id == NULL)
		mv_api_missing("job", NULL);
	SPI_connect();
	row = find(&job_by_id, id);
	job = row == NULL ? NULL : mv_api_job(version, row, &user_id, &track_id);
	if (job == NULL)
		mv_api_missing("job", id);
	track = track_id == NULL ? NULL : find(&track_by_id, track_id);
	MemoryContextSwitchTo(context);
	result = mv_api_job_json(job, track);
	SPI_finish();
	return result;
}

/* _api_get_track(track_id uuid) */
Datum
musicverse_api_get_track(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = PG_ARGISNULL(0) ? NULL : PG_GETARG_UUID_P(0);
	MemoryContext context = CurrentMemoryContext;
	HeapTupleHeader track;
	pg_uuid_t	user_id;
	Datum		result = (Datum) 0;

	mv_api_user(&user_id);
	if (id == NULL)
		mv_api_missing("track", NULL);
	SPI_connect();
	track = find(&track_by_id, id);
	MemoryContextSwitchTo(context);
	if (track != NULL)
		result = mv_api_track(track, &user_id);
	if (result == (Datum) 0)
		mv_api_missing("track", id);
	SPI_finish();
	return result;
}

/*
 * Operations that show one resource of the caller's: get_job, get_track.
 *
 * Each is one query, whose plan is kept, under the caller's rights and
 * row-level security. In C, as these are what the API is asked most: without
 * a query for each expression and a change of search_path for each function.
 *
 * Locks: AccessShareLock on the tables that are read.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/caller.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(musicverse_api_user);
PG_FUNCTION_INFO_V1(musicverse_api_missing);
PG_FUNCTION_INFO_V1(musicverse_api_get_job);
PG_FUNCTION_INFO_V1(musicverse_api_get_track);

#define SQLSTATE_NOT_FOUND		MAKE_SQLSTATE('P', 'T', '4', '0', '4')
#define SQLSTATE_UNAUTHORIZED	MAKE_SQLSTATE('P', 'T', '4', '0', '1')

typedef struct Show
{
	const char *kind;
	/* of id, user_id, version; operators are named in full, as whoever calls chose the search_path */
	const char *query;
	SPIPlanPtr	plan;
} Show;

static Show job = {
	"job",
	"select musicverse._api_job($3, j, t) from musicverse.generation_jobs j "
	"left join musicverse.tracks t on t.id operator(pg_catalog.=) j.track_id and t.deleted_at is null "
	"where j.id operator(pg_catalog.=) $1 and j.user_id operator(pg_catalog.=) $2"
};

static Show track = {
	"track",
	"select musicverse._api_track(t) from musicverse.tracks t "
	"where t.id operator(pg_catalog.=) $1 and t.user_id operator(pg_catalog.=) $2 and t.deleted_at is null"
};

static void
require_caller(pg_uuid_t *user_id)
{
	if (!mv_caller(user_id))
		ereport(ERROR,
				(errcode(SQLSTATE_UNAUTHORIZED),
				 errmsg("nobody is known to ask"),
				 errhint("Send an API key, or a token whose sub is the id of a user.")));
}

/* id may be NULL */
static void
missing(const char *kind, const pg_uuid_t *id)
{
	ereport(ERROR,
			(errcode(SQLSTATE_NOT_FOUND),
			 errmsg("%s %s does not exist", kind,
					id == NULL ? "null" : DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id))))));
}

static void
prepare(Show *show)
{
	static Oid	types[] = {UUIDOID, UUIDOID, INT4OID};
	SPIPlanPtr	plan;

	/* by the primary key, whoever asks: no need to plan for each */
	plan = SPI_prepare_cursor(show->query, lengthof(types), types, CURSOR_OPT_GENERIC_PLAN);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare \"%s\": %s", show->query, SPI_result_code_string(SPI_result));
	show->plan = plan;
}

/* The resource as JSON, in the memory of the caller */
static Datum
show_one(Show *show, const pg_uuid_t *id, int version)
{
	pg_uuid_t	user_id;
	Datum		values[3];
	Datum		result = (Datum) 0;

	require_caller(&user_id);
	if (id == NULL)
		missing(show->kind, NULL);
	values[0] = UUIDPGetDatum(id);
	values[1] = UUIDPGetDatum(&user_id);
	values[2] = Int32GetDatum(version);
	SPI_connect();
	if (show->plan == NULL)
		prepare(show);
	if (SPI_execute_plan(show->plan, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not run \"%s\"", show->query);
	if (SPI_processed == 1)
	{
		bool		isnull;

		result = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
		result = SPI_datumTransfer(result, false, -1);
	}
	SPI_finish();
	if (result == (Datum) 0)
		missing(show->kind, id);
	return result;
}

/* _api_user() */
Datum
musicverse_api_user(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *user_id = palloc(sizeof(pg_uuid_t));

	require_caller(user_id);
	PG_RETURN_UUID_P(user_id);
}

/* _api_missing(kind text, id uuid) */
Datum
musicverse_api_missing(PG_FUNCTION_ARGS)
{
	missing(PG_ARGISNULL(0) ? "resource" : text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_ARGISNULL(1) ? NULL : PG_GETARG_UUID_P(1));
	PG_RETURN_VOID();
}

/* _api_get_job(version int, job_id uuid) */
Datum
musicverse_api_get_job(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(show_one(&job, PG_ARGISNULL(1) ? NULL : PG_GETARG_UUID_P(1), PG_ARGISNULL(0) ? 1 : PG_GETARG_INT32(0)));
}

/* _api_get_track(track_id uuid) */
Datum
musicverse_api_get_track(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(show_one(&track, PG_ARGISNULL(0) ? NULL : PG_GETARG_UUID_P(0), 1));
}

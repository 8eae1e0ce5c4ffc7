/*
 * Operations that show one resource of the caller's: get_job, get_track.
 *
 * In C, as these are what the API is asked most: without a query for each
 * expression and a change of search_path for each function. Rows are found
 * under the caller's rights and row-level security, see row_finder.h. The
 * track of a job is sought by itself, as most jobs that are asked for have none
 * yet, and a join would make ready for one.
 *
 * Locks: AccessShareLock on the tables that are read.
 */
#include "postgres.h"

#include "api/arguments.h"
#include "api/resource.h"
#include "core/row_finder.h"
#include "fmgr.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(musicverse_api_get_job);
PG_FUNCTION_INFO_V1(musicverse_api_get_track);

static MvRowFinder job_by_id = {"select j from musicverse.generation_jobs j where j.id operator(pg_catalog.=) $1"};
/* Deleted ones too, which are told by the row: another condition could have the planner take another index. */
static MvRowFinder track_by_id = {"select t from musicverse.tracks t where t.id operator(pg_catalog.=) $1"};

static bool
find_track(const pg_uuid_t *id, MvRow *track)
{
	if (!mv_find_row(&track_by_id, id, track))
		return false;
	if (!mv_api_is_deleted(track))
		return true;
	mv_leave_row(track);
	return false;
}

/* _api_get_job(version int, job_id uuid) */
Datum
musicverse_api_get_job(PG_FUNCTION_ARGS)
{
	int			version = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT32(0);
	pg_uuid_t  *id = PG_ARGISNULL(1) ? NULL : PG_GETARG_UUID_P(1);
	MvRow		job;
	MvRow		track;
	const pg_uuid_t *track_id;
	bool		has_track;
	pg_uuid_t	user_id;
	Datum		result;

	mv_api_user(&user_id);
	if (id == NULL || !mv_find_row(&job_by_id, id, &job))
		mv_api_missing("job", id);
	if (!mv_api_is_job_of(version, &job, &user_id, &track_id))
	{
		mv_leave_row(&job);
		mv_api_missing("job", id);
	}
	has_track = track_id != NULL && find_track(track_id, &track);
	result = mv_api_job(version, &job, has_track ? &track : NULL);
	if (has_track)
		mv_leave_row(&track);
	mv_leave_row(&job);
	return result;
}

/* _api_get_track(track_id uuid) */
Datum
musicverse_api_get_track(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = PG_ARGISNULL(0) ? NULL : PG_GETARG_UUID_P(0);
	MvRow		track;
	pg_uuid_t	user_id;
	Datum		result;

	mv_api_user(&user_id);
	if (id == NULL || !find_track(id, &track))
		mv_api_missing("track", id);
	result = mv_api_track(&track, &user_id);
	mv_leave_row(&track);
	if (result == (Datum) 0)
		mv_api_missing("track", id);
	return result;
}

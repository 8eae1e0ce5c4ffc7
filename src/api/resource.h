/*
 * Jobs and tracks as the JSON of the API, by a table of their properties.
 */
#ifndef MV_API_RESOURCE_H
#define MV_API_RESOURCE_H

#include "postgres.h"

#include "access/htup.h"
#include "datatype/timestamp.h"
#include "utils/uuid.h"

/* Room for a time with its closing NUL */
#define MV_API_TIME_LEN	48

/*
 * RFC 3339 in UTC, to the microsecond: "2026-11-22T22:31:23.120000Z". Returns
 * the length; 0 for an infinite time, which has no such form.
 */
extern int	mv_api_time(TimestampTz at, char out[MV_API_TIME_LEN]);

/*
 * Rows of tracks and generation_jobs as json, in the current context. Who asks
 * is compared here, at no cost, and not by the query: 0 or NULL for a row of
 * somebody else. The track of a job may be NULL.
 */
typedef struct MvApiJob MvApiJob;

extern Datum mv_api_track(HeapTupleHeader t, const pg_uuid_t *user_id);
extern MvApiJob *mv_api_job(int version, HeapTupleHeader j, const pg_uuid_t *user_id, const pg_uuid_t **track_id);
extern Datum mv_api_job_json(const MvApiJob *job, HeapTupleHeader t);

#endif							/* MV_API_RESOURCE_H */

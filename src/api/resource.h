/*
 * Jobs and tracks as the JSON of the API, by a table of their properties.
 */
#ifndef MV_API_RESOURCE_H
#define MV_API_RESOURCE_H

#include "postgres.h"

#include "core/row_finder.h"
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
 * is compared here, at no cost, and not by the query: 0 or false for a row of
 * somebody else. The track of a job may be NULL.
 */
extern bool mv_api_is_deleted(const MvRow *track);
extern Datum mv_api_track(const MvRow *track, const pg_uuid_t *user_id);
extern bool mv_api_is_job_of(int version, const MvRow *job, const pg_uuid_t *user_id, const pg_uuid_t **track_id);
extern Datum mv_api_job(int version, const MvRow *job, const MvRow *track);

#endif							/* MV_API_RESOURCE_H */

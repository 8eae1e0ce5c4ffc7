/*
 * Jobs and tracks as the JSON of the API, by a table of their properties.
 */
#ifndef MV_API_RESOURCE_H
#define MV_API_RESOURCE_H

#include "postgres.h"

#include "access/htup.h"
#include "datatype/timestamp.h"

/* Room for a time with its closing NUL */
#define MV_API_TIME_LEN	48

/*
 * RFC 3339 in UTC, to the microsecond: "2026-11-22T22:31:23.120000Z". Returns
 * the length; 0 for an infinite time, which has no such form.
 */
extern int	mv_api_time(TimestampTz at, char out[MV_API_TIME_LEN]);

/*
 * Rows of tracks and generation_jobs as json, in the current context; the
 * track of a job may be NULL. (Datum) 0 for a row of NULLs.
 */
extern Datum mv_api_track(HeapTupleHeader t);
extern Datum mv_api_job(int version, HeapTupleHeader j, HeapTupleHeader t);

#endif							/* MV_API_RESOURCE_H */

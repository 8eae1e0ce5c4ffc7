/*
 * Usage within this room: what the worker takes out of shared memory and adds
 * to the tables.
 */
#ifndef MV_USAGE_INT_H
#define MV_USAGE_INT_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "keys/usage.h"
#include "utils/uuid.h"

#define USAGE_HISTOGRAM 64

/* Whose calls; compared as bytes, so always zeroed before it is filled in */
typedef struct UsageKey
{
	int64		minute;			/* since 1970, by the replaceable clock */
	Oid			database;		/* InvalidOid = free entry */
	int32		status_class;	/* 1 to 5 */
	pg_uuid_t	key_id;			/* zeros = no key */
	pg_uuid_t	user_id;		/* zeros = nobody known */
	char		operation[MV_OPERATION_LEN];
} UsageKey;

typedef enum UsageCounter
{
	USAGE_CALLS,
	USAGE_ERRORS,
	USAGE_REFUSED,
	USAGE_SHADOWED,
	USAGE_BYTES_IN,
	USAGE_BYTES_OUT,
	USAGE_DURATION,				/* microseconds, of the calls in the histogram */
	USAGE_COUNTERS
} UsageCounter;

/* What was counted, out of shared memory */
typedef struct UsageRow
{
	UsageKey	key;
	int64		counter[USAGE_COUNTERS];
	uint32		histogram[USAGE_HISTOGRAM];
} UsageRow;

/* The bucket of a duration, and the duration in microseconds at which a bucket ends. */
extern int	usage_bucket(int64 duration_us);
extern double usage_bucket_end(int bucket);

/*
 * Takes up to n rows of this database out of shared memory, from set *from on,
 * which is moved. Returns how many. Each entry is taken under its partition's
 * lock, so no count is lost or told twice.
 */
extern int	usage_take(UsageRow *rows, int n, uint64 *from);

/* Adds a row that could not be written to what is counted. False when there is no room. */
extern bool usage_put_back(const UsageRow *row);

typedef struct UsageCounts
{
	int64		room;
	int64		entries;
	int64		dropped;		/* calls that found no room, since the start */
	int64		flushed_rows;	/* of this database, since its worker's start */
	TimestampTz flushed_at;
	int64		flushes;		/* for those who wait for one */
	int64		wanted;			/* the flush that somebody waits for */
	char		error[160];
	TimestampTz error_at;
} UsageCounts;

/* What usage_status shows. */
extern void usage_counts(UsageCounts *counts);

/* For the worker: it has written rows, and all that was asked for up to a flush (-1 = not all yet); or failed to. */
extern void usage_note_flush(int64 rows, int64 upto);
extern void usage_note_error(const char *message);

/* Asks the worker of this database for a flush; returns its number. */
extern int64 usage_want_flush(void);

/* Settings of the worker. */
extern void mv_usage_worker_init(void);

#endif							/* MV_USAGE_INT_H */

/*
 * Usage: calls by key, operation, class of status and minute, counted in
 * shared memory and added to the tables api_usage, api_usage_hours and
 * api_usage_days in batches by the usage worker.
 */
#ifndef MV_USAGE_H
#define MV_USAGE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/uuid.h"

#define MV_OPERATION_LEN 64		/* with the closing NUL; longer names are cut */

typedef struct MvUsage
{
	const pg_uuid_t *key_id;	/* NULL = no key */
	const pg_uuid_t *user_id;	/* NULL = anonymous */
	const char *operation;		/* not NUL-terminated, valid UTF-8 */
	int			operation_len;
	int			status;			/* of HTTP */
	bool		refused;		/* by a limit, a scope or an address */
	bool		shadow;			/* would have been refused if limits were enforced */
	int64		duration_us;	/* < 0 = not known: not part of the histogram; a day at most counts */
	TimestampTz at;				/* by mv_now(); 0 = not known */
	int64		bytes_in;		/* 1 PiB at most counts */
	int64		bytes_out;
} MvUsage;

extern void mv_usage_init(void);

/*
 * Counts one call. Never raises, never waits for more than a partition's
 * lock; where the table is full, counts the overflow. Does nothing without
 * shared memory and in recovery (nobody could write it down).
 */
extern void mv_usage_record(const MvUsage *usage);

/* musicverse.usage_flush_interval, in milliseconds: how often the worker writes */
extern int	mv_usage_flush_interval;

/*
 * Adds to what the usage worker does once a minute, in the transaction that
 * tends the tables of usage, with SPI connected. For _PG_init.
 */
extern void mv_usage_worker_add_chore(void (*chore) (void));

/* musicverse.count_verifications */
extern bool mv_count_verifications;

#endif							/* MV_USAGE_H */

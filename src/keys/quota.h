/*
 * Quotas: calls a day and a month of a user, counted in shared memory and
 * written to the ledger quota_usage in batches by the usage worker. Days and
 * months are those of UTC, by the replaceable clock.
 */
#ifndef MV_QUOTA_H
#define MV_QUOTA_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/uuid.h"

typedef enum MvPeriod
{
	MV_DAY,
	MV_MONTH,
	MV_PERIODS
} MvPeriod;

typedef struct MvQuotaAnswer
{
	bool		allowed;
	MvPeriod	violated;		/* when refused */
	int64		used[MV_PERIODS];	/* after the taking */
	TimestampTz resets_at[MV_PERIODS];
} MvQuotaAnswer;

extern void mv_quota_init(void);

/* Asks for the memory that taking will read first, for those who have something else to do meanwhile. */
extern void mv_quota_prefetch(const pg_uuid_t *user_id);

/*
 * Takes cost of both quotas, or of none. A limit below 0 means any number; the
 * use is counted all the same. The first call of a user since its counters
 * were last dropped reads the ledger by a fresh snapshot (AccessShareLock on
 * quota_usage). Exact among concurrent callers. With cost 0 it only looks.
 * The caller tells the time, by mv_now().
 */
extern void mv_quota_take(const pg_uuid_t *user_id, int64 cost, const int64 limits[MV_PERIODS], TimestampTz now, MvQuotaAnswer *answer);

/* What a user has used; by the ledger alone where there is no shared memory. */
extern void mv_quota_look(const pg_uuid_t *user_id, MvQuotaAnswer *answer);

/* How many users can be counted at once, how many are, and how often there was no room. */
extern void mv_quota_counts(int64 *room, int64 *entries_used, int64 *no_room);

/*
 * For the usage worker. Gathers a batch of what the ledger doesn't have yet,
 * from the beginning or from where the last one ended; false when there is no
 * more. Then, in a transaction, mv_quota_flush() writes the batch, and after
 * its commit mv_quota_flushed() marks it as written. Of a user without an
 * account nothing is written.
 */
extern bool mv_quota_gather(bool first);
extern void mv_quota_flush(void);
extern void mv_quota_flushed(void);

#endif							/* MV_QUOTA_H */

/*
 * Quotas within this room: what is counted in shared memory, and the ledger
 * that it is written to.
 */
#ifndef MV_QUOTA_INT_H
#define MV_QUOTA_INT_H

#include "postgres.h"

#include "keys/quota.h"
#include "utils/date.h"

/* A user's count as it is sent to the ledger */
typedef struct QuotaRow
{
	pg_uuid_t	user_id;
	DateADT		start[MV_PERIODS];
	uint64		used[MV_PERIODS];
} QuotaRow;

/*
 * Copies up to n counts of this database that the ledger doesn't have, from
 * set *from on, which is moved. Returns how many. Takes a partition's lock at
 * a time, shared.
 */
extern int	quota_gather(QuotaRow *rows, int n, uint64 *from);

/* The ledger has this count now. */
extern void quota_written(const QuotaRow *row);

/*
 * Reads what a user had used by a snapshot of now, 0 where the ledger has
 * nothing of the period; written is what it has of just this period, or
 * PG_UINT64_MAX. AccessShareLock on quota_usage; no lock of shared memory may be held.
 */
extern void quota_read_ledger(const pg_uuid_t *user_id, const DateADT start[MV_PERIODS], const DateADT next[MV_PERIODS],
							  uint64 used[MV_PERIODS], uint64 written[MV_PERIODS]);

#endif							/* MV_QUOTA_INT_H */

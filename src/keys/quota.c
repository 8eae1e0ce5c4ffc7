/*
 * Quotas counted in shared memory. See quota.h.
 */
#include "postgres.h"

#include "keys/quota.h"

void
mv_quota_init(void)
{
}

void
mv_quota_take(const pg_uuid_t *user_id, int64 cost, const int64 limits[MV_PERIODS], MvQuotaAnswer *answer)
{
	memset(answer, 0, sizeof(*answer));
	answer->allowed = true;
}

void
mv_quota_give_back(const pg_uuid_t *user_id, int64 cost)
{
}

void
mv_quota_flush(void)
{
}

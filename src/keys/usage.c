/*
 * Usage counted in shared memory. See usage.h.
 */
#include "postgres.h"

#include "keys/usage.h"
#include "utils/guc.h"

int			mv_usage_flush_interval = 10000;

void
mv_usage_init(void)
{
	DefineCustomIntVariable("musicverse.usage_flush_interval",
							"How often usage and quotas are written to the tables, and limits to the state file.",
							NULL, &mv_usage_flush_interval, 10000, 100, 3600 * 1000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
}

void
mv_usage_record(const MvUsage *usage)
{
}

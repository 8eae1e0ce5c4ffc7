/*
 * The replaceable clock. The offset lives in shared memory, so that all
 * processes agree; without shared memory it can't be moved.
 */
#include "postgres.h"

#include "core/clock.h"
#include "core/shared.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(musicverse_now);
PG_FUNCTION_INFO_V1(musicverse_advance_clock);

static bool test_clock = false;

void
mv_clock_init(void)
{
	/* a setting of the postmaster can't be defined later, and isn't needed then */
	if (!process_shared_preload_libraries_in_progress)
		return;
	DefineCustomBoolVariable("musicverse.test_clock",
							 "Lets advance_clock() move the clock of all schedules.",
							 "For tests only.",
							 &test_clock, false, PGC_POSTMASTER, 0, NULL, NULL, NULL);
}

TimestampTz
mv_now(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (mv_shared != NULL)
		now += (int64) pg_atomic_read_u64(&mv_shared->clock_offset);
	return now;
}

Datum
musicverse_now(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(mv_now());
}

/*
 * Moves the clock and wakes all workers, who plan anew. Days and months count
 * as 24 hours and 30 days.
 */
Datum
musicverse_advance_clock(PG_FUNCTION_ARGS)
{
	Interval   *by = PG_GETARG_INTERVAL_P(0);
	int64		micros = by->time + ((int64) by->day + (int64) by->month * DAYS_PER_MONTH) * USECS_PER_DAY;

	mv_shared_require("advance_clock()");
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to move the clock"),
				 errhint("Only a superuser can call advance_clock().")));
	if (!test_clock)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the clock can be moved only while musicverse.test_clock is on"),
				 errhint("Set musicverse.test_clock = on and restart a server that is for tests.")));

	pg_atomic_fetch_add_u64(&mv_shared->clock_offset, (uint64) micros);
	for (int i = 0; i < MV_MAX_DATABASES; i++)
		if (OidIsValid(mv_shared->database[i].oid))
			mv_wake_workers(&mv_shared->database[i]);
	PG_RETURN_TIMESTAMPTZ(mv_now());
}

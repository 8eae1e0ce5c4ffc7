/*
 * Days and months of UTC.
 */
#ifndef MV_PERIOD_H
#define MV_PERIOD_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "keys/quota.h"
#include "utils/date.h"

/* The first day of the period that a moment is in, and of the next one. */
extern void mv_period(TimestampTz at, DateADT start[MV_PERIODS], DateADT next[MV_PERIODS]);

/* The first day of the period after the one that begins on a day. */
extern DateADT mv_period_after(MvPeriod period, DateADT start);

#define MV_DAY_BEGINS(day) ((TimestampTz) (day) * USECS_PER_DAY)

#endif							/* MV_PERIOD_H */

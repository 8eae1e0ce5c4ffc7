/*
 * Days and months of UTC. See period.h.
 */
#include "postgres.h"

#include "keys/period.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

void
mv_period(TimestampTz at, DateADT start[MV_PERIODS], DateADT next[MV_PERIODS])
{
	static DateADT known = PG_INT32_MIN;
	static DateADT month;
	static DateADT next_month;
	DateADT		day = at >= 0 ? at / USECS_PER_DAY : -((-at + USECS_PER_DAY - 1) / USECS_PER_DAY);

	if (day != known)
	{
		int			y,
					m,
					d;

		j2date(day + POSTGRES_EPOCH_JDATE, &y, &m, &d);
		month = date2j(y, m, 1) - POSTGRES_EPOCH_JDATE;
		next_month = mv_period_after(MV_MONTH, month);
		known = day;
	}
	start[MV_DAY] = day;
	start[MV_MONTH] = month;
	next[MV_DAY] = day + 1;
	next[MV_MONTH] = next_month;
}

DateADT
mv_period_after(MvPeriod period, DateADT start)
{
	int			y,
				m,
				d;

	if (period == MV_DAY)
		return start + 1;
	j2date(start + POSTGRES_EPOCH_JDATE, &y, &m, &d);
	return (m == 12 ? date2j(y + 1, 1, 1) : date2j(y, m + 1, 1)) - POSTGRES_EPOCH_JDATE;
}

/*
 * Numbers that only grow, see numbers.h. Without shared memory nothing is
 * sent and no log is read, so there it is enough that two processes hardly
 * ever take the same number: the low bits are the process's.
 */
#include "postgres.h"

#include "access/xact.h"
#include "core/catalog.h"
#include "core/numbers.h"
#include "core/shared.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(musicverse_next_number);

#define UNIX_EPOCH_USECS ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)
#define LONELY_STEP 1024

static int64
unix_micros(void)
{
	return GetCurrentTimestamp() + UNIX_EPOCH_USECS;
}

static int64
take_alone(int64 n)
{
	static int64 last = 0;
	int64		first = Max(unix_micros() / LONELY_STEP * LONELY_STEP, last + LONELY_STEP);

	last = first + (n - 1) * LONELY_STEP;
	return first + MyProcPid % LONELY_STEP;
}

static void
raise_last_number(int64 atleast)
{
	uint64		last = pg_atomic_read_u64(&mv_shared->last_number);

	while ((int64) last < atleast &&
		   !pg_atomic_compare_exchange_u64(&mv_shared->last_number, &last, (uint64) atleast))
		;
}

/* The highest numbers in the tables of this database. */
static int64
highest_in_tables(void)
{
	int64		highest = 0;
	Oid			save_user;
	int			save_context;

	GetUserIdAndSecContext(&save_user, &save_context);
	SetUserIdAndSecContext(mv_catalog()->owner, save_context | SECURITY_LOCAL_USERID_CHANGE);
	SPI_connect();
	if (SPI_execute("select greatest((select max(seq) from musicverse.deliveries),"
					" (select max(position) from musicverse.event_log))", true, 1) == SPI_OK_SELECT &&
		SPI_processed == 1)
	{
		bool		isnull;
		Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);

		if (!isnull)
			highest = DatumGetInt64(value);
	}
	SPI_finish();
	SetUserIdAndSecContext(save_user, save_context);
	return highest;
}

/* Once a database and start of the server; a race only means twice. */
static void
make_ready(void)
{
	static Oid	ready = InvalidOid;

	if (ready == MyDatabaseId)
		return;
	for (int i = 0; i < MV_NUMBERED_DATABASES; i++)
		if (mv_shared->numbered[i] == MyDatabaseId)
		{
			ready = MyDatabaseId;
			return;
		}

	raise_last_number(highest_in_tables());
	LWLockAcquire(mv_shared->lock, LW_EXCLUSIVE);
	mv_shared->numbered[mv_shared->next_numbered++ % MV_NUMBERED_DATABASES] = MyDatabaseId;
	LWLockRelease(mv_shared->lock);
	ready = MyDatabaseId;
}

int64
mv_take_numbers(int64 n)
{
	uint64		last;
	int64		first;

	if (mv_shared == NULL)
		return take_alone(n);
	make_ready();
	last = pg_atomic_read_u64(&mv_shared->last_number);
	do
	{
		first = Max(unix_micros(), (int64) last + 1);
	} while (!pg_atomic_compare_exchange_u64(&mv_shared->last_number, &last, (uint64) (first + n - 1)));
	return first;
}

int64
mv_last_number(void)
{
	return (int64) pg_atomic_read_u64(&mv_shared->last_number);
}

/* _next_number() */
Datum
musicverse_next_number(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(mv_take_numbers(1));
}

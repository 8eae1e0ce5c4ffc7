/*
 * What workers that ask others tell of themselves, in shared memory.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "core/asker.h"
#include "core/asker_told.h"
#include "core/clock.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#define COLUMNS 8
#define KINDS	(MV_PLACE_DISTRIBUTION - MV_PLACE_GENERATION + 1)

/* Of the worker of one database and kind */
typedef struct Told
{
	Oid			database;
	bool		standing_still;
	int			in_flight;
	int64		requests;
	int64		failures;
	char		error[MV_ERROR_TEXT];
	TimestampTz error_at;
	int			nbreakers;
	char		breakers[MV_ASKER_BREAKERS][NAMEDATALEN];
} Told;

static Told *told = NULL;
static LWLockPadded *lock;
static Told *mine;				/* of this process */

static Size
told_size(void)
{
	return mul_size(MV_MAX_DATABASES * KINDS, sizeof(Told));
}

static void
told_start(void *memory, LWLockPadded *locks, bool fresh)
{
	told = memory;
	lock = locks;
}

void
mv_asker_init(void)
{
	static const MvSharedPart part = {"musicverse askers", 1, told_size, told_start};

	mv_shared_add(&part);
}

static Told *
told_by(const MvDatabase *database, int place)
{
	return &told[(database - mv_shared->database) * KINDS + place - MV_PLACE_GENERATION];
}

void
mv_told_begin(const MvDatabase *database, int place)
{
	mine = told_by(database, place);
	LWLockAcquire(&lock->lock, LW_EXCLUSIVE);
	if (mine->database != MyDatabaseId)
		memset(mine, 0, sizeof(Told));
	mine->database = MyDatabaseId;
	LWLockRelease(&lock->lock);
}

void
mv_told_state(bool standing_still)
{
	LWLockAcquire(&lock->lock, LW_EXCLUSIVE);
	mine->standing_still = standing_still;
	LWLockRelease(&lock->lock);
}

void
mv_told_turn(int in_flight, int (*open_breakers) (char names[][NAMEDATALEN], int max))
{
	LWLockAcquire(&lock->lock, LW_EXCLUSIVE);
	mine->in_flight = in_flight;
	mine->nbreakers = Min(open_breakers(mine->breakers, MV_ASKER_BREAKERS), MV_ASKER_BREAKERS);
	LWLockRelease(&lock->lock);
}

void
mv_asker_note_error(const char *message)
{
	LWLockAcquire(&lock->lock, LW_EXCLUSIVE);
	strlcpy(mine->error, message, MV_ERROR_TEXT);
	mine->error_at = mv_now();
	LWLockRelease(&lock->lock);
}

void
mv_asker_count_request(bool failed)
{
	LWLockAcquire(&lock->lock, LW_EXCLUSIVE);
	mine->requests++;
	if (failed)
		mine->failures++;
	LWLockRelease(&lock->lock);
}

static Datum
breaker_names(const Told *from)
{
	Datum		names[MV_ASKER_BREAKERS];

	for (int i = 0; i < from->nbreakers; i++)
		names[i] = CStringGetTextDatum(from->breakers[i]);
	return PointerGetDatum(construct_array(names, from->nbreakers, TEXTOID, -1, false, TYPALIGN_INT));
}

Datum
mv_asker_told(FunctionCallInfo fcinfo, const MvAskerKind *kind)
{
	MvDatabase *database;
	Told		copy = {0};
	int			pid = 0;
	TupleDesc	desc;
	Datum		values[COLUMNS];
	bool		nulls[COLUMNS] = {false};

	mv_shared_require(psprintf("%s()", get_func_name(fcinfo->flinfo->fn_oid)));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != COLUMNS)
		elog(ERROR, "return type must be a row type of %d columns", COLUMNS);
	database = mv_database_find(MyDatabaseId);
	if (database != NULL)
	{
		LWLockAcquire(database->lock, LW_SHARED);
		pid = database->place[kind->place].pid;
		LWLockRelease(database->lock);
		LWLockAcquire(&lock->lock, LW_SHARED);
		copy = *told_by(database, kind->place);
		LWLockRelease(&lock->lock);
		if (copy.database != MyDatabaseId)
			memset(&copy, 0, sizeof(copy));
	}
	values[0] = Int32GetDatum(pid);
	nulls[0] = pid == 0;
	values[1] = CStringGetTextDatum(pid == 0 ? "not running" : copy.standing_still ? "standing still: a copy" : "running");
	values[2] = Int32GetDatum(pid == 0 ? 0 : copy.in_flight);
	values[3] = Int64GetDatum(copy.requests);
	values[4] = Int64GetDatum(copy.failures);
	nulls[5] = copy.error[0] == '\0';
	values[5] = nulls[5] ? (Datum) 0 : CStringGetTextDatum(copy.error);
	nulls[6] = copy.error_at == 0;
	values[6] = TimestampTzGetDatum(copy.error_at);
	values[7] = breaker_names(&copy);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

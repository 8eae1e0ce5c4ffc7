/*
 * Settings of the room, what its worker tells of itself in shared memory, and
 * the wake-up at commit.
 *
 * Locks: one LWLock for all databases, held for a few memory accesses.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "core/clock.h"
#include "core/launcher.h"
#include "core/utility.h"
#include "fmgr.h"
#include "funcapi.h"
#include "generation/generation.h"
#include "generation/generation_int.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(musicverse_wake_generation);
PG_FUNCTION_INFO_V1(musicverse_generation_worker);

#define COLUMNS 8

/* Of the worker of one database */
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
	char		breakers[MV_GEN_BREAKERS][NAMEDATALEN];
} Told;

int			mv_gen_concurrency = 64;
int			mv_gen_max_response_kb = 1024;

static int	generation_timeout = 30 * 60;
static int	max_queued_jobs = 100;
static char *public_url = NULL;

static Told *told = NULL;
static LWLockPadded *lock;

static Size
told_size(void)
{
	return mul_size(MV_MAX_DATABASES, sizeof(Told));
}

static void
told_start(void *memory, LWLockPadded *locks, bool fresh)
{
	told = memory;
	lock = locks;
}

static bool
check_public_url(char **newval, void **extra, GucSource source)
{
	if (**newval == '\0' || pg_strncasecmp(*newval, "https://", 8) == 0 || pg_strncasecmp(*newval, "http://", 7) == 0)
		return true;
	GUC_check_errdetail("\"%s\" is not a URL of http or https.", *newval);
	GUC_check_errhint("Give the address under which the API is reached from outside, such as https://api.example.com.");
	return false;
}

void
mv_generation_init(void)
{
	static const MvSharedPart part = {"musicverse generation", 1, told_size, told_start};
	static const MvWorkerKind kind = {"generation worker", "mv_generation_worker_main", MV_PLACE_GENERATION, 1, mv_one_worker};

	DefineCustomIntVariable("musicverse.generation_timeout", "How long a job may take from when a provider was chosen for it.",
							"It fails then, and the provider is told to cancel it.",
							&generation_timeout, 30 * 60, 1, 7 * SECS_PER_DAY, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.max_queued_jobs", "Jobs of one user that may wait in the queue.",
							"generate() refuses more. 0 = any number.",
							&max_queued_jobs, 100, 0, INT_MAX, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.generation_concurrency", "Requests to providers that the worker has under way at most.",
							NULL, &mv_gen_concurrency, 64, 1, 1000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.max_provider_response", "Longest answer or callback of a provider that is read.",
							NULL, &mv_gen_max_response_kb, 1024, 1, 65536, PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomStringVariable("musicverse.public_url", "Address under which the API is reached from outside.",
							   "Providers are told to call back there. Empty: they are polled.",
							   &public_url, "", PGC_SIGHUP, 0, check_public_url, NULL, NULL);
	mv_shared_add(&part);
	mv_launcher_add(&kind);
}

static Told *
mine(void)
{
	return &told[mv_gen.base.database - mv_shared->database];
}

void
mv_gen_note_state(bool standing_still)
{
	Told	   *my = mine();

	LWLockAcquire(&lock->lock, LW_EXCLUSIVE);
	if (my->database != MyDatabaseId)
		memset(my, 0, sizeof(Told));
	my->database = MyDatabaseId;
	my->standing_still = standing_still;
	LWLockRelease(&lock->lock);
}

void
mv_gen_note_error(const char *message)
{
	Told	   *my = mine();

	LWLockAcquire(&lock->lock, LW_EXCLUSIVE);
	strlcpy(my->error, message, MV_ERROR_TEXT);
	my->error_at = mv_now();
	LWLockRelease(&lock->lock);
}

void
mv_gen_count_request(bool failed)
{
	Told	   *my = mine();

	LWLockAcquire(&lock->lock, LW_EXCLUSIVE);
	my->requests++;
	if (failed)
		my->failures++;
	LWLockRelease(&lock->lock);
}

void
mv_gen_publish(int in_flight)
{
	Told	   *my = mine();

	LWLockAcquire(&lock->lock, LW_EXCLUSIVE);
	my->in_flight = in_flight;
	my->nbreakers = Min(mv_gen_open_breakers(my->breakers, MV_GEN_BREAKERS), MV_GEN_BREAKERS);
	LWLockRelease(&lock->lock);
}

/* _wake_generation() */
Datum
musicverse_wake_generation(PG_FUNCTION_ARGS)
{
	mv_wake_place_at_commit(MV_PLACE_GENERATION);
	PG_RETURN_VOID();
}

static Datum
breaker_names(const Told *from)
{
	Datum		names[MV_GEN_BREAKERS];

	for (int i = 0; i < from->nbreakers; i++)
		names[i] = CStringGetTextDatum(from->breakers[i]);
	return PointerGetDatum(construct_array(names, from->nbreakers, TEXTOID, -1, false, TYPALIGN_INT));
}

/* _generation_worker() */
Datum
musicverse_generation_worker(PG_FUNCTION_ARGS)
{
	MvDatabase *database;
	Told		copy = {0};
	int			pid = 0;
	TupleDesc	desc;
	Datum		values[COLUMNS];
	bool		nulls[COLUMNS] = {false};

	mv_shared_require("_generation_worker()");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != COLUMNS)
		elog(ERROR, "return type must be a row type of %d columns", COLUMNS);
	database = mv_database_find(MyDatabaseId);
	if (database != NULL)
	{
		LWLockAcquire(database->lock, LW_SHARED);
		pid = database->place[MV_PLACE_GENERATION].pid;
		LWLockRelease(database->lock);
		LWLockAcquire(&lock->lock, LW_SHARED);
		copy = told[database - mv_shared->database];
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
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

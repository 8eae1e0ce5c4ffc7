/*
 * Settings, the kinds of work, what the worker tells of itself in shared
 * memory, and the wake-up at commit.
 *
 * Locks: one LWLock for all databases, held for a few memory accesses.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "core/clock.h"
#include "core/launcher.h"
#include "core/utility.h"
#include "fmgr.h"
#include "funcapi.h"
#include "media/inspect.h"
#include "media/media_int.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(musicverse_wake_media);
PG_FUNCTION_INFO_V1(musicverse_media_worker);

#define COLUMNS 5

/* Of the worker of one database */
typedef struct Told
{
	Oid			database;
	bool		standing_still;
	char		at_work[MV_AT_WORK_LENGTH];	/* empty = waiting */
	char		error[MV_ERROR_TEXT];
	TimestampTz error_at;
} Told;

int			mv_media_max_size_mb = 20 * 1024;
int			mv_media_fetches = 8;

static char *media_directory = NULL;
static int	media_retention_s = 7 * SECS_PER_DAY;

static const MvMediaKind *kinds[MV_MAX_MEDIA_KINDS];
static int	nkinds = 0;

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
check_directory(char **newval, void **extra, GucSource source)
{
	if ((*newval)[0] != '\0' && strlen(*newval) < MAXPGPATH / 2)
		return true;
	GUC_check_errdetail("It is a path of 1 to %d bytes, from the data directory on unless it begins with \"/\".", MAXPGPATH / 2 - 1);
	return false;
}

void
mv_media_init(void)
{
	static const MvSharedPart part = {"musicverse media", 1, told_size, told_start};
	static const MvWorkerKind worker = {"media worker", "mv_media_worker_main", MV_PLACE_MEDIA, 1, mv_one_worker};

	DefineCustomStringVariable("musicverse.media_directory", "Where the files are that the media worker makes.",
							   "From the data directory on, unless it begins with \"/\".",
							   &media_directory, "musicverse_media", PGC_SIGHUP, GUC_SUPERUSER_ONLY, check_directory, NULL, NULL);
	DefineCustomIntVariable("musicverse.media_retention", "How long media are kept that nobody uses.",
							"They are made again when they are wanted.",
							&media_retention_s, 7 * SECS_PER_DAY, 1, INT_MAX, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.media_max_size", "How much room the files of the media worker take in each database.",
							"Those that were not used for the longest time go first. 0 is no limit.",
							&mv_media_max_size_mb, 20 * 1024, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.media_fetches", "How many files the media worker fetches at once.",
							"At most two of them for one user, and three of four from one host.",
							&mv_media_fetches, 8, 1, 64, PGC_SIGHUP, 0, NULL, NULL, NULL);
	mv_shared_add(&part);
	mv_launcher_add(&worker);
	mv_media_add(&mv_inspect_kind);
	mv_media_add(&mv_flac_kind);
}

/* ---- kinds ---- */

const MvMediaKind *
mv_media_kind(const char *name)
{
	for (int i = 0; i < nkinds; i++)
		if (strcmp(kinds[i]->name, name) == 0)
			return kinds[i];
	return NULL;
}

void
mv_media_add(const MvMediaKind *kind)
{
	if (nkinds == MV_MAX_MEDIA_KINDS)
		elog(ERROR, "too many kinds of media");
	Assert(mv_media_kind(kind->name) == NULL);
	kinds[nkinds++] = kind;
}

/* ---- what the worker tells ---- */

static Told *
mine(void)
{
	return &told[mv_media.base.database - mv_shared->database];
}

void
mv_media_note_state(bool standing_still, const char *at_work)
{
	Told	   *my = mine();

	LWLockAcquire(&lock->lock, LW_EXCLUSIVE);
	if (my->database != MyDatabaseId)
		memset(my, 0, sizeof(Told));
	my->database = MyDatabaseId;
	my->standing_still = standing_still;
	strlcpy(my->at_work, at_work, MV_AT_WORK_LENGTH);
	LWLockRelease(&lock->lock);
}

void
mv_media_note_error(const char *message)
{
	Told	   *my = mine();

	LWLockAcquire(&lock->lock, LW_EXCLUSIVE);
	strlcpy(my->error, message, MV_ERROR_TEXT);
	my->error_at = mv_now();
	LWLockRelease(&lock->lock);
}

/* _wake_media() */
Datum
musicverse_wake_media(PG_FUNCTION_ARGS)
{
	mv_wake_place_at_commit(MV_PLACE_MEDIA);
	PG_RETURN_VOID();
}

static Datum
text_or_null(const char *text, bool *isnull)
{
	*isnull = text[0] == '\0';
	return *isnull ? (Datum) 0 : CStringGetTextDatum(text);
}

/* _media_worker() */
Datum
musicverse_media_worker(PG_FUNCTION_ARGS)
{
	MvDatabase *database;
	Told		copy = {0};
	int			pid = 0;
	TupleDesc	desc;
	Datum		values[COLUMNS];
	bool		nulls[COLUMNS] = {false};

	mv_shared_require("_media_worker()");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE || desc->natts != COLUMNS)
		elog(ERROR, "return type must be a row type of %d columns", COLUMNS);
	database = mv_database_find(MyDatabaseId);
	if (database != NULL)
	{
		LWLockAcquire(database->lock, LW_SHARED);
		pid = database->place[MV_PLACE_MEDIA].pid;
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
	values[2] = text_or_null(pid == 0 ? "" : copy.at_work, &nulls[2]);
	values[3] = text_or_null(copy.error, &nulls[3]);
	nulls[4] = copy.error_at == 0;
	values[4] = TimestampTzGetDatum(copy.error_at);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

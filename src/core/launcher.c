/*
 * The launcher: one static background worker, connected to no database, so
 * that it is in nobody's way. It looks at musicverse.databases and at shared
 * memory, starts the workers that are missing and tells those that aren't
 * wanted any more to leave.
 *
 * A worker leaves by itself: where the extension isn't created (it is started
 * again at the commit of CREATE EXTENSION, see musicverse_wake), where a
 * backend paused the database (utility.c), when the number of workers changed.
 * One that ends otherwise is started again after a delay. Workers have no
 * restart time of their own: all decisions are taken here.
 *
 * Locks: those of shared.h only; never one across a wait.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "core/compat.h"
#include "core/launcher.h"
#include "core/seal.h"
#include "core/shared.h"
#include "core/utility.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/varlena.h"

#define RESTART_DELAY_MS	2000	/* after a worker ended in an error */
#define RECHECK_MS			30000	/* with nothing to do: databases come and go */
#define EXTENSION_RECHECK_MS 60000	/* where the extension wasn't there */

PGDLLEXPORT void mv_launcher_main(Datum arg);

static char *databases = NULL;
static int	delivery_workers = 1;

/* What the launcher remembers of each worker it started */
typedef struct Started
{
	BackgroundWorkerHandle *handle;
	TimestampTz at;				/* when, or when it was seen to have ended */
} Started;

static Started started[MV_MAX_DATABASES][MV_PLACES];
static bool registration_failed = false;

static const MvWorkerKind *kinds[MV_MAX_WORKER_KINDS];
static int	nkinds = 0;

static const MvWorkerKind *
kind_of(int place)
{
	for (int k = 0; k < nkinds; k++)
		if (place >= kinds[k]->place && place < kinds[k]->place + kinds[k]->places)
			return kinds[k];
	return NULL;
}

void
mv_launcher_add(const MvWorkerKind *kind)
{
	if (nkinds == MV_MAX_WORKER_KINDS)
		elog(ERROR, "too many kinds of workers");
	Assert(kind_of(kind->place) == NULL);
	kinds[nkinds++] = kind;
}

int
mv_one_worker(const MvDatabase *database)
{
	return 1;
}

/* The shards are divided among as many workers as the launcher has agreed on with all of them. */
static int
delivery_workers_wanted(const MvDatabase *database)
{
	return database->shards;
}

static bool
check_databases(char **newval, void **extra, GucSource source)
{
	char	   *copy = pstrdup(*newval);
	List	   *names = NIL;
	bool		ok = SplitIdentifierString(copy, ',', &names);

	if (!ok)
		GUC_check_errdetail("List syntax is invalid: give database names separated by commas.");
	else if (list_length(names) > MV_MAX_DATABASES)
	{
		GUC_check_errdetail("At most %d databases can be served.", MV_MAX_DATABASES);
		ok = false;
	}
	list_free(names);
	pfree(copy);
	return ok;
}

/* Logged at every change only, not at every turn. */
static void
log_registration_failure(bool failed)
{
	if (failed && !registration_failed)
		ereport(LOG,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("musicverse could not start a worker: no background worker slot is free"),
				 errhint("Raise max_worker_processes (now %d) and restart the server; it is tried again meanwhile.",
						 max_worker_processes)));
	else if (!failed && registration_failed)
		ereport(LOG, (errmsg("musicverse found a background worker slot again")));
	registration_failed = failed;
}

static bool
is_wanted(const MvDatabase *database, int place)
{
	const MvWorkerKind *kind = kind_of(place);

	return kind != NULL && place - kind->place < kind->wanted(database);
}

/* False when there is no slot for it. */
static bool
start_worker(int d, int place, const char *name)
{
	const MvWorkerKind *kind = kind_of(place);
	BackgroundWorker worker = {0};
	bool		ok;

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_main_arg = Int32GetDatum(d * MV_PLACES + place);
	worker.bgw_notify_pid = MyProcPid;
	strlcpy(worker.bgw_library_name, "musicverse", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, kind->function, BGW_MAXLEN);
	if (kind->places > 1)
		snprintf(worker.bgw_name, BGW_MAXLEN, "musicverse %s %d for %s", kind->name, place - kind->place, name);
	else
		snprintf(worker.bgw_name, BGW_MAXLEN, "musicverse %s for %s", kind->name, name);
	snprintf(worker.bgw_type, BGW_MAXLEN, "musicverse %s", kind->name);

	ok = RegisterDynamicBackgroundWorker(&worker, &started[d][place].handle);
	if (!ok)
		started[d][place].handle = NULL;
	started[d][place].at = GetCurrentTimestamp();
	return ok;
}

/* Marks the databases that are listed and exist; makes entries for new ones. */
static void
look_at_databases(void)
{
	const char *wanted[MV_MAX_DATABASES] = {0};
	MvDatabase *first = NULL;
	List	   *list = NIL;
	ListCell   *lc;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	SplitIdentifierString(pstrdup(databases), ',', &list);

	/* no index can be used by a process that is in no database */
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);

		foreach(lc, list)
		{
			MvDatabase *entry;

			if (namestrcmp(&database->datname, lfirst(lc)) != 0 || !database->datallowconn ||
				(entry = mv_database_add(database->oid)) == NULL)
				continue;
			wanted[entry - mv_shared->database] = lfirst(lc);
			if (lc == list_head(list))
				first = entry;
		}
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);

	for (int d = 0; d < MV_MAX_DATABASES; d++)
	{
		MvDatabase *entry = &mv_shared->database[d];

		LWLockAcquire(entry->lock, LW_EXCLUSIVE);
		entry->wanted = wanted[d] != NULL;
		entry->first = entry == first;
		if (wanted[d] != NULL)
			strlcpy(entry->name, wanted[d], NAMEDATALEN);
		entry->stop = !wanted[d] || entry->paused > 0 || entry->shards != delivery_workers;
		LWLockRelease(entry->lock);
	}
	CommitTransactionCommand();
}

/* Forgets the workers that ended. Returns how many of the entry still run. */
static int
reap(int d)
{
	int			running = 0;

	for (int p = 0; p < MV_PLACES; p++)
	{
		Started    *mine = &started[d][p];
		pid_t		pid;

		if (mine->handle == NULL)
			continue;
		if (GetBackgroundWorkerPid(mine->handle, &pid) == BGWH_STOPPED)
		{
			pfree(mine->handle);
			mine->handle = NULL;
			mine->at = GetCurrentTimestamp();
		}
	}

	/* a launcher that was restarted has no handles of the workers before it */
	LWLockAcquire(mv_shared->database[d].lock, LW_SHARED);
	for (int p = 0; p < MV_PLACES; p++)
		if (started[d][p].handle != NULL || mv_shared->database[d].place[p].pid != 0)
			running++;
	LWLockRelease(mv_shared->database[d].lock);
	return running;
}

/*
 * Brings one database to where it should be. Returns after how many
 * milliseconds it wants to be looked at again.
 */
static long
tend(int d)
{
	MvDatabase *entry = &mv_shared->database[d];
	int			running = reap(d);
	long		again = RECHECK_MS;
	bool		start,
				wake,
				tried = false,
				failed = false,
				without = false;
	bool		alive[MV_PLACES];
	bool		needed[MV_PLACES];
	char		name[NAMEDATALEN];

	if (!OidIsValid(entry->oid))
		return again;

	LWLockAcquire(entry->lock, LW_EXCLUSIVE);
	if (running == 0 && entry->paused == 0 && entry->stop)
	{
		if (entry->wanted)
		{
			entry->shards = delivery_workers;
			entry->stop = false;
			entry->wake = true;
		}
		else
			entry->oid = InvalidOid;	/* the entry is free again */
	}
	start = entry->wanted && !entry->stop;
	wake = entry->wake;
	if (start)
		entry->wake = false;
	for (int p = 0; p < MV_PLACES; p++)
	{
		needed[p] = is_wanted(entry, p);
		without |= entry->place[p].no_extension && needed[p];
		alive[p] = entry->place[p].pid != 0;
	}
	strlcpy(name, entry->name, NAMEDATALEN);
	LWLockRelease(entry->lock);

	if (entry->stop)
	{
		mv_wake_workers(entry);
		return running > 0 ? 100 : again;
	}
	if (!start)
		return again;

	for (int p = 0; p < MV_PLACES; p++)
	{
		Started    *mine = &started[d][p];
		long		delay = without ? EXTENSION_RECHECK_MS : RESTART_DELAY_MS;
		long		passed;

		if (!needed[p] || mine->handle != NULL || alive[p])
			continue;
		passed = mine->at == 0 ? delay : TimestampDifferenceMilliseconds(mine->at, GetCurrentTimestamp());
		if (wake || passed >= delay)
		{
			tried = true;
			failed |= !start_worker(d, p, name);
		}
		else
			again = Min(again, delay - passed);
	}
	if (tried)
		log_registration_failure(failed);
	return registration_failed ? Min(again, RESTART_DELAY_MS) : again;
}

static void
launcher_gone(int code, Datum arg)
{
	mv_shared->launcher_pid = 0;
	mv_shared->launcher_procno = -1;
}

/* The key file is made at the first start; a broken one is told, and doesn't stop the rest. */
static void
make_key_file(void)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		mv_seal_load_keys();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		EmitErrorReport();
		FlushErrorState();
	}
	PG_END_TRY();
}

void
mv_launcher_main(Datum arg)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	mv_shared->launcher_procno = MyProcNumber;
	mv_shared->launcher_pid = MyProcPid;
	on_shmem_exit(launcher_gone, 0);
	pgstat_report_appname("musicverse launcher");
	make_key_file();

	for (;;)
	{
		long		again = RECHECK_MS;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		look_at_databases();
		for (int d = 0; d < MV_MAX_DATABASES; d++)
			again = Min(again, tend(d));

		pgstat_report_activity(STATE_IDLE, NULL);
		WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, again, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

/* A worker that ends leaves its place, however it ends. */
static void
worker_gone(int code, Datum arg)
{
	MvDatabase *entry = &mv_shared->database[DatumGetInt32(arg) / MV_PLACES];
	int			place = DatumGetInt32(arg) % MV_PLACES;

	LWLockAcquire(entry->lock, LW_EXCLUSIVE);
	if (entry->place[place].pid == MyProcPid)
	{
		entry->place[place].pid = 0;
		entry->place[place].procno = -1;
		if (place < MV_MAX_SHARDS)
		{
			MvShard    *shard = &entry->shard[place];

			pg_atomic_write_u32(&shard->in_flight, 0);
			pg_atomic_write_u32(&shard->loaded, 0);
			pg_atomic_write_u32(&shard->waiting, 0);
			pg_atomic_write_u32(&shard->open_breakers, 0);
			pg_atomic_write_u64(&shard->oldest_pending, 0);
		}
	}
	LWLockRelease(entry->lock);
	mv_wake_launcher();
}

/* From here on every commit is in the ring; what came before is in the tables. */
static void
begin_shard(MvShard *shard)
{
	shard->standing_still = false;
	shard->head = shard->tail = 0;
	shard->overflow = false;
	pg_atomic_write_u64(&shard->enqueued, 0);
	pg_atomic_write_u64(&shard->recovered, 0);
	pg_atomic_write_u64(&shard->settled, 0);
}

/* Under the entry's lock: a reason to leave at once, or not to come. */
static bool
unwanted(const MvDatabase *database, int place)
{
	return database->stop || database->paused > 0 || !is_wanted(database, place);
}

int
mv_worker_attach(Datum main_arg, MvDatabase **database)
{
	MvDatabase *entry = &mv_shared->database[DatumGetInt32(main_arg) / MV_PLACES];
	int			place = DatumGetInt32(main_arg) % MV_PLACES;
	MvPlace    *mine = &entry->place[place];
	Oid			oid;
	bool		taken;

	LWLockAcquire(entry->lock, LW_EXCLUSIVE);
	oid = entry->oid;
	taken = mine->pid != 0 || !OidIsValid(oid) || unwanted(entry, place);
	if (!taken)
	{
		mine->pid = MyProcPid;
		mine->procno = MyProcNumber;
		mine->no_extension = false;
		if (place < MV_MAX_SHARDS)
			begin_shard(&entry->shard[place]);
	}
	LWLockRelease(entry->lock);
	if (taken)
		proc_exit(0);
	before_shmem_exit(worker_gone, main_arg);

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(oid, InvalidOid, 0);

	*database = entry;
	return place;
}

bool
mv_worker_should_leave(MvDatabase *database, int place)
{
	bool		leave;

	LWLockAcquire(database->lock, LW_SHARED);
	leave = database->oid != MyDatabaseId || unwanted(database, place);
	LWLockRelease(database->lock);
	return leave;
}

void
mv_worker_leave_without_extension(MvDatabase *database, int place, uint64 changes, bool replaced)
{
	LWLockAcquire(database->lock, LW_EXCLUSIVE);
	if (replaced || pg_atomic_read_u64(&database->changes) != changes)
		database->wake = true;
	else
		database->place[place].no_extension = true;
	LWLockRelease(database->lock);
	proc_exit(0);
}

void
mv_launcher_init(void)
{
	static const MvWorkerKind delivery = {"delivery worker", "mv_delivery_worker_main", 0, MV_MAX_SHARDS, delivery_workers_wanted};
	BackgroundWorker worker = {0};

	DefineCustomStringVariable("musicverse.databases",
							   "Databases that the workers serve.",
							   "A list of names separated by commas.",
							   &databases, "postgres", PGC_SIGHUP, GUC_LIST_INPUT,
							   check_databases, NULL, NULL);
	DefineCustomIntVariable("musicverse.delivery_workers",
							"Workers that share the webhooks of each database.",
							NULL, &delivery_workers, 1, 1, MV_MAX_SHARDS, PGC_SIGHUP, 0,
							NULL, NULL, NULL);

	mv_launcher_add(&delivery);
	mv_utility_init();

	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 1;
	strlcpy(worker.bgw_library_name, "musicverse", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "mv_launcher_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "musicverse launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "musicverse launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

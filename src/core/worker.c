/*
 * Transactions of the workers. See worker.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "core/catalog.h"
#include "core/launcher.h"
#include "core/worker.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define ADVISORY_CLASS	0x6d7676	/* "mvv" */

static void
take_lock(int place, const char *name)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, ADVISORY_CLASS, place, 2);
	StartTransactionCommand();
	if (LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
	{
		ereport(LOG, (errmsg("another process is the %s of this database", name)));
		proc_exit(1);
	}
	CommitTransactionCommand();
}

void
mv_worker_begin(MvWorker *worker, Datum main_arg, const char *name)
{
	char		application[NAMEDATALEN];

	worker->place = mv_worker_attach(main_arg, &worker->database);
	snprintf(application, sizeof(application), "musicverse %s", name);
	pgstat_report_appname(application);
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("jit", "off", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("lock_timeout", "2s", PGC_USERSET, PGC_S_OVERRIDE);
	take_lock(worker->place, name);
}

bool
mv_worker_was_woken(MvWorker *worker)
{
	uint64		changes = pg_atomic_read_u64(&worker->database->changes);
	uint64		wakes;
	bool		woken;

	LWLockAcquire(worker->database->lock, LW_SHARED);
	wakes = worker->database->place[worker->place].wakes;
	LWLockRelease(worker->database->lock);
	woken = changes != worker->seen_changes || wakes != worker->seen_wakes;
	worker->seen_changes = changes;
	worker->seen_wakes = wakes;
	return woken;
}

bool
mv_worker_transaction(MvWorker *worker, void (*function) (void), const char *activity)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool ok = true;
	volatile bool gone = false;
	volatile bool replaced = false;
	uint64		changes = pg_atomic_read_u64(&worker->database->changes);

	SetCurrentStatementStartTimestamp();
	pgstat_report_activity(STATE_RUNNING, activity);
	PG_TRY();
	{
		Oid			found;

		StartTransactionCommand();
		found = mv_catalog_lock_extension();
		if (!OidIsValid(found) || mv_catalog_try() == NULL || (OidIsValid(worker->extension) && found != worker->extension))
		{
			gone = true;
			replaced = OidIsValid(worker->extension) && OidIsValid(found) && found != worker->extension;
		}
		else
		{
			worker->extension = found;
			PushActiveSnapshot(GetTransactionSnapshot());
			SPI_connect();
			function();
			SPI_finish();
			PopActiveSnapshot();
		}
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
		if (worker->note_error != NULL)
			worker->note_error(error->message);
		FreeErrorData(error);
		ok = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	if (gone)
		mv_worker_leave_without_extension(worker->database, worker->place, changes, replaced);
	return ok;
}

void
mv_worker_prepare(SPIPlanPtr *plan, const char *sql, int nargs, Oid *types)
{
	SPIPlanPtr	prepared;

	if (*plan != NULL)
		return;
	prepared = SPI_prepare(sql, nargs, types);
	if (prepared == NULL || SPI_keepplan(prepared) != 0)
		elog(ERROR, "could not prepare a statement: %s", SPI_result_code_string(SPI_result));
	*plan = prepared;
}

int
mv_worker_execute(SPIPlanPtr *plan, const char *sql, int nargs, Oid *types, Datum *values, const char *nulls)
{
	MemoryContext context = CurrentMemoryContext;
	int			result;

	mv_worker_prepare(plan, sql, nargs, types);
	result = SPI_execute_plan(*plan, values, nulls, false, 0);
	MemoryContextSwitchTo(context);
	return result;
}

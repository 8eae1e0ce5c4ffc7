/*
 * Transactions of the workers. See worker.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "core/catalog.h"
#include "core/launcher.h"
#include "core/worker.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

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

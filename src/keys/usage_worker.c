/*
 * The usage worker: one process a database. It keeps the state file young.
 */
#include "postgres.h"

#include "core/compat.h"
#include "core/launcher.h"
#include "core/state.h"
#include "keys/usage.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"

PGDLLEXPORT void mv_usage_worker_main(Datum arg);

void
mv_usage_worker_main(Datum arg)
{
	MvDatabase *database;
	int			place = mv_worker_attach(arg, &database);

	pgstat_report_appname("musicverse usage worker");
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		if (mv_worker_should_leave(database, place))
			proc_exit(0);
		mv_state_keep(mv_usage_flush_interval);
		WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, mv_usage_flush_interval, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

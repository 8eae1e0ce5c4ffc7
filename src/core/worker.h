/*
 * What all workers do alike: a transaction that holds the extension, logs its
 * error and lets the loop go on.
 */
#ifndef MV_CORE_WORKER_H
#define MV_CORE_WORKER_H

#include "postgres.h"

#include "core/shared.h"
#include "executor/spi.h"

typedef struct MvWorker
{
	MvDatabase *database;
	int			place;
	Oid			extension;		/* the one it started with; InvalidOid before the first transaction */
	void		(*note_error) (const char *message);	/* besides the log; may be NULL */
	uint64		seen_changes;	/* of mv_worker_was_woken() */
	uint64		seen_wakes;
} MvWorker;

/*
 * Takes the place and connects, see launcher.h; names the process "musicverse
 * <name>", fixes the settings that its statements go by, and makes sure that it
 * is the only one of its kind in the database by a session-level advisory lock
 * under its place. For kinds of which each database has one.
 */
extern void mv_worker_begin(MvWorker *worker, Datum main_arg, const char *name);

/* Did a commit wake it since the last call? The latch alone may have been reset while a lock was waited for. */
extern bool mv_worker_was_woken(MvWorker *worker);

/*
 * Runs the function in a transaction, with a snapshot and SPI connected. False
 * when it failed, which was logged. Leaves the process when the extension
 * isn't there any more. AccessShareLock on the extension.
 */
extern bool mv_worker_transaction(MvWorker *worker, void (*function) (void), const char *activity);

/*
 * Prepares the statement at the first call; the plan is kept for the life of
 * the process. Needs SPI connected; raises what the statement's parsing does.
 */
extern void mv_worker_prepare(SPIPlanPtr *plan, const char *sql, int nargs, Oid *types);

/*
 * Prepares it so and runs it; returns what SPI_execute_plan() does. Leaves the
 * current memory context as it was. Raises what the statement does.
 */
extern int	mv_worker_execute(SPIPlanPtr *plan, const char *sql, int nargs, Oid *types, Datum *values, const char *nulls);

#endif							/* MV_CORE_WORKER_H */

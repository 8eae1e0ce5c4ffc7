/*
 * A worker that asks others over the network: providers of music, partners of
 * distribution. One process a database and kind.
 *
 * It waits for its latch (commits), for descriptors (answers) and for what is
 * planned, all in one WaitEventSet. No transaction is open while it waits. A
 * turn has at most two: one that writes down what was answered, one that plans
 * and records the requests that are due, which are sent after its commit. A
 * request that is not settled, since the process ended, was recorded.
 *
 * An error in a transaction is logged and remembered, and the loop goes on.
 *
 * Locks: a session-level advisory lock, so that there is one such process; the
 * extension's lock for each transaction; what the room's functions take. Where
 * a lock of a table has to be waited for, lock_timeout ends it. What it tells
 * of itself has one LWLock, held for a few memory accesses.
 */
#ifndef MV_ASKER_H
#define MV_ASKER_H

#include "postgres.h"

#include "core/shared.h"
#include "core/transfer.h"
#include "core/worker.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "lib/ilist.h"

#define MV_ASKER_BREAKERS 16	/* open ones that are told of */

/* What a room makes of it; all but the two that may be NULL */
typedef struct MvAskerKind
{
	const char *name;			/* "generation worker" */
	const char *halted;			/* what a copy doesn't do: "asks no provider" */
	const char *planning;		/* for pg_stat_activity */
	const char *settling;
	int			place;
	int		   *concurrency;	/* requests under way at most */

	void		(*begin) (void);	/* once, outside of any transaction; may be NULL */

	/* in a transaction */
	void		(*plan) (TimestampTz now);	/* records what is due in begun; clears dirty unless there is more */
	void		(*settle) (int limit);	/* writes down up to limit of done, -1 = all */

	/* after it */
	void		(*start_begun) (TimestampTz now);
	void		(*drop_begun) (void);
	void		(*settled) (TimestampTz now);
	void		(*settle_failed) (void);
	void		(*drop_first) (TimestampTz now);	/* what can't be written, whatever is tried */

	/* outside */
	void		(*collect) (TimestampTz now);	/* takes from the loop what is done */
	bool		(*look) (TimestampTz now);	/* does something else make the tables worth a look? may be NULL */
	TimestampTz (*next_due) (void);	/* PG_INT64_MAX = nothing is planned */
	int			(*open_breakers) (char names[][NAMEDATALEN], int max);
} MvAskerKind;

typedef struct MvAsker
{
	MvWorker	base;
	MvLoop	   *loop;
	bool		standing_still;
	bool		dirty;			/* the tables may have changed */
	int			in_flight;
	dlist_head	begun;			/* recorded, to be sent after the commit */
	dlist_head	done;			/* to be settled */
	int			ndone;
	TimestampTz retry_at;		/* when those whose rows were locked are settled again */
} MvAsker;

/* Shared memory for what they tell of themselves. Called from _PG_init. */
extern void mv_asker_init(void);

/* The life of the process; never returns. */
extern _Noreturn void mv_asker_main(Datum arg, MvAsker *asker, const MvAskerKind *kind);

/* Remembers an error, or counts a request, of this process. */
extern void mv_asker_note_error(const char *message);
extern void mv_asker_count_request(bool failed);

/*
 * The row (pid, state, in_flight, requests, failures, last_error,
 * last_error_at, breakers) of a function, for the worker of this database.
 * Raises 55000 without shared memory.
 */
extern Datum mv_asker_told(FunctionCallInfo fcinfo, const MvAskerKind *kind);

#endif							/* MV_ASKER_H */

/*
 * The media worker: one process a database. It takes one piece of work after
 * the other: claims it in a transaction, which counts the attempt, does it
 * outside of any, and writes down in another one what came of it. A piece that
 * makes the server crash is thus given up after some attempts, and one that is
 * cut off is begun again.
 *
 * It waits for its latch (a commit that queued something) and for what is due.
 * Work is interruptible: mv_media_check() ends it by an error when the process
 * is told to end, and when somebody needs the database to himself; then the
 * piece is put back without counting the attempt.
 *
 * Once at its start and once an hour it looks after its directory: see store.c.
 *
 * Locks: a session-level advisory lock, so that there is one such process; the
 * extension's lock for each transaction; rows of media and of their work.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "core/clock.h"
#include "core/compat.h"
#include "core/installation.h"
#include "core/launcher.h"
#include "media/media_int.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/pmsignal.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define IDLE_WAIT_MS	30000
#define ERROR_PAUSE_MS	1000
#define MAINTENANCE_S	3600
#define SETTLE_ATTEMPTS	3
/* Then another process goes on: libsndfile 1.2 leaks 6 kB with each damaged Ogg */
#define MOST_PIECES		5000

PGDLLEXPORT void mv_media_worker_main(Datum arg);

MvMediaWorker mv_media;

static MemoryContext task_context;
static TimestampTz error_until = 0;
static TimestampTz next_due;		/* of work that waits for its time */
static TimestampTz maintenance_due = 0;
static bool started = false;		/* what the last worker left was looked after */
static bool dirty = true;			/* there may be work */
static int	pieces = 0;				/* of work, that were done or tried */

static bool
in_transaction(void (*function) (void), const char *activity)
{
	bool		ok = mv_worker_transaction(&mv_media.base, function, activity);

	if (!ok)
		error_until = mv_now() + ERROR_PAUSE_MS * INT64CONST(1000);
	return ok;
}

/* ---- what tasks call ---- */

void
mv_media_check(void)
{
	CHECK_FOR_INTERRUPTS();
	if (!PostmasterIsAlive())
		proc_exit(1);
	if (mv_worker_should_leave(mv_media.base.database, mv_media.base.place))
	{
		mv_media.leaving = true;
		ereport(ERROR, (errcode(ERRCODE_QUERY_CANCELED), errmsg("the media worker has to leave")));
	}
}

static void (*task_function) (void *arg);
static void *task_function_arg;
static MemoryContext task_function_context;
static ErrorData *task_function_error;

static void
call_task_function(void)
{
	MemoryContext old = MemoryContextSwitchTo(task_function_context);

	PG_TRY();
	{
		task_function(task_function_arg);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(task_function_context);
		task_function_error = CopyErrorData();
		PG_RE_THROW();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
}

void
mv_media_transaction(void (*function) (void *arg), void *arg)
{
	task_function = function;
	task_function_arg = arg;
	task_function_context = CurrentMemoryContext;
	task_function_error = NULL;
	if (mv_worker_transaction(&mv_media.base, call_task_function, "working on media"))
		return;
	if (task_function_error != NULL)
		ReThrowError(task_function_error);
	ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("a transaction of the media worker failed")));
}

/* ---- the files ---- */

static char **removals;
static int	nremovals;

/* The first column of what was just selected, in the task's memory */
static char **
take_texts(int *n)
{
	char	  **texts = MemoryContextAlloc(task_context, Max(SPI_processed, 1) * sizeof(char *));

	*n = (int) SPI_processed;
	for (int i = 0; i < *n; i++)
		texts[i] = MemoryContextStrdup(task_context, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
	return texts;
}

/* The rows go first: files without rows are garbage, rows without files a lie. */
static void
expire(void)
{
	static SPIPlanPtr plan = NULL;

	mv_worker_execute(&plan, "select f from musicverse._expire_media() f", 0, NULL, NULL, NULL);
	removals = take_texts(&nremovals);
}

static void
remove_expired(void)
{
	maintenance_due = mv_now() + MAINTENANCE_S * USECS_PER_SEC;
	if (!in_transaction(expire, "removing media that nobody uses"))
		return;
	for (int i = 0; i < nremovals; i++)
		mv_media_remove(removals[i]);
}

static void
look_after_leftovers(void)
{
	char	  **texts;
	int			n;
	Oid		   *databases;

	SPI_execute("select musicverse._resume_media_work()", false, 0);
	SPI_execute("select oid::text from pg_catalog.pg_database", true, 0);
	texts = take_texts(&n);
	databases = MemoryContextAlloc(task_context, Max(n, 1) * sizeof(Oid));
	for (int i = 0; i < n; i++)
		databases[i] = (Oid) strtoul(texts[i], NULL, 10);
	mv_media_sweep_databases(databases, n);
	SPI_execute("select file_name from musicverse.media where file_name is not null order by file_name collate \"C\"", true, 0);
	texts = take_texts(&n);
	n = mv_media_sweep(texts, n);
	if (n > 0)
		ereport(LOG, (errmsg("musicverse removed %d unfinished or unknown files of media", n)));
}

/* ---- one piece of work ---- */

static MvMediaTask *claimed;
static char *owner;				/* of it: whose turn it is */
static char search_from[37] = "";	/* the owner from whom on the next turn is looked for */
static TimestampTz begun_at;

static Datum
text_value(const char *text, char *isnull)
{
	*isnull = text == NULL ? 'n' : ' ';
	return text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}

static void
claim(void)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[1] = {TEXTOID};
	Datum		after[1];
	char		nulls[2] = " ";
	bool		isnull;
	char	   *place;
	HeapTuple	row;
	TupleDesc	desc;
	Datum		due;

	if (mv_is_copy() != mv_media.standing_still)
	{
		mv_media.standing_still = !mv_media.standing_still;
		if (mv_media.standing_still)
			ereport(LOG,
					(errmsg("musicverse makes no media in this database: it is a copy of the one where sending was enabled"),
					 errhint("If this one is to send, run SELECT musicverse.enable_sending().")));
	}
	mv_media_note_state(mv_media.standing_still, NULL);
	claimed = NULL;
	if (mv_media.standing_still)
		return;
	if (!started)
		look_after_leftovers();
	after[0] = text_value(search_from[0] != '\0' ? search_from : NULL, nulls);
	mv_worker_execute(&plan, "select id, kind, input, attempts, next_due, owner, after from musicverse._claim_media_work(after => $1::uuid)",
					  1, types, after, nulls);
	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	place = SPI_getvalue(row, desc, 7);
	strlcpy(search_from, place != NULL ? place : "", sizeof(search_from));
	due = SPI_getbinval(row, desc, 5, &isnull);
	next_due = isnull ? PG_INT64_MAX : DatumGetTimestampTz(due);
	if (SPI_getvalue(row, desc, 1) != NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(task_context);

		claimed = palloc0(sizeof(MvMediaTask));
		claimed->id = SPI_getvalue(row, desc, 1);
		claimed->kind = SPI_getvalue(row, desc, 2);
		claimed->input = DatumGetJsonbPCopy(SPI_getbinval(row, desc, 3, &isnull));
		claimed->attempts = DatumGetInt32(SPI_getbinval(row, desc, 4, &isnull));
		owner = SPI_getvalue(row, desc, 6);
		begun_at = GetCurrentTimestamp();
		claimed->files = palloc0(sizeof(MvMediaFiles));
		claimed->files->output = -1;
		MemoryContextSwitchTo(old);
	}
}

/* What is to be written down */
static struct
{
	const char *verdict;		/* done, failed, again, back */
	const char *message;
	MvMediaResult result;
	const char *file_name;
} outcome;

static void
settle(void)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[11] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, FLOAT8OID};
	const char *texts[10] = {claimed->id, outcome.verdict, outcome.message, outcome.result.media_type, NULL, outcome.result.sha256,
	outcome.result.md5, outcome.result.facts, outcome.file_name, owner};
	Datum		values[11];
	char		nulls[12] = "           ";

	for (int i = 0; i < lengthof(texts); i++)
		values[i] = text_value(texts[i], &nulls[i]);
	values[4] = Int64GetDatum(outcome.result.bytes);
	nulls[4] = ' ';
	values[10] = Float8GetDatum((GetCurrentTimestamp() - begun_at) / (double) USECS_PER_SEC);
	mv_worker_execute(&plan, "select musicverse._settle_media_work($1::uuid, $2, $3, $4, $5, $6, $7, $8::jsonb, $9, $10::uuid, $11)",
					  11, types, values, nulls);
}

/* An error of the run, and what it means */
static void
take_error(void)
{
	ErrorData  *error;

	MemoryContextSwitchTo(task_context);
	error = CopyErrorData();
	/* a helper's transaction may be open */
	AbortCurrentTransaction();
	outcome.message = error->message;
	if (mv_media.leaving)
		outcome.verdict = "back";
	else if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_DATA_EXCEPTION)
		outcome.verdict = "failed";
	else
	{
		outcome.verdict = "again";
		EmitErrorReport();
		mv_media_note_error(error->message);
	}
	FlushErrorState();
}

static void
work(void)
{
	const MvMediaKind *kind = mv_media_kind(claimed->kind);
	char	   *activity = psprintf("%s %s", claimed->kind, claimed->id);

	memset(&outcome, 0, sizeof(outcome));
	mv_media.leaving = false;
	pgstat_report_activity(STATE_RUNNING, activity);
	mv_media_note_state(false, activity);
	PG_TRY();
	{
		if (kind == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION), errmsg("this server knows no work of kind \"%s\"", claimed->kind)));
		else
			kind->run(claimed, &outcome.result);
		outcome.file_name = mv_media_publish(claimed, &outcome.result);
		outcome.verdict = "done";
	}
	PG_CATCH();
	{
		take_error();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(task_context);
	mv_media_close(claimed);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* Tried some times: a lock may be held. What can't be written is a fault of ours, and made again. */
static void
write_down(void)
{
	bool		written = false;

	for (int i = 0; i < SETTLE_ATTEMPTS && !written; i++)
		written = in_transaction(settle, "writing down a result of media");
	if (!written)
	{
		memset(&outcome, 0, sizeof(outcome));
		outcome.verdict = "again";
		outcome.message = "the result could not be written down: see the server's log";
		/* else it stays as running, and is looked after as what a worker left */
		started = in_transaction(settle, "writing down a failure of media");
	}
	if (outcome.file_name != NULL && mv_media_max_size_mb > 0)
		remove_expired();
	mv_media_note_state(false, NULL);
}

/* ---- the loop ---- */

static void
turn(TimestampTz now)
{
	dirty = false;
	if (!in_transaction(claim, "looking for work on media"))
	{
		dirty = true;
		return;
	}
	started |= !mv_media.standing_still;
	if (mv_media.standing_still)
		return;
	if (claimed != NULL)
	{
		work();
		write_down();
		dirty = true;
		pieces++;
	}
	if (maintenance_due <= now)
		remove_expired();
}

static long
idle_time(TimestampTz now)
{
	if (error_until > now)
		return (error_until - now) / 1000 + 1;
	if (mv_media.standing_still && !dirty)
		return IDLE_WAIT_MS;
	if (dirty || next_due <= now)
		return 0;
	return (long) Min((next_due - now) / 1000 + 1, IDLE_WAIT_MS);
}

static bool
is_due(TimestampTz now)
{
	return error_until <= now && (dirty || (!mv_media.standing_still && (next_due <= now || maintenance_due <= now)));
}

void
mv_media_worker_main(Datum arg)
{
	mv_worker_begin(&mv_media.base, arg, "media worker");
	mv_media.base.note_error = mv_media_note_error;
	mv_media_note_state(false, NULL);
	next_due = PG_INT64_MAX;
	task_context = AllocSetContextCreate(TopMemoryContext, "musicverse media task", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(task_context);
	mv_media.loop = mv_loop_create(4);

	for (;;)
	{
		TimestampTz now = mv_now();

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			mv_loop_flush_connections(mv_media.loop);
			maintenance_due = 0;
			dirty = true;
		}
		if (mv_worker_should_leave(mv_media.base.database, mv_media.base.place) || pieces >= MOST_PIECES)
			proc_exit(0);
		dirty |= mv_worker_was_woken(&mv_media.base);
		if (is_due(now))
			turn(now);
		MemoryContextReset(task_context);
		if (mv_loop_wait(mv_media.loop, idle_time(mv_now()), PG_WAIT_EXTENSION) & WL_LATCH_SET)
			dirty = true;
	}
}

/*
 * The generation worker: one process a database. It gives waiting jobs to
 * providers, sends, polls and cancels.
 *
 * It waits for its latch (a commit that queued or ended jobs, or changed
 * providers), for descriptors (answers) and for what is planned, all in one
 * WaitEventSet. No transaction is open while it waits. A turn has at most two:
 * one that writes down what was answered, one that plans: fails what is over
 * time, claims waiting jobs, records the requests that are due. They are sent
 * after its commit.
 *
 * An error in a transaction is logged and remembered, and the loop goes on.
 *
 * Locks: a session-level advisory lock, so that there is one such process;
 * the extension's lock for each transaction; rows of jobs, which it never
 * waits for. Where a lock of a table has to be waited for, lock_timeout ends
 * it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "core/clock.h"
#include "core/compat.h"
#include "core/installation.h"
#include "core/launcher.h"
#include "generation/generation_int.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define IDLE_WAIT_MS	30000
#define ERROR_PAUSE_MS	1000
#define CLAIMS_A_TURN	64
#define ADVISORY_CLASS	0x6d7676	/* "mvv" */

PGDLLEXPORT void mv_generation_worker_main(Datum arg);

MvGenWorker mv_gen;

static TimestampTz error_until = 0;
static bool one_by_one = false;

static bool
in_transaction(void (*function) (void), const char *activity)
{
	return mv_worker_transaction(&mv_gen.base, function, activity);
}

/* ---- may it send? ---- */

static void
look_at_installation(void)
{
	bool		copy = true;

	if (SPI_execute("select identity from musicverse.installation", true, 1) == SPI_OK_SELECT && SPI_processed == 1)
	{
		char	   *stored = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

		/* the second: it has got a name since, which the delivery worker writes down */
		copy = strcmp(stored, mv_identity()) != 0 && strcmp(stored, mv_directory_identity()) != 0;
	}
	if (copy && !mv_gen.standing_still)
		ereport(LOG,
				(errmsg("musicverse asks no provider from this database: it is a copy of the one where sending was enabled"),
				 errhint("If this one is to send, run SELECT musicverse.enable_sending().")));
	mv_gen.standing_still = copy;
	mv_gen_note_state(copy);
}

/* ---- planning ---- */

/* True when it may have left some. */
static bool
claim(TimestampTz now, bool probes, int slots)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[3] = {TEXTARRAYOID, INT4OID, UUIDOID};
	Datum		values[3];
	char		nulls[4] = "   ";
	int			n;
	bool		isnull;
	Datum		last;

	values[0] = mv_gen_usable_providers(now, probes, &n);
	values[1] = Int32GetDatum(slots);
	values[2] = UUIDPGetDatum(&mv_gen.last_user);
	nulls[2] = mv_gen.has_last_user ? ' ' : 'n';
	if (n == 0)
		return false;
	mv_worker_execute(&plan, "select after, claimed from musicverse._claim_jobs($1, $2, $3)", 3, types, values, nulls);
	last = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (!isnull)
	{
		mv_gen.last_user = *DatumGetUUIDP(last);
		mv_gen.has_last_user = true;
	}
	return DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull)) == slots;
}

static void
expire(TimestampTz now)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[1] = {UUIDOID};
	MvGenJob   *job;

	for (bool first = true; (job = mv_gen_job_overdue(now, first)) != NULL; first = false)
	{
		Datum		values[1] = {UUIDPGetDatum(&job->id)};

		job->deadline = now + USECS_PER_SEC;	/* locked by somebody: again */
		mv_worker_execute(&plan, "select musicverse._expire_job($1)", 1, types, values, NULL);
		mv_gen.dirty = true;
	}
}

static void
plan_turn(void)
{
	TimestampTz now = mv_now();
	MvGenJob   *job;
	bool		was_dirty = mv_gen.dirty;
	bool		more = false;
	int			n;

	look_at_installation();
	if (mv_gen.standing_still)
		return;
	if (was_dirty)
		mv_gen_jobs_read();
	mv_gen.dirty = false;
	expire(now);
	if (was_dirty || mv_gen.dirty)
	{
		more = claim(now, false, CLAIMS_A_TURN);
		if (mv_gen_open_breakers(NULL, 0) > 0)
			claim(now, true, 1);
		CommandCounterIncrement();
		mv_gen_jobs_read();
		mv_gen.dirty = false;
	}
	for (bool first = true; (job = mv_gen_job_due(now, first)) != NULL; first = false)
	{
		if (mv_gen.in_flight >= mv_gen_concurrency)
		{
			/* the walk must come to its end */
			continue;
		}
		mv_gen_begin(job, mv_gen_usable_providers(now, true, &n));
	}
	mv_gen.dirty |= more;
}

static bool
plan_wanted(TimestampTz now)
{
	if (mv_gen_breakers_due(now))
		mv_gen.dirty = true;
	if (mv_gen.dirty)
		return true;
	return mv_gen.in_flight < mv_gen_concurrency && !mv_gen.standing_still && mv_gen_next_due() <= now;
}

static void
plan(TimestampTz now)
{
	if (in_transaction(plan_turn, "planning requests to providers"))
		mv_gen_start_begun(now);
	else
	{
		mv_gen_drop_begun();
		mv_gen.dirty = true;
		error_until = now + ERROR_PAUSE_MS * INT64CONST(1000);
	}
}

/* ---- settling ---- */

static void
settling(void)
{
	mv_gen_settle(one_by_one ? 1 : -1);
}

/* Writes answers down; when that fails, tries them one by one next time. */
static void
settle(TimestampTz now)
{
	if (in_transaction(settling, "settling answers of providers"))
	{
		mv_gen_settled(now);
		if (mv_gen.ndone == 0)
			one_by_one = false;
		return;
	}
	mv_gen_settle_failed();
	if (!one_by_one)
		one_by_one = true;
	else
	{
		mv_gen_drop_first(now);
		mv_gen.dirty = true;
	}
}

/* ---- the loop ---- */

static void
take_lock(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, ADVISORY_CLASS, MV_PLACE_GENERATION, 2);
	StartTransactionCommand();
	if (LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
	{
		ereport(LOG, (errmsg("another process is the generation worker of this database")));
		proc_exit(1);
	}
	CommitTransactionCommand();
}

static void
set_up(Datum arg)
{
	mv_gen.base.place = mv_worker_attach(arg, &mv_gen.base.database);
	mv_gen.base.note_error = mv_gen_note_error;
	mv_gen.dirty = true;
	dlist_init(&mv_gen.begun);
	dlist_init(&mv_gen.done);
	pgstat_report_appname("musicverse generation worker");
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("jit", "off", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("lock_timeout", "2s", PGC_USERSET, PGC_S_OVERRIDE);
	mv_gen_note_state(false);
	mv_gen_jobs_init();
	take_lock();
}

/* Before it leaves: what was answered is written down. */
static void
wind_up(void)
{
	mv_loop_pump(mv_gen.loop);
	mv_gen_collect(mv_now());
	for (int i = 0; i < 3 && mv_gen.ndone > 0; i++)
		settle(mv_now());
}

/* Commits that woke us; the latch alone may have been reset while a lock was waited for. */
static void
look_for_changes(void)
{
	static uint64 seen = 0;
	static uint64 seen_wakes = 0;
	MvDatabase *database = mv_gen.base.database;
	uint64		changes = pg_atomic_read_u64(&database->changes);
	uint64		wakes;

	LWLockAcquire(database->lock, LW_SHARED);
	wakes = database->place[mv_gen.base.place].wakes;
	LWLockRelease(database->lock);
	if (changes != seen || wakes != seen_wakes)
		mv_gen.dirty = true;
	seen = changes;
	seen_wakes = wakes;
}

static long
idle_time(TimestampTz now)
{
	TimestampTz next;

	if (error_until > now)
		return (error_until - now) / 1000 + 1;
	if (mv_gen.standing_still)
		return IDLE_WAIT_MS;
	next = mv_gen.in_flight < mv_gen_concurrency ? mv_gen_next_due() : PG_INT64_MAX;
	if (mv_gen.ndone > 0)
		next = Min(next, mv_gen.retry_at);
	if (mv_gen.dirty || next <= now)
		return 0;
	return (long) Min((next - now) / 1000 + 1, IDLE_WAIT_MS);
}

void
mv_generation_worker_main(Datum arg)
{
	MemoryContext turn_context;

	set_up(arg);
	turn_context = AllocSetContextCreate(TopMemoryContext, "musicverse turn", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(turn_context);
	mv_gen.loop = mv_loop_create(mv_gen_concurrency * 2);

	for (;;)
	{
		TimestampTz now = mv_now();

		if (ProcDiePending)
			wind_up();
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			mv_loop_flush_connections(mv_gen.loop);
			mv_gen.dirty = true;
		}
		if (mv_worker_should_leave(mv_gen.base.database, mv_gen.base.place))
		{
			wind_up();
			proc_exit(0);
		}

		mv_loop_pump(mv_gen.loop);
		mv_gen_collect(now);
		look_for_changes();
		if (error_until <= now)
		{
			if (mv_gen.ndone > 0 && mv_gen.retry_at <= now)
				settle(now);
			if (plan_wanted(now))
				plan(now);
			mv_loop_pump(mv_gen.loop);
		}
		mv_gen_publish(mv_gen.in_flight);
		MemoryContextReset(turn_context);
		if (mv_loop_wait(mv_gen.loop, idle_time(mv_now()), PG_WAIT_EXTENSION) & WL_LATCH_SET)
			mv_gen.dirty = true;
	}
}

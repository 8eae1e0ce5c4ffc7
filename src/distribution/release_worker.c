/*
 * The distribution worker: one process a database. It carries releases to
 * partners, step by step, asks what became of them, and takes them down.
 *
 * It waits for its latch (a commit that submitted, changed or cancelled
 * something), for descriptors (answers) and for what is planned, all in one
 * WaitEventSet. No transaction is open while it waits. A turn has at most two:
 * one that writes down what was answered, one that claims what is due and
 * records the steps begun. They are sent after its commit.
 *
 * An error in a transaction is logged and remembered, and the loop goes on.
 *
 * Locks: a session-level advisory lock, so that there is one such process;
 * the extension's lock for each transaction; rows of releases and of their
 * work, which it never waits for. Where a lock of a table has to be waited
 * for, lock_timeout ends it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "core/clock.h"
#include "core/compat.h"
#include "core/installation.h"
#include "core/launcher.h"
#include "distribution/releases_int.h"
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
#define CLAIMS_A_TURN	64	/* at one partner */
#define ADVISORY_CLASS	0x6d7676	/* "mvv" */

PGDLLEXPORT void mv_distribution_worker_main(Datum arg);

MvDistWorker mv_dist;

static TimestampTz error_until = 0;
static bool one_by_one = false;
static bool resumed = false;		/* what the last worker left was made due */

static bool
in_transaction(void (*function) (void), const char *activity)
{
	return mv_worker_transaction(&mv_dist.base, function, activity);
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
	if (copy && !mv_dist.standing_still)
		ereport(LOG,
				(errmsg("musicverse carries no release from this database: it is a copy of the one where sending was enabled"),
				 errhint("If this one is to send, run SELECT musicverse.enable_sending().")));
	mv_dist.standing_still = copy;
	mv_dist_note_state(copy);
}

/* ---- planning ---- */

static void
resume_steps(void)
{
	static SPIPlanPtr plan = NULL;

	mv_worker_execute(&plan, "select musicverse._resume_steps()", 0, NULL, NULL, NULL);
}

static void
plan_turn(void)
{
	TimestampTz now = mv_now();
	MvPartner  *partner = NULL;
	bool		more = false;

	look_at_installation();
	if (mv_dist.standing_still)
		return;
	if (!resumed)
		resume_steps();
	mv_dist_partners_read();
	mv_dist.dirty = false;
	while ((partner = mv_dist_partner_next(partner)) != NULL)
	{
		int			room = Min(mv_dist_partner_room(partner, now), Min(mv_dist_concurrency - mv_dist.in_flight, CLAIMS_A_TURN));

		if (room > 0 && partner->next_due <= now)
			more |= mv_dist_claim(partner, room, now) && mv_dist_partner_room(partner, now) > 0;
	}
	mv_dist_partners_rotate();
	mv_dist.dirty = more;
}

static bool
plan_wanted(TimestampTz now)
{
	if (mv_dist.dirty)
		return true;
	return mv_dist.in_flight < mv_dist_concurrency && !mv_dist.standing_still && mv_dist_next_due() <= now;
}

static void
plan(TimestampTz now)
{
	if (in_transaction(plan_turn, "planning requests to partners"))
	{
		resumed |= !mv_dist.standing_still;
		mv_dist_start_begun(now);
	}
	else
	{
		mv_dist_drop_begun();
		mv_dist.dirty = true;
		error_until = now + ERROR_PAUSE_MS * INT64CONST(1000);
	}
}

/* ---- settling ---- */

static void
settling(void)
{
	mv_dist_settle(one_by_one ? 1 : -1);
}

/* Writes answers down; when that fails, tries them one by one next time. */
static void
settle(TimestampTz now)
{
	if (in_transaction(settling, "settling answers of partners"))
	{
		mv_dist_settled(now);
		if (mv_dist.ndone == 0)
			one_by_one = false;
		return;
	}
	mv_dist_settle_failed();
	if (!one_by_one)
		one_by_one = true;
	else
	{
		mv_dist_drop_first();
		mv_dist.dirty = true;
	}
}

/* ---- the loop ---- */

static void
take_lock(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, ADVISORY_CLASS, MV_PLACE_DISTRIBUTION, 2);
	StartTransactionCommand();
	if (LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
	{
		ereport(LOG, (errmsg("another process is the distribution worker of this database")));
		proc_exit(1);
	}
	CommitTransactionCommand();
}

static void
set_up(Datum arg)
{
	mv_dist.base.place = mv_worker_attach(arg, &mv_dist.base.database);
	mv_dist.base.note_error = mv_dist_note_error;
	mv_dist.dirty = true;
	dlist_init(&mv_dist.begun);
	dlist_init(&mv_dist.done);
	pgstat_report_appname("musicverse distribution worker");
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("jit", "off", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("lock_timeout", "2s", PGC_USERSET, PGC_S_OVERRIDE);
	mv_dist_note_state(false);
	take_lock();
}

/* Before it leaves: what was answered is written down. */
static void
wind_up(void)
{
	mv_loop_pump(mv_dist.loop);
	mv_dist_collect(mv_now());
	for (int i = 0; i < 3 && mv_dist.ndone > 0; i++)
		settle(mv_now());
}

/* Commits that woke us; the latch alone may have been reset while a lock was waited for. */
static void
look_for_changes(void)
{
	static uint64 seen = 0;
	static uint64 seen_wakes = 0;
	MvDatabase *database = mv_dist.base.database;
	uint64		changes = pg_atomic_read_u64(&database->changes);
	uint64		wakes;

	LWLockAcquire(database->lock, LW_SHARED);
	wakes = database->place[mv_dist.base.place].wakes;
	LWLockRelease(database->lock);
	if (changes != seen || wakes != seen_wakes)
		mv_dist.dirty = true;
	seen = changes;
	seen_wakes = wakes;
}

static long
idle_time(TimestampTz now)
{
	TimestampTz next;

	if (error_until > now)
		return (error_until - now) / 1000 + 1;
	if (mv_dist.standing_still)
		return IDLE_WAIT_MS;
	next = mv_dist.in_flight < mv_dist_concurrency ? mv_dist_next_due() : PG_INT64_MAX;
	if (mv_dist.ndone > 0)
		next = Min(next, mv_dist.retry_at);
	if (mv_dist.dirty || next <= now)
		return 0;
	return (long) Min((next - now) / 1000 + 1, IDLE_WAIT_MS);
}

void
mv_distribution_worker_main(Datum arg)
{
	MemoryContext turn_context;

	set_up(arg);
	turn_context = AllocSetContextCreate(TopMemoryContext, "musicverse turn", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(turn_context);
	mv_dist.loop = mv_loop_create(mv_dist_concurrency * 2);

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
			mv_loop_flush_connections(mv_dist.loop);
			mv_dist.dirty = true;
		}
		if (mv_worker_should_leave(mv_dist.base.database, mv_dist.base.place))
		{
			wind_up();
			proc_exit(0);
		}

		mv_loop_pump(mv_dist.loop);
		mv_dist_collect(now);
		look_for_changes();
		if (error_until <= now)
		{
			if (mv_dist.ndone > 0 && mv_dist.retry_at <= now)
				settle(now);
			if (plan_wanted(now))
				plan(now);
			mv_loop_pump(mv_dist.loop);
		}
		mv_dist_publish(mv_dist.in_flight);
		MemoryContextReset(turn_context);
		if (mv_loop_wait(mv_dist.loop, idle_time(mv_now()), PG_WAIT_EXTENSION) & WL_LATCH_SET)
			mv_dist.dirty = true;
	}
}

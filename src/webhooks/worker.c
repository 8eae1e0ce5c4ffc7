/*
 * The delivery worker: one process a shard of a database's webhooks.
 *
 * It waits for its latch (commits, changed webhooks), for descriptors
 * (answers) and for the next thing planned, all in one WaitEventSet. No
 * transaction is open while it waits: what must be read or written is
 * gathered and done in one short transaction a turn.
 *
 * Every transaction first locks the extension against being dropped and looks
 * whether it is still the one it started with; if not, the process leaves.
 * An error in a transaction is logged and remembered, and the loop goes on.
 *
 * Locks: a session-level advisory lock on the shard; the extension's lock for
 * each transaction; LWLocks of shared.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "core/catalog.h"
#include "core/clock.h"
#include "core/compat.h"
#include "core/installation.h"
#include "core/launcher.h"
#include "core/numbers.h"
#include "core/worker.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "webhooks/worker.h"
#include "webhooks/worker_int.h"

#define SETTLE_BATCH	512
#define SETTLE_AGE_MS	10
#define IDLE_WAIT_MS	30000
#define TICK_MS			1000
#define ERROR_PAUSE_MS	1000
#define ADVISORY_CLASS	0x6d7676	/* "mvv" */

PGDLLEXPORT void mv_delivery_worker_main(Datum arg);

Worker		worker;

int			mv_delivery_concurrency = 100;
int			mv_delivery_concurrency_per_host = 64;
int			mv_endpoint_concurrency = 32;
int			mv_max_response_body = 4096;
int			mv_disable_after = 10;
int			mv_disable_after_interval = 5 * SECS_PER_DAY;
int			mv_retention_days = 30;
int			mv_breaker_threshold = 5;

static MvWorker base;
static TimestampTz error_until = 0;

void
mv_worker_init(void)
{
	DefineCustomBoolVariable("musicverse.allow_http", "Lets webhooks have http: URLs.",
							 "For trusted networks and tests only.", &mv_allow_http, false, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.delivery_concurrency", "Requests that a worker has under way at most.",
							NULL, &mv_delivery_concurrency, 100, 1, 10000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.delivery_concurrency_per_host",
							"Requests to one host and port that a worker has under way at most.",
							NULL, &mv_delivery_concurrency_per_host, 64, 1, 10000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.webhook_concurrency",
							"Requests to one webhook under way at most, where it has no max_concurrency of its own.",
							NULL, &mv_endpoint_concurrency, 32, 1, 1000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.max_response_body", "How much of a response's body is kept.",
							NULL, &mv_max_response_body, 4096, 0, 1024 * 1024, PGC_SIGHUP, GUC_UNIT_BYTE, NULL, NULL, NULL);
	DefineCustomStringVariable("musicverse.retry_schedule", "Delays before the second and further attempts.",
							   "Separated by commas, as 5s, 5min, 2h or 1d. Each is drawn at random up to its full length.",
							   &mv_retry_schedule, "5s,5min,30min,2h,5h,10h,14h,20h,24h", PGC_SIGHUP, 0,
							   outcome_check_schedule, outcome_assign_schedule, NULL);
	DefineCustomIntVariable("musicverse.disable_after", "Deliveries given up in a row after which a webhook is disabled.",
							"0 = never for this reason.", &mv_disable_after, 10, 0, INT_MAX, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.disable_after_interval", "How long a webhook may fail without a success before it is disabled.",
							"0 = never for this reason.", &mv_disable_after_interval, 5 * SECS_PER_DAY, 0, 365 * SECS_PER_DAY,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.breaker_threshold", "Failures in a row after which a webhook is only probed.",
							NULL, &mv_breaker_threshold, 5, 1, 1000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.retention", "Days that events, deliveries and attempts are kept.",
							"0 = for ever.", &mv_retention_days, 30, 0, 36500, PGC_SIGHUP, 0, NULL, NULL, NULL);
}

void
worker_note_error(const char *message)
{
	LWLockAcquire(worker.database->lock, LW_EXCLUSIVE);
	strlcpy(worker.shard->last_error, message, MV_ERROR_TEXT);
	worker.shard->last_error_at = mv_now();
	LWLockRelease(worker.database->lock);
}

/* Runs a statement whose plan is kept for the life of the process. */
int
worker_execute(SPIPlanPtr *plan, const char *sql, int nargs, Oid *types, Datum *values,
			   const char *nulls, bool read_only, long limit)
{
	mv_worker_prepare(plan, sql, nargs, types);
	pg_atomic_fetch_add_u64(&worker.shard->statements, 1);
	return SPI_execute_plan(*plan, values, nulls, read_only, limit);
}

static bool
in_transaction(void (*function) (void), const char *activity)
{
	return mv_worker_transaction(&base, function, activity);
}

/* May this database send, or is it a copy? Logs when the answer changes. */
static void
look_at_installation(void)
{
	bool		isnull;
	bool		copy = true;
	bool		changed;
	char	   *mine = mv_identity();

	if (SPI_execute("select id, identity from musicverse.installation", true, 1) == SPI_OK_SELECT && SPI_processed == 1)
	{
		char	   *stored = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);

		worker.installation_id = *DatumGetUUIDP(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
		copy = strcmp(stored, mine) != 0;
		if (copy && strcmp(stored, mv_directory_identity()) == 0)
		{
			/* the very one that was enabled, which has got a name since */
			Oid			types[1] = {TEXTOID};
			Datum		values[1] = {CStringGetTextDatum(mine)};

			SPI_execute_with_args("update musicverse.installation set identity = $1", 1, types, values, NULL, false, 0);
			copy = false;
		}
	}
	changed = copy != worker.standing_still;
	worker.standing_still = copy;
	LWLockAcquire(worker.database->lock, LW_EXCLUSIVE);
	worker.shard->standing_still = copy;
	LWLockRelease(worker.database->lock);
	if (copy && changed)
	{
		worker_note_error("this database is a copy: nothing is sent until enable_sending()");
		ereport(LOG,
				(errmsg("musicverse sends nothing from this database: it is a copy of the one where sending was enabled"),
				 errhint("If this one is to send, run SELECT musicverse.enable_sending().")));
	}
}

static void
start_up(void)
{
	look_at_installation();
	mv_take_numbers(1);			/* from now on numbers are above those in the tables */
	if (!worker.standing_still)
		intake_recover();
}

/* Finds out where it stands; what was committed before is read from the tables. */
static bool
begin(void)
{
	intake_discard();
	return in_transaction(start_up, "looking for pending deliveries");
}

static int	settle_limit;
static int	settle_n;

static void
settling(void)
{
	settle_n = Min(worker.ndone, settle_limit);
	if (settle_n > 0)
		settle(settle_n);
}

static void
reading(void)
{
	intake_read(mv_now());
}

static void
maintaining(void)
{
	maintain(mv_now());
}

/* Writes outcomes; when that fails, tries them one by one next time. */
static void
settle_turn(void)
{
	if (worker.ndone == 0)
		return;
	settle_limit = worker.settle_one_by_one ? 1 : SETTLE_BATCH * 4;
	if (in_transaction(settling, "settling deliveries"))
	{
		settle_forget(settle_n);
		if (worker.ndone == 0)
			worker.settle_one_by_one = false;
	}
	else if (!worker.settle_one_by_one)
		worker.settle_one_by_one = true;
	else
	{
		settle_drop_first();
		error_until = mv_now() + ERROR_PAUSE_MS * INT64CONST(1000);
	}
}

static bool
settle_wanted(TimestampTz now)
{
	if (worker.ndone == 0)
		return false;
	return worker.ndone >= SETTLE_BATCH || worker.in_flight == 0 ||
		now - worker.done_since >= SETTLE_AGE_MS * 1000 || now < worker.done_since;
}

static void
collect_done(TimestampTz now)
{
	MvTransfer *transfer;

	while ((transfer = mv_loop_next_done(worker.loop)) != NULL)
		dispatch_finished(transfer->owner, now);
}

static void
publish_gauges(void)
{
	pg_atomic_write_u32(&worker.shard->in_flight, worker.in_flight);
	pg_atomic_write_u32(&worker.shard->loaded, worker.nready + worker.nwaiting + worker.in_flight);
	pg_atomic_write_u32(&worker.shard->waiting, worker.nwaiting);
	pg_atomic_write_u32(&worker.shard->open_breakers, worker.open_breakers);
}

/* Before it leaves: what was answered is written down. */
static void
wind_up(void)
{
	mv_loop_pump(worker.loop);
	collect_done(mv_now());
	for (int i = 0; i < 10 && worker.ndone > 0; i++)
		settle_turn();
}

static void
reload(void)
{
	ConfigReloadPending = false;
	ProcessConfigFile(PGC_SIGHUP);
	endpoint_mark_stale();
	mv_loop_flush_connections(worker.loop);
	in_transaction(look_at_installation, "looking at the installation");
}

/*
 * Webhooks changed in a commit: what was read of them is out of date. Where
 * sending was enabled, rows that a restore brought may be pending below all marks.
 */
static void
look_for_changes(void)
{
	static uint64 seen = 0;
	static uint64 rescanned = 0;
	uint64		changes = pg_atomic_read_u64(&worker.database->changes);
	uint64		rescans = pg_atomic_read_u64(&worker.database->rescans);

	if (changes != seen)
		mv_endpoints_generation++;
	seen = changes;
	if (rescans != rescanned && !worker.standing_still && begin())
		rescanned = rescans;
}

static void
take_shard_lock(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, ADVISORY_CLASS, worker.shard_no, 2);
	StartTransactionCommand();
	if (LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
	{
		ereport(LOG, (errmsg("another process holds shard %d of this database", worker.shard_no)));
		proc_exit(1);
	}
	CommitTransactionCommand();
}

static void
set_up(Datum arg)
{
	worker.shard_no = mv_worker_attach(arg, &worker.database);
	worker.shard = &worker.database->shard[worker.shard_no];
	worker.shards = worker.database->shards;
	base.database = worker.database;
	base.place = worker.shard_no;
	base.note_error = worker_note_error;
	pgstat_report_appname(psprintf("musicverse delivery worker %d", worker.shard_no));

	/* outcomes may be lost in a crash, as the deliveries are then still pending */
	SetConfigOption("synchronous_commit", "off", PGC_USERSET, PGC_S_OVERRIDE);
	/* the leaves have few rows or millions: only the indexes are always right */
	SetConfigOption("enable_seqscan", "off", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("enable_hashjoin", "off", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("enable_mergejoin", "off", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("enable_bitmapscan", "off", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("plan_cache_mode", "force_generic_plan", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("jit", "off", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_OVERRIDE);

	worker.room_ranges = 64;
	worker.ranges = MemoryContextAlloc(TopMemoryContext, sizeof(MvRange) * worker.room_ranges);
	endpoint_init();
	delivery_init();
	take_shard_lock();
}

/* How long nothing is to be done. */
static long
idle_time(TimestampTz now)
{
	long		timeout = dispatch_timeout(now);

	if (settle_wanted(now) || (!dlist_is_empty(&worker.run) && worker.in_flight < mv_delivery_concurrency))
		return 0;
	if (worker.ndone > 0)
		return SETTLE_AGE_MS;
	if (timeout < 0 || timeout > IDLE_WAIT_MS)
		timeout = IDLE_WAIT_MS;
	if (worker.nready + worker.nwaiting + worker.in_flight > 0 || !dlist_is_empty(&worker.backlogged))
		timeout = Min(timeout, TICK_MS);
	return timeout;
}

void
mv_delivery_worker_main(Datum arg)
{
	MemoryContext turn_context;
	TimestampTz last_tick = 0;

	set_up(arg);
	turn_context = AllocSetContextCreate(TopMemoryContext, "musicverse turn", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(turn_context);
	worker.loop = mv_loop_create(mv_delivery_concurrency * 2);
	while (!begin())
	{
		mv_loop_wait(worker.loop, ERROR_PAUSE_MS, PG_WAIT_EXTENSION);
		CHECK_FOR_INTERRUPTS();
	}

	for (;;)
	{
		TimestampTz now = mv_now();

		if (ProcDiePending)
			wind_up();
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
			reload();
		if (mv_worker_should_leave(worker.database, worker.shard_no))
		{
			wind_up();
			proc_exit(0);
		}

		mv_loop_pump(worker.loop);
		collect_done(now);
		look_for_changes();
		intake_pop_ring();
		if (worker.standing_still)
			begin();
		else if (error_until <= now)
		{
			delivery_wake_due(now);
			dispatch(now);
			mv_loop_pump(worker.loop);
			if (settle_wanted(now))
				settle_turn();
			if (intake_wanted(now) && !in_transaction(reading, "reading deliveries"))
				error_until = now + ERROR_PAUSE_MS * INT64CONST(1000);
			if (now - last_tick >= TICK_MS * 1000 || now < last_tick)
			{
				last_tick = now;
				endpoint_sweep(now);
				maintain_survey(now);
				if (maintain_wanted(now))
					in_transaction(maintaining, "maintaining marks and leaves");
			}
			dispatch(mv_now());
		}
		publish_gauges();
		MemoryContextReset(turn_context);
		mv_loop_wait(worker.loop, error_until > now ? ERROR_PAUSE_MS : idle_time(mv_now()), PG_WAIT_EXTENSION);
	}
}

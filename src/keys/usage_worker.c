/*
 * The usage worker: one process a database. It writes usage, quotas and the
 * last use of keys to the tables, all of it in batches, drops old usage, and
 * keeps the state file young.
 *
 * What it took out of shared memory it holds until the transaction that adds
 * it is committed; when that fails, or the process is told to end meanwhile,
 * it puts it back, for the next worker or the state file. So nothing is counted
 * twice or lost, short of a crash. An error is logged and the loop goes on with
 * the next interval.
 *
 * Locks: the extension's for each transaction; RowExclusiveLock on the tables;
 * LWLocks of usage.c, quota.c and cache.c. It waits for a lock of the tables for
 * LOCK_WAIT at most, which is an error like others.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "core/clock.h"
#include "core/compat.h"
#include "core/launcher.h"
#include "core/state.h"
#include "core/worker.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "keys/cache.h"
#include "keys/quota.h"
#include "keys/usage_int.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inet.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#define BATCH			512
#define USES_BATCH		1000
#define TEND_INTERVAL_MS 60000
#define ERROR_PAUSE_MS	500
#define LOCK_WAIT	"10s"
#define USAGE_COLUMNS	13
#define MAX_CHORES		4

PGDLLEXPORT void mv_usage_worker_main(Datum arg);

static int	minutes_retention = 7;
static int	hours_retention = 90;
static int	days_retention = 1095;

static MvWorker worker;

/* Of other rooms */
static void (*chores[MAX_CHORES]) (void);
static int	nchores = 0;
static UsageRow *rows;
static int	nrows = 0;

/* The last uses of keys that are to be written down */
static MvUse *uses;
static int	nuses = 0;

void
mv_usage_worker_init(void)
{
	static const MvWorkerKind kind = {"usage worker", "mv_usage_worker_main", MV_PLACE_USAGE, 1, mv_one_worker};

	DefineCustomIntVariable("musicverse.usage_retention", "Days that usage by minute is kept.",
							"0 = for ever.", &minutes_retention, 7, 0, 36500, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.usage_hours_retention", "Days that usage by hour is kept.",
							"Whole months are dropped. 0 = for ever.", &hours_retention, 90, 0, 36500, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.usage_days_retention", "Days that usage by day is kept.",
							"Whole years are dropped. 0 = for ever.", &days_retention, 1095, 0, 36500, PGC_SIGHUP, 0, NULL, NULL, NULL);
	mv_launcher_add(&kind);
}

static bool
is_zero(const pg_uuid_t *id)
{
	static const pg_uuid_t zero;

	return memcmp(id, &zero, UUID_LEN) == 0;
}

static Datum
histogram_array(const UsageRow *from, bool *isnull)
{
	Datum		values[USAGE_HISTOGRAM];

	*isnull = true;
	for (int i = 0; i < USAGE_HISTOGRAM; i++)
	{
		*isnull &= from->histogram[i] == 0;
		values[i] = Int64GetDatum((int64) from->histogram[i]);
	}
	if (*isnull)
		return (Datum) 0;
	return PointerGetDatum(construct_array(values, USAGE_HISTOGRAM, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* A row as the table api_usage has it */
static Datum
usage_tuple(const UsageRow *from, TupleDesc desc)
{
	Datum		values[USAGE_COLUMNS];
	bool		nulls[USAGE_COLUMNS] = {false};

	values[0] = TimestampTzGetDatum(from->key.minute * USECS_PER_MINUTE -
									(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY);
	values[1] = UUIDPGetDatum(&from->key.user_id);
	nulls[1] = is_zero(&from->key.user_id);
	values[2] = UUIDPGetDatum(&from->key.key_id);
	nulls[2] = is_zero(&from->key.key_id);
	values[3] = CStringGetTextDatum(from->key.operation);
	values[4] = Int16GetDatum(from->key.status_class);
	for (int c = 0; c < USAGE_COUNTERS; c++)
		values[5 + c] = Int64GetDatum(from->counter[c]);
	values[12] = histogram_array(from, &nulls[12]);
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}

static void
write_usage(void)
{
	Oid			row_type = get_rel_type_id(get_relname_relid("api_usage", get_namespace_oid("musicverse", false)));
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(row_type, -1);
	Datum	   *tuples = palloc(nrows * sizeof(Datum));
	Oid			types[1] = {get_array_type(row_type)};
	Datum		values[1];

	for (int i = 0; i < nrows; i++)
		tuples[i] = usage_tuple(&rows[i], desc);
	values[0] = PointerGetDatum(construct_array(tuples, nrows, row_type, -1, false, TYPALIGN_DOUBLE));
	SPI_execute_with_args("select musicverse._add_usage($1)", 1, types, values, NULL, false, 0);
}

static void
put_back(int code, Datum arg)
{
	while (nrows > 0)
		usage_put_back(&rows[--nrows]);
}

/* False when something could not be written, which is in shared memory again. */
static bool
flush_usage(void)
{
	uint64		from = 0;

	while ((nrows = usage_take(rows, BATCH, &from)) > 0)
	{
		if (mv_worker_transaction(&worker, write_usage, "writing usage"))
		{
			usage_note_flush(nrows, -1);
			nrows = 0;
			continue;
		}
		put_back(0, (Datum) 0);
		return false;
	}
	return true;
}

static bool
flush_quotas(void)
{
	for (bool first = true; mv_quota_gather(first); first = false)
	{
		if (!mv_worker_transaction(&worker, mv_quota_flush, "writing quotas"))
			return false;
		mv_quota_flushed();
	}
	return true;
}

static Datum
address_of(const MvUse *use)
{
	inet	   *address = palloc0(VARHDRSZ + sizeof(inet_struct));

	ip_family(address) = use->family;
	ip_bits(address) = ip_maxbits(address);
	memcpy(ip_addr(address), use->address, ip_addrsize(address));
	SET_INET_VARSIZE(address);
	return InetPGetDatum(address);
}

static void
write_uses(void)
{
	Datum	   *keys = palloc(nuses * sizeof(Datum));
	Datum	   *moments = palloc(nuses * sizeof(Datum));
	Datum	   *addresses = palloc(nuses * sizeof(Datum));
	bool	   *nulls = palloc(nuses * sizeof(bool));
	Oid			types[3] = {UUIDARRAYOID, TIMESTAMPTZARRAYOID, INETARRAYOID};
	Datum		values[3];
	int			lower = 1;

	for (int i = 0; i < nuses; i++)
	{
		keys[i] = UUIDPGetDatum(&uses[i].key_id);
		moments[i] = TimestampTzGetDatum(uses[i].at);
		nulls[i] = uses[i].family == 0;
		addresses[i] = nulls[i] ? (Datum) 0 : address_of(&uses[i]);
	}
	values[0] = PointerGetDatum(construct_array(keys, nuses, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
	values[1] = PointerGetDatum(construct_array(moments, nuses, TIMESTAMPTZOID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	values[2] = PointerGetDatum(construct_md_array(addresses, nulls, 1, &nuses, &lower, INETOID, -1, false, TYPALIGN_INT));
	/* keys that somebody holds locked are written next time they are used */
	SPI_execute_with_args("with u as (select k.id, u.at, u.ip from unnest($1, $2, $3) as u (id, at, ip)"
						  " join musicverse.api_keys k using (id) where k.last_used_at is null or k.last_used_at < u.at"
						  " order by k.id for no key update of k skip locked)"
						  " update musicverse.api_keys k set last_used_at = u.at, last_used_ip = coalesce(u.ip, k.last_used_ip)"
						  " from u where k.id = u.id",
						  3, types, values, NULL, false, 0);
}

/* What could not be written is tried again next time, before others. */
static bool
flush_uses(void)
{
	uint64		from = 0;

	while (nuses > 0 || (nuses = mv_cache_take_uses(uses, USES_BATCH, &from)) > 0)
	{
		if (!mv_worker_transaction(&worker, write_uses, "writing the last use of keys"))
			return false;
		nuses = 0;
	}
	return true;
}

void
mv_usage_worker_add_chore(void (*chore) (void))
{
	Assert(nchores < MAX_CHORES);
	chores[nchores++] = chore;
}

static void
tend(void)
{
	Oid			types[3] = {INT4OID, INT4OID, INT4OID};
	Datum		values[3] = {Int32GetDatum(minutes_retention), Int32GetDatum(hours_retention), Int32GetDatum(days_retention)};

	SPI_execute_with_args("select musicverse._tend_usage(make_interval(days => $1), make_interval(days => $2), make_interval(days => $3))",
						  3, types, values, NULL, false, 0);
	for (int i = 0; i < nchores; i++)
		chores[i] ();
}

/* Writes everything; false when something failed. What others wait for is what they asked before it began. */
static bool
flush(void)
{
	UsageCounts counts;
	bool		ok;

	usage_counts(&counts);
	ok = flush_usage();
	ok &= flush_quotas();
	ok &= flush_uses();
	if (ok)
		usage_note_flush(0, counts.wanted);
	mv_state_keep(mv_usage_flush_interval);
	return ok;
}

/* Only finds out whether the extension is still there. */
static void
look(void)
{
}

static void
set_up(Datum arg)
{
	worker.place = mv_worker_attach(arg, &worker.database);
	worker.note_error = usage_note_error;
	pgstat_report_appname("musicverse usage worker");
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("jit", "off", PGC_USERSET, PGC_S_OVERRIDE);
	/* who deletes accounts and doesn't commit must not keep everybody's usage from the tables */
	SetConfigOption("lock_timeout", LOCK_WAIT, PGC_USERSET, PGC_S_OVERRIDE);
	before_shmem_exit(put_back, (Datum) 0);
	rows = MemoryContextAlloc(TopMemoryContext, BATCH * sizeof(UsageRow));
	uses = MemoryContextAlloc(TopMemoryContext, USES_BATCH * sizeof(MvUse));
}

static bool
somebody_waits(void)
{
	UsageCounts counts;

	usage_counts(&counts);
	return counts.wanted > counts.flushes;
}

static bool
passed(TimestampTz since, TimestampTz now, int ms)
{
	return now < since || now - since >= ms * INT64CONST(1000);
}

void
mv_usage_worker_main(Datum arg)
{
	MemoryContext turn_context;
	TimestampTz flushed_at = 0;
	TimestampTz tended_at = 0;
	TimestampTz failed_at = 0;
	uint64		seen = 0;

	set_up(arg);
	turn_context = AllocSetContextCreate(TopMemoryContext, "musicverse turn", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(turn_context);
	for (;;)
	{
		TimestampTz now = mv_now();
		bool		leave;

		CHECK_FOR_INTERRUPTS();
		leave = mv_worker_should_leave(worker.database, worker.place);
		if (pg_atomic_read_u64(&worker.database->changes) != seen && !leave)
		{
			seen = pg_atomic_read_u64(&worker.database->changes);
			mv_worker_transaction(&worker, look, "looking at the extension");
		}
		if (passed(tended_at, now, TEND_INTERVAL_MS) && !leave)
		{
			tended_at = now;
			mv_worker_transaction(&worker, tend, "tending the tables of usage");
		}
		if (leave || passed(flushed_at, now, mv_usage_flush_interval) ||
			(somebody_waits() && passed(failed_at, now, ERROR_PAUSE_MS)))
		{
			flushed_at = now;
			failed_at = flush() ? 0 : now;
		}
		if (leave)
			proc_exit(0);
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		MemoryContextReset(turn_context);
		WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
				  Min(mv_usage_flush_interval, 5000), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

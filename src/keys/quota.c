/*
 * Quotas counted in shared memory. See quota.h.
 *
 * Each user has an entry in one of the sets of WAYS places, with the number of
 * calls in the day and the month that it was last asked in. Calls count under
 * their partition's lock, shared, by compare and swap; an entry is put in,
 * moved to the next day or thrown out under the same lock, exclusive.
 *
 * The ledger quota_usage has what the usage worker wrote last; only an entry
 * that it has written down may be thrown out. Who reads the ledger remembers
 * how often entries of the partition had been thrown out before: if another
 * one was meanwhile, what was read may be older than it, and is read again.
 *
 * After a crash the counts begin with the ledger's; after a clean restart they
 * come from the state file. The worker alone writes the ledger, with what is
 * the greater of its and what stands there.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "core/catalog.h"
#include "core/clock.h"
#include "core/compat.h"
#include "core/shared.h"
#include "core/state.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "keys/bucket.h"
#include "keys/period.h"
#include "keys/quota.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define WAYS		8
#define PARTITIONS	128
#define FLUSH_BATCH 1000
#define FORGOTTEN_AFTER USECS_PER_DAY

typedef struct QuotaEntry
{
	Oid			database;		/* InvalidOid = free */
	pg_uuid_t	user_id;
	DateADT		start[MV_PERIODS];
	pg_atomic_uint64 used[MV_PERIODS];
	uint64		written[MV_PERIODS];	/* what the ledger has; PG_UINT64_MAX = nothing yet */
	pg_atomic_uint64 asked_at;
} QuotaEntry;

typedef struct Quotas
{
	uint64		nsets;
	pg_atomic_uint64 no_room;
	pg_atomic_uint64 thrown_out[PARTITIONS];
} Quotas;

/* What the state file holds of an entry */
typedef struct SavedQuota
{
	Oid			database;
	pg_uuid_t	user_id;
	DateADT		start[MV_PERIODS];
	uint64		used[MV_PERIODS];
	uint64		written[MV_PERIODS];
} SavedQuota;

static int	quota_entries = 65536;
static Quotas *quotas = NULL;
static uint32 *tags;			/* of the entries, WAYS a set: a part of their user's hash, to be compared first; 0 = free */
static QuotaEntry *entries;
static LWLockPadded *locks;

/* Half as many again, as a set may be fuller than others. */
static uint64
number_of_sets(void)
{
	return (uint64) quota_entries * 3 / 2 / WAYS + 1;
}

static Size
quotas_size(void)
{
	Size		size = add_size(CACHELINEALIGN(sizeof(Quotas)), CACHELINEALIGN(mul_size(number_of_sets() * WAYS, sizeof(uint32))));

	return add_size(size, mul_size(number_of_sets() * WAYS, sizeof(QuotaEntry)));
}

static void
quotas_start(void *memory, LWLockPadded *tranche, bool fresh)
{
	quotas = memory;
	tags = (uint32 *) ((char *) memory + CACHELINEALIGN(sizeof(Quotas)));
	entries = (QuotaEntry *) ((char *) tags + CACHELINEALIGN(number_of_sets() * WAYS * sizeof(uint32)));
	locks = tranche;
	if (!fresh)
		return;
	quotas->nsets = number_of_sets();
	pg_atomic_init_u64(&quotas->no_room, 0);
	for (int i = 0; i < PARTITIONS; i++)
		pg_atomic_init_u64(&quotas->thrown_out[i], 0);
	for (uint64 i = 0; i < quotas->nsets * WAYS; i++)
	{
		tags[i] = 0;
		entries[i].database = InvalidOid;
		for (int p = 0; p < MV_PERIODS; p++)
			pg_atomic_init_u64(&entries[i].used[p], 0);
		pg_atomic_init_u64(&entries[i].asked_at, 0);
	}
}

void
mv_period(TimestampTz at, DateADT start[MV_PERIODS], DateADT next[MV_PERIODS])
{
	static DateADT known = PG_INT32_MIN;
	static DateADT month;
	static DateADT next_month;
	DateADT		day = at >= 0 ? at / USECS_PER_DAY : -((-at + USECS_PER_DAY - 1) / USECS_PER_DAY);

	if (day != known)
	{
		int			y,
					m,
					d;

		j2date(day + POSTGRES_EPOCH_JDATE, &y, &m, &d);
		month = date2j(y, m, 1) - POSTGRES_EPOCH_JDATE;
		next_month = mv_period_after(MV_MONTH, month);
		known = day;
	}
	start[MV_DAY] = day;
	start[MV_MONTH] = month;
	next[MV_DAY] = day + 1;
	next[MV_MONTH] = next_month;
}

DateADT
mv_period_after(MvPeriod period, DateADT start)
{
	int			y,
				m,
				d;

	if (period == MV_DAY)
		return start + 1;
	j2date(start + POSTGRES_EPOCH_JDATE, &y, &m, &d);
	return (m == 12 ? date2j(y + 1, 1, 1) : date2j(y, m + 1, 1)) - POSTGRES_EPOCH_JDATE;
}

/* Where a user's entry may be, and the partition of that set */
typedef struct Place
{
	uint64		first;
	uint32		tag;
	int			partition;
} Place;

static inline Place
place_of(Oid database, const pg_uuid_t *user_id)
{
	uint64		hash = hash_bytes_extended(user_id->data, UUID_LEN, database);
	uint64		set = (uint64) (((unsigned __int128) hash * quotas->nsets) >> 64);
	Place		place = {set * WAYS, (uint32) hash | 1, set % PARTITIONS};

	return place;
}

static inline LWLock *
lock_of(const Place *place)
{
	return &locks[place->partition].lock;
}

static inline QuotaEntry *
find(const Place *place, Oid database, const pg_uuid_t *user_id)
{
	for (uint64 i = place->first; i < place->first + WAYS; i++)
		if (tags[i] == place->tag && entries[i].database == database && memcmp(&entries[i].user_id, user_id, UUID_LEN) == 0)
			return &entries[i];
	return NULL;
}

static bool
is_written(QuotaEntry *entry)
{
	for (int p = 0; p < MV_PERIODS; p++)
		if (pg_atomic_read_u64(&entry->used[p]) != entry->written[p])
			return false;
	return true;
}

/*
 * A free place, or that of the entry longest not asked of those in the ledger;
 * what nobody writes down is forgotten after FORGOTTEN_AFTER, as its database
 * may be gone. NULL when there is none.
 */
static QuotaEntry *
make_room(const Place *place)
{
	QuotaEntry *oldest = NULL;
	TimestampTz now = mv_now();

	for (int i = 0; i < WAYS; i++)
	{
		QuotaEntry *entry = &entries[place->first + i];

		if (!OidIsValid(entry->database))
			return entry;
		if ((is_written(entry) || (int64) pg_atomic_read_u64(&entry->asked_at) < now - FORGOTTEN_AFTER) &&
			(oldest == NULL || pg_atomic_read_u64(&entry->asked_at) < pg_atomic_read_u64(&oldest->asked_at)))
			oldest = entry;
	}
	if (oldest != NULL)
	{
		oldest->database = InvalidOid;
		tags[oldest - entries] = 0;
		pg_atomic_fetch_add_u64(&quotas->thrown_out[place->partition], 1);
	}
	return oldest;
}

/* Reads one period of the ledger by a snapshot of now; 0 when it has nothing of the period that begins on the day. */
static void
read_ledger(const pg_uuid_t *user_id, const DateADT start[MV_PERIODS], uint64 used[MV_PERIODS], uint64 written[MV_PERIODS])
{
	const MvCatalog *catalog = mv_catalog();
	Relation	table = table_open(catalog->quota_usage, AccessShareLock);
	Relation	index = index_open(catalog->quota_usage_pkey, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(table, NULL);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	IndexScanDesc scan = mv_index_beginscan(table, index, snapshot, 1);
	TupleDesc	desc = RelationGetDescr(table);
	ScanKeyData key;

	for (int p = 0; p < MV_PERIODS; p++)
	{
		used[p] = 0;
		written[p] = PG_UINT64_MAX;
	}
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(user_id));
	index_rescan(scan, &key, 1, NULL, 0);
	while (index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;
		char	   *name = TextDatumGetCString(slot_getattr(slot, mv_attnum(desc, "period"), &isnull));
		MvPeriod	period = strcmp(name, "day") == 0 ? MV_DAY : MV_MONTH;

		if (DatumGetDateADT(slot_getattr(slot, mv_attnum(desc, "starts_on"), &isnull)) != start[period])
			continue;
		used[period] = DatumGetInt64(slot_getattr(slot, mv_attnum(desc, "used"), &isnull));
		written[period] = used[period];
	}
	index_endscan(scan);
	UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, AccessShareLock);
	table_close(table, AccessShareLock);
}

/* Puts the user's entry in if it isn't there. False when there is no room. Holds no lock. */
static bool
put_in(const Place *place, const pg_uuid_t *user_id, const DateADT start[MV_PERIODS])
{
	for (;;)
	{
		uint64		before = pg_atomic_read_u64(&quotas->thrown_out[place->partition]);
		uint64		used[MV_PERIODS];
		uint64		written[MV_PERIODS];
		QuotaEntry *entry;

		pg_memory_barrier();
		read_ledger(user_id, start, used, written);
		LWLockAcquire(lock_of(place), LW_EXCLUSIVE);
		if (find(place, MyDatabaseId, user_id) != NULL)
		{
			LWLockRelease(lock_of(place));
			return true;
		}
		if (pg_atomic_read_u64(&quotas->thrown_out[place->partition]) != before)
		{
			LWLockRelease(lock_of(place));
			continue;
		}
		entry = make_room(place);
		if (entry != NULL)
		{
			entry->user_id = *user_id;
			for (int p = 0; p < MV_PERIODS; p++)
			{
				entry->start[p] = start[p];
				pg_atomic_write_u64(&entry->used[p], used[p]);
				entry->written[p] = written[p];
			}
			pg_atomic_write_u64(&entry->asked_at, mv_now());
			entry->database = MyDatabaseId;
			tags[entry - entries] = place->tag;
		}
		LWLockRelease(lock_of(place));
		return entry != NULL;
	}
}

/* Moves an entry to periods that have begun since. One that began later stays: the clock was set back. */
static void
move_on(const Place *place, const pg_uuid_t *user_id, const DateADT start[MV_PERIODS])
{
	QuotaEntry *entry;

	LWLockAcquire(lock_of(place), LW_EXCLUSIVE);
	entry = find(place, MyDatabaseId, user_id);
	for (int p = 0; entry != NULL && p < MV_PERIODS; p++)
		if (entry->start[p] < start[p])
		{
			entry->start[p] = start[p];
			pg_atomic_write_u64(&entry->used[p], 0);
			entry->written[p] = PG_UINT64_MAX;
		}
	LWLockRelease(lock_of(place));
}

/* Takes of one period; false when that would be above the limit. */
static inline bool
take(pg_atomic_uint64 *used, int64 cost, int64 limit, int64 *after)
{
	uint64		seen;

	if (limit < 0)
	{
		*after = pg_atomic_add_fetch_u64(used, cost);
		return true;
	}
	seen = pg_atomic_read_u64(used);
	do
	{
		*after = seen;
		if (cost == 0)
			return true;
		if (cost > limit || (int64) seen > limit - cost)
			return false;
	} while (!pg_atomic_compare_exchange_u64(used, &seen, seen + cost));
	*after = seen + cost;
	return true;
}

/* Counts in the entry, whose partition is locked. */
static void
count(QuotaEntry *entry, int64 cost, const int64 limits[MV_PERIODS], MvQuotaAnswer *answer)
{
	answer->allowed = true;
	for (int p = 0; p < MV_PERIODS; p++)
		if (!take(&entry->used[p], cost, limits[p], &answer->used[p]))
		{
			answer->allowed = false;
			answer->violated = p;
			while (--p >= 0)
				answer->used[p] = pg_atomic_sub_fetch_u64(&entry->used[p], cost);
			return;
		}
}

void
mv_quota_prefetch(const pg_uuid_t *user_id)
{
	if (quotas != NULL)
		__builtin_prefetch(&tags[place_of(MyDatabaseId, user_id).first]);
}

void
mv_quota_take(const pg_uuid_t *user_id, int64 cost, const int64 limits[MV_PERIODS], TimestampTz now, MvQuotaAnswer *answer)
{
	DateADT		start[MV_PERIODS];
	DateADT		next[MV_PERIODS];
	Place		place;

	if (quotas == NULL)
		mv_shared_require("counting of quotas");
	mv_period(now, start, next);
	place = place_of(MyDatabaseId, user_id);
	for (;;)
	{
		QuotaEntry *entry;
		bool		is_current = false;

		LWLockAcquire(lock_of(&place), LW_SHARED);
		entry = find(&place, MyDatabaseId, user_id);
		if (entry != NULL)
		{
			is_current = entry->start[MV_DAY] >= start[MV_DAY] && entry->start[MV_MONTH] >= start[MV_MONTH];
			if (is_current)
			{
				for (int p = 0; p < MV_PERIODS; p++)
					answer->resets_at[p] = MV_DAY_BEGINS(entry->start[p] == start[p] ? next[p] : mv_period_after(p, entry->start[p]));
				count(entry, cost, limits, answer);
				if ((uint64) now - pg_atomic_read_u64(&entry->asked_at) > USECS_PER_SEC)
					pg_atomic_write_u64(&entry->asked_at, now);
			}
		}
		LWLockRelease(lock_of(&place));
		if (is_current)
			return;
		if (entry != NULL)
			move_on(&place, user_id, start);
		else if (!put_in(&place, user_id, start))
		{
			pg_atomic_fetch_add_u64(&quotas->no_room, 1);
			answer->allowed = mv_admit_when_full || (limits[MV_DAY] < 0 && limits[MV_MONTH] < 0);
			answer->violated = limits[MV_DAY] >= 0 ? MV_DAY : MV_MONTH;
			for (int p = 0; p < MV_PERIODS; p++)
			{
				answer->used[p] = 0;
				answer->resets_at[p] = MV_DAY_BEGINS(next[p]);
			}
			return;
		}
	}
}

void
mv_quota_give_back(const pg_uuid_t *user_id, int64 cost)
{
	Place		place = place_of(MyDatabaseId, user_id);
	QuotaEntry *entry;

	LWLockAcquire(lock_of(&place), LW_SHARED);
	entry = find(&place, MyDatabaseId, user_id);
	for (int p = 0; entry != NULL && p < MV_PERIODS; p++)
		pg_atomic_sub_fetch_u64(&entry->used[p], cost);
	LWLockRelease(lock_of(&place));
}

void
mv_quota_counts(int64 *room, int64 *entries_used, int64 *no_room)
{
	*room = quota_entries;
	*entries_used = 0;
	*no_room = 0;
	if (quotas == NULL)
		return;
	for (uint64 i = 0; i < quotas->nsets * WAYS; i++)
		if (OidIsValid(entries[i].database))
			(*entries_used)++;
	*no_room = pg_atomic_read_u64(&quotas->no_room);
}

/* What was sent to the ledger and counts as written once that is committed */
typedef struct Sent
{
	pg_uuid_t	user_id;
	DateADT		start[MV_PERIODS];
	uint64		used[MV_PERIODS];
} Sent;

static Sent *sent = NULL;
static int	nsent = 0;
static uint64 next_set = 0;

/* Gathers entries that the ledger doesn't have yet, from where it stopped. */
static void
gather(void)
{
	nsent = 0;
	for (; next_set < quotas->nsets && nsent + WAYS <= FLUSH_BATCH; next_set++)
	{
		QuotaEntry *set = &entries[next_set * WAYS];
		LWLock	   *lock = &locks[next_set % PARTITIONS].lock;

		LWLockAcquire(lock, LW_SHARED);
		for (int i = 0; i < WAYS; i++)
			if (set[i].database == MyDatabaseId && !is_written(&set[i]))
			{
				Sent	   *to = &sent[nsent++];

				to->user_id = set[i].user_id;
				for (int p = 0; p < MV_PERIODS; p++)
				{
					to->start[p] = set[i].start[p];
					to->used[p] = pg_atomic_read_u64(&set[i].used[p]);
				}
			}
		LWLockRelease(lock);
	}
}

bool
mv_quota_gather(bool first)
{
	if (first)
		next_set = 0;
	if (sent == NULL)
		sent = MemoryContextAlloc(TopMemoryContext, FLUSH_BATCH * sizeof(Sent));
	gather();
	return nsent > 0;
}

static Datum
array_of(Datum *values, int n, Oid type, int len, bool byval, char align)
{
	return PointerGetDatum(construct_array(values, n, type, len, byval, align));
}

void
mv_quota_flush(void)
{
	static const char *const names[] = {[MV_DAY] = "day", [MV_MONTH] = "month"};
	int			n = nsent * MV_PERIODS;
	Datum	   *users = palloc(n * sizeof(Datum));
	Datum	   *periods = palloc(n * sizeof(Datum));
	Datum	   *starts = palloc(n * sizeof(Datum));
	Datum	   *used = palloc(n * sizeof(Datum));
	Oid			types[4] = {UUIDARRAYOID, TEXTARRAYOID, DATEARRAYOID, INT8ARRAYOID};
	Datum		values[4];

	for (int i = 0; i < n; i++)
	{
		Sent	   *from = &sent[i / MV_PERIODS];
		int			p = i % MV_PERIODS;

		users[i] = UUIDPGetDatum(&from->user_id);
		periods[i] = CStringGetTextDatum(names[p]);
		starts[i] = DateADTGetDatum(from->start[p]);
		used[i] = Int64GetDatum((int64) from->used[p]);
	}
	values[0] = array_of(users, n, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR);
	values[1] = array_of(periods, n, TEXTOID, -1, false, TYPALIGN_INT);
	values[2] = array_of(starts, n, DATEOID, sizeof(DateADT), true, TYPALIGN_INT);
	values[3] = array_of(used, n, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
	if (SPI_execute_with_args("insert into musicverse.quota_usage as q (user_id, period, starts_on, used)"
							  " select u.user_id, u.period, u.starts_on, u.used"
							  " from unnest($1, $2, $3, $4) as u (user_id, period, starts_on, used)"
							  " join musicverse.accounts a using (user_id) order by u.user_id, u.period for key share of a"
							  " on conflict (user_id, period) do update"
							  " set used = case when q.starts_on = excluded.starts_on then greatest(q.used, excluded.used) else excluded.used end,"
							  " starts_on = excluded.starts_on, updated_at = musicverse._now()"
							  " where q.starts_on <= excluded.starts_on", 4, types, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write quotas");
}

void
mv_quota_flushed(void)
{
	for (int i = 0; i < nsent; i++)
	{
		Place		place = place_of(MyDatabaseId, &sent[i].user_id);
		QuotaEntry *entry;

		LWLockAcquire(lock_of(&place), LW_EXCLUSIVE);
		entry = find(&place, MyDatabaseId, &sent[i].user_id);
		for (int p = 0; entry != NULL && p < MV_PERIODS; p++)
			if (entry->start[p] == sent[i].start[p])
				entry->written[p] = sent[i].used[p];
		LWLockRelease(lock_of(&place));
	}
	nsent = 0;
}

static void
save_quotas(StringInfo out)
{
	for (uint64 i = 0; i < quotas->nsets * WAYS; i++)
	{
		SavedQuota	saved;

		if (!OidIsValid(entries[i].database))
			continue;
		memset(&saved, 0, sizeof(saved));
		saved.database = entries[i].database;
		saved.user_id = entries[i].user_id;
		for (int p = 0; p < MV_PERIODS; p++)
		{
			saved.start[p] = entries[i].start[p];
			saved.used[p] = pg_atomic_read_u64(&entries[i].used[p]);
			saved.written[p] = entries[i].written[p];
		}
		appendBinaryStringInfo(out, (char *) &saved, sizeof(saved));
	}
}

/* After a crash the ledger knows better. */
static void
load_quotas(const char *data, Size len, int64 age_us, bool clean)
{
	for (Size at = 0; clean && at + sizeof(SavedQuota) <= len; at += sizeof(SavedQuota))
	{
		SavedQuota	saved;
		Place		place;
		QuotaEntry *entry;

		memcpy(&saved, data + at, sizeof(saved));
		if (!OidIsValid(saved.database))
			continue;
		place = place_of(saved.database, &saved.user_id);
		entry = make_room(&place);
		if (entry == NULL)
			continue;
		entry->database = saved.database;
		tags[entry - entries] = place.tag;
		entry->user_id = saved.user_id;
		pg_atomic_write_u64(&entry->asked_at, mv_now());
		for (int p = 0; p < MV_PERIODS; p++)
		{
			entry->start[p] = saved.start[p];
			pg_atomic_write_u64(&entry->used[p], saved.used[p]);
			entry->written[p] = saved.written[p];
		}
	}
}

void
mv_quota_init(void)
{
	static const MvSharedPart part = {"musicverse quotas", PARTITIONS, quotas_size, quotas_start};
	static const MvStateSection section = {"quotas", 1, save_quotas, load_quotas};

	if (process_shared_preload_libraries_in_progress)
		DefineCustomIntVariable("musicverse.quota_entries", "Users whose calls are counted in shared memory at once.",
								"Others are read from the ledger when they call. Each takes 150 bytes.",
								&quota_entries, 65536, 128, 64 * 1024 * 1024, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	mv_shared_add(&part);
	mv_state_add(&section);
}

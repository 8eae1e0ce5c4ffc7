/*
 * Quotas counted in shared memory. See quota.h.
 *
 * Each user has an entry in one of the sets of WAYS places, with the number of
 * calls in the day and the month that it was last asked in. Calls count under
 * their partition's lock, shared, by compare and swap; an entry is put in,
 * moved to the next day or thrown out under the same lock, exclusive.
 *
 * Only an entry that the ledger has may be thrown out, see quota_ledger.c. Who
 * reads the ledger remembers how often entries of the partition had been
 * thrown out before: if another one was meanwhile, what was read may be older
 * than it, and is read again.
 *
 * A clock that is set back gives no quota back: an entry stays in the period
 * that has begun. Set back by more than that, its count goes on in the period
 * of now, so that a clock that was wrong for a moment locks nobody out for long.
 *
 * After a crash the counts begin with the ledger's; after a clean restart they
 * come from the state file.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "core/clock.h"
#include "core/shared.h"
#include "core/state.h"
#include "keys/bucket.h"
#include "keys/period.h"
#include "keys/quota.h"
#include "keys/quota_int.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/date.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#define WAYS		8
#define PARTITIONS	128
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

/* Whether nothing is lost, or nobody will ever write it: its database may be gone, or have no worker. */
static bool
may_go(QuotaEntry *entry, TimestampTz now)
{
	return is_written(entry) || (int64) pg_atomic_read_u64(&entry->asked_at) < now - FORGOTTEN_AFTER ||
		(entry->database != MyDatabaseId && MyProc != NULL && mv_database_find(entry->database) == NULL);
}

/* A free place, or that of the entry longest not asked of those that may go. NULL when there is none. */
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
		if (may_go(entry, now) &&
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

/* Puts the user's entry in if it isn't there. False when there is no room. Holds no lock. */
static bool
put_in(const Place *place, const pg_uuid_t *user_id, const DateADT start[MV_PERIODS], const DateADT next[MV_PERIODS])
{
	for (;;)
	{
		uint64		before = pg_atomic_read_u64(&quotas->thrown_out[place->partition]);
		uint64		used[MV_PERIODS];
		uint64		written[MV_PERIODS];
		QuotaEntry *entry;

		pg_memory_barrier();
		quota_read_ledger(user_id, start, next, used, written);
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

/* Whether an entry counts in a period that goes on, or begins next: then the clock was set back a little. */
static inline bool
is_current(const QuotaEntry *entry, const DateADT start[MV_PERIODS], const DateADT next[MV_PERIODS])
{
	for (int p = 0; p < MV_PERIODS; p++)
		if (entry->start[p] < start[p] || entry->start[p] > next[p])
			return false;
	return true;
}

/* Moves an entry to the periods of now. The count of one that is still to come goes on in them. */
static void
move_on(const Place *place, const pg_uuid_t *user_id, const DateADT start[MV_PERIODS], const DateADT next[MV_PERIODS])
{
	QuotaEntry *entry;

	LWLockAcquire(lock_of(place), LW_EXCLUSIVE);
	entry = find(place, MyDatabaseId, user_id);
	for (int p = 0; entry != NULL && p < MV_PERIODS; p++)
	{
		if (entry->start[p] >= start[p] && entry->start[p] <= next[p])
			continue;
		if (entry->start[p] < start[p])
			pg_atomic_write_u64(&entry->used[p], 0);
		entry->start[p] = start[p];
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
		bool		counted = false;

		LWLockAcquire(lock_of(&place), LW_SHARED);
		entry = find(&place, MyDatabaseId, user_id);
		if (entry != NULL)
		{
			counted = is_current(entry, start, next);
			if (counted)
			{
				for (int p = 0; p < MV_PERIODS; p++)
					answer->resets_at[p] = MV_DAY_BEGINS(entry->start[p] == start[p] ? next[p] : mv_period_after(p, entry->start[p]));
				count(entry, cost, limits, answer);
				if ((uint64) now - pg_atomic_read_u64(&entry->asked_at) > USECS_PER_SEC)
					pg_atomic_write_u64(&entry->asked_at, now);
			}
		}
		LWLockRelease(lock_of(&place));
		if (counted)
			return;
		if (entry != NULL)
			move_on(&place, user_id, start, next);
		else if (!put_in(&place, user_id, start, next))
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
mv_quota_look(const pg_uuid_t *user_id, MvQuotaAnswer *answer)
{
	static const int64 any_number[MV_PERIODS] = {-1, -1};
	DateADT		start[MV_PERIODS];
	DateADT		next[MV_PERIODS];
	uint64		used[MV_PERIODS];
	uint64		written[MV_PERIODS];

	if (quotas != NULL)
	{
		mv_quota_take(user_id, 0, any_number, mv_now(), answer);
		return;
	}
	mv_period(mv_now(), start, next);
	quota_read_ledger(user_id, start, next, used, written);
	answer->allowed = true;
	for (int p = 0; p < MV_PERIODS; p++)
	{
		answer->used[p] = used[p];
		answer->resets_at[p] = MV_DAY_BEGINS(next[p]);
	}
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

int
quota_gather(QuotaRow *rows, int n, uint64 *from)
{
	int			gathered = 0;

	for (; *from < quotas->nsets && gathered + WAYS <= n; (*from)++)
	{
		QuotaEntry *set = &entries[*from * WAYS];
		LWLock	   *lock = &locks[*from % PARTITIONS].lock;

		LWLockAcquire(lock, LW_SHARED);
		for (int i = 0; i < WAYS; i++)
			if (set[i].database == MyDatabaseId && !is_written(&set[i]))
			{
				QuotaRow   *to = &rows[gathered++];

				to->user_id = set[i].user_id;
				for (int p = 0; p < MV_PERIODS; p++)
				{
					to->start[p] = set[i].start[p];
					to->used[p] = pg_atomic_read_u64(&set[i].used[p]);
				}
			}
		LWLockRelease(lock);
	}
	return gathered;
}

void
quota_written(const QuotaRow *row)
{
	Place		place = place_of(MyDatabaseId, &row->user_id);
	QuotaEntry *entry;

	LWLockAcquire(lock_of(&place), LW_EXCLUSIVE);
	entry = find(&place, MyDatabaseId, &row->user_id);
	for (int p = 0; entry != NULL && p < MV_PERIODS; p++)
		if (entry->start[p] == row->start[p])
			entry->written[p] = row->used[p];
	LWLockRelease(lock_of(&place));
}

static void
save_quotas(StringInfo out)
{
	for (uint64 i = 0; i < quotas->nsets * WAYS; i++)
	{
		SavedQuota	saved;

		if (!OidIsValid(entries[i].database))
			continue;
		if (!mv_state_has_room(out, sizeof(saved)))
			return;
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

/* What save_quotas() can have written */
static bool
is_sound(const SavedQuota *saved)
{
	for (int p = 0; p < MV_PERIODS; p++)
		if (!IS_VALID_DATE(saved->start[p]) || saved->used[p] > PG_INT64_MAX)
			return false;
	return OidIsValid(saved->database);
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
		if (!is_sound(&saved))
			continue;
		place = place_of(saved.database, &saved.user_id);
		if (find(&place, saved.database, &saved.user_id) != NULL)
			continue;
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

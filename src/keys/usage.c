/*
 * Usage counted in shared memory. See usage.h and usage_int.h.
 *
 * An entry is one minute of one operation of a key with one class of status,
 * in one of the sets of WAYS places that its key's hash says. Counting takes
 * the partition's lock shared and adds atomically; putting an entry in and
 * taking it out for the tables take it exclusively. When a set is full the
 * call is counted as dropped, with nothing else; unless one of its entries is
 * of a database without a worker, or so old that its worker must be failing:
 * then that one is dropped, as nobody would ever make room there.
 *
 * What the worker has not taken is kept over a clean restart by the state
 * file. After a crash it is lost, as what was taken and written meanwhile
 * can't be told from it.
 *
 * Locks: a partition's, and that of the workers' states, for a few memory
 * accesses and never both; while either is held, where there is no room, that
 * of the table of databases.
 */
#include "postgres.h"

#include <math.h>

#include "access/xlog.h"
#include "common/hashfn.h"
#include "core/clock.h"
#include "core/shared.h"
#include "core/state.h"
#include "keys/usage.h"
#include "keys/usage_int.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#define WAYS		8
#define PARTITIONS	64
#define FIRST_BUCKET_US 50.0
#define DROPPED_AFTER	90		/* minutes; the worker writes once an hour at least */
#define MOST_BYTES		(INT64CONST(1) << 50)	/* of one call: what can be added up without overflow */
#define MOST_DURATION	USECS_PER_DAY

typedef struct UsageEntry
{
	UsageKey	key;
	pg_atomic_uint64 counter[USAGE_COUNTERS];
	pg_atomic_uint32 histogram[USAGE_HISTOGRAM];
} UsageEntry;

/* Of the worker of one database */
typedef struct WorkerState
{
	Oid			database;
	int64		flushed_rows;
	TimestampTz flushed_at;
	int64		flushes;
	int64		wanted;
	char		error[160];
	TimestampTz error_at;
} WorkerState;

typedef struct Usages
{
	uint64		nsets;
	pg_atomic_uint64 dropped;
	WorkerState worker[MV_MAX_DATABASES];
} Usages;

int			mv_usage_flush_interval = 10000;
bool		mv_count_verifications = true;

static int	usage_entries = 16384;
static Usages *usages = NULL;
static uint32 *tags;			/* of the entries, WAYS a set: a part of their key's hash, to be compared first; 0 = free */
static UsageEntry *entries;
static LWLockPadded *locks;		/* PARTITIONS, then that of the workers' states */

static uint64
number_of_sets(void)
{
	return (uint64) usage_entries * 5 / 4 / WAYS + 1;
}

static Size
usages_size(void)
{
	Size		size = add_size(CACHELINEALIGN(sizeof(Usages)), CACHELINEALIGN(mul_size(number_of_sets() * WAYS, sizeof(uint32))));

	return add_size(size, mul_size(number_of_sets() * WAYS, sizeof(UsageEntry)));
}

static void
usages_start(void *memory, LWLockPadded *tranche, bool fresh)
{
	usages = memory;
	tags = (uint32 *) ((char *) memory + CACHELINEALIGN(sizeof(Usages)));
	entries = (UsageEntry *) ((char *) tags + CACHELINEALIGN(number_of_sets() * WAYS * sizeof(uint32)));
	locks = tranche;
	if (!fresh)
		return;
	usages->nsets = number_of_sets();
	pg_atomic_init_u64(&usages->dropped, 0);
	for (uint64 i = 0; i < usages->nsets * WAYS; i++)
	{
		for (int c = 0; c < USAGE_COUNTERS; c++)
			pg_atomic_init_u64(&entries[i].counter[c], 0);
		for (int b = 0; b < USAGE_HISTOGRAM; b++)
			pg_atomic_init_u32(&entries[i].histogram[b], 0);
	}
}

double
usage_bucket_end(int bucket)
{
	return FIRST_BUCKET_US * exp2(bucket / 3.0);
}

int
usage_bucket(int64 duration_us)
{
	int			bucket;

	if (duration_us < FIRST_BUCKET_US)
		return 0;
	bucket = 1 + (int) (3 * log2(duration_us / FIRST_BUCKET_US));
	return Min(bucket, USAGE_HISTOGRAM - 1);
}

/* Where the entry of a key may be */
typedef struct Place
{
	uint64		set;
	uint32		tag;
} Place;

/* Names are short; what follows them is zeros. */
static inline Place
place_of(const UsageKey *key)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) key, offsetof(UsageKey, operation) + strlen(key->operation), 0);
	Place		place = {(uint64) (((unsigned __int128) hash * usages->nsets) >> 64), (uint32) hash | 1};

	return place;
}

static inline LWLock *
lock_of(uint64 set)
{
	return &locks[set % PARTITIONS].lock;
}

static inline UsageEntry *
find(const Place *place, const UsageKey *key)
{
	for (uint64 i = place->set * WAYS; i < (place->set + 1) * WAYS; i++)
		if (tags[i] == place->tag && memcmp(&entries[i].key, key, sizeof(UsageKey)) == 0)
			return &entries[i];
	return NULL;
}

/* Reads an entry and frees it. Its partition is locked. */
static void
take_out(UsageEntry *entry, UsageRow *row)
{
	row->key = entry->key;
	for (int c = 0; c < USAGE_COUNTERS; c++)
	{
		row->counter[c] = Min(pg_atomic_read_u64(&entry->counter[c]), PG_INT64_MAX);
		pg_atomic_write_u64(&entry->counter[c], 0);
	}
	for (int b = 0; b < USAGE_HISTOGRAM; b++)
	{
		row->histogram[b] = pg_atomic_read_u32(&entry->histogram[b]);
		pg_atomic_write_u32(&entry->histogram[b], 0);
	}
	memset(&entry->key, 0, sizeof(entry->key));
	tags[entry - entries] = 0;
}

/* Whether nobody will write an entry into its table */
static bool
is_lost(const UsageEntry *entry, const UsageKey *key)
{
	return entry->key.minute < key->minute - DROPPED_AFTER ||
		(entry->key.database != key->database && MyProc != NULL && mv_database_find(entry->key.database) == NULL);
}

/* A place for the key, whose partition is locked; or NULL. */
static UsageEntry *
put_in(const Place *place, const UsageKey *key)
{
	for (uint64 i = place->set * WAYS; i < (place->set + 1) * WAYS; i++)
		if (tags[i] == 0)
		{
			entries[i].key = *key;
			tags[i] = place->tag;
			return &entries[i];
		}
	for (uint64 i = place->set * WAYS; i < (place->set + 1) * WAYS; i++)
		if (is_lost(&entries[i], key))
		{
			UsageRow	lost;

			take_out(&entries[i], &lost);
			pg_atomic_fetch_add_u64(&usages->dropped, lost.counter[USAGE_CALLS]);
			entries[i].key = *key;
			tags[i] = place->tag;
			return &entries[i];
		}
	return NULL;
}

static inline void
add(UsageEntry *entry, UsageCounter counter, int64 n)
{
	if (n > 0)
		pg_atomic_fetch_add_u64(&entry->counter[counter], n);
}

static void
count(UsageEntry *entry, const MvUsage *usage)
{
	add(entry, USAGE_CALLS, 1);
	add(entry, USAGE_ERRORS, usage->status >= 400);
	add(entry, USAGE_REFUSED, usage->refused);
	add(entry, USAGE_SHADOWED, usage->shadow);
	add(entry, USAGE_BYTES_IN, Min(usage->bytes_in, MOST_BYTES));
	add(entry, USAGE_BYTES_OUT, Min(usage->bytes_out, MOST_BYTES));
	if (usage->duration_us >= 0)
	{
		add(entry, USAGE_DURATION, Min(usage->duration_us, MOST_DURATION));
		pg_atomic_fetch_add_u32(&entry->histogram[usage_bucket(usage->duration_us)], 1);
	}
}

static void
make_key(UsageKey *key, const MvUsage *usage)
{
	int			len = usage->operation_len;

	memset(key, 0, sizeof(*key));
	key->minute = ((usage->at != 0 ? usage->at : mv_now()) + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY) / USECS_PER_MINUTE;
	key->database = MyDatabaseId;
	key->status_class = Min(Max(usage->status / 100, 1), 5);
	if (usage->key_id != NULL)
		key->key_id = *usage->key_id;
	if (usage->user_id != NULL)
		key->user_id = *usage->user_id;
	if (len >= MV_OPERATION_LEN)
		len = pg_mbcliplen(usage->operation, len, MV_OPERATION_LEN - 1);
	memcpy(key->operation, usage->operation, len);
}

void
mv_usage_record(const MvUsage *usage)
{
	UsageKey	key;
	UsageEntry *entry;
	Place		place;
	LWLock	   *lock;

	if (usages == NULL || RecoveryInProgress())
		return;
	make_key(&key, usage);
	place = place_of(&key);
	lock = lock_of(place.set);

	LWLockAcquire(lock, LW_SHARED);
	entry = find(&place, &key);
	if (entry != NULL)
		count(entry, usage);
	LWLockRelease(lock);
	if (entry != NULL)
		return;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	entry = find(&place, &key);
	if (entry == NULL)
		entry = put_in(&place, &key);
	if (entry != NULL)
		count(entry, usage);
	else
		pg_atomic_fetch_add_u64(&usages->dropped, 1);
	LWLockRelease(lock);
}

int
usage_take(UsageRow *rows, int n, uint64 *from)
{
	int			taken = 0;

	for (; *from < usages->nsets && taken + WAYS <= n; (*from)++)
	{
		UsageEntry *set = &entries[*from * WAYS];
		bool		any = false;

		/* an entry that is put in meanwhile is found next time */
		for (int i = 0; i < WAYS; i++)
			any |= set[i].key.database == MyDatabaseId;
		if (!any)
			continue;
		LWLockAcquire(lock_of(*from), LW_EXCLUSIVE);
		for (int i = 0; i < WAYS; i++)
			if (set[i].key.database == MyDatabaseId)
				take_out(&set[i], &rows[taken++]);
		LWLockRelease(lock_of(*from));
	}
	return taken;
}

/* Adds to the entry of the row's key. In the postmaster nobody else lives, and no lock can be taken. */
static bool
add_row(const UsageRow *row, bool alone)
{
	Place		place = place_of(&row->key);
	UsageEntry *entry;

	if (!alone)
		LWLockAcquire(lock_of(place.set), LW_EXCLUSIVE);
	entry = find(&place, &row->key);
	if (entry == NULL)
		entry = put_in(&place, &row->key);
	for (int c = 0; entry != NULL && c < USAGE_COUNTERS; c++)
		add(entry, c, row->counter[c]);
	for (int b = 0; entry != NULL && b < USAGE_HISTOGRAM; b++)
		pg_atomic_fetch_add_u32(&entry->histogram[b], row->histogram[b]);
	if (!alone)
		LWLockRelease(lock_of(place.set));
	if (entry == NULL)
		pg_atomic_fetch_add_u64(&usages->dropped, row->counter[USAGE_CALLS]);
	return entry != NULL;
}

bool
usage_put_back(const UsageRow *row)
{
	return add_row(row, false);
}

/*
 * The state of the worker of this database; made when it isn't there, in the
 * place of a database that has no worker any more. Its lock is held.
 */
static WorkerState *
my_state(void)
{
	WorkerState *free = NULL;

	for (int i = 0; i < MV_MAX_DATABASES; i++)
	{
		if (usages->worker[i].database == MyDatabaseId)
			return &usages->worker[i];
		if (free == NULL && !OidIsValid(usages->worker[i].database))
			free = &usages->worker[i];
	}
	for (int i = 0; free == NULL && i < MV_MAX_DATABASES; i++)
		if (i == MV_MAX_DATABASES - 1 || mv_database_find(usages->worker[i].database) == NULL)
			free = &usages->worker[i];
	memset(free, 0, sizeof(*free));
	free->database = MyDatabaseId;
	return free;
}

void
usage_counts(UsageCounts *counts)
{
	LWLock	   *lock = &locks[PARTITIONS].lock;
	WorkerState *state;

	counts->room = usage_entries;
	counts->entries = 0;
	for (uint64 i = 0; i < usages->nsets * WAYS; i++)
		if (OidIsValid(entries[i].key.database))
			counts->entries++;
	counts->dropped = pg_atomic_read_u64(&usages->dropped);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	state = my_state();
	counts->flushed_rows = state->flushed_rows;
	counts->flushed_at = state->flushed_at;
	counts->flushes = state->flushes;
	counts->wanted = state->wanted;
	memcpy(counts->error, state->error, sizeof(counts->error));
	counts->error_at = state->error_at;
	LWLockRelease(lock);
}

void
usage_note_flush(int64 rows, int64 upto)
{
	LWLock	   *lock = &locks[PARTITIONS].lock;
	WorkerState *state;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	state = my_state();
	state->flushed_rows += rows;
	if (upto >= 0)
	{
		state->flushed_at = mv_now();
		state->flushes = Max(state->flushes, upto);
	}
	LWLockRelease(lock);
}

void
usage_note_error(const char *message)
{
	LWLock	   *lock = &locks[PARTITIONS].lock;
	WorkerState *state;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	state = my_state();
	strlcpy(state->error, message, sizeof(state->error));
	state->error_at = mv_now();
	LWLockRelease(lock);
}

int64
usage_want_flush(void)
{
	LWLock	   *lock = &locks[PARTITIONS].lock;
	int64		number;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	number = ++my_state()->wanted;
	LWLockRelease(lock);
	return number;
}

static void
save_usage(StringInfo out)
{
	for (uint64 i = 0; i < usages->nsets * WAYS; i++)
	{
		UsageRow	row = {0};

		if (!OidIsValid(entries[i].key.database))
			continue;
		if (!mv_state_has_room(out, sizeof(row)))
			return;
		row.key = entries[i].key;
		for (int c = 0; c < USAGE_COUNTERS; c++)
			row.counter[c] = pg_atomic_read_u64(&entries[i].counter[c]);
		for (int b = 0; b < USAGE_HISTOGRAM; b++)
			row.histogram[b] = pg_atomic_read_u32(&entries[i].histogram[b]);
		appendBinaryStringInfo(out, (char *) &row, sizeof(row));
	}
}

/* What save_usage() can have written */
static bool
is_sound(const UsageRow *row)
{
	TimestampTz minute = row->key.minute * USECS_PER_MINUTE - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;

	return OidIsValid(row->key.database) && row->key.status_class >= 1 && row->key.status_class <= 5 &&
		row->key.minute > 0 && row->key.minute < END_TIMESTAMP / USECS_PER_MINUTE && IS_VALID_TIMESTAMP(minute) &&
		memchr(row->key.operation, '\0', MV_OPERATION_LEN) != NULL;
}

static void
load_usage(const char *data, Size len, int64 age_us, bool clean)
{
	for (Size at = 0; clean && at + sizeof(UsageRow) <= len; at += sizeof(UsageRow))
	{
		UsageRow	row;

		memcpy(&row, data + at, sizeof(row));
		if (is_sound(&row))
			add_row(&row, true);
	}
}

void
mv_usage_init(void)
{
	static const MvSharedPart part = {"musicverse usage", PARTITIONS + 1, usages_size, usages_start};
	static const MvStateSection section = {"usage", 1, save_usage, load_usage};

	if (process_shared_preload_libraries_in_progress)
		DefineCustomIntVariable("musicverse.usage_entries", "Counters of usage in shared memory.",
								"Each counts one minute of one operation of a key, until it is written. Each takes 550 bytes.",
								&usage_entries, 16384, 64, 16 * 1024 * 1024, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.usage_flush_interval",
							"How often usage and quotas are written to the tables, and limits to the state file.",
							NULL, &mv_usage_flush_interval, 10000, 100, 3600 * 1000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomBoolVariable("musicverse.count_verifications", "Counts each call of verify_api_key() as usage.",
							 "The operation is the scope asked for, or \"verify\".",
							 &mv_count_verifications, true, PGC_SUSET, 0, NULL, NULL, NULL);
	mv_usage_worker_init();
	mv_shared_add(&part);
	mv_state_add(&section);
}

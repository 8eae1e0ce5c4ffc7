/*
 * Token buckets in shared memory. See bucket.h.
 *
 * A bucket is its id and one atomic number, the moment at which it will be
 * full again ("theoretical arrival time"), on a clock that never steps. Each
 * id has two sets of WAYS places where it may stand.
 *
 * A taking finds its place without a lock and moves the number by compare and
 * swap. Only a bucket that isn't there is put in under a lock, the partition's
 * of its id, so that it never stands twice. Its place is one whose number lies
 * in the past: such a bucket is full, which is what one that isn't there is.
 * The place is claimed by swapping BEING_CLAIMED for that number; ids change
 * only between that and the storing of a new number, which lies in the future
 * and so is greater than the one claimed. So a swap that was prepared for the
 * bucket before fails, and so does one that saw half of an id.
 *
 * Locks: one partition's, for a few memory accesses. Survives a restart by the
 * state file, as time left until full.
 */
#include "postgres.h"

#include <time.h>

#include "common/hashfn.h"
#include "core/shared.h"
#include "core/state.h"
#include "keys/bucket.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/guc.h"

#define WAYS			16
#define PARTITIONS		64
#define BEING_CLAIMED	PG_UINT64_MAX
#define ADMIT			1
#define CLOCK_BASE		(UINT64CONST(1) << 60)
#define LINE			64		/* of the processor's caches, or a part of one */
#define NS_PER_SECOND	UINT64CONST(1000000000)

typedef struct BucketSet
{
	pg_atomic_uint64 lo[WAYS];	/* 0 and 0 = never used */
	pg_atomic_uint64 hi[WAYS];
	pg_atomic_uint64 full_at[WAYS];
} BucketSet;

typedef struct Buckets
{
	uint64		seed[2];
	pg_atomic_uint64 no_room;
	pg_atomic_uint64 shadowed;
	uint64		nsets;
} Buckets;

/* What the state file holds of a bucket */
typedef struct SavedBucket
{
	MvBucketId	id;
	uint64		until_full;		/* nanoseconds */
} SavedBucket;

bool		mv_admit_when_full = true;
bool		mv_rate_limit_shadow = false;

static int	rate_limit_buckets = 65536;
static int	when_full = ADMIT;
static Buckets *buckets = NULL;
static BucketSet *sets;
static LWLockPadded *locks;

/* A quarter more, so that hardly any pair of sets is full before all are. */
static uint64
number_of_sets(void)
{
	return ((uint64) rate_limit_buckets * 5 / 4 + WAYS - 1) / WAYS + 1;
}

static Size
buckets_size(void)
{
	return add_size(PG_CACHE_LINE_SIZE * 2, mul_size(number_of_sets(), sizeof(BucketSet)));
}

static void
buckets_start(void *memory, LWLockPadded *tranche, bool fresh)
{
	StaticAssertStmt(sizeof(Buckets) <= PG_CACHE_LINE_SIZE, "the header has one line");
	buckets = memory;
	sets = (BucketSet *) TYPEALIGN(PG_CACHE_LINE_SIZE, (char *) memory + sizeof(Buckets));
	locks = tranche;
	if (!fresh)
		return;
	buckets->nsets = number_of_sets();
	pg_atomic_init_u64(&buckets->no_room, 0);
	pg_atomic_init_u64(&buckets->shadowed, 0);
	if (!pg_strong_random(buckets->seed, sizeof(buckets->seed)))
		elog(FATAL, "could not draw random numbers");
	for (uint64 s = 0; s < buckets->nsets; s++)
		for (int i = 0; i < WAYS; i++)
		{
			pg_atomic_init_u64(&sets[s].lo[i], 0);
			pg_atomic_init_u64(&sets[s].hi[i], 0);
			pg_atomic_init_u64(&sets[s].full_at[i], 0);
		}
}

/* Nanoseconds on a clock that only tests can step. */
static inline uint64
bucket_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	/* far ahead of itself, so that nothing is before 0 */
	return CLOCK_BASE + (uint64) now.tv_sec * NS_PER_SECOND + now.tv_nsec +
		pg_atomic_read_u64(&mv_shared->clock_offset) * 1000;
}

static inline void
both_sets(MvBucketId id, BucketSet *found[2])
{
	uint64		a = (uint64) (((unsigned __int128) id.lo * buckets->nsets) >> 64);
	uint64		b = (uint64) (((unsigned __int128) id.hi * buckets->nsets) >> 64);

	if (b == a)
		b = a + 1 < buckets->nsets ? a + 1 : 0;
	found[0] = &sets[a];
	found[1] = &sets[b];
}

void
mv_bucket_prefetch(MvBucketId id)
{
	BucketSet  *both[2];

	both_sets(id, both);
	for (int s = 0; s < 2; s++)
		for (int i = 0; i < WAYS; i += LINE / sizeof(uint64))
			__builtin_prefetch(&both[s]->lo[i]);
}

/*
 * The place with this id, or NULL. What it holds may be out of date at once.
 * One that is being claimed for another is none of it any more.
 */
static inline pg_atomic_uint64 *
find(MvBucketId id, BucketSet **set, int *way)
{
	BucketSet  *both[2];

	both_sets(id, both);
	for (int s = 0; s < 2; s++)
		for (int i = 0; i < WAYS; i++)
			if (pg_atomic_read_u64(&both[s]->lo[i]) == id.lo &&
				pg_atomic_read_u64(&both[s]->hi[i]) == id.hi &&
				pg_atomic_read_u64(&both[s]->full_at[i]) != BEING_CLAIMED)
			{
				*set = both[s];
				*way = i;
				return &both[s]->full_at[i];
			}
	return NULL;
}

/* Reads the number of a place that held the id; false when it no longer does. */
static inline bool
read_number(MvBucketId id, BucketSet *set, int way, uint64 *full_at)
{
	pg_read_barrier();
	*full_at = pg_atomic_read_u64(&set->full_at[way]);
	pg_read_barrier();
	return *full_at != BEING_CLAIMED &&
		pg_atomic_read_u64(&set->lo[way]) == id.lo && pg_atomic_read_u64(&set->hi[way]) == id.hi;
}

/*
 * Puts a bucket in that isn't there; the caller holds its partition's lock, or
 * is alone. False when all places are taken; *soonest is when one gets free.
 */
static bool
put_in(MvBucketId id, uint64 now, uint64 full_at, uint64 *soonest)
{
	BucketSet  *both[2];

	both_sets(id, both);
	*soonest = PG_UINT64_MAX;
	for (;;)
	{
		BucketSet  *into = NULL;
		int			way = 0;
		int			most = 0;
		uint64		seen = 0;

		/* into the emptier of the two */
		for (int s = 0; s < 2; s++)
		{
			int			room = 0;
			int			last = 0;
			uint64		last_seen = 0;

			for (int i = 0; i < WAYS; i++)
			{
				uint64		value = pg_atomic_read_u64(&both[s]->full_at[i]);

				if (value <= now)
				{
					room++;
					last = i;
					last_seen = value;
				}
				else
					*soonest = Min(*soonest, value);
			}
			if (room > most)
			{
				most = room;
				into = both[s];
				way = last;
				seen = last_seen;
			}
		}
		if (into == NULL)
			return false;
		if (pg_atomic_compare_exchange_u64(&into->full_at[way], &seen, BEING_CLAIMED))
		{
			pg_atomic_write_u64(&into->lo[way], id.lo);
			pg_atomic_write_u64(&into->hi[way], id.hi);
			pg_write_barrier();
			pg_atomic_write_u64(&into->full_at[way], full_at);
			return true;
		}
	}
}

/* What a taking makes of a bucket that will be full at a moment. */
typedef struct Taking
{
	uint64		now;
	uint64		whole;			/* an empty bucket takes so long to be full */
	uint64		step;			/* what the cost takes to be refilled */
	int64		capacity;
	double		ns_per_token;
} Taking;

/* As many tokens as can be taken at once of so much time: those whose step, rounded down, is no longer. */
static inline int64
tokens(const Taking *taking, uint64 left)
{
	double		n = (left + 0.999) / taking->ns_per_token;

	return n < taking->capacity ? (int64) n : taking->capacity;
}

/* True when it is allowed; *next is then the bucket's new number. */
static inline bool
judge(const Taking *taking, uint64 full_at, uint64 *next, MvBucketAnswer *answer)
{
	uint64		limit = taking->now + taking->whole;
	uint64		from = Max(full_at, taking->now);

	/* the limits may have been made tighter since, or the clock set back */
	if (from > limit)
		from = limit;
	*next = from + taking->step;
	answer->allowed = *next <= limit;
	if (answer->allowed)
	{
		answer->retry_ns = 0;
		answer->reset_ns = *next - taking->now;
		answer->remaining = tokens(taking, limit - *next);
	}
	else
	{
		answer->retry_ns = taking->step > taking->whole ? -1 : *next - limit;
		answer->reset_ns = from - taking->now;
		answer->remaining = tokens(taking, limit - from);
	}
	return answer->allowed;
}

/* The slow way, for buckets that aren't there or about to be replaced. True when done. */
static bool
take_anew(MvBucketId id, const Taking *taking, MvBucketAnswer *answer)
{
	LWLock	   *lock = &locks[id.lo % PARTITIONS].lock;
	BucketSet  *set;
	int			way;
	uint64		seen;
	uint64		next;
	uint64		soonest;
	bool		done = true;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (find(id, &set, &way) != NULL && read_number(id, set, way, &seen))
		done = false;			/* somebody was faster */
	else if (judge(taking, 0, &next, answer) && !put_in(id, taking->now, next, &soonest))
	{
		answer->no_room = true;
		answer->allowed = mv_admit_when_full;
		if (!answer->allowed)
		{
			answer->remaining = 0;
			answer->retry_ns = answer->reset_ns = soonest == PG_UINT64_MAX ? 1 : soonest - taking->now;
		}
		pg_atomic_fetch_add_u64(&buckets->no_room, 1);
	}
	LWLockRelease(lock);
	return done;
}

void
mv_bucket_take(MvBucketId id, int64 cost, int64 capacity, double ns_per_token, MvBucketAnswer *answer)
{
	Taking		taking;

	if (unlikely(buckets == NULL))
		mv_shared_require("rate limiting");
	mv_bucket_prefetch(id);
	taking.now = bucket_clock();
	taking.capacity = capacity;
	taking.ns_per_token = ns_per_token;
	/* rounded down, so that capacity many single tokens always fit */
	taking.whole = Max((uint64) (capacity * ns_per_token), 1);
	taking.step = cost == 0 ? 0 : Max((uint64) Min(cost * ns_per_token, (double) INT64CONST(4000000000000000000)), 1);
	answer->no_room = false;

	for (;;)
	{
		BucketSet  *set;
		int			way;
		uint64		full_at;
		uint64		next;
		pg_atomic_uint64 *number = find(id, &set, &way);

		if (number == NULL || !read_number(id, set, way, &full_at))
		{
			if (cost == 0)
				judge(&taking, 0, &next, answer);
			else if (!take_anew(id, &taking, answer))
				continue;
			return;
		}

		/*
		 * It can owe more than a whole bucket because the limits were made
		 * tighter; then it owes that much from here on. Or because others took
		 * of it since we looked at the clock: a later look tells. Who takes
		 * nothing changes nothing.
		 */
		if (unlikely(full_at > taking.now + taking.whole))
		{
			taking.now = bucket_clock();
			if (cost > 0 && full_at > taking.now + taking.whole &&
				!pg_atomic_compare_exchange_u64(number, &full_at, taking.now + taking.whole))
				continue;
		}
		if (!judge(&taking, full_at, &next, answer) || cost == 0 ||
			pg_atomic_compare_exchange_u64(number, &full_at, next))
			return;
	}
}

void
mv_bucket_give_back(MvBucketId id, int64 cost, double ns_per_token)
{
	uint64		step = (uint64) (cost * ns_per_token);
	BucketSet  *set;
	int			way;
	uint64		full_at;
	pg_atomic_uint64 *number;

	do
	{
		number = find(id, &set, &way);
		if (number == NULL || !read_number(id, set, way, &full_at))
			return;
	} while (!pg_atomic_compare_exchange_u64(number, &full_at, full_at > step ? full_at - step : 0));
}

MvBucketId
mv_bucket_id(MvBucketKind kind, const void *name, Size len)
{
	MvBucketId	id;
	uint64		salt = ((uint64) MyDatabaseId << 8 | kind) * UINT64CONST(0x9e3779b97f4a7c15);

	if (unlikely(buckets == NULL))
		mv_shared_require("rate limiting");
	id.lo = hash_bytes_extended(name, len, buckets->seed[0] ^ salt);
	id.hi = hash_bytes_extended(name, len, buckets->seed[1] ^ salt) | 1;
	return id;
}

void
mv_bucket_note_shadow(void)
{
	pg_atomic_fetch_add_u64(&buckets->shadowed, 1);
}

void
mv_bucket_counts(int64 *room, int64 *active, int64 *no_room, int64 *shadowed)
{
	uint64		now;

	mv_shared_require("rate_limit_status()");
	now = bucket_clock();
	*room = rate_limit_buckets;
	*active = 0;
	for (uint64 s = 0; s < buckets->nsets; s++)
		for (int i = 0; i < WAYS; i++)
			if (pg_atomic_read_u64(&sets[s].full_at[i]) > now)
				(*active)++;
	*no_room = pg_atomic_read_u64(&buckets->no_room);
	*shadowed = pg_atomic_read_u64(&buckets->shadowed);
}

/* Those that aren't full, as the time they need to be so. */
static void
save_buckets(StringInfo out)
{
	uint64		now = bucket_clock();

	appendBinaryStringInfo(out, (char *) buckets->seed, sizeof(buckets->seed));
	for (uint64 s = 0; s < buckets->nsets; s++)
		for (int i = 0; i < WAYS; i++)
		{
			SavedBucket saved;
			uint64		full_at;

			saved.id.lo = pg_atomic_read_u64(&sets[s].lo[i]);
			saved.id.hi = pg_atomic_read_u64(&sets[s].hi[i]);
			if (!read_number(saved.id, &sets[s], i, &full_at) || full_at <= now)
				continue;
			if (!mv_state_has_room(out, sizeof(saved)))
				return;
			saved.until_full = full_at - now;
			appendBinaryStringInfo(out, (char *) &saved, sizeof(saved));
		}
}

static void
load_buckets(const char *data, Size len, int64 age_us, bool clean)
{
	uint64		now = bucket_clock();
	uint64		age = (uint64) Min(age_us, PG_INT64_MAX / 1000) * 1000;

	if (len < sizeof(buckets->seed))
		return;
	memcpy(buckets->seed, data, sizeof(buckets->seed));
	for (Size at = sizeof(buckets->seed); at + sizeof(SavedBucket) <= len; at += sizeof(SavedBucket))
	{
		SavedBucket saved;
		uint64		soonest;
		BucketSet  *set;
		int			way;
		pg_atomic_uint64 *there;

		memcpy(&saved, data + at, sizeof(saved));
		if (saved.until_full <= age || saved.until_full > MV_BUCKET_MAX_NS)
			continue;
		/* one that moved while the file was written is in it twice: it owes the more */
		there = find(saved.id, &set, &way);
		if (there == NULL)
			put_in(saved.id, now, now + saved.until_full - age, &soonest);
		else
			pg_atomic_write_u64(there, Max(pg_atomic_read_u64(there), now + saved.until_full - age));
	}
}

static void
assign_when_full(int value, void *extra)
{
	mv_admit_when_full = value == ADMIT;
}

void
mv_bucket_init(void)
{
	static const struct config_enum_entry choices[] = {
		{"refuse", 0, false},
		{"admit", ADMIT, false},
		{NULL, 0, false}
	};
	static const MvSharedPart part = {"musicverse buckets", PARTITIONS, buckets_size, buckets_start};
	static const MvStateSection section = {"buckets", 1, save_buckets, load_buckets};

	if (process_shared_preload_libraries_in_progress)
		DefineCustomIntVariable("musicverse.rate_limit_buckets", "Rate limit buckets that can be in use at once.",
								"One that is full again needs no place. Each takes 30 bytes of shared memory.",
								&rate_limit_buckets, 65536, 128, 64 * 1024 * 1024, PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomEnumVariable("musicverse.rate_limit_when_full", "What becomes of calls that there is no room to count.",
							 "When every bucket or quota counter is in use: refuse or admit.",
							 &when_full, ADMIT, choices, PGC_SIGHUP, 0, NULL, assign_when_full, NULL);
	DefineCustomBoolVariable("musicverse.rate_limit_shadow", "Lets calls pass that a limit would refuse, and counts them.",
							 NULL, &mv_rate_limit_shadow, false, PGC_SUSET, 0, NULL, NULL, NULL);
	mv_shared_add(&part);
	mv_state_add(&section);
}

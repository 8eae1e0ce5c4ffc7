/*
 * Token buckets in shared memory, in their GCRA form: a bucket is the moment
 * at which it will be full again. One that is full holds no information, so
 * its place may be taken by another.
 */
#ifndef MV_BUCKET_H
#define MV_BUCKET_H

#include "postgres.h"

#include "utils/uuid.h"

/* 128 bits of a seeded hash of a bucket's name; seeds are drawn at every start of shared memory and kept in the state file */
typedef struct MvBucketId
{
	uint64		lo;
	uint64		hi;
} MvBucketId;

/* Who a bucket is for; part of its name */
typedef enum MvBucketKind
{
	MV_BUCKET_NAMED = 'n',		/* take_tokens() */
	MV_BUCKET_KEY = 'k',
	MV_BUCKET_USER = 'u',
	MV_BUCKET_ADDRESS = 'a',	/* calls without a key */
	MV_BUCKET_WRONG = 'w',		/* wrong keys of an address */
} MvBucketKind;

typedef struct MvBucketAnswer
{
	bool		allowed;
	bool		no_room;		/* the table is full of active buckets: the setting decided */
	int64		remaining;		/* tokens left, after the taking */
	int64		retry_ns;		/* until as many are there; 0 when allowed, -1 = never */
	int64		reset_ns;		/* until it is full again */
} MvBucketAnswer;

extern void mv_bucket_init(void);

/* musicverse.rate_limit_when_full: whether calls are admitted that there is no room to count */
extern bool mv_admit_when_full;

/* musicverse.rate_limit_shadow: limits only count what they would refuse */
extern bool mv_rate_limit_shadow;

/* No bucket takes longer than this to be full: 100 years */
#define MV_BUCKET_MAX_NS (UINT64CONST(3155760000) * 1000000000)

/* The id of a bucket of the current database. Takes no lock. */
extern MvBucketId mv_bucket_id(MvBucketKind kind, const void *name, Size len);

/* Asks for the memory that taking of the bucket will read, for those who have something else to do meanwhile. */
extern void mv_bucket_prefetch(MvBucketId id);

/*
 * Takes cost tokens of a bucket that holds capacity and is refilled by one
 * every ns_per_token nanoseconds; all or nothing, exact among concurrent
 * callers. With cost 0 it only looks. Takes a partition's lock only when the
 * bucket isn't there yet. Without shared memory raises 55000.
 */
extern void mv_bucket_take(MvBucketId id, int64 cost, int64 capacity, double ns_per_token, MvBucketAnswer *answer);

/* Gives back what a caller took whose call was then refused by another limit. */
extern void mv_bucket_give_back(MvBucketId id, int64 cost, double ns_per_token);

/* Counts a call that was let through by the shadow mode. */
extern void mv_bucket_note_shadow(void);

/* How many buckets can be in use, how many are, how often there was no room, how many calls passed by the shadow mode. */
extern void mv_bucket_counts(int64 *room, int64 *active, int64 *no_room, int64 *shadowed);

#endif							/* MV_BUCKET_H */

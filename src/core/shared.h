/*
 * Shared memory: what backends and workers tell each other.
 *
 * Locks: one LWLock a database entry (its workers, their rings, the pause
 * count) and one for the table of entries; taken in the order table, entry,
 * held for a few memory accesses, never across anything that can wait.
 * Counters are atomics, read without a lock.
 *
 * All of it is gone after a crash: nothing here is the only copy of a fact.
 */
#ifndef MV_SHARED_H
#define MV_SHARED_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/lwlock.h"
#include "utils/uuid.h"

#define MV_MAX_DATABASES	16
#define MV_MAX_SHARDS		16

#define MV_MAX_GATEWAYS		16

/* Every database has a place for each of its workers: first the shards' */
#define MV_PLACE_USAGE		MV_MAX_SHARDS
#define MV_PLACE_GENERATION (MV_PLACE_USAGE + 1)
#define MV_PLACE_DISTRIBUTION (MV_PLACE_GENERATION + 1)
#define MV_PLACE_MEDIA		(MV_PLACE_DISTRIBUTION + 1)
#define MV_PLACE_GATEWAY	(MV_PLACE_MEDIA + 1)
#define MV_PLACES			(MV_PLACE_GATEWAY + MV_MAX_GATEWAYS)

#define MV_RING_SIZE		1024	/* ranges a worker may lag behind before it rescans */
#define MV_ERROR_TEXT		160
#define MV_NUMBERED_DATABASES 64

/* Deliveries with lo <= seq < hi were committed; some may be someone else's. */
typedef struct MvRange
{
	int64		lo;
	int64		hi;
	int64		count;
	pg_uuid_t	first_id;		/* no delivery id of the range is smaller */
	bool		one_webhook;	/* all of them are for webhook_id */
	pg_uuid_t	webhook_id;
} MvRange;

typedef struct MvShard
{
	/* under the entry's lock */
	bool		standing_still; /* it runs, but may not send: a copy */
	uint32		head;			/* next to be read by the worker */
	uint32		tail;			/* next to be written */
	bool		overflow;		/* ranges were dropped: rescan from overflow_lo */
	int64		overflow_lo;
	pg_uuid_t	overflow_id;
	MvRange		ring[MV_RING_SIZE];
	char		last_error[MV_ERROR_TEXT];
	TimestampTz last_error_at;

	pg_atomic_uint64 enqueued;	/* committed for this shard since the worker's start */
	pg_atomic_uint64 recovered; /* found unsettled by the worker's scans */
	pg_atomic_uint64 settled;	/* delivered, given up or cancelled */
	pg_atomic_uint64 delivered;
	pg_atomic_uint64 failed;	/* given up */
	pg_atomic_uint64 attempts;
	pg_atomic_uint64 attempts_failed;
	pg_atomic_uint64 statements;	/* SQL statements run */
	pg_atomic_uint32 in_flight;
	pg_atomic_uint32 loaded;	/* deliveries held in memory */
	pg_atomic_uint32 waiting;	/* of them, those waiting for their time */
	pg_atomic_uint32 open_breakers;
	pg_atomic_uint64 oldest_pending;	/* created_at of the oldest known, 0 = none */
} MvShard;

/* Of one worker, under the entry's lock */
typedef struct MvPlace
{
	int			pid;			/* 0 = no worker runs */
	int			procno;			/* of the worker, for its latch */
	bool		no_extension;	/* it left because the extension isn't there */
	uint64		wakes;			/* by mv_wake_place_at_commit(): a latch may be reset elsewhere */
} MvPlace;

typedef struct MvDatabase
{
	LWLock	   *lock;
	Oid			oid;			/* InvalidOid = free entry */
	char		name[NAMEDATALEN];	/* under which musicverse.databases lists it */
	bool		first;			/* of musicverse.databases */
	int			shards;			/* how many workers share the webhooks */
	bool		wanted;			/* in musicverse.databases */
	bool		stop;			/* workers should leave */
	bool		wake;			/* the extension was created: don't wait longer */
	int			paused;			/* backends that need the database to themselves */
	pg_atomic_uint64 changes;	/* commits that changed what workers have read */
	pg_atomic_uint64 rescans;	/* commits after which they have to look through the tables */
	MvPlace		place[MV_PLACES];
	MvShard		shard[MV_MAX_SHARDS];
} MvDatabase;

/* What a backend's open transaction has taken numbers for: 0 = nothing */
typedef struct MvInDoubt
{
	Oid			database;
	pg_atomic_uint64 delivery_lo;	/* 1 while the first number isn't known yet */
	pg_atomic_uint64 position_lo;
} MvInDoubt;

typedef struct MvShared
{
	LWLock	   *lock;			/* the table of entries */
	int			launcher_pid;
	int			launcher_procno;
	pg_atomic_uint64 clock_offset;	/* microseconds, signed */
	pg_atomic_uint64 last_number;	/* see numbers.h */
	Oid			numbered[MV_NUMBERED_DATABASES];	/* whose tables it is known to be above */
	int			next_numbered;
	MvDatabase	database[MV_MAX_DATABASES];
	int			in_doubt_slots;
	MvInDoubt	in_doubt[FLEXIBLE_ARRAY_MEMBER];
} MvShared;

/* NULL when the library wasn't in shared_preload_libraries */
extern MvShared *mv_shared;

/* Hooks for the request and start-up of shared memory. Called from _PG_init. */
extern void mv_shared_init(void);

/*
 * A room's own piece of shared memory, with locks in a tranche of its name.
 * start() is told where it is, in every process and again after a crash, and
 * whether it has to be filled in; the memory is zeroed then. It runs under
 * AddinShmemInitLock.
 */
typedef struct MvSharedPart
{
	const char *name;
	int			locks;
	Size		(*size) (void);
	void		(*start) (void *memory, LWLockPadded *locks, bool fresh);
} MvSharedPart;

#define MV_MAX_PARTS 16

/* Adds a part; does nothing outside shared_preload_libraries. To be called from _PG_init. */
extern void mv_shared_add(const MvSharedPart *part);

/* Raises 55000 naming the function and shared_preload_libraries when mv_shared is NULL. */
extern void mv_shared_require(const char *what);

/*
 * The entry of a database, or NULL. Takes the table lock shared. An entry
 * stays where it is; check its oid under its own lock when that matters.
 */
extern MvDatabase *mv_database_find(Oid oid);

/* The same, made when missing; NULL when the table is full. Launcher only. */
extern MvDatabase *mv_database_add(Oid oid);

/* Sets the latch of a process by its number; harmless when it is gone. */
extern void mv_wake_process(int procno);

/* Wakes the launcher, and all workers of a database entry. */
extern void mv_wake_launcher(void);
extern void mv_wake_workers(MvDatabase *database);

/* This backend's place in in_doubt, or NULL without shared memory. */
extern MvInDoubt *mv_in_doubt(void);

/*
 * The lowest number that a transaction still open in this database may have
 * taken, PG_INT64_MAX when there is none. To be read before the snapshot that
 * is to be complete below it.
 */
extern int64 mv_lowest_delivery_in_doubt(Oid database);
extern int64 mv_lowest_position_in_doubt(Oid database);

/* Which worker owns a webhook. */
extern int	mv_shard_of(const pg_uuid_t *webhook_id, int shards);

/* Hands a committed range to the workers of this database and wakes them. */
extern void mv_publish_range(const MvRange *range);

#endif							/* MV_SHARED_H */

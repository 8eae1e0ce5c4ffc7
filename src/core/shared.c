/*
 * Shared memory: set-up and the small operations on it. See shared.h for the
 * locks and what each part means.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "core/compat.h"
#include "core/shared.h"
#include "core/state.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shmem.h"

#define TRANCHE "musicverse"

MvShared   *mv_shared = NULL;

static const MvSharedPart *parts[MV_MAX_PARTS];
static int	nparts = 0;

static shmem_request_hook_type prev_shmem_request = NULL;
static shmem_startup_hook_type prev_shmem_startup = NULL;

/* Every process number that can run a transaction. */
static int
in_doubt_slots(void)
{
	return MaxBackends + NUM_AUXILIARY_PROCS;
}

static Size
shared_size(void)
{
	return add_size(offsetof(MvShared, in_doubt), mul_size(in_doubt_slots(), sizeof(MvInDoubt)));
}

static void
shared_request(void)
{
	if (prev_shmem_request)
		prev_shmem_request();
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche(TRANCHE, 1 + MV_MAX_DATABASES);
	for (int i = 0; i < nparts; i++)
	{
		RequestAddinShmemSpace(parts[i]->size());
		if (parts[i]->locks > 0)
			RequestNamedLWLockTranche(parts[i]->name, parts[i]->locks);
	}
}

static void
start_part(const MvSharedPart *part)
{
	bool		found;
	Size		size = part->size();
	void	   *memory = ShmemInitStruct(part->name, size, &found);

	if (!found)
		memset(memory, 0, size);
	part->start(memory, part->locks > 0 ? GetNamedLWLockTranche(part->name) : NULL, !found);
}

static void
init_shard(MvShard *shard)
{
	pg_atomic_init_u64(&shard->enqueued, 0);
	pg_atomic_init_u64(&shard->recovered, 0);
	pg_atomic_init_u64(&shard->settled, 0);
	pg_atomic_init_u64(&shard->delivered, 0);
	pg_atomic_init_u64(&shard->failed, 0);
	pg_atomic_init_u64(&shard->attempts, 0);
	pg_atomic_init_u64(&shard->attempts_failed, 0);
	pg_atomic_init_u64(&shard->statements, 0);
	pg_atomic_init_u32(&shard->in_flight, 0);
	pg_atomic_init_u32(&shard->loaded, 0);
	pg_atomic_init_u32(&shard->waiting, 0);
	pg_atomic_init_u32(&shard->open_breakers, 0);
	pg_atomic_init_u64(&shard->oldest_pending, 0);
}

static void
shared_startup(void)
{
	bool		found;

	if (prev_shmem_startup)
		prev_shmem_startup();

	mv_shared = NULL;
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	mv_shared = ShmemInitStruct("musicverse", shared_size(), &found);
	if (!found)
	{
		LWLockPadded *locks = GetNamedLWLockTranche(TRANCHE);

		memset(mv_shared, 0, shared_size());
		mv_shared->lock = &locks[0].lock;
		mv_shared->launcher_procno = -1;
		pg_atomic_init_u64(&mv_shared->clock_offset, 0);
		pg_atomic_init_u64(&mv_shared->last_number, 0);
		for (int d = 0; d < MV_MAX_DATABASES; d++)
		{
			mv_shared->database[d].lock = &locks[1 + d].lock;
			pg_atomic_init_u64(&mv_shared->database[d].changes, 0);
			pg_atomic_init_u64(&mv_shared->database[d].rescans, 0);
			for (int s = 0; s < MV_MAX_SHARDS; s++)
				init_shard(&mv_shared->database[d].shard[s]);
		}
		mv_shared->in_doubt_slots = in_doubt_slots();
		for (int i = 0; i < mv_shared->in_doubt_slots; i++)
		{
			pg_atomic_init_u64(&mv_shared->in_doubt[i].delivery_lo, 0);
			pg_atomic_init_u64(&mv_shared->in_doubt[i].position_lo, 0);
		}
	}
	for (int i = 0; i < nparts; i++)
		start_part(parts[i]);
	LWLockRelease(AddinShmemInitLock);
	if (!IsUnderPostmaster)
		mv_state_start();
}

void
mv_shared_add(const MvSharedPart *part)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	Assert(nparts < MV_MAX_PARTS);
	parts[nparts++] = part;
}

void
mv_shared_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	prev_shmem_request = shmem_request_hook;
	shmem_request_hook = shared_request;
	prev_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = shared_startup;
}

void
mv_shared_require(const char *what)
{
	if (mv_shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s needs musicverse to be loaded at server start", what),
				 errhint("Set shared_preload_libraries = 'musicverse' and restart the server.")));
}

MvDatabase *
mv_database_find(Oid oid)
{
	MvDatabase *found = NULL;

	if (mv_shared == NULL)
		return NULL;
	LWLockAcquire(mv_shared->lock, LW_SHARED);
	for (int i = 0; i < MV_MAX_DATABASES; i++)
		if (mv_shared->database[i].oid == oid)
		{
			found = &mv_shared->database[i];
			break;
		}
	LWLockRelease(mv_shared->lock);
	return found;
}

/* Of the database that had the entry before. */
static void
forget_counters(MvShard *shard)
{
	pg_atomic_write_u64(&shard->delivered, 0);
	pg_atomic_write_u64(&shard->failed, 0);
	pg_atomic_write_u64(&shard->attempts, 0);
	pg_atomic_write_u64(&shard->attempts_failed, 0);
	pg_atomic_write_u64(&shard->statements, 0);
	shard->last_error[0] = '\0';
	shard->last_error_at = 0;
}

MvDatabase *
mv_database_add(Oid oid)
{
	MvDatabase *entry = mv_database_find(oid);

	if (entry != NULL)
		return entry;
	LWLockAcquire(mv_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < MV_MAX_DATABASES && entry == NULL; i++)
		if (!OidIsValid(mv_shared->database[i].oid))
		{
			entry = &mv_shared->database[i];
			entry->oid = oid;
			entry->shards = 0;
			entry->wanted = entry->stop = entry->wake = false;
			entry->paused = 0;
			for (int p = 0; p < MV_PLACES; p++)
				entry->place[p].no_extension = false;
			for (int s = 0; s < MV_MAX_SHARDS; s++)
				forget_counters(&entry->shard[s]);
		}
	LWLockRelease(mv_shared->lock);
	return entry;
}

void
mv_wake_process(int procno)
{
	if (procno >= 0)
		SetLatch(&ProcGlobal->allProcs[procno].procLatch);
}

void
mv_wake_launcher(void)
{
	if (mv_shared != NULL && mv_shared->launcher_pid != 0)
		mv_wake_process(mv_shared->launcher_procno);
}

void
mv_wake_workers(MvDatabase *database)
{
	int			procno[MV_PLACES];
	int			n = 0;

	LWLockAcquire(database->lock, LW_SHARED);
	for (int p = 0; p < MV_PLACES; p++)
		if (database->place[p].pid != 0)
			procno[n++] = database->place[p].procno;
	LWLockRelease(database->lock);
	while (n > 0)
		mv_wake_process(procno[--n]);
}

MvInDoubt *
mv_in_doubt(void)
{
	if (mv_shared == NULL || MyProcNumber >= mv_shared->in_doubt_slots)
		return NULL;
	return &mv_shared->in_doubt[MyProcNumber];
}

static int64
lowest_in_doubt(Oid database, bool positions)
{
	uint64		lowest = PG_INT64_MAX;

	/* What was written before a number was taken must be seen from here on */
	pg_memory_barrier();
	for (int i = 0; i < mv_shared->in_doubt_slots; i++)
	{
		MvInDoubt  *slot = &mv_shared->in_doubt[i];
		uint64		value = pg_atomic_read_u64(positions ? &slot->position_lo : &slot->delivery_lo);

		if (value != 0 && slot->database == database && value < lowest)
			lowest = value;
	}
	pg_memory_barrier();
	return (int64) lowest;
}

int64
mv_lowest_delivery_in_doubt(Oid database)
{
	return lowest_in_doubt(database, false);
}

int64
mv_lowest_position_in_doubt(Oid database)
{
	return lowest_in_doubt(database, true);
}

int
mv_shard_of(const pg_uuid_t *webhook_id, int shards)
{
	if (shards <= 1)
		return 0;
	return hash_bytes(webhook_id->data, UUID_LEN) % shards;
}

/* Appends to the worker's ring, or leaves a note that it must look for itself. */
static void
push_range(MvShard *shard, const MvRange *range)
{
	if (shard->tail - shard->head < MV_RING_SIZE)
	{
		shard->ring[shard->tail % MV_RING_SIZE] = *range;
		shard->tail++;
	}
	else
	{
		if (!shard->overflow || range->lo < shard->overflow_lo)
			shard->overflow_lo = range->lo;
		if (!shard->overflow || memcmp(&range->first_id, &shard->overflow_id, UUID_LEN) < 0)
			shard->overflow_id = range->first_id;
		shard->overflow = true;
	}
	pg_atomic_fetch_add_u64(&shard->enqueued, range->count);
}

void
mv_publish_range(const MvRange *range)
{
	MvDatabase *database = mv_database_find(MyDatabaseId);
	int			procno[MV_MAX_SHARDS];
	int			n = 0;

	if (database == NULL)
		return;
	LWLockAcquire(database->lock, LW_EXCLUSIVE);
	if (database->oid == MyDatabaseId)
	{
		int			only = range->one_webhook ? mv_shard_of(&range->webhook_id, database->shards) : -1;

		for (int s = 0; s < database->shards; s++)
		{
			MvShard    *shard = &database->shard[s];

			/* a worker that isn't there finds it in the table when it starts */
			if (database->place[s].pid == 0 || (only >= 0 && s != only))
				continue;
			push_range(shard, range);
			procno[n++] = database->place[s].procno;
		}
	}
	LWLockRelease(database->lock);
	while (n > 0)
		mv_wake_process(procno[--n]);
}

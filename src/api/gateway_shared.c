/*
 * What the gateway's workers tell everybody: a slot for each of them and
 * counters by operation, in shared memory, so that any of them can answer for
 * all. Gone after a crash, as counters of Prometheus may be.
 *
 * Locks: one LWLock for the slots, the chosen ports and the making of an
 * operation's entry; counters are atomics.
 */
#include "postgres.h"

#include "api/gateway_int.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"

GatewayShared *gateway_shared = NULL;

const int64 gateway_duration_ends[DURATION_BUCKETS] = {
	100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 1000000, 2500000, 10000000
};

static Size
size(void)
{
	return sizeof(GatewayShared);
}

static void
start(void *memory, LWLockPadded *locks, bool fresh)
{
	gateway_shared = memory;
	if (!fresh)
		return;
	gateway_shared->lock = &locks[0].lock;
	pg_atomic_init_u32(&gateway_shared->noperations, 0);
	for (int i = 0; i < MV_MAX_GATEWAYS; i++)
	{
		GatewaySlot *slot = &gateway_shared->slot[i];

		pg_atomic_init_u32(&slot->connections, 0);
		pg_atomic_init_u64(&slot->accepted, 0);
		pg_atomic_init_u64(&slot->refused, 0);
		pg_atomic_init_u64(&slot->timed_out, 0);
		pg_atomic_init_u64(&slot->requests, 0);
		pg_atomic_init_u64(&slot->errors, 0);
		pg_atomic_init_u64(&slot->bytes_in, 0);
		pg_atomic_init_u64(&slot->bytes_out, 0);
	}
	for (int i = 0; i < MAX_OPERATIONS; i++)
	{
		GatewayOperation *operation = &gateway_shared->operation[i];

		for (int c = 0; c < lengthof(operation->answers); c++)
			pg_atomic_init_u64(&operation->answers[c], 0);
		for (int b = 0; b <= DURATION_BUCKETS; b++)
			pg_atomic_init_u64(&operation->duration[b], 0);
		pg_atomic_init_u64(&operation->duration_us, 0);
	}
}

void
gateway_shared_init(void)
{
	static const MvSharedPart part = {"musicverse gateway", 1, size, start};

	mv_shared_add(&part);
}

static void
leave(int code, Datum arg)
{
	LWLockAcquire(gateway_shared->lock, LW_EXCLUSIVE);
	if (gateway.slot->pid == MyProcPid)
	{
		gateway.slot->pid = 0;
		gateway.slot->port = 0;
		gateway.slot->listen[0] = '\0';
		pg_atomic_write_u32(&gateway.slot->connections, 0);
	}
	LWLockRelease(gateway_shared->lock);
}

void
gateway_shared_attach(void)
{
	gateway.slot = &gateway_shared->slot[gateway.place - MV_PLACE_GATEWAY];
	LWLockAcquire(gateway_shared->lock, LW_EXCLUSIVE);
	gateway.slot->pid = MyProcPid;
	gateway.slot->database = MyDatabaseId;
	gateway.slot->started_at = GetCurrentTimestamp();
	gateway.slot->stopping = false;
	gateway.slot->port = 0;
	gateway.slot->listen[0] = '\0';
	pg_atomic_write_u32(&gateway.slot->connections, 0);
	LWLockRelease(gateway_shared->lock);
	before_shmem_exit(leave, (Datum) 0);
}

/* Finds the entry of a name, or makes it; where there is no room, the last one is everybody's. */
static GatewayOperation *
look_up(const char *name)
{
	GatewayOperation *found = NULL;
	uint32		n = pg_atomic_read_u32(&gateway_shared->noperations);

	pg_read_barrier();
	for (uint32 i = 0; i < n; i++)
		if (strncmp(gateway_shared->operation[i].name, name, MV_OPERATION_LEN - 1) == 0)
			return &gateway_shared->operation[i];
	LWLockAcquire(gateway_shared->lock, LW_EXCLUSIVE);
	for (n = 0; n < pg_atomic_read_u32(&gateway_shared->noperations) && found == NULL; n++)
		if (strncmp(gateway_shared->operation[n].name, name, MV_OPERATION_LEN - 1) == 0)
			found = &gateway_shared->operation[n];
	if (found == NULL)
	{
		found = &gateway_shared->operation[Min(n, MAX_OPERATIONS - 1)];
		if (n < MAX_OPERATIONS)
		{
			strlcpy(found->name, n == MAX_OPERATIONS - 1 ? "other" : name, MV_OPERATION_LEN);
			pg_write_barrier();
			pg_atomic_write_u32(&gateway_shared->noperations, n + 1);
		}
	}
	LWLockRelease(gateway_shared->lock);
	return found;
}

void
gateway_count(const char *name, int status, int64 duration_us)
{
	static GatewayOperation *seen[256];
	uint32		hash = hash_bytes((const unsigned char *) name, strlen(name)) % lengthof(seen);
	GatewayOperation *operation = seen[hash];
	int			bucket = 0;

	if (operation == NULL || strcmp(operation->name, name) != 0)
		operation = seen[hash] = look_up(name);
	while (bucket < DURATION_BUCKETS && duration_us > gateway_duration_ends[bucket])
		bucket++;
	pg_atomic_fetch_add_u64(&operation->answers[status >= 100 && status < 600 ? status / 100 : 0], 1);
	pg_atomic_fetch_add_u64(&operation->duration[bucket], 1);
	pg_atomic_fetch_add_u64(&operation->duration_us, Max(duration_us, 0));
	pg_atomic_fetch_add_u64(&gateway.slot->requests, 1);
	if (status >= 500)
		pg_atomic_fetch_add_u64(&gateway.slot->errors, 1);
}

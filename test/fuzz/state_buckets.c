/* The buckets of a state file: whatever it says, they hold what they may and are saved as they were read. */
#include "../../src/keys/bucket.c"

#include "fuzz.h"

static void
begin(void)
{
	static LWLockPadded tranche[PARTITIONS];
	static char *memory = NULL;

	rate_limit_buckets = 128;
	if (memory == NULL)
		memory = malloc(buckets_size());
	memset(memory, 0, buckets_size());
	buckets_start(memory, tranche, true);
}

static void
run_state(const char *data, size_t len)
{
	StringInfoData out;
	int64		room,
				before,
				after,
				other;
	MvBucketAnswer answer;

	begin();
	load_buckets(data, len, len % 3 * 1000, len % 2);
	mv_bucket_counts(&room, &before, &other, &other);
	initStringInfo(&out);
	save_buckets(&out);
	must(out.len <= sizeof(buckets->seed) + before * sizeof(SavedBucket));
	begin();
	load_buckets(out.data, out.len, 0, true);
	mv_bucket_counts(&room, &after, &other, &other);
	must(after <= before);

	/* and a bucket of every kind of limits can be taken of */
	if (len >= 2 * sizeof(uint64))
	{
		MvBucketId	id;
		uint32		cost;

		memcpy(&id, data, sizeof(id));
		memcpy(&cost, data + len - sizeof(cost), sizeof(cost));
		mv_bucket_take(id, cost % PG_INT32_MAX, 1 + cost % 1000, 1e9 / (1 + (unsigned char) data[0]), &answer);
		must(answer.remaining >= 0 && answer.remaining <= 1 + cost % 1000);
		must(answer.allowed ? answer.retry_ns == 0 : answer.retry_ns != 0);
		if (!answer.no_room)
			mv_bucket_give_back(id, cost % PG_INT32_MAX, 1e9 / (1 + (unsigned char) data[0]));
		mv_bucket_take(id, 1, 1, MV_BUCKET_MAX_NS, &answer);
		mv_bucket_take(id, 1, PG_INT32_MAX, 1e-300, &answer);
		must(answer.remaining >= 0 && answer.remaining <= PG_INT32_MAX);
	}
}

static const char *const words[] = {"\1", "\xff\xff\xff\xff\xff\xff\xff\xff", "\xff\xff\xff\xff\xff\xff\xff\x2b", "0123456789abcdef", "0123456789abcdef01234567", NULL};

const FuzzTarget state_buckets_targets[] = {
	{"state_buckets", run_state, words},
	{0}
};

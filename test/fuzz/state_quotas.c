/* The quotas of a state file: what is taken over is what could have been counted, and each user once. */
#include "../../src/keys/quota.c"

#include "fuzz.h"

static void
begin(void)
{
	static LWLockPadded tranche[PARTITIONS];
	static char *memory = NULL;

	quota_entries = 128;
	if (memory == NULL)
		memory = malloc(quotas_size());
	memset(memory, 0, quotas_size());
	quotas_start(memory, tranche, true);
}

static void
run_state(const char *data, size_t len)
{
	StringInfoData out;
	QuotaRow   *rows = malloc(WAYS * sizeof(QuotaRow));
	char	   *copy = palloc(len + 1);
	uint64		from = 0;
	int			gathered;

	memcpy(copy, data, len);
	for (size_t at = 0; at + sizeof(SavedQuota) <= len && len % 2 == 0; at += sizeof(SavedQuota))
	{
		SavedQuota	saved;

		memcpy(&saved, copy + at, sizeof(saved));
		saved.database = MyDatabaseId;
		saved.start[MV_DAY] &= 0xffff;
		saved.start[MV_MONTH] &= 0xffff;
		saved.used[MV_DAY] &= PG_INT64_MAX;
		saved.used[MV_MONTH] &= PG_INT64_MAX;
		memcpy(copy + at, &saved, sizeof(saved));
	}
	begin();
	load_quotas(copy, len, 0, true);
	initStringInfo(&out);
	save_quotas(&out);
	must(out.len % sizeof(SavedQuota) == 0 && out.len <= len);
	while ((gathered = quota_gather(rows, WAYS, &from)) > 0)
		for (int i = 0; i < gathered; i++)
		{
			Place		place = place_of(MyDatabaseId, &rows[i].user_id);
			int			times = 0;

			for (int w = 0; w < WAYS; w++)
				times += entries[place.first + w].database == MyDatabaseId &&
					memcmp(&entries[place.first + w].user_id, &rows[i].user_id, UUID_LEN) == 0;
			must(times == 1);
			must(rows[i].used[MV_DAY] <= PG_INT64_MAX && IS_VALID_DATE(rows[i].start[MV_MONTH]));
			quota_written(&rows[i]);
		}
	free(rows);
}

static const char *const words[] = {"\1", "\xff\xff\xff\xff\xff\xff\xff\x7f", "0123456789abcdef", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", NULL};

const FuzzTarget state_quotas_targets[] = {
	{"state_quotas", run_state, words},
	{0}
};

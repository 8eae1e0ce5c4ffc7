/* The usage of a state file: what is taken over is what could have been counted. */
#include "../../src/keys/usage.c"

#include "fuzz.h"

static void
begin(void)
{
	static LWLockPadded tranche[PARTITIONS + 1];
	static char *memory = NULL;

	usage_entries = 64;
	if (memory == NULL)
		memory = malloc(usages_size());
	memset(memory, 0, usages_size());
	usages_start(memory, tranche, true);
}

static void
run_state(const char *data, size_t len)
{
	StringInfoData out;
	UsageRow   *rows = malloc(2 * WAYS * sizeof(UsageRow));
	char	   *copy = palloc(len + 1);
	uint64		from = 0;
	int			taken;

	/* as it would look, with fields of these bytes */
	memcpy(copy, data, len);
	for (size_t at = 0; at + sizeof(UsageRow) <= len && len % 2 == 0; at += sizeof(UsageRow))
	{
		UsageRow   *row = (UsageRow *) rows;

		memcpy(row, copy + at, sizeof(UsageRow));
		row->key.minute &= 0x3ffffff;
		row->key.database = MyDatabaseId;
		row->key.status_class = 1 + (row->key.status_class & 3);
		row->key.operation[MV_OPERATION_LEN - 1] = '\0';
		memcpy(copy + at, row, sizeof(UsageRow));
	}
	begin();
	load_usage(copy, len, 0, true);
	initStringInfo(&out);
	save_usage(&out);
	must(out.len % sizeof(UsageRow) == 0 && out.len <= len);
	while ((taken = usage_take(rows, 2 * WAYS, &from)) > 0)
		for (int i = 0; i < taken; i++)
		{
			must(strlen(rows[i].key.operation) < MV_OPERATION_LEN);
			for (int c = 0; c < USAGE_COUNTERS; c++)
				must(rows[i].counter[c] >= 0);
			usage_put_back(&rows[i]);
		}
	for (int b = 0; b < USAGE_HISTOGRAM; b++)
		must(usage_bucket((int64) usage_bucket_end(b) - 1) <= b + 1);
	free(rows);
}

static const char *const words[] = {"\1", "GET /tracks", "\xff\xff\xff\xff\xff\xff\xff\x7f", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", NULL};

const FuzzTarget state_usage_targets[] = {
	{"state_usage", run_state, words},
	{0}
};

/*
 * The ledger quota_usage: what the usage worker wrote of the quotas last. See
 * quota.h and quota_int.h.
 *
 * The worker alone writes it, in batches, with what is the greater of its count
 * and what stands there; a period that is over gives way to the next one. Who
 * calls reads it by a direct index scan, which works in read-only transactions
 * and in recovery and needs no rights of the caller.
 *
 * A period beyond the next one was written while the clock was wrong: its count
 * is taken for that of now, and it gives way as well.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "core/catalog.h"
#include "core/compat.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "keys/quota_int.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define FLUSH_BATCH 1000

/* What was sent to the ledger and counts as written once that is committed */
static QuotaRow *sent = NULL;
static int	nsent = 0;
static uint64 next_set = 0;

void
quota_read_ledger(const pg_uuid_t *user_id, const DateADT start[MV_PERIODS], const DateADT next[MV_PERIODS],
				  uint64 used[MV_PERIODS], uint64 written[MV_PERIODS])
{
	const MvCatalog *catalog = mv_catalog();
	Relation	table = table_open(catalog->quota_usage, AccessShareLock);
	Relation	index = index_open(catalog->quota_usage_pkey, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(table, NULL);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	IndexScanDesc scan = mv_index_beginscan(table, index, snapshot, 1);
	TupleDesc	desc = RelationGetDescr(table);
	ScanKeyData key;

	for (int p = 0; p < MV_PERIODS; p++)
	{
		used[p] = 0;
		written[p] = PG_UINT64_MAX;
	}
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(user_id));
	index_rescan(scan, &key, 1, NULL, 0);
	while (index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;
		char	   *name = TextDatumGetCString(slot_getattr(slot, mv_attnum(desc, "period"), &isnull));
		MvPeriod	period = strcmp(name, "day") == 0 ? MV_DAY : MV_MONTH;
		DateADT		starts_on = DatumGetDateADT(slot_getattr(slot, mv_attnum(desc, "starts_on"), &isnull));

		if (starts_on != start[period] && starts_on <= next[period])
			continue;
		used[period] = DatumGetInt64(slot_getattr(slot, mv_attnum(desc, "used"), &isnull));
		if (starts_on == start[period])
			written[period] = used[period];
	}
	index_endscan(scan);
	UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, AccessShareLock);
	table_close(table, AccessShareLock);
}

bool
mv_quota_gather(bool first)
{
	if (first)
		next_set = 0;
	if (sent == NULL)
		sent = MemoryContextAlloc(TopMemoryContext, FLUSH_BATCH * sizeof(QuotaRow));
	nsent = quota_gather(sent, FLUSH_BATCH, &next_set);
	return nsent > 0;
}

static Datum
array_of(Datum *values, int n, Oid type, int len, bool byval, char align)
{
	return PointerGetDatum(construct_array(values, n, type, len, byval, align));
}

void
mv_quota_flush(void)
{
	static const char *const names[] = {[MV_DAY] = "day", [MV_MONTH] = "month"};
	int			n = nsent * MV_PERIODS;
	Datum	   *users = palloc(n * sizeof(Datum));
	Datum	   *periods = palloc(n * sizeof(Datum));
	Datum	   *starts = palloc(n * sizeof(Datum));
	Datum	   *used = palloc(n * sizeof(Datum));
	Oid			types[4] = {UUIDARRAYOID, TEXTARRAYOID, DATEARRAYOID, INT8ARRAYOID};
	Datum		values[4];

	for (int i = 0; i < n; i++)
	{
		QuotaRow   *from = &sent[i / MV_PERIODS];
		int			p = i % MV_PERIODS;

		users[i] = UUIDPGetDatum(&from->user_id);
		periods[i] = CStringGetTextDatum(names[p]);
		starts[i] = DateADTGetDatum(from->start[p]);
		used[i] = Int64GetDatum((int64) Min(from->used[p], PG_INT64_MAX));
	}
	values[0] = array_of(users, n, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR);
	values[1] = array_of(periods, n, TEXTOID, -1, false, TYPALIGN_INT);
	values[2] = array_of(starts, n, DATEOID, sizeof(DateADT), true, TYPALIGN_INT);
	values[3] = array_of(used, n, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
	if (SPI_execute_with_args(
							  "insert into musicverse.quota_usage as q (user_id, period, starts_on, used)"
							  " select u.user_id, u.period, u.starts_on, u.used"
							  " from unnest($1, $2, $3, $4) as u (user_id, period, starts_on, used)"
							  " join musicverse.accounts a using (user_id) order by u.user_id, u.period for key share of a"
							  " on conflict (user_id, period) do update"
							  " set used = case when q.starts_on = excluded.starts_on then greatest(q.used, excluded.used)"
							  " else excluded.used end,"
							  " starts_on = excluded.starts_on, updated_at = musicverse._now()"
							  " where q.starts_on <= excluded.starts_on"
							  " or q.starts_on > excluded.starts_on + case q.period when 'day' then 1 else 31 end",
							  4, types, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write quotas");
}

void
mv_quota_flushed(void)
{
	for (int i = 0; i < nsent; i++)
		quota_written(&sent[i]);
	nsent = 0;
}

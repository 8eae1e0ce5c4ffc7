/*
 * Reads keys, accounts and tiers for the cache. See load.h.
 *
 * Direct index scans: they work in read-only transactions and in recovery,
 * need no rights of the caller, and cost a tenth of what SPI does.
 */
#include "postgres.h"

#include <sys/socket.h>

#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "core/catalog.h"
#include "core/compat.h"
#include "keys/bucket.h"
#include "keys/load.h"
#include "keys/quota.h"
#include "keys/rate.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define FIRST_TIER "free"		/* the default of accounts.tier */

/* One row found by a unique index */
typedef struct Row
{
	Relation	table;
	Relation	index;
	Snapshot	snapshot;
	IndexScanDesc scan;
	TupleTableSlot *slot;
	bool		found;
} Row;

static void
find_row(Row *row, Oid table, Oid index, RegProcedure equal, Datum value)
{
	ScanKeyData key;

	row->table = table_open(table, AccessShareLock);
	row->index = index_open(index, AccessShareLock);
	row->snapshot = RegisterSnapshot(GetLatestSnapshot());
	row->slot = table_slot_create(row->table, NULL);
	ScanKeyEntryInitialize(&key, 0, 1, BTEqualStrategyNumber, InvalidOid, row->index->rd_indcollation[0], equal, value);
	row->scan = mv_index_beginscan(row->table, row->index, row->snapshot, 1);
	index_rescan(row->scan, &key, 1, NULL, 0);
	row->found = index_getnext_slot(row->scan, ForwardScanDirection, row->slot);
}

static Datum
column(Row *row, const char *name, bool *isnull)
{
	return slot_getattr(row->slot, mv_attnum(RelationGetDescr(row->table), name), isnull);
}

static void
end_row(Row *row)
{
	index_endscan(row->scan);
	ExecDropSingleTupleTableSlot(row->slot);
	UnregisterSnapshot(row->snapshot);
	index_close(row->index, AccessShareLock);
	table_close(row->table, AccessShareLock);
}

static TimestampTz
moment(Row *row, const char *name, TimestampTz otherwise)
{
	bool		isnull;
	Datum		value = column(row, name, &isnull);

	return isnull ? otherwise : DatumGetTimestampTz(value);
}

/* The constraints of the table promise that they fit; a row that got round them allows nothing. */
static void
take_cidrs(Row *row, MvKey *key)
{
	bool		isnull;
	Datum		value = column(row, "allowed_cidrs", &isnull);
	Datum	   *cidrs;
	bool	   *nulls;
	int			n;

	key->ncidrs = -1;
	if (isnull)
		return;
	key->ncidrs = 0;
	deconstruct_array(DatumGetArrayTypeP(value), CIDROID, -1, false, TYPALIGN_INT, &cidrs, &nulls, &n);
	for (int i = 0; i < n && i < MV_MAX_CIDRS; i++)
	{
		MvCidr	   *to = &key->cidrs[key->ncidrs];
		inet	   *from;

		if (nulls[i])
			continue;
		from = DatumGetInetPP(cidrs[i]);
		to->family = ip_family(from);
		to->bits = ip_bits(from);
		memcpy(to->addr, ip_addr(from), ip_addrsize(from));
		key->ncidrs++;
	}
}

static void
take_scopes(Row *row, MvKey *key)
{
	bool		isnull;
	Datum		value = column(row, "scopes", &isnull);
	Datum	   *scopes;
	bool	   *nulls;
	int			n;

	key->scopes_len = 0;
	if (isnull)
		return;
	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT, &scopes, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		text	   *scope = nulls[i] ? cstring_to_text("") : DatumGetTextPP(scopes[i]);
		int			len = VARSIZE_ANY_EXHDR(scope);

		if (key->scopes_len + len + 1 > MV_SCOPES_LEN)
			break;
		memcpy(key->scopes + key->scopes_len, VARDATA_ANY(scope), len);
		key->scopes_len += len;
		key->scopes[key->scopes_len++] = '\0';
	}
	if (n > 0 && key->scopes_len == 0)
		key->scopes[key->scopes_len++] = '\0';
}

bool
mv_load_key(const unsigned char hash[MV_HASH_LEN], MvKey *key)
{
	const MvCatalog *catalog = mv_catalog();
	char		hex[2 * MV_HASH_LEN];
	Row			row;
	bool		isnull;

	hex_encode((const char *) hash, MV_HASH_LEN, hex);
	find_row(&row, catalog->api_keys, catalog->api_keys_hash_idx, F_TEXTEQ,
			 PointerGetDatum(cstring_to_text_with_len(hex, sizeof(hex))));
	if (row.found)
	{
		key->is_user = false;
		key->key_id = *DatumGetUUIDP(column(&row, "id", &isnull));
		key->user_id = *DatumGetUUIDP(column(&row, "user_id", &isnull));
		key->needs_signature = DatumGetBool(column(&row, "require_signature", &isnull));
		key->expires_at = moment(&row, "expires_at", DT_NOEND);
		key->revoked_at = DT_NOEND;
		column(&row, "revoked_at", &isnull);
		if (!isnull)
			key->revoked_at = moment(&row, "works_until", DT_NOBEGIN);
		take_cidrs(&row, key);
		take_scopes(&row, key);
	}
	end_row(&row);
	return row.found;
}

static int64
quota(Row *row, const char *name)
{
	bool		isnull;
	Datum		value = column(row, name, &isnull);

	return isnull ? -1 : DatumGetInt64(value);
}

/* The tier of a user's account; the account's default when it has none yet. */
static text *
load_tier(const pg_uuid_t *user_id)
{
	const MvCatalog *catalog = mv_catalog();
	text	   *tier;
	Row			row;
	bool		isnull;

	find_row(&row, catalog->accounts, catalog->accounts_pkey, F_UUID_EQ, UUIDPGetDatum(user_id));
	tier = row.found ? DatumGetTextPCopy(column(&row, "tier", &isnull)) : cstring_to_text(FIRST_TIER);
	end_row(&row);
	return tier;
}

void
mv_load_limits(const pg_uuid_t *user_id, MvKey *key)
{
	const MvCatalog *catalog = mv_catalog();
	text	   *tier = load_tier(user_id);
	Row			row;
	bool		isnull;

	/* between two looks the account may have left the tier, and the tier have been deleted */
	for (;;)
	{
		text	   *gone;

		find_row(&row, catalog->tiers, catalog->tiers_pkey, F_TEXTEQ, PointerGetDatum(tier));
		if (row.found)
			break;
		end_row(&row);
		gone = tier;
		tier = load_tier(user_id);
		if (VARSIZE_ANY_EXHDR(gone) == VARSIZE_ANY_EXHDR(tier) &&
			memcmp(VARDATA_ANY(gone), VARDATA_ANY(tier), VARSIZE_ANY_EXHDR(tier)) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("there is no tier \"%s\"", text_to_cstring(tier)),
					 errhint("New accounts have it: insert it into musicverse.tiers.")));
	}
	text_to_cstring_buffer(tier, key->tier, sizeof(key->tier));
	key->burst = DatumGetInt32(column(&row, "burst", &isnull));
	key->ns_per_token = mv_ns_per_token_safe(DatumGetNumeric(column(&row, "refill_per_second", &isnull)), key->burst);
	if (key->ns_per_token <= 0)
		key->ns_per_token = (double) MV_BUCKET_MAX_NS / key->burst;
	key->quota[MV_DAY] = quota(&row, "daily_quota");
	key->quota[MV_MONTH] = quota(&row, "monthly_quota");
	key->by_user = strcmp(text_to_cstring(DatumGetTextPP(column(&row, "limit_by", &isnull))), "user") == 0;
	end_row(&row);
}

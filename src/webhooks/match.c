/*
 * Which webhooks of a user want an event: a cache of subscriptions in each
 * backend, one entry a user, also for users who have none. It is thrown away
 * whole when the table of webhooks changes, which is rare beside events, and
 * when it has grown to MAX_USERS.
 *
 * A miss is one index scan by hand: a statement would cost more than the event.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "core/catalog.h"
#include "core/compat.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "webhooks/match.h"

PG_FUNCTION_INFO_V1(musicverse_matches_event);
PG_FUNCTION_INFO_V1(musicverse_filter_matches);

#define MAX_USERS 50000

#define SH_PREFIX subs
#define SH_ELEMENT_TYPE MvSubscriptions
#define SH_KEY_TYPE pg_uuid_t
#define SH_KEY user_id
#define SH_HASH_KEY(tb, key) hash_bytes((key).data, UUID_LEN)
#define SH_EQUAL(tb, a, b) (memcmp((a).data, (b).data, UUID_LEN) == 0)
#define SH_SCOPE static inline
#define SH_DEFINE
#define SH_DECLARE
#include "lib/simplehash.h"

static MemoryContext cache_context = NULL;
static subs_hash *cache = NULL;
static uint64 cache_generation = 0;

MvPattern
mv_pattern(char *text, int len)
{
	MvPattern	pattern = {text, len, false};

	if (len == 1 && text[0] == '*')
	{
		pattern.len = 0;
		pattern.prefix = true;
	}
	else if (len > 2 && text[len - 1] == '*' && text[len - 2] == '.')
	{
		pattern.len = len - 1;
		pattern.prefix = true;
	}
	return pattern;
}

bool
mv_pattern_matches(const MvPattern *pattern, const char *type, int type_len)
{
	if (pattern->prefix ? type_len < pattern->len : type_len != pattern->len)
		return false;
	return memcmp(pattern->text, type, pattern->len) == 0;
}

/* The first item that the path yields, or NULL for none or an error in it. */
static Jsonb *
first_item(JsonPath *path, Jsonb *body)
{
	LOCAL_FCINFO(fcinfo, 4);
	Datum		result;
	Jsonb	   *no_variables = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));

	InitFunctionCallInfoData(*fcinfo, NULL, 4, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = JsonbPGetDatum(body);
	fcinfo->args[1].value = PointerGetDatum(path);
	fcinfo->args[2].value = JsonbPGetDatum(no_variables);
	fcinfo->args[3].value = BoolGetDatum(true);
	for (int i = 0; i < 4; i++)
		fcinfo->args[i].isnull = false;
	result = jsonb_path_query_first(fcinfo);
	return fcinfo->isnull ? NULL : DatumGetJsonbP(result);
}

bool
mv_filter_matches(JsonPath *filter, Jsonb *body)
{
	Jsonb	   *item = first_item(filter, body);
	JsonbValue	scalar;

	if (item == NULL)
		return false;
	if (!JB_ROOT_IS_SCALAR(item))
		return true;
	if (!JsonbExtractScalar(&item->root, &scalar))
		return true;
	if (scalar.type == jbvBool)
		return scalar.val.boolean;
	return scalar.type != jbvNull;
}

int64
mv_ordering_hash(JsonPath *path, Jsonb *body)
{
	Jsonb	   *item = first_item(path, body);
	char	   *text;
	int64		hash;

	if (item == NULL)
		return 0;
	text = JsonbToCString(NULL, &item->root, VARSIZE(item));
	if (strcmp(text, "null") == 0)
		return 0;
	hash = (int64) hash_bytes_extended((unsigned char *) text, strlen(text), 0);
	return hash == 0 ? 1 : hash;
}

/* Copies the row's part that matters into the cache's memory. */
static void
read_subscription(TupleTableSlot *slot, TupleDesc desc, MvSubscription *out)
{
	bool		isnull;
	Datum	   *elements;
	int			nelements;
	Datum		value;

	value = slot_getattr(slot, mv_attnum(desc, "id"), &isnull);
	out->webhook_id = *DatumGetUUIDP(value);

	value = slot_getattr(slot, mv_attnum(desc, "events"), &isnull);
	deconstruct_array(DatumGetArrayTypePCopy(value), TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, NULL, &nelements);
	out->patterns = palloc(sizeof(MvPattern) * Max(nelements, 1));
	out->npatterns = nelements;
	for (int i = 0; i < nelements; i++)
	{
		char	   *name = TextDatumGetCString(elements[i]);

		out->patterns[i] = mv_pattern(name, strlen(name));
	}

	value = slot_getattr(slot, mv_attnum(desc, "filter"), &isnull);
	out->filter = isnull ? NULL : DatumGetJsonPathPCopy(value);
	value = slot_getattr(slot, mv_attnum(desc, "ordering_key"), &isnull);
	out->ordering_key = isnull ? NULL : DatumGetJsonPathPCopy(value);
}

static void
load_user(MvSubscriptions *entry)
{
	const MvCatalog *catalog = mv_catalog();
	Relation	table = table_open(catalog->endpoints, AccessShareLock);
	Relation	index = relation_open(catalog->endpoints_user_idx, AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(table, NULL);
	ScanKeyData key;
	IndexScanDesc scan;
	int			room = 0;

	entry->list = NULL;
	entry->count = 0;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(&entry->user_id));
	scan = mv_index_beginscan(table, index, snapshot, 1);
	index_rescan(scan, &key, 1, NULL, 0);
	while (index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		MemoryContext old = MemoryContextSwitchTo(cache_context);

		if (entry->count == room)
		{
			room = room == 0 ? 2 : room * 2;
			entry->list = entry->list == NULL ? palloc(room * sizeof(MvSubscription)) :
				repalloc(entry->list, room * sizeof(MvSubscription));
		}
		read_subscription(slot, RelationGetDescr(table), &entry->list[entry->count++]);
		MemoryContextSwitchTo(old);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	relation_close(index, AccessShareLock);
	table_close(table, AccessShareLock);
}

const MvSubscriptions *
mv_subscriptions(const pg_uuid_t *user_id)
{
	MvSubscriptions *entry;
	bool		found;

	/* a transaction that has all its locks already would not hear of changes */
	AcceptInvalidationMessages();
	if (cache == NULL || cache_generation != mv_endpoints_generation || cache->members >= MAX_USERS)
	{
		if (cache_context == NULL)
			cache_context = AllocSetContextCreate(TopMemoryContext, "musicverse subscriptions", ALLOCSET_DEFAULT_SIZES);
		else
			MemoryContextReset(cache_context);
		cache = NULL;
		cache = subs_create(cache_context, 256, NULL);
		cache_generation = mv_endpoints_generation;
	}

	entry = subs_lookup(cache, *user_id);
	if (entry != NULL)
		return entry;
	else
	{
		/* loaded aside: an error within must leave no half entry behind */
		MvSubscriptions loaded = {.user_id = *user_id};

		load_user(&loaded);
		entry = subs_insert(cache, *user_id, &found);
		entry->list = loaded.list;
		entry->count = loaded.count;
	}
	return entry;
}

/* _matches_event(patterns text[], event_type text) */
Datum
musicverse_matches_event(PG_FUNCTION_ARGS)
{
	text	   *type = PG_GETARG_TEXT_PP(1);
	Datum	   *elements;
	bool	   *nulls;
	int			nelements;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &nelements);
	for (int i = 0; i < nelements; i++)
	{
		MvPattern	pattern;

		if (nulls[i])
			continue;
		pattern = mv_pattern(VARDATA_ANY(DatumGetTextPP(elements[i])), VARSIZE_ANY_EXHDR(DatumGetTextPP(elements[i])));
		if (mv_pattern_matches(&pattern, VARDATA_ANY(type), VARSIZE_ANY_EXHDR(type)))
			PG_RETURN_BOOL(true);
	}
	PG_RETURN_BOOL(false);
}

/* _filter_matches(filter jsonpath, body jsonb) */
Datum
musicverse_filter_matches(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(mv_filter_matches(PG_GETARG_JSONPATH_P(0), PG_GETARG_JSONB_P(1)));
}

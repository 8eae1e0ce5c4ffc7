/*
 * Trigger functions: a change of a row becomes an event of its user.
 *
 * emit_row_event(noun, user column [, soft-delete column]) records
 * <noun>.created, .updated and .deleted with the row as data. Setting the
 * soft-delete column counts as deleting; updates of a row so deleted, and
 * updates that change nothing, count for nothing.
 *
 * emit_state_event(noun, user column, state column, item …) records
 * <noun>.<event> when the state column takes a listed value; an item is
 * "value", "value=event", or "insert:event" for the insertion in any state.
 *
 * ensure_account(user column) makes the account of a new row's user.
 * touch_updated_at() sets updated_at when something else changed.
 *
 * Rows without a user record nothing. While a dump is restored none of them
 * does anything: what they made is in the dump.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "core/catalog.h"
#include "core/compat.h"
#include "core/row_json.h"
#include "core/utility.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "webhooks/event.h"

PG_FUNCTION_INFO_V1(musicverse_emit_row_event);
PG_FUNCTION_INFO_V1(musicverse_emit_state_event);
PG_FUNCTION_INFO_V1(musicverse_ensure_account);
PG_FUNCTION_INFO_V1(musicverse_touch_updated_at);
PG_FUNCTION_INFO_V1(musicverse_webhooks_changed);

/* What a trigger needs to know of its table, made once a statement */
typedef struct TriggerState
{
	AttrNumber	user;
	AttrNumber	extra;			/* soft-delete or state column, 0 = none */
	MvRowFormat *format;
	MemoryContext row_context;	/* reset after each row */
} TriggerState;

static TriggerData *
trigger_data(FunctionCallInfo fcinfo, const char *name, bool after)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(data->tg_event) ||
		(after ? !TRIGGER_FIRED_AFTER(data->tg_event) : !TRIGGER_FIRED_BEFORE(data->tg_event)))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("%s() is not called as a trigger %s, for each row", name, after ? "after the change" : "before the change"),
				 errhint("CREATE TRIGGER … %s INSERT OR UPDATE OR DELETE ON … FOR EACH ROW EXECUTE FUNCTION musicverse.%s(…).",
						 after ? "AFTER" : "BEFORE", name)));
	return data;
}

/* The column that an argument of the trigger names. */
static AttrNumber
argument_column(TriggerData *data, int arg, Oid type, const char *what)
{
	TupleDesc	desc = RelationGetDescr(data->tg_relation);
	int			column = SPI_fnumber(desc, data->tg_trigger->tgargs[arg]);

	if (column <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("trigger \"%s\": table \"%s\" has no %s column \"%s\"", data->tg_trigger->tgname,
						RelationGetRelationName(data->tg_relation), what, data->tg_trigger->tgargs[arg]),
				 errhint("Name the column in the trigger's arguments.")));
	if (OidIsValid(type) && getBaseType(TupleDescAttr(desc, column - 1)->atttypid) != type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("trigger \"%s\": %s column \"%s\" is not of type %s", data->tg_trigger->tgname,
						what, data->tg_trigger->tgargs[arg], format_type_be(type))));
	return column;
}

static TriggerState *
trigger_state(FunctionCallInfo fcinfo, TriggerData *data, int min_args, int max_args)
{
	TriggerState *state = fcinfo->flinfo->fn_extra;
	int			nargs = data->tg_trigger->tgnargs;

	if (state != NULL)
		return state;
	if (nargs < min_args || nargs > max_args)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger \"%s\" has %d arguments", data->tg_trigger->tgname, nargs),
				 errhint("Give the noun of the events, the column of the user, and what the documentation names beyond.")));
	if (strspn(data->tg_trigger->tgargs[0], "abcdefghijklmnopqrstuvwxyz0123456789_.") != strlen(data->tg_trigger->tgargs[0]) ||
		!islower((unsigned char) data->tg_trigger->tgargs[0][0]))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("trigger \"%s\": \"%s\" can't begin the name of an event type", data->tg_trigger->tgname,
						data->tg_trigger->tgargs[0]),
				 errhint("Use a lower-case word, such as playlist for playlist.created.")));
	state = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(TriggerState));
	state->user = argument_column(data, 1, UUIDOID, "user");
	if (nargs > 2)
		state->extra = argument_column(data, 2, InvalidOid, min_args > 2 ? "state" : "soft-delete");
	state->format = mv_row_format(RelationGetDescr(data->tg_relation), fcinfo->flinfo->fn_mcxt);
	state->row_context = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "musicverse trigger row", ALLOCSET_SMALL_SIZES);
	fcinfo->flinfo->fn_extra = state;
	return state;
}

/* Records <noun>.<event> with the row as data. */
static void
emit_row(TriggerData *data, TriggerState *state, HeapTuple row, const char *event)
{
	TupleDesc	desc = RelationGetDescr(data->tg_relation);
	bool		isnull;
	Datum		user = heap_getattr(row, state->user, desc, &isnull);
	MemoryContext old;
	StringInfoData json;

	if (isnull)
		return;
	old = MemoryContextSwitchTo(state->row_context);
	initStringInfo(&json);
	mv_row_json(state->format, row, desc, &json);
	mv_emit(DatumGetUUIDP(user), psprintf("%s.%s", data->tg_trigger->tgargs[0], event), json.data, json.len, NULL);
	MemoryContextSwitchTo(old);
	MemoryContextReset(state->row_context);
}

static bool
column_is_null(HeapTuple row, AttrNumber column, TupleDesc desc)
{
	bool		isnull;

	heap_getattr(row, column, desc, &isnull);
	return isnull;
}

/* Values of any size, reading what is stored out of line only if it has to. */
static bool
same_value(Datum a, Datum b, Form_pg_attribute attribute)
{
	if (attribute->attlen == -1 && VARATT_IS_EXTERNAL(DatumGetPointer(a)) && VARATT_IS_EXTERNAL(DatumGetPointer(b)) &&
		VARSIZE_EXTERNAL(DatumGetPointer(a)) == VARSIZE_EXTERNAL(DatumGetPointer(b)) &&
		memcmp(DatumGetPointer(a), DatumGetPointer(b), VARSIZE_EXTERNAL(DatumGetPointer(a))) == 0)
		return true;
	return datum_image_eq(a, b, attribute->attbyval, attribute->attlen);
}

/*
 * Bytewise first, as suppress_redundant_updates_trigger() does. But the same
 * values can be stored differently: out of line, or before a column was added.
 */
static bool
same_row(HeapTuple a, HeapTuple b, TupleDesc desc)
{
	HeapTupleHeader ha = a->t_data;
	HeapTupleHeader hb = b->t_data;

	if (a->t_len == b->t_len && ha->t_hoff == hb->t_hoff &&
		HeapTupleHeaderGetNatts(ha) == HeapTupleHeaderGetNatts(hb) &&
		(ha->t_infomask & ~HEAP_XACT_MASK) == (hb->t_infomask & ~HEAP_XACT_MASK) &&
		memcmp((char *) ha + SizeofHeapTupleHeader, (char *) hb + SizeofHeapTupleHeader,
			   a->t_len - SizeofHeapTupleHeader) == 0)
		return true;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		bool		null_a,
					null_b;
		Datum		value_a,
					value_b;

		if (attribute->attisdropped)
			continue;
		value_a = heap_getattr(a, i + 1, desc, &null_a);
		value_b = heap_getattr(b, i + 1, desc, &null_b);
		if (null_a != null_b || (!null_a && !same_value(value_a, value_b, attribute)))
			return false;
	}
	return true;
}

Datum
musicverse_emit_row_event(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo, "emit_row_event", true);
	TriggerState *state = trigger_state(fcinfo, data, 2, 3);
	TupleDesc	desc = RelationGetDescr(data->tg_relation);

	if (mv_is_restoring())
		return PointerGetDatum(NULL);
	if (TRIGGER_FIRED_BY_INSERT(data->tg_event))
	{
		if (state->extra == 0 || column_is_null(data->tg_trigtuple, state->extra, desc))
			emit_row(data, state, data->tg_trigtuple, "created");
	}
	else if (TRIGGER_FIRED_BY_DELETE(data->tg_event))
	{
		/* a row that was deleted softly before has been told already */
		if (state->extra == 0 || column_is_null(data->tg_trigtuple, state->extra, desc))
			emit_row(data, state, data->tg_trigtuple, "deleted");
	}
	else if (TRIGGER_FIRED_BY_UPDATE(data->tg_event) && !same_row(data->tg_trigtuple, data->tg_newtuple, desc))
	{
		bool		was_deleted = state->extra != 0 && !column_is_null(data->tg_trigtuple, state->extra, desc);
		bool		is_deleted = state->extra != 0 && !column_is_null(data->tg_newtuple, state->extra, desc);

		if (is_deleted && !was_deleted)
			emit_row(data, state, data->tg_newtuple, "deleted");
		else if (!is_deleted)
			emit_row(data, state, data->tg_newtuple, was_deleted ? "created" : "updated");
	}
	return PointerGetDatum(NULL);
}

/* The event that an item of the arguments gives for a state, or NULL. */
static const char *
state_event(const char *item, const char *value, bool changed, bool inserted)
{
	const char *equals = strchr(item, '=');

	if (strncmp(item, "insert:", 7) == 0)
		return inserted ? item + 7 : NULL;
	if (!changed || value == NULL)
		return NULL;
	if (equals != NULL)
		return strlen(value) == equals - item && memcmp(item, value, equals - item) == 0 ? equals + 1 : NULL;
	return strcmp(item, value) == 0 ? value : NULL;
}

Datum
musicverse_emit_state_event(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo, "emit_state_event", true);
	TriggerState *state = trigger_state(fcinfo, data, 4, 64);
	TupleDesc	desc = RelationGetDescr(data->tg_relation);
	bool		inserted = TRIGGER_FIRED_BY_INSERT(data->tg_event);
	HeapTuple	row = inserted ? data->tg_trigtuple : data->tg_newtuple;
	char	   *value;
	bool		changed = true;

	if (TRIGGER_FIRED_BY_DELETE(data->tg_event) || mv_is_restoring())
		return PointerGetDatum(NULL);

	value = SPI_getvalue(row, desc, state->extra);
	if (!inserted)
	{
		char	   *before = SPI_getvalue(data->tg_trigtuple, desc, state->extra);

		changed = before == NULL || value == NULL ? before != value : strcmp(before, value) != 0;
	}
	for (int i = 3; i < data->tg_trigger->tgnargs; i++)
	{
		const char *event = state_event(data->tg_trigger->tgargs[i], value, changed, inserted);

		if (event != NULL)
			emit_row(data, state, row, event);
	}
	return PointerGetDatum(NULL);
}

/* Users seen in this statement, so that each is looked up once. */
typedef struct SeenUser
{
	pg_uuid_t	id;
	char		status;
} SeenUser;

#define SH_PREFIX seen
#define SH_ELEMENT_TYPE SeenUser
#define SH_KEY_TYPE pg_uuid_t
#define SH_KEY id
#define SH_HASH_KEY(tb, key) hash_bytes((key).data, UUID_LEN)
#define SH_EQUAL(tb, a, b) (memcmp((a).data, (b).data, UUID_LEN) == 0)
#define SH_SCOPE static inline
#define SH_DEFINE
#define SH_DECLARE
#include "lib/simplehash.h"

static bool
account_exists(const pg_uuid_t *user_id)
{
	const MvCatalog *catalog = mv_catalog();
	Relation	table = table_open(catalog->accounts, AccessShareLock);
	Relation	index = index_open(catalog->accounts_pkey, AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(table, NULL);
	ScanKeyData key;
	IndexScanDesc scan;
	bool		found;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(user_id));
	scan = mv_index_beginscan(table, index, snapshot, 1);
	index_rescan(scan, &key, 1, NULL, 0);
	found = index_getnext_slot(scan, ForwardScanDirection, slot);
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	index_close(index, AccessShareLock);
	table_close(table, AccessShareLock);
	return found;
}

static void
make_account(const pg_uuid_t *user_id)
{
	Oid			types[1] = {UUIDOID};
	Datum		values[1] = {UUIDPGetDatum(user_id)};
	Oid			save_user;
	int			save_context;

	GetUserIdAndSecContext(&save_user, &save_context);
	SetUserIdAndSecContext(mv_catalog()->owner, save_context | SECURITY_LOCAL_USERID_CHANGE);
	SPI_connect();
	SPI_execute_with_args("insert into musicverse.accounts (user_id) values ($1) on conflict do nothing",
						  1, types, values, NULL, false, 0);
	SPI_finish();
	SetUserIdAndSecContext(save_user, save_context);
}

Datum
musicverse_ensure_account(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo, "ensure_account", false);
	seen_hash  *users = fcinfo->flinfo->fn_extra;
	HeapTuple	row = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple;
	bool		isnull,
				found;
	Datum		user;

	if (users == NULL)
	{
		intptr_t	column;

		if (data->tg_trigger->tgnargs != 1)
			ereport(ERROR,
					(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
					 errmsg("trigger \"%s\" needs the column of the user as its argument", data->tg_trigger->tgname)));
		/* the table's private data is the number of the user's column */
		column = argument_column(data, 0, UUIDOID, "user");
		users = fcinfo->flinfo->fn_extra = seen_create(fcinfo->flinfo->fn_mcxt, 64, (void *) column);
	}
	user = heap_getattr(row, (int) (intptr_t) users->private_data, RelationGetDescr(data->tg_relation), &isnull);
	if (isnull || mv_is_restoring())
		return PointerGetDatum(row);
	if (seen_lookup(users, *DatumGetUUIDP(user)) == NULL)
	{
		if (!account_exists(DatumGetUUIDP(user)))
			make_account(DatumGetUUIDP(user));
		seen_insert(users, *DatumGetUUIDP(user), &found);
	}
	return PointerGetDatum(row);
}

Datum
musicverse_touch_updated_at(PG_FUNCTION_ARGS)
{
	TriggerData *data = trigger_data(fcinfo, "touch_updated_at", false);
	TupleDesc	desc = RelationGetDescr(data->tg_relation);
	int			column = SPI_fnumber(desc, "updated_at");
	Datum		now = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	bool		isnull = false;

	if (!TRIGGER_FIRED_BY_UPDATE(data->tg_event) || column <= 0 || same_row(data->tg_trigtuple, data->tg_newtuple, desc))
		return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple : data->tg_trigtuple);
	return PointerGetDatum(heap_modify_tuple_by_cols(data->tg_newtuple, desc, 1, &column, &now, &isnull));
}

/*
 * _webhooks_changed(): statement trigger on webhook_endpoints. Every backend
 * and worker drops what it has cached of the table at the commit.
 */
Datum
musicverse_webhooks_changed(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("_webhooks_changed() is not called as a trigger")));
	CacheInvalidateRelcache(data->tg_relation);
	mv_wake_at_commit();
	return PointerGetDatum(NULL);
}

/*
 * Recording an event: the body is made once, here, and kept as the text that
 * will be signed. Which webhooks get it is decided here too, so that nothing
 * is queued for those who don't want it.
 *
 * Triggers record for whoever changed the row, also for a role that could
 * not read or write the tables of events; emit_event() is granted to service
 * roles only.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "catalog/namespace.h"
#include "commands/extension.h"
#include "core/catalog.h"
#include "core/clock.h"
#include "core/row_json.h"
#include "core/utility.h"
#include "core/uuid7.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/rls.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "webhooks/event.h"
#include "webhooks/match.h"
#include "webhooks/outbox.h"

PG_FUNCTION_INFO_V1(musicverse_emit_event);

static int	max_event_size_kb = 1024;

void
mv_event_init(void)
{
	DefineCustomIntVariable("musicverse.max_event_size",
							"Largest event that is recorded.",
							"A larger one raises an error in the statement that causes it.",
							&max_event_size_kb, 1024, 1, 65536, PGC_SIGHUP, GUC_UNIT_KB,
							NULL, NULL, NULL);
	mv_catalog_init();
	mv_outbox_init();
}

/*
 * What pg_dump puts at the head of its output, and hardly anybody else does
 * all together.
 */
bool
mv_is_restoring(void)
{
	return !check_function_bodies && !row_security &&
		namespace_search_path != NULL && namespace_search_path[0] == '\0' &&
		!creating_extension;
}

/* The body as it will be signed and sent. */
static text *
make_body(const char *type, TimestampTz at, const char *data, int data_len)
{
	StringInfoData body;
	text	   *result;

	initStringInfo(&body);
	enlargeStringInfo(&body, data_len + 160);
	appendStringInfoSpaces(&body, VARHDRSZ);
	appendStringInfoString(&body, "{\"type\":");
	escape_json(&body, type);
	appendStringInfoString(&body, ",\"timestamp\":");
	mv_append_json_time(&body, at);
	appendStringInfoString(&body, ",\"data\":");
	appendBinaryStringInfo(&body, data, data_len);
	appendStringInfoChar(&body, '}');

	if (body.len - VARHDRSZ > (int64) max_event_size_kb * 1024)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("event \"%s\" has %d bytes, more than the %d kB allowed",
						type, body.len - VARHDRSZ, max_event_size_kb),
				 errhint("Leave large values out of the event, or raise musicverse.max_event_size.")));
	result = (text *) body.data;
	SET_VARSIZE(result, body.len);
	return result;
}

/* Records under the id given, or a new one. */
static void
record(const pg_uuid_t *user_id, const char *type, const char *data, int data_len,
	   const pg_uuid_t *given_id, pg_uuid_t *id)
{
	const MvSubscriptions *subscriptions;
	MvOutEvent	event;
	MemoryContext old;
	Jsonb	   *body = NULL;
	int			type_len = strlen(type);

	PreventCommandIfReadOnly("recording an event");
	PreventCommandIfParallelMode("recording an event");

	old = MemoryContextSwitchTo(mv_outbox_context());
	if (given_id != NULL)
		event.id = *given_id;
	else
		mv_uuid7(&event.id);
	event.user_id = *user_id;
	event.at = mv_now();
	event.type = cstring_to_text_with_len(type, type_len);
	event.payload = make_body(type, event.at, data, data_len);
	MemoryContextSwitchTo(old);

	subscriptions = mv_subscriptions(user_id);
	mv_outbox_add_event(&event);
	for (int i = 0; i < subscriptions->count; i++)
	{
		MvSubscription *subscription = &subscriptions->list[i];
		bool		wanted = false;

		for (int p = 0; p < subscription->npatterns && !wanted; p++)
			wanted = mv_pattern_matches(&subscription->patterns[p], type, type_len);
		if (!wanted)
			continue;
		if (body == NULL && (subscription->filter != NULL || subscription->ordering_key != NULL))
			body = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text_to_cstring(event.payload))));
		if (subscription->filter != NULL && !mv_filter_matches(subscription->filter, body))
			continue;
		mv_outbox_add_delivery(&subscription->webhook_id,
							   subscription->ordering_key == NULL ? 0 :
							   mv_ordering_hash(subscription->ordering_key, body));
	}
	mv_outbox_written_bytes(VARSIZE(event.payload));
	if (id != NULL)
		*id = event.id;
}

void
mv_emit(const pg_uuid_t *user_id, const char *type, const char *data, int data_len, pg_uuid_t *id)
{
	record(user_id, type, data, data_len, NULL, id);
}

/*
 * Claims an idempotency key. False when the user has used it before: *id is
 * then the first event's. Waits for another transaction that has just used it.
 */
static bool
claim_key(const pg_uuid_t *user_id, text *key, pg_uuid_t *id)
{
	Oid			types[3] = {UUIDOID, TEXTOID, UUIDOID};
	Datum		values[3];
	bool		fresh;
	bool		isnull;
	pg_uuid_t	new_id;
	Oid			save_user;
	int			save_context;

	mv_uuid7(&new_id);
	values[0] = UUIDPGetDatum(user_id);
	values[1] = PointerGetDatum(key);
	values[2] = UUIDPGetDatum(&new_id);
	if (VARSIZE_ANY_EXHDR(key) < 1 || VARSIZE_ANY_EXHDR(key) > 255)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("idempotency key has %d bytes", (int) VARSIZE_ANY_EXHDR(key)),
				 errhint("Give a key of 1 to 255 bytes.")));

	GetUserIdAndSecContext(&save_user, &save_context);
	SetUserIdAndSecContext(mv_catalog()->owner, save_context | SECURITY_LOCAL_USERID_CHANGE);
	SPI_connect();
	SPI_execute_with_args("insert into musicverse.event_keys (user_id, key, event_id, created_at)"
						  " values ($1, $2, $3, musicverse._now()) on conflict do nothing",
						  3, types, values, NULL, false, 0);
	fresh = SPI_processed == 1;
	if (fresh)
		*id = new_id;
	else
	{
		SPI_execute_with_args("select event_id from musicverse.event_keys where user_id = $1 and key = $2",
							  2, types, values, NULL, false, 1);
		if (SPI_processed != 1)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("idempotency key was removed concurrently"),
					 errhint("Try the transaction again.")));
		*id = *DatumGetUUIDP(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	}
	SPI_finish();
	SetUserIdAndSecContext(save_user, save_context);
	return fresh;
}

static void
check_type(text *type)
{
	Oid			types[1] = {TEXTOID};
	Datum		values[1] = {PointerGetDatum(type)};
	static char known[64] = "";	/* the one asked for last */
	char	   *name = text_to_cstring(type);
	Oid			save_user;
	int			save_context;
	bool		found,
				lasting,
				isnull;

	if (name[0] != '\0' && strcmp(known, name) == 0)
		return;
	GetUserIdAndSecContext(&save_user, &save_context);
	SetUserIdAndSecContext(mv_catalog()->owner, save_context | SECURITY_LOCAL_USERID_CHANGE);
	SPI_connect();
	SPI_execute_with_args("select xmin from musicverse.event_types where name = $1", 1, types, values, NULL, true, 1);
	found = SPI_processed == 1;
	/* a type registered by this transaction may be rolled back */
	lasting = found && !TransactionIdIsCurrentTransactionId(DatumGetTransactionId(
		SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)));
	SPI_finish();
	SetUserIdAndSecContext(save_user, save_context);
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown event type \"%s\"", name),
				 errhint("The table event_types lists the known ones; register_event_type() adds one.")));
	strlcpy(known, lasting && strlen(name) < sizeof(known) ? name : "", sizeof(known));
}

/* emit_event(user_id uuid, event_type text, data jsonb, idempotency_key text) */
Datum
musicverse_emit_event(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));
	static const char *const names[] = {"user_id", "event_type", "data"};
	Jsonb	   *data;
	StringInfoData json;

	for (int i = 0; i < 3; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not be null", names[i]),
					 i == 2 ? errhint("Give '{}' for an event without data.") : 0));
	check_type(PG_GETARG_TEXT_PP(1));

	if (!PG_ARGISNULL(3) && !claim_key(PG_GETARG_UUID_P(0), PG_GETARG_TEXT_PP(3), id))
		PG_RETURN_UUID_P(id);

	data = PG_GETARG_JSONB_P(2);
	initStringInfo(&json);
	JsonbToCString(&json, &data->root, VARSIZE(data));
	record(PG_GETARG_UUID_P(0), text_to_cstring(PG_GETARG_TEXT_PP(1)), json.data, json.len,
		   PG_ARGISNULL(3) ? NULL : id, id);
	if (!mv_outbox_is_batch(fcinfo->flinfo))
		mv_flush_events();
	PG_RETURN_UUID_P(id);
}

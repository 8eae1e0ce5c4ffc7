/*
 * Idempotency-Key on POST. See idempotency.h.
 *
 * Who has the key's lock looks by a fresh snapshot whether an answer is kept.
 * A lock is let go after its transaction can be seen as committed, so of many
 * racing clients one runs the operation, some are told that it is in flight,
 * and whoever comes later gets its answer.
 *
 * An answer is sealed for its user and key, as it may hold what is shown only
 * once, such as the secret of a webhook. Answers of 500 and above and 429 are
 * not kept, nor are refusals from before the operation ran: a client may
 * correct those and come again.
 *
 * Locks: an advisory one of class LOCK_CLASS, which SQL's own functions don't use;
 * RowExclusiveLock on idempotency_keys.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "api/idempotency.h"
#include "api/problem.h"
#include "api/respond.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "core/catalog.h"
#include "core/clock.h"
#include "core/compat.h"
#include "core/seal.h"
#include "core/uuid7.h"
#include "executor/spi.h"
#include "keys/key_text.h"
#include "keys/usage.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define LOCK_CLASS	3
#define MAX_KEY		255

static int	retention = 86400;

static void
clear_away(void)
{
	Oid			types[1] = {INT4OID};
	Datum		values[1] = {Int32GetDatum(retention)};

	SPI_execute_with_args("select musicverse._tend_idempotency_keys(make_interval(secs => $1))", 1, types, values, NULL, false, 0);
}

void
mv_idempotency_init(void)
{
	DefineCustomIntVariable("musicverse.idempotency_retention", "How long the answer to a request with an Idempotency-Key is kept.",
							NULL, &retention, 86400, 60, 30 * 86400, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	mv_usage_worker_add_chore(clear_away);
}

/* The key without the quotes that a structured field has; NULL when it isn't one. */
static char *
read_key(const char *header)
{
	size_t		len = strlen(header);

	if (len >= 2 && header[0] == '"' && header[len - 1] == '"')
	{
		header++;
		len -= 2;
	}
	if (len == 0 || len > MAX_KEY)
		return NULL;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char) header[i] < ' ' || (unsigned char) header[i] > '~')
			return NULL;
	return pnstrdup(header, len);
}

static void
append_part(StringInfo out, const char *part, Size len)
{
	uint64		size = len;

	appendBinaryStringInfo(out, (char *) &size, sizeof(size));
	appendBinaryStringInfo(out, part, len);
}

/*
 * A digest of all that makes a request the same one. The key is part of it, as
 * an answer may hold what another key of the user's would not be given.
 */
static void
digest(MvApiCall *call, unsigned char out[MV_HASH_LEN])
{
	StringInfoData all;

	initStringInfo(&all);
	append_part(&all, call->route->version, strlen(call->route->version));
	append_part(&all, call->route->operation, strlen(call->route->operation));
	append_part(&all, call->path, strlen(call->path));
	for (int i = 0; i < call->nparameters; i++)
	{
		append_part(&all, call->parameters[i].name, strlen(call->parameters[i].name));
		append_part(&all, call->parameters[i].value, strlen(call->parameters[i].value));
	}
	append_part(&all, call->request->body, call->request->body_len);
	append_part(&all, (char *) &call->verdict.key_id, call->verdict.has_key ? UUID_LEN : 0);
	mv_key_hash(all.data, all.len, out);
	pfree(all.data);
}

static bool
lock_key(MvApiCall *call)
{
	unsigned char hash[MV_HASH_LEN];
	char		name[UUID_LEN + MAX_KEY];
	int			len = strlen(call->idempotency_key);
	uint32		half[2];
	LOCKTAG		tag;

	memcpy(name, call->verdict.user_id.data, UUID_LEN);
	memcpy(name + UUID_LEN, call->idempotency_key, len);
	mv_key_hash(name, UUID_LEN + len, hash);
	memcpy(half, hash, sizeof(half));
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, half[0], half[1], LOCK_CLASS);
	return LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL;
}

static char *
seal_context(MvApiCall *call)
{
	char		user[37];

	mv_uuid_text(&call->verdict.user_id, user);
	return psprintf("idempotency %s %s", user, call->idempotency_key);
}

/* What is kept: the status, the type of content, the body, a line's end between them. */
static bool
open_kept(MvApiCall *call, const bytea *sealed)
{
	const char *why;
	size_t		len;
	char	   *plain = mv_unseal_noerror(sealed, seal_context(call), &len, &why);
	char	   *type;
	char	   *body;

	if (plain == NULL)
	{
		ereport(LOG_SERVER_ONLY,
				(errmsg("request %s: the answer kept for its Idempotency-Key cannot be opened: %s", call->request_id, why)));
		return mv_problem(call, MV_P_CONFLICT, "The answer to the first request with this Idempotency-Key is lost. Use another key.");
	}
	type = strchr(plain, '\n') + 1;
	body = strchr(type, '\n') + 1;
	body[-1] = '\0';
	call->is_replay = true;
	call->replay_status = atoi(plain);
	call->replay_type = type;
	call->result = body;
	call->result_len = plain + len - body;
	return false;
}

/* Looks whether an answer is kept. True when there is none that counts. */
static bool
look(MvApiCall *call)
{
	const MvCatalog *catalog = mv_catalog();
	Relation	table = table_open(catalog->idempotency_keys, AccessShareLock);
	Relation	index = index_open(catalog->idempotency_keys_pkey, AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(table, NULL);
	IndexScanDesc scan = mv_index_beginscan(table, index, snapshot, 2);
	TupleDesc	desc = RelationGetDescr(table);
	ScanKeyData keys[2];
	bytea	   *request = NULL;
	bytea	   *response = NULL;
	bool		isnull;

	ScanKeyEntryInitialize(&keys[0], 0, 1, BTEqualStrategyNumber, InvalidOid, InvalidOid, F_UUID_EQ,
						   UUIDPGetDatum(&call->verdict.user_id));
	ScanKeyEntryInitialize(&keys[1], 0, 2, BTEqualStrategyNumber, InvalidOid, C_COLLATION_OID, F_TEXTEQ,
						   CStringGetTextDatum(call->idempotency_key));
	index_rescan(scan, keys, 2, NULL, 0);
	if (index_getnext_slot(scan, ForwardScanDirection, slot) &&
		DatumGetTimestampTz(slot_getattr(slot, mv_attnum(desc, "created_at"), &isnull)) > mv_now() - retention * USECS_PER_SEC)
	{
		request = DatumGetByteaPCopy(slot_getattr(slot, mv_attnum(desc, "request"), &isnull));
		response = DatumGetByteaPCopy(slot_getattr(slot, mv_attnum(desc, "response"), &isnull));
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	index_close(index, AccessShareLock);
	table_close(table, AccessShareLock);

	if (response == NULL)
		return true;
	if (VARSIZE_ANY_EXHDR(request) != MV_HASH_LEN || memcmp(VARDATA_ANY(request), call->request_digest, MV_HASH_LEN) != 0)
		return mv_problem(call, MV_P_IDEMPOTENCY_KEY_REUSED,
						  "The Idempotency-Key was sent before with another request. Use a new key for each.");
	return open_kept(call, response);
}

bool
mv_idempotency_begin(MvApiCall *call)
{
	const char *header = call->headers[MV_H_IDEMPOTENCY_KEY];

	if (header == NULL || call->route->method != MV_POST || !call->verdict.identified || XactReadOnly)
		return true;
	call->idempotency_key = read_key(header);
	if (call->idempotency_key == NULL)
		return mv_problem(call, MV_P_BAD_REQUEST, "The Idempotency-Key must be 1 to %d printable characters of ASCII.", MAX_KEY);
	digest(call, call->request_digest);
	if (lock_key(call))
		return look(call);
	call->idempotency_key = NULL;
	return mv_problem(call, MV_P_IDEMPOTENCY_IN_FLIGHT, "Ask again when it is done.");
}

void
mv_render_replay(MvApiCall *call)
{
	call->response->status = call->replay_status;
	call->response->body = call->result;
	call->response->body_len = call->result_len;
	if (call->replay_type[0] != '\0')
		mv_header(call, "Content-Type", call->replay_type);
	mv_header(call, "Cache-Control", "no-store");
	mv_header(call, "Idempotency-Replayed", "true");
}

void
mv_idempotency_keep(MvApiCall *call, int status, const char *content_type, const char *body, Size len)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[4] = {UUIDOID, TEXTOID, BYTEAOID, BYTEAOID};
	Datum		values[4];
	StringInfoData plain;
	bytea	   *request = palloc(VARHDRSZ + MV_HASH_LEN);
	Oid			save_user;
	int			save_context;

	initStringInfo(&plain);
	appendStringInfo(&plain, "%d\n%s\n", status, content_type);
	appendBinaryStringInfo(&plain, body, len);
	SET_VARSIZE(request, VARHDRSZ + MV_HASH_LEN);
	memcpy(VARDATA(request), call->request_digest, MV_HASH_LEN);
	values[0] = UUIDPGetDatum(&call->verdict.user_id);
	values[1] = CStringGetTextDatum(call->idempotency_key);
	values[2] = PointerGetDatum(request);
	values[3] = PointerGetDatum(mv_seal(plain.data, plain.len, seal_context(call)));

	GetUserIdAndSecContext(&save_user, &save_context);
	SetUserIdAndSecContext(mv_catalog()->owner, save_context | SECURITY_LOCAL_USERID_CHANGE);
	SPI_connect();
	if (plan == NULL)
	{
		plan = SPI_prepare("insert into musicverse.idempotency_keys as k (user_id, key, request, response) values ($1, $2, $3, $4)"
						   " on conflict (user_id, key) do update set request = excluded.request, response = excluded.response,"
						   " created_at = excluded.created_at", 4, types);
		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare the keeping of an answer: %s", SPI_result_code_string(SPI_result));
	}
	SPI_execute_plan(plan, values, NULL, false, 0);
	SPI_finish();
	SetUserIdAndSecContext(save_user, save_context);
	call->is_kept = true;
}

void
mv_idempotency_keep_problem(MvApiCall *call)
{
	MvApiResponse *response = call->response;
	ResourceOwner owner = CurrentResourceOwner;
	Oid			save_user;
	int			save_context;

	if (call->idempotency_key == NULL || !call->has_run || call->is_kept || response->status >= 500 || response->status == 429)
		return;
	GetUserIdAndSecContext(&save_user, &save_context);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(call->context);
	PG_TRY();
	{
		mv_idempotency_keep(call, response->status, "application/problem+json", response->body, response->body_len);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(call->context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		CurrentResourceOwner = owner;
		SetUserIdAndSecContext(save_user, save_context);
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED || error->sqlerrcode == ERRCODE_OUT_OF_MEMORY)
			ReThrowError(error);
		ereport(LOG_SERVER_ONLY, (errmsg("request %s: its answer could not be kept: %s", call->request_id, error->message)));
	}
	PG_END_TRY();
	MemoryContextSwitchTo(call->context);
	CurrentResourceOwner = owner;
}

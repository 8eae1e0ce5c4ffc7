/*
 * Who calls. PostgREST tells by request.jwt.claims, which its callers can't
 * set; the dispatcher and pre_request() tell by mv_set_caller().
 *
 * Locks: AccessShareLock on exposed_roles, when roles have changed.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "core/caller.h"
#include "core/catalog.h"
#include "core/compat.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(musicverse_current_user_id);
PG_FUNCTION_INFO_V1(musicverse_caller_key_id);
PG_FUNCTION_INFO_V1(musicverse_caller_is_service);
PG_FUNCTION_INFO_V1(musicverse_require_user);
PG_FUNCTION_INFO_V1(musicverse_viewer);
PG_FUNCTION_INFO_V1(musicverse_may_see);

/* What a policy is told of a service: no user has this id, as who claims it is nobody */
static const pg_uuid_t everybody = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

static MvCallerState caller;

/* What was found for a role, good while the generation of roles is the same */
static Oid	judged_role = InvalidOid;
static bool judged_service;
static uint64 judged_generation = 0;

void
mv_set_caller(const pg_uuid_t *user_id, const pg_uuid_t *key_id)
{
	if (user_id == NULL)
	{
		caller.lxid = InvalidLocalTransactionId;
		return;
	}
	caller.user_id = *user_id;
	caller.is_user = true;
	caller.has_key = key_id != NULL;
	if (key_id != NULL)
		caller.key_id = *key_id;
	caller.lxid = mv_current_lxid();
}

void
mv_set_caller_nobody(void)
{
	caller.is_user = caller.has_key = false;
	caller.lxid = mv_current_lxid();
}

void
mv_save_caller(MvCallerState *state)
{
	*state = caller;
}

void
mv_restore_caller(const MvCallerState *state)
{
	caller = *state;
}

static inline bool
set_by_c(void)
{
	return caller.lxid != InvalidLocalTransactionId && caller.lxid == mv_current_lxid();
}

/* The 36 characters of a UUID, as a machine's sub need not be one. */
static bool
parse_uuid(const char *text, int len, pg_uuid_t *out)
{
	char		buffer[37];

	if (len != 36)
		return false;
	for (int i = 0; i < 36; i++)
	{
		bool		dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? text[i] != '-' : !isxdigit((unsigned char) text[i]))
			return false;
	}
	memcpy(buffer, text, 36);
	buffer[36] = '\0';
	*out = *DatumGetUUIDP(DirectFunctionCall1(uuid_in, CStringGetDatum(buffer)));
	return true;
}

bool
mv_caller(pg_uuid_t *user_id)
{
	const char *claims;
	Jsonb	   *jb;
	JsonbValue	sub_buffer;
	JsonbValue *sub;

	if (set_by_c())
	{
		*user_id = caller.user_id;
		return caller.is_user;
	}

	claims = GetConfigOption("request.jwt.claims", true, false);
	if (claims == NULL || claims[0] == '\0')
		return false;
	jb = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(claims)));
	if (!JB_ROOT_IS_OBJECT(jb))
		return false;
	sub = getKeyJsonValueFromContainer(&jb->root, "sub", 3, &sub_buffer);
	if (sub == NULL || sub->type != jbvString)
		return false;
	return parse_uuid(sub->val.string.val, sub->val.string.len, user_id);
}

bool
mv_caller_key(pg_uuid_t *key_id)
{
	if (!set_by_c() || !caller.has_key)
		return false;
	*key_id = caller.key_id;
	return true;
}

/* A member of a role that the host registered as its service role? By what is committed, and by the owner's right. */
static bool
member_of_service(Oid role, const MvCatalog *catalog)
{
	Relation	rel = table_open(catalog->exposed_roles, AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	AttrNumber	of_name = mv_attnum(RelationGetDescr(rel), "role_name");
	AttrNumber	of_kind = mv_attnum(RelationGetDescr(rel), "kind");
	bool		result = false;

	while (!result && table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;
		char	   *name = NameStr(*DatumGetName(slot_getattr(slot, of_name, &isnull)));
		text	   *kind = DatumGetTextPP(slot_getattr(slot, of_kind, &isnull));
		Oid			service;

		if (VARSIZE_ANY_EXHDR(kind) != strlen("service") || memcmp(VARDATA_ANY(kind), "service", strlen("service")) != 0)
			continue;
		service = get_role_oid(name, true);
		result = OidIsValid(service) && has_privs_of_role(role, service);
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return result;
}

bool
mv_caller_is_service(void)
{
	Oid			role;
	const MvCatalog *catalog;
	uint64		generation;
	bool		result;

	/* Whoever calls by a key is that key's user, whatever role lets it in */
	if (set_by_c())
		return false;
	role = GetOuterUserId();
	if (role == judged_role && judged_generation == mv_roles_generation)
		return judged_service;

	if (superuser_arg(role))
		return true;
	catalog = mv_catalog();
	generation = mv_roles_generation;	/* before the look-up, which may be told of changes */
	result = has_privs_of_role(role, catalog->owner) || member_of_service(role, catalog);
	judged_role = role;
	judged_service = result;
	judged_generation = generation;
	return result;
}

Datum
musicverse_current_user_id(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *user_id = palloc(sizeof(pg_uuid_t));

	if (!mv_caller(user_id))
		PG_RETURN_NULL();
	PG_RETURN_UUID_P(user_id);
}

/* _caller_key_id() */
Datum
musicverse_caller_key_id(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *key_id = palloc(sizeof(pg_uuid_t));

	if (!mv_caller_key(key_id))
		PG_RETURN_NULL();
	PG_RETURN_UUID_P(key_id);
}

Datum
musicverse_caller_is_service(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(mv_caller_is_service());
}

/*
 * _viewer(): whose rows the caller may see, asked once a query by the policies:
 * its own, everybody's, or nobody's (NULL). One question instead of two, as
 * each costs a query its part of a plan.
 */
Datum
musicverse_viewer(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *viewer = palloc(sizeof(pg_uuid_t));

	if (mv_caller_is_service())
		*viewer = everybody;
	else if (!mv_caller(viewer) || memcmp(viewer, &everybody, UUID_LEN) == 0)
		PG_RETURN_NULL();
	PG_RETURN_UUID_P(viewer);
}

/* _may_see(viewer uuid, user_id uuid) */
Datum
musicverse_may_see(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *viewer;

	if (PG_ARGISNULL(0))
		PG_RETURN_BOOL(false);
	viewer = PG_GETARG_UUID_P(0);
	if (!PG_ARGISNULL(1) && memcmp(viewer, PG_GETARG_UUID_P(1), UUID_LEN) == 0)
		PG_RETURN_BOOL(true);
	PG_RETURN_BOOL(memcmp(viewer, &everybody, UUID_LEN) == 0);
}

void
mv_require_user(const pg_uuid_t *user_id)
{
	pg_uuid_t	me;

	if (mv_caller_is_service() || (mv_caller(&me) && memcmp(&me, user_id, UUID_LEN) == 0))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to act for user %s",
					DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(user_id)))),
			 errhint("Call it as that user, or as a role that expose_to() made a service role.")));
}

/* _require_user(user_id uuid) */
Datum
musicverse_require_user(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("user_id must not be null")));
	mv_require_user(PG_GETARG_UUID_P(0));
	PG_RETURN_VOID();
}

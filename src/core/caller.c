/*
 * Who calls. PostgREST tells by request.jwt.claims, which its callers can't
 * set; the gateway and pre_request() tell by mv_set_caller().
 */
#include "postgres.h"

#include "access/xact.h"
#include "core/caller.h"
#include "core/catalog.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/jsonb.h"

PG_FUNCTION_INFO_V1(musicverse_current_user_id);
PG_FUNCTION_INFO_V1(musicverse_caller_key_id);
PG_FUNCTION_INFO_V1(musicverse_caller_is_service);
PG_FUNCTION_INFO_V1(musicverse_require_user);

static pg_uuid_t caller;
static LocalTransactionId caller_lxid = InvalidLocalTransactionId;
static pg_uuid_t caller_key;
static enum
{
	KEY_UNTOLD, KEY_NONE, KEY_GIVEN
}			caller_has_key = KEY_UNTOLD;

static LocalTransactionId
current_lxid(void)
{
#if PG_VERSION_NUM >= 170000
	return MyProc->vxid.lxid;
#else
	return MyProc->lxid;
#endif
}

void
mv_set_caller(const pg_uuid_t *user_id)
{
	caller_has_key = KEY_UNTOLD;
	if (user_id == NULL)
	{
		caller_lxid = InvalidLocalTransactionId;
		return;
	}
	caller = *user_id;
	caller_lxid = current_lxid();
}

void
mv_set_caller_key(const pg_uuid_t *key_id)
{
	caller_has_key = key_id != NULL ? KEY_GIVEN : KEY_NONE;
	if (key_id != NULL)
		caller_key = *key_id;
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

	if (caller_lxid != InvalidLocalTransactionId && caller_lxid == current_lxid())
	{
		*user_id = caller;
		return true;
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

/* A member of a role that the host registered as its service role? */
static bool
member_of_service(Oid role, const MvCatalog *catalog)
{
	bool		result = false;
	Oid			save_user;
	int			save_context;

	GetUserIdAndSecContext(&save_user, &save_context);
	SetUserIdAndSecContext(catalog->owner, save_context | SECURITY_LOCAL_USERID_CHANGE);
	SPI_connect();
	if (SPI_execute("select role_name::text from musicverse.exposed_roles where kind = 'service'", true, 0) == SPI_OK_SELECT)
		for (uint64 i = 0; i < SPI_processed && !result; i++)
		{
			char	   *name = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
			Oid			service = get_role_oid(name, true);

			result = OidIsValid(service) && has_privs_of_role(role, service);
		}
	SPI_finish();
	SetUserIdAndSecContext(save_user, save_context);
	return result;
}

bool
mv_caller_is_service(void)
{
	Oid			role = GetOuterUserId();
	const MvCatalog *catalog;

	if (superuser_arg(role))
		return true;
	catalog = mv_catalog();
	return has_privs_of_role(role, catalog->owner) || member_of_service(role, catalog);
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
	pg_uuid_t  *key_id;

	if (caller_lxid == InvalidLocalTransactionId || caller_lxid != current_lxid() || caller_has_key == KEY_NONE)
		PG_RETURN_NULL();
	/* a door that forgets to tell must not open more than one that tells */
	if (caller_has_key == KEY_UNTOLD)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("it is not known whether the caller came by a key"),
				 errhint("C code that calls mv_set_caller() must call mv_set_caller_key() as well.")));
	key_id = palloc(sizeof(pg_uuid_t));
	*key_id = caller_key;
	PG_RETURN_UUID_P(key_id);
}

Datum
musicverse_caller_is_service(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(mv_caller_is_service());
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

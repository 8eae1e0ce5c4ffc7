/*
 * pre_request(), for PostgREST's db-pre-request. It runs in each request's
 * transaction, after PostgREST has set what the request is by settings that
 * end with the transaction, and before the function that is called.
 *
 * Who calls is, in this order, the user of the key; a service role; the sub of
 * the token; an address. A key is refused, never ignored.
 *
 * Works in read-only transactions and in recovery: nothing is written but
 * shared memory, and a rollback gives no token back. Nothing here outlives the
 * transaction, as the next one on the connection is somebody else's: the
 * caller, response.headers and the note for the usage all end with it.
 *
 * A refusal is an error, and what is set is lost with an error: so headers
 * travel in its DETAIL, and it is counted before it is raised. A request that
 * goes on is counted when its transaction ends.
 *
 * Locks: none of its own.
 */
#include "postgres.h"

#include "access/xact.h"
#include "core/caller.h"
#include "core/json_members.h"
#include "core/proxies.h"
#include "core/shared.h"
#include "core/uuid7.h"
#include "fmgr.h"
#include "keys/keys.h"
#include "keys/operation.h"
#include "keys/pre_request.h"
#include "keys/rate_fields.h"
#include "keys/usage.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/json.h"

PG_FUNCTION_INFO_V1(musicverse_pre_request);

#define ERRCODE_PGRST	MAKE_SQLSTATE('P', 'G', 'R', 'S', 'T')
#define BEARER			"Bearer "
#define MAX_REQUEST_ID	128

/* Headers that matter here; all others are PostgREST's or the function's business */
enum
{
	X_API_KEY,
	AUTHORIZATION,
	X_FORWARDED_FOR,
	X_SIGNATURE,
	X_REQUEST_ID,
	CONTENT_LENGTH,
	HEADERS
};

static const char *const header_names[HEADERS] = {
	"x-api-key", "authorization", "x-forwarded-for", "x-signature", "x-request-id", "content-length"
};

typedef struct PreRequest
{
	char	   *header[HEADERS];
	const char *method;
	const char *path;
	const char *request_id;
	bool		has_ip;
	inet		ip;
	MvOperation operation;
	MvCall		call;
	MvVerdict	verdict;
} PreRequest;

/* A request that went on, to be counted when its transaction ends */
static struct
{
	bool		active;
	bool		has_key;
	bool		has_user;
	bool		shadow;
	pg_uuid_t	key_id;
	pg_uuid_t	user_id;
	char		operation[MV_OPERATION_LEN];
	int64		bytes_in;
	instr_time	start;
} under_way;

/* A setting of PostgREST's; one that an earlier transaction had is empty */
static const char *
setting(const char *name)
{
	const char *value = GetConfigOption(name, true, false);

	return value != NULL ? value : "";
}

/* ---- usage ---- */

static void
note_usage(const PreRequest *request, instr_time start)
{
	const MvVerdict *verdict = &request->verdict;

	under_way.active = true;
	under_way.start = start;
	under_way.has_key = verdict->has_key;
	under_way.has_user = verdict->identified;
	under_way.key_id = verdict->key_id;
	under_way.user_id = verdict->user_id;
	under_way.shadow = verdict->allowed && verdict->reason != MV_ALLOWED;
	under_way.bytes_in = request->header[CONTENT_LENGTH] != NULL ? strtoll(request->header[CONTENT_LENGTH], NULL, 10) : 0;
	strlcpy(under_way.operation, request->operation.name, sizeof(under_way.operation));
}

/* Counts what is under way, which is over now. */
static void
count(int status, bool refused)
{
	MvUsage		usage = {0};
	instr_time	took;

	INSTR_TIME_SET_CURRENT(took);
	INSTR_TIME_SUBTRACT(took, under_way.start);
	usage.key_id = under_way.has_key ? &under_way.key_id : NULL;
	usage.user_id = under_way.has_user ? &under_way.user_id : NULL;
	usage.operation = under_way.operation;
	usage.operation_len = strlen(under_way.operation);
	usage.status = status;
	usage.refused = refused;
	usage.shadow = under_way.shadow;
	usage.duration_us = INSTR_TIME_GET_MICROSEC(took);
	usage.bytes_in = under_way.bytes_in;
	under_way.active = false;
	mv_usage_record(&usage);
}

/*
 * The end of the transaction. What it was answered with is known when it
 * commits. Of a failure nobody tells here, so it counts as PostgREST answers
 * errors that it has no better status for: 400.
 */
static void
count_at_end(XactEvent event, void *arg)
{
	if (!under_way.active)
		return;
	if (event == XACT_EVENT_ABORT)
		count(400, false);
	else if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE)
	{
		int			answered = atoi(setting("response.status"));

		count(answered >= 100 && answered <= 599 ? answered : 200, false);
	}
}

/* ---- answers ---- */

/* Ours is made when the request brings none that can be sent back. */
static const char *
request_id(const char *given)
{
	pg_uuid_t	id;

	if (given != NULL && given[0] != '\0' && strlen(given) <= MAX_REQUEST_ID &&
		strspn(given, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._-") == strlen(given))
		return given;
	mv_uuid7(&id);
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&id)));
}

/* "name": "value", after a comma where there is something before it */
static void
add_member(StringInfo json, const char *name, const char *value)
{
	char		last = json->data[json->len - 1];

	if (last != '{' && last != '[')
		appendStringInfoChar(json, ',');
	escape_json(json, name);
	appendStringInfoChar(json, ':');
	if (value != NULL)
		escape_json(json, value);
	else
		appendStringInfoString(json, "null");
}

/* Raises what PostgREST makes the answer of. The request is counted before. */
static void
refuse(const PreRequest *request, instr_time start, const char *code, const char *text, const char *details, const char *hint)
{
	const MvVerdict *verdict = &request->verdict;
	MvRateFields fields;
	StringInfoData message;
	StringInfoData detail;

	note_usage(request, start);
	count(verdict->status, verdict->status == 403 || verdict->status == 429);

	initStringInfo(&message);
	appendStringInfoChar(&message, '{');
	add_member(&message, "code", code);
	add_member(&message, "message", text);
	add_member(&message, "details", details);
	add_member(&message, "hint", hint);
	appendStringInfoChar(&message, '}');

	initStringInfo(&detail);
	appendStringInfo(&detail, "{\"status\":%d,\"headers\":{", verdict->status);
	if (verdict->status == 401)
		add_member(&detail, "WWW-Authenticate", "ApiKey realm=\"musicverse\"");
	if (mv_rate_fields(verdict, &fields))
	{
		if (fields.retry_after > 0)
			add_member(&detail, "Retry-After", psprintf(INT64_FORMAT, fields.retry_after));
		add_member(&detail, "RateLimit-Policy", fields.policy);
		add_member(&detail, "RateLimit", fields.limit);
	}
	add_member(&detail, "X-Request-Id", request->request_id);
	appendStringInfoString(&detail, "}}");

	ereport(ERROR,
			(errcode(ERRCODE_PGRST),
			 errmsg_internal("%s", message.data),
			 errdetail_internal("%s", detail.data),
			 errhidestmt(true)));
}

static void
refuse_by_verdict(const PreRequest *request, instr_time start)
{
	const MvVerdict *verdict = &request->verdict;
	const char *text = mv_reason_message(verdict, &request->call);
	const char *details = NULL;
	const char *hint = NULL;

	switch (verdict->reason)
	{
		case MV_MALFORMED:
		case MV_UNKNOWN:
			hint = "Send the key that create_api_key() returned in the header X-API-Key.";
			break;
		case MV_REVOKED:
		case MV_EXPIRED:
			hint = "Create a new key.";
			break;
		case MV_SIGNATURE:
			text = "a signed request can't be verified here";
			hint = "PostgREST does not hand the body on: send signed requests to the gateway or to handle_request().";
			break;
		case MV_SCOPE:
			if (request->operation.scope[0] != '\0')
				hint = "Use a key that has the scope.";
			else
			{
				text = "the API key has scopes, and which one this path needs is not known";
				hint = "Insert the path into musicverse.request_scopes.";
			}
			break;
		case MV_IP:
			hint = request->has_ip ? "Use the key from one of its networks."
				: "The client's address is not known: list the proxies before PostgREST in musicverse.trusted_proxies.";
			break;
		default:
			hint = verdict->retry_us >= 0 ? "Wait as long as Retry-After says." : "Ask for less at once.";
			details = psprintf("The limit \"%s\" is " INT64_FORMAT ".", verdict->policy, verdict->limit);
			break;
	}
	refuse(request, start, mv_reason_name(verdict->reason), text, details, hint);
}

/* {"name":"value"}, of characters that need no escape but quotation marks */
static char *
put_header(char *to, const char *name, const char *value)
{
	to = stpcpy(stpcpy(stpcpy(to, "{\""), name), "\":\"");
	for (; *value != '\0'; value++)
	{
		if (*value == '"')
			*to++ = '\\';
		*to++ = *value;
	}
	return stpcpy(to, "\"}");
}

/* Adds our headers to those that another pre-request has set. */
static void
set_response_headers(const PreRequest *request)
{
	const char *given = setting("response.headers");
	int			len = strlen(given);
	MvRateFields fields;
	char	   *headers;
	char	   *to;

	while (len > 0 && isspace((unsigned char) given[len - 1]))
		len--;
	/* what is no array is PostgREST's to complain of */
	if (len > 0 && given[--len] != ']')
		return;
	while (len > 0 && isspace((unsigned char) given[len - 1]))
		len--;
	if (len == 0 && given[0] == ']')
		return;

	to = headers = palloc(len + 2 * sizeof(fields) + MAX_REQUEST_ID + 128);
	if (len == 0)
		*to++ = '[';
	else
	{
		memcpy(to, given, len);
		to += len;
		if (given[len - 1] != '[')
			*to++ = ',';
	}
	if (mv_rate_fields(&request->verdict, &fields))
	{
		to = put_header(to, "RateLimit-Policy", fields.policy);
		*to++ = ',';
		to = put_header(to, "RateLimit", fields.limit);
		*to++ = ',';
	}
	strcpy(put_header(to, "X-Request-Id", request->request_id), "]");
	set_config_option("response.headers", headers, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

/* ---- the request ---- */

/* The status that a refusal without a verdict has */
static void
set_status(PreRequest *request, int status)
{
	memset(&request->verdict, 0, sizeof(request->verdict));
	request->verdict.status = status;
	request->verdict.limit = -1;
}

static void
read_request(PreRequest *request, instr_time start)
{
	const char *headers = setting("request.headers");
	const char *bearer;

	memset(request->header, 0, sizeof(request->header));
	request->method = setting("request.method");
	request->path = setting("request.path");
	request->operation.name = "other";
	request->request_id = "";
	if (headers[0] != '\0' && !mv_json_members(headers, header_names, HEADERS, request->header))
	{
		memset(request->header, 0, sizeof(request->header));
		request->request_id = request_id(NULL);
		set_status(request, 400);
		refuse(request, start, "headers", "request.headers is not a JSON object of strings", NULL,
			   "PostgREST sets it: call pre_request() as its db-pre-request.");
	}
	request->request_id = request_id(request->header[X_REQUEST_ID]);
	mv_operation_find(request->method, request->path, &request->operation);
	request->has_ip = mv_client_address(NULL, request->header[X_FORWARDED_FOR],
										request->header[X_FORWARDED_FOR] != NULL ? strlen(request->header[X_FORWARDED_FOR]) : 0,
										&request->ip);

	memset(&request->call, 0, sizeof(request->call));
	request->call.key = request->header[X_API_KEY];
	bearer = request->header[AUTHORIZATION];
	if (request->call.key == NULL && bearer != NULL && pg_strncasecmp(bearer, BEARER "mvai_", strlen(BEARER "mvai_")) == 0)
		request->call.key = bearer + strlen(BEARER);
	if (request->call.key != NULL)
		request->call.key_len = strlen(request->call.key);
	request->call.scope = request->operation.scope;
	request->call.scope_len = request->operation.scope != NULL ? strlen(request->operation.scope) : 0;
	request->call.client_ip = request->has_ip ? &request->ip : NULL;
	request->call.cost = request->operation.cost;
}

/*
 * A role that bypasses row-level security would show the key's user everybody's
 * rows. A superuser may: that is somebody at work by hand.
 */
static void
refuse_bypass(PreRequest *request, instr_time start)
{
	if (likely(!has_bypassrls_privilege(GetUserId())) || superuser())
		return;
	set_status(request, 403);
	refuse(request, start, "role",
		   psprintf("role \"%s\" bypasses row-level security, so it can't call by an API key", GetUserNameFromId(GetUserId(), false)),
		   NULL, "Send the key without that role's token.");
}

/* The verdict on the request. True when there is a caller to be set. */
static bool
judge(PreRequest *request, instr_time start)
{
	MvVerdict  *verdict = &request->verdict;
	pg_uuid_t	user_id;

	if (request->call.key != NULL)
	{
		refuse_bypass(request, start);
		if (request->header[X_SIGNATURE] != NULL)
		{
			set_status(request, 401);
			verdict->reason = MV_SIGNATURE;
		}
		else
			mv_verdict_key(&request->call, verdict);
		return verdict->allowed;
	}
	if (mv_caller_is_service())
	{
		set_status(request, 200);
		verdict->allowed = true;
	}
	else if (mv_caller(&user_id))
		mv_verdict_user(&user_id, request->call.cost, verdict);
	else if (request->operation.needs_key)
	{
		set_status(request, 401);
		refuse(request, start, "missing", "this needs an API key or a token", NULL,
			   "Send the key that create_api_key() returned in the header X-API-Key.");
	}
	else
		mv_verdict_address(request->call.client_ip, request->call.cost, verdict);
	return false;
}

Datum
musicverse_pre_request(PG_FUNCTION_ARGS)
{
	PreRequest	request;
	instr_time	start;
	bool		by_key;

	INSTR_TIME_SET_CURRENT(start);
	mv_shared_require("pre_request()");
	read_request(&request, start);
	by_key = judge(&request, start);
	if (!request.verdict.allowed)
		refuse_by_verdict(&request, start);
	if (by_key)
		mv_set_caller(&request.verdict.user_id, &request.verdict.key_id);
	set_response_headers(&request);
	note_usage(&request, start);
	PG_RETURN_VOID();
}

void
mv_pre_request_init(void)
{
	RegisterXactCallback(count_at_end, NULL);
}

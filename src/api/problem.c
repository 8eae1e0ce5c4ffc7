/*
 * Problem details. See problem.h.
 *
 * Nothing of SQL gets out: what the server itself says of tables, constraints
 * and privileges is replaced by a sentence of ours, and what isn't the
 * client's affair is a 500 that only tells the request's id.
 */
#include "postgres.h"

#include "api/problem.h"
#include "api/respond.h"
#include "api/schema.h"
#include "core/row_json.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#define MAX_MESSAGE	2000

typedef struct MvProblemType
{
	const char *name;			/* NULL: about:blank */
	int			status;
	const char *title;
} MvProblemType;

static const MvProblemType types[] = {
	[MV_P_BAD_REQUEST] = {"bad-request", 400, "The request is malformed"},
	[MV_P_UNAUTHORIZED] = {"unauthorized", 401, "No valid API key"},
	[MV_P_BAD_SIGNATURE] = {"bad-signature", 401, "The signature is not valid"},
	[MV_P_FORBIDDEN] = {"forbidden", 403, "Not allowed"},
	[MV_P_INSUFFICIENT_SCOPE] = {"insufficient-scope", 403, "The API key lacks a scope"},
	[MV_P_ADDRESS_NOT_ALLOWED] = {"address-not-allowed", 403, "The API key may not be used from here"},
	[MV_P_LIMIT_REACHED] = {"limit-reached", 403, "A limit of the tier is reached"},
	[MV_P_NOT_FOUND] = {"not-found", 404, "Not found"},
	[MV_P_METHOD_NOT_ALLOWED] = {"method-not-allowed", 405, "Method not allowed"},
	[MV_P_NOT_ACCEPTABLE] = {"not-acceptable", 406, "Not acceptable"},
	[MV_P_CONFLICT] = {"conflict", 409, "In conflict with the present state"},
	[MV_P_ALREADY_EXISTS] = {"already-exists", 409, "It exists already"},
	[MV_P_IDEMPOTENCY_IN_FLIGHT] = {"idempotency-in-flight", 409, "The first request with this Idempotency-Key is still in flight"},
	[MV_P_CONTENT_TOO_LARGE] = {"content-too-large", 413, "The content is too large"},
	[MV_P_URI_TOO_LONG] = {"uri-too-long", 414, "The target is too long"},
	[MV_P_UNSUPPORTED_MEDIA_TYPE] = {"unsupported-media-type", 415, "Unsupported type of content"},
	[MV_P_INVALID_REQUEST] = {"invalid-request", 422, "The request is not valid"},
	[MV_P_IDEMPOTENCY_KEY_REUSED] = {"idempotency-key-reused", 422, "The Idempotency-Key belongs to another request"},
	[MV_P_RATE_LIMITED] = {"rate-limited", 429, "Too many requests"},
	[MV_P_QUOTA_EXCEEDED] = {"quota-exceeded", 429, "The quota is used up"},
	[MV_P_INTERNAL_ERROR] = {"internal-error", 500, "Internal error"},
	[MV_P_NOT_IMPLEMENTED] = {"not-implemented", 501, "Not implemented"},
	[MV_P_UNAVAILABLE] = {"unavailable", 503, "Not available at the moment"},
	[MV_P_OTHER] = {NULL, 500, "Error"},
};

bool
mv_problem(MvApiCall *call, MvProblem problem, const char *detail,...)
{
	StringInfoData text;
	va_list		args;
	int			needed;

	if (call->problem != NULL)
		return false;
	call->problem = &types[problem];
	call->problem_status = types[problem].status;
	if (detail == NULL)
		return false;
	initStringInfo(&text);
	for (;;)
	{
		va_start(args, detail);
		needed = appendStringInfoVA(&text, detail, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&text, needed);
	}
	call->detail = text.data;
	return false;
}

void
mv_field_error(MvApiCall *call, const char *kind, const char *field, const char *message)
{
	MvFieldError *error;

	if (list_length(call->errors) >= MV_MAX_ERRORS)
		return;
	error = palloc(sizeof(MvFieldError));
	error->kind = kind;
	error->field = field;
	error->message = message;
	call->errors = lappend(call->errors, error);
}

/* --- errors of operations -------------------------------------------------- */

/* What the server says of its own objects must not get out; what a function raises is meant for the client. */
static bool
is_for_client(const ErrorData *error)
{
	if (error->table_name != NULL || error->constraint_name != NULL || error->column_name != NULL || error->datatype_name != NULL)
		return false;
	if (error->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE && error->message_id != NULL)
		return strncmp(error->message_id, "permission denied for ", 22) != 0 && strncmp(error->message_id, "must be ", 8) != 0 &&
			strncmp(error->message_id, "cannot set parameter", 20) != 0 &&
			strstr(error->message_id, "row-level security") == NULL;
	return error->sqlerrcode != ERRCODE_READ_ONLY_SQL_TRANSACTION;
}

/* A message as a sentence, of no more than is fit to read; a name such as f() at its beginning stays as it is */
static char *
sentence(const char *message)
{
	int			len = strlen(message);
	char	   *text;

	if (len > MAX_MESSAGE)
		len = pg_mbcliplen(message, len, MAX_MESSAGE);
	if (len == 0)
		return NULL;
	text = palloc(len + 2);
	memcpy(text, message, len);
	text[len] = '\0';
	if (text[0] >= 'a' && text[0] <= 'z' && strchr(" .,:", text[strcspn(text, " .,:_(")]) != NULL)
		text[0] -= 'a' - 'A';
	if (strchr(".!?", text[len - 1]) == NULL)
		strcpy(text + len, ".");
	return text;
}

/* DETAIL may carry {"field": "/url"}, or an array of such with messages */
static void
take_fields(MvApiCall *call, const ErrorData *error)
{
	const char *at = error->detail;

	while (at != NULL && isspace((unsigned char) *at))
		at++;
	if (at != NULL && (*at == '{' || *at == '['))
		mv_errors_of_detail(call, at, error->message);
}

static void
log_error(MvApiCall *call, const ErrorData *error)
{
	ereport(LOG_SERVER_ONLY,
			(errcode(error->sqlerrcode),
			 errmsg("request %s: operation %s failed: %s", call->request_id,
					call->route == NULL ? "none" : call->route->operation, error->message),
			 error->detail != NULL ? errdetail_internal("%s", error->detail) : 0,
			 error->hint != NULL ? errhint("%s", error->hint) : 0,
			 error->context != NULL ? errcontext("%s", error->context) : 0));
}

static MvProblem
classify(const ErrorData *error)
{
	int			code = error->sqlerrcode;

	switch (code)
	{
		case ERRCODE_NO_DATA_FOUND:
		case ERRCODE_NO_DATA:
			return MV_P_NOT_FOUND;
		case ERRCODE_NOT_NULL_VIOLATION:
		case ERRCODE_CHECK_VIOLATION:
			return MV_P_INVALID_REQUEST;
		case ERRCODE_UNIQUE_VIOLATION:
			return MV_P_ALREADY_EXISTS;
		case ERRCODE_FOREIGN_KEY_VIOLATION:
		case ERRCODE_EXCLUSION_VIOLATION:
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
			return MV_P_CONFLICT;
		case ERRCODE_INSUFFICIENT_PRIVILEGE:
			return MV_P_FORBIDDEN;
		case ERRCODE_CONFIGURATION_LIMIT_EXCEEDED:
			return MV_P_LIMIT_REACHED;
		case ERRCODE_FEATURE_NOT_SUPPORTED:
			return MV_P_NOT_IMPLEMENTED;
		case ERRCODE_PROGRAM_LIMIT_EXCEEDED:
			return MV_P_CONTENT_TOO_LARGE;
		case ERRCODE_READ_ONLY_SQL_TRANSACTION:
			return MV_P_METHOD_NOT_ALLOWED;
		case ERRCODE_T_R_SERIALIZATION_FAILURE:
		case ERRCODE_T_R_DEADLOCK_DETECTED:
		case ERRCODE_LOCK_NOT_AVAILABLE:
		case ERRCODE_QUERY_CANCELED:
			return MV_P_UNAVAILABLE;
	}
	switch (ERRCODE_TO_CATEGORY(code))
	{
		case ERRCODE_TO_CATEGORY(ERRCODE_DATA_EXCEPTION):
			return MV_P_INVALID_REQUEST;
		case ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES):
			return MV_P_UNAVAILABLE;
	}
	return MV_P_INTERNAL_ERROR;
}

/* The status in an SQLSTATE such as PT404; 0 when there is none */
static int
status_of(int sqlerrcode)
{
	const char *code = unpack_sql_state(sqlerrcode);
	int			status;

	if (code[0] != 'P' || code[1] != 'T' || !isdigit((unsigned char) code[2]) ||
		!isdigit((unsigned char) code[3]) || !isdigit((unsigned char) code[4]))
		return 0;
	status = atoi(code + 2);
	return status >= 400 && status <= 599 ? status : 0;
}

/* The type that goes with a status; about:blank where there is none of ours. */
static MvProblem
type_of(int status)
{
	if (status == 403)
		return MV_P_FORBIDDEN;
	for (int i = 0; i < MV_P_OTHER; i++)
		if (types[i].status == status)
			return i;
	return MV_P_OTHER;
}

const char *
mv_problem_type(int status, const char **title)
{
	const MvProblemType *type = &types[type_of(status)];

	if (type->name != NULL)
		*title = type->title;
	return type->name;
}

bool
mv_problem_of_status(MvApiCall *call, int status)
{
	mv_problem(call, type_of(status), NULL);
	call->problem_status = status;
	return false;
}

void
mv_problem_of_error(MvApiCall *call, const ErrorData *error)
{
	int			status = status_of(error->sqlerrcode);
	MvProblem	problem = status != 0 ? type_of(status) : classify(error);
	bool		tell = is_for_client(error) &&
		(status != 0 || problem != MV_P_INTERNAL_ERROR) && problem != MV_P_UNAVAILABLE;

	call->problem = &types[problem];
	call->problem_status = status != 0 ? status : types[problem].status;
	if (call->problem_status >= 500 && call->problem_status != 501)
		log_error(call, error);
	if (tell || status != 0)
	{
		call->detail = sentence(error->message);
		if (error->hint != NULL)
			call->hint = sentence(error->hint);
		take_fields(call, error);
	}
	else if (problem == MV_P_INTERNAL_ERROR)
		call->detail = psprintf("Something went wrong here. Tell us the request id %s.", call->request_id);
	else if (problem == MV_P_UNAVAILABLE)
		call->detail = pstrdup("The server is busy. Try again shortly.");
	else
		call->detail = psprintf("%s.", types[problem].title);
}

/* --- the answer ------------------------------------------------------------ */

static void
append_member(StringInfo out, const char *name, const char *value)
{
	if (value == NULL)
		return;
	appendStringInfo(out, "%s\"%s\":", out->len > 1 && out->data[out->len - 1] != '{' ? "," : "", name);
	mv_append_json_string(out, value, strlen(value));
}

void
mv_render_problem(MvApiCall *call)
{
	MvApiResponse *response = call->response;
	StringInfoData body;
	ListCell   *cell;

	initStringInfo(&body);
	appendStringInfoChar(&body, '{');
	append_member(&body, "type", call->problem->name == NULL ? "about:blank" : psprintf("/problems/%s", call->problem->name));
	append_member(&body, "title", call->problem->title);
	appendStringInfo(&body, ",\"status\":%d", call->problem_status);
	append_member(&body, "detail", call->detail);
	append_member(&body, "hint", call->hint);
	append_member(&body, "instance", mv_printable(call->path == NULL ? "" : call->path));
	append_member(&body, "request_id", call->request_id);
	if (call->problem_status == 429 && call->verdict.policy != NULL)
		appendStringInfo(&body, ",\"violated-policies\":[\"%s\"]", call->verdict.policy);
	if (call->errors != NIL)
	{
		appendStringInfoString(&body, ",\"errors\":[");
		foreach(cell, call->errors)
		{
			MvFieldError *error = lfirst(cell);

			if (body.data[body.len - 1] == '}')
				appendStringInfoChar(&body, ',');
			appendStringInfoChar(&body, '{');
			append_member(&body, error->kind, error->field);
			append_member(&body, "message", error->message);
			appendStringInfoChar(&body, '}');
		}
		appendStringInfoChar(&body, ']');
	}
	appendStringInfoChar(&body, '}');
	response->status = call->problem_status;
	response->body = body.data;
	response->body_len = body.len;
	mv_header(call, "Content-Type", "application/problem+json");
	mv_header(call, "Cache-Control", "no-store");
}

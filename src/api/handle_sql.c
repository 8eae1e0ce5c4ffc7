/*
 * handle_request(): the dispatcher's door for SQL, and so for PostgREST and
 * edge functions.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "api/bind.h"
#include "api/dispatch.h"
#include "core/caller.h"
#include "core/json_members.h"
#include "core/proxies.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/formatting.h"
#include "utils/guc.h"
#include "utils/inet.h"
#include "utils/jsonb.h"

PG_FUNCTION_INFO_V1(musicverse_handle_request);

/* A text as a field has it */
static void
take_scalar(const JsonbValue *json, const char *what, const char **value, Size *len)
{
	switch (json->type)
	{
		case jbvString:
			*value = json->val.string.val;
			*len = json->val.string.len;
			return;
		case jbvNumeric:
			*value = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(json->val.numeric)));
			break;
		case jbvBool:
			*value = json->val.boolean ? "true" : "false";
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("values of %s must be strings or arrays of strings", what)));
	}
	*len = strlen(*value);
}

/* Members of an object as fields; an array gives as many as it has elements, null none. */
static MvField *
take_fields(FunctionCallInfo fcinfo, int argno, const char *what, bool lower, int *n)
{
	Jsonb	   *jb;
	JsonbIterator *it;
	JsonbValue	key;
	JsonbValue	value;
	JsonbIteratorToken token;
	bool		in_array = false;
	int			room = 16;
	MvField    *fields;

	*n = 0;
	if (PG_ARGISNULL(argno))
		return NULL;
	jb = PG_GETARG_JSONB_P(argno);
	if (JB_ROOT_IS_SCALAR(jb) && JB_ROOT_COUNT(jb) == 1)
	{
		it = JsonbIteratorInit(&jb->root);
		JsonbIteratorNext(&it, &value, false);
		if (JsonbIteratorNext(&it, &value, false) == WJB_ELEM && value.type == jbvNull)
			return NULL;
	}
	if (!JB_ROOT_IS_OBJECT(jb))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a JSON object", what)));
	fields = palloc(room * sizeof(MvField));
	it = JsonbIteratorInit(&jb->root);
	JsonbIteratorNext(&it, &key, false);
	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_END_OBJECT && token != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			key = value;
			if (lower)
				key.val.string.val = asc_tolower(value.val.string.val, value.val.string.len);
		}
		else if (token == WJB_BEGIN_ARRAY && !in_array)
			in_array = true;
		else if (token == WJB_END_ARRAY)
			in_array = false;
		else if (token == WJB_VALUE || token == WJB_ELEM)
		{
			if (value.type == jbvNull)
				continue;
			if (*n == room)
				fields = repalloc(fields, (room *= 2) * sizeof(MvField));
			fields[*n].name = key.val.string.val;
			fields[*n].name_len = key.val.string.len;
			take_scalar(&value, what, &fields[*n].value, &fields[*n].value_len);
			(*n)++;
		}
		else
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("values of %s must be strings or arrays of strings", what)));
	}
	return fields;
}

Jsonb *
mv_headers_json(const MvApiRequest *request)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < request->nheaders; i++)
	{
		const MvField *field = &request->headers[i];
		JsonbValue	text = {.type = jbvString};
		StringInfoData joined;
		bool		before = false;

		for (int b = 0; b < i && !before; b++)
			before = request->headers[b].name_len == field->name_len && memcmp(request->headers[b].name, field->name, field->name_len) == 0;
		if (before || pg_verify_mbstr_len(GetDatabaseEncoding(), field->name, field->name_len, true) < 0)
			continue;
		initStringInfo(&joined);
		for (int a = i; a < request->nheaders; a++)
		{
			const MvField *other = &request->headers[a];

			if (other->name_len != field->name_len || memcmp(other->name, field->name, field->name_len) != 0 ||
				memchr(other->value, '\0', other->value_len) != NULL ||
				pg_verify_mbstr_len(GetDatabaseEncoding(), other->value, other->value_len, true) < 0)
				continue;
			if (a > i)
				appendStringInfoString(&joined, ", ");
			appendBinaryStringInfo(&joined, other->value, other->value_len);
		}
		text.val.string.val = unconstify(char *, field->name);
		text.val.string.len = field->name_len;
		pushJsonbValue(&state, WJB_KEY, &text);
		text.val.string.val = joined.data;
		text.val.string.len = joined.len;
		pushJsonbValue(&state, WJB_VALUE, &text);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static void
push_text(JsonbParseState **state, JsonbIteratorToken token, const char *value)
{
	JsonbValue	text = {.type = jbvString};

	text.val.string.val = unconstify(char *, value);
	text.val.string.len = strlen(value);
	pushJsonbValue(state, token, &text);
}

/* The length only where there is no body to tell it: of an answer to HEAD */
static Jsonb *
answered_headers(const MvApiResponse *response, bool is_head)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < response->nheaders; i++)
	{
		push_text(&state, WJB_KEY, response->headers[i].name);
		push_text(&state, WJB_VALUE, response->headers[i].value);
	}
	if (is_head && response->body_len > 0)
	{
		push_text(&state, WJB_KEY, "Content-Length");
		push_text(&state, WJB_VALUE, psprintf("%zu", response->body_len));
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static void
take_text(FunctionCallInfo fcinfo, int argno, const char **value, Size *len)
{
	*value = "";
	*len = 0;
	if (!PG_ARGISNULL(argno))
	{
		text	   *t = PG_GETARG_TEXT_PP(argno);

		*value = VARDATA_ANY(t);
		*len = VARSIZE_ANY_EXHDR(t);
	}
}

/* Found once a query */
static TupleDesc
result_type(FunctionCallInfo fcinfo)
{
	FmgrInfo   *function = fcinfo->flinfo;

	if (function->fn_extra == NULL)
	{
		MemoryContext context = MemoryContextSwitchTo(function->fn_mcxt);
		TupleDesc	desc;

		if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		function->fn_extra = BlessTupleDesc(desc);
		MemoryContextSwitchTo(context);
	}
	return function->fn_extra;
}

/*
 * The client's address. A service is believed. Anybody else could name one
 * that a stolen key may be used from, or use up the limits of a stranger: for
 * them it is what pre_request() finds, or not known.
 */
static const inet *
client_address(FunctionCallInfo fcinfo, inet *found)
{
	static const char *const name[] = {"x-forwarded-for"};
	const char *headers;
	char	   *list = NULL;

	if (mv_caller_is_service())
		return PG_ARGISNULL(5) ? NULL : PG_GETARG_INET_PP(5);
	headers = GetConfigOption("request.headers", true, false);
	if (headers == NULL || headers[0] == '\0' || !mv_json_members(headers, name, 1, &list) || list == NULL ||
		!mv_client_address(NULL, list, strlen(list), found))
		return NULL;
	return found;
}

/* handle_request(method text, path text, query jsonb, headers jsonb, body text, client_ip inet) */
Datum
musicverse_handle_request(PG_FUNCTION_ARGS)
{
	MvApiRequest request = {0};
	MvApiResponse response;
	inet		address;
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3] = {false, false, false};
	bool		is_head;

	desc = result_type(fcinfo);
	for (int i = 0; i < 2; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not be null", i == 0 ? "method" : "path")));
	take_text(fcinfo, 0, &request.method, &request.method_len);
	take_text(fcinfo, 1, &request.target, &request.target_len);
	request.query = take_fields(fcinfo, 2, "query", false, &request.nquery);
	request.headers = take_fields(fcinfo, 3, "headers", true, &request.nheaders);
	take_text(fcinfo, 4, &request.body, &request.body_len);
	request.client_ip = client_address(fcinfo, &address);

	mv_api_handle(&request, &response);

	values[0] = Int32GetDatum(response.status);
	is_head = request.method_len == 4 && memcmp(request.method, "HEAD", 4) == 0;
	values[1] = JsonbPGetDatum(answered_headers(&response, is_head));
	values[2] = PointerGetDatum(cstring_to_text_with_len(response.body, response.body_len));
	nulls[2] = response.body_len == 0 || is_head;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}

/*
 * Arguments of a call. See bind.h.
 */
#include "postgres.h"

#include "api/bind.h"
#include "api/json.h"
#include "api/problem.h"
#include "api/respond.h"
#include "api/schema.h"
#include "utils/builtins.h"

static void
give(MvApiCall *call, int i, Datum value, bool is_null)
{
	call->given |= UINT64CONST(1) << i;
	call->values[i] = value;
	call->nulls[i] = is_null ? 'n' : ' ';
}

static bool
is_given(const MvApiCall *call, int i)
{
	return (call->given & UINT64CONST(1) << i) != 0;
}

static MvArgument *
find_argument(MvRoute *route, const char *name, int len, MvSource source)
{
	for (int i = 0; i < route->nargs; i++)
		if (route->args[i].source == source && strlen(route->args[i].name) == len && memcmp(route->args[i].name, name, len) == 0)
			return &route->args[i];
	return NULL;
}

/* "limit, cursor", or "none" */
static char *
known_names(MvRoute *route, MvSource source)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < route->nargs; i++)
		if (route->args[i].source == source)
			appendStringInfo(&list, "%s%s", list.len > 0 ? ", " : "", route->args[i].name);
	return list.len > 0 ? list.data : pstrdup("none");
}

/* What a path stands for either is there or isn't: of the wrong type it is not. */
static bool
bind_path(MvApiCall *call)
{
	MvRoute    *route = call->route;

	for (int i = 0; i < route->nargs; i++)
	{
		MvArgument *arg = &route->args[i];
		const char *message;
		Datum		value;

		if (arg->source != MV_FROM_PATH)
			continue;
		if (!mv_convert_text(arg, call->path_values[arg->place], &value, &message))
			return mv_problem(call, MV_P_NOT_FOUND, "There is nothing at this path: %s %s.", arg->name, message);
		give(call, i, value, false);
	}
	return true;
}

static void
bind_query(MvApiCall *call)
{
	MvRoute    *route = call->route;

	for (int p = 0; p < call->nparameters; p++)
	{
		const char *name = call->parameters[p].name;

		if (find_argument(route, name, strlen(name), MV_FROM_QUERY) == NULL)
			mv_field_error(call, "parameter", name, psprintf("is unknown; known are: %s", known_names(route, MV_FROM_QUERY)));
	}
	for (int i = 0; i < route->nargs; i++)
	{
		MvArgument *arg = &route->args[i];
		List	   *texts = NIL;
		const char *message;
		Datum		value;

		if (arg->source != MV_FROM_QUERY)
			continue;
		for (int p = 0; p < call->nparameters; p++)
			if (strcmp(call->parameters[p].name, arg->name) == 0)
				texts = lappend(texts, unconstify(char *, call->parameters[p].value));
		if (texts == NIL)
		{
			if (!arg->has_default)
				mv_field_error(call, "parameter", arg->name, "is required");
		}
		else if (mv_convert_list(arg, texts, &value, &message))
			give(call, i, value, false);
		else
			mv_field_error(call, "parameter", arg->name, message);
	}
}

static bool
has_fault(MvApiCall *call, const char *pointer)
{
	ListCell   *cell;

	foreach(cell, call->errors)
		if (strcmp(((MvFieldError *) lfirst(cell))->field, pointer) == 0)
			return true;
	return false;
}

static void
bind_member(MvApiCall *call, const JsonbValue *key, const JsonbValue *member)
{
	MvRoute    *route = call->route;
	MvArgument *arg = find_argument(route, key->val.string.val, key->val.string.len, MV_FROM_BODY);
	char	   *pointer = mv_json_pointer("", key->val.string.val, key->val.string.len);
	const char *message;
	Datum		value;

	if (has_fault(call, pointer))
		return;
	if (arg == NULL)
		mv_field_error(call, "field", pointer, psprintf("is unknown; known are: %s", known_names(route, MV_FROM_BODY)));
	else if (member->type == jbvNull && arg->type != JSONOID && arg->type != JSONBOID)
		give(call, arg - route->args, (Datum) 0, true);
	else if (mv_convert_json(arg, member, &value, &message))
		give(call, arg - route->args, value, false);
	else
		mv_field_error(call, "field", pointer, message);
}

static void
bind_body(MvApiCall *call)
{
	MvRoute    *route = call->route;

	if (call->body != NULL)
	{
		JsonbIterator *it;
		JsonbValue	key;
		JsonbValue	member;

		if (route->request_schema != NULL)
			mv_schema_check(call, call->body, route->request_schema);
		it = JsonbIteratorInit(&call->body->root);
		JsonbIteratorNext(&it, &key, true);
		while (JsonbIteratorNext(&it, &key, true) == WJB_KEY && list_length(call->errors) < MV_MAX_ERRORS)
		{
			JsonbIteratorNext(&it, &member, true);
			bind_member(call, &key, &member);
		}
	}
	for (int i = 0; i < route->nargs; i++)
	{
		MvArgument *arg = &route->args[i];

		if (arg->source == MV_FROM_BODY && !arg->has_default && !is_given(call, i))
		{
			char	   *pointer = mv_json_pointer("", arg->name, strlen(arg->name));

			if (!has_fault(call, pointer))
				mv_field_error(call, "field", pointer, "is required");
		}
	}
}

static bool
bind_raw(MvApiCall *call)
{
	const MvApiRequest *request = call->request;

	for (int i = 0; i < call->route->nargs; i++)
		if (call->route->args[i].source == MV_FROM_RAW_BODY)
		{
			Size		valid = mv_valid_text(request->body, request->body_len);

			if (valid != request->body_len)
				return mv_problem(call, MV_P_BAD_REQUEST, "The body is not valid UTF-8, or has a NUL, at byte %zu.", valid + 1);
			give(call, i, PointerGetDatum(cstring_to_text_with_len(request->body, request->body_len)), false);
		}
		else if (call->route->args[i].source == MV_FROM_HEADERS)
			give(call, i, JsonbPGetDatum(mv_headers_json(request)), false);
	return true;
}

bool
mv_bind(MvApiCall *call)
{
	int			in_query;

	if (!bind_path(call))
		return false;
	if (call->route->is_raw)
		return bind_raw(call);
	bind_query(call);
	in_query = list_length(call->errors);
	bind_body(call);
	if (call->errors == NIL)
		return bind_raw(call);
	{
		MvFieldError *first = linitial(call->errors);

		return mv_problem(call, in_query > 0 ? MV_P_BAD_REQUEST : MV_P_INVALID_REQUEST, "%s %s%s",
						  first->field[0] == '\0' ? "The body" : first->field, first->message,
						  list_length(call->errors) > 1 ? "; see errors for the others." : ".");
	}
}

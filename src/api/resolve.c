/*
 * The function of a route: which one it is, and where each of its arguments
 * comes from.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "api/call.h"
#include "api/invoke.h"
#include "api/route.h"
#include "api/route_int.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

/* Is it among the query parameters that the route declares? */
static bool
declares_query(const MvRoute *route, const char *name)
{
	JsonbIterator *it = JsonbIteratorInit(&route->parameters->root);
	JsonbValue	v;

	if (JsonbIteratorNext(&it, &v, false) != WJB_BEGIN_ARRAY)
		return false;
	while (JsonbIteratorNext(&it, &v, true) == WJB_ELEM)
	{
		JsonbValue	buffer;
		JsonbValue *member;

		if (v.type != jbvBinary || !JsonContainerIsObject(v.val.binary.data))
			continue;
		member = getKeyJsonValueFromContainer(v.val.binary.data, "in", 2, &buffer);
		if (member == NULL || member->type != jbvString || member->val.string.len != 5 || memcmp(member->val.string.val, "query", 5) != 0)
			continue;
		member = getKeyJsonValueFromContainer(v.val.binary.data, "name", 4, &buffer);
		if (member != NULL && member->type == jbvString && member->val.string.len == strlen(name) &&
			memcmp(member->val.string.val, name, member->val.string.len) == 0)
			return true;
	}
	return false;
}

static void
find_source(const MvRoute *route, MvArgument *arg)
{
	for (int i = 0; i < route->nparams; i++)
		if (strcmp(route->params[i], arg->name) == 0)
		{
			arg->source = MV_FROM_PATH;
			arg->place = i;
			return;
		}
	if (strcmp(arg->name, route->is_raw ? "body" : "_body") == 0 && arg->type == TEXTOID)
		arg->source = MV_FROM_RAW_BODY;
	else if (strcmp(arg->name, route->is_raw ? "headers" : "_headers") == 0 && arg->type == JSONBOID)
		arg->source = MV_FROM_HEADERS;
	else if (route->request_schema == NULL || declares_query(route, arg->name))
		arg->source = MV_FROM_QUERY;
	else
		arg->source = MV_FROM_BODY;
}

static bool
take_arguments(MvRoute *route, HeapTuple tuple, const char **why)
{
	Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);
	Oid		   *types;
	char	  **names;
	char	   *modes;
	int			n = get_func_arg_info(tuple, &types, &names, &modes);

	if (modes != NULL || n != form->pronargs || n > MV_MAX_ARGUMENTS || form->proretset || form->provariadic != InvalidOid)
	{
		*why = "it returns a set or a row, is variadic, or has too many arguments";
		return false;
	}
	route->nargs = n;
	route->args = MemoryContextAllocZero(route->args_context, Max(n, 1) * sizeof(MvArgument));
	route->takes_json = true;
	for (int i = 0; i < n; i++)
	{
		MvArgument *arg = &route->args[i];
		Oid			input;

		if (names == NULL || names[i][0] == '\0')
		{
			*why = "an argument has no name";
			return false;
		}
		arg->name = MemoryContextStrdup(route->args_context, names[i]);
		arg->type = types[i];
		arg->element = get_element_type(arg->type);
		arg->is_array = OidIsValid(arg->element);
		if (!arg->is_array)
			arg->element = arg->type;
		arg->has_default = i >= n - form->pronargdefaults;
		getTypeInputInfo(arg->element, &input, &arg->io_param);
		fmgr_info_cxt(input, &arg->input, route->args_context);
		arg->type_name = MemoryContextStrdup(route->args_context, format_type_be(arg->element));
		find_source(route, arg);
		if (arg->source == MV_FROM_RAW_BODY)
			route->takes_json = false;
	}
	for (int p = 0; p < route->nparams; p++)
	{
		bool		found = false;

		for (int i = 0; i < n; i++)
			found |= route->args[i].source == MV_FROM_PATH && route->args[i].place == p;
		if (!found)
		{
			*why = "a parameter of the path is not among its arguments";
			return false;
		}
	}
	if (route->is_raw)
	{
		if (form->prorettype != INT4OID)
		{
			*why = "it belongs to a raw route and does not return integer";
			return false;
		}
		route->takes_json = false;
	}
	return true;
}

bool
mv_route_resolve(MvRoutes *routes, MvRoute *route, const char **why)
{
	CatCList   *list;
	Oid			schema;
	HeapTuple	tuple = NULL;
	int			found = 0;
	bool		result = false;

	if (route->is_resolved)
		return true;
	/* a plan that runs, as the function called the API, is lost until all is forgotten */
	for (int p = 0; p < route->nplans && route->busy == 0; p++)
		SPI_freeplan(route->plans[p].plan);
	route->nplans = route->next_plan = 0;
	/* as are the arguments of such a call */
	if (route->args_context != NULL && route->busy == 0)
		MemoryContextDelete(route->args_context);
	route->args_context = NULL;
	route->args = NULL;
	route->nargs = 0;
	route->args_context = AllocSetContextCreate(routes->context, "musicverse route arguments", ALLOCSET_SMALL_SIZES);

	schema = get_namespace_oid(psprintf("musicverse_%s", route->version), true);
	list = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum(route->operation));
	for (int i = 0; i < list->n_members; i++)
	{
		HeapTuple	candidate = &list->members[i]->tuple;

		if (((Form_pg_proc) GETSTRUCT(candidate))->pronamespace == schema &&
			((Form_pg_proc) GETSTRUCT(candidate))->prokind == PROKIND_FUNCTION)
		{
			tuple = candidate;
			found++;
		}
	}
	if (found != 1)
		*why = found == 0 ? "there is no such function" : "several functions have that name";
	else
	{
		Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);

		route->function = form->oid;
		route->hash = GetSysCacheHashValue1(PROCOID, ObjectIdGetDatum(form->oid));
		route->returns = form->prorettype;
		route->read_only = form->provolatile != PROVOLATILE_VOLATILE;
		result = take_arguments(route, tuple, why);
		if (result)
			mv_prepare_invoke(route->args_context, route, tuple);
	}
	ReleaseCatCacheList(list);
	route->is_resolved = result;
	return result;
}

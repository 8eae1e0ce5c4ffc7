/*
 * Calls the function of a route directly, as the server's fast-path protocol
 * does. See invoke.h.
 *
 * A query around the call would set up an executor and look the function up
 * each time, which costs more than many an operation. What the function keeps
 * for its next call is kept as long as it succeeds and isn't changed, and only
 * by the outermost of calls that are nested.
 */
#include "postgres.h"

#include "access/xact.h"
#include "api/invoke.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "core/compat.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "pgstat.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* A constant, or one that a function of the server's own converts, such as 20 to bigint; else NULL */
static Const *
constant_of(Node *node)
{
	ListCell   *cell;

	if (IsA(node, FuncExpr) && castNode(FuncExpr, node)->funcid < FirstNormalObjectId)
	{
		foreach(cell, castNode(FuncExpr, node)->args)
			if (!IsA(lfirst(cell), Const))
				return NULL;
		node = eval_const_expressions(NULL, node);
	}
	return IsA(node, Const) ? castNode(Const, node) : NULL;
}

void
mv_prepare_invoke(MemoryContext context, MvRoute *route, HeapTuple tuple)
{
	bool		isnull;
	Datum		defaults = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_proargdefaults, &isnull);
	List	   *list = isnull ? NIL : castNode(List, stringToNode(TextDatumGetCString(defaults)));
	int			first = route->nargs - list_length(list);

	route->is_strict = ((Form_pg_proc) GETSTRUCT(tuple))->proisstrict;
	/* one in SQL is planned anew in each transaction; a query around it has it taken in */
	route->can_invoke = ((Form_pg_proc) GETSTRUCT(tuple))->prolang != SQLlanguageId;
	route->is_set_up = false;
	route->resolutions++;
	for (int i = 0; i < route->nargs; i++)
	{
		MvArgument *arg = &route->args[i];
		Const	   *constant = i < first ? NULL : constant_of(list_nth(list, i - first));

		if (IsPolymorphicType(arg->type))
			route->can_invoke = false;
		if (constant == NULL || constant->consttype != arg->type)
			continue;
		arg->is_constant = true;
		arg->null_constant = constant->constisnull;
		if (!constant->constisnull)
		{
			MemoryContext caller_context = MemoryContextSwitchTo(context);

			arg->constant = datumCopy(constant->constvalue, constant->constbyval, constant->constlen);
			MemoryContextSwitchTo(caller_context);
		}
	}
}

bool
mv_can_invoke(const MvApiCall *call)
{
	const MvRoute *route = call->route;

	if (!route->can_invoke || route->busy > 1)
		return false;
	for (int i = 0; i < route->nargs; i++)
		if (!(call->given & UINT64CONST(1) << i) && !route->args[i].is_constant)
			return false;
	return true;
}

static void
set_up(MvRoute *route)
{
	if (route->call_context == NULL)
		route->call_context = AllocSetContextCreate(GetMemoryChunkContext(route), "musicverse route", ALLOCSET_SMALL_SIZES);
	else
		MemoryContextReset(route->call_context);
	fmgr_info_cxt(route->function, &route->flinfo, route->call_context);
	route->is_set_up = true;
}

Datum
mv_invoke(MvApiCall *call, bool *isnull)
{
	LOCAL_FCINFO(fcinfo, MV_MAX_ARGUMENTS);
	MvRoute    *route = call->route;
	PgStat_FunctionCallUsage usage;
	bool		some_null = false;
	bool		read_only = route->read_only;	/* it may become another function meanwhile */
	int			resolutions = route->resolutions;
	Datum		result;

	if (mv_function_aclcheck(route->function, GetUserId(), ACL_EXECUTE) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, route->operation);
	if (!route->is_set_up)
		set_up(route);
	InitFunctionCallInfoData(*fcinfo, &route->flinfo, route->nargs, DEFAULT_COLLATION_OID, NULL, NULL);
	for (int i = 0; i < route->nargs; i++)
	{
		bool		given = (call->given & UINT64CONST(1) << i) != 0;

		fcinfo->args[i].value = given ? call->values[i] : route->args[i].constant;
		fcinfo->args[i].isnull = given ? call->nulls[i] == 'n' : route->args[i].null_constant;
		some_null |= fcinfo->args[i].isnull;
	}
	*isnull = true;
	if (some_null && route->is_strict)
		return (Datum) 0;

	route->is_set_up = false;	/* until it has succeeded */
	if (!read_only)
	{
		CommandCounterIncrement();
		PushActiveSnapshot(GetTransactionSnapshot());
	}
	pgstat_init_function_usage(fcinfo, &usage);
	result = FunctionCallInvoke(fcinfo);
	pgstat_end_function_usage(&usage, true);
	if (!read_only)
	{
		PopActiveSnapshot();
		CommandCounterIncrement();
	}
	route->is_set_up = resolutions == route->resolutions;
	*isnull = fcinfo->isnull;
	return result;
}

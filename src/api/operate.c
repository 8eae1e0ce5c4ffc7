/*
 * Runs the operation of a call. See operate.h.
 *
 * The function is called directly where all its defaults are constants, but
 * for one in SQL, which would be planned anew at each call. Else by a query,
 * whose plan is kept for each set of arguments that were given; the plan that
 * was made first gives way to the one too many. Of one that only reads, the
 * call is kept too, and evaluated without an executor. Settings that an
 * operation changes end with it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "api/idempotency.h"
#include "api/invoke.h"
#include "api/operate.h"
#include "api/problem.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "core/caller.h"
#include "core/catalog.h"
#include "core/kept_plan.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/resowner.h"

#define API_ROLE "musicverse_api"

/* The call of a route's function, made ready to be evaluated */
typedef struct MvEvaluation
{
	bool		is_made;
	MvKeptPlan	kept;
	MemoryContext context;		/* of what follows */
	ExprState  *state;			/* NULL: the plan is more than a call */
	ExprContext *econtext;
} MvEvaluation;

static Oid
api_role(void)
{
	static Oid	role = InvalidOid;
	static uint64 generation = 0;

	if (generation != mv_roles_generation || !OidIsValid(role))
	{
		generation = mv_roles_generation;
		role = get_role_oid(API_ROLE, true);
		if (!OidIsValid(role))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("role \"%s\" does not exist", API_ROLE),
					 errhint("Drop and create the extension, or create the role and grant it what an authenticated role has.")));
	}
	return role;
}

static SPIPlanPtr
prepare(MvRoute *route, uint64 given)
{
	StringInfoData query;
	Oid			types[MV_MAX_ARGUMENTS];
	int			n = 0;
	SPIPlanPtr	plan;

	initStringInfo(&query);
	appendStringInfo(&query, "select %s(", quote_qualified_identifier(psprintf("musicverse_%s", route->version), route->operation));
	for (int i = 0; i < route->nargs; i++)
		if (given & UINT64CONST(1) << i)
		{
			appendStringInfo(&query, "%s%s => $%d", n > 0 ? ", " : "", quote_identifier(route->args[i].name), n + 1);
			types[n++] = route->args[i].type;
		}
	appendStringInfoChar(&query, ')');
	plan = SPI_prepare(query.data, n, types);
	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", query.data, SPI_result_code_string(SPI_result));
	if (SPI_keepplan(plan) != 0)
		elog(ERROR, "could not keep the plan of \"%s\"", query.data);
	return plan;
}

static MvPlan *
find_plan(MvRoute *route, uint64 given)
{
	MemoryContext context;
	SPIPlanPtr	plan;
	MvPlan	   *entry;

	for (int i = 0; i < route->nplans; i++)
		if (route->plans[i].given == given)
			return &route->plans[i];
	SPI_connect();
	plan = prepare(route, given);
	SPI_finish();
	if (route->nplans < MV_PLANS)
		entry = &route->plans[route->nplans++];
	else
	{
		entry = &route->plans[route->next_plan];
		route->next_plan = (route->next_plan + 1) % MV_PLANS;
		if (route->busy == 1)	/* else it may be running */
			SPI_freeplan(entry->plan);
	}
	context = GetMemoryChunkContext(plan);
	entry->given = given;
	entry->plan = plan;
	entry->evaluation = MemoryContextAllocZero(context, sizeof(MvEvaluation));
	entry->evaluation->context = AllocSetContextCreate(context, "musicverse evaluation", ALLOCSET_SMALL_SIZES);
	return entry;
}

/* Keeps the result as text in the call's memory. */
static void
take_result(MvApiCall *call, Oid type, Datum value, bool isnull)
{
	MemoryContext spi_context;

	if (isnull || type == VOIDOID)
		return;
	spi_context = MemoryContextSwitchTo(call->context);
	if (type == JSONOID || type == TEXTOID)
		call->result = TextDatumGetCString(value);
	else if (type == JSONBOID)
	{
		Jsonb	   *jb = DatumGetJsonbP(value);

		call->result = JsonbToCString(NULL, &jb->root, VARSIZE(jb));
	}
	else
	{
		Oid			output;
		bool		is_varlena;

		getTypeOutputInfo(type, &output, &is_varlena);
		call->result = OidOutputFunctionCall(output, value);
	}
	call->result_len = strlen(call->result);
	MemoryContextSwitchTo(spi_context);
}

/*
 * The expression of a plan that is nothing but a call of a function, as it is
 * for all that the planner doesn't make a join of; else NULL.
 */
static Expr *
sole_expression(CachedPlan *cached)
{
	PlannedStmt *stmt;
	Plan	   *plan;

	if (list_length(cached->stmt_list) != 1)
		return NULL;
	stmt = linitial_node(PlannedStmt, cached->stmt_list);
	plan = stmt->planTree;
	if (stmt->commandType != CMD_SELECT || !IsA(plan, Result) || plan->lefttree != NULL || plan->initPlan != NIL || plan->qual != NIL ||
		((Result *) plan)->resconstantqual != NULL || stmt->subplans != NIL || stmt->relationOids != NIL ||
		list_length(plan->targetlist) != 1)
		return NULL;
	return linitial_node(TargetEntry, plan->targetlist)->expr;
}

static void
make_evaluation(MvEvaluation *evaluation, SPIPlanPtr plan)
{
	CachedPlan *cached = mv_kept_plan_get(plan, &evaluation->kept);
	Expr	   *expr = sole_expression(cached);
	MemoryContext caller_context;

	evaluation->state = NULL;
	MemoryContextReset(evaluation->context);
	caller_context = MemoryContextSwitchTo(evaluation->context);
	if (expr != NULL)
	{
		evaluation->econtext = CreateStandaloneExprContext();
		evaluation->state = ExecInitExpr(copyObjectImpl(expr), NULL);
	}
	MemoryContextSwitchTo(caller_context);
	ReleaseCachedPlan(cached, CurrentResourceOwner);
	evaluation->is_made = true;
}

/*
 * Evaluates the call by itself, as plpgsql does, without an executor around
 * it. False when the plan is more than that, or in use. By the active snapshot.
 */
static bool
evaluate(MvApiCall *call, MvPlan *plan, ParamListInfo params)
{
	Oid			type = call->route->returns;	/* it may become another function meanwhile */
	MvEvaluation *evaluation = plan->evaluation;
	Datum		value;
	bool		isnull;

	if (call->route->busy > 1)
		return false;
	if (!evaluation->is_made || !mv_kept_plan_is_good(&evaluation->kept))
		make_evaluation(evaluation, plan->plan);
	if (evaluation->state == NULL)
		return false;
	evaluation->is_made = false;	/* until it has succeeded */
	evaluation->econtext->ecxt_param_list_info = params;
	value = ExecEvalExpr(evaluation->state, evaluation->econtext, &isnull);
	take_result(call, type, value, isnull);
	ReScanExprContext(evaluation->econtext);
	evaluation->is_made = true;
	return true;
}

/* By a query, which evaluates the defaults of what was left out */
static void
run_query(MvApiCall *call)
{
	MvRoute    *route = call->route;
	Oid			type = route->returns;	/* it may become another function meanwhile */
	ParamListInfo params = makeParamList(MV_MAX_ARGUMENTS);
	SPIExecuteOptions options = {.params = params, .read_only = route->read_only};
	MvPlan	   *plan = find_plan(route, call->given);
	int			n = 0;
	int			code;
	bool		isnull;
	Datum		value;

	for (int i = 0; i < route->nargs; i++)
		if (call->given & UINT64CONST(1) << i)
		{
			params->params[n].value = call->values[i];
			params->params[n].isnull = call->nulls[i] == 'n';
			params->params[n].pflags = PARAM_FLAG_CONST;
			params->params[n++].ptype = route->args[i].type;
		}
	params->numParams = n;
	if (route->read_only && evaluate(call, plan, params))
		return;
	SPI_connect();
	code = SPI_execute_plan_extended(plan->plan, &options);
	if (code != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not run operation %s: %s", route->operation, SPI_result_code_string(code));
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	take_result(call, type, value, isnull);
	SPI_finish();
}

/*
 * Triggers and constraints that wait for the commit would be run as whoever
 * the process is, which is a superuser in the gateway, and what they raise
 * could not be told as the operation's answer.
 */
static void
run_deferred(void)
{
	ConstraintsSetStmt all = {.type = T_ConstraintsSetStmt};

	AfterTriggerSetState(&all);
}

static void
run(MvApiCall *call)
{
	Oid			type = call->route->returns;
	bool		isnull;
	Datum		value;

	if (!mv_can_invoke(call))
	{
		run_query(call);
		return;
	}
	value = mv_invoke(call, &isnull);
	take_result(call, type, value, isnull);
}

/* Statement timeouts are answers, what somebody asks for isn't. */
static bool
goes_on(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_OUT_OF_MEMORY || error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN ||
		(error->sqlerrcode == ERRCODE_QUERY_CANCELED &&
		 (error->message_id == NULL || strcmp(error->message_id, "canceling statement due to statement timeout") != 0));
}

bool
mv_operate(MvApiCall *call)
{
	MvRoute    *route = call->route;
	ResourceOwner owner = CurrentResourceOwner;
	MvCallerState caller;
	Oid			save_user;
	int			save_context;
	volatile bool good = true;

	mv_save_caller(&caller);
	GetUserIdAndSecContext(&save_user, &save_context);
	call->has_run = true;
	route->busy++;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(call->context);
	PG_TRY();
	{
		int			nest_level = NewGUCNestLevel();

		SetUserIdAndSecContext(api_role(), save_context | SECURITY_LOCAL_USERID_CHANGE);
		if (call->verdict.identified)
			mv_set_caller(&call->verdict.user_id, call->verdict.has_key ? &call->verdict.key_id : NULL);
		else
			mv_set_caller_nobody();
		run(call);
		if (call->request->owns_transaction && !route->read_only)
			run_deferred();
		AtEOXact_GUC(false, nest_level);
		if (call->idempotency_key != NULL && (call->result != NULL || route->returns == VOIDOID))
			mv_idempotency_keep(call, call->result == NULL ? 204 : route->status, call->result == NULL ? "" : route->response_type,
								call->result == NULL ? "" : call->result, call->result_len);
		SetUserIdAndSecContext(save_user, save_context);
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
		MemoryContextSwitchTo(call->context);
		SetUserIdAndSecContext(save_user, save_context);
		mv_restore_caller(&caller);
		route->busy--;
		if (goes_on(error))
			ReThrowError(error);
		call->result = NULL;
		call->is_kept = false;
		mv_problem_of_error(call, error);
		good = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(call->context);
	CurrentResourceOwner = owner;
	if (!good)
		return false;
	mv_restore_caller(&caller);
	route->busy--;
	if (call->result == NULL && route->returns != VOIDOID && !route->is_raw)
		return mv_problem(call, MV_P_NOT_FOUND, "There is nothing at this path.");
	return true;
}

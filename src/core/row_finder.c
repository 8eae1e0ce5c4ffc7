/*
 * Finds one row by its key. See row_finder.h.
 *
 * The server plans the query, so the policies of the table are in the plan as
 * its filter. When that plan is a scan of a B-tree by the key and a filter of
 * plain functions, the scan is done here: it takes the same locks, asks for the
 * same rights, reads by the same snapshot and evaluates the plan's own filter,
 * but keeps what the executor makes and judges anew for each query. Any other
 * plan is left to the executor, as is a search within a search.
 *
 * What is kept was made for one plan and one user, and is made again when
 * either is another: a change of the table, of its policies, of a function in
 * them or of a role is a new plan, or a new generation of roles.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "core/compat.h"
#include "core/kept_plan.h"
#include "core/row_finder.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/plannodes.h"
#include "parser/parsetree.h"
#include "storage/lmgr.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

/*
 * A scan of a B-tree asks for 27 kB in one piece. That comes from a block which
 * is kept, as long as it is no more than an eighth of what a block may be.
 */
#define SEARCH_MEMORY	(64 * 1024)
#define LARGEST_BLOCK	(8 * SEARCH_MEMORY)

/* A value that the filter wants, the same for all rows: what stands in a subquery of a policy */
typedef struct Given
{
	int			param;
	ExprState  *state;
} Given;

struct MvRowScan
{
	MemoryContext context;		/* of all that is below "kept" */
	MemoryContext search;		/* of a search, empty between them */
	bool		in_use;			/* by the transaction and subtransaction below, if these still run */
	LocalTransactionId lxid;
	SubTransactionId subid;

	MvKeptPlan	kept;
	bool		is_simple;		/* false: for the executor */
	Oid			table;
	Oid			index;
	MvRights	rights;
	ScanKeyData key;
	ExprState  *filter;
	int			ngiven;
	Given	   *given;
	ExprContext *econtext;
	TupleTableSlot *slot;
	uint64		identifier;
};

/* --- is the plan simple? --------------------------------------------------- */

typedef struct Judge
{
	Index		table;			/* whose columns may be used; 0 = none's */
	int			nparams;
	bool	   *is_given;		/* which parameters of the executor have a value */
} Judge;

/* What it keeps from call to call is as good for the next transaction */
static bool
is_other_language(Oid function, void *unused)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return true;
	form = (Form_pg_proc) GETSTRUCT(tuple);
	result = (form->prolang != INTERNALlanguageId && form->prolang != ClanguageId) || form->proretset || form->prosecdef ||
		!heap_attisnull(tuple, Anum_pg_proc_proconfig, NULL);
	ReleaseSysCache(tuple);
	return result;
}

/* Is there anything that isn't evaluated by itself? */
static bool
is_complex(Node *node, void *context)
{
	Judge	   *judge = context;

	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_List:
		case T_Const:
		case T_BoolExpr:
		case T_NullTest:
		case T_RelabelType:
		case T_FuncExpr:
		case T_OpExpr:
			break;
		case T_Var:
			return ((Var *) node)->varno != judge->table || ((Var *) node)->varattno <= 0 || ((Var *) node)->varlevelsup != 0;
		case T_Param:
			return ((Param *) node)->paramkind != PARAM_EXEC || !judge->is_given[((Param *) node)->paramid];
		default:
			return true;
	}
	return check_functions_in_node(node, is_other_language, NULL) || expression_tree_walker(node, is_complex, context);
}

/* A subquery that is nothing but an expression; else NULL */
static Expr *
expression_of(PlannedStmt *stmt, SubPlan *subplan)
{
	Plan	   *plan = list_nth(stmt->subplans, subplan->plan_id - 1);

	if (subplan->subLinkType != EXPR_SUBLINK || subplan->parParam != NIL || list_length(subplan->setParam) != 1 ||
		!IsA(plan, Result) || plan->lefttree != NULL || plan->initPlan != NIL || plan->qual != NIL ||
		((Result *) plan)->resconstantqual != NULL || list_length(plan->targetlist) != 1)
		return NULL;
	return linitial_node(TargetEntry, plan->targetlist)->expr;
}

static bool
take_given(MvRowScan *scan, PlannedStmt *stmt, Plan *plan, Judge *judge)
{
	Judge		constant = {.table = 0, .nparams = judge->nparams, .is_given = palloc0(judge->nparams)};
	ListCell   *cell;

	scan->given = palloc(list_length(plan->initPlan) * sizeof(Given));
	if (list_length(stmt->subplans) != list_length(plan->initPlan))
		return false;
	foreach(cell, plan->initPlan)
	{
		SubPlan    *subplan = lfirst_node(SubPlan, cell);
		Expr	   *expr = expression_of(stmt, subplan);
		Given	   *given = &scan->given[scan->ngiven++];

		if (expr == NULL || is_complex((Node *) expr, &constant))
			return false;
		given->param = linitial_int(subplan->setParam);
		given->state = ExecInitExpr(copyObjectImpl(expr), NULL);
		judge->is_given[given->param] = true;
	}
	return true;
}

/* "key = $1" on a B-tree, and nothing else */
static bool
take_key(MvRowScan *scan, IndexScan *plan)
{
	OpExpr	   *condition = list_length(plan->indexqual) == 1 ? linitial(plan->indexqual) : NULL;
	Relation	index;
	Var		   *column;
	Param	   *param;
	int			strategy;
	Oid			left,
				right;
	FmgrInfo	function;

	if (condition == NULL || !IsA(condition, OpExpr) || list_length(condition->args) != 2 || plan->indexorderby != NIL)
		return false;
	column = linitial(condition->args);
	param = lsecond(condition->args);
	if (!IsA(column, Var) || column->varno != INDEX_VAR || column->varattno != 1 || column->vartype != UUIDOID ||
		!IsA(param, Param) || param->paramkind != PARAM_EXTERN || param->paramid != 1 || param->paramtype != UUIDOID)
		return false;
	index = index_open(plan->indexid, AccessShareLock);
	strategy = 0;
	if (index->rd_rel->relam == BTREE_AM_OID)
		get_op_opfamily_properties(condition->opno, index->rd_opfamily[0], false, &strategy, &left, &right);
	index_close(index, NoLock);
	if (strategy != BTEqualStrategyNumber)
		return false;
	fmgr_info(condition->opfuncid, &function);
	ScanKeyEntryInitializeWithInfo(&scan->key, 0, 1, strategy, right, condition->inputcollid, &function, (Datum) 0);
	scan->index = plan->indexid;
	return true;
}

static void
take_table(MvRowScan *scan, Oid table)
{
	Relation	rel = table_open(table, AccessShareLock);
	TypeCacheEntry *type = lookup_type_cache(rel->rd_rel->reltype, TYPECACHE_TUPDESC);

	if (type->tupDesc == NULL)
		elog(ERROR, "type %u is not composite", type->type_id);
	/* with what rows are to show that are older than a column */
	scan->slot = MakeTupleTableSlot(CreateTupleDescCopyConstr(RelationGetDescr(rel)), table_slot_callbacks(rel));
	scan->identifier = type->tupDesc_identifier;
	table_close(rel, NoLock);
}

/* Makes the scan of a plan. False when it is none. */
static bool
take_plan(MvRowScan *scan, PlannedStmt *stmt)
{
	IndexScan  *plan = (IndexScan *) stmt->planTree;
	Judge		judge = {.nparams = list_length(stmt->paramExecTypes)};
	RangeTblEntry *table;

	if (stmt->commandType != CMD_SELECT || stmt->hasModifyingCTE || stmt->rowMarks != NIL || !IsA(plan, IndexScan) ||
		plan->scan.plan.lefttree != NULL || plan->scan.plan.righttree != NULL)
		return false;
	table = rt_fetch(plan->scan.scanrelid, stmt->rtable);
	if (table->rtekind != RTE_RELATION || table->relkind != RELKIND_RELATION || table->rellockmode != AccessShareLock)
		return false;
	judge.table = plan->scan.scanrelid;
	judge.is_given = palloc0(Max(judge.nparams, 1));
	if (!take_key(scan, plan) || !take_given(scan, stmt, &plan->scan.plan, &judge) || is_complex((Node *) plan->scan.plan.qual, &judge))
		return false;
	scan->table = table->relid;
	scan->rights = mv_rights_of(stmt);
	scan->econtext = CreateStandaloneExprContext();
	scan->econtext->ecxt_param_exec_vals = palloc0(Max(judge.nparams, 1) * sizeof(ParamExecData));
	scan->filter = ExecInitQual(copyObjectImpl(plan->scan.plan.qual), NULL);
	take_table(scan, table->relid);
	return true;
}

/*
 * The plan of a search by key, whatever the planner thinks of a table that is
 * still small: it won't stay so.
 */
static CachedPlan *
get_plan(MvRowFinder *finder, MvKeptPlan *kept)
{
	static const char *const unwanted[] = {"enable_seqscan", "enable_bitmapscan"};
	int			level = NewGUCNestLevel();
	CachedPlan *plan;

	for (int i = 0; i < lengthof(unwanted); i++)
		(void) set_config_option(unwanted[i], "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	plan = mv_kept_plan_get(finder->plan, kept);
	AtEOXact_GUC(true, level);
	return plan;
}

static void
make_scan(MvRowFinder *finder)
{
	MvRowScan  *scan = finder->scan;
	MemoryContext caller_context = CurrentMemoryContext;
	MvKeptPlan	kept;
	CachedPlan *plan;

	scan->kept.source = NULL;	/* until all is made */
	plan = get_plan(finder, &kept);
	MemoryContextReset(scan->context);
	MemoryContextSwitchTo(scan->context);
	scan->ngiven = 0;
	scan->table = InvalidOid;
	scan->is_simple = list_length(plan->stmt_list) == 1 && take_plan(scan, linitial_node(PlannedStmt, plan->stmt_list));
	MemoryContextSwitchTo(caller_context);
	ReleaseCachedPlan(plan, CurrentResourceOwner);
	/* good for as long as the plan: a change of rights is one of the table or of a role */
	if (scan->is_simple)
		mv_check_rights(&scan->rights);
	scan->kept = kept;
}

/* --- the search ------------------------------------------------------------ */

static void
prepare(MvRowFinder *finder)
{
	static Oid	types[] = {UUIDOID};
	SPIPlanPtr	plan;
	MvRowScan  *scan;

	SPI_connect();
	/* by a key, whoever asks: no need to plan for each */
	plan = SPI_prepare_cursor(finder->text, lengthof(types), types, CURSOR_OPT_GENERIC_PLAN);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare \"%s\": %s", finder->text, SPI_result_code_string(SPI_result));
	SPI_finish();
	scan = MemoryContextAllocZero(TopMemoryContext, sizeof(MvRowScan));
	scan->context = AllocSetContextCreate(TopMemoryContext, "musicverse row finder", ALLOCSET_SMALL_SIZES);
	scan->search = GenerationContextCreate(TopMemoryContext, "musicverse search", SEARCH_MEMORY, SEARCH_MEMORY, LARGEST_BLOCK);
	finder->scan = scan;
	finder->plan = plan;
}

/* By somebody who waits for it to return. Whom an error has ended doesn't. */
static bool
is_in_use(const MvRowScan *scan)
{
	return scan->in_use && scan->lxid == mv_current_lxid() && SubTransactionIsActive(scan->subid);
}

static bool
is_ready(MvRowFinder *finder)
{
	MvRowScan  *scan = finder->scan;

	if (is_in_use(scan))
		return false;
	/* an error may have left the slot with a buffer that is no longer its own */
	if (scan->in_use)
	{
		scan->kept.source = NULL;
		MemoryContextReset(scan->search);
	}
	scan->in_use = true;
	scan->lxid = mv_current_lxid();
	scan->subid = GetCurrentSubTransactionId();
	if (scan->kept.source != NULL && OidIsValid(scan->table))
		LockRelationOid(scan->table, AccessShareLock);
	if (!mv_kept_plan_is_good(&scan->kept))
		make_scan(finder);
	if (scan->is_simple)
		return true;
	scan->in_use = false;
	return false;
}

static bool
passes_filter(MvRowScan *scan)
{
	ExprContext *econtext = scan->econtext;
	bool		result;

	for (int i = 0; i < scan->ngiven; i++)
	{
		ParamExecData *value = &econtext->ecxt_param_exec_vals[scan->given[i].param];

		value->value = ExecEvalExprSwitchContext(scan->given[i].state, econtext, &value->isnull);
	}
	econtext->ecxt_scantuple = scan->slot;
	result = ExecQual(scan->filter, econtext);
	ResetExprContext(econtext);
	return result;
}

static bool
search(MvRowScan *scan, const pg_uuid_t *key, MvRow *row)
{
	Relation	table;
	Relation	index;
	IndexScanDesc desc;
	MemoryContext caller_context;
	bool		found = false;

	CHECK_FOR_INTERRUPTS();
	if (ExecutorCheckPerms_hook != NULL)
		mv_check_rights(&scan->rights);
	table = table_open(scan->table, NoLock);
	index = index_open(scan->index, AccessShareLock);
	caller_context = MemoryContextSwitchTo(scan->search);
	desc = mv_index_beginscan(table, index, GetActiveSnapshot(), 1);
	scan->key.sk_argument = UUIDPGetDatum(key);
	index_rescan(desc, &scan->key, 1, NULL, 0);
	while (!found && index_getnext_slot(desc, ForwardScanDirection, scan->slot))
		found = passes_filter(scan);
	index_endscan(desc);
	MemoryContextSwitchTo(caller_context);
	MemoryContextReset(scan->search);
	index_close(index, NoLock);
	table_close(table, NoLock);
	if (!found)
	{
		ExecClearTuple(scan->slot);
		scan->in_use = false;
		return false;
	}
	slot_getallattrs(scan->slot);
	row->values = scan->slot->tts_values;
	row->nulls = scan->slot->tts_isnull;
	row->desc = scan->slot->tts_tupleDescriptor;
	row->identifier = scan->identifier;
	row->scan = scan;
	return true;
}

/* By a query, into the current context */
static bool
query(MvRowFinder *finder, const pg_uuid_t *key, MvRow *row)
{
	MemoryContext context = CurrentMemoryContext;
	Datum		value = UUIDPGetDatum(key);
	bool		isnull = true;

	SPI_connect();
	if (SPI_execute_plan(finder->plan, &value, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not run \"%s\"", finder->text);
	if (SPI_processed > 0)
		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (!isnull)
	{
		MemoryContextSwitchTo(context);
		mv_row_of(DatumGetHeapTupleHeaderCopy(value), row);
	}
	SPI_finish();
	return !isnull;
}

bool
mv_find_row(MvRowFinder *finder, const pg_uuid_t *key, MvRow *row)
{
	if (finder->plan == NULL)
		prepare(finder);
	return is_ready(finder) ? search(finder->scan, key, row) : query(finder, key, row);
}

void
mv_leave_row(MvRow *row)
{
	if (row->scan == NULL)
		return;
	ExecClearTuple(row->scan->slot);
	row->scan->in_use = false;
}

void
mv_row_of(HeapTupleHeader header, MvRow *row)
{
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(header), .t_data = header};
	TypeCacheEntry *type = lookup_type_cache(HeapTupleHeaderGetTypeId(header), TYPECACHE_TUPDESC);

	if (type->tupDesc == NULL)
		elog(ERROR, "type %u is not composite", type->type_id);
	row->values = palloc(type->tupDesc->natts * sizeof(Datum));
	row->nulls = palloc(type->tupDesc->natts * sizeof(bool));
	heap_deform_tuple(&tuple, type->tupDesc, row->values, row->nulls);
	row->desc = type->tupDesc;
	row->identifier = type->tupDesc_identifier;
	row->scan = NULL;
}

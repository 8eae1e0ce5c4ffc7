/*
 * Differences between the server versions this extension is written for
 * (15 to 18), each wrapped under the newest name or signature.
 */
#ifndef MV_COMPAT_H
#define MV_COMPAT_H

#include "postgres.h"

#include "access/genam.h"
#include "access/tableam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "executor/executor.h"
#include "nodes/plannodes.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#if PG_VERSION_NUM < 150000
#error "musicverse needs PostgreSQL 15 or newer"
#endif

#if PG_VERSION_NUM < 160000
/* Until 16 what a check hook hands over as *extra came from malloc */
#define guc_malloc(elevel, size) malloc(size)
#define guc_free(ptr) free(ptr)
#endif

#if PG_VERSION_NUM < 170000
/* 17 ties a set to a resource owner (NULL: for the whole session) instead of a memory context */
#define CreateWaitEventSet(resowner, nevents) CreateWaitEventSet(TopMemoryContext, nevents)
#endif

#if PG_VERSION_NUM < 160000
/* 16 renamed the family of ACL checks */
#define object_ownercheck(classid, objid, roleid) \
	((classid) == RelationRelationId ? pg_class_ownercheck(objid, roleid) : \
	 (classid) == DatabaseRelationId ? pg_database_ownercheck(objid, roleid) : \
	 pg_extension_ownercheck(objid, roleid))
#endif

/* One of that family, for functions */
#if PG_VERSION_NUM < 160000
#define mv_function_aclcheck(function, role, mode) pg_proc_aclcheck(function, role, mode)
#else
#define mv_function_aclcheck(function, role, mode) object_aclcheck(ProcedureRelationId, function, role, mode)
#endif

#if PG_VERSION_NUM < 170000
/* 17 numbers processes instead of handing out back-end ids */
#define MyProcNumber (MyProc->pgprocno)
#endif

#if PG_VERSION_NUM < 170000
#define INJECTION_POINT(name) ((void) 0)
#endif

#if PG_VERSION_NUM < 180000
/* 18 dropped the last argument of the ExecutorRun hook */
#define MV_EXECUTOR_RUN_PARAMETERS QueryDesc *query, ScanDirection direction, uint64 count, bool execute_once
#define MV_EXECUTOR_RUN_ARGUMENTS query, direction, count, execute_once
#else
#define MV_EXECUTOR_RUN_PARAMETERS QueryDesc *query, ScanDirection direction, uint64 count
#define MV_EXECUTOR_RUN_ARGUMENTS query, direction, count
#endif

/* 16 added an argument for indexes that only summarise */
static inline List *
mv_insert_index_tuples(ResultRelInfo *rel, TupleTableSlot *slot, EState *estate)
{
#if PG_VERSION_NUM < 160000
	return ExecInsertIndexTuples(rel, slot, estate, false, false, NULL, NIL);
#else
	return ExecInsertIndexTuples(rel, slot, estate, false, false, NULL, NIL, false);
#endif
}

/* 16 tells which kinds of indexes need an entry instead of whether any does */
static inline TM_Result
mv_table_tuple_update(Relation rel, ItemPointer tid, TupleTableSlot *slot, CommandId cid,
					  Snapshot snapshot, bool *update_indexes)
{
	TM_FailureData failure;
	LockTupleMode mode;
#if PG_VERSION_NUM < 160000
	return table_tuple_update(rel, tid, slot, cid, snapshot, InvalidSnapshot, true,
							  &failure, &mode, update_indexes);
#else
	TU_UpdateIndexes which;
	TM_Result	result = table_tuple_update(rel, tid, slot, cid, snapshot, InvalidSnapshot, true,
											&failure, &mode, &which);

	*update_indexes = result == TM_Ok && which == TU_All;
	return result;
#endif
}

/* 18 added an argument for instrumentation */
static inline IndexScanDesc
mv_index_beginscan(Relation table, Relation index, Snapshot snapshot, int nkeys)
{
#if PG_VERSION_NUM < 180000
	return index_beginscan(table, index, snapshot, nkeys, 0);
#else
	return index_beginscan(table, index, snapshot, NULL, nkeys, 0);
#endif
}

/* Which transaction of this process it is */
static inline LocalTransactionId
mv_current_lxid(void)
{
#if PG_VERSION_NUM < 170000
	return MyProc->lxid;
#else
	return MyProc->vxid.lxid;
#endif
}

/* What the user of a query must be allowed; 16 took it out of the tables. A copy, in the current context. */
typedef struct MvRights
{
	List	   *tables;
	List	   *permissions;
} MvRights;

static inline MvRights
mv_rights_of(const PlannedStmt *stmt)
{
#if PG_VERSION_NUM < 160000
	return (MvRights) {copyObjectImpl(stmt->rtable), NIL};
#else
	return (MvRights) {copyObjectImpl(stmt->rtable), copyObjectImpl(stmt->permInfos)};
#endif
}

/* Raises when the current user lacks any */
static inline void
mv_check_rights(const MvRights *rights)
{
#if PG_VERSION_NUM < 160000
	ExecCheckRTPerms(rights->tables, true);
#else
	ExecCheckPermissions(rights->tables, rights->permissions, true);
#endif
}

#endif							/* MV_COMPAT_H */

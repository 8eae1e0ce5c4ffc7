/*
 * Bulk insertion, see bulk.h. A plain table is its own leaf. The leaf of a row is found by the executor's
 * own tuple routing, as COPY finds it; rows of the same day go to the leaf of
 * the one before, so that is done once a flush in nearly all cases.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/hio.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "core/bulk.h"
#include "core/compat.h"
#include "core/uuid7.h"
#include "executor/execPartition.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/partcache.h"
#include "utils/rel.h"

#define BULK_ROWS 500

struct MvBulk
{
	MemoryContext context;
	Relation	root;
	EState	   *estate;
	ModifyTableState *mtstate;
	ResultRelInfo *root_info;
	PartitionTupleRouting *routing;	/* NULL = the table is none of partitions */
	TupleTableSlot *root_slot;	/* carries the partition key to the routing */

	ResultRelInfo *leaf;
	int64		day;			/* that leaf was found for; -1 = none */
	BulkInsertState bistate;
	TupleTableSlot *slots[BULK_ROWS];	/* of the leaf, made when first needed */
	int			nslots;
	int			used;
	CommandId	cid;
};

static void use_leaf(MvBulk *bulk, ResultRelInfo *leaf);

MvBulk *
mv_bulk_open(Oid root)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "musicverse bulk", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	MvBulk	   *bulk = palloc0(sizeof(MvBulk));

	bulk->context = context;
	bulk->root = table_open(root, RowExclusiveLock);
	bulk->estate = CreateExecutorState();
	bulk->root_info = makeNode(ResultRelInfo);
	InitResultRelInfo(bulk->root_info, bulk->root, 0, NULL, 0);

	bulk->mtstate = makeNode(ModifyTableState);
	bulk->mtstate->ps.state = bulk->estate;
	bulk->mtstate->operation = CMD_INSERT;
	bulk->mtstate->mt_nrels = 1;
	bulk->mtstate->resultRelInfo = bulk->root_info;
	bulk->mtstate->rootResultRelInfo = bulk->root_info;

	bulk->day = -1;
	bulk->cid = GetCurrentCommandId(true);
	if (bulk->root->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
	{
		bulk->routing = ExecSetupPartitionTupleRouting(bulk->estate, bulk->root);
		bulk->root_slot = MakeSingleTupleTableSlot(RelationGetDescr(bulk->root), &TTSOpsVirtual);
	}
	else
	{
		ExecOpenIndices(bulk->root_info, false);
		use_leaf(bulk, bulk->root_info);
	}
	MemoryContextSwitchTo(old);
	return bulk;
}

/* Writes the gathered rows of the leaf and their index entries. */
static void
write_rows(MvBulk *bulk)
{
	EState	   *estate = bulk->estate;
	MemoryContext old;

	if (bulk->used == 0)
		return;
	old = MemoryContextSwitchTo(GetPerTupleMemoryContext(estate));
	table_multi_insert(bulk->leaf->ri_RelationDesc, bulk->slots, bulk->used, bulk->cid, 0, bulk->bistate);
	for (int i = 0; i < bulk->used; i++)
	{
		if (bulk->leaf->ri_NumIndices > 0)
			list_free(mv_insert_index_tuples(bulk->leaf, bulk->slots[i], estate));
		ExecClearTuple(bulk->slots[i]);
	}
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(estate);
	bulk->used = 0;
}

static void
leave_leaf(MvBulk *bulk)
{
	write_rows(bulk);
	while (bulk->nslots > 0)
		ExecDropSingleTupleTableSlot(bulk->slots[--bulk->nslots]);
	if (bulk->bistate != NULL)
		FreeBulkInsertState(bulk->bistate);
	bulk->bistate = NULL;
	bulk->leaf = NULL;
}

/*
 * Not through COPY's small ring of buffers, which would have the caller write
 * pages and wait for the disk: who reads them does so in a moment.
 */
static void
use_leaf(MvBulk *bulk, ResultRelInfo *leaf)
{
	bulk->leaf = leaf;
	bulk->bistate = GetBulkInsertState();
	FreeAccessStrategy(bulk->bistate->strategy);
	bulk->bistate->strategy = NULL;
}

/* The partitioning column is named in the key; all our tables have just one. */
static void
enter_leaf(MvBulk *bulk, const pg_uuid_t *id)
{
	AttrNumber	key = RelationGetPartitionKey(bulk->root)->partattrs[0];
	TupleTableSlot *slot = bulk->root_slot;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts * sizeof(bool));
	slot->tts_values[key - 1] = UUIDPGetDatum(id);
	slot->tts_isnull[key - 1] = false;
	ExecStoreVirtualTuple(slot);
	use_leaf(bulk, ExecFindPartition(bulk->mtstate, bulk->root_info, bulk->routing, slot, bulk->estate));
	if (bulk->leaf->ri_RelationDesc->rd_att->natts != bulk->root->rd_att->natts)
		elog(ERROR, "table \"%s\" and its root have different columns",
			 RelationGetRelationName(bulk->leaf->ri_RelationDesc));
	ResetPerTupleExprContext(bulk->estate);
}

TupleTableSlot *
mv_bulk_row(MvBulk *bulk, const pg_uuid_t *partition_id)
{
	int64		day = partition_id == NULL ? bulk->day : mv_uuid7_time(partition_id) / USECS_PER_DAY;
	MemoryContext old = MemoryContextSwitchTo(bulk->context);
	TupleTableSlot *slot;

	if (day != bulk->day)
	{
		leave_leaf(bulk);
		enter_leaf(bulk, partition_id);
		bulk->day = day;
	}
	else if (bulk->used == BULK_ROWS)
		write_rows(bulk);

	if (bulk->used == bulk->nslots)
		bulk->slots[bulk->nslots++] = table_slot_create(bulk->leaf->ri_RelationDesc, NULL);
	slot = bulk->slots[bulk->used++];
	ExecStoreVirtualTuple(slot);
	MemoryContextSwitchTo(old);
	return slot;
}

void
mv_bulk_flush(MvBulk *bulk)
{
	write_rows(bulk);
}

void
mv_bulk_close(MvBulk *bulk)
{
	MemoryContext old = MemoryContextSwitchTo(bulk->context);

	leave_leaf(bulk);
	if (bulk->routing != NULL)
	{
		ExecDropSingleTupleTableSlot(bulk->root_slot);
		ExecCleanupTupleRouting(bulk->mtstate, bulk->routing);
	}
	else
		ExecCloseIndices(bulk->root_info);
	ExecCloseResultRelations(bulk->estate);
	FreeExecutorState(bulk->estate);
	table_close(bulk->root, NoLock);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(bulk->context);
}

/*
 * Bulk insertion into the tables that grow, the way COPY does it:
 * tuples are gathered and written page-wise, then their index entries. No
 * triggers, no defaults, no privileges are looked at: the tables are ours.
 */
#ifndef MV_BULK_H
#define MV_BULK_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "utils/uuid.h"

typedef struct MvBulk MvBulk;

/*
 * Opens the table (RowExclusiveLock until the end of the
 * transaction). Needs a transaction and an active snapshot. All memory is in
 * a child of the current context.
 */
extern MvBulk *mv_bulk_open(Oid root);

/*
 * The next row to be filled, already cleared: set tts_values and tts_isnull
 * of every column. What by-reference values point to must stay until they are
 * written, by mv_bulk_flush or mv_bulk_close. partition_id is the value of the
 * partitioning column, NULL for a table without partitions.
 */
extern TupleTableSlot *mv_bulk_row(MvBulk *bulk, const pg_uuid_t *partition_id);

/* Writes what was gathered. */
extern void mv_bulk_flush(MvBulk *bulk);

/* Writes what is left and closes. An error anywhere aborts as usual. */
extern void mv_bulk_close(MvBulk *bulk);

#endif							/* MV_BULK_H */

/*
 * One row by its key, as a query finds it, for a fraction of a query's time.
 */
#ifndef MV_ROW_FINDER_H
#define MV_ROW_FINDER_H

#include "postgres.h"

#include "access/htup.h"
#include "access/tupdesc.h"
#include "executor/spi.h"
#include "utils/uuid.h"

typedef struct MvRowScan MvRowScan;

typedef struct MvRowFinder
{
	/*
	 * "select r from schema.table r where r.key operator(pg_catalog.=) $1", of
	 * a uuid: a row at most, as a whole. Operators are named in full, as
	 * whoever calls chose the search_path.
	 */
	const char *text;
	SPIPlanPtr	plan;
	MvRowScan  *scan;
} MvRowFinder;

/* By the columns of the row type, those that were dropped included */
typedef struct MvRow
{
	Datum	   *values;
	bool	   *nulls;
	TupleDesc	desc;
	uint64		identifier;		/* of the row type as it is, as the type cache has it */
	MvRowScan  *scan;
} MvRow;

/*
 * Finds the row under the current user's rights and row-level security, by the
 * active snapshot; false when there is none. What it finds is to be left
 * again; an error does so too. AccessShareLock on the table and its index.
 */
extern bool mv_find_row(MvRowFinder *finder, const pg_uuid_t *key, MvRow *row);
extern void mv_leave_row(MvRow *row);

/* The same of a row that somebody else found. In the current context. */
extern void mv_row_of(HeapTupleHeader header, MvRow *row);

#endif							/* MV_ROW_FINDER_H */

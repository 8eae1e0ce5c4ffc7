/*
 * What a function that returns a row keeps for the life of the backend: the
 * description of the row, and whatever it adds. To find out the columns anew
 * for each statement costs several times what a verdict costs.
 */
#ifndef MV_KEPT_H
#define MV_KEPT_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "fmgr.h"

/* The first member of what is kept */
typedef struct MvKept
{
	Oid			function;
	TupleDesc	desc;			/* blessed */
} MvKept;

/*
 * What is kept for the function being called; at its first call size bytes,
 * zeros but for the above. Its columns can't change under its OID. It may
 * hold pointers into TopMemoryContext.
 */
extern void *mv_kept(FunctionCallInfo fcinfo, Size size);

#endif							/* MV_KEPT_H */

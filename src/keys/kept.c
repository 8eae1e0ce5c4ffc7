/*
 * What functions keep for the life of the backend. See kept.h.
 */
#include "postgres.h"

#include "funcapi.h"
#include "keys/kept.h"
#include "utils/memutils.h"

/* More than there are; an extension that was created anew has others */
#define MAX_KEPT 16

static MvKept *all[MAX_KEPT];
static int	next = 0;

static MvKept *
make(FunctionCallInfo fcinfo, Size size)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	MvKept	   *result = palloc0(size);
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	result->desc = BlessTupleDesc(desc);
	result->function = fcinfo->flinfo->fn_oid;
	MemoryContextSwitchTo(old);
	/* what had the place is left alone: a statement may still use it */
	all[next] = result;
	next = (next + 1) % MAX_KEPT;
	return result;
}

void *
mv_kept(FunctionCallInfo fcinfo, Size size)
{
	MvKept	   *found = fcinfo->flinfo->fn_extra;

	if (likely(found != NULL))
		return found;
	for (int i = 0; i < MAX_KEPT && found == NULL; i++)
		if (all[i] != NULL && all[i]->function == fcinfo->flinfo->fn_oid)
			found = all[i];
	if (found == NULL)
		found = make(fcinfo, size);
	fcinfo->flinfo->fn_extra = found;
	return found;
}

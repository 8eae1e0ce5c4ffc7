/*
 * Calls the function of a route directly, without a query around it.
 */
#ifndef MV_INVOKE_H
#define MV_INVOKE_H

#include "postgres.h"

#include "access/htup.h"
#include "api/call.h"

/* Whether that can be done for this call: each argument is given or has a default that is a constant. */
extern bool mv_can_invoke(const MvApiCall *call);

/* Does it; raises what the function raises. The result is in the current context. */
extern Datum mv_invoke(MvApiCall *call, bool *isnull);

/* For mv_route_resolve: notes the defaults that are constants, and forgets what is kept for calls. */
extern void mv_prepare_invoke(MemoryContext context, MvRoute *route, HeapTuple tuple);

#endif							/* MV_INVOKE_H */

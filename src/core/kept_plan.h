/*
 * Is a plan still what it was? For those who keep what they have made of one
 * from call to call: an expression made ready to be evaluated, the keys of a
 * scan. They ask here instead of the plan cache, which walks through the whole
 * query to lock its tables again.
 */
#ifndef MV_KEPT_PLAN_H
#define MV_KEPT_PLAN_H

#include "postgres.h"

#include "executor/spi.h"
#include "utils/plancache.h"

typedef struct MvKeptPlan
{
	CachedPlanSource *source;	/* NULL = nothing is kept */
	CachedPlan *plan;			/* only compared: it may be gone */
	int			generation;
	Oid			user;
	uint64		roles_generation;
} MvKeptPlan;

/*
 * The generic plan of a plan of SPI with a single statement, as the plan cache
 * has it; to be released with the current resource owner. Locks its tables.
 */
extern CachedPlan *mv_kept_plan_get(SPIPlanPtr spi, MvKeptPlan *kept);

/*
 * Whether what was made of the plan is good for the current user. Who asks has
 * locked the plan's tables in this transaction, as that is when changes are
 * told. Never raises.
 */
extern bool mv_kept_plan_is_good(const MvKeptPlan *kept);

#endif							/* MV_KEPT_PLAN_H */

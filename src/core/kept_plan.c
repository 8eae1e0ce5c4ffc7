/*
 * Plans that something is kept for. See kept_plan.h.
 */
#include "postgres.h"

#include "core/catalog.h"
#include "core/kept_plan.h"
#include "miscadmin.h"
#include "utils/resowner.h"
#include "utils/rls.h"

CachedPlan *
mv_kept_plan_get(SPIPlanPtr spi, MvKeptPlan *kept)
{
	CachedPlan *plan;

	kept->source = NULL;
	plan = GetCachedPlan(linitial(SPI_plan_get_plan_sources(spi)), NULL, CurrentResourceOwner, NULL);
	kept->plan = plan;
	kept->generation = plan->generation;
	kept->user = GetUserId();
	kept->roles_generation = mv_roles_generation;
	kept->source = linitial(SPI_plan_get_plan_sources(spi));
	return plan;
}

/* What GetCachedPlan() asks, and whether the user's rights are what they were */
bool
mv_kept_plan_is_good(const MvKeptPlan *kept)
{
	CachedPlanSource *source = kept->source;
	CachedPlan *plan = kept->plan;

	if (source == NULL || !source->is_valid || source->gplan != plan || !plan->is_valid ||
		plan->generation != kept->generation)
		return false;
	if (kept->user != GetUserId() || kept->roles_generation != mv_roles_generation)
		return false;
	if (source->dependsOnRLS && (source->rewriteRoleId != kept->user || source->rewriteRowSecurity != row_security))
		return false;
	if ((plan->dependsOnRole && plan->planRoleId != kept->user) || TransactionIdIsValid(plan->saved_xmin))
		return false;
	return CachedPlanIsSimplyValid(source, plan, NULL);
}

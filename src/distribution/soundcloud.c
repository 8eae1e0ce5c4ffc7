/*
 * The connector of SoundCloud.
 */
#include "postgres.h"

#include "distribution/connector_steps.h"

static void
soundcloud_plan(const MvJob *job, MvPlan *plan)
{
}

static void
soundcloud_start(const MvJob *job, const char *step, MvRequest *request)
{
}

static void
soundcloud_finish(const MvJob *job, const char *step, const MvResponse *response, MvOutcome *outcome)
{
}

const MvConnector mv_soundcloud = {"soundcloud", "/me", "OAuth", soundcloud_plan, soundcloud_start, soundcloud_finish};

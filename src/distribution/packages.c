/*
 * Connectors that carry nothing anywhere: what is to be delivered is packed
 * and waits to be fetched. bundle is for aggregators without an API, whose
 * forms the artist fills in; itmsp is Apple's package, for Transporter, where
 * the partner has no sftp:// address (itmsp.c has that way).
 *
 *   deliver    pack -> look, until it is packed; then somebody confirms
 *   takedown   bundle: ask_removal; itmsp: pack_removal -> look_removal, a
 *              package that says so; then somebody confirms
 *   cancel     withdraw
 *
 * No step asks anybody anything: finish() does it all, in its transaction. The
 * media worker packs (package_build.c), and the work is woken when it has.
 *
 * What is kept in the state:
 *   package (the id of media), scope, asked_rev, ready_rev, vendor_id, files
 *   (a digest of the addresses of what was packed), removal (asked for), and
 *   ready_package, which stays to be had when a change can't be packed
 */
#include "postgres.h"

#include "distribution/connector.h"
#include "distribution/connector_steps.h"
#include "distribution/package.h"
#include "utils/timestamp.h"

#define LOOK_SECONDS	15		/* when nobody wakes us */

/* ---- plan */

static const char *
plan_delivery(const MvJob *job)
{
	if (mv_json_int(job->state, "asked_rev", 0) < job->revision)
		return "pack";
	if (mv_json_int(job->state, "ready_rev", 0) < job->revision || job->delivered_revision < job->revision)
		return "look";
	return NULL;
}

static const char *
plan_removal(const MvJob *job, bool is_apple)
{
	const char *removal = mv_json_text(job->state, "removal");

	if (mv_json_text(job->state, "package") == NULL)
		return NULL;
	if (job->platforms == NIL || mv_json_int(job->state, "ready_rev", 0) == 0)
		return "withdraw";
	if (removal == NULL)
		return is_apple ? "pack_removal" : "ask_removal";
	return strcmp(removal, "packed") == 0 ? "look_removal" : NULL;
}

static void
bundle_plan(const MvJob *job, MvPlan *plan)
{
	plan->step = job->goal == MV_TAKEDOWN ? plan_removal(job, false) : plan_delivery(job);
}

static void
itmsp_plan(const MvJob *job, MvPlan *plan)
{
	if (mv_itmsp_is_sent(job))
		plan->step = mv_itmsp_plan(job);
	else
		plan->step = job->goal == MV_TAKEDOWN ? plan_removal(job, true) : plan_delivery(job);
}

/* ---- start */

static void
package_start(const MvJob *job, const char *step, MvRequest *request)
{
	request->nothing = true;
}

static void
itmsp_start(const MvJob *job, const char *step, MvRequest *request)
{
	if (mv_itmsp_is_sent(job))
		mv_itmsp_start(job, step, request);
	else
		package_start(job, step, request);
}

/* ---- finish */

static void
finish_pack(const MvJob *job, bool removal, MvOutcome *outcome)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[4] = {mv_json_of_text(job->reference), job->release, job->state, mv_json_of_text(removal ? "takedown" : "full")};

	outcome->learned = mv_json_sql(&plan, "musicverse._ask_package(($1 #>> '{}')::uuid, $2, $3, $4 #>> '{}')", 4, args);
	if (removal)
		mv_learn(outcome, "removal", "packed");
	else
		mv_learn_int(outcome, "asked_rev", job->revision);
}

/* Tells those for whom no change of state does it. */
static void
tell(const MvJob *job, bool removal)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[2] = {mv_json_of_text(job->reference), mv_json_of_text(removal ? "removal" : "package")};

	mv_json_sql(&plan, "to_jsonb(musicverse._tell_of_package(($1 #>> '{}')::uuid, $2 #>> '{}'))", 2, args);
}

static void
finish_ready(const MvJob *job, const char *reason, bool removal, MvOutcome *outcome)
{
	tell(job, removal);
	if (removal)
	{
		mv_learn(outcome, "removal", "asked");
		return;
	}
	outcome->delivered = true;
	mv_learn_int(outcome, "ready_rev", job->revision);
	mv_learn(outcome, "ready_package", mv_json_text(job->state, "package"));
	mv_report(outcome, NULL, "processing")->reason = reason;
}

static void
finish_look(const MvJob *job, bool removal, MvOutcome *outcome)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[2] = {mv_json_of_text(job->reference), mv_json_at(job->state, "package")};
	Jsonb	   *found = mv_json_sql(&plan, "musicverse._package_progress(($1 #>> '{}')::uuid, ($2 #>> '{}')::uuid)", 2, args);
	const char *state = mv_json_text(found, "state");

	if (state == NULL)
	{
		/* it is forgotten: to be asked for again */
		mv_learn(outcome, removal ? "removal" : "asked_rev", NULL);
	}
	else if (strcmp(state, "done") == 0)
		finish_ready(job, mv_json_text(found, "reason"), removal, outcome);
	else if (strcmp(state, "failed") == 0)
	{
		outcome->kind = MV_USER;
		outcome->message = mv_json_text(found, "error");
		if (strstr(outcome->message, MV_FILE_HAS_CHANGED) != NULL)
		{
			mv_learn(outcome, "asked_rev", NULL);
			outcome->message = MV_FILE_HAS_CHANGED;
			return;
		}
		if (mv_json_text(job->state, "ready_package") != NULL)
			mv_learn(outcome, "package", mv_json_text(job->state, "ready_package"));
	}
	else
	{
		outcome->kind = MV_WAIT;
		outcome->until = job->now + LOOK_SECONDS * USECS_PER_SEC;
	}
}

static void
package_finish(const MvJob *job, const char *step, const MvResponse *response, MvOutcome *outcome)
{
	if (mv_is_step(step, "pack"))
		finish_pack(job, false, outcome);
	else if (mv_is_step(step, "pack_removal"))
		finish_pack(job, true, outcome);
	else if (mv_is_step(step, "look"))
		finish_look(job, false, outcome);
	else if (mv_is_step(step, "look_removal"))
		finish_look(job, true, outcome);
	else if (mv_is_step(step, "ask_removal"))
		finish_ready(job, NULL, true, outcome);
	else if (mv_is_step(step, "withdraw"))
		mv_learn(outcome, "package", NULL);
	else
		elog(ERROR, "unknown step \"%s\"", step);
}

static void
itmsp_finish(const MvJob *job, const char *step, const MvResponse *response, MvOutcome *outcome)
{
	if (mv_itmsp_is_sent(job))
		mv_itmsp_finish(job, step, response, outcome);
	else
		package_finish(job, step, response, outcome);
}

const MvConnector mv_bundle = {.name = "bundle", .plan = bundle_plan, .start = package_start, .finish = package_finish};
const MvConnector mv_itmsp = {.name = "itmsp", .plan = itmsp_plan, .start = itmsp_start, .finish = itmsp_finish};

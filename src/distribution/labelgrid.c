/*
 * The connector of LabelGrid, an aggregator: one release there is on all its
 * outlets, so one piece of work carries it to several platforms.
 *
 *   create_release -> per track: create, upload URL, the bytes, commit
 *   -> photo -> validate -> distribute -> poll
 *
 * A new revision goes through update_release and update_track, and is
 * validated and distributed again; files are sent again only where their URL
 * has changed. A draft that nobody wants any more is deleted, and what was
 * distributed is taken down, from all outlets at once.
 *
 * LabelGrid locks what was submitted. So when the answer to distribute was lost
 * and the release has changed since, find_distribution looks first whether the
 * revision before has arrived: then that one is delivered, and the new one is a
 * change of it, which LabelGrid takes or refuses. A lock where nothing should
 * be locked says the same.
 *
 * What it keeps in the state, flat:
 *   release_id, release_rev, photo (the cover's URL), validated_rev,
 *   distributed_rev, was_distributed, removal_asked, and complete: the
 *   platforms that were delivered, and of which it isn't known whether they
 *   are live
 *   doubt_rev: a revision of which it isn't known whether it was distributed;
 *   doubt_at: since when it is looked for
 *   wants_codes: the release lacks codes, which LabelGrid gives: asked when it
 *   is distributed (codes and track_codes are 1) and when it is live (2); they
 *   are given_upc and t<n>_given_isrc
 *   t<n>_id, t<n>_rev, t<n>_key and _url (of an upload), t<n>_put, t<n>_file
 *
 * The release is found again by its catalogue number, a track by our id of it.
 * LabelGrid keeps idempotency keys for 24 hours only, and forgets none of
 * these.
 */
#include "postgres.h"

#include "distribution/labelgrid_int.h"

/* ---- what its three parts share */

char *
mv_labelgrid_key(int n, const char *what)
{
	return psprintf("t%d_%s", n, what);
}

char *
mv_labelgrid_known(const MvJob *job, int n, const char *what)
{
	return mv_json_text(job->state, mv_labelgrid_key(n, what));
}

char *
mv_labelgrid_source(const MvJob *job, int n)
{
	return mv_json_text(job->release, psprintf("tracks.%d.audio_url", n));
}

Jsonb *
mv_labelgrid_platforms(const MvJob *job)
{
	StringInfoData text;
	ListCell   *cell;

	initStringInfo(&text);
	appendStringInfoChar(&text, '[');
	foreach(cell, job->platforms)
		appendStringInfo(&text, "%s\"%s\"", cell == list_head(job->platforms) ? "" : ",", (char *) lfirst(cell));
	appendStringInfoChar(&text, ']');
	return mv_jsonb_of(text.data);
}

char *
mv_labelgrid_number(const MvJob *job)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[2] = {mv_json_of_text(job->reference), job->config};
	Jsonb	   *value = mv_json_sql(&plan, "to_jsonb(array[musicverse._labelgrid_catalogue_number(($1 #>> '{}')::uuid, $2)])", 2, args);

	return mv_json_text(value, "0");
}

/* Of an earlier revision: all was there to distribute it, so that may have been asked for. 0 = none. */
int
mv_labelgrid_doubtful(const MvJob *job)
{
	int			validated = mv_json_int(job->state, "validated_rev", 0);

	return validated < job->revision && validated > mv_json_int(job->state, "distributed_rev", 0) ? validated : 0;
}

/* ---- plan */

static const char *
plan_track(const MvJob *job, int n)
{
	char	   *id = mv_labelgrid_known(job, n, "id");
	char	   *source = mv_labelgrid_source(job, n);

	if (id == NULL)
	{
		bool		doubtful = job->unsure && (mv_is_step(job->last_step, "create_track") || mv_is_step(job->last_step, "find_track")) &&
			mv_track_of(job->last_step) == n;

		return psprintf("%s.%d", doubtful ? "find_track" : "create_track", n);
	}
	if (mv_json_int(job->state, mv_labelgrid_key(n, "rev"), 0) < job->revision)
		return psprintf("update_track.%d", n);
	if (mv_same_text(mv_labelgrid_known(job, n, "file"), source))
		return NULL;
	if (mv_labelgrid_known(job, n, "url") == NULL)
		return psprintf("upload_url.%d", n);
	if (!mv_same_text(mv_labelgrid_known(job, n, "put"), source))
		return psprintf("upload.%d", n);
	return psprintf("commit.%d", n);
}

/* Was a request to make the release begun, and its answer not seen? */
static bool
may_be_there(const MvJob *job)
{
	return job->unsure && (mv_is_step(job->last_step, "create_release") || mv_is_step(job->last_step, "find_release"));
}

/* Was it begun to distribute a revision, or to look for that, and what came of it not seen? */
static bool
may_be_distributed(const MvJob *job)
{
	return (job->unsure && (mv_is_step(job->last_step, "distribute") || mv_is_step(job->last_step, "find_distribution"))) ||
		mv_json_text(job->state, "doubt_at") != NULL;
}

/* All of the revision is handed over: nothing is sent any more, only asked */
static bool
is_handed_over(const MvJob *job)
{
	/* refused by an outlet and submitted again: delivered_revision was taken back */
	return mv_json_int(job->state, "distributed_rev", 0) >= job->revision && job->delivered_revision >= job->revision;
}

int
mv_labelgrid_phase(const MvJob *job)
{
	return job->all_live ? 2 : 1;
}

/* The codes that the release lacks; NULL when none is to be asked for */
static const char *
plan_codes(const MvJob *job)
{
	if (mv_json_text(job->state, "wants_codes") == NULL)
		return NULL;
	if (mv_json_int(job->state, "track_codes", 0) < mv_labelgrid_phase(job))
		return "track_codes";
	return mv_json_int(job->state, "codes", 0) < mv_labelgrid_phase(job) ? "codes" : NULL;
}

static const char *
plan_question(const MvJob *job)
{
	const char *step = plan_codes(job);

	if (step != NULL)
		return step;
	if (job->all_live)
		return NULL;
	/* delivered isn't heard yet: the release itself tells that */
	return mv_json_text(job->state, "complete") != NULL ? "look" : "poll";
}

static const char *
plan_delivery(const MvJob *job)
{
	int			ntracks = mv_json_length(job->release, "tracks");
	char	   *cover = mv_json_text(job->release, "cover_url");

	if (is_handed_over(job))
		return plan_question(job);
	/* of the same revision it is asked for again, by the same idempotency key */
	if (mv_labelgrid_doubtful(job) != 0 && may_be_distributed(job))
		return "find_distribution";
	if (mv_json_text(job->state, "release_id") == NULL)
		return may_be_there(job) ? "find_release" : "create_release";
	if (mv_json_int(job->state, "release_rev", 0) < job->revision)
		return "update_release";
	for (int n = 0; n < ntracks; n++)
	{
		const char *step = plan_track(job, n);

		if (step != NULL)
			return step;
	}
	if (cover != NULL && !mv_same_text(mv_json_text(job->state, "photo"), cover))
		return "photo";
	return mv_json_int(job->state, "validated_rev", 0) < job->revision ? "validate" : "distribute";
}

static const char *
plan_takedown(const MvJob *job)
{
	if (mv_json_text(job->state, "release_id") == NULL)
		return may_be_there(job) ? "find_release" : NULL;
	if (mv_json_text(job->state, "was_distributed") == NULL && mv_json_text(job->state, "doubt_rev") == NULL && !may_be_distributed(job))
		return "delete_release";
	if (mv_json_text(job->state, "removal_asked") == NULL)
		return "takedown";
	return job->platforms != NIL ? "poll_removal" : NULL;
}

static void
labelgrid_plan(const MvJob *job, MvPlan *plan)
{
	plan->step = job->goal == MV_TAKEDOWN ? plan_takedown(job) : plan_delivery(job);
}

const MvConnector mv_labelgrid = {
	.name = "labelgrid",
	.plan = labelgrid_plan,
	.start = mv_labelgrid_start,
	.finish = mv_labelgrid_finish
};

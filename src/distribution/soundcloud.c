/*
 * The connector of SoundCloud: tracks in the account of the user himself, and a
 * playlist around them when there are several.
 *
 *   per track: create (the sound, the cover, what is said of it), look until it
 *   is processed -> create_list -> delivered -> wait -> publish, publish_list
 *   -> live
 *
 * SoundCloud has no schedule: all is uploaded ahead and private, and is made
 * public at its moment. What changes before, or after, is told by update, and
 * the cover by artwork; the sound of a track can't be changed: before its moment
 * the track is made anew, later that is refused.
 *
 * What it keeps in the state, flat:
 *   t<n>_urn, _url, _sound (a digest of where it came from), _rev, _art (the
 *   cover's URL), _made (when, seconds of the epoch), _ready, _public,
 *   _refused (how often the sound was), _deleted
 *   l_urn, _url, _rev, _public, _deleted: of the playlist
 *   find_at, find_pages: the page that is to be looked through next, and how
 *   many were; doubt_at: since when something is looked for that may turn up
 *
 * There are no idempotency keys. A track is found again by a machine tag, see
 * distribution_soundcloud.sql, a playlist by its tracks as well.
 */
#include "postgres.h"

#include "distribution/soundcloud_int.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

char *
mv_soundcloud_key(int n, const char *what)
{
	return n < 0 ? psprintf("l_%s", what) : psprintf("t%d_%s", n, what);
}

char *
mv_soundcloud_known(const MvJob *job, int n, const char *what)
{
	return mv_json_text(job->state, mv_soundcloud_key(n, what));
}

int
mv_soundcloud_tracks(const MvJob *job)
{
	return mv_json_length(job->release, "tracks");
}

char *
mv_soundcloud_sound(const MvJob *job, int n)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[3] = {job->release, mv_json_of_text(job->reference), mv_jsonb_of(psprintf("%d", n))};
	Jsonb	   *marks = mv_json_sql(&plan, "jsonb_build_array(musicverse._soundcloud_mark($1, $2 #>> '{}', $3::int))", 3, args);
	char	   *mark = mv_json_text(marks, "0");

	/* its last part */
	return mark != NULL ? strrchr(mark, '-') + 1 : NULL;
}

Jsonb *
mv_soundcloud_urns(const MvJob *job)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoChar(&text, '[');
	for (int n = 0; n < mv_soundcloud_tracks(job); n++)
	{
		char	   *urn = mv_soundcloud_known(job, n, "urn");

		if (urn != NULL)
			appendStringInfo(&text, "%s\"%s\"", text.len > 1 ? "," : "", urn);
	}
	appendStringInfoChar(&text, ']');
	return mv_jsonb_of(text.data);
}

/* ---- plan */

/* Was it begun to make this one, or to look for it, and what came of that not seen? */
static bool
is_doubtful(const MvJob *job, const char *create, const char *find, int n)
{
	bool		last = (mv_is_step(job->last_step, create) || mv_is_step(job->last_step, find)) && mv_track_of(job->last_step) == n;

	return last && (job->unsure || mv_json_text(job->state, "find_at") != NULL || mv_json_text(job->state, "doubt_at") != NULL);
}

static const char *
plan_track(const MvJob *job, int n)
{
	char	   *cover = mv_json_text(job->release, "cover_url");

	if (mv_soundcloud_known(job, n, "urn") == NULL)
		return psprintf("%s.%d", is_doubtful(job, "create", "find", n) ? "find" : "create", n);
	if (!mv_same_text(mv_soundcloud_known(job, n, "sound"), mv_soundcloud_sound(job, n)))
		return psprintf("%s.%d", mv_soundcloud_known(job, n, "public") != NULL ? "refuse" : "replace", n);
	if (mv_json_int(job->state, mv_soundcloud_key(n, "rev"), 0) < job->revision)
		return psprintf("update.%d", n);
	if (cover != NULL && !mv_same_text(mv_soundcloud_known(job, n, "art"), cover))
		return psprintf("artwork.%d", n);
	return NULL;
}

static const char *
plan_playlist(const MvJob *job)
{
	if (mv_soundcloud_known(job, -1, "urn") == NULL)
		return is_doubtful(job, "create_list", "find_list", -1) ? "find_list" : "create_list";
	if (mv_json_int(job->state, "l_rev", 0) < job->revision)
		return "update_list";
	return NULL;
}

/* The tracks, and the playlist, are as the revision has them and can be heard by whoever may. */
static const char *
plan_preparation(const MvJob *job)
{
	int			ntracks = mv_soundcloud_tracks(job);
	const char *step;

	for (int n = 0; n < ntracks; n++)
		if ((step = plan_track(job, n)) != NULL)
			return step;
	if (ntracks > 1 && (step = plan_playlist(job)) != NULL)
		return step;
	for (int n = 0; n < ntracks; n++)
		if (mv_soundcloud_known(job, n, "ready") == NULL)
			return psprintf("look.%d", n);
	return job->delivered_revision < job->revision ? "delivered" : NULL;
}

static const char *
plan_publication(const MvJob *job)
{
	int			ntracks = mv_soundcloud_tracks(job);

	for (int n = 0; n < ntracks; n++)
		if (mv_soundcloud_known(job, n, "public") == NULL)
			return psprintf("publish.%d", n);
	if (ntracks > 1 && mv_soundcloud_known(job, -1, "public") == NULL)
		return "publish_list";
	return job->all_live ? NULL : "live";
}

/* Deletes one, and asks for it until it isn't there. */
static const char *
plan_removal(const MvJob *job, int n)
{
	bool		gone = mv_soundcloud_known(job, n, "deleted") != NULL;

	if (mv_soundcloud_known(job, n, "urn") == NULL)
		return NULL;
	return n < 0 ? (gone ? "gone_list" : "delete_list") : psprintf("%s.%d", gone ? "gone" : "delete", n);
}

static const char *
plan_takedown(const MvJob *job)
{
	const char *step;

	if (mv_soundcloud_known(job, -1, "urn") == NULL && is_doubtful(job, "create_list", "find_list", -1))
		return "find_list";
	if ((step = plan_removal(job, -1)) != NULL)
		return step;
	for (int n = 0; n < mv_soundcloud_tracks(job); n++)
	{
		if (mv_soundcloud_known(job, n, "urn") == NULL && is_doubtful(job, "create", "find", n))
			return psprintf("find.%d", n);
		if ((step = plan_removal(job, n)) != NULL)
			return step;
	}
	return job->platforms != NIL ? "taken_down" : NULL;
}

static void
soundcloud_plan(const MvJob *job, MvPlan *plan)
{
	if (job->goal == MV_TAKEDOWN)
	{
		plan->step = plan_takedown(job);
		return;
	}
	plan->step = plan_preparation(job);
	if (plan->step == NULL && job->publish_at > job->now)
		plan->until = job->publish_at;
	else if (plan->step == NULL)
		plan->step = plan_publication(job);
}

const MvConnector mv_soundcloud = {
	.name = "soundcloud",
	.account_path = "/me",
	.token_scheme = "OAuth",
	.plan = soundcloud_plan,
	.start = mv_soundcloud_start,
	.finish = mv_soundcloud_finish
};

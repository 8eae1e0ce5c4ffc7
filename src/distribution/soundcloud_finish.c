/*
 * What SoundCloud's answers mean.
 *
 * No answer is trusted further than it goes: one that doesn't name the thing
 * that was asked for is none, and what was made is looked for again.
 *
 * 401 is about the user's token, and 403 about the user, unless it comes as
 * HTML, which is somebody else's in between. That the partner is paused, for
 * all users, is nothing that one user's refusal can bring about.
 */
#include "postgres.h"

#include "core/clock.h"
#include "distribution/soundcloud_int.h"
#include "utils/timestamp.h"

#define PAGES			"find_pages"
#define MOST_PAGES		500		/* that are looked through */
#define SOUND_REFUSALS	3		/* after which a file is bad: it may be refused for a moment only */
#define UNSEEN_S		600		/* for so long something new may not be found yet */
#define LOOK_S			10		/* between two looks at what is processed, in its first minutes */
#define YOUNG_S			300

static void
no_sense(const char *step, MvOutcome *outcome)
{
	outcome->kind = MV_AGAIN;
	outcome->message = psprintf("SoundCloud: the answer to %s makes no sense", step);
}

static int64
seconds_of(TimestampTz at)
{
	return (int64) timestamptz_to_time_t(at);
}

/* How long it is there, as far as we know */
static int64
age_of(const MvJob *job, int n)
{
	char	   *made = mv_soundcloud_known(job, n, "made");

	return made != NULL ? seconds_of(job->now) - strtoll(made, NULL, 10) : PG_INT32_MAX;
}

static void
learn_about(MvOutcome *outcome, int n, const char *what, const char *text)
{
	mv_learn(outcome, mv_soundcloud_key(n, what), text);
}

static void
forget_all(MvOutcome *outcome, int n)
{
	static const char *const all[] = {"urn", "url", "sound", "rev", "art", "made", "ready", "public", "deleted"};

	for (int i = 0; i < lengthof(all); i++)
		learn_about(outcome, n, all[i], NULL);
}

/* The URN of a thing; it goes into paths, so it is plain */
static char *
urn_of(Jsonb *json)
{
	char	   *urn = mv_json_text(json, "urn");

	if (urn == NULL || strncmp(urn, "soundcloud:", 11) != 0 || strlen(urn) > 100)
		return NULL;
	for (const char *p = urn; *p; p++)
		if (!isalnum((unsigned char) *p) && strchr(":_-", *p) == NULL)
			return NULL;
	return urn;
}

/* Is it about the one that was asked for? */
static bool
is_the_one(const MvJob *job, int n, const MvResponse *response)
{
	return mv_same_text(urn_of(response->json), mv_soundcloud_known(job, n, "urn"));
}

static char *
problem_of(const MvResponse *response)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[1] = {response->json};

	if (response->json == NULL)
		return NULL;
	return mv_json_text(mv_json_sql(&plan, "jsonb_build_array(musicverse._soundcloud_problem($1))", 1, args), "0");
}

/* ---- refusals */

static void
be_limited(const MvJob *job, const MvResponse *response, MvOutcome *outcome)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[1] = {response->json};
	int			seconds = 0;

	outcome->kind = MV_AGAIN;
	if (response->json != NULL)
		seconds = mv_json_int(mv_json_sql(&plan, "jsonb_build_array(musicverse._soundcloud_reset($1))", 1, args), "0", 0);
	if (seconds > 0)
		outcome->until = mv_now() + seconds * USECS_PER_SEC;
}

/* A sound that was refused: it is said again a few times. */
static void
refuse_sound(const MvJob *job, int n, MvOutcome *outcome)
{
	int			refusals = mv_json_int(job->state, mv_soundcloud_key(n, "refused"), 0) + 1;

	if (refusals < SOUND_REFUSALS)
	{
		outcome->kind = MV_AGAIN;
		mv_learn_int(outcome, mv_soundcloud_key(n, "refused"), refusals);
		return;
	}
	outcome->kind = MV_USER;
	learn_about(outcome, n, "refused", NULL);
}

/* Something of ours isn't there: not yet, or not any more. */
static void
miss(const MvJob *job, int n, MvOutcome *outcome)
{
	if (age_of(job, n) < UNSEEN_S)
	{
		outcome->kind = MV_AGAIN;
		return;
	}
	outcome->kind = MV_USER;
	outcome->message = n < 0 ? "the playlist is not at SoundCloud any more" :
		psprintf("track %d is not at SoundCloud any more", n + 1);
	forget_all(outcome, n);
}

static void
finish_refused(const MvJob *job, const char *step, const MvResponse *response, MvOutcome *outcome)
{
	char	   *problem = problem_of(response);
	int			status = response->status;
	int			n = mv_track_of(step);

	mv_outcome_of_status(response, problem != NULL ? psprintf("SoundCloud: %s", problem) :
						 psprintf("SoundCloud answered %s with HTTP %d", step, status), outcome);
	if (status == 401)
		outcome->kind = MV_ACCOUNT;
	else if (status == 429)
		be_limited(job, response, outcome);
	else if (status == 402 || status == 403)
		outcome->kind = problem != NULL ? MV_USER : MV_AGAIN;
	else if (status == 422 && mv_is_step(step, "create") && problem != NULL && strstr(problem, "asset_data") != NULL)
		refuse_sound(job, n, outcome);
	else if (status == 404 && mv_soundcloud_known(job, n, "urn") != NULL)
		miss(job, n, outcome);
	if (job->goal == MV_TAKEDOWN && outcome->kind == MV_USER)
		outcome->kind = MV_AGAIN;	/* nothing that the user could change */
}

/* ---- what is there */

/* What a document of ours says of its thing */
static void
learn_thing(int n, Jsonb *json, MvOutcome *outcome)
{
	char	   *url = mv_json_text(json, "permalink_url");

	if (url != NULL)
		learn_about(outcome, n, "url", url);
	if (mv_same_text(mv_json_text(json, "sharing"), "public"))
		learn_about(outcome, n, "public", "1");
}

static void
learn_made(const MvJob *job, int n, const char *urn, Jsonb *json, MvOutcome *outcome)
{
	learn_about(outcome, n, "urn", urn);
	learn_about(outcome, n, "made", psprintf(INT64_FORMAT, seconds_of(job->now)));
	learn_about(outcome, n, "refused", NULL);
	learn_thing(n, json, outcome);
}

static void
finish_created(const MvJob *job, const char *step, int n, const MvResponse *response, MvOutcome *outcome)
{
	char	   *urn = urn_of(response->json);

	if (urn == NULL)
	{
		no_sense(step, outcome);
		return;
	}
	learn_made(job, n, urn, response->json, outcome);
	mv_learn_int(outcome, mv_soundcloud_key(n, "rev"), job->revision);
	if (n < 0)
		return;
	learn_about(outcome, n, "sound", mv_soundcloud_sound(job, n));
	learn_about(outcome, n, "art", mv_json_text(job->release, "cover_url"));
}

/* The page behind this one, below base_url: the token goes nowhere else */
static char *
next_page(const MvJob *job, const MvResponse *response)
{
	char	   *next = mv_json_text(response->json, "next_href");
	int			len = strlen(job->base_url);

	if (next == NULL || *next == '\0')
		return NULL;
	if (strncmp(next, job->base_url, len) != 0 || strncmp(next + len, "/me/", 4) != 0 || strlen(next) > 2000)
		return "";
	for (const char *p = next; *p; p++)
		if (*p <= ' ' || *p > '~')
			return "";
	return next + len;
}

static void
finish_find(const MvJob *job, const char *step, int n, const MvResponse *response, MvOutcome *outcome)
{
	static SPIPlanPtr track_plan = NULL;
	static SPIPlanPtr list_plan = NULL;
	Jsonb	   *which = n < 0 ? mv_soundcloud_urns(job) : mv_jsonb_of(psprintf("%d", n));
	Jsonb	   *args[3] = {response->json, mv_json_of_text(job->reference), which};
	int			pages = mv_json_int(job->state, PAGES, 0) + 1;
	bool		may_turn_up = false;
	char	   *next;
	Jsonb	   *found;
	char	   *urn;

	if (response->json == NULL || (mv_json_at(response->json, "collection") == NULL && mv_json_at(response->json, "0") == NULL))
	{
		no_sense(step, outcome);
		return;
	}
	found = n < 0 ? mv_json_sql(&list_plan, "musicverse._soundcloud_find_playlist($1, $2 #>> '{}', $3)", 3, args) :
		mv_json_sql(&track_plan, "musicverse._soundcloud_find_track($1, $2 #>> '{}', $3::int)", 3, args);
	urn = urn_of(found);
	next = next_page(job, response);
	if (urn != NULL)
	{
		/* of which revision it is isn't known */
		learn_made(job, n, urn, found, outcome);
		learn_about(outcome, n, "sound", mv_json_text(found, "sound"));
		mv_learn_int(outcome, mv_soundcloud_key(n, "rev"), 0);
		next = NULL;
	}
	else if (next != NULL && (*next == '\0' || pages >= MOST_PAGES))
	{
		no_sense(step, outcome);
		return;
	}
	else if (next == NULL)
		may_turn_up = mv_may_turn_up(job, outcome);
	if (!may_turn_up && next == NULL)
		mv_learn(outcome, "doubt_at", NULL);
	mv_learn(outcome, "find_at", next);
	mv_learn(outcome, PAGES, next != NULL ? psprintf("%d", pages) : NULL);
}

/* ---- what becomes of it */

static void
finish_updated(const MvJob *job, const char *step, int n, const MvResponse *response, MvOutcome *outcome)
{
	if (!is_the_one(job, n, response))
	{
		no_sense(step, outcome);
		return;
	}
	learn_thing(n, response->json, outcome);
	mv_learn_int(outcome, mv_soundcloud_key(n, "rev"), job->revision);
	if (mv_is_step(step, "artwork"))
		learn_about(outcome, n, "art", mv_json_text(job->release, "cover_url"));
	if ((mv_is_step(step, "publish") || mv_is_step(step, "publish_list")) &&
		!mv_same_text(mv_json_text(response->json, "sharing"), "public"))
		no_sense(step, outcome);
}

/* There is no state: what can be heard, and isn't blocked, is processed. Both have to say so. */
static void
finish_look(const MvJob *job, const char *step, int n, const MvResponse *response, MvOutcome *outcome)
{
	char	   *access = mv_json_text(response->json, "access");
	int			limit = mv_json_int(job->config, "processing_limit", 0);
	int64		interval = mv_poll_interval(job);

	if (!is_the_one(job, n, response))
	{
		no_sense(step, outcome);
		return;
	}
	learn_thing(n, response->json, outcome);
	if (mv_same_text(mv_json_text(response->json, "streamable"), "true") && !mv_same_text(access, "blocked"))
	{
		learn_about(outcome, n, "ready", "1");
		return;
	}
	if (age_of(job, n) > limit)
	{
		outcome->kind = MV_USER;
		outcome->message = psprintf("SoundCloud has not made track %d playable for %d minutes", n + 1, limit / SECS_PER_MINUTE);
		/* submitted again, it has its time again */
		learn_about(outcome, n, "made", psprintf(INT64_FORMAT, seconds_of(job->now)));
		return;
	}
	if (age_of(job, n) < YOUNG_S)
		interval = Min(interval, LOOK_S * USECS_PER_SEC);
	outcome->kind = MV_WAIT;
	outcome->until = job->now + interval;
}

static void
finish_live(const MvJob *job, MvOutcome *outcome)
{
	int			n = mv_soundcloud_tracks(job) > 1 ? -1 : 0;
	MvReport   *report = mv_report(outcome, NULL, "live");

	report->external_id = mv_soundcloud_known(job, n, "urn");
	report->external_url = mv_soundcloud_known(job, n, "url");
	outcome->kind = MV_DONE;
}

/* Of steps that ask nobody */
static bool
finish_nothing(const MvJob *job, const char *step, MvOutcome *outcome)
{
	if (mv_is_step(step, "delivered"))
	{
		outcome->delivered = true;
		mv_report(outcome, NULL, "processing");
	}
	else if (mv_is_step(step, "live"))
		finish_live(job, outcome);
	else if (mv_is_step(step, "taken_down"))
	{
		mv_report(outcome, NULL, "taken_down");
		outcome->kind = MV_DONE;
	}
	else if (mv_is_step(step, "refuse"))
	{
		outcome->kind = MV_USER;
		outcome->message = psprintf("SoundCloud can't change the sound of track %d, which is public: take it down and release it anew",
									mv_track_of(step) + 1);
	}
	else
		return false;
	return true;
}

/* Of steps that take something away: 404 is what they are for. True when it was one, and is done. */
static bool
finish_removal(const MvJob *job, const char *step, int n, const MvResponse *response, MvOutcome *outcome)
{
	bool		gone = response->status == 404 || response->status == 410;

	if (!gone && (response->status < 200 || response->status > 299))
		return false;
	if (mv_is_step(step, "delete") || mv_is_step(step, "delete_list"))
		learn_about(outcome, n, "deleted", "1");
	else if (mv_is_step(step, "replace"))
	{
		forget_all(outcome, n);
		mv_learn_int(outcome, "l_rev", 0);	/* it has to have the new one */
	}
	else if (!mv_is_step(step, "gone") && !mv_is_step(step, "gone_list"))
		return false;
	else if (gone)
		forget_all(outcome, n);
	else
	{
		outcome->kind = MV_AGAIN;
		outcome->message = "SoundCloud still has what was deleted";
		learn_about(outcome, n, "deleted", NULL);
	}
	return true;
}

void
mv_soundcloud_finish(const MvJob *job, const char *step, const MvResponse *response, MvOutcome *outcome)
{
	int			n = mv_track_of(step);

	if (finish_nothing(job, step, outcome) || finish_removal(job, step, n, response, outcome))
		return;
	if (response->status < 200 || response->status > 299)
		finish_refused(job, step, response, outcome);
	else if (mv_is_step(step, "find") || mv_is_step(step, "find_list"))
		finish_find(job, step, n, response, outcome);
	else if (mv_is_step(step, "create") || mv_is_step(step, "create_list"))
		finish_created(job, step, n, response, outcome);
	else if (mv_is_step(step, "look"))
		finish_look(job, step, n, response, outcome);
	else
		finish_updated(job, step, n, response, outcome);
}

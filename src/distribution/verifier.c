/*
 * The connector of verifiers: catalogues of platforms that are asked whether
 * they have a release. Spotify, Apple Music and Deezer differ in what they are
 * asked and how they answer, which is told by the SQL of
 * distribution_verifier.sql; a look is the same everywhere:
 *
 *   [token] -> upc -> [album, for each candidate] -> [isrc]
 *
 * It ends as soon as the release is found, and has seen its absence when no
 * step finds it. After a delivery it is repeated at growing intervals until it
 * is found; after a takedown until it was absent twice, with time between.
 *
 * token asks for one for all look-ups at the partner, which is kept while it
 * holds. album is for a search that doesn't tell the UPC of what it found.
 *
 * All of it reads: nothing has to be done about answers that were lost. An
 * answer that makes no sense, and any error that isn't of us, is asked for
 * again later; one that is pauses the verifier. No step fails a release.
 */
#include "postgres.h"

#include "distribution/connector_steps.h"
#include "utils/timestamp.h"

#define DEEZER_PAUSE	(5 * USECS_PER_SEC)		/* it counts what is asked in so long a time */

/* ---- what it goes by */

/* A value of an SQL expression as text; NULL for none */
static char *
sql_text(SPIPlanPtr *plan, const char *expression, int nargs, Jsonb **args)
{
	return mv_json_text(mv_json_sql(plan, psprintf("to_jsonb(array[%s])", expression), nargs, args), "0");
}

static int64
seconds_of(const MvJob *job)
{
	return (job->now - SetEpochTimestamp()) / USECS_PER_SEC;
}

static Jsonb *
now_json(const MvJob *job)
{
	return mv_jsonb_of(psprintf("%.6f", (double) (job->now - SetEpochTimestamp()) / USECS_PER_SEC));
}

static const char *
dialect_of(const MvJob *job)
{
	return mv_json_text(job->config, "dialect");
}

static bool
is_spotify(const MvJob *job)
{
	return mv_same_text(dialect_of(job), "spotify");
}

/* A number of seconds of the config */
static int64
config_time(const MvJob *job, const char *name)
{
	char	   *text = mv_json_text(job->config, name);

	return text != NULL ? (int64) (strtod(text, NULL) * USECS_PER_SEC) : 0;
}

/* The first of the candidates, and in *rest the others; NULL for none */
static char *
first_candidate(const MvJob *job, char **rest)
{
	char	   *all = mv_json_text(job->state, "candidates");
	char	   *space = all != NULL ? strchr(all, ' ') : NULL;

	*rest = space != NULL ? pstrdup(space + 1) : NULL;
	return space != NULL ? pnstrdup(all, space - all) : all;
}

/* ---- plan */

static void
verifier_plan(const MvJob *job, MvPlan *plan)
{
	static SPIPlanPtr ask = NULL;
	Jsonb	   *args[2] = {mv_json_of_text(job->reference), job->config};
	Jsonb	   *next = mv_json_sql(&ask, "musicverse._next_lookup(($1 #>> '{}')::uuid, $2)", 2, args);
	char	   *wait = mv_json_text(next, "wait");

	plan->step = mv_json_text(next, "step");
	if (plan->step == NULL && wait != NULL)
		plan->until = job->now + (int64) (strtod(wait, NULL) * USECS_PER_SEC);
}

/* ---- start */

static void
start_token(const MvJob *job, MvRequest *request)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[1] = {job->credentials};
	char	   *value = sql_text(&plan, "musicverse._basic_credentials($1 ->> 'client_id', $1 ->> 'client_secret')", 1, args);

	request->url = mv_json_text(job->config, "token_url");
	request->body = "grant_type=client_credentials";
	request->content_type = "application/x-www-form-urlencoded";
	request->headers = list_make2(psprintf("Authorization: %s", value), "Accept: application/json");
}

static char *
token_of(const MvJob *job)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[1] = {mv_json_of_text(job->partner)};

	if (!is_spotify(job))
		return mv_json_text(job->credentials, "token");
	return sql_text(&plan, "musicverse._lookup_token($1 #>> '{}')", 1, args);
}

static void
verifier_start(const MvJob *job, const char *step, MvRequest *request)
{
	static SPIPlanPtr plan = NULL;
	char	   *rest;
	Jsonb	   *args[4] = {job->config, job->release, mv_json_of_text(step), mv_json_of_text(first_candidate(job, &rest))};
	char	   *token;

	if (mv_is_step(step, "token"))
	{
		start_token(job, request);
		return;
	}
	request->method = "GET";
	request->path = sql_text(&plan, "musicverse._lookup_path($1, $2, $3 #>> '{}', $4 #>> '{}')", 4, args);
	if (request->path == NULL)
		elog(ERROR, "there is nothing to ask in step \"%s\"", step);
	token = token_of(job);
	if (token != NULL)
		request->headers = list_make1(psprintf("Authorization: Bearer %s", token));
}

/* ---- finish */

static void
again(const MvJob *job, const char *message, MvOutcome *outcome)
{
	outcome->kind = MV_AGAIN;
	outcome->message = psprintf("%s: %s", job->partner, message);
}

static void
learn_time(MvOutcome *outcome, const char *name, int64 seconds)
{
	mv_learn(outcome, name, psprintf(INT64_FORMAT, seconds));
}

/* A look is over: the next one begins from its beginning */
static void
finish_whole(const MvJob *job, MvOutcome *outcome)
{
	mv_learn(outcome, "next", NULL);
	mv_learn(outcome, "candidates", NULL);
	mv_learn_int(outcome, "looks", mv_json_int(job->state, "looks", 0) + 1);
}

/* Waits for the next look: ever longer after a delivery, and for what is only watched as long as is wished */
static void
finish_later(const MvJob *job, MvOutcome *outcome)
{
	int64		pause = Min(mv_poll_interval(job), config_time(job, "poll_interval_max"));
	int			looks = mv_json_int(job->state, "looks", 0);

	for (int i = 0; i < looks && pause < config_time(job, "poll_interval_max"); i++)
		pause = Min(pause * 2, config_time(job, "poll_interval_max"));
	if (job->goal == MV_DELIVER && job->all_live)
		pause = config_time(job, "recheck");
	outcome->kind = MV_WAIT;
	outcome->until = job->now + pause;
}

static void
finish_found(const MvJob *job, Jsonb *found, MvOutcome *outcome)
{
	finish_whole(job, outcome);
	mv_learn(outcome, "found", mv_json_text(found, "id"));
	learn_time(outcome, "found_at", seconds_of(job));
	mv_learn(outcome, "absent_since", NULL);
	mv_learn(outcome, "missing_since", NULL);
	finish_later(job, outcome);
	if (job->goal == MV_DELIVER && !job->all_live)
	{
		MvReport   *report = mv_report(outcome, NULL, "live");

		report->external_id = mv_json_text(found, "id");
		report->external_url = mv_json_text(found, "url");
		report->reason = psprintf("found by %s", job->partner);
		outcome->kind = config_time(job, "recheck") > 0 ? MV_WAIT : MV_DONE;
		outcome->until = job->now + config_time(job, "recheck");
	}
}

/* Once may be a whim of the catalogue */
static void
finish_gone(const MvJob *job, MvOutcome *outcome)
{
	int64		pause = config_time(job, "absent_twice");
	char	   *since = mv_json_text(job->state, "absent_since");

	if (pause > 0 && since == NULL)
		learn_time(outcome, "absent_since", seconds_of(job));
	if (pause > 0 && (since == NULL || seconds_of(job) < strtoll(since, NULL, 10) + pause / USECS_PER_SEC))
	{
		outcome->kind = MV_WAIT;
		outcome->until = since == NULL ? job->now + pause : SetEpochTimestamp() + strtoll(since, NULL, 10) * USECS_PER_SEC + pause;
		return;
	}
	mv_report(outcome, NULL, "taken_down")->reason = psprintf("no longer found by %s", job->partner);
	outcome->kind = MV_DONE;
}

static void
finish_absent(const MvJob *job, MvOutcome *outcome)
{
	finish_whole(job, outcome);
	if (job->goal == MV_TAKEDOWN)
	{
		finish_gone(job, outcome);
		return;
	}
	/* what is live stays so, whatever a catalogue says */
	if (job->all_live && mv_json_text(job->state, "missing_since") == NULL)
		learn_time(outcome, "missing_since", seconds_of(job));
	finish_later(job, outcome);
}

/* It wasn't found by this step: is there another one? */
static void
finish_not_found(const MvJob *job, const char *step, const char *candidates, MvOutcome *outcome)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[1] = {job->release};

	mv_learn(outcome, "candidates", candidates);
	if (candidates != NULL)
		mv_learn(outcome, "next", "album");
	else if (!mv_is_step(step, "isrc") && sql_text(&plan, "musicverse._lookup_isrc($1)", 1, args) != NULL)
		mv_learn(outcome, "next", "isrc");
	else
		finish_absent(job, outcome);
}

static void
finish_look(const MvJob *job, const char *step, const MvResponse *response, MvOutcome *outcome)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[5] = {mv_json_of_text(dialect_of(job)), mv_json_of_text(step), response->json, job->release,
	mv_json_of_text(mv_json_text(job->state, "found"))};
	Jsonb	   *verdict = mv_json_sql(&plan, "musicverse._judge_lookup($1 #>> '{}', $2 #>> '{}', $3, $4, $5 #>> '{}')", 5, args);
	Jsonb	   *found = verdict != NULL ? mv_json_at(verdict, "found") : NULL;
	char	   *candidates = mv_json_text(verdict, "candidates");

	if (verdict == NULL)
		again(job, psprintf("the answer to %s makes no sense", step), outcome);
	else if (mv_json_text(verdict, "problem") != NULL)
	{
		again(job, mv_json_text(verdict, "problem"), outcome);
		if (mv_same_text(mv_json_text(verdict, "limited"), "true"))
			outcome->until = job->now + DEEZER_PAUSE;
	}
	else if (found != NULL)
		finish_found(job, found, outcome);
	else
	{
		if (mv_is_step(step, "album"))
			first_candidate(job, &candidates);
		finish_not_found(job, step, candidates, outcome);
	}
}

/* Is it us whom it refuses, or a token that ended before its time? */
static void
finish_refused(const MvJob *job, const MvResponse *response, MvOutcome *outcome)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[2] = {mv_json_of_text(job->partner), now_json(job)};

	if (response->status == 401 && is_spotify(job) &&
		!mv_same_text(sql_text(&plan, "musicverse._lookup_token_refused($1 #>> '{}', to_timestamp($2::float8))", 2, args), "true"))
		outcome->kind = MV_NEXT;
}

static void
finish_token(const MvJob *job, const MvResponse *response, MvOutcome *outcome)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[3] = {mv_json_of_text(job->partner), response->json, now_json(job)};

	/* a client that it doesn't know */
	if (response->status == 400)
		outcome->kind = MV_OURS;
	else if (response->status >= 200 && response->status <= 299 &&
			 !mv_same_text(sql_text(&plan, "musicverse._store_lookup_token($1 #>> '{}', $2, to_timestamp($3::float8))", 3, args), "true"))
		again(job, "the answer to token makes no sense", outcome);
}

static void
finish_worked(const MvJob *job)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[1] = {mv_json_of_text(job->partner)};

	if (is_spotify(job))
		mv_json_sql(&plan, "to_jsonb(musicverse._lookup_token_worked($1 #>> '{}'))", 1, args);
}

static void
verifier_finish(const MvJob *job, const char *step, const MvResponse *response, MvOutcome *outcome)
{
	bool		is_success = response->status >= 200 && response->status <= 299;

	if (!is_success)
		mv_outcome_of_status(response, psprintf("%s answered %s with HTTP %d", job->partner, step, response->status), outcome);
	if (mv_is_step(step, "token"))
		finish_token(job, response, outcome);
	else if (is_success)
	{
		finish_worked(job);
		finish_look(job, step, response, outcome);
	}
	else if (mv_is_step(step, "album") && response->status == 404)
	{
		char	   *candidates;

		/* the search showed what isn't there */
		outcome->kind = MV_NEXT;
		first_candidate(job, &candidates);
		finish_not_found(job, step, candidates, outcome);
	}
	else
		finish_refused(job, response, outcome);
	/* nothing that the user could change */
	if (outcome->kind == MV_USER)
		outcome->kind = MV_AGAIN;
	if (outcome->kind != MV_AGAIN && outcome->kind != MV_OURS)
		outcome->message = NULL;
}

const MvConnector mv_verifier = {
	.name = "verifier",
	.heeds_others = true,
	.plan = verifier_plan,
	.start = verifier_start,
	.finish = verifier_finish
};

/*
 * LabelGrid: what its answers mean.
 */
#include "postgres.h"

#include "distribution/labelgrid_int.h"

static char *
problem_of(const MvResponse *response)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[1] = {response->json};
	Jsonb	   *value = response->json != NULL ? mv_json_sql(&plan, "jsonb_build_array(musicverse._labelgrid_problem($1))", 1, args) : NULL;
	char	   *text = mv_json_text(value, "0");

	return text != NULL ? psprintf("LabelGrid: %s", text) : NULL;
}

/* Its name of what is wrong; NULL = none */
static char *
code_of(const MvResponse *response)
{
	char	   *code = mv_json_text(response->json, "error.code");

	return code != NULL ? code : mv_json_text(response->json, "code");
}

/* The id of the thing that was made, or is meant: an id goes into paths, so it is plain */
static char *
id_of(Jsonb *json)
{
	char	   *id = mv_json_text(json, "id");

	if (id == NULL)
		id = mv_json_text(json, "data.id");
	if (id == NULL || *id == '\0' || strlen(id) > 100)
		return NULL;
	for (const char *p = id; *p; p++)
		if (!isalnum((unsigned char) *p) && *p != '_' && *p != '-')
			return NULL;
	return id;
}

static void
no_sense(const char *step, MvOutcome *outcome)
{
	outcome->kind = MV_AGAIN;
	outcome->message = psprintf("LabelGrid: the answer to %s makes no sense", step);
}

static void
finish_found_release(const MvJob *job, const MvResponse *response, MvOutcome *outcome)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[2] = {response->json, mv_json_of_text(mv_labelgrid_number(job))};
	char	   *id;

	if (response->json == NULL)
	{
		no_sense("find_release", outcome);
		return;
	}
	id = id_of(mv_json_sql(&plan, "(select e from musicverse._labelgrid_list($1) e where e -> 'cat' = $2 limit 1)", 2, args));
	if (id != NULL)
	{
		mv_learn(outcome, "release_id", id);
		mv_learn_int(outcome, "release_rev", 0);	/* of which revision it is isn't known */
	}
}

static void
finish_found_track(const MvJob *job, int n, const MvResponse *response, MvOutcome *outcome)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[2] = {response->json, mv_json_at(job->release, psprintf("tracks.%d", n))};
	char	   *id;

	if (response->json == NULL)
	{
		no_sense("find_track", outcome);
		return;
	}
	id = id_of(mv_json_sql(&plan, "(select e from musicverse._labelgrid_list($1) e where e -> 'reference' = $2 -> 'track_id'"
						   " or e -> 'isrc' = $2 -> 'isrc' or (e -> 'disc', e -> 'track_num') = ($2 -> 'disc', $2 -> 'position')"
						   " order by e -> 'reference' = $2 -> 'track_id' desc nulls last limit 1)", 2, args));
	if (id != NULL)
	{
		mv_learn(outcome, mv_labelgrid_key(n, "id"), id);
		mv_learn_int(outcome, mv_labelgrid_key(n, "rev"), 0);
	}
}

static void
finish_upload_url(int n, const MvResponse *response, MvOutcome *outcome)
{
	char	   *url = mv_json_text(response->json, "upload_url");
	char	   *key = mv_json_text(response->json, "key");

	if (url == NULL || key == NULL)
	{
		url = mv_json_text(response->json, "data.upload_url");
		key = mv_json_text(response->json, "data.key");
	}
	if (url == NULL || key == NULL || (pg_strncasecmp(url, "https://", 8) != 0 && pg_strncasecmp(url, "http://", 7) != 0))
	{
		no_sense("upload_url", outcome);
		return;
	}
	mv_learn(outcome, mv_labelgrid_key(n, "url"), url);
	mv_learn(outcome, mv_labelgrid_key(n, "key"), key);
	mv_learn(outcome, mv_labelgrid_key(n, "put"), NULL);
}

static void
finish_validate(const MvJob *job, const MvResponse *response, MvOutcome *outcome)
{
	char	   *valid = mv_json_text(response->json, "valid");

	if (mv_json_length(response->json, "errors") > 0 || mv_same_text(valid, "false"))
	{
		outcome->kind = MV_USER;
		outcome->message = problem_of(response);
		if (outcome->message == NULL)
			outcome->message = "LabelGrid: the release is not valid";
		return;
	}
	mv_learn_int(outcome, "validated_rev", job->revision);
}

/* Reports what the queue says, and adds the platforms that it calls complete; returns how many are as wanted */
static int
take_reports(const MvJob *job, const MvResponse *response, const char *wanted, StringInfo complete, MvOutcome *outcome)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[4] = {response->json, job->config, job->state, mv_labelgrid_platforms(job)};
	Jsonb	   *reports = mv_json_sql(&plan, "jsonb_build_object('r', musicverse._labelgrid_reports($1, $2, $3 ->> 'release_id', $4))",
									  4, args);
	int			n = 0;

	for (int i = 0; i < mv_json_length(reports, "r"); i++)
	{
		MvReport   *report = mv_report(outcome, mv_json_text(reports, psprintf("r.%d.platform", i)),
									   mv_json_text(reports, psprintf("r.%d.status", i)));

		report->external_id = mv_json_text(reports, psprintf("r.%d.external_id", i));
		report->external_url = mv_json_text(reports, psprintf("r.%d.external_url", i));
		report->reason = mv_json_text(reports, psprintf("r.%d.reason", i));
		n += strcmp(report->status, wanted) == 0;
		if (mv_same_text(mv_json_text(reports, psprintf("r.%d.is_complete", i)), "true"))
			appendStringInfo(complete, "%s ", report->platform);
	}
	return n;
}

static void
finish_poll(const MvJob *job, bool is_removal, const MvResponse *response, MvOutcome *outcome)
{
	StringInfoData complete;
	int			n;

	if (response->json == NULL)
	{
		no_sense("poll", outcome);
		return;
	}
	initStringInfo(&complete);
	n = take_reports(job, response, is_removal ? "taken_down" : "live", &complete, outcome);
	outcome->kind = MV_WAIT;
	outcome->until = job->now + mv_poll_interval(job);
	if (is_removal && n == list_length(job->platforms))
		outcome->kind = MV_DONE;
	else if (!is_removal && complete.len > 0)
	{
		outcome->kind = MV_NEXT;
		mv_learn(outcome, "complete", complete.data);
	}
}

static void
finish_look(const MvJob *job, const MvResponse *response, MvOutcome *outcome)
{
	char	   *live = mv_json_text(response->json, "is_live");

	if (live == NULL)
		live = mv_json_text(response->json, "data.is_live");
	if (mv_same_text(live, "true"))
	{
		char	   *rest = mv_json_text(job->state, "complete");

		for (char *platform = strtok_r(rest, " ", &rest); platform != NULL; platform = strtok_r(NULL, " ", &rest))
			mv_report(outcome, platform, "live");
	}
	mv_learn(outcome, "complete", NULL);
	outcome->kind = MV_WAIT;
	outcome->until = job->now + mv_poll_interval(job);
}

/* ---- the codes that LabelGrid gives what has none */

static bool
lacks(Jsonb *release, const char *path)
{
	char	   *code = mv_json_text(release, path);

	return code == NULL || *code == '\0';
}

/* What is no code, _keep_identifiers() finds out. */
static bool
learn_code(const char *key, char *code, MvOutcome *outcome)
{
	if (code == NULL || *code == '\0' || strlen(code) > 50)
		return false;
	mv_learn(outcome, key, code);
	return true;
}

/* Of a document of the release; false when there is none */
static bool
learn_upc(const MvJob *job, const MvResponse *response, MvOutcome *outcome)
{
	char	   *code = mv_json_text(response->json, "data.barcode_number");

	return learn_code("given_upc", code != NULL ? code : mv_json_text(response->json, "barcode_number"), outcome);
}

/* Of a list of its tracks */
static void
learn_isrcs(const MvJob *job, const MvResponse *response, MvOutcome *outcome)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[1] = {response->json};
	Jsonb	   *codes = NULL;

	if (response->json != NULL)
		codes = mv_json_sql(&plan, "(select jsonb_object_agg(e ->> 'id', e -> 'isrc') from musicverse._labelgrid_list($1) e"
							" where e ->> 'id' <> '' and e ->> 'isrc' <> '')", 1, args);
	for (int n = 0; codes != NULL && n < mv_json_length(job->release, "tracks"); n++)
	{
		char	   *id = mv_labelgrid_known(job, n, "id");

		if (id != NULL && lacks(job->release, psprintf("tracks.%d.isrc", n)))
			learn_code(mv_labelgrid_key(n, "given_isrc"), mv_json_text(codes, id), outcome);
	}
}

static bool
lacks_isrcs(const MvJob *job)
{
	for (int n = 0; n < mv_json_length(job->release, "tracks"); n++)
		if (lacks(job->release, psprintf("tracks.%d.isrc", n)))
			return true;
	return false;
}

/* They were asked for, and something was answered: that they aren't there is nobody's fault. */
static void
finish_codes(const MvJob *job, const char *step, const MvResponse *response, MvOutcome *outcome)
{
	bool		is_there = response->status >= 200 && response->status <= 299;

	outcome->kind = MV_NEXT;
	mv_learn_int(outcome, step, mv_labelgrid_phase(job));
	if (mv_is_step(step, "track_codes"))
	{
		if (is_there)
			learn_isrcs(job, response, outcome);
		return;
	}
	if (lacks(job->release, "upc"))
		is_there = is_there && learn_upc(job, response, outcome);
	/* what was learned of the tracks before is in the release by now */
	if (mv_labelgrid_phase(job) == 2 || (is_there && !lacks_isrcs(job)))
		mv_learn(outcome, "wants_codes", NULL);
}

/* ---- distribution */

/* LabelGrid has that revision, and sends it out. */
static void
learn_distributed(const MvJob *job, int revision, MvOutcome *outcome)
{
	mv_learn(outcome, "wants_codes", lacks(job->release, "upc") || lacks_isrcs(job) ? "1" : NULL);
	mv_learn(outcome, "codes", NULL);
	mv_learn(outcome, "track_codes", NULL);
	mv_learn_int(outcome, "distributed_rev", revision);
	mv_learn_int(outcome, "was_distributed", 1);
	mv_learn(outcome, "removal_asked", NULL);	/* it may have been taken down before */
	mv_learn(outcome, "doubt_rev", NULL);
	mv_learn(outcome, "doubt_at", NULL);
	outcome->delivered = true;
	outcome->delivered_revision = revision;
	mv_report(outcome, NULL, "processing");
}

static void
finish_distributed(const MvJob *job, MvOutcome *outcome)
{
	learn_distributed(job, job->revision, outcome);
	outcome->kind = MV_WAIT;
	outcome->until = job->now + mv_poll_interval(job);
}

/* Has the request to distribute an earlier revision arrived, whose answer was lost? */
static void
finish_find_distribution(const MvJob *job, const MvResponse *response, MvOutcome *outcome)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[2] = {response->json, job->state};
	int			revision = mv_labelgrid_doubtful(job);
	char	   *queued = response->json == NULL ? NULL :
		mv_json_text(mv_json_sql(&plan, "jsonb_build_array(musicverse._labelgrid_is_queued($1, $2 ->> 'release_id'))", 2, args), "0");

	if (queued == NULL)
		no_sense("find_distribution", outcome);
	else if (mv_json_text(job->state, "was_distributed") != NULL)
	{
		/* what is in the queue may be an earlier one: whether it is locked will tell */
		mv_learn_int(outcome, "doubt_rev", revision);
	}
	else if (strcmp(queued, "true") == 0)
		learn_distributed(job, revision, outcome);
	else
	{
		mv_learn_int(outcome, "doubt_rev", revision);
		if (!mv_may_turn_up(job, outcome))
			mv_learn(outcome, "doubt_at", NULL);
	}
}

/* What was submitted is locked. An earlier revision of ours was, perhaps: else its owner has to know what he can do. */
static void
finish_locked(const MvJob *job, MvOutcome *outcome)
{
	int			revision = mv_labelgrid_doubtful(job);

	if (revision != 0 && (mv_json_text(job->state, "was_distributed") == NULL || mv_json_int(job->state, "doubt_rev", 0) == revision))
	{
		learn_distributed(job, revision, outcome);
		outcome->kind = MV_NEXT;
		return;
	}
	outcome->kind = MV_USER;
	outcome->message = psprintf("%s; what was submitted stays as it is there%s: take the release down and make a new one of it",
								outcome->message,
								job->delivered_revision == 0 ? "" : psprintf(", which is revision %d", job->delivered_revision));
}

static void
finish_refused(const MvJob *job, const char *step, const MvResponse *response, MvOutcome *outcome)
{
	char	   *problem = problem_of(response);
	char	   *code = code_of(response);
	int			status = response->status;
	int			n = mv_track_of(step);

	mv_outcome_of_status(response, problem != NULL ? problem : psprintf("LabelGrid answered %s with HTTP %d", step, status), outcome);
	if (mv_is_step(step, "upload"))
	{
		/* the store's own refusals: most often the URL has expired */
		outcome->kind = MV_AGAIN;
		mv_learn(outcome, mv_labelgrid_key(n, "url"), NULL);
	}
	else if (mv_is_step(step, "distribute") && status == 409 && mv_same_text(code, "RELEASE_ALREADY_SUBMITTED"))
		finish_distributed(job, outcome);	/* its answer was lost */
	else if (mv_is_step(step, "delete_release") && (status == 404 || status == 410))
	{
		outcome->kind = MV_DONE;
		mv_learn(outcome, "release_id", NULL);
	}
	else if (mv_is_step(step, "delete_release") && (status == 400 || status == 403 || status == 409 || status == 422))
	{
		/* it was distributed after all */
		outcome->kind = MV_NEXT;
		mv_learn_int(outcome, "was_distributed", 1);
	}
	else if (mv_is_step(step, "takedown") && mv_same_text(code, "RELEASE_NOT_DISTRIBUTED") &&
			 mv_json_text(job->state, "was_distributed") == NULL)
	{
		/* the answer that was lost was none: it is a draft */
		outcome->kind = MV_NEXT;
		mv_learn(outcome, "doubt_rev", NULL);
		mv_learn(outcome, "doubt_at", NULL);
	}
	else if (mv_is_step(step, "takedown") && (status == 404 || status == 410 || mv_same_text(code, "RELEASE_NOT_DISTRIBUTED")))
	{
		outcome->kind = MV_DONE;
		mv_report(outcome, NULL, "taken_down");
	}
	else if ((mv_is_step(step, "codes") || mv_is_step(step, "track_codes")) && outcome->kind == MV_USER)
		finish_codes(job, step, response, outcome);
	else if (mv_same_text(code, "RELEASE_LOCKED_FIELDS"))
		finish_locked(job, outcome);
	else if (status == 409)
		outcome->kind = MV_AGAIN;	/* the first attempt is under way there */
	else if (job->goal == MV_TAKEDOWN && outcome->kind == MV_USER)
		outcome->kind = MV_AGAIN;	/* nothing that the user could change */
	if (outcome->kind == MV_NEXT || outcome->kind == MV_WAIT || outcome->kind == MV_DONE)
		outcome->message = NULL;
}

static void
finish_made(const MvJob *job, const char *step, const MvResponse *response, MvOutcome *outcome)
{
	int			n = mv_track_of(step);
	char	   *id = id_of(response->json);

	if (id == NULL)
		no_sense(step, outcome);
	else if (n < 0)
	{
		mv_learn(outcome, "release_id", id);
		mv_learn_int(outcome, "release_rev", job->revision);
	}
	else
	{
		mv_learn(outcome, mv_labelgrid_key(n, "id"), id);
		mv_learn_int(outcome, mv_labelgrid_key(n, "rev"), job->revision);
	}
}

void
mv_labelgrid_finish(const MvJob *job, const char *step, const MvResponse *response, MvOutcome *outcome)
{
	int			n = mv_track_of(step);

	if (response->status < 200 || response->status > 299)
		finish_refused(job, step, response, outcome);
	else if (mv_is_step(step, "find_release"))
		finish_found_release(job, response, outcome);
	else if (mv_is_step(step, "find_track"))
		finish_found_track(job, n, response, outcome);
	else if (mv_is_step(step, "create_release") || mv_is_step(step, "create_track"))
		finish_made(job, step, response, outcome);
	else if (mv_is_step(step, "update_release"))
		mv_learn_int(outcome, "release_rev", job->revision);
	else if (mv_is_step(step, "update_track"))
		mv_learn_int(outcome, mv_labelgrid_key(n, "rev"), job->revision);
	else if (mv_is_step(step, "upload_url"))
		finish_upload_url(n, response, outcome);
	else if (mv_is_step(step, "upload"))
		mv_learn(outcome, mv_labelgrid_key(n, "put"), mv_labelgrid_source(job, n));
	else if (mv_is_step(step, "commit"))
	{
		mv_learn(outcome, mv_labelgrid_key(n, "file"), mv_labelgrid_known(job, n, "put"));
		mv_learn(outcome, mv_labelgrid_key(n, "url"), NULL);
		mv_learn(outcome, mv_labelgrid_key(n, "put"), NULL);
		mv_learn(outcome, mv_labelgrid_key(n, "key"), NULL);
	}
	else if (mv_is_step(step, "photo"))
		mv_learn(outcome, "photo", mv_json_text(job->release, "cover_url"));
	else if (mv_is_step(step, "validate"))
		finish_validate(job, response, outcome);
	else if (mv_is_step(step, "distribute"))
		finish_distributed(job, outcome);
	else if (mv_is_step(step, "codes") || mv_is_step(step, "track_codes"))
		finish_codes(job, step, response, outcome);
	else if (mv_is_step(step, "find_distribution"))
		finish_find_distribution(job, response, outcome);
	else if (mv_is_step(step, "look"))
		finish_look(job, response, outcome);
	else if (mv_is_step(step, "poll") || mv_is_step(step, "poll_removal"))
		finish_poll(job, mv_is_step(step, "poll_removal"), response, outcome);
	else if (mv_is_step(step, "takedown"))
		mv_learn_int(outcome, "removal_asked", 1);
	else if (mv_is_step(step, "delete_release"))
	{
		mv_learn(outcome, "release_id", NULL);
		outcome->kind = MV_DONE;
	}
}

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
 * What it keeps in the state, flat:
 *   release_id, release_rev, photo (the cover's URL), validated_rev,
 *   distributed_rev, was_distributed, removal_asked, and complete: the
 *   platforms that were delivered, and of which it isn't known whether they
 *   are live
 *   t<n>_id, t<n>_rev, t<n>_key and _url (of an upload), t<n>_put, t<n>_file
 *
 * The release is found again by its catalogue number, a track by our id of it.
 * LabelGrid keeps idempotency keys for 24 hours only, and forgets none of
 * these.
 */
#include "postgres.h"

#include "distribution/connector.h"
#include "distribution/releases_int.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* ---- helpers */

static char *
track_key(int n, const char *what)
{
	return psprintf("t%d_%s", n, what);
}

static char *
track_text(const MvJob *job, int n, const char *what)
{
	return mv_json_text(job->state, track_key(n, what));
}

static char *
track_source(const MvJob *job, int n)
{
	return mv_json_text(job->release, psprintf("tracks.%d.audio_url", n));
}

static bool
same(const char *a, const char *b)
{
	return a != NULL && b != NULL && strcmp(a, b) == 0;
}

/* The number behind the dot of a step of a track */
static int
track_of(const char *step)
{
	const char *dot = strchr(step, '.');

	return dot != NULL ? atoi(dot + 1) : -1;
}

static bool
is_step(const char *step, const char *name)
{
	int			len = strlen(name);

	return step != NULL && strncmp(step, name, len) == 0 && (step[len] == '\0' || step[len] == '.');
}

static Jsonb *
platforms_json(const MvJob *job)
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

static char *
catalogue_number(const MvJob *job)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[2] = {mv_jsonb_of(psprintf("\"%s\"", job->reference)), job->config};
	Jsonb	   *value = mv_json_sql(&plan, "to_jsonb(array[musicverse._labelgrid_catalogue_number(($1 #>> '{}')::uuid, $2)])", 2, args);

	return mv_json_text(value, "0");
}

static char *
problem_of(const MvResponse *response)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[1] = {response->json};
	Jsonb	   *value = response->json != NULL ? mv_json_sql(&plan, "jsonb_build_array(musicverse._labelgrid_problem($1))", 1, args) : NULL;
	char	   *text = mv_json_text(value, "0");

	return text != NULL ? psprintf("LabelGrid: %s", text) : NULL;
}

/* ---- plan */

static const char *
plan_track(const MvJob *job, int n)
{
	char	   *id = track_text(job, n, "id");
	char	   *source = track_source(job, n);

	if (id == NULL)
	{
		bool		doubtful = job->unsure && (is_step(job->last_step, "create_track") || is_step(job->last_step, "find_track")) &&
			track_of(job->last_step) == n;

		return psprintf("%s.%d", doubtful ? "find_track" : "create_track", n);
	}
	if (mv_json_int(job->state, track_key(n, "rev"), 0) < job->revision)
		return psprintf("update_track.%d", n);
	if (same(track_text(job, n, "file"), source))
		return NULL;
	if (track_text(job, n, "url") == NULL)
		return psprintf("upload_url.%d", n);
	if (!same(track_text(job, n, "put"), source))
		return psprintf("upload.%d", n);
	return psprintf("commit.%d", n);
}

/* Was a request to make the release begun, and its answer not seen? */
static bool
may_be_there(const MvJob *job)
{
	return job->unsure && (is_step(job->last_step, "create_release") || is_step(job->last_step, "find_release"));
}

static const char *
plan_delivery(const MvJob *job)
{
	int			ntracks = mv_json_length(job->release, "tracks");
	char	   *cover = mv_json_text(job->release, "cover_url");

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
	if (cover != NULL && !same(mv_json_text(job->state, "photo"), cover))
		return "photo";
	if (mv_json_int(job->state, "validated_rev", 0) < job->revision)
		return "validate";
	/* refused by an outlet and submitted again: delivered_revision was taken back */
	if (mv_json_int(job->state, "distributed_rev", 0) < job->revision || job->delivered_revision < job->revision)
		return "distribute";
	if (job->all_live)
		return NULL;
	/* delivered isn't heard yet: the release itself tells that */
	return mv_json_text(job->state, "complete") != NULL ? "look" : "poll";
}

static const char *
plan_takedown(const MvJob *job)
{
	if (mv_json_text(job->state, "release_id") == NULL)
		return may_be_there(job) ? "find_release" : NULL;
	if (mv_json_text(job->state, "was_distributed") == NULL && !(job->unsure && is_step(job->last_step, "distribute")))
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

/* ---- start */

static char *
release_body(const MvJob *job)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[3] = {job->release, job->config, mv_jsonb_of(psprintf("\"%s\"", catalogue_number(job)))};

	return mv_json_print(mv_json_sql(&plan, "musicverse._labelgrid_release($1, $2, $3 #>> '{}')", 3, args));
}

static char *
track_body(const MvJob *job, int n)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[3] = {job->release, job->config, mv_jsonb_of(psprintf("%d", n))};

	return mv_json_print(mv_json_sql(&plan, "musicverse._labelgrid_track($1, $2, $3::text::int)", 3, args));
}

static char *
distribute_body(const MvJob *job)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[2] = {job->config, platforms_json(job)};

	return mv_json_print(mv_json_sql(&plan, "jsonb_build_object('outlets', musicverse._labelgrid_outlets($1, $2))", 2, args));
}

/* The last part of a URL's path, or what stands for it */
static char *
file_name(const char *url, const char *otherwise)
{
	int			end = strcspn(url, "?#");
	int			begin = end;

	while (begin > 0 && url[begin - 1] != '/')
		begin--;
	for (int i = begin; i < end; i++)
		if (!isalnum((unsigned char) url[i]) && strchr("._-", url[i]) == NULL)
			return pstrdup(otherwise);
	if (end == begin || end - begin >= 200 || memchr(url + begin, '.', end - begin) == NULL)
		return pstrdup(otherwise);
	return pnstrdup(url + begin, end - begin);
}

static const char *
media_type(const char *name)
{
	static const char *const types[][2] = {
		{".flac", "audio/flac"}, {".wav", "audio/wav"}, {".aiff", "audio/aiff"}, {".aif", "audio/aiff"},
		{".png", "image/png"}, {".jpg", "image/jpeg"}, {".jpeg", "image/jpeg"}, {".webp", "image/webp"}
	};
	const char *dot = strrchr(name, '.');

	for (int i = 0; dot != NULL && i < lengthof(types); i++)
		if (pg_strcasecmp(dot, types[i][0]) == 0)
			return types[i][1];
	return "application/octet-stream";
}

static void
start_photo(const MvJob *job, const char *release_id, MvRequest *request)
{
	MvPart	   *part = palloc0(sizeof(MvPart));

	request->path = psprintf("/releases/%s/photo", release_id);
	request->source_url = mv_json_text(job->release, "cover_url");
	part->name = "file";
	part->file_name = file_name(request->source_url, "cover.jpg");
	part->content_type = media_type(part->file_name);
	request->parts = list_make1(part);
}

static void
start_upload(const MvJob *job, int n, MvRequest *request)
{
	request->method = "PUT";
	request->url = track_text(job, n, "url");
	request->source_url = track_source(job, n);
	request->content_type = media_type(file_name(request->source_url, "audio.wav"));
}

static void
labelgrid_start(const MvJob *job, const char *step, MvRequest *request)
{
	char	   *release_id = mv_json_text(job->state, "release_id");
	int			n = track_of(step);
	char	   *track_id = n >= 0 ? track_text(job, n, "id") : NULL;
	char	   *token = mv_json_text(job->credentials, "token");

	if (is_step(step, "upload"))
	{
		/* the URL is what it is allowed by: a token would spoil it */
		start_upload(job, n, request);
		return;
	}
	if (token != NULL)
		request->headers = list_make1(psprintf("Authorization: Bearer %s", token));
	if (is_step(step, "find_release"))
	{
		request->method = "GET";
		request->path = psprintf("/releases?filter%%5Bcat%%5D=%s", catalogue_number(job));
	}
	else if (is_step(step, "create_release"))
	{
		request->path = "/releases";
		request->body = release_body(job);
	}
	else if (is_step(step, "update_release"))
	{
		request->method = "PUT";
		request->path = psprintf("/releases/%s", release_id);
		request->body = release_body(job);
	}
	else if (is_step(step, "find_track"))
	{
		request->method = "GET";
		request->path = psprintf("/tracks?release_id=%s&per_page=200", release_id);
	}
	else if (is_step(step, "create_track"))
	{
		request->path = psprintf("/releases/%s/tracks", release_id);
		request->body = track_body(job, n);
	}
	else if (is_step(step, "update_track"))
	{
		request->method = "PUT";
		request->path = psprintf("/tracks/%s", track_id);
		request->body = track_body(job, n);
	}
	else if (is_step(step, "upload_url"))
	{
		request->path = psprintf("/tracks/%s/files/stereo/upload-url", track_id);
		request->body = psprintf("{\"filename\": \"%s\"}", file_name(track_source(job, n), "audio.wav"));
	}
	else if (is_step(step, "commit"))
	{
		static SPIPlanPtr plan = NULL;
		Jsonb	   *args[2] = {job->state, mv_jsonb_of(psprintf("\"%s\"", track_key(n, "key")))};

		request->method = "PUT";
		request->path = psprintf("/tracks/%s/files/stereo", track_id);
		request->body = mv_json_print(mv_json_sql(&plan, "jsonb_build_object('s3_key', $1 -> ($2 #>> '{}'))", 2, args));
	}
	else if (is_step(step, "photo"))
		start_photo(job, release_id, request);
	else if (is_step(step, "validate"))
		request->path = psprintf("/releases/%s/validate", release_id);
	else if (is_step(step, "distribute"))
	{
		request->path = psprintf("/releases/%s/distribute", release_id);
		request->body = distribute_body(job);
	}
	else if (is_step(step, "look"))
	{
		request->method = "GET";
		request->path = psprintf("/releases/%s", release_id);
	}
	else if (is_step(step, "poll") || is_step(step, "poll_removal"))
	{
		request->method = "GET";
		request->path = psprintf("/queues/distro?release_id=%s&per_page=200", release_id);
	}
	else if (is_step(step, "delete_release"))
	{
		request->method = "DELETE";
		request->path = psprintf("/releases/%s", release_id);
	}
	else if (is_step(step, "takedown"))
		request->path = psprintf("/releases/%s/takedown-all", release_id);
	else
		elog(ERROR, "unknown step \"%s\"", step);
	/* another URL is wanted each time: the last one may have expired */
	request->idempotent = !is_step(step, "upload_url") && (request->method == NULL || strcmp(request->method, "PUT") == 0);
}

/* ---- finish */

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
	Jsonb	   *args[2] = {response->json, mv_jsonb_of(psprintf("\"%s\"", catalogue_number(job)))};
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
		mv_learn(outcome, track_key(n, "id"), id);
		mv_learn_int(outcome, track_key(n, "rev"), 0);
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
	mv_learn(outcome, track_key(n, "url"), url);
	mv_learn(outcome, track_key(n, "key"), key);
	mv_learn(outcome, track_key(n, "put"), NULL);
}

static void
finish_validate(const MvJob *job, const MvResponse *response, MvOutcome *outcome)
{
	char	   *valid = mv_json_text(response->json, "valid");

	if (mv_json_length(response->json, "errors") > 0 || same(valid, "false"))
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
	Jsonb	   *args[4] = {response->json, job->config, job->state, platforms_json(job)};
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
		if (same(mv_json_text(reports, psprintf("r.%d.is_complete", i)), "true"))
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
	if (same(live, "true"))
	{
		char	   *rest = mv_json_text(job->state, "complete");

		for (char *platform = strtok_r(rest, " ", &rest); platform != NULL; platform = strtok_r(NULL, " ", &rest))
			mv_report(outcome, platform, "live");
	}
	mv_learn(outcome, "complete", NULL);
	outcome->kind = MV_WAIT;
	outcome->until = job->now + mv_poll_interval(job);
}

static void
finish_distributed(const MvJob *job, MvOutcome *outcome)
{
	mv_learn_int(outcome, "distributed_rev", job->revision);
	mv_learn_int(outcome, "was_distributed", 1);
	outcome->delivered = true;
	mv_report(outcome, NULL, "processing");
	outcome->kind = MV_WAIT;
	outcome->until = job->now + mv_poll_interval(job);
}

static void
finish_refused(const MvJob *job, const char *step, const MvResponse *response, MvOutcome *outcome)
{
	char	   *problem = problem_of(response);
	char	   *code = mv_json_text(response->json, "code");
	int			status = response->status;
	int			n = track_of(step);

	mv_outcome_of_status(response, problem != NULL ? problem : psprintf("LabelGrid answered %s with HTTP %d", step, status), outcome);
	if (is_step(step, "upload"))
	{
		/* the store's own refusals: most often the URL has expired */
		outcome->kind = MV_AGAIN;
		mv_learn(outcome, track_key(n, "url"), NULL);
	}
	else if (is_step(step, "distribute") && status == 409 && same(code, "RELEASE_ALREADY_SUBMITTED"))
		finish_distributed(job, outcome);	/* its answer was lost */
	else if (is_step(step, "delete_release") && (status == 404 || status == 410))
	{
		outcome->kind = MV_DONE;
		mv_learn(outcome, "release_id", NULL);
	}
	else if (is_step(step, "delete_release") && (status == 400 || status == 403 || status == 409 || status == 422))
	{
		/* it was distributed after all */
		outcome->kind = MV_NEXT;
		mv_learn_int(outcome, "was_distributed", 1);
	}
	else if (is_step(step, "takedown") && (status == 404 || status == 410 || same(code, "RELEASE_NOT_DISTRIBUTED")))
	{
		outcome->kind = MV_DONE;
		mv_report(outcome, NULL, "taken_down");
	}
	else if (same(code, "RELEASE_LOCKED_FIELDS"))
		outcome->kind = MV_USER;
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
	int			n = track_of(step);
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
		mv_learn(outcome, track_key(n, "id"), id);
		mv_learn_int(outcome, track_key(n, "rev"), job->revision);
	}
}

static void
labelgrid_finish(const MvJob *job, const char *step, const MvResponse *response, MvOutcome *outcome)
{
	int			n = track_of(step);

	if (response->status < 200 || response->status > 299)
		finish_refused(job, step, response, outcome);
	else if (is_step(step, "find_release"))
		finish_found_release(job, response, outcome);
	else if (is_step(step, "find_track"))
		finish_found_track(job, n, response, outcome);
	else if (is_step(step, "create_release") || is_step(step, "create_track"))
		finish_made(job, step, response, outcome);
	else if (is_step(step, "update_release"))
		mv_learn_int(outcome, "release_rev", job->revision);
	else if (is_step(step, "update_track"))
		mv_learn_int(outcome, track_key(n, "rev"), job->revision);
	else if (is_step(step, "upload_url"))
		finish_upload_url(n, response, outcome);
	else if (is_step(step, "upload"))
		mv_learn(outcome, track_key(n, "put"), track_source(job, n));
	else if (is_step(step, "commit"))
	{
		mv_learn(outcome, track_key(n, "file"), track_text(job, n, "put"));
		mv_learn(outcome, track_key(n, "url"), NULL);
		mv_learn(outcome, track_key(n, "put"), NULL);
		mv_learn(outcome, track_key(n, "key"), NULL);
	}
	else if (is_step(step, "photo"))
		mv_learn(outcome, "photo", mv_json_text(job->release, "cover_url"));
	else if (is_step(step, "validate"))
		finish_validate(job, response, outcome);
	else if (is_step(step, "distribute"))
		finish_distributed(job, outcome);
	else if (is_step(step, "look"))
		finish_look(job, response, outcome);
	else if (is_step(step, "poll") || is_step(step, "poll_removal"))
		finish_poll(job, is_step(step, "poll_removal"), response, outcome);
	else if (is_step(step, "takedown"))
		mv_learn_int(outcome, "removal_asked", 1);
	else if (is_step(step, "delete_release"))
	{
		mv_learn(outcome, "release_id", NULL);
		outcome->kind = MV_DONE;
	}
}

const MvConnector mv_labelgrid = {"labelgrid", false, labelgrid_plan, labelgrid_start, labelgrid_finish};

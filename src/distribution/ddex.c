/*
 * The connector of partners who take releases by SFTP, told of by messages of
 * DDEX.
 *
 *   name -> mkdir -> audio.<n>, cover -> prepare -> message -> complete (of a
 *   batch) -> what became of it: judge, list, read.<file>, assume, expire
 *
 * `name` fixes the folder and the message's id before anything is sent, and
 * judges the message as far as it is known; a repeated step finds the same
 * names. Files go up one by one under temporary names, and what the streams
 * learned of them goes into the message, which is judged again by `prepare`.
 * The partner begins when the message gets its name, or the manifest of a
 * batch, which is put last. Each release of a batch partner is a batch.
 *
 * A new revision, a takedown and what the partner wants again are new messages
 * in new folders, and what is left in one that was not completed is removed
 * before. Was it completed, by a request whose answer was never seen? `find`
 * looks. A partner may take a folder away as soon as it is complete.
 *
 * What it keeps in the state is told in sql/install/distribution_ddex.sql,
 * which makes the names and the messages; how answers are shared among the
 * releases of a partner, in distribution_acknowledgements.sql.
 */
#include "postgres.h"

#include "core/sftp.h"
#include "distribution/connector_steps.h"
#include "distribution/ddex_int.h"
#include "utils/builtins.h"

/* ---- what its parts share */

char *
mv_ddex_known(const MvJob *job, const char *name)
{
	return mv_json_text(job->state, name);
}

static int
count_tracks(const MvJob *job)
{
	return mv_json_length(job->release, "tracks");
}

/* The tracks and the cover */
int
mv_ddex_files(const MvJob *job)
{
	return count_tracks(job) + 1;
}

/* The file that a step is for: the tracks, and the cover behind them */
int
mv_ddex_file_of(const MvJob *job, const char *step)
{
	int			n = mv_track_of(step);

	return n >= 0 ? n : count_tracks(job);
}

/* By which a file is known in the state */
char *
mv_ddex_file_key(const MvJob *job, int n)
{
	return n < count_tracks(job) ? psprintf("f%d", n) : pstrdup("cover");
}

/* Is it "in" the folder of the delivery, or "beside" its name there? */
bool
mv_ddex_lies(const MvJob *job, int n, const char *where)
{
	return mv_same_text(mv_ddex_known(job, psprintf("%s.%s", mv_ddex_file_key(job, n), where)), mv_ddex_known(job, "folder"));
}

Jsonb *
mv_ddex_number(int number)
{
	return mv_jsonb_of(psprintf("%d", number));
}

/* Where it comes from and what it is called there: url, name */
Jsonb *
mv_ddex_file(const MvJob *job, int n)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[2] = {job->release, mv_ddex_number(n)};

	return mv_json_sql(&plan, "musicverse._ern_file($1, $2::int)", 2, args);
}

/* A path in the folder of the delivery */
char *
mv_ddex_path(const MvJob *job, const char *name)
{
	return psprintf("%s/%s", mv_ddex_known(job, "dir"), name);
}

static char *
file_path(const MvJob *job, const char *name)
{
	return mv_ddex_path(job, psprintf("%s%s", mv_json_text(job->config, "resource_folder"), name));
}

/* The name until it is whole; partners look for other ones */
char *
mv_ddex_temporary(const char *path)
{
	return psprintf("%s.part", path);
}

/* The message's text, or why there is none: message, md5, sha256, or problem, ours */
Jsonb *
mv_ddex_message(const MvJob *job)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[3] = {job->release, job->config, job->state};

	return mv_json_sql(&plan, "musicverse._ddex_message($1, $2, $3, $3)", 3, args);
}

/* ---- plan */


static const char *
file_step(const MvJob *job, const char *what, int n)
{
	return n < count_tracks(job) ? psprintf("%s.%d", what, n) : psprintf("%s_cover", what);
}

static const char *
put_step(const MvJob *job, int n)
{
	return n < count_tracks(job) ? psprintf("audio.%d", n) : "cover";
}

static const char *
plan_file(const MvJob *job, int n)
{
	if (mv_ddex_lies(job, n, "in"))
		return NULL;
	/* it was whole, and its name taken: by a former attempt, or by nobody knows what */
	if (mv_ddex_lies(job, n, "beside"))
	{
		const char *step = file_step(job, "replace", n);

		/* repeated it could take away what it had put there, and put a part in its place that broke off behind it */
		if (!(job->unsure && (mv_same_text(job->last_step, step) || mv_same_text(job->last_step, put_step(job, n)))))
			return step;
	}
	return put_step(job, n);
}

/* What is left in a folder that the partner was not told of; NULL for nothing */
static const char *
plan_leftovers(const MvJob *job)
{
	if (mv_ddex_known(job, "folder") == NULL || mv_ddex_known(job, "sent") != NULL)
		return NULL;
	return mv_ddex_known(job, "sending") != NULL ? "find" : "clean";
}

/* NULL when it was sent */
static const char *
plan_sending(const MvJob *job)
{
	if (mv_ddex_known(job, "made") == NULL)
		return "mkdir";
	if (mv_json_int(job->state, "files", 0) != 0)
		for (int n = 0; n < mv_ddex_files(job); n++)
		{
			const char *step = plan_file(job, n);

			if (step != NULL)
				return step;
		}
	if (mv_ddex_known(job, "sending") == NULL)
		return "prepare";
	if (mv_ddex_known(job, "message_in") == NULL)
		return "message";
	return mv_ddex_known(job, "sent") == NULL ? "complete" : NULL;
}

static void
plan_poll(const MvJob *job, MvPlan *plan)
{
	static SPIPlanPtr ask = NULL;
	Jsonb	   *args[3] = {mv_json_of_text(job->reference), job->config,
	mv_jsonb_of(psprintf(INT64_FORMAT, mv_poll_interval(job) / 1000))};
	Jsonb	   *next = mv_json_sql(&ask, "musicverse._next_poll(($1 #>> '{}')::uuid, $2, $3::bigint)", 3, args);
	char	   *wait = mv_json_text(next, "wait");

	plan->step = mv_json_text(next, "step");
	if (plan->step == NULL && wait != NULL)
		plan->until = job->now + strtoll(wait, NULL, 10) * 1000;
}

/* Is the message's answer still to be heard? */
static bool
is_unanswered(const MvJob *job)
{
	return mv_json_text(job->config, "acknowledgements") != NULL && mv_ddex_known(job, "acked") == NULL;
}

static void
plan_delivery(const MvJob *job, MvPlan *plan)
{
	bool		was_sent = mv_ddex_known(job, "sent") != NULL;

	/* refused, and submitted again: delivered_revision was taken back */
	if (mv_json_int(job->state, "rev", 0) != job->revision || mv_ddex_known(job, "resend") != NULL ||
		(was_sent && job->delivered_revision < job->revision))
	{
		plan->step = plan_leftovers(job);
		if (plan->step == NULL)
			plan->step = "name";
		return;
	}
	plan->step = plan_sending(job);
	/* of what is live it is still to be heard whether its change was taken */
	if (plan->step == NULL && (!job->all_live || is_unanswered(job)))
		plan_poll(job, plan);
}

static void
plan_takedown(const MvJob *job, MvPlan *plan)
{
	bool		told = mv_same_text(mv_ddex_known(job, "kind"), "takedown");

	if (!told || mv_ddex_known(job, "resend") != NULL)
	{
		plan->step = plan_leftovers(job);
		if (plan->step == NULL && mv_ddex_known(job, "was_sent") != NULL)
			plan->step = "name";
		return;
	}
	plan->step = plan_sending(job);
	if (plan->step == NULL && job->platforms != NIL && is_unanswered(job))
		plan_poll(job, plan);
}

static void
ddex_plan(const MvJob *job, MvPlan *plan)
{
	if (mv_ddex_known(job, "spare") != NULL)
		plan->step = "tidy";
	else if (job->goal == MV_TAKEDOWN)
		plan_takedown(job, plan);
	else
		plan_delivery(job, plan);
}

/* ---- start */

static void
command(MvRequest *request, MvSftpVerb verb, bool may_fail, const char *path, const char *to)
{
	MvSftpLine *line = palloc0(sizeof(MvSftpLine));

	request->sftp = MV_SFTP_COMMANDS;
	line->verb = verb;
	line->may_fail = may_fail;
	line->path = path;
	line->to = to;
	request->commands = lappend(request->commands, line);
}

/* Does the folder have something, as far as we know? */
static bool
has_something(const MvJob *job)
{
	for (int n = 0; n < mv_ddex_files(job); n++)
		if (mv_ddex_lies(job, n, "in") || mv_ddex_lies(job, n, "beside"))
			return true;
	return job->unsure || mv_ddex_known(job, "message_in") != NULL;
}

static void
put(const MvJob *job, MvRequest *request, const char *path, const char *temporary)
{
	request->sftp = MV_SFTP_PUT;
	request->path = path;
	request->temporary = temporary;
	request->in_place = has_something(job);
}

/* "resources/" without its slash */
static char *
resource_folder(const MvJob *job)
{
	char	   *name = mv_json_text(job->config, "resource_folder");

	return mv_ddex_path(job, pnstrdup(name, strlen(name) - 1));
}

static bool
is_batch(const MvJob *job)
{
	return mv_ddex_known(job, "manifest") != NULL;
}

static char *
manifest_path(const MvJob *job)
{
	return psprintf("%s/%s", mv_ddex_known(job, "root"), mv_ddex_known(job, "manifest"));
}

char *
mv_ddex_manifest_temporary(const MvJob *job)
{
	/* partners wait for whatever begins with BatchComplete */
	return psprintf("%s/manifest.part", mv_ddex_known(job, "root"));
}

/* Those that are there don't matter; the last one has to be there afterwards, which puts find out */
static void
start_mkdir(const MvJob *job, MvRequest *request)
{
	char	   *base = mv_json_text(job->config, "directory");

	for (char *slash = base; slash != NULL && *slash != '\0';)
	{
		slash = strchr(slash + 1, '/');
		command(request, MV_SFTP_MKDIR, true, psprintf("/%s", slash != NULL ? pnstrdup(base, slash - base) : base), NULL);
	}
	command(request, MV_SFTP_MKDIR, true, mv_ddex_known(job, "root"), NULL);
	if (is_batch(job))
		command(request, MV_SFTP_MKDIR, true, mv_ddex_known(job, "dir"), NULL);
	if (mv_json_int(job->state, "files", 0) != 0)
		command(request, MV_SFTP_MKDIR, true, resource_folder(job), NULL);
}

static void
remove_file(MvRequest *request, const char *path)
{
	command(request, MV_SFTP_DELETE, true, path, NULL);
	command(request, MV_SFTP_DELETE, true, mv_ddex_temporary(path), NULL);
}

/* All that may lie in a folder that the partner wasn't told of. It is named as in the revision that it was for. */
static void
start_clean(const MvJob *job, MvRequest *request)
{
	for (int n = 0; n < mv_ddex_files(job); n++)
	{
		char	   *name = mv_ddex_known(job, psprintf("%s.name", mv_ddex_file_key(job, n)));

		if (name != NULL)
			remove_file(request, file_path(job, name));
		remove_file(request, file_path(job, mv_json_text(mv_ddex_file(job, n), "name")));
	}
	remove_file(request, mv_ddex_path(job, mv_ddex_known(job, "message")));
	command(request, MV_SFTP_RMDIR, true, resource_folder(job), NULL);
	command(request, MV_SFTP_RMDIR, true, mv_ddex_known(job, "dir"), NULL);
	if (is_batch(job))
	{
		command(request, MV_SFTP_DELETE, true, mv_ddex_manifest_temporary(job), NULL);
		command(request, MV_SFTP_RMDIR, true, mv_ddex_known(job, "root"), NULL);
	}
}

static void
start_file(const MvJob *job, int n, MvRequest *request)
{
	Jsonb	   *file = mv_ddex_file(job, n);
	char	   *path = file_path(job, mv_json_text(file, "name"));

	put(job, request, path, mv_ddex_temporary(path));
	request->source_url = mv_json_text(file, "url");
	request->source_sha256 = mv_json_text(file, "source_sha256");
	request->content_type = mv_media_type(path);
}

static void
start_replace(const MvJob *job, int n, MvRequest *request)
{
	char	   *path = file_path(job, mv_json_text(mv_ddex_file(job, n), "name"));

	command(request, MV_SFTP_DELETE, true, path, NULL);
	command(request, MV_SFTP_RENAME, false, mv_ddex_temporary(path), path);
}

static void
start_message(const MvJob *job, MvRequest *request)
{
	char	   *path = mv_ddex_path(job, mv_ddex_known(job, "message"));
	Jsonb	   *message = mv_ddex_message(job);

	request->body = mv_json_text(message, "message");
	/* it was valid when it was prepared, so the partner's config has changed since */
	if (request->body == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s", mv_json_text(message, "problem"))));
	put(job, request, path, mv_ddex_temporary(path));
	request->content_type = "application/xml";
}

static void
start_complete(const MvJob *job, MvRequest *request)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[2] = {job->config, job->state};

	put(job, request, manifest_path(job), mv_ddex_manifest_temporary(job));
	request->body = mv_json_text(mv_json_sql(&plan, "musicverse._ddex_manifest($1, $2)", 2, args), "0");
	request->content_type = "application/xml";
}

static char *
acknowledgements(const MvJob *job)
{
	char	   *folder = mv_json_text(job->config, "acknowledgements");
	int			len = strlen(folder);

	return psprintf("/%s", len > 0 && folder[len - 1] == '/' ? pnstrdup(folder, len - 1) : folder);
}

static void
ddex_start(const MvJob *job, const char *step, MvRequest *request)
{
	if (mv_is_step(step, "mkdir"))
		start_mkdir(job, request);
	else if (mv_is_step(step, "clean"))
		start_clean(job, request);
	else if (mv_is_step(step, "tidy"))
		command(request, MV_SFTP_DELETE, true, mv_ddex_known(job, "spare"), NULL);
	else if (mv_is_step(step, "find"))
	{
		request->sftp = MV_SFTP_LIST;
		request->path = is_batch(job) ? mv_ddex_known(job, "root") : mv_ddex_known(job, "dir");
	}
	else if (mv_is_step(step, "audio") || mv_is_step(step, "cover"))
		start_file(job, mv_ddex_file_of(job, step), request);
	else if (mv_is_step(step, "replace") || mv_is_step(step, "replace_cover"))
		start_replace(job, mv_ddex_file_of(job, step), request);
	else if (mv_is_step(step, "message"))
		start_message(job, request);
	else if (mv_is_step(step, "complete"))
		start_complete(job, request);
	else if (mv_is_step(step, "list"))
	{
		request->sftp = MV_SFTP_LIST;
		request->path = acknowledgements(job);
	}
	else if (mv_is_step(step, "read"))
	{
		request->sftp = MV_SFTP_GET;
		request->path = psprintf("%s/%s", acknowledgements(job), mv_ddex_acknowledgement(step));
	}
	else
		request->nothing = true;
}

const MvConnector mv_ddex_sftp = {
	.name = "ddex_sftp",
	.heeds_others = true,
	.plan = ddex_plan,
	.start = ddex_start,
	.finish = mv_ddex_finish
};

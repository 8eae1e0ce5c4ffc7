/*
 * The connector itmsp where the partner's base_url is sftp://: the package is
 * laid into its directory, file by file.
 *
 *   folder -> audio.<n> -> cover -> metadata; clear, where a file is in the way
 *   takedown: removal_folder -> removal
 *   cancel: the same, or withdraw, where the metadata never were there
 *
 * metadata.xml is the last, as what reads the directory begins with it. A new
 * revision sends the files again only when their addresses have changed, else
 * the metadata alone; a takedown is metadata that clear nothing for sale. What
 * became of it is confirmed, or looked up: nothing comes back this way.
 *
 * Until it is whole a file is called .part, which is continued by the same
 * revision only: folder removes what one before has left.
 *
 * What is kept in the state:
 *   vendor_id, files (a digest of the addresses of what is sent), sent_rev,
 *   folder_rev, removal (folder, then sent), was_there (metadata, maybe of an
 *   answer that was lost)
 *   clear (a file that is in the way: an earlier one, or ours, and its answer
 *   was lost)
 *   f<n>_rev, _name, _bytes, _md5 of a track's file; cover_rev and so on
 */
#include "postgres.h"

#include "distribution/connector.h"
#include "distribution/connector_steps.h"
#include "distribution/package.h"
#include "core/sftp.h"

bool
mv_itmsp_is_sent(const MvJob *job)
{
	return job->base_url != NULL && pg_strncasecmp(job->base_url, "sftp:", 5) == 0;
}

/* ---- what is known */

static char *
file_key(int n, const char *what)
{
	return n < 0 ? psprintf("cover_%s", what) : psprintf("f%d_%s", n, what);
}

static bool
is_there(const MvJob *job, int n)
{
	return mv_json_int(job->state, file_key(n, "rev"), 0) >= job->revision;
}

/* Its first element, as text */
static char *
ask(SPIPlanPtr *plan, const char *expression, int nargs, Jsonb **args)
{
	return mv_json_text(mv_json_sql(plan, psprintf("to_jsonb(array[%s])", expression), nargs, args), "0");
}

static char *
vendor_id(const MvJob *job)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[3] = {job->release, job->state, mv_json_of_text(job->reference)};

	return ask(&plan, "musicverse._vendor_id($1, $2, ($3 #>> '{}')::uuid)", 3, args);
}

static char *
digest(const MvJob *job)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[1] = {job->release};

	return ask(&plan, "musicverse._package_digest($1)", 1, args);
}

static const char *
source_of(const MvJob *job, int n)
{
	return mv_json_text(job->release, n < 0 ? "cover_url" : psprintf("tracks.%d.audio_url", n));
}

/* A track's, or the cover's, without its suffix */
static char *
stem_of(const MvJob *job, int n)
{
	return n < 0 ? vendor_id(job) : psprintf("%s_01_%03d", vendor_id(job), n + 1);
}

/* In the package's folder; its suffix is what was found of the file, or else its address says */
static char *
name_of(const MvJob *job, int n)
{
	const char *format = n < 0 ? NULL : mv_json_text(job->release, psprintf("tracks.%d.file.format", n));
	char	   *name = mv_file_name(source_of(job, n), n < 0 ? "cover.jpg" : "audio.wav");

	if (format == NULL || strspn(format, "abcdefghijklmnopqrstuvwxyz0123456789") != strlen(format) || *format == '\0')
		format = strrchr(name, '.') + 1;
	else if (strcmp(format, "rf64") == 0)
		format = "wav";
	return psprintf("%s.%s", stem_of(job, n), format);
}

static char *
path_of(const MvJob *job, const char *name)
{
	return psprintf("/%s.itmsp/%s", vendor_id(job), name);
}

/* ---- plan */

static const char *
plan_files(const MvJob *job)
{
	int			ntracks = mv_json_length(job->release, "tracks");

	if (mv_same_text(mv_json_text(job->state, "files"), digest(job)))
		return NULL;
	for (int n = 0; n < ntracks; n++)
		if (!is_there(job, n))
			return psprintf("audio.%d", n);
	return source_of(job, -1) != NULL && !is_there(job, -1) ? "cover" : NULL;
}

static const char *
plan_delivery(const MvJob *job)
{
	const char *step;

	if (mv_json_int(job->state, "sent_rev", 0) >= job->revision && job->delivered_revision >= job->revision)
		return NULL;
	if (mv_json_int(job->state, "folder_rev", 0) < job->revision)
		return "folder";
	step = plan_files(job);
	return step != NULL ? step : "metadata";
}

static const char *
plan_removal(const MvJob *job)
{
	const char *removal = mv_json_text(job->state, "removal");

	if (removal != NULL)
		return strcmp(removal, "folder") == 0 ? "removal" : NULL;
	if (mv_json_int(job->state, "sent_rev", 0) > 0 || mv_json_text(job->state, "was_there") != NULL ||
		(job->unsure && (mv_is_step(job->last_step, "metadata") || mv_is_step(job->last_step, "removal_folder"))))
		return "removal_folder";
	/* a folder without its metadata is nothing to anybody */
	return mv_json_int(job->state, "folder_rev", 0) > 0 || job->unsure ? "withdraw" : NULL;
}

const char *
mv_itmsp_plan(const MvJob *job)
{
	if (mv_json_text(job->state, "clear") != NULL)
		return "clear";
	return job->goal == MV_TAKEDOWN ? plan_removal(job) : plan_delivery(job);
}

/* ---- start */

/* One that may fail: the folder may be there, the file gone */
static void
add_command(MvSftpVerb verb, const char *path, MvRequest *request)
{
	MvSftpLine *line = palloc0(sizeof(MvSftpLine));

	line->verb = verb;
	line->may_fail = true;
	line->path = path;
	request->sftp = MV_SFTP_COMMANDS;
	request->commands = lappend(request->commands, line);
}

static char *
part_of(const MvJob *job, const char *stem)
{
	return path_of(job, psprintf("%s.part", stem));
}

/* What an attempt may have left that was not done */
static void
remove_parts(const MvJob *job, MvRequest *request)
{
	for (int n = -1; n < mv_json_length(job->release, "tracks"); n++)
		add_command(MV_SFTP_DELETE, part_of(job, stem_of(job, n)), request);
	add_command(MV_SFTP_DELETE, part_of(job, "metadata"), request);
}

static void
start_folder(const MvJob *job, MvRequest *request)
{
	add_command(MV_SFTP_MKDIR, psprintf("/%s.itmsp", vendor_id(job)), request);
	remove_parts(job, request);
}

static void
start_withdraw(const MvJob *job, MvRequest *request)
{
	remove_parts(job, request);
	for (int n = -1; n < mv_json_length(job->release, "tracks"); n++)
	{
		char	   *name = mv_json_text(job->state, file_key(n, "name"));

		if (name != NULL)
			add_command(MV_SFTP_DELETE, path_of(job, name), request);
		if (source_of(job, n) != NULL)
			add_command(MV_SFTP_DELETE, path_of(job, name_of(job, n)), request);
	}
	add_command(MV_SFTP_RMDIR, psprintf("/%s.itmsp", vendor_id(job)), request);
}

/* The folder was made: where it isn't, somebody has taken it away, and what was in it */
static void
start_put(const MvJob *job, const char *name, const char *stem, MvRequest *request)
{
	request->sftp = MV_SFTP_PUT;
	request->path = path_of(job, name);
	request->temporary = part_of(job, stem);
	request->in_place = true;
}

static void
start_file(const MvJob *job, int n, MvRequest *request)
{
	start_put(job, name_of(job, n), stem_of(job, n), request);
	request->source_url = source_of(job, n);
	request->source_sha256 = n < 0 ? NULL : mv_json_text(job->release, psprintf("tracks.%d.file.sha256", n));
}

static void
start_metadata(const MvJob *job, const char *scope, MvRequest *request)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[5] = {job->release, job->config, mv_json_of_text(vendor_id(job)), mv_json_of_text(scope), job->state};

	start_put(job, "metadata.xml", "metadata", request);
	request->body = ask(&plan, "musicverse._itmsp_sent($1, $2, $3 #>> '{}', $4 #>> '{}', $5)", 5, args);
}

void
mv_itmsp_start(const MvJob *job, const char *step, MvRequest *request)
{
	if (mv_is_step(step, "folder") || mv_is_step(step, "removal_folder"))
		start_folder(job, request);
	else if (mv_is_step(step, "withdraw"))
		start_withdraw(job, request);
	else if (mv_is_step(step, "clear"))
		add_command(MV_SFTP_DELETE, path_of(job, mv_json_text(job->state, "clear")), request);
	else if (mv_is_step(step, "audio"))
		start_file(job, mv_track_of(step), request);
	else if (mv_is_step(step, "cover"))
		start_file(job, -1, request);
	else if (mv_is_step(step, "metadata"))
		start_metadata(job, mv_same_text(mv_json_text(job->state, "files"), digest(job)) ? "metadata" : "full", request);
	else if (mv_is_step(step, "removal"))
		start_metadata(job, "takedown", request);
	else
		elog(ERROR, "unknown step \"%s\"", step);
}

/* ---- finish */

static void
finish_file(const MvJob *job, int n, const MvResponse *response, MvOutcome *outcome)
{
	mv_learn(outcome, "files", NULL);	/* of those that were known it isn't one any more */
	mv_learn_int(outcome, file_key(n, "rev"), job->revision);
	mv_learn(outcome, file_key(n, "name"), name_of(job, n));
	mv_learn(outcome, file_key(n, "bytes"), psprintf(INT64_FORMAT, response->bytes));
	mv_learn(outcome, file_key(n, "md5"), response->md5);
}

static void
finish_metadata(const MvJob *job, MvOutcome *outcome)
{
	outcome->delivered = true;
	mv_learn_int(outcome, "sent_rev", job->revision);
	mv_learn(outcome, "files", digest(job));
	mv_report(outcome, NULL, "processing")->reason = "the package was delivered: confirm when it can be heard";
}

/* The file that a step puts there; NULL for none */
static const char *
put_by(const MvJob *job, const char *step)
{
	if (mv_is_step(step, "audio"))
		return name_of(job, mv_track_of(step));
	if (mv_is_step(step, "cover"))
		return name_of(job, -1);
	return mv_is_step(step, "metadata") || mv_is_step(step, "removal") ? "metadata.xml" : NULL;
}

/* It is gone, with what was in it */
static void
forget_folder(const MvJob *job, MvOutcome *outcome)
{
	mv_learn(outcome, "folder_rev", NULL);
	mv_learn(outcome, "removal", NULL);
	if (mv_same_text(mv_json_text(job->state, "files"), digest(job)))
		return;					/* Apple has them already */
	for (int n = -1; n < mv_json_length(job->release, "tracks"); n++)
		mv_learn(outcome, file_key(n, "rev"), NULL);
}

static void
take_failure(const MvJob *job, const char *step, const MvResponse *response, MvOutcome *outcome)
{
	if (response->status == 409 && put_by(job, step) != NULL)
	{
		mv_learn(outcome, "clear", put_by(job, step));
		if (mv_is_step(step, "metadata"))
			mv_learn_int(outcome, "was_there", 1);
		return;
	}
	mv_outcome_of_status(response, response->status == 404 ? "SFTP: the package's folder is gone" : "SFTP: the server refuses the file",
						 outcome);
	if (response->status == 404)
	{
		outcome->kind = MV_AGAIN;
		forget_folder(job, outcome);
	}
}

void
mv_itmsp_finish(const MvJob *job, const char *step, const MvResponse *response, MvOutcome *outcome)
{
	if (response->status == 404 && job->unsure && mv_is_step(step, "metadata"))
		finish_metadata(job, outcome);	/* it was there, and whoever reads the directory has taken it */
	else if (response->status != 200)
		take_failure(job, step, response, outcome);
	else if (mv_is_step(step, "folder"))
	{
		mv_learn(outcome, "vendor_id", vendor_id(job));
		mv_learn_int(outcome, "folder_rev", job->revision);
	}
	else if (mv_is_step(step, "clear"))
		mv_learn(outcome, "clear", NULL);
	else if (mv_is_step(step, "withdraw"))
	{
		mv_learn(outcome, "folder_rev", NULL);
		outcome->kind = MV_DONE;
	}
	else if (mv_is_step(step, "audio"))
		finish_file(job, mv_track_of(step), response, outcome);
	else if (mv_is_step(step, "cover"))
		finish_file(job, -1, response, outcome);
	else if (mv_is_step(step, "metadata"))
		finish_metadata(job, outcome);
	else if (mv_is_step(step, "removal_folder"))
		mv_learn(outcome, "removal", "folder");
	else
		mv_learn(outcome, "removal", "sent");
}

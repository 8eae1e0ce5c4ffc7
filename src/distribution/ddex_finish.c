/*
 * What the answers of a partner who takes messages of DDEX mean.
 *
 * Names are ours alone, in a folder of this one delivery: a message or manifest
 * whose name is taken was put there by an attempt that didn't see its answer.
 * A file may have changed since: the new one takes its place.
 */
#include "postgres.h"

#include "distribution/connector_steps.h"
#include "distribution/ddex_int.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define MOST_RESENDS	3

static void
learn_all(MvOutcome *outcome, Jsonb *facts)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[2] = {outcome->learned, facts};

	outcome->learned = outcome->learned == NULL ? facts : mv_json_sql(&plan, "$1 || $2", 2, args);
}

/* ---- sending */

static void
take_problem(Jsonb *judged, MvOutcome *outcome)
{
	outcome->kind = mv_same_text(mv_json_text(judged, "ours"), "true") ? MV_OURS : MV_USER;
	outcome->message = mv_json_text(judged, "problem");
}

static void
finish_name(const MvJob *job, MvOutcome *outcome)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[5] = {mv_json_of_text(job->reference), job->release, job->config,
		mv_jsonb_of(job->goal == MV_TAKEDOWN ? "\"takedown\"" : "\"deliver\""),
	mv_jsonb_of(job->delivered_revision > 0 ? "true" : "false")};
	Jsonb	   *made = mv_json_sql(&plan, "musicverse._ddex_name(($1 #>> '{}')::uuid, $2, $3, $4 #>> '{}', $5::boolean)", 5, args);
	Jsonb	   *state = mv_json_at(made, "state");

	if (state == NULL)
		take_problem(made, outcome);
	else
		learn_all(outcome, state);
}

/* A file is there: "in" this folder, or whole "beside" its name */
static void
learn_file(const MvJob *job, int n, const char *where, const MvResponse *response, MvOutcome *outcome)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[3] = {mv_ddex_file(job, n), job->state,
		mv_jsonb_of(psprintf("{\"key\": \"%s\", \"where\": \"%s\", \"size\": " INT64_FORMAT ", \"md5\": \"%s\", \"sha256\": \"%s\"}",
							 mv_ddex_file_key(job, n), where, response->bytes, response->md5, response->sha256))};

	learn_all(outcome, mv_json_sql(&plan, "jsonb_build_object($3 ->> 'key',"
								   " $1 || ($3 - 'key' - 'where') || jsonb_build_object($3 ->> 'where', $2 -> 'folder'))",
								   3, args));
}

static void
finish_file(const MvJob *job, const char *step, const MvResponse *response, bool taken, MvOutcome *outcome)
{
	if (response->sha256 != NULL && response->md5 != NULL && response->bytes > 0)
		learn_file(job, mv_ddex_file_of(job, step), taken ? "beside" : "in", response, outcome);
	else
	{
		outcome->kind = MV_AGAIN;
		outcome->message = psprintf("nothing is known of the file that %s sent", step);
	}
}

static void
finish_replace(const MvJob *job, const char *step, bool good, MvOutcome *outcome)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[3] = {job->state, mv_json_of_text(mv_ddex_file_key(job, mv_ddex_file_of(job, step))),
	mv_jsonb_of(good ? "true" : "false")};

	learn_all(outcome, mv_json_sql(&plan, "jsonb_build_object($2 #>> '{}', ($1 -> ($2 #>> '{}')) - 'beside' || "
								   "case when $3::boolean then jsonb_build_object('in', $1 -> 'folder') else '{}' end)", 3, args));
}

static void
finish_prepare(const MvJob *job, MvOutcome *outcome)
{
	Jsonb	   *message = mv_ddex_message(job);

	if (mv_json_at(message, "problem") != NULL)
	{
		take_problem(message, outcome);
		return;
	}
	mv_learn(outcome, "message_md5", mv_json_text(message, "md5"));
	mv_learn(outcome, "message_sha256", mv_json_text(message, "sha256"));
	mv_learn_int(outcome, "sending", 1);
}

/* The partner has it: all of it is where it looks. It is what the state tells, of a revision before the job's, perhaps. */
static void
finish_sent(const MvJob *job, MvOutcome *outcome)
{
	bool		is_takedown = mv_same_text(mv_ddex_known(job, "kind"), "takedown");

	mv_learn_int(outcome, "sent", 1);
	mv_learn_int(outcome, "was_sent", 1);
	mv_learn(outcome, "sent_at", timestamptz_to_str(job->now));
	if (job->goal == MV_DELIVER && !is_takedown)
	{
		outcome->delivered = true;
		outcome->delivered_revision = mv_json_int(job->state, "rev", job->revision);
		mv_report(outcome, NULL, "processing");
	}
	else if (job->goal == MV_TAKEDOWN && is_takedown && mv_json_text(job->config, "acknowledgements") == NULL)
		mv_report(outcome, NULL, "taken_down");
}

/* Does the partner have it all when this step is carried out? */
static bool
completes(const MvJob *job, const char *step)
{
	return mv_is_step(step, mv_ddex_known(job, "manifest") != NULL ? "complete" : "message");
}

static void
finish_message(const MvJob *job, const MvResponse *response, MvOutcome *outcome)
{
	mv_learn_int(outcome, "message_in", 1);
	if (response->md5 != NULL && response->sha256 != NULL && response->status == 200)
	{
		mv_learn(outcome, "message_md5", response->md5);
		mv_learn(outcome, "message_sha256", response->sha256);
	}
	if (completes(job, "message"))
		finish_sent(job, outcome);
}

/* Is what completes the delivery among the names? */
static void
finish_find(const MvJob *job, const MvResponse *response, MvOutcome *outcome)
{
	const char *wanted = mv_ddex_known(job, "manifest");
	const char *line = response->body;
	bool		found = false;

	if (wanted == NULL)
		wanted = mv_ddex_known(job, "message");
	while (line != NULL && *line != '\0' && !found)
	{
		int			len = strcspn(line, "\r\n");

		found = len == strlen(wanted) && strncmp(line, wanted, len) == 0;
		line += len;
		line += strspn(line, "\r\n");
	}
	if (found)
	{
		mv_learn_int(outcome, "message_in", 1);
		finish_sent(job, outcome);
	}
	else
		mv_learn(outcome, "sending", NULL);
}

/* The folder is gone. Who took it away, the partner? It may have the release, and is sent all of it again. */
static void
finish_find_nothing(MvOutcome *outcome)
{
	mv_learn_int(outcome, "was_sent", 1);
	mv_learn(outcome, "sending", NULL);
}

/* Nothing is left there, and what was sent there is to be sent again */
static void
finish_clean(const MvJob *job, MvOutcome *outcome)
{
	for (int n = 0; n < mv_ddex_files(job); n++)
		if (mv_ddex_lies(job, n, "in") || mv_ddex_lies(job, n, "beside"))
			mv_learn(outcome, mv_ddex_file_key(job, n), NULL);
	mv_learn(outcome, "folder", NULL);
	mv_learn(outcome, "rev", NULL);
}

/* ---- what became of it */

/* "read.17": the file's name */
char *
mv_ddex_acknowledgement(const char *step)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[1] = {mv_ddex_number(mv_track_of(step))};

	return mv_json_text(mv_json_sql(&plan, "(select jsonb_build_array(a.file_name)"
									" from musicverse.partner_acknowledgements a where a.id = $1::bigint)",
									1, args), "0");
}

static void
finish_list(const MvJob *job, const MvResponse *response, MvOutcome *outcome)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[2] = {mv_json_of_text(job->partner), mv_json_of_text(response->body != NULL ? response->body : "")};

	mv_json_sql(&plan, "to_jsonb(musicverse._take_listing($1 #>> '{}', $2 #>> '{}'))", 2, args);
}

static void
finish_read(const char *step, const char *body, const char *problem)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[3] = {mv_ddex_number(mv_track_of(step)), mv_json_of_text(body), mv_json_of_text(problem)};

	mv_json_sql(&plan, "to_jsonb(musicverse._take_acknowledgement($1::bigint, $2 #>> '{}', $3 #>> '{}'))", 3, args);
}

/* What the partner proposes is done, some times; else it is a refusal */
static void
finish_failed(const MvJob *job, const char *action, const char *reason, MvOutcome *outcome)
{
	const char *again = action == NULL || strstr(action, "DoNot") != NULL ? NULL :
		strstr(action, "Resources") != NULL ? "all" : strstr(action, "Resend") != NULL ? "xml" : NULL;

	if (job->goal == MV_TAKEDOWN)
	{
		/* there is nothing that its owner could do */
		mv_learn(outcome, "resend", "xml");
		outcome->kind = MV_AGAIN;
	}
	else if (again != NULL && mv_json_int(job->state, "resends", 0) < MOST_RESENDS)
		mv_learn(outcome, "resend", again);
	else
		outcome->kind = MV_USER;
	if (outcome->kind != MV_NEXT)
		outcome->message = psprintf("%s: %s", job->partner, reason != NULL ? reason : "the release was refused");
}

static void
finish_judge(const MvJob *job, MvOutcome *outcome)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[1] = {mv_json_of_text(job->reference)};
	Jsonb	   *said = mv_json_sql(&plan, "musicverse._take_statuses(($1 #>> '{}')::uuid)", 1, args);
	char	   *status = mv_json_text(said, "status");

	if (status == NULL)
		return;					/* it is on its way */
	mv_learn_int(outcome, "acked", 1);
	if (strcmp(status, "failed") == 0)
		finish_failed(job, mv_json_text(said, "action"), mv_json_text(said, "reason"), outcome);
	else if (job->goal == MV_TAKEDOWN)
		mv_report(outcome, NULL, "taken_down");
	else if (strcmp(status, "live") == 0 || strcmp(status, "processing") == 0)
		mv_report(outcome, NULL, status);
}

static void
finish_expire(const MvJob *job, MvOutcome *outcome)
{
	outcome->message = psprintf("%s did not acknowledge the message %s within %s hours", job->partner, mv_ddex_known(job, "message_id"),
								mv_json_text(job->config, "acknowledge_timeout"));
	outcome->kind = job->goal == MV_TAKEDOWN ? MV_AGAIN : MV_USER;
	if (job->goal == MV_TAKEDOWN)
		mv_learn(outcome, "resend", "xml");
}

/* ---- the whole */

static void
finish_refused(const MvJob *job, const char *step, const MvResponse *response, MvOutcome *outcome)
{
	int			status = response->status;

	mv_outcome_of_status(response, response->body != NULL ? response->body : psprintf("%s: the server refused %s", job->partner, step),
						 outcome);
	/* nothing that the release says would help */
	if (outcome->kind == MV_USER)
		outcome->kind = MV_AGAIN;
	if (status != 404)
		return;
	/* somebody may have removed the folders, and what was in them; made anew in vain, they can't be made */
	outcome->message = psprintf("%s: there is no folder \"%s\" on the server, nor can it be made: its user must be allowed to write"
								" below base_url and directory (sftp://host/~ begins at the user's own folder)",
								job->partner, mv_ddex_known(job, "dir"));
	if (mv_ddex_known(job, "made_anew") != NULL)
		outcome->kind = MV_OURS;
	mv_learn_int(outcome, "made_anew", 1);
	mv_learn(outcome, "sending", NULL);
	mv_learn(outcome, "rev", NULL);
	mv_learn(outcome, "kind", NULL);
}

static void
finish_done(const MvJob *job, const char *step, const MvResponse *response, MvOutcome *outcome)
{
	if (mv_is_step(step, "name"))
		finish_name(job, outcome);
	else if (mv_is_step(step, "mkdir"))
		mv_learn_int(outcome, "made", 1);
	else if (mv_is_step(step, "audio") || mv_is_step(step, "cover"))
		finish_file(job, step, response, false, outcome);
	else if (mv_is_step(step, "replace") || mv_is_step(step, "replace_cover"))
		finish_replace(job, step, true, outcome);
	else if (mv_is_step(step, "prepare"))
		finish_prepare(job, outcome);
	else if (mv_is_step(step, "message"))
	{
		finish_message(job, response, outcome);
		mv_learn(outcome, "made_anew", NULL);
	}
	else if (mv_is_step(step, "complete"))
		finish_sent(job, outcome);
	else if (mv_is_step(step, "clean"))
		finish_clean(job, outcome);
	else if (mv_is_step(step, "tidy"))
		mv_learn(outcome, "spare", NULL);
	else if (mv_is_step(step, "find"))
		finish_find(job, response, outcome);
	else if (mv_is_step(step, "list"))
		finish_list(job, response, outcome);
	else if (mv_is_step(step, "read"))
		finish_read(step, response->body, response->body != NULL ? NULL : "it is empty, too long, or no UTF-8");
	else if (mv_is_step(step, "judge"))
		finish_judge(job, outcome);
	else if (mv_is_step(step, "assume"))
		mv_report(outcome, NULL, "live");
	else if (mv_is_step(step, "expire"))
		finish_expire(job, outcome);
	else
		elog(ERROR, "unknown step \"%s\"", step);
}

void
mv_ddex_finish(const MvJob *job, const char *step, const MvResponse *response, MvOutcome *outcome)
{
	int			status = response->status;

	if (status >= 200 && status < 300)
		finish_done(job, step, response, outcome);
	else if (status == 409 && (mv_is_step(step, "audio") || mv_is_step(step, "cover")))
		finish_file(job, step, response, true, outcome);
	else if (status == 409 && mv_is_step(step, "message"))
	{
		finish_message(job, response, outcome);
		mv_learn(outcome, "spare", mv_ddex_temporary(mv_ddex_path(job, mv_ddex_known(job, "message"))));
	}
	else if (status == 409 && mv_is_step(step, "complete"))
	{
		finish_sent(job, outcome);
		mv_learn(outcome, "spare", mv_ddex_manifest_temporary(job));
	}
	else if (status != 403 && status < 500 && (mv_is_step(step, "replace") || mv_is_step(step, "replace_cover")))
		finish_replace(job, step, false, outcome);
	else if (status == 404 && job->unsure && completes(job, step))
		finish_done(job, step, response, outcome);	/* the partner has taken the folder away */
	else if (status == 404 && mv_is_step(step, "find"))
		finish_find_nothing(outcome);
	else if (status == 404 && mv_is_step(step, "list"))
		finish_list(job, response, outcome);	/* the partner makes it when he first answers */
	else if ((status == 404 || status == 413) && mv_is_step(step, "read"))
		finish_read(step, NULL, status == 404 ? "it is gone" : "it is too long");
	else
		finish_refused(job, step, response, outcome);
}

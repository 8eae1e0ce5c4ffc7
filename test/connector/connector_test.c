/*
 * A connector whose steps are written in its partner's config, so that tests
 * can have the worker ask for whatever a connector may ask for:
 *
 *	{"script": [{"step": "put", "request": {"sftp": "put", "path": "/a.wav", …}}]}
 *
 * The members of a request are those of MvRequest. What was answered is learned
 * under the name of the step; {"any": true} beside the step takes a refusal for
 * an answer too. Behind the last step the release is live. Nothing is done for
 * a takedown.
 */
#include "postgres.h"

#include "core/sftp.h"
#include "distribution/connector.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

/* ---- reading */

static JsonbContainer *
member(JsonbContainer *json, const char *key, JsonbValue *value)
{
	if (json == NULL || getKeyJsonValueFromContainer(json, key, strlen(key), value) == NULL)
		return NULL;
	return value->type == jbvBinary ? value->val.binary.data : NULL;
}

static JsonbContainer *
inside(JsonbContainer *json, const char *key)
{
	JsonbValue	value;

	return member(json, key, &value);
}

static char *
text_of(const JsonbValue *value)
{
	return value->type == jbvString ? pnstrdup(value->val.string.val, value->val.string.len) : NULL;
}

static char *
string(JsonbContainer *json, const char *key)
{
	JsonbValue	value = {.type = jbvNull};

	member(json, key, &value);
	return text_of(&value);
}

static bool
flag(JsonbContainer *json, const char *key)
{
	JsonbValue	value = {.type = jbvNull};

	member(json, key, &value);
	return value.type == jbvBool && value.val.boolean;
}

static int
size_of(JsonbContainer *array)
{
	return array != NULL ? JsonContainerSize(array) : 0;
}

static JsonbContainer *
item(JsonbContainer *array, int n)
{
	return getIthJsonbValueFromContainer(array, n)->val.binary.data;
}

static char *
word(JsonbContainer *array, int n)
{
	return n < JsonContainerSize(array) ? text_of(getIthJsonbValueFromContainer(array, n)) : NULL;
}

static JsonbContainer *
script(const MvJob *job)
{
	return inside(&job->config->root, "script");
}

static JsonbContainer *
find_step(const MvJob *job, const char *step)
{
	JsonbContainer *steps = script(job);

	for (int i = 0; i < size_of(steps); i++)
		if (strcmp(string(item(steps, i), "step"), step) == 0)
			return item(steps, i);
	elog(ERROR, "there is no step \"%s\"", step);
}

/* ---- the connector */

static void
test_plan(const MvJob *job, MvPlan *plan)
{
	JsonbContainer *steps = script(job);
	JsonbValue	known;

	for (int i = 0; i < size_of(steps) && job->goal == MV_DELIVER; i++)
	{
		const char *step = string(item(steps, i), "step");

		if (getKeyJsonValueFromContainer(&job->state->root, step, strlen(step), &known) != NULL)
			continue;
		plan->step = step;
		return;
	}
}

static List *
parts(JsonbContainer *array)
{
	List	   *list = NIL;

	for (int i = 0; i < size_of(array); i++)
	{
		MvPart	   *part = palloc0(sizeof(MvPart));

		part->name = string(item(array, i), "name");
		part->value = string(item(array, i), "value");
		part->source_url = string(item(array, i), "source_url");
		part->file_name = string(item(array, i), "file_name");
		part->content_type = string(item(array, i), "content_type");
		list = lappend(list, part);
	}
	return list;
}

/* [["mkdir", "/a"], ["?rename", "/a", "/b"]]: "?" may fail */
static List *
commands(JsonbContainer *array)
{
	static const char *const verbs[] = {"delete", "rename", "mkdir", "rmdir"};
	List	   *list = NIL;

	for (int i = 0; i < size_of(array); i++)
	{
		MvSftpLine *line = palloc0(sizeof(MvSftpLine));
		const char *verb = word(item(array, i), 0);

		line->may_fail = verb[0] == '?';
		while (strcmp(verbs[line->verb], verb + line->may_fail) != 0)
			line->verb++;
		line->path = word(item(array, i), 1);
		line->to = word(item(array, i), 2);
		list = lappend(list, line);
	}
	return list;
}

static void
test_start(const MvJob *job, const char *step, MvRequest *request)
{
	static const char *const asks[] = {"", "put", "get", "list", "commands"};
	JsonbContainer *json = inside(find_step(job, step), "request");
	JsonbContainer *headers = inside(json, "headers");
	const char *ask = string(json, "sftp");

	request->method = string(json, "method");
	request->path = string(json, "path");
	request->url = string(json, "url");
	request->body = string(json, "body");
	request->content_type = string(json, "content_type");
	request->idempotent = flag(json, "idempotent");
	request->nothing = flag(json, "nothing");
	request->source_url = string(json, "source_url");
	request->source_sha256 = string(json, "source_sha256");
	request->temporary = string(json, "temporary");
	request->parts = parts(inside(json, "parts"));
	request->commands = commands(inside(json, "commands"));
	for (int i = 0; i < size_of(headers); i++)
		request->headers = lappend(request->headers, word(headers, i));
	while (ask != NULL && strcmp(asks[request->sftp], ask) != 0)
		request->sftp++;
}

static void
tell(StringInfo out, const char *key, const char *value)
{
	if (value == NULL)
		return;
	appendStringInfo(out, ", \"%s\": ", key);
	escape_json(out, value);
}

static void
test_finish(const MvJob *job, const char *step, const MvResponse *response, MvOutcome *outcome)
{
	JsonbContainer *steps = script(job);
	StringInfoData out;

	if ((response->status < 200 || response->status > 299) && !flag(find_step(job, step), "any"))
	{
		mv_outcome_of_status(response, response->body != NULL ? response->body : psprintf("%s: %d", step, response->status), outcome);
		return;
	}
	initStringInfo(&out);
	appendStringInfo(&out, "{\"%s\": {\"status\": %d, \"bytes\": " INT64_FORMAT ", \"unsure\": %s", step, response->status, response->bytes,
					 job->unsure ? "true" : "false");
	tell(&out, "body", response->body);
	tell(&out, "sha256", response->sha256);
	tell(&out, "md5", response->md5);
	appendStringInfoString(&out, "}}");
	outcome->learned = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(out.data)));
	if (strcmp(string(item(steps, size_of(steps) - 1), "step"), step) == 0)
	{
		MvReport   *report = palloc0(sizeof(MvReport));

		report->status = "live";
		outcome->reports = list_make1(report);
		outcome->delivered = true;
		outcome->kind = MV_DONE;
	}
}

static const MvConnector scripted = {.name = "scripted", .plan = test_plan, .start = test_start, .finish = test_finish};

void
_PG_init(void)
{
	mv_connector_add(&scripted);
}

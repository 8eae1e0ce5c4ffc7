/*
 * The list of connectors, and what they need of JSON and of HTTP.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "distribution/connector.h"
#include "distribution/releases_int.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

static const MvConnector *const connectors[] = {&mv_bundle, &mv_ddex_sftp, &mv_itmsp, &mv_labelgrid, &mv_soundcloud, &mv_verifier};

/* Those of other modules */
static const MvConnector *added[8];
static int	nadded = 0;

const MvConnector *
mv_connector_find(const char *name)
{
	for (int i = 0; i < lengthof(connectors); i++)
		if (strcmp(connectors[i]->name, name) == 0)
			return connectors[i];
	for (int i = 0; i < nadded; i++)
		if (strcmp(added[i]->name, name) == 0)
			return added[i];
	return NULL;
}

void
mv_connector_add(const MvConnector *connector)
{
	if (nadded == lengthof(added))
		elog(ERROR, "there are more than %d connectors of other modules", (int) lengthof(added));
	added[nadded++] = connector;
}

/* ---- JSON */

/* NULL when it is none. */
Jsonb *
mv_jsonb_of(const char *text)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[1] = {TEXTOID};
	Datum		values[1];
	bool		isnull;
	Datum		value;
	Jsonb	   *result = NULL;
	MemoryContext context = CurrentMemoryContext;

	if (text == NULL)
		return NULL;
	values[0] = CStringGetTextDatum(text);
	mv_worker_execute(&plan, "select musicverse._foreign_json($1)", 1, types, values, NULL);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (!isnull)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		result = DatumGetJsonbPCopy(value);
		MemoryContextSwitchTo(old);
	}
	SPI_freetuptable(SPI_tuptable);
	return result;
}

Jsonb *
mv_json_sql(SPIPlanPtr *plan, const char *expression, int nargs, Jsonb **args)
{
	Oid			types[8];
	Datum		values[8];
	char		nulls[9] = "        ";
	bool		isnull;
	Datum		value;
	Jsonb	   *result = NULL;
	MemoryContext context = CurrentMemoryContext;

	Assert(nargs <= lengthof(types));
	for (int i = 0; i < nargs; i++)
	{
		types[i] = JSONBOID;
		values[i] = PointerGetDatum(args[i]);
		nulls[i] = args[i] == NULL ? 'n' : ' ';
	}
	mv_worker_execute(plan, psprintf("select (%s)::jsonb", expression), nargs, types, values, nulls);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (!isnull)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		result = DatumGetJsonbPCopy(value);
		MemoryContextSwitchTo(old);
	}
	SPI_freetuptable(SPI_tuptable);
	return result;
}

Jsonb *
mv_json_of_text(const char *text)
{
	JsonbValue	value = {.type = jbvString};

	if (text == NULL)
		return NULL;
	value.val.string.val = unconstify(char *, text);
	value.val.string.len = strlen(text);
	return JsonbValueToJsonb(&value);
}

static void
learn(MvOutcome *outcome, const char *name, JsonbValue *value)
{
	JsonbParseState *parse = NULL;
	JsonbValue	key = {.type = jbvString};
	Jsonb	   *fact;

	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	pushJsonbValue(&parse, WJB_BEGIN_OBJECT, NULL);
	pushJsonbValue(&parse, WJB_KEY, &key);
	pushJsonbValue(&parse, WJB_VALUE, value);
	fact = JsonbValueToJsonb(pushJsonbValue(&parse, WJB_END_OBJECT, NULL));
	if (outcome->learned == NULL)
		outcome->learned = fact;
	else
		outcome->learned = DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(outcome->learned), JsonbPGetDatum(fact)));
}

void
mv_learn(MvOutcome *outcome, const char *name, const char *text)
{
	JsonbValue	value = {.type = jbvNull};

	if (text != NULL)
	{
		value.type = jbvString;
		value.val.string.val = unconstify(char *, text);
		value.val.string.len = strlen(text);
	}
	learn(outcome, name, &value);
}

void
mv_learn_int(MvOutcome *outcome, const char *name, int number)
{
	JsonbValue	value = {.type = jbvNumeric};

	value.val.numeric = int64_to_numeric(number);
	learn(outcome, name, &value);
}

int64
mv_poll_interval(const MvJob *job)
{
	char	   *text = mv_json_text(job->config, "poll_interval");

	return text != NULL ? (int64) (strtod(text, NULL) * USECS_PER_SEC) : mv_dist_poll_interval_s * USECS_PER_SEC;
}

/* ---- HTTP */

void
mv_outcome_of_status(const MvResponse *response, const char *message, MvOutcome *outcome)
{
	int			status = response->status;

	outcome->message = message;
	if (status == 401 || status == 402 || status == 403)
		outcome->kind = MV_OURS;
	else if (status >= 300 && status < 400)
	{
		outcome->kind = MV_OURS;
		outcome->message = psprintf("redirect (HTTP %d) is not followed", status);
	}
	else if (status == 400 || status == 404 || status == 405 || status == 406 || status == 410 || status == 413 || status == 415 ||
			 status == 422)
		outcome->kind = MV_USER;
	else
		outcome->kind = MV_AGAIN;
}

MvReport *
mv_report(MvOutcome *outcome, const char *platform, const char *status)
{
	MvReport   *report = palloc0(sizeof(MvReport));

	report->platform = platform;
	report->status = status;
	outcome->reports = lappend(outcome->reports, report);
	return report;
}

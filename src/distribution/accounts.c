/*
 * What is asked of partners for accounts of users, by OAuth 2.1: a code is
 * exchanged for tokens, tokens are refreshed, and the partner is asked whose
 * they are. One request at a time for an account, recorded before it is sent.
 *
 * A refresh token works once. When the answer to its use is lost, it is sent
 * again: either the partner had not seen it, or it refuses it, and the user has
 * to log in again.
 *
 * What a partner says about one user's code or tokens never pauses the
 * partner; that it doesn't know our client does.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "distribution/accounts.h"
#include "distribution/connector_steps.h"
#include "distribution/releases_int.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(musicverse_connector_has_accounts);

#define TOKEN_LENGTH	4096	/* longest that is taken */
#define HOLDS_S			3600	/* of an access token when the partner doesn't say */
#define HOLDS_LONGEST_S	(10 * 365 * SECS_PER_DAY)

/* _connector_has_accounts(connector text) */
Datum
musicverse_connector_has_accounts(PG_FUNCTION_ARGS)
{
	const MvConnector *connector = mv_connector_find(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	PG_RETURN_BOOL(connector != NULL && connector->account_path != NULL);
}

static Datum
uuid_of(const char *text)
{
	return DirectFunctionCall1(uuid_in, CStringGetDatum(text));
}

/* ---- tokens for others */

void
mv_account_use(const char *partner, const char *user_id, MvAccount *account)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[2] = {TEXTOID, UUIDOID};
	Datum		values[2] = {CStringGetTextDatum(partner), uuid_of(user_id)};
	HeapTuple	row;
	TupleDesc	desc;
	bool		isnull;
	Datum		value;

	mv_worker_execute(&plan, "select state, generation, tokens from musicverse._use_account($1, $2)", 2, types, values, NULL);
	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	value = SPI_getbinval(row, desc, 1, &isnull);
	account->state = TextDatumGetCString(value);
	value = SPI_getbinval(row, desc, 2, &isnull);
	account->generation = isnull ? 0 : DatumGetInt64(value);
	value = SPI_getbinval(row, desc, 3, &isnull);
	account->tokens = isnull ? NULL : DatumGetJsonbPCopy(value);
	SPI_freetuptable(SPI_tuptable);
}

static void
tell(SPIPlanPtr *plan, const char *sql, const char *partner, const char *user_id, int64 generation)
{
	Oid			types[3] = {TEXTOID, UUIDOID, INT8OID};
	Datum		values[3] = {CStringGetTextDatum(partner), uuid_of(user_id), Int64GetDatum(generation)};

	mv_worker_execute(plan, sql, 3, types, values, NULL);
}

void
mv_account_refused(const char *partner, const char *user_id, int64 generation)
{
	static SPIPlanPtr plan = NULL;

	tell(&plan, "select musicverse._tokens_refused($1, $2, $3)", partner, user_id, generation);
}

void
mv_account_worked(const char *partner, const char *user_id, int64 generation)
{
	static SPIPlanPtr plan = NULL;

	tell(&plan, "select musicverse._tokens_worked($1, $2, $3)", partner, user_id, generation);
}

/* ---- what is asked */

/* A field of a form, in UTF-8 */
static void
add_field(StringInfo form, const char *name, const char *value)
{
	appendStringInfo(form, "%s%s=", form->len > 0 ? "&" : "", name);
	if (value == NULL)
		return;
	for (const char *p = pg_server_to_any(value, strlen(value), PG_UTF8); *p; p++)
	{
		if (isalnum((unsigned char) *p) || strchr("-._~", *p) != NULL)
			appendStringInfoChar(form, *p);
		else
			appendStringInfo(form, "%%%02X", (unsigned char) *p);
	}
}

void
mv_account_ask_for_tokens(MvDistExchange *exchange, Jsonb *secrets)
{
	MvRequest  *request = &exchange->request;
	Jsonb	   *credentials = exchange->job.credentials;
	StringInfoData form;

	initStringInfo(&form);
	if (mv_is_step(exchange->step, "exchange"))
	{
		add_field(&form, "grant_type", "authorization_code");
		add_field(&form, "code", mv_json_text(secrets, "code"));
		add_field(&form, "redirect_uri", mv_json_text(secrets, "redirect_uri"));
		add_field(&form, "code_verifier", mv_json_text(secrets, "code_verifier"));
	}
	else
	{
		add_field(&form, "grant_type", "refresh_token");
		add_field(&form, "refresh_token", mv_json_text(secrets, "refresh_token"));
	}
	add_field(&form, "client_id", mv_json_text(credentials, "client_id"));
	add_field(&form, "client_secret", mv_json_text(credentials, "client_secret"));
	request->url = mv_json_text(exchange->job.config, "token_url");
	request->body = form.data;
	request->content_type = "application/x-www-form-urlencoded";
	request->headers = list_make1("Accept: application/json");
}

static void
ask_whose(MvDistExchange *exchange, Jsonb *secrets)
{
	const MvConnector *connector = exchange->partner->connector;
	MvRequest  *request = &exchange->request;

	request->method = "GET";
	request->path = connector->account_path;
	request->headers = list_make1(psprintf("Authorization: %s %s", connector->token_scheme, mv_json_text(secrets, "access_token")));
}

/* ---- what was answered */

/* Something that goes into a header, or a form: printable ASCII without spaces */
char *
mv_account_token_of(Jsonb *json, const char *name)
{
	char	   *text = mv_json_text(json, name);

	if (text == NULL || *text == '\0' || strlen(text) > TOKEN_LENGTH)
		return NULL;
	for (const char *p = text; *p; p++)
		if (*p <= ' ' || *p > '~')
			return NULL;
	return text;
}

static void
no_sense(const MvDistExchange *exchange, MvOutcome *outcome)
{
	outcome->kind = MV_AGAIN;
	outcome->message = psprintf("partner %s: the answer to %s makes no sense", exchange->partner->name, exchange->step);
}

static void
take_refusal(const MvDistExchange *exchange, const MvResponse *response, MvOutcome *outcome)
{
	char	   *error = mv_json_text(response->json, "error");
	int			status = response->status;

	outcome->kind = MV_AGAIN;
	outcome->message = psprintf("partner %s answered %s with HTTP %d%s%s", exchange->partner->name, exchange->step, status,
								error != NULL ? ": " : "", error != NULL ? error : "");
	if (mv_is_step(exchange->step, "look"))
	{
		if (status == 401)
			outcome->kind = MV_ACCOUNT;
	}
	else if (mv_same_text(error, "invalid_client") || mv_same_text(error, "unauthorized_client"))
		outcome->kind = MV_OURS;
	else if (status == 400 || status == 401 || status == 404 || status == 422)
		outcome->kind = MV_ACCOUNT;
}

static void
take_tokens(const MvDistExchange *exchange, const MvResponse *response, MvOutcome *outcome)
{
	char	   *access = mv_account_token_of(response->json, "access_token");
	int			seconds = mv_json_int(response->json, "expires_in", HOLDS_S);

	if (access == NULL)
	{
		no_sense(exchange, outcome);
		return;
	}
	mv_learn(outcome, "access_token", access);
	mv_learn(outcome, "refresh_token", mv_account_token_of(response->json, "refresh_token"));
	mv_learn_int(outcome, "expires_in", seconds > 0 ? Min(seconds, HOLDS_LONGEST_S) : HOLDS_S);
}

static void
take_identity(const MvDistExchange *exchange, const MvResponse *response, MvOutcome *outcome)
{
	char	   *id = mv_account_token_of(response->json, "urn");

	if (id == NULL)
		id = mv_account_token_of(response->json, "id");
	if (id == NULL || strlen(id) > 255)
	{
		no_sense(exchange, outcome);
		return;
	}
	mv_learn(outcome, "external_id", id);
	mv_learn(outcome, "username", mv_json_text(response->json, "username"));
	mv_learn(outcome, "external_url", mv_json_text(response->json, "permalink_url"));
}

static void
judge_account(MvDistExchange *exchange, const MvResponse *response, MvOutcome *outcome)
{
	if (response->status < 200 || response->status > 299)
		take_refusal(exchange, response, outcome);
	else if (mv_is_step(exchange->step, "look"))
		take_identity(exchange, response, outcome);
	else
		take_tokens(exchange, response, outcome);
}

static void
write_account(MvDistExchange *exchange, const MvOutcome *outcome)
{
	static SPIPlanPtr plan = NULL;
	const MvJob *job = &exchange->job;
	Oid			types[8] = {TEXTOID, UUIDOID, TEXTOID, INT8OID, TEXTOID, JSONBOID, TEXTOID, INT4OID};
	Datum		values[8];
	char		nulls[9] = "        ";
	int			retry_after = mv_dist_retry_after(exchange, outcome);

	values[0] = CStringGetTextDatum(job->partner);
	values[1] = uuid_of(job->user_id);
	values[2] = CStringGetTextDatum(exchange->step);
	values[3] = Int64GetDatum(exchange->generation);
	values[4] = CStringGetTextDatum(mv_dist_verdict(outcome->kind));
	values[5] = PointerGetDatum(outcome->learned);
	nulls[5] = outcome->learned == NULL ? 'n' : ' ';
	values[6] = outcome->message != NULL ? CStringGetTextDatum(outcome->message) : (Datum) 0;
	nulls[6] = outcome->message == NULL ? 'n' : ' ';
	values[7] = Int32GetDatum(retry_after);
	nulls[7] = retry_after < 0 ? 'n' : ' ';
	mv_worker_execute(&plan, "select musicverse._settle_account($1, $2, $3, $4, $5, $6, $7, $8)", 8, types, values, nulls);
	exchange->busy = strcmp(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1), "busy") == 0;
	SPI_freetuptable(SPI_tuptable);
}

static const MvErrand account_errand = {judge_account, write_account};

/* ---- claiming */

static void
put_off(MvDistExchange *exchange, const char *problem)
{
	static SPIPlanPtr plan = NULL;
	const MvJob *job = &exchange->job;
	Oid			types[3] = {TEXTOID, UUIDOID, TEXTOID};
	Datum		values[3] = {CStringGetTextDatum(job->partner), uuid_of(job->user_id), 0};

	if (problem != NULL)
		values[2] = CStringGetTextDatum(problem);
	mv_worker_execute(&plan, "select musicverse._put_off_account($1, $2, $3)", 3, types, values, problem != NULL ? NULL : "  n");
}

/* Records what is asked, and prepares it. Without a step there is nothing to ask. */
static void
begin_account(MvDistExchange *exchange, void *arg)
{
	static SPIPlanPtr plan = NULL;
	const MvJob *job = &exchange->job;
	Oid			types[4] = {TEXTOID, UUIDOID, TEXTOID, INT4OID};
	Datum		values[4] = {CStringGetTextDatum(job->partner), uuid_of(job->user_id), CStringGetTextDatum(exchange->step), 0};
	bool		isnull;
	Datum		value;
	Jsonb	   *secrets;

	if (exchange->step[0] == '\0')
	{
		put_off(exchange, NULL);
		return;
	}
	exchange->timeout_ms = exchange->partner->timeout_ms;
	values[3] = Int32GetDatum((int32) exchange->timeout_ms);
	mv_worker_execute(&plan, "select musicverse._begin_account($1, $2, $3, $4)", 4, types, values, NULL);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (isnull)
		elog(ERROR, "the account has no secrets for step \"%s\"", exchange->step);
	secrets = DatumGetJsonbPCopy(value);
	SPI_freetuptable(SPI_tuptable);
	if (mv_is_step(exchange->step, "look"))
		ask_whose(exchange, secrets);
	else
		mv_account_ask_for_tokens(exchange, secrets);
	exchange->url = exchange->request.url != NULL ? pstrdup(exchange->request.url) :
		psprintf("%s%s", job->base_url, exchange->request.path);
}

bool
mv_account_claim(MvPartner *partner, int slots, TimestampTz now)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[2] = {TEXTOID, INT4OID};
	Datum		values[2] = {CStringGetTextDatum(partner->name), Int32GetDatum(slots)};
	SPITupleTable *table;
	uint64		n;

	mv_worker_execute(&plan, "select user_id, step, generation from musicverse._claim_accounts($1, $2)", 2, types, values, NULL);
	table = SPI_tuptable;
	n = SPI_processed;
	for (uint64 i = 0; i < n; i++)
	{
		MvDistExchange *exchange = mv_dist_exchange(partner, &account_errand, now);
		char	   *step = SPI_getvalue(table->vals[i], table->tupdesc, 2);
		bool		isnull;

		exchange->job.user_id = MemoryContextStrdup(exchange->context, SPI_getvalue(table->vals[i], table->tupdesc, 1));
		exchange->generation = DatumGetInt64(SPI_getbinval(table->vals[i], table->tupdesc, 3, &isnull));
		if (step != NULL)
			strlcpy(exchange->step, step, sizeof(exchange->step));
		mv_dist_begin(exchange, begin_account, NULL, put_off);
	}
	SPI_freetuptable(table);
	return n == (uint64) slots;
}

/*
 * A user has disconnected: the partner is told, so that the session behind the
 * tokens ends there as well.
 *
 * Nobody waits for it, and nothing follows from the answer but that the tokens
 * go. What the partner says never pauses it. The rules are SQL
 * (distribution_sign_outs.sql); the rows are the worker's alone.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "distribution/accounts.h"
#include "distribution/connector_steps.h"
#include "distribution/releases_int.h"
#include "utils/builtins.h"

#define LONGEST_MS	15000

/* {"access_token": …}; it is plain ASCII, see mv_account_token_of() */
static char *
body_of(Jsonb *tokens)
{
	static SPIPlanPtr plan = NULL;
	Jsonb	   *args[1] = {tokens};

	return mv_json_print(mv_json_sql(&plan, "jsonb_build_object('access_token', $1 -> 'access_token')", 1, args));
}

/* Raises for secrets that can't be opened any more, and a partner that is configured otherwise by now. */
static void
begin(MvDistExchange *exchange, void *arg)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[1] = {INT8OID};
	Datum		values[1] = {Int64GetDatum(exchange->generation)};
	MvRequest  *request = &exchange->request;
	HeapTuple	row;
	TupleDesc	desc;
	bool		isnull;
	Jsonb	   *tokens;

	mv_worker_execute(&plan, "select step, url, tokens from musicverse._open_sign_out($1)", 1, types, values, NULL);
	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	request->url = SPI_getvalue(row, desc, 2);
	if (request->url == NULL)
		elog(ERROR, "partner \"%s\" has no sign_out_url", exchange->partner->name);
	strlcpy(exchange->step, SPI_getvalue(row, desc, 1), sizeof(exchange->step));
	tokens = DatumGetJsonbPCopy(SPI_getbinval(row, desc, 3, &isnull));
	SPI_freetuptable(SPI_tuptable);
	if (mv_is_step(exchange->step, "refresh"))
		mv_account_ask_for_tokens(exchange, tokens);
	else
	{
		request->body = body_of(tokens);
		request->headers = list_make1("Accept: application/json");
	}
	exchange->url = pstrdup(request->url);
}

static void
judge_sign_out(MvDistExchange *exchange, const MvResponse *response, MvOutcome *outcome)
{
	int			status = response->status;
	char	   *access;

	if (status == 408 || status == 425 || status == 429 || status >= 500)
		outcome->kind = MV_AGAIN;
	else if (status >= 200 && status <= 299 && mv_is_step(exchange->step, "refresh") &&
			 (access = mv_account_token_of(response->json, "access_token")) != NULL)
		mv_learn(outcome, "access_token", access);
	else
		outcome->kind = MV_DONE;
}

static void
settle(int64 id, const char *verdict, Jsonb *tokens)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[3] = {INT8OID, TEXTOID, JSONBOID};
	Datum		values[3] = {Int64GetDatum(id), CStringGetTextDatum(verdict), PointerGetDatum(tokens)};

	mv_worker_execute(&plan, "select musicverse._settle_sign_out($1, $2, $3)", 3, types, values, tokens == NULL ? "  n" : NULL);
}

static void
write_sign_out(MvDistExchange *exchange, const MvOutcome *outcome)
{
	settle(exchange->generation, mv_dist_verdict(outcome->kind), outcome->learned);
}

static const MvErrand sign_out_errand = {judge_sign_out, write_sign_out};

/* Nothing can be asked: then the tokens go as well. */
static void
give_up(MvDistExchange *exchange, const char *why)
{
	settle(exchange->generation, "ours", NULL);
}

bool
mv_sign_out_claim(MvPartner *partner, int slots, TimestampTz now)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[3] = {TEXTOID, INT4OID, INT4OID};
	Datum		values[3] = {CStringGetTextDatum(partner->name), Int32GetDatum(slots), Int32GetDatum(LONGEST_MS)};
	SPITupleTable *table;
	uint64		n;

	mv_worker_execute(&plan, "select id, user_id from musicverse._claim_sign_outs($1, $2, $3)", 3, types, values, NULL);
	table = SPI_tuptable;
	n = SPI_processed;
	for (uint64 i = 0; i < n; i++)
	{
		MvDistExchange *exchange = mv_dist_exchange(partner, &sign_out_errand, now);
		bool		isnull;

		exchange->generation = DatumGetInt64(SPI_getbinval(table->vals[i], table->tupdesc, 1, &isnull));
		exchange->job.user_id = MemoryContextStrdup(exchange->context, SPI_getvalue(table->vals[i], table->tupdesc, 2));
		exchange->timeout_ms = Min(partner->timeout_ms, LONGEST_MS);
		mv_dist_begin(exchange, begin, NULL, give_up);
	}
	SPI_freetuptable(table);
	return n == (uint64) slots;
}

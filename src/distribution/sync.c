/*
 * What is asked of partners for numbers; see sync.h. A sync is recorded before
 * its request is sent, as a step of a release is; asking twice harms nothing,
 * so what was lost is asked again.
 *
 * A partner that refuses this is not paused: it may carry releases all the same.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "distribution/accounts.h"
#include "distribution/releases_int.h"
#include "distribution/sync.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(musicverse_connector_syncs);

#define MAX_PAGE_LENGTH 2048

/* Of what is asked with a token: whatever lies below the address is the partner's. */
static bool
is_below(const char *url, const char *base)
{
	size_t		len = strlen(base);

	return strncmp(url, base, len) == 0 && url[len] == '/';
}

/* ---- what is asked, and where the answer is */

static void
labelgrid_start(const MvJob *job, const char *page, MvRequest *request)
{
	char	   *token = mv_json_text(job->credentials, "token");

	request->method = "GET";
	request->path = psprintf("/analytics/summary?filter[release_id]=%s&filter[start_date]=%s&filter[end_date]=%s"
							 "&metrics[]=streams&metrics[]=listeners&metrics[]=saves&metrics[]=shares",
							 mv_json_text(job->state, "release_id"), mv_json_text(job->state, "since"), mv_json_text(job->state, "until"));
	request->headers = list_make1("Accept: application/json");
	if (token != NULL)
		request->headers = lappend(request->headers, psprintf("Authorization: Bearer %s", token));
}

static void
soundcloud_start(const MvJob *job, const char *page, MvRequest *request)
{
	request->method = "GET";
	/* the partner may be somewhere else by now */
	if (page != NULL && is_below(page, job->base_url))
		request->url = page;
	else
		request->path = "/me/tracks?linked_partitioning=true&limit=200";
	request->headers = list_make1("Accept: application/json");
}

static const MvSync syncs[] = {
	{"labelgrid", false, labelgrid_start, "musicverse._labelgrid_numbers", NULL},
	{"soundcloud", true, soundcloud_start, "musicverse._soundcloud_numbers", "next_href"},
};

const MvSync *
mv_sync_find(const char *connector)
{
	for (int i = 0; i < lengthof(syncs); i++)
		if (strcmp(syncs[i].connector, connector) == 0)
			return &syncs[i];
	return NULL;
}

/* _connector_syncs(connector text) */
Datum
musicverse_connector_syncs(PG_FUNCTION_ARGS)
{
	const MvSync *sync = mv_sync_find(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	if (sync == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(sync->of_accounts ? "account" : "release"));
}

/* ---- what was answered */

static Jsonb *
numbers_of(const MvSync *sync, const MvDistExchange *exchange, Jsonb *answer)
{
	static SPIPlanPtr plans[lengthof(syncs)];
	Jsonb	   *args[2] = {answer, exchange->job.config};

	return mv_json_sql(&plans[sync - syncs], psprintf("%s($1, $2)", sync->numbers), 2, args);
}

/* The next page is where the partner is, or it isn't asked for with its token. */
static const char *
next_page(const MvSync *sync, const MvDistExchange *exchange, Jsonb *answer)
{
	char	   *page = sync->next_page != NULL ? mv_json_text(answer, sync->next_page) : NULL;

	if (page == NULL || strlen(page) > MAX_PAGE_LENGTH || !is_below(page, exchange->job.base_url))
		return NULL;
	return page;
}

static void
judge_sync(MvDistExchange *exchange, const MvResponse *response, MvOutcome *outcome)
{
	const MvSync *sync = mv_sync_find(exchange->partner->connector->name);
	Jsonb	   *numbers;

	if (response->status < 200 || response->status > 299)
	{
		mv_outcome_of_status(response, psprintf("partner %s answered HTTP %d when asked for numbers", exchange->partner->name,
												response->status), outcome);
		if (sync->of_accounts && response->status == 401)
			outcome->kind = MV_ACCOUNT;
		return;
	}
	numbers = response->json != NULL ? numbers_of(sync, exchange, response->json) : NULL;
	if (numbers == NULL)
	{
		outcome->kind = MV_AGAIN;
		outcome->message = psprintf("partner %s: its numbers make no sense", exchange->partner->name);
		return;
	}
	outcome->learned = numbers;
	outcome->message = next_page(sync, exchange, response->json);
}

/* message is where the next page is when all went well, else why it didn't */
static void
write_sync(MvDistExchange *exchange, const MvOutcome *outcome)
{
	static SPIPlanPtr plan = NULL;
	const MvJob *job = &exchange->job;
	Oid			types[5] = {UUIDOID, TEXTOID, JSONBOID, TEXTOID, INT4OID};
	Datum		values[5];
	char		nulls[6] = "     ";
	int			retry_after = mv_dist_retry_after(exchange, outcome);

	if (outcome->kind == MV_ACCOUNT)
		mv_account_refused(job->partner, job->user_id, exchange->generation);
	else if (exchange->generation != 0 && outcome->kind == MV_NEXT)
		mv_account_worked(job->partner, job->user_id, exchange->generation);
	values[0] = UUIDPGetDatum(&job->id);
	values[1] = CStringGetTextDatum(mv_dist_verdict(outcome->kind));
	values[2] = PointerGetDatum(outcome->learned);
	nulls[2] = outcome->learned == NULL ? 'n' : ' ';
	values[3] = outcome->message != NULL ? CStringGetTextDatum(outcome->message) : (Datum) 0;
	nulls[3] = outcome->message == NULL ? 'n' : ' ';
	values[4] = Int32GetDatum(retry_after);
	nulls[4] = retry_after < 0 ? 'n' : ' ';
	mv_worker_execute(&plan, "select musicverse._settle_sync($1, $2, $3, $4, $5)", 5, types, values, nulls);
	exchange->busy = strcmp(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1), "busy") == 0;
	SPI_freetuptable(SPI_tuptable);
}

static const MvErrand sync_errand = {judge_sync, write_sync};

/* ---- claiming */

static void
put_off(MvDistExchange *exchange, const char *why)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[2] = {UUIDOID, TEXTOID};
	Datum		values[2] = {UUIDPGetDatum(&exchange->job.id), CStringGetTextDatum(why)};

	mv_worker_execute(&plan, "select musicverse._put_off_sync($1, $2)", 2, types, values, NULL);
}

/* The user's token goes with a request of his account; false when there is none at present. */
static bool
take_token(const MvSync *sync, MvDistExchange *exchange)
{
	const MvJob *job = &exchange->job;
	MvRequest  *request = &exchange->request;
	MvAccount	account;

	if (!sync->of_accounts)
		return true;
	mv_account_use(job->partner, job->user_id, &account);
	if (account.tokens == NULL)
	{
		put_off(exchange, account.state);
		return false;
	}
	exchange->generation = account.generation;
	request->headers = lappend(request->headers, psprintf("Authorization: %s %s", exchange->partner->connector->token_scheme,
														  mv_json_text(account.tokens, "access_token")));
	return true;
}

static void
begin_sync(MvDistExchange *exchange, void *arg)
{
	static SPIPlanPtr plan = NULL;
	const MvSync *sync = mv_sync_find(exchange->partner->connector->name);
	MvJob	   *job = &exchange->job;
	Oid			types[2] = {UUIDOID, INT4OID};
	Datum		values[2] = {UUIDPGetDatum(&job->id), 0};

	sync->start(job, arg, &exchange->request);
	if (!take_token(sync, exchange))
		return;
	exchange->timeout_ms = exchange->partner->timeout_ms;
	exchange->url = exchange->request.url != NULL ? pstrdup(exchange->request.url) :
		psprintf("%s%s", job->base_url, exchange->request.path);
	values[1] = Int32GetDatum((int32) exchange->timeout_ms);
	mv_worker_execute(&plan, "select musicverse._begin_sync($1, $2)", 2, types, values, NULL);
	strlcpy(exchange->step, "numbers", sizeof(exchange->step));
}

static MvDistExchange *
take_sync(HeapTuple row, TupleDesc desc, MvPartner *partner, TimestampTz now, char **page)
{
	MvDistExchange *exchange = mv_dist_exchange(partner, &sync_errand, now);
	MemoryContext old = MemoryContextSwitchTo(exchange->context);
	bool		isnull;

	exchange->job.id = *DatumGetUUIDP(SPI_getbinval(row, desc, 1, &isnull));
	exchange->job.user_id = SPI_getvalue(row, desc, 2);
	*page = SPI_getvalue(row, desc, 3);
	exchange->job.state = DatumGetJsonbPCopy(SPI_getbinval(row, desc, 4, &isnull));
	MemoryContextSwitchTo(old);
	return exchange;
}

bool
mv_sync_claim(MvPartner *partner, int slots, TimestampTz now)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[2] = {TEXTOID, INT4OID};
	Datum		values[2] = {CStringGetTextDatum(partner->name), Int32GetDatum(slots)};
	SPITupleTable *table;
	uint64		n;

	mv_worker_execute(&plan, "select id, user_id, page, state from musicverse._claim_syncs($1, $2)", 2, types, values, NULL);
	table = SPI_tuptable;
	n = SPI_processed;
	for (uint64 i = 0; i < n; i++)
	{
		char	   *page;
		MvDistExchange *exchange = take_sync(table->vals[i], table->tupdesc, partner, now, &page);

		mv_dist_begin(exchange, begin_sync, page, put_off);
	}
	SPI_freetuptable(table);
	return n == (uint64) slots;
}

/*
 * Steps: claimed and recorded in one transaction, sent after its commit,
 * and, in release_settle.c, settled in another one when they are answered.
 * What is to be asked is the connector's to say.
 *
 * Between the two no transaction is open. A step that is not settled, since
 * the process ended, was recorded: it is planned again, and the connector is
 * told that an answer is missing.
 *
 * A connector that raises spoils its own job only: each call is in a
 * subtransaction, and the job is put off.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "core/clock.h"
#include "core/compat.h"
#include "distribution/accounts.h"
#include "distribution/releases_int.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#define CLAIM_PAUSE_MS	100

static bool one_by_one = false; /* recording steps together has failed */

void
mv_dist_free_exchange(MvDistExchange *exchange)
{
	mv_dist_stream_free(exchange);
	mv_dist_fetch_free(exchange);
	mv_transfer_release(&exchange->transfer);
	curl_slist_free_all(exchange->headers);
	curl_slist_free_all(exchange->commands);
	if (exchange->target != NULL)
		mv_target_free(exchange->target);
	MemoryContextDelete(exchange->context);
}

/* ---- calls of connectors */

/* Runs a function so that its error is returned as a message, and undone. */
char *
mv_dist_guarded(void (*function) (MvDistExchange *exchange, void *arg), MvDistExchange *exchange, void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	char	   *volatile message = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		function(exchange, arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED || error->elevel >= FATAL)
			PG_RE_THROW();
		EmitErrorReport();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		message = error->message;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return message;
}

static void
execute_put_off(const MvJob *job, TimestampTz until, const char *problem)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[3] = {UUIDOID, TIMESTAMPTZOID, TEXTOID};
	Datum		values[3] = {UUIDPGetDatum(&job->id), TimestampTzGetDatum(until), 0};
	char		nulls[4] = "   ";

	if (until == 0)
		nulls[1] = 'n';
	if (problem == NULL)
		nulls[2] = 'n';
	else
		values[2] = CStringGetTextDatum(problem);
	mv_worker_execute(&plan, "select musicverse._put_off_step($1, $2, $3)", 3, types, values, nulls);
}

static char *
full_url(const MvDistExchange *exchange)
{
	const MvRequest *request = &exchange->request;

	if (request->url != NULL)
		return pstrdup(request->url);
	if (exchange->job.base_url == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("partner \"%s\" has no base_url", exchange->job.partner)));
	return psprintf("%s%s", exchange->job.base_url, request->path);
}

/*
 * Where users log in, requests to the partner have the user's token. False when
 * there is none yet: then the work waits for one.
 */
static bool
take_account(MvDistExchange *exchange)
{
	static SPIPlanPtr plan = NULL;
	const MvConnector *connector = exchange->partner->connector;
	const MvJob *job = &exchange->job;
	MvRequest  *request = &exchange->request;
	Oid			types[2] = {UUIDOID, TEXTOID};
	Datum		values[2] = {UUIDPGetDatum(&job->id), 0};
	MvAccount	account;

	if (connector->account_path == NULL || request->nothing || request->url != NULL)
		return true;
	mv_account_use(job->partner, job->user_id, &account);
	if (account.tokens != NULL)
	{
		exchange->generation = account.generation;
		request->headers = lappend(request->headers, psprintf("Authorization: %s %s", connector->token_scheme,
															  mv_json_text(account.tokens, "access_token")));
		return true;
	}
	values[1] = CStringGetTextDatum(account.state);
	mv_worker_execute(&plan, "select musicverse._await_account($1, $2)", 2, types, values, NULL);
	return false;
}

/* What is needed of a request before its step is recorded. Raises when it can't be sent at all. */
static void
look_at_request(MvDistExchange *exchange)
{
	const MvRequest *request = &exchange->request;

	exchange->timeout_ms = request->timeout_ms;
	if (request->nothing)
		return;
	mv_dist_find_files(exchange);
	if (request->sftp != MV_SFTP_NOTHING)
		mv_dist_sftp_check(exchange);
	else
		exchange->url = full_url(exchange);
}

/* Plans a step, and its request when there is one. */
static void
plan_step(MvDistExchange *exchange, void *arg)
{
	MvPlan		plan = {0};
	MvJob	   *job = &exchange->job;
	const MvConnector *connector = exchange->partner->connector;

	exchange->doubtful = job->unsure;
	connector->plan(job, &plan);
	exchange->step[0] = '\0';
	if (plan.step == NULL)
	{
		execute_put_off(job, plan.until, NULL);
		return;
	}
	if (strlen(plan.step) >= MV_STEP_LENGTH)
		elog(ERROR, "step \"%s\" has too long a name", plan.step);
	job->unsure = job->unsure && job->last_step != NULL && strcmp(job->last_step, plan.step) == 0;
	exchange->request.timeout_ms = exchange->partner->timeout_ms;
	connector->start(job, plan.step, &exchange->request);
	if (!take_account(exchange))
		return;
	look_at_request(exchange);
	strlcpy(exchange->step, plan.step, sizeof(exchange->step));
}

/* Records the steps of exchanges. */
static void
record_steps(List *exchanges)
{
	static SPIPlanPtr record = NULL;
	Oid			types[4] = {UUIDARRAYOID, TEXTARRAYOID, BOOLARRAYOID, INT4ARRAYOID};
	int			n = list_length(exchanges);
	Datum	   *ids = palloc(n * sizeof(Datum));
	Datum	   *steps = palloc(n * sizeof(Datum));
	Datum	   *doubts = palloc(n * sizeof(Datum));
	Datum	   *timeouts = palloc(n * sizeof(Datum));
	Datum		values[4];

	for (int i = 0; i < n; i++)
	{
		const MvDistExchange *exchange = list_nth(exchanges, i);

		ids[i] = UUIDPGetDatum(&exchange->job.id);
		steps[i] = CStringGetTextDatum(exchange->step);
		doubts[i] = BoolGetDatum(exchange->doubtful);
		timeouts[i] = Int32GetDatum((int32) exchange->timeout_ms);
	}
	values[0] = PointerGetDatum(construct_array(ids, n, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
	values[1] = PointerGetDatum(construct_array(steps, n, TEXTOID, -1, false, TYPALIGN_INT));
	values[2] = PointerGetDatum(construct_array(doubts, n, BOOLOID, 1, true, TYPALIGN_CHAR));
	values[3] = PointerGetDatum(construct_array(timeouts, n, INT4OID, 4, true, TYPALIGN_INT));
	mv_worker_execute(&record, "select musicverse._begin_steps($1, $2, $3, $4)", 4, types, values, NULL);
}

static void
record_step(MvDistExchange *exchange, void *arg)
{
	record_steps(list_make1(exchange));
}

/* ---- claiming */

static Jsonb *
take_json(HeapTuple row, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, column, &isnull);

	return isnull ? NULL : DatumGetJsonbPCopy(value);
}

static List *
take_list(HeapTuple row, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, column, &isnull);
	List	   *list = NIL;
	Datum	   *items;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT, &items, NULL, &n);
	for (int i = 0; i < n; i++)
		list = lappend(list, TextDatumGetCString(items[i]));
	return list;
}

static Jsonb *
copy_json(const Jsonb *json)
{
	Jsonb	   *copy = NULL;

	if (json != NULL)
	{
		copy = palloc(VARSIZE(json));
		memcpy(copy, json, VARSIZE(json));
	}
	return copy;
}

/* An exchange with a partner, in memory of its own */
MvDistExchange *
mv_dist_exchange(MvPartner *partner, const MvErrand *errand, TimestampTz now)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "musicverse step", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	MvDistExchange *exchange = palloc0(sizeof(MvDistExchange));
	MvJob	   *job = &exchange->job;

	exchange->context = context;
	exchange->errand = errand;
	exchange->partner = partner;
	job->partner = partner->name;
	job->base_url = partner->base_url != NULL ? pstrdup(partner->base_url) : NULL;
	job->config = copy_json(partner->config);
	job->credentials = copy_json(partner->credentials);
	job->now = now;
	MemoryContextSwitchTo(old);
	return exchange;
}

/* It was recorded: it is sent after the commit. */
void
mv_dist_begun(MvDistExchange *exchange)
{
	dlist_push_tail(&mv_dist.begun, &exchange->node);
	exchange->partner->in_flight++;
	mv_dist.in_flight++;
}

/*
 * Begins what was claimed: a step that was recorded is sent after the commit,
 * and where there is none the exchange goes. What raises is undone, and put off.
 */
void
mv_dist_begin(MvDistExchange *exchange, void (*begin) (MvDistExchange *exchange, void *arg), void *arg,
			  void (*put_off) (MvDistExchange *exchange, const char *why))
{
	MemoryContext old = MemoryContextSwitchTo(exchange->context);
	char	   *problem = mv_dist_guarded(begin, exchange, arg);

	if (problem != NULL)
	{
		mv_asker_note_error(problem);
		put_off(exchange, problem);
	}
	MemoryContextSwitchTo(old);
	if (problem != NULL || exchange->step[0] == '\0')
		mv_dist_free_exchange(exchange);
	else
		mv_dist_begun(exchange);
}

/* A claimed row as an exchange */
static MvDistExchange *
take_work(HeapTuple row, TupleDesc desc, MvPartner *partner, TimestampTz now)
{
	MvDistExchange *exchange = mv_dist_exchange(partner, &mv_dist_release_errand, now);
	MemoryContext old = MemoryContextSwitchTo(exchange->context);
	MvJob	   *job = &exchange->job;
	bool		isnull;
	Datum		value;

	job->id = *DatumGetUUIDP(SPI_getbinval(row, desc, 1, &isnull));
	job->reference = SPI_getvalue(row, desc, 1);
	job->distribution_id = SPI_getvalue(row, desc, 2);
	job->user_id = SPI_getvalue(row, desc, 3);
	job->goal = strcmp(SPI_getvalue(row, desc, 4), "takedown") == 0 ? MV_TAKEDOWN : MV_DELIVER;
	job->revision = DatumGetInt32(SPI_getbinval(row, desc, 5, &isnull));
	value = SPI_getbinval(row, desc, 6, &isnull);
	job->delivered_revision = isnull ? 0 : DatumGetInt32(value);
	job->release = take_json(row, desc, 7);
	job->state = take_json(row, desc, 8);
	job->platforms = take_list(row, desc, 9);
	job->all_live = DatumGetBool(SPI_getbinval(row, desc, 10, &isnull));
	job->last_step = SPI_getvalue(row, desc, 11);
	job->unsure = DatumGetBool(SPI_getbinval(row, desc, 12, &isnull));
	value = SPI_getbinval(row, desc, 13, &isnull);
	job->publish_at = isnull ? 0 : DatumGetTimestampTz(value);
	MemoryContextSwitchTo(old);
	return exchange;
}

/* A step that could not be planned or recorded */
static void
put_off(MvDistExchange *exchange, const char *problem)
{
	mv_asker_note_error(problem);
	execute_put_off(&exchange->job, 0, problem);
	mv_dist_free_exchange(exchange);
}

/*
 * Takes up to so much work at a partner that is due, and records the steps
 * begun, which go into mv_dist.begun. True when there may be more.
 *
 * All are recorded by one statement, but each by itself where the next plan has
 * to know of it, and after that has failed, so that only the one at fault is put
 * off.
 */
bool
mv_dist_claim(MvPartner *partner, int slots, TimestampTz now)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[2] = {TEXTOID, INT4OID};
	Datum		values[2] = {CStringGetTextDatum(partner->name), Int32GetDatum(slots)};
	bool		together = !one_by_one && !partner->connector->heeds_others;
	List	   *planned = NIL;
	SPITupleTable *table;
	uint64		n;

	mv_worker_execute(&plan, "select id, distribution_id, user_id, goal, revision, delivered_revision, release, state, platforms, all_live,"
					" step, is_unsure, publish_at from musicverse._claim_steps($1, $2)", 2, types, values, NULL);
	table = SPI_tuptable;
	n = SPI_processed;
	if (n == 0)
		partner->next_due = now + CLAIM_PAUSE_MS * INT64CONST(1000);	/* locked by somebody */
	for (uint64 i = 0; i < n; i++)
	{
		MvDistExchange *exchange = take_work(table->vals[i], table->tupdesc, partner, now);
		MemoryContext old = MemoryContextSwitchTo(exchange->context);
		char	   *problem = mv_dist_guarded(plan_step, exchange, NULL);

		if (problem == NULL && exchange->step[0] != '\0' && !together)
			problem = mv_dist_guarded(record_step, exchange, NULL);
		MemoryContextSwitchTo(old);
		if (problem != NULL)
			put_off(exchange, problem);
		else if (exchange->step[0] == '\0')
			mv_dist_free_exchange(exchange);
		else
		{
			mv_dist_begun(exchange);
			planned = lappend(planned, exchange);
		}
	}
	SPI_freetuptable(table);
	if (together && planned != NIL)
		record_steps(planned);
	return n == (uint64) slots;
}

/* ---- sending */

/* What came of it is known. */
void
mv_dist_finished(MvDistExchange *exchange, TimestampTz now)
{
	bool		failed = exchange->end != MV_END_ANSWERED || exchange->status >= 500;

	exchange->partner->in_flight--;
	mv_dist.in_flight--;
	dlist_push_tail(&mv_dist.done, &exchange->node);
	mv_dist.ndone++;
	if (exchange->request.nothing)
		return;
	mv_asker_count_request(failed);
	/* a host of our own, or a presigned URL's, says nothing of the partner */
	if ((exchange->end == MV_END_ANSWERED || exchange->end == MV_END_PARTNER) && exchange->request.url == NULL)
		mv_dist_breaker_note(exchange->partner, !failed, now);
	if (failed)
		mv_asker_note_error(psprintf("partner %s: %s", exchange->partner->name,
									 exchange->error != NULL ? exchange->error : psprintf("HTTP %d", exchange->status)));
}

static bool
add_header(MvDistExchange *exchange, const char *line)
{
	struct curl_slist *longer = curl_slist_append(exchange->headers, line);

	if (longer == NULL)
		return false;
	exchange->headers = longer;
	return true;
}

char *
mv_dist_utf8(const char *text)
{
	return text != NULL ? pg_server_to_any(text, strlen(text), PG_UTF8) : NULL;
}

/* Makes the headers of a request; false without memory. */
bool
mv_dist_headers(MvDistExchange *exchange, const char *content_type)
{
	const MvRequest *request = &exchange->request;
	bool		ok = true;
	ListCell   *cell;

	curl_slist_free_all(exchange->headers);
	exchange->headers = NULL;
	if (content_type != NULL)
		ok &= add_header(exchange, psprintf("Content-Type: %s", content_type));
	if (request->url == NULL)
		ok &= add_header(exchange, "Accept: application/json");
	if (request->idempotent)
		ok &= add_header(exchange, psprintf("Idempotency-Key: %s:%s:%d", exchange->job.reference, exchange->step, exchange->job.revision));
	foreach(cell, request->headers)
		ok &= add_header(exchange, lfirst(cell));
	return ok;
}

/* A target of HTTP: what a request is sent to, or a file comes from */
MvTarget *
mv_dist_target(MvDistExchange *exchange, const char *url, const char **why)
{
	MvTargetOptions options = {0};

	options.url = url;
	options.timeout_ms = exchange->timeout_ms;
	options.connect_timeout_ms = Min(mv_connect_timeout_ms, exchange->timeout_ms);
	options.user_agent = "musicverse/" MV_VERSION;
	return mv_target_create(&options, why);
}

static bool
prepare_request(MvDistExchange *exchange, const char **why)
{
	MvTransfer *transfer = &exchange->transfer;
	const MvRequest *request = &exchange->request;
	const char *content_type = request->content_type != NULL ? request->content_type : "application/json";

	exchange->target = mv_dist_target(exchange, exchange->url, why);
	if (exchange->target == NULL)
		return false;
	transfer->target = exchange->target;
	transfer->method = request->method != NULL ? request->method : "POST";
	transfer->max_response_body = (size_t) mv_dist_max_response_kb * 1024;
	if (request->body != NULL)
	{
		transfer->body = mv_dist_utf8(request->body);
		transfer->body_len = strlen(transfer->body);
	}
	*why = "out of memory";
	if (!mv_dist_headers(exchange, request->body != NULL ? content_type : NULL))
		return false;
	transfer->headers = exchange->headers;
	return true;
}

/* False when that is impossible: it has ended then. */
static bool
start_request(MvDistExchange *exchange)
{
	const char *why = NULL;

	if (!prepare_request(exchange, &why))
		mv_dist_end_ours(exchange, why);
	else if (!mv_transfer_start(mv_dist.loop, &exchange->transfer))
		mv_dist_end_ours(exchange, exchange->transfer.error);
	else
		return true;
	return false;
}

static void
send_off(MvDistExchange *exchange, TimestampTz now)
{
	MemoryContext old = MemoryContextSwitchTo(exchange->context);
	bool		started = false;

	exchange->transfer.owner = exchange;
	if (exchange->request.nothing)
		exchange->status = 200;
	else if (mv_dist_is_stream(exchange))
		started = mv_dist_stream_start(exchange);
	else if (exchange->request.sftp == MV_SFTP_COMMANDS)
		started = mv_dist_sftp_commands(exchange);
	else
		started = start_request(exchange);
	if (!started)
		mv_dist_finished(exchange, now);
	MemoryContextSwitchTo(old);
}

/* The transaction that recorded them was committed. */
void
mv_dist_start_begun(TimestampTz now)
{
	one_by_one = false;
	while (!dlist_is_empty(&mv_dist.begun))
		send_off(dlist_container(MvDistExchange, node, dlist_pop_head_node(&mv_dist.begun)), now);
}

/* It was not: nothing was recorded, nothing is sent. */
void
mv_dist_drop_begun(void)
{
	one_by_one = true;
	while (!dlist_is_empty(&mv_dist.begun))
	{
		MvDistExchange *exchange = dlist_container(MvDistExchange, node, dlist_pop_head_node(&mv_dist.begun));

		exchange->partner->in_flight--;
		mv_dist.in_flight--;
		mv_dist_free_exchange(exchange);
	}
}

void
mv_dist_collect(TimestampTz now)
{
	MvTransfer *transfer;

	while ((transfer = mv_loop_next_done(mv_dist.loop)) != NULL)
	{
		MvDistExchange *exchange = transfer->owner;
		MemoryContext old = MemoryContextSwitchTo(exchange->context);

		mv_dist_end_request(exchange);
		mv_dist_finished(exchange, now);
		MemoryContextSwitchTo(old);
	}
	mv_dist_streams_collect(now);
}

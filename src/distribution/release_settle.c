/*
 * Answers of partners, written down: what they mean is the connector's to say,
 * what follows from that is decided by _settle_step().
 *
 * Neither waits for anybody: while somebody holds a release its answer is kept,
 * and settled a little later. What a connector raises counts as a fault of
 * ours, and its step is tried again.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "core/clock.h"
#include "core/compat.h"
#include "distribution/accounts.h"
#include "distribution/releases_int.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define BUSY_PAUSE_MS	100

/* Text of a stranger in the database's encoding, NULL when it is none */
static char *
text_of(const char *bytes, size_t len)
{
	if (len == 0 || memchr(bytes, 0, len) != NULL || !pg_verify_mbstr(PG_UTF8, bytes, (int) len, true))
		return NULL;
	return pg_any_to_server(pnstrdup(bytes, len), (int) len, PG_UTF8);
}

static void
read_http(const MvTransfer *transfer, MvResponse *response)
{
	response->retry_after = (int) transfer->retry_after;
	response->headers = transfer->response_headers != NULL ? pnstrdup(transfer->response_headers, transfer->response_headers_len) : "";
	if (transfer->truncated)
		return;
	response->body = text_of(transfer->response_body, transfer->response_body_len);
	response->json = mv_jsonb_of(response->body);
}

static void
read_sftp(const MvDistExchange *exchange, MvResponse *response)
{
	const MvStream *stream = exchange->stream;

	if (exchange->status != 200)
		response->body = exchange->error;
	else if (exchange->request.sftp == MV_SFTP_LIST && stream != NULL)
		response->body = mv_dist_sftp_names(stream->sink.memory, stream->sink.memory_len);
	else if (exchange->request.sftp == MV_SFTP_GET && stream != NULL)
		response->body = text_of(stream->sink.memory, stream->sink.memory_len);
}

static char *
hex(const unsigned char *bytes, int len)
{
	char	   *text = palloc(len * 2 + 1);

	text[hex_encode((const char *) bytes, len, text)] = '\0';
	return text;
}

/* What is known of the file that was carried */
static void
read_stream(const MvDistExchange *exchange, MvResponse *response)
{
	const MvStreamSource *source = mv_dist_main_source(exchange);

	if (source == NULL || !source->complete)
		return;
	response->bytes = source->bytes;
	response->sha256 = hex(source->sha256_out, 32);
	response->md5 = hex(source->md5_out, 16);
}

/* Fills the outcome. */
static void
judge(MvDistExchange *exchange, void *arg)
{
	MvOutcome  *outcome = arg;
	MvResponse	response = {0};

	if (exchange->end != MV_END_ANSWERED)
	{
		outcome->kind = exchange->verdict;
		outcome->message = exchange->error;
		return;
	}
	response.status = exchange->status;
	response.retry_after = -1;
	response.headers = "";
	if (exchange->answer != NULL)
		read_http(exchange->answer, &response);
	else if (exchange->request.sftp != MV_SFTP_NOTHING)
		read_sftp(exchange, &response);
	read_stream(exchange, &response);
	exchange->errand->judge(exchange, &response, outcome);
}

static void
judge_release(MvDistExchange *exchange, const MvResponse *response, MvOutcome *outcome)
{
	const MvConnector *connector = exchange->partner->connector;
	const MvJob *job = &exchange->job;

	connector->finish(job, exchange->step, response, outcome);
	if (exchange->generation == 0)
		return;
	if (outcome->kind == MV_ACCOUNT)
		mv_account_refused(job->partner, job->user_id, exchange->generation);
	else if (response->status >= 200 && response->status < 300)
		mv_account_worked(job->partner, job->user_id, exchange->generation);
}

static Datum
reports_json(List *reports, bool *isnull)
{
	JsonbParseState *parse = NULL;
	ListCell   *cell;
	JsonbValue *result;

	*isnull = reports == NIL;
	if (*isnull)
		return (Datum) 0;
	pushJsonbValue(&parse, WJB_BEGIN_ARRAY, NULL);
	foreach(cell, reports)
	{
		const MvReport *report = lfirst(cell);
		const char *names[] = {"platform", "status", "external_id", "external_url", "reason"};
		const char *texts[] = {report->platform, report->status, report->external_id, report->external_url, report->reason};

		pushJsonbValue(&parse, WJB_BEGIN_OBJECT, NULL);
		for (int i = 0; i < lengthof(names); i++)
		{
			JsonbValue	value = {.type = jbvString};

			if (texts[i] == NULL)
				continue;
			value.val.string.val = unconstify(char *, names[i]);
			value.val.string.len = strlen(names[i]);
			pushJsonbValue(&parse, WJB_KEY, &value);
			value.val.string.val = unconstify(char *, texts[i]);
			value.val.string.len = strlen(texts[i]);
			pushJsonbValue(&parse, WJB_VALUE, &value);
		}
		pushJsonbValue(&parse, WJB_END_OBJECT, NULL);
	}
	result = pushJsonbValue(&parse, WJB_END_ARRAY, NULL);
	return JsonbPGetDatum(JsonbValueToJsonb(result));
}

const char *
mv_dist_verdict(MvOutcomeKind kind)
{
	switch (kind)
	{
		case MV_NEXT:
			return "next";
		case MV_WAIT:
			return "wait";
		case MV_DONE:
			return "done";
		case MV_AGAIN:
			return "again";
		case MV_USER:
			return "user";
		case MV_ACCOUNT:
			return "account";
		case MV_OURS:
			return "ours";
	}
	return "again";
}

/* Seconds that the partner wants to be left alone, by its header or by its words; -1 = it has not said */
int
mv_dist_retry_after(const MvDistExchange *exchange, const MvOutcome *outcome)
{
	int64		seconds = exchange->answer != NULL ? exchange->answer->retry_after : -1;

	if (outcome->kind == MV_AGAIN && outcome->until != 0)
		seconds = Max(seconds, (outcome->until - mv_now()) / USECS_PER_SEC + 1);
	return (int) Min(seconds, PG_INT32_MAX);
}

static void
write_release(MvDistExchange *exchange, const MvOutcome *outcome)
{
	static SPIPlanPtr plan = NULL;
	const MvJob *job = &exchange->job;
	Oid			types[12] = {UUIDOID, TEXTOID, TEXTOID, INT4OID, TEXTOID, JSONBOID, INT4OID, TIMESTAMPTZOID, TEXTOID,
	JSONBOID, INT4OID, BOOLOID};
	Datum		values[12];
	char		nulls[13] = "            ";
	bool		isnull;
	int			retry_after = mv_dist_retry_after(exchange, outcome);

	values[0] = UUIDPGetDatum(&job->id);
	values[1] = CStringGetTextDatum(exchange->step);
	values[2] = CStringGetTextDatum(job->goal == MV_TAKEDOWN ? "takedown" : "deliver");
	values[3] = Int32GetDatum(job->revision);
	values[4] = CStringGetTextDatum(mv_dist_verdict(outcome->kind));
	values[5] = PointerGetDatum(outcome->learned);
	nulls[5] = outcome->learned == NULL ? 'n' : ' ';
	values[6] = Int32GetDatum(outcome->delivered_revision != 0 ? outcome->delivered_revision : job->revision);
	nulls[6] = outcome->delivered ? ' ' : 'n';
	values[7] = TimestampTzGetDatum(outcome->until);
	nulls[7] = outcome->until == 0 ? 'n' : ' ';
	values[8] = outcome->message != NULL ? CStringGetTextDatum(outcome->message) : (Datum) 0;
	nulls[8] = outcome->message == NULL ? 'n' : ' ';
	values[9] = reports_json(outcome->reports, &isnull);
	nulls[9] = isnull ? 'n' : ' ';
	values[10] = Int32GetDatum(retry_after);
	nulls[10] = retry_after < 0 ? 'n' : ' ';
	values[11] = BoolGetDatum(exchange->unreached);
	mv_worker_execute(&plan, "select musicverse._settle_step($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)", 12, types, values, nulls);
	exchange->busy = strcmp(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1), "busy") == 0;
	SPI_freetuptable(SPI_tuptable);
}

const MvErrand mv_dist_release_errand = {judge_release, write_release};

static void
write_down(MvDistExchange *exchange, void *arg)
{
	exchange->errand->write_down(exchange, arg);
}

/* guarded: what can't be written is tried again, as one of many it makes all fail. */
static void
settle_one(MvDistExchange *exchange, bool guarded)
{
	MvOutcome	outcome = {0};
	char	   *problem = mv_dist_guarded(judge, exchange, &outcome);

	if (problem == NULL && guarded)
		problem = mv_dist_guarded(write_down, exchange, &outcome);
	else if (problem == NULL)
		write_down(exchange, &outcome);
	if (problem != NULL)
	{
		memset(&outcome, 0, sizeof(outcome));
		outcome.kind = MV_AGAIN;
		outcome.message = problem;
		mv_asker_note_error(problem);
		write_down(exchange, &outcome);
	}
	exchange->settled = true;
}

/* Writes down up to limit answers, all for less than none, within the current transaction. */
void
mv_dist_settle(int limit)
{
	bool		guarded = limit >= 0;
	int			settled = 0;
	dlist_iter	iter;

	dlist_foreach(iter, &mv_dist.done)
	{
		MvDistExchange *exchange = dlist_container(MvDistExchange, node, iter.cur);

		if (limit-- == 0)
			break;
		if (exchange->errand->alone && settled > 0)
			break;
		settle_one(exchange, guarded || exchange->errand->alone);
		settled++;
		if (exchange->errand->alone)
			break;
	}
}

/* That transaction was committed. */
void
mv_dist_settled(TimestampTz now)
{
	dlist_mutable_iter iter;

	mv_dist.retry_at = 0;
	dlist_foreach_modify(iter, &mv_dist.done)
	{
		MvDistExchange *exchange = dlist_container(MvDistExchange, node, iter.cur);

		if (!exchange->settled)
			continue;
		exchange->settled = false;
		if (exchange->busy)
		{
			mv_dist.retry_at = now + BUSY_PAUSE_MS * INT64CONST(1000);
			/* others aren't to wait behind it */
			dlist_delete(iter.cur);
			dlist_push_tail(&mv_dist.done, iter.cur);
			continue;
		}
		dlist_delete(iter.cur);
		mv_dist.ndone--;
		mv_dist_free_exchange(exchange);
	}
	mv_dist.dirty = true;
}

/* It was not. */
void
mv_dist_settle_failed(void)
{
	dlist_iter	iter;

	dlist_foreach(iter, &mv_dist.done)
		dlist_container(MvDistExchange, node, iter.cur)->settled = false;
}

/* An answer that can't be written, whatever is tried: its step is due again later. */
void
mv_dist_drop_first(TimestampTz now)
{
	MvDistExchange *exchange;

	if (dlist_is_empty(&mv_dist.done))
		return;
	exchange = dlist_container(MvDistExchange, node, dlist_pop_head_node(&mv_dist.done));
	mv_dist.ndone--;
	mv_dist_free_exchange(exchange);
}

/*
 * Requests to providers: begun in a transaction that records them, sent after
 * its commit, settled in another one when they are answered. What they mean is
 * decided by _begin_request() and _settle_request().
 *
 * Between the two no transaction is open. A request that is not settled, since
 * the process ended, was recorded: it is sent again, with the same
 * Idempotency-Key. An answer that can't be written is taken for not having
 * come.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "core/clock.h"
#include "core/uuid7.h"
#include "generation/generation_int.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define BUSY_PAUSE_MS	100
#define DROPPED_PAUSE_S	10

static char *
keep(const char *text)
{
	return text != NULL ? MemoryContextStrdup(TopMemoryContext, text) : NULL;
}

static void
free_exchange(MvGenExchange *exchange)
{
	MvGenJob   *job = mv_gen_job_find(&exchange->job_id);

	if (job != NULL)
		job->in_flight = false;
	curl_slist_free_all(exchange->transfer.headers);
	exchange->transfer.headers = NULL;
	mv_transfer_release(&exchange->transfer);
	if (exchange->target != NULL)
		mv_target_free(exchange->target);
	pfree(exchange->method);
	pfree(exchange->url);
	if (exchange->body != NULL)
		pfree(exchange->body);
	pfree(exchange);
}

/* A column as text that outlives the transaction, or NULL. */
static char *
take_text(HeapTuple row, TupleDesc desc, int column)
{
	char	   *value = SPI_getvalue(row, desc, column);

	return value != NULL ? keep(pg_server_to_any(value, strlen(value), PG_UTF8)) : NULL;
}

static struct curl_slist *
take_headers(HeapTuple row, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, column, &isnull);
	struct curl_slist *list = NULL;
	Datum	   *lines;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false, TYPALIGN_INT, &lines, NULL, &n);
	for (int i = 0; i < n; i++)
	{
		struct curl_slist *longer = curl_slist_append(list, TextDatumGetCString(lines[i]));

		if (longer == NULL)
		{
			curl_slist_free_all(list);
			ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
		}
		list = longer;
	}
	return list;
}

/* Records the next request of a job, and puts it into mv_gen.begun. */
void
mv_gen_begin(MvGenJob *job, Datum usable)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[2] = {UUIDOID, TEXTARRAYOID};
	Datum		values[2] = {UUIDPGetDatum(&job->id), usable};
	HeapTuple	row;
	TupleDesc	desc;
	MvGenExchange *exchange;
	MvGenProvider *provider;
	bool		isnull;

	mv_worker_execute(&plan, "select kind, provider, method, url, body, timeout_ms, headers from musicverse._begin_request($1, $2)",
				   2, types, values, NULL);
	mv_gen.dirty |= job->state != 'r';
	if (SPI_processed != 1)
	{
		/* locked by somebody, or nothing to be done: the table says when */
		job->next_at = mv_now() + USECS_PER_SEC;
		mv_gen.dirty |= job->state == 'r';
		return;
	}
	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	provider = mv_gen_provider_find(SPI_getvalue(row, desc, 2));
	if (provider == NULL)
		elog(ERROR, "provider \"%s\" was not read", SPI_getvalue(row, desc, 2));

	exchange = MemoryContextAllocZero(TopMemoryContext, sizeof(MvGenExchange));
	exchange->job_id = job->id;
	exchange->provider = provider;
	strlcpy(exchange->kind, SPI_getvalue(row, desc, 1), sizeof(exchange->kind));
	exchange->method = take_text(row, desc, 3);
	exchange->url = take_text(row, desc, 4);
	exchange->body = take_text(row, desc, 5);
	exchange->timeout_ms = DatumGetInt32(SPI_getbinval(row, desc, 6, &isnull));
	exchange->transfer.headers = take_headers(row, desc, 7);
	SPI_freetuptable(SPI_tuptable);
	dlist_push_tail(&mv_gen.begun, &exchange->node);
	job->in_flight = true;
	provider->in_flight++;
	mv_gen.in_flight++;
}

/* Its end, whatever that was: it is to be settled. */
static void
finished(MvGenExchange *exchange, TimestampTz now)
{
	MvTransfer *transfer = &exchange->transfer;
	bool		failed = transfer->code != CURLE_OK || transfer->status >= 500 || transfer->status == 401;

	exchange->provider->in_flight--;
	mv_gen.in_flight--;
	mv_gen_breaker_note(exchange->provider, !failed, now);
	mv_asker_count_request(failed);
	if (failed)
		mv_asker_note_error(psprintf("provider %s: %s", exchange->provider->name,
								   transfer->code != CURLE_OK ? transfer->error : psprintf("HTTP %ld", transfer->status)));
	dlist_push_tail(&mv_gen.done, &exchange->node);
	mv_gen.ndone++;
}

/* The transaction that recorded them was committed. */
void
mv_gen_start_begun(TimestampTz now)
{
	while (!dlist_is_empty(&mv_gen.begun))
	{
		MvGenExchange *exchange = dlist_container(MvGenExchange, node, dlist_pop_head_node(&mv_gen.begun));
		MvTransfer *transfer = &exchange->transfer;
		MvTargetOptions options = {0};
		const char *why = NULL;

		options.url = exchange->url;
		options.timeout_ms = exchange->timeout_ms;
		options.connect_timeout_ms = Min(mv_connect_timeout_ms, exchange->timeout_ms);
		options.user_agent = "musicverse/" MV_VERSION;
		exchange->target = mv_target_create(&options, &why);
		transfer->target = exchange->target;
		transfer->method = exchange->method;
		transfer->body = exchange->body;
		transfer->body_len = exchange->body != NULL ? strlen(exchange->body) : 0;
		transfer->max_response_body = (size_t) mv_gen_max_response_kb * 1024;
		transfer->owner = exchange;
		if (exchange->target == NULL)
		{
			transfer->code = CURLE_FAILED_INIT;
			strlcpy(transfer->error, why, sizeof(transfer->error));
			finished(exchange, now);
		}
		else if (!mv_transfer_start(mv_gen.loop, transfer))
			finished(exchange, now);
	}
}

/* It was not: nothing was recorded, nothing is sent. */
void
mv_gen_drop_begun(void)
{
	while (!dlist_is_empty(&mv_gen.begun))
	{
		MvGenExchange *exchange = dlist_container(MvGenExchange, node, dlist_pop_head_node(&mv_gen.begun));

		exchange->provider->in_flight--;
		mv_gen.in_flight--;
		free_exchange(exchange);
	}
}

void
mv_gen_collect(TimestampTz now)
{
	MvTransfer *transfer;

	while ((transfer = mv_loop_next_done(mv_gen.loop)) != NULL)
		finished(transfer->owner, now);
}

/*
 * The answer as text of the database's encoding, NULL with the reason in *why.
 * What that encoding hasn't becomes a question mark.
 */
static text *
body_text(const MvTransfer *transfer, const char **why)
{
	int			encoding = GetDatabaseEncoding();
	int			left = (int) transfer->response_body_len;
	unsigned char *p = (unsigned char *) transfer->response_body;
	StringInfoData out;
	Oid			proc;
	unsigned char *piece;

	if (transfer->truncated)
	{
		*why = psprintf("the answer is longer than %d kB", mv_gen_max_response_kb);
		return NULL;
	}
	if (!pg_verify_mbstr(PG_UTF8, (const char *) p, left, true))
	{
		*why = "the answer is not UTF-8";
		return NULL;
	}
	proc = encoding == PG_UTF8 || encoding == PG_SQL_ASCII ? InvalidOid : FindDefaultConversionProc(PG_UTF8, encoding);
	if (!OidIsValid(proc))
		return cstring_to_text_with_len((const char *) p, left);
	initStringInfo(&out);
	piece = palloc((Size) left * MAX_CONVERSION_GROWTH + 1);
	while (left > 0)
	{
		int			n = pg_do_encoding_conversion_buf(proc, PG_UTF8, encoding, p, left, piece, left * MAX_CONVERSION_GROWTH + 1, true);

		appendStringInfoString(&out, (char *) piece);
		if (n < left)
		{
			appendStringInfoChar(&out, '?');
			n += pg_utf_mblen(p + n);
		}
		p += n;
		left -= n;
	}
	return cstring_to_text_with_len(out.data, out.len);
}

/* Has the provider certainly not seen the request? */
static bool
is_unreached(const MvTransfer *transfer)
{
	switch (transfer->code)
	{
		case CURLE_COULDNT_RESOLVE_HOST:
		case CURLE_COULDNT_CONNECT:
		case CURLE_SSL_CONNECT_ERROR:
		case CURLE_PEER_FAILED_VERIFICATION:
		case CURLE_FAILED_INIT:
			return true;
		default:
			return transfer->refused;
	}
}

static void
settle_one(MvGenExchange *exchange)
{
	static SPIPlanPtr plan = NULL;
	MvTransfer *transfer = &exchange->transfer;
	Oid			types[8] = {UUIDOID, TEXTOID, TEXTOID, INT4OID, TEXTOID, TEXTOID, BOOLOID, INT4OID};
	Datum		values[8];
	char		nulls[9] = "        ";
	const char *why = NULL;
	text	   *body = NULL;
	char	   *verdict;

	if (transfer->code != CURLE_OK)
		why = transfer->error[0] ? transfer->error : curl_easy_strerror(transfer->code);
	else if (transfer->status >= 300 && transfer->status < 400)
		why = psprintf("redirect (HTTP %ld) is not followed", transfer->status);
	else if (transfer->response_body_len > 0)
	{
		body = body_text(transfer, &why);
		if (transfer->status < 200 || transfer->status > 299)
			why = NULL;			/* its status says enough */
	}
	values[0] = UUIDPGetDatum(&exchange->job_id);
	values[1] = CStringGetTextDatum(exchange->provider->name);
	values[2] = CStringGetTextDatum(exchange->kind);
	values[3] = Int32GetDatum((int32) transfer->status);
	values[4] = PointerGetDatum(body);
	nulls[4] = body == NULL ? 'n' : ' ';
	nulls[5] = why == NULL ? 'n' : ' ';
	if (why != NULL)
		values[5] = CStringGetTextDatum(psprintf("provider %s: %s", exchange->provider->name, why));
	values[6] = BoolGetDatum(is_unreached(transfer));
	values[7] = Int32GetDatum((int32) transfer->retry_after);
	nulls[7] = transfer->retry_after < 0 ? 'n' : ' ';
	mv_worker_execute(&plan, "select musicverse._settle_request($1, $2, $3, $4, $5, $6, $7, $8)", 8, types, values, nulls);
	verdict = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	exchange->settled = true;
	exchange->busy = strcmp(verdict, "busy") == 0;
	if (strcmp(verdict, "ok") != 0 || strcmp(exchange->kind, "poll") != 0)
		mv_gen.dirty = true;
	SPI_freetuptable(SPI_tuptable);
}

/* Writes down up to limit answers, within the current transaction. */
void
mv_gen_settle(int limit)
{
	dlist_iter	iter;

	dlist_foreach(iter, &mv_gen.done)
	{
		MvGenExchange *exchange = dlist_container(MvGenExchange, node, iter.cur);

		if (limit-- == 0)
			break;
		settle_one(exchange);
	}
}

/* That transaction was committed. */
void
mv_gen_settled(TimestampTz now)
{
	dlist_mutable_iter iter;

	mv_gen.retry_at = 0;
	dlist_foreach_modify(iter, &mv_gen.done)
	{
		MvGenExchange *exchange = dlist_container(MvGenExchange, node, iter.cur);
		MvGenJob   *job = mv_gen_job_find(&exchange->job_id);

		if (!exchange->settled)
			continue;
		exchange->settled = false;
		if (exchange->busy)
		{
			mv_gen.retry_at = now + BUSY_PAUSE_MS * INT64CONST(1000);
			continue;
		}
		if (job != NULL && strcmp(exchange->kind, "poll") == 0)
			job->next_at = now + exchange->provider->poll_ms * INT64CONST(1000);
		dlist_delete(iter.cur);
		mv_gen.ndone--;
		free_exchange(exchange);
	}
}

/* It was not. */
void
mv_gen_settle_failed(void)
{
	dlist_iter	iter;

	dlist_foreach(iter, &mv_gen.done)
		dlist_container(MvGenExchange, node, iter.cur)->settled = false;
}

/* An answer that can't be written, whatever is tried. */
void
mv_gen_drop_first(TimestampTz now)
{
	MvGenExchange *exchange;
	MvGenJob   *job;

	if (dlist_is_empty(&mv_gen.done))
		return;
	exchange = dlist_container(MvGenExchange, node, dlist_pop_head_node(&mv_gen.done));
	mv_gen.ndone--;
	job = mv_gen_job_find(&exchange->job_id);
	if (job != NULL)
		job->next_at = now + DROPPED_PAUSE_S * USECS_PER_SEC;
	free_exchange(exchange);
}

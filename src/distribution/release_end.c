/*
 * How steps end, and whose fault it is: an answer is the connector's to judge,
 * everything else is judged here.
 *
 * A source that is gone, too long, empty, or other than it was, is the user's to
 * mend (the last one only when it is so again: see _settle_step()); everything
 * else passes, and is tried again. A step is unsure afterwards
 * unless the partner can't have seen anything of it.
 */
#include "postgres.h"

#include "distribution/releases_int.h"

/* Can the server not have got anything of the request? */
static bool
is_unreached(const MvTransfer *transfer)
{
	switch (transfer->code)
	{
		case CURLE_COULDNT_RESOLVE_HOST:
		case CURLE_COULDNT_CONNECT:
		case CURLE_SSL_CONNECT_ERROR:
		case CURLE_PEER_FAILED_VERIFICATION:
		case CURLE_LOGIN_DENIED:
		case CURLE_FAILED_INIT:
			return true;
		default:
			return transfer->refused;
	}
}

static void
answered(MvDistExchange *exchange, int status, const MvTransfer *answer)
{
	exchange->end = MV_END_ANSWERED;
	exchange->status = status;
	exchange->answer = answer;
	exchange->unreached = false;
}

static void
failed(MvDistExchange *exchange, MvDistEnd end, MvOutcomeKind verdict, const char *error)
{
	exchange->end = end;
	exchange->verdict = verdict;
	exchange->error = error;
}

/* It was not begun, or ended by us. */
void
mv_dist_end_ours(MvDistExchange *exchange, const char *error)
{
	failed(exchange, MV_END_OURS, MV_AGAIN, pstrdup(error));
	exchange->unreached = exchange->stream == NULL || !exchange->stream->sink.begun;
}

/* A file of ours isn't there: at the next claim it is made again. */
void
mv_dist_end_gone(MvDistExchange *exchange, const MvDistFile *file)
{
	failed(exchange, MV_END_SOURCE, MV_AGAIN, psprintf("the file %s is gone", file->url));
	exchange->unreached = true;
}

/* What a server of SFTP said, or that it broke off */
static void
end_sftp(MvDistExchange *exchange, const MvTransfer *transfer, const char *error)
{
	int			status = mv_dist_sftp_status(transfer);

	exchange->error = psprintf("partner %s: %s", exchange->partner->name, error);
	if (status != 0)
		answered(exchange, status, NULL);
	else
	{
		failed(exchange, MV_END_PARTNER, MV_AGAIN, exchange->error);
		exchange->unreached = is_unreached(transfer);
	}
}

void
mv_dist_end_request(MvDistExchange *exchange)
{
	const MvTransfer *transfer = &exchange->transfer;
	const char *error = transfer->error[0] != '\0' ? transfer->error : curl_easy_strerror(transfer->code);

	if (exchange->request.sftp != MV_SFTP_NOTHING)
		end_sftp(exchange, transfer, error);
	else if (transfer->code == CURLE_OK)
		answered(exchange, (int) transfer->status, transfer);
	else
	{
		failed(exchange, MV_END_PARTNER, MV_AGAIN, psprintf("partner %s: %s", exchange->partner->name, error));
		exchange->unreached = is_unreached(transfer);
	}
}

/* What a stream tells of its failure: "sink, after 0 bytes: why". The side is told by us, and so is what never began. */
static const char *
failure_of(const MvStream *stream)
{
	const char *why = strstr(stream->error, " bytes: ");
	const char *side = strstr(stream->error, ", after ");

	if (why == NULL || side == NULL || side > why)
		return stream->error;
	return strncmp(side, ", after 0 ", 10) == 0 ? why + 8 : side + 2;
}

static void
end_source(MvDistExchange *exchange)
{
	const MvStream *stream = exchange->stream;
	const MvStreamSource *source = &stream->source[stream->failed_source];
	const MvTransfer *transfer = &source->exchange;
	long		status = transfer->code == CURLE_OK ? transfer->status : 0;
	MvOutcomeKind verdict = MV_USER;
	const char *error;

	if (source->too_long)
		error = psprintf("the file is larger than %d kB", mv_max_upload_kb);
	else if (source->changed)
		error = MV_FILE_HAS_CHANGED;
	else if (exchange->file_is_empty)
		error = "the file is empty";
	else if (status != 0 && status != 200 && status != 206)
	{
		/* gone, or never there: somebody has to see to it */
		verdict = status == 404 || status == 410 ? MV_USER : MV_AGAIN;
		error = psprintf("the file could not be fetched: HTTP %ld", status);
	}
	else
	{
		verdict = MV_AGAIN;
		error = psprintf("the file could not be fetched: %s", failure_of(stream));
	}
	failed(exchange, MV_END_SOURCE, verdict, error);
	exchange->unreached = !stream->sink.begun;
}

static void
end_sink(MvDistExchange *exchange)
{
	const MvStream *stream = exchange->stream;
	const MvStreamSink *sink = &stream->sink;
	const MvTransfer *transfer = &sink->exchange;

	if (sink->kind == MV_SINK_FD)
		mv_dist_end_ours(exchange, failure_of(stream));
	else if (exchange->request.sftp != MV_SFTP_NOTHING)
		end_sftp(exchange, sink->rename.code != CURLE_OK ? &sink->rename : transfer, failure_of(stream));
	else if (transfer->code == CURLE_OK && transfer->status >= 300)
		answered(exchange, (int) transfer->status, transfer);
	else
	{
		failed(exchange, MV_END_PARTNER, MV_AGAIN, psprintf("partner %s: %s", exchange->partner->name, failure_of(stream)));
		exchange->unreached = !sink->begun || is_unreached(transfer);
	}
}

void
mv_dist_end_stream(MvDistExchange *exchange)
{
	const MvStream *stream = exchange->stream;
	bool		is_sftp = exchange->request.sftp != MV_SFTP_NOTHING;

	switch (stream->failed)
	{
		case MV_SIDE_NONE:
			answered(exchange, is_sftp ? 200 : (int) stream->sink.exchange.status, is_sftp ? NULL : &stream->sink.exchange);
			break;
		case MV_SIDE_SOURCE:
			if (is_sftp && exchange->request.sftp != MV_SFTP_PUT && stream->source[0].too_long)
			{
				exchange->error = psprintf("partner %s: %s", exchange->partner->name, failure_of(stream));
				answered(exchange, 413, NULL);
			}
			else if (is_sftp && exchange->request.sftp != MV_SFTP_PUT)
				end_sftp(exchange, &stream->source[0].exchange, failure_of(stream));
			else
				end_source(exchange);
			break;
		case MV_SIDE_SINK:
			end_sink(exchange);
			break;
		case MV_SIDE_CALLER:
			mv_dist_end_ours(exchange, stream->error);
			break;
	}
}

/*
 * How long the files of a form are that come behind the first: the sink has to
 * be told before any of them is read.
 *
 * A server is asked for the first byte alone, and tells how many there are: GET
 * and not HEAD, which signed URLs mostly don't allow. One that knows no ranges
 * begins to send all, and is cut off, or read to the end when it doesn't tell.
 */
#include "postgres.h"

#include "core/stream_int.h"

static size_t
take_no_more(char *bytes, size_t size, size_t count, void *data)
{
	MvStreamSource *source = data;
	MvHandle   *handle = source->exchange.handle;
	curl_off_t	announced = -1;

	if (handle->line_status != 200)
		return size * count;
	if (curl_easy_getinfo(handle->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &announced) != CURLE_OK || announced < 0)
		return mv_pipe_count(source, size * count) ? size * count : CURL_WRITEFUNC_ERROR;
	handle->cut = MV_CUT_BODY;
	return CURL_WRITEFUNC_ERROR;
}

static CURLcode
prepare_probe(MvTransfer *transfer, CURL *easy)
{
	CURLcode	code = curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);

	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_RANGE, "0-0");
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_no_more);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer->owner);
	return code;
}

static void
probe_ended(MvTransfer *transfer)
{
	MvStreamSource *source = transfer->owner;
	MvStream   *stream = source->stream;
	long		status = transfer->status;
	int64		length = -1;

	if (stream->failed != MV_SIDE_NONE)
		;
	else if (transfer->code != CURLE_OK)
		mv_stream_fail(stream, MV_SIDE_SOURCE, "%s", transfer->error);
	else if (status != 200 && status != 206 && status != 416)
		mv_stream_fail(stream, MV_SIDE_SOURCE, "it answered HTTP %ld", status);
	else
	{
		length = status == 200 ? mv_content_length(transfer) : mv_range_total(transfer);
		if (length < 0 && status == 200)
			length = source->counted;
		if (length < 0 || (status == 416 && length > 0))
			mv_stream_fail(stream, MV_SIDE_SOURCE, "it doesn't tell its length, which the sink must be told");
	}
	if (stream->failed != MV_SIDE_NONE)
	{
		stream->failed_source = source - stream->source;
		return;
	}
	mv_pipe_counted(source, length);
}

static void
begin_probe(MvStreamSource *source)
{
	MvTransfer *exchange = &source->exchange;

	source->state = SOURCE_PROBED;
	exchange->target = source->target;
	exchange->method = "GET";
	exchange->headers = source->headers;
	exchange->owner = source;
	exchange->prepare = prepare_probe;
	exchange->ended = probe_ended;
	if (!mv_transfer_start(source->stream->loop, exchange))
		mv_stream_fail(source->stream, MV_SIDE_SOURCE, "%s", exchange->error);
}

bool
mv_stream_lengths_known(MvStream *stream)
{
	bool		known = true;

	for (int i = 1; i < stream->source_count && stream->failed == MV_SIDE_NONE; i++)
	{
		MvStreamSource *source = &stream->source[i];

		if (source->expected < 0 && mv_source_in_memory(source))
			source->expected = (int64) source->memory_len;
		else if (source->expected < 0 && mv_source_is_file(source))
			source->expected = mv_pipe_file_size(source);
		else if (source->expected < 0 && source->state == SOURCE_IDLE && mv_target_sftp(source->target) == NULL)
			begin_probe(source);
		known &= source->state != SOURCE_PROBED;
	}
	return known && stream->failed == MV_SIDE_NONE;
}

/*
 * What libcurl is told of the two sides of a stream: what to ask for, where
 * bytes go and come from.
 *
 * HTTP/1.1 for both: HTTP/2 has one window for many streams, and libcurl keeps
 * megabytes of it in memory for one that is paused.
 */
#include "postgres.h"

#include "core/sftp.h"
#include "core/stream_int.h"

#define SOURCE_BUFFER		(128 * 1024L)
#define SINK_BUFFER			(256 * 1024L)
#define SFTP_BUFFER			(1024 * 1024L)

#define SET(option, value) \
	do { \
		if (code == CURLE_OK) \
			code = curl_easy_setopt(easy, option, value); \
	} while (0)

static CURLcode
prepare_any(CURL *easy)
{
	CURLcode	code = CURLE_OK;

	SET(CURLOPT_TIMEOUT_MS, 0L);
	SET(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_BUFFERSIZE, SOURCE_BUFFER);
	return code;
}

CURLcode
mv_stream_prepare_source(MvTransfer *transfer, CURL *easy)
{
	MvStreamSource *source = transfer->owner;
	CURLcode	code = prepare_any(easy);
	char		range[32];

	if (mv_target_sftp(source->target))
	{
		if (code == CURLE_OK)
			code = mv_sftp_set_path(easy, source->target, source->path);
		SET(CURLOPT_RESUME_FROM_LARGE, (curl_off_t) source->from);
		SET(CURLOPT_DIRLISTONLY, source->listing && !source->details ? 1L : 0L);
	}
	else
	{
		SET(CURLOPT_HTTPGET, 1L);
		if (source->from > 0)
		{
			snprintf(range, sizeof(range), INT64_FORMAT "-", source->from);
			SET(CURLOPT_RANGE, range);
		}
	}
	SET(CURLOPT_WRITEFUNCTION, mv_pipe_take);
	SET(CURLOPT_WRITEDATA, source);
	return code;
}

static CURLcode
prepare_body(MvStream *stream, CURL *easy)
{
	const char *method = stream->sink.method;
	CURLcode	code = CURLE_OK;

	SET(CURLOPT_UPLOAD, 1L);
	if (method && strcmp(method, "PUT") != 0)
		SET(CURLOPT_CUSTOMREQUEST, method);
	SET(CURLOPT_INFILESIZE_LARGE, (curl_off_t) stream->source[0].expected);
	SET(CURLOPT_READFUNCTION, mv_pipe_give);
	SET(CURLOPT_READDATA, &stream->source[0]);
	SET(CURLOPT_UPLOAD_BUFFERSIZE, SINK_BUFFER);
	return code;
}

static CURLcode
prepare_form(MvStream *stream, CURL *easy)
{
	MvStreamSink *sink = &stream->sink;
	CURLcode	code = CURLE_OK;

	sink->mime = curl_mime_init(easy);
	if (sink->mime == NULL)
		return CURLE_OUT_OF_MEMORY;
	for (int i = 0; i < sink->part_count && code == CURLE_OK; i++)
	{
		const MvStreamPart *part = &sink->parts[i];
		curl_mimepart *field = curl_mime_addpart(sink->mime);

		if (field == NULL)
			return CURLE_OUT_OF_MEMORY;
		code = curl_mime_name(field, part->name);
		if (code == CURLE_OK && part->text)
			code = curl_mime_data(field, part->text, CURL_ZERO_TERMINATED);
		else if (code == CURLE_OK)
			code = curl_mime_data_cb(field, (curl_off_t) stream->source[part->source].expected, mv_pipe_give, NULL, NULL,
									 &stream->source[part->source]);
		if (code == CURLE_OK && part->filename)
			code = curl_mime_filename(field, part->filename);
		if (code == CURLE_OK && part->type)
			code = curl_mime_type(field, part->type);
	}
	SET(CURLOPT_MIMEPOST, sink->mime);
	if (sink->method && strcmp(sink->method, "POST") != 0)
		SET(CURLOPT_CUSTOMREQUEST, sink->method);
	SET(CURLOPT_UPLOAD_BUFFERSIZE, SINK_BUFFER);
	return code;
}

static CURLcode
prepare_upload(MvStream *stream, CURL *easy)
{
	MvStreamSink *sink = &stream->sink;
	CURLcode	code = mv_sftp_set_path(easy, sink->target, sink->temporary ? sink->temporary : sink->path);

	SET(CURLOPT_UPLOAD, 1L);
	/* unknown to those who have yet to ask the source */
	SET(CURLOPT_INFILESIZE_LARGE, (curl_off_t) (stream->source[0].state == SOURCE_IDLE ? -1 : stream->source[0].expected));
	SET(CURLOPT_FTP_CREATE_MISSING_DIRS, sink->in_place ? (long) CURLFTP_CREATE_DIR_NONE : (long) CURLFTP_CREATE_DIR);
	SET(CURLOPT_RESUME_FROM_LARGE, sink->resume == MV_RESUME_NONE ? (curl_off_t) 0 : (curl_off_t) -1);
	SET(CURLOPT_READFUNCTION, mv_pipe_give);
	SET(CURLOPT_READDATA, &stream->source[0]);
	SET(CURLOPT_SEEKFUNCTION, mv_pipe_seek);
	SET(CURLOPT_SEEKDATA, &stream->source[0]);
	SET(CURLOPT_UPLOAD_BUFFERSIZE, SFTP_BUFFER);
	return code;
}

CURLcode
mv_stream_prepare_sink(MvTransfer *transfer, CURL *easy)
{
	MvStream   *stream = transfer->owner;
	CURLcode	code = prepare_any(easy);

	if (code != CURLE_OK)
		return code;
	if (stream->sink.kind == MV_SINK_SFTP)
		return prepare_upload(stream, easy);
	/* a body can't be sent again, as on a connection that turned out dead */
	SET(CURLOPT_FRESH_CONNECT, 1L);
	if (code != CURLE_OK)
		return code;
	return stream->sink.kind == MV_SINK_FORM ? prepare_form(stream, easy) : prepare_body(stream, easy);
}

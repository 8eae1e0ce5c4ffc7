/*
 * The bytes of a stream: from libcurl's write callback of the source through a
 * ring into its read callback of the sink, counted, digested and compared with
 * what was promised.
 *
 * The callbacks run inside libcurl: they never raise and use malloc only. They
 * pause their own side and leave it to stream.c to wake the other one, since
 * libcurl doesn't like to be called again from inside.
 *
 * The last byte of a source stays in the ring until the source has ended and
 * is what was promised.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "core/stream_int.h"

void
mv_stream_fail(MvStream *stream, MvStreamSide side, const char *format,...)
{
	static const char *const names[] = {"", "source", "sink", "stream"};
	int64		bytes = side == MV_SIDE_SINK ? stream->sink.offered : stream->source[stream->at].bytes;
	int			len;
	va_list		args;

	if (stream->failed != MV_SIDE_NONE)
		return;
	stream->failed = side;
	stream->failed_source = stream->at;
	len = side == MV_SIDE_CALLER ? 0 :
		snprintf(stream->error, sizeof(stream->error), "%s, after " INT64_FORMAT " bytes: ", names[side], bytes);
	va_start(args, format);
	vsnprintf(stream->error + len, sizeof(stream->error) - len, format, args);
	va_end(args);
}

/* ---- the ring ---- */

static void
ring_put(MvStream *stream, const char *bytes, size_t len)
{
	size_t		tail = (stream->ring_head + stream->ring_used) % stream->ring_size;
	size_t		first = Min(len, stream->ring_size - tail);

	memcpy(stream->ring + tail, bytes, first);
	memcpy(stream->ring, bytes + first, len - first);
	stream->ring_used += len;
}

static void
ring_drop(MvStream *stream, size_t len)
{
	stream->ring_head = (stream->ring_head + len) % stream->ring_size;
	stream->ring_used -= len;
	if (stream->ring_used == 0)
		stream->ring_head = 0;
}

/* What lies together at the front, at most len bytes */
static size_t
ring_piece(const MvStream *stream, size_t len)
{
	return Min(len, stream->ring_size - stream->ring_head);
}

static size_t
memory_left(const MvStream *stream, const MvStreamSource *source)
{
	return source->memory_len - (size_t) source->given;
}

size_t
mv_pipe_available(const MvStream *stream)
{
	const MvStreamSource *source = &stream->source[stream->at];

	if (!source->inspected)
		return 0;
	if (mv_source_in_memory(source))
		return memory_left(stream, source);
	if (source->state == SOURCE_COMPLETE)
		return stream->ring_used;
	return stream->ring_used > 0 ? stream->ring_used - 1 : 0;
}

bool
mv_pipe_is_drained(const MvStream *stream)
{
	return stream->source[stream->at].state == SOURCE_COMPLETE && stream->source[stream->at].inspected &&
		mv_pipe_available(stream) == 0;
}

/* Copies up to room bytes to the sink's buffer, and counts them. */
static size_t
pull(MvStream *stream, char *to, size_t room)
{
	MvStreamSource *source = &stream->source[stream->at];
	size_t		len = Min(room, mv_pipe_available(stream));

	if (mv_source_in_memory(source))
		memcpy(to, source->memory + source->given, len);
	else
	{
		size_t		first = ring_piece(stream, len);

		memcpy(to, stream->ring + stream->ring_head, first);
		memcpy(to + first, stream->ring, len - first);
		ring_drop(stream, len);
	}
	source->given += len;
	stream->sink.offered += len;
	return len;
}

/* ---- the source ---- */

static bool
digest(MvStreamSource *source, const char *bytes, size_t len)
{
	if ((source->sha256_context == NULL || EVP_DigestUpdate(source->sha256_context, bytes, len) == 1) &&
		(source->md5_context == NULL || EVP_DigestUpdate(source->md5_context, bytes, len) == 1))
		return true;
	mv_stream_fail(source->stream, MV_SIDE_CALLER, "could not compute a digest");
	return false;
}

static bool
begin_digest(EVP_MD_CTX **context, const EVP_MD *method)
{
	*context = EVP_MD_CTX_new();
	return *context != NULL && EVP_DigestInit_ex(*context, method, NULL) == 1;
}

static bool
end_digest(EVP_MD_CTX **context, unsigned char *out)
{
	bool		ok = *context == NULL || EVP_DigestFinal_ex(*context, out, NULL) == 1;

	EVP_MD_CTX_free(*context);
	*context = NULL;
	return ok;
}

bool
mv_pipe_open(MvStreamSource *source)
{
	bool		whole = source->from == source->start;

	EVP_MD_CTX_free(source->sha256_context);
	EVP_MD_CTX_free(source->md5_context);
	source->sha256_context = source->md5_context = NULL;
	source->inspected = source->inspect == NULL || !whole;
	if (whole && (source->sha256 || source->digests & MV_DIGEST_SHA256) &&
		!begin_digest(&source->sha256_context, EVP_sha256()))
		return false;
	if (whole && source->digests & MV_DIGEST_MD5 && !begin_digest(&source->md5_context, EVP_md5()))
		return false;
	return true;
}

/* The value of a header, which goes up to *end; NULL when there is none */
static const char *
header_value(const MvTransfer *exchange, const char *name, const char **end)
{
	const char *line = exchange->response_headers;
	const char *last = line + exchange->response_headers_len;

	for (; line != NULL && line < last; line = memchr(line, '\n', last - line), line = line ? line + 1 : NULL)
		if (last - line > (ptrdiff_t) strlen(name) && pg_strncasecmp(line, name, strlen(name)) == 0)
		{
			*end = memchr(line, '\n', last - line);
			*end = *end ? *end : last;
			for (line += strlen(name); line < *end && *line == ' '; line++)
				;
			return line;
		}
	return NULL;
}

static int64
number_at(const char *text, const char *end)
{
	int64		number = 0;

	if (text == NULL || text >= end || *text < '0' || *text > '9')
		return -1;
	for (; text < end && *text >= '0' && *text <= '9' && number < PG_INT64_MAX / 10 - 10; text++)
		number = number * 10 + (*text - '0');
	return number;
}

/* The first byte in Content-Range; -1 = nothing */
static int64
range_start(const MvTransfer *exchange)
{
	const char *end = NULL;
	const char *value = header_value(exchange, "content-range:", &end);

	while (value != NULL && value < end && (*value == ' ' || pg_strncasecmp(value, "bytes", 5) == 0))
		value += *value == ' ' ? 1 : 5;
	return number_at(value, end);
}

int64
mv_range_total(const MvTransfer *exchange)
{
	const char *end = NULL;
	const char *value = header_value(exchange, "content-range:", &end);
	const char *slash = value ? memchr(value, '/', end - value) : NULL;

	return slash ? number_at(slash + 1, end) : -1;
}

int64
mv_content_length(const MvTransfer *exchange)
{
	const char *end = NULL;
	const char *value = header_value(exchange, "content-length:", &end);

	return number_at(value, end);
}

static void
fail_too_long(MvStreamSource *source)
{
	source->too_long = true;
	mv_stream_fail(source->stream, MV_SIDE_SOURCE, "it is longer than the " INT64_FORMAT " bytes that are taken", source->max);
}

/*
 * Its answer has come: is it the one that was wanted, and how long is it?
 * announced is relative to where the answer begins, -1 = unknown.
 */
static void
accept_answer(MvStreamSource *source, long status, int64 announced)
{
	MvStream   *stream = source->stream;
	int64		ahead = source->from - source->start;	/* bytes that are not asked for again */

	if (status == 200 && source->from > 0)
	{
		/* It knows no ranges: what was not wanted is thrown away. */
		source->discard = source->start;
		stream->skip = ahead;
		announced = announced < 0 ? -1 : Max(announced - source->start, 0);
		source->from = source->start;
		ahead = 0;
	}
	else if (status == 206 && range_start(&source->exchange) != source->from)
	{
		mv_stream_fail(stream, MV_SIDE_SOURCE, "it sent another range than the one from byte " INT64_FORMAT " on", source->from);
		return;
	}
	source->bytes = ahead;
	if (announced >= 0)
		announced += ahead;
	if (announced >= 0 && source->size >= 0 && announced != source->size)
	{
		mv_stream_fail(stream, MV_SIDE_SOURCE, "it announces " INT64_FORMAT " bytes, promised were " INT64_FORMAT, announced, source->size);
		return;
	}
	source->expected = source->size >= 0 ? source->size : announced;
	if (source->max > 0 && source->expected > source->max)
	{
		fail_too_long(source);
		return;
	}
	/* HTTP has to be told the length ahead: this time it is only counted */
	if (source->expected < 0 && (stream->sink.kind == MV_SINK_BODY || stream->sink.kind == MV_SINK_FORM))
		source->state = SOURCE_PROBED;
	else
		source->state = SOURCE_FLOWING;
}

bool
mv_pipe_count(MvStreamSource *source, size_t len)
{
	source->counted += len;
	if (source->max > 0 && source->counted - source->discard > source->max)
		fail_too_long(source);
	return source->stream->failed == MV_SIDE_NONE;
}

void
mv_pipe_counted(MvStreamSource *source, int64 length)
{
	mv_transfer_release(&source->exchange);
	source->discard = 0;
	source->size = source->expected = length;
	source->state = SOURCE_IDLE;
}

/* Takes bytes that there is room for; false when they aren't those that were promised. */
static bool
take(MvStreamSource *source, const char *bytes, size_t len)
{
	MvStream   *stream = source->stream;
	size_t		skip;

	if (source->expected >= 0 && source->bytes + (int64) len > source->expected)
	{
		mv_stream_fail(stream, MV_SIDE_SOURCE, "it sends more than the " INT64_FORMAT " bytes promised", source->expected);
		return false;
	}
	if (source->max > 0 && source->bytes + (int64) len > source->max)
	{
		fail_too_long(source);
		return false;
	}
	if (!digest(source, bytes, len))
		return false;
	source->bytes += len;

	/* what the sink has already; the ring is empty then */
	skip = Min((int64) len, stream->skip);
	stream->skip -= skip;
	ring_put(stream, bytes + skip, len - skip);
	return true;
}

size_t
mv_pipe_take(char *bytes, size_t size, size_t count, void *data)
{
	MvStreamSource *source = data;
	MvStream   *stream = source->stream;
	MvHandle   *handle = source->exchange.handle;
	size_t		whole = size * count;
	size_t		len = whole;
	size_t		skip;

	if (source->state == SOURCE_OPEN && stream->failed == MV_SIDE_NONE)
	{
		long		status = handle->line_status;
		curl_off_t	announced = -1;

		if (mv_target_sftp(source->target))
			status = 0;
		else if (status != 200 && !(status == 206 && source->from > 0))
			return mv_response_body(bytes, size, count, handle);
		if (curl_easy_getinfo(handle->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &announced) != CURLE_OK)
			announced = -1;
		/* the length of a list of names is not known */
		accept_answer(source, status, source->listing ? -1 : announced);
	}
	if (stream->failed != MV_SIDE_NONE)
		return CURL_WRITEFUNC_ERROR;

	if (source->state == SOURCE_PROBED)
		return mv_pipe_count(source, len) ? whole : CURL_WRITEFUNC_ERROR;
	skip = Min((int64) len, source->discard);
	if (len - skip > stream->ring_size - stream->ring_used && stream->skip == 0)
	{
		stream->source_paused = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	source->discard -= skip;
	return take(source, bytes + skip, len - skip) ? whole : CURL_WRITEFUNC_ERROR;
}

int64
mv_pipe_file_size(const MvStreamSource *source)
{
	struct stat about;

	if (fstat(source->fd, &about) != 0 || !S_ISREG(about.st_mode) || about.st_size < source->from)
		return -1;
	return about.st_size - source->from;
}

void
mv_pipe_read_file(MvStreamSource *source)
{
	MvStream   *stream = source->stream;
	char		piece[64 * 1024];

	if (source->state == SOURCE_OPEN)
	{
		int64		size = mv_pipe_file_size(source);

		if (size < 0)
			mv_stream_fail(stream, MV_SIDE_SOURCE, "it is no file that can be read");
		else
			accept_answer(source, 0, size);
	}
	while (source->state == SOURCE_FLOWING && stream->failed == MV_SIDE_NONE &&
		   (stream->ring_size - stream->ring_used >= sizeof(piece) || stream->skip > 0))
	{
		size_t		wanted = Min((int64) sizeof(piece), source->expected - source->bytes);
		ssize_t		n = wanted == 0 ? 0 : pread(source->fd, piece, wanted, source->start + source->bytes);

		if (n < 0 && errno != EINTR)
			mv_stream_fail(stream, MV_SIDE_SOURCE, "could not read the file: %s", strerror(errno));
		else if (n > 0)
			take(source, piece, n);
		else if (n == 0)
			mv_pipe_source_ended(source, 0);
	}
}

void
mv_pipe_source_ended(MvStreamSource *source, long status)
{
	MvStream   *stream = source->stream;
	bool		whole;

	if (source->state == SOURCE_OPEN)
		accept_answer(source, status, mv_source_in_memory(source) ? (int64) source->memory_len : 0);
	if (mv_source_in_memory(source) && stream->failed == MV_SIDE_NONE)
	{
		digest(source, source->memory, source->memory_len);
		source->bytes = source->memory_len;
	}
	if (stream->failed != MV_SIDE_NONE)
		return;
	if (source->state == SOURCE_PROBED)
	{
		mv_pipe_counted(source, Max(source->counted - source->discard, 0));
		return;
	}
	whole = source->from == source->start;
	if (source->expected >= 0 && source->bytes != source->expected)
		mv_stream_fail(stream, MV_SIDE_SOURCE, "it ended, promised were " INT64_FORMAT " bytes", source->expected);
	else if (stream->skip > 0)
	{
		stream->sink.unfit = true;
		mv_stream_fail(stream, MV_SIDE_SINK, "what is there to be continued is longer than the source");
	}
	else if (!end_digest(&source->sha256_context, source->sha256_out) || !end_digest(&source->md5_context, source->md5_out))
		mv_stream_fail(stream, MV_SIDE_CALLER, "could not compute a digest");
	else if (source->sha256 && whole && memcmp(source->sha256, source->sha256_out, 32) != 0)
	{
		source->changed = true;
		mv_stream_fail(stream, MV_SIDE_SOURCE, "its SHA-256 is not the one promised");
	}
	else
	{
		source->expected = source->bytes;
		source->state = SOURCE_COMPLETE;
		source->complete = true;
	}
}

void
mv_pipe_inspect(MvStreamSource *source)
{
	MvStream   *stream = source->stream;
	bool		in_memory = mv_source_in_memory(source);
	size_t		there = in_memory ? source->memory_len : stream->ring_used;
	const char *why;

	if (source->inspected || source->state < SOURCE_FLOWING)
		return;
	/* a piece that doesn't fit pauses the source: more won't come */
	if (there < source->inspect_bytes && source->state != SOURCE_COMPLETE && !stream->source_paused)
		return;
	why = source->inspect(stream->owner, in_memory ? source->memory : stream->ring, Min(there, source->inspect_bytes));
	source->inspected = true;
	if (why)
		mv_stream_fail(stream, MV_SIDE_SOURCE, "%.200s", why);
}

/* ---- the sink ---- */

size_t
mv_pipe_give(char *to, size_t size, size_t count, void *data)
{
	MvStreamSource *source = data;
	MvStream   *stream = source->stream;
	size_t		len;

	if (stream->failed != MV_SIDE_NONE)
		return CURL_READFUNC_ABORT;
	if (source == &stream->source[stream->at])
	{
		if ((len = pull(stream, to, size * count)) > 0)
			return len;
		if (mv_pipe_is_drained(stream))
			return 0;
	}
	else if (source < &stream->source[stream->at])
		return 0;
	stream->sink_wants_source = true;
	stream->sink_paused = true;
	return CURL_READFUNC_PAUSE;
}

/* An SFTP server has so many bytes already. */
int
mv_pipe_seek(void *data, curl_off_t offset, int origin)
{
	MvStreamSource *source = data;
	MvStream   *stream = source->stream;
	size_t		drop;

	if (origin != SEEK_SET || offset < 0 || source->given > 0 || stream->failed != MV_SIDE_NONE)
		return CURL_SEEKFUNC_FAIL;
	if (source->expected >= 0 && offset > source->expected)
	{
		stream->sink.unfit = true;
		mv_stream_fail(stream, MV_SIDE_SINK, "the file there has " INT64_FORMAT " bytes, the source " INT64_FORMAT,
					   (int64) offset, source->expected);
		return CURL_SEEKFUNC_FAIL;
	}
	stream->sink.resumed_at = offset;
	stream->sink_wants_source = true;
	if (mv_source_in_memory(source))
		source->given = offset;
	else if (source->state == SOURCE_IDLE)
		source->from = source->start + offset;	/* it is asked for the rest only */
	else
	{
		drop = Min((int64) stream->ring_used, offset);
		ring_drop(stream, drop);
		stream->skip = offset - drop;
	}
	return CURL_SEEKFUNC_OK;
}

void
mv_pipe_drain(MvStream *stream)
{
	MvStreamSink *sink = &stream->sink;
	size_t		len;

	while ((len = mv_pipe_available(stream)) > 0)
	{
		if (sink->offered + (int64) len > (int64) sink->cap)
		{
			mv_stream_fail(stream, MV_SIDE_SOURCE, "it is longer than the %zu bytes that are taken", sink->cap);
			return;
		}
		if (sink->kind == MV_SINK_MEMORY)
		{
			if (sink->memory_len + len > sink->memory_room)
			{
				size_t		room = Min(Max(sink->memory_room * 2, sink->memory_len + len), sink->cap);
				char	   *grown = realloc(sink->memory, room);

				if (grown == NULL)
				{
					mv_stream_fail(stream, MV_SIDE_CALLER, "out of memory");
					return;
				}
				sink->memory = grown;
				sink->memory_room = room;
			}
			sink->memory_len += pull(stream, sink->memory + sink->memory_len, len);
		}
		else
		{
			char		piece[32 * 1024];
			size_t		n = pull(stream, piece, sizeof(piece));

			for (size_t at = 0; at < n;)
			{
				ssize_t		written = write(sink->fd, piece + at, n - at);

				if (written <= 0)
				{
					mv_stream_fail(stream, MV_SIDE_SINK, "could not write to the file: %s", strerror(written < 0 ? errno : ENOSPC));
					return;
				}
				at += written;
			}
		}
	}
}

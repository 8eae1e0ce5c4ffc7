/*
 * The life of a stream: its source is asked, its first bytes are looked at, its
 * sink is opened, both run and are paused in turn, and an end of either is the
 * end of both. See stream.h; the bytes are in stream_pipe.c, libcurl's options in
 * stream_prepare.c.
 *
 * All that happens here is done in mv_streams_turn, once a turn of the loop and
 * outside of libcurl: its callbacks and ends of exchanges only leave marks.
 *
 * A source and its sink run one after the other until the sink is open, so that
 * a source that is missing, too long or no audio costs the sink nothing. Only
 * where a file is continued and the source is to be asked for the rest alone
 * does the sink come first: it knows how much there is.
 *
 * Signals are blocked here, as in all that calls libcurl.
 */
#include "postgres.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "core/sftp.h"
#include "core/stream_int.h"

#define SOURCE_ERROR_BODY	4096

/* A sink that was paused goes on with so many bytes, or with any after so long */
#define WAKE_BYTES			(64 * 1024)
#define WAKE_US				(200 * INT64CONST(1000))

#define DEFAULT_LOW_BYTES	1024
#define DEFAULT_LOW_SECONDS	30
#define DEFAULT_ANSWER_MS	120000

/* Where a sink stands */
enum
{
	SINK_IDLE,
	SINK_OPEN,
	SINK_ANSWERED,				/* its exchange ended without a failure */
	SINK_RENAMING,
	SINK_DONE
};

/* Which list of the loop it is in */
enum
{
	NOWHERE,
	ACTIVE,
	DONE
};

/* ---- ends of exchanges: marks only ---- */

static void
source_ended(MvTransfer *transfer)
{
	MvStreamSource *source = transfer->owner;
	MvStream   *stream = source->stream;
	long		status = transfer->status;
	bool		is_http = mv_target_sftp(source->target) == NULL;

	if (transfer->code != CURLE_OK)
		mv_stream_fail(stream, MV_SIDE_SOURCE, "%s", transfer->error);
	else if (is_http && status >= 300 && status < 400)
		mv_stream_fail(stream, MV_SIDE_SOURCE, "redirect (HTTP %ld) is not followed", status);
	else if (is_http && status != 200 && !(status == 206 && source->from > 0))
		mv_stream_fail(stream, MV_SIDE_SOURCE, "it answered HTTP %ld", status);
	else
		mv_pipe_source_ended(source, is_http ? status : 0);
}

static void
sink_ended(MvTransfer *transfer)
{
	MvStream   *stream = transfer->owner;
	bool		writing = mv_target_sftp(transfer->target) != NULL && stream->sink.offered > 0;

	if (transfer->code == CURLE_OK)
		stream->sink.state = SINK_ANSWERED;
	else if (writing && transfer->code == CURLE_SSH)
		mv_stream_fail(stream, MV_SIDE_SINK, "the SFTP server failed to write the file (disk full?): %.200s", transfer->error);
	else
		mv_stream_fail(stream, MV_SIDE_SINK, "%s", transfer->error);
}

static void
rename_ended(MvTransfer *transfer)
{
	MvStream   *stream = transfer->owner;

	if (transfer->code == CURLE_OK)
		stream->sink.state = SINK_DONE;
	else
		mv_stream_fail(stream, MV_SIDE_SINK, "\"%.100s\" could not get its name, which may be taken: %.200s",
					   stream->sink.path, transfer->error);
}

/* ---- beginnings ---- */

static void
begin_source(MvStream *stream)
{
	MvStreamSource *source = &stream->source[stream->at];
	MvTransfer *exchange = &source->exchange;

	if (!mv_pipe_open(source))
	{
		mv_stream_fail(stream, MV_SIDE_CALLER, "out of memory");
		return;
	}
	source->state = SOURCE_OPEN;
	if (mv_source_in_memory(source))
		mv_pipe_source_ended(source, 0);
	if (source->target == NULL)
		return;
	exchange->target = source->target;
	exchange->method = "GET";
	exchange->headers = source->headers;
	exchange->max_response_body = SOURCE_ERROR_BODY;
	exchange->owner = source;
	exchange->prepare = mv_stream_prepare_source;
	exchange->ended = source_ended;
	if (!mv_transfer_start(stream->loop, exchange))
		mv_stream_fail(stream, MV_SIDE_SOURCE, "%s", exchange->error);
}

static void
begin_sink(MvStream *stream)
{
	MvStreamSink *sink = &stream->sink;
	MvTransfer *exchange = &sink->exchange;

	for (int i = 0; sink->kind != MV_SINK_SFTP && i < stream->source_count; i++)
		if (stream->source[i].expected < 0)
		{
			mv_stream_fail(stream, MV_SIDE_SOURCE, "it doesn't tell its length, which the sink must be told");
			return;
		}
	sink->state = SINK_OPEN;
	sink->begun = true;
	exchange->target = sink->target;
	exchange->method = sink->method;
	exchange->headers = sink->headers;
	exchange->max_response_body = sink->max_response_body;
	exchange->owner = stream;
	exchange->prepare = mv_stream_prepare_sink;
	exchange->ended = sink_ended;
	if (!mv_transfer_start(stream->loop, exchange))
		mv_stream_fail(stream, MV_SIDE_SINK, "%s", exchange->error);
}

static void
begin_rename(MvStream *stream)
{
	MvStreamSink *sink = &stream->sink;
	MvTransfer *exchange = &sink->rename;
	const char *why;

	sink->commands = mv_sftp_command(NULL, MV_SFTP_RENAME, false, sink->temporary, sink->path, &why);
	if (sink->commands == NULL)
	{
		mv_stream_fail(stream, MV_SIDE_CALLER, "%s", why);
		return;
	}
	sink->state = SINK_RENAMING;
	exchange->target = sink->target;
	exchange->owner = stream;
	exchange->ended = rename_ended;
	mv_sftp_commands(exchange, sink->commands);
	if (!mv_transfer_start(stream->loop, exchange))
		mv_stream_fail(stream, MV_SIDE_SINK, "%s", exchange->error);
}

/* ---- a turn ---- */

/*
 * Everything was handed to libcurl. Megabytes of it may wait for a slow line
 * still: as long as they go, at the least speed that is allowed, the sink's time
 * to answer begins with the last of them.
 */
static void
judge_patience(MvStream *stream, int64 now)
{
	const MvHandle *handle = stream->sink.exchange.handle;
	int64		patience = stream->answer_timeout_ms * INT64CONST(1000);
	int			unsent = 0;

	if (handle && handle->socket >= 0 && ioctl(handle->socket, SIOCOUTQ, &unsent) == 0 && unsent < stream->unsent)
	{
		stream->drained += stream->unsent - unsent;
		stream->drained_at = now;
	}
	stream->unsent = unsent;
	if (now - stream->offered_all_at <= patience)
		return;
	if (stream->drained_at > stream->offered_all_at && stream->drained >= stream->low_speed_bytes * stream->answer_timeout_ms / 1000)
	{
		stream->offered_all_at = stream->drained_at;
		stream->drained = 0;
	}
	else
		mv_stream_fail(stream, MV_SIDE_SINK, "no answer within %ld ms of the last byte", stream->answer_timeout_ms);
}

/* Who is slow is who the other one waits for. */
static void
judge_speed(MvStream *stream, int64 now)
{
	const MvStreamSink *sink = &stream->sink;
	int64		moved = sink->offered;
	int64		period = stream->low_speed_seconds * INT64CONST(1000000);

	if (stream->offered_all_at != 0)
	{
		judge_patience(stream, now);
		return;
	}
	for (int i = 0; i < stream->source_count; i++)
		moved += stream->source[i].bytes + stream->source[i].counted;
	if (stream->window_start != 0 && now - stream->window_start < period)
		return;
	if (stream->window_start != 0 && moved - stream->window_moved < stream->low_speed_bytes * stream->low_speed_seconds)
		mv_stream_fail(stream, sink->state != SINK_OPEN || stream->sink_paused ? MV_SIDE_SOURCE : MV_SIDE_SINK,
					   "slower than %ld bytes a second for %ld s", stream->low_speed_bytes, stream->low_speed_seconds);
	stream->window_start = now;
	stream->window_moved = moved;
}

/* libcurl would turn in circles over an SFTP connection that is paused. */
static void
mute_paused(const MvTransfer *exchange, bool paused)
{
	if (exchange->handle && mv_target_sftp(exchange->target))
		mv_sockets_mute(exchange->handle->sockets, exchange->handle->socket, paused);
}

/* Whoever can go on is woken. libcurl may call back at once, and pause again. */
static void
wake_sides(MvStream *stream, int64 now)
{
	MvStreamSource *source = &stream->source[stream->at];
	MvStreamSink *sink = &stream->sink;
	size_t		available;
	bool		enough;

	if (stream->source_paused && stream->ring_size - stream->ring_used >= stream->ring_size / 2 && source->exchange.handle)
	{
		stream->source_paused = false;
		curl_easy_pause(source->exchange.handle->easy, CURLPAUSE_CONT);
	}
	available = mv_pipe_available(stream);
	if (stream->sink_paused && stream->sink_paused_at == 0)
		stream->sink_paused_at = now;
	enough = available >= WAKE_BYTES || mv_pipe_is_drained(stream) ||
		(available > 0 && (source->state == SOURCE_COMPLETE || now - stream->sink_paused_at > WAKE_US));
	if (stream->sink_paused && sink->exchange.handle && enough)
	{
		stream->sink_paused = false;
		stream->sink_paused_at = 0;
		curl_easy_pause(sink->exchange.handle->easy, CURLPAUSE_CONT);
	}
	mute_paused(&source->exchange, stream->source_paused);
	mute_paused(&sink->exchange, stream->sink_paused);
}

/*
 * What isn't read yet was announced as empty: a sink that counts bytes has them
 * all, and may answer before these sources have been asked.
 */
static bool
only_empty_are_left(const MvStream *stream)
{
	for (int i = stream->at; i < stream->source_count; i++)
		if (stream->source[i].expected < 0 || stream->source[i].given != stream->source[i].expected)
			return false;
	return true;
}

/* The sink has answered: was it in order? */
static void
judge_answer(MvStream *stream)
{
	MvStreamSink *sink = &stream->sink;
	long		status = sink->exchange.status;

	if (sink->kind != MV_SINK_SFTP && (status < 200 || status > 299))
		mv_stream_fail(stream, MV_SIDE_SINK, "it answered HTTP %ld", status);
	else if (stream->offered_all_at == 0)
	{
		if (!only_empty_are_left(stream))
			mv_stream_fail(stream, MV_SIDE_SINK, "it ended before it had everything");
	}
	else if (sink->kind == MV_SINK_SFTP && sink->temporary)
		begin_rename(stream);
	else
		sink->state = SINK_DONE;
}

/* Goes as far as it can; true when the stream has come to its end. */
static bool
go_on(MvStream *stream, int64 now)
{
	MvStreamSource *source = &stream->source[stream->at];
	MvStreamSink *sink = &stream->sink;
	bool		sink_first = sink->resume == MV_RESUME_RANGE;

	if (source->state == SOURCE_IDLE && (!sink_first || stream->sink_wants_source))
		begin_source(stream);
	if (stream->failed == MV_SIDE_NONE && mv_source_is_file(source))
		mv_pipe_read_file(source);
	if (stream->failed == MV_SIDE_NONE)
		mv_pipe_inspect(source);
	if (stream->failed == MV_SIDE_NONE && !mv_sink_is_local(sink) && sink->state == SINK_IDLE &&
		(sink_first || (source->state >= SOURCE_FLOWING && source->inspected)) && mv_stream_lengths_known(stream))
		begin_sink(stream);
	if (stream->failed == MV_SIDE_NONE && mv_sink_is_local(sink))
		mv_pipe_drain(stream);
	if (stream->failed != MV_SIDE_NONE)
		return true;

	if (mv_pipe_is_drained(stream) && (mv_sink_is_local(sink) || sink->state >= SINK_OPEN))
	{
		if (stream->at + 1 < stream->source_count)
		{
			stream->at++;
			begin_source(stream);
		}
		else if (mv_sink_is_local(sink))
			sink->state = SINK_DONE;
		else if (stream->offered_all_at == 0)
			stream->offered_all_at = now;
	}
	if (sink->state == SINK_ANSWERED)
		judge_answer(stream);
	if (sink->state == SINK_DONE || stream->failed != MV_SIDE_NONE)
		return true;
	wake_sides(stream, now);
	judge_speed(stream, now);
	return stream->failed != MV_SIDE_NONE;
}

/* Takes both sides from the loop, and the stream from its list. */
static void
detach(MvStream *stream)
{
	for (int i = 0; i < stream->source_count; i++)
		mv_transfer_abort(stream->loop, &stream->source[i].exchange);
	mv_transfer_abort(stream->loop, &stream->sink.exchange);
	mv_transfer_abort(stream->loop, &stream->sink.rename);
	dlist_delete(&stream->link);
	stream->where = NOWHERE;
}

static void
end_stream(MvStream *stream)
{
	MvStreams  *streams = mv_loop_streams(stream->loop);

	/* printable, whatever a caller's inspection said */
	for (char *c = stream->error; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	detach(stream);
	stream->where = DONE;
	dlist_push_tail(&streams->done, &stream->link);
}

void
mv_streams_turn(MvLoop *loop)
{
	MvStreams  *streams = mv_loop_streams(loop);
	dlist_mutable_iter iter;
	int64		now = mv_monotonic_us();

	dlist_foreach_modify(iter, &streams->active)
	{
		MvStream   *stream = dlist_container(MvStream, link, iter.cur);

		if (go_on(stream, now))
			end_stream(stream);
	}
}

/* ---- the caller's side ---- */

/* What can't work, NULL when it may */
static const char *
problem(const MvStream *stream)
{
	const MvStreamSink *sink = &stream->sink;
	bool		sftp_sink = sink->kind == MV_SINK_SFTP;
	int			files = 0;

	if (stream->source_count > MV_STREAM_SOURCES || (stream->source_count > 1 && sink->kind != MV_SINK_FORM))
		return "too many sources";
	for (int i = 0; i < stream->source_count; i++)
	{
		const MvStreamSource *source = &stream->source[i];

		if (source->start < 0 || (mv_source_in_memory(source) && source->start != 0))
			return "a source begins where it has nothing";
		if (mv_source_in_memory(source) && source->memory == NULL && source->memory_len > 0)
			return "a source has neither a target nor memory";
		if (source->target && source->fd != 0)
			return "a source has both a target and a file";
		if (source->inspect && source->inspect_bytes > stream->ring_size / 2)
			return "more bytes are to be inspected than half of the ring";
		if (source->target && mv_target_sftp(source->target) && mv_sftp_path_problem(source->path))
			return mv_sftp_path_problem(source->path);
		if (sink->resume == MV_RESUME_RANGE && (source->sha256 || source->digests))
			return "there is no digest of a part";
	}
	if (mv_sink_is_local(sink))
		return NULL;
	if (sink->target == NULL || (mv_target_sftp(sink->target) != NULL) != sftp_sink)
		return "the sink's target is of another kind than the sink";
	if (sftp_sink && mv_sftp_path_problem(sink->path))
		return mv_sftp_path_problem(sink->path);
	if (sftp_sink && sink->temporary && mv_sftp_path_problem(sink->temporary))
		return mv_sftp_path_problem(sink->temporary);
	if (sink->resume != MV_RESUME_NONE && (!sftp_sink || sink->temporary == NULL))
		return "only a temporary file on an SFTP server can be continued";
	for (int i = 0; sink->kind == MV_SINK_FORM && i < sink->part_count; i++)
		if (sink->parts[i].text == NULL && sink->parts[i].source != files++)
			return "the files of a form are not in the order of the sources";
	if (sink->kind == MV_SINK_FORM && files != stream->source_count)
		return "a form has another number of files than there are sources";
	return NULL;
}

bool
mv_stream_start(MvLoop *loop, MvStream *stream)
{
	const char *why;

	stream->loop = loop;
	stream->source_count = Max(stream->source_count, 1);
	if (stream->ring_size == 0)
		stream->ring_size = MV_STREAM_RING;
	stream->ring_size = Max(stream->ring_size, 64 * 1024);
	if (stream->low_speed_bytes == 0)
		stream->low_speed_bytes = DEFAULT_LOW_BYTES;
	if (stream->low_speed_seconds == 0)
		stream->low_speed_seconds = DEFAULT_LOW_SECONDS;
	if (stream->answer_timeout_ms == 0)
		stream->answer_timeout_ms = DEFAULT_ANSWER_MS;

	if ((why = problem(stream)) == NULL)
	{
		stream->ring = malloc(stream->ring_size);
		if (stream->ring == NULL)
			why = "out of memory";
	}
	if (why)
	{
		mv_stream_fail(stream, MV_SIDE_CALLER, "%s", why);
		return false;
	}
	for (int i = 0; i < stream->source_count; i++)
	{
		MvStreamSource *source = &stream->source[i];

		source->stream = stream;
		source->from = source->start;
		source->expected = source->size;
		source->listing = source->path && source->path[0] && source->path[strlen(source->path) - 1] == '/';
	}
	stream->where = ACTIVE;
	dlist_push_tail(&mv_loop_streams(loop)->active, &stream->link);
	return true;
}

void
mv_stream_abort(MvLoop *loop, MvStream *stream)
{
	if (stream->where == NOWHERE)
		return;
	detach(stream);
	mv_stream_fail(stream, MV_SIDE_CALLER, "aborted");
}

MvStream *
mv_stream_next_done(MvLoop *loop)
{
	MvStreams  *streams = mv_loop_streams(loop);
	MvStream   *stream;

	if (dlist_is_empty(&streams->done))
		return NULL;
	stream = dlist_container(MvStream, link, dlist_pop_head_node(&streams->done));
	stream->where = NOWHERE;
	return stream;
}

void
mv_streams_drop(MvLoop *loop)
{
	MvStreams  *streams = mv_loop_streams(loop);

	while (!dlist_is_empty(&streams->active))
		mv_stream_abort(loop, dlist_head_element(MvStream, link, &streams->active));
	while (!dlist_is_empty(&streams->done))
		mv_stream_abort(loop, dlist_head_element(MvStream, link, &streams->done));
}

void
mv_stream_release(MvStream *stream)
{
	MvStreamSink *sink = &stream->sink;

	for (int i = 0; i < stream->source_count; i++)
	{
		MvStreamSource *source = &stream->source[i];

		mv_transfer_release(&source->exchange);
		EVP_MD_CTX_free(source->sha256_context);
		EVP_MD_CTX_free(source->md5_context);
		source->sha256_context = source->md5_context = NULL;
	}
	mv_transfer_release(&sink->exchange);
	mv_transfer_release(&sink->rename);
	curl_mime_free(sink->mime);
	sink->mime = NULL;
	curl_slist_free_all(sink->commands);
	sink->commands = NULL;
	free(sink->memory);
	sink->memory = NULL;
	free(stream->ring);
	stream->ring = NULL;
}

/*
 * What stream.c (the life of a stream), stream_prepare.c (libcurl's options) and
 * stream_pipe.c (the bytes and libcurl's callbacks) share.
 */
#ifndef MV_STREAM_INT_H
#define MV_STREAM_INT_H

#include "core/stream.h"
#include "core/transfer_int.h"

/* Where a source stands */
enum
{
	SOURCE_IDLE,
	SOURCE_PROBED,				/* it was asked for to learn its length */
	SOURCE_OPEN,				/* asked for, nothing of its body came yet */
	SOURCE_FLOWING,				/* its answer is the right one */
	SOURCE_COMPLETE				/* all came, and is what was promised */
};

static inline bool
mv_source_in_memory(const MvStreamSource *source)
{
	return source->target == NULL && source->fd == 0;
}

static inline bool
mv_source_is_file(const MvStreamSource *source)
{
	return source->target == NULL && source->fd != 0;
}

static inline bool
mv_sink_is_local(const MvStreamSink *sink)
{
	return sink->kind == MV_SINK_FD || sink->kind == MV_SINK_MEMORY;
}

/* Notes a failure, if it is the first. side must not be MV_SIDE_NONE. */
extern void mv_stream_fail(MvStream *stream, MvStreamSide side, const char *format,...) pg_attribute_printf(3, 4);

/* How many bytes the sink may take now */
extern size_t mv_pipe_available(const MvStream *stream);

/* All of the current source went to the sink. */
extern bool mv_pipe_is_drained(const MvStream *stream);

/* Makes ready for a source; false without memory. */
extern bool mv_pipe_open(MvStreamSource *source);

/* The source ended without a failure of the exchange; status 0 = of no HTTP. */
extern void mv_pipe_source_ended(MvStreamSource *source, long status);

/* Shows the first bytes to who wants to see them, once there are enough. */
extern void mv_pipe_inspect(MvStreamSource *source);

/* What an answer's headers say: the length of the whole in Content-Range, its own length; -1 = nothing */
extern int64 mv_range_total(const MvTransfer *exchange);
extern int64 mv_content_length(const MvTransfer *exchange);

/* Of a file of ours: how many bytes it has from the first wanted on, -1 = it can't be read; and reads what there is room for. */
extern int64 mv_pipe_file_size(const MvStreamSource *source);
extern void mv_pipe_read_file(MvStreamSource *source);

/* Moves what is there into a local sink. */
extern void mv_pipe_drain(MvStream *stream);

/* Callbacks of libcurl; data is the MvStreamSource */
extern size_t mv_pipe_take(char *bytes, size_t size, size_t count, void *data);
extern size_t mv_pipe_give(char *to, size_t size, size_t count, void *data);
extern int	mv_pipe_seek(void *data, curl_off_t offset, int origin);

/* Adds to what is counted; false when it is too much. */
extern bool mv_pipe_count(MvStreamSource *source, size_t len);

/* Its length is known, and it is to be asked for. */
extern void mv_pipe_counted(MvStreamSource *source, int64 length);

/* stream_probe.c: true once the lengths of all sources behind the first are known; asks for those that aren't */
extern bool mv_stream_lengths_known(MvStream *stream);

/* stream_prepare.c: what libcurl is told of either side */
extern CURLcode mv_stream_prepare_source(MvTransfer *transfer, CURL *easy);
extern CURLcode mv_stream_prepare_sink(MvTransfer *transfer, CURL *easy);

#endif							/* MV_STREAM_INT_H */

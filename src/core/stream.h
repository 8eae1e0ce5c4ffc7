/*
 * Streams: what one exchange brings goes into another while it comes, both in
 * one transfer loop, without ever being in memory or on disk as a whole.
 *
 * Promises: memory is one ring of bytes, whatever the size; the faster side is
 * paused, the other one goes on; whichever side fails ends the other, and it is
 * told which it was and how far it came; a sink never gets the last byte of a
 * source that turned out wrong (length, digest, inspection), so that nobody
 * takes such a body for complete; a file on an SFTP server gets its name when
 * it is whole. Nothing raises, malloc only, as in the rest of the loop.
 *
 * How the caller does it: fill a zeroed MvStream, mv_stream_start, turn the
 * loop as always, take what mv_stream_next_done has, mv_stream_release. There
 * is no limit of time for the whole: MvTargetOptions.timeout_ms doesn't count
 * here, but connect_timeout_ms does.
 */
#ifndef MV_STREAM_H
#define MV_STREAM_H

#include "core/transfer.h"

#include <openssl/evp.h>

#define MV_STREAM_SOURCES	2
#define MV_STREAM_PARTS		16
#define MV_STREAM_RING		(1024 * 1024)

typedef struct MvStream MvStream;

typedef enum MvStreamSide
{
	MV_SIDE_NONE,				/* nothing failed */
	MV_SIDE_SOURCE,
	MV_SIDE_SINK,
	MV_SIDE_CALLER				/* aborted, asked for the impossible, or out of memory */
} MvStreamSide;

/* Bits of MvStreamSource.digests */
#define MV_DIGEST_SHA256	1
#define MV_DIGEST_MD5		2

/* Where bytes come from: GET of an HTTP target, a path of an SFTP target, a file of ours, or memory */
typedef struct MvStreamSource
{
	/* the caller's */
	MvTarget   *target;			/* NULL = fd, or memory */
	int			fd;				/* a regular file that is open and stays so; 0 = memory */
	struct curl_slist *headers; /* of HTTP */
	const char *path;			/* of SFTP; one that ends with "/" gives the names there, one a line */
	bool		details;		/* with what the server tells of each: mostly the lines of "ls -l" */
	const char *memory;
	size_t		memory_len;
	int64		start;			/* first byte to be read (asked for by Range of HTTP) */
	int64		size;			/* how many are promised, -1 = what the server announces; both must agree. HTTP
								 * sinks have to be told how long everything is: a source that doesn't announce it
								 * is read twice, and the second one of a form is asked for a byte ahead. Then this
								 * is filled in */
	int64		max;			/* a source that is longer is not taken; 0 = any length */
	int			digests;		/* to be computed */
	const unsigned char *sha256;	/* 32 bytes that must come out (includes MV_DIGEST_SHA256), NULL = any */
	size_t		inspect_bytes;	/* so many first bytes (or all, when there are fewer) are shown to inspect */
	const char *(*inspect) (void *owner, const char *bytes, size_t len);	/* NULL, or why they aren't taken
																			 * (kept for as long as the stream); must not raise */

	/* what came of it */
	MvTransfer	exchange;		/* status, headers, timings; its body only where the status isn't 2xx */
	int64		bytes;			/* that came, from start on */
	bool		complete;		/* all came and agrees with what was promised; only then there are digests */
	bool		too_long;		/* why it failed: it has more than max bytes */
	bool		changed;		/* or another SHA-256 than promised */
	unsigned char sha256_out[32];
	unsigned char md5_out[16];

	/* private */
	MvStream   *stream;
	int			state;
	bool		listing;
	bool		inspected;		/* or it isn't to be */
	int64		from;			/* first byte that is really asked for */
	int64		discard;		/* bytes that came unwanted before start */
	int64		expected;		/* length from start on, -1 = unknown */
	int64		counted;		/* bytes that were read to learn the length */
	int64		given;			/* to the sink */
	EVP_MD_CTX *sha256_context;
	EVP_MD_CTX *md5_context;
} MvStreamSource;

typedef enum MvSinkKind
{
	MV_SINK_BODY,				/* the body of an HTTP request */
	MV_SINK_FORM,				/* multipart/form-data */
	MV_SINK_SFTP,				/* a file on an SFTP server */
	MV_SINK_FD,					/* a file of ours that is open */
	MV_SINK_MEMORY
} MvSinkKind;

/* A field of a form, in order */
typedef struct MvStreamPart
{
	const char *name;
	const char *text;			/* the value, or NULL: a file */
	int			source;			/* which source the file comes from; each exactly once, in order */
	const char *filename;
	const char *type;			/* NULL = libcurl's choice */
} MvStreamPart;

typedef enum MvResume
{
	MV_RESUME_NONE,				/* what is there under the temporary name is overwritten */
	MV_RESUME_REREAD,			/* it is kept; the source is read from its start, and digests are of all of it */
	MV_RESUME_RANGE				/* it is kept; only what is missing is asked of the source: no digests, and
								 * none may be promised; a source that knows no ranges is read as above */
} MvResume;

typedef struct MvStreamSink
{
	/* the caller's */
	MvSinkKind	kind;
	MvTarget   *target;			/* of the first three */
	const char *method;			/* NULL = PUT for a body, POST for a form */
	struct curl_slist *headers;
	size_t		max_response_body;
	const MvStreamPart *parts;	/* of a form */
	int			part_count;
	const char *path;			/* of SFTP: the name when it is whole, which must not be taken */
	const char *temporary;		/* the name until then; NULL = it is written under path */
	bool		in_place;		/* of SFTP: its directory has to be there. Else those that are missing are made */
	MvResume	resume;			/* whoever asks for it makes sure that the temporary file is of the same source */
	int			fd;
	size_t		cap;			/* of MEMORY and FD: a source longer than that fails */

	/* what came of it */
	MvTransfer	exchange;		/* status, headers, body of an HTTP answer */
	MvTransfer	rename;			/* of SFTP */
	bool		begun;			/* it was asked for something: before that it can't know of the stream */
	bool		unfit;			/* why it failed: what was to be continued is longer than the source */
	int64		resumed_at;		/* bytes that were there already */
	char	   *memory;			/* malloc'd, not terminated */
	size_t		memory_len;

	int64		offered;		/* bytes of the sources that were handed to libcurl (or written, when local) now */

	/* private */
	int			state;
	curl_mime  *mime;
	struct curl_slist *commands;
	size_t		memory_room;
} MvStreamSink;

struct MvStream
{
	/* the caller's */
	MvStreamSource source[MV_STREAM_SOURCES];	/* more than one only for a form */
	int			source_count;	/* 0 = 1 */
	MvStreamSink sink;
	size_t		ring_size;		/* 0 = MV_STREAM_RING */
	long		low_speed_bytes;	/* a stream that moves fewer bytes a second … */
	long		low_speed_seconds;	/* … over so many seconds is ended; 0 = 30 */
	long		answer_timeout_ms;	/* for the sink to answer when it has got everything; 0 = 120 s. What waits to be
								 * sent in the kernel isn't with the sink: while that moves the time doesn't run */
	void	   *owner;

	/* what came of it */
	MvStreamSide failed;
	int			failed_source;	/* the source that was at work, or that failed */
	char		error[CURL_ERROR_SIZE + 64];	/* empty when nothing failed; printable ASCII */

	/* private */
	MvLoop	   *loop;
	dlist_node	link;
	int			where;
	int			at;				/* the source that is read */
	char	   *ring;
	size_t		ring_head;
	size_t		ring_used;
	int64		skip;			/* bytes that the sink has already */
	bool		source_paused;
	bool		sink_paused;
	bool		sink_wants_source;	/* it knows how much it has */
	int64		sink_paused_at; /* us */
	int64		window_start;	/* us */
	int64		window_moved;
	int64		offered_all_at; /* us, 0 = not yet */
	int			unsent;			/* bytes that were waiting in the kernel when it was looked at last */
	int64		drained;		/* bytes that have left it since offered_all_at … */
	int64		drained_at;		/* … the last of them then */
};

/*
 * Starts it. False (with failed and error filled, to be released) when that is
 * impossible. Everything that the struct refers to must stay valid until the
 * stream is done or aborted.
 */
extern bool mv_stream_start(MvLoop *loop, MvStream *stream);

/* Ends both sides at once; nothing is reported for it any more. */
extern void mv_stream_abort(MvLoop *loop, MvStream *stream);

/* The next stream that ended, in order, or NULL. */
extern MvStream *mv_stream_next_done(MvLoop *loop);

/* Gives back what a stream that is done or aborted still holds. */
extern void mv_stream_release(MvStream *stream);

#endif							/* MV_STREAM_H */

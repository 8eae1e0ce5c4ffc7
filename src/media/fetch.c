/*
 * Input of a task: a file of somebody's, fetched into a scratch file, or one of
 * ours. A fetch is begun by the run() that wants it, which is called again when
 * the file is there: meanwhile the worker does other work, and fetches other
 * files.
 *
 * A slow or endless source holds a place that others could have, so it has to
 * move: LOW_BYTES a second on average over LOW_SECONDS, and TOTAL_SECONDS in all.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/stream.h"
#include "executor/spi.h"
#include "media/media_int.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#define LOW_BYTES		(32 * 1024)
#define LOW_SECONDS		20
#define TOTAL_SECONDS	1800
#define BLOCK			(256 * 1024)

/* ---- digests ---- */

static char *
hex(const unsigned char *bytes, int n)
{
	char	   *text = palloc(n * 2 + 1);

	hex_encode((const char *) bytes, n, text);
	text[n * 2] = '\0';
	return text;
}

static bool
digest_blocks(int fd, char *block, EVP_MD_CTX *sha256, EVP_MD_CTX *md5, int64 *bytes)
{
	ssize_t		n;

	*bytes = 0;
	while ((n = pg_pread(fd, block, BLOCK, *bytes)) > 0)
	{
		if (EVP_DigestUpdate(sha256, block, n) != 1 || EVP_DigestUpdate(md5, block, n) != 1)
			return false;
		*bytes += n;
		mv_media_check();
	}
	if (n < 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not read a file in musicverse.media_directory: %m")));
	return true;
}

void
mv_media_digest(int fd, int64 *bytes, const char **sha256, const char **md5)
{
	EVP_MD_CTX *contexts[2] = {EVP_MD_CTX_new(), EVP_MD_CTX_new()};
	char	   *block = palloc(BLOCK);
	unsigned char out[2][EVP_MAX_MD_SIZE];
	bool		ok = false;

	PG_TRY();
	{
		ok = contexts[0] != NULL && contexts[1] != NULL &&
			EVP_DigestInit_ex(contexts[0], EVP_sha256(), NULL) == 1 && EVP_DigestInit_ex(contexts[1], EVP_md5(), NULL) == 1 &&
			digest_blocks(fd, block, contexts[0], contexts[1], bytes) &&
			EVP_DigestFinal_ex(contexts[0], out[0], NULL) == 1 && EVP_DigestFinal_ex(contexts[1], out[1], NULL) == 1;
	}
	PG_FINALLY();
	{
		EVP_MD_CTX_free(contexts[0]);
		EVP_MD_CTX_free(contexts[1]);
	}
	PG_END_TRY();
	if (!ok)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not compute a digest")));
	pfree(block);
	*sha256 = hex(out[0], 32);
	*md5 = hex(out[1], 16);
}

/* ---- media:<id> ---- */

typedef struct Lookup
{
	const char *id;
	MvMediaSource *source;
	MemoryContext context;
	char	   *path;
} Lookup;

static char *
column(MemoryContext context, int n)
{
	char	   *value = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, n);

	return value != NULL ? MemoryContextStrdup(context, value) : NULL;
}

static void
look_up(void *arg)
{
	static SPIPlanPtr plan = NULL;
	Lookup	   *lookup = arg;
	Oid			types[1] = {TEXTOID};
	Datum		values[1] = {CStringGetTextDatum(lookup->id)};

	mv_worker_execute(&plan, "select musicverse._media_path(m.id), m.bytes, m.sha256, m.md5, m.media_type from musicverse.media m"
					  " where m.id::text = $1", 1, types, values, NULL);
	if (SPI_processed == 0 || (lookup->path = column(lookup->context, 1)) == NULL)
		return;
	lookup->source->bytes = strtoll(column(lookup->context, 2), NULL, 10);
	lookup->source->sha256 = column(lookup->context, 3);
	lookup->source->md5 = column(lookup->context, 4);
	lookup->source->media_type = column(lookup->context, 5);
}

static void
open_own(MvMediaTask *task, const char *id, MvMediaSource *source)
{
	Lookup		lookup = {id, source, CurrentMemoryContext};
	int			fd;

	mv_media_transaction(look_up, &lookup);
	if (lookup.path == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FILE), errmsg("the file of media %s is not here", id)));
	fd = BasicOpenFile(lookup.path, O_RDONLY | O_CLOEXEC | PG_BINARY);
	if (fd < 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not open file \"%s\": %m", lookup.path)));
	source->fd = mv_media_keep(task, fd);
}

/* ---- http ---- */

/* Says in what way it failed; class 22 where it would again. */
static void
refuse(const MvStream *stream)
{
	const MvTransfer *exchange = &stream->source[0].exchange;
	long		status = exchange->status;
	const char *error = strstr(stream->error, "bytes: ");

	if (stream->failed == MV_SIDE_SOURCE && exchange->code == CURLE_OK && status != 0 && (status < 200 || status > 299))
		ereport(ERROR,
				(errcode(status == 404 || status == 410 || (status >= 300 && status < 400) ?
						 ERRCODE_DATA_EXCEPTION : ERRCODE_CONNECTION_FAILURE),
				 errmsg("the file could not be fetched: HTTP %ld%s", status, status / 100 == 3 ? ", and redirects are not followed" : "")));
	if (stream->source[0].too_long)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("the file is larger than musicverse.max_upload, %d kB", mv_max_upload_kb)));
	ereport(ERROR,
			(errcode(exchange->refused ? ERRCODE_DATA_EXCEPTION : ERRCODE_CONNECTION_FAILURE),
			 errmsg("the file could not be fetched: %s", error != NULL ? error + strlen("bytes: ") : stream->error)));
}

/* The value of a header, up to its parameters */
static char *
media_type_of(const MvTransfer *exchange)
{
	const char *at = exchange->response_headers;
	const char *end = at + exchange->response_headers_len;

	while (at != NULL && at < end)
	{
		const char *line_end = memchr(at, '\n', end - at);
		static const char name[] = "content-type:";

		if (line_end == NULL)
			line_end = end;
		if (line_end - at > (ptrdiff_t) strlen(name) && pg_strncasecmp(at, name, strlen(name)) == 0)
		{
			const char *value = at + strlen(name);

			while (value < line_end && *value == ' ')
				value++;
			return pnstrdup(value, Min(strcspn(value, "; \n"), (size_t) (line_end - value)));
		}
		at = line_end + 1;
	}
	return NULL;
}

/* Of a task; in its memory */
struct MvMediaFetch
{
	char	   *url;
	int			fd;
	MvTarget   *target;
	MvStream	stream;
	TimestampTz started;
	bool		ended;
	bool		too_slow;
};

bool
mv_media_is_fetching(const MvMediaTask *task)
{
	return task->fetch != NULL && !task->fetch->ended;
}

/* Of the streams of the loop one that has ended: whose it is; NULL for none */
MvMediaTask *
mv_media_next_fetched(void)
{
	MvStream   *stream = mv_stream_next_done(mv_media.loop);
	MvMediaTask *task;

	if (stream == NULL)
		return NULL;
	task = stream->owner;
	task->fetch->ended = true;
	return task;
}

/* Ends what takes too long in all */
bool
mv_media_expire_fetch(MvMediaTask *task)
{
	MvMediaFetch *fetch = task->fetch;

	if (!TimestampDifferenceExceeds(fetch->started, GetCurrentTimestamp(), TOTAL_SECONDS * 1000))
		return false;
	mv_stream_abort(mv_media.loop, &fetch->stream);
	fetch->ended = true;
	fetch->too_slow = true;
	return true;
}

void
mv_media_stop_fetch(MvMediaTask *task)
{
	MvMediaFetch *fetch = task->fetch;

	if (fetch == NULL)
		return;
	mv_stream_abort(mv_media.loop, &fetch->stream);
	mv_stream_release(&fetch->stream);
	if (fetch->target != NULL)
		mv_target_free(fetch->target);
	task->fetch = NULL;
}

static void
start_fetch(MvMediaTask *task, const char *url)
{
	MvTargetOptions options = {.url = url, .connect_timeout_ms = mv_connect_timeout_ms, .timeout_ms = TOTAL_SECONDS * 1000L};
	MvMediaFetch *fetch = palloc0(sizeof(MvMediaFetch));
	MvStream   *stream = &fetch->stream;
	const char *why = NULL;

	fetch->url = pstrdup(url);
	fetch->fd = mv_media_scratch(task);
	fetch->started = GetCurrentTimestamp();
	options.user_agent = "musicverse/" MV_VERSION;
	fetch->target = mv_target_create(&options, &why);
	if (fetch->target == NULL)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION), errmsg("the file could not be fetched: %s", why)));
	stream->owner = task;
	stream->source[0].target = fetch->target;
	stream->source[0].size = -1;
	stream->source[0].max = mv_max_upload_kb * INT64CONST(1024);
	stream->source[0].digests = MV_DIGEST_SHA256 | MV_DIGEST_MD5;
	stream->sink.kind = MV_SINK_FD;
	stream->sink.fd = fetch->fd;
	stream->sink.cap = (size_t) mv_max_upload_kb * 1024;
	stream->low_speed_bytes = LOW_BYTES;
	stream->low_speed_seconds = LOW_SECONDS;
	task->fetch = fetch;
	if (!mv_stream_start(mv_media.loop, stream))
		refuse(stream);
}

/* Takes what has come */
static void
take_fetched(MvMediaFetch *fetch, MvMediaSource *source)
{
	const MvStreamSource *from = &fetch->stream.source[0];

	if (fetch->too_slow)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("the file could not be fetched: it took longer than %d s", TOTAL_SECONDS)));
	if (fetch->stream.failed != MV_SIDE_NONE)
		refuse(&fetch->stream);
	source->fd = fetch->fd;
	source->bytes = from->bytes;
	source->sha256 = hex(from->sha256_out, 32);
	source->md5 = hex(from->md5_out, 16);
	source->media_type = media_type_of(&from->exchange);
	if (source->bytes == 0)
		ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION), errmsg("the file is empty")));
	if (lseek(source->fd, 0, SEEK_SET) != 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not read a file in musicverse.media_directory: %m")));
}

static bool
fetch_url(MvMediaTask *task, const char *url, MvMediaSource *source)
{
	if (task->fetch == NULL)
		start_fetch(task, url);
	if (strcmp(task->fetch->url, url) != 0)
		elog(ERROR, "a piece of work of kind \"%s\" fetches two files at once", task->kind);
	if (!task->fetch->ended)
		return false;
	PG_TRY();
	{
		take_fetched(task->fetch, source);
	}
	PG_FINALLY();
	{
		mv_media_stop_fetch(task);
	}
	PG_END_TRY();
	return true;
}

bool
mv_media_fetch(MvMediaTask *task, const char *url, MvMediaSource *source)
{
	memset(source, 0, sizeof(*source));
	if (url != NULL && strncmp(url, "media:", 6) == 0)
		open_own(task, url + 6, source);
	else if (url != NULL && (pg_strncasecmp(url, "http://", 7) == 0 || pg_strncasecmp(url, "https://", 8) == 0))
		return fetch_url(task, url, source);
	else
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("\"%.200s\" is no URL of a file", url != NULL ? url : "null"),
				 errhint("Give one that begins with http:// or https://.")));
	return true;
}

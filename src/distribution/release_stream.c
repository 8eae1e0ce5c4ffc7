/*
 * Steps that carry files: what is asked for, and where it goes, as one stream.
 *
 * Files of others are asked for by HTTP, files of ours are read from where
 * _media_path() says; neither is ever here as a whole. A stream has no limit of
 * time but has to move. While it runs its step is kept from being due, which is
 * renewed once a minute; one whose release is wanted in another way by now (it
 * was cancelled, or is to be taken down) is given up.
 *
 * What is found at an SFTP server under the temporary name of an upload is
 * continued, and overwritten when it turns out to be too long for the file.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "catalog/pg_type.h"
#include "core/clock.h"
#include "core/compat.h"
#include "distribution/connector_steps.h"
#include "distribution/releases_int.h"
#include "storage/fd.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define KEEP_US		(60 * USECS_PER_SEC)
#define MAX_LIST	(32 * 1024 * 1024)	/* of details: some 200,000 names */

static dlist_head streams = DLIST_STATIC_INIT(streams);	/* that run */
static TimestampTz keep_at = PG_INT64_MAX;	/* when their steps are to be kept from being due */

/* ---- files */

/* Where a file of ours is, NULL when it is gone */
static char *
media_path(const char *url)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[1] = {TEXTOID};
	Datum		values[1] = {CStringGetTextDatum(url + strlen("media:"))};
	char	   *path;

	mv_worker_execute(&plan, "select musicverse._media_path($1::uuid)", 1, types, values, NULL);
	path = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	SPI_freetuptable(SPI_tuptable);
	return path;
}

static const unsigned char *
digest_of(const char *hex)
{
	unsigned char *bytes = palloc(32);

	if (strlen(hex) != 64 || strspn(hex, "0123456789abcdefABCDEF") != 64)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"%.100s\" is no SHA-256 in hexadecimal", hex)));
	hex_decode(hex, 64, (char *) bytes);
	return bytes;
}

static void
add_file(MvDistExchange *exchange, const char *url, const char *sha256)
{
	MvDistFile *file = &exchange->file[exchange->files];

	if (exchange->files == MV_STREAM_SOURCES)
		elog(ERROR, "step \"%s\" has more than %d files", exchange->step, MV_STREAM_SOURCES);
	if (url == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("it isn't said where a file of the release is")));
	file->url = url;
	file->is_media = pg_strncasecmp(url, "media:", 6) == 0;
	if (file->is_media)
		file->path = media_path(url);
	if (sha256 != NULL)
		file->sha256 = digest_of(sha256);
	exchange->files++;
}

/* Finds out what a request carries, in the transaction that records it. */
void
mv_dist_find_files(MvDistExchange *exchange)
{
	const MvRequest *request = &exchange->request;
	ListCell   *cell;

	if (request->parts == NIL && request->source_url != NULL)
		add_file(exchange, request->source_url, request->source_sha256);
	foreach(cell, request->parts)
	{
		const MvPart *part = lfirst(cell);

		if (part->value == NULL && part->source_url != NULL)
			add_file(exchange, part->source_url, NULL);
		else if (part->value == NULL)
			add_file(exchange, request->source_url, request->source_sha256);
	}
}

static bool
open_media(MvDistExchange *exchange, MvDistFile *file, const char **why)
{
	int			fd = file->path != NULL ? open(file->path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) : -1;

	if (fd >= 0)
	{
		ReserveExternalFD();
		file->fd = fd;
		return true;
	}
	if (file->path == NULL || errno == ENOENT)
		mv_dist_end_gone(exchange, file);
	else
		*why = psprintf("could not open the file of %s: %s", file->url, strerror(errno));
	return false;
}

static const char *
refuse_empty(void *owner, const char *bytes, size_t len)
{
	MvDistExchange *exchange = owner;

	exchange->file_is_empty = len == 0;
	return len == 0 ? "it is empty" : NULL;
}

/* ---- sources and sinks */

static bool
set_file(MvDistExchange *exchange, MvDistFile *file, MvStreamSource *source, const char **why)
{
	if (file->is_media && !open_media(exchange, file, why))
		return false;
	if (!file->is_media && (file->target = mv_dist_target(exchange, file->url, why)) == NULL)
		return false;
	source->target = file->target;
	source->fd = file->fd;
	source->size = -1;
	source->max = (int64) mv_max_upload_kb * 1024;
	source->digests = MV_DIGEST_SHA256 | MV_DIGEST_MD5;
	source->sha256 = file->sha256;
	source->inspect = refuse_empty;
	source->inspect_bytes = 1;
	return true;
}

static void
set_text(MvStreamSource *source, const char *text)
{
	source->memory = text != NULL ? mv_dist_utf8(text) : "";
	source->memory_len = strlen(source->memory);
	source->size = -1;
	source->digests = MV_DIGEST_SHA256 | MV_DIGEST_MD5;
}

/* A form without a file has its first field as its source. */
static void
set_parts(MvDistExchange *exchange, MvStream *stream)
{
	MvStreamPart *parts = palloc0(sizeof(MvStreamPart) * list_length(exchange->request.parts));
	int			n = 0;
	int			files = 0;
	ListCell   *cell;

	foreach(cell, exchange->request.parts)
	{
		const MvPart *part = lfirst(cell);
		MvStreamPart *field = &parts[n++];

		field->name = mv_dist_utf8(part->name);
		field->text = mv_dist_utf8(part->value);
		field->filename = mv_dist_utf8(part->file_name);
		field->type = part->content_type;
		if (field->text == NULL)
			field->source = files++;
	}
	if (files == 0)
	{
		set_text(&stream->source[0], exchange->request.parts != NIL ? ((MvPart *) linitial(exchange->request.parts))->value : NULL);
		parts[0].text = NULL;
	}
	stream->sink.kind = MV_SINK_FORM;
	stream->sink.parts = parts;
	stream->sink.part_count = n;
}

static bool
set_http_sink(MvDistExchange *exchange, MvStream *stream, const char **why)
{
	const MvRequest *request = &exchange->request;
	const char *content_type = NULL;

	if (request->parts != NIL)
		set_parts(exchange, stream);
	else
	{
		stream->sink.kind = MV_SINK_BODY;
		content_type = request->content_type != NULL ? request->content_type : mv_media_type(mv_file_name(request->source_url, ""));
	}
	if (exchange->target == NULL)
		exchange->target = mv_dist_target(exchange, exchange->url, why);
	if (exchange->target == NULL)
		return false;
	stream->sink.target = exchange->target;
	stream->sink.method = request->method != NULL ? request->method : "POST";
	stream->sink.max_response_body = (size_t) mv_dist_max_response_kb * 1024;
	*why = "out of memory";
	if (!mv_dist_headers(exchange, content_type))
		return false;
	stream->sink.headers = exchange->headers;
	return true;
}

static bool
is_list(const MvDistExchange *exchange)
{
	return exchange->request.sftp == MV_SFTP_LIST || exchange->request.sftp == MV_SFTP_DETAILS;
}

/* Where goes what a server of SFTP has? */
static void
set_answer(MvDistExchange *exchange, MvStream *stream)
{
	MvStreamSource *source = &stream->source[0];
	MvStreamSink *sink = &stream->sink;

	if (!is_list(exchange))
		source->digests = MV_DIGEST_SHA256 | MV_DIGEST_MD5;
	else if (source->path[strlen(source->path) - 1] != '/')
		source->path = psprintf("%s/", source->path);
	source->details = exchange->request.sftp == MV_SFTP_DETAILS;
	sink->kind = MV_SINK_MEMORY;
	sink->cap = (size_t) mv_dist_max_response_kb * 1024;
	if (exchange->request.sftp == MV_SFTP_FETCH)
	{
		source->max = exchange->fetched_max;
		sink->kind = MV_SINK_FD;
		sink->fd = exchange->fetched_fd;
		sink->cap = SIZE_MAX / 2;
	}
	else if (source->details)
	{
		source->max = MAX_LIST;
		sink->cap = MAX_LIST;
	}
}

/* The server is the sink of a put, else the source. */
static bool
set_sftp(MvDistExchange *exchange, MvStream *stream, const char **why)
{
	const MvRequest *request = &exchange->request;
	const char *path = mv_dist_sftp_path(exchange, request->path);
	MvTarget   *target = mv_dist_sftp_target(exchange->partner, why);

	if (target == NULL)
		return false;
	if (request->sftp == MV_SFTP_PUT)
	{
		if (exchange->files == 0)
			set_text(&stream->source[0], request->body);
		stream->sink.kind = MV_SINK_SFTP;
		stream->sink.target = target;
		stream->sink.path = path;
		stream->sink.in_place = request->in_place;
		stream->sink.temporary = request->temporary != NULL ? mv_dist_sftp_path(exchange, request->temporary) : NULL;
		if (request->temporary != NULL && exchange->files > 0 && !exchange->anew)
			stream->sink.resume = MV_RESUME_REREAD;
		return true;
	}
	stream->source[0].target = target;
	stream->source[0].size = -1;
	stream->source[0].path = path;
	set_answer(exchange, stream);
	return true;
}

static bool
prepare(MvDistExchange *exchange, MvStream *stream, const char **why)
{
	for (int i = 0; i < exchange->files; i++)
		if (!set_file(exchange, &exchange->file[i], &stream->source[i], why))
			return false;
	if (exchange->request.sftp != MV_SFTP_NOTHING)
		return set_sftp(exchange, stream, why);
	return set_http_sink(exchange, stream, why);
}

/* ---- the life of one */

bool
mv_dist_is_stream(const MvDistExchange *exchange)
{
	MvSftpAsk	ask = exchange->request.sftp;

	return exchange->files > 0 || exchange->request.parts != NIL || (ask != MV_SFTP_NOTHING && ask != MV_SFTP_COMMANDS);
}

/* False when that is impossible: it has ended then. */
bool
mv_dist_stream_start(MvDistExchange *exchange)
{
	MvStream   *stream = palloc0(sizeof(MvStream));
	const char *why = NULL;

	exchange->stream = stream;
	stream->owner = exchange;
	stream->source_count = exchange->files;
	stream->answer_timeout_ms = exchange->timeout_ms;
	if (!prepare(exchange, stream, &why))
	{
		if (why != NULL)
			mv_dist_end_ours(exchange, why);
		return false;
	}
	if (!mv_stream_start(mv_dist.loop, stream))
	{
		mv_dist_end_stream(exchange);
		return false;
	}
	dlist_push_tail(&streams, &exchange->node);
	if (keep_at == PG_INT64_MAX)
		keep_at = mv_now() + KEEP_US;
	return true;
}

/* The source that the answer tells of: the request's own, else the first. NULL = there is none */
const MvStreamSource *
mv_dist_main_source(const MvDistExchange *exchange)
{
	int			n = 0;
	ListCell   *cell;

	if (exchange->stream == NULL || is_list(exchange))
		return NULL;
	if (exchange->request.parts != NIL && exchange->files == 0)
		return NULL;
	foreach(cell, exchange->request.parts)
	{
		const MvPart *part = lfirst(cell);

		if (part->value == NULL && part->source_url == NULL)
			return &exchange->stream->source[n];
		n += part->value == NULL;
	}
	return &exchange->stream->source[0];
}

void
mv_dist_stream_free(MvDistExchange *exchange)
{
	if (exchange->stream != NULL)
		mv_stream_release(exchange->stream);
	exchange->stream = NULL;
	for (int i = 0; i < exchange->files; i++)
	{
		MvDistFile *file = &exchange->file[i];

		if (file->target != NULL)
			mv_target_free(file->target);
		file->target = NULL;
		if (file->fd != 0)
		{
			close(file->fd);
			ReleaseExternalFD();
		}
		file->fd = 0;
	}
}

/*
 * A temporary file of the server for what is fetched: it is gone when the
 * process ends, however it does. Raises; the caller's is to free the exchange.
 */
void
mv_dist_fetch_into(MvDistExchange *exchange, int64 max)
{
	exchange->fetched_max = max;
	exchange->fetched = OpenTemporaryFile(true);
	/* a descriptor that isn't closed whenever the server needs one */
	exchange->fetched_fd = dup(FileGetRawDesc(exchange->fetched));
	if (exchange->fetched_fd < 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not duplicate a file descriptor: %m")));
	ReserveExternalFD();
}

void
mv_dist_fetch_free(MvDistExchange *exchange)
{
	if (exchange->fetched_fd > 0)
	{
		close(exchange->fetched_fd);
		ReleaseExternalFD();
	}
	if (exchange->fetched > 0)
		FileClose(exchange->fetched);
	exchange->fetched_fd = 0;
	exchange->fetched = 0;
}

/* True when it goes on from its beginning. */
static bool
begin_anew(MvDistExchange *exchange)
{
	if (!exchange->stream->sink.unfit || exchange->anew)
		return false;
	mv_dist_stream_free(exchange);
	exchange->anew = true;
	return true;
}

/* Takes the streams that ended. */
void
mv_dist_streams_collect(TimestampTz now)
{
	MvStream   *stream;

	while ((stream = mv_stream_next_done(mv_dist.loop)) != NULL)
	{
		MvDistExchange *exchange = stream->owner;
		MemoryContext old = MemoryContextSwitchTo(exchange->context);
		bool		goes_on = false;

		dlist_delete(&exchange->node);
		if (begin_anew(exchange))
			goes_on = mv_dist_stream_start(exchange);
		else
			mv_dist_end_stream(exchange);
		if (!goes_on)
			mv_dist_finished(exchange, now);
		MemoryContextSwitchTo(old);
	}
}

static void
give_up(const pg_uuid_t *id, TimestampTz now)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &streams)
	{
		MvDistExchange *exchange = dlist_container(MvDistExchange, node, iter.cur);
		MemoryContext old;

		if (memcmp(&exchange->job.id, id, sizeof(pg_uuid_t)) != 0)
			continue;
		mv_stream_abort(mv_dist.loop, exchange->stream);
		dlist_delete(&exchange->node);
		old = MemoryContextSwitchTo(exchange->context);
		mv_dist_end_ours(exchange, "given up, as the release is to be withdrawn");
		mv_dist_finished(exchange, now);
		MemoryContextSwitchTo(old);
	}
}

bool
mv_dist_streams_due(TimestampTz now)
{
	return keep_at <= now;
}

/* Keeps the steps of streams that run from being due, and ends those that nobody wants. In a transaction */
void
mv_dist_streams_keep(TimestampTz now)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[2] = {UUIDARRAYOID, TEXTARRAYOID};
	Datum		values[2];
	Datum	   *ids = palloc(sizeof(Datum) * (mv_dist.in_flight + 1));
	Datum	   *goals = palloc(sizeof(Datum) * (mv_dist.in_flight + 1));
	int			n = 0;
	uint64		unwanted;
	SPITupleTable *table;
	dlist_iter	iter;

	keep_at = dlist_is_empty(&streams) ? PG_INT64_MAX : now + KEEP_US;
	dlist_foreach(iter, &streams)
	{
		MvDistExchange *exchange = dlist_container(MvDistExchange, node, iter.cur);

		ids[n] = UUIDPGetDatum(&exchange->job.id);
		goals[n++] = CStringGetTextDatum(exchange->job.goal == MV_TAKEDOWN ? "takedown" : "deliver");
	}
	if (n == 0)
		return;
	values[0] = PointerGetDatum(construct_array(ids, n, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
	values[1] = PointerGetDatum(construct_array(goals, n, TEXTOID, -1, false, TYPALIGN_INT));
	mv_worker_execute(&plan, "select * from musicverse._keep_steps($1, $2)", 2, types, values, NULL);
	table = SPI_tuptable;
	unwanted = SPI_processed;
	for (uint64 i = 0; i < unwanted; i++)
	{
		bool		isnull;

		give_up(DatumGetUUIDP(SPI_getbinval(table->vals[i], table->tupdesc, 1, &isnull)), now);
	}
	SPI_freetuptable(table);
}

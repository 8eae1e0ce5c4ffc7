/*
 * Streams by SQL, for tests and benchmarks: stream_run(jobs jsonb) starts all
 * jobs of an array in one transfer loop and tells what came of each, and what
 * the loop cost: longest turn, time, processor, growth of memory.
 *
 * A job is {source, source2, sink, …} as run_job reads it, or {commands, …} for
 * an SFTP server. The loop is turned as the workers do it.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "core/guard.h"
#include "core/sftp.h"
#include "core/stream.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(stream_run);

void		_PG_init(void);

typedef struct Job
{
	JsonbContainer *json;
	MvStream	stream;
	MvTransfer	commands;		/* instead */
	bool		is_commands;
	bool		over;
	bool		aborted;
	int64		abort_after;
	const char *why;
	const char *wanted;			/* how the source must begin */
	MvTarget   *targets[4];
	int			target_count;
	MvStreamPart parts[MV_STREAM_PARTS];
	int64		started;
	int64		ended;
} Job;

void
_PG_init(void)
{
	mv_guard_init();
	mv_transfer_init();
}

static int64
now_us(clockid_t which)
{
	struct timespec now;

	clock_gettime(which, &now);
	return (int64) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* ---- reading jobs ---- */

static JsonbContainer *
member(JsonbContainer *json, const char *key, JsonbValue *value)
{
	if (json == NULL || getKeyJsonValueFromContainer(json, key, strlen(key), value) == NULL)
		return NULL;
	return value->type == jbvBinary ? value->val.binary.data : NULL;
}

static JsonbContainer *
object(JsonbContainer *json, const char *key)
{
	JsonbValue	value;

	return member(json, key, &value);
}

static const char *
text_of(const JsonbValue *value)
{
	if (value->type == jbvString)
		return pnstrdup(value->val.string.val, value->val.string.len);
	if (value->type == jbvNumeric)
		return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
	return NULL;
}

static const char *
string(JsonbContainer *json, const char *key)
{
	JsonbValue	value;

	if (json == NULL || getKeyJsonValueFromContainer(json, key, strlen(key), &value) == NULL)
		return NULL;
	return text_of(&value);
}

static int64
number(JsonbContainer *json, const char *key, int64 otherwise)
{
	const char *text = string(json, key);

	return text ? strtoll(text, NULL, 10) : otherwise;
}

static MvTarget *
target(Job *job, JsonbContainer *json)
{
	MvTargetOptions options = {0};
	MvTarget   *made;

	options.url = string(json, "url");
	options.connect_timeout_ms = number(json, "connect_timeout", 5000);
	options.timeout_ms = 15000;
	options.user_agent = "stream_test";
	options.user = string(json, "user");
	options.password = string(json, "password");
	options.private_key = string(json, "key");
	options.key_passphrase = string(json, "passphrase");
	options.host_keys = string(json, "host_keys");
	if (options.url == NULL)
		return NULL;
	made = mv_target_create(&options, &job->why);
	if (made)
		job->targets[job->target_count++] = made;
	return made;
}

static const char *
inspect(void *owner, const char *bytes, size_t len)
{
	const Job  *job = owner;

	if (len >= strlen(job->wanted) && memcmp(bytes, job->wanted, strlen(job->wanted)) == 0)
		return NULL;
	return "it doesn't begin as it should";
}

static void
read_source(Job *job, MvStreamSource *source, JsonbContainer *json)
{
	const char *text = string(json, "text");
	const char *sha256 = string(json, "sha256");
	const char *file = string(json, "file");

	source->fd = file ? open(file, O_RDONLY | O_CLOEXEC) : 0;
	source->max = number(json, "max", 0);
	source->target = target(job, json);
	source->path = string(json, "path");
	source->size = number(json, "size", -1);
	source->start = number(json, "start", 0);
	source->digests = number(json, "digests", 0);
	if (text)
	{
		source->memory = text;
		source->memory_len = strlen(text);
	}
	if (sha256)
	{
		unsigned char *bytes = palloc(32);

		hex_decode(sha256, 64, (char *) bytes);
		source->sha256 = bytes;
	}
	if (string(json, "begins"))
	{
		job->wanted = string(json, "begins");
		source->inspect = inspect;
		source->inspect_bytes = number(json, "inspect", strlen(job->wanted));
	}
}

static void
read_sink(Job *job, MvStreamSink *sink, JsonbContainer *json)
{
	static const char *const kinds[] = {"body", "form", "sftp", "fd", "memory"};
	static const char *const resumes[] = {"none", "reread", "range"};
	const char *kind = string(json, "kind");
	const char *resume = string(json, "resume");
	const char *file = string(json, "file");
	JsonbContainer *parts = object(json, "parts");

	for (int i = 0; kind && i < lengthof(kinds); i++)
		if (strcmp(kind, kinds[i]) == 0)
			sink->kind = i;
	for (int i = 0; resume && i < lengthof(resumes); i++)
		if (strcmp(resume, resumes[i]) == 0)
			sink->resume = i;
	sink->target = target(job, json);
	sink->method = string(json, "method");
	sink->max_response_body = 65536;
	sink->path = string(json, "path");
	sink->temporary = string(json, "temporary");
	sink->cap = number(json, "cap", 1024 * 1024);
	sink->fd = file ? open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
	for (int i = 0; parts && i < JsonContainerSize(parts); i++)
	{
		JsonbValue *value = getIthJsonbValueFromContainer(parts, i);
		JsonbContainer *part = value->val.binary.data;

		job->parts[i].name = string(part, "name");
		job->parts[i].text = string(part, "text");
		job->parts[i].source = number(part, "source", 0);
		job->parts[i].filename = string(part, "filename");
		job->parts[i].type = string(part, "type");
		sink->parts = job->parts;
		sink->part_count = i + 1;
	}
}

/* {"commands": [["rename", "a", "b"], ["delete", "c"]], "url": …}; "?delete" may fail */
static void
read_commands(Job *job, JsonbContainer *commands)
{
	static const char *const verbs[] = {"delete", "rename", "mkdir", "rmdir"};
	struct curl_slist *list = NULL;

	job->is_commands = true;
	job->commands.target = target(job, job->json);
	job->commands.owner = job;
	for (int i = 0; i < JsonContainerSize(commands) && job->why == NULL; i++)
	{
		JsonbContainer *words = getIthJsonbValueFromContainer(commands, i)->val.binary.data;
		const char *verb = text_of(getIthJsonbValueFromContainer(words, 0));
		bool		may_fail = verb[0] == '?';
		int			which = 0;

		while (strcmp(verbs[which], verb + may_fail) != 0)
			which++;
		list = mv_sftp_command(list, which, may_fail, text_of(getIthJsonbValueFromContainer(words, 1)),
							   JsonContainerSize(words) > 2 ? text_of(getIthJsonbValueFromContainer(words, 2)) : NULL, &job->why);
	}
	mv_sftp_commands(&job->commands, list);
}

static void
run_job(MvLoop *loop, Job *job)
{
	JsonbContainer *commands = object(job->json, "commands");

	job->started = now_us(CLOCK_MONOTONIC);
	job->stream.owner = job;
	job->abort_after = number(job->json, "abort_after", -1);
	if (commands)
		read_commands(job, commands);
	else
	{
		read_source(job, &job->stream.source[0], object(job->json, "source"));
		if (object(job->json, "source2"))
		{
			read_source(job, &job->stream.source[1], object(job->json, "source2"));
			job->stream.source_count = 2;
		}
		read_sink(job, &job->stream.sink, object(job->json, "sink"));
		job->stream.ring_size = number(job->json, "ring", 0);
		job->stream.low_speed_bytes = number(job->json, "low_speed_bytes", 0);
		job->stream.low_speed_seconds = number(job->json, "low_speed_seconds", 0);
		job->stream.answer_timeout_ms = number(job->json, "answer_timeout", 0);
	}
	if (job->why ||
		!(job->is_commands ? mv_transfer_start(loop, &job->commands) : mv_stream_start(loop, &job->stream)))
		job->over = true;
}

/* ---- telling ---- */

static void
tell_text(StringInfo out, const char *key, const char *value, size_t len)
{
	if (value == NULL)
		return;
	appendStringInfo(out, ", \"%s\": ", key);
	escape_json(out, pnstrdup(value, len));
}

static void
tell_hex(StringInfo out, const char *key, const unsigned char *bytes, int len)
{
	appendStringInfo(out, ", \"%s\": \"", key);
	while (len-- > 0)
		appendStringInfo(out, "%02x", *bytes++);
	appendStringInfoChar(out, '"');
}

static void
tell(StringInfo out, Job *job)
{
	static const char *const sides[] = {"none", "source", "sink", "caller"};
	MvStream   *stream = &job->stream;
	MvStreamSource *source = &stream->source[0];
	MvStreamSink *sink = &stream->sink;

	appendStringInfo(out, "{\"ms\": " INT64_FORMAT, (job->ended - job->started) / 1000);
	if (job->why)
		tell_text(out, "why", job->why, strlen(job->why));
	else if (job->is_commands)
	{
		appendStringInfo(out, ", \"code\": %d", job->commands.code);
		tell_text(out, "error", job->commands.error, strlen(job->commands.error));
	}
	else
	{
		appendStringInfo(out, ", \"failed\": \"%s\", \"bytes\": " INT64_FORMAT ", \"offered\": " INT64_FORMAT ", \"resumed_at\": " INT64_FORMAT
						 ", \"source_status\": %ld, \"status\": %ld, \"refused\": %s",
						 sides[stream->failed], source->bytes, sink->offered, sink->resumed_at, source->exchange.status, sink->exchange.status,
						 source->exchange.refused || sink->exchange.refused ? "true" : "false");
		tell_text(out, "error", stream->error, strlen(stream->error));
		if (source->complete && (source->digests & MV_DIGEST_SHA256 || source->sha256))
			tell_hex(out, "sha256", source->sha256_out, 32);
		if (source->complete && source->digests & MV_DIGEST_MD5)
			tell_hex(out, "md5", source->md5_out, 16);
		tell_text(out, "body", sink->exchange.response_body, sink->exchange.response_body_len);
		tell_text(out, "source_body", source->exchange.response_body, source->exchange.response_body_len);
		tell_text(out, "memory", sink->memory, sink->memory_len);
	}
	appendStringInfoChar(out, '}');
}

static long
rss_kb(void)
{
	char		buffer[4096];
	int			fd = open("/proc/self/status", O_RDONLY);
	ssize_t		len = fd < 0 ? -1 : read(fd, buffer, sizeof(buffer) - 1);
	char	   *line;

	if (fd >= 0)
		close(fd);
	if (len < 0)
		return 0;
	buffer[len] = '\0';
	line = strstr(buffer, "RssAnon:");
	return line ? strtol(line + 8, NULL, 10) : 0;
}

static void
clean(Job *jobs, int n, MvLoop *loop)
{
	for (int i = 0; i < n; i++)
	{
		if (loop && !jobs[i].over)
		{
			mv_stream_abort(loop, &jobs[i].stream);
			mv_transfer_abort(loop, &jobs[i].commands);
		}
		mv_stream_release(&jobs[i].stream);
		mv_transfer_release(&jobs[i].commands);
		for (int j = 0; j < jobs[i].target_count; j++)
			mv_target_free(jobs[i].targets[j]);
		for (int j = 0; j < MV_STREAM_SOURCES; j++)
			if (jobs[i].stream.source[j].fd > 0)
				close(jobs[i].stream.source[j].fd);
		if (jobs[i].stream.sink.kind == MV_SINK_FD && jobs[i].stream.sink.fd >= 0)
			close(jobs[i].stream.sink.fd);
	}
}

Datum
stream_run(PG_FUNCTION_ARGS)
{
	static MvLoop *loop = NULL;
	Jsonb	   *json = PG_GETARG_JSONB_P(0);
	int			n = JB_ROOT_COUNT(json);
	Job		   *jobs = MemoryContextAllocZero(TopMemoryContext, sizeof(Job) * (n + 1));
	int			left = 0;
	int64		start;
	int64		cpu;
	int64		longest = 0;
	int64		turns = 0;
	long		rss;
	long		peak = 0;
	StringInfoData out;

	if (loop == NULL)
		loop = mv_loop_create(64);
	rss = rss_kb();
	start = now_us(CLOCK_MONOTONIC);
	cpu = now_us(CLOCK_PROCESS_CPUTIME_ID);
	PG_TRY();
	{
		for (int i = 0; i < n; i++)
		{
			jobs[i].json = getIthJsonbValueFromContainer(&json->root, i)->val.binary.data;
			run_job(loop, &jobs[i]);
			left += !jobs[i].over;
		}
		while (left > 0)
		{
			int64		before = now_us(CLOCK_MONOTONIC);
			int64		after;
			MvStream   *stream;
			MvTransfer *transfer;

			CHECK_FOR_INTERRUPTS();
			mv_loop_pump(loop);
			after = now_us(CLOCK_MONOTONIC);
			longest = Max(longest, after - before);
			while ((stream = mv_stream_next_done(loop)) != NULL)
			{
				((Job *) stream->owner)->over = true;
				((Job *) stream->owner)->ended = after;
				left--;
			}
			while ((transfer = mv_loop_next_done(loop)) != NULL)
			{
				((Job *) transfer->owner)->over = true;
				((Job *) transfer->owner)->ended = after;
				left--;
			}
			for (int i = 0; i < n; i++)
				if (!jobs[i].over && jobs[i].abort_after >= 0 && jobs[i].stream.sink.offered >= jobs[i].abort_after)
				{
					mv_stream_abort(loop, &jobs[i].stream);
					jobs[i].over = true;
					left--;
				}
			if (turns++ % 64 == 0)
				peak = Max(peak, rss_kb());
			if (left > 0)
				mv_loop_wait(loop, -1, PG_WAIT_EXTENSION);
		}
	}
	PG_CATCH();
	{
		clean(jobs, n, loop);
		PG_RE_THROW();
	}
	PG_END_TRY();

	peak = Max(peak, rss_kb());
	initStringInfo(&out);
	appendStringInfo(&out, "{\"longest_turn_ms\": %.1f, \"ms\": " INT64_FORMAT ", \"cpu_ms\": " INT64_FORMAT ", \"turns\": " INT64_FORMAT
					 ", \"growth_kb\": %ld, \"jobs\": [",
					 longest / 1000.0, (now_us(CLOCK_MONOTONIC) - start) / 1000, (now_us(CLOCK_PROCESS_CPUTIME_ID) - cpu) / 1000, turns, peak - rss);
	for (int i = 0; i < n; i++)
	{
		if (i > 0)
			appendStringInfoString(&out, ", ");
		tell(&out, &jobs[i]);
	}
	appendStringInfoString(&out, "]}");
	clean(jobs, n, NULL);
	pfree(jobs);
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(out.data)));
}

/*
 * Media files that somebody was told the address of: /files/packages/TOKEN/NAME
 * and /files/covers/TOKEN/NAME, for GET and HEAD, whole or in part.
 *
 * The token is sealed by the master key (_file_token()) and says which file it
 * is, of which size, and until when; nobody can make another one, and nothing
 * else is served here. No database is asked: the file is looked for by name in
 * the directory of this database, where its row would lead. The name at the
 * path's end is for people only.
 *
 * The access log and the metrics see the path without what opens the file.
 */
#include "postgres.h"

#include <unistd.h>

#include "api/gateway_int.h"
#include "core/base64.h"
#include "core/clock.h"
#include "core/seal.h"
#include "media/media.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define PREFIX		"/files/"
#define CONTEXT		"file"		/* as _file_token() seals */
#define MAX_TOKEN	2048
#define PARTS		6

typedef struct Ticket
{
	char	   *file_name;		/* in the directory */
	int64		bytes;
	int64		expires;		/* seconds since 1970 */
	char	   *sha256;
	char	   *media_type;
	char	   *disposition;
} Ticket;

typedef struct Range
{
	int64		first;
	int64		length;
	bool		is_part;
} Range;

/* ---- the token ---- */

/* base64url, without padding */
static bool
decode_token(const char *token, size_t len, bytea *into, size_t room)
{
	char		text[MAX_TOKEN];
	int			decoded;

	if (len == 0 || len > MAX_TOKEN)
		return false;
	for (size_t i = 0; i < len; i++)
		text[i] = token[i] == '-' ? '+' : token[i] == '_' ? '/' : token[i];
	decoded = mv_base64_decode(text, len, VARDATA(into), room, true);
	if (decoded <= 0)
		return false;
	SET_VARSIZE(into, VARHDRSZ + decoded);
	return true;
}

/* attachment; filename*=UTF-8''… */
static char *
disposition(const char *name)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoString(&text, "attachment; filename*=UTF-8''");
	for (const unsigned char *c = (const unsigned char *) name; *c != '\0'; c++)
	{
		if (isalnum(*c) && *c < 0x80)
			appendStringInfoChar(&text, *c);
		else
			appendStringInfo(&text, "%%%02X", *c);
	}
	return text.data;
}

static bool
take_apart(char *plain, Ticket *ticket)
{
	char	   *part[PARTS];

	for (int i = 0; i < PARTS; i++)
	{
		part[i] = plain;
		if (i == PARTS - 1)
			break;
		plain = strchr(plain, '\n');
		if (plain == NULL)
			return false;
		*plain++ = '\0';
	}
	*ticket = (Ticket) {part[0], strtoll(part[1], NULL, 10), strtoll(part[2], NULL, 10), part[3], part[4], disposition(part[5])};
	return true;
}

static int64
seconds_now(void)
{
	return timestamptz_to_time_t(mv_now());
}

/* What a token opens: the file's descriptor, or -1. May raise without memory. */
static int
redeem(const char *token, size_t len, Ticket *ticket)
{
	bytea	   *sealed = palloc(VARHDRSZ + MAX_TOKEN);
	const char *why;
	size_t		plain_len;
	char	   *plain;

	if (!decode_token(token, len, sealed, MAX_TOKEN))
		return -1;
	plain = mv_unseal_noerror(sealed, CONTEXT, &plain_len, &why);
	if (plain == NULL || strlen(plain) != plain_len || !take_apart(plain, ticket) || ticket->expires <= seconds_now())
		return -1;
	return mv_media_open(ticket->file_name, ticket->bytes);
}

/* ---- ranges ---- */

/* A number that may be missing: -1. False for what is none. */
static bool
read_number(const char **at, const char *end, int64 *number)
{
	*number = -1;
	for (; *at < end && **at >= '0' && **at <= '9'; (*at)++)
	{
		if (*number > INT64CONST(100000000000000))
			return false;
		*number = Max(*number, 0) * 10 + (**at - '0');
	}
	return true;
}

/*
 * The one range that a request names; the whole where it names none, several,
 * or something else. False when it lies outside of the file.
 */
static bool
find_range(const Request *request, const char *tag, int64 bytes, Range *range)
{
	const MvField *field = gateway_field(request, "range", NULL);
	const MvField *only_if = gateway_field(request, "if-range", NULL);
	const char *at = field != NULL ? field->value : "";
	const char *end = at + (field != NULL ? field->value_len : 0);
	int64		first;
	int64		last;

	*range = (Range) {0, bytes, false};
	if (end - at < 6 || pg_strncasecmp(at, "bytes=", 6) != 0)
		return true;
	if (only_if != NULL && (only_if->value_len != strlen(tag) || memcmp(only_if->value, tag, only_if->value_len) != 0))
		return true;
	at += 6;
	if (!read_number(&at, end, &first) || at == end || *at++ != '-' || !read_number(&at, end, &last) || at != end ||
		(first < 0 && last < 0) || (first >= 0 && last >= 0 && last < first))
		return true;
	if (first < 0)
	{
		first = Max(bytes - last, 0);
		last = bytes - 1;
	}
	last = last < 0 ? bytes - 1 : Min(last, bytes - 1);
	if (first > last)
		return false;
	*range = (Range) {first, last - first + 1, true};
	return true;
}

/* ---- the answer ---- */

static void
add(MvApiResponse *answer, const char *name, const char *value)
{
	answer->headers[answer->nheaders++] = (MvHeader) {name, value};
}

static enum MHD_Result
send_ticket(Request *request, const Ticket *ticket, int fd)
{
	MvApiResponse answer = {.status = 200, .operation = "get_media_file", .request_id = "", .body = ""};
	char		tag[72];
	char		content_range[80];
	Range		range;
	struct MHD_Response *made;

	snprintf(tag, sizeof(tag), "\"%.64s\"", ticket->sha256);
	add(&answer, "ETag", tag);
	add(&answer, "Accept-Ranges", "bytes");
	add(&answer, "Cache-Control", "private, max-age=900");
	add(&answer, "X-Content-Type-Options", "nosniff");
	add(&answer, "Content-Security-Policy", "default-src 'none'; sandbox");
	add(&answer, "Referrer-Policy", "no-referrer");
	if (gateway_is_listed(request, tag))
		answer.status = 304;
	else if (!find_range(request, tag, ticket->bytes, &range))
	{
		answer.status = 416;
		snprintf(content_range, sizeof(content_range), "bytes */" INT64_FORMAT, ticket->bytes);
		add(&answer, "Content-Range", content_range);
	}
	if (answer.status != 200)
	{
		close(fd);
		return gateway_send(request, &answer, NULL);
	}
	add(&answer, "Content-Type", ticket->media_type);
	add(&answer, "Content-Disposition", ticket->disposition);
	if (range.is_part)
	{
		answer.status = 206;
		snprintf(content_range, sizeof(content_range), "bytes " INT64_FORMAT "-" INT64_FORMAT "/" INT64_FORMAT,
				 range.first, range.first + range.length - 1, ticket->bytes);
		add(&answer, "Content-Range", content_range);
	}
	answer.body_len = range.length;
	made = MHD_create_response_from_fd_at_offset64(range.length, fd, range.first);
	if (made == NULL)
	{
		close(fd);
		return MHD_NO;
	}
	return gateway_send(request, &answer, made);
}

/* In the memory of the request; false when that failed. */
static bool
serve(Request *request, const char *token, enum MHD_Result *result)
{
	MemoryContext context = MemoryContextSwitchTo(gateway.request_context);
	Ticket		ticket;
	volatile bool raised = false;
	volatile int fd = -1;

	PG_TRY();
	{
		fd = redeem(token, strcspn(token, "/"), &ticket);
		request->path = PREFIX "...";
		request->path_len = strlen(request->path);
		*result = fd >= 0 ? send_ticket(request, &ticket, fd) :
			gateway_problem(request, 404, "There is no such file, or its address is too old: ask for another one.");
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(gateway.request_context);
		EmitErrorReport();
		FlushErrorState();
		raised = true;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	MemoryContextReset(gateway.request_context);
	return !raised;
}

bool
gateway_media_file(Request *request, enum MHD_Result *result)
{
	static const char *const folders[] = {"packages/", "covers/"};
	const char *token = NULL;

	if (strncmp(request->path, PREFIX, strlen(PREFIX)) != 0)
		return false;
	for (int i = 0; i < lengthof(folders) && token == NULL; i++)
		if (strncmp(request->path + strlen(PREFIX), folders[i], strlen(folders[i])) == 0)
			token = request->path + strlen(PREFIX) + strlen(folders[i]);
	if (token == NULL)
		return false;
	if (!request->is_head && strcmp(request->method, "GET") != 0)
		*result = gateway_problem(request, 405, "Files are only read.");
	else if (!serve(request, token, result))
		*result = gateway_problem(request, 503, "There is not enough memory.");
	return true;
}

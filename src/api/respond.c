/*
 * Answers that succeed, and headers of all answers. See respond.h.
 */
#include "postgres.h"

#include <time.h>

#include "api/call.h"
#include "api/cors.h"
#include "api/json.h"
#include "api/problem.h"
#include "api/request.h"
#include "api/respond.h"
#include "common/hashfn.h"
#include "core/base64.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define MAX_PRINTABLE	1000

void
mv_header(MvApiCall *call, const char *name, const char *value)
{
	MvApiResponse *response = call->response;

	if (response->nheaders < MV_MAX_RESPONSE_HEADERS)
	{
		response->headers[response->nheaders].name = name;
		response->headers[response->nheaders++].value = value;
	}
}

char *
mv_printable(const char *text)
{
	char	   *out = pnstrdup(text, MAX_PRINTABLE);

	for (char *at = out; *at != '\0'; at++)
		if ((unsigned char) *at < ' ' || (unsigned char) *at > '~')
			*at = '?';
	return out;
}

/* --- the result ------------------------------------------------------------ */

/*
 * Strong, as the same bytes are sent. 64 bits, as it is compared with one that
 * a client has, not with all there are. Nobody gains by two bodies of the same
 * hash: who can write one of them could as well leave it as it is.
 */
static char *
make_etag(const char *body, Size len)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) body, len, 0);
	char	   *etag = palloc(MV_BASE64_LEN(sizeof(hash)) + 3);
	size_t		n;

	etag[0] = '"';
	n = mv_base64_encode((const unsigned char *) &hash, sizeof(hash), etag + 1);
	while (etag[n] == '=')
		n--;
	etag[n + 1] = '"';
	etag[n + 2] = '\0';
	return etag;
}

/* Is it in the list of If-None-Match, compared weakly? */
static bool
is_matched(const char *list, const char *etag)
{
	size_t		len = strlen(etag);

	for (const char *at = list; *at != '\0';)
	{
		const char *end;

		at += strspn(at, ", \t");
		if (*at == '*')
			return true;
		if (at[0] == 'W' && at[1] == '/')
			at += 2;
		if (*at != '"' || (end = strchr(at + 1, '"')) == NULL)
			return false;
		if (end + 1 - at == len && memcmp(at, etag, len) == 0)
			return true;
		at = end + 1;
	}
	return false;
}

/* The path, with nothing that could end a Link's target */
static void
append_path(StringInfo out, const char *path)
{
	for (; *path != '\0'; path++)
		if ((unsigned char) *path > ' ' && (unsigned char) *path <= '~' && strchr("<>\"\\^`{|}", *path) == NULL)
			appendStringInfoChar(out, *path);
		else
			appendStringInfo(out, "%%%02X", (unsigned char) *path);
}

/* The same list from where it ended: the target of the request with another cursor */
static char *
next_link(MvApiCall *call, const char *cursor)
{
	StringInfoData link;

	initStringInfo(&link);
	appendStringInfoChar(&link, '<');
	append_path(&link, call->path);
	appendStringInfoChar(&link, '?');
	for (int i = 0; i < call->nparameters; i++)
	{
		if (strcmp(call->parameters[i].name, "cursor") == 0)
			continue;
		mv_append_encoded(&link, call->parameters[i].name);
		appendStringInfoChar(&link, '=');
		mv_append_encoded(&link, call->parameters[i].value);
		appendStringInfoChar(&link, '&');
	}
	appendStringInfoString(&link, "cursor=");
	mv_append_encoded(&link, cursor);
	appendStringInfoString(&link, ">; rel=\"next\"");
	return link.data;
}

void
mv_render_result(MvApiCall *call)
{
	MvApiResponse *response = call->response;
	MvRoute    *route = call->route;
	bool		is_private = call->verdict.identified;

	response->status = route->is_raw ? call->raw_status : call->result == NULL ? 204 : route->status;
	if (call->result == NULL)
	{
		response->body = "";
		mv_header(call, "Cache-Control", "no-store");
		return;
	}
	response->body = call->result;
	response->body_len = call->result_len;
	mv_header(call, "Content-Type", pstrdup(route->response_type));	/* the route may go before the answer */
	/* with an ETag a client may keep it, but has to ask each time */
	mv_header(call, "Cache-Control", !route->has_etag ? "no-store" : is_private ? "private, no-cache" : "no-cache");
	if (route->is_list)
	{
		char	   *cursor = mv_json_top_string(call->result, call->result_len, "next_cursor");

		if (cursor != NULL)
			mv_header(call, "Link", next_link(call, cursor));
	}
	if (route->has_etag)
	{
		char	   *etag = make_etag(call->result, call->result_len);

		mv_header(call, "ETag", etag);
		if (route->method == MV_GET && call->headers[MV_H_IF_NONE_MATCH] != NULL && is_matched(call->headers[MV_H_IF_NONE_MATCH], etag))
		{
			response->status = 304;
			response->body = "";
			response->body_len = 0;
		}
	}
}

/* --- all answers ----------------------------------------------------------- */

static long long
seconds_up(int64 us)
{
	return (us + USECS_PER_SEC - 1) / USECS_PER_SEC;
}

/* "policy";a=1;b=2: what a printf would make, for headers of every answer */
static char *
two_numbers(const char *policy, const char *first, int64 a, const char *second, int64 b)
{
	Size		len = strlen(policy);
	char	   *text = palloc(len + 60);
	char	   *at = text;

	*at++ = '"';
	memcpy(at, policy, len);
	at = stpcpy(at + len, first);
	at += pg_lltoa(a, at);
	at = stpcpy(at, second);
	pg_lltoa(b, at);
	return text;
}

/* draft-ietf-httpapi-ratelimit-headers: policy and what is left of it */
static void
render_limits(MvApiCall *call)
{
	const MvVerdict *verdict = &call->verdict;
	int64		until;

	if (!call->judged || verdict->limit < 0)
		return;
	mv_header(call, "RateLimit-Policy",
			  two_numbers(verdict->policy, "\";q=", verdict->limit, ";w=", Max(seconds_up(verdict->window_us), 1)));
	/* of a call that was refused, when the next one can succeed, as Retry-After has it */
	until = call->response->status == 429 && verdict->retry_us > 0 ? verdict->retry_us : verdict->reset_us;
	mv_header(call, "RateLimit", two_numbers(verdict->policy, "\";r=", verdict->remaining, ";t=", seconds_up(until)));
}

static char *
http_date(TimestampTz at)
{
	static const char *const days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
	static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	time_t		seconds = (time_t) timestamptz_to_time_t(at);
	struct tm	tm;

	gmtime_r(&seconds, &tm);
	return psprintf("%s, %02d %s %04d %02d:%02d:%02d GMT", days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon],
					tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

/* Deprecation (RFC 9745), Sunset (RFC 8594), and where to go; Link joins that of a list. */
static void
render_version(MvApiCall *call)
{
	const MvVersion *version = call->route == NULL ? NULL : call->route->deprecated;
	const char *segment;
	StringInfoData link;

	if (version == NULL)
		return;
	mv_header(call, "Deprecation", psprintf("@%lld", (long long) timestamptz_to_time_t(version->deprecated_at)));
	if (!TIMESTAMP_NOT_FINITE(version->sunset_at))
		mv_header(call, "Sunset", http_date(version->sunset_at));
	if (version->successor == NULL)
		return;
	initStringInfo(&link);
	segment = strstr(call->route->path, psprintf("/%s/", version->name));
	appendStringInfo(&link, "<%.*s/%s>; rel=\"successor-version\"", segment == NULL ? 0 : (int) (segment - call->route->path),
					 call->route->path, version->successor);
	for (int i = 0; i < call->response->nheaders; i++)
		if (strcmp(call->response->headers[i].name, "Link") == 0)
		{
			call->response->headers[i].value = psprintf("%s, %s", call->response->headers[i].value, link.data);
			return;
		}
	mv_header(call, "Link", link.data);
}

void
mv_render_headers(MvApiCall *call)
{
	int			status = call->response->status;

	mv_header(call, "X-Request-Id", call->request_id);
	render_limits(call);
	if (status == 401)
		mv_header(call, "WWW-Authenticate", call->route != NULL && call->route->is_raw ? "Signature" : "Bearer");
	/* none where the cost is above the limit, so that waiting is no use */
	if (status == 503 || (status == 429 && call->verdict.retry_us >= 0))
		mv_header(call, "Retry-After", psprintf("%lld", status == 503 ? 1 : Max(seconds_up(call->verdict.retry_us), 1)));
	render_version(call);
	mv_render_cors(call);
}

/*
 * The target of a request: path and query.
 *
 * The path is cut at '/' before anything is decoded, so that %2F is part of a
 * segment. Segments "." and ".." are refused in every spelling: clients
 * resolve them, so one that arrives is meant to get past somebody. Whatever
 * comes out is valid text without NUL.
 */
#include "postgres.h"

#include "api/json.h"
#include "api/problem.h"
#include "api/request.h"

static int
hex_digit(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/*
 * Decodes len bytes into palloc'd memory; *why says what is wrong with them
 * when it returns NULL.
 */
static char *
decode(const char *from, Size len, bool is_query, const char **why)
{
	char	   *out = palloc(len + 1);
	Size		n = 0;
	bool		high = false;

	for (Size i = 0; i < len; i++)
	{
		unsigned char c = from[i];

		if (c == '%')
		{
			int			upper = i + 2 < len ? hex_digit(from[i + 1]) : -1;
			int			lower = upper >= 0 ? hex_digit(from[i + 2]) : -1;

			if (lower < 0)
			{
				*why = "has a % that two hexadecimal digits do not follow";
				return NULL;
			}
			c = upper << 4 | lower;
			i += 2;
		}
		else if (c == '+' && is_query)
			c = ' ';
		else if (c <= ' ' || c == 0x7f)
		{
			*why = "has a space or a control character that is not percent-encoded";
			return NULL;
		}
		if (c == '\0')
		{
			*why = "has a NUL";
			return NULL;
		}
		high |= c >= 0x80;
		out[n++] = c;
	}
	out[n] = '\0';
	if (high && mv_valid_text(out, n) != n)
	{
		*why = "is not valid UTF-8";
		return NULL;
	}
	return out;
}

static bool
read_path(MvApiCall *call, const char *path, Size len)
{
	const char *at = path;
	const char *end = path + len;
	const char *why;

	if (len == 0 || path[0] != '/')
		return mv_problem(call, MV_P_BAD_REQUEST, "The path does not begin with a slash.");
	while (at < end)
	{
		const char *next = memchr(at + 1, '/', end - at - 1);
		char	   *segment;

		if (next == NULL)
			next = end;
		if (call->nsegments == MV_MAX_SEGMENTS)
			return mv_problem(call, MV_P_NOT_FOUND, "The path has more than %d segments.", MV_MAX_SEGMENTS);
		segment = decode(at + 1, next - at - 1, false, &why);
		if (segment == NULL)
			return mv_problem(call, MV_P_BAD_REQUEST, "Segment %d of the path %s.", call->nsegments + 1, why);
		if (strcmp(segment, ".") == 0 || strcmp(segment, "..") == 0)
			return mv_problem(call, MV_P_BAD_REQUEST, "Segment %d of the path is a dot segment.", call->nsegments + 1);
		call->segments[call->nsegments++] = segment;
		at = next;
	}
	return true;
}

static bool
add_parameter(MvApiCall *call, char *name, char *value)
{
	if (call->nparameters == MV_MAX_PARAMETERS)
		return mv_problem(call, MV_P_BAD_REQUEST, "The query has more than %d parameters.", MV_MAX_PARAMETERS);
	call->parameters[call->nparameters].name = name;
	call->parameters[call->nparameters].value = value;
	call->nparameters++;
	return true;
}

static bool
read_query(MvApiCall *call, const char *query, Size len)
{
	const char *end = query + len;

	for (const char *at = query; at < end;)
	{
		const char *next = memchr(at, '&', end - at);
		const char *equals;
		const char *why = "";
		char	   *name;
		char	   *value;

		if (next == NULL)
			next = end;
		if (next > at)
		{
			equals = memchr(at, '=', next - at);
			name = decode(at, (equals == NULL ? next : equals) - at, true, &why);
			if (name == NULL)
				return mv_problem(call, MV_P_BAD_REQUEST, "The name of parameter %d of the query %s.", call->nparameters + 1, why);
			value = equals == NULL ? pstrdup("") : decode(equals + 1, next - equals - 1, true, &why);
			if (value == NULL)
			{
				mv_problem(call, MV_P_BAD_REQUEST, "The value of parameter %d of the query %s.", call->nparameters + 1, why);
				mv_field_error(call, "parameter", name, psprintf("%s", why));
				return false;
			}
			if (!add_parameter(call, name, value))
				return false;
		}
		at = next + 1;
	}
	return true;
}

bool
mv_read_target(MvApiCall *call)
{
	const MvApiRequest *request = call->request;
	const char *target = request->target;
	Size		len = request->target_len;
	const char *query;
	Size		path_len;

	if (len > MV_MAX_TARGET)
	{
		call->path = "";
		return mv_problem(call, MV_P_URI_TOO_LONG, "The target has %zu bytes, %d are allowed.", len, MV_MAX_TARGET);
	}
	/* RFC 9112 wants every server to take the absolute form, which proxies are sent */
	if (len > 7 && (pg_strncasecmp(target, "http://", 7) == 0 || pg_strncasecmp(target, "https://", 8) == 0))
	{
		const char *host = (const char *) memchr(target, ':', len) + 3;
		const char *slash = memchr(host, '/', target + len - host);

		len = slash == NULL ? 0 : target + len - slash;
		target = slash == NULL ? "" : slash;
	}
	query = memchr(target, '?', len);
	path_len = query == NULL ? len : query - target;
	call->path = pnstrdup(target, path_len);

	if (memchr(target, '#', len) != NULL)
		return mv_problem(call, MV_P_BAD_REQUEST, "The target has a fragment.");
	if (call->is_options && path_len == 1 && target[0] == '*')
		return true;
	if (!read_path(call, target, path_len) ||
		(query != NULL && !read_query(call, query + 1, len - path_len - 1)))
		return false;
	for (int i = 0; i < request->nquery; i++)
	{
		const MvField *field = &request->query[i];

		if (mv_valid_text(field->name, field->name_len) != field->name_len ||
			mv_valid_text(field->value, field->value_len) != field->value_len)
			return mv_problem(call, MV_P_BAD_REQUEST, "Parameter %d of the query is not valid UTF-8 or has a NUL.", call->nparameters + 1);
		if (!add_parameter(call, pnstrdup(field->name, field->name_len), pnstrdup(field->value, field->value_len)))
			return false;
	}
	return true;
}

void
mv_append_encoded(StringInfo out, const char *text)
{
	static const char hex[] = "0123456789ABCDEF";

	for (; *text != '\0'; text++)
	{
		unsigned char c = *text;

		if (isalnum(c) && c < 0x80)
			appendStringInfoChar(out, c);
		else if (strchr("-._~", c) != NULL)
			appendStringInfoChar(out, c);
		else
		{
			appendStringInfoChar(out, '%');
			appendStringInfoChar(out, hex[c >> 4]);
			appendStringInfoChar(out, hex[c & 15]);
		}
	}
}

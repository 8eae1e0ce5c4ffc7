/*
 * The body of a request, as an object of JSON.
 */
#include "postgres.h"

#include <limits.h>

#include "api/json.h"
#include "api/problem.h"
#include "api/request.h"
#include "api/respond.h"
#include "utils/guc.h"

int			mv_max_request_body = 1024 * 1024;

void
mv_body_init(void)
{
	DefineCustomIntVariable("musicverse.max_request_body", "Largest body of a request to the REST API.",
							NULL, &mv_max_request_body, 1024 * 1024, 1024, 64 * 1024 * 1024, PGC_SIGHUP, GUC_UNIT_BYTE, NULL, NULL, NULL);
}

bool
mv_check_body_size(MvApiCall *call)
{
	Size		allowed = (Size) mv_max_request_body;

	if (call->request->body_len <= allowed)
		return true;
	return mv_problem(call, MV_P_CONTENT_TOO_LARGE, "The body has %zu bytes, %zu are allowed.", call->request->body_len, allowed);
}

/* Is it application/json or application/…+json, in UTF-8? */
static bool
is_json(const char *type)
{
	int			len = strcspn(type, ";");
	const char *charset;

	while (len > 0 && (type[len - 1] == ' ' || type[len - 1] == '\t'))
		len--;
	if (!(len == 16 && pg_strncasecmp(type, "application/json", 16) == 0) &&
		!(len > 17 && pg_strncasecmp(type, "application/", 12) == 0 && pg_strncasecmp(type + len - 5, "+json", 5) == 0))
		return false;
	for (charset = strchr(type, ';'); charset != NULL; charset = strchr(charset, ';'))
	{
		charset++;
		charset += strspn(charset, " \t");
		if (pg_strncasecmp(charset, "charset=", 8) == 0)
		{
			charset += 8;
			if (*charset == '"')
				charset++;
			return pg_strncasecmp(charset, "utf-8", 5) == 0 && strchr("\" \t;", charset[5]) != NULL;
		}
	}
	return true;
}

static bool
is_blank(const char *text, Size len)
{
	for (Size i = 0; i < len; i++)
		if (!isspace((unsigned char) text[i]))
			return false;
	return true;
}

bool
mv_read_body(MvApiCall *call)
{
	const MvApiRequest *request = call->request;
	const char *type = call->headers[MV_H_CONTENT_TYPE];
	const char *encoding = call->headers[MV_H_CONTENT_ENCODING];
	MvJsonError error;

	if (!call->route->takes_json || is_blank(request->body, request->body_len))
		return true;
	if (encoding != NULL && pg_strcasecmp(encoding, "identity") != 0)
		return mv_problem(call, MV_P_UNSUPPORTED_MEDIA_TYPE, "The body is encoded; send it as it is.");
	if (type != NULL && !is_json(type))
		return mv_problem(call, MV_P_UNSUPPORTED_MEDIA_TYPE, "The body is %s; send application/json in UTF-8.", mv_printable(type));

	call->body = mv_json_parse(pnstrdup(request->body, request->body_len), request->body_len, &error);
	if (call->body == NULL && error.duplicate != NULL)
		return mv_problem(call, MV_P_BAD_REQUEST, "The body has the key \"%s\" twice in one object.", error.duplicate);
	if (call->body == NULL)
		return mv_problem(call, MV_P_BAD_REQUEST, "The body is not valid JSON at line %d, column %d: %s",
						  error.line, error.column, error.message);
	if (!JB_ROOT_IS_OBJECT(call->body))
		return mv_problem(call, MV_P_INVALID_REQUEST, "The body must be a JSON object.");
	return true;
}

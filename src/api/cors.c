/*
 * Cross-origin requests. See cors.h.
 *
 * An origin is sent back only when it is in the setting, byte for byte. Keys
 * come in headers, which a page has to know, so credentials of the browser are
 * never allowed.
 */
#include "postgres.h"

#include "api/cors.h"
#include "api/respond.h"
#include "utils/guc.h"

#define PREFLIGHT_SECONDS "600"

static char *allowed_origins = NULL;

void
mv_cors_init(void)
{
	DefineCustomStringVariable("musicverse.cors_allowed_origins", "Origins whose pages may use the REST API, such as https://app.example.",
							   "Separated by commas; * for all; empty for none.",
							   &allowed_origins, "", PGC_SIGHUP, 0, NULL, NULL, NULL);
}

static bool
is_allowed(const char *origin, bool *by_name)
{
	size_t		len = strlen(origin);

	*by_name = true;
	for (const char *at = allowed_origins; *at != '\0';)
	{
		size_t		n;

		at += strspn(at, ", \t");
		n = strcspn(at, ", \t");
		if (n == 1 && *at == '*')
		{
			*by_name = false;
			return true;
		}
		if (n == len && n > 0 && memcmp(at, origin, n) == 0)
			return true;
		at += n;
	}
	return false;
}

void
mv_render_cors(MvApiCall *call)
{
	const char *origin = call->headers[MV_H_ORIGIN];
	bool		by_name = true;
	bool		allowed;

	if (allowed_origins == NULL || allowed_origins[0] == '\0')
		return;
	allowed = origin != NULL && is_allowed(origin, &by_name);
	if (by_name)
		mv_header(call, "Vary", "Origin");
	if (!allowed)
		return;
	mv_header(call, "Access-Control-Allow-Origin", by_name ? origin : "*");
	if (call->is_options && call->headers[MV_H_REQUEST_METHOD] != NULL)
	{
		for (int i = 0; i < call->response->nheaders; i++)
			if (strcmp(call->response->headers[i].name, "Allow") == 0)
				mv_header(call, "Access-Control-Allow-Methods", call->response->headers[i].value);
		mv_header(call, "Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key, If-None-Match, X-API-Key, "
				  "X-Request-Id, X-Signature, X-Timestamp");
		mv_header(call, "Access-Control-Max-Age", PREFLIGHT_SECONDS);
	}
	else
		mv_header(call, "Access-Control-Expose-Headers", "Deprecation, ETag, Idempotency-Replayed, Link, RateLimit, RateLimit-Policy, "
				  "Retry-After, Sunset, X-Request-Id");
}

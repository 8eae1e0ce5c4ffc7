/*
 * Which URLs a webhook may have. Only what can be judged from the text is
 * judged here; the address that a name stands for is judged when it is dialled.
 */
#include "postgres.h"

#include <curl/curl.h>

#include "core/guard.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "webhooks/worker_int.h"

PG_FUNCTION_INFO_V1(musicverse_check_webhook_url);
PG_FUNCTION_INFO_V1(musicverse_check_url);

#define MAX_URL 2048

bool		mv_allow_http = false;

static void
refuse(const char *what, const char *url, const char *why, const char *remedy)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s \"%.200s\" %s", what, url, why),
			 errhint("%s", remedy)));
}

/* A part of the URL in the current memory context, or NULL. */
static char *
part(CURLU *parsed, CURLUPart which)
{
	char	   *value = NULL;
	char	   *copy = NULL;

	if (curl_url_get(parsed, which, &value, 0) == CURLUE_OK && value != NULL)
		copy = pstrdup(value);
	curl_free(value);
	return copy;
}

static void
check(FunctionCallInfo fcinfo, const char *what)
{
	char	   *url;
	CURLU	   *parsed;
	CURLUcode	code;
	char	   *scheme,
			   *user,
			   *password,
			   *host;
	const char *refusal;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", what)));
	url = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (strlen(url) > MAX_URL)
		refuse(what, url, psprintf("is longer than %d bytes", MAX_URL), "Give a shorter URL.");
	for (const char *c = url; *c; c++)
		if ((unsigned char) *c <= ' ' || *c == 0x7f || (unsigned char) *c >= 0x80)
			refuse(what, url, "contains a blank, a control character or a letter beyond ASCII",
				   "Percent-encode it; write an international name in its xn-- form.");

	parsed = curl_url();
	if (parsed == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	code = curl_url_set(parsed, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME);
	scheme = code == CURLUE_OK ? part(parsed, CURLUPART_SCHEME) : NULL;
	user = code == CURLUE_OK ? part(parsed, CURLUPART_USER) : NULL;
	password = code == CURLUE_OK ? part(parsed, CURLUPART_PASSWORD) : NULL;
	host = code == CURLUE_OK ? part(parsed, CURLUPART_HOST) : NULL;
	curl_url_cleanup(parsed);

	/* libcurl takes one slash or three for two, and then not everybody sees the same host in it */
	if (scheme == NULL || host == NULL || host[0] == '\0' ||
		strncmp(url + strlen(scheme), "://", 3) != 0 || url[strlen(scheme) + 3] == '/')
		refuse(what, url, "is not a complete URL", "Give a URL such as https://example.com/hooks.");
	if (user != NULL || password != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s for host \"%s\" contains credentials", what, host),
				 errhint("Leave user and password out, and set a header such as Authorization for the webhook.")));
	if (pg_strcasecmp(scheme, "http") == 0 && !mv_allow_http)
		refuse(what, url, "is not encrypted", "Use https, or set musicverse.allow_http = on for a trusted network.");
	if (pg_strcasecmp(scheme, "http") != 0 && pg_strcasecmp(scheme, "https") != 0)
		refuse(what, url, psprintf("has the scheme \"%s\"", scheme), "Use https.");
	refusal = mv_guard_host_refusal(host);
	if (refusal != NULL)
		refuse(what, url, psprintf("leads to a %s", refusal),
			   "Use a public address, or add the network to musicverse.allowed_networks.");
}

/* _check_webhook_url(url text) */
Datum
musicverse_check_webhook_url(PG_FUNCTION_ARGS)
{
	check(fcinfo, "webhook URL");
	PG_RETURN_VOID();
}

/* _check_url(url text, what text) */
Datum
musicverse_check_url(PG_FUNCTION_ARGS)
{
	check(fcinfo, PG_ARGISNULL(1) ? "URL" : text_to_cstring(PG_GETARG_TEXT_PP(1)));
	PG_RETURN_VOID();
}

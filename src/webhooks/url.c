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

#define MAX_URL 2048

bool		mv_allow_http = false;

static void
refuse(const char *url, const char *why, const char *remedy)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("webhook URL \"%.200s\" %s", url, why),
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

/* _check_webhook_url(url text) */
Datum
musicverse_check_webhook_url(PG_FUNCTION_ARGS)
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
				 errmsg("webhook URL must not be null")));
	url = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (strlen(url) > MAX_URL)
		refuse(url, psprintf("is longer than %d bytes", MAX_URL), "Give a shorter URL.");
	for (const char *c = url; *c; c++)
		if ((unsigned char) *c <= ' ' || *c == 0x7f || (unsigned char) *c >= 0x80)
			refuse(url, "contains a blank, a control character or a letter beyond ASCII",
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
		refuse(url, "is not a complete URL", "Give a URL such as https://example.com/hooks.");
	if (user != NULL || password != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("webhook URL for host \"%s\" contains credentials", host),
				 errhint("Leave user and password out, and set a header such as Authorization for the webhook.")));
	if (pg_strcasecmp(scheme, "http") == 0 && !mv_allow_http)
		refuse(url, "is not encrypted", "Use https, or set musicverse.allow_http = on for a trusted network.");
	if (pg_strcasecmp(scheme, "http") != 0 && pg_strcasecmp(scheme, "https") != 0)
		refuse(url, psprintf("has the scheme \"%s\"", scheme), "Use https.");
	refusal = mv_guard_host_refusal(host);
	if (refusal != NULL)
		refuse(url, psprintf("leads to a %s", refusal),
			   "Use a public address, or add the network to musicverse.allowed_networks.");
	PG_RETURN_VOID();
}

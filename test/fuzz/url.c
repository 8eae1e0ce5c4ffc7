/* URLs of webhooks: what is taken leads nowhere that the guard refuses. */
#include "../../src/webhooks/url.c"

#include "fuzz.h"

static void
run_url(const char *data, size_t len)
{
	LOCAL_FCINFO(fcinfo, 1);
	CURLU	   *parsed;
	char	   *host = NULL;
	char	   *user = NULL;
	const char *refusal;

	if (memchr(data, 0, len) != NULL)
		return;
	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = PointerGetDatum(cstring_to_text_with_len(data, len));
	fcinfo->args[0].isnull = false;
	musicverse_check_webhook_url(fcinfo);

	must(pg_strncasecmp(data, "https://", 8) == 0);
	parsed = curl_url();
	must(curl_url_set(parsed, CURLUPART_URL, data, 0) == CURLUE_OK);
	must(curl_url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK);
	refusal = mv_guard_host_refusal(host);
	must(refusal == NULL);
	must(curl_url_get(parsed, CURLUPART_USER, &user, 0) == CURLUE_NO_USER);
	curl_free(host);
	curl_url_cleanup(parsed);
}

static const char *const words[] = {
	"https://", "http://", "HTTPS://", "file://", "gopher://", "https:", "/", "//", "\\", "@", ":", ":443", ":99999", "#", "?", "%", "%31", "%00", "[", "]",
	"example.com", "127.0.0.1", "localhost", "::1", "::ffff:127.0.0.1", "user", "user:password@", ".", "0x7f.1", "xn--", "\xe3\x80\x82", " ", "\r\n", NULL
};

const FuzzTarget url_targets[] = {
	{"url", run_url, words},
	{0}
};

/*
 * Destinations of exchanges: a target holds its URL and TLS material, and easy
 * handles on which everything that doesn't change from one exchange to the
 * next is set already. Setting it each time would cost a seventh of the
 * throughput.
 *
 * All memory comes from malloc: handles outlive any memory context, and
 * libcurl's threads may touch what they refer to. A target that is freed while
 * exchanges of it run goes away with the last of them. Nothing here raises.
 */
#include "postgres.h"

#include "core/transfer_int.h"
#include "utils/guc.h"

/* More idle handles than this are not kept; each holds some 25 kB. */
#define MAX_IDLE_HANDLES 64

struct MvTarget
{
	char	   *url;
	char	   *user_agent;
	char	   *client_cert;
	char	   *client_key;
	char	   *ca;
	long		connect_timeout_ms;
	long		timeout_ms;
	bool		is_tls;
	MvSftp	   *sftp;			/* NULL for HTTP */

	MvHandle   *idle;
	int			idle_count;
	int			busy_count;
	bool		freed;			/* by the caller, while handles were busy */
};

int			mv_connect_timeout_ms;
int			mv_max_upload_kb = 1024 * 1024;
int			mv_request_timeout_ms;

void
mv_transfer_init(void)
{
	DefineCustomIntVariable("musicverse.max_upload", "Largest file that is uploaded to a partner, or fetched to be looked at.",
							NULL, &mv_max_upload_kb, 1024 * 1024, 1, MAX_KILOBYTES, PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.connect_timeout",
							"How long resolving, connecting and the TLS handshake of one request may take.",
							NULL,
							&mv_connect_timeout_ms,
							5000, 1, 10 * 60 * 1000,
							PGC_SIGHUP,
							GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("musicverse.request_timeout",
							"How long one request may take from its start to the end of the response.",
							NULL,
							&mv_request_timeout_ms,
							15000, 1, 60 * 60 * 1000,
							PGC_SIGHUP,
							GUC_UNIT_MS,
							NULL, NULL, NULL);
}

/* Sets a PEM blob that the target keeps alive as long as the handle. */
static CURLcode
set_pem(CURL *easy, CURLoption option, char *pem)
{
	struct curl_blob blob = {.data = pem, .len = strlen(pem), .flags = CURL_BLOB_NOCOPY};

	return curl_easy_setopt(easy, option, &blob);
}

/* Sets what is the same for all exchanges of a target; returns the first failure. */
static CURLcode
set_constant_options(MvHandle *handle)
{
	CURL	   *easy = handle->easy;
	const MvTarget *target = handle->target;
	CURLcode	code = CURLE_OK;

#define SET(option, value) \
	do { \
		if (code == CURLE_OK) \
			code = curl_easy_setopt(easy, option, value); \
	} while (0)

	/* No signals, no waiting for resolver threads. */
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_QUICK_EXIT, 1L);

	/* Only what was asked for, only where it was asked for. */
	SET(CURLOPT_PROTOCOLS_STR, target->sftp ? "sftp" : "http,https");
	SET(CURLOPT_REDIR_PROTOCOLS_STR, "https");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	SET(CURLOPT_HTTP09_ALLOWED, 0L);
	SET(CURLOPT_ACCEPT_ENCODING, NULL);
	SET(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_2TLS);

	SET(CURLOPT_TCP_NODELAY, 1L);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_TCP_KEEPIDLE, 60L);
	SET(CURLOPT_TCP_KEEPINTVL, 30L);

	SET(CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_SSL_VERIFYPEER, 1L);
	SET(CURLOPT_SSL_VERIFYHOST, 2L);
	if (target->ca)
	{
		/* Only these: the system's directory would be searched as well. */
		SET(CURLOPT_CAINFO, NULL);
		SET(CURLOPT_CAPATH, NULL);
		if (code == CURLE_OK)
			code = set_pem(easy, CURLOPT_CAINFO_BLOB, target->ca);
	}
	else if (curl_version_info(CURLVERSION_NOW)->cainfo)
	{
		/*
		 * Parsing the system's bundle takes up to 100 ms. libcurl does it once
		 * and keeps the result only when no directory is to be searched too.
		 */
		SET(CURLOPT_CAPATH, NULL);
	}
	if (target->client_cert)
	{
		SET(CURLOPT_SSLCERTTYPE, "PEM");
		if (code == CURLE_OK)
			code = set_pem(easy, CURLOPT_SSLCERT_BLOB, target->client_cert);
	}
	if (target->client_key)
	{
		SET(CURLOPT_SSLKEYTYPE, "PEM");
		if (code == CURLE_OK)
			code = set_pem(easy, CURLOPT_SSLKEY_BLOB, target->client_key);
	}

	SET(CURLOPT_URL, target->url);
	SET(CURLOPT_USERAGENT, target->user_agent);
	SET(CURLOPT_CONNECTTIMEOUT_MS, target->connect_timeout_ms);
	SET(CURLOPT_TIMEOUT_MS, target->timeout_ms);

	SET(CURLOPT_PRIVATE, handle);
	SET(CURLOPT_ERRORBUFFER, handle->errbuf);
	SET(CURLOPT_OPENSOCKETFUNCTION, mv_sockets_open);
	SET(CURLOPT_OPENSOCKETDATA, handle);
	SET(CURLOPT_CLOSESOCKETFUNCTION, mv_sockets_closed);
	SET(CURLOPT_HEADERFUNCTION, mv_response_header);
	SET(CURLOPT_HEADERDATA, handle);
	SET(CURLOPT_WRITEFUNCTION, mv_response_body);
	SET(CURLOPT_WRITEDATA, handle);
#undef SET
	if (code == CURLE_OK && target->sftp)
		code = mv_sftp_set_options(handle, target->sftp);
	return code;
}

static void
free_handle(MvHandle *handle)
{
	if (handle->easy)
		curl_easy_cleanup(handle->easy);
	free(handle);
}

static MvHandle *
make_handle(MvTarget *target, CURLcode *code)
{
	MvHandle   *handle = calloc(1, sizeof(MvHandle));

	*code = CURLE_OUT_OF_MEMORY;
	if (handle == NULL)
		return NULL;
	handle->target = target;
	handle->easy = curl_easy_init();
	if (handle->easy)
		*code = set_constant_options(handle);
	if (*code != CURLE_OK)
	{
		free_handle(handle);
		return NULL;
	}
	return handle;
}

static void
keep_idle(MvHandle *handle)
{
	MvTarget   *target = handle->target;

	handle->next_idle = target->idle;
	target->idle = handle;
	target->idle_count++;
}

static void
destroy_target(MvTarget *target)
{
	MvHandle   *handle;

	while ((handle = target->idle) != NULL)
	{
		target->idle = handle->next_idle;
		free_handle(handle);
	}
	if (target->client_key)
		explicit_bzero(target->client_key, strlen(target->client_key));
	if (target->sftp)
		mv_sftp_free(target->sftp);
	free(target->url);
	free(target->user_agent);
	free(target->client_cert);
	free(target->client_key);
	free(target->ca);
	free(target);
}

static bool
copy_string(char **to, const char *from)
{
	if (from == NULL)
		return true;
	*to = strdup(from);
	return *to != NULL;
}

/*
 * Copies the client certificate and makes the copy unlike any other, by a line
 * that PEM readers skip. libcurl takes connections and TLS sessions with equal
 * certificates for interchangeable and doesn't look at the key: without the
 * line, whoever names somebody's certificate, which is public, could have his
 * requests sent over a connection that was opened with the owner's key.
 */
static bool
copy_client_cert(char **to, const char *from)
{
	static uint64 serial = 0;

	if (from == NULL)
		return true;
	if (asprintf(to, "%s\nconnection owner " UINT64_FORMAT "\n", from, ++serial) < 0)
		*to = NULL;
	return *to != NULL;
}

/* NULL when libcurl can parse the URL, else what is wrong with it. */
static const char *
url_problem(const char *url)
{
	CURLU	   *parts = curl_url();
	CURLUcode	code = parts ? curl_url_set(parts, CURLUPART_URL, url, CURLU_DISALLOW_USER) : CURLUE_OUT_OF_MEMORY;

	curl_url_cleanup(parts);
	if (code == CURLUE_USER_NOT_ALLOWED)
		return "credentials in the URL are not taken";
	return code == CURLUE_OK ? NULL : curl_url_strerror(code);
}

MvTarget *
mv_target_create(const MvTargetOptions *options, const char **why)
{
	MvTarget   *target;
	MvHandle   *handle;
	CURLcode	code;

	*why = url_problem(options->url);
	if (*why == NULL && options->client_key && !options->client_cert)
		*why = "there is a client key without a client certificate";
	if (*why != NULL)
		return NULL;

	*why = "out of memory";
	target = calloc(1, sizeof(MvTarget));
	if (target == NULL)
		return NULL;
	if (!copy_string(&target->url, options->url) ||
		!copy_string(&target->user_agent, options->user_agent) ||
		!copy_client_cert(&target->client_cert, options->client_cert) ||
		!copy_string(&target->client_key, options->client_key) ||
		!copy_string(&target->ca, options->ca))
	{
		destroy_target(target);
		return NULL;
	}
	target->connect_timeout_ms = options->connect_timeout_ms;
	target->timeout_ms = options->timeout_ms;
	target->is_tls = pg_strncasecmp(options->url, "https:", 6) == 0;
	if (pg_strncasecmp(options->url, "sftp:", 5) == 0)
	{
		target->sftp = mv_sftp_create(options, why);
		if (target->sftp == NULL)
		{
			destroy_target(target);
			return NULL;
		}
	}
	else if (!target->is_tls && pg_strncasecmp(options->url, "http:", 5) != 0)
	{
		*why = "the URL is none of http:, https: and sftp:";
		destroy_target(target);
		return NULL;
	}

	handle = make_handle(target, &code);
	if (handle == NULL)
	{
		*why = curl_easy_strerror(code);
		destroy_target(target);
		return NULL;
	}
	keep_idle(handle);
	*why = NULL;
	return target;
}

void
mv_target_free(MvTarget *target)
{
	if (target->busy_count > 0)
		target->freed = true;
	else
		destroy_target(target);
}

bool
mv_target_is_tls(const MvTarget *target)
{
	return target->is_tls;
}

MvSftp *
mv_target_sftp(const MvTarget *target)
{
	return target->sftp;
}

const char *
mv_target_url(const MvTarget *target)
{
	return target->url;
}

/*
 * The header list to give to libcurl: the caller's, headed by names without a
 * value for what libcurl would add by itself. Only those that are needed, for
 * libcurl walks the list a dozen times.
 */
static struct curl_slist *
header_list(MvHandle *handle, const MvTransfer *transfer)
{
	static char *const own[] = {"Accept:", "Content-Type:", "Expect:"};
	struct curl_slist *list = transfer->headers;

	for (size_t i = 0; i < lengthof(own); i++)
	{
		bool		given = false;

		/* libcurl waits for a "100 Continue" only with bodies of a megabyte */
		if (i == 2 && transfer->body_len < 500 * 1000 && !transfer->prepare)
			continue;
		/* the boundary of a form is libcurl's to tell */
		if (i == 1 && transfer->prepare)
			continue;
		for (struct curl_slist *header = transfer->headers; header && !given; header = header->next)
			given = pg_strncasecmp(header->data, own[i], strlen(own[i])) == 0;
		if (given)
			continue;
		handle->suppress[i].data = own[i];
		handle->suppress[i].next = list;
		list = &handle->suppress[i];
	}
	return list;
}

/* Sets method and body. The body is not copied. */
static CURLcode
set_request(MvHandle *handle, const MvTransfer *transfer)
{
	CURL	   *easy = handle->easy;
	const char *method = transfer->method ? transfer->method : "POST";
	bool		plain_post = strcmp(method, "POST") == 0;
	bool		has_body = plain_post || transfer->body != NULL;
	CURLcode	code = CURLE_OK;

	if (!(plain_post && handle->plain_post))
	{
		bool		is_head = strcmp(method, "HEAD") == 0;
		bool		is_known = plain_post || is_head || strcmp(method, "GET") == 0;

		/* This order: each of the first three resets what the one before chose. */
		handle->plain_post = false;
		code = curl_easy_setopt(easy, CURLOPT_NOBODY, is_head ? 1L : 0L);
		if (code == CURLE_OK && !is_head)
			code = curl_easy_setopt(easy, has_body ? CURLOPT_POST : CURLOPT_HTTPGET, 1L);
		if (code == CURLE_OK)
			code = curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, is_known ? NULL : method);
		handle->plain_post = plain_post && code == CURLE_OK;
	}
	if (code == CURLE_OK && has_body && strcmp(method, "HEAD") != 0)
	{
		code = curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) transfer->body_len);
		if (code == CURLE_OK)
			code = curl_easy_setopt(easy, CURLOPT_POSTFIELDS, transfer->body ? transfer->body : "");
	}
	return code;
}

MvHandle *
mv_handle_take(MvSockets *sockets, MvTransfer *transfer)
{
	MvTarget   *target = transfer->target;
	MvHandle   *handle = transfer->prepare ? NULL : target->idle;
	CURLcode	code;

	if (handle)
	{
		target->idle = handle->next_idle;
		target->idle_count--;
	}
	else
	{
		handle = make_handle(target, &code);
		if (handle == NULL)
			return NULL;
	}

	handle->single_use = transfer->prepare != NULL;
	code = curl_easy_setopt(handle->easy, CURLOPT_HTTPHEADER, header_list(handle, transfer));
	if (code == CURLE_OK)
		code = transfer->prepare ? transfer->prepare(transfer, handle->easy) : set_request(handle, transfer);
	if (code == CURLE_OK && handle->sockets != sockets)
	{
		handle->sockets = sockets;
		code = curl_easy_setopt(handle->easy, CURLOPT_CLOSESOCKETDATA, sockets);
	}
	if (code != CURLE_OK)
	{
		free_handle(handle);
		return NULL;
	}

	handle->transfer = transfer;
	handle->cut = MV_CUT_NONE;
	handle->header_seen = false;
	handle->header_done = false;
	handle->header_full = false;
	handle->line_status = 0;
	handle->header_bytes = 0;
	handle->header_room = 0;
	handle->body_room = 0;
	handle->socket = -1;
	handle->dialled = false;
	handle->refusal = NULL;
	handle->address.ss_family = AF_UNSPEC;
	handle->host_key[0] = '\0';
	handle->errbuf[0] = '\0';
	transfer->handle = handle;
	target->busy_count++;
	return handle;
}

void
mv_handle_give_back(MvHandle *handle)
{
	MvTarget   *target = handle->target;

	handle->transfer->handle = NULL;
	handle->transfer = NULL;
	target->busy_count--;
	if (target->freed || handle->single_use || target->idle_count >= MAX_IDLE_HANDLES)
		free_handle(handle);
	else
		keep_idle(handle);
	if (target->freed && target->busy_count == 0)
		destroy_target(target);
}

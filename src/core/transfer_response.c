/*
 * What comes back from an exchange: header and body are collected while they
 * arrive, within bounds that a hostile receiver cannot move, and a failure is
 * worded so that the owner of the endpoint knows what to repair.
 *
 * The callbacks run inside libcurl: they never raise and use malloc only. A
 * response that was cut because its body went on for too long counts as
 * complete, since status and header are all that a sender needs.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <time.h>

#include "core/transfer_int.h"

#define MAX_KEPT_HEADERS	(16 * 1024)
#define MAX_HEADER_BYTES	(128 * 1024)
#define MIN_BODY_ALLOWANCE	(64 * 1024)
#define MAX_RETRY_AFTER		(7 * 24 * 3600L)

/* Makes room for len bytes in a buffer, doubling it up to max. */
static bool
make_room(char **buffer, size_t *room, size_t len, size_t max)
{
	size_t		wanted = *room ? *room : 512;
	char	   *grown;

	if (len <= *room)
		return true;
	while (wanted < len)
		wanted *= 2;
	grown = realloc(*buffer, Min(wanted, max));
	if (grown == NULL)
		return false;
	*buffer = grown;
	*room = Min(wanted, max);
	return true;
}

/* Copies text as printable ASCII; to may be from. */
static void
copy_printable(char *to, const char *from, size_t len)
{
	for (size_t i = 0; i < len; i++)
		to[i] = from[i] == '\t' ? ' ' : from[i] >= ' ' && from[i] <= '~' ? from[i] : '?';
}

/* Seconds from a Retry-After value, -1 when it is neither a number nor a date. */
static long
parse_retry_after(const char *value, size_t len)
{
	char		text[64];
	char	   *end;
	long		seconds;

	if (len == 0 || len >= sizeof(text))
		return -1;
	memcpy(text, value, len);
	text[len] = '\0';

	errno = 0;
	seconds = strtol(text, &end, 10);
	if (end == text)
	{
		time_t		when = curl_getdate(text, NULL);

		if (when == (time_t) -1)
			return -1;
		seconds = (long) (when - time(NULL));
	}
	else if (*end != '\0')
		return -1;
	return seconds < 0 ? 0 : Min(seconds, MAX_RETRY_AFTER);
}

/*
 * Keeps one header line, without its line end, of the final response. A folded
 * line is joined to the one before.
 */
static bool
keep_line(MvHandle *handle, const char *line, size_t len)
{
	MvTransfer *transfer = handle->transfer;
	size_t		at = transfer->response_headers_len;
	bool		folded = line[0] == ' ' || line[0] == '\t';
	char	   *to;

	while (len > 0 && (line[len - 1] == ' ' || line[len - 1] == '\t'))
		len--;
	if (len == 0 || handle->header_full || (folded && at == 0))
		return true;
	if (folded)
		at--;					/* over the line end of the line before */
	if (at + len + 1 > MAX_KEPT_HEADERS)
	{
		handle->header_full = true;
		return true;
	}
	if (!make_room(&transfer->response_headers, &handle->header_room, at + len + 1, MAX_KEPT_HEADERS))
	{
		handle->cut = MV_CUT_MEMORY;
		return false;
	}
	to = transfer->response_headers + at;
	copy_printable(to, line, len);
	to[len] = '\n';
	transfer->response_headers_len = at + len + 1;

	if (len > 12 && pg_strncasecmp(line, "retry-after:", 12) == 0)
	{
		const char *value = line + 12;

		while (value < line + len && (*value == ' ' || *value == '\t'))
			value++;
		transfer->retry_after = parse_retry_after(value, line + len - value);
	}
	return true;
}

size_t
mv_response_header(char *line, size_t size, size_t count, void *data)
{
	MvHandle   *handle = data;
	MvTransfer *transfer = handle->transfer;
	size_t		bytes = size * count;
	size_t		len = bytes;

	handle->header_seen = true;
	handle->header_bytes += bytes;
	if (handle->header_bytes > MAX_HEADER_BYTES)
	{
		handle->cut = MV_CUT_HEADERS;
		return CURL_WRITEFUNC_ERROR;
	}
	while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
		len--;

	/* Behind the final header only trailers come; they interest nobody. */
	if (handle->header_done)
		return bytes;

	if (handle->line_status == 0 && len >= 5 && memcmp(line, "HTTP/", 5) == 0)
	{
		size_t		at = 5;

		while (at < len && line[at] != ' ')
			at++;
		while (at < len && line[at] == ' ')
			at++;
		while (at < len && line[at] >= '0' && line[at] <= '9' && handle->line_status < 1000)
			handle->line_status = handle->line_status * 10 + (line[at++] - '0');
		return bytes;
	}
	if (len == 0)
	{
		if (handle->line_status / 100 == 1)
		{
			/* An interim response: what it said doesn't count. */
			handle->line_status = 0;
			handle->header_full = false;
			transfer->response_headers_len = 0;
			transfer->retry_after = -1;
		}
		else
			handle->header_done = true;
		return bytes;
	}
	return keep_line(handle, line, len) ? bytes : CURL_WRITEFUNC_ERROR;
}

size_t
mv_response_body(char *data, size_t size, size_t count, void *owner)
{
	MvHandle   *handle = owner;
	MvTransfer *transfer = handle->transfer;
	size_t		bytes = size * count;
	size_t		kept = transfer->response_body_len;
	size_t		keep = Min(bytes, transfer->max_response_body - kept);

	transfer->received += bytes;
	if (keep > 0)
	{
		if (!make_room(&transfer->response_body, &handle->body_room, kept + keep, transfer->max_response_body))
		{
			handle->cut = MV_CUT_MEMORY;
			return CURL_WRITEFUNC_ERROR;
		}
		memcpy(transfer->response_body + kept, data, keep);
		transfer->response_body_len = kept + keep;
	}
	if (transfer->received > transfer->response_body_len)
		transfer->truncated = true;
	if (transfer->received / 4 > transfer->max_response_body && transfer->received > MIN_BODY_ALLOWANCE)
	{
		handle->cut = MV_CUT_BODY;
		return CURL_WRITEFUNC_ERROR;
	}
	return bytes;
}

void
mv_transfer_reset(MvTransfer *transfer)
{
	transfer->code = CURLE_OK;
	transfer->status = 0;
	transfer->error[0] = '\0';
	transfer->refused = false;
	transfer->truncated = false;
	transfer->response_headers = NULL;
	transfer->response_headers_len = 0;
	transfer->response_body = NULL;
	transfer->response_body_len = 0;
	transfer->retry_after = -1;
	memset(&transfer->timing, 0, sizeof(transfer->timing));
	transfer->remote_addr[0] = '\0';
	transfer->remote_port = 0;
	transfer->handle = NULL;
	transfer->received = 0;
}

static int64
time_info(CURL *easy, CURLINFO info)
{
	curl_off_t	value = 0;

	return curl_easy_getinfo(easy, info, &value) == CURLE_OK ? (int64) value : 0;
}

/* What an exchange was doing when its time ran out. */
static const char *
current_phase(const MvHandle *handle, const MvTiming *timing)
{
	long		connects = 0;
	long		local_port = 0;

	if (handle->header_seen)
		return "reading response";
	/* On a connection that was open already nothing is dialled. */
	curl_easy_getinfo(handle->easy, CURLINFO_NUM_CONNECTS, &connects);
	if (connects == 0 && time_info(handle->easy, CURLINFO_PRETRANSFER_TIME_T) > 0)
		return "waiting for response";
	if (timing->dns == 0)
		return "resolving";
	/* The time of connecting includes the handshake; a local port comes before it. */
	curl_easy_getinfo(handle->easy, CURLINFO_LOCAL_PORT, &local_port);
	if (timing->connect == 0 && local_port == 0)
		return "connecting";
	if (timing->tls == 0 && mv_target_is_tls(handle->target))
		return "in the TLS handshake";
	if (timing->tls == 0 && mv_target_sftp(handle->target))
		return "in the SSH handshake";
	return timing->connect == 0 ? "connecting" : "waiting for response";
}

/* libcurl's own explanation as part of a sentence in lower case. */
static void
libcurl_reason(const MvHandle *handle, CURLcode code, char *out, size_t size)
{
	size_t		len;

	strlcpy(out, handle->errbuf[0] ? handle->errbuf : curl_easy_strerror(code), size);
	len = strcspn(out, "\r\n");
	while (len > 0 && (out[len - 1] == '.' || out[len - 1] == ' '))
		len--;
	out[len] = '\0';
	copy_printable(out, out, len);
	/* "Could not", but not "SSL" or "OpenSSL" */
	for (len = 1; (out[len] | 0x20) >= 'a' && (out[len] | 0x20) <= 'z'; len++)
		if (out[len] < 'a')
			return;
	out[0] = pg_ascii_tolower((unsigned char) out[0]);
}

/* The numeric form of what was dialled last, or refused. */
static void
numeric_address(const MvHandle *handle, char *out, size_t size, int *port)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *) &handle->address;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *) &handle->address;

	out[0] = '\0';
	if (handle->address.ss_family == AF_INET)
	{
		inet_ntop(AF_INET, &v4->sin_addr, out, size);
		*port = ntohs(v4->sin_port);
	}
	else if (handle->address.ss_family == AF_INET6)
	{
		inet_ntop(AF_INET6, &v6->sin6_addr, out, size);
		*port = ntohs(v6->sin6_port);
	}
}

/* Words the failure. timing is filled already. */
static void
describe_failure(MvTransfer *transfer, CURLcode code)
{
	MvHandle   *handle = transfer->handle;
	char	   *error = transfer->error;
	size_t		size = sizeof(transfer->error);
	char		reason[CURL_ERROR_SIZE];
	char		address[INET6_ADDRSTRLEN];
	int			port = 0;
	long		os_errno = 0;

	libcurl_reason(handle, code, reason, sizeof(reason));
	numeric_address(handle, address, sizeof(address), &port);

	if (handle->cut == MV_CUT_HEADERS)
	{
		snprintf(error, size, "response header longer than %d bytes", MAX_HEADER_BYTES);
		return;
	}
	if (handle->cut == MV_CUT_MEMORY)
	{
		strlcpy(error, "out of memory", size);
		return;
	}

	switch (code)
	{
		case CURLE_OPERATION_TIMEDOUT:
			snprintf(error, size, "timed out after " INT64_FORMAT " ms while %s",
					 transfer->timing.total / 1000, current_phase(handle, &transfer->timing));
			break;
		case CURLE_COULDNT_CONNECT:
			curl_easy_getinfo(handle->easy, CURLINFO_OS_ERRNO, &os_errno);
			if (handle->refusal && !handle->dialled)
			{
				transfer->refused = true;
				snprintf(error, size, "address %s refused: %s",
						 address[0] ? address : "of unknown kind", handle->refusal);
			}
			else if (address[0] && os_errno != 0)
			{
				char		text[100];

				strlcpy(text, strerror((int) os_errno), sizeof(text));
				text[0] = pg_tolower((unsigned char) text[0]);
				snprintf(error, size, "could not connect to %s port %d: %s", address, port, text);
			}
			else
				strlcpy(error, reason, size);
			break;
		case CURLE_GOT_NOTHING:
			strlcpy(error, "connection closed without a response", size);
			break;
		case CURLE_PARTIAL_FILE:
			strlcpy(error, "connection closed in the middle of the response", size);
			break;
		case CURLE_SEND_ERROR:
		case CURLE_RECV_ERROR:
			if (strstr(reason, "reset by peer") || strstr(reason, "roken pipe"))
				snprintf(error, size, "connection reset by peer while %s",
						 code == CURLE_SEND_ERROR ? "sending the request" :
						 current_phase(handle, &transfer->timing));
			else
				snprintf(error, size, "connection broke while %s: %s",
						 code == CURLE_SEND_ERROR ? "sending the request" :
						 current_phase(handle, &transfer->timing), reason);
			break;
		case CURLE_PEER_FAILED_VERIFICATION:
			if (mv_target_sftp(handle->target))
			{
				if (handle->host_key[0])
					snprintf(error, size, "the server's host key %s is none of those pinned", handle->host_key);
				else
					snprintf(error, size, "host key of the server refused: %.180s", reason);
				break;
			}
			/* FALLTHROUGH */
		case CURLE_SSL_ISSUER_ERROR:
			snprintf(error, size, "TLS certificate of the receiver refused: %.180s", reason);
			break;
		case CURLE_SSL_CERTPROBLEM:
			snprintf(error, size, "client certificate or key not usable: %.180s", reason);
			break;
		case CURLE_SSL_CACERT_BADFILE:
			snprintf(error, size, "CA certificates not usable: %.180s", reason);
			break;
		case CURLE_SSL_CONNECT_ERROR:
		case CURLE_SSL_CIPHER:
			snprintf(error, size, "TLS handshake failed: %.180s", reason);
			break;
		case CURLE_UNSUPPORTED_PROTOCOL:
			if (strstr(reason, "HTTP/0.9"))
				strlcpy(error, "response is not HTTP (or HTTP/0.9, which is not taken)", size);
			else
				strlcpy(error, reason, size);
			break;
		case CURLE_WEIRD_SERVER_REPLY:
			snprintf(error, size, "malformed response: %.180s", reason);
			break;
		case CURLE_LOGIN_DENIED:
			strlcpy(error, mv_target_sftp(handle->target) ? "the server refused the user or its credentials" :
					"credentials in the URL are not taken", size);
			break;
		case CURLE_SSH:
			snprintf(error, size, "the SFTP server failed: %.180s", reason);
			break;
		case CURLE_QUOTE_ERROR:
			snprintf(error, size, "the SFTP server refused a command: %.180s", reason);
			break;
		case CURLE_REMOTE_FILE_NOT_FOUND:
			strlcpy(error, "there is no such file or directory", size);
			break;
		case CURLE_REMOTE_ACCESS_DENIED:
			strlcpy(error, "the server denies access", size);
			break;
		case CURLE_HTTP2:
		case CURLE_HTTP2_STREAM:
			snprintf(error, size, "HTTP/2 failure: %.180s", reason);
			break;
		case CURLE_OUT_OF_MEMORY:
#if LIBCURL_VERSION_NUM >= 0x080600
		case CURLE_TOO_LARGE:
#endif
			/* libcurl before 8.6 reports its own limit of a line as a lack of memory */
			if (handle->dialled && !handle->header_done)
				strlcpy(error, "response header line too long, or out of memory", size);
			else
				strlcpy(error, reason, size);
			break;
		default:
			strlcpy(error, reason, size);
			break;
	}
}

void
mv_transfer_finish(MvTransfer *transfer, CURLcode code)
{
	MvHandle   *handle = transfer->handle;
	CURL	   *easy = handle->easy;
	char	   *ip = NULL;
	long		port = 0;
	curl_off_t	announced = -1;

	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &transfer->status);
	transfer->timing.dns = time_info(easy, CURLINFO_NAMELOOKUP_TIME_T);
	transfer->timing.connect = time_info(easy, CURLINFO_CONNECT_TIME_T);
	transfer->timing.tls = time_info(easy, CURLINFO_APPCONNECT_TIME_T);
	transfer->timing.first_byte = time_info(easy, CURLINFO_STARTTRANSFER_TIME_T);
	transfer->timing.total = time_info(easy, CURLINFO_TOTAL_TIME_T);

	/* Until the final header is complete there is no status, only interim ones. */
	if (!handle->header_done)
		transfer->status = 0;
	if (handle->cut == MV_CUT_BODY && transfer->status != 0)
		code = CURLE_OK;
	/* It answered before it had read the request, and rightly closed the stream. */
	if ((code == CURLE_HTTP2_STREAM || code == CURLE_HTTP2 || code == CURLE_SEND_ERROR) &&
		transfer->status != 0 &&
		curl_easy_getinfo(easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &announced) == CURLE_OK &&
		announced >= 0 && transfer->received >= (size_t) announced)
		code = CURLE_OK;
	if (code == CURLE_OK && transfer->status == 0 && mv_target_sftp(handle->target) == NULL)
	{
		strlcpy(handle->errbuf, "connection closed after an interim response", sizeof(handle->errbuf));
		code = CURLE_WEIRD_SERVER_REPLY;
	}

	if (handle->dialled)
	{
		int			dialled_port = 0;

		numeric_address(handle, transfer->remote_addr, sizeof(transfer->remote_addr), &dialled_port);
		transfer->remote_port = dialled_port;
	}
	if (curl_easy_getinfo(easy, CURLINFO_PRIMARY_IP, &ip) == CURLE_OK && ip && ip[0] &&
		curl_easy_getinfo(easy, CURLINFO_PRIMARY_PORT, &port) == CURLE_OK && port > 0)
	{
		strlcpy(transfer->remote_addr, ip, sizeof(transfer->remote_addr));
		transfer->remote_port = (int) port;
	}

	transfer->code = code;
	if (code != CURLE_OK)
		describe_failure(transfer, code);
	if (transfer->refused)
	{
		transfer->remote_addr[0] = '\0';
		transfer->remote_port = 0;
	}
}

void
mv_transfer_fail(MvTransfer *transfer, CURLcode code, const char *error)
{
	transfer->code = code;
	strlcpy(transfer->error, error, sizeof(transfer->error));
}

void
mv_transfer_release(MvTransfer *transfer)
{
	transfer->headers = NULL;
	free(transfer->response_headers);
	transfer->response_headers = NULL;
	transfer->response_headers_len = 0;
	free(transfer->response_body);
	transfer->response_body = NULL;
	transfer->response_body_len = 0;
}

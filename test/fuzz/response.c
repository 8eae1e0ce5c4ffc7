/*
 * Responses: header lines and pieces of the body as libcurl hands them over,
 * in any order and size, and Retry-After by itself.
 */
#include "../../src/core/transfer_response.c"

#include <ctype.h>

#include "fuzz.h"

bool
mv_target_is_tls(const MvTarget *target)
{
	return false;
}

MvSftp *
mv_target_sftp(const MvTarget *target)
{
	return NULL;
}

/*
 * The first byte chooses the bound of the body. What follows are header lines
 * up to their line ends; behind an empty line of a final response, and behind
 * every byte 1, come pieces of the body.
 */
static void
run_response(const char *data, size_t len)
{
	static const size_t bounds[] = {0, 1, 7, 4096, 100000};
	static const CURLcode codes[] = {CURLE_OK, CURLE_OPERATION_TIMEDOUT, CURLE_COULDNT_CONNECT, CURLE_RECV_ERROR,
		CURLE_WEIRD_SERVER_REPLY, CURLE_OUT_OF_MEMORY, CURLE_UNSUPPORTED_PROTOCOL, CURLE_WRITE_ERROR};
	MvTransfer	transfer = {0};
	MvHandle	handle = {0};
	const char *end = data + len;

	if (len < 2)
		return;
	mv_transfer_reset(&transfer);
	transfer.max_response_body = bounds[(unsigned char) data[0] % lengthof(bounds)];
	transfer.handle = &handle;
	handle.transfer = &transfer;
	handle.easy = curl_easy_init();
	if (isalpha((unsigned char) data[0]))
		strlcpy(handle.errbuf, data, Min(len, sizeof(handle.errbuf)));	/* as libcurl's do */
	handle.dialled = (data[0] & 64) != 0;
	handle.address.ss_family = data[1];
	data++;

	while (data < end)
	{
		const char *eol = memchr(data, '\n', end - data);
		size_t		n = eol ? eol + 1 - data : end - data;
		char	   *piece = malloc(n);
		bool		is_body = handle.header_done || *data == 1;
		size_t		took;

		memcpy(piece, data, n);
		took = is_body ? mv_response_body(piece, 1, n, &handle) : mv_response_header(piece, 1, n, &handle);
		free(piece);
		must(took == n || took == CURL_WRITEFUNC_ERROR);
		must(transfer.response_body_len <= transfer.max_response_body);
		must(transfer.response_headers_len <= MAX_KEPT_HEADERS);
		must(transfer.retry_after >= -1 && transfer.retry_after <= MAX_RETRY_AFTER);
		if (took != n)
			break;
		data += n;
	}
	mv_transfer_finish(&transfer, codes[len % lengthof(codes)]);
	must(strlen(transfer.error) < sizeof(transfer.error));
	must((transfer.code == CURLE_OK) == (transfer.error[0] == '\0'));
	for (const char *c = transfer.error; *c; c++)
		must(*c >= ' ' && *c <= '~');
	for (size_t i = 0; i < transfer.response_headers_len; i++)
		must(transfer.response_headers[i] == '\n' || (transfer.response_headers[i] >= ' ' && transfer.response_headers[i] <= '~'));
	curl_easy_cleanup(handle.easy);
	mv_transfer_release(&transfer);
}

static void
run_retry_after(const char *data, size_t len)
{
	char	   *value = malloc(len);
	long		seconds;

	memcpy(value, data, len);
	seconds = parse_retry_after(value, len);
	must(seconds >= -1 && seconds <= MAX_RETRY_AFTER);
	free(value);
}

static const char *const words[] = {
	"HTTP/1.1 200 OK\r\n", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 ", "HTTP/", "99999999", "\r\n", "\n", "\r\n\r\n", ": ", " ", "\t",
	"Retry-After: ", "retry-after:", "120", "-1", "99999999999999999999", "Fri, 31 Dec 2026 23:59:59 GMT", "X-Name: value\r\n",
	" folded\r\n", "\x01", "Content-Length: 5\r\n", "\xc3\x28", NULL
};

const FuzzTarget response_targets[] = {
	{"response", run_response, words},
	{"retry_after", run_retry_after, words},
	{0}
};

/* The address guard: hosts of URLs, addresses of any kind, the setting. */
#include "../../src/core/guard.c"

#include "fuzz.h"

static void
run_host(const char *data, size_t len)
{
	if (memchr(data, 0, len) == NULL)
		mv_guard_host_refusal(data);
}

/* An address inside another one is never judged more kindly than by itself. */
static void
run_address(const char *data, size_t len)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	struct sockaddr_in6 inside = {.sin6_family = AF_INET6};
	struct sockaddr other = {.sa_family = len > 0 ? (unsigned char) data[0] : 0};

	memcpy(&v4.sin_addr, data, Min(len, 4));
	memcpy(&v6.sin6_addr, data, Min(len, 16));
	mv_guard_refusal((struct sockaddr *) &v6);
	if (other.sa_family != AF_INET && other.sa_family != AF_INET6)
		must(mv_guard_refusal(&other) != NULL);
	for (size_t i = 0; i < lengthof(embeddings); i++)
	{
		uint8	   *bytes = (uint8 *) &inside.sin6_addr;

		memcpy(bytes, embeddings[i].addr, 16);
		for (int j = 0; j < 4; j++)
			bytes[embeddings[i].offset + j] = ((uint8 *) &v4.sin_addr)[j] ^ (embeddings[i].inverted ? 0xff : 0);
		if (mv_guard_refusal((struct sockaddr *) &v4) != NULL)
			must(mv_guard_refusal((struct sockaddr *) &inside) != NULL);
	}
}

static void
run_networks(const char *data, size_t len)
{
	char	   *value;
	void	   *extra = NULL;

	if (memchr(data, 0, len) != NULL)
		return;
	value = pstrdup(data);
	if (check_allowed_networks(&value, &extra, PGC_S_FILE))
	{
		assign_allowed_networks(value, extra);
		run_address(data, len);
	}
	assign_allowed_networks("", NULL);
	free(extra);
}

static const char *const words[] = {
	"127.0.0.1", "10.", "0x7f", "0177", "2130706433", "[", "]", "::", "::ffff:", "64:ff9b::", "2002:", "fe80::1%eth0",
	".localhost", "localhost", ".", ":", "/", ",", " ", "/8", "/128", "/33", "ffff", "\xff\xff\xff\xff", "\x7f", "255", "%", NULL
};

const FuzzTarget guard_targets[] = {
	{"guard_host", run_host, words},
	{"guard_address", run_address, words},
	{"guard_networks", run_networks, words},
	{0}
};

/* X-Forwarded-For: whatever it holds, the answer is an address that it may be. */
#include "../../src/core/proxies.c"

#include "fuzz.h"

static void
run_forwarded(const char *data, size_t len)
{
	static const uint8 peer_address[4] = {10, 0, 0, 1};
	char	   *value = pstrdup("10.0.0.0/8, fd00::/8");
	void	   *extra = NULL;
	inet		peer;
	inet		client;
	bool		known;

	set_address(&peer, AF_INET, peer_address);
	must(mv_client_address(&peer, data, len, &client) && ip_addr(&client)[0] == 10);
	must(!mv_client_address(NULL, data, len, &client));

	must(check_trusted_proxies(&value, &extra, PGC_S_FILE));
	assign_trusted_proxies(value, extra);
	known = mv_client_address(NULL, data, len, &client);
	must(mv_client_address(&peer, data, len, &client));
	must(ip_family(&client) == PGSQL_AF_INET || ip_family(&client) == PGSQL_AF_INET6);
	/* what stands before the first address that isn't trusted doesn't matter */
	if (known && !is_trusted(&client))
	{
		char	   *forged = palloc(len + 10);
		inet		same;

		memcpy(forged, "1.2.3.4, ", 9);
		memcpy(forged + 9, data, len);
		must(mv_client_address(NULL, forged, len + 9, &same) && memcmp(&same, &client, sizeof(inet)) == 0);
	}
	assign_trusted_proxies("", NULL);
	free(extra);
}

static const char *const words[] = {
	"10.1.2.3", "fd00::7", "203.0.113.9", "2001:db8::1", "[2001:db8::1]:443", "::ffff:10.0.0.1", "unknown", "_hidden",
	":4711", ", ", ",", " ", "\t", "[", "]", "%eth0", "/8", NULL
};

const FuzzTarget proxies_targets[] = {
	{"proxies_forwarded", run_forwarded, words},
	{0}
};

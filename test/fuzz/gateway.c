/* What the gateway reads of proxies: the hops of X-Forwarded-For and the scheme. */
#include "../../src/api/gateway_client.c"

#include "fuzz.h"

/* Whatever a header says, the client is an address, and the peer's where that isn't trusted. */
static void
run_forwarded(const char *data, size_t len)
{
	static Request request;
	Connection	connection = {.peer = {.family = AF_INET, .bytes = {10, 0, 0, 1}}};
	void	   *extra = NULL;

	request.connection = &connection;
	request.nfields = 2;
	request.fields[0] = (MvField) {"x-forwarded-for", 15, data, len};
	request.fields[1] = (MvField) {"x-forwarded-proto", 17, data, len};
	gateway_find_client(&request);
	must(memcmp(&request.client, &connection.peer, sizeof(Address)) == 0);
	must(!request.https && !request.client_known);

	must(mv_check_networks("x", "10.0.0.0/8, fd00::/8", &extra));
	mv_trusted_proxies = extra;
	gateway_find_client(&request);
	must(request.client.family == AF_INET || request.client.family == AF_INET6);
	must(request.client_known);
	mv_trusted_proxies = NULL;
	free(extra);
}

static const char *const words[] = {
	"10.1.1.1", "1.2.3.4", "::1", "[fd00::1]", "[", "]", ":", ":443", ",", ", ", " ", "\t", "::ffff:10.0.0.1", "https", "http", "unknown", "_x", NULL
};

const FuzzTarget gateway_targets[] = {
	{"gateway_forwarded", run_forwarded, words},
	{0}
};

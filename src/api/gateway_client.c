/*
 * Who asks: the address and the scheme. A proxy in front says both in
 * X-Forwarded-For and X-Forwarded-Proto; that is believed only of peers in
 * musicverse.trusted_proxies, as anybody can send these headers. What is
 * several headers of hops counts as one list; of one too long its right end.
 */
#include "postgres.h"

#include <arpa/inet.h>

#include "api/gateway_int.h"

#define MAX_HOPS 4096

void
gateway_address_text(const Address *address, char *text, size_t room)
{
	if (inet_ntop(address->family, address->bytes, text, room) == NULL)
		strlcpy(text, "?", room);
}

bool
gateway_in(const MvNetworks *networks, const Address *address)
{
	return mv_networks_have(networks, address->family, address->bytes);
}

static bool
is_named(const MvField *field, const char *name, size_t len)
{
	return field->name_len == len && memcmp(field->name, name, len) == 0;
}

inet *
gateway_inet(const Address *address)
{
	static inet result;

	memset(&result, 0, sizeof(result));
	ip_family(&result) = address->family == AF_INET ? PGSQL_AF_INET : PGSQL_AF_INET6;
	ip_bits(&result) = ip_maxbits(&result);
	memcpy(ip_addr(&result), address->bytes, ip_addrsize(&result));
	SET_INET_VARSIZE(&result);
	return &result;
}

/* Several headers of hops are one list: puts one before what is there already. False when there is no room. */
static bool
prepend_hops(const MvField *field, char *hops, size_t *begin)
{
	if (field->value_len + 1 > *begin)
		return false;
	hops[--*begin] = ',';
	*begin -= field->value_len;
	memcpy(hops + *begin, field->value, field->value_len);
	return true;
}

void
gateway_find_client(Request *request)
{
	static char hops[MAX_HOPS];
	bool		trusted = gateway_in(mv_trusted_proxies, &request->connection->peer);
	bool		room = true;
	bool		proto_seen = false;
	size_t		begin = sizeof(hops);
	inet		client;

	request->client = request->connection->peer;
	request->client_known = true;
	request->https = false;
	for (int i = request->nfields - 1; i >= 0; i--)
	{
		const MvField *field = &request->fields[i];

		if (is_named(field, "x-forwarded-for", 15))
		{
			if (!trusted)
				request->client_known = false;
			else
				room = room && prepend_hops(field, hops, &begin);
		}
		else if (trusted && !proto_seen && is_named(field, "x-forwarded-proto", 17))
		{
			size_t		start = field->value_len;

			/* the last one is what our proxy was asked by */
			while (start > 0 && field->value[start - 1] != ',' && field->value[start - 1] != ' ')
				start--;
			request->https = field->value_len - start == 5 && pg_strncasecmp(field->value + start, "https", 5) == 0;
			proto_seen = true;
		}
	}
	/* without the comma at its end */
	if (begin < sizeof(hops) &&
		mv_client_address(gateway_inet(&request->client), hops + begin, sizeof(hops) - begin - 1, &client))
	{
		memset(&request->client, 0, sizeof(request->client));
		request->client.family = ip_family(&client) == PGSQL_AF_INET ? AF_INET : AF_INET6;
		memcpy(request->client.bytes, ip_addr(&client), ip_addrsize(&client));
	}
}

/*
 * Who asks: the address and the scheme. A proxy in front says both in
 * X-Forwarded-For and X-Forwarded-Proto; that is believed only of peers in
 * musicverse.trusted_proxies, as anybody can send these headers.
 */
#include "postgres.h"

#include <arpa/inet.h>

#include "api/gateway_int.h"
#include "core/proxies.h"
#include "utils/inet.h"

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

void
gateway_address_inet(const Address *address, inet *to)
{
	memset(to, 0, sizeof(*to));
	ip_family(to) = address->family == AF_INET ? PGSQL_AF_INET : PGSQL_AF_INET6;
	ip_bits(to) = ip_maxbits(to);
	memcpy(ip_addr(to), address->bytes, ip_addrsize(to));
	SET_INET_VARSIZE(to);
}

/* Several headers are one list; all of them fit, as they do in a head. */
static void
follow_forwarded(Request *request)
{
	static char list[MAX_HEAD];
	size_t		len = 0;
	inet		peer;
	inet		client;

	for (int i = 0; i < request->nfields; i++)
	{
		const MvField *field = &request->fields[i];

		if (!is_named(field, "x-forwarded-for", 15) || len + 1 + field->value_len > sizeof(list))
			continue;
		if (len > 0)
			list[len++] = ',';
		memcpy(list + len, field->value, field->value_len);
		len += field->value_len;
	}
	gateway_address_inet(&request->connection->peer, &peer);
	if (!mv_client_address(&peer, list, len, &client))
		return;
	memset(&request->client, 0, sizeof(request->client));
	request->client.family = ip_family(&client) == PGSQL_AF_INET ? AF_INET : AF_INET6;
	memcpy(request->client.bytes, ip_addr(&client), ip_addrsize(&client));
}

void
gateway_find_client(Request *request)
{
	bool		trusted = gateway_in(mv_trusted_proxies, &request->connection->peer);
	bool		forwarded = false;
	bool		proto_seen = false;

	request->client = request->connection->peer;
	request->https = false;
	for (int i = request->nfields - 1; i >= 0; i--)
	{
		const MvField *field = &request->fields[i];

		if (is_named(field, "x-forwarded-for", 15))
			forwarded = true;
		else if (trusted && !proto_seen && is_named(field, "x-forwarded-proto", 17))
		{
			size_t		begin = field->value_len;

			/* the last one is what our proxy was asked by */
			while (begin > 0 && field->value[begin - 1] != ',' && field->value[begin - 1] != ' ')
				begin--;
			request->https = field->value_len - begin == 5 && pg_strncasecmp(field->value + begin, "https", 5) == 0;
			proto_seen = true;
		}
	}
	request->client_known = trusted || !forwarded;
	if (trusted && forwarded)
		follow_forwarded(request);
}

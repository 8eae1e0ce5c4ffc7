/*
 * Who asks: the address and the scheme. A proxy in front says both in
 * X-Forwarded-For and X-Forwarded-Proto; that is believed only of peers in
 * musicverse.trusted_proxies, as anybody can send these headers.
 *
 * Each proxy appends the address it was asked from, so the list is read from
 * its right end, past the proxies that are trusted themselves; the first one
 * that isn't is the client, whatever stands further left.
 */
#include "postgres.h"

#include <arpa/inet.h>

#include "api/gateway_int.h"

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

/* One element of the list: an address, perhaps in brackets, perhaps with a port. */
static bool
parse_hop(const char *from, size_t len, Address *address)
{
	static const uint8 mapped[16] = {[10] = 0xff, [11] = 0xff};
	char		text[INET6_ADDRSTRLEN + 10];
	char	   *bare = text;

	while (len > 0 && (from[0] == ' ' || from[0] == '\t'))
		from++, len--;
	while (len > 0 && (from[len - 1] == ' ' || from[len - 1] == '\t'))
		len--;
	if (len == 0 || len >= sizeof(text))
		return false;
	memcpy(text, from, len);
	text[len] = '\0';
	if (text[0] == '[')
	{
		char	   *end = strchr(text, ']');

		if (end == NULL || (end[1] != '\0' && end[1] != ':'))
			return false;
		*end = '\0';
		bare++;
	}
	else if (strchr(text, ':') != NULL && strchr(text, ':') == strrchr(text, ':'))
		*strchr(text, ':') = '\0';

	memset(address, 0, sizeof(*address));
	address->family = strchr(bare, ':') != NULL ? AF_INET6 : AF_INET;
	if (inet_pton(address->family, bare, address->bytes) != 1)
		return false;
	if (address->family == AF_INET6 && mv_has_prefix(address->bytes, mapped, 96))
	{
		address->family = AF_INET;
		memmove(address->bytes, address->bytes + 12, 4);
		memset(address->bytes + 4, 0, 12);
	}
	return true;
}

/* Reads one header from its right end. True when the client was found or the list can't be read further. */
static bool
walk_hops(const MvField *field, Address *client)
{
	size_t		end = field->value_len;

	for (;;)
	{
		size_t		begin = end;
		Address		hop;

		while (begin > 0 && field->value[begin - 1] != ',')
			begin--;
		if (!parse_hop(field->value + begin, end - begin, &hop))
			return true;
		*client = hop;
		if (!gateway_in(mv_trusted_proxies, &hop))
			return true;
		if (begin == 0)
			return false;
		end = begin - 1;
	}
}

static bool
is_named(const MvField *field, const char *name, size_t len)
{
	return field->name_len == len && memcmp(field->name, name, len) == 0;
}

void
gateway_find_client(Request *request)
{
	bool		trusted = gateway_in(mv_trusted_proxies, &request->connection->peer);
	bool		found = false;
	bool		proto_seen = false;

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
			else if (!found)
				found = walk_hops(field, &request->client);
		}
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
}

/*
 * The address of a client behind proxies. See proxies.h.
 *
 * Each proxy adds the address of its peer on the right of X-Forwarded-For, and
 * what stands left of the first untrusted address may have been made up by it.
 * So the list is read from the right, as long as who wrote it is trusted.
 *
 * Must stay correct for any bytes: they come from strangers.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include "core/networks.h"
#include "core/proxies.h"
#include "utils/guc.h"

static char *trusted_proxies;
const MvNetworks *mv_trusted_proxies = NULL;

static bool
check_trusted_proxies(char **newval, void **extra, GucSource source)
{
	return mv_check_networks("musicverse.trusted_proxies", *newval, extra);
}

static void
assign_trusted_proxies(const char *newval, void *extra)
{
	mv_trusted_proxies = extra;
}

void
mv_proxies_init(void)
{
	DefineCustomStringVariable("musicverse.trusted_proxies",
							   "Networks of the proxies whose X-Forwarded-For is believed.",
							   "A comma-separated list of CIDRs. Empty: the header is ignored.",
							   &trusted_proxies, "", PGC_SIGHUP, GUC_LIST_INPUT,
							   check_trusted_proxies, assign_trusted_proxies, NULL);
}

static void
set_address(inet *to, int family, const uint8 *addr)
{
	static const uint8 mapped[12] = {[10] = 0xff, [11] = 0xff};
	inet_struct *address = &to->inet_data;

	if (family == AF_INET6 && memcmp(addr, mapped, sizeof(mapped)) == 0)
	{
		family = AF_INET;
		addr += sizeof(mapped);
	}
	memset(to, 0, sizeof(*to));
	address->family = family == AF_INET ? PGSQL_AF_INET : PGSQL_AF_INET6;
	address->bits = family == AF_INET ? 32 : 128;
	memcpy(address->ipaddr, addr, family == AF_INET ? 4 : 16);
	SET_INET_VARSIZE(to);
}

/* 192.0.2.1, 192.0.2.1:4711, 2001:db8::1, [2001:db8::1], [2001:db8::1]:4711 */
static bool
parse_address(const char *text, int len, inet *to)
{
	char		buffer[64];
	char	   *host = buffer;
	char	   *colon;
	uint8		addr[16];
	int			family;

	while (len > 0 && (*text == ' ' || *text == '\t'))
		text++, len--;
	while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t'))
		len--;
	if (len == 0 || len >= sizeof(buffer) || memchr(text, '\0', len) != NULL)
		return false;
	memcpy(buffer, text, len);
	buffer[len] = '\0';

	if (host[0] == '[')
	{
		char	   *end = strchr(++host, ']');

		if (end == NULL || (end[1] != '\0' && end[1] != ':'))
			return false;
		*end = '\0';
		family = AF_INET6;
	}
	else
	{
		colon = strchr(host, ':');
		family = colon != NULL && strchr(colon + 1, ':') != NULL ? AF_INET6 : AF_INET;
		if (family == AF_INET && colon != NULL)
			*colon = '\0';
	}
	if (inet_pton(family, host, addr) != 1)
		return false;
	set_address(to, family, addr);
	return true;
}

static bool
is_trusted(const inet *address)
{
	return mv_networks_have(mv_trusted_proxies, ip_family(address) == PGSQL_AF_INET ? AF_INET : AF_INET6, ip_addr(address));
}

bool
mv_client_address(const inet *peer, const char *forwarded_for, int len, inet *client)
{
	bool		known = peer != NULL;

	if (known)
		set_address(client, ip_family(peer) == PGSQL_AF_INET ? AF_INET : AF_INET6, ip_addr(peer));
	if (mv_trusted_proxies == NULL || mv_trusted_proxies->count == 0 || forwarded_for == NULL)
		return known;

	while (len > 0 && (!known || is_trusted(client)))
	{
		int			start = len;
		inet		next;

		while (start > 0 && forwarded_for[start - 1] != ',')
			start--;
		if (!parse_address(forwarded_for + start, len - start, &next))
			break;
		*client = next;
		known = true;
		len = start - 1;
	}
	return known;
}

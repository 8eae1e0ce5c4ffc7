/*
 * Lists of networks: parsed when a setting is checked, looked at where nothing
 * may raise or allocate.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "core/compat.h"
#include "core/networks.h"
#include "utils/guc.h"

bool
mv_has_prefix(const uint8 *addr, const uint8 *prefix, int bits)
{
	int			whole = bits / 8;
	int			rest = bits % 8;

	if (memcmp(addr, prefix, whole) != 0)
		return false;
	return rest == 0 || ((addr[whole] ^ prefix[whole]) >> (8 - rest)) == 0;
}

bool
mv_networks_have(const MvNetworks *networks, int family, const uint8 *addr)
{
	for (int i = 0; networks != NULL && i < networks->count; i++)
	{
		const MvNetwork *network = &networks->network[i];

		if (network->family == family && mv_has_prefix(addr, network->addr, network->bits))
			return true;
	}
	return false;
}

/* Parses one CIDR, or a single address, in place; false with *problem set. */
static bool
parse_network(char *text, MvNetwork *network, const char **problem)
{
	char	   *slash = strchr(text, '/');
	int			max_bits;

	memset(network, 0, sizeof(*network));
	network->family = strchr(text, ':') ? AF_INET6 : AF_INET;
	max_bits = network->family == AF_INET6 ? 128 : 32;
	network->bits = max_bits;

	if (slash)
	{
		char	   *end;
		long		bits = strtol(slash + 1, &end, 10);

		if (slash[1] < '0' || slash[1] > '9' || *end != '\0' || bits > max_bits)
		{
			*problem = "Its prefix length is not a number from 0 to 32 (IPv4) or 128 (IPv6).";
			return false;
		}
		network->bits = (uint8) bits;
		*slash = '\0';
	}

	if (inet_pton(network->family, text, network->addr) != 1)
	{
		*problem = "It is neither an IPv4 nor an IPv6 address.";
		return false;
	}
	for (int bit = network->bits; bit < max_bits; bit++)
		if (network->addr[bit / 8] & (0x80 >> (bit % 8)))
		{
			*problem = "It has bits set to the right of its prefix.";
			return false;
		}
	return true;
}

bool
mv_check_networks(const char *setting, const char *value, void **extra)
{
	const char *at = value ? value : "";
	size_t		items = 1;
	MvNetworks *parsed;

	for (const char *c = at; *c; c++)
		items += *c == ',';
	parsed = guc_malloc(LOG, offsetof(MvNetworks, network) + items * sizeof(MvNetwork));
	if (parsed == NULL)
		return false;
	parsed->count = 0;
	*extra = parsed;

	if (at[strspn(at, " \t\r\n")] == '\0')
		return true;
	for (;;)
	{
		size_t		len = strcspn(at, ",");
		const char *end = at + len;
		const char *next = *end ? end + 1 : NULL;
		char		item[100];
		char		shown[100];
		const char *problem = "It is neither an IPv4 nor an IPv6 address.";

		while (at < end && isspace((unsigned char) *at))
			at++;
		while (end > at && isspace((unsigned char) end[-1]))
			end--;
		strlcpy(item, at, Min(sizeof(item), (size_t) (end - at) + 1));
		strlcpy(shown, item, sizeof(shown));

		if ((size_t) (end - at) >= sizeof(item) ||
			!parse_network(item, &parsed->network[parsed->count], &problem))
		{
			GUC_check_errmsg("invalid network \"%s\" in \"%s\"", shown, setting);
			GUC_check_errdetail("%s", problem);
			GUC_check_errhint("List networks such as 10.1.0.0/16, fd00::/8 or 127.0.0.1, separated by commas.");
			return false;
		}
		parsed->count++;
		if (next == NULL)
			return true;
		at = next;
	}
}

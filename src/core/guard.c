/*
 * The address guard: tells which addresses may be dialled.
 *
 * The ranges are those of IANA's special-purpose registries for IPv4 and IPv6
 * (the few that are marked globally reachable there, such as AS112, host no
 * receivers either and are refused too) and of the multicast and reserved
 * blocks. IPv6 outside 2000::/3 is refused as a whole; the finer rows only
 * give it a better name.
 *
 * Judging takes no lock, allocates nothing and never raises: it runs inside
 * libcurl's callbacks with all signals blocked. It must stay correct for any
 * bytes, since the addresses come from other people's DNS.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "core/guard.h"
#include "core/networks.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inet.h"

typedef struct Range
{
	uint8		addr[16];
	uint8		bits;
	const char *reason;
} Range;

/* Where an IPv6 address carries an IPv4 one. */
typedef struct Embedding
{
	uint8		addr[16];
	uint8		bits;
	uint8		offset;			/* of the IPv4 address */
	bool		inverted;		/* each of its bits is flipped */
	const char *reason;			/* NULL: judged by the IPv4 address alone */
} Embedding;

static const Range v4_ranges[] = {
	{{0}, 8, "unspecified address"},
	{{10}, 8, "private address"},
	{{100, 64}, 10, "shared address (carrier-grade NAT)"},
	{{127}, 8, "loopback address"},
	{{169, 254}, 16, "link-local address"},
	{{172, 16}, 12, "private address"},
	{{192, 0, 0}, 24, "protocol-assignment address"},
	{{192, 0, 2}, 24, "documentation address"},
	{{192, 31, 196}, 24, "AS112 address"},
	{{192, 52, 193}, 24, "AMT relay address"},
	{{192, 88, 99}, 24, "6to4 relay address"},
	{{192, 168}, 16, "private address"},
	{{192, 175, 48}, 24, "AS112 address"},
	{{198, 18}, 15, "benchmarking address"},
	{{198, 51, 100}, 24, "documentation address"},
	{{203, 0, 113}, 24, "documentation address"},
	{{224}, 4, "multicast address"},
	{{255, 255, 255, 255}, 32, "broadcast address"},
	{{240}, 4, "reserved address"},
};

/* The first row that matches counts. */
static const Range v6_ranges[] = {
	{{0}, 128, "unspecified address"},
	{{[15] = 1}, 128, "loopback address"},
	{{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}, 48, "local NAT64 address"},
	{{0x01, 0x00}, 64, "discard-only address"},
	{{0x01, 0x00, [7] = 1}, 64, "dummy address"},
	{{0x20, 0x01, 0x00, 0x02, 0x00, 0x00}, 48, "benchmarking address"},
	{{0x20, 0x01, 0x00, 0x10}, 28, "ORCHID address"},
	{{0x20, 0x01, 0x00, 0x20}, 28, "ORCHID address"},
	{{0x20, 0x01}, 23, "protocol-assignment address"},
	{{0x20, 0x01, 0x0d, 0xb8}, 32, "documentation address"},
	{{0x26, 0x20, 0x00, 0x4f, 0x80, 0x00}, 48, "AS112 address"},
	{{0x3f, 0xff, 0x00}, 20, "documentation address"},
	{{0x5f, 0x00}, 16, "segment-routing address"},
	{{0xfc}, 7, "private address"},
	{{0xfe, 0x80}, 10, "link-local address"},
	{{0xfe, 0xc0}, 10, "site-local address"},
	{{0xff}, 8, "multicast address"},
};

static const Embedding embeddings[] = {
	{{[10] = 0xff, [11] = 0xff}, 96, 12, false, NULL},	/* IPv4-mapped */
	{{0x00, 0x64, 0xff, 0x9b}, 96, 12, false, NULL},	/* NAT64 */
	{{[8] = 0xff, [9] = 0xff}, 96, 12, false, "IPv4-translated address"},
	{{0}, 96, 12, false, "IPv4-compatible address"},
	{{0x20, 0x02}, 16, 2, false, "6to4 address"},
	{{0x20, 0x01, 0x00, 0x00}, 32, 12, true, "Teredo address"},
};

static char *allowed_networks;
static const MvNetworks *allowed;

PG_FUNCTION_INFO_V1(musicverse_address_refusal);

static bool
is_allowed(int family, const uint8 *addr)
{
	return mv_networks_have(allowed, family, addr);
}

static const char *
v4_refusal(const uint8 *addr)
{
	if (is_allowed(AF_INET, addr))
		return NULL;
	for (size_t i = 0; i < lengthof(v4_ranges); i++)
		if (mv_has_prefix(addr, v4_ranges[i].addr, v4_ranges[i].bits))
			return v4_ranges[i].reason;
	return NULL;
}

static const char *
v6_refusal(const uint8 *addr)
{
	static const uint8 unspecified[16] = {0};

	if (is_allowed(AF_INET6, addr))
		return NULL;

	/* "::" and "::1" lie in the IPv4-compatible block but embed nothing. */
	for (size_t i = 0; memcmp(addr, unspecified, 15) != 0 && i < lengthof(embeddings); i++)
	{
		const Embedding *embedding = &embeddings[i];
		uint8		v4[4];

		if (!mv_has_prefix(addr, embedding->addr, embedding->bits))
			continue;
		for (int j = 0; j < 4; j++)
			v4[j] = addr[embedding->offset + j] ^ (embedding->inverted ? 0xff : 0);
		if (is_allowed(AF_INET, v4))
			return NULL;
		return embedding->reason ? embedding->reason : v4_refusal(v4);
	}

	for (size_t i = 0; i < lengthof(v6_ranges); i++)
		if (mv_has_prefix(addr, v6_ranges[i].addr, v6_ranges[i].bits))
			return v6_ranges[i].reason;
	return (addr[0] & 0xe0) == 0x20 ? NULL : "address outside global unicast";
}

const char *
mv_guard_refusal(const struct sockaddr *addr)
{
	switch (addr->sa_family)
	{
		case AF_INET:
			return v4_refusal((const uint8 *) &((const struct sockaddr_in *) addr)->sin_addr);
		case AF_INET6:
			return v6_refusal((const uint8 *) &((const struct sockaddr_in6 *) addr)->sin6_addr);
		default:
			return "not an internet address";
	}
}

/* True for "localhost" and every name under it, which RFC 6761 binds to loopback. */
static bool
is_localhost(const char *host)
{
	static const char *const names[] = {"localhost", "localhost6", "ip6-localhost", "ip6-loopback"};
	size_t		len = strlen(host);

	for (size_t i = 0; i < lengthof(names); i++)
		if (pg_strcasecmp(host, names[i]) == 0)
			return true;
	return len > 10 && pg_strcasecmp(host + len - 10, ".localhost") == 0;
}

const char *
mv_guard_host_refusal(const char *host)
{
	static const uint8 loopback4[4] = {127, 0, 0, 1};
	static const uint8 loopback6[16] = {[15] = 1};
	char		bare[256];
	size_t		len = strlen(host);
	bool		bracketed = host[0] == '[';
	struct in_addr v4;
	struct in6_addr v6;

	if (bracketed)
	{
		if (len < 2 || host[len - 1] != ']')
			return "malformed address";
		host++;
		len -= 2;
	}
	else if (len > 1 && host[len - 1] == '.')
		len--;					/* a rooted name: the same host */
	if (len == 0)
		return "malformed address";
	if (len >= sizeof(bare))
		return "host name longer than 255 characters";
	memcpy(bare, host, len);
	bare[len] = '\0';

	if (bracketed || strchr(bare, ':') != NULL)
	{
		if (strchr(bare, '%') != NULL)
			return "address with a zone";
		if (inet_pton(AF_INET6, bare, &v6) != 1)
			return "malformed address";
		return v6_refusal((const uint8 *) &v6);
	}

	/* inet_aton knows the forms that resolvers take: 127.1, 2130706433, 0x7f.1, 0177.0.0.1 */
	if (inet_aton(bare, &v4) != 0)
		return v4_refusal((const uint8 *) &v4);

	if (is_localhost(bare) && !(is_allowed(AF_INET, loopback4) && is_allowed(AF_INET6, loopback6)))
		return "loopback address";
	return NULL;
}

static bool
check_allowed_networks(char **newval, void **extra, GucSource source)
{
	return mv_check_networks("musicverse.allowed_networks", *newval, extra);
}

static void
assign_allowed_networks(const char *newval, void *extra)
{
	allowed = extra;
}

void
mv_guard_init(void)
{
	DefineCustomStringVariable("musicverse.allowed_networks",
							   "Networks that may be dialled although the address guard would refuse them.",
							   "A comma-separated list of CIDRs. Without it only global unicast addresses are dialled.",
							   &allowed_networks,
							   "",
							   PGC_SIGHUP,
							   GUC_LIST_INPUT,
							   check_allowed_networks,
							   assign_allowed_networks,
							   NULL);
}

/* address_refusal(inet): NULL when the address may be dialled, else the reason. */
Datum
musicverse_address_refusal(PG_FUNCTION_ARGS)
{
	inet	   *address = PG_GETARG_INET_PP(0);
	const char *reason;

	if (ip_family(address) == PGSQL_AF_INET)
		reason = v4_refusal(ip_addr(address));
	else
		reason = v6_refusal(ip_addr(address));
	if (reason == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(reason));
}

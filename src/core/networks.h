/*
 * Lists of networks, as settings hold them.
 */
#ifndef MV_NETWORKS_H
#define MV_NETWORKS_H

#include "postgres.h"

typedef struct MvNetwork
{
	uint8		addr[16];		/* an IPv4 network uses the first four */
	uint8		bits;
	uint8		family;			/* AF_INET or AF_INET6 */
} MvNetwork;

typedef struct MvNetworks
{
	int			count;
	MvNetwork	network[FLEXIBLE_ARRAY_MEMBER];
} MvNetworks;

/*
 * The check hook of a setting that lists CIDRs and single addresses, separated
 * by commas: *extra becomes the MvNetworks, for the assign hook. False with
 * message, detail and hint for what isn't one, or when memory is out.
 */
extern bool mv_check_networks(const char *setting, const char *value, void **extra);

/* Is the address in one of them? NULL has none. Never raises, never allocates. */
extern bool mv_networks_have(const MvNetworks *networks, int family, const uint8 *addr);

/* Do the first bits agree? */
extern bool mv_has_prefix(const uint8 *addr, const uint8 *prefix, int bits);

#endif							/* MV_NETWORKS_H */

/*
 * Lists of networks as settings have them: CIDRs or single addresses,
 * separated by commas.
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
 * For check hooks: makes the list that the assign hook then gets as extra, or
 * says by GUC_check_err… what is wrong and returns false.
 */
extern bool mv_networks_check(const char *setting, const char *value, void **extra);

/* Is the address in one of them? Never raises, never allocates; NULL is an empty list. */
extern bool mv_networks_contain(const MvNetworks *networks, int family, const uint8 *addr);

/* Do the first so many bits agree? */
extern bool mv_has_prefix(const uint8 *addr, const uint8 *prefix, int bits);

#endif							/* MV_NETWORKS_H */

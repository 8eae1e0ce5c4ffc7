/*
 * The address of a client behind proxies: musicverse.trusted_proxies tells
 * whose X-Forwarded-For is believed.
 */
#ifndef MV_PROXIES_H
#define MV_PROXIES_H

#include "postgres.h"

#include "core/networks.h"
#include "utils/inet.h"

/* Defines musicverse.trusted_proxies. Called from _PG_init. */
extern void mv_proxies_init(void);

/* musicverse.trusted_proxies */
extern const MvNetworks *mv_trusted_proxies;

/*
 * The address that a request came from: the rightmost of X-Forwarded-For and,
 * behind all of them, the peer of the connection, that is no trusted proxy;
 * the farthest proxy when all of them are trusted, or when what stands left of
 * it is no address. peer is NULL where it isn't known and only trusted proxies
 * can connect: then the header alone counts, provided that the setting isn't
 * empty. forwarded_for may be NULL. False when nothing is known. An IPv4
 * address that came mapped into IPv6 is told as IPv4. Never raises.
 */
extern bool mv_client_address(const inet *peer, const char *forwarded_for, int len, inet *client);

#endif							/* MV_PROXIES_H */

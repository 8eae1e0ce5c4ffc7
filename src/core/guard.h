/*
 * The address guard: which network addresses the workers may dial.
 *
 * By default only global unicast addresses pass. Private, loopback,
 * link-local, CGNAT, multicast, documentation, reserved and unspecified
 * ranges are refused, also where they hide in an IPv4-mapped or NAT64
 * (64:ff9b::/96) address, which are judged by the IPv4 address inside.
 * IPv4-compatible, 6to4, Teredo and local NAT64 (64:ff9b:1::/48) addresses are
 * refused whatever they embed.
 *
 * musicverse.allowed_networks lists CIDRs that pass nevertheless, matched
 * against the address dialled and against the IPv4 address it embeds (of
 * 64:ff9b:1::/48 nothing is taken out: where the IPv4 address stands there is
 * each network's own choice).
 */
#ifndef MV_GUARD_H
#define MV_GUARD_H

#include "postgres.h"

#include <sys/socket.h>

/* Defines musicverse.allowed_networks with its check hook. Called from _PG_init. */
extern void mv_guard_init(void);

/*
 * Returns NULL when the address may be dialled, else a static sentence part
 * that says why not ("loopback address", "private address", …). Never raises,
 * never allocates: safe inside libcurl's callbacks.
 */
extern const char *mv_guard_refusal(const struct sockaddr *addr);

/*
 * The same for the host part of a URL when it is a literal address in any
 * spelling that a resolver would take (dotted, decimal, octal, hex, bracketed
 * or bare IPv6; a zone id is refused); NULL also for a name, which is judged
 * when it is dialled. "localhost" and names under it count as loopback, unless
 * both 127.0.0.1 and ::1 are allowed.
 */
extern const char *mv_guard_host_refusal(const char *host);

#endif							/* MV_GUARD_H */

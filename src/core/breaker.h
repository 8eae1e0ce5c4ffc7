/*
 * Breakers: one that has failed several times in a row is only probed.
 *
 * It opens after MV_BREAKER_THRESHOLD failures; while it is open one request
 * goes as a probe when open_until has passed. Success closes it, failure opens
 * it for twice as long. Whoever owns it asks for both; a zeroed one is closed.
 *
 * Private to a process, no locks. Nothing raises.
 */
#ifndef MV_BREAKER_H
#define MV_BREAKER_H

#include "postgres.h"

#include "datatype/timestamp.h"

#define MV_BREAKER_THRESHOLD 5

typedef struct MvBreaker
{
	int			failures;		/* in a row */
	int			open_ms;		/* how long it was opened last, 0 = it is closed */
	TimestampTz open_until;
} MvBreaker;

/*
 * Takes what came of a request; logs when it opens and closes, as kind
 * ("partner") and name. True when either happened, or it was opened again.
 */
extern bool mv_breaker_note(MvBreaker *breaker, bool success, TimestampTz now, const char *kind, const char *name);

/* May a request go, when so many are under way? */
extern bool mv_breaker_allows(const MvBreaker *breaker, int in_flight, TimestampTz now);

#endif							/* MV_BREAKER_H */

/*
 * The header fields RateLimit, RateLimit-Policy (structured fields of
 * draft-ietf-httpapi-ratelimit-headers-10) and Retry-After of a verdict.
 */
#ifndef MV_RATE_FIELDS_H
#define MV_RATE_FIELDS_H

#include "postgres.h"

#include "keys/keys.h"

typedef struct MvRateFields
{
	char		policy[64];		/* "burst";q=100;w=60 */
	char		limit[64];		/* "burst";r=50;t=30 */
	int64		retry_after;	/* whole seconds; 0 when waiting isn't asked for or doesn't help */
} MvRateFields;

/*
 * The fields of a verdict's tightest limit; false when no limit was looked at.
 * t is when the limit is whole again; of a refusal, when a retry may succeed,
 * which is Retry-After as well: never earlier than t. Both are rounded up.
 */
extern bool mv_rate_fields(const MvVerdict *verdict, MvRateFields *fields);

#endif							/* MV_RATE_FIELDS_H */

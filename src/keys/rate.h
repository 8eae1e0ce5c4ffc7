/*
 * Rates and waits as SQL has them: numeric, in seconds.
 */
#ifndef MV_RATE_H
#define MV_RATE_H

#include "postgres.h"

#include "utils/numeric.h"

/*
 * Nanoseconds between two tokens of a rate a second. Raises 22023 when the
 * rate isn't a positive number, or would take over 100 years to fill capacity.
 */
extern double mv_ns_per_token(Numeric per_second, int64 capacity);

/* The same without raising: 0 when it can't be. */
extern double mv_ns_per_token_safe(Numeric per_second, int64 capacity);

/* Microseconds as seconds, palloc'd; rounded up from nanoseconds. */
extern Datum mv_seconds(int64 us);
#define MV_NS_TO_US(ns) (((ns) + 999) / 1000)

#endif							/* MV_RATE_H */

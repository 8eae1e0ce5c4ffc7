/*
 * Numbers that only grow: delivery numbers and positions in the event log.
 *
 * They are microseconds since 1970 or, when that isn't more than the last
 * one, the last one plus one. So they need no sequence (whose nextval() would
 * change lastval() under a host that relies on it), no WAL and no state that
 * must survive a restart, and they stay below 2^53 for readers in JavaScript.
 */
#ifndef MV_NUMBERS_H
#define MV_NUMBERS_H

#include "postgres.h"

/*
 * Takes n numbers in a row and returns the first. In a database's first use
 * since the start of the server it looks up the highest numbers in its tables,
 * should the clock have been set back meanwhile; needs a transaction.
 */
extern int64 mv_take_numbers(int64 n);

/* The highest number taken so far, in any database. */
extern int64 mv_last_number(void);

#endif							/* MV_NUMBERS_H */

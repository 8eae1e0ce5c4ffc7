/*
 * The replaceable clock: everything that plans for later asks mv_now(), which
 * is the server's clock plus an offset in shared memory. The offset can be
 * moved only while musicverse.test_clock is on (a setting of the postmaster).
 */
#ifndef MV_CLOCK_H
#define MV_CLOCK_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* Defines musicverse.test_clock. Called from _PG_init. */
extern void mv_clock_init(void);

/* Never raises, takes no lock. */
extern TimestampTz mv_now(void);

#endif							/* MV_CLOCK_H */

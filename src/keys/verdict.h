/*
 * Settings of the verdicts, whose functions are in keys.h.
 */
#ifndef MV_VERDICT_H
#define MV_VERDICT_H

#include "postgres.h"

extern void mv_verdict_init(void);

#endif							/* MV_VERDICT_H */

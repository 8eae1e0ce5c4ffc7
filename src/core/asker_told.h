/*
 * What asker.c has shared memory told. One LWLock, held for a few memory
 * accesses; nothing raises.
 */
#ifndef MV_ASKER_TOLD_H
#define MV_ASKER_TOLD_H

#include "core/asker.h"

/* First of all, in a process: whose worker it is. */
extern void mv_told_begin(const MvDatabase *database, int place);

extern void mv_told_state(bool standing_still);

/* Once a turn. */
extern void mv_told_turn(int in_flight, int (*open_breakers) (char names[][NAMEDATALEN], int max));

#endif							/* MV_ASKER_TOLD_H */

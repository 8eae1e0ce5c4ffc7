/*
 * Who makes a request, and whether it may.
 */
#ifndef MV_IDENTITY_H
#define MV_IDENTITY_H

#include "postgres.h"

#include "api/call.h"

/*
 * Judges the caller by key, by the claims of a token, or by its address, and
 * takes the tokens. Raises 55000 without shared memory.
 */
extern bool mv_identify(MvApiCall *call);

/*
 * The same for a raw route, whose operation finds out who calls: whatever key
 * or token there is, the caller is nobody. Refuses an address that was wrong
 * too often; who is right takes no token.
 */
extern bool mv_identify_raw(MvApiCall *call);

/*
 * Makes an answer of the status that a raw operation returned. One that is 401
 * takes the route's cost from the address.
 */
extern bool mv_judge_raw(MvApiCall *call);

#endif							/* MV_IDENTITY_H */

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

#endif							/* MV_IDENTITY_H */

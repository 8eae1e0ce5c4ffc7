/*
 * Runs the operation of a call.
 */
#ifndef MV_OPERATE_H
#define MV_OPERATE_H

#include "postgres.h"

#include "api/call.h"

/*
 * Calls the function with what was bound, in a subtransaction, as the role
 * musicverse_api and on behalf of the user of the verdict. An error becomes
 * the call's problem; cancel and lack of memory go on to the caller. Whoever
 * the session and the caller were before, they are again in every case.
 */
extern bool mv_operate(MvApiCall *call);

#endif							/* MV_OPERATE_H */

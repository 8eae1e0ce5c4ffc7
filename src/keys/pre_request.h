/*
 * PostgREST's db-pre-request: the verdict on a request before its function.
 */
#ifndef MV_PRE_REQUEST_H
#define MV_PRE_REQUEST_H

#include "postgres.h"

/* The callback that counts a request at its end. Called from mv_keys_init. */
extern void mv_pre_request_init(void);

#endif							/* MV_PRE_REQUEST_H */

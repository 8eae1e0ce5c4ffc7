/*
 * PostgREST's db-pre-request: settings and the record of a request's usage at
 * its transaction's end.
 */
#ifndef MV_PRE_REQUEST_H
#define MV_PRE_REQUEST_H

#include "postgres.h"

extern void mv_pre_request_init(void);

#endif							/* MV_PRE_REQUEST_H */

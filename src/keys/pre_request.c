/*
 * PostgREST's db-pre-request.
 */
#include "postgres.h"

#include "keys/pre_request.h"

void
mv_pre_request_init(void)
{
}

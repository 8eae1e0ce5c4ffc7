/*
 * What operations judge: who asks, their arguments, what isn't there.
 */
#ifndef MV_API_ARGUMENTS_H
#define MV_API_ARGUMENTS_H

#include "postgres.h"

#include "utils/uuid.h"

/* The user who asks. Raises PT401 when nobody does. */
extern void mv_api_user(pg_uuid_t *user_id);

/* Raises PT404: something of the caller's does not exist. id may be NULL. */
extern _Noreturn void mv_api_missing(const char *kind, const pg_uuid_t *id);

#endif							/* MV_API_ARGUMENTS_H */

/*
 * Who calls: the user on whose behalf a statement runs, and whether the role
 * may act for everybody.
 */
#ifndef MV_CALLER_H
#define MV_CALLER_H

#include "postgres.h"

#include "utils/uuid.h"

/*
 * Sets the caller until the end of the transaction (or for good with NULL).
 * Only C code can: a setting could be forged by anybody.
 */
extern void mv_set_caller(const pg_uuid_t *user_id);

/*
 * The API key by which the caller came, NULL for none, for as long as the caller
 * stands; to be told after each mv_set_caller(), which forgets it. What a key
 * may hand out depends on it, so what asks for it raises when it was not told.
 */
extern void mv_set_caller_key(const pg_uuid_t *key_id);

/* False when there is no caller. Raises only on malformed claims. */
extern bool mv_caller(pg_uuid_t *user_id);

/*
 * True for a superuser, a member of the extension's owner, and a member of a
 * role that expose_to() registered as service. Judges the role that was set
 * for the session, not that of a SECURITY DEFINER function around the call.
 */
extern bool mv_caller_is_service(void);

/* Raises 42501 unless the caller may act for the user given. */
extern void mv_require_user(const pg_uuid_t *user_id);

#endif							/* MV_CALLER_H */

/*
 * Who calls: the user on whose behalf a statement runs, and whether the role
 * may act for everybody.
 */
#ifndef MV_CALLER_H
#define MV_CALLER_H

#include "postgres.h"

#include "utils/uuid.h"

/* What is set by C, so that it can be put back */
typedef struct MvCallerState
{
	LocalTransactionId lxid;	/* in which it holds */
	bool		is_user;		/* false: nobody */
	bool		has_key;
	pg_uuid_t	user_id;
	pg_uuid_t	key_id;
} MvCallerState;

/*
 * Sets the caller until the end of the transaction, and the API key by which
 * it came, or NULL: what a key may hand out depends on it. Without a user the
 * claims count again. Only C code can: a setting could be forged by anybody.
 */
extern void mv_set_caller(const pg_uuid_t *user_id, const pg_uuid_t *key_id);

/*
 * The same, but for nobody: whoever the session is, until the end of the
 * transaction there is no user and no service role.
 */
extern void mv_set_caller_nobody(void);

/* For what acts for somebody else only for a while. Neither raises. */
extern void mv_save_caller(MvCallerState *state);
extern void mv_restore_caller(const MvCallerState *state);

/* False when there is no caller. Raises only on malformed claims. */
extern bool mv_caller(pg_uuid_t *user_id);

/* The API key by which the caller set by C came; false when there is none. Never raises. */
extern bool mv_caller_key(pg_uuid_t *key_id);

/*
 * True for a superuser, a member of the extension's owner, and a member of a
 * role that expose_to() registered as service. Judges the role that was set
 * for the session, not that of a SECURITY DEFINER function around the call.
 * False while a caller set by C stands, whatever the role. Policies ask it once
 * a query: what was found for a role is kept until roles change.
 */
extern bool mv_caller_is_service(void);

/* Raises 42501 unless the caller may act for the user given. */
extern void mv_require_user(const pg_uuid_t *user_id);

#endif							/* MV_CALLER_H */

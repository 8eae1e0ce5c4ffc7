/*
 * Idempotency-Key on POST: the first answer again, instead of doing it again.
 */
#ifndef MV_IDEMPOTENCY_H
#define MV_IDEMPOTENCY_H

#include "postgres.h"

#include "api/call.h"

/* Defines musicverse.idempotency_retention and hands the usage worker the clearing away. */
extern void mv_idempotency_init(void);

/*
 * Holds the key of a POST until the end of the transaction. False with a
 * problem when it is malformed, another's right now, or was used for another
 * request; false without one when the call is answered by what is kept. Does
 * nothing for callers without identity and in read-only transactions. Takes an
 * advisory lock of the transaction without waiting; AccessShareLock on
 * idempotency_keys.
 */
extern bool mv_idempotency_begin(MvApiCall *call);

/* Fills in the response with the answer that was kept. */
extern void mv_render_replay(MvApiCall *call);

/*
 * Keeps an answer, with the operation's effects or not at all: called within
 * its subtransaction. Needs SPI not connected; changes the current user to the
 * extension's owner meanwhile. Raises what an insert may raise.
 */
extern void mv_idempotency_keep(MvApiCall *call, int status, const char *content_type, const char *body, Size len);

/* The same for a problem, in a subtransaction of its own; when that fails it is only logged. */
extern void mv_idempotency_keep_problem(MvApiCall *call);

#endif							/* MV_IDEMPOTENCY_H */
